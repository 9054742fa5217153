import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ListOptions, Section, Transaction } from '#barrier/types.ts'
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

test('lists equal their slow twin: committed, inside a transaction, before and after a deleted tree', async () => {
  const writes = fc.array(write, { maxLength: 14 })
  const queries = fc.array(fc.tuple(folder, options), { minLength: 1, maxLength: 4 })
  await fc.assert(
    fc.asyncProperty(writes, writes, folder, writes, queries, async (committed, own, tree, afterTree, asked) => {
      const { barrier, replica } = await openBarriers()
      const model = new Set<string>()
      await barrier.transact((tx) => apply(tx, committed, model))
      await barrier.read(linear, async (view) => {
        for (const [prefix, window] of asked) expect(await view.list(kv, prefix, window)).toEqual(listSlow(model, prefix, window))
      })
      await barrier.transact(async (tx) => {
        await apply(tx, own, model)
        for (const [prefix, window] of asked) expect(await tx.list(kv, prefix, window)).toEqual(listSlow(model, prefix, window))
        const doomed = [...model].filter((each) => tree === '' || each.startsWith(`${tree}/`))
        expect(await tx.deleteTree(kv, tree, 1_000)).toBe(doomed.length)
        for (const each of doomed) model.delete(each)
        await apply(tx, afterTree, model)
        for (const [prefix, window] of asked) expect(await tx.list(kv, prefix, window)).toEqual(listSlow(model, prefix, window))
        for (const each of [...committed, ...own, ...afterTree]) expect((await tx.get(kv, each.path)) === null).toBe(!model.has(each.path))
      })
      await barrier.read(linear, async (view) => {
        for (const [prefix, window] of asked) expect(await view.list(kv, prefix, window)).toEqual(listSlow(model, prefix, window))
      })
      expect(replica.openViews).toBe(0)
    }),
    { numRuns: 200 },
  )
})

test('a long folder is listed in parts, and others run in between', async () => {
  let turns = 0
  const { barrier } = await openBarriers(1, { yieldTurn: async () => void turns++ })
  await barrier.transact(async (tx) => {
    for (let i = 0; i < 2_000; i++) tx.put(kv, `f/${i}`, Buffer.from('x'))
  })
  expect(await barrier.read(linear, (view) => view.list(kv, 'f'))).toHaveLength(2_000)
  expect(turns).toBe(3)
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
