import { X509Certificate } from 'node:crypto'
import { request as httpsRequest } from 'node:https'
import { connect as tcpConnect } from 'node:net'
import { connect as tlsConnect } from 'node:tls'
import { afterEach, expect, test } from 'vitest'
import { systemClock } from '#base/clock.ts'
import { Trust } from '#transport/trust.ts'
import { decodeError } from '#transport/wire-errors.ts'
import { acquaint, closeAll, dayMs, newCa, newIdentity, startNode, until } from './harness.ts'
import type { TestNode } from './harness.ts'
import type { Identity } from '#transport/types.ts'

afterEach(closeAll)

/** One POST to a node's cluster address as `identity`, past our own client and its checks. */
function rawPost(
  node: TestNode,
  identity: Identity | null,
  path: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; error: { code: string; message: string } }> {
  const [host, port] = node.transport.address().split(':')
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      {
        host,
        port,
        path,
        method: 'POST',
        rejectUnauthorized: false,
        agent: false,
        headers: { 'holdfast-cluster': 'cluster', 'content-length': '0', ...headers },
        ...(identity === null ? {} : { cert: identity.certificatePem, key: identity.privateKeyPem }),
      },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('end', () => {
          const body = Buffer.concat(chunks)
          const error = response.statusCode === 200 ? { code: '', message: '' } : decodeError(body)
          resolve({ status: response.statusCode ?? 0, error })
        })
        response.on('error', reject)
      },
    )
    request.on('error', reject)
    request.end()
  })
}

test('a member is served; strangers of the same CA, of another CA, and without a certificate are not', async () => {
  const ca = await newCa()
  const a = await startNode(await newIdentity(ca, 'a'))
  const member = await newIdentity(ca, 'b')
  a.transport.setPeers([{ id: 'b', clusterAddress: '127.0.0.1:1', fingerprint: member.fingerprint }])
  expect(await rawPost(a, member, '/request/v1/echo?from=b')).toMatchObject({ status: 200 })
  const strangers = [await newIdentity(ca, 'b'), await newIdentity(await newCa(), 'b'), null, a.identity]
  for (const stranger of strangers) {
    expect(await rawPost(a, stranger, '/request/v1/echo?from=b')).toMatchObject({ status: 403, error: { code: 'ERR_PEER_REFUSED' } })
  }
  expect(a.transport.stats().refused).toBe(4)
  expect(a.lines.some((line) => line.message.includes('refused') && String(line.fields['reason']).includes('got our own key'))).toBe(false)
})

test('a member may not speak as another node, nor for another cluster', async () => {
  const ca = await newCa()
  const a = await startNode(await newIdentity(ca, 'a'))
  const member = await newIdentity(ca, 'b')
  a.transport.setPeers([{ id: 'b', clusterAddress: '127.0.0.1:1', fingerprint: member.fingerprint }])
  const refused = { status: 403, error: { code: 'ERR_PEER_REFUSED' } }
  expect(await rawPost(a, member, '/request/v1/echo?from=c')).toMatchObject(refused)
  expect(await rawPost(a, member, '/request/v1/echo')).toMatchObject(refused)
  expect(await rawPost(a, member, '/raft/v1/stream?from=b', { 'holdfast-cluster': 'twin' })).toMatchObject(refused)
  expect(await rawPost(a, member, '/nonsense?from=b')).toMatchObject({ status: 404, error: { code: 'ERR_NO_ROUTE' } })
  expect(await rawPost(a, member, '/request/v1/UPPER?from=b')).toMatchObject({ status: 400 })
  expect(a.transport.stats().refused).toBe(3)
})

test('a server with another key than that of the peer dialled is not spoken to', async () => {
  const ca = await newCa()
  const a = await startNode(await newIdentity(ca, 'a'))
  const impostor = await startNode(await newIdentity(ca, 'b'), { trustCa: true })
  const real = await newIdentity(ca, 'b')
  a.transport.setPeers([{ ...impostor.peer(), fingerprint: real.fingerprint }])
  await until('unreachable', () => a.unreachable.includes('b'))
  await expect(a.transport.request('b', 'echo', Buffer.from('secret'), 1_000)).rejects.toMatchObject({
    code: 'ERR_UPSTREAM',
    message: expect.stringContaining('expected the key of node b'),
    data: { sent: false },
  })
  await expect(a.transport.sendSnapshot('b', Buffer.alloc(1), one('x'))).rejects.toMatchObject({ code: 'ERR_PEER_REFUSED' })
  expect(impostor.received).toEqual([])
  expect(a.transport.stats().peers[0]).toMatchObject({ connected: false, connects: 0 })
})

async function* one(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text)
}

test('a joining node takes whoever the CA vouches for, and nobody else, until it is told its peers', async () => {
  const ca = await newCa()
  const joiner = await startNode(await newIdentity(ca, 'c'), { trustCa: true })
  const leader = await newIdentity(ca, 'a')
  const expired = await newIdentity(ca, 'x', { nowMs: Date.now() - 60 * dayMs, days: 30 })
  const early = await newIdentity(ca, 'x', { nowMs: Date.now() + 60 * dayMs, days: 30 })
  const foreign = await newIdentity(await newCa(), 'a')
  expect(await rawPost(joiner, leader, '/request/v1/echo?from=a')).toMatchObject({ status: 200 })
  for (const [identity, from] of [
    [leader, 'b'],
    [foreign, 'a'],
    [expired, 'x'],
    [early, 'x'],
    [null, 'a'],
  ] as const) {
    expect((await rawPost(joiner, identity, `/request/v1/echo?from=${from}`)).error.code, from).toBe('ERR_PEER_REFUSED')
  }
  joiner.transport.setPeers([], { provisional: true })
  expect(await rawPost(joiner, leader, '/request/v1/echo?from=a')).toMatchObject({ status: 200 })
  joiner.transport.setPeers([])
  expect(await rawPost(joiner, leader, '/request/v1/echo?from=a')).toMatchObject({ status: 403 })
})

test("an expired certificate, or one of another CA, of a member's key warns and connects", async () => {
  const ca = await newCa()
  const a = await startNode(await newIdentity(ca, 'a'))
  const old = await startNode(await newIdentity(ca, 'b', { nowMs: Date.now() - 800 * dayMs, days: 90 }))
  const elsewhere = await startNode(await newIdentity(await newCa(), 'c'))
  acquaint(a, old, elsewhere)
  a.transport.send('b', 1)
  a.transport.send('c', 1)
  old.transport.send('a', 2)
  elsewhere.transport.send('a', 2)
  await until('messages', () => a.received.length === 2 && old.received.length === 1 && elsewhere.received.length === 1)
  const warnings = a.lines.filter((line) => line.level === 'warn').map((line) => String(line.fields['warning']))
  expect(warnings).toContainEqual(expect.stringContaining('expired'))
  expect(warnings).toContainEqual(expect.stringContaining('another authority'))
})

test('a peer that is removed is cut off at once, in both directions, and may not come back', async () => {
  const ca = await newCa()
  const aborted: unknown[] = []
  const a = await startNode(await newIdentity(ca, 'a'), {
    handlers: {
      request: (_from, _kind, _body, signal) =>
        new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => {
            aborted.push(signal.reason)
            reject(signal.reason as Error)
          }),
        ),
    },
  })
  const b = await startNode(await newIdentity(ca, 'b'))
  const c = await startNode(await newIdentity(ca, 'c'))
  acquaint(a, b, c)
  for (const node of [b, c]) node.transport.send('a', 'before')
  await until('messages', () => a.received.length === 2)
  await until('streams', () => a.transport.stats().peers.every((peer) => peer.connected))
  const pending = b.transport.request('a', 'hang', Buffer.from('x'), 10_000)
  pending.catch(() => {})
  await until('the request', () => a.transport.stats().inboundRequests === 1)
  a.transport.setPeers([a.peer(), c.peer()])
  await expect(pending).rejects.toMatchObject({ code: 'ERR_UPSTREAM', data: { sent: true } })
  await until('the abort', () => aborted.length === 1)
  expect(a.transport.stats().peers.map((peer) => peer.id)).toEqual(['c'])
  await until('unreachable', () => b.unreachable.includes('a'))
  b.transport.send('a', 'after')
  c.transport.send('a', 'after')
  await until('the message of c', () => a.received.length === 3)
  await until('the refusal', () => a.transport.stats().refused > 0)
  expect(a.received.filter(({ from }) => from === 'b')).toHaveLength(1)
  await expect(a.transport.request('b', 'echo', Buffer.alloc(0), 1_000)).rejects.toMatchObject({ data: { sent: false } })
  // What the refused node logs says why.
  await until('the reason', () => b.lines.some((line) => String(line.fields['reason']).includes('the key of a member')))
  await c.transport.close()
})

test('a peer whose key changed is dialled with the new one only', async () => {
  const ca = await newCa()
  const a = await startNode(await newIdentity(ca, 'a'))
  const b = await startNode(await newIdentity(ca, 'b'))
  acquaint(a, b)
  await until('the stream', () => a.transport.stats().peers[0]?.connected === true)
  const next = await newIdentity(ca, 'b')
  a.transport.setPeers([{ ...b.peer(), fingerprint: next.fingerprint }])
  await until('unreachable', () => a.unreachable.length > 0)
  expect(a.transport.stats().peers[0]?.connected).toBe(false)
  b.transport.setIdentity(next)
  await until('the stream with the new key', () => a.transport.stats().peers[0]?.connected === true)
})

test('plain TCP, garbage and a handshake that never ends get nowhere and leave the others alone', async () => {
  const ca = await newCa()
  const a = await startNode(await newIdentity(ca, 'a'), { limits: { connectMsMax: 300 } })
  const b = await startNode(await newIdentity(ca, 'b'))
  acquaint(a, b)
  const [host, port] = a.transport.address().split(':')
  const ended = [Buffer.from('GET / HTTP/1.1\r\n\r\n'), Buffer.alloc(0), Buffer.from([0x16, 3, 1, 0xff, 0xff])].map(
    (bytes) =>
      new Promise<void>((resolve) => {
        const socket = tcpConnect(Number(port), host)
        socket.on('connect', () => socket.write(bytes))
        socket.on('error', () => {})
        socket.resume()
        socket.on('close', () => resolve())
      }),
  )
  await Promise.all(ended)
  // Below TLS 1.2 nobody gets in.
  const old = await new Promise<string>((resolve) => {
    const socket = tlsConnect(
      { host, port: Number(port), maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0', rejectUnauthorized: false },
      () => resolve('connected'),
    )
    socket.on('error', () => resolve('refused'))
  })
  expect(old).toBe('refused')
  b.transport.send('a', 'still here')
  await until('the message', () => a.received.length === 1)
})

test('a member with an address that is none is unreachable, and nothing worse', async () => {
  const ca = await newCa()
  const a = await startNode(await newIdentity(ca, 'a'))
  const b = await startNode(await newIdentity(ca, 'b'))
  a.transport.setPeers([b.peer(), { id: 'c', clusterAddress: 'no address', fingerprint: 'ab' }])
  await until('unreachable', () => a.unreachable.includes('c'))
  await expect(a.transport.request('c', 'x', Buffer.alloc(0), 1_000)).rejects.toMatchObject({ code: 'ERR_UPSTREAM', data: { sent: false } })
  b.transport.setPeers([a.peer()])
  await until('the stream', () => a.transport.stats().peers.some((peer) => peer.id === 'b' && peer.connected))
  a.transport.send('b', 1)
  await until('the message', () => b.received.length === 1)
})

test('until the next renewal members show certificates of either authority, and both are good', async () => {
  const [before, now, other] = [await newCa(), await newCa(), await newCa()]
  const own = { ...(await newIdentity(now, 'a')), previousCaCertificatePem: before.certificatePem }
  const trust = new Trust(own, true)
  const shown = async (ca: typeof now): Promise<X509Certificate> => new X509Certificate((await newIdentity(ca, 'b')).certificatePem)
  for (const ca of [before, now]) expect(trust.judgeClient(await shown(ca), systemClock.nowMs())).toMatchObject({ id: null, warning: null })
  const strange = await shown(other)
  expect(() => trust.judgeClient(strange, systemClock.nowMs())).toThrow(/another authority/)
  trust.setIdentity(await newIdentity(now, 'a'))
  const late = await shown(before)
  expect(() => trust.judgeClient(late, systemClock.nowMs())).toThrow(/another authority/)
})

test('whom a recovery has left out is not let in on the word of the CA, but as a member it would be', async () => {
  const ca = await newCa()
  const [left, joined] = [await newIdentity(ca, 'left'), await newIdentity(ca, 'joined')]
  const trust = new Trust(await newIdentity(ca, 'a'), true, new Set([left.fingerprint]))
  const judged = (identity: Identity) => trust.judgeClient(new X509Certificate(identity.certificatePem), systemClock.nowMs())
  expect(() => judged(left)).toThrow(/left out/)
  expect(judged(joined)).toMatchObject({ id: null })
  trust.setPeers([{ id: 'left', clusterAddress: 'left:1', fingerprint: left.fingerprint }], false)
  expect(judged(left)).toMatchObject({ id: 'left' })
})
