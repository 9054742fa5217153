/** Sealed nodes: they vote and replicate, campaign last, and if they win, hand over. */
import { expect, test } from 'vitest'
import { Cluster, isType, logOf, message, MessageType } from './cluster.ts'

const three = ['a', 'b', 'c']
const seal = (cluster: Cluster, ...ids: string[]): void => {
  for (const id of ids) cluster.do(id, (raft) => raft.setSealed(true))
}

test('a sealed node campaigns only after every unsealed one had its turn', () => {
  const cluster = new Cluster(three, { randomBelow: () => 0 })
  seal(cluster, 'a')
  cluster.tick('a', 29)
  expect(cluster.raft('a').status().role).toBe('follower')
  cluster.tick('a', 1)
  expect(cluster.raft('a').status().role).toBe('pre-candidate')
})

test('a sealed node votes and replicates', () => {
  const cluster = new Cluster(three)
  seal(cluster, 'b', 'c')
  cluster.run(20)
  expect(cluster.leader()).toBe('a')
  cluster.propose('a', 'x')
  cluster.run(3)
  expect(cluster.node('c').disk.state.index).toBe(2)
})

test('with only sealed nodes one leads, adds nothing but its empty entry, and refuses proposals', () => {
  const cluster = new Cluster(three)
  seal(cluster, ...three)
  cluster.run(100)
  const leader = cluster.leader() ?? ''
  expect(cluster.raft(leader).status()).toMatchObject({ lastIndex: 1, commit: 1, ready: false, sealed: true })
  expect(cluster.propose(leader, 'x')).toMatchObject({ ok: false, reason: 'caretaker' })
  const change = { steps: [{ kind: 'remove' as const, node: 'a' }], joint: 'auto' as const, context: new Uint8Array(0) }
  expect(cluster.raft(leader).proposeMembership(change)).toMatchObject({ ok: false, reason: 'caretaker' })
})

test('a caretaker hands over as soon as a voter is unsealed', () => {
  const cluster = new Cluster(three)
  seal(cluster, ...three)
  cluster.run(60)
  const caretaker = cluster.leader() ?? ''
  const other = three.find((id) => id !== caretaker) ?? ''
  cluster.do(other, (raft) => raft.setSealed(false))
  cluster.run(6)
  expect(cluster.leader()).toBe(other)
  expect(cluster.raft(other).status()).toMatchObject({ ready: true, lastIndex: 2 })
})

test('a sealed node with the only long log wins, replicates it, and hands over to an unsealed one', () => {
  const log = logOf(1, 1, 1, 1)
  const cluster = new Cluster(three, {}, { a: { voters: three, log }, b: { voters: three, log: logOf(1) } })
  seal(cluster, 'a')
  cluster.node('c').down = true
  cluster.run(80)
  expect(cluster.leader()).toBe('b')
  expect(cluster.raft('b').status()).toMatchObject({ ready: true })
  expect(cluster.node('b').disk.state).toEqual(cluster.node('a').disk.state)
})

test('an unsealed node that restarts wins at once against sealed ones that campaign', () => {
  const cluster = new Cluster(three)
  seal(cluster, 'b', 'c')
  cluster.node('a').down = true
  cluster.isolate('b')
  cluster.isolate('c')
  cluster.run(70)
  cluster.heal()
  cluster.restart('a')
  cluster.run(40)
  expect(cluster.leader()).toBe('a')
})

test('a leader that is sealed while it leads hands over what it has in flight, complete', () => {
  const cluster = new Cluster(three)
  cluster.elect('a')
  cluster.propose('a', 'x', 'y')
  seal(cluster, 'a')
  expect(cluster.propose('a', 'z')).toMatchObject({ reason: 'caretaker' })
  cluster.run(6)
  expect(cluster.leader()).not.toBe('a')
  cluster.run(3)
  expect(cluster.node('b').disk.state.index).toBe(4)
})

test('leadership is never handed to a node that is known to be sealed, nor taken by one that was sealed meanwhile', () => {
  const cluster = new Cluster(three)
  seal(cluster, 'b')
  cluster.elect('a')
  expect(cluster.raft('a').transferLeadership('b')).toMatchObject({ ok: false })
  cluster.inject(message('a', 'b', 1, MessageType.timeoutNow))
  expect(cluster.raft('b').status()).toMatchObject({ role: 'follower', term: 1, dropped: { 'timeout-now-refused': 1 } })
  cluster.do('a', (raft) => raft.transferLeadership(null))
  cluster.run(5)
  expect(cluster.leader()).toBe('c')
})

test('a caretaker tries another voter when the first one does not take over', () => {
  const cluster = new Cluster(three)
  seal(cluster, ...three)
  cluster.run(60)
  const caretaker = cluster.leader() ?? ''
  const [first = '', second = ''] = three.filter((id) => id !== caretaker)
  for (const id of [first, second]) cluster.do(id, (raft) => raft.setSealed(false))
  const wanted: string[] = []
  for (let i = 0; i < 25; i += 1) {
    for (const id of three) cluster.tick(id)
    for (const { to } of cluster.pool.filter(isType(MessageType.timeoutNow))) if (wanted.at(-1) !== to) wanted.push(to)
    cluster.drop(isType(MessageType.timeoutNow))
    cluster.deliver()
  }
  expect(wanted.slice(0, 2).toSorted()).toEqual([first, second])
})

test('a sole sealed voter leads without delay, and serves once it is unsealed', () => {
  const cluster = new Cluster(['a'])
  seal(cluster, 'a')
  cluster.run(12)
  expect(cluster.raft('a').status()).toMatchObject({ role: 'leader', ready: false, commit: 1 })
  cluster.do('a', (raft) => raft.setSealed(false))
  expect(cluster.raft('a').status().ready).toBe(true)
  expect(cluster.propose('a', 'x')).toMatchObject({ ok: true })
})

test('a caretaker leaves a joint membership to its successor', () => {
  const joint = { voters: ['a', 'b'], votersOutgoing: three, learners: [], learnersNext: [], autoLeave: true }
  const cluster = new Cluster(three, {}, Object.fromEntries(three.map((id) => [id, { membership: joint }])))
  seal(cluster, ...three)
  cluster.run(100)
  expect(cluster.raft(cluster.leader() ?? '').status()).toMatchObject({ lastIndex: 1, membership: joint })
  cluster.do('b', (raft) => raft.setSealed(false))
  cluster.do('a', (raft) => raft.setSealed(false))
  cluster.run(60)
  expect(cluster.raft(cluster.leader() ?? '').status().membership).toMatchObject({ voters: ['a', 'b'], votersOutgoing: [] })
})
