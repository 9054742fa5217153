/**
 * Lease reads: what a leader may conclude from clocks, and what everybody promises so that it may.
 *
 * Intuition: whoever hears a leader helps nobody else into office for `promiseMs` of its own clock. It hears a heartbeat after it was sent, so until
 * that long after the *sending* of the newest round that a majority acknowledged no other leader can be elected, and what is committed here is all that is
 * committed. Clocks run at different rates: the leader counts less by the declared drift.
 *
 * The state of clocks is handed in, and always errs to the safe side. A round counts from the time that was known before it was sent; a lease is
 * trusted only at a time that was handed in after the read had arrived (a process that stood still in between must not answer from before);
 * a promise begins at the first time that is handed in after the leader was heard, and ends by the newest known. A driver that forgets to
 * hand in the time gets rounds, never a stale read.
 *
 * Rejected: counting ticks. A stalled process catches up on a few ticks only, so a lease in ticks would grow with each stall, and a burst of
 * ticks would end a promise early.
 * Rejected: storing the end of the lease when a round is confirmed. It is worked out anew for each read, from the membership in force then: so no
 * lease outlives the membership whose majority granted it.
 */
import { invariant } from './assert.ts'
import type { LeaseConfig } from './types.ts'

/** Rounds whose time of sending is known. The oldest is forgotten first, which can only end a lease early. */
export const roundsKeptMax = 256

export class Lease {
  readonly #promiseMs: number
  readonly #leaseMs: number
  #nowMs: number | null = null
  /** Was the time handed in after the newest read had arrived? */
  #fresh = false
  /** Rounds of this leadership, oldest first; times never decrease. */
  #sent: { readonly round: number; readonly sentMs: number }[] = []
  #barred = false
  /**
   * Since when this node's promise counts; 'now' stands for the next time that is handed in. A node that starts may have promised something before it
   * crashed, and has forgotten it: it behaves as if it had heard a leader just then. No exception for a sole voter, which need not have been alone.
   */
  #promisedAt: number | 'now' = 'now'

  constructor({ promiseMs, clockDriftMax }: LeaseConfig) {
    invariant(Number.isFinite(promiseMs) && promiseMs > 0, 'expected a promise of some length')
    invariant(Number.isFinite(clockDriftMax) && clockDriftMax >= 0, 'expected clockDriftMax >= 0')
    this.#promiseMs = promiseMs
    this.#leaseMs = promiseMs / (1 + clockDriftMax)
  }

  setTime(timeMs: number): void {
    invariant(Number.isFinite(timeMs), 'expected a time')
    this.#nowMs = Math.max(this.#nowMs ?? timeMs, timeMs)
    this.#fresh = true
    if (this.#promisedAt === 'now') this.#promisedAt = this.#nowMs
  }

  /** A read arrived: what the clock said before says nothing about it. */
  readArrived(): void {
    this.#fresh = false
  }

  /** A round of heartbeats is about to be sent. Its number was never used before. */
  roundSent(round: number): void {
    if (this.#nowMs === null) return
    const nowMs = this.#nowMs
    this.#sent = this.#sent.filter(({ sentMs }) => nowMs - sentMs < this.#leaseMs).slice(1 - roundsKeptMax)
    this.#sent.push({ round, sentMs: nowMs })
  }

  /** Can no other leader have been elected, given that a majority has acknowledged `round`, or a later one? */
  holds(round: number): boolean {
    const sent = this.#sent.findLast((each) => each.round <= round)
    if (sent === undefined || this.#nowMs === null || !this.#fresh || this.#barred) return false
    return this.#nowMs - sent.sentMs < this.#leaseMs
  }

  /**
   * Someone was told to campaign at once: its vote requests pass all promises, and they, or what asked for them, may be under way for as long as this
   * term lasts. That the transfer was given up does not call them back.
   */
  bar(): void {
    this.#barred = true
  }

  /** What was acknowledged so far counts no more: the driver has reason to doubt its clock. */
  forget(): void {
    this.#sent = []
  }

  /** Another role or term begins. The promise stays: it was given for a time, not for a term. */
  reset(): void {
    this.#sent = []
    this.#barred = false
  }

  /** This node hears a leader, and is about to acknowledge it. */
  promise(): void {
    this.#promisedAt = 'now'
  }

  /** Does the promise still bind? */
  promised(): boolean {
    return this.#promisedAt === 'now' || this.#nowMs === null || this.#nowMs - this.#promisedAt < this.#promiseMs
  }
}
