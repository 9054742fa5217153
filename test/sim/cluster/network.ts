/** Everything that can happen to a message or a snapshot on its way. Links are directed: a node may hear and not be heard. */
import { HoldfastError } from '#base/errors.ts'
import type { Prng } from '../prng.ts'
import type { Chances, Span } from './draw.ts'
import type { Life } from './life.ts'
import type { Scheduler } from './scheduler.ts'

export interface NetworkOptions {
  readonly scheduler: Scheduler
  readonly random: Prng
  readonly latency: Span
  readonly chunkLatency: Span
  /** The process that runs as this node now. */
  readonly lifeOf: (id: string) => Life | null
  readonly count: (fault: string) => void
}

export class Network {
  readonly #options: NetworkOptions
  readonly #cut = new Set<string>()
  readonly #flapping = new Set<string>()
  /** Newest message delivered on each link, by order of sending. */
  readonly #delivered = new Map<string, number>()
  #sent = 0
  chances: Pick<Chances, 'loss' | 'duplicate' | 'late' | 'chunkBreaks' | 'chunkRots'>

  constructor(options: NetworkOptions, chances: Chances) {
    this.#options = options
    this.chances = chances
  }

  send(from: Life, to: string, message: unknown): void {
    const { random, count } = this.#options
    if (!this.isOpen(from.id, to)) return count('cut')
    if (random.chance(this.chances.loss)) return count('loss')
    if (random.chance(this.chances.duplicate)) {
      count('duplicate')
      this.#deliver(from, to, message, this.delay(), false)
    }
    const late = random.chance(this.chances.late)
    if (late) count('late')
    this.#deliver(from, to, message, late ? this.delay() * random.between(20, 400) : this.delay(), late)
  }

  #deliver(from: Life, to: string, message: unknown, delay: number, late: boolean): void {
    const { scheduler, lifeOf, count } = this.#options
    const target = lifeOf(to)
    const seq = (this.#sent += 1)
    scheduler.after(delay, () => {
      if (!this.isOpen(from.id, to)) return
      const now = lifeOf(to)
      if (now === null) return
      // A very late message comes whoever listens by now, and whether or not the sender is still a member: the core must stand it by itself.
      if (late && !from.genuine) return
      if (late && now !== target) count('late-after-restart')
      if (late && !now.accepts(from)) count('late-after-removal')
      if (!late && (!now.accepts(from) || !from.accepts(now))) return
      const link = `${from.id}>${to}`
      if ((this.#delivered.get(link) ?? 0) > seq) count('reorder')
      else this.#delivered.set(link, seq)
      now.receive(from.id, message)
    })
  }

  /** Streams chunk by chunk; whatever breaks on the way breaks both ends. */
  async sendSnapshot(from: Life, to: string, header: Uint8Array, body: AsyncIterable<Uint8Array>): Promise<void> {
    const { scheduler, random, chunkLatency, lifeOf, count } = this.#options
    await scheduler.sleep(this.delay())
    if (!from.alive) return await new Promise(() => {})
    const target = lifeOf(to)
    if (target === null || !this.isOpen(from.id, to) || !target.accepts(from) || !from.accepts(target)) throw unreachable(to)
    const pipe = new Pipe()
    const broken = new Promise<never>((_, reject) => {
      target.onDeath(() => reject(unreachable(to)))
      from.onDeath(() => pipe.fail(unreachable(from.id)))
    })
    const received = target.receiveSnapshot(from.id, header, pipe)
    received.catch(() => {})
    broken.catch(() => {})
    try {
      for await (const chunk of body) {
        for (let at = 0; at < chunk.length; at += 256) {
          await scheduler.sleep(random.between(chunkLatency[0], chunkLatency[1]))
          if (!from.alive) return await new Promise(() => {})
          if (!target.alive || !this.isOpen(from.id, to)) throw unreachable(to)
          if (random.chance(this.chances.chunkBreaks)) {
            count('snapshot-broken')
            throw unreachable(to)
          }
          const piece = Uint8Array.from(chunk.subarray(at, at + 256))
          if (random.chance(this.chances.chunkRots)) {
            count('snapshot-rots')
            const bit = random.below(piece.length * 8)
            piece[bit >> 3] = (piece[bit >> 3] ?? 0) ^ (1 << (bit & 7))
          }
          pipe.push(piece)
        }
      }
    } catch (error) {
      pipe.fail(error)
      throw error
    }
    pipe.end()
    await Promise.race([received, broken])
    await scheduler.sleep(this.delay())
    if (!from.alive) return await new Promise(() => {})
    if (!this.isOpen(to, from.id)) throw unreachable(to)
  }

  delay(): number {
    const { random, latency } = this.#options
    return random.between(latency[0], latency[1])
  }

  isOpen(from: string, to: string): boolean {
    return !this.#cut.has(`${from}>${to}`)
  }

  cut(from: string, to: string): void {
    this.#cut.add(`${from}>${to}`)
  }

  heal(): void {
    this.#cut.clear()
    this.#flapping.clear()
  }

  /** Draws a partition among `ids`: two halves, one node alone, one direction only, one link, or a bridge that both sides hear. */
  partition(ids: readonly string[]): void {
    if (ids.length < 2) return
    const { random, count } = this.#options
    const order = random.shuffled(ids)
    const kind = random.pick(['halves', 'isolate', 'asymmetric', 'bridge', 'link'] as const)
    count(`partition-${kind}`)
    const [first = '', second = '', ...rest] = order
    const split = random.between(1, order.length - 1)
    const half = rest.length >> 1
    if (kind === 'halves') this.#cutBetween(order.slice(0, split), order.slice(split), true)
    else if (kind === 'isolate') this.#cutBetween([first], [second, ...rest], true)
    else if (kind === 'asymmetric') this.#cutBetween(order.slice(0, split), order.slice(split), false)
    else if (kind === 'link') this.cut(first, second)
    else this.#cutBetween(rest.slice(0, half), [second, ...rest.slice(half)], true)
  }

  /** One link opens and closes again and again. */
  flap(a: string, b: string, periods: number, period: number): void {
    const { scheduler, count } = this.#options
    const link = `${a}>${b}`
    if (a === b || this.#flapping.has(link)) return
    this.#flapping.add(link)
    count('flap')
    for (let at = 0; at < periods; at += 1) {
      scheduler.after(at * period, () => {
        if (!this.#flapping.has(link)) return
        if (at % 2 === 0) this.#cutBetween([a], [b], true)
        else for (const each of [link, `${b}>${a}`]) this.#cut.delete(each)
        if (at === periods - 1) this.#flapping.delete(link)
      })
    }
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

function unreachable(peer: string): HoldfastError {
  return new HoldfastError('ERR_UPSTREAM', `simulated: the stream with '${peer}' broke`)
}

/** Bytes from one side to the other, in order, until one of them ends it. */
class Pipe implements AsyncIterable<Uint8Array> {
  readonly #pieces: Uint8Array[] = []
  #ended = false
  #error: unknown = null
  #wake: () => void = () => {}

  push(piece: Uint8Array): void {
    this.#pieces.push(piece)
    this.#wake()
  }

  end(): void {
    this.#ended = true
    this.#wake()
  }

  fail(error: unknown): void {
    this.#error ??= error
    this.#wake()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      const piece = this.#pieces.shift()
      if (piece !== undefined) yield piece
      else if (this.#error !== null) throw this.#error
      else if (this.#ended) return
      else await new Promise<void>((resolve) => (this.#wake = resolve))
    }
  }
}
