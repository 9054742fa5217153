/**
 * Two transports in two processes on loopback: messages per second of 1 KiB, round trips of one message, requests per second, snapshot MiB/s.
 * Run: node bench/transport.ts
 */
import { fork } from 'node:child_process'
import { systemClock } from '#base/clock.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { createClusterCa } from '#transport/certificates.ts'
import { createIdentity } from '#transport/identity.ts'
import { createTransport } from '#transport/transport.ts'
import type { Identity, NodeTransport, PeerAddress, TransportHandlers } from '#transport/types.ts'

const seconds = 3

function transportOf(identity: Identity, handlers: Partial<TransportHandlers>): NodeTransport {
  return createTransport({
    identity,
    listenAddress: '127.0.0.1:0',
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    handlers: {
      message: () => {},
      request: async (_from, _kind, body) => body,
      unreachable: () => {},
      snapshot: async (_from, _header, body) => {
        for await (const chunk of body) void chunk
      },
      ...handlers,
    },
  })
}

const peerOf = (identity: Identity, transport: NodeTransport): PeerAddress => ({
  id: identity.nodeId,
  clusterAddress: transport.address(),
  fingerprint: identity.fingerprint,
})

/** The far end: echoes what asks for it, counts the rest. */
function serve(identity: Identity, other: PeerAddress): void {
  let count = 0
  const transport = transportOf(identity, {
    message: (from, message) => {
      count++
      const { echo, last } = message as { echo?: boolean; last?: boolean }
      if (echo === true) transport.send(from, message)
      if (last === true) transport.send(from, { count })
    },
  })
  void transport.listen().then(() => {
    transport.setPeers([other])
    process.send?.(peerOf(identity, transport))
  })
}

async function main(): Promise<void> {
  const ca = await createClusterCa({ clusterId: 'bench', nowMs: Date.now(), random: systemRandom })
  const make = (nodeId: string) => createIdentity(ca, { nodeId, clusterId: 'bench', nowMs: Date.now(), days: 1, random: systemRandom })
  const [near, far] = [await make('near'), await make('far')]
  let arrived: (message: unknown) => void = () => {}
  const transport = transportOf(near, { message: (_from, message) => arrived(message) })
  await transport.listen()
  const child = fork(import.meta.filename, ['serve'])
  child.send({ identity: far, other: peerOf(near, transport) })
  const peer = await new Promise<PeerAddress>((resolve) => child.once('message', (message) => resolve(message as PeerAddress)))
  transport.setPeers([peer])
  while (transport.stats().peers[0]?.connected !== true) await turn()
  const next = (): Promise<unknown> => new Promise((resolve) => (arrived = resolve))

  console.log(JSON.stringify({ what: '1 KiB messages, batches of 64 a turn', perSecond: await messages(transport, next) }))
  console.log(JSON.stringify({ what: 'round trip of one 1 KiB message, us', ...(await roundTrips(transport, next)) }))
  console.log(JSON.stringify({ what: '1 KiB requests, 64 at once', perSecond: await requests(transport) }))
  console.log(JSON.stringify({ what: 'snapshot, MiB/s', perSecond: await snapshot(transport) }))
  await transport.close()
  child.kill()
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

async function messages(transport: NodeTransport, next: () => Promise<unknown>): Promise<number> {
  const data = Buffer.alloc(1_024, 7)
  const begin = performance.now()
  let sent = 0
  while (performance.now() - begin < seconds * 1_000) {
    for (let i = 0; i < 64; i++) transport.send('far', { type: 0, index: sent++, data })
    await turn()
    while ((transport.stats().peers[0]?.queueBytes ?? 0) > 4 * 1024 * 1024) await turn()
  }
  const answer = next()
  transport.send('far', { last: true })
  const { count } = (await answer) as { count: number }
  if (count !== sent + 1) throw new Error(`sent ${sent + 1}, arrived ${count}`)
  return Math.round((count / (performance.now() - begin)) * 1_000)
}

async function roundTrips(transport: NodeTransport, next: () => Promise<unknown>): Promise<{ p50: number; p99: number }> {
  const data = Buffer.alloc(1_024, 7)
  const times: number[] = []
  for (let i = 0; i < 5_000; i++) {
    const begin = performance.now()
    const answer = next()
    transport.send('far', { echo: true, data })
    await answer
    times.push((performance.now() - begin) * 1_000)
  }
  times.sort((a, b) => a - b)
  return { p50: Math.round(times[2_500] ?? 0), p99: Math.round(times[4_950] ?? 0) }
}

async function requests(transport: NodeTransport): Promise<number> {
  const body = Buffer.alloc(1_024, 7)
  const begin = performance.now()
  let done = 0
  const worker = async (): Promise<void> => {
    while (performance.now() - begin < seconds * 1_000) {
      await transport.request('far', 'echo', body, 5_000)
      done++
    }
  }
  await Promise.all(Array.from({ length: 64 }, worker))
  return Math.round((done / (performance.now() - begin)) * 1_000)
}

async function snapshot(transport: NodeTransport): Promise<number> {
  const chunk = Buffer.alloc(256 * 1024, 7)
  async function* content(): AsyncGenerator<Uint8Array> {
    for (let i = 0; i < 2_048; i++) yield chunk
  }
  const begin = performance.now()
  await transport.sendSnapshot('far', Buffer.alloc(10), content())
  return Math.round((512 / (performance.now() - begin)) * 1_000)
}

if (process.argv[2] === 'serve') {
  process.once('message', (message) => {
    const { identity, other } = message as { identity: Identity; other: PeerAddress }
    serve(identity, other)
  })
} else await main()
