/** Releases side by side: when the format level is raised, what is written until then, and who is refused afterwards. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { releasedFormats } from '#base/formats.ts'
import { EntryType } from '#raft/index.ts'
import { encodeCommand } from '#replica/command.ts'
import { emptyDirectory } from '#replica/directory.ts'
import { Levels } from '#replica/levels.ts'
import { buildRound } from '#replica/rounds.ts'
import { emptyMeta } from '#store/statemeta.ts'
import { read, TestCluster, write } from './cluster.ts'

const next = { min: 1, max: 2 }
const old = releasedFormats
let cluster: TestCluster
beforeEach(() => (cluster = new TestCluster()))
afterEach(() => cluster.end())

const levelOf = (id: string): number => cluster.node(id).status().level
const soon = { timeout: 8_000, interval: 10 }

async function exchange(id: string, formats: typeof next): Promise<void> {
  await cluster.kill(id)
  await cluster.start(id, false, { formats })
  const leader = await cluster.leader()
  await write(leader, { [`exchanged-${id}`]: 'yes' })
}

test('a cluster is upgraded node by node and back, and raised when the last one has been', async () => {
  await cluster.grow('a', 'b', 'c')
  await exchange('c', next)
  await exchange('b', next)
  // Mixed for a while: several times what the leader waits for.
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  expect(['a', 'b', 'c'].map(levelOf)).toEqual([1, 1, 1])
  await exchange('b', old)
  await exchange('b', next)
  const versions = new Set<unknown>()
  cluster.onSend = (_, message) => void versions.add(message.version)
  await write(await cluster.leader(), { mixed: 'yes' })
  expect([...versions]).toEqual([1])
  await exchange('a', next)
  await expect.poll(() => ['a', 'b', 'c'].map(levelOf), soon).toEqual([2, 2, 2])
  const leader = await cluster.leader()
  await write(leader, { after: 'raised' })
  expect([...versions]).toEqual([1, 2])
  for (const id of ['a', 'b', 'c'])
    for (const name of ['exchanged-c', 'mixed', 'after']) expect(await read(cluster.node(id), name)).toBeDefined()
  expect(leader.status().memberFormats).toEqual({ a: next, b: next, c: next })
})

test('an older release is refused in words, once the level was raised: at its start, as a learner that joins, and where its state lags', async () => {
  await cluster.start('a', true, { formats: old })
  await cluster.ready(cluster.node('a'))
  await cluster.kill('a')
  const leader = await cluster.start('a', false, { formats: next })
  await cluster.ready(leader)
  await expect.poll(() => levelOf('a'), soon).toBe(2)
  const refusal = { code: 'ERR_UPGRADE_REQUIRED', message: expect.stringContaining('at format level 1 or below, got one at 2') }
  await expect(leader.addMember(cluster.member('b'), old)).rejects.toMatchObject(refusal)
  // Let in all the same (it was started as another release than it said): what it can't read ends it.
  await cluster.start('b', false, { formats: old })
  await leader.addMember(cluster.member('b'), next)
  await expect.poll(() => cluster.node('b').status().failed, soon).toMatch(/expected version \d+, got \d+/)
  await cluster.kill('b')
  await cluster.start('b', false, { formats: next })
  await expect.poll(() => cluster.node('b').status().applied, soon).toBe(leader.status().applied)
  await cluster.kill('a')
  await expect(cluster.start('a', false, { formats: old })).rejects.toMatchObject(refusal)
})

test('a founder begins at the highest level that it understands', async () => {
  await cluster.start('a', true, { formats: next })
  expect(levelOf('a')).toBe(2)
})

test('the level waits for a member that is away, and for what each has said of late', () => {
  const levels = new Levels(next, 1_000)
  const members = ['a', 'b', 'c']
  expect(levels.next(1, 'a', members, 0)).toBeNull()
  levels.hear('b', next, 0)
  levels.hear('c', { min: 1, max: 9 }, 500)
  expect(levels.next(1, 'a', members, 900)).toBe(2)
  expect(levels.next(2, 'a', members, 900), 'never lowered, never repeated').toBeNull()
  expect(levels.next(1, 'a', members, 1_001), 'b may be coming back as an older release').toBeNull()
  levels.hear('b', old, 1_002)
  expect(levels.next(1, 'a', members, 1_003)).toBeNull()
  expect(levels.of('b')).toEqual(old)
  levels.forget()
  expect(levels.next(1, 'a', members, 1_004)).toBeNull()
  expect(levels.next(1, 'a', ['a'], 1_004)).toBe(2)
})

test('an entry in a level that was not raised before it is refused, and so is one that raises beyond what this node understands', () => {
  const command = (index: number, level: number, raise: number | null) => ({
    index,
    term: 1,
    type: EntryType.command,
    data: encodeCommand({ timeMs: 1, sections: [], directory: raise === null ? null : { level: raise } }, level),
  })
  const required = expect.objectContaining({ code: 'ERR_UPGRADE_REQUIRED' })
  expect(() => buildRound([command(1, 2, null)], emptyMeta, emptyDirectory, next)).toThrow(required)
  expect(() => buildRound([command(1, 1, 2)], emptyMeta, emptyDirectory, old)).toThrow(required)
  const raised = buildRound([command(1, 1, 2), command(2, 2, null), command(3, 1, 1)], emptyMeta, emptyDirectory, next)
  expect(raised.directory.level, 'never lowered').toBe(2)
  expect(raised.ops.map(({ key }) => key[0])).toEqual([8, 9])
})
