/** Bounds: windows, pages, queues; and refusals of proposals. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createRaft, emptyMembership, RaftInvariantError } from '#raft/index.ts'
import { Inflights } from '#raft/progress.ts'
import { Uncommitted } from '#raft/uncommitted.ts'
import { SimDisk } from '#test/sim/disk.ts'
import { Cluster, config, isType, logOf, message, MessageType } from './cluster.ts'

const three = ['a', 'b', 'c']

function elected(overrides = {}): Cluster {
  const cluster = new Cluster(three, overrides)
  cluster.elect('a')
  return cluster
}

describe('windows', () => {
  test('a stuck peer holds at most a window of messages, whatever is proposed', () => {
    const cluster = elected({ inflightMessagesMax: 3, appendBytesMax: 1, uncommittedBytesMax: 1e9 })
    for (let i = 0; i < 50; i += 1) cluster.propose('a', 'x')
    expect(cluster.pool.filter(({ type, to }) => type === MessageType.append && to === 'b')).toHaveLength(3)
    cluster.deliverAll()
    expect(cluster.raft('b').status().lastIndex).toBe(51)
  })

  test('a stuck peer holds at most a window of bytes, and one message more', () => {
    const cluster = elected({ inflightBytesMax: 200, appendBytesMax: 100, inflightMessagesMax: 100, uncommittedBytesMax: 1e9 })
    for (let i = 0; i < 50; i += 1) cluster.propose('a', 'x'.repeat(20))
    const sent = cluster.pool.filter(({ type, to }) => type === MessageType.append && to === 'b')
    const bytes = sent.flatMap(({ entries = [] }) => entries).reduce((sum, entry) => sum + entry.data.length, 0)
    expect(bytes).toBeLessThanOrEqual(300)
    expect(bytes).toBeGreaterThan(0)
    cluster.deliverAll()
    expect(cluster.raft('b').status().lastIndex).toBe(51)
  })

  test('throughput recovers after a whole window was lost, without new proposals', () => {
    const cluster = elected({ inflightMessagesMax: 2, appendBytesMax: 1, uncommittedBytesMax: 1e9 })
    for (let i = 0; i < 10; i += 1) cluster.propose('a', 'x')
    cluster.drop(isType(MessageType.append))
    cluster.run(3)
    expect(cluster.raft('b').status().lastIndex).toBe(11)
  })

  test('proposals between two takes of the effects share a message and a write', () => {
    const cluster = elected()
    const before = cluster.sent.length
    cluster.do('a', (raft) => {
      for (let i = 0; i < 10; i += 1) raft.propose(1, [new Uint8Array([i])])
    })
    const appends = cluster.sent.slice(before).filter(isType(MessageType.append))
    expect(appends.map(({ entries }) => entries?.length)).toEqual([10, 10])
  })

  test('the count of bytes in flight never leaks', () => {
    const action = fc.oneof(fc.record({ add: fc.nat({ max: 50 }) }), fc.record({ free: fc.nat({ max: 40 }) }))
    fc.assert(
      fc.property(fc.array(action), (actions) => {
        const inflights = new Inflights(1e9, 1e9)
        let model: { index: number; bytes: number }[] = []
        let index = 0
        for (const step of actions) {
          if ('add' in step) {
            index += 1
            inflights.add(index, step.add)
            model.push({ index, bytes: step.add })
          } else {
            inflights.freeTo(step.free)
            model = model.filter((sent) => sent.index > step.free)
          }
        }
        return inflights.count === model.length && inflights.bytes === model.reduce((sum, { bytes }) => sum + bytes, 0)
      }),
    )
  })

  test('unreachable goes back to probing: one message until the peer answers', () => {
    const cluster = elected()
    cluster.do('a', (raft) => raft.unreachable('b'))
    for (let i = 0; i < 5; i += 1) cluster.propose('a', 'x')
    expect(cluster.pool.filter(({ type, to }) => type === MessageType.append && to === 'b')).toHaveLength(1)
    cluster.run(3)
    expect(cluster.raft('b').status().lastIndex).toBe(6)
  })

  test('acknowledgements that wait for a slow disk are one message, not thousands', () => {
    const cluster = elected({ inflightMessagesMax: 1000, appendBytesMax: 1, uncommittedBytesMax: 1e9 })
    cluster.node('b').holdPersist = true
    for (let i = 0; i < 200; i += 1) cluster.propose('a', 'x')
    cluster.deliver(({ to }) => to === 'b')
    cluster.write('b')
    cluster.write('b')
    const acknowledged = cluster.pool.filter(({ type, from }) => type === MessageType.appendReply && from === 'b')
    expect(acknowledged.map(({ logIndex }) => logIndex)).toEqual([2, 201])
  })
})

describe('pages', () => {
  test('a slow state machine is handed one page at a time', () => {
    const cluster = elected({ committedBytesMax: 100, uncommittedBytesMax: 1e9 })
    const member = cluster.node('a')
    member.holdApply = true
    const before = member.committed.length
    cluster.do('a', (raft) =>
      raft.propose(
        1,
        Array.from({ length: 20 }, () => new Uint8Array(30)),
      ),
    )
    cluster.run(2)
    expect(cluster.raft('a').status().commit).toBe(21)
    expect(member.committed.length - before, 'no more than a page and one').toBeLessThanOrEqual(3)
    member.holdApply = false
    for (let i = 0; i < 20; i += 1) {
      cluster.apply('a')
      cluster.pump(member)
    }
    expect(member.disk.state.index).toBe(21)
    expect(member.committed.map(({ index }) => index)).toEqual(Array.from({ length: 21 }, (_, i) => i + 1))
  })
})

describe('proposals', () => {
  test('are refused by anyone but the ready leader of that very term', () => {
    const cluster = elected()
    const data = [new Uint8Array(1)]
    expect(cluster.raft('b').propose(1, data)).toMatchObject({ ok: false, reason: 'not-leader' })
    expect(cluster.raft('a').propose(0, data)).toMatchObject({ ok: false, reason: 'wrong-term' })
    expect(cluster.raft('a').propose(2, data)).toMatchObject({ ok: false, reason: 'wrong-term' })
    expect(cluster.raft('a').status().dropped).toMatchObject({ 'wrong-term': 2 })
    expect(cluster.raft('a').status().lastIndex).toBe(1)
  })

  test('are refused until the empty entry of the term is applied, not only committed', () => {
    const cluster = new Cluster(['a'])
    cluster.node('a').holdApply = true
    cluster.do('a', (raft) => raft.campaign())
    expect(cluster.raft('a').status()).toMatchObject({ role: 'leader', commit: 1, applied: 0, ready: false })
    expect(cluster.propose('a', 'x')).toMatchObject({ ok: false, reason: 'not-ready' })
    cluster.apply('a')
    expect(cluster.propose('a', 'x')).toMatchObject({ ok: true, index: 2 })
  })

  test('of one call are appended all or not at all', () => {
    const cluster = elected()
    const data = [new Uint8Array(1), new Uint8Array(1001), new Uint8Array(1)]
    expect(cluster.raft('a').propose(1, data)).toMatchObject({ ok: false, reason: 'too-large' })
    expect(cluster.raft('a').status().lastIndex).toBe(1)
    expect(cluster.raft('a').propose(1, [new Uint8Array(1), new Uint8Array(2)])).toEqual({ ok: true, index: 3, term: 1 })
  })

  test('stop at the cap of uncommitted bytes, and the counter returns to zero', () => {
    const cluster = elected({ uncommittedBytesMax: 100 })
    expect(cluster.propose('a', 'x'.repeat(500)), 'when nothing is in flight, anything may go').toMatchObject({ ok: true })
    expect(cluster.propose('a', 'x')).toMatchObject({ ok: false, reason: 'too-much-uncommitted' })
    cluster.run(2)
    expect(cluster.raft('a').status().uncommittedBytes).toBe(0)
    expect(cluster.propose('a', 'x')).toMatchObject({ ok: true })
  })

  test('the uncommitted counter equals a sum over what is not committed', () => {
    const action = fc.oneof(fc.record({ add: fc.nat({ max: 9 }) }), fc.record({ commit: fc.nat({ max: 5 }) }))
    fc.assert(
      fc.property(fc.array(action, { maxLength: 4000, size: 'max' }), (actions) => {
        const counter = new Uncommitted(1e9)
        let [last, commit] = [0, 0]
        const sizes: number[] = []
        for (const step of actions) {
          if ('add' in step) {
            last += 1
            sizes.push(step.add)
            counter.add(last, step.add)
          } else {
            commit = Math.min(last, commit + step.commit)
            counter.committed(commit)
          }
        }
        return counter.bytes === sizes.slice(commit).reduce((sum, size) => sum + size, 0)
      }),
      { numRuns: 200 },
    )
  })

  test('a leadership lost takes the counter with it', () => {
    const cluster = elected()
    cluster.isolate('a')
    cluster.propose('a', 'x')
    expect(cluster.raft('a').status().uncommittedBytes).toBeGreaterThan(0)
    cluster.run(11)
    expect(cluster.raft('a').status().uncommittedBytes).toBe(0)
  })
})

describe('messages from anywhere', () => {
  test('whatever comes is dropped and counted, or understood; nothing throws, and no committed entry changes', () => {
    const counter = fc.oneof(fc.nat({ max: 6 }), fc.constantFrom(-1, 0.5, Number.NaN, Infinity, 2 ** 53, Number.MAX_SAFE_INTEGER))
    const maybe = fc.option(counter, { nil: undefined })
    const item = fc.record({ index: counter, term: counter, type: fc.nat({ max: 3 }), data: fc.uint8Array({ maxLength: 9 }) })
    const any = fc.record({
      version: fc.constantFrom(1, 1, 1, 2),
      type: fc.nat({ max: 14 }),
      from: fc.constantFrom('a', 'b', 'c', 'x', ''),
      to: fc.constantFrom('a', 'a', 'a', 'b'),
      term: counter,
      logIndex: maybe,
      logTerm: maybe,
      commit: maybe,
      entries: fc.option(fc.array(item, { maxLength: 3 }), { nil: undefined }),
      reject: fc.option(fc.boolean(), { nil: undefined }),
      rejectHint: maybe,
      context: maybe,
      force: fc.option(fc.boolean(), { nil: undefined }),
    })
    fc.assert(
      fc.property(fc.array(any, { maxLength: 30 }), fc.boolean(), (messages, leads) => {
        const cluster = leads
          ? elected()
          : new Cluster(three, {}, { a: { voters: three, log: logOf(1, 1), hardState: { term: 1, vote: null, commit: 1 } } })
        const committed = cluster.node('a').disk.entries(1, 2, 1e9)
        for (const item2 of messages) cluster.inject(item2 as never)
        cluster.tick('a', 3)
        expect(cluster.node('a').disk.entries(1, 2, 1e9)).toEqual(committed)
      }),
      { numRuns: 2000 },
    )
  })

  test('an acknowledgement of what was never sent does not count', () => {
    const cluster = elected()
    cluster.inject(message('b', 'a', 1, MessageType.appendReply, { logIndex: 99 }))
    expect(cluster.raft('a').status()).toMatchObject({ commit: 1, dropped: { 'acknowledged-beyond-log': 1 } })
  })

  test('a second leader in a term is not followed', () => {
    const cluster = elected()
    cluster.inject(message('c', 'b', 1, MessageType.append, { logIndex: 0, logTerm: 0, commit: 0, entries: logOf(1) }))
    cluster.inject(message('c', 'a', 1, MessageType.append, { logIndex: 0, logTerm: 0, commit: 0, entries: logOf(1) }))
    expect(cluster.raft('b').status()).toMatchObject({ leader: 'a', dropped: { 'second-leader-in-term': 1 } })
    expect(cluster.raft('a').status()).toMatchObject({ role: 'leader', dropped: { 'second-leader-in-term': 1 } })
  })

  test('a commit index beyond the own log is neither followed nor fatal: a disk has lost something', () => {
    const cluster = elected()
    cluster.inject(message('a', 'b', 1, MessageType.heartbeat, { commit: 9, context: 0 }))
    expect(cluster.raft('b').status()).toMatchObject({ commit: 1, dropped: { 'commit-beyond-log': 1 } })
  })
})

describe('a start that makes no sense is refused', () => {
  const disk = new SimDisk(three)
  const initial = { hardState: { term: 1, vote: null, commit: 0 }, membership: { ...emptyMembership, voters: three }, applied: 0 }
  disk.persist({ persistId: 0, hardState: null, entries: logOf(1), snapshot: null, messagesAfterPersist: [] })
  test.each([
    ['a state machine ahead of its log', {}, { applied: 2 }],
    ['a term behind the log', {}, { hardState: { term: 0, vote: null, commit: 0 } }],
    ['a membership that is none', {}, { membership: { ...emptyMembership, learners: ['a'] } }],
    ['a term that is no number', {}, { hardState: { term: Number.NaN, vote: null, commit: 0 } }],
    ['a heartbeat as long as the election timeout', { heartbeatTicks: 10 }, {}],
    ['sealed nodes that do not wait', { sealedElectionFactor: 1 }, {}],
  ])('%s', (_, overrides, start) => {
    expect(() => createRaft({ ...config, id: 'a', ...overrides }, { ...initial, ...start }, disk)).toThrow(RaftInvariantError)
  })
})
