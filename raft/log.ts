/**
 * The log as the core sees it: what the driver has persisted (read through LogReader) and, behind it, the tail that is not
 * persisted yet and lives here.
 *
 * Intuition: `#offset` is the border. Below it the reader is the truth; from it on the tail is, even where the disk still holds
 * older, overwritten entries at those indexes. So a persist that finishes late can never bring a truncated entry back.
 */
import { invariant } from './assert.ts'
import type { Entry, LogReader, SnapshotMeta } from './types.ts'

/** What an entry costs beyond its data, in memory and on the wire, roughly. Keeps floods of empty entries bounded too. */
export const entryOverheadBytes = 32

export function entryBytes(entry: Entry): number {
  return entry.data.length + entryOverheadBytes
}

/** What went into one persist; handed back to `persisted`. */
export interface LogWrite {
  readonly entries: readonly Entry[]
  readonly snapshot: SnapshotMeta | null
}

export class Log {
  readonly #reader: LogReader
  /** Contiguous, starting at #offset. Replaced, never mutated in place, when it is cut: writes in flight hold slices of it. */
  #tail: Entry[] = []
  #offset: number
  /** Accepted, not installed yet: stands in for everything at or below its index. */
  #snapshot: SnapshotMeta | null = null
  /** Highest index known to be committed. Never decreases. Invariant: commit <= lastIndex(). */
  commit: number

  constructor(reader: LogReader, commit: number) {
    this.#reader = reader
    this.#offset = reader.lastIndex() + 1
    this.commit = commit
    invariant(commit <= this.lastIndex(), `expected commit ${commit} within a log that ends at ${this.lastIndex()}`)
  }

  firstIndex(): number {
    return this.#snapshot === null ? this.#reader.firstIndex() : this.#snapshot.index + 1
  }

  lastIndex(): number {
    return this.#offset + this.#tail.length - 1
  }

  lastTerm(): number {
    return this.term(this.lastIndex()) ?? 0
  }

  /** Highest index up to which the log is on this node's disk. While a snapshot waits to be installed, the log ends before it. */
  durableIndex(): number {
    return this.#snapshot === null ? this.#offset - 1 : 0
  }

  /** Term of the entry at `index`; null when it is compacted away or beyond the end. Index 0 has term 0, if nothing was compacted. */
  term(index: number): number | null {
    if (index >= this.#offset) return this.#tail[index - this.#offset]?.term ?? null
    if (this.#snapshot !== null) return index === this.#snapshot.index ? this.#snapshot.term : null
    return this.#reader.term(index)
  }

  matches(index: number, term: number): boolean {
    return this.term(index) === term
  }

  /** Is a log that ends in (index, term) at least as up to date as this one? (Raft, 5.4.1) */
  isUpToDate(index: number, term: number): boolean {
    const own = this.lastTerm()
    return term > own || (term === own && index >= this.lastIndex())
  }

  /** Entries in [lo, hi), at least one, stopping before `bytesMax`; null when `lo` is compacted away. The caller must not modify them. */
  entries(lo: number, hi: number, bytesMax: number): readonly Entry[] | null {
    if (lo >= hi) return []
    if (lo < this.firstIndex()) return null
    const border = Math.min(hi, this.#offset)
    const stable = lo < border ? this.#reader.entries(lo, border, bytesMax) : []
    if (stable === null || stable.length < border - lo) return stable
    let budget = bytesMax - stable.reduce((sum, entry) => sum + entryBytes(entry), 0)
    const result = [...stable]
    for (let index = Math.max(lo, this.#offset); index < hi; index += 1) {
      const entry = this.#tail[index - this.#offset]
      if (entry === undefined) break
      budget -= entryBytes(entry)
      if (budget < 0 && result.length > 0) break
      result.push(entry)
    }
    return result
  }

  /** Appends, cutting whatever stood at or after the first entry's index. */
  append(entries: readonly Entry[]): void {
    const first = entries[0]
    if (first === undefined) return
    invariant(first.index > this.commit, () => `entry ${first.index} would overwrite the committed ${this.commit}`)
    invariant(first.index <= this.lastIndex() + 1, () => `entry ${first.index} leaves a gap after ${this.lastIndex()}`)
    if (first.index === this.lastIndex() + 1) {
      this.#tail.push(...entries)
      return
    }
    const kept = first.index > this.#offset ? this.#tail.slice(0, first.index - this.#offset) : []
    this.#offset = Math.min(this.#offset, first.index)
    this.#tail = [...kept, ...entries]
  }

  /** Index in `entries` of the first that this log does not hold; entries.length when it holds all. */
  firstMissing(entries: readonly Entry[]): number {
    const at = entries.findIndex((entry) => this.term(entry.index) !== entry.term)
    return at < 0 ? entries.length : at
  }

  /**
   * The highest index at or below `index` whose term is at most `term`: where two logs may still agree. One exchange of such hints
   * skips a whole divergent term instead of one entry.
   */
  agreementHint(index: number, term: number): { readonly index: number; readonly term: number } {
    let at = Math.min(index, this.lastIndex())
    for (; at > 0; at -= 1) {
      const own = this.term(at)
      if (own === null) return { index: at, term: 0 } // Compacted: committed here, so there is nothing left to compare.
      if (own <= term) return { index: at, term: own }
    }
    return { index: 0, term: 0 }
  }

  /** Returns whether the commit index moved. */
  commitTo(index: number): boolean {
    if (index <= this.commit) return false
    invariant(index <= this.lastIndex(), () => `commit ${index} is beyond the log's end ${this.lastIndex()}`)
    this.commit = index
    return true
  }

  /** Replaces the whole log by a snapshot, which the next write asks the driver to install. */
  restore(meta: SnapshotMeta): void {
    invariant(meta.index > this.commit, 'a snapshot must not take the commit index back')
    this.#snapshot = meta
    this.#tail = []
    this.#offset = meta.index + 1
    this.commit = meta.index
  }

  /** A commit index that this node's disk can vouch for already, at any moment of the next write; `previous` while that is unclear. */
  durableCommit(previous: number): number {
    return this.#snapshot === null ? Math.min(this.commit, this.#offset - 1) : previous
  }

  hasUnpersisted(): boolean {
    return this.#tail.length > 0 || this.#snapshot !== null
  }

  /** All that is to be persisted. The caller keeps it until the write is done: one write at a time. */
  unpersisted(): LogWrite {
    return { entries: this.#tail.slice(), snapshot: this.#snapshot }
  }

  /**
   * A write is on disk: moves the border behind what of it still stands. Entries cut or replaced while it was in flight are told
   * by their terms: an entry of an older term must not make a newer one at the same index count as durable (ABA).
   */
  persisted(write: LogWrite): void {
    if (this.#snapshot !== write.snapshot) return // A newer snapshot has replaced everything since.
    this.#snapshot = null
    const first = write.entries[0]
    if (first === undefined || first.index !== this.#offset) return
    let count = 0
    while (count < write.entries.length && this.#tail[count]?.term === write.entries[count]?.term) count += 1
    this.#tail = this.#tail.slice(count)
    this.#offset += count
  }

  /** The newest snapshot that the driver could stream. */
  snapshot(): SnapshotMeta {
    return this.#reader.snapshot()
  }
}
