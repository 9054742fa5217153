/**
 * LevelDB with a checksum beside each value of the state: stored value = value | crc32c 4, over key and value. LevelDB hands out a value that changed on
 * the disk, or on the way from it, without an error; here it becomes one before anybody believes it. Otherwise a changed value would be
 * subtracted from the state's digest when it is overwritten, and nobody would accept a snapshot of this node again, though its data were sound.
 *
 * LevelDB's own complaints of a reading are told alike: a damaged block as such a value, a disk that does not answer as the end of the store.
 * Either is read once more, since the second reading may be right. A pair that is gone, or an old one come back, is the digest's to find.
 */
import { crc32c } from '@node-rs/crc32'
import type { HoldfastError } from '#base/errors.ts'
import { errnoOf, storeCorrupt, storeFailed } from './errors.ts'
import type { Level, LevelIterator, LevelIteratorOptions, LevelOp, LevelRange, LevelSnapshot } from './level.ts'

export const checksumBytes = 4

/** `value` as it is stored under `key`. */
export function withChecksum(key: Uint8Array, value: Uint8Array): Uint8Array {
  const out = Buffer.allocUnsafe(value.length + checksumBytes)
  out.set(value, 0)
  out.writeUInt32BE(crc32c(value, crc32c(key)), value.length)
  return out
}

/** The value in `stored`, as a view; null where it is not what was written under `key`. */
export function checkedValue(key: Uint8Array, stored: Uint8Array): Uint8Array | null {
  const end = stored.length - checksumBytes
  if (end < 0) return null
  const value = stored.subarray(0, end)
  const sum = (((stored[end] ?? 0) << 24) | ((stored[end + 1] ?? 0) << 16) | ((stored[end + 2] ?? 0) << 8) | (stored[end + 3] ?? 0)) >>> 0
  return crc32c(value, crc32c(key)) === sum ? value : null
}

/**
 * Owns `level`. `unreadable` is told of every value that was wrong twice, before the reader gets ERR_STORE_CORRUPT, and of a disk that
 * failed twice (ERR_STORE_FAILED, which is final). Keys that begin with a byte below
 * `firstKeyByte` lie as they are given.
 */
export class CheckedLevel implements Level {
  readonly #level: Level
  readonly #firstKeyByte: number
  readonly #unreadable: (error: HoldfastError) => void

  constructor(level: Level, firstKeyByte: number, unreadable: (error: HoldfastError) => void) {
    this.#level = level
    this.#firstKeyByte = firstKeyByte
    this.#unreadable = unreadable
  }

  open(): Promise<void> {
    return this.#level.open()
  }

  close(): Promise<void> {
    return this.#level.close()
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    const stored = await this.#level.get(key).catch((error: unknown) => this.#again(key, undefined, error))
    return stored === undefined ? undefined : this.#value(key, stored, undefined)
  }

  getSync(key: Uint8Array, options?: { readonly snapshot?: LevelSnapshot }): Uint8Array | undefined {
    let stored: Uint8Array | undefined
    try {
      stored = this.#level.getSync(key, options)
    } catch (error) {
      stored = this.#again(key, options, error)
    }
    return stored === undefined ? undefined : this.#value(key, stored, options)
  }

  put(key: Uint8Array, value: Uint8Array): Promise<void> {
    return this.#level.put(key, this.#isPlain(key) ? value : withChecksum(key, value))
  }

  batch(ops: LevelOp[], options?: { readonly sync?: boolean }): Promise<void> {
    const stored = ops.map((op): LevelOp =>
      op.type === 'del' || this.#isPlain(op.key) ? op : { type: 'put', key: op.key, value: withChecksum(op.key, op.value) },
    )
    return this.#level.batch(stored, options)
  }

  clear(range: LevelRange): Promise<void> {
    return this.#level.clear(range)
  }

  iterator(options: LevelIteratorOptions): LevelIterator {
    let iterator = this.#level.iterator(options)
    /** Where it goes on. */
    let from: LevelRange = lowerBound(options)
    const again = options.snapshot === undefined ? undefined : { snapshot: options.snapshot }
    const next = async (size: number): Promise<[Uint8Array, Uint8Array][]> => {
      try {
        return await iterator.nextv(size)
      } catch (error) {
        if (!isOfReading(error)) throw error
      }
      // One that has failed stays so.
      await iterator.close()
      const { gt: _, gte: __, ...rest } = options
      iterator = this.#level.iterator({ ...rest, ...from })
      return iterator.nextv(size).catch((error: unknown) => this.#refuse(error))
    }
    return {
      nextv: async (size) => {
        const pairs = await next(size)
        const last = pairs.at(-1)?.[0]
        if (last !== undefined) from = { gt: last }
        if (options.values === false) return pairs
        return pairs.map(([key, stored]): [Uint8Array, Uint8Array] => [key, this.#value(key, stored, again)])
      },
      seek: (target) => {
        from = { gte: target }
        iterator.seek(target)
      },
      close: () => iterator.close(),
    }
  }

  snapshot(): LevelSnapshot {
    return this.#level.snapshot()
  }

  #isPlain(key: Uint8Array): boolean {
    return (key[0] ?? 0) < this.#firstKeyByte
  }

  /** The value in `stored`; where it is wrong, what a second reading gives. */
  #value(key: Uint8Array, stored: Uint8Array, options: { readonly snapshot?: LevelSnapshot } | undefined): Uint8Array {
    if (this.#isPlain(key)) return stored
    const value = checkedValue(key, stored)
    if (value !== null) return value
    const again = this.#secondReading(key, options)
    const secondValue = again === undefined ? null : checkedValue(key, again)
    if (secondValue !== null) return secondValue
    const error = storeCorrupt('state: expected the checksum of a value beside it, got another', repairHint)
    this.#unreadable(error)
    throw error
  }

  /** What lies under `key`, once a first reading has failed with `error`. */
  #again(key: Uint8Array, options: { readonly snapshot?: LevelSnapshot } | undefined, error: unknown): Uint8Array | undefined {
    if (!isOfReading(error)) throw error
    return this.#secondReading(key, options)
  }

  #secondReading(key: Uint8Array, options: { readonly snapshot?: LevelSnapshot } | undefined): Uint8Array | undefined {
    try {
      return this.#level.getSync(key, options)
    } catch (error) {
      return this.#refuse(error)
    }
  }

  /** A second reading has failed. */
  #refuse(error: unknown): never {
    if (!isOfReading(error)) throw error
    const told = isDamage(error)
      ? storeCorrupt('state: expected blocks that LevelDB can read, got a damaged block', repairHint, error)
      : storeFailed('state: could not be read', error)
    this.#unreadable(told)
    throw told
  }
}

const repairHint = 'the state is fetched again from the other nodes; if it recurs, look into the system log for errors of the disk'

const lowerBound = ({ gt, gte }: LevelRange): LevelRange => (gte === undefined ? (gt === undefined ? {} : { gt }) : { gte })

const isDamage = (error: unknown): boolean => errnoOf(error) === 'LEVEL_CORRUPTION'

/** Of the disk, and not of a use that is wrong, a closed database say. `getSync` gives its IO errors no code. */
function isOfReading(error: unknown): boolean {
  return isDamage(error) || errnoOf(error) === 'LEVEL_IO_ERROR' || (error instanceof Error && error.message.startsWith('IO error'))
}
