/**
 * What it costs that a write is applied once: writes a second through a follower with and without the record of its ticket, and with a client's id.
 * `node bench/retries.ts [ROUNDS] [SECONDS]` prints JSON. Two clusters of three run side by side, one of them without the records (a copy
 * of this tree with one line changed), and are loaded in turns, so that a slow minute of the machine meets both. What counts is the ratio.
 */
import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Pool } from 'undici'
import { LocalCluster } from '#cmd/dev/local-cluster.ts'
import { freePorts, mountKv, waitForLeader } from '#test/support/cluster.ts'

const root = resolve(import.meta.dirname, '..')
const rounds = Number(process.argv[2] ?? 30)
const seconds = Number(process.argv[3] ?? 1)
const connections = 32
const guard = 'if (retryId === undefined && ticket === undefined) return null'
const without = 'if (retryId === undefined) return null'

type Kind = 'leader' | 'follower without records' | 'follower' | 'follower with an id'

/** A copy of this tree in which a forwarded write leaves no record. */
function treeWithout(folder: string): string {
  for (const name of ['src', 'cmd', 'raft', 'package.json']) cpSync(join(root, name), join(folder, name), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  const path = join(folder, 'src/core/once.ts')
  const parts = readFileSync(path, 'utf8').split(guard)
  if (parts.length !== 2) throw new Error(`expected one line '${guard}' in src/core/once.ts, got ${parts.length - 1}`)
  writeFileSync(path, parts.join(without))
  return folder
}

async function start(tree: string, dataDir: string, apiPort: number): Promise<LocalCluster> {
  const module = (await import(pathToFileURL(join(tree, 'cmd/dev/local-cluster.ts')).href)) as { LocalCluster: typeof LocalCluster }
  const cluster = await module.LocalCluster.prepare({ nodes: 3, apiPort, dataDir, tls: false })
  await cluster.start()
  await mountKv(cluster, 'secret')
  return cluster
}

interface Measured {
  readonly perSecond: number
  /** Of all three nodes: says the same on a machine that is busy with other things. */
  readonly cpuMicrosPerWrite: number
}

/** CPU time that the servers have used, in microseconds (Linux counts hundredths of a second). */
function cpuMicros(cluster: LocalCluster): number {
  return cluster.nodes.reduce((sum, node) => {
    const fields = readFileSync(`/proc/${node.process?.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
    return sum + (Number(fields[11]) + Number(fields[12])) * 10_000
  }, 0)
}

let serial = 0
/** Loads it with so many connections, each with a secret of its own. */
async function load(cluster: LocalCluster, kind: Kind, ms: number): Promise<Measured> {
  const leader = await waitForLeader(cluster)
  const door = kind === 'leader' ? leader : cluster.nodes.find((node) => node !== leader)!
  const pool = new Pool(door.apiAddress, { connections, pipelining: 1 })
  const started = performance.now()
  const cpuBefore = cpuMicros(cluster)
  const until = started + ms
  let count = 0
  const writer = async (id: number): Promise<void> => {
    while (performance.now() < until) {
      serial += 1
      const requestId: Record<string, string> =
        kind === 'follower with an id' ? { 'x-holdfast-request-id': `bench-${process.pid}-${serial}` } : {}
      const answer = await pool.request({
        method: 'POST',
        path: `/v1/secret/data/w${id}`,
        headers: { 'x-vault-token': cluster.rootToken, ...requestId },
        body: JSON.stringify({ data: { value: 'x'.repeat(100) } }),
      })
      await answer.body.dump()
      if (answer.statusCode !== 200) throw new Error(`expected 200, got ${answer.statusCode}`)
      count += 1
    }
  }
  await Promise.all(Array.from({ length: connections }, (_, id) => writer(id)))
  const measured = {
    perSecond: (count * 1_000) / (performance.now() - started),
    cpuMicrosPerWrite: (cpuMicros(cluster) - cpuBefore) / count,
  }
  await pool.close()
  return measured
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0

const rounded = (value: number): number => Math.round(value * 1_000) / 1_000

const folder = mkdtempSync(join(tmpdir(), 'holdfast-retries-'))
const clusters: LocalCluster[] = []
try {
  const port = await freePorts(70)
  const after = await start(root, join(folder, 'with'), port)
  clusters.push(after)
  const before = await start(treeWithout(join(folder, 'tree')), join(folder, 'without'), port + 40)
  clusters.push(before)
  const kinds: readonly (readonly [Kind, LocalCluster])[] = [
    ['follower without records', before],
    ['follower', after],
    ['follower with an id', after],
    ['leader', after],
  ]
  for (const [kind, cluster] of kinds) await load(cluster, kind, 2_000)
  const results = new Map<Kind, Measured[]>(kinds.map(([kind]) => [kind, []]))
  for (let round = 0; round < rounds; round += 1) {
    const turn = round % 2 === 0 ? kinds : kinds.toReversed()
    for (const [kind, cluster] of turn) results.get(kind)?.push(await load(cluster, kind, seconds * 1_000))
  }
  const of = (kind: Kind, what: keyof Measured): number[] => (results.get(kind) ?? []).map((measured) => measured[what])
  const baseline: Kind = 'follower without records'
  const summary = (kind: Kind) => ({
    writes_per_second: Math.round(median(of(kind, 'perSecond'))),
    cpu_microseconds_per_write: Math.round(median(of(kind, 'cpuMicrosPerWrite'))),
    writes_ratio: rounded(median(of(kind, 'perSecond').map((rate, round) => rate / of(baseline, 'perSecond')[round]!))),
    cpu_ratio: rounded(median(of(kind, 'cpuMicrosPerWrite').map((cpu, round) => cpu / of(baseline, 'cpuMicrosPerWrite')[round]!))),
  })
  const figures = {
    command: `node bench/retries.ts ${rounds} ${seconds}`,
    commit: execFileSync('git', ['rev-parse', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim(),
    connections,
    rounds,
    seconds,
    ratios_to: baseline,
    load_average_of_the_machine: loadavg().map(rounded),
    medians: Object.fromEntries(kinds.map(([kind]) => [kind, summary(kind)])),
  }
  process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`)
} finally {
  for (const cluster of clusters) await cluster.stop()
  rmSync(folder, { recursive: true, force: true })
}
