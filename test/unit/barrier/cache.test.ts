import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createBarrier } from '#barrier/barrier.ts'
import { ValueCache } from '#barrier/cache.ts'
import type { Barrier, Section } from '#barrier/types.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { cacheOptions } from '#node/cache-options.ts'
import { openBarriers, standingClock, testRootKey } from '#test/support/open-barrier.ts'

const kv: Section = { namespace: 'root', mount: 'kv' }
const linear = { kind: 'linearizable' } as const
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))
const keyA = bytes('a')

describe('the cache by itself', () => {
  test('against a history: whatever it answers is what the state held at that view', () => {
    const step = fc.oneof(
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('write' as const), key: fc.nat(2), announce: fc.boolean() }) },
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('announce' as const) }) },
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('view' as const) }) },
      { weight: 12, arbitrary: fc.record({ kind: fc.constant('read' as const), view: fc.nat(2), key: fc.nat(2) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('everything' as const) }) },
    )
    let hits = 0
    fc.assert(
      fc.property(fc.array(step, { minLength: 30, maxLength: 60 }), (steps) => {
        const cache = new ValueCache({ bytesMax: 10_000, applied: 0 })
        const history: number[] = [] // history[i]: key written at index i + 1
        let announced = 0
        const valueAt = (index: number, key: number): number => history.slice(0, index).lastIndexOf(key) + 1
        const views: { index: number; epoch: number }[] = []
        const announceOne = (): void => {
          if (announced < history.length)
            cache.apply({ index: ++announced, leaderTimeMs: 0, keys: [bytes(String(history[announced - 1]))] })
        }
        for (const each of steps) {
          if (each.kind === 'write') history.push(each.key)
          if (each.kind === 'announce' || (each.kind === 'write' && each.announce)) announceOne()
          if (each.kind === 'view') views.push({ index: history.length, epoch: cache.epoch })
          if (each.kind === 'everything') {
            announced = history.length
            cache.apply({ index: announced, leaderTimeMs: 0, keys: 'everything' })
          }
          const view = each.kind === 'read' ? views.at(-1 - each.view) : undefined
          if (each.kind !== 'read' || view === undefined) continue
          const id = bytes(String(each.key))
          const held = valueAt(view.index, each.key)
          const found = cache.lookup(view, id)
          if (found === undefined) cache.fill(view, id, held === 0 ? null : bytes(String(held)))
          else {
            hits++
            expect(found === null ? 0 : Number(Buffer.from(found).toString())).toBe(held)
          }
        }
      }),
      { numRuns: 5_000 },
    )
    expect(hits).toBeGreaterThan(1_000) // It must also be of use.
  })

  test('is bounded in bytes, keeps what is used, and refuses giants', () => {
    const cache = new ValueCache({ bytesMax: 10_000, applied: 1 })
    const point = { index: 1, epoch: 0 }
    for (let i = 0; i < 100; i++) {
      cache.fill(point, bytes(`k${i}`), new Uint8Array(100))
      cache.lookup(point, bytes('k0'))
    }
    expect(cache.bytes).toBeLessThanOrEqual(10_000)
    expect(cache.lookup(point, bytes('k0'))).toBeDefined()
    expect(cache.lookup(point, bytes('k1'))).toBeUndefined()
    cache.fill(point, bytes('giant'), new Uint8Array(5_000))
    expect(cache.lookup(point, bytes('giant'))).toBeUndefined()
    expect(cache.lookup(point, bytes('k0'))).toBeDefined()
  })

  test('a state that was replaced by one of a lower index: views of the old one neither fill nor find', () => {
    const cache = new ValueCache({ bytesMax: 10_000, applied: 9 })
    const old = { index: 9, epoch: cache.epoch }
    cache.apply({ index: 5, leaderTimeMs: 0, keys: 'everything' })
    const restored = { index: 5, epoch: cache.epoch }
    cache.fill(restored, bytes('a'), bytes('restored'))
    cache.apply({ index: 9, leaderTimeMs: 0, keys: [bytes('other')] })
    cache.fill(old, bytes('b'), bytes('old'))
    expect([cache.lookup(old, bytes('a')), cache.lookup({ index: 9, epoch: cache.epoch }, bytes('b'))]).toEqual([undefined, undefined])
    expect(cache.lookup({ index: 9, epoch: cache.epoch }, bytes('a'))).toEqual(bytes('restored'))
  })

  test('size 0 keeps nothing', () => {
    const cache = new ValueCache({ bytesMax: 0, applied: 1 })
    cache.fill({ index: 1, epoch: 0 }, bytes('a'), null)
    expect(cache.lookup({ index: 1, epoch: 0 }, bytes('a'))).toBeUndefined()
  })

  test('what fell out of the memory of changes may still not be filled from an older view', () => {
    const cache = new ValueCache({ bytesMax: 10_000, applied: 1 })
    const old = { index: 1, epoch: 0 }
    cache.apply({ index: 2, leaderTimeMs: 0, keys: [keyA] })
    for (let i = 3; i < 20_000; i++) cache.apply({ index: i, leaderTimeMs: 0, keys: [bytes(`other ${i}`)] })
    cache.fill(old, bytes('a'), bytes('old'))
    expect(cache.lookup({ index: 19_999, epoch: 0 }, bytes('a'))).toBeUndefined()
  })
})

describe('in the barrier', () => {
  const get = (barrier: Barrier, path: string): Promise<string | null> =>
    barrier.read(linear, async (view) => {
      const value = await view.get(kv, path)
      return value === null ? null : Buffer.from(value).toString()
    })
  const put = (barrier: Barrier, path: string, value: string): Promise<void> =>
    barrier.transact(async (tx) => tx.put(kv, path, bytes(value)))

  test('a second read opens nothing, absence included; a write ends that', async () => {
    const { barrier, replica } = await openBarriers()
    await put(barrier, 'a', '1')
    await get(barrier, 'a')
    await get(barrier, 'none')
    for (const [key] of replica.dump()) if (key[0] === 0x20) replica.tamper(key, bytes('broken')) // Whoever opens it now will notice.
    expect([await get(barrier, 'a'), await get(barrier, 'none')]).toEqual(['1', null])
    await put(barrier, 'a', '2')
    await put(barrier, 'none', '3')
    expect([await get(barrier, 'a'), await get(barrier, 'none')]).toEqual(['2', '3'])
  })

  test('is of use at once after an opening, though the feed is silent and began long before', async () => {
    const { barrier, cluster, replica } = await openBarriers()
    await put(barrier, 'a', '1')
    // A barrier that is made before its replica is there, as a server does, has heard of nothing.
    const late = new Proxy(replica, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target)
        if (name === 'status') return () => ({ ...target.status(), applied: attached ? target.status().applied : 0 })
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
    let attached = false
    const second = createBarrier({ replica: late, clock: standingClock(), random: systemRandom, log: silentLogger })
    attached = true
    second.open(testRootKey())
    expect(await get(second, 'a')).toBe('1')
    for (const [key] of replica.dump()) if (key[0] === 0x20) replica.tamper(key, bytes('broken'))
    expect(await get(second, 'a')).toBe('1')
    expect(cluster.log.length).toBe(replica.status().applied)
  })

  test('sealing and a replaced state empty it', async () => {
    const { barrier, replica } = await openBarriers()
    await put(barrier, 'a', '1')
    await get(barrier, 'a')
    for (const [key] of replica.dump()) if (key[0] === 0x20) replica.tamper(key, null)
    expect(await get(barrier, 'a')).toBe('1')
    replica.announceEverything()
    expect(await get(barrier, 'a')).toBeNull()
  })

  test('sealing empties it: what was opened before is opened again after, names and listings too', async () => {
    const { barrier, replica } = await openBarriers()
    await put(barrier, 'f/a', '1')
    await get(barrier, 'f/a')
    expect(await barrier.read(linear, (view) => view.list(kv, 'f'))).toEqual(['a'])
    expect(barrier.status().cache?.bytes).toBeGreaterThan(0)
    barrier.seal()
    expect(barrier.status().cache?.bytes).toBe(0)
    for (const [key] of replica.dump()) if (key[0] === 0x20) replica.tamper(key, bytes('broken'))
    barrier.open(testRootKey())
    await expect(get(barrier, 'f/a')).rejects.toMatchObject({ code: 'ERR_DECRYPT' })
  })

  test.each([
    ['on', {}, 'kept'],
    ['off', cacheOptions({ disable_cache: true, cache_bytes_max: 1 << 20 }), 'opened again'],
  ] as const)('turned %s: a value and a listing are %s', async (_, options, expected) => {
    const { barrier, replica } = await openBarriers(1, options)
    await put(barrier, 'f/a', '1')
    const list = (): Promise<string[]> => barrier.read(linear, (view) => view.list(kv, 'f'))
    expect([await get(barrier, 'f/a'), await list()]).toEqual(['1', ['a']])
    const { cache } = barrier.status()
    expect((cache?.bytes ?? 0) > 0).toBe(expected === 'kept')
    const [key] = replica.dump().find(([each]) => each[0] === 0x20) ?? []
    if (key === undefined) throw new Error('a record expected')
    replica.tamper(key, null)
    const stray = Uint8Array.from(key)
    stray[stray.length - 1] = (stray.at(-1) ?? 0) ^ 1
    replica.tamper(stray, bytes('broken'))
    if (expected === 'kept') expect([await get(barrier, 'f/a'), await list()]).toEqual(['1', ['a']])
    else {
      expect(await get(barrier, 'f/a')).toBeNull()
      await expect(list()).rejects.toMatchObject({ code: 'ERR_DECRYPT' })
      expect(barrier.status().cache).toMatchObject({ bytes: 0, hits: 0 })
    }
  })

  test('stays within its bound, whatever is read', async () => {
    const bytesMax = 65_536
    const { barrier } = await openBarriers(1, cacheOptions({ disable_cache: false, cache_bytes_max: bytesMax }))
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(60), fc.nat(9_000)), { minLength: 5, maxLength: 30 }), async (writes) => {
        await barrier.transact(async (tx) => {
          for (const [name, length] of writes) tx.put(kv, `d${name % 7}/${name}`, new Uint8Array(length))
        })
        await barrier.read(linear, async (view) => {
          for (const [name, length] of writes.slice(-3)) {
            expect((await view.get(kv, `d${name % 7}/${name}`))?.length).toBe(writes.findLast(([each]) => each === name)?.[1] ?? length)
            await view.list(kv, `d${name % 7}`)
          }
        })
        expect(barrier.status().cache?.bytes).toBeLessThanOrEqual(3 * bytesMax)
      }),
      { numRuns: 100 },
    )
    expect(barrier.status().cache?.bytes).toBeGreaterThan(bytesMax / 4)
    expect(barrier.status().cache?.misses).toBeGreaterThan(0)
  })

  // Readers and writers on two nodes, with the feed behind the state at random, replaced states and rotations in between: every
  // linearizable read must give at least the newest value that was acknowledged before it began, and no view may waver.
  test('random interleavings never serve a stale value', async () => {
    const action = fc.oneof(
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('write' as const), node: fc.nat(1), key: fc.nat(2) }) },
      { weight: 8, arbitrary: fc.record({ kind: fc.constant('read' as const), node: fc.nat(1), key: fc.nat(2) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('wait' as const), node: fc.nat(1), key: fc.nat(2) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('everything' as const), node: fc.nat(1), key: fc.nat(2) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('rotate' as const), node: fc.nat(1), key: fc.nat(2) }) },
    )
    await fc.assert(
      fc.asyncProperty(
        fc.array(action, { minLength: 5, maxLength: 40 }),
        fc.array(fc.nat(3), { minLength: 8, maxLength: 8 }),
        async (actions, gaps) => {
          const { barrier, at, cluster } = await openBarriers(2)
          let gap = 0
          for (const node of cluster.nodes)
            node.announceGap = async () => {
              for (let i = gaps[gap++ % gaps.length] ?? 0; i > 0; i--) await nextTurn()
            }
          const acknowledged = [0, 0, 0]
          let written = 0
          const running: Promise<unknown>[] = []
          const write = async (key: number): Promise<void> => {
            const value = await barrier.transact(async (tx) => {
              const before = await tx.get(kv, `k${key}`)
              const next = Number(Buffer.from(before ?? bytes('0')).toString()) + 1
              tx.put(kv, `k${key}`, bytes(String(next)))
              return next
            })
            written++
            acknowledged[key] = Math.max(acknowledged[key] ?? 0, value)
          }
          const read = async (node: number, key: number): Promise<void> => {
            const floor = acknowledged[key] ?? 0
            await at(node).read(linear, async (view) => {
              const first = Number(Buffer.from((await view.get(kv, `k${key}`)) ?? bytes('0')).toString())
              expect(first).toBeGreaterThanOrEqual(floor)
              await nextTurn()
              const second = Number(Buffer.from((await view.get(kv, `k${key}`)) ?? bytes('0')).toString())
              expect(second).toBe(first)
            })
          }
          for (const { kind, node, key } of actions) {
            if (kind === 'write') running.push(write(key))
            else if (kind === 'read') running.push(read(node, key))
            else if (kind === 'rotate') running.push(barrier.rotate())
            else if (kind === 'everything') cluster.node(node).announceEverything()
            else await nextTurn()
          }
          await Promise.all(running)
          expect(acknowledged.reduce((sum, each) => sum + each, 0)).toBe(written) // No increment was lost.
          for (const key of [0, 1, 2]) for (const node of [0, 1]) await read(node, key)
        },
      ),
      { numRuns: 150 },
    )
  })
})
