import { ClassicLevel } from 'classic-level'
import { errnoOf, storeCorrupt, storeFailed } from './errors.ts'

export interface LevelRange {
  readonly gt?: Uint8Array
  readonly gte?: Uint8Array
  readonly lt?: Uint8Array
  readonly lte?: Uint8Array
}

export interface LevelIteratorOptions extends LevelRange {
  readonly snapshot?: LevelSnapshot | undefined
  /** False: values come empty. */
  readonly values?: boolean
  readonly fillCache?: boolean
  readonly highWaterMarkBytes?: number
}

export interface LevelIterator {
  /** At most `size` pairs, in key order; none at the end. */
  nextv(size: number): Promise<[Uint8Array, Uint8Array][]>
  seek(target: Uint8Array): void
  close(): Promise<void>
}

export interface LevelSnapshot {
  /** Ends it, once iterators on it have ended. */
  close(): Promise<void>
}

export type LevelOp =
  | { readonly type: 'put'; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly type: 'del'; readonly key: Uint8Array }

/** Raw bytes in, raw bytes out: what the store uses of LevelDB. Values that it hands out are the caller's. */
export interface Level {
  open(): Promise<void>
  close(): Promise<void>
  get(key: Uint8Array): Promise<Uint8Array | undefined>
  getSync(key: Uint8Array, options?: { readonly snapshot?: LevelSnapshot }): Uint8Array | undefined
  put(key: Uint8Array, value: Uint8Array): Promise<void>
  /** All or nothing, in order; with `sync` it resolves when it is durable. */
  batch(ops: LevelOp[], options?: { readonly sync?: boolean }): Promise<void>
  clear(range: LevelRange): Promise<void>
  iterator(options: LevelIteratorOptions): LevelIterator
  snapshot(): LevelSnapshot
}

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

export const classicLevel = (path: string, options: LevelOptions): ClassicLevel<Uint8Array, Uint8Array> =>
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
