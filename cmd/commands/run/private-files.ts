/**
 * Files that never reach a disk: in a folder of the user's own on a file system that is memory. What a killed process left behind is removed by the next one.
 * (Memory may be swapped out: where that matters, swap is encrypted or off.)
 */
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { UsageError } from '../../cli/types.ts'

/** Of Linux' statfs: tmpfs and ramfs. */
const memoryTypes = new Set([0x01021994, 0x858458f6])
const prefix = 'holdfast-run-'

function isMemory(folder: string): boolean {
  try {
    return memoryTypes.has(statfsSync(folder).type >>> 0)
  } catch {
    return false // No such folder.
  }
}

/** A folder in memory. @throws UsageError where there is none. */
function memoryFolder(env: Readonly<Record<string, string | undefined>>): string {
  const candidates = [env['XDG_RUNTIME_DIR'], '/dev/shm', '/run/shm'].filter((folder) => folder !== undefined && folder !== '')
  const found = candidates.find((folder) => isMemory(folder as string))
  if (found !== undefined) return found
  throw new UsageError(
    'expected a file system in memory for -file (XDG_RUNTIME_DIR or /dev/shm), found none',
    'hand the secret over as a variable: -env=NAME=PATH#FIELD',
  )
}

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Folders of processes of ours that are gone. */
function removeAbandoned(parent: string): void {
  for (const name of readdirSync(parent)) {
    const [, pid] = /^holdfast-run-(\d+)-/.exec(name) ?? []
    if (pid === undefined || isAlive(Number(pid))) continue
    try {
      if (statSync(join(parent, name)).uid === process.getuid?.()) rmSync(join(parent, name), { recursive: true, force: true })
    } catch {
      // Another process removes it at the same time.
    }
  }
}

export class PrivateFiles implements Disposable {
  readonly folder: string
  /** Nobody but the user may enter it. @throws UsageError */
  constructor(env: Readonly<Record<string, string | undefined>>) {
    const parent = memoryFolder(env)
    removeAbandoned(parent)
    // mkdtemp makes it 0700, whatever the umask says.
    this.folder = mkdtempSync(join(parent, `${prefix}${process.pid}-`))
  }

  /** Writes all of them, each whole at once. @returns their paths by name. */
  write(files: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
    mkdirSync(this.folder, { recursive: true, mode: 0o700 })
    return new Map(
      [...files].map(([name, text]) => {
        const path = join(this.folder, name)
        writeFileSync(`${path}.new`, text, { mode: 0o600 })
        renameSync(`${path}.new`, path)
        return [name, path]
      }),
    )
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
  [Symbol.dispose](): void {
    this.remove()
  }
}
