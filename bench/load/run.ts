/** Measures every work at every number of connections on one side, or on two in turns. */
import { readFileSync } from 'node:fs'
import { drive, type Driven, type Work } from './drive.ts'
import { monotonicMicros, type Window } from './profile.ts'
import { ratiosOf, type Spread } from './ratios.ts'
import { figuresOf, type SideFigures } from './report.ts'
import type { Side } from './side.ts'

/** A side that is ready: its works by name. */
export interface Ready {
  readonly side: Side
  readonly work: (name: string) => Work
}

export interface RunOptions {
  readonly connections: number
  readonly seconds: number
  readonly warmUpSeconds: number
  readonly turns: number
  readonly dataDir: string
  readonly rate: { readonly perSecond: number } | { readonly percent: number } | null
  readonly say: (line: string) => void
}

export interface Measured {
  readonly work: string
  readonly connections: number
  readonly sides: readonly SideFigures[]
  /** When the first side had its turns, warming up left out. */
  readonly windows: readonly Window[]
  /** The first over the second; null: there is one. */
  readonly ratio: { readonly per_second: Spread; readonly serving_cpu: Spread | null; readonly p99: Spread | null } | null
}

/** The first turn warms up longer: what V8 compiles, it compiles then. */
const firstWarmUps = 3

/** @throws Error where a side stops answering. */
export async function measure(name: string, sides: readonly Ready[], options: RunOptions): Promise<Measured> {
  const prepared = sides.map((ready) => ({ ready, work: ready.work(name) }))
  const rate = await rateOf(prepared, options)
  const turns: Driven[][] = sides.map(() => [])
  const windows: Window[] = []
  for (let turn = 0; turn < options.turns; turn += 1) {
    for (const [i, { ready, work }] of prepared.entries()) {
      const driven = await driveOnce(
        ready.side,
        work,
        rate,
        turn === 0 ? { ...options, warmUpSeconds: firstWarmUps * options.warmUpSeconds } : options,
      )
      turns[i]!.push(driven)
      const to = monotonicMicros()
      if (i === 0) windows.push({ work: name, from: to - driven.seconds * 1e6, to })
      options.say(
        `${name}, ${options.connections} connections, turn ${turn + 1} of ${options.turns}: ${ready.side.label} ${Math.round(driven.perSecond)}/s`,
      )
    }
  }
  const figures = prepared.map(({ ready }, i) => figuresOf(ready.side.label, turns[i]!, rate))
  const [a, b] = turns
  return {
    work: name,
    connections: options.connections,
    sides: figures,
    windows,
    ratio:
      a === undefined || b === undefined
        ? null
        : {
            per_second: ratiosOf(rates(a), rates(b)),
            serving_cpu: ratioOrNull(servingCpu(a), servingCpu(b)),
            p99: ratioOrNull(p99s(a), p99s(b)),
          },
  }
}

const rates = (turns: readonly Driven[]): number[] => turns.map(({ perSecond }) => perSecond)
const p99s = (turns: readonly Driven[]): number[] => turns.map(({ latencies }) => latencies.at(0.99))
const servingCpu = (turns: readonly Driven[]): number[] =>
  turns.map(({ servers, requests, seconds }) => (Math.max(0, ...servers.map(({ cores }) => cores)) * seconds) / requests)

function ratioOrNull(a: readonly number[], b: readonly number[]): Spread | null {
  return [...a, ...b].every((value) => value > 0) ? ratiosOf(a, b) : null
}

function driveOnce(
  side: Side,
  work: Work,
  rate: number | null,
  { connections, seconds, warmUpSeconds, dataDir }: RunOptions,
): Promise<Driven> {
  return drive({
    addresses: side.addresses,
    ca: side.caPath === null ? null : readFileSync(side.caPath),
    work,
    connections,
    warmUpMs: warmUpSeconds * 1_000,
    runMs: seconds * 1_000,
    rate,
    processes: side.processes,
    dataDir: side.processes.length === 0 ? null : dataDir,
  })
}

/** The rate as a number: a percentage is one of what the slower side does without a rate, so that both are asked the same. */
async function rateOf(prepared: readonly { readonly ready: Ready; readonly work: Work }[], options: RunOptions): Promise<number | null> {
  const { rate } = options
  if (rate === null) return null
  if ('perSecond' in rate) return rate.perSecond
  const most: number[] = []
  for (const { ready, work } of prepared) {
    const { perSecond } = await driveOnce(ready.side, work, null, options)
    options.say(`${work.name}: ${ready.side.label} answers ${Math.round(perSecond)}/s without a rate`)
    most.push(perSecond)
  }
  return Math.max(1, (Math.min(...most) * rate.percent) / 100)
}
