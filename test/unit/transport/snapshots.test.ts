import { createHash, randomBytes } from 'node:crypto'
import { afterEach, expect, test } from 'vitest'
import { HoldfastError } from '#base/errors.ts'
import { acquaint, closeAll, newCa, newIdentity, startNode, until } from './harness.ts'
import type { TestNode } from './harness.ts'
import type { TransportHandlers } from '#transport/types.ts'

afterEach(closeAll)

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function pair(snapshot: TransportHandlers['snapshot'], limits = {}): Promise<[TestNode, TestNode]> {
  const ca = await newCa()
  const a = await startNode(await newIdentity(ca, 'a'), { limits })
  const b = await startNode(await newIdentity(ca, 'b'), { handlers: { snapshot }, limits })
  acquaint(a, b)
  return [a, b]
}

const mib = 1024 * 1024

test('a snapshot arrives whole, with its header, and resolves when it is stored', async () => {
  const hash = createHash('sha256')
  const got = createHash('sha256')
  let header: Uint8Array = new Uint8Array(0)
  let stored = false
  const [a] = await pair(async (from, head, body) => {
    expect(from).toBe('a')
    header = head
    for await (const chunk of body) got.update(chunk)
    await pause(100)
    stored = true
  })
  async function* content(): AsyncGenerator<Uint8Array> {
    for (let i = 0; i < 64; i++) {
      const chunk = randomBytes(mib / 4 + i)
      hash.update(chunk)
      yield chunk
    }
  }
  const head = randomBytes(100_000)
  await a.transport.sendSnapshot('b', head, content())
  expect(stored).toBe(true)
  expect(Buffer.from(header).equals(head)).toBe(true)
  expect(got.digest('hex')).toBe(hash.digest('hex'))
})

test('an empty snapshot is one, too', async () => {
  let bytes = -1
  const [a] = await pair(async (_from, _header, body) => {
    bytes = 0
    for await (const chunk of body) bytes += chunk.length
  })
  await a.transport.sendSnapshot('b', new Uint8Array(0), (async function* () {})())
  expect(bytes).toBe(0)
})

test('a slow receiver slows the sender down: what is in flight stays small, and slowness alone is no failure', async () => {
  let consumed = 0
  let produced = 0
  let aheadMax = 0
  const [a] = await pair(
    async (_from, _header, body) => {
      for await (const chunk of body) {
        consumed += chunk.length
        if (consumed < mib / 2) await pause(40)
      }
      await pause(700)
    },
    { snapshotStallMsMax: 300, stallMsMax: 300 },
  )
  async function* content(): AsyncGenerator<Uint8Array> {
    for (let i = 0; i < 400; i++) {
      produced += 65_536
      aheadMax = Math.max(aheadMax, produced - consumed)
      yield Buffer.alloc(65_536)
    }
  }
  await a.transport.sendSnapshot('b', new Uint8Array(0), content())
  expect(consumed).toBe(400 * 65_536)
  // Kernel buffers on both ends (several MiB on loopback), not the 25 MiB of the whole.
  expect(aheadMax).toBeLessThan(14 * mib)
})

test("the receiver's error reaches the sender, before and after the end of the body; the sender's source is ended", async () => {
  const [a, b] = await pair(async (_from, header, body) => {
    if (header[0] === 1) throw new HoldfastError('ERR_STORE_FAILED', 'disk full')
    for await (const chunk of body) void chunk
    throw new HoldfastError('ERR_STORE_CORRUPT', 'wrong digest')
  })
  let ended = 0
  async function* content(): AsyncGenerator<Uint8Array> {
    try {
      for (let i = 0; i < 200; i++) yield Buffer.alloc(65_536)
    } finally {
      ended++
    }
  }
  await expect(a.transport.sendSnapshot('b', Buffer.from([1]), content())).rejects.toMatchObject({
    code: 'ERR_STORE_FAILED',
    message: 'disk full',
  })
  await until('the source to end', () => ended === 1)
  await expect(a.transport.sendSnapshot('b', Buffer.from([2]), content())).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
  expect(ended).toBe(2)
  expect(b.lines.filter((line) => line.message === 'snapshot from peer failed')).toHaveLength(2)
})

test('a sender that breaks off, or falls silent, is an error for the receiver, never an end', async () => {
  const failures: unknown[] = []
  let consumed = 0
  const [a] = await pair(
    async (_from, _header, body) => {
      try {
        for await (const chunk of body) consumed += chunk.length
        failures.push('took it for whole')
      } catch (error) {
        failures.push(error)
        throw error
      }
    },
    { snapshotStallMsMax: 300 },
  )
  async function* breaks(): AsyncGenerator<Uint8Array> {
    yield Buffer.alloc(100_000)
    await until('the bytes', () => consumed > 0)
    throw new Error('source failed')
  }
  await expect(a.transport.sendSnapshot('b', Buffer.alloc(1), breaks())).rejects.toMatchObject({ code: 'ERR_UPSTREAM' })
  await until('the first failure', () => failures.length === 1)
  async function* stops(): AsyncGenerator<Uint8Array> {
    yield Buffer.alloc(100_000)
    await pause(5_000)
    yield Buffer.alloc(1)
  }
  await expect(a.transport.sendSnapshot('b', Buffer.alloc(1), stops())).rejects.toMatchObject({ code: 'ERR_UPSTREAM' })
  await until('the second failure', () => failures.length === 2)
  for (const failure of failures) expect(failure).toMatchObject({ code: 'ERR_UPSTREAM' })
})

test('one snapshot of a peer at a time, and a header has a bound', async () => {
  let release: () => void = () => {}
  const gate = new Promise<void>((resolve) => {
    release = resolve
  })
  let started = 0
  const [a] = await pair(async (_from, _header, body) => {
    started++
    await gate
    for await (const chunk of body) void chunk
  })
  const content = async function* (): AsyncGenerator<Uint8Array> {
    yield Buffer.alloc(10)
  }
  const first = a.transport.sendSnapshot('b', Buffer.alloc(1), content())
  await until('the first', () => started === 1)
  await expect(a.transport.sendSnapshot('b', Buffer.alloc(1), content())).rejects.toMatchObject({ code: 'ERR_BUSY' })
  release()
  await first
  await expect(a.transport.sendSnapshot('b', Buffer.alloc(2 * mib), content())).rejects.toMatchObject({ code: 'ERR_FRAME' })
  await a.transport.sendSnapshot('b', Buffer.alloc(1), content())
  expect(started).toBe(2)
})
