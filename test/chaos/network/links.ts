/** What stands between the nodes: for each ordered pair of slots how bytes get from one to the other. */
import type { Prng } from '#test/sim/prng.ts'

export interface Link {
  /** Nothing gets through: what was sent waits, as a segment that is repeated until the way is free. */
  cut: boolean
  delayMs: number
  jitterMs: number
  /** Part of the chunks that are lost at first, and come a retransmission later. */
  loss: number
}

export class Links {
  readonly #links: Link[][]
  readonly #watchers = new Set<() => void>()
  readonly dice: Prng

  constructor(slots: number, dice: Prng) {
    this.dice = dice
    this.#links = Array.from({ length: slots }, () => Array.from({ length: slots }, calm))
  }

  at(from: number, to: number): Readonly<Link> {
    return this.#links[from]?.[to] ?? calm()
  }

  set(from: number, to: number, change: Partial<Link>): void {
    Object.assign(this.#links[from]?.[to] as Link, change)
    for (const watcher of this.#watchers) watcher()
  }

  calm(): void {
    for (const row of this.#links) for (const link of row) Object.assign(link, calm())
    for (const watcher of this.#watchers) watcher()
  }

  /** Called after each change, until the returned function is. */
  watch(watcher: () => void): () => void {
    this.#watchers.add(watcher)
    return () => void this.#watchers.delete(watcher)
  }
}

function calm(): Link {
  return { cut: false, delayMs: 0, jitterMs: 0, loss: 0 }
}
