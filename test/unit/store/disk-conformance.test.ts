/** One suite for both disks: what the store relies on holds on the real one, so that what the simulated one adds is only faults. */
import { join } from 'node:path'
import { constants } from 'node:fs'
import { beforeEach, describe, expect, test } from 'vitest'
import { nodeDisk, type Disk } from '#store/disk.ts'
import type { LevelOp } from '#store/level.ts'
import { checkLevelFiles } from '#store/levelcheck.ts'
import { openLogStore } from '#store/log.ts'
import { openStateStore } from '#store/state.ts'
import { silentLogger } from '#base/logger.ts'
import { SimDisk } from '#test/sim/cluster/disk.ts'
import { Prng } from '#test/sim/prng.ts'
import { bytes, plain, run, temporaryFolder, text } from './helpers.ts'

interface Fixture {
  readonly disk: Disk
  readonly directory: string
}

function simulated(): Fixture {
  const disk = new SimDisk(new Prng(1), [0, 0], () => {})
  return { disk: disk.mount({ alive: true, sleep: () => Promise.resolve() }), directory: '/data' }
}

const options = { compression: false, cacheBytes: 0, writeBufferBytes: 1 << 20, multithreading: false }
const put = (key: string, value: string): LevelOp => ({ type: 'put', key: bytes(key), value: bytes(value) })

describe.each([
  ['node', (): Fixture => ({ disk: nodeDisk, directory: temporaryFolder() })],
  ['simulated', simulated],
])('%s disk', (_, make) => {
  let disk: Disk
  let directory: string
  beforeEach(() => {
    ;({ disk, directory } = make())
  })

  const write = async (name: string, content: string): Promise<void> => {
    const file = await disk.open(join(directory, name), 'w', 0o600)
    await file.writeFile(bytes(content))
    await file.sync()
    await file.close()
  }

  test('files: written, listed, replaced by a rename, removed', async () => {
    await write('a', 'first')
    await write('b.tmp', 'second')
    expect((await disk.readdir(directory)).toSorted()).toEqual(['a', 'b.tmp'])
    await disk.rename(join(directory, 'b.tmp'), join(directory, 'a'))
    expect(await disk.readdir(directory)).toEqual(['a'])
    expect(text(await disk.readFile(join(directory, 'a')))).toBe('second')
    await write('a', 'x')
    expect(text(await disk.readFile(join(directory, 'a')))).toBe('x')
    await disk.rm(join(directory, 'a'), { force: true })
    await disk.rm(join(directory, 'a'), { force: true })
    expect(await disk.readdir(directory)).toEqual([])
  })

  test('two writes in a row through one handle follow each other', async () => {
    const file = await disk.open(join(directory, 'a'), 'w')
    await file.writeFile(bytes('one '))
    await file.writeFile(bytes('two'))
    await file.close()
    expect(text(await disk.readFile(join(directory, 'a')))).toBe('one two')
  })

  test('what is not there is ENOENT, a folder is synced like a file', async () => {
    const gone = join(directory, 'x')
    // One after the other: a rejection that nobody waits for yet ends the run of the tests.
    for (const ask of [() => disk.readFile(gone), () => disk.open(gone, 'r'), () => disk.readdir(gone)])
      await expect(ask()).rejects.toMatchObject({ code: 'ENOENT' })
    const folder = await disk.open(directory, 'r')
    await folder.sync()
    await folder.close()
  })

  test('a file is written and read in place, and reads end where it ends', async () => {
    const file = await disk.open(join(directory, 'slots'), constants.O_RDWR | constants.O_CREAT, 0o600)
    await file.write(bytes('abcdef'), 1, 3, 512)
    await file.datasync()
    const buffer = Buffer.alloc(1024, 0xff)
    expect(await file.read(buffer, 0, 1024, 0)).toMatchObject({ bytesRead: 515 })
    expect(text(buffer.subarray(510, 516))).toBe('\0\0bcd\xff'.replace('\xff', '\ufffd'))
    await file.close()
    const again = await disk.open(join(directory, 'slots'), constants.O_RDWR | constants.O_CREAT)
    expect(await again.read(buffer, 0, 1024, 512)).toMatchObject({ bytesRead: 3 })
    await again.close()
  })

  test('folders are made and removed with all that is in them', async () => {
    const deep = join(directory, 'x', 'y')
    await disk.mkdir(deep, { recursive: true, mode: 0o700 })
    await disk.mkdir(deep, { recursive: true, mode: 0o700 })
    await write('x/y/file', 'z')
    await disk.rm(join(directory, 'x'), { recursive: true, force: true })
    expect(await disk.readdir(directory)).toEqual([])
  })

  test('level: batches, in order, come back after a reopen; ranges as a sorted array has them', async () => {
    const path = join(directory, 'db')
    const level = disk.level(path, options)
    await level.open()
    await level.batch([put('b', '1'), put('a', '2'), put('b', '3'), put('c', '4'), { type: 'del', key: bytes('c') }])
    await level.batch([put('\xff', '5'), put('0', '6')], { sync: true })
    await level.put(bytes('d'), bytes(''))
    await level.close()
    await checkLevelFiles(disk, path, { repairTornLogs: false, logger: silentLogger })
    const again = disk.level(path, options)
    await again.open()
    expect(text(await again.get(bytes('b')))).toBe('3')
    expect(text(again.getSync(bytes('a')))).toBe('2')
    expect(await again.get(bytes('c'))).toBeUndefined()
    expect(text(again.getSync(bytes('d')))).toBe('')
    const all = again.iterator({ gt: bytes('0'), lte: bytes('b') })
    const found = [...(await all.nextv(1)), ...(await all.nextv(10)), ...(await all.nextv(10))]
    expect(found.map(([key, value]) => [text(key), text(value)])).toEqual([
      ['a', '2'],
      ['b', '3'],
    ])
    await all.close()
    const keysOnly = again.iterator({ gte: bytes('0'), lt: bytes('d'), values: false })
    keysOnly.seek(bytes('aa'))
    expect((await keysOnly.nextv(10)).map(([key]) => text(key))).toEqual(['b'])
    await keysOnly.close()
    await again.clear({ gte: bytes('a'), lt: bytes('b') })
    expect(await again.get(bytes('a'))).toBeUndefined()
    expect(text(await again.get(bytes('b')))).toBe('3')
    await again.close()
  })

  test('level: a snapshot and an iterator see nothing that is written later, and values are copies', async () => {
    const level = disk.level(join(directory, 'db'), options)
    await level.open()
    const value = bytes('old')
    await level.batch([{ type: 'put', key: bytes('a'), value }])
    const snapshot = level.snapshot()
    const iterator = level.iterator({ gte: bytes('a'), lt: bytes('z') })
    await level.batch([put('a', 'new'), put('b', 'new')])
    expect(text(level.getSync(bytes('a'), { snapshot }))).toBe('old')
    expect(level.getSync(bytes('b'), { snapshot })).toBeUndefined()
    expect((await iterator.nextv(10)).map(([key, each]) => [text(key), text(each)])).toEqual([['a', 'old']])
    const inside = level.iterator({ gte: bytes('a'), lt: bytes('z'), snapshot })
    expect((await inside.nextv(10)).length).toBe(1)
    await inside.close()
    await iterator.close()
    await snapshot.close()
    level.getSync(bytes('a'))?.fill(0)
    value.fill(0)
    expect(text(level.getSync(bytes('a')))).toBe('new')
    await level.close()
  })

  test('the log store and the state store stand on it', async () => {
    const clusterId = 'c1'
    const log = await openLogStore({ directory, clusterId, disk })
    await log.append({ term: 3, vote: 'n1', commit: 0 }, run(1, 30, 2))
    await log.append({ term: 3, vote: 'n1', commit: 4 }, run(20, 22, 3))
    await log.compact(5)
    await log.close()
    const again = await openLogStore({ directory, clusterId, disk, tailBytesMax: 1 })
    expect([again.firstIndex(), again.lastIndex(), again.hardState.vote, again.term(21)]).toEqual([6, 22, 'n1', 3])
    expect(plain(again.entries(18, 22, Infinity))).toEqual(plain([...run(18, 19, 2), ...run(20, 21, 3)]))
    await again.close()
    const state = await openStateStore({ directory, clusterId, disk })
    const meta = { ...state.meta, applied: 7, appliedTerm: 2 }
    await state.apply([{ key: bytes('key'), value: bytes('value') }], meta)
    expect(await state.sync()).toBe(7)
    const snapshot = state.snapshot()
    const received = await state.receive(snapshot.stream)
    snapshot.release()
    await state.install(received)
    await state.close()
    const reopened = await openStateStore({ directory, clusterId, disk })
    const view = reopened.view()
    expect([reopened.meta.applied, text(view.get(bytes('key')))]).toEqual([7, 'value'])
    view.release()
    await reopened.close()
  })
})
