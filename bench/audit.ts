/**
 * What the audit costs: records a second and CPU of a request's pair of records (request and response, as many requests at once as asked), through no
 * device, a file, a file with fsync, and three devices; and how fast a file is checked.
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
import type { AuditRecord } from '#audit/types.ts'
import { newTold, requestRecord, responseRecord, type AuditFacts } from '#core/audit-records.ts'
import type { LogicalResponse, MountEntry, Request } from '#core/types.ts'
import { rootNamespace } from '#namespaces/record.ts'
import type { TokenEntry } from '#tokens/types.ts'
import { noEvidence } from '#audit/verify/evidence.ts'
import { verifyFiles } from '#audit/verify/verify.ts'
import { keepFigures } from '#test/support/figures.ts'

const seconds = Number(process.argv[2] ?? 4)
const atOnce = 64
const tokensCount = 100
const secretsCount = 10_000
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

/** What a token says of itself; entries are cached, so requests of one token share one. */
const tokens = Array.from(
  { length: tokensCount },
  (_, i): TokenEntry =>
    ({
      accessor: `accessorbenchbench${i}`,
      displayName: 'userpass-alice',
      policies: ['default', 'payroll'],
      meta: { username: 'alice' },
      entityId: '7d2e3179-f69b-450c-7179-ac8ee8bd8ca9',
      type: 'service',
      expireTimeMs: Date.now() + 32 * 24 * 3_600_000,
    }) as unknown as TokenEntry,
)
const mount = {
  type: 'kv',
  accessor: 'kv_6b3a9f4e',
  path: 'secret/',
  namespaceId: 'root',
  namespacePath: '',
  config: {},
} as unknown as MountEntry
let serial = 0

/** The two records of one read or write of a secret with two values, as the core has them made. */
function pair(write: boolean): [() => AuditRecord, () => AuditRecord] {
  serial += 1
  const at = serial % secretsCount
  const values = { data: { user: `user-${at % 1_000}`, password: `password-${at}` } }
  const token = tokens[serial % tokensCount]!
  const request = {
    id: `7d2e3179-f69b-450c-7179-${String(serial).padStart(12, '0')}`,
    operation: write ? 'update' : 'read',
    path: `secret/data/app/${at}`,
    body: write ? values : {},
    query: {},
    headers: { 'user-agent': 'bench' },
    token: `hvs.CAESIJ0aJkQx6mCwbenchbenchbench${token.accessor}`,
    namespace: '',
    clientAddress: '10.0.0.7',
    clientPort: 40_123,
    wrapTtlSeconds: 0,
  } as unknown as Request
  const metadata = {
    created_time: new Date(at * 1e8).toISOString(),
    custom_metadata: null,
    deletion_time: '',
    destroyed: false,
    version: 1,
  }
  const response = { data: write ? metadata : { ...values, metadata } } as LogicalResponse
  const told = newTold()
  const facts = (): AuditFacts => ({
    request,
    operation: request.operation,
    namespace: rootNamespace,
    mount,
    token,
    nowMs: Date.now(),
    told,
  })
  return [() => requestRecord(facts(), null), () => responseRecord(facts(), 200, response, null)]
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
const big = join(folder, 'plain.log')
const bytes = statSync(big).size
const startMs = performance.now()
const verdict = await verifyFiles([big], { evidence: noEvidence })
const tookS = (performance.now() - startMs) / 1_000
const verify = { bytes, lines: verdict.lines, seconds: Math.round(tookS * 100) / 100, mbPerSecond: Math.round(bytes / 1e6 / tookS) }
const result = { secondsEach: seconds, requestsAtOnce: atOnce, rows, verify }
console.table(rows)
keepFigures(process.argv[3], 'audit', `node bench/audit.ts ${seconds}`, result)
collector.close()
rmSync(folder, { recursive: true })
process.exit(verdict.findings.length === 0 ? 0 : 1)
