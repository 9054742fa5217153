/**
 * A node's disk and state machine: what survives a crash, and what does not.
 *
 * The state machine is a chain of digests: applying an entry hashes it onto the state before. Two nodes with the same digest have
 * applied the same entries in the same order.
 */
import {
  applyMembershipEntry,
  emptyMembership,
  EntryType,
  type Effects,
  type Entry,
  type HardState,
  type LogReader,
  type Membership,
  type SnapshotMeta,
} from '#raft/index.ts'
import { Hash } from './hash.ts'
import type { Prng } from './prng.ts'

export interface State {
  readonly index: number
  readonly term: number
  readonly membership: Membership
  readonly digest: string
}

export type Persist = NonNullable<Effects['persist']>

export function applyEntry(state: State, entry: Entry): State {
  const membership = entry.type === EntryType.membership ? applyMembershipEntry(state.membership, entry.data) : state.membership
  const hash = new Hash().text(state.digest).number(entry.index).number(entry.term).number(entry.type).bytes(entry.data)
  return { index: entry.index, term: entry.term, membership, digest: hash.text(JSON.stringify(membership)).hex() }
}

export class SimDisk implements LogReader {
  hardState: HardState = { term: 0, vote: null, commit: 0 }
  #entries: Entry[] = []
  #first = 1
  #termBefore = 0
  /** Every state since the last sync, oldest first: a crash may bring back any of them. */
  #states: [State, ...State[]]
  /** Snapshots that arrived in full and are not installed. */
  readonly received = new Map<number, State>()

  constructor(voters: readonly string[]) {
    this.#states = [{ index: 0, term: 0, membership: { ...emptyMembership, voters: [...voters] }, digest: '' }]
  }

  get state(): State {
    return this.#states.at(-1) ?? this.#states[0]
  }

  firstIndex(): number {
    return this.#first
  }

  lastIndex(): number {
    return this.#first + this.#entries.length - 1
  }

  term(index: number): number | null {
    if (index === this.#first - 1) return this.#termBefore
    return this.#entries[index - this.#first]?.term ?? null
  }

  entries(lo: number, hi: number, bytesMax: number): readonly Entry[] | null {
    if (lo < this.#first) return null
    const result: Entry[] = []
    let bytes = 0
    for (const entry of this.#entries.slice(lo - this.#first, hi - this.#first)) {
      bytes += entry.data.length
      if (bytes > bytesMax && result.length > 0) break
      result.push(entry)
    }
    return result
  }

  snapshot(): SnapshotMeta {
    return { index: this.state.index, term: this.state.term, membership: this.state.membership }
  }

  apply(entry: Entry): void {
    if (entry.index !== this.state.index + 1) throw new Error(`expected entry ${this.state.index + 1} to apply, got ${entry.index}`)
    this.#states.push(applyEntry(this.state, entry))
  }

  sync(): void {
    this.#states = [this.state]
  }

  /** Forgets entries up to `index`, which must be synced. */
  compact(index: number): void {
    const to = Math.min(index, this.#states[0].index)
    if (to < this.#first) return
    this.#termBefore = this.term(to) ?? 0
    this.#entries = this.#entries.slice(to - this.#first + 1)
    this.#first = to + 1
  }

  persist(persist: Persist): void {
    if (persist.hardState !== null) this.hardState = persist.hardState
    if (persist.snapshot !== null) this.#install(persist.snapshot)
    this.#append(persist.entries)
  }

  #append(entries: readonly Entry[]): void {
    const first = entries[0]
    if (first === undefined) return
    if (first.index < this.#first || first.index > this.lastIndex() + 1) {
      throw new Error(`expected entries to follow the log [${this.#first}, ${this.lastIndex()}], got ${first.index}`)
    }
    this.#entries = [...this.#entries.slice(0, first.index - this.#first), ...entries]
  }

  #install(meta: SnapshotMeta): void {
    const state = this.received.get(meta.index)
    if (state === undefined) throw new Error(`expected a received snapshot at ${meta.index}, got none`)
    // Only what this one replaces: a newer snapshot may have arrived while this one was being installed.
    for (const index of this.received.keys()) if (index <= meta.index) this.received.delete(index)
    this.#states = [state]
    this.#entries = []
    this.#first = meta.index + 1
    this.#termBefore = meta.term
  }

  /**
   * The power fails while `persist` is under way: of it, a prefix in the promised order reaches the disk (hard state, snapshot,
   * entries one by one). Applied state that was not synced may or may not be there.
   */
  crash(random: Prng, persist: Persist | null): void {
    const kept = random.below(this.#states.length)
    this.#states = [this.#states[kept] ?? this.#states[0]]
    if (persist !== null) this.#tear(random, persist)
    this.received.clear()
  }

  #tear(random: Prng, persist: Persist): void {
    const stage = random.below(4)
    if (stage >= 1 && persist.hardState !== null) this.hardState = persist.hardState
    if (stage >= 2 && persist.snapshot !== null) this.#install(persist.snapshot)
    if (stage >= 3) this.#append(persist.entries.slice(0, random.below(persist.entries.length + 1)))
  }
}
