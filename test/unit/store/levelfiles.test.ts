import { readdirSync, readFileSync, writeFileSync, cpSync } from 'node:fs'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { expect, test } from 'vitest'
import { silentLogger } from '#base/logger.ts'
import { nodeDisk } from '#store/disk.ts'
import { checkLevelFiles } from '#store/levelcheck.ts'
import { readManifest, scanLog, tableProblem } from '#store/levelfiles.ts'
import { openLogStore } from '#store/log.ts'
import { uncompress } from '#store/snappy.ts'
import { openStateStore } from '#store/state.ts'
import { emptyMeta } from '#store/statemeta.ts'
import { bytes, run, temporaryFolder } from './helpers.ts'

const clusterId = 'cluster-1'

async function database(compression: boolean): Promise<string> {
  const path = join(temporaryFolder(), 'db')
  const db = new ClassicLevel<string, string>(path, { compression, writeBufferSize: 100_000, maxFileSize: 1 << 20 })
  await db.open()
  for (let round = 0; round < 6; round += 1) {
    await db.batch(Array.from({ length: 400 }, (_, at) => ({ type: 'put', key: `key ${round} ${at}`, value: `${at} `.repeat(at % 90) })))
  }
  await db.batch([{ type: 'put', key: 'large', value: 'x'.repeat(100_000) }])
  await db.close()
  return path
}

const filesOf = (path: string, pattern: RegExp): string[] =>
  readdirSync(path)
    .filter((name) => pattern.test(name))
    .map((name) => join(path, name))

test.each([true, false])('what LevelDB wrote is found intact, compression %s', async (compression) => {
  const path = await database(compression)
  const tables = filesOf(path, /\.ldb$/)
  expect(tables.length).toBeGreaterThan(0)
  for (const table of tables) expect(tableProblem(readFileSync(table))).toBeNull()
  for (const log of filesOf(path, /\.log$/)) expect(scanLog(readFileSync(log)).state).toBe('whole')
  const [manifest] = filesOf(path, /^MANIFEST/)
  // A table that was being written when the database closed is on the disk and not in the manifest.
  const live = [...(readManifest(readFileSync(manifest ?? ''))?.tables.keys() ?? [])].map(
    (number) => `${String(number).padStart(6, '0')}.ldb`,
  )
  expect(live.length).toBeGreaterThan(0)
  expect(tables.map((table) => table.slice(-10))).toEqual(expect.arrayContaining(live))
  await checkLevelFiles(nodeDisk, path, { repairTornLogs: false, logger: silentLogger })
})

test.each([true, false])('any flipped bit in a table is found, compression %s', async (compression) => {
  const path = await database(compression)
  const [table] = filesOf(path, /\.ldb$/)
  const file = readFileSync(table ?? '')
  for (let at = 0; at < file.length; at += 97) {
    const changed = Buffer.from(file)
    changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8))
    const inPadding = at >= file.length - 48 && at < file.length - 8
    if (!inPadding) expect(tableProblem(changed), `byte ${at} of ${file.length}`).not.toBeNull()
  }
})

test('a log is whole, torn or damaged: every cut and every flipped bit is seen', async () => {
  const directory = temporaryFolder()
  const log = await openLogStore({ directory, clusterId })
  for (let at = 1; at <= 30; at += 1) await log.append(at === 1 ? { term: 1, vote: null, commit: 0 } : null, run(at, at, 1, at * 200))
  const [path] = filesOf(join(directory, 'log'), /\.log$/)
  const file = readFileSync(path ?? '')
  await log.close()
  let records = 0
  expect(scanLog(file, () => (records += 1))).toEqual({ goodBytes: file.length, state: 'whole' })
  // The base record, then each append.
  expect(records).toBe(31)
  for (let at = 0; at < file.length - 7_000; at += 331) {
    const changed = Buffer.from(file)
    changed[at] = (changed[at] ?? 0) ^ 16
    expect(scanLog(changed).state, `byte ${at}`).toBe('damaged')
  }
  const last = Buffer.from(file)
  last[file.length - 10] = (last[file.length - 10] ?? 0) ^ 1
  expect(scanLog(last).state).toBe('torn')
  for (const cutBytes of [1, 5, 100, 5_000]) expect(scanLog(file.subarray(0, file.length - cutBytes)).state).toBe('torn')
  expect(scanLog(Buffer.concat([file, Buffer.alloc(5_000)])).state).toBe('torn')
})

test('a flipped bit anywhere in the .log of the raft log keeps the node out', async () => {
  const directory = temporaryFolder()
  const log = await openLogStore({ directory, clusterId })
  for (let at = 1; at <= 20; at += 1) await log.append(at === 1 ? { term: 1, vote: null, commit: 0 } : null, run(at, at, 1, 300))
  await log.close()
  const [path] = filesOf(join(directory, 'log'), /\.log$/)
  const length = readFileSync(path ?? '').length
  let refused = 0
  for (let at = 3; at < length; at += 211) {
    const copy = temporaryFolder()
    cpSync(directory, copy, { recursive: true })
    const [target] = filesOf(join(copy, 'log'), /\.log$/)
    const file = readFileSync(target ?? '')
    file[at] = (file[at] ?? 0) ^ 32
    writeFileSync(target ?? '', file)
    await expect(openLogStore({ directory: copy, clusterId }), `byte ${at}`).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
    refused += 1
  }
  expect(refused).toBeGreaterThan(20)
})

test("a hole in the middle of the state's .log cuts off what follows: the state is an earlier one, never a mix", async () => {
  const directory = temporaryFolder()
  const store = await openStateStore({ directory, clusterId })
  for (let at = 1; at <= 20; at += 1) {
    const ops = [
      { key: bytes('n'), value: bytes(String(at)) },
      { key: bytes(`k${at}`), value: bytes('x'.repeat(300)) },
    ]
    await store.apply(ops, { ...emptyMeta, applied: at, appliedTerm: 1, leaderTimeMs: at })
  }
  await store.close()
  const seen = new Set<number>()
  const [path] = filesOf(join(directory, 'state', 'g1'), /\.log$/)
  const length = readFileSync(path ?? '').length
  for (let at = 200; at < length; at += 401) {
    const copy = temporaryFolder()
    cpSync(directory, copy, { recursive: true })
    const [target] = filesOf(join(copy, 'state', 'g1'), /\.log$/)
    const file = readFileSync(target ?? '')
    file[at] = (file[at] ?? 0) ^ 2
    writeFileSync(target ?? '', file)
    const again = await openStateStore({ directory: copy, clusterId })
    const view = again.view()
    const { applied } = again.meta
    expect(Buffer.from(view.get(bytes('n')) ?? []).toString()).toBe(applied === 0 ? '' : String(applied))
    for (let key = 1; key <= 20; key += 1) expect(view.get(bytes(`k${key}`)) !== undefined).toBe(key <= applied)
    view.release()
    seen.add(applied)
    await again.close()
  }
  expect(seen.size).toBeGreaterThan(5)
})

test('a flipped bit in a table of the state, or a lost one, keeps the node out', async () => {
  const directory = temporaryFolder()
  const store = await openStateStore({ directory, clusterId })
  const ops = Array.from({ length: 300 }, (_, at) => ({ key: bytes(`k${at}`), value: bytes('x'.repeat(300)) }))
  await store.apply(ops, { ...emptyMeta, applied: 1, appliedTerm: 1, leaderTimeMs: 1 })
  await store.close()
  // A reopen turns its log into a table.
  await (await openStateStore({ directory, clusterId })).close()
  const [table] = filesOf(join(directory, 'state', 'g1'), /\.ldb$/)
  const file = readFileSync(table ?? '')
  file[500] = (file[500] ?? 0) ^ 1
  writeFileSync(table ?? '', file)
  await expect(openStateStore({ directory, clusterId })).rejects.toMatchObject({
    code: 'ERR_STORE_CORRUPT',
    message: expect.stringContaining('checksum'),
  })
})

test('snappy: copies of each kind, overlapping ones, and what is malformed', () => {
  const whole = (hex: string): string | undefined => uncompress(Buffer.from(hex, 'hex'))?.toString()
  expect(whole('0408' + Buffer.from('abc').toString('hex') + '')).toBeUndefined()
  expect(whole('0308' + Buffer.from('abc').toString('hex'))).toBe('abc')
  // 'ab', then 6 bytes from 2 back (kind 1); 'a', then 9 from 1 back (kind 2); the same as kind 3.
  expect(whole('0804' + '6162' + '0902')).toBe('abababab')
  expect(whole('0a00' + '61' + '220100')).toBe('a'.repeat(10))
  expect(whole('0a00' + '61' + '2301000000')).toBe('a'.repeat(10))
  expect(whole('0a00' + '61' + '220200')).toBeUndefined()
  expect(whole('ffffffffff')).toBeUndefined()
})
