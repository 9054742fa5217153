import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { HoldfastError } from '#base/errors.ts'
import { acquaint, closeAll, newCa, newIdentity, startNode, until } from './harness.ts'

afterEach(closeAll)

test('requests are answered, many at once, whatever their size', async () => {
  const ca = await newCa()
  const a = await startNode(await newIdentity(ca, 'a'))
  const b = await startNode(await newIdentity(ca, 'b'), {
    handlers: { request: async (from, kind, body) => Buffer.concat([Buffer.from(`${from} ${kind} `), body]) },
  })
  acquaint(a, b)
  const answers = await Promise.all(Array.from({ length: 300 }, (_, i) => a.transport.request('b', 'do-it', Buffer.from(String(i)), 5_000)))
  expect(answers.map((answer) => Buffer.from(answer).toString())).toEqual(Array.from({ length: 300 }, (_, i) => `a do-it ${i}`))
  const large = Buffer.alloc(9 * 1024 * 1024, 7)
  const back = await a.transport.request('b', 'do-it', large, 10_000)
  expect(Buffer.from(back).subarray(8).equals(large)).toBe(true)
  expect((await a.transport.request('b', 'do-it', new Uint8Array(0), 5_000)).length).toBe(8)
})

test('errors cross the wire; what is not ours crosses as ERR_INTERNAL and is logged where it happened', async () => {
  const ca = await newCa()
  const a = await startNode(await newIdentity(ca, 'a'))
  const b = await startNode(await newIdentity(ca, 'b'), {
    handlers: {
      request: async (_from, kind) => {
        if (kind === 'odd') throw new Error('disk on fire')
        throw new HoldfastError('ERR_CAS_MISMATCH', 'wrong version', { hint: 'h', errors: ['one', 'two'], data: { version: 4 } })
      },
    },
  })
  acquaint(a, b)
  await expect(a.transport.request('b', 'cas', Buffer.alloc(0), 5_000)).rejects.toMatchObject({
    name: 'HoldfastError',
    code: 'ERR_CAS_MISMATCH',
    message: 'wrong version',
    hint: 'h',
    errors: ['one', 'two'],
    data: { version: 4 },
  })
  await expect(a.transport.request('b', 'odd', Buffer.alloc(0), 5_000)).rejects.toMatchObject({
    code: 'ERR_INTERNAL',
    message: 'internal error',
  })
  expect(b.lines).toContainEqual(expect.objectContaining({ level: 'error', message: 'request handler threw' }))
})

test('a failure says whether the request may have arrived', async () => {
  const ca = await newCa()
  const a = await startNode(await newIdentity(ca, 'a'))
  let handled = 0
  const b = await startNode(await newIdentity(ca, 'b'), {
    handlers: {
      request: (_from, _kind, _body, signal) =>
        new Promise((_, reject) => {
          handled++
          signal.addEventListener('abort', () => reject(signal.reason as Error))
        }),
    },
  })
  acquaint(a, b)
  const late = performance.now()
  await expect(a.transport.request('b', 'hang', Buffer.alloc(10), 200)).rejects.toMatchObject({
    code: 'ERR_UPSTREAM',
    data: { sent: true },
  })
  expect(performance.now() - late).toBeLessThan(1_500)
  const underWay = a.transport.request('b', 'hang', Buffer.alloc(10), 10_000)
  underWay.catch(() => {})
  await until('the request', () => handled === 2)
  await b.transport.close()
  await expect(underWay).rejects.toMatchObject({ code: 'ERR_UPSTREAM', data: { sent: true } })
  await expect(a.transport.request('b', 'hang', Buffer.alloc(10), 2_000)).rejects.toMatchObject({
    code: 'ERR_UPSTREAM',
    data: { sent: false },
  })
  await expect(a.transport.request('nobody', 'hang', Buffer.alloc(10), 2_000)).rejects.toMatchObject({ data: { sent: false } })
})

/** Takes connections and says nothing. */
async function blackHole(): Promise<{ address: string } & AsyncDisposable> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => void sockets.add(socket.on('error', () => {})))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

test('a black hole: the timeout comes in time and nothing was sent', async () => {
  const ca = await newCa()
  const a = await startNode(await newIdentity(ca, 'a'))
  const b = await newIdentity(ca, 'b')
  await using hole = await blackHole()
  a.transport.setPeers([{ id: 'b', clusterAddress: hole.address, fingerprint: b.fingerprint }])
  const begin = performance.now()
  await expect(a.transport.request('b', 'x', Buffer.alloc(1), 150)).rejects.toMatchObject({ code: 'ERR_UPSTREAM', data: { sent: false } })
  expect(performance.now() - begin).toBeGreaterThan(140)
  expect(performance.now() - begin).toBeLessThan(1_500)
})

test('bounds: bodies, requests at once, bytes at once, answers', async () => {
  const ca = await newCa()
  const limits = { requestBodyBytesMax: 10_000, inboundRequestsMax: 3, inboundRequestBytesMax: 12_000, outboundRequestsMax: 6 }
  const a = await startNode(await newIdentity(ca, 'a'), { limits: { outboundRequestsMax: 6, requestBodyBytesMax: 20_000 } })
  let release: () => void = () => {}
  const gate = new Promise<void>((resolve) => {
    release = resolve
  })
  const b = await startNode(await newIdentity(ca, 'b'), {
    limits,
    handlers: {
      request: async (_from, kind) => {
        if (kind === 'large') return Buffer.alloc(25_000)
        await gate
        return Buffer.from('done')
      },
    },
  })
  acquaint(a, b)
  await expect(a.transport.request('b', 'x', Buffer.alloc(30_000), 2_000)).rejects.toMatchObject({ code: 'ERR_BODY_TOO_LARGE' })
  await expect(a.transport.request('b', 'x', Buffer.alloc(15_000), 2_000)).rejects.toMatchObject({ code: 'ERR_BODY_TOO_LARGE' })
  await expect(a.transport.request('b', 'large', Buffer.alloc(1), 2_000)).rejects.toMatchObject({ code: 'ERR_UPSTREAM' })
  await expect(a.transport.request('b', 'not valid', Buffer.alloc(1), 2_000)).rejects.toMatchObject({ code: 'ERR_BAD_REQUEST' })
  const first = a.transport.request('b', 'wait', Buffer.alloc(8_000), 5_000)
  await until('the first', () => b.transport.stats().inboundRequests === 1)
  await expect(a.transport.request('b', 'wait', Buffer.alloc(8_000), 5_000)).rejects.toMatchObject({
    code: 'ERR_BUSY',
    data: { sent: false },
  })
  const more = [a.transport.request('b', 'wait', Buffer.alloc(1), 5_000), a.transport.request('b', 'wait', Buffer.alloc(1), 5_000)]
  await until('three', () => b.transport.stats().inboundRequests === 3)
  await expect(a.transport.request('b', 'wait', Buffer.alloc(1), 5_000)).rejects.toMatchObject({
    code: 'ERR_BUSY',
    message: expect.stringContaining('at most 3 requests'),
  })
  release()
  expect((await Promise.all([first, ...more])).map((answer) => Buffer.from(answer).toString())).toEqual(['done', 'done', 'done'])
  await until('the budget back', () => b.transport.stats().inboundRequests === 0)
  expect(await a.transport.request('b', 'wait', Buffer.alloc(8_000), 5_000)).toHaveLength(4)
})

test('a request that was given up while it waited for a connection never leaves', async () => {
  const ca = await newCa()
  const a = await startNode(await newIdentity(ca, 'a'), { limits: { connectionsPerPeerMax: 1 } })
  const kinds: string[] = []
  let release: () => void = () => {}
  const gate = new Promise<void>((resolve) => {
    release = resolve
  })
  const b = await startNode(await newIdentity(ca, 'b'), {
    handlers: {
      request: async (_from, kind, body) => {
        kinds.push(kind)
        await gate
        return body
      },
    },
  })
  acquaint(a, b)
  const first = a.transport.request('b', 'first', Buffer.alloc(1), 5_000)
  await until('the first', () => kinds.length === 1)
  await expect(a.transport.request('b', 'second', Buffer.alloc(1), 100)).rejects.toMatchObject({ data: { sent: false } })
  release()
  await first
  await a.transport.request('b', 'third', Buffer.alloc(1), 5_000)
  expect(kinds).toEqual(['first', 'third'])
})

test('close ends everything within a second, and what is under way learns it', async () => {
  const ca = await newCa()
  const hang = { request: () => new Promise<Uint8Array>(() => {}) }
  const a = await startNode(await newIdentity(ca, 'a'), { handlers: hang })
  const b = await startNode(await newIdentity(ca, 'b'), { handlers: hang })
  const away = await newIdentity(ca, 'c')
  acquaint(a, b)
  await using hole = await blackHole()
  a.transport.setPeers([b.peer(), { id: 'c', clusterAddress: hole.address, fingerprint: away.fingerprint }])
  await until('the stream', () => a.transport.stats().peers.some((peer) => peer.connected))
  const pending = [
    a.transport.request('b', 'x', Buffer.alloc(1), 30_000),
    a.transport.request('c', 'x', Buffer.alloc(1), 30_000),
    a.transport.sendSnapshot('c', Buffer.alloc(0), (async function* () {})()),
  ]
  const outcomes = Promise.allSettled(pending)
  await until('the request', () => b.transport.stats().inboundRequests === 1)
  const begin = performance.now()
  await Promise.all([a.transport.close(), b.transport.close()])
  expect(performance.now() - begin).toBeLessThan(1_000)
  for (const outcome of await outcomes) expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'ERR_SHUTTING_DOWN' } })
  await expect(a.transport.request('b', 'x', Buffer.alloc(1), 1_000)).rejects.toMatchObject({ code: 'ERR_SHUTTING_DOWN' })
  a.transport.send('b', 'lost')
  a.transport.setPeers([b.peer()])
  expect(a.transport.stats().peers).toEqual([])
})
