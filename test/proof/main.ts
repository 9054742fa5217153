/**
 * `npm run proof -- NAME [--resume] [--rounds N] [--seed S]`: a long experiment on the code of one commit. What each round found is written down at
 * once; --resume goes on after the last one, on the commit that it was begun on. The result goes to bench/results.
 */
import { randomInt } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { freePorts } from '#test/support/cluster.ts'
import { Prng } from '#test/sim/prng.ts'
import { freezeCode } from '../chaos/code.ts'
import { Janitor } from '../chaos/janitor.ts'
import { diskBound } from './disk-bound.ts'
import { failover } from './failover.ts'
import { flips } from './flips.ts'
import { killLoop } from './kill-loop.ts'
import { restarts } from './restarts.ts'
import { rolling } from './rolling.ts'
import type { Proof, Subject } from './types.ts'

const proofs: readonly Proof<unknown>[] = [killLoop(1), killLoop(3), failover, flips, restarts, diskBound, rolling] as Proof<unknown>[]
const results = fileURLToPath(new URL('../../bench/results', import.meta.url))
const unfinished = fileURLToPath(new URL('unfinished', import.meta.url))

interface Progress {
  readonly commit: string
  readonly seed: number
  readonly begun: string
  readonly rounds: unknown[]
}

const help = () => `npm run proof -- NAME [--rounds N] [--seed S] [--resume]

  A long experiment on the code of the last commit. What each round found is written down at once; --resume goes on after the last one, on the
  commit that it was begun on. With all of its rounds the result is kept in bench/results.

${proofs.map(({ name, rounds, claim }) => `  ${name.padEnd(15)} ${String(rounds).padStart(4)} rounds  ${claim}`).join('\n')}
`

/** What to do; null: help was asked for. @throws Error for what is none of it. */
function readOptions(): { proof: Proof<unknown>; resume: boolean; rounds: number; seed: number | null } | null {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      help: { type: 'boolean', short: 'h', default: false },
      resume: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      seed: { type: 'string' },
    },
  })
  if (values.help) return null
  const proof = proofs.find(({ name }) => name === positionals[0])
  if (proof === undefined)
    throw new Error(`expected one of ${proofs.map(({ name }) => name).join(', ')}, got ${positionals[0] ?? 'nothing'}`)
  const rounds = values.rounds === undefined ? proof.rounds : Number(values.rounds)
  if (!Number.isSafeInteger(rounds) || rounds < 1) throw new Error(`--rounds expected a number from 1 on, got ${values.rounds}`)
  return { proof, resume: values.resume, rounds, seed: values.seed === undefined ? null : Number(values.seed) }
}

/** The modules of the frozen tree, not of this one: both know the same types. */
async function loadSubject(root: string): Promise<Subject> {
  const load = async <T>(path: string): Promise<T> => (await import(pathToFileURL(join(root, path)).href)) as T
  const { LocalCluster } = await load<typeof import('#cmd/dev/local-cluster.ts')>('cmd/dev/local-cluster.ts')
  const { openLogStore } = await load<typeof import('#store/log.ts')>('src/store/log.ts')
  const { openStateStore } = await load<typeof import('#store/state.ts')>('src/store/state.ts')
  return {
    openLogStore,
    openStateStore,
    cluster: async (dataDir, options) =>
      LocalCluster.prepare({ tls: false, apiPort: options.apiPort ?? (await freePorts(options.nodes * 10)), ...options, dataDir }),
  }
}

async function main(): Promise<number> {
  let options: ReturnType<typeof readOptions>
  try {
    options = readOptions()
  } catch (error) {
    console.error(`error: ${(error as Error).message}\nhint: npm run proof -- --help`)
    return 2
  }
  if (options === null) {
    process.stdout.write(help())
    return 0
  }
  const { proof, resume, rounds, seed } = options
  const path = join(unfinished, `${proof.name}.json`)
  if (resume && !existsSync(path)) throw new Error(`expected ${path} of a run that was interrupted, got none`)
  const before = resume ? (JSON.parse(readFileSync(path, 'utf8')) as Progress) : null
  const janitor = new Janitor()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(130))
  const dir = mkdtempSync(join(tmpdir(), `holdfast-proof-${proof.name}-`))
  janitor.owe({ remove: dir })
  const code = freezeCode(join(dir, 'code'), { commit: before?.commit ?? 'HEAD' })
  const progress: Progress = before ?? {
    commit: code.commit,
    seed: seed ?? randomInt(2 ** 31),
    begun: new Date().toISOString(),
    rounds: [],
  }
  const startedMs = performance.now()
  const say = (line: string): void => console.log(`[${((performance.now() - startedMs) / 1_000).toFixed(0).padStart(4)} s] ${line}`)
  say(`${proof.claim} Commit ${code.commit.slice(0, 9)}, seed ${progress.seed}, ${progress.rounds.length} of ${rounds} rounds done`)
  mkdirSync(unfinished, { recursive: true })
  mkdirSync(join(dir, 'work'))
  const rig = await proof.prepare({ subject: await loadSubject(join(dir, 'code')), dir: join(dir, 'work'), say })
  try {
    for (let number = progress.rounds.length; number < rounds; number++) {
      progress.rounds.push(await rig.round(number, new Prng(progress.seed * 100_003 + number)))
      // A crash while it is written must not cost the rounds before.
      writeFileSync(`${path}.new`, JSON.stringify(progress))
      renameSync(`${path}.new`, path)
      if ((number + 1) % Math.max(1, Math.floor(rounds / 20)) === 0) say(`${number + 1} of ${rounds} rounds`)
    }
  } finally {
    await rig.stop()
  }
  const { figures, clean } = proof.conclude(progress.rounds)
  const record = {
    name: `proof-${proof.name}`,
    claim: proof.claim,
    command: `npm run proof -- ${proof.name} --rounds ${rounds} --seed ${progress.seed}`,
    commit: code.commit,
    begun: progress.begun,
    date: new Date().toISOString(),
    machine: {
      cores: cpus().length,
      memory_gib: Math.round(totalmem() / 2 ** 30),
      node: process.version,
      load_15_min: loadavg().map((load) => +load.toFixed(1))[2],
    },
    full: rounds >= proof.rounds,
    clean,
    figures,
  }
  console.log(JSON.stringify(record, null, 2))
  if (record.full) writeFileSync(join(results, `${record.name}.json`), `${JSON.stringify(record, null, 2)}\n`)
  else say(`fewer than ${proof.rounds} rounds: not kept in bench/results`)
  rmSync(path)
  await janitor.finish()
  return clean ? 0 : 1
}

try {
  process.exitCode = await main()
} catch (error) {
  console.error(`error: ${(error as Error).stack}\nwhat was found so far is kept: go on with --resume`)
  process.exit(2)
}
