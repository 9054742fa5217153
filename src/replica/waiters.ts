import type { HoldfastError } from '#base/errors.ts'

interface Waiter {
  readonly index: number
  readonly resolve: () => void
  readonly reject: (error: HoldfastError) => void
}

/** Proposers that wait until this node has applied an index. */
export class AppliedWaiters {
  #waiters: Waiter[] = []
  #lowest = Infinity
  #applied: number

  constructor(applied: number) {
    this.#applied = applied
  }

  get count(): number {
    return this.#waiters.length
  }

  /** Resolves once `index` is applied, at once if it is. */
  wait(index: number): Promise<void> {
    if (index <= this.#applied) return Promise.resolve()
    return new Promise((resolve, reject) => {
      this.#waiters.push({ index, resolve, reject })
      this.#lowest = Math.min(this.#lowest, index)
    })
  }

  advance(applied: number): void {
    this.#applied = applied
    if (applied < this.#lowest) return
    const ready = this.#waiters.filter((waiter) => waiter.index <= applied)
    this.#waiters = this.#waiters.filter((waiter) => waiter.index > applied)
    this.#lowest = this.#waiters.reduce((lowest, waiter) => Math.min(lowest, waiter.index), Infinity)
    for (const waiter of ready) waiter.resolve()
  }

  rejectAll(error: HoldfastError): void {
    const waiters = this.#waiters
    this.#waiters = []
    this.#lowest = Infinity
    for (const waiter of waiters) waiter.reject(error)
  }
}
