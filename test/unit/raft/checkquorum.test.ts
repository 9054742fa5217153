import { expect, test } from 'vitest'
import { Cluster, message, MessageType } from './cluster.ts'

const three = ['a', 'b', 'c']

test('a cut-off leader stops leading within one election timeout', () => {
  const cluster = new Cluster(three)
  cluster.elect('a')
  cluster.isolate('a')
  cluster.tick('a', 9)
  expect(cluster.raft('a').status()).toMatchObject({ role: 'leader', quorumActive: true })
  cluster.tick('a', 1)
  expect(cluster.raft('a').status()).toMatchObject({ role: 'follower', leader: null })
  expect(cluster.propose('a', 'x')).toMatchObject({ ok: false, reason: 'not-leader' })
})

test('a leader that half of its voters hear stays', () => {
  const cluster = new Cluster(three)
  cluster.elect('a')
  cluster.isolate('c')
  cluster.run(100)
  expect(cluster.raft('a').status()).toMatchObject({ role: 'leader', term: 1 })
})

test('adding a voter that does not answer yet costs no leadership', () => {
  const cluster = new Cluster(['a'], {}, {})
  cluster.elect('a')
  cluster.add('b', {})
  const context = new Uint8Array(0)
  cluster.do('a', (raft) => raft.proposeMembership({ steps: [{ kind: 'add-learner', node: 'b' }], joint: 'auto', context }))
  cluster.run(2)
  cluster.streamSnapshot('a', 'b')
  cluster.run(3)
  cluster.do('a', (raft) => raft.proposeMembership({ steps: [{ kind: 'add-voter', node: 'b' }], joint: 'auto', context }))
  cluster.drop()
  cluster.tick('a', 5)
  expect(cluster.raft('a').status().role).toBe('leader')
  cluster.run(5)
  expect(cluster.raft('a').status()).toMatchObject({ role: 'leader', term: 1, membership: { voters: ['a', 'b'] } })
})

test('a vote request is ignored while a leader is heard, unless the leader hands over', () => {
  const cluster = new Cluster(three)
  cluster.elect('a')
  const ask = message('c', 'b', 5, MessageType.vote, { logIndex: 9, logTerm: 9 })
  cluster.inject(ask)
  expect(cluster.raft('b').status().term).toBe(1)
  cluster.inject({ ...ask, force: true })
  expect(cluster.node('b').disk.hardState).toMatchObject({ term: 5, vote: 'c' })
})

test('the lease ends an election timeout after the leader was last heard', () => {
  const cluster = new Cluster(three, {}, { b: { voters: three, config: { randomBelow: () => 9 } } })
  cluster.elect('a')
  cluster.node('a').down = true
  const ask = message('c', 'b', 5, MessageType.vote, { logIndex: 9, logTerm: 9 })
  cluster.tick('b', 9)
  cluster.inject(ask)
  expect(cluster.raft('b').status().term).toBe(1)
  cluster.tick('b', 1)
  cluster.inject(ask)
  expect(cluster.raft('b').status().term).toBe(5)
})

test('a learner that is told to campaign does not renew its lease by refusing', () => {
  const membership = { voters: ['a', 'b'], votersOutgoing: [], learners: ['c'], learnersNext: [], autoLeave: false }
  const config = { randomBelow: () => 9 }
  const cluster = new Cluster(three, {}, Object.fromEntries(three.map((id) => [id, { membership, config }])))
  cluster.elect('a')
  cluster.node('a').down = true
  cluster.tick('c', 9)
  cluster.do('c', (raft) => raft.campaign())
  cluster.tick('c', 1)
  cluster.inject(message('b', 'c', 5, MessageType.vote, { logIndex: 9, logTerm: 9 }))
  expect(cluster.raft('c').status()).toMatchObject({ role: 'follower', term: 5 })
})

test("a learner's belief in its leader ends too, and it votes for who counts it as a voter", () => {
  const membership = { voters: ['a', 'b'], votersOutgoing: [], learners: ['c'], learnersNext: [], autoLeave: false }
  const cluster = new Cluster(three, {}, Object.fromEntries(three.map((id) => [id, { membership }])))
  cluster.elect('a')
  cluster.node('a').down = true
  cluster.tick('c', 40)
  expect(cluster.raft('c').status()).toMatchObject({ role: 'follower', leader: null })
  for (const ticks of [0, 3, 6, 9]) {
    cluster.tick('c', ticks)
    const ask = { logIndex: 9, logTerm: 9 }
    cluster.inject(message('b', 'c', 5, MessageType.preVote, ask))
    cluster.inject(message('b', 'c', 5, MessageType.vote, ask))
    expect(cluster.raft('c').status().dropped).toEqual({})
  }
  expect(cluster.node('c').disk.hardState).toMatchObject({ term: 5, vote: 'b' })
})

test('a stale leader learns of the newer term from the answer to its heartbeat', () => {
  const cluster = new Cluster(three, { checkQuorum: false })
  cluster.elect('a')
  cluster.isolate('a')
  cluster.run(40)
  expect(cluster.raft('a').status().role).toBe('leader')
  cluster.heal()
  cluster.tick('a')
  cluster.deliverAll()
  expect(cluster.raft('a').status().role).toBe('follower')
})
