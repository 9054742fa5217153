/** A snapshot whose connections break on the way: it goes on where it was, or is given up; never cut short, never doubled. */
import { createHash } from 'node:crypto'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import fc from 'fast-check'
import { afterEach, expect, test } from 'vitest'
import { Replay } from '#transport/replay.ts'
import type { TransportLimits } from '#transport/limits.ts'
import type { TransportHandlers } from '#transport/types.ts'
import { acquaint, closeAll, newCa, newIdentity, startNode, until, type TestNode } from './harness.ts'

const mib = 1024 * 1024
const doors: { close(): void }[] = []
afterEach(async () => {
  for (const door of doors.splice(0)) door.close()
  await closeAll()
})

/** Between two nodes: connections to it end at `target` until they are cut; counts what goes through. */
class Door {
  bytes = 0
  open = true
  readonly #sockets = new Set<Socket>()
  readonly #server = createServer((socket) => this.#join(socket))
  target = ''
  onBytes: () => void = () => {}

  async to(target: string): Promise<string> {
    this.target = target
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
    doors.push(this)
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  #join(socket: Socket): void {
    if (!this.open) return void socket.destroy()
    const [host, port] = this.target.split(':')
    const inner = connect(Number(port), host)
    for (const [one, other] of [
      [socket, inner],
      [inner, socket],
    ] as const) {
      this.#sockets.add(one)
      one.on('error', () => {})
      one.on('close', () => {
        this.#sockets.delete(one)
        other.destroy()
      })
      one.pipe(other)
    }
    socket.on('data', (chunk) => {
      this.bytes += chunk.length
      this.onBytes()
    })
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  close(): void {
    this.cut()
    this.#server.close()
  }
}

async function throughDoor(
  snapshot: TransportHandlers['snapshot'],
  ofSender: Partial<TransportLimits> = {},
): Promise<{ a: TestNode; b: TestNode; door: Door; more: () => Promise<TestNode> }> {
  const ca = await newCa()
  const limits = { snapshotResumeMsMax: 10_000, snapshotStallMsMax: 5_000 }
  const a = await startNode(await newIdentity(ca, 'a'), { limits: { ...limits, ...ofSender } })
  const b = await startNode(await newIdentity(ca, 'b'), { handlers: { snapshot }, limits })
  const door = new Door()
  acquaint(a, b)
  a.transport.setPeers([a.peer(), { ...b.peer(), clusterAddress: await door.to(b.transport.address()) }])
  const more = async (): Promise<TestNode> => {
    const c = await startNode(await newIdentity(ca, 'c'))
    b.transport.setPeers([a.peer(), b.peer(), c.peer()])
    c.transport.setPeers([b.peer(), c.peer()])
    return c
  }
  return { a, b, door, more }
}

const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** 24 MiB in pieces of many sizes, more than a sender keeps: what goes beyond was acknowledged; counts how often the source was begun. */
function content(): { readonly body: () => AsyncGenerator<Uint8Array>; readonly whole: Buffer; read: () => number } {
  const whole = Buffer.alloc(24 * mib)
  for (let at = 0; at < whole.length; at += 4) whole.writeUInt32BE((at * 2_654_435_761) % 2 ** 32, at)
  let read = 0
  async function* body(): AsyncGenerator<Uint8Array> {
    read += 1
    for (let at = 0, size = 1; at < whole.length; at += size, size = (size * 7 + 13) % (2 * mib)) yield whole.subarray(at, at + size)
  }
  return { body, whole, read: () => read }
}

test('cut off again and again, it arrives whole and once, and little of it is sent twice', async () => {
  const arrived: string[] = []
  const { a, b, door } = await throughDoor(async (_from, header, body) => {
    const chunks: Uint8Array[] = []
    for await (const chunk of body) chunks.push(chunk)
    arrived.push(`${Buffer.from(header).toString()} ${hashOf(Buffer.concat(chunks))}`)
  })
  const { body, whole, read } = content()
  let cuts = 0
  door.onBytes = () => {
    if (cuts < 4 && door.bytes > (11 + cuts * 3) * mib) {
      cuts += 1
      door.cut()
    }
  }
  await a.transport.sendSnapshot('b', Buffer.from('head'), body())
  expect(arrived).toEqual([`head ${hashOf(whole)}`])
  expect([cuts, read()]).toEqual([4, 1])
  expect(door.bytes).toBeLessThan(whole.length + cuts * 10 * mib)
  expect(a.lines.filter(({ message }) => message.includes('goes on by another')).length).toBeGreaterThanOrEqual(4)
  expect(b.lines.some(({ message }) => message.includes('goes on where'))).toBe(true)
})

test('cut off while the receiver stores, the result comes by another connection', async () => {
  let calls = 0
  let storing: () => void = () => {}
  const stored = new Promise<void>((resolve) => {
    storing = resolve
  })
  let whole = false
  const { a, door } = await throughDoor(async (_from, _header, body) => {
    calls += 1
    for await (const chunk of body) void chunk
    whole = true
    await stored
  })
  const sent = a.transport.sendSnapshot('b', Buffer.from('head'), content().body())
  await until('all of it to be there', () => whole, 20_000)
  door.open = false
  door.cut()
  storing()
  await new Promise((resolve) => setTimeout(resolve, 100))
  door.open = true
  await sent
  expect(calls).toBe(1)
})

test('refused where it was kept, it is refused: the error of the handler comes by another connection too', async () => {
  const { a, door } = await throughDoor(async (_from, _header, body) => {
    let bytes = 0
    for await (const chunk of body) {
      bytes += chunk.length
      if (bytes > 16 * mib) throw new Error('disk')
    }
  })
  door.onBytes = () => {
    if (door.bytes > 11 * mib) {
      door.onBytes = () => {}
      door.cut()
    }
  }
  await expect(a.transport.sendSnapshot('b', Buffer.from('head'), content().body())).rejects.toMatchObject({ code: 'ERR_INTERNAL' })
})

test('when nobody comes back, both ends give it up; and who sends another meanwhile need not wait for that', async () => {
  const failures: unknown[] = []
  const done: string[] = []
  const { a, door, more } = await throughDoor(
    async (from, _header, body) => {
      try {
        for await (const chunk of body) void chunk
        done.push(from)
      } catch (error) {
        failures.push(error)
        throw error
      }
    },
    { snapshotResumeMsMax: 300 },
  )
  const c = await more()
  door.onBytes = () => {
    if (door.bytes > 11 * mib) {
      door.open = false
      door.cut()
    }
  }
  await expect(a.transport.sendSnapshot('b', Buffer.from('head'), content().body())).rejects.toMatchObject({ code: 'ERR_UPSTREAM' })
  await c.transport.sendSnapshot('b', Buffer.from('head'), content().body())
  expect(done).toEqual(['c'])
  expect(failures).toEqual([expect.objectContaining({ code: 'ERR_UPSTREAM', message: expect.stringContaining('another is sent') })])
})

test('a receiver that was started anew knows of no transfer, and the sender begins again', async () => {
  const { a, b, door } = await throughDoor(async (_from, _header, body) => {
    for await (const chunk of body) void chunk
  })
  const again = await startNode(b.identity)
  again.transport.setPeers([a.peer(), again.peer()])
  door.onBytes = () => {
    if (door.bytes < 11 * mib) return
    door.onBytes = () => {}
    door.target = again.transport.address()
    door.cut()
  }
  await expect(a.transport.sendSnapshot('b', Buffer.from('head'), content().body())).rejects.toMatchObject({
    code: 'ERR_UPSTREAM',
    hint: 'the sender begins again',
  })
})

test('property: what a replay hands out is what was pushed, from wherever it is asked', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.nat(40), fc.record({ acknowledge: fc.nat(200) })), { maxLength: 60 }), (steps) => {
      const replay = new Replay()
      let whole = Buffer.alloc(0)
      let acknowledged = 0
      for (const step of steps) {
        if (typeof step === 'number') {
          const piece = Buffer.from(Array.from({ length: step }, (_, at) => (whole.length + at) % 251))
          replay.push(piece)
          whole = Buffer.concat([whole, piece])
        } else if (step.acknowledge > whole.length)
          expect(() => replay.acknowledge(step.acknowledge)).toThrow(/expected an acknowledgement/)
        else {
          replay.acknowledge(step.acknowledge)
          acknowledged = Math.max(acknowledged, step.acknowledge)
        }
        expect([replay.acknowledged, replay.heldBytes]).toEqual([acknowledged, whole.length - acknowledged])
        for (const from of [acknowledged, Math.min(whole.length, acknowledged + 7)]) {
          const found: Uint8Array[] = []
          let at = from
          for (let piece = replay.from(at); piece !== null; piece = replay.from(at)) {
            found.push(piece)
            at += piece.length
          }
          expect(Buffer.concat(found).equals(whole.subarray(from))).toBe(true)
        }
      }
    }),
  )
})
