/** What is durable at the moment at which it is acknowledged: seen on a disk that takes notes, since a test cannot cut the power. */
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { expect, test } from 'vitest'
import { nodeDisk, type Disk, type DiskFile } from '#store/disk.ts'
import { classicLevel, type LevelFactory } from '#store/level.ts'
import { openLogStore } from '#store/log.ts'
import { openStateStore } from '#store/state.ts'
import { emptyMeta } from '#store/statemeta.ts'
import { entry, run, temporaryFolder } from './helpers.ts'

const clusterId = 'cluster-1'

/** A disk that notes what is written, synced and renamed, by the last part of each path; `fails` makes an opening fail. */
function notingDisk(notes: string[], fails: (path: string) => boolean = () => false): Disk {
  const level: LevelFactory = (path, options) => {
    const db = classicLevel(path, options)
    const batch = db.batch.bind(db) as (...args: unknown[]) => Promise<void>
    db.batch = ((ops: unknown, how?: { readonly sync?: boolean }) => {
      notes.push(`batch ${basename(path)} ${how?.sync === true ? 'synced' : 'unsynced'}`)
      return batch(ops, how)
    }) as unknown as typeof db.batch
    return db
  }
  const open = async (path: string, flags: string | number, mode?: number): Promise<DiskFile> => {
    if (fails(path)) throw Object.assign(new Error('no space'), { code: 'ENOSPC' })
    const file = await nodeDisk.open(path, flags, mode)
    const noted = (what: string): void => void notes.push(`${what} ${basename(path)}`)
    return {
      read: (buffer, offset, length, position) => file.read(buffer, offset, length, position),
      write: (buffer, offset, length, position) => file.write(buffer, offset, length, position),
      writeFile: (data) => (noted('write'), file.writeFile(data)),
      sync: () => (noted('sync'), file.sync()),
      datasync: () => (noted('sync'), file.datasync()),
      close: () => file.close(),
    }
  }
  const rename: Disk['rename'] = (from, to) => (notes.push(`rename ${basename(to)}`), nodeDisk.rename(from, to))
  return { ...nodeDisk, open, rename, level }
}

test('term and vote are durable when they are acknowledged: file and folder', async () => {
  const directory = temporaryFolder()
  const notes: string[] = []
  const log = await openLogStore({ directory, clusterId, disk: notingDisk(notes) })
  notes.length = 0
  await log.append({ term: 1, vote: 'a', commit: 0 }, [])
  const folder = `sync ${basename(directory)}`
  const slot = (name: string): string[] => [`write ${name}.tmp`, `sync ${name}.tmp`, `rename ${name}`, folder]
  expect(notes).toEqual([...slot('hardstate.0'), ...slot('hardstate.1')])
  await log.close()
})

test('a vote in a term that is on disk already is written too', async () => {
  const directory = temporaryFolder()
  const log = await openLogStore({ directory, clusterId })
  await log.append({ term: 4, vote: null, commit: 0 }, [])
  await log.append({ term: 4, vote: 'b', commit: 0 }, [])
  await log.close()
  const again = await openLogStore({ directory, clusterId })
  expect(again.hardState).toEqual({ term: 4, vote: 'b', commit: 0 })
  await again.close()
})

test('every batch of the log is synced', async () => {
  const directory = temporaryFolder()
  const notes: string[] = []
  const log = await openLogStore({ directory, clusterId, disk: notingDisk(notes) })
  await log.append({ term: 1, vote: null, commit: 0 }, run(1, 9, 1))
  await log.append(null, [entry(5, 1, 'other')])
  await log.compact(3)
  await log.reset({ index: 20, term: 1, membership: emptyMeta.membership })
  const batches = notes.filter((note) => note.startsWith('batch'))
  expect(batches.length).toBeGreaterThanOrEqual(5)
  expect(new Set(batches)).toEqual(new Set(['batch log synced']))
  await log.close()
})

test('the term is on disk before the entries of that term are', async () => {
  const directory = temporaryFolder()
  let full = false
  const disk = notingDisk([], (path) => full && path.endsWith('.tmp'))
  const log = await openLogStore({ directory, clusterId, disk })
  await log.append({ term: 1, vote: null, commit: 0 }, run(1, 3, 1))
  full = true
  await expect(log.append({ term: 2, vote: null, commit: 0 }, [entry(4, 2)])).rejects.toMatchObject({ code: 'ERR_STORE_FAILED' })
  await log.close()
  const again = await openLogStore({ directory, clusterId })
  expect([again.hardState.term, again.lastIndex(), again.term(3)]).toEqual([1, 3, 1])
  await again.close()
})

test('a synced state is durable: its newest file and its folder', async () => {
  const directory = temporaryFolder()
  const notes: string[] = []
  const state = await openStateStore({ directory, clusterId, disk: notingDisk(notes) })
  await state.apply([], { ...emptyMeta, applied: 1, appliedTerm: 1 })
  notes.length = 0
  expect(await state.sync()).toBe(1)
  expect(notes).toEqual([expect.stringMatching(/^sync \d+\.log$/), 'sync g1'])
  await state.close()
})

test('a received snapshot is durable before it is named, and so is its name', async () => {
  const directory = temporaryFolder()
  const notes: string[] = []
  const from = await openStateStore({ directory: temporaryFolder(), clusterId })
  await from.apply([{ key: new Uint8Array([0x10]), value: new Uint8Array(9) }], { ...emptyMeta, applied: 7, appliedTerm: 2 })
  const to = await openStateStore({ directory: join(directory, 'node'), clusterId, disk: notingDisk(notes) })
  notes.length = 0
  const snapshot = from.snapshot()
  const meta = await to.receive(snapshot.stream)
  snapshot.release()
  const received = notes.splice(0)
  expect(received.at(-1)).toBe('sync g2')
  expect(received.at(-2)).toMatch(/^sync \d+\.log$/)
  expect(received.at(-3)).toBe('batch g2 unsynced')
  await to.install(meta)
  expect(notes).toEqual(['sync state', 'write current.tmp', 'sync current.tmp', 'rename current', 'sync state'])
  await from.close()
  await to.close()
})

test('a damaged record with others behind it is refused, also where the acknowledged mark lags behind it', async () => {
  const directory = temporaryFolder()
  const [mark, kept] = [join(directory, 'acknowledged'), join(temporaryFolder(), 'kept')]
  const first = await openLogStore({ directory, clusterId })
  await first.append({ term: 1, vote: null, commit: 0 }, run(1, 5, 1))
  await first.close()
  copyFileSync(mark, kept)
  const second = await openLogStore({ directory, clusterId })
  for (let index = 6; index <= 20; index += 1) await second.append(null, [entry(index, 1)])
  await second.close()
  // The mark is written without an fsync of its own: a power cut may take it back to entry 5.
  copyFileSync(kept, mark)
  const name = readdirSync(join(directory, 'log')).findLast((each) => each.endsWith('.log')) ?? ''
  const path = join(directory, 'log', name)
  const content = readFileSync(path)
  expect(content.length).toBeGreaterThan(1_000)
  const middle = content.length >> 1
  content[middle] = (content[middle] ?? 0) ^ 1
  writeFileSync(path, content)
  await expect(openLogStore({ directory, clusterId })).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
})
