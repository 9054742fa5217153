import { randomBytes } from 'node:crypto'
import { appendFileSync, chmodSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { open as openFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { systemClock } from '#base/clock.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { createAuditBroker, type ManagedAuditBroker } from '#audit/broker.ts'
import { LineBatch } from '#audit/line-batch.ts'
import { openFileSink } from '#audit/sinks/file.ts'
import { firstChainOf, lastLineOf } from '#audit/sinks/tail.ts'
import { noEvidence } from '#audit/verify/evidence.ts'
import { verifyFiles } from '#audit/verify/verify.ts'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { none, record } from './helpers.ts'

let folder = ''
let files = 0
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-audit-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const key = randomBytes(32)
const newPath = (): string => join(folder, `${(files += 1)}.log`)

async function open(path: string, fsync = false, nodeId = 'n1'): Promise<ManagedAuditBroker> {
  const sink = await openFileSink({ path, fsync })
  const broker = createAuditBroker({
    nodeId,
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    devices: [{ name: 'file', sink }],
  })
  broker.setKey(key)
  return broker
}

async function writeSome(path: string, from: number, to: number, fsync = false): Promise<void> {
  const broker = await open(path, fsync)
  for (let i = from; i < to; i += 1) await broker.record(record(`p${i}`), none)
  await broker.close()
}

const linesOf = (path: string): string[] => readFileSync(path, 'utf8').split('\n').slice(0, -1)

/** The files by themselves, with nothing that anchors them. */
async function hangsTogether(...paths: string[]): Promise<{ lines: number; findings: string[] }> {
  const { lines, findings } = await verifyFiles(paths, { evidence: noEvidence })
  return { lines, findings: findings.map(({ text }) => text) }
}

test('lines arrive, in a file for its owner only, and verify', async () => {
  const path = newPath()
  const broker = await open(path)
  await Promise.all(Array.from({ length: 200 }, (_, i) => broker.record(record(`p${i}`), none)))
  await broker.close()
  expect(statSync(path).mode & 0o777).toBe(0o600)
  expect(linesOf(path)).toHaveLength(200)
  expect(await hangsTogether(path)).toEqual({ lines: 200, findings: [] })
  // One MAC a flush.
  expect(linesOf(path).filter((line) => JSON.parse(line).chain.mac !== null).length).toBeLessThan(10)
})

test('a file that others could read is closed to them', async () => {
  const path = newPath()
  writeFileSync(path, '')
  chmodSync(path, 0o644)
  await writeSome(path, 0, 1)
  expect(statSync(path).mode & 0o777).toBe(0o600)
})

test.each([0o600, 0o644])('a file of another user (mode %o) is told, at each opening, and written to all the same', async (mode) => {
  const ownUid = process.geteuid!() + 1
  const path = newPath()
  writeFileSync(path, '')
  chmodSync(path, mode)
  const told: unknown[] = []
  const sink = await openFileSink({ path, ownUid, onExposed: (file) => told.push(file) })
  const lines = new LineBatch()
  lines.add('a line')
  await sink.write(lines)
  await sink.reopen()
  await sink.close()
  expect(told).toEqual([
    { uid: process.geteuid!(), mode: 0o600 },
    { uid: process.geteuid!(), mode: 0o600 },
  ])
  expect(readFileSync(path, 'utf8')).toBe('a line\n')
})

test('a file of its own tells nothing', async () => {
  const path = newPath()
  writeFileSync(path, '')
  chmodSync(path, 0o666)
  const sink = await openFileSink({ path, onExposed: () => expect.unreachable('it was closed to others') })
  await sink.close()
})

test('of the first line only its end is looked at, plain and compressed, however long it is', async () => {
  const path = newPath()
  const data = Object.fromEntries(Array.from({ length: 3_000 }, (_, i) => [`key-${i}`, 'v']))
  const broker = await open(path)
  await broker.record(record('big', { response: { data } }), none)
  await broker.record(record('small'), none)
  await broker.close()
  const { chain } = JSON.parse(linesOf(path)[0]!)
  const expected = { node: chain.node, boot: chain.boot, seq: 1, prev: null }
  expect(await firstChainOf(path)).toMatchObject(expected)
  writeFileSync(`${path}.gz`, gzipSync(readFileSync(path)))
  expect(await firstChainOf(`${path}.gz`)).toMatchObject(expected)
  const half = readFileSync(`${path}.gz`).subarray(0, 2_000)
  writeFileSync(`${path}.half.gz`, half)
  await expect(firstChainOf(`${path}.half.gz`)).rejects.toThrow('unexpected end of file')
  writeFileSync(`${path}.none`, 'no newline')
  expect(await firstChainOf(`${path}.none`)).toBeUndefined()
  writeFileSync(`${path}.other`, 'another line\n')
  expect(await firstChainOf(`${path}.other`)).toBeNull()
})

test('the chain goes on over restarts, with a new boot', async () => {
  const path = newPath()
  for (let boot = 0; boot < 3; boot += 1) await writeSome(path, boot * 5, boot * 5 + 5, boot === 1)
  expect(await hangsTogether(path)).toEqual({ lines: 15, findings: [] })
  const chains = linesOf(path).map((line) => JSON.parse(line).chain)
  expect(chains.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5])
  expect(new Set(chains.map(({ boot }) => boot)).size).toBe(3)
})

test('half a line left by a crash is cut off; a whole one never is', async () => {
  const path = newPath()
  await writeSome(path, 0, 3)
  const whole = readFileSync(path)
  appendFileSync(path, `{"time":"${'x'.repeat(200_000)}`)
  // It was told to nobody, and is no tampering.
  expect(await hangsTogether(path)).toEqual({ lines: 3, findings: [] })
  await writeSome(path, 3, 4)
  expect(readFileSync(path).subarray(0, whole.length)).toEqual(whole)
  expect(await hangsTogether(path)).toEqual({ lines: 4, findings: [] })
  const only = newPath()
  writeFileSync(only, 'no newline at all')
  await writeSome(only, 0, 1)
  expect(await hangsTogether(only)).toEqual({ lines: 1, findings: [] })
})

test('rotation: the new file goes on where the old one ended', async () => {
  const path = newPath()
  const broker = await open(path)
  const writing = Array.from({ length: 50 }, (_, i) => broker.record(record(`p${i}`), none))
  await writing[0]
  renameSync(path, `${path}.1`)
  await broker.reopen()
  await Promise.all(writing)
  await broker.record(record('after'), none)
  await broker.close()
  expect(await hangsTogether(path, `${path}.1`)).toEqual({ lines: 51, findings: [] })
  expect(linesOf(`${path}.1`).length + linesOf(path).length).toBe(51)
})

test('a line longer than what is read at once is found again', async () => {
  const path = newPath()
  const data = Object.fromEntries(Array.from({ length: 3_000 }, (_, i) => [`key-${i}`, 'v']))
  const broker = await open(path)
  await broker.record(record('big', { response: { data } }), none)
  await broker.close()
  await writeSome(path, 0, 2)
  expect(linesOf(path)[0]!.length).toBeGreaterThan(200_000)
  expect(await hangsTogether(path)).toEqual({ lines: 3, findings: [] })
})

test('a folder that is not there is an error when the device is opened', async () => {
  await expect(openFileSink({ path: join(folder, 'none', 'a.log') })).rejects.toMatchObject({ code: 'ENOENT' })
})

test('an empty file is whole', async () => {
  const path = newPath()
  writeFileSync(path, '')
  expect(await hangsTogether(path)).toEqual({ lines: 0, findings: [] })
})

test('of a long file nothing is left in memory of what was read for its first and its last line', async () => {
  const line = (seq: number): string => `{"path":"secret/data/qxpathqx${seq}","chain":{"node":"n"}}\n`
  writeFileSync(join(folder, 'long'), Array.from({ length: 10_000 }, (_, i) => line(i)).join(''))
  const given = vi.spyOn(Buffer, 'alloc')
  const file = await openFile(join(folder, 'long'), 'r')
  try {
    await firstChainOf(join(folder, 'long'))
    await lastLineOf(file)
    // Whatever would be read ahead is here by now.
    await new Promise((resolve) => setTimeout(resolve, 50))
    const taken = given.mock.results.map(({ value }) => value as Buffer)
    expect(taken.some(({ length }) => length > 10_000)).toBe(true)
    expect(taken.filter((bytes) => bytes.includes('qxpathqx'))).toEqual([])
  } finally {
    given.mockRestore()
    await file.close()
  }
})

test('after some megabytes the disk takes them while lines go on; what it then refuses fails the next write, once, and the chain goes on', async () => {
  const path = newPath()
  const probe = await openFile(path, 'a')
  const proto = Object.getPrototypeOf(probe) as { datasync: () => Promise<void> }
  await probe.close()
  const flushed = vi.spyOn(proto, 'datasync').mockRejectedValueOnce(Object.assign(new Error('EIO: i/o error'), { code: 'EIO' }))
  try {
    const sink = await openFileSink({ path })
    const lines = new LineBatch()
    const mebibyte = `${'x'.repeat(1024 * 1024 - 1)}`
    for (let i = 0; i < 3; i += 1) {
      lines.clear()
      lines.add(mebibyte)
      await sink.write(lines)
    }
    expect(flushed).toHaveBeenCalledTimes(0)
    await sink.write(lines)
    expect(flushed).toHaveBeenCalledTimes(1)
    await expect(sink.write(lines)).rejects.toThrow('EIO')
    await sink.write(lines)
    await sink.close()
    expect(statSync(path).size).toBe(5 * 1024 * 1024)
  } finally {
    flushed.mockRestore()
  }
})

/** The file's own `datasync`, to be failed or watched. */
async function spiedDatasync() {
  const probe = await openFile(newPath(), 'a')
  const proto = Object.getPrototypeOf(probe) as { datasync: () => Promise<void> }
  await probe.close()
  return vi.spyOn(proto, 'datasync')
}
const eio = (): Error => Object.assign(new Error('EIO: i/o error'), { code: 'EIO' })

test('what the disk refuses when an anchor asks is told, and fails the next record: the kernel says it once', async () => {
  const flushed = await spiedDatasync()
  const warned: object[] = []
  const sink = await openFileSink({ path: newPath() })
  const broker = createAuditBroker({
    nodeId: 'n1',
    clock: systemClock,
    random: systemRandom,
    log: { ...silentLogger, warn: (fields) => void warned.push(fields) },
    devices: [{ name: 'file', sink }],
  })
  try {
    await broker.record(record('a'), none)
    flushed.mockRejectedValueOnce(eio())
    expect(await broker.heads()).toEqual([])
    expect(broker.status()['file']).toMatchObject({ healthy: false, failures: 1 })
    expect(warned).toMatchObject([{ device: 'file', code: 'EIO' }])
    // Asked again before a record came: the disk would say yes now.
    expect(await broker.heads()).toEqual([])
    await expect(broker.record(record('b'), none)).rejects.toMatchObject({ code: 'ERR_AUDIT' })
    await broker.record(record('c'), none)
    expect(broker.status()['file']).toMatchObject({ healthy: true })
    expect(await broker.heads()).toMatchObject([{ device: 'file', seq: 2 }])
  } finally {
    flushed.mockRestore()
    await broker.close()
  }
})

test('a file that was moved away is on the disk before it is let go of; where the disk refuses, the next record is', async () => {
  const flushed = await spiedDatasync()
  const path = newPath()
  const broker = await open(path)
  try {
    await broker.record(record('a'), none)
    renameSync(path, `${path}.1`)
    await broker.reopen()
    expect(flushed).toHaveBeenCalledTimes(1)
    await broker.record(record('b'), none)
    renameSync(path, `${path}.2`)
    flushed.mockRejectedValueOnce(eio())
    await broker.reopen()
    await expect(broker.record(record('c'), none)).rejects.toMatchObject({ code: 'ERR_AUDIT' })
    await broker.record(record('d'), none)
    expect(linesOf(path)).toHaveLength(1)
  } finally {
    flushed.mockRestore()
    await broker.close()
  }
})
