/** Where a state comes from, and that what falls due in another cluster's waits. */
import { expect, test } from 'vitest'
import { bareNames } from '#barrier/bare.ts'
import type { SealChange } from '#barrier/types.ts'
import { silentLogger } from '#base/logger.ts'
import { LeaderJobs, type LeaderJob } from '#core/jobs.ts'
import type { CoreDeps } from '#core/deps.ts'
import { decodeRestored, encodeRestored, Origin, originOf, type RestoredRecord } from '#snapshots/restored.ts'
import { ManualClock, settle } from '../audit/helpers.ts'

const record: RestoredRecord = {
  restoredMs: 1,
  byNode: 'node-1',
  sha256: 'ab',
  clusterId: 'theirs',
  clusterName: null,
  incarnation: 1,
  index: 7,
  createdMs: 0,
}

function made(bytes: Uint8Array | null) {
  const state = { bytes }
  const clock = new ManualClock()
  clock.advance(50)
  const barrier = {
    readBare: (name: string) => (name === bareNames.restored ? state.bytes : null),
    changeSeal: ({ records, expected }: SealChange): Promise<void> => {
      expect(expected[bareNames.restored]).toEqual(state.bytes)
      state.bytes = records[bareNames.restored] ?? null
      return Promise.resolve()
    },
  }
  const origin = new Origin({
    barrier,
    replica: { status: () => ({ clusterId: 'ours' }) as never },
    clock,
    log: silentLogger,
  })
  return { origin, state }
}

test.each([
  ['nothing was ever restored', null, false],
  ["a snapshot of this cluster's own", encodeRestored({ ...record, clusterId: 'ours' }), false],
  ["another cluster's", encodeRestored(record), true],
  ["another cluster's, confirmed", encodeRestored({ ...record, confirmedMs: 9 }), false],
])('%s: does what is due wait?', async (_, bytes, waits) => {
  const { origin, state } = made(bytes)
  expect(origin.waits()).toBe(waits)
  if (!waits) {
    await expect(origin.confirm()).rejects.toMatchObject({ code: 'ERR_BAD_REQUEST' })
    expect(state.bytes).toBe(bytes)
    return
  }
  await origin.confirm()
  expect(origin.waits()).toBe(false)
  expect(decodeRestored(state.bytes!)).toEqual({ ...record, confirmedMs: 50 })
})

const saver = { clusterId: 'ours', clusterName: 'house', incarnation: 2, index: 90, createdMs: 5 }
const { restoredMs: _1, byNode: _2, sha256: _3, ...theirs } = record
test.each([
  ['that was saved while it waited for another cluster goes on waiting for that', saver, record, theirs],
  ['that was saved once that was confirmed does not wait', saver, { ...record, confirmedMs: 9 }, saver],
  ['that holds a restore of its own does not wait', saver, { ...record, clusterId: 'ours' }, saver],
  ['in which nothing was restored is its saver’s', saver, null, saver],
  [
    'of another cluster waits for that, even where its state was ours',
    { ...saver, clusterId: 'b' },
    { ...record, clusterId: 'ours' },
    { ...saver, clusterId: 'b' },
  ],
])('a restored file %s', (_, from, before, expected) => {
  expect(originOf(from, before, 'ours')).toEqual(expected)
})

test('a record of another release, or that is none, is refused', () => {
  expect(() => decodeRestored(Buffer.from(JSON.stringify({ ...record, version: 2 })))).toThrow(/expected version 1, got 2/)
  expect(() => decodeRestored(Buffer.from('{}'))).toThrow(/got none/)
})

test("while it waits the leader runs only what looks after this cluster: the house's own, and the system engine's", async () => {
  const clock = new ManualClock()
  const ran: string[] = []
  let waits = true
  const job = (name: string, inside?: true): LeaderJob => ({
    name,
    everyMs: 1_000,
    ...(inside ? { inside } : {}),
    run: () => (ran.push(name), Promise.resolve()),
  })
  const engine = { jobs: [{ name: 'engine', everyMs: 1_000, run: () => (ran.push('engine'), Promise.resolve()) }] }
  const mount = (type: string) => ({ type, table: 'mounts', namespaceId: 'root', uuid: type, path: `${type}/` })
  const deps = {
    clock,
    log: silentLogger,
    replica: { status: () => ({ role: 'leader', ready: true }) },
    barrier: {
      sealed: false,
      transact: (work: (transaction: unknown) => Promise<void>) => work({ nowMs: 0 }),
      read: (_: unknown, work: (view: unknown) => Promise<unknown>) => work({}),
    },
    jobs: [job('outside'), job('inside', true)],
    waits: () => waits,
  } as unknown as CoreDeps
  const mounts = { read: () => Promise.resolve({ entries: [mount('system'), mount('database')] }) }
  const namespaces = { ids: () => Promise.resolve([]) }
  const jobs = new LeaderJobs(deps, { get: () => engine } as never, mounts as never, namespaces as never)
  jobs.start()
  const turns = async (count: number): Promise<void> => {
    for (let turn = 0; turn < count; turn += 1) {
      clock.advance(1_000)
      await settle()
    }
  }
  await turns(4)
  expect([...new Set(ran)].sort()).toEqual(['engine', 'inside'])
  expect(ran.filter((name) => name === 'engine').length).toBe(ran.filter((name) => name === 'inside').length)
  waits = false
  await turns(4)
  expect(ran).toContain('outside')
  await jobs.stop()
})
