/**
 * Bookkeeping of read indexes, apart from who leads.
 *
 * Intuition: a read is safe at the commit index of a moment at which its leader certainly still led. The leader proves that with
 * a round: it numbers its heartbeats, and a majority must acknowledge a number that was first sent *after* the read arrived. An
 * answer to an earlier heartbeat proves nothing about now: that is how etcd served stale reads until 2026.
 */
import type { NodeId } from './types.ts'

/** `from: null` is this node's own read, answered by a ReadState; others are answered by a message. */
export interface PendingRead {
  readonly from: NodeId | null
  readonly context: number
}

export interface ConfirmedReads {
  readonly index: number
  readonly reads: readonly PendingRead[]
}

interface Round {
  readonly round: number
  readonly index: number
  readonly reads: readonly PendingRead[]
}

/** So many rounds may be under way; later reads share the next one. Keeps heartbeats per read far below one under load. */
export const roundsInFlightMax = 4

/** The leader's side. */
export class ReadQueue {
  readonly #max: number
  #waiting: PendingRead[] = []
  #rounds: Round[] = []
  #count = 0
  /** How many reads were confirmed, and by what, since the start. */
  readonly confirmed = { byLease: 0, byRound: 0 }
  /** Number of the newest round. Only grows while this process lives, so that no number is ever used twice in a term. */
  round = 0

  constructor(max: number) {
    this.#max = max
  }

  /** Queues a read; false when the queue is full. A repeated one (its sender asked again) is kept once. */
  add(read: PendingRead): boolean {
    if (read.from !== null && this.#holds(read)) return true
    if (this.#count >= this.#max) return false
    this.#waiting.push(read)
    this.#count += 1
    return true
  }

  #holds(read: PendingRead): boolean {
    const same = (other: PendingRead): boolean => other.from === read.from && other.context === read.context
    return this.#waiting.some(same) || this.#rounds.some((round) => round.reads.some(same))
  }

  /** Are there reads that may start a round now? */
  wantsRound(): boolean {
    return this.#waiting.length > 0 && this.#rounds.length < roundsInFlightMax
  }

  hasWaiting(): boolean {
    return this.#waiting.length > 0
  }

  /** Puts all waiting reads into a new round: they are safe at `commit` once it is confirmed. */
  startRound(commit: number): void {
    this.round += 1
    this.#rounds.push({ round: this.round, index: commit, reads: this.#waiting })
    this.#waiting = []
  }

  /** Takes out all that wait: a lease answers them without a round. */
  takeWaiting(): readonly PendingRead[] {
    const reads = this.#waiting
    this.#waiting = []
    this.#count -= reads.length
    this.confirmed.byLease += reads.length
    return reads
  }

  /** Takes out what a majority's acknowledgement of `round` confirms. */
  confirm(round: number): ConfirmedReads[] {
    const confirmed: Round[] = []
    while ((this.#rounds[0]?.round ?? Infinity) <= round) {
      const first = this.#rounds.shift()
      if (first !== undefined) confirmed.push(first)
    }
    for (const { reads } of confirmed) {
      this.#count -= reads.length
      this.confirmed.byRound += reads.length
    }
    return confirmed
  }

  /** Takes out everything, to be refused. */
  drain(): PendingRead[] {
    const reads = [...this.#rounds.flatMap((round) => round.reads), ...this.#waiting]
    this.#rounds = []
    this.#waiting = []
    this.#count = 0
    return reads
  }
}

interface Batch {
  readonly id: number
  readonly contexts: readonly number[]
  ageTicks: number
}

/** The other nodes' side: reads that wait for the leader's answer, many to a message. */
export class ForwardedReads {
  readonly #max: number
  #open: number[] = []
  #batches: Batch[] = []
  #count = 0
  #nextId: number

  /**
   * `firstId` must differ from what an earlier life of this node used: an answer to that one's question, delivered late in the
   * same term, would otherwise pass for an answer to ours and be older than our read.
   */
  constructor(max: number, firstId: number) {
    this.#max = max
    this.#nextId = firstId
  }

  add(context: number): boolean {
    if (this.#count >= this.#max) return false
    this.#open.push(context)
    this.#count += 1
    return true
  }

  wantsBatch(): boolean {
    return this.#open.length > 0 && this.#batches.length < roundsInFlightMax
  }

  /** Closes the open batch and returns its id, to be sent. Reads that come later need a later question. */
  closeBatch(): number {
    const id = this.#nextId
    this.#nextId += 1
    this.#batches.push({ id, contexts: this.#open, ageTicks: 0 })
    this.#open = []
    return id
  }

  /** The contexts that an answer to `id` settles; none if it was settled before. */
  settle(id: number): readonly number[] {
    const at = this.#batches.findIndex((batch) => batch.id === id)
    const [batch] = at < 0 ? [] : this.#batches.splice(at, 1)
    this.#count -= batch?.contexts.length ?? 0
    return batch?.contexts ?? []
  }

  /** A tick passed. Returns ids to ask again (each `everyTicks`), and contexts that have waited `ticksMax`. */
  tick(everyTicks: number, ticksMax: number): { readonly again: readonly number[]; readonly expired: readonly number[] } {
    for (const batch of this.#batches) batch.ageTicks += 1
    const old = this.#batches.filter((batch) => batch.ageTicks >= ticksMax)
    const expired = old.flatMap((batch) => this.settle(batch.id))
    const again = this.#batches.filter((batch) => batch.ageTicks % everyTicks === 0).map((batch) => batch.id)
    return { again, expired }
  }

  drain(): number[] {
    const contexts = [...this.#batches.flatMap((batch) => batch.contexts), ...this.#open]
    this.#batches = []
    this.#open = []
    this.#count = 0
    return contexts
  }
}
