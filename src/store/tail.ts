import type { Entry } from '#raft/types.ts'
import { recordOverheadBytes } from './record.ts'

/**
 * The newest entries of the log, in memory, contiguous up to its end and bounded in bytes: replication reads almost only these.
 * Always keeps the last entry, whatever its size.
 */
export class LogTail {
  readonly #bytesMax: number
  #entries: Entry[] = []
  /** Position in #entries of the first entry still held; what lies before it is cut off now and then. */
  #head = 0
  #bytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** Index of the first held entry; null when empty. */
  get firstIndex(): number | null {
    return this.#entries[this.#head]?.index ?? null
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Appends the entry after the last held one; the buffer is kept, not copied. */
  push(entry: Entry): void {
    this.#entries.push(entry)
    this.#bytes += entry.data.length + recordOverheadBytes
    while (this.#bytes > this.#bytesMax && this.#head < this.#entries.length - 1) this.#dropFirst()
    this.#trim()
  }

  /** The entry at `index`, or undefined when it is not held. */
  at(index: number): Entry | undefined {
    const first = this.firstIndex
    return first === null || index < first ? undefined : this.#entries[this.#head + index - first]
  }

  /** Forgets entries from `index` on. */
  truncateFrom(index: number): void {
    const first = this.firstIndex
    if (first === null) return
    const kept = this.#head + Math.max(0, index - first)
    for (const entry of this.#entries.slice(kept)) this.#bytes -= entry.data.length + recordOverheadBytes
    this.#entries.length = Math.min(this.#entries.length, kept)
    if (this.#head >= this.#entries.length) this.clear()
  }

  /** Forgets entries up to and including `index`. */
  dropThrough(index: number): void {
    while (this.#head < this.#entries.length && (this.firstIndex ?? Infinity) <= index) this.#dropFirst()
    this.#trim()
  }

  clear(): void {
    this.#entries = []
    this.#head = 0
    this.#bytes = 0
  }

  #dropFirst(): void {
    const entry = this.#entries[this.#head]
    if (entry === undefined) return
    this.#bytes -= entry.data.length + recordOverheadBytes
    this.#head += 1
  }

  #trim(): void {
    // Amortised: cutting at every drop would make each append cost the whole array.
    if (this.#head > 1_024 && this.#head * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#head)
      this.#head = 0
    }
  }
}
