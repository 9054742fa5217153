import fc from 'fast-check'
import { connect } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { AddressSet, forwardedFor, normalizeAddress } from '#http/client-address.ts'
import { parseProxyHeader, proxyHeaderBytesMax } from '#http/proxy-protocol.ts'
import type { ProxyOptions } from '#http/types.ts'
import { exchange, ok, readAnswer, selfSigned, serve, temporaryFolder, writePem } from './support.ts'
import type { Served } from './support.ts'

const folder = temporaryFolder()
let files = { certFile: '', keyFile: '' }
const open: Served[] = []
beforeAll(async () => {
  files = writePem(folder.path, 'server', await selfSigned('localhost'))
})
afterAll(() => folder.remove())
afterEach(async () => {
  for (const served of open.splice(0)) await served.listener.close(0)
})

async function start(proxies: Partial<ProxyOptions>, tls = false): Promise<Served> {
  const served = await serve(() => ok({}), {
    proxies: { forwardedForFrom: [], ...proxies },
    ...(tls ? { tls: files } : {}),
    limits: { headerReadMsMax: 300 },
  })
  open.push(served)
  return served
}

const get = (headers = ''): string => `GET /v1/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${headers}\r\n`

/** The header of version 2. `family`: 0x11 IPv4, 0x21 IPv6, both TCP. */
function version2(options: { command?: number; family?: number; addresses?: Buffer; tlv?: Buffer } = {}): Buffer {
  const payload = Buffer.concat([
    options.addresses ?? Buffer.from([203, 0, 113, 7, 10, 0, 0, 1, 0x30, 0x39, 0x20, 0x08]),
    options.tlv ?? Buffer.alloc(0),
  ])
  const head = Buffer.from([
    0x0d,
    0x0a,
    0x0d,
    0x0a,
    0x00,
    0x0d,
    0x0a,
    0x51,
    0x55,
    0x49,
    0x54,
    0x0a,
    0x20 | (options.command ?? 1),
    options.family ?? 0x11,
    0,
    0,
  ])
  head.writeUInt16BE(payload.length, 14)
  return Buffer.concat([head, payload])
}

describe('the header', () => {
  test.each([
    ['PROXY TCP4 203.0.113.7 10.0.0.1 12345 8200\r\n', { address: '203.0.113.7', port: 12_345 }],
    ['PROXY TCP6 2001:DB8::7 ::1 1 8200\r\n', { address: '2001:db8::7', port: 1 }],
    ['PROXY TCP6 ::ffff:203.0.113.7 ::1 1 8200\r\n', { address: '203.0.113.7', port: 1 }],
    ['PROXY UNKNOWN\r\n', null],
    ['PROXY UNKNOWN ffff:: ffff:: 1 2\r\n', null],
  ])('version 1: %j', (text, client) => {
    expect(parseProxyHeader(Buffer.from(`${text}GET`))).toEqual({ kind: 'header', length: text.length, client })
    for (let cut = 1; cut < text.length; cut += 1) expect(parseProxyHeader(Buffer.from(text.slice(0, cut)))).toEqual({ kind: 'more' })
  })

  test.each([
    'PROXY TCP4 203.0.113.7 10.0.0.1 12345\r\n',
    'PROXY TCP4 203.0.113.7 10.0.0.1 12345 8200 9\r\n',
    'PROXY TCP4 203.0.113.256 10.0.0.1 1 2\r\n',
    'PROXY TCP4 0x7f.0.0.1 10.0.0.1 1 2\r\n',
    'PROXY TCP4 010.0.0.1 10.0.0.1 1 2 3\r\n',
    'PROXY TCP4 ::1 10.0.0.1 1 2\r\n',
    'PROXY TCP6 10.0.0.1 ::1 1 2\r\n',
    'PROXY TCP4 10.0.0.1 10.0.0.2 65536 2\r\n',
    'PROXY TCP4 10.0.0.1 10.0.0.2 01 2\r\n',
    'PROXY UDP4 10.0.0.1 10.0.0.2 1 2\r\n',
    `PROXY TCP4 ${'1'.repeat(120)}`,
  ])('version 1 refused: %j', (text) => {
    expect(parseProxyHeader(Buffer.from(text)).kind).toBe('bad')
  })

  test('version 2', () => {
    expect(parseProxyHeader(Buffer.concat([version2(), Buffer.from('GET')]))).toEqual({
      kind: 'header',
      length: 28,
      client: { address: '203.0.113.7', port: 12_345 },
    })
    const six = Buffer.concat([Buffer.from('20010db8000000000000000000000007', 'hex'), Buffer.alloc(16), Buffer.from([0x30, 0x39, 0, 1])])
    expect(parseProxyHeader(version2({ family: 0x21, addresses: six }))).toMatchObject({ client: { address: '2001:db8::7', port: 12_345 } })
    expect(parseProxyHeader(version2({ tlv: Buffer.alloc(200) }))).toMatchObject({ kind: 'header', length: 228 })
    expect(parseProxyHeader(version2({ command: 0 }))).toMatchObject({ kind: 'header', client: null })
    expect(parseProxyHeader(version2({ family: 0, addresses: Buffer.alloc(0) }))).toMatchObject({ kind: 'header', client: null })
    expect(parseProxyHeader(version2({ command: 2 })).kind).toBe('bad')
    expect(parseProxyHeader(version2({ addresses: Buffer.alloc(4) })).kind).toBe('bad')
    expect(parseProxyHeader(version2({ family: 0x51 })).kind).toBe('bad')
    expect(parseProxyHeader(version2({ tlv: Buffer.alloc(proxyHeaderBytesMax) })).kind).toBe('bad')
    for (let cut = 1; cut < 28; cut += 1) expect(parseProxyHeader(version2().subarray(0, cut)).kind).toBe('more')
  })

  test('never throws, never takes more than it was given, and lets HTTP and TLS pass', () => {
    expect(parseProxyHeader(Buffer.from('GET / HTTP/1.1\r\n')).kind).toBe('absent')
    expect(parseProxyHeader(Buffer.from('PUT / HTTP/1.1\r\n')).kind).toBe('absent')
    expect(parseProxyHeader(Buffer.from([0x16, 0x03, 0x01])).kind).toBe('absent')
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 60 }),
        fc.constantFrom('', 'PROXY ', 'PROXY TCP4 ', version2().subarray(0, 12).toString('latin1')),
        (bytes, start) => {
          const all = Buffer.concat([Buffer.from(start, 'latin1'), bytes])
          const header = parseProxyHeader(all)
          if (header.kind === 'header') expect(header.length).toBeLessThanOrEqual(all.length)
        },
      ),
    )
  })
})

describe('X-Forwarded-For', () => {
  const trusted = new AddressSet(['10.0.0.0/8', 'fd00::/8', '192.168.1.1'])
  test.each([
    ['203.0.113.7', 0, '203.0.113.7'],
    ['6.6.6.6, 203.0.113.7', 0, '203.0.113.7'],
    ['6.6.6.6, 203.0.113.7, 10.1.2.3', 0, '203.0.113.7'],
    ['6.6.6.6,203.0.113.7,10.1.2.3,192.168.1.1', 0, '203.0.113.7'],
    ['10.0.0.1, 10.0.0.2', 0, '10.0.0.1'],
    ['6.6.6.6, 203.0.113.7, 8.8.8.8', 1, '203.0.113.7'],
    ['203.0.113.7', 1, null],
    ['203.0.113.7:4711', 0, '203.0.113.7'],
    ['[2001:db8::1]:4711', 0, '2001:db8::1'],
    ['::ffff:203.0.113.7', 0, '203.0.113.7'],
    ['6.6.6.6, nonsense', 0, null],
    ['6.6.6.6, nonsense, 10.0.0.1', 0, null],
    ['6.6.6.6, ', 0, null],
    ['', 0, null],
    ['127.1', 0, null],
    ['0x7f000001', 0, null],
  ])('%j skipping %d is %j', (header, skips, expected) => {
    expect(forwardedFor(header, trusted, skips)).toBe(expected)
  })

  test('address sets', () => {
    expect(trusted.has('10.255.0.1')).toBe(true)
    expect(trusted.has('::ffff:10.255.0.1')).toBe(true)
    expect(trusted.has('11.0.0.1')).toBe(false)
    expect(trusted.has('fdab::1')).toBe(true)
    expect(trusted.has('not an address')).toBe(false)
    expect(new AddressSet(['::ffff:10.0.0.0/104']).has('10.1.1.1')).toBe(true)
    expect(new AddressSet(['::ffff:10.0.0.0/104']).has('11.1.1.1')).toBe(false)
    expect(normalizeAddress('fe80::1%eth0')).toMatch(/^fe80::1/)
    for (const bad of ['10.0.0.0/33', 'a', '10.0.0.0/', '10.0.0.0/-1', '']) expect(() => new AddressSet([bad])).toThrow('CIDRs')
  })

  test('is believed from trusted proxies only', async () => {
    const ignoring = await start({ forwardedForFrom: ['10.0.0.0/8'] })
    await exchange(ignoring.port, [get('X-Forwarded-For: 203.0.113.7\r\n')])
    expect(ignoring.seen[0]?.clientAddress).toBe('127.0.0.1')
    const believing = await start({ forwardedForFrom: ['127.0.0.0/8'] })
    await exchange(believing.port, [get('X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 203.0.113.7\r\n')])
    await exchange(believing.port, [get()])
    expect(believing.seen.map((request) => request.clientAddress)).toEqual(['203.0.113.7', '127.0.0.1'])
    expect(readAnswer(await exchange(believing.port, [get('X-Forwarded-For: 203.0.113.7, x\r\n')])).status).toBe(400)
  })

  test('is demanded or refused where that is configured', async () => {
    const demanding = await start({ forwardedForFrom: ['127.0.0.1'], rejectForwardedForAbsent: true })
    expect(readAnswer(await exchange(demanding.port, [get()])).status).toBe(400)
    const refusing = await start({ forwardedForFrom: ['10.0.0.1'], rejectForwardedForUnauthorized: true })
    expect(readAnswer(await exchange(refusing.port, [get('X-Forwarded-For: 1.1.1.1\r\n')])).status).toBe(400)
    expect(readAnswer(await exchange(refusing.port, [get()])).status).toBe(200)
  })
})

describe('PROXY protocol on the wire', () => {
  const line = 'PROXY TCP4 203.0.113.7 10.0.0.1 12345 8200\r\n'

  test.each([
    ['in one piece', [line + get()]],
    ['in pieces', [line.slice(0, 3), line.slice(3, 20), line.slice(20) + get().slice(0, 10), get().slice(10)]],
    ['byte by byte', Array.from(line + get())],
    ['version 2', [version2(), get()]],
    ['version 2 with the request behind it', [Buffer.concat([version2(), Buffer.from(get())])]],
  ])('a trusted sender, %s', async (_name, sent) => {
    const served = await start({ proxyProtocol: 'allow_authorized', proxyProtocolFrom: ['127.0.0.1'] })
    expect(readAnswer(await exchange(served.port, sent)).status).toBe(200)
    expect(served.seen[0]).toMatchObject({ clientAddress: '203.0.113.7', clientPort: 12_345 })
  })

  test('LIST works behind it', async () => {
    const served = await start({ proxyProtocol: 'use_always' })
    const list = 'LIST /v1/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'
    expect(readAnswer(await exchange(served.port, [line + list])).status).toBe(200)
    expect(served.seen[0]).toMatchObject({ method: 'LIST', clientAddress: '203.0.113.7' })
  })

  test('without a header, or with LOCAL, the socket counts', async () => {
    const served = await start({ proxyProtocol: 'use_always' })
    expect(readAnswer(await exchange(served.port, [get()])).status).toBe(200)
    expect(readAnswer(await exchange(served.port, [version2({ command: 0 }), get()])).status).toBe(200)
    expect(served.seen.map((request) => request.clientAddress)).toEqual(['127.0.0.1', '127.0.0.1'])
  })

  test('a stranger is heard without belief, or cut off', async () => {
    const allowing = await start({ proxyProtocol: 'allow_authorized', proxyProtocolFrom: ['10.0.0.1'] })
    expect(readAnswer(await exchange(allowing.port, [line + get()])).status).toBe(200)
    expect(allowing.seen[0]?.clientAddress).toBe('127.0.0.1')
    const denying = await start({ proxyProtocol: 'deny_unauthorized', proxyProtocolFrom: ['10.0.0.1'] })
    expect(await exchange(denying.port, [get()])).toBe('')
    expect(denying.seen).toHaveLength(0)
  })

  test('off, it is no HTTP', async () => {
    const served = await start({})
    expect(readAnswer(await exchange(served.port, [line + get()])).status).toBe(400)
  })

  test('bad and unfinished headers end the connection, and a waiting one does not hold up the end', async () => {
    const served = await start({ proxyProtocol: 'use_always' })
    expect(await exchange(served.port, [`PROXY nonsense\r\n${get()}`])).toBe('')
    const began = performance.now()
    expect(await exchange(served.port, ['PROXY TCP4 1'])).toBe('')
    expect(performance.now() - began).toBeLessThan(2_000)
    const waiting = connect(served.port, '127.0.0.1')
    await new Promise((resolve) => waiting.once('connect', resolve))
    await expect.poll(() => served.listener.connections).toBe(1)
    const closed = new Promise((resolve) => waiting.once('close', resolve))
    await served.listener.close(100)
    await closed
  })

  test('the client behind the proxy may itself be a trusted forwarder', async () => {
    const served = await start({ proxyProtocol: 'use_always', forwardedForFrom: ['203.0.113.7'] })
    await exchange(served.port, [line + get('X-Forwarded-For: 198.51.100.1\r\n')])
    expect(served.seen[0]?.clientAddress).toBe('198.51.100.1')
  })

  test.each([
    ['in a write of its own', false],
    ['in one write with the handshake', true],
  ])('before TLS, %s', async (_name, together) => {
    const served = await start({ proxyProtocol: 'use_always' }, true)
    const socket = connect(served.port, '127.0.0.1')
    await new Promise((resolve) => socket.once('connect', resolve))
    if (together) socket.cork()
    socket.write(line)
    const tls = connectTls({ socket, rejectUnauthorized: false })
    if (together) setImmediate(() => socket.uncork())
    const text = await new Promise<string>((resolve, reject) => {
      let all = ''
      tls.on('secureConnect', () => tls.write(get()))
      tls.on('data', (chunk: Buffer) => (all += chunk.toString()))
      tls.on('close', () => resolve(all))
      tls.on('error', reject)
    })
    expect(readAnswer(text).status).toBe(200)
    expect(served.seen[0]?.clientAddress).toBe('203.0.113.7')
  })
})
