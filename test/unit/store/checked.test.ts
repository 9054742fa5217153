/** Values that come back wrong from LevelDB: believed by nobody, and no end of the store. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import type { HoldfastError } from '#base/errors.ts'
import { checkedValue, checksumBytes, withChecksum } from '#store/checked.ts'
import { classicLevel, type Level, type LevelFactory } from '#store/level.ts'
import { openStateStore } from '#store/state.ts'
import type { Op, StateStore } from '#store/types.ts'

const folders: string[] = []
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

const key = (at: number): Uint8Array => Uint8Array.of(16, at)
const put = (at: number, value: number): Op => ({ key: key(at), value: Uint8Array.of(value, value, value) })

test('a value is taken for what was written only under its own key, and with every bit as it was', () => {
  const some = fc.uint8Array({ minLength: 1, maxLength: 40 })
  fc.assert(
    fc.property(some, fc.uint8Array({ maxLength: 40 }), some, fc.nat(), (at, value, other, bit) => {
      const stored = withChecksum(at, value)
      expect(stored.length).toBe(value.length + checksumBytes)
      expect(checkedValue(at, stored)).toEqual(Buffer.from(value))
      if (Buffer.compare(at, other) !== 0) expect(checkedValue(other, stored)).toBeNull()
      const flipped = Uint8Array.from(stored)
      const place = bit % (stored.length * 8)
      flipped[place >> 3] = (flipped[place >> 3] ?? 0) ^ (1 << (place & 7))
      expect(checkedValue(at, flipped)).toBeNull()
      expect(checkedValue(at, stored.subarray(0, bit % checksumBytes))).toBeNull()
    }),
    { numRuns: 300 },
  )
})

/** LevelDB whose next `wrong` readings of the value under key 2 have a bit flipped. */
class Lying {
  wrong = 0
  /** So many readings fail with `code` first. */
  failing = 0
  code = 'LEVEL_CORRUPTION'
  readonly factory: LevelFactory = (path, options) => {
    const level: Level = classicLevel(path, options)
    const [get, getSync, iterator] = [level.get.bind(level), level.getSync.bind(level), level.iterator.bind(level)]
    level.get = async (at) => (this.#fail(), this.#bend(at, await get(at)))
    level.getSync = (at, how) => (this.#fail(), this.#bend(at, getSync(at, how)))
    level.iterator = (how) => {
      const inner = iterator(how)
      return {
        nextv: async (size) => {
          this.#fail()
          return (await inner.nextv(size)).map(([at, value]): [Uint8Array, Uint8Array] => [at, this.#bend(at, value) ?? value])
        },
        seek: (target) => inner.seek(target),
        close: () => inner.close(),
      }
    }
    return level
  }

  #fail(): void {
    if (this.failing === 0) return
    this.failing -= 1
    // As its synchronous reading says it: without a code.
    if (this.code === '') throw new Error('IO error: 000005.ldb: Input/output error')
    throw Object.assign(new Error('Corruption: block checksum mismatch'), { code: this.code })
  }

  #bend(at: Uint8Array, value: Uint8Array | undefined): Uint8Array | undefined {
    if (this.wrong === 0 || value === undefined || Buffer.compare(at, key(2)) !== 0) return value
    this.wrong -= 1
    const bent = Uint8Array.from(value)
    bent[0] = (bent[0] ?? 0) ^ 1
    return bent
  }
}

async function opened(): Promise<{ store: StateStore; lying: Lying; told: HoldfastError[]; reopen(): Promise<StateStore> }> {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-checked-'))
  folders.push(directory)
  const lying = new Lying()
  const told: HoldfastError[] = []
  const reopen = async (): Promise<StateStore> => {
    const store = await openStateStore({ directory, clusterId: 'c1', level: lying.factory })
    store.onUnreadable((reason) => void told.push(reason))
    return store
  }
  const first = await reopen()
  await first.apply([put(1, 1), put(2, 2), put(3, 3)], { ...first.meta, applied: 1, appliedTerm: 1 })
  await first.close()
  // Nothing is cached now.
  return { store: await reopen(), lying, told, reopen }
}

const all = async (store: StateStore): Promise<number[]> => {
  const view = store.view()
  try {
    const found: number[] = []
    for await (const [, value] of view.entriesFrom(key(0), key(255))) found.push(value[0] ?? 0)
    return found
  } finally {
    view.release()
  }
}

test('what is wrong once is read again: nobody notices', async () => {
  const { store, lying, told } = await opened()
  lying.wrong = 1
  const view = store.view()
  expect(view.get(key(2))).toEqual(Buffer.from([2, 2, 2]))
  view.release()
  lying.wrong = 1
  expect(await all(store)).toEqual([1, 2, 3])
  lying.wrong = 1
  await store.apply([put(2, 9)], { ...store.meta, applied: 2 })
  expect(lying.wrong).toBe(0)
  // The digest has not taken the wrong one in.
  expect(await store.scrub(async () => {})).toMatchObject({ index: 2, pairs: 3 })
  expect(told).toEqual([])
  await store.close()
})

test('what stays wrong is an error to whoever reads it, and told; the store goes on', async () => {
  const { store, lying, told } = await opened()
  const corrupt = { code: 'ERR_STORE_CORRUPT', message: 'state: expected the checksum of a value beside it, got another' }
  const view = store.view()
  lying.wrong = 2
  expect(() => view.get(key(2))).toThrowError(expect.objectContaining(corrupt))
  view.release()
  lying.wrong = 2
  await expect(all(store)).rejects.toMatchObject(corrupt)
  lying.wrong = 2
  const sent = store.snapshot()
  await expect(async () => {
    for await (const _ of sent.stream) expect(told.length).toBeGreaterThan(0)
  }).rejects.toMatchObject(corrupt)
  sent.release()
  lying.wrong = 2
  await expect(store.apply([put(1, 7), put(2, 9)], { ...store.meta, applied: 2 })).rejects.toMatchObject(corrupt)
  expect(store.meta.applied).toBe(1)
  expect(told).toHaveLength(4)
  expect(await all(store)).toEqual([1, 2, 3])
  await store.apply([put(1, 7), put(2, 9)], { ...store.meta, applied: 2 })
  expect(await all(store)).toEqual([7, 9, 3])
  expect(await store.scrub(async () => {})).toMatchObject({ index: 2, pairs: 3 })
  await store.close()
})

const keysOf = async (store: StateStore): Promise<number> => {
  const view = store.view()
  const cursor = view.keyCursor(key(0), key(255))
  try {
    let count = 0
    while ((await cursor.next()) !== undefined) count += 1
    return count
  } finally {
    await cursor.close()
    view.release()
  }
}

test.each(['LEVEL_CORRUPTION', 'LEVEL_IO_ERROR'])(
  'a block that LevelDB can not read once (%s) is read again: nobody notices',
  async (code) => {
    const { store, lying, told } = await opened()
    lying.code = code
    const view = store.view()
    lying.failing = 1
    expect(view.get(key(2))).toEqual(Buffer.from([2, 2, 2]))
    view.release()
    lying.failing = 1
    expect(await all(store)).toEqual([1, 2, 3])
    lying.failing = 1
    expect(await keysOf(store)).toBe(3)
    lying.failing = 1
    await store.apply([put(2, 9)], { ...store.meta, applied: 2 })
    expect([lying.failing, told]).toEqual([0, []])
    expect(await store.scrub(async () => {})).toMatchObject({ index: 2, pairs: 3 })
    await store.close()
  },
)

test("a block that LevelDB finds damaged is the state's damage, and told; the store goes on", async () => {
  const { store, lying, told } = await opened()
  const corrupt = { code: 'ERR_STORE_CORRUPT', message: expect.stringContaining('damaged block') }
  const view = store.view()
  lying.failing = 2
  expect(() => view.get(key(2))).toThrowError(expect.objectContaining(corrupt))
  view.release()
  for (const read of [all, keysOf]) {
    lying.failing = 2
    await expect(read(store)).rejects.toMatchObject(corrupt)
  }
  lying.failing = 2
  await expect(store.apply([put(1, 7), put(2, 9)], { ...store.meta, applied: 2 })).rejects.toMatchObject(corrupt)
  expect(store.meta.applied).toBe(1)
  expect(told.map(({ code }) => code)).toEqual(Array.from({ length: 4 }, () => 'ERR_STORE_CORRUPT'))
  await store.apply([put(1, 7), put(2, 9)], { ...store.meta, applied: 2 })
  expect(await all(store)).toEqual([7, 9, 3])
  await store.close()
})

test.each([
  ['a view', 'LEVEL_IO_ERROR'],
  ['a view', ''],
  ['apply', 'LEVEL_IO_ERROR'],
  ['apply', ''],
])('a disk that does not answer a reading of %s ends the store, and it is told (%s)', async (reader, code) => {
  const { store, lying, told } = await opened()
  lying.code = code
  const failed = { code: 'ERR_STORE_FAILED', message: expect.stringContaining('state: could not be read') }
  lying.failing = 2
  if (reader === 'apply') await expect(store.apply([put(2, 9)], { ...store.meta, applied: 2 })).rejects.toMatchObject(failed)
  else {
    const view = store.view()
    expect(() => view.get(key(2))).toThrowError(expect.objectContaining(failed))
    view.release()
  }
  expect(told).toMatchObject([failed])
  await expect(store.apply([put(2, 9)], { ...store.meta, applied: 2 })).rejects.toMatchObject({ code: 'ERR_STORE_FAILED' })
  await store.close()
})

test('a scrub says of a value that it is wrong', async () => {
  const { store, lying } = await opened()
  lying.wrong = 2
  await expect(store.scrub(async () => {})).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
  await store.close()
})
