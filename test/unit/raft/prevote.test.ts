/** Pre-vote: quiet where nobody needs an election, live where somebody does. */
import { describe, expect, test } from 'vitest'
import { Cluster, isType, logOf, message, MessageType } from './cluster.ts'

const three = ['a', 'b', 'c']

describe('quiet', () => {
  test("an isolated node's term does not grow, and on heal the leader and term stay", () => {
    const cluster = new Cluster(three)
    cluster.elect('a')
    cluster.isolate('c')
    cluster.run(500)
    expect(cluster.raft('c').status()).toMatchObject({ term: 1, leader: null })
    cluster.heal()
    cluster.run(20)
    expect(cluster.raft('a').status()).toMatchObject({ role: 'leader', term: 1 })
    expect(cluster.raft('c').status()).toMatchObject({ leader: 'a', term: 1 })
  })

  test('a pre-vote changes neither the term nor the vote of anybody', () => {
    const cluster = new Cluster(three)
    cluster.do('a', (raft) => raft.campaign())
    cluster.deliver(isType(MessageType.preVote))
    for (const id of three) expect(cluster.node(id).disk.hardState).toEqual({ term: 0, vote: null, commit: 0 })
  })

  test('nodes that hear a leader ignore who does not', () => {
    const cluster = new Cluster(three)
    cluster.elect('a')
    cluster.cut.add('a>c')
    cluster.run(100)
    expect(cluster.raft('a').status()).toMatchObject({ role: 'leader', term: 1 })
    expect(cluster.raft('b').status().dropped['leader-lease']).toBeGreaterThan(0)
  })
})

test('a late grant for an earlier campaign does not count for a later one', () => {
  const cluster = new Cluster(three)
  cluster.do('a', (raft) => raft.campaign())
  cluster.inject(message('b', 'a', 1, MessageType.preVoteReply, { reject: true }))
  cluster.do('a', (raft) => raft.campaign())
  cluster.inject(message('c', 'a', 1, MessageType.preVoteReply))
  expect(cluster.raft('a').status()).toMatchObject({ role: 'pre-candidate', term: 1, dropped: { 'stale-vote': 1 } })
  cluster.inject(message('c', 'a', 2, MessageType.preVoteReply))
  expect(cluster.raft('a').status()).toMatchObject({ role: 'candidate', term: 2 })
})

// Each elects within three election timeouts.
describe('live', () => {
  const soon = 60

  test('a pre-candidate that lags in terms adopts the term of who refuses it', () => {
    const hardState = { term: 7, vote: null, commit: 0 }
    const cluster = new Cluster(three, {}, { a: { voters: three, log: logOf(1, 1, 1) }, b: { voters: three, log: logOf(1), hardState } })
    cluster.node('c').down = true
    cluster.run(soon)
    expect(cluster.leader()).toBe('a')
    expect(cluster.raft('a').status().term).toBeGreaterThan(7)
  })

  test('a node stuck at a higher term after a failed campaign comes back', () => {
    const cluster = new Cluster(three)
    cluster.elect('a')
    cluster.isolate('c')
    cluster.inject(message('b', 'c', 5, MessageType.vote, { logIndex: 9, logTerm: 9, force: true }))
    cluster.cut.clear()
    cluster.restart('c', {})
    cluster.inject(message('b', 'c', 5, MessageType.vote, { logIndex: 9, logTerm: 9, force: true }))
    expect(cluster.raft('c').status().term).toBe(5)
    cluster.run(soon)
    const leader = cluster.leader() ?? ''
    expect(cluster.raft(leader).status().term).toBeGreaterThan(5)
    expect(cluster.raft('c').status().leader).toBe(leader)
  })

  test('nodes with and without pre-vote elect together', () => {
    for (const mix of [
      [true, false, false],
      [true, true, false],
      [false, true, true],
    ]) {
      const cluster = new Cluster(
        three,
        {},
        Object.fromEntries(
          three.map((id, i) => [id, { voters: three, config: { preVote: mix[i] ?? true, randomBelow: (n: number) => (i * 3) % n } }]),
        ),
      )
      cluster.run(soon)
      const leader = cluster.leader()
      expect(leader).not.toBeNull()
      cluster.isolate(leader ?? '')
      cluster.run(soon)
      expect(cluster.leader()).not.toBe(leader)
    }
  })

  test('a leader that stepped down can win again', () => {
    const cluster = new Cluster(three)
    cluster.elect('a')
    cluster.isolate('a')
    cluster.run(15)
    expect(cluster.raft('a').status()).toMatchObject({ leader: null })
    cluster.heal()
    cluster.node('b').down = true
    cluster.run(soon)
    expect(cluster.leader()).not.toBeNull()
  })

  test('a pre-candidate forgets its leader, so that it can vote for another in the same term', () => {
    const cluster = new Cluster(three)
    cluster.elect('a')
    cluster.node('a').down = true
    cluster.do('b', (raft) => raft.campaign())
    cluster.do('c', (raft) => raft.campaign())
    cluster.run(soon)
    expect(['b', 'c']).toContain(cluster.leader())
  })

  test('the only node with a long log wins, though another campaigns sooner and in ever newer terms', () => {
    // Without pre-vote every campaign of c raises a's term; if that restarted a's timer, a would never have its turn.
    const cluster = new Cluster(
      three,
      { preVote: false, checkQuorum: false },
      {
        a: { voters: three, log: logOf(1, 1, 1), config: { randomBelow: () => 9 } },
        c: { voters: three, log: logOf(1), config: { randomBelow: () => 0 } },
      },
    )
    cluster.node('b').down = true
    cluster.run(soon)
    expect(cluster.leader()).toBe('a')
  })
})
