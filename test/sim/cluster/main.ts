/**
 * The simulator's command line:
 *   node test/sim/cluster/main.ts --seeds N --ticks N [--seed S] [--seconds N] [--json FILE] [--shards N] [--progress FILE] [--trace]
 * Runs seeds S, S+1, ...; exits 0 only if every one is clean. Same seed and ticks, same run. With --progress a run that was ended goes on where it was;
 * with --shards so many processes share the seeds.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { runSeed, type Result } from './world.ts'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '100' },
    ticks: { type: 'string', default: '2000' },
    seed: { type: 'string', default: '1' },
    seconds: { type: 'string' },
    json: { type: 'string' },
    shards: { type: 'string', default: '1' },
    progress: { type: 'string' },
    trace: { type: 'boolean', default: false },
    /** Used between processes: run every n-th seed, beginning with this one. */
    shard: { type: 'string', default: '0' },
    worker: { type: 'boolean', default: false },
  },
})

function whole(name: 'seeds' | 'ticks' | 'seed' | 'seconds' | 'shards' | 'shard'): number {
  const number = Number(values[name])
  if (Number.isSafeInteger(number) && number >= 0) return number
  process.stderr.write(`error: --${name} expected a whole number, got '${values[name]}'\n`)
  process.exit(2)
}

interface Summary {
  seeds: number
  readonly ticks: number
  readonly failed: number[]
  readonly faults: Record<string, number>
  operations: number
  seconds: number
  recoveryTicksMax: number
  /** Of all seeds together, in whatever order they ran. */
  traceHash: string
  /** Where a resumed run goes on. */
  next: number
}

const [first, ticks, shards] = [whole('seed'), whole('ticks'), Math.max(1, whole('shards'))]

const fresh = (): Summary => ({
  seeds: 0,
  ticks,
  failed: [],
  faults: {},
  operations: 0,
  seconds: 0,
  recoveryTicksMax: 0,
  traceHash: '0',
  next: 0,
})

function report({ seed, failure }: Result): void {
  process.stderr.write(
    `seed ${seed} failed: ${failure}\nreplay: node test/sim/cluster/main.ts --seeds 1 --seed ${seed} --ticks ${ticks} --trace\n`,
  )
}

function add(sum: Summary, other: Summary): void {
  sum.seeds += other.seeds
  sum.failed.push(...other.failed)
  sum.operations += other.operations
  sum.seconds = Math.max(sum.seconds, other.seconds)
  sum.recoveryTicksMax = Math.max(sum.recoveryTicksMax, other.recoveryTicksMax)
  sum.traceHash = mixed(sum.traceHash, other.traceHash)
  for (const [fault, count] of Object.entries(other.faults)) sum.faults[fault] = (sum.faults[fault] ?? 0) + count
}

function mixed(a: string, b: string): string {
  return (BigInt(`0x${a}`) ^ BigInt(`0x${b}`)).toString(16)
}

function save(path: string, summary: Summary): void {
  writeFileSync(`${path}.tmp`, `${JSON.stringify(summary)}\n`)
  renameSync(`${path}.tmp`, path)
}

/** Every `shards`-th seed, from `first + shard` on. */
async function run(shard: number, progress: string | undefined): Promise<Summary> {
  const seconds = values.seconds === undefined ? null : whole('seconds')
  const summary = progress !== undefined && existsSync(progress) ? (JSON.parse(readFileSync(progress, 'utf8')) as Summary) : fresh()
  const before = summary.seconds
  const started = performance.now()
  const elapsed = (): number => (performance.now() - started) / 1000
  const share = (seed: number): number => first + shard + seed * shards
  const more = (): boolean => (seconds === null ? share(summary.next) < first + whole('seeds') : elapsed() < seconds)
  while (more()) {
    const result = await runSeed(share(summary.next), ticks, values.trace ? (line) => void process.stdout.write(`${line}\n`) : undefined)
    summary.next += 1
    summary.seeds += 1
    summary.operations += result.operations
    summary.traceHash = mixed(summary.traceHash, result.traceHash)
    summary.recoveryTicksMax = Math.max(summary.recoveryTicksMax, result.recoveryTicks)
    for (const [fault, count] of Object.entries(result.faults)) summary.faults[fault] = (summary.faults[fault] ?? 0) + count
    if (result.failure !== null) {
      summary.failed.push(result.seed)
      report(result)
    }
    summary.seconds = Math.round((before + elapsed()) * 100) / 100
    if (progress !== undefined && (summary.next % 50 === 0 || result.failure !== null)) save(progress, summary)
  }
  if (progress !== undefined) save(progress, summary)
  return summary
}

/** One process a shard; their sums are added. */
async function runShards(): Promise<Summary> {
  const scratch = mkdtempSync(join(tmpdir(), 'holdfast-sim-'))
  const files = Array.from({ length: shards }, (_, at) =>
    values.progress === undefined ? join(scratch, `${at}.json`) : `${values.progress}.${at}`,
  )
  const passed = ['seeds', 'ticks', 'seed', 'seconds', 'shards'] as const
  const common = passed.flatMap((name) => (values[name] === undefined ? [] : [`--${name}`, values[name]]))
  const codes = await Promise.all(
    files.map(async (file, at) => {
      const child = spawn(process.execPath, [import.meta.filename, ...common, '--worker', '--shard', String(at), '--progress', file], {
        stdio: ['ignore', 'inherit', 'inherit'],
      })
      return new Promise<number>((resolve) => child.on('exit', (code) => resolve(code ?? 1)))
    }),
  )
  const sum = fresh()
  for (const file of files) if (existsSync(file)) add(sum, JSON.parse(readFileSync(file, 'utf8')) as Summary)
  rmSync(scratch, { recursive: true, force: true })
  if (codes.some((code) => code > 1)) throw new Error(`a shard ended with ${codes.join(', ')}`)
  return sum
}

const summary = shards > 1 && !values.worker ? await runShards() : await run(whole('shard'), values.progress)
if (!values.worker) {
  const { seeds, failed, faults, operations, seconds } = summary
  const out = {
    seeds,
    ticks,
    failed: failed.toSorted((a, b) => a - b),
    faults,
    operations,
    seconds,
    recoveryTicksMax: summary.recoveryTicksMax,
    traceHash: summary.traceHash,
  }
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(out, null, 2)}\n`)
  process.stdout.write(
    `${seeds} seeds of ${ticks} ticks, ${failed.length} failed, ${operations} operations, ${seconds} s, trace ${summary.traceHash}\n`,
  )
}
process.exitCode = summary.failed.length === 0 && summary.seeds > 0 ? 0 : 1
