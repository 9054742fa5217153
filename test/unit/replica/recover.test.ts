import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { releasedFormats } from '#base/formats.ts'
import { emptyMembership } from '#raft/index.ts'
import { readDirectory } from '#replica/directory.ts'
import { bootstrap, reconcile } from '#replica/recover.ts'
import { openLogStore } from '#store/log.ts'
import { openStateStore } from '#store/state.ts'
import { emptyMeta } from '#store/statemeta.ts'
import type { LogStore, StateMeta, StateStore } from '#store/types.ts'
import { TestCluster, read, write } from './cluster.ts'

const clusterId = 'cluster-1'
const self = { id: 'a', clusterAddress: 'a:1', apiAddress: 'http://a:2', fingerprint: 'f', voter: true }
const meta = (applied: number, appliedTerm: number): StateMeta => ({
  ...emptyMeta,
  applied,
  appliedTerm,
  membership: { ...emptyMembership, voters: ['a'] },
  leaderTimeMs: 0,
})
const run = (first: number, last: number, term: number) =>
  Array.from({ length: last - first + 1 }, (_, at) => ({ index: first + at, term, type: 1 as const, data: new Uint8Array(0) }))

const folders: string[] = []
const open: (LogStore | StateStore)[] = []
afterEach(async () => {
  for (const store of open.splice(0)) await store.close()
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

async function stores(): Promise<{ log: LogStore; state: StateStore }> {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-recover-'))
  folders.push(directory)
  const [log, state] = [await openLogStore({ directory, clusterId }), await openStateStore({ directory, clusterId })]
  open.push(log, state)
  return { log, state }
}

test('a bootstrap is done once, and a crash in the middle of it is made good', async () => {
  const { log, state } = await stores()
  await bootstrap(log, state, self, 3)
  // As after a crash between the two: the state stands, the log is empty.
  expect([state.meta.applied, log.lastIndex()]).toEqual([1, 0])
  await reconcile(log, state, null, 'a')
  expect([log.firstIndex(), log.lastIndex(), log.term(1), log.hardState.term]).toEqual([2, 1, 1, 1])
  await log.append({ term: 2, vote: 'a', commit: 1 }, run(2, 3, 2))
  await bootstrap(log, state, { ...self, apiAddress: 'other' }, 4)
  const view = state.view()
  expect(readDirectory(view, releasedFormats)).toEqual({ incarnation: 3, level: 1, members: [self], removed: [] })
  view.release()
})

test('a snapshot that was installed before the log was reset: the log begins anew behind it', async () => {
  const { log, state } = await stores()
  await log.append({ term: 5, vote: 'b', commit: 0 }, run(1, 4, 1))
  await state.apply([], meta(10, 4))
  await reconcile(log, state, null, 'a')
  expect([log.firstIndex(), log.lastIndex(), log.term(10), log.hardState.term, log.hardState.vote]).toEqual([11, 10, 4, 5, 'b'])
})

test("a log that contradicts the installed state gives way to it, and the term is not below the state's", async () => {
  const { log, state } = await stores()
  await log.append({ term: 2, vote: 'b', commit: 0 }, run(1, 12, 2))
  await state.apply([], meta(10, 4))
  await reconcile(log, state, null, 'a')
  expect([log.firstIndex(), log.lastIndex(), log.hardState.term, log.hardState.vote]).toEqual([11, 10, 4, null])
})

test('a log that goes on behind the state stays as it is', async () => {
  const { log, state } = await stores()
  await log.append({ term: 2, vote: 'b', commit: 3 }, run(1, 12, 2))
  await state.apply([], meta(10, 2))
  await reconcile(log, state, null, 'a')
  expect([log.firstIndex(), log.lastIndex()]).toEqual([1, 12])
})

test('a state older than what the log had handed over to it is refused', async () => {
  const { log, state } = await stores()
  await log.append({ term: 2, vote: 'b', commit: 3 }, run(1, 12, 2))
  await log.compact(6)
  await state.apply([], meta(5, 2))
  await expect(reconcile(log, state, null, 'a')).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
})

test('a node that lost the whole state beside its log does not start', async () => {
  const cluster = new TestCluster()
  try {
    const a = await cluster.start('a', true)
    await cluster.ready(a)
    await write(a, { x: '1' })
    expect(await read(a, 'x')).toBe('1')
    await cluster.kill('a')
    rmSync(join(cluster.folder, 'a', 'state'), { recursive: true })
    await expect(cluster.start('a')).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
  } finally {
    await cluster.end()
  }
})
