/** What happens next: events by time, and among equals in the order in which they were scheduled. A binary heap. */
interface Event {
  readonly time: number
  readonly seq: number
  readonly run: () => void
}

export class EventQueue {
  #heap: Event[] = []
  #seq = 0
  now = 0

  after(delay: number, run: () => void): void {
    this.#push({ time: this.now + delay, seq: this.#seq, run })
    this.#seq += 1
  }

  /** Runs events up to and including `time`. */
  runUntil(time: number, afterEach: () => void): void {
    for (let next = this.#heap[0]; next !== undefined && next.time <= time; next = this.#heap[0]) {
      this.#pop()
      this.now = next.time
      next.run()
      afterEach()
    }
    this.now = time
  }

  #push(event: Event): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(event)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!before(event, heap[parent])) break
      heap[at] = heap[parent] ?? event
      at = parent
    }
    heap[at] = event
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (heap.length === 0 || last === undefined) return
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && before(heap[child + 1], heap[child])) child += 1
      if (!before(heap[child], last)) break
      heap[at] = heap[child] ?? last
      at = child
    }
    heap[at] = last
  }
}

function before(a: Event | undefined, b: Event | undefined): boolean {
  if (a === undefined || b === undefined) return a !== undefined
  return a.time < b.time || (a.time === b.time && a.seq < b.seq)
}
