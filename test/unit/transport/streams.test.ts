import { afterEach, expect, test } from 'vitest'
import { acquaint, closeAll, newCa, newIdentity, startNode, until } from './harness.ts'

afterEach(closeAll)

test('messages flow both ways, in order, with binary data intact', async () => {
  const ca = await newCa()
  const a = await startNode(await newIdentity(ca, 'a'))
  const b = await startNode(await newIdentity(ca, 'b'))
  acquaint(a, b)
  const count = 2_000
  for (let i = 0; i < count; i++) {
    a.transport.send('b', { i, data: new Uint8Array([i & 255, 1, 2]) })
    b.transport.send('a', { i })
  }
  await until('all messages', () => a.received.length === count && b.received.length === count)
  expect(b.received.every(({ from }) => from === 'a')).toBe(true)
  expect(b.received.map(({ message }) => (message as { i: number }).i)).toEqual(Array.from({ length: count }, (_, i) => i))
  expect(a.received.map(({ message }) => (message as { i: number }).i)).toEqual(Array.from({ length: count }, (_, i) => i))
  expect(b.received[700]?.message).toEqual({ i: 700, data: Buffer.from([700 & 255, 1, 2]) })
  expect(a.transport.lastContactMs('b')).toBeLessThan(5_000)
  expect(a.transport.lastContactMs('nobody')).toBeNull()
})

test('a peer that restarts is found again, by both, and unreachable is said', async () => {
  const ca = await newCa()
  const identity = await newIdentity(ca, 'b')
  const a = await startNode(await newIdentity(ca, 'a'))
  const b = await startNode(identity)
  acquaint(a, b)
  a.transport.send('b', 'one')
  await until('the first', () => b.received.length === 1)
  const address = b.transport.address()
  await b.transport.close()
  await until('unreachable', () => a.unreachable.includes('b'))
  const again = await startNode(identity, { address })
  again.transport.setPeers([a.peer()])
  await until('the stream', () => a.transport.stats().peers[0]?.connected === true)
  a.transport.send('b', 'two')
  again.transport.send('a', 'three')
  await until('the second', () => again.received.length === 1 && a.received.length === 1)
  expect(again.received[0]).toEqual({ from: 'a', message: 'two' })
})
