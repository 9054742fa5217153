/** Schedules: slots, the record that keeps leaders from doubling them, retention, and a folder that takes all of a file or nothing. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemClock, type Clock } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'
import { silentLogger } from '#base/logger.ts'
import { SecretBytes } from '#base/secret.ts'
import { Role } from '#raft/types.ts'
import type { ReplicaStatus } from '#replica/types.ts'
import { folderTarget } from '#snapshots/folder.ts'
import { SnapshotSaver, saverLimits, type SnapshotSource } from '#snapshots/saver.ts'
import {
  dueSlot,
  fileNameOf,
  isFileOf,
  nextStartMs,
  readRun,
  retryDelayMs,
  writeSchedule,
  type RunRecord,
  type Schedule,
} from '#snapshots/schedule.ts'
import { SnapshotSchedules, summaryOf } from '#snapshots/schedules.ts'
import { emptyMeta } from '#store/statemeta.ts'
import { encodeSnapshot, type Pair } from '#store/stream.ts'
import type { StateView } from '#store/types.ts'
import { MemoryBarrier } from '#test/support/memory-barrier.ts'
import { bytesOf, metaOf, snapshotCluster, snapshotHeader, snapshotKey, snapshotPairs } from '#test/support/snapshot-file.ts'

const hourMs = 3_600_000
const local = (more: Partial<Schedule> = {}): Schedule => ({
  version: 1,
  name: 'nightly',
  intervalMs: hourMs,
  retain: 2,
  pathPrefix: 'a/b',
  filePrefix: 'hf',
  target: { kind: 'local', bytesMax: 0 },
  ...more,
})
const done = (slotMs: number, more: Partial<RunRecord> = {}): RunRecord => ({
  version: 1,
  slotMs,
  startedMs: slotMs + 1,
  node: 'a',
  phase: 'done',
  failures: 0,
  retryAtMs: 0,
  lastSuccess: { slotMs, startedMs: slotMs + 1, endedMs: slotMs + 2, url: '', bytes: 1, index: 7, node: 'a' },
  lastError: null,
  ...more,
})

let root: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'holdfast-schedules-'))
})
afterEach(() => rmSync(root, { recursive: true, force: true }))

test('a slot is due once: at first at once, then at each multiple of the interval, again after a failure and its pause', () => {
  const at = 10 * hourMs + 5
  expect(dueSlot(local(), null, at, false)).toBe(10 * hourMs)
  expect(dueSlot(local(), null, at, true)).toBeNull()
  expect(dueSlot(local(), done(10 * hourMs), at, false)).toBeNull()
  expect(dueSlot(local(), done(10 * hourMs), 11 * hourMs, false)).toBe(11 * hourMs)
  const failed = done(9 * hourMs, { slotMs: 10 * hourMs, phase: 'failed', failures: 1, retryAtMs: at + 10 })
  expect(dueSlot(local(), failed, at, false)).toBeNull()
  expect(dueSlot(local(), failed, at + 10, false)).toBe(10 * hourMs)
  // Begun by a leader that is none any more.
  expect(dueSlot(local(), done(9 * hourMs, { slotMs: 10 * hourMs, phase: 'running', node: 'b' }), at, false)).toBe(10 * hourMs)
  expect(nextStartMs(local(), done(10 * hourMs), at)).toBe(11 * hourMs)
  expect(nextStartMs(local(), failed, at)).toBe(at + 10)
  expect([1, 2, 3, 30].map((failures) => retryDelayMs(failures, 24 * hourMs))).toEqual([15_000, 30_000, 60_000, hourMs])
})

test('file names say the slot, sort as time does, and no other file is taken for one', () => {
  const name = fileNameOf(local(), Date.UTC(2026, 10, 23, 4, 5, 6))
  expect(name).toBe('hf-20261123T040506Z.snap')
  expect(isFileOf(local(), name)).toBe(true)
  for (const other of ['hf-2-20261123T040506Z.snap', 'hf-20261123T040506Z.snap.gz', `x${name}`, 'hf-latest.snap', '.hf.a.partial'])
    expect(isFileOf(local(), other)).toBe(false)
})

async function* parts(...list: (string | Error)[]): AsyncGenerator<Uint8Array, void, undefined> {
  for (const part of list) {
    if (part instanceof Error) throw part
    yield Buffer.from(part)
  }
}
const none = new AbortController().signal

test('a folder takes all of a file or nothing, never leaves its root, and keeps to its space', async () => {
  const target = await folderTarget(local(), { kind: 'local', bytesMax: 0 }, { root, nodeId: 'a' })
  const kept = await target.store('hf-20261123T040506Z.snap', parts('one', 'two'), none)
  expect(kept).toEqual({ url: `file://${join(root, 'a/b', 'hf-20261123T040506Z.snap')}`, bytes: 6 })
  expect(readFileSync(join(root, 'a/b', 'hf-20261123T040506Z.snap'), 'utf8')).toBe('onetwo')
  await expect(target.store('hf-20261123T050506Z.snap', parts('one', new Error('broke off')), none)).rejects.toThrow('broke off')
  expect(readdirSync(join(root, 'a/b'))).toEqual(['hf-20261123T040506Z.snap'])
  writeFileSync(join(root, 'a/b', 'notes.txt'), 'mine')
  expect(await target.list(none)).toEqual(['hf-20261123T040506Z.snap'])
  const narrow = await folderTarget(local(), { kind: 'local', bytesMax: 10 }, { root, nodeId: 'a' })
  await expect(narrow.store('hf-20261123T060506Z.snap', parts('12345'), none)).rejects.toMatchObject({
    code: 'ERR_SNAPSHOT_TARGET',
    message: expect.stringMatching(/local_max_space/),
  })
  // In place of the one of its slot: that one's room is its own.
  expect((await narrow.store('hf-20261123T040506Z.snap', parts('1234567890'), none)).bytes).toBe(10)
  for (const pathPrefix of ['../x', '/etc', 'a/../../x'])
    await expect(folderTarget(local({ pathPrefix }), { kind: 'local', bytesMax: 0 }, { root, nodeId: 'a' })).rejects.toMatchObject({
      code: 'ERR_BAD_REQUEST',
    })
  mkdirSync(join(root, 'out'))
  symlinkSync(tmpdir(), join(root, 'out', 'link'))
  await expect(folderTarget(local({ pathPrefix: 'out/link' }), { kind: 'local', bytesMax: 0 }, { root, nodeId: 'a' })).rejects.toThrow(
    /a link out of it/,
  )
  await expect(folderTarget(local(), { kind: 'local', bytesMax: 0 }, { root: null, nodeId: 'a' })).rejects.toMatchObject({
    code: 'ERR_CONFIG',
  })
})

const pairs = snapshotPairs(Array.from({ length: 50 }, (_, at) => new Uint8Array(100).fill(at)))

/** A state that counts who holds a view of it. */
class HeldState implements SnapshotSource {
  held = 0
  /** What reading it throws, if anything. */
  failure: Error | null = null

  view(): StateView {
    return {
      meta: { ...emptyMeta, leaderTimeMs: snapshotHeader.leaderTimeMs },
      get: (key) => pairs.find(([one]) => Buffer.compare(one, key) === 0)?.[1],
      entriesFrom: () => {
        throw new Error('not here')
      },
      keyCursor: () => {
        throw new Error('not here')
      },
      release: () => {},
    }
  }

  snapshot(): ReturnType<SnapshotSource['snapshot']> {
    const { failure } = this
    const each = async function* (): AsyncGenerator<Pair, void, undefined> {
      if (failure !== null) throw failure
      yield* pairs
    }
    this.held += 1
    let released = false
    const { index, term } = snapshotHeader
    return {
      meta: { index, term, membership: emptyMeta.membership },
      stream: encodeSnapshot({ clusterId: snapshotCluster, meta: metaOf(pairs) }, each()),
      release: () => {
        if (!released) this.held -= 1
        released = true
      },
    }
  }
}

function house(clock: Clock = systemClock) {
  const state = new HeldState()
  const barrier = new MemoryBarrier()
  const listeners = new Set<(status: ReplicaStatus) => void>()
  const status = {
    role: Role.leader,
    ready: true,
    repair: null,
    level: 1,
    clusterId: snapshotCluster,
    incarnation: 1,
  } as unknown as ReplicaStatus
  let leader = true
  const replica = {
    nodeId: 'a',
    status: () => ({ ...status, role: leader ? Role.leader : Role.follower }) as ReplicaStatus,
    readIndex: async () => ({ index: 7, leaderTimeMs: 0 }),
    onStatus: (listener: (one: ReplicaStatus) => void) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
  const derivedKey = (): SecretBytes => {
    if (barrier.sealed) throw new HoldfastError('ERR_SEALED', 'Vault is sealed')
    return new SecretBytes(new Uint8Array(snapshotKey))
  }
  const saver = new SnapshotSaver({
    state: () => state,
    replica,
    barrier: { sealed: false, derivedKey },
    clusterName: null,
    holdfastVersion: '0.1.0',
    clock,
    log: silentLogger,
  })
  const schedules = new SnapshotSchedules({ barrier, replica, saver, rules: { root, nodeId: 'a' }, clock, log: silentLogger })
  const lose = (): void => {
    leader = false
    for (const listener of listeners) listener(replica.status())
  }
  const idle = async (): Promise<void> => {
    while (schedules.running !== null) await new Promise((resolve) => setImmediate(resolve))
  }
  const run = (): Promise<RunRecord | null> => barrier.read(null, (view) => readRun(view, 'nightly'))
  return { state, barrier, saver, schedules, lose, idle, run }
}

test('a save is released at its end, when it is left, and when nobody ever reads it; few at a time; none of a sealed node', async () => {
  const { saver, state, barrier } = house()
  const whole = await saver.save()
  expect(state.held).toBe(1)
  const file = await bytesOf(whole.chunks)
  expect([state.held, saver.saving, whole.bytes]).toEqual([0, 0, file.length])
  expect(await saver.check(one(file))).toMatchObject({ state: 'proven' })
  const left = await saver.save()
  for await (const _ of left.chunks) break
  const unread = await saver.save()
  unread.close()
  unread.close()
  expect([state.held, saver.saving]).toEqual([0, 0])
  const held = await Promise.all(Array.from({ length: saverLimits.savesMax }, () => saver.save()))
  await expect(saver.save()).rejects.toMatchObject({ code: 'ERR_BUSY' })
  // Sealed while it is read: it must not end as if it were whole.
  barrier.sealed = true
  await expect(bytesOf((held[0] as (typeof held)[0]).chunks)).rejects.toMatchObject({ code: 'ERR_SEALED' })
  saver.closeAll()
  await expect(bytesOf((held[1] as (typeof held)[0]).chunks)).rejects.toMatchObject({ code: 'ERR_SHUTTING_DOWN' })
  await expect(saver.save()).rejects.toMatchObject({ code: 'ERR_SEALED' })
  expect([state.held, saver.saving]).toEqual([0, 0])
})

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes
}

test('the leader runs what is due, keeps so many, and records it; a slot that is done is not run again, by this leader or the next', async () => {
  const first = house()
  await first.barrier.transact((transaction) => writeSchedule(transaction, local()))
  const files = (): string[] => readdirSync(join(root, 'a/b')).toSorted()
  for (let hour = 0; hour < 4; hour += 1) {
    await first.schedules.job.run()
    await first.idle()
    await first.schedules.job.run()
    expect(first.schedules.running).toBeNull()
    first.barrier.nowMs += hourMs
  }
  expect(files()).toHaveLength(2)
  expect(await first.run()).toMatchObject({ phase: 'done', failures: 0, node: 'a', lastSuccess: { index: 7, bytes: expect.any(Number) } })
  // The next leader, on the same state.
  const second = house()
  second.barrier.state = first.barrier.state
  second.barrier.nowMs = first.barrier.nowMs - hourMs
  const before = files()
  await second.schedules.job.run()
  expect(second.schedules.running).toBeNull()
  expect(files()).toEqual(before)
})

test('the summary names none: the oldest of the newest successes, and how many are failing', () => {
  const status = (endedMs: number | null, failures = 0) => {
    const record = done(endedMs ?? 0, { failures })
    const lastSuccess = endedMs === null || record.lastSuccess === null ? null : { ...record.lastSuccess, endedMs }
    return { schedule: { ...local(), version: 1 }, run: { ...record, lastSuccess } }
  }
  expect(summaryOf([])).toBeNull()
  expect(summaryOf([status(3_000), status(2_000, 2), status(4_000)])).toEqual({ lastSuccessMs: 2_000, failing: 1 })
  expect(summaryOf([status(3_000), status(null, 1)])).toEqual({ lastSuccessMs: null, failing: 1 })
  expect(summaryOf([{ schedule: { ...local(), version: 1 }, run: null }])).toEqual({ lastSuccessMs: null, failing: 0 })
})

test('a leader that loses its office breaks off; its successor makes the same slot, under the same name', async () => {
  const first = house()
  await first.barrier.transact((transaction) => writeSchedule(transaction, local()))
  const saving = first.schedules.job.run()
  await saving
  first.lose()
  await first.idle()
  const record = await first.run()
  expect(record).toMatchObject({ phase: 'running', lastSuccess: null })
  const left = existsSync(join(root, 'a/b')) ? readdirSync(join(root, 'a/b')) : []
  expect(left).toEqual([])
  const second = house()
  second.barrier.state = first.barrier.state
  second.barrier.nowMs = first.barrier.nowMs
  await second.schedules.job.run()
  await second.idle()
  expect(readdirSync(join(root, 'a/b'))).toEqual([fileNameOf(local(), record?.slotMs ?? 0)])
  expect(await second.run()).toMatchObject({ phase: 'done' })
})

test('what fails is recorded in words, tried again after a pause, and the counter goes back when it succeeds', async () => {
  const { schedules, barrier, state, idle, run } = house()
  await barrier.transact((transaction) => writeSchedule(transaction, local()))
  state.failure = new HoldfastError('ERR_STORE_CORRUPT', 'a value that is not what was written')
  await schedules.job.run()
  await idle()
  expect(await run()).toMatchObject({
    phase: 'failed',
    failures: 1,
    lastError: { message: 'a value that is not what was written', node: 'a' },
  })
  await schedules.job.run()
  expect(schedules.running).toBeNull()
  state.failure = null
  barrier.nowMs += 15_000
  await schedules.job.run()
  await idle()
  expect(await run()).toMatchObject({ phase: 'done', failures: 0, lastError: { message: expect.any(String) } })
  expect(state.held).toBe(0)
})
