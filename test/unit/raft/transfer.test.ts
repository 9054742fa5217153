import { describe, expect, test } from 'vitest'
import { Cluster, isType, message, MessageType } from './cluster.ts'

const three = ['a', 'b', 'c']
const transfer = (cluster: Cluster, to: string | null): void => {
  cluster.do('a', (raft) => expect(raft.transferLeadership(to)).toMatchObject({ ok: true }))
}

function elected(overrides = {}): Cluster {
  const cluster = new Cluster(three, overrides)
  cluster.elect('a')
  return cluster
}

test('an up-to-date voter takes over within one election timeout, past the lease of the others', () => {
  const cluster = elected()
  transfer(cluster, 'b')
  cluster.deliverAll()
  expect(cluster.leader()).toBe('b')
  expect(cluster.raft('a').status()).toMatchObject({ role: 'follower', leader: 'b', transferee: null })
  cluster.run(20)
  expect(cluster.leader()).toBe('b')
})

test('null means the voter that is furthest ahead', () => {
  const cluster = elected()
  cluster.cut.add('a>b')
  cluster.propose('a', 'x')
  cluster.run(2)
  cluster.heal()
  transfer(cluster, null)
  expect(cluster.raft('a').status().transferee).toBe('c')
})

test('a voter that lags is brought up to date first', () => {
  const cluster = elected({ electionTicks: 20 })
  cluster.isolate('b')
  for (let i = 0; i < 20; i += 1) cluster.propose('a', 'x')
  cluster.run(3)
  cluster.heal()
  transfer(cluster, 'b')
  expect(cluster.pool.filter(isType(MessageType.timeoutNow))).toEqual([])
  cluster.run(10)
  expect(cluster.leader()).toBe('b')
  expect(cluster.node('b').disk.state.index).toBe(22)
})

test('proposals are refused meanwhile, and writes resume after an election timeout without a successor', () => {
  const cluster = elected()
  cluster.isolate('b')
  transfer(cluster, 'b')
  expect(cluster.propose('a', 'x')).toMatchObject({ ok: false, reason: 'transferring' })
  cluster.run(9)
  expect(cluster.propose('a', 'x')).toMatchObject({ ok: false })
  cluster.run(1)
  expect(cluster.propose('a', 'x')).toMatchObject({ ok: true })
  expect(cluster.raft('a').status()).toMatchObject({ transferee: null, term: 1 })
})

test('a lost timeoutNow is repeated', () => {
  const cluster = elected()
  transfer(cluster, 'b')
  cluster.drop(isType(MessageType.timeoutNow))
  cluster.run(2)
  expect(cluster.leader()).toBe('b')
})

test('a repeated timeoutNow starts one campaign only', () => {
  const cluster = elected()
  const order = message('a', 'b', 1, MessageType.timeoutNow)
  cluster.inject(order)
  cluster.inject(order)
  expect(cluster.raft('b').status().term).toBe(2)
})

test('no transfer survives a step-down', () => {
  const cluster = elected()
  cluster.isolate('b')
  transfer(cluster, 'b')
  cluster.inject(message('c', 'a', 5, MessageType.heartbeat, { commit: 0, context: 0 }))
  expect(cluster.raft('a').status()).toMatchObject({ role: 'follower', transferee: null })
  cluster.heal()
  cluster.run(40)
  cluster.do('a', (raft) => raft.campaign())
  cluster.run(40)
  const leader = cluster.leader() ?? ''
  expect(cluster.propose(leader, 'x')).toMatchObject({ ok: true })
})

test('a new target replaces an earlier one', () => {
  const cluster = elected()
  cluster.isolate('b')
  transfer(cluster, 'b')
  transfer(cluster, 'c')
  cluster.run(2)
  expect(cluster.leader()).toBe('c')
})

describe('refusals', () => {
  test.each(['a', 'x', 'd'])('to %s: the leader itself, a stranger, a learner', (to) => {
    const membership = { voters: three, votersOutgoing: [], learners: ['d'], learnersNext: [], autoLeave: false }
    const cluster = new Cluster([...three, 'd'], {}, Object.fromEntries([...three, 'd'].map((id) => [id, { membership }])))
    cluster.elect('a')
    const result = cluster.raft('a').transferLeadership(to)
    expect(result.ok).toBe(false)
    expect(result.detail).toMatch(/expected .*, got/)
  })

  test('by a follower, and with nobody to take over', () => {
    const cluster = elected()
    expect(cluster.raft('b').transferLeadership('c')).toMatchObject({ ok: false })
    const alone = new Cluster(['a'])
    alone.elect('a')
    expect(alone.raft('a').transferLeadership(null)).toMatchObject({ ok: false })
  })

  test('a late timeoutNow finds no leader, another leader, or no voter, and does nothing', () => {
    const cluster = elected()
    cluster.inject(message('c', 'b', 1, MessageType.timeoutNow))
    expect(cluster.raft('b').status()).toMatchObject({ term: 1, role: 'follower' })
    const learner = { voters: ['a', 'b'], votersOutgoing: [], learners: ['c'], learnersNext: [], autoLeave: false }
    const other = new Cluster(three, {}, Object.fromEntries(three.map((id) => [id, { membership: learner }])))
    other.elect('a')
    other.inject(message('a', 'c', 1, MessageType.timeoutNow))
    expect(other.raft('c').status()).toMatchObject({ term: 1, role: 'follower' })
  })
})
