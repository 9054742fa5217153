/**
 * What one node costs: memory when idle and with 100,000 secrets of 400 bytes (GNU time's maximum resident set, and the resident set at rest),
 * and the time from process start to serving, unsealed by the development key file.
 *
 *   node bench/footprint.ts [--secrets 100000]
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Pool } from 'undici'
import { LocalCluster } from '#cmd/dev/local-cluster.ts'
import { freePorts } from '#test/support/cluster.ts'
import { recordFigures } from '#test/support/figures.ts'

const { values } = parseArgs({ options: { secrets: { type: 'string', default: '100000' } } })
const secrets = Number(values.secrets)
const connections = 64
const restMs = 5_000

const dir = mkdtempSync(join(tmpdir(), 'holdfast-footprint-'))
const timeFile = join(dir, 'time')
const cluster = await LocalCluster.prepare({
  nodes: 1,
  apiPort: await freePorts(2),
  dataDir: join(dir, 'data'),
  tls: false,
  under: ['/usr/bin/time', '-v', '-o', timeFile],
})
const [node] = cluster.nodes
if (node === undefined) throw new Error('expected a node')

/** Resident set of the server itself, the child of GNU time, in MiB. */
function residentMib(): number {
  const child = execFileSync('pgrep', ['-P', String(node?.process?.pid)], { encoding: 'utf8' }).trim()
  const kib = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${child}/status`, 'utf8'))?.[1]
  return Math.round(Number(kib) / 1024)
}

function maximumMib(): number {
  const kib = /Maximum resident set size \(kbytes\): (\d+)/.exec(readFileSync(timeFile, 'utf8'))?.[1]
  return Math.round(Number(kib) / 1024)
}

/** One life of the node: start to serving, then `work`, then a rest, then its end. */
async function life(work: () => Promise<void>): Promise<{ serving_s: number; resident_mib: number; maximum_mib: number }> {
  const started = performance.now()
  await cluster.start()
  const servingSeconds = (performance.now() - started) / 1_000
  await work()
  await delay(restMs)
  const resident = residentMib()
  await cluster.releaseNode(node as NonNullable<typeof node>)
  return { serving_s: +servingSeconds.toFixed(2), resident_mib: resident, maximum_mib: maximumMib() }
}

async function writeSecrets(): Promise<void> {
  const headers = { 'x-vault-token': cluster.rootToken }
  const pool = new Pool(node?.apiAddress ?? '', { connections })
  await (
    await pool.request({ method: 'POST', path: '/v1/sys/mounts/secret', headers, body: '{"type":"kv","options":{"version":"2"}}' })
  ).body.dump()
  let next = 0
  const writer = async (): Promise<void> => {
    for (let i = next++; i < secrets; i = next++) {
      const answer = await pool.request({
        method: 'POST',
        path: `/v1/secret/data/f${i % 1_000}/s${i}`,
        headers,
        body: JSON.stringify({ data: { value: 'x'.repeat(400) } }),
      })
      await answer.body.dump()
      if (answer.statusCode !== 200) throw new Error(`write ${i}: expected 200, got ${answer.statusCode}`)
    }
  }
  await Promise.all(Array.from({ length: connections }, writer))
  await pool.close()
}

try {
  const first = await life(async () => {})
  const idle = await life(async () => {})
  const writingStarted = performance.now()
  let writingSeconds = 0
  const loaded = await life(async () => {
    await writeSecrets()
    writingSeconds = (performance.now() - writingStarted) / 1_000
  })
  const restarted = await life(async () => {})
  recordFigures('footprint', 'node bench/footprint.ts', {
    first_start_with_init: first,
    idle_restart: idle,
    after_writing: { secrets, ...loaded, writes_per_second: Math.round(secrets / writingSeconds) },
    restart_with_data: restarted,
  })
} finally {
  await cluster.stop()
  rmSync(dir, { recursive: true, force: true })
}
