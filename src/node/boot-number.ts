/** Which run of this node it is: what it forwards is told apart by it from what an earlier run has sent and may still be on its way. */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { HoldfastError } from '#base/errors.ts'
import { syncFolder } from './data-folder.ts'

const fileName = 'boot'

/**
 * The number of this run: greater than all before it in `dataDir`, and no less than the time in milliseconds, so that neither a clock that went
 * back nor a file that was lost makes it come again. On the disk before it is returned. @throws ERR_STORE_FAILED.
 */
export function nextBoot(dataDir: string, nowMs: number): number {
  const path = join(dataDir, fileName)
  const boot = Math.max(lastBoot(path) + 1, Math.floor(nowMs))
  try {
    const file = openSync(`${path}.new`, 'w', 0o600)
    try {
      writeSync(file, `${boot}\n`)
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    renameSync(`${path}.new`, path)
    syncFolder(dataDir)
  } catch (error) {
    throw new HoldfastError(
      'ERR_STORE_FAILED',
      `${path} expected to be written, got ${(error as NodeJS.ErrnoException).code ?? 'an error'}`,
      {
        cause: error,
      },
    )
  }
  return boot
}

/** 0 where there is none, or one that nobody of us wrote: then the clock alone decides. */
function lastBoot(path: string): number {
  try {
    const boot = Number(readFileSync(path, 'latin1').trim())
    return Number.isSafeInteger(boot) && boot > 0 ? boot : 0
  } catch {
    return 0
  }
}
