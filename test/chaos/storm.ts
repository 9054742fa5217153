/** One fault after the other until the time is over: a shuffled deck of all kinds, then the next deck, so that each kind gets its turn. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Prng } from '#test/sim/prng.ts'
import type { Arena } from './arena.ts'
import { longestGapMs } from './clients.ts'
import type { FaultKind } from './faults/types.ts'

export interface FaultFigures {
  count: number
  longestUnavailabilityMs: number
}

export interface StormOptions {
  readonly arena: Arena
  readonly kinds: readonly FaultKind[]
  readonly dice: Prng
  readonly untilMs: number
  /** When writes were acknowledged, ascending. */
  readonly ackedAtMs: readonly number[]
  readonly say: (line: string) => void
}

export interface StormResult {
  readonly faults: Record<string, FaultFigures>
  /** Nodes that ended by themselves where nothing explains it. */
  readonly unexpectedEnds: readonly string[]
}

const settleMs = 700

export class Storm {
  readonly #options: StormOptions
  readonly #faults: Record<string, FaultFigures> = {}
  readonly #unexpectedEnds: string[] = []
  /** What is going on, for the progress line. */
  now = 'calm'
  total = 0

  constructor(options: StormOptions) {
    this.#options = options
    for (const kind of options.kinds) this.#faults[kind.name] = { count: 0, longestUnavailabilityMs: 0 }
  }

  /** @throws when a fault can't be injected or the cluster does not recover from it. */
  async run(): Promise<StormResult> {
    const { kinds, dice, untilMs } = this.#options
    await delay(1_000)
    for (let deck: FaultKind[] = []; performance.now() < untilMs;) {
      if (deck.length === 0) deck = dice.shuffled(kinds)
      const kind = deck.pop()
      if (kind === undefined) break
      // Drawn apart: how often one fault draws must not change what the next one is.
      await this.#one(kind, dice.fork())
    }
    return { faults: this.#faults, unexpectedEnds: this.#unexpectedEnds }
  }

  async #one(kind: FaultKind, dice: Prng): Promise<void> {
    const { arena, ackedAtMs, say } = this.#options
    const fromMs = performance.now()
    this.now = kind.name
    try {
      const injected = await kind.inject(arena, dice)
      await delay(dice.between(...kind.holdMs))
      arena.network.calm()
      await injected.heal()
      await this.#recovered()
      await delay(settleMs)
      const gapMs = Math.round(longestGapMs(ackedAtMs, fromMs, performance.now()))
      const figures = this.#faults[kind.name] as FaultFigures
      figures.count += 1
      figures.longestUnavailabilityMs = Math.max(figures.longestUnavailabilityMs, gapMs)
      this.total += 1
      say(`${kind.name}: ${injected.on}; ${((performance.now() - fromMs) / 1_000).toFixed(1)} s, ${gapMs} ms without a write`)
    } catch (error) {
      throw new Error(`${kind.name}: ${(error as Error).message}`, { cause: error })
    } finally {
      this.now = 'calm'
    }
  }

  async #recovered(): Promise<void> {
    const { arena } = this.#options
    for (const node of arena.nodes) if (node.unexpectedEnd !== null) this.#unexpectedEnds.push(`${node.unexpectedEnd}: ${node.lastWords()}`)
    await arena.recover()
  }
}
