/** Another name key for a namespace that is served meanwhile: nothing is lost, nothing stays under the one before, whoever leads. */
import { setTimeout as delay } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { createBarrier } from '#barrier/barrier.ts'
import type { Barrier, BarrierControl, Section } from '#barrier/types.ts'
import { systemClock } from '#base/clock.ts'
import { isHoldfastError } from '#base/errors.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { SecretBytes } from '#base/secret.ts'
import { openBarriers, testRootKey } from '#test/support/open-barrier.ts'
import { TestCluster } from '../replica/cluster.ts'

vi.setConfig({ testTimeout: 120_000 })

const linear = { kind: 'linearizable' } as const
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))
const inside = (namespace: string, mount = 'kv'): Section => ({ namespace, mount })
const put = (barrier: Barrier, namespace: string, path: string, value: string, mount = 'kv'): Promise<void> =>
  barrier.transact(async (tx) => tx.put(inside(namespace, mount), path, bytes(value)))
const begin = (barrier: Barrier, namespace: string): Promise<void> => barrier.transact(async (tx) => tx.keyrings?.renewNames(namespace))
const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'fine',
    (error: unknown) => (isHoldfastError(error) ? error.code : String(error)),
  )

async function finish(barrier: BarrierControl, keysMax = 7): Promise<number> {
  for (let steps = 1; steps < 10_000; steps++) if ((await barrier.namespaces.renewNamesStep(keysMax)) === null) return steps
  throw new Error('expected an end')
}

/** All that a mount holds, by path. */
async function contents(barrier: Barrier, section: Section): Promise<Record<string, string>> {
  const found: Record<string, string> = {}
  await barrier.read(linear, async (view) => {
    const walk = async (prefix: string): Promise<void> => {
      for (const name of await view.list(section, prefix)) {
        const path = prefix === '' ? name : `${prefix}/${name}`
        if (name.endsWith('/')) await walk(path.slice(0, -1))
        else found[path] = Buffer.from((await view.get(section, path)) ?? bytes('absent')).toString()
      }
    }
    await walk('')
  })
  return found
}

type House = Awaited<ReturnType<typeof openBarriers>>
const keysOf = ({ cluster }: House): Set<string> =>
  new Set(
    cluster
      .node(0)
      .dump()
      .map(([key]) => Buffer.from(key).toString('latin1'))
      .filter((key) => key.charCodeAt(0) < 0x40),
  )
const recordsOf = ({ cluster }: House): string[] =>
  cluster
    .node(0)
    .dump()
    .map(([key]) => Buffer.from(key.subarray(1)).toString('latin1'))
    .filter((name) => name.startsWith('core/name-key'))

async function caughtUp({ cluster }: House, nodes: number): Promise<void> {
  for (let at = 0; at < nodes; at++) await cluster.node(at).appliedUpTo(cluster.log.length)
}

describe.each(['root', 'team', 'own', 'own-child'])('in %s', (namespace) => {
  async function world(): Promise<House> {
    const house = await openBarriers(2)
    const { barrier } = house
    const rootKey = new SecretBytes(new Uint8Array(32).fill(9))
    await barrier.transact(async ({ keyrings }) =>
      keyrings?.create('own', 'root', { rootKey, sealConfig: bytes('how'), wrappedRootKey: bytes('w') }),
    )
    await barrier.transact(async ({ keyrings }) => keyrings?.create('own-child', 'own'))
    await caughtUp(house, 2)
    house.at(1).namespaces.open('own', new SecretBytes(new Uint8Array(32).fill(9)))
    return house
  }

  test('every stored key moves, twice over, and all is read as before, on every node; neighbours do not', async () => {
    const house = await world()
    const { barrier, at } = house
    for (const each of ['root', 'team', 'own', 'own-child'])
      for (let i = 0; i < 20; i++) await put(barrier, each, `f${i % 3}/g${i % 5}/${i}`, `${each}-${i}`, i % 2 === 0 ? 'kv' : 'other')
    const before = keysOf(house)
    const records = recordsOf(house).length
    const read = async (each: Barrier): Promise<unknown> => {
      const all: unknown[] = []
      for (const name of ['root', 'team', 'own', 'own-child'])
        for (const mount of ['kv', 'other']) all.push(await contents(each, inside(name, mount)))
      return all
    }
    const was = await read(barrier)
    for (let round = 0; round < 2; round++) {
      await begin(barrier, namespace)
      expect(barrier.namespaces.namesRenewal(namespace)).toEqual({ namespace, phase: 'copying', keys: 0, done: false })
      expect(await codeOf(begin(barrier, namespace))).toBe('ERR_BAD_REQUEST')
      expect(await finish(barrier)).toBeGreaterThan(4)
      expect(barrier.namespaces.namesRenewal(namespace)).toBeNull()
      await caughtUp(house, 2)
      for (const each of [barrier, at(1)]) expect(await read(each)).toEqual(was)
    }
    const after = keysOf(house)
    expect(after.size).toBe(before.size)
    expect([...before].filter((key) => after.has(key))).toHaveLength(60)
    expect(recordsOf(house)).toHaveLength(records)
    // From nothing but the root key and, where there is one, the namespace's own.
    barrier.seal()
    barrier.open(testRootKey())
    barrier.namespaces.open('own', new SecretBytes(new Uint8Array(32).fill(9)))
    expect(await read(barrier)).toEqual(was)
  })

  test('whatever is written, deleted and listed meanwhile, and whoever leads', async () => {
    const path = fc.constantFrom('a', 'a/b', 'a/c', 'b', 'b/a/a', 'b/a/c', 'c/d')
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('put' as const), path, mount: fc.constantFrom('kv', 'other') }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('delete' as const), path, mount: fc.constantFrom('kv', 'other') }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('tree' as const), path: fc.constantFrom('a', 'b', 'b/a') }) },
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('step' as const), keysMax: fc.integer({ min: 1, max: 3 }) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('begin' as const) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('lead' as const) }) },
      // A write that was evaluated before all that, and is proposed after it.
      { weight: 3, arbitrary: fc.record({ kind: fc.constant('race' as const), path, begins: fc.boolean(), steps: fc.nat(8) }) },
    )
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
        const house = await world()
        const { cluster, at } = house
        const model: Record<string, Map<string, string>> = { kv: new Map(), other: new Map() }
        let leads = 0
        let serial = 0
        await put(at(0), namespace, 'first', '0')
        model['kv']!.set('first', '0')
        for (const each of steps) {
          const barrier = at(leads)
          const value = `v${(serial += 1)}`
          if (each.kind === 'put') {
            await put(barrier, namespace, each.path, value, each.mount)
            model[each.mount]!.set(each.path, value)
          } else if (each.kind === 'delete') {
            await barrier.transact(async (tx) => tx.delete(inside(namespace, each.mount), each.path))
            model[each.mount]!.delete(each.path)
          } else if (each.kind === 'tree') {
            await barrier.transact(async (tx) => void (await tx.deleteTree(inside(namespace), each.path, 100)))
            for (const known of model['kv']!.keys()) if (known.startsWith(`${each.path}/`)) model['kv']!.delete(known)
          } else if (each.kind === 'step') await barrier.namespaces.renewNamesStep(each.keysMax)
          else if (each.kind === 'begin') await codeOf(begin(barrier, namespace))
          else if (each.kind === 'lead') {
            leads = 1 - leads
            cluster.elect(`node-${leads + 1}`)
            await caughtUp(house, 2)
          } else {
            let tries = 0
            await barrier.transact(async (tx) => {
              tx.put(inside(namespace), each.path, bytes(value))
              if ((tries += 1) > 1) return
              if (each.begins) await codeOf(begin(barrier, namespace))
              for (let taken = 0; taken < each.steps; taken++) await barrier.namespaces.renewNamesStep(1)
            })
            model['kv']!.set(each.path, value)
          }
          for (const mount of ['kv', 'other'])
            expect(await contents(barrier, inside(namespace, mount))).toEqual(Object.fromEntries(model[mount]!))
        }
        await caughtUp(house, 2)
        await finish(at(leads))
        await caughtUp(house, 2)
        for (const barrier of [at(0), at(1)])
          for (const mount of ['kv', 'other'])
            expect(await contents(barrier, inside(namespace, mount))).toEqual(Object.fromEntries(model[mount]!))
        // Nothing is left under other names.
        expect(keysOf(house).size).toBe(model['kv']!.size + model['other']!.size)
      }),
      { numRuns: 60 },
    )
  })
})

test('a namespace that is sealed waits, others go on; destroyed, nothing of it is left', async () => {
  const house = await openBarriers(1)
  const { barrier } = house
  const rootKey = new SecretBytes(new Uint8Array(32).fill(9))
  await barrier.transact(async ({ keyrings }) =>
    keyrings?.create('own', 'root', { rootKey, sealConfig: bytes('how'), wrappedRootKey: bytes('w') }),
  )
  for (const each of ['own', 'team']) for (let i = 0; i < 10; i++) await put(barrier, each, `a/${i}`, `${i}`)
  for (const each of ['own', 'team']) await begin(barrier, each)
  await barrier.transact(async ({ keyrings }) => keyrings?.setSealed('own', true))
  await finish(barrier)
  expect(barrier.namespaces.namesRenewal('team')).toBeNull()
  expect(await codeOf(Promise.resolve().then(() => barrier.namespaces.namesRenewal('own')))).toBe('ERR_NAMESPACE_SEALED')
  expect(await codeOf(begin(barrier, 'own'))).toBe('ERR_NAMESPACE_SEALED')
  barrier.namespaces.open('own', new SecretBytes(new Uint8Array(32).fill(9)))
  await barrier.transact(async ({ keyrings }) => keyrings?.setSealed('own', false))
  await barrier.namespaces.renewNamesStep(3)
  expect(barrier.namespaces.namesRenewal('own')).toMatchObject({ phase: 'copying', keys: 3 })
  await barrier.transact(async ({ keyrings }) => void keyrings?.destroy('own'))
  expect(await finish(barrier)).toBe(1)
  while ((await barrier.namespaces.sweepDestroyed(100)) > 0);
  expect(recordsOf(house)).toHaveLength(1)
  expect(keysOf(house).size).toBe(10)
})

test('over a real store: hundreds of keys of several namespaces and mounts, with writers beside the steps', async () => {
  const cluster = new TestCluster()
  try {
    const replica = await cluster.start('a', true)
    while (!replica.status().ready) await delay(10)
    const barrier = createBarrier({ replica, clock: systemClock, random: systemRandom, log: silentLogger })
    await barrier.initialize(testRootKey(), { 'core/seal-config': Buffer.from('{}') })
    const wanted: Record<string, string> = {}
    for (const namespace of ['root', 'team', 'other'])
      await barrier.transact(async (tx) => {
        for (let i = 0; i < 150; i++) {
          tx.put(inside(namespace, i % 3 === 0 ? 'kv' : 'other'), `f${i % 7}/${i}`, bytes(`${namespace}-${i}`))
          if (namespace === 'root' && i % 3 === 0) wanted[`f${i % 7}/${i}`] = `${namespace}-${i}`
        }
      })
    const others = [await contents(barrier, inside('team')), await contents(barrier, inside('other', 'other'))]
    await begin(barrier, 'root')
    for (let i = 0, left = true; left; i++) {
      const [step] = await Promise.all([barrier.namespaces.renewNamesStep(40), put(barrier, 'root', `new/${i}`, `${i}`)])
      wanted[`new/${i}`] = `${i}`
      left = step !== null
    }
    expect(await contents(barrier, inside('root'))).toEqual(wanted)
    expect([await contents(barrier, inside('team')), await contents(barrier, inside('other', 'other'))]).toEqual(others)
    const view = replica.view()
    let stored = 0
    const cursor = view.keyCursor(Uint8Array.of(0x20), Uint8Array.of(0x40))
    while ((await cursor.next()) !== undefined) stored += 1
    await cursor.close()
    view.release()
    expect(stored).toBe(3 * 150 + Object.keys(wanted).filter((path) => path.startsWith('new/')).length)
    barrier.close()
  } finally {
    await cluster.end()
  }
})

test('who has nothing yet has no names to change', async () => {
  const { barrier } = await openBarriers(1)
  expect(await codeOf(begin(barrier, 'never'))).toBe('ERR_NOT_FOUND')
  expect(await barrier.namespaces.renewNamesStep(10)).toBeNull()
})

test('a step that meets writers of its own keys takes fewer of them with each try', async () => {
  const { barrier, replica } = await openBarriers(1)
  for (let i = 0; i < 64; i++) await put(barrier, 'team', `k${i}`, 'x')
  await begin(barrier, 'team')
  let conflicts = 0
  replica.beforePropose = async () => {
    const hold = replica.beforePropose
    if ((conflicts += 1) > 5) return
    replica.beforePropose = null
    await put(barrier, 'team', `k${conflicts}`, 'y')
    for (let i = 0; i < 64; i++) await put(barrier, 'team', `k${i}`, 'y')
    replica.beforePropose = hold
  }
  const step = await barrier.namespaces.renewNamesStep(64)
  replica.beforePropose = null
  expect(step).toMatchObject({ phase: 'copying', keys: 2 })
  await finish(barrier)
  expect(await contents(barrier, inside('team'))).toEqual(Object.fromEntries(Array.from({ length: 64 }, (_, i) => [`k${i}`, 'y'])))
})
