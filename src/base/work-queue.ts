/**
 * So many at once, so many waiting, so long: for work that costs processor or threads and that anyone may ask for (hashing passwords). What does not
 * fit is refused at once, so that a flood of it takes its own share of the machine and no more.
 */
import { assert } from './assert.ts'
import type { Clock } from './clock.ts'
import { HoldfastError } from './errors.ts'

export interface WorkQueueOptions {
  /** For the refusal: 'password hashes'. */
  readonly what: string
  readonly atOnceMax: number
  readonly waitingMax: number
  readonly waitMsMax: number
  readonly clock: Clock
}

interface Waiter {
  readonly start: () => void
  readonly refuse: () => void
}

export class WorkQueue {
  readonly #options: WorkQueueOptions
  /** First come, first served; a Set keeps the order and lets one leave from the middle. */
  readonly #waiting = new Set<Waiter>()
  #running = 0
  #refused = 0

  constructor(options: WorkQueueOptions) {
    assert(options.atOnceMax > 0, 'a queue that runs nothing would refuse everything')
    this.#options = options
  }

  get running(): number {
    return this.#running
  }

  get waiting(): number {
    return this.#waiting.size
  }

  /** Turned away since the start. */
  get refused(): number {
    return this.#refused
  }

  /** Runs `work` when it is its turn. @throws ERR_RATE_LIMITED when too many wait, or it has waited too long; what `work` throws. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#options.atOnceMax) await this.#turn()
    else this.#running += 1
    try {
      return await work()
    } finally {
      this.#next()
    }
  }

  #turn(): Promise<void> {
    const { clock, waitingMax, waitMsMax } = this.#options
    if (this.#waiting.size >= waitingMax) throw this.#refusal(`expected at most ${waitingMax} waiting, got more`)
    return new Promise((resolve, reject) => {
      const timer = clock.setTimer(waitMsMax, () => waiter.refuse())
      const waiter: Waiter = {
        start: () => {
          timer.cancel()
          resolve()
        },
        refuse: () => {
          this.#waiting.delete(waiter)
          reject(this.#refusal(`waited ${waitMsMax} ms for a turn`))
        },
      }
      this.#waiting.add(waiter)
    })
  }

  /** Hands the place on: `running` stays as it is where somebody waits. */
  #next(): void {
    const [first] = this.#waiting
    if (first === undefined) {
      this.#running -= 1
      return
    }
    this.#waiting.delete(first)
    first.start()
  }

  #refusal(why: string): HoldfastError {
    this.#refused += 1
    const { what, waitMsMax } = this.#options
    return new HoldfastError('ERR_RATE_LIMITED', `too many ${what} at once: ${why}`, {
      hint: 'nothing was done: try again as Retry-After says',
      retryAfterSeconds: Math.ceil(waitMsMax / 1_000),
    })
  }
}
