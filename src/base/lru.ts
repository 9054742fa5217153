import { assert } from './assert.ts'

/** A map of at most `entriesMax` entries that forgets the one used longest ago. */
export class Lru<K, V> {
  readonly #entriesMax: number
  /** A Map iterates in order of insertion: the first key is the one used longest ago. */
  readonly #entries = new Map<K, V>()

  constructor(entriesMax: number) {
    assert(entriesMax > 0, `cache size expected > 0, got ${entriesMax}`)
    this.#entriesMax = entriesMax
  }

  get size(): number {
    return this.#entries.size
  }

  /** The value, which is now the one used last. */
  get(key: K): V | undefined {
    const value = this.#entries.get(key)
    if (value === undefined) return undefined
    this.#entries.delete(key)
    this.#entries.set(key, value)
    return value
  }

  set(key: K, value: V): void {
    this.#entries.delete(key)
    this.#entries.set(key, value)
    if (this.#entries.size <= this.#entriesMax) return
    const oldest = this.#entries.keys().next()
    if (oldest.done !== true) this.#entries.delete(oldest.value)
  }

  delete(key: K): void {
    this.#entries.delete(key)
  }

  clear(): void {
    this.#entries.clear()
  }
}
