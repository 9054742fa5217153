import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { releasedFormats } from '#base/formats.ts'
import type { Logger } from '#base/logger.ts'
import { leftOutIn } from '#node/left-out.ts'
import { consumePlan, planIn, positionOf, recover, type Recovered } from '#node/recovery.ts'
import { emptyMembership, encodeMembershipChange } from '#raft/index.ts'
import { EntryType, type Entry } from '#raft/types.ts'
import { encodeCommand, type RestoreOrder } from '#replica/command.ts'
import { directoryOp, emptyDirectory, encodeUpdate } from '#replica/directory.ts'
import { Keepsake, openKeepsake } from '#replica/keepsake.ts'
import { parseRecoveryPlan } from '#replica/recovery-plan.ts'
import type { Member } from '#replica/types.ts'
import { nodeDisk } from '#store/disk.ts'
import { openLogStore } from '#store/log.ts'
import { openStateStore } from '#store/state.ts'
import { emptyMeta } from '#store/statemeta.ts'
import type { Identity } from '#transport/types.ts'

const clusterId = 'cluster-1'
const identity: Identity = {
  nodeId: 'e',
  clusterId,
  caCertificatePem: '',
  certificatePem: '',
  privateKeyPem: '',
  fingerprint: 'f',
}
const member = (id: string): Member => ({ id, clusterAddress: `${id}:1`, apiAddress: `http://${id}:2`, fingerprint: id, voter: true })
const planOf = (...ids: string[]): string => JSON.stringify(ids.map((id) => ({ id })))
const entry = (index: number, text: string) => ({ index, term: 1, type: 1 as const, data: Buffer.from(text) })

const folders: string[] = []
const said: string[] = []
const log: Logger = { debug: () => {}, info: () => {}, warn: (_, text) => said.push(text), error: () => {}, child: () => log }

afterEach(() => {
  said.length = 0
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

/** The folder of node e, one of a to e, with `text` as the only entry of its log. */
async function folderOf(text: string): Promise<string> {
  const dataDir = mkdtempSync(join(tmpdir(), 'holdfast-recovery-'))
  folders.push(dataDir)
  mkdirSync(join(dataDir, 'identity'), { mode: 0o700 })
  await fill(dataDir, text)
  return dataDir
}

async function fill(directory: string, text: string): Promise<void> {
  const members = ['a', 'b', 'c', 'd', 'e'].map(member)
  const logStore = await openLogStore({ directory, clusterId })
  await logStore.append({ term: 1, vote: 'e', commit: 1 }, [entry(1, text)])
  await logStore.close()
  const state = await openStateStore({ directory, clusterId })
  const membership = { ...emptyMembership, voters: members.map(({ id }) => id) }
  await state.apply([directoryOp({ ...emptyDirectory, incarnation: 1, members })], { ...emptyMeta, applied: 1, appliedTerm: 1, membership })
  await state.close()
}

const asideOf = (dataDir: string): string => join(dataDir, 'before-recovery')

/** What the log that was laid aside holds. */
async function laidAsideLog(dataDir: string, folder = asideOf(dataDir)): Promise<string> {
  const opened = await openLogStore({ directory: folder, clusterId })
  const entries = opened.entries(1, 2, 1024) ?? []
  await opened.close()
  return entries.map(({ data }) => Buffer.from(data).toString()).join()
}

const run = (dataDir: string, plan: string): Promise<Recovered> =>
  recover({ dataDir, identity, formats: releasedFormats, log }, parseRecoveryPlan(plan))

/** As a start does it. */
async function start(dataDir: string): Promise<void> {
  const plan = planIn(dataDir)
  if (plan !== null) consumePlan(dataDir, await recover({ dataDir, identity, formats: releasedFormats, log }, plan), 1)
}

const knownOf = (dataDir: string): string[] =>
  (JSON.parse(readFileSync(join(dataDir, 'identity', 'members.json'), 'utf8')) as Member[]).map(({ id }) => id)

test('a recovery that is repeated leaves what it has laid aside, and says that it was done before', async () => {
  const dataDir = await folderOf('mine')
  const first = await run(dataDir, planOf('d', 'e'))
  expect(said).toEqual([expect.stringContaining('are laid aside, and it is filled anew')])
  expect([existsSync(join(dataDir, 'log')), knownOf(dataDir)]).toEqual([false, ['d', 'e']])
  said.length = 0
  expect(await run(dataDir, planOf('d', 'e'))).toEqual(first)
  expect(said).toEqual([expect.stringContaining('hold nothing')])
  expect(knownOf(dataDir)).toEqual(['d', 'e'])
  // Once more, as the file in the folder; and by another list, with one whom the first had left out.
  writeFileSync(join(dataDir, 'peers.json'), planOf('d', 'e'))
  await start(dataDir)
  expect([existsSync(join(dataDir, 'peers.json')), knownOf(dataDir)]).toEqual([false, ['d', 'e']])
  await run(dataDir, planOf('c', 'e'))
  expect(knownOf(dataDir)).toEqual(['c', 'e'])
  expect(await laidAsideLog(dataDir)).toBe('mine')
})

test('a crash between the end of the recovery and the removal of its list costs nothing', async () => {
  const dataDir = await folderOf('mine')
  writeFileSync(join(dataDir, 'peers.json'), planOf('d', 'e'))
  await run(dataDir, planOf('d', 'e'))
  await start(dataDir)
  expect([existsSync(join(dataDir, 'peers.json')), knownOf(dataDir)]).toEqual([false, ['d', 'e']])
  expect(await laidAsideLog(dataDir)).toBe('mine')
})

test('a crash half-way is gone on from, and never puts one store in the place of another', async () => {
  const dataDir = await folderOf('mine')
  const aside = asideOf(dataDir)
  mkdirSync(aside)
  writeFileSync(join(aside, 'unfinished'), JSON.stringify(['d', 'e'].map(member)))
  renameSync(join(dataDir, 'log'), join(aside, 'log'))
  renameSync(join(dataDir, 'hardstate.0'), join(aside, 'hardstate.0'))
  // Made anew meanwhile by whoever looked.
  writeFileSync(join(dataDir, 'hardstate.0'), 'another')
  await expect(run(dataDir, planOf('d', 'e'))).rejects.toMatchObject({
    code: 'ERR_MEMBERSHIP',
    message: expect.stringContaining('hardstate.0'),
  })
  expect(readFileSync(join(aside, 'hardstate.0'), 'utf8')).not.toBe('another')
  rmSync(join(dataDir, 'hardstate.0'))
  await run(dataDir, planOf('d', 'e'))
  expect([existsSync(join(aside, 'unfinished')), existsSync(join(dataDir, 'state'))]).toEqual([false, false])
  expect(await laidAsideLog(dataDir)).toBe('mine')
})

test.each(['here', 'aside'])(
  'the mark of an unfinished one that a power cut left empty: the members are read from the state, %s',
  async (where) => {
    const dataDir = await folderOf('mine')
    const aside = asideOf(dataDir)
    mkdirSync(aside)
    writeFileSync(join(aside, 'unfinished'), '')
    renameSync(join(dataDir, 'log'), join(aside, 'log'))
    if (where === 'aside') renameSync(join(dataDir, 'state'), join(aside, 'state'))
    expect(await run(dataDir, planOf('d', 'e'))).toMatchObject({ kind: 'follows', from: 'd' })
    expect(knownOf(dataDir)).toEqual(['d', 'e'])
    expect(existsSync(join(aside, 'unfinished'))).toBe(false)
    expect(await laidAsideLog(dataDir)).toBe('mine')
  },
)

test('a node that was filled since is not laid aside over what lies there: an operator has to look', async () => {
  const dataDir = await folderOf('mine')
  await run(dataDir, planOf('d', 'e'))
  await fill(dataDir, 'filled since')
  await expect(run(dataDir, planOf('d', 'e'))).rejects.toMatchObject({
    code: 'ERR_MEMBERSHIP',
    message: expect.stringContaining('before-recovery'),
    hint: expect.stringContaining('delete'),
  })
  expect(knownOf(dataDir)).toEqual(['d', 'e'])
  renameSync(asideOf(dataDir), join(dataDir, 'kept'))
  await run(dataDir, planOf('d', 'e'))
  expect(await laidAsideLog(dataDir)).toBe('filled since')
  expect(await laidAsideLog(dataDir, join(dataDir, 'kept'))).toBe('mine')
})

test('what was put back by hand is laid aside once more', async () => {
  const dataDir = await folderOf('mine')
  await run(dataDir, planOf('d', 'e'))
  const aside = asideOf(dataDir)
  for (const name of readdirSync(aside).filter((each) => each !== 'members.json')) renameSync(join(aside, name), join(dataDir, name))
  await run(dataDir, planOf('c', 'e'))
  expect(knownOf(dataDir)).toEqual(['c', 'e'])
  expect(await laidAsideLog(dataDir)).toBe('mine')
})

test('a node that knows no member to be filled from is left as it is', async () => {
  const dataDir = await folderOf('mine')
  await expect(run(dataDir, planOf('x', 'e'))).rejects.toMatchObject({
    code: 'ERR_MEMBERSHIP',
    message: expect.stringContaining("got 'x'"),
  })
  expect([existsSync(asideOf(dataDir)), existsSync(join(dataDir, 'log'))]).toEqual([false, true])
})

test('a node that joined and was never filled goes by the members that it was told of then', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'holdfast-recovery-'))
  folders.push(dataDir)
  mkdirSync(join(dataDir, 'identity'), { mode: 0o700 })
  writeFileSync(join(dataDir, 'identity', 'members.json'), JSON.stringify(['c', 'd', 'e'].map(member)))
  await run(dataDir, planOf('d', 'e'))
  expect([knownOf(dataDir), existsSync(asideOf(dataDir))]).toEqual([['d', 'e'], false])
})

const leftOut = (dataDir: string): string[] => [...leftOutIn(dataDir)].toSorted()

test('who is left out of the list is noted, also by a repetition and by another list, until a list names him', async () => {
  const dataDir = await folderOf('mine')
  expect(leftOut(dataDir)).toEqual([])
  await run(dataDir, planOf('d', 'e'))
  expect(leftOut(dataDir)).toEqual(['a', 'b', 'c'])
  await run(dataDir, planOf('d', 'e'))
  expect(leftOut(dataDir)).toEqual(['a', 'b', 'c'])
  rmSync(asideOf(dataDir), { recursive: true })
  await run(dataDir, planOf('d', 'e'))
  expect(leftOut(dataDir)).toEqual(['a', 'b', 'c'])
  await fill(dataDir, 'filled since')
  await run(dataDir, planOf('c', 'e'))
  expect(leftOut(dataDir)).toEqual(['a', 'b', 'd'])
})

test('who joined while this node lagged is left out too: its log names him, its state does not yet', async () => {
  const dataDir = await folderOf('mine')
  const joins = {
    steps: [{ kind: 'add-voter' as const, node: 'late' }],
    joint: 'auto' as const,
    context: encodeUpdate({ put: member('late') }),
  }
  const logStore = await openLogStore({ directory: dataDir, clusterId })
  await logStore.append(null, [{ index: 2, term: 1, type: EntryType.membership, data: encodeMembershipChange(joins) }])
  await logStore.close()
  await run(dataDir, planOf('d', 'e'))
  expect(leftOut(dataDir)).toEqual(['a', 'b', 'c', 'late'])
})

test('a note of who was left out that is damaged is not taken for none', async () => {
  const dataDir = await folderOf('mine')
  for (const text of ['', '{}', '[{"id":"a"}]']) {
    writeFileSync(join(dataDir, 'identity', 'left-out.json'), text)
    expect(() => leftOutIn(dataDir)).toThrow(
      expect.objectContaining({ code: 'ERR_STORE_CORRUPT', hint: expect.stringContaining('delete') }),
    )
    await expect(run(dataDir, planOf('d', 'e'))).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
    expect(existsSync(join(dataDir, 'log'))).toBe(true)
  }
})

/** An entry of a command behind the first: a write, or an order to restore. */
function command(index: number, restore: RestoreOrder | null = null): Entry {
  const section = { section: new Uint8Array(32), ops: [{ key: Buffer.from(`\x10k${index}`), value: Buffer.from('v') }] }
  const data = encodeCommand({ timeMs: 1, sections: restore === null ? [section] : [], directory: null, restore })
  return { index, term: 1, type: EntryType.command, data }
}

async function append(directory: string, entries: readonly Entry[]): Promise<void> {
  const log = await openLogStore({ directory, clusterId })
  await log.append(null, entries)
  await log.close()
}

async function standing(directory: string): Promise<{ readonly applied: number; readonly last: number; readonly term: number }> {
  const log = await openLogStore({ directory, clusterId })
  const state = await openStateStore({ directory, clusterId })
  const { applied } = state.meta
  const found = { applied, last: log.lastIndex(), term: log.hardState.term }
  await state.close()
  await log.close()
  return found
}

test('the first node applies what its log holds behind its state', async () => {
  const dataDir = await folderOf('mine')
  await append(dataDir, [command(2), command(3)])
  expect(await run(dataDir, planOf('e', 'd'))).toMatchObject({ kind: 'leads', index: 3, uncommitted: 2 })
  expect(await standing(dataDir)).toEqual({ applied: 3, last: 3, term: 2 })
})

test('a node whose log orders a restore that it has not carried out is not the first: nothing of it is applied to the state of before', async () => {
  const dataDir = await folderOf('mine')
  const order = { id: 'x', digest: new Uint8Array(32).fill(7), incarnation: 2 }
  await append(dataDir, [command(2), command(3, order), command(4)])
  const options = { dataDir, identity, formats: releasedFormats, log }
  expect(await positionOf(options)).toMatchObject({ index: 4, applied: 1, restoreAt: 3 })
  await expect(run(dataDir, planOf('e', 'd'))).rejects.toMatchObject({
    code: 'ERR_MEMBERSHIP',
    message: expect.stringContaining('index 3'),
    hint: expect.stringContaining('has carried it out'),
  })
  expect(await standing(dataDir)).toEqual({ applied: 1, last: 4, term: 1 })
  // It can be filled by another.
  expect(await run(dataDir, planOf('d', 'e'))).toMatchObject({ kind: 'follows', from: 'd' })
})

test.each(['log', 'state'])('a node whose %s is damaged is laid aside as it is, and filled anew', async (which) => {
  const dataDir = await folderOf('mine')
  const membership = { ...emptyMembership, voters: ['d', 'e'] }
  await new Keepsake(await openKeepsake(nodeDisk, dataDir)).keep({ index: 1, membership, members: ['d', 'e'].map(member) })
  const folder = which === 'log' ? join(dataDir, 'log') : join(dataDir, 'state', 'g1')
  for (const name of readdirSync(folder)) if (name === 'CURRENT') writeFileSync(join(folder, name), 'MANIFEST-999999\n')
  await expect(positionOf({ dataDir, identity, formats: releasedFormats, log })).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
  await expect(run(dataDir, planOf('x', 'e'))).rejects.toMatchObject({ code: 'ERR_MEMBERSHIP' })
  expect(existsSync(asideOf(dataDir))).toBe(false)
  expect(await run(dataDir, planOf('d', 'e'))).toMatchObject({ kind: 'follows', from: 'd' })
  expect(knownOf(dataDir)).toEqual(['d', 'e'])
  expect(said).toContainEqual(expect.stringContaining('damaged'))
  expect(readFileSync(join(asideOf(dataDir), which === 'log' ? 'log' : 'state/g1', 'CURRENT'), 'utf8')).toBe('MANIFEST-999999\n')
})

test('a damaged node that has kept no second copy of its members is left as it is: it would not know whom to answer', async () => {
  const dataDir = await folderOf('mine')
  writeFileSync(join(dataDir, 'log', 'CURRENT'), 'MANIFEST-999999\n')
  await expect(run(dataDir, planOf('d', 'e'))).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
  expect([existsSync(asideOf(dataDir)), existsSync(join(dataDir, 'log'))]).toEqual([false, true])
})

test.each(['e', 'd'])(
  'what looks damaged while a server has it open is neither mended nor laid aside, with %s as the first',
  async (first) => {
    const dataDir = await folderOf('mine')
    const membership = { ...emptyMembership, voters: ['d', 'e'] }
    await new Keepsake(await openKeepsake(nodeDisk, dataDir)).keep({ index: 1, membership, members: ['d', 'e'].map(member) })
    const running = await openLogStore({ directory: dataDir, clusterId })
    try {
      const current = join(dataDir, 'log', 'CURRENT')
      const before = readFileSync(current)
      // As a file that is replaced while it is read.
      writeFileSync(current, 'MANIFEST-999999\n')
      const names = readdirSync(dataDir).toSorted()
      const inUse = { code: 'ERR_STORE_FAILED', hint: expect.stringContaining('another process has this data folder open') }
      await expect(run(dataDir, planOf(...new Set([first, 'd', 'e'])))).rejects.toMatchObject(inUse)
      await expect(positionOf({ dataDir, identity, formats: releasedFormats, log })).rejects.toMatchObject(inUse)
      expect(readdirSync(dataDir).toSorted()).toEqual(names)
      writeFileSync(current, before)
      await running.append({ term: 5, vote: 'e', commit: 1 }, [{ ...entry(2, 'more'), term: 5 }])
    } finally {
      await running.close()
    }
    expect(await standing(dataDir)).toEqual({ applied: 1, last: 2, term: 5 })
  },
)
