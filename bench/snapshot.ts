/**
 * Saving and restoring a snapshot of one node that holds many secrets, over its API: seconds, megabytes, and how far the server's memory rises above its rest (sampled
 * every 20 ms, and the kernel's own high-water mark, which is reset before); with writes going on, and without.
 *
 *   node bench/snapshot.ts [--secrets 100000] [--bytes 400] [--connections 64]
 */
import { execFileSync } from 'node:child_process'
import { createReadStream, createWriteStream, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Pool } from 'undici'
import { LocalCluster } from '#cmd/dev/local-cluster.ts'
import { inspectSnapshotFile } from '#snapshots/inspect.ts'
import { freePorts } from '#test/support/cluster.ts'
import { recordFigures } from '#test/support/figures.ts'

const { values } = parseArgs({
  options: {
    secrets: { type: 'string', default: '100000' },
    bytes: { type: 'string', default: '400' },
    connections: { type: 'string', default: '64' },
  },
})
const secrets = Number(values.secrets)
const bytes = Number(values.bytes)
const connections = Number(values.connections)
const restMs = 5_000
const mib = 1_024 * 1_024

const dir = mkdtempSync(join(tmpdir(), 'holdfast-bench-snapshot-'))
const cluster = await LocalCluster.prepare({ nodes: 1, apiPort: await freePorts(2), dataDir: join(dir, 'data'), tls: false })
const [node] = cluster.nodes
if (node === undefined) throw new Error('expected a node')

const pidOf = (): number => node.process?.pid ?? 0
const statusMib = (field: string): number =>
  Math.round((10 * Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(readFileSync(`/proc/${pidOf()}/status`, 'utf8'))?.[1])) / 1_024) / 10
/** The kernel's high-water mark begins anew. */
const resetPeak = (): void => writeFileSync(`/proc/${pidOf()}/clear_refs`, '5')

function poolOf(): { pool: Pool; headers: Record<string, string> } {
  return { pool: new Pool(node?.apiAddress ?? '', { connections }), headers: { 'x-vault-token': cluster.rootToken } }
}

async function put(pool: Pool, headers: Record<string, string>, at: number): Promise<boolean> {
  const answer = await pool.request({
    method: 'POST',
    path: `/v1/secret/data/f${at % 1_000}/s${at}`,
    headers,
    body: JSON.stringify({ data: { value: 'x'.repeat(bytes) } }),
  })
  await answer.body.dump()
  return answer.statusCode === 200
}

/** A busy machine may hold an election, or be late, at any time: the same value is written again. */
async function putSurely(pool: Pool, headers: Record<string, string>, at: number): Promise<void> {
  for (let attempt = 0; attempt < 50; attempt += 1) {
    if (await put(pool, headers, at).catch(() => false)) return
    await delay(200)
  }
  throw new Error(`write ${at} failed`)
}

async function fill(): Promise<void> {
  const { pool, headers } = poolOf()
  const mount = await pool.request({
    method: 'POST',
    path: '/v1/sys/mounts/secret',
    headers,
    body: '{"type":"kv","options":{"version":"2"}}',
  })
  await mount.body.dump()
  let next = 0
  const writer = async (): Promise<void> => {
    for (let at = next++; at < secrets; at = next++) await putSurely(pool, headers, at)
  }
  await Promise.all(Array.from({ length: connections }, writer))
  await pool.close()
}

interface Save {
  readonly seconds: number
  readonly mib: number
  readonly idle_mib: number
  /** Of the process alone, without files that it has mapped. */
  readonly idle_own_mib: number
  readonly peak_own_above_idle_mib: number
  readonly peak_above_idle_mib: number
  readonly kernel_peak_above_idle_mib: number
}

function save(path: string): Promise<Save> {
  return measured(path, async (pool, headers) => {
    const answer = await pool.request({ method: 'GET', path: '/v1/sys/storage/raft/snapshot', headers, bodyTimeout: 0 })
    if (answer.statusCode !== 200) throw new Error(`save: expected 200, got ${answer.statusCode}`)
    await pipeline(answer.body, createWriteStream(path))
  })
}

/** Until it is answered, by when the state is replaced. */
function restore(path: string): Promise<Save> {
  return measured(path, async (pool, headers) => {
    const body = createReadStream(path, { highWaterMark: 256 * 1_024 })
    const answer = await pool.request({ method: 'POST', path: '/v1/sys/storage/raft/snapshot', headers, body, headersTimeout: 0 })
    const text = await answer.body.text()
    if (answer.statusCode !== 200) throw new Error(`restore: expected 200, got ${answer.statusCode}: ${text}`)
  })
}

async function measured(path: string, work: (pool: Pool, headers: Record<string, string>) => Promise<void>): Promise<Save> {
  await delay(restMs)
  resetPeak()
  const [idle, idleOwn] = [statusMib('VmRSS'), statusMib('RssAnon')]
  let [peak, peakOwn] = [idle, idleOwn]
  const sampler = setInterval(() => {
    peak = Math.max(peak, statusMib('VmRSS'))
    // Without the store's files, which LevelDB maps: the kernel takes those pages back whenever it wants them.
    peakOwn = Math.max(peakOwn, statusMib('RssAnon'))
  }, 20)
  const { pool, headers } = poolOf()
  const started = performance.now()
  await work(pool, headers)
  const seconds = (performance.now() - started) / 1_000
  clearInterval(sampler)
  const kernelPeak = statusMib('VmHWM')
  await pool.close()
  const above = (value: number, rest = idle): number => Math.round(10 * (value - rest)) / 10
  return {
    seconds: +seconds.toFixed(2),
    mib: +(statSync(path).size / mib).toFixed(1),
    idle_mib: idle,
    idle_own_mib: idleOwn,
    peak_own_above_idle_mib: above(peakOwn, idleOwn),
    peak_above_idle_mib: above(peak),
    kernel_peak_above_idle_mib: above(kernelPeak),
  }
}

/** Writes of eight clients until `stop`; their answers and latencies. */
function write(): {
  readonly stop: () => Promise<{ written: number; refused: number; p50_ms: number; p99_ms: number; per_second: number }>
} {
  const { pool, headers } = poolOf()
  const took: number[] = []
  let [going, refused, next] = [true, 0, 0]
  const started = performance.now()
  const writer = async (): Promise<void> => {
    while (going) {
      const begun = performance.now()
      if (await put(pool, headers, next++ % secrets)) took.push(performance.now() - begun)
      else refused += 1
    }
  }
  const writers = Array.from({ length: 8 }, writer)
  return {
    stop: async () => {
      going = false
      await Promise.all(writers)
      const seconds = (performance.now() - started) / 1_000
      await pool.close()
      const sorted = took.toSorted((a, b) => a - b)
      const at = (share: number): number => +(sorted[Math.floor(share * sorted.length)] ?? 0).toFixed(1)
      return { written: took.length, refused, p50_ms: at(0.5), p99_ms: at(0.99), per_second: Math.round(took.length / seconds) }
    },
  }
}

try {
  await cluster.start()
  const started = performance.now()
  await fill()
  const fillSeconds = Math.round((performance.now() - started) / 1_000)
  const quietPath = join(dir, 'quiet.snap')
  const quiet = await save(quietPath)
  const again = await save(join(dir, 'again.snap'))
  const writing = write()
  const busy = await save(join(dir, 'busy.snap'))
  const writes = await writing.stop()
  const restored = await restore(quietPath)
  const verifyStarted = performance.now()
  const summary = await inspectSnapshotFile(createReadStream(quietPath, { highWaterMark: 256 * 1_024 }))
  recordFigures('snapshot-save', `node bench/snapshot.ts --secrets ${secrets} --bytes ${bytes}`, {
    secrets,
    bytes,
    pairs: summary.total.pairs,
    fill_seconds: fillSeconds,
    quiet,
    again,
    while_writing: busy,
    writes,
    restored,
    verify_seconds: +((performance.now() - verifyStarted) / 1_000).toFixed(2),
    load_average: Number(execFileSync('cat', ['/proc/loadavg'], { encoding: 'utf8' }).split(' ')[0]),
  })
} finally {
  await cluster.stop()
  rmSync(dir, { recursive: true, force: true })
}
