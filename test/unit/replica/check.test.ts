import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Role, type Membership } from '#raft/types.ts'
import { checkFrom, encodeCheck, judge, RecentStates, summaryOf, type DigestAnswer } from '#replica/digests.ts'
import { classicLevel, type Level, type LevelFactory } from '#store/level.ts'
import { emptyMeta } from '#store/statemeta.ts'
import { key, read, TestCluster, write } from './cluster.ts'

const digest = (letter: string): string => letter.repeat(64)
const voters = (...ids: string[]): Membership => ({ voters: ids, votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false })

function answer(states: Record<number, string>, more: Partial<DigestAnswer> = {}): DigestAnswer {
  const found = new Map(Object.entries(states).map(([index, letter]) => [Number(index), digest(letter)]))
  return { applied: Math.max(0, ...found.keys()), states: found, damage: null, suspect: false, repairs: 0, scrub: null, ...more }
}

describe('a majority decides', () => {
  const verdicts = (answers: Record<string, DigestAnswer>, membership: Membership): Record<string, boolean | null> => {
    const nodes = [...new Set([...membership.voters, ...membership.votersOutgoing, ...Object.keys(answers)])]
    return Object.fromEntries(judge(nodes, new Map(Object.entries(answers)), membership).map(({ node, agrees }) => [node, agrees]))
  }

  test('at the newest index that a node shares with it', () => {
    const answers = { a: answer({ 4: 'a', 8: 'b' }), b: answer({ 8: 'b', 9: 'c' }), c: answer({ 4: 'a', 8: 'e' }) }
    expect(verdicts(answers, voters('a', 'b', 'c'))).toEqual({ a: true, b: true, c: false })
  })

  test('none at one index: nobody is right or wrong', () => {
    const answers = { a: answer({ 8: 'a' }), b: answer({ 8: 'b' }), c: answer({ 8: 'c' }) }
    expect(verdicts(answers, voters('a', 'b', 'c'))).toEqual({ a: null, b: null, c: null })
    expect(verdicts({ a: answer({ 8: 'a' }), b: answer({ 8: 'b' }) }, voters('a', 'b', 'c'))).toEqual({ a: null, b: null, c: null })
  })

  test('of both halves, while members change; learners are judged and do not count', () => {
    const joint = { ...voters('a', 'b', 'c'), votersOutgoing: ['c', 'd', 'e'] }
    const answers = { a: answer({ 8: 'a' }), b: answer({ 8: 'a' }), c: answer({ 8: 'b' }), d: answer({ 8: 'b' }), e: answer({ 8: 'b' }) }
    expect(verdicts(answers, joint)).toEqual({ a: null, b: null, c: null, d: null, e: null })
    const withLearners = { a: answer({ 8: 'a' }), b: answer({ 8: 'a' }), l: answer({ 8: 'b' }), m: answer({ 8: 'b' }), c: answer({}) }
    expect(verdicts(withLearners, voters('a', 'b', 'c'))).toEqual({ a: true, b: true, c: null, l: false, m: false })
  })

  test('a node that doubts its own disk counts for nobody', () => {
    const answers = { a: answer({ 8: 'a' }), b: answer({ 8: 'a' }, { suspect: true }), c: answer({ 8: 'c' }) }
    expect(verdicts(answers, voters('a', 'b', 'c'))).toEqual({ a: null, b: null, c: null })
  })
})

test('what is kept of recent states is bounded, and holds the indexes at which all nodes stop', () => {
  const recent = new RecentStates(100)
  for (let applied = 1; applied <= 5_000; applied += 1) recent.note({ ...emptyMeta, applied })
  const indexes = [...recent.summaries().keys()]
  expect(indexes).toHaveLength(16 + 32 - 1)
  expect(indexes.filter((index) => index % 100 === 0)).toHaveLength(16)
  expect(recent.summaries().get(4_900)).toBe(summaryOf({ ...emptyMeta, applied: 4_900 }))
})

test('messages survive the wire; what is malformed is nobody’s', () => {
  const told = {
    kind: 'digests',
    round: 3,
    answer: answer({ 5: 'a' }, { damage: 'why', scrub: { endedMs: 1, ok: false, index: 5, bytes: 9 } }),
  } as const
  expect(checkFrom(structuredClone(encodeCheck(told)))).toEqual(told)
  const differs = { kind: 'state-differs', term: 2, index: 9, expected: digest('f'), agreeing: ['a', 'b'] } as const
  expect(checkFrom(encodeCheck(differs))).toMatchObject(differs)
  for (const bad of [null, {}, { version: 2, kind: 'digests-asked', round: 1 }, { version: 1, kind: 'state-wanted', index: -1 }])
    expect(checkFrom(bad)).toBeNull()
  expect(checkFrom({ ...(encodeCheck(differs) as object), expected: 'short' })).toBeNull()
})

/** LevelDB that forgets what is written to `lost`, and says nothing. */
function forgetful(lost: Uint8Array, active: () => boolean): LevelFactory {
  const isLost = (given: Uint8Array): boolean => Buffer.compare(given, lost) === 0
  return (path, options): Level => {
    const level: Level = classicLevel(path, options)
    const batch = level.batch.bind(level)
    level.batch = (ops, how) => batch(active() ? ops.filter((op) => !isLost(op.key)) : ops, how)
    return level
  }
}

/** LevelDB that gives another value for `wrong` than it was given, and says nothing; `told` hears of each time. */
function bending(wrong: Uint8Array, told: () => void): LevelFactory {
  return (path, options): Level => {
    const level: Level = classicLevel(path, options)
    const getSync = level.getSync.bind(level)
    level.getSync = (at, how) => {
      const value = getSync(at, how)
      if (value === undefined || Buffer.compare(at, wrong) !== 0) return value
      told()
      return Uint8Array.from(value, (byte, place) => (place === 0 ? byte ^ 1 : byte))
    }
    return level
  }
}

describe('in a cluster', () => {
  let cluster: TestCluster
  beforeEach(() => {
    cluster = new TestCluster({ checkIntervalMs: 100, scrubIntervalMs: 0, checkpointEntries: 8 })
  })
  afterEach(() => cluster.end())

  const digestOf = (id: string): string => Buffer.from(cluster.states.get(id)?.meta.digest ?? []).toString('hex')
  const repairsOf = async (id: string): Promise<number | null | undefined> =>
    (await cluster.node(id).verify()).nodes.find(({ node }) => node === id)?.repairs

  /** Writes past consensus: what the node holds, and its digest with it, is another from here on. */
  async function derail(id: string): Promise<void> {
    const state = cluster.states.get(id)
    if (state === undefined) throw new Error('no state')
    // What is still on its way (a promotion, a leader's first entry) must not be applied between the reading of the record and this write.
    for (let still = 0, at = -1; still < 4; still = state.meta.applied === at ? still + 1 : 0) {
      at = state.meta.applied
      await new Promise((resolve) => setTimeout(resolve, 40))
    }
    await state.apply([{ key: key('derailed'), value: new Uint8Array([1]) }], state.meta)
  }

  test('equal states agree, on every node that is asked', async () => {
    const [a] = await cluster.grow('a', 'b', 'c')
    if (a === undefined) throw new Error('no node')
    for (let at = 0; at < 20; at += 1) await write(a, { [`k${at}`]: 'v' })
    for (const id of ['a', 'b', 'c']) {
      await expect
        .poll(async () => (await cluster.node(id).verify()).nodes.map(({ agrees }) => agrees), { timeout: 5_000 })
        .toEqual([true, true, true])
    }
    // They agreed at one index; the newest entry (a checkpoint) may be applied on the leader and on its way to the others.
    await expect.poll(() => new Set(['a', 'b', 'c'].map(digestOf)).size, { timeout: 5_000 }).toBe(1)
  })

  test('a follower that differs gives its state up, fetches it again and serves again; its log and its votes stay', async () => {
    const [a] = await cluster.grow('a', 'b', 'c')
    if (a === undefined) throw new Error('no node')
    await write(a, { x: '1' })
    await read(cluster.node('b'), 'x')
    const before = cluster.logs.get('b')?.hardState
    await derail('b')
    await write(a, { z: '1' })
    await expect.poll(() => repairsOf('b'), { timeout: 8_000 }).toBe(1)
    await expect.poll(() => digestOf('b') === digestOf('a'), { timeout: 5_000 }).toBe(true)
    expect(await read(cluster.node('b'), 'x')).toBe('1')
    expect(await read(cluster.node('b'), 'derailed')).toBeUndefined()
    expect(cluster.logs.get('b')?.hardState.term).toBe(before?.term)
    expect(cluster.node('b').status().repair).toBeNull()
  })

  test('a leader that differs hands over first, and is repaired as any follower', async () => {
    const [a] = await cluster.grow('a', 'b', 'c')
    if (a === undefined) throw new Error('no node')
    const leader = await cluster.leader()
    await write(leader, { x: '1' })
    for (const id of ['a', 'b', 'c']) await read(cluster.node(id), 'x')
    await derail(leader.nodeId)
    await write(leader, { z: '1' })
    await expect.poll(() => leader.status().role !== Role.leader, { timeout: 8_000, interval: 5 }).toBe(true)
    await expect.poll(() => repairsOf(leader.nodeId), { timeout: 8_000 }).toBe(1)
    const next = await cluster.leader()
    await write(next, { y: '2' })
    expect(await read(leader, 'y')).toBe('2')
  })

  test('two that differ from each other: nobody gives way while no majority agrees', async () => {
    await cluster.grow('a', 'b', 'c')
    const leader = await cluster.leader()
    await cluster.kill(['a', 'b', 'c'].find((id) => id !== leader.nodeId && id !== 'a') ?? 'c')
    const other = [...cluster.nodes.keys()].find((id) => id !== leader.nodeId) ?? ''
    await write(leader, { x: '1' })
    await read(cluster.node(other), 'x')
    await derail(other)
    for (let round = 0; round < 5; round += 1) {
      const { nodes } = await leader.verify()
      expect(nodes.some(({ agrees }) => agrees === false)).toBe(false)
      expect(cluster.node(other).status().repair).toBeNull()
      await write(leader, { x: String(round) })
    }
  })

  test('a value that the disk has changed is not subtracted when it is overwritten: the node gives its state up and fetches it again', async () => {
    let bent = 0
    await cluster.start('a', true)
    await cluster.ready(cluster.node('a'))
    await cluster.start('b', false, { stateLevel: bending(key('bent'), () => (bent += 1)) })
    await cluster.start('c')
    for (const id of ['b', 'c']) {
      await cluster.node('a').addMember(cluster.member(id))
      await expect.poll(() => cluster.voters(cluster.node('a')), { timeout: 5_000, interval: 10 }).toContain(id)
    }
    const a = cluster.node('a')
    await write(a, { bent: '1' })
    await expect.poll(() => cluster.node('b').status().applied, { timeout: 5_000 }).toBe(a.status().applied)
    // Long enough after it that b's cache of elements has forgotten it.
    for (let at = 0; at < 45; at += 1) await write(a, Object.fromEntries(Array.from({ length: 100 }, (_, each) => [`k${at}-${each}`, 'v'])))
    const before = bent
    expect(before).toBe(0)
    await write(a, { bent: '2' })
    await expect.poll(() => repairsOf('b'), { timeout: 8_000 }).toBe(1)
    expect(bent).toBe(2)
    await write(a, { after: '1' })
    expect(await read(cluster.node('b'), 'after')).toBe('1')
    await expect.poll(() => digestOf('b') === digestOf('a'), { timeout: 5_000 }).toBe(true)
    expect(cluster.node('b').status().failed).toBeNull()
  })

  test('a scrub finds what the disk has lost, and the node is repaired', async () => {
    let active = false
    await cluster.start('a', true)
    await cluster.ready(cluster.node('a'))
    await cluster.start('b', false, { stateLevel: forgetful(key('lost'), () => active) })
    await cluster.start('c')
    for (const id of ['b', 'c']) {
      await cluster.node('a').addMember(cluster.member(id))
      await expect.poll(() => cluster.voters(cluster.node('a')), { timeout: 5_000, interval: 10 }).toContain(id)
    }
    active = true
    await write(cluster.node('a'), { lost: '1', kept: '2' })
    expect(await read(cluster.node('b'), 'kept')).toBe('2')
    expect(await read(cluster.node('b'), 'lost')).toBeUndefined()
    active = false
    // Its record says what it should hold, so that the comparison alone finds nothing.
    expect(digestOf('b')).toBe(digestOf('a'))
    cluster.node('b').scrub()
    await expect.poll(() => repairsOf('b'), { timeout: 8_000 }).toBe(1)
    expect(await read(cluster.node('b'), 'lost')).toBe('1')
  })

  test('a state that is damaged on the disk is fetched at the next start; meanwhile the node votes', async () => {
    await cluster.grow('a', 'b', 'c')
    const leader = await cluster.leader()
    for (let at = 0; at < 30; at += 1) await write(leader, { [`k${at}`]: 'v'.repeat(50) })
    const victim = ['a', 'b', 'c'].find((id) => id !== leader.nodeId) ?? ''
    await cluster.kill(victim)
    const folder = join(cluster.folder, victim, 'state')
    const current = readFileSync(join(folder, 'current'), 'latin1').trim()
    const manifest = readdirSync(join(folder, current)).find((name) => name.startsWith('MANIFEST')) ?? ''
    const path = join(folder, current, manifest)
    const bytes = readFileSync(path)
    bytes[10] = (bytes[10] ?? 0) ^ 1
    writeFileSync(path, bytes)
    await cluster.start(victim)
    expect(cluster.node(victim).status().repair).toContain('MANIFEST')
    await expect(cluster.node(victim).readIndex(100)).rejects.toMatchObject({ code: 'ERR_STATE_REPAIR' })
    await expect.poll(() => cluster.node(victim).status().repair, { timeout: 8_000 }).toBeNull()
    expect(await read(cluster.node(victim), 'k29')).toBe('v'.repeat(50))
  })

  test('alone, a damaged state keeps its node out', async () => {
    const a = await cluster.start('a', true)
    await cluster.ready(a)
    await write(a, { x: '1' })
    await cluster.kill('a')
    const folder = join(cluster.folder, 'a', 'state')
    writeFileSync(join(folder, 'current'), 'g77\n')
    await expect(cluster.start('a')).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
  })
})
