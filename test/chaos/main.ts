/**
 * Chaos: a cluster of real processes, clients that write down what they see, one fault after the other, and a verdict. Exits with 0 only if every
 * history is linearizable, every acknowledged write is there, and every kind of fault that should be possible was.
 */
import { cpSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Prng } from '#test/sim/prng.ts'
import { Arena } from './arena.ts'
import { Clients, longestGapMs } from './clients.ts'
import { freezeCode, type Code } from './code.ts'
import { faultKinds } from './faults/index.ts'
import type { FaultKind } from './faults/types.ts'
import { Janitor } from './janitor.ts'
import { judge } from './judge/judge.ts'
import { examineMachine, installMissing, type Machine } from './machine.ts'
import { readOptions, usage, type Options } from './options.ts'
import { Storm } from './storm.ts'

const workers = 8
const progressMs = 10_000
/** From here on a kind that never had its turn is a fault of the run. */
const everyKindMinutes = 5

const startedMs = performance.now()
const say = (line: string): void => console.log(`[${((performance.now() - startedMs) / 1_000).toFixed(0).padStart(4)} s] ${line}`)

interface Report {
  readonly commit: string
  readonly uncommitted: number
  readonly seed: number
  readonly [figure: string]: unknown
}

async function chaos(
  options: Options,
  machine: Machine,
  dir: string,
  janitor: Janitor,
  code: Code,
): Promise<{ report: Report; failures: string[] }> {
  const failures: string[] = []
  const wanted = faultKinds.filter(({ name }) => options.only.length === 0 || options.only.includes(name))
  const kinds = possible(wanted, machine, options, failures)
  const run = `hf${process.pid.toString(36)}`
  const arena = await Arena.make({ nodes: options.nodes, run, dir, launcher: code.launcher, seed: options.seed, machine, janitor })
  say(
    `${options.nodes} nodes serve: ${arena.network.kind}, disks: ${arena.nodes[0]?.disk.kind}, ${kinds.length} kinds of fault, seed ${options.seed}`,
  )
  const dice = new Prng(options.seed)
  const addresses = arena.nodes.map((node) => node.apiAddress)
  const clients = new Clients({ addresses, token: arena.token, dice: dice.fork(), workers })
  const beganMs = performance.now()
  const storm = new Storm({
    arena,
    kinds,
    dice: dice.fork(),
    untilMs: beganMs + options.minutes * 60_000,
    ackedAtMs: clients.ackedAtMs,
    say,
  })
  const progress = setInterval(() => {
    const { operations, acknowledged, unknown } = clients
    say(`${operations} operations, ${acknowledged} writes acknowledged, ${unknown} unknown, ${storm.total} faults, now: ${storm.now}`)
  }, progressMs)
  clients.start()
  let result: Awaited<ReturnType<Storm['run']>> | null = null
  try {
    result = await storm.run()
  } catch (error) {
    failures.push((error as Error).message)
  }
  await delay(500)
  await clients.stop()
  clearInterval(progress)
  const endedMs = performance.now()
  say('judging')
  const nodes = arena.nodes.map((node) => ({ id: node.id, address: node.apiAddress }))
  const verdict = await arena
    .recover()
    .then(() => judge(clients.histories.epochs, nodes, arena.token, dir))
    .catch((error: unknown) => void failures.push(`the verdict: ${(error as Error).message}`))
  failures.push(...(result?.unexpectedEnds ?? []), ...clients.strange.map((code) => `an answer that no fault explains: ${code}`))
  if (verdict !== undefined) {
    failures.push(...verdict.violations, ...verdict.lost.slice(0, 20).map((each) => `lost: ${each}`))
    if (verdict.overlapping < verdict.operations / 10)
      failures.push(`expected a tenth of ${verdict.operations} operations to overlap, got ${verdict.overlapping}`)
  }
  for (const [name, { count }] of Object.entries(result?.faults ?? {}))
    if (count === 0 && options.minutes >= everyKindMinutes) failures.push(`${name}: expected at least one, got none`)
  await arena.stop()
  const report = {
    commit: code.commit,
    uncommitted: code.uncommitted,
    seed: options.seed,
    date: new Date().toISOString(),
    minutes: +((endedMs - beganMs) / 60_000).toFixed(2),
    nodes: options.nodes,
    machine: {
      cores: cpus().length,
      load_15_min: loadavg().map((load) => +load.toFixed(1))[2],
      node: process.version,
      network: arena.network.kind,
      disk: arena.nodes[0]?.disk.kind,
    },
    impossible: Object.fromEntries(
      wanted.flatMap((kind) => (kind.unavailable(machine) === null ? [] : [[kind.name, kind.unavailable(machine)]])),
    ),
    faults: result?.faults ?? {},
    faultsTotal: storm.total,
    faultKinds: Object.values(result?.faults ?? {}).filter(({ count }) => count > 0).length,
    operations: verdict?.operations ?? clients.operations,
    overlapping: verdict?.overlapping ?? null,
    acknowledged: clients.acknowledged,
    readBack: verdict?.readBack ?? null,
    unknown: clients.unknown,
    linearizable: verdict?.linearizable ?? false,
    undecided: verdict?.undecided ?? null,
    lost: verdict?.lost.length ?? null,
    longestUnavailabilityMs: Math.round(longestGapMs(clients.ackedAtMs, beganMs, endedMs)),
    refusals: Object.fromEntries([...clients.refusals].toSorted((a, b) => b[1] - a[1])),
    failures,
  }
  return { report, failures }
}

/** The kinds that can be made here. Those that can't are named with the reason; each that was not excused is a failure. */
function possible(wanted: readonly FaultKind[], machine: Machine, options: Options, failures: string[]): FaultKind[] {
  return wanted.filter((kind) => {
    const reason = kind.unavailable(machine)
    if (reason === null) return !options.without.includes(kind.name)
    say(`not possible here: ${kind.name}: ${reason}`)
    if (!options.plain && !options.without.includes(kind.name))
      failures.push(`${kind.name} is not possible here (${reason}); excuse it by --without`)
    return false
  })
}

/** Everything that may tell what happened, in a folder that stays. */
function keep(dir: string, report: Report | null): string {
  const kept = mkdtempSync(join(tmpdir(), 'holdfast-chaos-failed-'))
  cpSync(dir, kept, { recursive: true, filter: (path) => !/\/(code|slot\d+)$/.test(path) })
  writeFileSync(join(kept, 'report.json'), `${JSON.stringify(report, null, 2)}\n`)
  return kept
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2))
  if (!options.plain) installMissing(say)
  const machine = examineMachine({ plain: options.plain })
  const janitor = new Janitor()
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-chaos-'))
  janitor.owe({ remove: dir })
  // The janitor sees its input close when this process ends, however it does.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(130))
  mkdirSync(join(dir, 'code'))
  let report: Report | null = null
  let failures: string[] = []
  try {
    ;({ report, failures } = await chaos(
      options,
      machine,
      dir,
      janitor,
      freezeCode(join(dir, 'code'), options.head ? { commit: 'HEAD' } : 'tree'),
    ))
  } catch (error) {
    failures = [(error as Error).stack ?? String(error)]
  }
  if (report !== null) {
    console.table(report['faults'])
    const { faults: _, refusals: __, failures: ___, machine: ____, ...figures } = report
    console.log(JSON.stringify(figures, null, 2))
    if (options.json !== null) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`)
  }
  if (failures.length > 0) {
    console.log(`FAILED:\n${failures.map((each) => `- ${each}`).join('\n')}`)
    console.log(`logs, histories and pictures: ${keep(dir, report)}`)
    const { minutes, nodes, seed, only, plain, head } = options
    const flags = `${only.length > 0 ? ` --only "${only.join(',')}"` : ''}${plain ? ' --plain' : ''}${head ? ' --head' : ''}`
    console.log(`again: npm run chaos -- --minutes ${minutes} --nodes ${nodes} --seed ${seed}${flags}`)
  } else console.log('clean')
  await janitor.finish()
  return failures.length === 0 ? 0 : 1
}

try {
  // Not by the end of all handles: a helper that a fault has started may outlive its use.
  process.exit(await main())
} catch (error) {
  console.error(`error: ${(error as Error).message}\n${usage}`)
  process.exitCode = 2
}
