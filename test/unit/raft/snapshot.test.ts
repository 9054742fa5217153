import { expect, test } from 'vitest'
import { Cluster, isType, message, MessageType } from './cluster.ts'

const three = ['a', 'b', 'c']

/** c has missed `missed` entries, which a and b have compacted away. */
function lagging(missed = 20): Cluster {
  const cluster = new Cluster(three, { uncommittedBytesMax: 1e9 })
  cluster.elect('a')
  cluster.isolate('c')
  for (let i = 0; i < missed; i += 1) cluster.propose('a', `value ${i}`)
  cluster.run(3)
  for (const id of ['a', 'b']) {
    cluster.node(id).disk.sync()
    cluster.node(id).disk.compact(cluster.node(id).disk.state.index)
  }
  cluster.heal()
  cluster.run(3)
  return cluster
}

test('a follower whose entries are compacted away is brought back by a snapshot', () => {
  const cluster = lagging()
  expect(cluster.node('a').snapshotsTo).toEqual(['c'])
  cluster.streamSnapshot('a', 'c')
  cluster.propose('a', 'after')
  cluster.run(3)
  expect(cluster.node('c').disk.state).toEqual(cluster.node('a').disk.state)
  expect(cluster.raft('c').status()).toMatchObject({ commit: 22, applied: 22, firstIndex: 22 })
  expect(
    cluster
      .raft('a')
      .status()
      .peers.find(({ id }) => id === 'c'),
  ).toMatchObject({ state: 'replicate', match: 22 })
})

test('while a snapshot is under way commits go on, and nothing is sent but heartbeats', () => {
  const cluster = lagging()
  cluster.sent = []
  cluster.propose('a', 'x')
  cluster.run(3)
  expect(cluster.raft('a').status().commit).toBe(22)
  expect(cluster.sent.filter(({ to }) => to === 'c').every(({ type }) => type === MessageType.heartbeat)).toBe(true)
  expect(cluster.node('a').snapshotsTo).toEqual(['c'])
})

test('an acknowledgement leaves only once the snapshot is installed, and a slow installation asks for no second one', () => {
  const cluster = lagging()
  cluster.node('c').holdPersist = true
  cluster.streamSnapshot('a', 'c')
  cluster.run(30)
  expect(cluster.raft('a').status()).toMatchObject({ role: 'leader', term: 1 })
  expect(
    cluster
      .raft('a')
      .status()
      .peers.find(({ id }) => id === 'c')?.match,
  ).toBeLessThan(21)
  expect(cluster.node('a').snapshotsTo).toEqual(['c'])
  cluster.node('c').holdPersist = false
  cluster.write('c')
  cluster.run(3)
  expect(
    cluster
      .raft('a')
      .status()
      .peers.find(({ id }) => id === 'c'),
  ).toMatchObject({ state: 'replicate', match: 21 })
})

test('a failed stream is asked for again after a sign of life, not in a busy loop', () => {
  const cluster = lagging()
  cluster.do('a', (raft) => raft.snapshotSent('c', false))
  expect(cluster.node('a').snapshotsTo).toEqual(['c'])
  cluster.run(2)
  expect(cluster.node('a').snapshotsTo).toEqual(['c', 'c'])
  cluster.isolate('c')
  cluster.run(20)
  cluster.do('a', (raft) => raft.snapshotSent('c', false))
  cluster.run(20)
  expect(cluster.node('a').snapshotsTo, 'not to a peer that is gone').toEqual(['c', 'c'])
})

test('a snapshot that is older than what is committed changes nothing and is answered', () => {
  const cluster = new Cluster(three)
  cluster.elect('a')
  cluster.propose('a', 'x', 'y')
  cluster.run(3)
  const { state } = cluster.node('b').disk
  cluster.drop()
  cluster.do('b', (raft) => raft.snapshotReceived('a', 1, { index: 1, term: 1, membership: state.membership }))
  expect(cluster.pool).toMatchObject([{ type: MessageType.appendReply, logIndex: 3 }])
  expect(cluster.node('b').disk.state).toEqual(state)
})

test('a snapshot of entries that are here already only moves the commit index', () => {
  const cluster = new Cluster(three)
  cluster.elect('a')
  cluster.propose('a', 'x')
  cluster.deliver(isType(MessageType.append))
  expect(cluster.raft('b').status()).toMatchObject({ commit: 1, lastIndex: 2 })
  const { membership } = cluster.raft('b').status()
  cluster.do('b', (raft) => raft.snapshotReceived('a', 1, { index: 2, term: 1, membership }))
  expect(cluster.raft('b').status()).toMatchObject({ commit: 2, applied: 2, firstIndex: 1 })
})

test('a snapshot from a leader of an older term is refused, and the leader told', () => {
  const cluster = new Cluster(three)
  cluster.inject(message('b', 'c', 5, MessageType.heartbeat, { commit: 0, context: 0 }))
  cluster.drop()
  const { membership } = cluster.raft('c').status()
  cluster.do('c', (raft) => raft.snapshotReceived('a', 1, { index: 9, term: 1, membership }))
  expect(cluster.raft('c').status().lastIndex).toBe(0)
  expect(cluster.pool).toMatchObject([{ type: MessageType.appendReply, to: 'a', term: 5, reject: true }])
})

test('a snapshot without a sound membership is refused', () => {
  const cluster = new Cluster(three)
  const membership = { voters: [], votersOutgoing: [], learners: ['c'], learnersNext: [], autoLeave: false }
  cluster.do('c', (raft) => raft.snapshotReceived('a', 1, { index: 9, term: 1, membership }))
  expect(cluster.raft('c').status()).toMatchObject({ lastIndex: 0, dropped: { 'malformed-snapshot': 1 } })
})

test('a crash before the installation leaves the old log and state', () => {
  const cluster = lagging()
  const before = cluster.node('c').disk.state
  cluster.node('c').holdPersist = true
  cluster.streamSnapshot('a', 'c')
  cluster.restart('c')
  expect(cluster.node('c').disk.state).toEqual(before)
  cluster.run(3)
  cluster.streamSnapshot('a', 'c')
  cluster.run(3)
  expect(cluster.node('c').disk.state).toEqual(cluster.node('a').disk.state)
})

test('nothing is handed out to be applied while a snapshot waits to be installed', () => {
  const cluster = lagging()
  const member = cluster.node('c')
  member.holdPersist = true
  cluster.streamSnapshot('a', 'c')
  cluster.propose('a', 'after')
  const handed = member.committed.length
  cluster.run(3)
  expect(member.committed.length).toBe(handed)
})
