import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FolderIndex } from '#barrier/folders.ts'
import { createNameCache, NamespaceNames } from '#barrier/names.ts'
import type { ListOptions, ReadView, Section, Transaction } from '#barrier/types.ts'
import { systemRandom } from '#base/random.ts'
import { openBarriers } from '#test/support/open-barrier.ts'

const kv: Section = { namespace: 'root', mount: 'kv' }
const linear = { kind: 'linearizable' } as const

/** The slow twin: what listing means, on plain paths. */
function listSlow(paths: Iterable<string>, prefix: string, { after = '', limit = 0 }: ListOptions): string[] {
  const below = prefix === '' ? '' : `${prefix}/`
  const names = new Set<string>()
  for (const path of paths) {
    if (!path.startsWith(below)) continue
    const [first, ...rest] = path.slice(below.length).split('/')
    names.add(rest.length > 0 ? `${first}/` : (first ?? ''))
  }
  const bytes = (name: string): Buffer => Buffer.from(name)
  const sorted = [...names].toSorted((a, b) => Buffer.compare(bytes(a), bytes(b)))
  const later = after === '' ? sorted : sorted.filter((name) => Buffer.compare(bytes(name), bytes(after)) > 0)
  return limit > 0 ? later.slice(0, limit) : later
}

// Few names, so that values and folders meet; two that UTF-16 orders otherwise than UTF-8.
const segment = fc.constantFrom('a', 'b', 'ab', '\u{1f600}', '\uff61', 'é')
const path = fc.array(segment, { minLength: 1, maxLength: 4 }).map((segments) => segments.join('/'))
const folder = fc.array(segment, { maxLength: 3 }).map((segments) => segments.join('/'))
const options = fc.record({
  after: fc.oneof(
    segment,
    fc.constant(''),
    segment.map((s) => `${s}/`),
  ),
  limit: fc.integer({ min: -1, max: 4 }),
})
const write = fc.record({ path, deleted: fc.boolean() })

async function apply(tx: Transaction, writes: readonly { path: string; deleted: boolean }[], model: Set<string>): Promise<void> {
  for (const each of writes) {
    if (each.deleted) {
      tx.delete(kv, each.path)
      model.delete(each.path)
    } else {
      tx.put(kv, each.path, Buffer.from(each.path))
      model.add(each.path)
    }
  }
}

async function equal(view: ReadView, asked: readonly (readonly [string, ListOptions])[], model: Set<string>): Promise<void> {
  for (const [prefix, window] of asked) {
    expect(await view.holds(kv, prefix)).toBe(listSlow(model, prefix, {}).length > 0)
    expect(await view.list(kv, prefix, window)).toEqual(listSlow(model, prefix, window))
  }
}

test('lists equal their slow twin: committed, inside a transaction, before and after a deleted tree', async () => {
  const writes = fc.array(write, { maxLength: 14 })
  const queries = fc.array(fc.tuple(folder, options), { minLength: 1, maxLength: 4 })
  await fc.assert(
    fc.asyncProperty(writes, writes, folder, writes, queries, async (committed, own, tree, afterTree, asked) => {
      const { barrier, replica } = await openBarriers()
      const model = new Set<string>()
      await barrier.transact((tx) => apply(tx, committed, model))
      await barrier.read(linear, async (view) => {
        await equal(view, asked, model)
      })
      await barrier.transact(async (tx) => {
        await apply(tx, own, model)
        await equal(tx, asked, model)
        const doomed = [...model].filter((each) => tree === '' || each.startsWith(`${tree}/`))
        expect(await tx.deleteTree(kv, tree, 1_000)).toBe(doomed.length)
        for (const each of doomed) model.delete(each)
        await apply(tx, afterTree, model)
        await equal(tx, asked, model)
        for (const each of [...committed, ...own, ...afterTree]) expect((await tx.get(kv, each.path)) === null).toBe(!model.has(each.path))
      })
      await barrier.read(linear, async (view) => {
        await equal(view, asked, model)
      })
      expect(replica.openViews).toBe(0)
    }),
    { numRuns: 200 },
  )
})

test('a long folder is listed in parts, and others run in between', async () => {
  let turns = 0
  const { barrier } = await openBarriers(1, { yieldTurn: async () => void turns++, folderIndexBytesMax: 0 })
  await barrier.transact(async (tx) => {
    for (let i = 0; i < 2_000; i++) tx.put(kv, `f/${i}`, Buffer.from('x'))
  })
  expect(await barrier.read(linear, (view) => view.list(kv, 'f'))).toHaveLength(2_000)
  expect(turns).toBe(8) // Seven while it is read, one while the runs are merged.
})

test('a listing hops over what lies below its children', async () => {
  const { barrier, replica } = await openBarriers()
  await barrier.transact(async (tx) => {
    for (let i = 0; i < 500; i++) tx.put(kv, `big/${i}/x`, Buffer.from('x'))
    tx.put(kv, 'small', Buffer.from('x'))
  })
  let steps = 0
  const view = replica.view.bind(replica)
  replica.view = () => {
    const state = view()
    const keyCursor = state.keyCursor.bind(state)
    state.keyCursor = (start, end) => {
      const cursor = keyCursor(start, end)
      return { next: (seek) => (steps++, cursor.next(seek)), close: () => cursor.close() }
    }
    return state
  }
  expect(await barrier.read(linear, (reading) => reading.list(kv, ''))).toEqual(['big/', 'small'])
  expect(steps).toBe(3)
})

test('sealing ends a listing that is under way', async () => {
  const sealing: { now: () => void } = { now: () => {} }
  const { barrier } = await openBarriers(1, { yieldTurn: async () => sealing.now() })
  await barrier.transact(async (tx) => {
    for (let i = 0; i < 600; i++) tx.put(kv, `f/${i}`, Buffer.from('x'))
  })
  sealing.now = () => barrier.seal()
  await expect(barrier.read(linear, (view) => view.list(kv, 'f'))).rejects.toMatchObject({ code: 'ERR_SEALED' })
})

// Listings at many views of two nodes, whose feeds lag behind their states at random, while one writes: each must be what the folder held
// at that view's index, whether it came from the state, from the index of hot folders, or from that and a look at what changed.
test('the index of hot folders equals the slow twin at every view', async () => {
  const small = fc.array(fc.constantFrom('a', 'b', '\u{1f600}'), { minLength: 1, maxLength: 3 }).map((segments) => segments.join('/'))
  const step = fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant('write' as const),
        writes: fc.array(fc.record({ path: small, deleted: fc.boolean() }), { minLength: 1, maxLength: 3 }),
      }),
    },
    {
      weight: 5,
      arbitrary: fc.record({ kind: fc.constant('list' as const), node: fc.nat(1), stale: fc.boolean(), own: small, writes: fc.boolean() }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('wait' as const), turns: fc.nat(4) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('everything' as const), node: fc.nat(1) }) },
  )
  let kept = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 10, maxLength: 50 }),
      fc.array(fc.nat(3), { minLength: 5, maxLength: 5 }),
      async (steps, gaps) => {
        const { at, cluster } = await openBarriers(2, { listEntriesPerTurn: 1 })
        let gap = 0
        for (const node of cluster.nodes)
          node.announceGap = async () => {
            for (let i = gaps[gap++ % gaps.length] ?? 0; i > 0; i--) await nextTurn()
          }
        // So that the namespace is known: a deletion in one that is not commits nothing.
        await at(0).transact(async (tx) => tx.put({ namespace: 'root', mount: 'other' }, 'x', Buffer.from('x')))
        let model = new Set<string>()
        const history: (readonly [number, ReadonlySet<string>])[] = [[0, model]]
        const running: Promise<unknown>[] = []
        const check = async (node: number, stale: boolean): Promise<void> =>
          at(node).read(stale ? { kind: 'stale' } : linear, async (view) => {
            for (const prefix of ['', 'a', 'a/b', 'b']) {
              const found = await view.list(kv, prefix)
              const [, held] = history.findLast(([index]) => index <= view.index) ?? []
              expect(found).toEqual(listSlow(held ?? [], prefix, {}))
              await nextTurn()
            }
          })
        for (const each of steps) {
          if (each.kind === 'everything') cluster.node(each.node).announceEverything()
          if (each.kind === 'wait') for (let i = 0; i < each.turns; i++) await nextTurn()
          if (each.kind === 'list') running.push(check(each.node, each.stale))
          if (each.kind !== 'write') continue
          const next = new Set(model)
          const index = cluster.log.length + 1
          history.push([index, next])
          model = next
          await at(0).transact((tx) => apply(tx, each.writes, next))
          kept++
          expect(cluster.log.length).toBe(index)
        }
        await Promise.all(running)
        for (const node of [0, 1]) await check(node, false)
      },
    ),
    { numRuns: 150 },
  )
  expect(kept).toBeGreaterThan(500)
})

test('a hot folder is not read again but for what changed; too many changes are', async () => {
  const { barrier, replica } = await openBarriers()
  await barrier.transact(async (tx) => {
    for (let i = 0; i < 300; i++) tx.put(kv, `f/${i}`, Buffer.from('x'))
  })
  let steps = 0
  const view = replica.view.bind(replica)
  replica.view = () => {
    const state = view()
    const keyCursor = state.keyCursor.bind(state)
    state.keyCursor = (start, end) => {
      const cursor = keyCursor(start, end)
      return { next: (seek) => (steps++, cursor.next(seek)), close: () => cursor.close() }
    }
    return state
  }
  const listed = async (): Promise<[number, number]> => {
    steps = 0
    const { length } = await barrier.read(linear, (reading) => reading.list(kv, 'f'))
    return [length, steps]
  }
  expect(await listed()).toEqual([300, 301])
  expect(await listed()).toEqual([300, 0])
  await barrier.transact(async (tx) => {
    tx.put(kv, 'f/new', Buffer.from('x'))
    tx.put(kv, 'f/folder/x', Buffer.from('x'))
    tx.delete(kv, 'f/0')
    tx.put(kv, 'f/1', Buffer.from('y'))
    tx.put(kv, 'elsewhere', Buffer.from('y'))
  })
  expect(await listed()).toEqual([301, 1]) // Leaves are looked up, the folder takes one step.
  expect(await listed()).toEqual([301, 0])
  await barrier.transact(async (tx) => {
    for (let i = 0; i < 600; i++) tx.put(kv, `f/more-${i}`, Buffer.from('x'))
  })
  expect(await listed()).toEqual([901, 902])
  expect(await listed()).toEqual([901, 0])
})

test('a listing that was overtaken while it was under way is not kept', async () => {
  const during: { run: () => void } = { run: () => {} }
  let slow = 0
  const memory = { epoch: 0, lastChange: () => 0, newest: () => true, current: () => true, covers: () => true }
  const index = new FolderIndex({ memory, bytesMax: 1 << 20 })
  const names = new NamespaceNames('root', systemRandom.bytes(64), createNameCache(0)).section('kv', 0x20)
  const { replica } = await openBarriers()
  const list = (): Promise<readonly string[]> =>
    index.list({
      state: replica.view(),
      point: { index: 1, epoch: 0 },
      names,
      prefix: names.root,
      turns: { yieldTurn: async () => {}, entriesPerTurn: 100 },
      check: () => {},
      slowly: async () => {
        slow++
        during.run()
        return ['a']
      },
    })
  const change = (count: number): void =>
    index.apply({ index: 2, leaderTimeMs: 0, keys: Array.from({ length: count }, (_, i) => names.leaf(`n${i}`)) })
  for (const overtake of [() => index.clear(), () => change(5_000), () => index.apply({ index: 2, leaderTimeMs: 0, keys: 'everything' })]) {
    during.run = overtake
    await list()
    during.run = () => {}
    const before = slow
    await list()
    expect(slow).toBe(before + 1)
    await list()
    expect(slow).toBe(before + 1) // This one was kept.
    index.clear()
  }
  during.run = () => change(1)
  await list()
  expect(await list()).toEqual(['a']) // Kept, with one child marked, which is not there.
  expect(slow).toBe(7)
})

test('many who ask for a cold folder at once list it once; what is written meanwhile is seen', async () => {
  const { barrier, replica } = await openBarriers(1, { listEntriesPerTurn: 16 })
  await barrier.transact(async (tx) => {
    for (let i = 0; i < 400; i++) tx.put(kv, `f/${String(i).padStart(3, '0')}`, Buffer.from('x'))
  })
  let steps = 0
  const view = replica.view.bind(replica)
  replica.view = () => {
    const state = view()
    const keyCursor = state.keyCursor.bind(state)
    state.keyCursor = (start, end) => {
      const cursor = keyCursor(start, end)
      return { next: (seek) => (steps++, cursor.next(seek)), close: () => cursor.close() }
    }
    return state
  }
  const page = (after: string): Promise<string[]> => barrier.read(linear, (reading) => reading.list(kv, 'f', { after, limit: 2 }))
  const pages = await Promise.all(['', '009', '199', '397'].map(page))
  expect(pages).toEqual([
    ['000', '001'],
    ['010', '011'],
    ['200', '201'],
    ['398', '399'],
  ])
  expect(steps).toBe(401)
  const first = barrier.read(linear, (reading) => reading.list(kv, 'f'))
  await barrier.transact(async (tx) => {
    tx.put(kv, 'f/0005', Buffer.from('x'))
    tx.delete(kv, 'f/399')
  })
  expect(await page('000')).toEqual(['0005', '001'])
  expect(await page('397')).toEqual(['398'])
  expect((await first).length).toBeGreaterThanOrEqual(400)
  expect(steps).toBe(401)
})

test('one large folder may take nearly all of the index, and a change in it is merged in place', async () => {
  const { barrier } = await openBarriers(1, { folderIndexBytesMax: 240_000 })
  const count = 6_000
  for (let from = 0; from < count; from += 3_000)
    await barrier.transact(async (tx) => {
      for (let i = from; i < from + 3_000; i++) tx.put(kv, `f/${String(i).padStart(6, '0')}`, new Uint8Array(1))
    })
  await barrier.read(linear, (view) => view.list(kv, 'f'))
  const { cache } = barrier.status()
  expect(cache?.bytes).toBeGreaterThan(180_000)
  expect(cache?.bytes).toBeLessThanOrEqual(240_000)
  await barrier.transact(async (tx) => {
    tx.put(kv, 'f/0000000', new Uint8Array(1))
    tx.put(kv, 'f/zzz', new Uint8Array(1))
    tx.delete(kv, 'f/005000')
    tx.delete(kv, 'f/000000')
  })
  const names = await barrier.read(linear, (view) => view.list(kv, 'f'))
  expect([names.length, names[0], names.at(-1), names.includes('005000')]).toEqual([count, '0000000', 'zzz', false])
  expect(names.every((name, i) => i === 0 || (names[i - 1] ?? '') < name)).toBe(true)
}, 60_000)
