/** Second chances that one insertion gives, so that none walks a whole cache of which everything was used: then the next leaves all the same. */
const chancesMax = 32

/**
 * A map bounded by the summed weight of its entries. What was not used since the hand last came by leaves first (a clock, or second chance):
 * close to the least recently used, and a hit writes one flag. Moving each hit to the end of the Map cost four times the look-up itself, and a
 * Map from which as much is deleted as is set is copied over and over.
 */
export class BoundedLru<K, V> {
  readonly #entries = new Map<K, { readonly value: V; readonly weight: number; used: boolean }>()
  readonly #weightMax: number
  readonly #entryWeightMax: number
  readonly #dropped: ((value: V) => void) | undefined
  #weight = 0
  /** Goes around, and is kept: begun anew for each eviction it would walk over all that was deleted before its first entry. */
  #hand = this.#entries.entries()

  /**
   * @param options.entryWeightMax what one entry may weigh; an eighth of the cache where it is not given.
   * @param options.dropped called with each value that leaves (evicted, deleted, replaced, cleared): to wipe key material.
   */
  constructor(options: { readonly weightMax: number; readonly entryWeightMax?: number; readonly dropped?: (value: V) => void }) {
    this.#weightMax = options.weightMax
    this.#entryWeightMax = options.entryWeightMax ?? Math.max(1, options.weightMax / 8)
    this.#dropped = options.dropped
  }

  get size(): number {
    return this.#entries.size
  }

  get weight(): number {
    return this.#weight
  }

  get(key: K): V | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    entry.used = true
    return entry.value
  }

  /** As `get`, but does not count as a use. */
  peek(key: K): V | undefined {
    return this.#entries.get(key)?.value
  }

  /** Keeps `value`, unless it outweighs what one entry may: one giant must not empty the cache of everything else. */
  set(key: K, value: V, weight = 1): void {
    this.delete(key)
    if (weight > this.#entryWeightMax || weight > this.#weightMax) {
      this.#dropped?.(value)
      return
    }
    this.#entries.set(key, { value, weight, used: false })
    this.#weight += weight
    // Ends: each round takes a chance or an entry away, or passes the new one, which alone weighs no more than all may.
    for (let chances = 0; this.#weight > this.#weightMax;) {
      const next = this.#hand.next()
      if (next.done === true) {
        this.#hand = this.#entries.entries()
        continue
      }
      const [at, entry] = next.value
      if (at === key) continue
      if (entry.used && chances < chancesMax) {
        chances += 1
        entry.used = false
      } else this.delete(at)
    }
  }

  delete(key: K): boolean {
    const entry = this.#entries.get(key)
    if (entry === undefined) return false
    this.#entries.delete(key)
    this.#weight -= entry.weight
    this.#dropped?.(entry.value)
    return true
  }

  keys(): MapIterator<K> {
    return this.#entries.keys()
  }

  clear(): void {
    if (this.#dropped !== undefined) for (const entry of this.#entries.values()) this.#dropped(entry.value)
    this.#entries.clear()
    this.#weight = 0
  }
}
