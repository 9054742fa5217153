import { createServer, connect as tcpConnect } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import { connect as tlsConnect } from 'node:tls'
import { afterEach, expect, test } from 'vitest'
import { FrameDecoder, FrameKind, emptyFrame, encodeFrame } from '#transport/frames.ts'
import { resultError } from '#transport/wire-errors.ts'
import type { Identity } from '#transport/types.ts'
import { acquaint, closeAll, newCa, newIdentity, startNode, until } from './harness.ts'
import type { TestNode } from './harness.ts'

afterEach(closeAll)

/** Speaks to a node's stream route as a member, byte by byte; resolves when the node ends it, with the refusal if there was one. */
function rawStream(node: TestNode, identity: Identity, frames: readonly Uint8Array[]): Promise<{ refusal: string; pongs: number }> {
  const [host, port] = node.transport.address().split(':')
  return new Promise((resolve) => {
    const socket = tlsConnect({
      host,
      port: Number(port),
      cert: identity.certificatePem,
      key: identity.privateKeyPem,
      rejectUnauthorized: false,
    })
    const received: Buffer[] = []
    socket.on('secureConnect', () => {
      socket.write(
        `POST /raft/v1/stream?from=${identity.nodeId} HTTP/1.1\r\nhost: x\r\nholdfast-cluster: cluster\r\ntransfer-encoding: chunked\r\n\r\n`,
      )
      for (const frame of frames) {
        socket.write(`${frame.length.toString(16)}\r\n`)
        socket.write(frame)
        socket.write('\r\n')
      }
    })
    socket.on('data', (chunk: Buffer) => received.push(chunk))
    socket.on('error', () => {})
    socket.on('close', () => resolve(readAnswer(Buffer.concat(received))))
  })
}

/** Un-chunks the answer's body, and reads its frames. */
function readAnswer(bytes: Buffer): { refusal: string; pongs: number } {
  const decoder = new FrameDecoder(1_000_000)
  let rest = bytes.subarray(bytes.indexOf('\r\n\r\n') + 4)
  let refusal = ''
  let pongs = 0
  for (;;) {
    const size = parseInt(rest.toString('latin1', 0, 10), 16)
    const begin = rest.indexOf('\r\n') + 2
    if (!(size > 0)) return { refusal, pongs }
    for (const frame of decoder.push(rest.subarray(begin, begin + size))) {
      if (frame.kind === FrameKind.result) refusal = resultError(frame)?.message ?? ''
      else pongs++
    }
    rest = rest.subarray(begin + size + 2)
  }
}

test('garbage, oversize frames, unknown versions and kinds end the stream, are named, and logged once', async () => {
  const ca = await newCa()
  const member = await newIdentity(ca, 'b')
  const a = await startNode(await newIdentity(ca, 'a'), { limits: { frameBytesMax: 10_000 } })
  a.transport.setPeers([{ id: 'b', clusterAddress: '127.0.0.1:1', fingerprint: member.fingerprint }])
  const good = encodeFrame(FrameKind.message, 'good', 10_000)
  const version = Buffer.from(good)
  version[4] = 7
  const cut = Buffer.from(good)
  cut[6] = 0xbf
  const cases: [Uint8Array, string][] = [
    [Buffer.from('certainly no frame'), 'a length of 2 to 10000'],
    [encodeFrame(FrameKind.message, Buffer.alloc(20_000), 1_000_000), 'a length of 2 to 10000'],
    [version, 'frame version 1, got 7'],
    [cut, 'msgpack'],
    [encodeFrame(FrameKind.result, { ok: true }, 10_000), 'a message or a ping'],
  ]
  for (const [bytes, reason] of cases) {
    const { refusal, pongs } = await rawStream(a, member, [emptyFrame(FrameKind.ping), good, bytes, good])
    expect(refusal).toContain(reason)
    expect(pongs).toBe(1)
  }
  // What came whole before the fault was delivered; nothing after it.
  expect(a.received).toHaveLength(cases.length)
  expect(a.transport.stats().framesRefused).toBe(cases.length)
  expect(a.lines.filter((line) => line.message === 'stream of peer refused')).toHaveLength(1)
})

test('a message too large for a frame is dropped and said here, and the stream lives', async () => {
  const ca = await newCa()
  const limits = { frameBytesMax: 10_000 }
  const a = await startNode(await newIdentity(ca, 'a'), { limits })
  const b = await startNode(await newIdentity(ca, 'b'), { limits })
  acquaint(a, b)
  a.transport.send('b', Buffer.alloc(20_000))
  a.transport.send('b', 'after')
  await until('the message', () => b.received.length === 1 && a.transport.stats().peers[0]?.connected === true)
  expect(b.received[0]?.message).toBe('after')
  expect(a.lines).toContainEqual(expect.objectContaining({ message: 'message dropped: it does not fit a frame' }))
  expect(a.transport.stats().peers[0]).toMatchObject({ connects: 1, messagesSent: 1 })
})

test('a handler that throws costs its message, not the stream', async () => {
  const ca = await newCa()
  const got: unknown[] = []
  const a = await startNode(await newIdentity(ca, 'a'))
  const b = await startNode(await newIdentity(ca, 'b'), {
    handlers: {
      message: (_from, message) => {
        if (message === 'bad') throw new Error('handler fault')
        got.push(message)
      },
    },
  })
  acquaint(a, b)
  for (const message of [1, 'bad', 2]) a.transport.send('b', message)
  await until('both', () => got.length === 2 && a.transport.stats().peers[0]?.connected === true)
  expect(a.transport.stats().peers[0]?.connects).toBe(1)
  expect(b.lines).toContainEqual(expect.objectContaining({ message: 'message handler threw' }))
})

/** A TCP hop in front of a node that can be frozen: bytes no longer pass, connections stay up. */
class Hop {
  readonly #server: Server
  readonly #pairs = new Set<Socket>()
  frozen = false

  constructor(target: string) {
    const [host, port] = target.split(':')
    this.#server = createServer((from) => {
      const to = tcpConnect(Number(port), host)
      for (const [source, sink] of [
        [from, to],
        [to, from],
      ] as const) {
        this.#pairs.add(source)
        source.on('data', (chunk: Buffer) => {
          if (!this.frozen) sink.write(chunk)
        })
        source.on('error', () => {})
        // A network that swallows packets swallows FIN and RST, too.
        source.on('close', () => {
          if (!this.frozen) sink.destroy()
        })
      }
    })
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async close(): Promise<void> {
    for (const socket of this.#pairs) socket.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

test('a network that swallows everything is noticed by both ends though each write succeeds; the stream comes back with it', async () => {
  const ca = await newCa()
  const limits = { stallMsMax: 300, pulseMs: 50, connectMsMax: 300 }
  const a = await startNode(await newIdentity(ca, 'a'), { limits })
  const b = await startNode(await newIdentity(ca, 'b'), { limits })
  const hop = new Hop(b.transport.address())
  const address = await hop.listen()
  b.transport.setPeers([a.peer()])
  a.transport.setPeers([{ ...b.peer(), clusterAddress: address }])
  a.transport.send('b', 1)
  await until('the first', () => b.received.length === 1 && a.transport.stats().peers[0]?.connected === true)
  hop.frozen = true
  await until('unreachable', () => a.unreachable.includes('b'), 3_000)
  await until('the other end', () => b.lines.some((line) => line.message.includes('sign of life')), 3_000)
  hop.frozen = false
  await until('the stream', () => a.transport.stats().peers[0]?.connected === true)
  a.transport.send('b', 2)
  await until('the second', () => b.received.length === 2)
  await hop.close()
})

test('while a peer is away its queue stays within its bound and keeps the newest', async () => {
  const ca = await newCa()
  const identity = await newIdentity(ca, 'b')
  const reserve = await startNode(identity)
  const address = reserve.transport.address()
  await reserve.transport.close()
  const bytes = 100_000
  const a = await startNode(await newIdentity(ca, 'a'), {
    limits: { queueBytesMax: bytes, frameBytesMax: bytes, reconnectMsMin: 400, reconnectMsMax: 400 },
  })
  a.transport.setPeers([{ id: 'b', clusterAddress: address, fingerprint: identity.fingerprint }])
  await until('unreachable', () => a.unreachable.length > 0)
  for (let i = 0; i < 1_000; i++) a.transport.send('b', { i, data: Buffer.alloc(1_000) })
  const stats = a.transport.stats().peers[0]
  expect(stats?.queueBytes).toBeLessThanOrEqual(bytes)
  expect(stats?.messagesDropped).toBeGreaterThan(800)
  const seen = a.unreachable.length
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  // Said, but not with every attempt.
  expect(a.unreachable.length - seen).toBeLessThanOrEqual(3)
})

test('a peer that is refused each time is not dialled in a hot loop', async () => {
  const ca = await newCa()
  const a = await startNode(await newIdentity(ca, 'a'))
  const b = await startNode(await newIdentity(ca, 'b'), { limits: { reconnectMsMin: 50, reconnectMsMax: 400 } })
  a.transport.setPeers([])
  b.transport.setPeers([a.peer()])
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  expect(a.transport.stats().refused).toBeGreaterThan(2)
  expect(a.transport.stats().refused).toBeLessThan(15)
  // And it comes in as soon as it may.
  a.transport.setPeers([b.peer()])
  await until('the stream', () => b.transport.stats().peers[0]?.connected === true)
})

test('three nodes, each restarted in turn under load, all connected again', async () => {
  const ca = await newCa()
  const identities = await Promise.all(['a', 'b', 'c'].map((id) => newIdentity(ca, id)))
  const nodes = await Promise.all(identities.map((identity) => startNode(identity)))
  const addresses = nodes.map((node) => node.transport.address())
  acquaint(...nodes)
  for (let i = 0; i < nodes.length; i++) {
    await nodes[i]?.transport.close()
    for (let n = 0; n < 100; n++) for (const node of nodes) for (const to of ['a', 'b', 'c']) node.transport.send(to, n)
    nodes[i] = await startNode(identities[i] as Identity, { address: addresses[i] as string })
    nodes[i]?.transport.setPeers(
      identities.map((identity, at) => ({
        id: identity.nodeId,
        clusterAddress: addresses[at] as string,
        fingerprint: identity.fingerprint,
      })),
    )
    await until('all streams', () => nodes.every((node) => node.transport.stats().peers.every((peer) => peer.connected)))
  }
  for (const node of nodes) for (const to of ['a', 'b', 'c']) node.transport.send(to, `last of ${node.id}`)
  const last = (node: TestNode): string[] => node.received.map(({ message }) => String(message)).filter((text) => text.startsWith('last'))
  await until('the last messages', () => nodes.every((node) => last(node).length === 2))
  // A node is no peer of itself.
  expect(nodes[0]?.transport.stats().peers.map((peer) => peer.id)).toEqual(['b', 'c'])
})
