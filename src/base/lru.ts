/** A map bounded by the summed weight of its entries; the least recently used leave first.  */
export class BoundedLru<K, V> {
  readonly #entries = new Map<K, { readonly value: V; readonly weight: number }>()
  readonly #weightMax: number
  readonly #entryWeightMax: number
  readonly #dropped: ((value: V) => void) | undefined
  #weight = 0

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
    this.#entries.delete(key) // A Map keeps insertion order: moved to its end, this is the last to be evicted.
    this.#entries.set(key, entry)
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
    this.#entries.set(key, { value, weight })
    this.#weight += weight
    while (this.#weight > this.#weightMax) {
      const oldest = this.#entries.keys().next()
      if (oldest.done === true) return
      this.delete(oldest.value)
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
