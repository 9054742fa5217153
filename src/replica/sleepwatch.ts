/**
 * Notices that the machine slept: the monotonic clock stands still while it is suspended, the wall clock does not (or is set right soon after). Only a
 * second witness: a wall clock that is never corrected says nothing, so a machine that may be suspended must not rely on leases (raft/README.md).
 */
import type { Clock } from '#base/clock.ts'

export class SleepWatch {
  readonly #clock: Clock
  readonly #toleranceMs: number
  #aheadMs: number

  /** Differences up to `toleranceMs` are the clocks' own: rounding, and the slow correction that time daemons make. */
  constructor(clock: Clock, toleranceMs: number) {
    this.#clock = clock
    this.#toleranceMs = toleranceMs
    this.#aheadMs = clock.nowMs() - clock.monotonicMs()
  }

  /** Has the wall clock gained on the monotonic one since the last time that this was asked? */
  slept(): boolean {
    const aheadMs = this.#clock.nowMs() - this.#clock.monotonicMs()
    const slept = aheadMs - this.#aheadMs > this.#toleranceMs
    // Set back, or far ahead: from here on. A small gain is kept, so that many of them add up to one that counts.
    if (slept || aheadMs < this.#aheadMs) this.#aheadMs = aheadMs
    return slept
  }
}
