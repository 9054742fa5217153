/** The folder that is a node's alone: store and identity, nothing else, for nobody else's eyes. */
import { chmodSync, closeSync, existsSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { HoldfastError } from '#base/errors.ts'

const othersMode = 0o077

/**
 * Makes the folder where it is missing, and sees to it that only its owner may look into it. Returns a warning for the log, or null.
 * @throws ERR_CONFIG when nothing can be written there: better now than when the first share has been shown.
 */
export function claimDataFolder(path: string): string | null {
  const probe = join(path, '.writable')
  try {
    makeFolder(path)
    writeFileSync(probe, '', { mode: 0o600 })
    rmSync(probe)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'an error'
    throw new HoldfastError('ERR_CONFIG', `storage.raft.path expected a folder that can be written, got ${code} for ${path}`, {
      cause: error,
      hint: 'it must belong to the user that runs the server',
    })
  }
  if ((statSync(path).mode & othersMode) === 0) return null
  try {
    chmodSync(path, 0o700)
    return null
  } catch {
    return `the data folder ${path} should have mode 0700: others may look into it`
  }
}

/** Not `recursive`: where the file system answers ENOENT to a folder whose parent is there (/proc does), Node tries for ever. */
function makeFolder(path: string): void {
  if (existsSync(path)) return
  makeFolder(dirname(path))
  mkdirSync(path, { mode: 0o700 })
}

/** Makes creations and removals in the folder last through a power cut. */
export function syncFolder(path: string): void {
  const folder = openSync(path, 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}

/** Writes a small file so that after a crash or a power cut the old one or the new one is there, whole. Only its owner may read it. */
export function writeDurably(path: string, text: string): void {
  const temporary = `${path}.tmp`
  // Left by a crash, with whatever mode: opening it would keep that.
  rmSync(temporary, { force: true })
  const file = openSync(temporary, 'wx', 0o600)
  try {
    writeFileSync(file, text)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  renameSync(temporary, path)
  syncFolder(dirname(path))
}
