import { describe, expect, test } from 'vitest'
import { Cluster, isType, logOf, message, MessageType } from './cluster.ts'

const three = ['a', 'b', 'c']
const read = (cluster: Cluster, id: string, context: number): void => cluster.do(id, (raft) => raft.readIndex(context))
const indexes = (cluster: Cluster, id: string) => cluster.node(id).reads.map(({ context, index }) => [context, index])

test('a leader answers once a majority has acknowledged a heartbeat', () => {
  const cluster = new Cluster(three)
  cluster.elect('a')
  cluster.do('a', (raft) => raft.setLeaderTime(1234))
  read(cluster, 'a', 7)
  expect(indexes(cluster, 'a')).toEqual([])
  cluster.deliver(isType(MessageType.heartbeat))
  cluster.deliver(({ type, from }) => type === MessageType.heartbeatReply && from === 'b')
  expect(cluster.node('a').reads).toEqual([{ context: 7, index: 1, leaderTimeMs: 1234 }])
})

test('an acknowledgement of an earlier heartbeat does not count, however late it comes', () => {
  const cluster = new Cluster(three)
  cluster.elect('a')
  read(cluster, 'a', 1)
  cluster.deliver(isType(MessageType.heartbeat))
  const early = cluster.pool.filter(isType(MessageType.heartbeatReply))
  cluster.deliverAll()
  expect(indexes(cluster, 'a')).toEqual([[1, 1]])
  read(cluster, 'a', 2)
  cluster.drop()
  for (const reply of [...early, ...early]) cluster.inject(reply)
  expect(indexes(cluster, 'a')).toEqual([[1, 1]])
})

test('a read repeated with the same context is confirmed by its own round only', () => {
  const cluster = new Cluster(three)
  cluster.elect('a')
  const ask = message('b', 'a', 1, MessageType.readIndex, { context: 5 })
  cluster.inject(ask)
  cluster.deliver(isType(MessageType.heartbeat))
  const early = cluster.pool.filter(isType(MessageType.heartbeatReply))
  cluster.deliver()
  expect(cluster.sent.filter(isType(MessageType.readIndexReply))).toHaveLength(1)
  cluster.inject(ask)
  cluster.drop()
  for (const reply of early) cluster.inject(reply)
  expect(cluster.sent.filter(isType(MessageType.readIndexReply)), 'acknowledgements of the first round').toHaveLength(1)
  cluster.run(2)
  expect(cluster.sent.filter(isType(MessageType.readIndexReply))).toHaveLength(2)
})

test('a deposed leader that does not know it yet answers nothing', () => {
  const cluster = new Cluster(three, { checkQuorum: false })
  cluster.elect('a')
  cluster.isolate('a')
  cluster.run(40)
  cluster.propose(cluster.leader() ?? '', 'newer')
  cluster.run(2)
  expect(cluster.raft('a').status().role).toBe('leader')
  read(cluster, 'a', 1)
  cluster.run(20)
  expect(indexes(cluster, 'a')).toEqual([])
  cluster.heal()
  cluster.run(20)
  expect(indexes(cluster, 'a'), 'refused when it learned of the newer term').toEqual([[1, null]])
})

test.each([1, 3])('a new leader answers nothing before a commit in its own term (%i voters)', (count) => {
  const ids = three.slice(0, count)
  const log = logOf(1, 1, 1)
  const setup = Object.fromEntries(ids.map((id) => [id, { voters: ids, log }]))
  const cluster = new Cluster(ids, {}, setup)
  const vote = (): void => {
    for (let i = 0; i < 4; i += 1) cluster.deliver(({ type }) => type !== MessageType.append)
  }
  cluster.node('a').holdPersist = true
  cluster.do('a', (raft) => raft.campaign())
  vote()
  cluster.write('a')
  vote()
  const status = cluster.raft('a').status()
  expect(status).toMatchObject({ role: 'leader', commit: 0 })
  read(cluster, 'a', 1)
  cluster.deliver(({ type }) => type === MessageType.heartbeat || type === MessageType.heartbeatReply)
  expect(indexes(cluster, 'a')).toEqual([])
  cluster.node('a').holdPersist = false
  cluster.write('a')
  cluster.run(3)
  expect(indexes(cluster, 'a')).toEqual([[1, 4]])
})

test('a sole voter answers at once when it is ready', () => {
  const cluster = new Cluster(['a'])
  cluster.elect('a')
  read(cluster, 'a', 3)
  expect(indexes(cluster, 'a')).toEqual([[3, 1]])
})

test.each(['follower', 'learner'])('a %s asks the leader, many reads in one question', (kind) => {
  const membership = { voters: ['a', 'b'], votersOutgoing: [], learners: ['c'], learnersNext: [], autoLeave: false }
  const setups = kind === 'learner' ? Object.fromEntries(three.map((id) => [id, { membership }])) : {}
  const cluster = new Cluster(three, {}, setups)
  cluster.elect('a')
  cluster.do('a', (raft) => raft.setLeaderTime(99))
  cluster.do('c', (raft) => {
    for (const context of [1, 2, 3]) raft.readIndex(context)
  })
  expect(cluster.pool.filter(isType(MessageType.readIndex))).toHaveLength(1)
  cluster.run(2)
  expect(cluster.node('c').reads).toEqual([1, 2, 3].map((context) => ({ context, index: 1, leaderTimeMs: 99 })))
})

test('reads of one moment share one round of heartbeats', () => {
  const cluster = new Cluster(three)
  cluster.elect('a')
  cluster.do('a', (raft) => {
    for (let context = 0; context < 50; context += 1) raft.readIndex(context)
  })
  expect(cluster.pool.filter(isType(MessageType.heartbeat))).toHaveLength(2)
  cluster.deliverAll()
  expect(cluster.node('a').reads).toHaveLength(50)
})

describe('refusals', () => {
  test('without a leader, at once', () => {
    const cluster = new Cluster(three)
    read(cluster, 'b', 1)
    expect(indexes(cluster, 'b')).toEqual([[1, null]])
  })

  test('beyond the bound of the queue', () => {
    const cluster = new Cluster(three, { pendingReadsMax: 2 })
    cluster.elect('a')
    cluster.isolate('a')
    for (const id of ['a', 'b']) for (const context of [1, 2, 3]) read(cluster, id, context)
    expect(indexes(cluster, 'a')).toEqual([[3, null]])
    expect(indexes(cluster, 'b')).toEqual([[3, null]])
  })

  test('queued ones, when the term changes', () => {
    const cluster = new Cluster(three)
    cluster.elect('a')
    read(cluster, 'a', 1)
    read(cluster, 'b', 2)
    cluster.drop()
    for (const id of ['a', 'b']) cluster.inject(message('c', id, 9, MessageType.heartbeat, { commit: 0, context: 0 }))
    expect(indexes(cluster, 'a')).toEqual([[1, null]])
    expect(indexes(cluster, 'b')).toEqual([[2, null]])
  })

  test('by a node that does not lead', () => {
    const cluster = new Cluster(three)
    cluster.elect('a')
    cluster.inject(message('c', 'b', 1, MessageType.readIndex, { context: 5 }))
    expect(cluster.pool).toMatchObject([{ type: MessageType.readIndexReply, to: 'c', context: 5, reject: true }])
  })

  test('when the leader does not answer within an election timeout', () => {
    const cluster = new Cluster(three, { checkQuorum: false, preVote: false })
    cluster.elect('a')
    read(cluster, 'b', 1)
    cluster.cut.add('b>a')
    cluster.run(11)
    expect(indexes(cluster, 'b')).toEqual([[1, null]])
    expect(cluster.sent.filter(isType(MessageType.readIndex)).length, 'it asked again').toBeGreaterThan(2)
  })
})

test('an answer to a question of an earlier life is not taken for an answer to a new one', () => {
  const cluster = new Cluster(three, { randomBelow: (n) => Math.floor(n / 3) })
  cluster.elect('a')
  read(cluster, 'b', 1)
  const [question] = cluster.pool.filter(isType(MessageType.readIndex))
  cluster.drop()
  cluster.restart('b', { randomBelow: (n) => Math.floor(n / 2) })
  cluster.run(2)
  read(cluster, 'b', 1)
  cluster.drop()
  cluster.inject(message('a', 'b', 1, MessageType.readIndexReply, { context: question?.context ?? 0, logIndex: 1, leaderTimeMs: 0 }))
  expect(indexes(cluster, 'b')).toEqual([])
})
