/**
 * Seeded bugs against the tests that are to find them:
 *   node test/mutants/main.ts [--only ID,ID] [--seconds N] [--ticks N] [--simulator FILE] [--worktree] [--json FILE] [--list]
 * Takes a private copy of the last commit (`--worktree`: of the files as they lie here), and tries one mutant after another in it.
 * Exits 0 only if every one is killed; 1 with survivors; 2 for a wrong call, or where the tree itself is not sound.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { mutants } from './mutants.ts'
import { Sandbox } from './sandbox.ts'
import { Trial, type Verdict } from './trial.ts'
import type { Mutant } from './types.ts'

const root = resolve(import.meta.dirname, '../..')
const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    seconds: { type: 'string', default: '30' },
    ticks: { type: 'string', default: '500' },
    simulator: { type: 'string' },
    worktree: { type: 'boolean', default: false },
    json: { type: 'string' },
    list: { type: 'boolean', default: false },
  },
})

function quit(message: string): never {
  process.stderr.write(`error: ${message}\n`)
  process.exit(2)
}

function whole(name: 'seconds' | 'ticks'): number {
  const number = Number(values[name])
  return Number.isSafeInteger(number) && number > 0 ? number : quit(`--${name} expected a positive whole number, got '${values[name]}'`)
}

function chosen(): readonly Mutant[] {
  if (values.only === undefined) return mutants
  const ids = values.only.split(',')
  const unknown = ids.filter((id) => !mutants.some((mutant) => mutant.id === id))
  return unknown.length > 0
    ? quit(`--only expected ids of --list, got ${unknown.join(', ')}`)
    : mutants.filter(({ id }) => ids.includes(id))
}

function list(): void {
  for (const { id, failures, file, breaks } of chosen()) process.stdout.write(`${id}  [${failures.join(', ')}] ${file}: ${breaks}\n`)
}

function row({ id, failures, killedBy, seconds, seed, evidence }: Verdict): string {
  const by = killedBy ?? 'SURVIVED'
  const cells = [
    id.padEnd(34),
    failures.join(',').padEnd(8),
    by.padEnd(10),
    `${seconds ?? '-'} s`.padStart(8),
    `${seed ?? '-'}`.padStart(6),
  ]
  return `${cells.join(' ')}  ${evidence.slice(0, 110)}\n`
}

function report(commit: string, verdicts: readonly Verdict[], unclean: ReadonlySet<string>, seconds: number): object {
  const killed = verdicts.filter(({ killedBy }) => killedBy !== null)
  return {
    commit,
    worktree: values.worktree,
    node: process.version,
    secondsPerMutant: whole('seconds'),
    ticks: whole('ticks'),
    seconds: Math.round(seconds),
    mutants: verdicts.length,
    killed: killed.length,
    killedBySimulator: killed.filter(({ killedBy }) => killedBy === 'simulator').length,
    survivors: verdicts.filter(({ killedBy }) => killedBy === null).map(({ id }) => id),
    /** Seeds that fail without any mutant, and were passed over. */
    unclean: [...unclean],
    verdicts,
  }
}

async function run(): Promise<number> {
  const started = performance.now()
  const commit = execFileSync('git', ['rev-parse', 'HEAD'], { cwd: root }).toString().trim()
  const sandbox = new Sandbox(root, commit, values.worktree)
  // Stopped from outside: the copy goes, too.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))
  process.once('exit', () => sandbox.end())
  const options = { seconds: whole('seconds'), ticks: whole('ticks'), simulator: values.simulator ?? null }
  const trial = new Trial(sandbox, options)
  const unsound = await trial.baseline()
  if (unsound !== null) quit(unsound)
  const verdicts: Verdict[] = []
  for (const mutant of chosen()) {
    const verdict = await trial.judge(mutant)
    verdicts.push(verdict)
    process.stdout.write(row(verdict))
  }
  const json = values.json ?? (values.only === undefined ? 'bench/results/mutants.json' : null)
  if (json !== null) {
    mkdirSync(dirname(resolve(root, json)), { recursive: true })
    writeFileSync(
      resolve(root, json),
      `${JSON.stringify(report(commit, verdicts, trial.unclean, (performance.now() - started) / 1_000), null, 2)}\n`,
    )
  }
  const survivors = verdicts.filter(({ killedBy }) => killedBy === null)
  const bySimulator = verdicts.filter(({ killedBy }) => killedBy === 'simulator').length
  process.stdout.write(`${verdicts.length - survivors.length} of ${verdicts.length} killed, ${bySimulator} by the simulator alone\n`)
  for (const seed of trial.unclean) process.stdout.write(`fails without any mutant: ${seed}\n`)
  for (const { id, breaks, evidence } of survivors) process.stdout.write(`survivor ${id}: ${breaks} (${evidence})\n`)
  return survivors.length === 0 ? 0 : 1
}

if (values.list) list()
else process.exitCode = await run()
