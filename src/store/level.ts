import { ClassicLevel } from 'classic-level'
import { errnoOf, storeCorrupt, storeFailed } from './errors.ts'

/** Raw bytes in, raw bytes out. */
export type Level = ClassicLevel<Uint8Array, Uint8Array>

export interface LevelOptions {
  /** LevelDB's snappy compression of its blocks. */
  readonly compression: boolean
  readonly cacheBytes: number
  readonly writeBufferBytes: number
  /** Lets worker threads of this process open the same database. */
  readonly multithreading: boolean
}

/** Makes a database handle that is not open yet: tests put a failing disk here. */
export type LevelFactory = (path: string, options: LevelOptions) => Level

export const classicLevel: LevelFactory = (path, options) =>
  new ClassicLevel<Uint8Array, Uint8Array>(path, {
    keyEncoding: 'view',
    valueEncoding: 'view',
    compression: options.compression,
    cacheSize: options.cacheBytes,
    writeBufferSize: options.writeBufferBytes,
    maxFileSize: 8 * 1024 * 1024,
    multithreading: options.multithreading,
  })

/** Opens (or creates) the database at `path`. @throws ERR_STORE_CORRUPT, ERR_STORE_FAILED */
export async function openLevel(factory: LevelFactory, path: string, options: LevelOptions): Promise<Level> {
  const level = factory(path, options)
  try {
    await level.open()
    return level
  } catch (error) {
    if (errnoOf(error) === 'LEVEL_CORRUPTION')
      throw storeCorrupt(`${path}: expected a readable LevelDB folder, got a corrupt one`, undefined, error)
    throw storeFailed(`${path}: could not be opened`, error)
  }
}
