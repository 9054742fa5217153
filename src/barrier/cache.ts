/**
 * Opened values, kept between requests. The log is the only invalidation (decision 6): the apply loop names each key that it
 * changed, and nobody else may speak.
 *
 * An entry knows the index of its key's last change; it holds for every view from there up to what the feed has processed, since
 * a later change would have removed it. It is filled only from a view after which the key has not changed. For that the feed
 * remembers the last change of the newest keys; what has fallen out of that memory changed at the latest at `#floor`. A view
 * ahead of the feed (between the store's write and our being told) must not touch the cache: what it would find may be older.
 */
import type { AppliedChange } from '#replica/types.ts'
import { BoundedLru } from '#base/lru.ts'
import { byteString } from './bytes.ts'
import { PackedCache } from './packed.ts'

const recentChangesMax = 16_384
/** Of the whole, for values that are too large to be packed: mount tables, long secrets. */
const largeShare = 1 / 8
/** What a large entry costs beside its bytes: map node, view, store, string and object headers. */
const entryOverheadBytes = 600

interface LargeEntry {
  readonly value: Uint8Array
  /** The key's last change is at this index or before; views before it must not see the entry. */
  readonly since: number
}

/** Where a view stands towards the feed. */
export interface ViewPoint {
  readonly index: number
  /** Number of times that everything had changed when the view was taken. */
  readonly epoch: number
}

export interface ChangeMemory {
  readonly epoch: number
  /** The index of the last change of `id`, or a later one (never an earlier). */
  lastChange(id: string): number
  /** Whether what is read at `point` is still the newest value of `id`, and known to be. */
  current(point: ViewPoint, id: string): boolean
  /** Whether `point` is exactly where the feed stands. */
  newest(point: ViewPoint): boolean
  /** Whether something that holds since index `since` may be used at `point`. */
  covers(point: ViewPoint, since: number): boolean
}

export class ValueCache implements ChangeMemory {
  readonly #entries: PackedCache
  readonly #large: BoundedLru<string, LargeEntry>
  readonly #recent = new Map<string, number>()
  /** Every key that is not in `#recent` changed last at this index or before. */
  #floor: number
  /** The newest index whose changes have been taken in. */
  #processed: number
  #epoch = 0
  #hits = 0
  #misses = 0

  /** @param options.applied what the replica has applied at this moment: changes up to there will not be told any more. */
  constructor(options: { readonly bytesMax: number; readonly applied: number }) {
    const largeBytesMax = options.bytesMax * largeShare
    this.#entries = new PackedCache(options.bytesMax - largeBytesMax)
    this.#large = new BoundedLru({ weightMax: largeBytesMax, entryWeightMax: largeBytesMax })
    this.#floor = options.applied
    this.#processed = options.applied
  }

  get epoch(): number {
    return this.#epoch
  }

  get bytes(): number {
    return this.#entries.bytes + this.#large.weight
  }

  get hits(): number {
    return this.#hits
  }

  get misses(): number {
    return this.#misses
  }

  /** Takes in one step of the feed. Call in order, before anybody is told that it is applied. */
  apply(change: AppliedChange): void {
    if (change.keys === 'everything') {
      return this.restart(change.index) // Another epoch: indexes may have gone back (a restore), and no older view may read or fill.
    }
    for (const key of change.keys) this.#changed(key, change.index)
    this.#processed = Math.max(this.#processed, change.index)
  }

  #changed(key: Uint8Array, index: number): void {
    const id = byteString(key)
    this.#entries.delete(key)
    this.#large.delete(id)
    this.#recent.delete(id)
    this.#recent.set(id, index)
    if (this.#recent.size <= recentChangesMax) return
    const oldest = this.#recent.entries().next().value
    if (oldest === undefined) return
    this.#recent.delete(oldest[0])
    this.#floor = Math.max(this.#floor, oldest[1])
  }

  lastChange(id: string): number {
    return this.#recent.get(id) ?? this.#floor
  }

  covers(point: ViewPoint, since: number): boolean {
    return point.epoch === this.#epoch && point.index <= this.#processed && since <= point.index
  }

  newest(point: ViewPoint): boolean {
    return point.epoch === this.#epoch && point.index === this.#processed
  }

  current(point: ViewPoint, id: string): boolean {
    return this.covers(point, this.lastChange(id))
  }

  /** The value at `key` at `point`, read-only, since it may be shared; null when known to be absent; undefined when the cache can't say. */
  lookup(point: ViewPoint, key: Uint8Array): Uint8Array | null | undefined {
    if (this.#entries.find(key) && this.covers(point, this.#entries.since())) {
      this.#hits++
      return this.#entries.value()
    }
    const large = this.#large.size === 0 ? undefined : this.#large.get(byteString(key))
    if (large === undefined || !this.covers(point, large.since)) {
      this.#misses++
      return undefined
    }
    this.#hits++
    return large.value
  }

  /** Keeps what was read at `point`, if it is still the newest. From here on nobody may modify `value`. */
  fill(point: ViewPoint, key: Uint8Array, value: Uint8Array | null): void {
    const id = byteString(key)
    if (!this.current(point, id)) return
    const since = this.lastChange(id)
    if (value === null || this.#entries.fits(key.length, value.length)) this.#entries.set(key, value, since)
    else this.#large.set(id, { value, since }, id.length + value.length + entryOverheadBytes)
  }

  /**
   * Begins anew at `applied`, which every view from now on has reached: so what changed up to there, told already or not, can't be
   * missed. Without this a cache over a replica that came up idle would wait for the first write before it is of use.
   */
  restart(applied: number): void {
    this.#epoch++
    this.clear()
    this.#recent.clear()
    this.#floor = applied
    this.#processed = applied
  }

  /** Forgets the values whose key begins with `prefix` (a namespace was sealed). What changed when is remembered. */
  forget(prefix: string): void {
    this.#entries.deletePrefix(Buffer.from(prefix, 'latin1'))
    for (const id of this.#large.keys()) if (id.startsWith(prefix)) this.#large.delete(id)
  }

  /** Forgets all values (the barrier was sealed). What changed when is remembered. */
  clear(): void {
    this.#entries.clear()
    this.#large.clear()
  }
}
