/** Membership changes in a running cluster. */
import { describe, expect, test } from 'vitest'
import type { Membership, MembershipChange, MembershipStep } from '#raft/index.ts'
import { Cluster, isType, message, MessageType } from './cluster.ts'

const three = ['a', 'b', 'c']
const change = (joint: MembershipChange['joint'], ...steps: MembershipStep[]): MembershipChange => ({
  steps,
  joint,
  context: new Uint8Array(0),
})
const addLearner = (node: string): MembershipStep => ({ kind: 'add-learner', node })
const addVoter = (node: string): MembershipStep => ({ kind: 'add-voter', node })
const remove = (node: string): MembershipStep => ({ kind: 'remove', node })

function elected(ids: readonly string[] = three, overrides = {}): Cluster {
  const cluster = new Cluster(ids, overrides)
  cluster.elect('a')
  return cluster
}

function propose(cluster: Cluster, id: string, wanted: MembershipChange): ReturnType<Cluster['propose']> {
  let result: ReturnType<Cluster['propose']> | null = null
  cluster.do(id, (raft) => {
    result = raft.proposeMembership(wanted)
  })
  if (result === null) throw new Error('expected an answer')
  return result
}

const membership = (cluster: Cluster, id: string): Membership => cluster.raft(id).status().membership

function join(cluster: Cluster, id: string): void {
  cluster.add(id, {})
  expect(propose(cluster, 'a', change('auto', addLearner(id)))).toMatchObject({ ok: true })
  cluster.run(3)
  expect(cluster.node('a').snapshotsTo).toContain(id)
  cluster.streamSnapshot('a', id)
  cluster.run(3)
}

describe('a learner whose log is newer than those of the voters that are left', () => {
  /** a has made d a voter in its own log; b, elected meanwhile, has reached nobody but d, and is gone. Three voters, one lost. */
  function stranded(): Cluster {
    const cluster = elected()
    join(cluster, 'd')
    cluster.isolate('a')
    expect(propose(cluster, 'a', change('auto', addVoter('d')))).toMatchObject({ ok: true })
    cluster.drop()
    for (const id of ['b', 'c', 'd']) cluster.tick(id, 9)
    cluster.tick('c', 1)
    cluster.tick('d', 1)
    cluster.drop()
    cluster.do('b', (raft) => raft.campaign())
    for (let round = 0; round < 10; round += 1) {
      cluster.drop(({ type, to }) => type === MessageType.append && to === 'c')
      cluster.deliver()
    }
    cluster.drop()
    expect(cluster.raft('b').status().role).toBe('leader')
    expect(cluster.raft('d').status().lastIndex).toBe(cluster.raft('b').status().lastIndex)
    expect(cluster.raft('c').status().lastIndex).toBeLessThan(cluster.raft('b').status().lastIndex)
    cluster.heal()
    cluster.node('b').down = true
    return cluster
  }

  test('leads until what it holds is committed, and hands over: nobody else could be elected', () => {
    const cluster = stranded()
    cluster.run(200)
    const leaders = ['a', 'c', 'd'].filter((id) => cluster.raft(id).status().role === 'leader')
    expect(leaders).toHaveLength(1)
    expect(leaders).not.toContain('d')
    expect(cluster.raft(leaders[0] ?? '').status().ready).toBe(true)
  })

  test('follows as ever while a voter can win', () => {
    const cluster = elected()
    join(cluster, 'd')
    cluster.node('a').down = true
    cluster.run(200)
    expect(cluster.sent.filter(({ from, type }) => from === 'd' && type === MessageType.preVote)).toEqual([])
    expect(['b', 'c'].some((id) => cluster.raft(id).status().role === 'leader')).toBe(true)
  })
})

describe('joining', () => {
  test('a node without membership never campaigns, never votes, and takes a snapshot before any entry', () => {
    const cluster = elected()
    cluster.add('d', {})
    cluster.tick('d', 500)
    cluster.inject(message('a', 'd', 9, MessageType.vote, { logIndex: 9, logTerm: 9 }))
    cluster.inject(message('a', 'd', 1, MessageType.append, { logIndex: 0, logTerm: 0, commit: 0, entries: [] }))
    expect(cluster.raft('d').status()).toMatchObject({ role: 'follower', term: 1, lastIndex: 0, dropped: { 'no-vote': 1 } })
    expect(cluster.sent.filter(({ from }) => from === 'd')).toMatchObject([{ type: MessageType.appendReply, reject: true }])
  })

  test('a learner catches up by snapshot, follows, and counts in no majority', () => {
    const cluster = elected(['a', 'b'])
    join(cluster, 'd')
    cluster.propose('a', 'x')
    cluster.run(3)
    expect(cluster.node('d').disk.state).toEqual(cluster.node('a').disk.state)
    cluster.node('b').down = true
    cluster.propose('a', 'y')
    cluster.run(3)
    expect(cluster.raft('a').status()).toMatchObject({ commit: 4 - 1, lastIndex: 4 })
    cluster.tick('d', 500)
    expect(cluster.raft('d').status().role).toBe('follower')
  })

  test('a learner votes if a candidate that knows better asks', () => {
    const cluster = elected(['a', 'b'])
    join(cluster, 'd')
    cluster.restart('d')
    cluster.inject(message('b', 'd', 9, MessageType.vote, { logIndex: 99, logTerm: 9 }))
    expect(cluster.pool).toMatchObject([{ type: MessageType.voteReply, to: 'b', term: 9 }])
  })

  test('a voter must have been a learner that caught up', () => {
    const cluster = elected()
    expect(propose(cluster, 'a', change('auto', addVoter('d')))).toMatchObject({ ok: false, reason: 'membership-invalid' })
    cluster.add('d', {})
    propose(cluster, 'a', change('auto', addLearner('d')))
    cluster.run(2)
    expect(propose(cluster, 'a', change('auto', addVoter('d')))).toMatchObject({ ok: false, reason: 'membership-pending' })
    cluster.streamSnapshot('a', 'd')
    cluster.run(3)
    expect(propose(cluster, 'a', change('auto', addVoter('d')))).toMatchObject({ ok: true })
    cluster.run(3)
    for (const id of ['a', 'd']) expect(membership(cluster, id).voters).toEqual(['a', 'b', 'c', 'd'])
  })

  test('a snapshot stream that fails is asked for again', () => {
    const cluster = elected()
    cluster.add('d', {})
    propose(cluster, 'a', change('auto', addLearner('d')))
    cluster.run(3)
    cluster.do('a', (raft) => raft.snapshotSent('d', false))
    cluster.run(3)
    expect(cluster.node('a').snapshotsTo).toEqual(['d', 'd'])
  })
})

describe('safety', () => {
  test('a change counts from the moment it is appended, and is undone when it is cut', () => {
    const cluster = elected()
    cluster.isolate('a')
    propose(cluster, 'a', change('auto', remove('c')))
    expect(membership(cluster, 'a').voters).toEqual(['a', 'b'])
    cluster.run(40)
    const leader = cluster.leader() ?? ''
    cluster.propose(leader, 'x')
    cluster.heal()
    cluster.run(5)
    expect(membership(cluster, 'a').voters).toEqual(three)
    expect(cluster.node('a').disk.state).toEqual(cluster.node(leader).disk.state)
  })

  test('an uncommitted change survives a restart', () => {
    const cluster = elected()
    cluster.isolate('a')
    propose(cluster, 'a', change('auto', remove('c')))
    cluster.restart('a')
    expect(membership(cluster, 'a').voters).toEqual(['a', 'b'])
  })

  test('a second change waits until the first is committed', () => {
    const cluster = elected()
    cluster.isolate('a')
    expect(propose(cluster, 'a', change('auto', addLearner('d')))).toMatchObject({ ok: true })
    expect(propose(cluster, 'a', change('auto', addLearner('e')))).toMatchObject({ ok: false, reason: 'membership-pending' })
    cluster.heal()
    cluster.run(3)
    expect(propose(cluster, 'a', change('auto', addLearner('e')))).toMatchObject({ ok: true })
  })

  test('no change before this term has a commit: the single-server bug of 2015', () => {
    const cluster = new Cluster(three)
    cluster.do('a', (raft) => raft.campaign())
    cluster.deliver(isType(MessageType.preVote))
    cluster.deliver(isType(MessageType.preVoteReply))
    cluster.deliver(isType(MessageType.vote))
    cluster.deliver(isType(MessageType.voteReply))
    expect(cluster.raft('a').status()).toMatchObject({ role: 'leader', commit: 0 })
    expect(propose(cluster, 'a', change('auto', remove('c')))).toMatchObject({ ok: false, reason: 'not-ready' })
  })

  test.each([
    ['no steps', change('auto')],
    ['a stranger', change('auto', remove('x'))],
    ['leaving what is not joint', change('leave')],
    ['everybody', change('auto', ...three.map(remove))],
    ['an unknown kind', change('auto', { kind: 'sudo' as 'remove', node: 'a' })],
    ['an unknown mode', change('sudo' as 'auto', remove('a'))],
    ['a long id', change('auto', addLearner('é'.repeat(200)))],
    ['a large context', { ...change('auto', addLearner('d')), context: new Uint8Array(65_537) }],
  ])('an invalid change (%s) is refused with a reason, and nothing is appended', (_, wanted) => {
    const cluster = elected()
    const result = propose(cluster, 'a', wanted)
    expect(result).toMatchObject({ ok: false, reason: 'membership-invalid' })
    expect(cluster.raft('a').status().lastIndex).toBe(1)
  })

  test('a membership entry of a later version is not taken, and nothing behind it', () => {
    const cluster = elected()
    const later = { index: 2, term: 1, type: 2 as const, data: new Uint8Array([2, 0, 0, 0, 0, 0, 0]) }
    cluster.inject(message('a', 'b', 1, MessageType.append, { logIndex: 1, logTerm: 1, commit: 1, entries: [later] }))
    expect(cluster.raft('b').status()).toMatchObject({ lastIndex: 1, dropped: { 'entry-not-understood': 1 } })
  })
})

describe('a majority of those that are heard', () => {
  /** c is away for longer than an election timeout. */
  function withoutC(): Cluster {
    const cluster = elected()
    cluster.node('c').down = true
    cluster.run(15)
    return cluster
  }

  test.each([
    ['removed', remove('b')],
    ['demoted', addLearner('b')],
    ['removed: the leader', remove('a')],
  ])('a live voter is not %s while the membership after it would have none, and writes go on', (_, step) => {
    const cluster = withoutC()
    const result = propose(cluster, 'a', change('auto', step))
    expect(result).toMatchObject({ ok: false, reason: 'membership-unheard', detail: expect.stringContaining("silent: 'c'") })
    expect(membership(cluster, 'a').voters).toEqual(three)
    cluster.propose('a', 'x')
    cluster.run(3)
    expect(cluster.raft('a').status()).toMatchObject({ role: 'leader', commit: 2 })
  })

  test('several at once are not either', () => {
    const cluster = elected(['a', 'b', 'c', 'd', 'e'])
    for (const id of ['d', 'e']) cluster.node(id).down = true
    cluster.run(15)
    for (const joint of ['auto', 'explicit'] as const)
      expect(propose(cluster, 'a', change(joint, remove('b'), remove('c')))).toMatchObject({ ok: false, reason: 'membership-unheard' })
  })

  test('the dead one goes, and after it the live one may', () => {
    const cluster = withoutC()
    for (const id of ['c', 'b']) {
      expect(propose(cluster, 'a', change('auto', remove(id)))).toMatchObject({ ok: true })
      cluster.run(3)
    }
    expect(cluster.raft('a').status()).toMatchObject({ role: 'leader', commit: 3, membership: { voters: ['a'] } })
  })

  test('a leader that is new believes nobody alive before it has answered', () => {
    const cluster = new Cluster(three)
    cluster.node('c').down = true
    cluster.elect('a')
    expect(propose(cluster, 'a', change('auto', remove('b')))).toMatchObject({ ok: false, reason: 'membership-pending' })
    expect(propose(cluster, 'a', change('auto', remove('c')))).toMatchObject({ ok: true })
  })
})

describe('joint', () => {
  test('several voters at once go through a joint membership that leaves itself', () => {
    const cluster = elected(['a', 'b', 'c', 'd', 'e'])
    propose(cluster, 'a', change('auto', remove('b'), remove('c')))
    expect(membership(cluster, 'a')).toMatchObject({ voters: ['a', 'd', 'e'], votersOutgoing: ['a', 'b', 'c', 'd', 'e'], autoLeave: true })
    cluster.run(4)
    for (const id of ['a', 'd', 'e']) expect(membership(cluster, id)).toMatchObject({ voters: ['a', 'd', 'e'], votersOutgoing: [] })
    expect(cluster.node('a').disk.state.index).toBe(3)
  })

  test('needs a majority of both halves', () => {
    const cluster = elected(['a', 'b', 'c', 'd', 'e'])
    for (const id of ['d', 'e']) cluster.isolate(id)
    propose(cluster, 'a', change('explicit', remove('b'), remove('c')))
    cluster.run(4)
    // a, b and c are a majority of the old five, but a alone is none of a, d and e.
    expect(cluster.raft('a').status()).toMatchObject({ lastIndex: 2, commit: 1 })
    cluster.heal()
    cluster.run(4)
    expect(cluster.raft('a').status().commit).toBe(2)
  })

  test('is left once, by whoever leads', () => {
    const cluster = elected(['a', 'b', 'c', 'd', 'e'])
    propose(cluster, 'a', change('auto', remove('b'), remove('c')))
    cluster.deliver()
    cluster.node('a').down = true
    cluster.drop()
    cluster.run(80)
    const leader = cluster.leader() ?? ''
    expect(membership(cluster, leader)).toMatchObject({ voters: ['a', 'd', 'e'], votersOutgoing: [] })
    const { disk } = cluster.node(leader)
    const entries = disk.entries(1, disk.lastIndex() + 1, 1e9) ?? []
    expect(entries.filter(({ type }) => type === 2)).toHaveLength(2)
  })

  test('an explicit one waits for its operator, and takes no other change', () => {
    const cluster = elected(['a', 'b', 'c', 'd', 'e'])
    propose(cluster, 'a', change('explicit', remove('b'), remove('c')))
    cluster.run(10)
    expect(membership(cluster, 'a').votersOutgoing).toHaveLength(5)
    expect(propose(cluster, 'a', change('auto', remove('d')))).toMatchObject({ ok: false, reason: 'membership-invalid' })
    expect(propose(cluster, 'a', change('leave'))).toMatchObject({ ok: true })
    cluster.run(3)
    expect(membership(cluster, 'a')).toMatchObject({ voters: ['a', 'd', 'e'], votersOutgoing: [] })
  })
})

describe('removal', () => {
  test('a removed leader commits its removal without counting itself, hands over, and steps down', () => {
    const cluster = elected()
    propose(cluster, 'a', change('auto', remove('a')))
    cluster.run(4)
    expect(cluster.raft('a').status().role).toBe('follower')
    const leader = cluster.leader()
    expect(['b', 'c']).toContain(leader)
    expect(membership(cluster, leader ?? '').voters).toEqual(['b', 'c'])
    cluster.tick('a', 500)
    expect(cluster.raft('a').status().role).toBe('follower')
  })

  test('a removed follower hears of it, keeps quiet, and votes no more', () => {
    const cluster = elected()
    propose(cluster, 'a', change('auto', remove('c')))
    cluster.run(30)
    expect(membership(cluster, 'c').voters).toEqual(['a', 'b'])
    cluster.tick('c', 500)
    cluster.inject(message('b', 'c', 9, MessageType.vote, { logIndex: 99, logTerm: 9 }))
    expect(cluster.raft('c').status()).toMatchObject({ role: 'follower', term: 1, dropped: { 'no-vote': 1 } })
    expect(
      cluster
        .raft('a')
        .status()
        .peers.map(({ id }) => id),
    ).toEqual(['b'])
  })

  test('a removed node that never heard of it cannot force an election', () => {
    for (const preVote of [true, false]) {
      const cluster = elected(three, { preVote })
      cluster.isolate('c')
      propose(cluster, 'a', change('auto', remove('c')))
      cluster.run(30)
      cluster.heal()
      cluster.run(100)
      expect(cluster.raft('a').status()).toMatchObject({ role: 'leader', term: 1 })
      cluster.inject(message('c', 'a', 50, MessageType.appendReply, { logIndex: 1 }))
      cluster.inject(message('c', 'a', 50, MessageType.readIndex, { context: 1 }))
      expect(cluster.raft('a').status()).toMatchObject({ role: 'leader', term: 1 })
    }
  })

  test('a voter that is being removed may still finish its own removal (thesis 4.2.2)', () => {
    const cluster = elected(['a', 'b'])
    cluster.isolate('a')
    propose(cluster, 'a', change('auto', remove('a')))
    cluster.restart('a')
    cluster.drop()
    cluster.heal()
    // b lacks the entry and cannot win; a holds it, is no voter by it, and must campaign all the same.
    cluster.run(100)
    expect(cluster.leader()).toBe('b')
    expect(membership(cluster, 'b').voters).toEqual(['b'])
  })

  test('a demoted voter stays as a learner and does not campaign', () => {
    const cluster = elected()
    propose(cluster, 'a', change('auto', addLearner('c')))
    cluster.run(4)
    expect(membership(cluster, 'c')).toMatchObject({ voters: ['a', 'b'], learners: ['c'] })
    cluster.isolate('c')
    cluster.tick('c', 500)
    expect(cluster.raft('c').status()).toMatchObject({ role: 'follower', term: 1 })
  })

  test('the second of two voters can be removed', () => {
    const cluster = elected(['a', 'b'])
    propose(cluster, 'a', change('auto', remove('b')))
    cluster.run(3)
    cluster.node('b').down = true
    cluster.propose('a', 'x')
    expect(cluster.raft('a').status()).toMatchObject({ commit: 3, role: 'leader' })
  })
})
