import { appendFileSync, cpSync, existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { classicLevel, type LevelFactory } from '#store/level.ts'
import { openStateStore } from '#store/state.ts'
import { emptyMembership, emptyMeta } from '#store/statemeta.ts'
import type { Op, StateMeta, StateStore, StateView } from '#store/types.ts'
import { bytes, temporaryFolder, text } from './helpers.ts'

const clusterId = 'cluster-1'
const open = (directory: string, more: object = {}) => openStateStore({ directory, clusterId, ...more })
const meta = (applied: number): StateMeta => ({
  ...emptyMeta,
  applied,
  appliedTerm: 1,
  membership: { ...emptyMembership, voters: ['a'] },
  leaderTimeMs: 1_700_000_000_000 + applied,
})
const put = (key: string, value: string): Op => ({ key: bytes(key), value: bytes(value) })
const del = (key: string): Op => ({ key: bytes(key), value: null })

async function listing(view: StateView, start = '\x10', end = '\xff'): Promise<[string | undefined, string | undefined][]> {
  const found: [string | undefined, string | undefined][] = []
  for await (const [key, value] of view.entriesFrom(bytes(start), bytes(end))) found.push([text(key), text(value)])
  return found
}

async function filled(store: StateStore, count: number, valueBytes = 100): Promise<void> {
  const ops = Array.from({ length: count }, (_, at) => put(`key ${String(at).padStart(6, '0')}`, `${at}:`.padEnd(valueBytes, 'v')))
  await store.apply(ops, meta(store.meta.applied + 1))
}

test('data and meta are applied together and survive a reopen', async () => {
  const directory = temporaryFolder()
  const store = await open(directory)
  expect(store.meta).toEqual(emptyMeta)
  await store.apply([put('a', '1'), put('b', '2')], meta(4))
  await store.apply([del('a'), put('c', '3'), put('c', '4')], meta(5))
  expect(await store.sync()).toBe(5)
  await store.close()
  const again = await open(directory)
  expect(again.meta).toEqual({ ...meta(5), digest: expect.any(Uint8Array) })
  const view = again.view()
  expect(await listing(view)).toEqual([
    ['b', '2'],
    ['c', '4'],
  ])
  view.release()
  await again.close()
})

test('a view shows one index, however much is applied after it, and while it is applied', async () => {
  const store = await open(temporaryFolder())
  await store.apply([put('a', 'old')], meta(1))
  const applying = store.apply([put('a', 'new')], meta(2), () => {
    const inside = store.view()
    expect([inside.meta.applied, text(inside.get(bytes('a')))]).toEqual([2, 'new'])
    inside.release()
  })
  const during = store.view()
  expect([during.meta.applied, text(during.get(bytes('a')))]).toEqual([1, 'old'])
  await applying
  const after = store.view()
  expect([text(during.get(bytes('a'))), text(after.get(bytes('a')))]).toEqual(['old', 'new'])
  during.release()
  expect(() => during.get(bytes('a'))).toThrow('released')
  expect(text(after.get(bytes('a')))).toBe('new')
  after.release()
  after.release()
  const later = store.view()
  expect(text(later.get(bytes('a')))).toBe('new')
  later.release()
  await store.close()
})

test("a view that is asked for while a batch is already written, but not yet shown, is the old index's", async () => {
  const seen: unknown[] = []
  let store: StateStore | undefined
  const level: LevelFactory = (path, options) => {
    const db = classicLevel(path, options)
    const batch = db.batch.bind(db) as (...args: unknown[]) => Promise<void>
    db.batch = (async (...args: unknown[]) => {
      await batch(...args)
      const view = store?.view()
      if (view !== undefined) seen.push([view.meta.applied, text(view.get(bytes('a')))])
      view?.release()
    }) as unknown as typeof db.batch
    return db
  }
  store = await open(temporaryFolder(), { level })
  await store.apply([put('a', 'old')], meta(1))
  await store.apply([put('a', 'new')], meta(2))
  expect(seen).toEqual([
    [0, undefined],
    [1, 'old'],
  ])
  await store.close()
})

test('a key cursor walks and jumps as a sorted array does', async () => {
  const store = await open(temporaryFolder())
  const names = fc.uniqueArray(fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: 4 }), { maxLength: 40 })
  const jumps = fc.array(fc.option(fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 4 })), { maxLength: 30 })
  await fc.assert(
    fc.asyncProperty(names, jumps, async (keys, seeks) => {
      const previous = store.view()
      const removed = (await listing(previous)).map(([key]) => del(key ?? ''))
      previous.release()
      await store.apply([...removed, ...keys.map((key) => put(key, key))], meta(store.meta.applied + 1))
      const sorted = keys.filter((key) => key >= 'ab' && key < 'cb').toSorted()
      const view = store.view()
      const cursor = view.keyCursor(bytes('ab'), bytes('cb'))
      let position = 0
      for (const seek of seeks) {
        if (seek !== null) while (position < sorted.length && (sorted[position] ?? '') < seek) position += 1
        const found = await cursor.next(seek === null ? undefined : bytes(seek))
        expect(text(found)).toBe(sorted[position])
        position += 1
      }
      await cursor.close()
      view.release()
    }),
    { numRuns: 100 },
  )
  await store.close()
})

test('keys of the store itself are refused', async () => {
  const store = await open(temporaryFolder())
  await expect(store.apply([put('\x00', 'x')], meta(1))).rejects.toMatchObject({ code: 'ERR_STORE_FAILED' })
  await store.close()
})

test('the first failed write is final', async () => {
  let failing = false
  const level: LevelFactory = (path, options) => {
    const db = classicLevel(path, options)
    const batch = db.batch.bind(db) as (...args: unknown[]) => Promise<void>
    db.batch = ((...args: unknown[]) =>
      failing ? Promise.reject(Object.assign(new Error('io'), { code: 'EIO' })) : batch(...args)) as typeof db.batch
    return db
  }
  const store = await open(temporaryFolder(), { level })
  failing = true
  await expect(store.apply([put('a', '1')], meta(1))).rejects.toMatchObject({ code: 'ERR_STORE_FAILED' })
  failing = false
  await expect(store.apply([put('a', '1')], meta(1))).rejects.toMatchObject({ code: 'ERR_STORE_FAILED' })
  await expect(store.sync()).rejects.toMatchObject({ code: 'ERR_STORE_FAILED' })
  expect(store.meta.applied).toBe(0)
  await store.close()
})

test('a snapshot of 3 MB arrives whole on another node, in pieces of any size, and is installed while old views stay readable', async () => {
  const [from, to] = [await open(temporaryFolder()), await open(temporaryFolder())]
  await filled(from, 3_000, 1_000)
  await to.apply([put('old', 'here')], meta(1))
  const snapshot = from.snapshot()
  await from.apply([put('later', 'not in it')], meta(2))
  const received = await to.receive(inPieces(snapshot.stream, 7_777))
  snapshot.release()
  expect(received).toEqual({ index: 1, term: 1, membership: meta(1).membership })
  const before = to.view()
  let visibleAt = -1
  await to.install(received, () => (visibleAt = to.meta.applied))
  expect(visibleAt).toBe(1)
  expect(await listing(before)).toEqual([['old', 'here']])
  const after = to.view()
  expect((await listing(after)).length).toBe(3_000)
  expect(text(after.get(bytes('key 002999')))).toMatch(/^2999:v+$/)
  before.release()
  after.release()
  await from.close()
  await to.close()
})

async function* inPieces(stream: AsyncIterable<Uint8Array>, size: number, change?: (whole: Buffer) => Buffer): AsyncGenerator<Uint8Array> {
  const pieces: Uint8Array[] = []
  for await (const piece of stream) pieces.push(piece)
  const whole = change ? change(Buffer.concat(pieces)) : Buffer.concat(pieces)
  for (let at = 0; at < whole.length; at += size) yield whole.subarray(at, at + size)
}

test('a snapshot that is changed anywhere, cut short or drawn out is refused, and the state stays', async () => {
  const [from, to] = [await open(temporaryFolder()), await open(temporaryFolder())]
  await filled(from, 20, 20)
  await to.apply([put('old', 'here')], meta(1))
  const attempt = async (change: (whole: Buffer) => Buffer): Promise<void> => {
    const snapshot = from.snapshot()
    await expect(to.receive(inPieces(snapshot.stream, 50, change))).rejects.toMatchObject({ code: 'ERR_FRAME' })
    snapshot.release()
  }
  const length = await (async () => {
    const snapshot = from.snapshot()
    let total = 0
    for await (const piece of snapshot.stream) total += piece.length
    snapshot.release()
    return total
  })()
  for (let at = 0; at < length; at += 13) {
    await attempt((whole) => {
      whole[at] = (whole[at] ?? 0) ^ 4
      return whole
    })
  }
  for (const cut of [0, 3, 40, length - 1]) await attempt((whole) => whole.subarray(0, cut))
  await attempt((whole) => Buffer.concat([whole, whole]))
  const view = to.view()
  expect(await listing(view)).toEqual([['old', 'here']])
  view.release()
  await from.close()
  await to.close()
})

test('a snapshot of another cluster is refused', async () => {
  const [from, to] = [await openStateStore({ directory: temporaryFolder(), clusterId: 'other' }), await open(temporaryFolder())]
  const snapshot = from.snapshot()
  await expect(to.receive(snapshot.stream)).rejects.toMatchObject({ code: 'ERR_FRAME' })
  snapshot.release()
  await from.close()
  await to.close()
})

test('a crash before, between and after the steps of an install leaves the old or the new state', async () => {
  const directory = temporaryFolder()
  const [from, to] = [await open(temporaryFolder()), await open(directory)]
  await filled(from, 50)
  await to.apply([put('old', 'here')], meta(1))
  await to.sync()
  const snapshot = from.snapshot()
  const received = await to.receive(snapshot.stream)
  snapshot.release()
  // What a crash would leave: copies of the folder before the install and after it, and with a torn temporary pointer.
  const copies = [temporaryFolder(), temporaryFolder(), temporaryFolder()]
  cpSync(directory, copies[0] ?? '', { recursive: true })
  cpSync(directory, copies[1] ?? '', { recursive: true })
  writeFileSync(join(copies[1] ?? '', 'state', 'current.tmp'), 'g')
  await to.install(received)
  cpSync(directory, copies[2] ?? '', { recursive: true })
  await to.close()
  await from.close()
  const seen: number[] = []
  for (const copy of copies) {
    const store = await open(copy)
    const view = store.view()
    seen.push((await listing(view)).length)
    view.release()
    await store.close()
    expect(readdirSync(join(copy, 'state')).filter((name) => name.startsWith('g'))).toHaveLength(1)
  }
  expect(seen).toEqual([1, 1, 50])
})

test('the replaced folder is removed when its last view has gone', async () => {
  const directory = temporaryFolder()
  const [from, to] = [await open(temporaryFolder()), await open(directory)]
  await filled(from, 5)
  const held = to.view()
  const snapshot = from.snapshot()
  await to.install(await to.receive(snapshot.stream))
  snapshot.release()
  expect(existsSync(join(directory, 'state', 'g1'))).toBe(true)
  held.release()
  await expect.poll(() => existsSync(join(directory, 'state', 'g1'))).toBe(false)
  await from.close()
  await to.close()
})

test('a state whose pointer names nothing, or of another cluster, is refused', async () => {
  const directory = temporaryFolder()
  await (await open(directory)).close()
  await expect(openStateStore({ directory, clusterId: 'other' })).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
  writeFileSync(join(directory, 'state', 'current'), 'g9\n')
  await expect(open(directory)).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
})

test('of the ends that were cut off only the newest is kept', async () => {
  const directory = temporaryFolder()
  const folder = join(directory, 'state', 'g1')
  const torn: string[] = []
  for (let round = 1; round <= 4; round += 1) {
    const state = await openStateStore({ directory, clusterId })
    await state.apply([{ key: bytes(`key ${round}`), value: bytes('value') }], { ...emptyMeta, applied: round, appliedTerm: 1 })
    await state.close()
    torn.push(readdirSync(folder).findLast((name) => name.endsWith('.log')) ?? '')
    appendFileSync(join(folder, torn.at(-1) ?? ''), 'no record')
  }
  const last = await openStateStore({ directory, clusterId })
  expect(last.meta.applied).toBe(4)
  await last.close()
  expect(new Set(torn).size).toBe(4)
  expect(readdirSync(folder).filter((name) => name.endsWith('.damaged'))).toEqual([`${torn.at(-1)}.damaged`])
})
