/**
 * The regression gate: some ratios within one short run, against bench/load/gate.json. Ratios, because a machine's seconds are its own; generous,
 * because a gate that fails by chance is soon ignored: what it is for is a change that makes a request cost twice as much.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { startBare } from './bare.ts'
import { layGround } from './ground.ts'
import { startLocal } from './local.ts'
import { spreadOf } from './ratios.ts'
import { measure } from './run.ts'
import { workNamed } from './works.ts'

/** What gate.json holds, by the name of a ratio. */
export type Thresholds = Readonly<Record<string, { readonly least?: number; readonly most?: number; readonly why: string }>>

export interface Verdict {
  readonly name: string
  readonly value: number
  readonly ok: boolean
  readonly wanted: string
}

export const gatePath = new URL('gate.json', import.meta.url)

/** Holds each measured ratio against its threshold. @throws Error for a ratio without a threshold, or a threshold without its ratio. */
export function judge(ratios: Readonly<Record<string, number>>, thresholds: Thresholds): Verdict[] {
  for (const name of Object.keys(thresholds))
    if (ratios[name] === undefined) throw new Error(`gate: expected ${name} to be measured, got none`)
  return Object.entries(ratios).map(([name, value]) => {
    const threshold = thresholds[name]
    if (threshold === undefined) throw new Error(`gate: expected a threshold for ${name} in gate.json, got none`)
    const { least = Number.NEGATIVE_INFINITY, most = Number.POSITIVE_INFINITY } = threshold
    const wanted = [threshold.least === undefined ? '' : `at least ${least}`, threshold.most === undefined ? '' : `at most ${most}`]
    return { name, value, ok: value >= least && value <= most, wanted: wanted.filter(Boolean).join(', ') }
  })
}

const secrets = 300
const valueBytes = 400
const turns = 3
const turnSeconds = 1
const connections = 64
const probeMs = 500

/** Measures, prints, and says whether every ratio held. Under 20 s on an idle machine of two cores. */
export async function runGate(dataDir: string, say: (line: string) => void): Promise<boolean> {
  const ratios = await measureRatios(dataDir, say)
  const verdicts = judge(ratios, JSON.parse(readFileSync(gatePath, 'utf8')) as Thresholds)
  for (const { name, value, ok, wanted } of verdicts)
    console.log(`${ok ? 'held' : 'MISSED'}  ${name}: ${value.toFixed(2)}, expected ${wanted}`)
  return verdicts.every(({ ok }) => ok)
}

async function measureRatios(dataDir: string, say: (line: string) => void): Promise<Record<string, number>> {
  const options = { nodes: 1, tls: false, audit: true, via: 'leader' as const, dataDir, extraConfig: '', profileDir: null, say }
  const side = await startLocal('.', 'holdfast', options)
  try {
    const works = ['kv-read', 'kv-write']
    const ground = await layGround(side, { works, secrets, sizeBytes: valueBytes, policyRules: 20, others: 0, say })
    const own = { side, work: (name: string) => workNamed(name, ground) }
    const bare = await startBare(valueBytes + 300, null)
    const run = { connections, seconds: turnSeconds, warmUpSeconds: 0.5, turns, rate: null, dataDir, say }
    try {
      const other = { side: bare, work: (name: string) => ({ name, next: () => 'GET / HTTP/1.1\r\nHost: bench\r\n\r\n' }) }
      const { ratio, sides } = await measure('kv-read', [own, other], run)
      const before = await levelBatches(dataDir)
      const writes = await measure('kv-write', [own], run)
      const batches = spreadOf([before, await levelBatches(dataDir)]).median
      return {
        // The best turn of each: whatever else the machine does only ever slows, and in the first one V8 still compiles.
        'reads a second, of a bare node:http': ratio?.per_second.highest ?? Number.NaN,
        'CPU of a read, of a bare node:http': ratio?.serving_cpu?.lowest ?? Number.NaN,
        'CPU of a write, of a bare node:http': (writes.sides[0]?.serving_cpu_us ?? Number.NaN) / (sides[1]?.serving_cpu_us ?? Number.NaN),
        'writes a second, of single LevelDB batches with fsync': (writes.sides[0]?.per_second ?? Number.NaN) / batches,
      }
    } finally {
      await bare.stop()
    }
  } finally {
    await side.stop()
  }
}

/** Batches of one entry as large as a secret, each waited for on the disk, a second. */
async function levelBatches(dataDir: string): Promise<number> {
  const dir = mkdtempSync(join(dataDir, 'holdfast-gate-'))
  const level = new ClassicLevel<string, Buffer>(dir, { valueEncoding: 'buffer' })
  try {
    await level.open()
    const value = Buffer.alloc(valueBytes + 300, 0x5a)
    const started = performance.now()
    let count = 0
    for (; performance.now() - started < probeMs; count += 1) await level.batch([{ type: 'put', key: `k${count}`, value }], { sync: true })
    return (count * 1_000) / (performance.now() - started)
  } finally {
    await level.close()
    rmSync(dir, { recursive: true, force: true })
  }
}
