/** Snapshots in a folder of the leader's own disk: only below the one that its configuration names, also where links lead elsewhere. */
import { mkdir, open, readdir, realpath, rename, rm, stat } from 'node:fs/promises'
import { isAbsolute, join, resolve, sep } from 'node:path'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { isFileOf, type LocalTarget, type Schedule } from './schedule.ts'
import type { FolderRules, SnapshotTarget } from './types.ts'

const modeFolder = 0o700
const modeFile = 0o600

/** `pathPrefix` as a folder below `root`. By its text alone; where links lead is looked at when it is used. @throws ERR_BAD_REQUEST, ERR_CONFIG */
export function folderBelow(root: string | null, pathPrefix: string): string {
  if (root === null)
    throw new HoldfastError('ERR_CONFIG', 'snapshot_folder expected in the configuration of this node, got none', {
      hint: 'name a folder on every node (any may lead), or use storage_type aws-s3',
    })
  const folder = isAbsolute(pathPrefix) ? resolve(pathPrefix) : resolve(root, pathPrefix)
  if (isIn(resolve(root), folder)) return folder
  throw new HoldfastError('ERR_BAD_REQUEST', 'path_prefix expected a folder in snapshot_folder, got another', {
    hint: 'write it relative to snapshot_folder',
  })
}

const isIn = (root: string, folder: string): boolean => folder === root || folder.startsWith(root.endsWith(sep) ? root : `${root}${sep}`)

/** @throws ERR_CONFIG, ERR_BAD_REQUEST, ERR_SNAPSHOT_TARGET */
export async function folderTarget(schedule: Schedule, limits: LocalTarget, rules: FolderRules): Promise<SnapshotTarget> {
  const wanted = folderBelow(rules.root, schedule.pathPrefix)
  const folder = await told('made', async () => {
    await mkdir(wanted, { recursive: true, mode: modeFolder })
    const [root, real] = await Promise.all([realpath(rules.root ?? ''), realpath(wanted)])
    if (!isIn(root, real))
      throw new HoldfastError('ERR_BAD_REQUEST', 'path_prefix expected a folder in snapshot_folder, got a link out of it')
    return real
  })
  return new Folder(folder, schedule, limits, rules.nodeId)
}

/** Only the code of what the disk says: its sentences hold paths. */
async function told<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (isHoldfastError(error)) throw error
    const code = (error as NodeJS.ErrnoException).code ?? 'an error'
    throw new HoldfastError('ERR_SNAPSHOT_TARGET', `snapshot folder expected a file or folder to be ${what}, got ${code}`, { cause: error })
  }
}

class Folder implements SnapshotTarget {
  readonly #folder: string
  readonly #schedule: Schedule
  readonly #bytesMax: number
  readonly #partial: string

  constructor(folder: string, schedule: Schedule, { bytesMax }: LocalTarget, nodeId: string) {
    this.#folder = folder
    this.#schedule = schedule
    this.#bytesMax = bytesMax === 0 ? Infinity : bytesMax
    // One a node and schedule: what a crash leaves is overwritten by the next run. Two nodes may share a folder.
    this.#partial = join(folder, `.${schedule.filePrefix}.${nodeId.replaceAll(/[^A-Za-z0-9_-]/g, '_')}.partial`)
  }

  async store(name: string, chunks: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<{ url: string; bytes: number }> {
    const path = join(this.#folder, name)
    try {
      const bytes = await this.#write(chunks, this.#bytesMax - (await this.#heldBytes(name)), signal)
      await told('renamed', () => rename(this.#partial, path))
      await told('synced', () => syncFolder(this.#folder))
      return { url: `file://${path}`, bytes }
    } catch (error) {
      await rm(this.#partial, { force: true }).catch(() => {}) // The first failure is what counts; the next run overwrites it.
      throw error
    }
  }

  async #write(chunks: AsyncIterable<Uint8Array>, room: number, signal: AbortSignal): Promise<number> {
    await rm(this.#partial, { force: true })
    const file = await told('created', () => open(this.#partial, 'wx', modeFile))
    let bytes = 0
    try {
      for await (const chunk of chunks) {
        signal.throwIfAborted()
        bytes += chunk.length
        if (bytes > room)
          throw new HoldfastError(
            'ERR_SNAPSHOT_TARGET',
            `local_max_space expected room for the snapshot, got less than ${bytes} bytes left`,
            {
              hint: 'raise local_max_space, or keep fewer (retain)',
            },
          )
        await told('written', () => writeAll(file, chunk))
      }
      await told('synced', () => file.sync())
    } finally {
      await file.close()
    }
    return bytes
  }

  /** Of this schedule's files, without the one that is to be replaced. */
  async #heldBytes(replaced: string): Promise<number> {
    if (this.#bytesMax === Infinity) return 0
    const names = (await this.list()).filter((name) => name !== replaced)
    const sizes = await Promise.all(names.map((name) => stat(join(this.#folder, name)).then(({ size }) => size)))
    return sizes.reduce((sum, size) => sum + size, 0)
  }

  async list(): Promise<readonly string[]> {
    const names = await told('listed', () => readdir(this.#folder))
    return names.filter((name) => isFileOf(this.#schedule, name))
  }

  async remove(name: string): Promise<void> {
    await told('removed', () => rm(join(this.#folder, name), { force: true }))
  }

  close(): void {}
}

async function writeAll(file: Awaited<ReturnType<typeof open>>, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.length;) at += (await file.write(chunk, at)).bytesWritten
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
