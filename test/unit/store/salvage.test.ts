import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { silentLogger, type Logger } from '#base/logger.ts'
import { openLogStore } from '#store/log.ts'
import type { LogStore } from '#store/types.ts'
import { entry, plain, run, temporaryFolder } from './helpers.ts'

const clusterId = 'cluster-1'
const open = (directory: string, more: object = {}): Promise<LogStore> =>
  openLogStore({ directory, clusterId, compression: false, repairable: true, ...more })

/** A log of `count` entries in term 2, acknowledged and closed; this node voted for 'b' in term 3. */
async function written(count: number): Promise<string> {
  const directory = temporaryFolder()
  const log = await open(directory)
  await log.append({ term: 2, vote: null, commit: 0 }, [entry(1, 1)])
  for (let index = 2; index <= count; index += 1) await log.append({ term: 2, vote: null, commit: index - 1 }, [entry(index, 2)])
  await log.append({ term: 3, vote: 'b', commit: count }, [])
  await log.close()
  return directory
}

const raw = async (directory: string, change: (level: ClassicLevel<Uint8Array, Uint8Array>) => Promise<void>): Promise<void> => {
  const level = new ClassicLevel<Uint8Array, Uint8Array>(join(directory, 'log'), { keyEncoding: 'view', valueEncoding: 'view' })
  await level.open()
  await change(level)
  await level.close()
}

const keyOf = (index: number): Uint8Array => {
  const key = Buffer.alloc(8)
  key.writeUInt32BE(index, 4)
  return key
}

test('a hole in the middle: what comes before it is kept, and there is no vote until an entry of a later term than any of before is here', async () => {
  const directory = await written(9)
  await raw(directory, (level) => level.del(keyOf(5)))
  const log = await open(directory)
  expect(log.lastIndex()).toBe(4)
  expect(plain(log.entries(1, 5, Infinity))).toEqual(plain([entry(1, 1), ...run(2, 4, 2)]))
  expect(log.hardState).toEqual({ term: 4, vote: null, commit: 0 })
  expect(log.fence).toMatchObject({ term: 4, reason: expect.stringContaining('index 5, got a hole') as string })
  expect(readdirSync(directory)).toContain('log.damaged')
  // What it had already had is not enough, whoever sends it.
  await log.append({ term: 5, vote: null, commit: 4 }, run(5, 9, 2))
  expect(log.fence).not.toBeNull()
  await log.append(null, [entry(10, 5)])
  expect(log.fence).toBeNull()
  await log.close()
  const again = await open(directory)
  expect([again.lastIndex(), again.fence, again.hardState.term]).toEqual([10, null, 5])
  await again.close()
})

test('without leave to mend it, a damaged log is refused as it lies there', async () => {
  const directory = await written(6)
  await raw(directory, (level) => level.del(keyOf(3)))
  await expect(open(directory, { repairable: false })).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
  expect(readdirSync(directory).filter((name) => /damaged|new|fence/.test(name))).toEqual([])
})

test.each([
  ['the manifest', (directory: string) => rmSync(join(directory, 'log', 'CURRENT'))],
  ['the whole log', (directory: string) => rmSync(join(directory, 'log'), { recursive: true })],
  ['the mark of what was acknowledged', (directory: string) => rmSync(join(directory, 'acknowledged'))],
  ['both slots of that mark', (directory: string) => writeFileSync(join(directory, 'acknowledged'), Buffer.alloc(1_024, 7))],
])('%s is lost: the node comes up fenced', async (_, lose) => {
  const directory = await written(6)
  lose(directory)
  const log = await open(directory)
  expect(log.fence?.term).toBe(4)
  expect(log.hardState).toEqual({ term: 4, vote: null, commit: 0 })
  await log.append({ term: 6, vote: null, commit: 0 }, [])
  await log.reset({
    index: 20,
    term: 6,
    membership: { voters: ['a'], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false },
  })
  expect(log.fence).toBeNull()
  await log.close()
})

test('a newest entry that is gone (the log is a shorter, sound one) is noticed by the mark, and fences', async () => {
  const directory = await written(6)
  await raw(directory, (level) => level.del(keyOf(6)))
  const log = await open(directory)
  expect([log.lastIndex(), log.fence?.term]).toEqual([5, 4])
  await log.close()
})

test('an entry that rotted back to what it replaced is kept as an entry, but never taken for the one that was committed there', async () => {
  const directory = temporaryFolder()
  const first = await open(directory)
  await first.append({ term: 1, vote: null, commit: 0 }, run(1, 3, 1))
  const old: Uint8Array[] = []
  await first.close()
  await raw(directory, async (level) => void old.push((await level.get(keyOf(3))) ?? new Uint8Array()))
  const second = await open(directory)
  await second.append({ term: 2, vote: null, commit: 2 }, run(3, 4, 2))
  await second.append({ term: 2, vote: null, commit: 4 }, [entry(5, 2)])
  await second.close()
  await raw(directory, (level) => level.put(keyOf(3), old[0] ?? new Uint8Array()))
  const log = await open(directory)
  expect(plain(log.entries(3, 4, Infinity))).toEqual(plain([entry(3, 1)]))
  expect([log.lastIndex(), log.hardState.commit]).toEqual([3, 0])
  expect(log.fence?.term).toBe(3)
  await log.close()
})

test('term and vote that are lost, or the log of another cluster, are refused for good: no peer knows them', async () => {
  const directory = await written(6)
  for (const slot of [0, 1]) writeFileSync(join(directory, `hardstate.${slot}`), 'rot')
  await expect(open(directory)).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
  const other = await written(6)
  rmSync(join(other, 'hardstate.0'))
  rmSync(join(other, 'hardstate.1'))
  await expect(open(other)).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
  expect(readdirSync(other)).not.toContain('log.damaged')
})

test('both copies of the note are lost: refused', async () => {
  const directory = await written(6)
  await raw(directory, (level) => level.del(keyOf(3)))
  await (await open(directory)).close()
  for (const slot of [0, 1]) writeFileSync(join(directory, `fence.${slot}`), 'rot')
  await expect(open(directory)).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
})

test('a log that is damaged again before it is whole again is cut again, under a later term', async () => {
  const directory = await written(9)
  await raw(directory, (level) => level.del(keyOf(7)))
  await (await open(directory)).close()
  await raw(directory, (level) => level.del(keyOf(4)))
  const log = await open(directory)
  expect([log.lastIndex(), log.fence?.term, log.hardState.term]).toEqual([3, 5, 5])
  await log.close()
})

test('a record that reads wrongly once costs nothing', async () => {
  const directory = await written(6)
  const name = readdirSync(join(directory, 'log')).find((each) => each.endsWith('.log')) ?? ''
  const path = join(directory, 'log', name)
  const whole = readFileSync(path)
  const bad = Buffer.from(whole)
  bad[40] = (bad[40] ?? 0) ^ 1
  writeFileSync(path, bad)
  let reads = 0
  const { nodeDisk } = await import('#store/disk.ts')
  const disk = {
    ...nodeDisk,
    readFile: async (file: string) => {
      if (file === path && (reads += 1) === 2) writeFileSync(path, whole)
      return nodeDisk.readFile(file)
    },
  }
  const log = await open(directory, { disk })
  expect([log.lastIndex(), log.fence]).toEqual([6, null])
  expect(reads).toBe(2)
  await log.close()
})

test('any bit of any file of the log: it opens whole, or is fenced with a proven beginning, or is refused', async () => {
  const source = await written(12)
  const files = readdirSync(join(source, 'log')).filter((name) => name !== 'LOCK' && !name.startsWith('LOG'))
  const expected = plain([entry(1, 1), ...run(2, 12, 2)]) as unknown[]
  const quiet: Logger = silentLogger
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...files), fc.nat(), async (name, at) => {
      const directory = temporaryFolder()
      cpSync(source, directory, { recursive: true })
      const path = join(directory, 'log', name)
      const bytes = readFileSync(path)
      if (bytes.length === 0) return
      const bit = at % (bytes.length * 8)
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      writeFileSync(path, bytes)
      const log = await open(directory, { logger: quiet })
      const last = log.lastIndex()
      expect(plain(log.entries(1, last + 1, Infinity)) ?? []).toEqual(expected.slice(0, last))
      expect(log.fence === null).toBe(last === 12 && log.hardState.term === 3)
      await log.close()
    }),
    { numRuns: 40 },
  )
})
