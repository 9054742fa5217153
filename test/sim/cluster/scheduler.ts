/**
 * Simulated time. Every timer, message and disk operation of the cluster is an event here; between two events all promises that can settle do,
 * so that what happens depends on nothing but the order of events. Time is in microseconds.
 */
interface Event {
  readonly time: number
  readonly seq: number
  run: (() => void) | null
}

export interface Scheduled {
  cancel(): void
}

export class Scheduler {
  readonly #heap: Event[] = []
  #seq = 0
  now = 0
  /** Events run so far. */
  events = 0

  /** Runs `run` after `delay`; among equals in the order in which they came. */
  after(delay: number, run: () => void): Scheduled {
    const event: Event = { time: this.now + delay, seq: this.#seq, run }
    this.#seq += 1
    this.#push(event)
    return { cancel: () => (event.run = null) }
  }

  sleep(delay: number): Promise<void> {
    return new Promise((resolve) => {
      this.after(delay, resolve)
    })
  }

  /** Runs events up to and including `time`. After each, promises settle before the next one. */
  async runUntil(time: number): Promise<void> {
    for (let next = this.#heap[0]; next !== undefined && next.time <= time; next = this.#heap[0]) {
      this.#pop()
      if (next.run === null) continue
      this.now = next.time
      this.events += 1
      next.run()
      await settled()
    }
    this.now = time
  }

  #push(event: Event): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(event)
    while (at > 0) {
      const parent = (at - 1) >> 1
      const above = heap[parent] as Event
      if (!before(event, above)) break
      heap[at] = above
      at = parent
    }
    heap[at] = event
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop() as Event
    if (heap.length === 0) return
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && before(heap[child + 1] as Event, heap[child] as Event)) child += 1
      const below = heap[child] as Event
      if (!before(below, last)) break
      heap[at] = below
      at = child
    }
    heap[at] = last
  }
}

function before(a: Event, b: Event): boolean {
  return a.time < b.time || (a.time === b.time && a.seq < b.seq)
}

/** Resolves when every promise that can settle has: nothing else in this process waits for a timer or for real I/O. */
export function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
