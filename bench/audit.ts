/**
 * What the audit costs: records a second and CPU of a request's pair of records (request and response, as many requests at once as asked), through no
 * device, a file, a file with fsync, and three devices; and how fast a file is checked.
 *
 *   node bench/audit.ts [SECONDS] [OUT.json]
 */
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '#base/clock.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { createAuditBroker, type ManagedAuditBroker } from '#audit/broker.ts'
import { openFileSink } from '#audit/sinks/file.ts'
import { openSink } from '#audit/sinks/open.ts'
import type { AuditRecord } from '#audit/types.ts'
import { noEvidence } from '#audit/verify/evidence.ts'
import { verifyFiles } from '#audit/verify/verify.ts'

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

const auth = {
  client_token: 'hvs.CAESIJ0aJkQx6mCwbenchbenchbenchbench',
  accessor: 'accessorbenchbench12',
  display_name: 'userpass-alice',
  policies: ['default', 'payroll'],
  token_policies: ['default', 'payroll'],
  metadata: { username: 'alice' },
  entity_id: '7d2e3179-f69b-450c-7179-ac8ee8bd8ca9',
  token_type: 'service',
  token_ttl: 2_764_800,
}
const mount = { mount_type: 'kv', mount_accessor: 'kv_6b3a9f4e', mount_point: 'secret/' }
let serial = 0

/** The two records of one read of a secret with two values, as core/audit-records.ts makes them. */
function pair(write: boolean): [AuditRecord, AuditRecord] {
  serial += 1
  const values = { data: { user: `user-${serial % 1_000}`, password: `password-${serial}` } }
  const request = {
    id: '7d2e3179-f69b-450c-7179-ac8ee8bd8ca9',
    operation: write ? 'update' : 'read',
    ...mount,
    client_token: auth.client_token,
    client_token_accessor: auth.accessor,
    namespace: { id: 'root' },
    path: `secret/data/app/${serial % 10_000}`,
    ...(write ? { data: values } : {}),
    remote_address: '10.0.0.7',
    remote_port: 40_123,
  }
  const time = new Date().toISOString()
  const metadata = { created_time: time, custom_metadata: null, deletion_time: '', destroyed: false, version: 1 }
  const data = write ? metadata : { ...values, metadata }
  return [
    { type: 'request', time, auth, request },
    { type: 'response', time, auth, request, response: { status: 200, ...mount, data } },
  ]
}

async function measure(broker: ManagedAuditBroker, write: boolean): Promise<{ requestsPerSecond: number; cpuUsPerRequest: number }> {
  let requests = 0
  let stop = false
  const client = async (): Promise<void> => {
    while (!stop) {
      const [request, response] = pair(write)
      await broker.record(request, none)
      await broker.record(response, none)
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
const big = join(folder, 'plain.log')
const bytes = statSync(big).size
const startMs = performance.now()
const verdict = await verifyFiles([big], { evidence: noEvidence })
const tookS = (performance.now() - startMs) / 1_000
const verify = { bytes, lines: verdict.lines, seconds: Math.round(tookS * 100) / 100, mbPerSecond: Math.round(bytes / 1e6 / tookS) }
const result = { secondsEach: seconds, requestsAtOnce: atOnce, rows, verify }
console.table(rows)
console.log(verify)
if (process.argv[3] !== undefined) writeFileSync(process.argv[3], `${JSON.stringify(result, null, 2)}\n`)
collector.close()
rmSync(folder, { recursive: true })
process.exit(verdict.findings.length === 0 ? 0 : 1)
