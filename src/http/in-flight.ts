/** What is being handled right now: counted for metrics, listed for sys/in-flight-req, and swept for deadlines. Bounded by refusing. */
export interface InFlightInfo {
  readonly id: string
  readonly method: string
  /** As asked, without query: the query may hold secrets. */
  readonly path: string
  readonly clientAddress: string
  /** Wall clock, for people. */
  readonly startedMs: number
  /** Monotonic, for deadlines. */
  readonly startedMonotonicMs: number
}

export interface InFlightRequest extends InFlightInfo {
  /** Monotonic: when the core is told to give up, and when it is answered for. Listeners of one registry may differ. */
  readonly abortAtMs: number
  readonly expireAtMs: number
  /** Asks the core to give up. Safe to call more than once. */
  abort(): void
  /** Answers in the core's place, for a core that does not give up. Safe to call more than once. */
  expire(): void
}

export class InFlightRegistry {
  /** The requests themselves: by their ids, which are put together of pieces, each would first be made one text and hashed. */
  readonly #requests = new Set<InFlightRequest>()
  readonly requestsMax: number
  #served = 0
  #refused = 0
  #waiters: (() => void)[] = []

  constructor(requestsMax: number) {
    this.requestsMax = requestsMax
  }

  get count(): number {
    return this.#requests.size
  }
  /** Since the start: requests that were finished, and requests refused since too many were in flight. */
  get served(): number {
    return this.#served
  }
  get refused(): number {
    return this.#refused
  }

  /** False, and counted as refused, when the registry is full. */
  add(request: InFlightRequest): boolean {
    if (this.#requests.size >= this.requestsMax) {
      this.#refused += 1
      return false
    }
    this.#requests.add(request)
    return true
  }

  remove(request: InFlightRequest): void {
    if (!this.#requests.delete(request)) return
    this.#served += 1
    if (this.#requests.size > 0 || this.#waiters.length === 0) return
    const waiters = this.#waiters
    this.#waiters = []
    for (const waiter of waiters) waiter()
  }

  /** A copy, oldest first. */
  list(): InFlightInfo[] {
    return [...this.#requests].map(({ id, method, path, clientAddress, startedMs, startedMonotonicMs }) => ({
      id,
      method,
      path,
      clientAddress,
      startedMs,
      startedMonotonicMs,
    }))
  }

  /** Resolves when nothing is in flight. */
  idle(): Promise<void> {
    if (this.#requests.size === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#waiters.push(resolve)
    })
  }

  /** Aborts and expires what is due. */
  sweep(nowMonotonicMs: number): void {
    for (const request of this.#requests) {
      if (nowMonotonicMs >= request.abortAtMs) request.abort()
      if (nowMonotonicMs >= request.expireAtMs) request.expire()
    }
  }
}
