/**
 * What the audit costs: records a second and CPU of a request's pair of records (request and response, as many requests at once as asked), through no
 * device, a file, a file with fsync, and three devices; where that of a file goes, by stages; and how fast a file is checked.
 *
 *   node bench/audit.ts [SECONDS] [OUT.json]
 */
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '#base/clock.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { createAuditBroker, type ManagedAuditBroker } from '#audit/broker.ts'
import { openFileSink } from '#audit/sinks/file.ts'
import { openSink } from '#audit/sinks/open.ts'
import { noEvidence } from '#audit/verify/evidence.ts'
import { verifyFiles } from '#audit/verify/verify.ts'
import { keepFigures } from '#test/support/figures.ts'
import { pair } from './audit-pair.ts'
import { measureStages } from './audit-stages.ts'

const seconds = Number(process.argv[2] ?? 4)
const atOnce = 64
const none = { request: [], response: [] }
const folder = mkdtempSync(join(tmpdir(), 'holdfast-audit-bench-'))
const deps = { clock: systemClock, log: silentLogger, nodeId: 'n1', host: 'bench', processId: 1, stdout: process.stdout }
const peer = {
  prefix: null,
  log_raw: false,
  hmac_accessor: true,
  elide_list_responses: false,
  write_timeout: 2_000,
  tls_ca_cert_file: null,
  tls_server_name: null,
}

async function measure(broker: ManagedAuditBroker, write: boolean): Promise<{ requestsPerSecond: number; cpuUsPerRequest: number }> {
  let requests = 0
  let stop = false
  const client = async (): Promise<void> => {
    while (!stop) {
      const [request, response] = pair(write)
      await broker.record(request(), none)
      await broker.record(response(), none)
      requests += 1
      // Without a device nothing waits, and no timer would ever fire.
      if (requests % 256 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
  }
  const run = async (ms: number): Promise<void> => {
    stop = false
    const clients = Array.from({ length: atOnce }, client)
    await new Promise((resolve) => setTimeout(resolve, ms))
    stop = true
    await Promise.all(clients)
  }
  await run(500)
  requests = 0
  const cpu = process.cpuUsage()
  const startMs = performance.now()
  await run(seconds * 1_000)
  const { user, system } = process.cpuUsage(cpu)
  const tookMs = performance.now() - startMs
  return {
    requestsPerSecond: Math.round((requests / tookMs) * 1_000),
    cpuUsPerRequest: Math.round(((user + system) / requests) * 100) / 100,
  }
}

const collector = createServer((socket) => socket.resume())
await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve))
const { port } = collector.address() as AddressInfo
const file = (name: string, fsync = false) =>
  openFileSink({ path: join(folder, name), fsync, clock: systemClock }).then((sink) => ({ name, sink }))
const socket = async (name: string, type: 'socket' | 'syslog') => {
  const options =
    type === 'socket'
      ? { ...peer, address: `127.0.0.1:${port}`, socket_type: 'tcp' as const }
      : { ...peer, address: `tcp://127.0.0.1:${port}`, facility: 'auth', tag: 'holdfast' }
  return { name, ...(await openSink({ type, options } as Parameters<typeof openSink>[0], deps)) }
}

const kinds = {
  off: async () => [],
  file: async () => [await file('plain.log')],
  'file + fsync': async () => [await file('fsync.log', true)],
  'three devices': async () => [await file('three.log'), await socket('socket', 'socket'), await socket('syslog', 'syslog')],
}
const rows: Record<string, unknown>[] = []
for (const write of [false, true]) {
  let off = 0
  for (const [kind, devices] of Object.entries(kinds)) {
    const opened = await devices()
    const broker = createAuditBroker({ nodeId: 'n1', clock: systemClock, random: systemRandom, log: silentLogger, devices: opened })
    broker.setKey(Buffer.alloc(32, 1))
    const { requestsPerSecond, cpuUsPerRequest } = await measure(broker, write)
    if (kind === 'off') off = cpuUsPerRequest
    const ofAuditUs = Math.round((cpuUsPerRequest - off) * 100) / 100
    rows.push({ records: write ? 'of a kv write' : 'of a kv read', devices: kind, requestsPerSecond, cpuUsPerRequest, ofAuditUs })
    await broker.close()
  }
}
const stages = await measureStages(join(folder, 'stages.log'))
const big = join(folder, 'plain.log')
const bytes = statSync(big).size
const startMs = performance.now()
const verdict = await verifyFiles([big], { evidence: noEvidence })
const tookS = (performance.now() - startMs) / 1_000
const verify = { bytes, lines: verdict.lines, seconds: Math.round(tookS * 100) / 100, mbPerSecond: Math.round(bytes / 1e6 / tookS) }
const result = { secondsEach: seconds, requestsAtOnce: atOnce, rows, stages, verify }
console.table(rows)
console.table(stages)
keepFigures(process.argv[3], 'audit', `node bench/audit.ts ${seconds}`, result)
collector.close()
rmSync(folder, { recursive: true })
process.exit(verdict.findings.length === 0 ? 0 : 1)
