/** Each rule of the Raft paper's sections 5.1 to 5.4, by name. */
import { describe, expect, test } from 'vitest'
import { Cluster, entry, isType, logOf, message, MessageType } from './cluster.ts'

const three = ['a', 'b', 'c']
const repliesOf = (cluster: Cluster, ...types: MessageType[]) => cluster.sent.filter(isType(...types))

describe('5.1 Raft basics', () => {
  test('servers start as followers', () => {
    const cluster = new Cluster(three)
    for (const id of three) expect(cluster.raft(id).status()).toMatchObject({ role: 'follower', leader: null })
  })

  test.each(['follower', 'candidate', 'leader'])('a %s that sees a larger term updates its own and becomes a follower', (role) => {
    const cluster = new Cluster(three, { preVote: false })
    if (role === 'candidate') cluster.do('a', (raft) => raft.campaign())
    if (role === 'leader') cluster.elect('a')
    expect(cluster.raft('a').status().role).toBe(role)
    cluster.inject(message('b', 'a', 9, MessageType.append, { logIndex: 0, logTerm: 0, commit: 0, entries: [] }))
    expect(cluster.raft('a').status()).toMatchObject({ role: 'follower', term: 9, leader: 'b' })
    expect(cluster.node('a').disk.hardState.term).toBe(9)
  })

  test('a request with a stale term is rejected, and its sender told the newer term', () => {
    const cluster = new Cluster(three)
    const term = 5
    cluster.inject(message('a', 'b', term, MessageType.heartbeat, { commit: 0, context: 0 }))
    cluster.drop()
    cluster.inject(message('c', 'b', term - 1, MessageType.append, { logIndex: 0, logTerm: 0, commit: 0, entries: [] }))
    cluster.inject(message('c', 'b', term - 1, MessageType.vote, { logIndex: 9, logTerm: 9 }))
    expect(cluster.pool).toMatchObject([
      { type: MessageType.appendReply, term, reject: true },
      { type: MessageType.voteReply, term, reject: true },
    ])
  })

  test('a term is never forgotten across a restart', () => {
    const cluster = new Cluster(three)
    cluster.inject(message('b', 'a', 7, MessageType.heartbeat, { commit: 0, context: 0 }))
    cluster.restart('a')
    expect(cluster.raft('a').status().term).toBe(7)
  })
})

describe('5.2 Leader election', () => {
  test('a follower stays one as long as it hears a leader', () => {
    const cluster = new Cluster(three)
    cluster.elect('a')
    cluster.run(200)
    expect(cluster.leader()).toBe('a')
    expect(cluster.raft('b').status()).toMatchObject({ role: 'follower', term: 1 })
  })

  test('a follower that hears nothing for an election timeout campaigns, in a timeout drawn from [E, 2E)', () => {
    for (const draw of [0, 4, 9]) {
      const cluster = new Cluster(['a', 'b', 'c'], { preVote: false }, { a: { voters: three, config: { randomBelow: () => draw } } })
      cluster.tick('a', 10 + draw - 1)
      expect(cluster.raft('a').status().role).toBe('follower')
      cluster.tick('a')
      expect(cluster.raft('a').status()).toMatchObject({ role: 'candidate', term: 1 })
    }
  })

  test('a candidate increments its term, votes for itself, and asks all others', () => {
    const cluster = new Cluster(three, { preVote: false })
    cluster.do('a', (raft) => raft.campaign())
    expect(cluster.node('a').disk.hardState).toMatchObject({ term: 1, vote: 'a' })
    expect(cluster.pool.map(({ type, to, term }) => [type, to, term])).toEqual([
      [MessageType.vote, 'b', 1],
      [MessageType.vote, 'c', 1],
    ])
  })

  test.each([
    [1, ['a'], 0],
    [3, ['a', 'b'], 1],
    [5, ['a', 'b', 'c'], 2],
  ])('of %i voters a majority elects', (count, _, needed) => {
    const ids = ['a', 'b', 'c', 'd', 'e'].slice(0, count)
    const cluster = new Cluster(ids, { preVote: false })
    cluster.do('a', (raft) => raft.campaign())
    for (let votes = 0; votes < needed; votes += 1) {
      expect(cluster.raft('a').status().role).toBe('candidate')
      cluster.inject(message(ids[votes + 1] ?? '', 'a', 1, MessageType.voteReply))
    }
    expect(cluster.raft('a').status().role).toBe('leader')
  })

  test('a repeated vote counts once', () => {
    const cluster = new Cluster(['a', 'b', 'c', 'd', 'e'], { preVote: false })
    cluster.do('a', (raft) => raft.campaign())
    for (let i = 0; i < 3; i += 1) cluster.inject(message('b', 'a', 1, MessageType.voteReply))
    expect(cluster.raft('a').status().role).toBe('candidate')
  })

  test('its own vote counts only once it is on disk', () => {
    const cluster = new Cluster(['a'])
    cluster.node('a').holdPersist = true
    cluster.do('a', (raft) => raft.campaign())
    expect(cluster.raft('a').status().role).toBe('candidate')
    cluster.write('a')
    expect(cluster.raft('a').status().role).toBe('leader')
  })

  test('a candidate whose vote is not on disk yet does not campaign again, however slow the disk is', () => {
    const cluster = new Cluster(['a'])
    cluster.node('a').holdPersist = true
    cluster.tick('a', 50)
    expect(cluster.raft('a').status()).toMatchObject({ role: 'candidate', term: 1 })
    cluster.write('a')
    expect(cluster.raft('a').status()).toMatchObject({ role: 'leader', term: 1 })
  })

  test('each server votes for one candidate a term, first come first served, also across a restart', () => {
    const cluster = new Cluster(three)
    const ask = (from: string): void => cluster.inject(message(from, 'c', 3, MessageType.vote, { logIndex: 0, logTerm: 0 }))
    ask('a')
    ask('b')
    cluster.restart('c')
    ask('b')
    ask('a')
    const answers = repliesOf(cluster, MessageType.voteReply).map(({ to, reject }) => [to, reject ?? false])
    expect(answers).toEqual([
      ['a', false],
      ['b', true],
      ['b', true],
      ['a', false],
    ])
  })

  test('a vote leaves only once it is on disk', () => {
    const cluster = new Cluster(three)
    cluster.node('c').holdPersist = true
    cluster.inject(message('a', 'c', 3, MessageType.vote, { logIndex: 0, logTerm: 0 }))
    expect(cluster.pool).toEqual([])
    cluster.write('c')
    expect(cluster.pool).toMatchObject([{ type: MessageType.voteReply, to: 'a' }])
  })

  test('a vote request leaves only once the vote and the log that it names are on disk', () => {
    const cluster = new Cluster(three, { preVote: false })
    cluster.node('a').holdPersist = true
    cluster.do('a', (raft) => raft.campaign())
    expect(cluster.pool).toEqual([])
    cluster.write('a')
    expect(cluster.pool.map(({ type }) => type)).toEqual([MessageType.vote, MessageType.vote])
  })

  test('a winner sends heartbeats that end other campaigns', () => {
    const cluster = new Cluster(three, { preVote: false })
    cluster.do('a', (raft) => raft.campaign())
    cluster.do('b', (raft) => raft.campaign())
    cluster.inject(message('c', 'a', 1, MessageType.voteReply))
    cluster.tick('a')
    cluster.deliver(({ from, to }) => from === 'a' && to === 'b')
    expect(cluster.raft('b').status()).toMatchObject({ role: 'follower', leader: 'a', term: 1 })
  })

  test('a candidate does not step down for a leader of an older term', () => {
    const cluster = new Cluster(three, { preVote: false })
    cluster.do('a', (raft) => raft.campaign())
    cluster.do('a', (raft) => raft.campaign())
    cluster.inject(message('b', 'a', 1, MessageType.heartbeat, { commit: 0, context: 0 }))
    expect(cluster.raft('a').status()).toMatchObject({ role: 'candidate', term: 2 })
  })

  test('a split vote ends in a new election', () => {
    const cluster = new Cluster(['a', 'b', 'c', 'd'], { preVote: false })
    cluster.do('a', (raft) => raft.campaign())
    cluster.do('b', (raft) => raft.campaign())
    cluster.deliver(({ from, to }) => (from === 'a' && to === 'c') || (from === 'b' && to === 'd'))
    cluster.deliverAll()
    expect(cluster.leader()).toBeNull()
    cluster.run(40)
    expect(cluster.leader()).not.toBeNull()
    expect(cluster.raft('a').status().term).toBeGreaterThan(1)
  })
})

describe('5.3 Log replication', () => {
  test('an entry is committed once a majority holds it, and then applied by all', () => {
    const cluster = new Cluster(three)
    cluster.elect('a')
    cluster.isolate('c')
    const result = cluster.propose('a', 'x')
    expect(cluster.raft('a').status().commit).toBe(1)
    cluster.deliverAll()
    expect(result).toMatchObject({ ok: true, index: 2, term: 1 })
    expect(cluster.raft('a').status().commit).toBe(2)
    cluster.heal()
    cluster.run(3)
    for (const id of three) expect(cluster.node(id).disk.state).toEqual(cluster.node('a').disk.state)
    expect(cluster.node('c').disk.state.index).toBe(2)
  })

  test("the leader's own acknowledgement counts only once its log is on disk", () => {
    const cluster = new Cluster(three)
    cluster.elect('a')
    cluster.isolate('c')
    cluster.node('a').holdPersist = true
    cluster.propose('a', 'x')
    cluster.deliverAll()
    expect(cluster.raft('b').status().lastIndex, 'sent while it is being written').toBe(2)
    expect(cluster.raft('a').status().commit, 'one of three disks').toBe(1)
    cluster.write('a')
    expect(cluster.raft('a').status().commit).toBe(2)
  })

  test('an acknowledgement leaves only once the entries are on disk', () => {
    const cluster = new Cluster(three)
    cluster.elect('a')
    cluster.node('b').holdPersist = true
    cluster.propose('a', 'x')
    cluster.deliver(({ to }) => to === 'b')
    expect(cluster.pool.filter(({ from }) => from === 'b')).toEqual([])
    cluster.write('b')
    expect(cluster.pool.filter(({ from }) => from === 'b')).toMatchObject([{ type: MessageType.appendReply, logIndex: 2 }])
  })

  test('an acknowledgement that waits for the disk is not sent once a newer leader has cut what it speaks of', () => {
    const cluster = new Cluster(['a', 'b', 'c'])
    cluster.node('b').holdPersist = true
    const append = (from: string, term: number, entries: ReturnType<typeof logOf>): void =>
      cluster.inject(message(from, 'b', term, MessageType.append, { logIndex: 0, logTerm: 0, commit: 0, entries }))
    append('a', 1, [entry(1, 1)])
    append('a', 1, [entry(1, 1), entry(2, 1)])
    append('c', 2, [entry(1, 2)])
    cluster.write('b')
    cluster.write('b')
    const acknowledged = cluster.sent.filter(({ type, to, reject }) => type === MessageType.appendReply && to === 'a' && reject !== true)
    // The first write was under way when c took over: its entry was on disk for a moment. (2, 1) never was.
    expect(acknowledged.map(({ logIndex }) => logIndex)).toEqual([1])
    expect(cluster.node('b').disk.term(1)).toBe(2)
  })

  test('a follower refuses an append that does not follow on its log, and changes nothing', () => {
    const cluster = new Cluster(three, {}, { b: { voters: three, log: logOf(1, 1, 2) } })
    cluster.inject(message('a', 'b', 3, MessageType.append, { logIndex: 3, logTerm: 3, commit: 3, entries: [entry(4, 3)] }))
    expect(cluster.pool).toMatchObject([{ reject: true, logIndex: 3, rejectHint: 3, logTerm: 2 }])
    expect(cluster.raft('b').status()).toMatchObject({ lastIndex: 3, commit: 0 })
  })

  // Figure 7: what followers may look like when a leader of term 8 begins.
  test.each([
    ['a: one missing', [1, 1, 1, 4, 4, 5, 5, 6, 6]],
    ['b: many missing', [1, 1, 1, 4]],
    ['c: one too many', [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6]],
    ['d: a later term', [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7]],
    ['e: missing and too many', [1, 1, 1, 4, 4, 4, 4]],
    ['f: other terms', [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]],
  ])('figure 7, follower %s, ends with the log of the leader', (_, terms) => {
    const leaderLog = logOf(1, 1, 1, 4, 4, 5, 5, 6, 6, 6)
    const hardState = { term: 7, vote: null, commit: 0 }
    const cluster = new Cluster(
      three,
      {},
      {
        a: { voters: three, log: leaderLog, hardState },
        b: { voters: three, log: logOf(...terms), hardState },
        c: { voters: three, log: leaderLog, hardState },
      },
    )
    cluster.elect('a')
    cluster.run(3)
    const { disk } = cluster.node('b')
    expect(Array.from({ length: disk.lastIndex() }, (_unused, i) => disk.term(i + 1))).toEqual([1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 8])
    expect(disk.state).toEqual(cluster.node('a').disk.state)
    const refusals = cluster.sent.filter(({ type, from, reject }) => type === MessageType.appendReply && from === 'b' && reject === true)
    expect(refusals.length, 'a hint skips a whole term').toBeLessThanOrEqual(3)
  })

  test('of an append that begins before the commit index, the rest is taken', () => {
    const cluster = new Cluster(three, {}, { b: { voters: three, log: logOf(1, 1), hardState: { term: 1, vote: null, commit: 2 } } })
    cluster.inject(message('a', 'b', 1, MessageType.append, { logIndex: 0, logTerm: 0, commit: 3, entries: logOf(1, 1, 1, 1) }))
    expect(cluster.raft('b').status()).toMatchObject({ lastIndex: 4, commit: 3 })
    expect(cluster.pool).toMatchObject([{ type: MessageType.appendReply, logIndex: 4 }])
  })

  test('a late append does not cut entries that came after it', () => {
    const cluster = new Cluster(three)
    cluster.elect('a')
    const early = message('a', 'b', 1, MessageType.append, { logIndex: 0, logTerm: 0, commit: 0, entries: [entry(1, 1)] })
    const first = cluster.node('b').disk.entries(1, 2, 1e9)?.[0]
    cluster.propose('a', 'x', 'y')
    cluster.deliverAll()
    cluster.inject({ ...early, entries: first === undefined ? [] : [first] })
    expect(cluster.raft('b').status().lastIndex).toBe(3)
  })

  test('a follower commits up to the last new entry, not to the end of its own log', () => {
    const cluster = new Cluster(three, {}, { b: { voters: three, log: logOf(1, 1, 1, 1) } })
    cluster.inject(message('a', 'b', 2, MessageType.append, { logIndex: 1, logTerm: 1, commit: 4, entries: [] }))
    expect(cluster.raft('b').status().commit).toBe(1)
  })

  test('a follower that was away catches up, and appends are repeated until it does', () => {
    const cluster = new Cluster(three)
    cluster.elect('a')
    cluster.isolate('c')
    for (let i = 0; i < 30; i += 1) cluster.propose('a', `value ${i}`)
    cluster.run(3)
    cluster.heal()
    cluster.run(5)
    expect(cluster.node('c').disk.state).toEqual(cluster.node('a').disk.state)
  })

  test('a lost append is made good without new proposals', () => {
    const cluster = new Cluster(three)
    cluster.elect('a')
    cluster.propose('a', 'x')
    cluster.drop(isType(MessageType.append))
    cluster.run(5)
    expect(cluster.raft('a').status().commit).toBe(2)
    expect(cluster.raft('c').status().lastIndex).toBe(2)
  })
})

describe('5.4 Safety', () => {
  test.each([
    ['a later last term', [1, 2], 1, 3, true],
    ['the same term, longer', [1, 2], 3, 2, true],
    ['the same log', [1, 2], 2, 2, true],
    ['the same term, shorter', [1, 2], 1, 2, false],
    ['an earlier last term, longer', [1, 2], 9, 1, false],
  ])('5.4.1 election restriction: a candidate with %s', (_, terms, logIndex, logTerm, granted) => {
    const cluster = new Cluster(three, {}, { b: { voters: three, log: logOf(...terms) } })
    cluster.inject(message('a', 'b', 5, MessageType.vote, { logIndex, logTerm }))
    expect(cluster.pool).toMatchObject([{ type: MessageType.voteReply, to: 'a' }])
    expect(cluster.pool[0]?.reject ?? false).toBe(!granted)
    expect(cluster.node('b').disk.hardState.vote).toBe(granted ? 'a' : null)
  })

  test('5.4.2, figure 8: an entry of an older term is not committed by counting, but by the first of the own term', () => {
    const hardState = { term: 2, vote: null, commit: 0 }
    const cluster = new Cluster(
      three,
      {},
      {
        a: { voters: three, log: logOf(1, 2), hardState },
        b: { voters: three, log: logOf(1), hardState },
        c: { voters: three, log: logOf(1), hardState },
      },
    )
    cluster.do('a', (raft) => raft.campaign())
    cluster.deliver(isType(MessageType.preVote))
    cluster.deliver(isType(MessageType.preVoteReply))
    cluster.deliver(isType(MessageType.vote))
    cluster.deliver(isType(MessageType.voteReply))
    expect(cluster.raft('a').status()).toMatchObject({ role: 'leader', term: 3 })
    cluster.drop()
    // b says that it holds (2, term 2): two of three disks have it, and still it may be overwritten.
    cluster.inject(message('b', 'a', 3, MessageType.appendReply, { logIndex: 2 }))
    expect(cluster.raft('a').status().commit).toBe(0)
    cluster.inject(message('b', 'a', 3, MessageType.appendReply, { logIndex: 3 }))
    expect(cluster.raft('a').status().commit).toBe(3)
  })

  test('5.4.3 leader completeness: who lacks a committed entry cannot win', () => {
    const cluster = new Cluster(three, { preVote: false })
    cluster.elect('a')
    cluster.isolate('c')
    cluster.propose('a', 'x')
    cluster.run(2)
    cluster.heal()
    cluster.isolate('a')
    for (let i = 0; i < 5; i += 1) {
      cluster.do('c', (raft) => raft.campaign())
      cluster.deliverAll()
      expect(cluster.raft('c').status().role).not.toBe('leader')
    }
    cluster.run(60)
    expect(cluster.leader()).not.toBe('c')
  })

  test('the commit hint on disk never speaks of entries that are not there', () => {
    const cluster = new Cluster(three, {}, { b: { voters: three, log: logOf(1, 1, 1, 1) } })
    cluster.node('b').holdPersist = true
    // Cuts (2..4, term 1), and commits what replaces it: a crash after the hard state would leave the old entries on disk.
    cluster.inject(message('a', 'b', 3, MessageType.append, { logIndex: 1, logTerm: 1, commit: 3, entries: [entry(2, 2), entry(3, 2)] }))
    const { held } = cluster.node('b')
    expect(held?.hardState?.term).toBe(3)
    expect(held?.hardState?.commit).toBeLessThanOrEqual(1)
    expect(cluster.raft('b').status().commit).toBe(3)
  })

  test('a commit hint beyond the log is capped, one behind the state machine is raised', () => {
    const cluster = new Cluster(three, {}, { b: { voters: three, log: logOf(1, 1), hardState: { term: 1, vote: null, commit: 9 } } })
    expect(cluster.raft('b').status().commit).toBe(2)
  })

  test('entries are handed out once, in order, and only from the own disk', () => {
    const cluster = new Cluster(three, { committedBytesMax: 1 })
    cluster.elect('a')
    cluster.node('b').holdPersist = true
    cluster.propose('a', 'x', 'y', 'z')
    cluster.run(3)
    expect(cluster.raft('b').status().commit, 'a and c hold it').toBe(4)
    expect(cluster.node('b').committed.map(({ index }) => index)).toEqual([1])
    cluster.node('b').holdPersist = false
    cluster.write('b')
    cluster.run(3)
    expect(cluster.node('b').committed.map(({ index }) => index)).toEqual([1, 2, 3, 4])
  })
})
