import { createSocket } from 'node:dgram'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer as createHttp } from 'node:http'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { createServer as createTls } from 'node:tls'
import { systemClock, type Clock } from '#base/clock.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { createAuditBroker } from '#audit/broker.ts'
import { openSink, type SinkDeps } from '#audit/sinks/open.ts'
import type { DeviceSettings, HttpSettings } from '#audit/sinks/settings.ts'
import { noEvidence, readEvidence } from '#audit/verify/evidence.ts'
import { verifyFiles } from '#audit/verify/verify.ts'
import { AuditLab } from '#test/support/audit-lab.ts'
import { OpenSsl } from '#test/support/openssl.ts'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { none, record } from './helpers.ts'

const cleanups: (() => void)[] = []
afterEach(() => cleanups.splice(0).forEach((clean) => clean()))

const deps = (more: Partial<SinkDeps> = {}): SinkDeps => ({
  clock: systemClock,
  log: silentLogger,
  nodeId: 'n1',
  host: 'host with space',
  processId: 7,
  stdout: new PassThrough(),
  ...more,
})

const common = { prefix: null, log_raw: false, hmac_accessor: true, elide_list_responses: false }
const peer = { ...common, write_timeout: 1_500, tls_ca_cert_file: null, tls_server_name: null }

async function brokerOf(device: DeviceSettings, more: Partial<SinkDeps> = {}) {
  const broker = createAuditBroker({
    nodeId: 'n1',
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    devices: [{ name: 'd', ...(await openSink(device, deps(more))) }],
  })
  broker.setKey(Buffer.alloc(32, 1))
  return { broker, write: (path: string) => broker.record(record(path), none) }
}

/** A collector that keeps what it is sent. */
async function collector(port: number | string = 0): Promise<{ port: number; text: () => string; sockets: Socket[]; server: Server }> {
  let text = ''
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
    socket.on('data', (chunk) => (text += chunk.toString()))
  })
  await new Promise<void>((resolve) =>
    typeof port === 'string' ? server.listen(port, resolve) : server.listen(port, '127.0.0.1', resolve),
  )
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { port: (server.address() as AddressInfo).port, text: () => text, sockets, server }
}

async function until(isTrue: () => boolean): Promise<void> {
  const endMs = performance.now() + 10_000
  while (!isTrue() && performance.now() < endMs) await delay(10)
  expect(isTrue()).toBe(true)
}

const chainsIn = (text: string) =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line).chain as { boot: string; seq: number; prev: string | null })

describe('streams', () => {
  test('a socket takes lines; when its peer went away, records fail, and it comes back by itself with a life of its own', async () => {
    const first = await collector()
    const { broker, write } = await brokerOf({
      type: 'socket',
      options: { ...peer, address: `127.0.0.1:${first.port}`, socket_type: 'tcp' },
    })
    await Promise.all(['a', 'b'].map(write))
    await until(() => chainsIn(first.text()).length === 2)
    for (const socket of first.sockets) socket.destroy()
    await new Promise((resolve) => first.server.close(resolve))
    await delay(50)
    await expect(write('lost')).rejects.toThrow('internal error')
    expect(broker.status()['d']).toMatchObject({ healthy: false, stuck: false })
    const second = await collector(first.port)
    await write('c')
    await until(() => second.text().endsWith('\n'))
    const [chain] = chainsIn(second.text())
    expect(chain).toMatchObject({ seq: 1, prev: null })
    expect(chain!.boot).not.toBe(chainsIn(first.text())[0]!.boot)
    expect(broker.status()['d']!.healthy).toBe(true)
    await broker.close()
  })

  test('a peer that takes nothing holds up nobody for longer than its time', async () => {
    const hanging = await collector()
    hanging.server.on('connection', (socket: Socket) => socket.pause())
    const { broker } = await brokerOf({ type: 'socket', options: { ...peer, address: `127.0.0.1:${hanging.port}`, socket_type: 'tcp' } })
    const big = record('big', { response: { data: { blob: Array.from({ length: 900 }, () => 'x'.repeat(10)) } } })
    const startMs = performance.now()
    const results: string[] = []
    // More than the kernel's buffers hold.
    for (let i = 0; i < 600 && !results.includes('internal error'); i += 1)
      results.push(
        await broker.record({ ...big, request: { ...big.request, data: { i, fill: Array.from({ length: 900 }, () => 'y') } } }, none).then(
          () => 'ok',
          (error: Error) => error.message,
        ),
      )
    expect(results.at(-1)).toBe('internal error')
    expect(performance.now() - startMs).toBeLessThan(20_000)
    await broker.close()
  })

  test('syslog over TCP: RFC 5424, each message with its length before it', async () => {
    const there = await collector()
    const { broker, write } = await brokerOf({
      type: 'syslog',
      options: { ...peer, address: `tcp://127.0.0.1:${there.port}`, facility: 'local3', tag: 'hold fast' },
    })
    await Promise.all(['a', 'b'].map(write))
    await until(() => there.text().includes('"b"'))
    let rest = Buffer.from(there.text())
    const messages: string[] = []
    while (rest.length > 0) {
      const [, length = '0'] = /^(\d+) /.exec(rest.toString()) ?? []
      const from = length.length + 1
      messages.push(rest.subarray(from, from + Number(length)).toString())
      rest = rest.subarray(from + Number(length))
    }
    expect(messages).toHaveLength(2)
    // local3 is 19: 19 * 8 + notice (5).
    for (const message of messages) {
      const [, json = ''] = /^<157>1 \d{4}-\d\d-\d\dT[\d:.]+Z host_with_space hold_fast 7 audit - (\{.*\})$/.exec(message) ?? []
      expect(JSON.parse(json)).toMatchObject({ type: 'request' })
    }
    await broker.close()
  })

  test('syslog over UDP: a datagram each, and one that is too long is refused', async () => {
    const socket = createSocket('udp4')
    const got: string[] = []
    socket.on('message', (message) => got.push(message.toString()))
    await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
    cleanups.push(() => socket.close())
    const address = `udp://127.0.0.1:${socket.address().port}`
    const { broker, write } = await brokerOf({ type: 'syslog', options: { ...peer, address, facility: 'auth', tag: 'holdfast' } })
    await write('a')
    await until(() => got.length === 1)
    expect(got[0]).toMatch(/^<37>1 .* audit - \{/)
    const data = Object.fromEntries(Array.from({ length: 900 }, (_, i) => [`k${i}`, 'v']))
    await expect(broker.record(record('big', { response: { data } }), none)).rejects.toThrow('internal error')
    await broker.close()
  })

  test('a stream socket of this machine takes lines, and syslog’s messages', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-unix-'))
    cleanups.push(() => rmSync(folder, { recursive: true }))
    for (const type of ['socket', 'syslog'] as const) {
      const path = join(folder, type)
      const there = await collector(path)
      const options =
        type === 'socket'
          ? { ...peer, address: path, socket_type: 'unix' as const }
          : { ...peer, address: `unix://${path}`, facility: 'auth', tag: 'x' }
      const { broker, write } = await brokerOf({ type, options } as DeviceSettings)
      await write('a')
      await until(() => there.text().includes('"path":"a"'))
      expect(broker.status()['d']!.healthy).toBe(true)
      await broker.close()
    }
  })

  test('a socket over UDP: a line each, and a name that leads nowhere is a failed record', async () => {
    const socket = createSocket('udp4')
    const got: string[] = []
    socket.on('message', (message) => got.push(message.toString()))
    await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
    cleanups.push(() => socket.close())
    const of = (address: string) => brokerOf({ type: 'socket', options: { ...peer, address, socket_type: 'udp' } })
    const { broker, write } = await of(`127.0.0.1:${socket.address().port}`)
    await Promise.all(['a', 'b'].map(write))
    await until(() => got.length === 2)
    expect(got.map((line) => JSON.parse(line).request.path)).toEqual(['a', 'b'])
    await broker.close()
    const nowhere = await of('host.invalid:514')
    await expect(nowhere.write('a')).rejects.toThrow('internal error')
    await nowhere.broker.close()
    const unaddressed = await of('127.0.0.1')
    await expect(unaddressed.write('a')).rejects.toThrow('internal error')
    await unaddressed.broker.close()
  })

  describe('TLS', () => {
    const openssl = new OpenSsl()
    afterAll(() => openssl.dispose())
    const ca = openssl.make('ca', null, { ca: true })
    openssl.make('other', null, { ca: true })
    const leaf = openssl.make('collector', ca, { extensions: ['subjectAltName=DNS:collector.test'] })

    async function tlsCollector() {
      let text = ''
      const server = createTls({ key: leaf.key, cert: leaf.pem }, (socket) =>
        socket.on('data', (chunk) => (text += chunk.toString())).on('error', () => {}),
      )
      server.on('tlsClientError', () => {})
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      cleanups.push(() => server.close())
      return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, text: () => text }
    }

    const settings = (type: 'socket' | 'syslog', address: string, authority: string, serverName: string | null): DeviceSettings => {
      const tls = { ...peer, tls_ca_cert_file: join(openssl.dir, `${authority}.pem`), tls_server_name: serverName }
      return type === 'socket'
        ? { type, options: { ...tls, address, socket_type: 'tls' } }
        : { type, options: { ...tls, address: `tls://${address}`, facility: 'auth', tag: 'x' } }
    }

    test.each(['socket', 'syslog'] as const)(
      '%s: a collector is believed by its authority and its name, and no other is told anything',
      async (type) => {
        const there = await tlsCollector()
        for (const [authority, serverName] of [
          ['other', 'collector.test'],
          ['ca', 'elsewhere.test'],
          ['ca', null],
        ] as const) {
          const refused = await brokerOf(settings(type, there.address, authority, serverName))
          await expect(refused.write('a')).rejects.toThrow('internal error')
          await refused.broker.close()
        }
        expect(there.text()).toBe('')
        const { broker, write } = await brokerOf(settings(type, there.address, 'ca', 'collector.test'))
        await write('b')
        await until(() => there.text().includes('"path":"b"'))
        await broker.close()
      },
    )
  })

  test.each([
    ['syslog', { address: 'somewhere', facility: 'auth', tag: 'x' }, 'syslog address expected'],
    ['syslog', { address: 'udp://h:1', facility: 'none', tag: 'x' }, 'syslog facility expected'],
  ])('%s settings that can not be are refused at the start', async (type, options, message) => {
    await expect(openSink({ type, options: { ...peer, ...options } } as DeviceSettings, deps())).rejects.toThrow(message)
  })

  test('stdout takes lines among those of others', async () => {
    const stdout = new PassThrough()
    const { broker, write } = await brokerOf({ type: 'stdout', options: { ...common, prefix: 'AUDIT ' } }, { stdout })
    await write('a')
    expect(stdout.read().toString()).toMatch(/^AUDIT \{"time".*\}\}\n$/)
    await broker.close()
  })
})

describe('http', () => {
  async function posts(answer: () => { status: number; body: string }) {
    const got: { headers: NodeJS.Dict<string | string[]>; body: string }[] = []
    const server = createHttp((request, response) => {
      let body = ''
      request.on('data', (chunk: Buffer) => (body += chunk.toString()))
      request.on('end', () => {
        got.push({ headers: request.headers, body })
        const { status, body: text } = answer()
        if (status === 0) return // Hangs.
        response.writeHead(status).end(text)
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    cleanups.push(() => {
      server.closeAllConnections()
      server.close()
    })
    const uri = `http://127.0.0.1:${(server.address() as AddressInfo).port}/in`
    return {
      got,
      options: (more: Partial<HttpSettings>): HttpSettings => ({ ...peer, uri, format: 'ndjson', headers: [], token: null, ...more }),
    }
  }

  test('a flush is one POST: lines, Splunk’s events, Elastic’s operations', async () => {
    const { got, options } = await posts(() => ({ status: 200, body: '{"errors":false}' }))
    for (const format of ['ndjson', 'splunk_hec', 'elastic_bulk'] as const) {
      const { broker, write } = await brokerOf({ type: 'http', options: options({ format, token: 'T', headers: ['X-Extra: 1'] }) })
      await Promise.all(['a', 'b'].map(write))
      await broker.close()
    }
    expect(got.map(({ headers }) => [headers['authorization'], headers['x-extra']])).toEqual([
      ['Bearer T', '1'],
      ['Splunk T', '1'],
      ['ApiKey T', '1'],
    ])
    const [plain, splunk, elastic] = got.map(({ body }) => body.split('\n').filter((line) => line !== ''))
    expect(plain!.map((line) => JSON.parse(line).request.path)).toEqual(['a', 'b'])
    expect(splunk!.map((line) => JSON.parse(JSON.parse(line).event).request.path)).toEqual(['a', 'b'])
    expect(elastic!.map((line) => Object.keys(JSON.parse(line))[0])).toEqual(['create', 'time', 'create', 'time'])
  })

  test.each([
    ['refuses', { status: 503, body: '' }, 'ndjson'],
    ['hangs', { status: 0, body: '' }, 'ndjson'],
    ['took only some', { status: 200, body: '{"errors":true}' }, 'elastic_bulk'],
  ] as const)('a collector that %s has not taken the record, and gets the next one', async (_, bad, format) => {
    let good = false
    const { options } = await posts(() => (good ? { status: 200, body: '{"errors":false}' } : bad))
    const { broker, write } = await brokerOf({ type: 'http', options: options({ format }) })
    await expect(write('a')).rejects.toThrow('internal error')
    good = true
    await write('b')
    expect(broker.status()['d']).toMatchObject({ records: 1, healthy: true })
    await broker.close()
  })
})

describe('files', () => {
  test('rotate by size and by age, are compressed, and deleted when their time is over; what is left is whole', async () => {
    let aheadMs = 0
    const clock: Clock = { ...systemClock, nowMs: () => Date.now() + aheadMs, monotonicMs: () => performance.now() + aheadMs }
    const archived: string[] = []
    const shelf = { compress: true, keepMs: 3_600_000, archive: async (file: string) => void archived.push(file) }
    const lab = new AuditLab('n1', { rotateBytes: 4_000, rotateMs: 60_000, shelf }, clock)
    cleanups.push(() => lab.remove())
    await lab.start()
    await lab.write(10, 1)
    await lab.anchor()
    await until(() => lab.files().some((file) => file.endsWith('.gz')))
    // Between the compressed file's rename and the removal of the plain one, a file is there twice.
    const count = (): number => new Set(lab.files().map((file) => file.replace(/\.gz$/, ''))).size
    const before = count()
    aheadMs = 61_000
    await lab.write(1)
    expect(count()).toBe(before + 1)
    aheadMs = 2 * 3_600_000
    await lab.write(12, 1)
    await until(
      () =>
        !lab
          .files()
          .some(
            (file) =>
              file.includes(new Date().toISOString().slice(0, 10).replaceAll('-', '') + 'T') &&
              file < `${lab.path}.${new Date(Date.now() + 3_600_000).toISOString().replaceAll(/[-:]/g, '')}` &&
              file !== lab.path,
          ),
    )
    await lab.anchor()
    await lab.stop()
    expect(archived.length).toBeGreaterThan(1)
    const verdict = await verifyFiles(lab.files(), { evidence: readEvidence(await lab.proof(), null) })
    expect([verdict.verdict, verdict.findings]).toEqual(['whole', []])
    // What retention did not delete must be there.
    const cut = await verifyFiles(lab.files().slice(1), { evidence: readEvidence(await lab.proof(), null) })
    expect(cut.verdict).toBe('tampered')
  })

  test('a process that ended between a rotation and its first record goes on from the file before', async () => {
    const lab = new AuditLab('n1', { rotateBytes: 1 })
    cleanups.push(() => lab.remove())
    await lab.start()
    await lab.write(2, 1)
    await lab.stop()
    rmSync(lab.path) // As if it had not been made yet.
    await lab.start()
    await lab.write(1)
    await lab.stop()
    const lines = lab
      .files()
      .slice(-1)
      .map((file) => readFileSync(file, 'utf8'))
    expect(JSON.parse(lines[0]!.split('\n')[0]!).chain.prev).toMatch(/^[0-9a-f]{64}$/)
    expect((await verifyFiles(lab.files(), { evidence: noEvidence })).findings).toEqual([])
  })

  test('an archive that is away keeps what retention would delete', async () => {
    let aheadMs = 0
    let failures = 0
    const clock: Clock = { ...systemClock, nowMs: () => Date.now() + aheadMs, monotonicMs: () => performance.now() + aheadMs }
    const shelf = {
      keepMs: 1_000,
      archive: async () => {
        throw new Error('away')
      },
      onError: () => (failures += 1),
    }
    const lab = new AuditLab('n1', { rotateBytes: 1, shelf }, clock)
    cleanups.push(() => lab.remove())
    await lab.start()
    await lab.write(3, 1)
    aheadMs = 3_600_000
    await lab.write(1)
    await until(() => failures > 0)
    await lab.stop()
    expect(lab.files()).toHaveLength(4)
  })
})
