/**
 * The simulator's command line:
 *   node test/sim/main.ts --seeds N --ticks N [--seed S] [--seconds N] [--json FILE]
 * Runs seeds S, S+1, ...; exits 0 only if every one is clean. Same seed and ticks, same run.
 */
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { Hash } from './hash.ts'
import { runSeed, type Result } from './world.ts'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '100' },
    ticks: { type: 'string', default: '500' },
    seed: { type: 'string', default: '1' },
    seconds: { type: 'string' },
    json: { type: 'string' },
  },
})

function whole(name: 'seeds' | 'ticks' | 'seed' | 'seconds'): number {
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
  traceHash: string
  recoveryTicksMax: number
}

function report({ seed, failure }: Result, ticks: number): void {
  process.stderr.write(`seed ${seed} failed: ${failure}\nreplay: node test/sim/main.ts --seeds 1 --seed ${seed} --ticks ${ticks}\n`)
}

function run(): Summary {
  const [first, ticks] = [whole('seed'), whole('ticks')]
  const seconds = values.seconds === undefined ? null : whole('seconds')
  const started = performance.now()
  const elapsed = (): number => (performance.now() - started) / 1000
  const summary: Summary = { seeds: 0, ticks, failed: [], faults: {}, operations: 0, seconds: 0, traceHash: '', recoveryTicksMax: 0 }
  const hash = new Hash()
  const more = (): boolean => (seconds === null ? summary.seeds < whole('seeds') : elapsed() < seconds)
  for (let seed = first; more(); seed += 1) {
    const result = runSeed(seed, ticks)
    summary.seeds += 1
    summary.operations += result.operations
    summary.recoveryTicksMax = Math.max(summary.recoveryTicksMax, result.recoveryTicks)
    hash.text(result.traceHash)
    for (const [fault, count] of Object.entries(result.faults)) summary.faults[fault] = (summary.faults[fault] ?? 0) + count
    if (result.failure === null) continue
    summary.failed.push(seed)
    report(result, ticks)
  }
  summary.seconds = Math.round(elapsed() * 100) / 100
  summary.traceHash = hash.hex()
  return summary
}

const summary = run()
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(summary, null, 2)}\n`)
const { seeds, ticks, failed, operations, seconds } = summary
process.stdout.write(
  `${seeds} seeds of ${ticks} ticks, ${failed.length} failed, ${operations} operations, ${seconds} s, trace ${summary.traceHash}\n`,
)
process.exitCode = failed.length === 0 && seeds > 0 ? 0 : 1
