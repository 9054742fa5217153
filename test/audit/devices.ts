/**
 * What clients see when audit devices fail, one after the other and all at once: a disk that is full, a collector that takes nothing, one that is away.
 * Needs the right to mount a small file system.
 *
 *   node test/audit/devices.ts [OUT.json]
 */
import { execFileSync } from 'node:child_process'
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, symlinkSync, writeSync } from 'node:fs'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { LocalCluster } from '#cmd/dev/local-cluster.ts'
import { freePorts, mountKv, waitForLeader } from '#test/support/cluster.ts'
import { keepFigures } from '#test/support/figures.ts'

const out = process.argv[2]
const diskBytes = 192 * 1024 * 1024
const chunkBytes = 4 * 1024 * 1024
const loadMs = 6_000
const everyMs = 60
/** Each new connection takes some megabytes before it hangs. */
const hangMs = 15_000
const untilMsMax = 180_000
const atOnce = 8
/** So that a request's records, 90 KB each, soon fill what a kernel holds for a collector that reads nothing. */
const fields = 400
const fieldNameChars = 150

/** A collector that can take nothing, or be away, and come back. */
class Collector {
  port = 0
  #server: Server | null = null
  readonly #sockets = new Set<Socket>()
  #hangs = false

  async listen(): Promise<void> {
    const server = createServer((socket) => {
      this.#sockets.add(socket)
      socket.on('error', () => {}).on('close', () => this.#sockets.delete(socket))
      if (!this.#hangs) socket.resume()
    })
    await new Promise<void>((resolve) => server.listen(this.port, '127.0.0.1', resolve))
    this.port = (server.address() as AddressInfo).port
    this.#server = server
  }
  hang(hangs: boolean): void {
    this.#hangs = hangs
    for (const socket of this.#sockets)
      if (hangs) socket.pause()
      else socket.resume()
  }
  async away(): Promise<void> {
    const server = this.#server
    for (const socket of this.#sockets) socket.destroy()
    await new Promise((resolve) => server?.close(resolve))
  }
}

const home = mkdtempSync(join(tmpdir(), 'holdfast-devices-'))
const disk = join(home, 'disk')
mkdirSync(disk)
execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${diskBytes}`, 'tmpfs', disk])
const [socket, syslog] = [new Collector(), new Collector()]
await socket.listen()
await syslog.listen()
const extraConfig = `
audit "socket" "socket" { options { address = "127.0.0.1:${socket.port}" } }
audit "syslog" "syslog" { options { address = "tcp://127.0.0.1:${syslog.port}" } }
`
const cluster = await LocalCluster.prepare({
  nodes: 3,
  apiPort: await freePorts(30),
  dataDir: join(home, 'cluster'),
  tls: false,
  extraConfig,
})
for (const { id, auditPath } of cluster.nodes) symlinkSync(join(disk, `${id}.log`), auditPath)
const rows: Record<string, unknown>[] = []
const filler = Object.fromEntries(Array.from({ length: fields }, (_, i) => [`field-${i}`.padEnd(fieldNameChars, '-'), `value-${i}`]))

interface Health {
  readonly term: number
  readonly failing: readonly string[]
  /** Records that each device has not taken since the start. */
  readonly failures: Readonly<Record<string, number>>
}

/** As the leader says it: in which term, and which devices do not take records. Its metrics are a request too, so none can be had while all are away. */
async function health(): Promise<Health | null> {
  const { apiAddress } = await waitForLeader(cluster)
  const answer = await fetch(`${apiAddress}/v1/sys/metrics?format=prometheus`, { headers: { 'x-vault-token': cluster.rootToken } })
  if (!answer.ok) return null
  const text = await answer.text()
  const failing = [...text.matchAll(/^holdfast_audit_device_healthy\{device="(\w+)"\} 0$/gm)].map(([, device = '']) => device)
  const failures = [...text.matchAll(/^holdfast_audit_device_failures\{device="(\w+)"\} (\d+)$/gm)].map(([, device = '', count]) => [
    device,
    Number(count),
  ])
  return {
    failures: Object.fromEntries(failures) as Record<string, number>,
    term: Number(/^holdfast_raft_term (\d+)$/m.exec(text)?.[1] ?? Number.NaN),
    failing,
  }
}

/** Asks until the leader's devices are as `expected`: what a collector's kernel still takes for it must be full first. */
async function until(expected: readonly string[] | null): Promise<void> {
  const endMs = performance.now() + untilMsMax
  for (;;) {
    await Promise.all(Array.from({ length: atOnce }, () => write()))
    const found = await health()
    if (JSON.stringify(found?.failing ?? null) === JSON.stringify(expected)) return
    if (performance.now() > endMs) throw new Error(`expected failing devices ${JSON.stringify(expected)}, got ${JSON.stringify(found)}`)
  }
}

/** Over the whole run: writes that were answered 200, and those whose error says that they were done all the same. */
let answered = 0
let doneNotAnswered = 0
let serial = 0

async function write(): Promise<{ status: number; body: unknown }> {
  const { apiAddress } = await waitForLeader(cluster)
  const answer = await cluster.api.call(apiAddress, 'POST', `secret/data/a${(serial += 1)}`, {
    token: cluster.rootToken,
    body: { data: filler },
    timeoutMs: 30_000,
  })
  if (answer.status === 200) answered += 1
  if (JSON.stringify(answer.body).includes('was carried out')) doneNotAnswered += 1
  return answer
}

/** A write every so often: what came back, and how long the longest took. */
async function load(what: string, ms = loadMs): Promise<void> {
  const before = await health()
  const statuses: Record<string, number> = {}
  let slowestMs = 0
  const pending: Promise<void>[] = []
  let errors = ''
  const endMs = performance.now() + ms
  while (performance.now() < endMs) {
    const startMs = performance.now()
    const one = write()
      .then(
        ({ status, body }) => {
          statuses[status] = (statuses[status] ?? 0) + 1
          if (status >= 400) errors = JSON.stringify(body)
        },
        (error: Error) => void (statuses[error.name] = (statuses[error.name] ?? 0) + 1),
      )
      .then(() => void (slowestMs = Math.max(slowestMs, performance.now() - startMs)))
    pending.push(one)
    await delay(everyMs)
  }
  await Promise.all(pending)
  const found = await health()
  const notTaken = found === null ? 'all' : changed(before?.failures ?? {}, found.failures)
  rows.push({
    what,
    notTaken,
    statuses,
    slowestMs: Math.round(slowestMs),
    term: found?.term ?? null,
    machineLoad: loadavg()[0],
    error: errors.slice(0, 200),
  })
  console.log(rows.at(-1))
}

const changed = (before: Health['failures'], now: Health['failures']): Record<string, number> =>
  Object.fromEntries(
    Object.entries(now).flatMap(([device, count]) => (count > (before[device] ?? 0) ? [[device, count - (before[device] ?? 0)]] : [])),
  )

/** How many writes were done. */
async function written(): Promise<number> {
  const leader = await waitForLeader(cluster)
  const { body } = await cluster.api.call(leader.apiAddress, 'GET', 'secret/metadata?list=true', {
    token: cluster.rootToken,
    timeoutMs: 60_000,
  })
  return (body?.['data'] as { keys?: string[] } | undefined)?.keys?.length ?? 0
}

function fillDisk(): void {
  const file = openSync(join(disk, 'filler'), 'w')
  try {
    for (;;) writeSync(file, Buffer.alloc(chunkBytes))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
  } finally {
    closeSync(file)
  }
}

try {
  await cluster.start()
  await mountKv(cluster, 'secret')
  await load('all well')
  socket.hang(true)
  await until(['socket'])
  await load('a collector takes nothing', hangMs)
  socket.hang(false)
  await until([])
  await syslog.away()
  await until(['syslog'])
  await load('syslog is away')
  await syslog.listen()
  await until([])
  fillDisk()
  await until(['file'])
  await load('the disk is full')
  await socket.away()
  await syslog.away()
  await until(null)
  await load('the disk is full, both collectors are away')
  rmSync(join(disk, 'filler'))
  await socket.listen()
  await syslog.listen()
  const startMs = performance.now()
  while ((await write()).status !== 200) {
    if (performance.now() - startMs > untilMsMax) throw new Error('expected a good answer once all devices were back, got none')
    await delay(20)
  }
  rows.push({ what: 'all came back: until the first good answer, without a restart', ms: Math.round(performance.now() - startMs) })
  await until([])
  await load('all well again')
  rows.push({ what: 'writes over the whole run', answered, doneNotAnswered, inTheStore: await written() })
  console.log(rows.at(-1))
} finally {
  await cluster.stop()
  await socket.away()
  await syslog.away()
  execFileSync('umount', [disk])
  rmSync(home, { recursive: true, force: true })
}
keepFigures(out, 'audit-devices', 'node test/audit/devices.ts', { rows })
