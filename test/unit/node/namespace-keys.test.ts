/** Keys of namespaces from node to node: over a fake cluster, with the bytes on the wire in the test's hands. */
import { setTimeout as delay } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { systemClock } from '#base/clock.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { SecretBytes } from '#base/secret.ts'
import type { BarrierControl } from '#barrier/types.ts'
import { ForwardSeal } from '#node/forward-seal.ts'
import { NamespaceKeyService } from '#node/namespace-keys.ts'
import { openBarriers } from '#test/support/open-barrier.ts'
import { encode } from '#transport/msgpack.ts'

vi.setConfig({ testTimeout: 60_000 })

const linear = { kind: 'linearizable' } as const
const kv = { namespace: 'own', mount: 'kv' }
const ownKey = (): SecretBytes => new SecretBytes(new Uint8Array(32).fill(9))

async function world() {
  const opened = await openBarriers(3)
  const { barrier, barriers, cluster } = opened
  const wire: Uint8Array[] = []
  const down = new Set<string>()
  /** What whoever sits between the nodes gives instead of an answer. */
  const tamper: { answer: (() => Uint8Array) | null } = { answer: null }
  const services: NamespaceKeyService[] = barriers.map(
    (each, at) =>
      new NamespaceKeyService({
        barrier: each,
        replica: new Proxy(cluster.node(at), {
          get: (target, name) => {
            if (name === 'status') return () => ({ ...target.status(), members: cluster.nodes.map(({ nodeId }) => ({ id: nodeId })) })
            const value: unknown = Reflect.get(target, name, target)
            return typeof value === 'function' ? (value.bind(target) as unknown) : value
          },
        }),
        transport: () => ({
          request: async (peer: string, kind: string, body: Uint8Array) => {
            expect(kind).toMatch(/^[a-z-]+$/)
            if (down.has(peer)) throw new HoldfastError('ERR_UPSTREAM', 'down')
            wire.push(body)
            const answer = await services[cluster.nodes.findIndex(({ nodeId }) => nodeId === peer)]!.answer(`node-${at + 1}`, body)
            wire.push(answer)
            return tamper.answer?.() ?? answer
          },
        }),
        clock: systemClock,
        random: systemRandom,
        log: silentLogger,
      }),
  )
  const setSealed = (sealed: boolean): Promise<void> => barrier.transact(async ({ keyrings }) => keyrings?.setSealed('own', sealed))
  const valueAt = (each: BarrierControl): Promise<string> =>
    each
      .read(linear, async (view) => Buffer.from((await view.get(kv, 'a')) ?? []).toString())
      .catch((error: unknown) => (isHoldfastError(error) ? error.code : 'another'))
  const everywhere = async (expected: string, which: readonly BarrierControl[] = barriers): Promise<void> => {
    for (let tries = 0; ; tries++) {
      for (let at = 0; at < 3; at++) await cluster.node(at).appliedUpTo(cluster.log.length)
      const found = await Promise.all(which.map(valueAt))
      if (found.every((value) => value === expected)) return
      if (tries > 200) throw new Error(`expected ${expected}, got ${found.join(', ')}`)
      await delay(50)
    }
  }
  for (const service of services) service.start()
  await barrier.transact(async (tx) => {
    tx.keyrings?.create('own', 'root', { rootKey: ownKey(), sealConfig: Buffer.from('{}'), wrappedRootKey: Buffer.from('x') })
    tx.put(kv, 'a', Buffer.from('kept'))
  })
  const stop = async (): Promise<void> => void (await Promise.all(services.map((service) => service.stop())))
  return { ...opened, services, wire, down, tamper, setSealed, everywhere, stop }
}

test('one opening opens it on all, one sealing closes it on all, and a node that comes back is given it; neither log nor wire shows the key', async () => {
  const { barrier, barriers, at, everywhere, setSealed, stop, wire, cluster } = await world()
  try {
    await everywhere('kept')
    await setSealed(true)
    await everywhere('ERR_NAMESPACE_SEALED')
    barrier.namespaces.open('own', ownKey())
    await setSealed(false)
    await everywhere('kept')
    at(2).seal()
    at(2).open(new SecretBytes(new Uint8Array(32).fill(7)))
    await everywhere('kept')
    expect(wire.length).toBeGreaterThanOrEqual(10)
    const key = Buffer.from(ownKey().reveal())
    for (const bytes of [...wire, ...cluster.node(0).dump().flat()]) expect(Buffer.from(bytes).includes(key)).toBe(false)
    // All of them lose it: nobody can give it.
    for (const each of barriers) each.seal()
    for (const each of barriers) each.open(new SecretBytes(new Uint8Array(32).fill(7)))
    await delay(500)
    await everywhere('ERR_NAMESPACE_SEALED')
    at(0).namespaces.open('own', ownKey())
    await setSealed(false)
    await everywhere('kept')
  } finally {
    await stop()
  }
})

test('the leader is asked first, and where it has none the others are', async () => {
  const { at, everywhere, stop, down } = await world()
  try {
    await everywhere('kept')
    down.add('node-1')
    at(2).seal()
    at(2).open(new SecretBytes(new Uint8Array(32).fill(7)))
    await everywhere('kept')
  } finally {
    await stop()
  }
})

test("a thief with a node's identity who says once more what that node said gets an answer that he can't read, and that no other question takes", async () => {
  const { services, wire, everywhere, stop, setSealed, tamper, barrier, at } = await world()
  try {
    await everywhere('kept')
    const [asked, answered] = wire
    // The transport knows him by the stolen identity, so under the name of the one who asked.
    const replayed = await services[0]!.answer('node-2', asked!)
    expect(replayed.length).toBe(answered!.length)
    expect(Buffer.from(replayed).equals(Buffer.from(answered!))).toBe(false)
    const key = Buffer.from(ownKey().reveal())
    for (const bytes of [replayed, answered!])
      for (let from = 0; from < 16; from += 1) expect(Buffer.from(bytes).includes(key.subarray(from, from + 16))).toBe(false)
    const thief = new ForwardSeal({ barrier: { derivedKey: () => new SecretBytes(systemRandom.bytes(32)) }, random: systemRandom })
    const answerPlace = `namespace key answer ["node-2","node-1","${Buffer.from(asked!.subarray(-16)).toString('hex')}"]`
    expect(() => thief.open(answerPlace, replayed)).toThrow(expect.objectContaining({ code: 'ERR_PEER_REFUSED' }))
    // Given to the real node as the answer to its next question, it opens nothing: no node opens by what was said before the seal.
    await setSealed(true)
    await everywhere('ERR_NAMESPACE_SEALED')
    tamper.answer = () => replayed
    const before = wire.length
    await setSealed(false)
    while (wire.length < before + 4) await delay(20)
    await everywhere('ERR_NAMESPACE_SEALED')
    // And where the namespace is open again, the request of before is answered with no key: it is of another generation.
    barrier.namespaces.open('own', ownKey())
    const real = new ForwardSeal({ barrier: at(1), random: systemRandom })
    expect(real.open(answerPlace, replayed)[1]).toBe(1)
    expect(Buffer.from(real.open(answerPlace, await services[0]!.answer('node-2', asked!)))).toEqual(
      Buffer.concat([Buffer.of(1, 0), Buffer.alloc(32)]),
    )
  } finally {
    await stop()
  }
})

test('who has no key of the barrier is told nothing; another asker, an old request and another generation get nothing', async () => {
  const { services, wire, everywhere, stop, barrier, at, setSealed } = await world()
  try {
    await everywhere('kept')
    const codeOf = (promise: Promise<unknown>): Promise<string> =>
      promise.then(
        () => 'fine',
        (error: unknown) => (isHoldfastError(error) ? error.code : String(error)),
      )
    const [asked] = wire
    // Another node's request, replayed by a thief under his own name, or cut, or bent.
    expect(await codeOf(services[0]!.answer('thief', asked!))).toBe('ERR_PEER_REFUSED')
    expect(await codeOf(services[0]!.answer('node-2', asked!.subarray(1)))).toBe('ERR_PEER_REFUSED')
    expect(await codeOf(services[0]!.answer('node-2', new Uint8Array(80)))).toBe('ERR_PEER_REFUSED')
    const stranger = new ForwardSeal({ barrier: { derivedKey: () => new SecretBytes(systemRandom.bytes(32)) }, random: systemRandom })
    const place = 'namespace key request ["node-2","node-1"]'
    expect(
      await codeOf(services[0]!.answer('node-2', stranger.seal(place, encode({ version: 1, id: 'ab'.repeat(8), generation: 1 })))),
    ).toBe('ERR_PEER_REFUSED')
    const real = new ForwardSeal({ barrier: at(1), random: systemRandom })
    for (const odd of [{ version: 2 }, { version: 1, id: '../x', generation: 1 }, { version: 1, id: 'ab'.repeat(8), generation: 0.5 }])
      expect(await codeOf(services[0]!.answer('node-2', real.seal(place, encode(odd))))).toBe('ERR_FRAME')
    // Sealed meanwhile: the very request that was answered with the key is answered with none, in as many bytes.
    const plainOf = (request: Uint8Array, answer: Uint8Array): Uint8Array =>
      real.open(`namespace key answer ["node-2","node-1","${Buffer.from(request.subarray(-16)).toString('hex')}"]`, answer)
    const ask = async (id: string, generation: number): Promise<{ readonly bytes: number; readonly plain: Buffer }> => {
      const request = real.seal(place, encode({ version: 1, id, generation }))
      const answer = await services[0]!.answer('node-2', request)
      return { bytes: answer.length, plain: Buffer.from(plainOf(request, answer)) }
    }
    const id = barrier.namespaces.keyringId('own')
    const yes = await ask(id, 1)
    expect(yes.plain).toEqual(Buffer.concat([Buffer.of(1, 1), ownKey().reveal()]))
    const none = Buffer.concat([Buffer.of(1, 0), Buffer.alloc(32)])
    const [stranger1, later] = [await ask('ab'.repeat(8), 1), await ask(id, 2)]
    await setSealed(true)
    for (const no of [stranger1, later, await ask(id, 1), await ask(id, 2)]) {
      expect(no.plain).toEqual(none)
      expect(no.bytes).toBe(yes.bytes)
    }
    barrier.seal()
    expect(await codeOf(services[0]!.answer('node-2', asked!))).toBe('ERR_SEALED')
  } finally {
    await stop()
  }
})
