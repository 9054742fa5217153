import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Entry } from '#raft/types.ts'
import { classicLevel, type LevelFactory } from '#store/level.ts'
import { openLogStore } from '#store/log.ts'
import { emptyMembership } from '#store/statemeta.ts'
import { entry, plain, run, temporaryFolder } from './helpers.ts'

const clusterId = 'cluster-1'
const open = (directory: string, more: object = {}) => openLogStore({ directory, clusterId, ...more })
const raw = (directory: string) =>
  new ClassicLevel<Uint8Array, Uint8Array>(join(directory, 'log'), { keyEncoding: 'view', valueEncoding: 'view' })
const key = (index: number): Uint8Array => {
  const out = Buffer.alloc(8)
  out.writeBigUInt64BE(BigInt(index))
  return out
}
const term = (value: number) => ({ term: value, vote: null, commit: 0 })

test('an append, its term, vote and commit survive a reopen', async () => {
  const directory = temporaryFolder()
  const log = await open(directory)
  expect([log.firstIndex(), log.lastIndex(), log.term(0), log.hardState]).toEqual([1, 0, 0, { term: 0, vote: null, commit: 0 }])
  await log.append({ term: 3, vote: 'b', commit: 0 }, run(1, 3, 3))
  await log.append({ term: 3, vote: 'b', commit: 2 }, run(4, 5, 3))
  await log.close()
  const again = await open(directory)
  expect(again.hardState).toEqual({ term: 3, vote: 'b', commit: 2 })
  expect([again.firstIndex(), again.lastIndex(), again.term(5), again.term(6)]).toEqual([1, 5, 3, null])
  expect(plain(again.entries(1, 6, Infinity))).toEqual(plain(run(1, 5, 3)))
  await again.close()
})

test('an append that overwrites removes what lay beyond it, also on disk', async () => {
  const directory = temporaryFolder()
  const log = await open(directory)
  await log.append(term(1), run(1, 10, 1))
  await log.append(term(2), [entry(5, 2)])
  expect(log.lastIndex()).toBe(5)
  await log.close()
  const again = await open(directory)
  expect(again.lastIndex()).toBe(5)
  expect(plain(again.entries(4, 6, Infinity))).toEqual(plain([entry(4, 1), entry(5, 2)]))
  await again.close()
})

test('compaction and reset move the first index, keep its term, and survive a reopen', async () => {
  const directory = temporaryFolder()
  const log = await open(directory)
  await log.append(term(2), [...run(1, 4, 1), ...run(5, 9, 2)])
  await log.compact(4)
  expect([log.firstIndex(), log.term(4), log.term(3), log.entries(4, 6, Infinity)]).toEqual([5, 1, null, null])
  await log.close()
  const again = await open(directory)
  expect([again.firstIndex(), again.lastIndex(), again.term(4)]).toEqual([5, 9, 1])
  await again.reset({ index: 20, term: 3, membership: emptyMembership })
  expect([again.firstIndex(), again.lastIndex(), again.term(20)]).toEqual([21, 20, 3])
  await again.append(term(4), [entry(21, 4)])
  await again.close()
  const third = await open(directory)
  expect([third.firstIndex(), third.lastIndex(), third.term(21)]).toEqual([21, 21, 4])
  await third.close()
})

test('entries older than the tail in memory are read from disk, within the byte bound, always at least one', async () => {
  const directory = temporaryFolder()
  const log = await open(directory, { tailBytesMax: 500 })
  await log.append(term(1), run(1, 100, 1, 50))
  expect(plain(log.entries(1, 101, Infinity))).toEqual(plain(run(1, 100, 1, 50)))
  expect(log.entries(1, 101, 120)).toHaveLength(2)
  expect(log.entries(3, 101, 1)).toHaveLength(1)
  expect(log.entries(98, 101, Infinity)).toHaveLength(3)
  await log.close()
})

test('any sequence of appends, truncations and compactions equals a plain array, before and after a reopen', async () => {
  const step = fc.record({ back: fc.nat(3), count: fc.integer({ min: 1, max: 4 }), compact: fc.nat(5) })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 8 }), async (steps) => {
      const directory = temporaryFolder()
      let log = await open(directory, { tailBytesMax: 200 })
      let base = 0
      let model: Entry[] = []
      for (const [at, { back, count, compact }] of steps.entries()) {
        const first = Math.max(base + 1, base + model.length + 1 - back)
        const added = run(first, first + count - 1, at + 1)
        await log.append(term(at + 1), added)
        model = [...model.slice(0, first - base - 1), ...added]
        const upTo = Math.min(base + compact, base + model.length)
        await log.compact(upTo)
        model = model.slice(upTo - base)
        base = upTo
        if (at % 3 === 2) {
          await log.close()
          log = await open(directory, { tailBytesMax: 200 })
        }
        expect([log.firstIndex(), log.lastIndex()]).toEqual([base + 1, base + model.length])
        expect(plain(log.entries(base + 1, base + model.length + 1, Infinity))).toEqual(plain(model))
        expect(model.map((each) => log.term(each.index))).toEqual(model.map((each) => each.term))
      }
      await log.close()
    }),
    { numRuns: 15 },
  )
})

async function prepared(): Promise<string> {
  const directory = temporaryFolder()
  const log = await open(directory, { compression: false })
  await log.append({ term: 1, vote: 'a', commit: 0 }, run(1, 20, 1))
  await log.close()
  return directory
}

test.each([
  [
    'a flipped bit in a value',
    async (db: ClassicLevel<Uint8Array, Uint8Array>) => {
      const value = Buffer.from((await db.get(key(7))) ?? [])
      value[20] = (value[20] ?? 0) ^ 1
      await db.put(key(7), value)
    },
  ],
  ['a hole in the middle', async (db: ClassicLevel<Uint8Array, Uint8Array>) => db.del(key(7))],
  ['a lost end', async (db: ClassicLevel<Uint8Array, Uint8Array>) => db.del(key(20))],
  [
    'two swapped records',
    async (db: ClassicLevel<Uint8Array, Uint8Array>) => {
      const [a, b] = await db.getMany([key(7), key(8)])
      await db.batch([
        { type: 'put', key: key(7), value: b ?? key(0) },
        { type: 'put', key: key(8), value: a ?? key(0) },
      ])
    },
  ],
  ['a lost base record', async (db: ClassicLevel<Uint8Array, Uint8Array>) => db.del(new Uint8Array([0xff, 0x62]))],
])('%s is refused, not cut off', async (_name, damage) => {
  const directory = await prepared()
  const db = raw(directory)
  await damage(db)
  await db.close()
  await expect(open(directory)).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
})

test('a valid record of another log at the same place is refused: the chain is bound to what comes before', async () => {
  const directory = await prepared()
  const other = temporaryFolder()
  const log = await open(other)
  await log.append(term(1), [...run(1, 6, 1), entry(7, 1, 'forged'), ...run(8, 20, 1)])
  await log.close()
  const [from, to] = [raw(other), raw(directory)]
  await to.put(key(7), (await from.get(key(7))) ?? key(0))
  await Promise.all([from.close(), to.close()])
  await expect(open(directory)).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT', message: expect.stringContaining('chain') })
})

test('an overwritten entry that comes back (a lost truncation) is refused by the acknowledged mark', async () => {
  const directory = temporaryFolder()
  const log = await open(directory)
  await log.append(term(1), run(1, 5, 1))
  await log.close()
  const db = raw(directory)
  const old = await db.getMany([key(4), key(5)])
  await db.close()
  const again = await open(directory)
  await again.append(term(2), [entry(4, 2), entry(5, 2)])
  await again.close()
  const back = raw(directory)
  await back.batch(old.map((value, at) => ({ type: 'put', key: key(4 + at), value: value ?? key(0) })))
  await back.close()
  await expect(open(directory)).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT', message: expect.stringContaining('acknowledged') })
})

test('a crash right after a truncation reached the disk leaves a log that opens', async () => {
  let crashing = false
  const level: LevelFactory = (path, options) => {
    const db = classicLevel(path, options)
    const batch = db.batch.bind(db) as (...args: unknown[]) => Promise<void>
    db.batch = (async (...args: unknown[]) => {
      await batch(...args)
      if (crashing) throw new Error('killed before anybody heard of it')
    }) as unknown as typeof db.batch
    return db
  }
  const directory = temporaryFolder()
  const log = await open(directory, { level })
  await log.append(term(1), run(1, 10, 1))
  crashing = true
  await expect(log.append(term(2), [entry(4, 2)])).rejects.toMatchObject({ code: 'ERR_STORE_FAILED' })
  await log.close()
  const again = await open(directory)
  expect([again.lastIndex(), again.term(4)]).toEqual([4, 2])
  await again.close()
})

test('a record damaged under a running store is refused when it is read, and then nothing more is written', async () => {
  const directory = temporaryFolder()
  let db: ClassicLevel<Uint8Array, Uint8Array> | undefined
  const level: LevelFactory = (path, options) => (db = classicLevel(path, options))
  const log = await open(directory, { tailBytesMax: 1, level })
  await log.append(term(1), run(1, 5, 1))
  await db?.put(key(2), Buffer.from('garbage of some length, but not a record of the log at all'))
  expect(() => log.entries(2, 3, Infinity)).toThrow(expect.objectContaining({ code: 'ERR_STORE_CORRUPT' }))
  await expect(log.append(null, [entry(6, 1)])).rejects.toMatchObject({ code: 'ERR_STORE_FAILED' })
  await log.close()
})

test('the first failed write is final', async () => {
  let failing = false
  const level: LevelFactory = (path, options) => {
    const db = classicLevel(path, options)
    const batch = db.batch.bind(db) as (...args: unknown[]) => Promise<void>
    db.batch = ((...args: unknown[]) =>
      failing ? Promise.reject(Object.assign(new Error('full'), { code: 'ENOSPC' })) : batch(...args)) as typeof db.batch
    return db
  }
  const directory = temporaryFolder()
  const log = await open(directory, { level })
  await log.append(term(1), [entry(1, 1)])
  failing = true
  await expect(log.append(null, [entry(2, 1)])).rejects.toMatchObject({
    code: 'ERR_STORE_FAILED',
    message: expect.stringContaining('ENOSPC'),
  })
  failing = false
  await expect(log.append(null, [entry(2, 1)])).rejects.toMatchObject({ code: 'ERR_STORE_FAILED' })
  await expect(log.compact(1)).rejects.toMatchObject({ code: 'ERR_STORE_FAILED' })
  expect(log.lastIndex()).toBe(1)
  await log.close()
})

function flip(path: string, at: number): void {
  const content = readFileSync(path)
  content[at] = (content[at] ?? 0) ^ 1
  writeFileSync(path, content)
}

test('every bit flip in one slot of the hard state is survived without falling back; in both it is refused', async () => {
  const directory = temporaryFolder()
  const log = await open(directory)
  await log.append({ term: 4, vote: 'a', commit: 0 }, [])
  await log.append({ term: 5, vote: 'b', commit: 0 }, [])
  await log.close()
  const length = readFileSync(join(directory, 'hardstate.0')).length
  for (const slot of ['hardstate.0', 'hardstate.1']) {
    for (let at = 0; at < length; at += 7) {
      flip(join(directory, slot), at)
      const again = await open(directory)
      expect(again.hardState).toEqual({ term: 5, vote: 'b', commit: 0 })
      await again.close()
    }
  }
  flip(join(directory, 'hardstate.0'), 20)
  flip(join(directory, 'hardstate.1'), 20)
  await expect(open(directory)).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
})

test('an older slot beside a newer one by more than one write is refused', async () => {
  const directory = temporaryFolder()
  const log = await open(directory)
  await log.append({ term: 4, vote: 'a', commit: 0 }, [])
  const old = readFileSync(join(directory, 'hardstate.1'))
  await log.append({ term: 5, vote: 'b', commit: 0 }, [])
  await log.append({ term: 6, vote: 'b', commit: 0 }, [])
  await log.close()
  writeFileSync(join(directory, 'hardstate.1'), old)
  await expect(open(directory)).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
})

test.each([[['hardstate.0', 'hardstate.1']], [['log']], [['acknowledged']]])('a folder that lost %j is refused', async (names) => {
  const directory = await prepared()
  for (const name of names) rmSync(join(directory, name), { recursive: true })
  await expect(open(directory)).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
})

test('another cluster is refused, and a folder in use', async () => {
  const directory = await prepared()
  await expect(openLogStore({ directory, clusterId: 'cluster-2' })).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
  const log = await open(directory)
  await expect(open(directory)).rejects.toMatchObject({ code: 'ERR_STORE_FAILED', hint: expect.stringContaining('another process') })
  await log.close()
})
