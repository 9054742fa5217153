/**
 * What a leader knows of one peer, and how fast it may send.
 *
 * probe:     where the logs agree is unknown: one message, then wait for its answer or the next heartbeat.
 * replicate: the logs agree up to `next - 1` if nothing was lost: send ahead, up to a window of messages and bytes.
 * snapshot:  the peer needs what is compacted away: send nothing until the driver says how the snapshot went.
 */
import type { NodeId, PeerStatus } from './types.ts'

/** Appends sent and not acknowledged: a bound on what one slow peer can pile up in buffers. */
export class Inflights {
  readonly #messagesMax: number
  readonly #bytesMax: number
  #sent: { readonly lastIndex: number; readonly bytes: number }[] = []
  #bytes = 0

  constructor(messagesMax: number, bytesMax: number) {
    this.#messagesMax = messagesMax
    this.#bytesMax = bytesMax
  }

  get count(): number {
    return this.#sent.length
  }

  get bytes(): number {
    return this.#bytes
  }

  /** One message may pass the byte limit, so that an entry larger than the window can still be sent. */
  full(): boolean {
    return this.#sent.length >= this.#messagesMax || this.#bytes >= this.#bytesMax
  }

  add(lastIndex: number, bytes: number): void {
    this.#sent.push({ lastIndex, bytes })
    this.#bytes += bytes
  }

  /** The peer holds everything up to `index`. */
  freeTo(index: number): void {
    while ((this.#sent[0]?.lastIndex ?? Infinity) <= index) {
      this.#bytes -= this.#sent.shift()?.bytes ?? 0
    }
  }

  clear(): void {
    this.#sent = []
    this.#bytes = 0
  }
}

export class Progress {
  readonly id: NodeId
  readonly inflights: Inflights
  state: 'probe' | 'replicate' | 'snapshot' = 'probe'
  /** Highest index known to be durable at the peer and equal to ours. Never decreases in a term. */
  match = 0
  /** The next index to send. Invariant: match < next. */
  next: number
  /** In probe: a message is out, and nothing more goes until it is answered or a heartbeat is. */
  probeSent = false
  /** Say something even if there is nothing new: an answer to a heartbeat showed that the peer lags. */
  owed = false
  /** Highest commit index that was sent; lost ones are made good by heartbeats. */
  sentCommit = 0
  /** In snapshot: index of the snapshot that is on its way. */
  pendingSnapshot = 0
  /** The peer refused even the empty prefix: it is new, and only a snapshot brings it in. */
  needsSnapshot = false
  /** Highest read round that it has confirmed. */
  ackedRound = 0
  /** Highest read round that it has confirmed together with a promise as long as this leader's. */
  promisedRound = 0
  ticksSinceContact = 0
  /** It was heard since this node leads, or it became a peer: until then `ticksSinceContact` counts from there. */
  heard = false
  sealed: boolean | null = null
  /** Ticks since the membership dropped it; null while it is a member. It is told of its removal, then forgotten. */
  departedTicks: number | null = null

  constructor(id: NodeId, next: number, window: { readonly messagesMax: number; readonly bytesMax: number }) {
    this.id = id
    this.next = next
    this.inflights = new Inflights(window.messagesMax, window.bytesMax)
  }

  becomeProbe(next = this.match + 1): void {
    this.state = 'probe'
    this.next = Math.max(next, this.match + 1)
    this.probeSent = false
    this.pendingSnapshot = 0
    this.sentCommit = 0
    this.inflights.clear()
  }

  becomeReplicate(): void {
    this.becomeProbe()
    this.state = 'replicate'
  }

  becomeSnapshot(index: number): void {
    this.becomeProbe()
    this.state = 'snapshot'
    this.pendingSnapshot = index
    this.needsSnapshot = false
  }

  /** The peer acknowledged `index`. Returns whether that says more than was known. */
  acknowledged(index: number, firstIndex: number): boolean {
    const news = index > this.match
    this.match = Math.max(this.match, index)
    this.next = Math.max(this.next, index + 1)
    this.needsSnapshot = false
    if (this.state === 'replicate') this.inflights.freeTo(index)
    // In snapshot, an acknowledgement that reaches what we still hold makes the snapshot needless, wherever it came from.
    else if (this.state === 'probe' || this.match + 1 >= firstIndex) this.becomeReplicate()
    return news
  }

  /**
   * The peer refused an append after `rejected`, and may agree at `agreement` or below. Stale refusals change nothing: in probe
   * only the message that is out can be refused; in replicate nothing at or below `match` can.
   */
  refused(rejected: number, agreement: number): void {
    if (this.state === 'snapshot' || rejected <= this.match) return this.refusedNothing(rejected)
    if (this.state === 'replicate') return this.becomeProbe()
    if (rejected !== this.next - 1) return
    this.next = Math.max(Math.min(rejected, agreement + 1), this.match + 1)
    this.probeSent = false
  }

  /** A peer that refuses the empty prefix holds nothing at all and wants a snapshot. */
  refusedNothing(rejected: number): void {
    if (rejected !== 0 || this.match > 0 || this.state !== 'probe') return
    this.needsSnapshot = true
    this.probeSent = false
  }

  status(voter: boolean, activeTicks: number): PeerStatus {
    return {
      id: this.id,
      voter,
      state: this.state,
      match: this.match,
      next: this.next,
      recentActive: this.ticksSinceContact < activeTicks,
      ticksSinceContact: this.ticksSinceContact,
      sealed: this.sealed,
    }
  }
}
