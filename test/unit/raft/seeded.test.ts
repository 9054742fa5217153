/** What seeded bugs (test/mutants) showed that nothing else looked at. */
import { expect, test } from 'vitest'
import { Cluster } from './cluster.ts'

const three = ['a', 'b', 'c']

test('a pre-candidate has no leader any more, and grants the pre-vote of another at once', () => {
  const cluster = new Cluster(three)
  cluster.elect('a')
  cluster.node('a').down = true
  cluster.do('b', (raft) => raft.campaign())
  cluster.drop()
  expect(cluster.raft('b').status()).toMatchObject({ role: 'pre-candidate', leader: null })
  cluster.do('c', (raft) => raft.campaign())
  cluster.deliverAll()
  expect(cluster.leader()).toBe('c')
})

test('a joint membership is not left before it is committed', () => {
  const cluster = new Cluster(['a', 'b', 'c', 'd', 'e'])
  cluster.elect('a')
  for (const id of ['d', 'e']) cluster.isolate(id)
  const steps = ['b', 'c'].map((node) => ({ kind: 'remove' as const, node }))
  cluster.do('a', (raft) =>
    expect(raft.proposeMembership({ steps, joint: 'auto', context: new Uint8Array(0) })).toMatchObject({ ok: true }),
  )
  cluster.run(4)
  // The joint entry is in the log and waits for a majority of both halves: nothing may follow it by itself.
  expect(cluster.raft('a').status()).toMatchObject({ lastIndex: 2, commit: 1 })
  cluster.heal()
  cluster.run(4)
  expect(cluster.raft('a').status()).toMatchObject({ lastIndex: 3, commit: 3, membership: { voters: ['a', 'd', 'e'], votersOutgoing: [] } })
})

test('what is proposed while a write is under way is no part of it', () => {
  const cluster = new Cluster(['a'])
  cluster.elect('a')
  const node = cluster.node('a')
  node.holdPersist = true
  cluster.propose('a', 'x')
  expect(node.held?.entries.map(({ index }) => index)).toEqual([2])
  cluster.propose('a', 'y')
  // A driver may hand the array to its disk and look at it later: it must hold what it held.
  expect(node.held?.entries.map(({ index }) => index)).toEqual([2])
  cluster.write('a')
  expect([node.disk.lastIndex(), cluster.raft('a').status().commit]).toEqual([2, 2])
  expect(node.held?.entries.map(({ index }) => index)).toEqual([3])
})
