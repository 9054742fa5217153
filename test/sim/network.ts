/** Everything that can happen to a message on its way. Links are directed: a node may hear and not be heard. */
import type { Message } from '#raft/index.ts'
import type { Prng } from './prng.ts'
import type { EventQueue } from './queue.ts'

export interface Weather {
  readonly drop: number
  readonly duplicate: number
  readonly late: number
}

export class Network {
  readonly #queue: EventQueue
  readonly #random: Prng
  readonly #latency: readonly [number, number]
  readonly #deliver: (message: Message) => void
  readonly #count: (fault: string) => void
  readonly #cut = new Set<string>()
  weather: Weather = { drop: 0, duplicate: 0, late: 0 }

  constructor(
    queue: EventQueue,
    random: Prng,
    latency: readonly [number, number],
    deliver: (message: Message) => void,
    count: (fault: string) => void,
  ) {
    this.#queue = queue
    this.#random = random
    this.#latency = latency
    this.#deliver = deliver
    this.#count = count
  }

  send(message: Message): void {
    if (!this.isOpen(message.from, message.to)) return
    if (this.#random.chance(this.weather.drop)) return this.#count('drop')
    if (this.#random.chance(this.weather.duplicate)) {
      this.#count('duplicate')
      this.#later(message, this.delay())
    }
    if (this.#random.chance(this.weather.late)) {
      this.#count('late')
      return this.#later(message, this.delay() * this.#random.between(20, 400))
    }
    this.#later(message, this.delay())
  }

  /** A message that is under way when its link is cut is lost, too, unless it is a very late one that comes after the healing. */
  #later(message: Message, delay: number): void {
    this.#queue.after(delay, () => {
      if (this.isOpen(message.from, message.to)) this.#deliver(message)
    })
  }

  delay(): number {
    return this.#random.between(this.#latency[0], this.#latency[1])
  }

  isOpen(from: string, to: string): boolean {
    return !this.#cut.has(`${from}>${to}`)
  }

  cut(from: string, to: string): void {
    this.#cut.add(`${from}>${to}`)
  }

  heal(): void {
    this.#cut.clear()
  }

  /** Draws a partition among `ids`: two halves, one node alone, one direction only, or a bridge that both sides hear. */
  partition(ids: readonly string[]): void {
    if (ids.length < 2) return
    const order = this.#random.shuffled(ids)
    const kind = this.#random.pick(['halves', 'isolate', 'one-way', 'bridge', 'link'] as const)
    this.#count(`partition-${kind}`)
    const [first = '', second = '', ...rest] = order
    const split = this.#random.between(1, order.length - 1)
    const sides = { a: order.slice(0, split), b: order.slice(split) }
    if (kind === 'halves') this.#cutBetween(sides.a, sides.b, true)
    else if (kind === 'isolate') this.#cutBetween([first], [second, ...rest], true)
    else if (kind === 'one-way') this.#cutBetween(sides.a, sides.b, false)
    else if (kind === 'link') this.cut(first, second)
    else this.#cutBetween(rest.slice(0, rest.length / 2), [second, ...rest.slice(rest.length / 2)], true)
  }

  #cutBetween(a: readonly string[], b: readonly string[], both: boolean): void {
    for (const x of a) {
      for (const y of b) {
        this.cut(x, y)
        if (both) this.cut(y, x)
      }
    }
  }
}
