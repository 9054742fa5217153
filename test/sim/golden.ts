/**
 * Trace hashes of a few dozen short runs, kept in golden.json: the same seed must give the same run on every machine and every Node.
 *   node test/sim/golden.ts             compares on this Node
 *   node test/sim/golden.ts --node24    compares on Node 24 as well, which npm puts into a temporary folder
 *   node test/sim/golden.ts --update    writes them anew, as every change of behaviour makes necessary
 * Exits 1 where they differ.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { runSeed as runCluster } from './cluster/world.ts'
import type { Simulator } from './result.ts'
import { runSeed as runCore } from './world.ts'

const file = join(import.meta.dirname, 'golden.json')
const otherNode = 'node@24'

const runs: Readonly<Record<string, { readonly seeds: number; readonly ticks: number; readonly runSeed: Simulator['runSeed'] }>> = {
  core: { seeds: 40, ticks: 150, runSeed: runCore },
  cluster: { seeds: 30, ticks: 200, runSeed: runCluster },
}

export interface Golden {
  readonly ticks: number
  /** Seed -> trace hash. */
  readonly hashes: Readonly<Record<string, string>>
}

export const behaviourChanged =
  'the simulated runs changed: that is right after a change of behaviour in raft/, src/replica, src/store or test/sim, ' +
  'and then `npm run sim:golden -- --update` is due; without such a change something undetermined has crept in'

/** What golden.json says. */
export function readGolden(): Readonly<Record<string, Golden>> {
  return JSON.parse(readFileSync(file, 'utf8')) as Record<string, Golden>
}

/** The same, computed now. */
export async function computeGolden(): Promise<Readonly<Record<string, Golden>>> {
  const found: Record<string, Golden> = {}
  for (const [name, { seeds, ticks, runSeed }] of Object.entries(runs)) {
    const hashes: Record<string, string> = {}
    for (let seed = 1; seed <= seeds; seed += 1) hashes[seed] = (await runSeed(seed, ticks)).traceHash
    found[name] = { ticks, hashes }
  }
  return found
}

/** Seeds whose hashes differ, as 'simulator seed'. */
export function differences(a: Readonly<Record<string, Golden>>, b: Readonly<Record<string, Golden>>): string[] {
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].flatMap((name) => {
    const [left, right] = [a[name]?.hashes ?? {}, b[name]?.hashes ?? {}]
    const seeds = [...new Set([...Object.keys(left), ...Object.keys(right)])]
    return seeds.filter((seed) => left[seed] !== right[seed]).map((seed) => `${name} ${seed}`)
  })
}

/** Runs this program on another Node. Returns its exit code. */
function runOnOtherNode(): number {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-node-'))
  try {
    // npm runs the scripts of none but those that are named: this one's puts the program in place.
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, allowScripts: { node: true } }))
    execFileSync('npm', ['install', '--prefix', folder, '--no-audit', '--no-fund', otherNode], { stdio: 'inherit' })
    const { status } = spawnSync(join(folder, 'node_modules/.bin/node'), [import.meta.filename], { stdio: 'inherit' })
    return status ?? 1
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { update: { type: 'boolean', default: false }, node24: { type: 'boolean', default: false } } })
  const now = await computeGolden()
  if (values.update) writeFileSync(file, `${JSON.stringify(now, null, 2)}\n`)
  const differing = differences(readGolden(), now)
  const count = Object.values(now).reduce((sum, { hashes }) => sum + Object.keys(hashes).length, 0)
  process.stdout.write(`Node ${process.version}: ${count - differing.length} of ${count} trace hashes as in golden.json\n`)
  if (differing.length > 0) process.stderr.write(`${differing.join(', ')}\n${behaviourChanged}\n`)
  const elsewhere = values.node24 ? runOnOtherNode() : 0
  return differing.length > 0 ? 1 : elsewhere
}

if (import.meta.main) process.exitCode = await main()
