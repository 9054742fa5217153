/** What the nodes' doors do to bytes: nothing lost, nothing out of order, and nothing at all through a link that is cut. */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { Links } from '#test/chaos/network/links.ts'
import { Proxy } from '#test/chaos/network/proxy.ts'
import { freePorts } from '#test/support/cluster.ts'
import { Prng } from '#test/sim/prng.ts'

const closers: (() => void)[] = []
afterEach(() => {
  for (const close of closers.splice(0)) close()
})

/** Slot 0 calls slot 1, which sends back what it gets. */
async function echoBehindProxy(): Promise<{ links: Links; call: () => Promise<Socket>; calls: () => number }> {
  let calls = 0
  const server = createServer((socket) => {
    calls += 1
    socket.on('error', () => {})
    socket.pipe(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const links = new Links(2, new Prng(1))
  const listen = { host: '127.0.0.1', port: await freePorts(1) }
  const target = { host: '127.0.0.1', port: (server.address() as AddressInfo).port }
  const proxy = await Proxy.listen({ slot: 1, links, listen, target, caller: () => 0, faceOf: () => undefined })
  closers.push(() => (proxy.close(), server.close()))
  const call = async (): Promise<Socket> => {
    const socket = connect(listen)
    socket.on('error', () => {})
    closers.push(() => socket.destroy())
    await once(socket, 'connect')
    return socket
  }
  return { links, call, calls: () => calls }
}

const next = async (socket: Socket): Promise<string> => String((await once(socket, 'data'))[0])

test('two megabytes come back whole over slow and lossy links', async () => {
  const { links, call } = await echoBehindProxy()
  for (const [from, to] of [
    [0, 1],
    [1, 0],
  ] as const)
    links.set(from, to, { delayMs: 5, jitterMs: 20, loss: 0.02 })
  const socket = await call()
  const bytes = randomBytes(2_000_000)
  const hash = createHash('sha256')
  const ended = once(socket, 'end')
  socket.on('data', (chunk) => hash.update(chunk))
  socket.end(bytes)
  await ended
  expect(hash.digest('hex')).toBe(createHash('sha256').update(bytes).digest('hex'))
})

test.each([
  { name: 'there', cut: [0, 1] },
  { name: 'back', cut: [1, 0] },
] as const)('what is sent while the way $name is cut arrives once it is free', async ({ cut }) => {
  const { links, call } = await echoBehindProxy()
  const socket = await call()
  socket.write('before')
  expect(await next(socket)).toBe('before')
  links.set(cut[0], cut[1], { cut: true })
  socket.write('meanwhile')
  const answer = next(socket)
  expect(await Promise.race([answer, delay(200, 'nothing')])).toBe('nothing')
  links.calm()
  expect(await answer).toBe('meanwhile')
})

test('who calls through a cut link reaches nobody until it is mended', async () => {
  const { links, call, calls } = await echoBehindProxy()
  links.set(0, 1, { cut: true })
  const socket = await call()
  socket.write('hello')
  await delay(200)
  expect(calls()).toBe(0)
  links.calm()
  expect(await next(socket)).toBe('hello')
})
