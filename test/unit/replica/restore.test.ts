/** Restoring a snapshot on a whole cluster: docs/internals/snapshot-restore.md. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { HoldfastError } from '#base/errors.ts'
import type { StartedReplica } from '#replica/index.ts'
import { openStateStore } from '#store/state.ts'
import type { StagedState, StateStore } from '#store/types.ts'
import { testAuthenticator } from '#test/support/authenticator.ts'
import { bytes, clusterId, key, proposal, read, TestCluster, write } from './cluster.ts'

let cluster: TestCluster
let folder: string
let source: StateStore

beforeEach(async () => {
  cluster = new TestCluster()
  folder = mkdtempSync(join(tmpdir(), 'holdfast-restore-'))
  source = await openStateStore({ directory: folder, clusterId: 'of another cluster' })
  const ops = Object.entries({ old: 'yes', shared: 'before' }).map(([name, value]) => ({ key: key(name), value: bytes(value) }))
  // What belongs to the replica of the cluster that it was saved in must not come along.
  const members = [{ key: new Uint8Array([0x08]), value: bytes('the members of another cluster') }]
  await source.apply([...members, ...ops], { ...source.meta, applied: 77, appliedTerm: 9 })
})

afterEach(async () => {
  await cluster.end()
  await source.close()
  rmSync(folder, { recursive: true, force: true })
})

async function staged(leader: StartedReplica): Promise<StagedState> {
  const sent = source.snapshot()
  try {
    return await leader.stage(sent.stream, { add: () => [{ key: key('added'), value: bytes('beside') }] })
  } finally {
    sent.release()
  }
}

const after = { incarnation: 4, timeMs: 0 }
const restore = async (leader: StartedReplica): ReturnType<StartedReplica['restore']> => leader.restore(await staged(leader), after)

const digestOf = (id: string): string => Buffer.from(cluster.states.get(id)?.meta.digest ?? []).toString('hex')

/** Every node serves what was restored, has the same pairs as all others, and takes part. */
async function expectRestored(leader: StartedReplica, ids: readonly string[]): Promise<void> {
  await write(leader, { later: 'after' })
  for (const id of ids) {
    const node = cluster.node(id)
    await expect.poll(() => node.status().applied, { timeout: 8_000 }).toBeGreaterThanOrEqual(leader.status().applied)
    expect(node.status()).toMatchObject({ incarnation: 5, clusterId, failed: null, repair: null })
    expect(await read(node, 'old')).toBe('yes')
    expect(await read(node, 'shared')).toBe('before')
    expect(await read(node, 'added')).toBe('beside')
    expect(await read(node, 'later')).toBe('after')
    expect(await read(node, 'gone')).toBeUndefined()
    expect(node.status().members.map((member) => member.id)).toEqual([...ids])
    expect(cluster.states.get(id)?.staged).toBeNull()
  }
  expect(new Set(ids.map(digestOf)).size).toBe(1)
}

test('the state of another cluster takes the place of ours, on every node, under our members and a new incarnation', async () => {
  const [a] = await cluster.grow('a', 'b', 'c')
  await write(a!, { gone: 'soon', shared: 'now' })
  const { leaderTimeMs } = cluster.states.get('a')!.meta
  const { incarnation, stored } = await restore(a!)
  expect(incarnation).toBe(5)
  expect([...stored].sort()).toEqual(['a', 'b', 'c'])
  expect(cluster.states.get('a')!.meta.leaderTimeMs).toBeGreaterThanOrEqual(leaderTimeMs)
  await expectRestored(a!, ['a', 'b', 'c'])
  // And once more, onto what was restored.
  expect((await a!.restore(await staged(a!), after)).incarnation).toBe(6)
})

test('a node that was killed meanwhile, and one that could not store it, have the state afterwards', async () => {
  const [a] = await cluster.grow('a', 'b', 'c')
  await write(a!, { gone: 'soon' })
  await cluster.kill('c')
  await restore(a!)
  await cluster.start('c')
  await expectRestored(a!, ['a', 'b', 'c'])
})

test('an open node that stored nothing waits for the state of one that has, and serves nothing meanwhile', async () => {
  const [a, , c] = await cluster.grow('a', 'b', 'c')
  await write(a!, { gone: 'soon' })
  const held = cluster.states.get('c')!
  const stage = held.stage.bind(held)
  held.stage = () => Promise.reject(new HoldfastError('ERR_BUSY', 'not now'))
  const { stored } = await restore(a!)
  expect([...stored].sort()).toEqual(['a', 'b'])
  held.stage = stage
  expect(c!.status().applied).toBeLessThan(a!.status().applied)
  await expectRestored(a!, ['a', 'b', 'c'])
})

test('a sealed node carries nothing out: it waits, votes, and takes the state of one that was open', async () => {
  const [a, , c] = await cluster.grow('a', 'b', 'c')
  await write(a!, { gone: 'soon' })
  c!.setAuthenticator(null)
  const snapshots = cluster.snapshots
  await restore(a!)
  await expect.poll(() => c!.status().applied, { timeout: 8_000 }).toBe(a!.status().applied)
  // Two were stages, then the state, once at least.
  expect(cluster.snapshots - snapshots).toBeGreaterThanOrEqual(3)
  c!.setAuthenticator(testAuthenticator())
  await expectRestored(a!, ['a', 'b', 'c'])
})

test('nothing that was evaluated before stands behind it, and nothing is taken while it is under way', async () => {
  const [a] = await cluster.grow('a', 'b', 'c')
  const early = proposal(a!, { early: 'no' })
  const state = cluster.states.get('a')!
  const restoring = state.restore.bind(state)
  let refused: unknown = null
  state.restore = async (...args) => {
    await a!.propose(proposal(a!, { meanwhile: 'no' })).catch((error: unknown) => (refused = error))
    return restoring(...args)
  }
  await restore(a!)
  expect(refused).toMatchObject({ code: 'ERR_NOT_LEADER' })
  await expect(a!.propose(early)).rejects.toMatchObject({ code: 'ERR_CONFLICT' })
  expect(await read(a!, 'early')).toBeUndefined()
  expect(await read(a!, 'meanwhile')).toBeUndefined()
})

test('all nodes die with the order committed and not carried out: they restore when they are opened again', async () => {
  const [a] = await cluster.grow('a', 'b', 'c')
  await write(a!, { gone: 'soon' })
  for (const state of cluster.states.values())
    state.restore = () => Promise.reject(new HoldfastError('ERR_STORE_FAILED', 'pulled the plug'))
  await expect(restore(a!)).rejects.toMatchObject({ code: 'ERR_OUTCOME_UNKNOWN' })
  const ids = ['a', 'b', 'c']
  await expect.poll(() => ids.filter((id) => cluster.node(id).status().failed === null).length).toBeLessThan(2)
  for (const id of ids) await cluster.kill(id)
  for (const id of ids) await cluster.start(id, false, { sealed: true })
  const applied = ids.map((id) => cluster.node(id).status().applied)
  for (const id of ids) expect(cluster.states.get(id)?.staged).not.toBeNull()
  // Sealed, they have a leader and wait.
  await expect.poll(() => cluster.node('a').status().leader, { timeout: 8_000 }).not.toBeNull()
  expect(ids.map((id) => cluster.node(id).status().applied).every((index, at) => index <= (applied[at] ?? 0) + 1)).toBe(true)
  for (const id of ids) cluster.node(id).setAuthenticator(testAuthenticator())
  await expectRestored(await cluster.leader(), ids)
})

test('too few members have stored it, or a leader is lost before it calls for it: nothing is replaced, and what was staged goes', async () => {
  const [a] = await cluster.grow('a', 'b', 'c')
  await write(a!, { gone: 'not' })
  const ready = await staged(a!)
  cluster.onSnapshot = () => {
    throw new HoldfastError('ERR_UPSTREAM', 'cut')
  }
  await expect(a!.restore(ready, after)).rejects.toMatchObject({ code: 'ERR_NO_MAJORITY' })
  cluster.onSnapshot = () => {}
  const state = cluster.states.get('a')!
  expect(state.staged?.id).toBe(ready.id)
  await cluster.handOver(a!, 'b')
  await expect(a!.restore(ready, after)).rejects.toMatchObject({ code: 'ERR_NOT_LEADER' })
  await expect.poll(() => state.staged, { timeout: 5_000 }).toBeNull()
  expect(await read(cluster.node('c'), 'gone')).toBe('not')
  expect(cluster.node('c').status().incarnation).toBe(1)
})

test('what a failed restore left with other members goes, also after a restart, while the leader stays the leader', async () => {
  const [a] = await cluster.grow('a', 'b', 'c', 'd', 'e')
  await write(a!, { gone: 'not' })
  const term = a!.status().term
  const ready = await staged(a!)
  // With b alone it is no majority.
  for (const id of ['c', 'd', 'e']) cluster.states.get(id)!.stage = () => Promise.reject(new HoldfastError('ERR_BUSY', 'not now'))
  await expect(a!.restore(ready, after)).rejects.toMatchObject({ code: 'ERR_NO_MAJORITY' })
  // Not called for yet, and not void: it stays, for as long as it may be.
  await cluster.kill('b')
  await cluster.start('b')
  await write(a!, { more: 'yes' })
  expect(cluster.states.get('b')?.staged?.id).toBe(ready.id)
  await a!.discard(ready.id)
  await expect.poll(() => cluster.states.get('b')?.staged, { timeout: 15_000 }).toBeNull()
  expect(a!.status()).toMatchObject({ role: 'leader', term })
  expect(await read(cluster.node('b'), 'gone')).toBe('not')
}, 30_000)

test('nobody but the leader, with its proof, has a stage removed', async () => {
  const [a, b] = await cluster.grow('a', 'b', 'c')
  const ready = await staged(a!)
  const sent = source.snapshot()
  await cluster.states.get('b')!.stage({ id: ready.id, term: a!.status().term }, sent.stream)
  sent.release()
  const said = (proof: Uint8Array): unknown => ({ version: 1, kind: 'staged-void', id: ready.id, proof })
  b!.onMessage('a', said(new Uint8Array(32)))
  b!.onMessage('c', said(new Uint8Array(32)))
  b!.onMessage('a', { version: 1, kind: 'staged-void', id: ready.id })
  await write(a!, { more: 'yes' })
  await b!.readIndex(5_000)
  expect(cluster.states.get('b')?.staged?.id).toBe(ready.id)
}, 30_000)

test('the stream is damaged: nothing is staged', async () => {
  const [a] = await cluster.grow('a')
  const sent = source.snapshot()
  const pieces = await Array.fromAsync(sent.stream)
  sent.release()
  const whole = Buffer.concat(pieces)
  whole[whole.length - 60] = (whole[whole.length - 60] ?? 0) ^ 1
  const streamed = async function* (data: Uint8Array): AsyncGenerator<Uint8Array> {
    yield data
  }
  await expect(a!.stage(streamed(whole))).rejects.toMatchObject({ code: 'ERR_FRAME' })
  await expect(a!.stage(streamed(whole.subarray(0, whole.length - 80)))).rejects.toMatchObject({ code: 'ERR_FRAME' })
  expect(cluster.states.get('a')?.staged).toBeNull()
})
