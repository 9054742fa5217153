/**
 * The command line of both simulators:
 *   --seeds N --ticks N [--seed S] [--seconds N] [--json FILE] [--shards N] [--progress FILE] [--trace] [--pictures FOLDER]
 * Runs seeds S, S+1, ...; exits 0 only if every one is clean, and every kind of fault happened where the run is long enough to ask for that. Same
 * seed and ticks, same run. With --progress a run that was ended goes on where it was; with --shards so many processes share the seeds.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Result, Simulator } from './result.ts'
import { addResult, addSummary, emptySummary, missingKinds, reportOf, type Summary } from './summary.ts'

const seedsBetweenSaves = 50

interface Options {
  readonly seeds: number
  readonly ticks: number
  readonly first: number
  readonly seconds: number | null
  readonly json: string | undefined
  readonly shards: number
  readonly progress: string | undefined
  readonly trace: boolean
  readonly pictures: string
  /** Used between processes: run every n-th seed, beginning with this one. */
  readonly shard: number
  readonly worker: boolean
}

/** @throws Error for an argument that is none, or no number where one is expected. */
function parse(args: readonly string[], ticks: number): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seeds: { type: 'string', default: '100' },
      ticks: { type: 'string', default: String(ticks) },
      seed: { type: 'string', default: '1' },
      seconds: { type: 'string' },
      json: { type: 'string' },
      shards: { type: 'string', default: '1' },
      progress: { type: 'string' },
      trace: { type: 'boolean', default: false },
      pictures: { type: 'string', default: join(tmpdir(), 'holdfast-sim') },
      shard: { type: 'string', default: '0' },
      worker: { type: 'boolean', default: false },
    },
  })
  const whole = (name: 'seeds' | 'ticks' | 'seed' | 'seconds' | 'shards' | 'shard'): number => {
    const number = Number(values[name])
    if (Number.isSafeInteger(number) && number >= 0) return number
    throw new Error(`--${name} expected a whole number, got '${values[name]}'`)
  }
  const { json, progress, trace, pictures, worker } = values
  return {
    seeds: whole('seeds'),
    ticks: whole('ticks'),
    first: whole('seed'),
    seconds: values.seconds === undefined ? null : whole('seconds'),
    json,
    shards: Math.max(1, whole('shards')),
    progress,
    trace,
    pictures,
    shard: whole('shard'),
    worker,
  }
}

/** Runs the command. Returns the exit code: 2 for a wrong call, 1 for a failed run. */
export async function runSimulator(simulator: Simulator, args: readonly string[]): Promise<number> {
  let options: Options
  try {
    options = parse(args, simulator.ticks)
  } catch (error) {
    process.stderr.write(`error: ${(error as Error).message}\n`)
    return 2
  }
  const summary = options.shards > 1 && !options.worker ? await runShards(simulator, options) : await runShard(simulator, options)
  const clean = summary.failed.length === 0 && summary.seeds > 0
  return options.worker ? Number(!clean) : conclude(simulator, options, summary, clean)
}

function conclude({ rows }: Simulator, { json }: Options, summary: Summary, clean: boolean): number {
  const { seeds, ticks, failed, operations, seconds, traceHash } = summary
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(reportOf(summary, rows), null, 2)}\n`)
  process.stdout.write(
    `${seeds} seeds of ${ticks} ticks, ${failed.length} failed, ${operations} operations, ${seconds} s, trace ${traceHash}\n`,
  )
  const missing = missingKinds(summary, rows)
  if (missing.length > 0) process.stderr.write(`never happened in ${seeds} seeds: ${missing.join(', ')}\n`)
  return Number(!clean || missing.length > 0)
}

/** What a seed that failed, or was asked to tell, leaves behind: how to replay it, and where its picture lies. */
export function tell(
  { program }: Pick<Simulator, 'program'>,
  { ticks, pictures }: Pick<Options, 'ticks' | 'pictures'>,
  result: Result,
): string {
  const { seed, failure, picture } = result
  const lines: string[] = []
  if (failure !== null) {
    lines.push(`seed ${seed} failed: ${failure}`, `replay: node ${program} --seeds 1 --seed ${seed} --ticks ${ticks} --trace`)
  }
  if (picture !== null) {
    mkdirSync(pictures, { recursive: true })
    const path = join(pictures, `seed-${seed}.html`)
    writeFileSync(path, picture)
    lines.push(`picture: ${path}`)
  }
  return lines.map((line) => `${line}\n`).join('')
}

/** Every `shards`-th seed, from `first + shard` on. */
async function runShard(simulator: Simulator, options: Options): Promise<Summary> {
  const { first, shard, shards, seeds, ticks, seconds, progress, trace } = options
  const summary =
    progress !== undefined && existsSync(progress) ? (JSON.parse(readFileSync(progress, 'utf8')) as Summary) : emptySummary(ticks)
  const before = summary.seconds
  const started = performance.now()
  const elapsed = (): number => (performance.now() - started) / 1000
  const share = (): number => first + shard + summary.next * shards
  const more = (): boolean => (seconds === null ? share() < first + seeds : elapsed() < seconds)
  const print = trace ? (line: string) => void process.stdout.write(`${line}\n`) : undefined
  while (more()) {
    const result = await simulator.runSeed(share(), ticks, print)
    addResult(summary, result)
    process.stderr.write(tell(simulator, options, result))
    summary.seconds = Math.round((before + elapsed()) * 100) / 100
    if (progress !== undefined && (summary.next % seedsBetweenSaves === 0 || result.failure !== null)) save(progress, summary)
  }
  if (progress !== undefined) save(progress, summary)
  return summary
}

function save(path: string, summary: Summary): void {
  writeFileSync(`${path}.tmp`, `${JSON.stringify(summary)}\n`)
  renameSync(`${path}.tmp`, path)
}

/** One process a shard; their sums are added. */
async function runShards({ program }: Simulator, options: Options): Promise<Summary> {
  const { shards, progress, seeds, ticks, first, seconds, pictures } = options
  const scratch = mkdtempSync(join(tmpdir(), 'holdfast-sim-'))
  const files = Array.from({ length: shards }, (_, at) => (progress === undefined ? join(scratch, `${at}.json`) : `${progress}.${at}`))
  const numbers = { seeds, ticks, seed: first, shards, ...(seconds === null ? {} : { seconds }) }
  const common = [...Object.entries(numbers).flatMap(([name, value]) => [`--${name}`, String(value)]), '--pictures', pictures]
  const codes = await Promise.all(
    files.map(async (file, at) => {
      const args = [join(import.meta.dirname, '../..', program), ...common, '--worker', '--shard', String(at), '--progress', file]
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit'] })
      return new Promise<number>((resolve) => child.on('exit', (code) => resolve(code ?? 1)))
    }),
  )
  const sum = emptySummary(ticks)
  for (const file of files) if (existsSync(file)) addSummary(sum, JSON.parse(readFileSync(file, 'utf8')) as Summary)
  rmSync(scratch, { recursive: true, force: true })
  if (codes.some((code) => code > 1)) throw new Error(`a shard ended with ${codes.join(', ')}`)
  return sum
}
