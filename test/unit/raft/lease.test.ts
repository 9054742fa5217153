/** Lease reads (failures 11 and 12): each way in which a lease of other implementations served what was no longer true, by name. */
import { describe, expect, test } from 'vitest'
import type { Membership, RaftConfig } from '#raft/index.ts'
import { Lease, roundsKeptMax } from '#raft/lease.ts'
import { Cluster, isType, logOf, message, MessageType, type NodeSetup } from './cluster.ts'

const three = ['a', 'b', 'c']
const promiseMs = 1_000
/** A tenth of the promise: ten ticks make an election timeout. */
const tickMs = 100

/** A cluster whose clocks stand still until the test moves them. */
class Timed extends Cluster {
  readonly now: Record<string, number> = {}

  constructor(ids: readonly string[], overrides: Partial<RaftConfig> = {}, setups: Readonly<Record<string, NodeSetup>> = {}) {
    super(ids, { lease: { promiseMs, clockDriftMax: 0 }, ...overrides }, setups)
    for (const id of ids) this.at(id, 0)
  }

  /** What the node's driver reads from its clock. */
  at(id: string, ms: number): void {
    this.now[id] = ms
    this.do(id, (raft) => raft.setMonotonicTime(ms))
  }

  /** Time passes everywhere alike, without a tick. */
  pass(ms: number): void {
    for (const id of this.members.keys()) this.at(id, (this.now[id] ?? 0) + ms)
  }

  /** Like `run`, with clocks that keep time. */
  live(ticks: number): void {
    for (let tick = 0; tick < ticks; tick += 1) {
      this.pass(tickMs)
      this.run(1)
    }
    this.pass(0)
  }

  /** Elects `id` once every promise from before has lapsed; the newest round is acknowledged at the clocks' present. */
  lead(id: string): void {
    this.pass(promiseMs)
    this.elect(id)
    this.live(2)
  }

  /** A read, answered at once or not: nothing is delivered. The clock is handed in behind it, as drivers do. */
  read(id: string, context: number): number | null | undefined {
    const { raft } = this.node(id)
    raft.readIndex(context)
    raft.setMonotonicTime(this.now[id] ?? 0)
    this.pump(this.node(id))
    return this.node(id).reads.find((read) => read.context === context)?.index
  }

  served(id: string): { readonly byLease: number; readonly byRound: number } {
    return this.raft(id).status().readsConfirmed
  }
}

const nobody = (cluster: Timed): void => {
  cluster.pool = []
}

describe('a lease answers without a round', () => {
  test('its own reads, and those of a follower and a learner', () => {
    const membership: Membership = { voters: ['a', 'b'], votersOutgoing: [], learners: ['c'], learnersNext: [], autoLeave: false }
    const cluster = new Timed(three, {}, Object.fromEntries(three.map((id) => [id, { membership }])))
    cluster.lead('a')
    nobody(cluster)
    expect(cluster.read('a', 1)).toBe(1)
    expect(cluster.pool).toEqual([])
    for (const id of ['b', 'c']) {
      cluster.read(id, 2)
      const questions = cluster.pool.splice(0)
      for (const question of questions) {
        cluster.raft('a').step(question)
        cluster.at('a', cluster.now['a'] ?? 0)
      }
      expect(cluster.pool.map(({ type }) => type)).toEqual([MessageType.readIndexReply])
      cluster.deliverAll()
      expect(cluster.node(id).reads).toEqual([{ context: 2, index: 1, leaderTimeMs: 0 }])
    }
    expect(cluster.served('a')).toEqual({ byLease: 3, byRound: 0 })
  })

  test('only where it is asked for', () => {
    const cluster = new Timed(three, { lease: undefined })
    cluster.lead('a')
    expect(cluster.read('a', 1)).toBeUndefined()
    cluster.deliverAll()
    expect(cluster.node('a').reads).toHaveLength(1)
    expect(cluster.served('a')).toEqual({ byLease: 0, byRound: 1 })
  })

  test('never in a cluster whose voters need not honour it', () => {
    expect(() => new Timed(three, { checkQuorum: false })).toThrow('expected checkQuorum with a lease')
  })
})

describe('the 2E window (raft#166): a lease counts from the sending of what was acknowledged', () => {
  test('and ends one promise later, however late the acknowledgement came', () => {
    const cluster = new Timed(three)
    cluster.lead('a')
    // The heartbeats of this moment are heard only at the end of an election timeout, and acknowledged at once then.
    cluster.tick('a')
    const sentMs = cluster.now['a'] ?? 0
    cluster.pass(promiseMs - 1)
    cluster.deliverAll()
    expect(cluster.raft('a').status().role).toBe('leader')
    expect(cluster.read('a', 1)).toBe(1)
    cluster.at('a', sentMs + promiseMs)
    expect(cluster.read('a', 2)).toBeUndefined()
  })

  test('a leader that is cut off and still believes in its quorum serves nothing after the others may elect', () => {
    const cluster = new Timed(three)
    cluster.lead('a')
    cluster.isolate('a')
    // Its ticks lag behind its clock (the process was busy), so that check-quorum would let it lead for twice as long.
    cluster.tick('a', 5)
    cluster.pass(promiseMs)
    cluster.tick('c', 10)
    cluster.tick('b', 20)
    cluster.deliverAll()
    expect(cluster.leader()).toBe('b')
    cluster.propose('b', 'newer')
    cluster.deliverAll()
    expect(cluster.raft('a').status()).toMatchObject({ role: 'leader', quorumActive: true })
    expect(cluster.read('a', 1)).toBeUndefined()
  })

  test('each round of heartbeats has a number of its own, and an acknowledgement renews only up to that', () => {
    const cluster = new Timed(three)
    cluster.lead('a')
    cluster.tick('a')
    const early = cluster.pool.splice(0)
    cluster.pass(promiseMs - 1)
    cluster.tick('a')
    cluster.drop()
    for (const heartbeat of early) cluster.inject(heartbeat)
    cluster.deliverAll()
    cluster.pass(1)
    // The later heartbeat is younger than the promise, but nobody has acknowledged it.
    expect(cluster.read('a', 1)).toBeUndefined()
  })

  test('the declared drift shortens it', () => {
    const cluster = new Timed(three, { lease: { promiseMs, clockDriftMax: 0.25 } })
    cluster.lead('a')
    const sentMs = cluster.now['a'] ?? 0
    cluster.at('a', sentMs + 799)
    expect(cluster.read('a', 1)).toBe(1)
    cluster.at('a', sentMs + 800)
    expect(cluster.read('a', 2)).toBeUndefined()
  })
})

describe('a transfer passes all promises (raft#99, etcd#12704)', () => {
  test('so the lease ends when it starts', () => {
    const cluster = new Timed(three)
    cluster.lead('a')
    cluster.isolate('c')
    cluster.propose('a', 'c lacks this')
    cluster.deliverAll()
    cluster.pass(0)
    expect(cluster.read('a', 1)).toBe(2)
    cluster.do('a', (raft) => raft.transferLeadership('c'))
    expect(cluster.read('a', 2), 'c catches up first').toBeUndefined()
  })

  test('and does not come back in this term, since timeoutNow may still be under way', () => {
    const cluster = new Timed(three)
    cluster.lead('a')
    cluster.do('a', (raft) => raft.transferLeadership('b'))
    const order = cluster.pool.find(isType(MessageType.timeoutNow))
    expect(order).toBeDefined()
    cluster.drop(isType(MessageType.timeoutNow))
    for (let tick = 0; tick < 15; tick += 1) {
      cluster.pass(tickMs)
      for (const id of three) cluster.tick(id)
      cluster.drop(isType(MessageType.timeoutNow))
      cluster.deliverAll()
    }
    expect(cluster.raft('a').status()).toMatchObject({ role: 'leader', term: 1, transferee: null })
    expect(cluster.propose('a', 'writes resume').ok).toBe(true)
    cluster.deliverAll()
    cluster.pass(0)
    expect(cluster.read('a', 1)).toBeUndefined()
    // Here is why: late, the order still makes b the leader, whatever c has promised, and a hears of it last.
    cluster.drop()
    cluster.cut.add('b>a')
    if (order !== undefined) cluster.inject(order)
    cluster.deliverAll()
    expect(cluster.raft('b').status()).toMatchObject({ role: 'leader', term: 2 })
    expect(cluster.raft('a').status().role).toBe('leader')
  })

  test('a new term has its lease again', () => {
    const cluster = new Timed(three)
    cluster.lead('a')
    cluster.do('a', (raft) => raft.transferLeadership('b'))
    cluster.deliverAll()
    cluster.live(3)
    expect(cluster.leader()).toBe('b')
    expect(cluster.read('b', 1)).toBe(2)
  })

  test('one that never got so far as to tell its target costs nothing once it is given up', () => {
    const cluster = new Timed(three)
    cluster.lead('a')
    cluster.isolate('c')
    cluster.propose('a', 'c lacks this')
    cluster.deliverAll()
    cluster.do('a', (raft) => raft.transferLeadership('c'))
    cluster.live(12)
    expect(cluster.raft('a').status()).toMatchObject({ role: 'leader', transferee: null })
    expect(cluster.sent.filter(isType(MessageType.timeoutNow))).toEqual([])
    expect(cluster.read('a', 1)).toBe(2)
  })
})

describe('pause and burst (TiKV#964, sofa-jraft#25)', () => {
  test('a process that stood still reads its clock again before it answers what came meanwhile', () => {
    const cluster = new Timed(three)
    cluster.lead('a')
    const { raft } = cluster.node('a')
    // The read is taken in, then the process is stopped: the time that the core knows is that of before.
    raft.readIndex(1)
    cluster.pump(cluster.node('a'))
    expect(cluster.node('a').reads, 'no time was handed in since the read came').toEqual([])
    raft.readIndex(2)
    raft.setMonotonicTime((cluster.now['a'] ?? 0) + promiseMs)
    cluster.pump(cluster.node('a'))
    expect(cluster.node('a').reads).toEqual([])
    expect(cluster.served('a').byLease).toBe(0)
  })

  test('the time of the last tick is no time for a read of another node', () => {
    const cluster = new Timed(three)
    cluster.lead('a')
    nobody(cluster)
    cluster.inject(message('b', 'a', 1, MessageType.readIndex, { context: 9 }))
    expect(cluster.sent.filter(isType(MessageType.readIndexReply))).toEqual([])
    expect(cluster.pool.map(({ type }) => type)).toEqual([MessageType.heartbeat, MessageType.heartbeat])
  })

  test('a burst of ticks does not end a promise: the clock does', () => {
    const cluster = new Timed(three)
    cluster.lead('a')
    cluster.node('a').down = true
    for (const id of ['b', 'c']) cluster.tick(id, 25)
    cluster.do('b', (raft) => raft.campaign())
    expect(cluster.pool, 'nobody campaigns, not even when told to').toEqual([])
    const vote = message('b', 'c', 2, MessageType.vote, { logIndex: 9, logTerm: 9 })
    cluster.inject(vote)
    expect(cluster.node('c').disk.hardState).toMatchObject({ term: 1 })
    cluster.pass(promiseMs)
    cluster.inject(vote)
    expect(cluster.node('c').disk.hardState).toMatchObject({ term: 2, vote: 'b' })
  })

  test('when its ticks came too early, a follower campaigns at the first tick after its promise, not a timeout later', () => {
    const cluster = new Timed(three)
    cluster.lead('a')
    cluster.node('a').down = true
    cluster.tick('b', 15)
    cluster.pass(promiseMs)
    expect(cluster.raft('b').status().role).toBe('follower')
    cluster.tick('b')
    expect(cluster.raft('b').status().role).toBe('pre-candidate')
  })

  test('a driver that doubts its clock starts over', () => {
    const cluster = new Timed(three)
    cluster.lead('a')
    cluster.tick('a')
    expect(cluster.read('a', 1)).toBe(1)
    cluster.do('a', (raft) => raft.doubtLease())
    // Not even what was sent before and is acknowledged after it counts.
    cluster.deliverAll()
    expect(cluster.read('a', 2)).toBeUndefined()
    cluster.live(1)
    expect(cluster.read('a', 3)).toBe(1)
  })
})

test('a sole voter answers nothing before its first commit, lease or not (raft#105)', () => {
  const cluster = new Timed(['a'], {}, { a: { voters: ['a'], log: logOf(1, 1, 1) } })
  cluster.pass(promiseMs)
  cluster.node('a').holdPersist = true
  cluster.do('a', (raft) => raft.campaign())
  cluster.write('a')
  expect(cluster.raft('a').status()).toMatchObject({ role: 'leader', commit: 0 })
  cluster.tick('a', 3)
  expect(cluster.read('a', 1)).toBeUndefined()
  cluster.node('a').holdPersist = false
  cluster.write('a')
  cluster.at('a', (cluster.now['a'] ?? 0) + 1)
  expect(cluster.node('a').reads).toEqual([{ context: 1, index: 4, leaderTimeMs: 0 }])
})

test('a new leader with a lease answers nothing before a commit in its term', () => {
  const cluster = new Timed(three, {}, Object.fromEntries(three.map((id) => [id, { voters: three, log: logOf(1, 1) }])))
  cluster.pass(promiseMs)
  cluster.do('a', (raft) => raft.campaign())
  for (let hop = 0; hop < 6; hop += 1) {
    cluster.drop(isType(MessageType.append))
    cluster.deliver()
  }
  cluster.tick('a')
  cluster.drop(isType(MessageType.append))
  cluster.deliver(isType(MessageType.heartbeat))
  cluster.deliver(isType(MessageType.heartbeatReply))
  expect(cluster.raft('a').status()).toMatchObject({ role: 'leader', commit: 0 })
  expect(cluster.read('a', 1)).toBeUndefined()
})

describe('a voter keeps its promise', () => {
  const ask = { logIndex: 9, logTerm: 9 }

  test('over a restart: it may have given one just before it crashed', () => {
    const cluster = new Timed(three)
    cluster.lead('a')
    cluster.restart('b')
    cluster.at('b', 0)
    // Its clock may have started anew with the machine.
    const vote = message('c', 'b', 7, MessageType.vote, ask)
    cluster.at('b', promiseMs - 1)
    cluster.inject(vote)
    cluster.inject({ ...vote, type: MessageType.preVote })
    cluster.do('b', (raft) => raft.campaign())
    cluster.tick('b', 30)
    expect(cluster.node('b').disk.hardState).toMatchObject({ term: 1 })
    expect(cluster.raft('b').status()).toMatchObject({ role: 'follower', dropped: { 'leader-lease': 3 } })
    cluster.at('b', promiseMs)
    cluster.inject(vote)
    expect(cluster.node('b').disk.hardState).toMatchObject({ term: 7, vote: 'c' })
  })

  test('also a sole voter, which cannot know whether it was alone', () => {
    const cluster = new Timed(['a'])
    cluster.tick('a', 9)
    expect(cluster.raft('a').status().role).toBe('follower')
    cluster.at('a', promiseMs)
    cluster.tick('a', 1)
    expect(cluster.raft('a').status().role).toBe('leader')
  })

  test('and none at all before it knows the time', () => {
    const cluster = new Cluster(three, { lease: { promiseMs, clockDriftMax: 0 } })
    cluster.inject(message('c', 'b', 7, MessageType.vote, ask))
    cluster.tick('b', 100)
    expect(cluster.node('b').disk.hardState).toMatchObject({ term: 0 })
  })

  test('over a newer term, from wherever it learned of it', () => {
    const cluster = new Timed(three)
    cluster.lead('a')
    cluster.inject(message('c', 'b', 6, MessageType.appendReply, { logIndex: 1, reject: true, rejectHint: 1, logTerm: 0 }))
    expect(cluster.raft('b').status()).toMatchObject({ term: 6, leader: null })
    const vote = message('c', 'b', 6, MessageType.vote, ask)
    cluster.inject(vote)
    cluster.inject({ ...vote, term: 7 })
    expect(cluster.node('b').disk.hardState).toMatchObject({ term: 6, vote: null })
    expect(cluster.read('a', 1), 'which is why its leader may go on').toBe(1)
    cluster.pass(promiseMs)
    cluster.inject(vote)
    expect(cluster.node('b').disk.hardState).toMatchObject({ term: 6, vote: 'c' })
  })

  test('from the moment that it hears its leader, by a clock that is read after that', () => {
    const cluster = new Timed(three)
    cluster.lead('a')
    const { raft } = cluster.node('b')
    const heard = message('a', 'b', 1, MessageType.heartbeat, { commit: 1, context: 99 })
    // The process stood still before it took the message in: the clock that it knows is an old one.
    raft.step(heard)
    cluster.at('b', (cluster.now['b'] ?? 0) + 10 * promiseMs)
    cluster.at('b', (cluster.now['b'] ?? 0) + promiseMs - 1)
    // By its ticks it has not heard its leader for an election timeout: nothing but the promise is left.
    cluster.tick('b', 10)
    cluster.inject(message('c', 'b', 7, MessageType.vote, ask))
    expect(cluster.node('b').disk.hardState).toMatchObject({ term: 1 })
  })

  test('a candidate that lags in terms is told so all the same', () => {
    const cluster = new Timed(three)
    cluster.lead('a')
    cluster.inject(message('c', 'b', 1, MessageType.preVote, ask))
    cluster.drop(({ type }) => type !== MessageType.preVoteReply)
    expect(cluster.pool).toMatchObject([{ to: 'c', reject: true, term: 1 }])
  })
})

describe('the majority that has promised is that of the membership in force', () => {
  const joint: Membership = { voters: ['a', 'b', 'c'], votersOutgoing: ['a', 'd', 'e'], learners: [], learnersNext: [], autoLeave: false }
  const five = ['a', 'b', 'c', 'd', 'e']
  const make = (): Timed => new Timed(five, {}, Object.fromEntries(five.map((id) => [id, { membership: joint }])))

  test.each([
    { cut: ['b', 'c'], held: false },
    { cut: ['d', 'e'], held: false },
    { cut: ['b', 'd'], held: true },
  ])('in a joint one of both halves: without $cut held is $held', ({ cut, held }) => {
    const cluster = make()
    cluster.lead('a')
    for (const id of cut) cluster.isolate(id)
    cluster.live(9)
    expect(cluster.raft('a').status().role).toBe('leader')
    cluster.pass(tickMs)
    expect(cluster.read('a', 1)).toBe(held ? 1 : undefined)
  })

  test.each([
    { name: 'nothing', lease: undefined },
    { name: 'less', lease: { promiseMs: promiseMs - 1, clockDriftMax: 0 } },
  ])('one that promises nothing, or less, carries none: $name', ({ lease }) => {
    const cluster = new Timed(three, {}, { b: { voters: three, config: { lease } } })
    cluster.lead('a')
    expect(cluster.read('a', 1), 'c has promised').toBe(1)
    cluster.isolate('c')
    cluster.live(9)
    cluster.pass(tickMs)
    expect(cluster.raft('a').status()).toMatchObject({ role: 'leader', quorumActive: true })
    expect(cluster.read('a', 2)).toBeUndefined()
    cluster.deliverAll()
    expect(cluster.node('a').reads, 'its word counts for a round all the same').toHaveLength(2)
  })

  test('and while a change is not committed every read takes a round', () => {
    const cluster = new Timed(three)
    cluster.lead('a')
    const change = { steps: [{ kind: 'remove' as const, node: 'c' }], joint: 'auto' as const, context: new Uint8Array(0) }
    cluster.do('a', (raft) => expect(raft.proposeMembership(change)).toMatchObject({ ok: true }))
    expect(cluster.read('a', 1)).toBeUndefined()
    cluster.deliverAll()
    cluster.pass(0)
    expect(cluster.read('a', 2)).toBe(2)
  })
})

test('a leader that stepped down and leads again begins without a lease', () => {
  const cluster = new Timed(three)
  cluster.lead('a')
  cluster.isolate('a')
  cluster.tick('a', 10)
  expect(cluster.raft('a').status().role).toBe('follower')
  expect(cluster.read('a', 1)).toBeNull()
  cluster.heal()
  cluster.pass(promiseMs)
  for (const id of ['b', 'c']) cluster.tick(id, 10)
  cluster.drop()
  cluster.do('a', (raft) => raft.campaign())
  cluster.deliverAll()
  cluster.pass(0)
  expect(cluster.raft('a').status()).toMatchObject({ role: 'leader', term: 2, commit: 2 })
  expect(cluster.read('a', 2), 'no heartbeat of this term is acknowledged').toBeUndefined()
})

describe('the bookkeeping', () => {
  test('is bounded: of many rounds the oldest are forgotten', () => {
    const lease = new Lease({ promiseMs, clockDriftMax: 0 })
    lease.setTime(0)
    for (let round = 1; round <= 3 * roundsKeptMax; round += 1) lease.roundSent(round)
    expect(lease.holds(2 * roundsKeptMax)).toBe(false)
    expect(lease.holds(2 * roundsKeptMax + 1)).toBe(true)
  })

  test('takes no time that goes back, and no number that is none', () => {
    const lease = new Lease({ promiseMs, clockDriftMax: 0 })
    lease.setTime(500)
    lease.setTime(0)
    lease.roundSent(1)
    lease.setTime(500 + promiseMs)
    expect(lease.holds(1)).toBe(false)
    expect(() => lease.setTime(Number.NaN)).toThrow('expected a time')
    expect(() => new Lease({ promiseMs: 0, clockDriftMax: 0 })).toThrow('expected a promise')
    expect(() => new Lease({ promiseMs, clockDriftMax: -0.1 })).toThrow('expected clockDriftMax >= 0')
  })
})
