import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { MessageType } from '#raft/types.ts'
import type { StartedReplica } from '#replica/index.ts'
import { classicLevel, type LevelFactory } from '#store/level.ts'
import { proposal, read, TestCluster, write, key } from './cluster.ts'

let cluster: TestCluster
const clusters: TestCluster[] = []
function newCluster(settings = {}): TestCluster {
  cluster = new TestCluster(settings)
  clusters.push(cluster)
  return cluster
}
afterEach(async () => {
  for (const each of clusters.splice(0)) await each.end()
})

test('one node alone: writes, reads, tells what it applied in order, and comes back with everything', async () => {
  const node = await newCluster().start('a', true)
  await cluster.ready(node)
  const heard: string[] = []
  node.onApplied(({ index, keys }) =>
    heard.push(`${index}:${keys === 'everything' ? keys : keys.map((each) => Buffer.from(each).toString().slice(1)).join()}`),
  )
  const first = await write(node, { x: '1', y: '2' })
  expect(heard.at(-1)).toBe(`${first.index}:x,y`)
  await Promise.all(Array.from({ length: 100 }, (_, at) => write(node, { [`k${at}`]: `${at}` })))
  await write(node, { x: null })
  expect([await read(node, 'x'), await read(node, 'y'), await read(node, 'k77')]).toEqual([undefined, '2', '77'])
  expect(node.status().members).toEqual([cluster.member('a')])
  await cluster.kill('a')
  const again = await cluster.start('a')
  await cluster.ready(again)
  expect([await read(again, 'y'), await read(again, 'k77')]).toEqual(['2', '77'])
  expect(again.status()).toMatchObject({ role: 'leader', leader: 'a', members: [cluster.member('a')], failed: null, hasQuorum: true })
})

test('three nodes: joined by snapshot, promoted by themselves; a follower reads what the leader wrote', async () => {
  const [a, b, c] = await newCluster().grow('a', 'b', 'c')
  if (a === undefined || b === undefined || c === undefined) throw new Error('three nodes expected')
  expect(cluster.snapshots).toBeGreaterThanOrEqual(2)
  for (let round = 0; round < 20; round += 1) {
    await write(await cluster.leader(), { counter: `${round}` })
    expect(await read(round % 2 === 0 ? b : c, 'counter')).toBe(`${round}`)
  }
  await expect.poll(() => b.status().members.map((member) => member.id)).toEqual(['a', 'b', 'c'])
  expect(cluster.accepted.get('c')).toEqual(['a', 'b', 'c'])
  await expect(write(b, { x: '1' })).rejects.toMatchObject({ code: 'ERR_NOT_LEADER' })
})

test('the leader is killed, another takes over with every acknowledged write, and the old one comes back', async () => {
  await newCluster().grow('a', 'b', 'c')
  const acknowledged = new Map<string, string>()
  for (let round = 0; round < 3; round += 1) {
    const leader = await cluster.leader()
    for (let at = 0; at < 20; at += 1) {
      await write(leader, { [`r${round}-${at}`]: 'kept' })
      acknowledged.set(`r${round}-${at}`, 'kept')
    }
    await cluster.kill(leader.nodeId)
    const next = await cluster.leader()
    expect(next.nodeId).not.toBe(leader.nodeId)
    await write(next, { after: `${round}` })
    await cluster.start(leader.nodeId)
  }
  for (const node of cluster.nodes.values()) {
    for (const [name, value] of acknowledged) expect(await read(node, name)).toBe(value)
    expect(await read(node, 'after')).toBe('2')
  }
})

test('a key or a range that changed since the view is a conflict, in flight or applied; what was not read is none', async () => {
  const node = await newCluster().start('a', true)
  await cluster.ready(node)
  await write(node, { x: '0', y: '0' })
  const stale = proposal(node, { z: 'from stale' })
  const inFlight = write(node, { x: '1' })
  let landed = false
  const conflicting = node.propose({ ...stale, reads: [key('x')] }).catch((error: unknown) => {
    expect(landed).toBe(true)
    throw error
  })
  await Promise.all([inFlight.then(() => (landed = true)), expect(conflicting).rejects.toMatchObject({ code: 'ERR_CONFLICT' })])
  await expect(node.propose({ ...stale, reads: [key('x')] })).rejects.toMatchObject({ code: 'ERR_CONFLICT' })
  await expect(node.propose({ ...stale, ranges: [[key('w'), key('y')]] })).rejects.toMatchObject({ code: 'ERR_CONFLICT' })
  expect(await read(node, 'z')).toBeUndefined()
  await node.propose({ ...stale, reads: [key('y')], ranges: [[key('xx'), key('z')]] })
  expect(await read(node, 'z')).toBe('from stale')
})

test('what was read on a node before it led is read again: it knows nothing of the changes in between', async () => {
  await newCluster().grow('a', 'b', 'c')
  const leader = await cluster.leader()
  const [next] = [...cluster.nodes.values()].filter((node) => node !== leader)
  if (next === undefined) throw new Error('three nodes expected')
  const { applied: viewIndex } = next.status()
  await write(leader, { x: 'changed since' })
  await cluster.handOver(leader, next.nodeId)
  await cluster.ready(next)
  const reads = [key('x')]
  await expect(next.propose(proposal(next, { y: '1' }, { viewIndex, reads }))).rejects.toMatchObject({ code: 'ERR_CONFLICT' })
  await next.propose(proposal(next, { y: '1' }, { reads }))
})

test('no view ever shows an index that the feed has not named', async () => {
  let node: StartedReplica | undefined
  let fed = Infinity
  let looks = 0
  let watching = true
  const early: number[] = []
  const stateLevel: LevelFactory = (path, options) => {
    const db = classicLevel(path, options)
    const batch = db.batch.bind(db) as (...args: unknown[]) => Promise<void>
    const look = async (): Promise<void> => {
      // Between any two microtasks of those in which the batch becomes visible.
      for (let at = 0; at < 30 && watching; at += 1) {
        const view = node?.view()
        if (view !== undefined && view.meta.applied > fed) early.push(view.meta.applied)
        view?.release()
        looks += 1
        await Promise.resolve()
      }
    }
    db.batch = (async (...args: unknown[]) => {
      await batch(...args)
      void look()
    }) as unknown as typeof db.batch
    return db
  }
  node = await newCluster().start('a', true, { stateLevel })
  await cluster.ready(node)
  fed = node.status().applied
  node.onApplied(({ index }) => (fed = index))
  for (let at = 0; at < 20; at += 1) await write(node, { x: String(at) })
  watching = false
  expect(early).toEqual([])
  expect(looks).toBeGreaterThan(300)
})

test('read, change and write back by many at once loses no update', async () => {
  const node = await newCluster().start('a', true)
  await cluster.ready(node)
  const increment = async (): Promise<void> => {
    for (;;) {
      const view = node.view()
      const value = Number(Buffer.from(view.get(key('n')) ?? []).toString() || '0')
      const viewIndex = view.meta.applied
      view.release()
      await new Promise((resolve) => setImmediate(resolve))
      try {
        await node.propose(proposal(node, { n: String(value + 1) }, { viewIndex, reads: [key('n')] }))
        return
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_CONFLICT' })
      }
    }
  }
  await Promise.all(Array.from({ length: 40 }, increment))
  expect(await read(node, 'n')).toBe('40')
})

test('a proposal of another term, and one before the leader is ready, is refused', async () => {
  const node = await newCluster().start('a', true)
  await cluster.ready(node)
  const { term } = node.status()
  await expect(node.propose(proposal(node, { x: '1' }, { term: term + 1 }))).rejects.toMatchObject({ code: 'ERR_NOT_LEADER' })
  await expect(node.propose(proposal(node, { x: '1' }, { term: term - 1 }))).rejects.toMatchObject({ code: 'ERR_NOT_LEADER' })
  node.setAuthenticator(null)
  await expect(write(node, { x: '1' })).rejects.toMatchObject({ code: 'ERR_NOT_LEADER' })
})

test('a leader cut off from its majority: the write in flight ends as unknown or not committed, reads fail, and the healed node agrees', async () => {
  await newCluster({ outcomeWaitMs: 300 }).grow('a', 'b', 'c')
  const old = await cluster.leader()
  cluster.cut.add(old.nodeId)
  await Promise.all([
    expect(write(old, { x: 'lost' })).rejects.toMatchObject({ code: 'ERR_OUTCOME_UNKNOWN' }),
    expect(old.readIndex(1_000)).rejects.toMatchObject({ code: 'ERR_NO_LEADER' }),
  ])
  const next = await cluster.leader()
  await write(next, { x: 'won' })
  cluster.cut.clear()
  await expect.poll(() => old.status().leader, { timeout: 3_000 }).toBe((await cluster.leader()).nodeId)
  expect(await read(old, 'x')).toBe('won')
})

test('a lost leader that hears the next one learns that its write was not committed, and says so', async () => {
  await newCluster({ outcomeWaitMs: 10_000 }).grow('a', 'b', 'c')
  const old = await cluster.leader()
  cluster.cut.add(old.nodeId)
  const lost = write(old, { x: 'lost' })
  const outcome = expect(lost).rejects.toMatchObject({ code: 'ERR_NOT_LEADER' })
  await write(await cluster.leader(), { x: 'won' })
  cluster.cut.clear()
  await outcome
})

test('a reader without a leader is told so after an election timeout, not after its own', async () => {
  const node = await newCluster().start('b')
  const began = Date.now()
  await expect(node.readIndex(20_000)).rejects.toMatchObject({ code: 'ERR_NO_LEADER' })
  expect(Date.now() - began).toBeLessThan(2_000)
})

test('a failed disk ends a leader: nothing is acknowledged after it, and the others go on', async () => {
  let failing = false
  const level: LevelFactory = (path, options) => {
    const db = classicLevel(path, options)
    const batch = db.batch.bind(db) as (...args: unknown[]) => Promise<void>
    db.batch = ((...args: unknown[]) =>
      failing ? Promise.reject(Object.assign(new Error('io'), { code: 'EIO' })) : batch(...args)) as typeof db.batch
    return db
  }
  newCluster()
  const a = await cluster.start('a', true, { level })
  await cluster.ready(a)
  for (const id of ['b', 'c']) {
    await cluster.start(id)
    await a.addMember(cluster.member(id))
    await expect.poll(() => cluster.voters(a), { timeout: 5_000 }).toContain(id)
  }
  await write(a, { x: 'before' })
  failing = true
  const heard: (string | null)[] = []
  a.onStatus(({ failed }) => heard.push(failed))
  await expect(write(a, { x: 'after' })).rejects.toMatchObject({ code: 'ERR_OUTCOME_UNKNOWN' })
  expect(a.status()).toMatchObject({ role: 'follower', ready: false, hasQuorum: false, failed: expect.stringContaining('EIO') })
  expect(heard.at(-1)).toContain('EIO')
  await expect(write(a, { x: 'more' })).rejects.toMatchObject({ code: 'ERR_STORE_FAILED' })
  await expect(a.readIndex(100)).rejects.toMatchObject({ code: 'ERR_STORE_FAILED' })
  cluster.nodes.delete('a')
  const next = await cluster.leader()
  expect(next.nodeId).not.toBe('a')
  await write(next, { y: 'goes on' })
  await a.stop()
})

test('no vote and no acknowledgement leaves before what it speaks of is on disk', async () => {
  await newCluster().grow('a', 'b', 'c')
  const seen = { votes: 0, acknowledgements: 0 }
  const early: string[] = []
  cluster.onSend = (from, { type, term, logIndex = 0, reject, to }) => {
    const log = cluster.logs.get(from)
    if (log === undefined || reject === true) return
    if (type === MessageType.appendReply) {
      seen.acknowledgements += 1
      if (log.lastIndex() < logIndex || log.hardState.term < term) early.push(`${from} acknowledged ${logIndex} in term ${term}`)
    } else if (type === MessageType.vote || type === MessageType.voteReply) {
      seen.votes += 1
      const vote = type === MessageType.vote ? from : to
      if (log.hardState.term !== term || log.hardState.vote !== vote) early.push(`${from} voted for ${vote} in term ${term}`)
    }
  }
  for (let round = 0; round < 3; round += 1) {
    const leader = await cluster.leader()
    await Promise.all(Array.from({ length: 50 }, (_, at) => write(leader, { [`k${at}`]: `${round}` })))
    await cluster.kill(leader.nodeId)
    await cluster.leader()
    await cluster.start(leader.nodeId)
  }
  expect(early).toEqual([])
  expect(seen.votes).toBeGreaterThanOrEqual(6)
  expect(seen.acknowledgements).toBeGreaterThan(10)
})

test('a log that is compacted: a new learner and a node that was away catch up by snapshot', async () => {
  const settings = { trailingEntries: 20 }
  const [a] = await newCluster(settings).grow('a', 'b', 'c')
  if (a === undefined) throw new Error('expected a node')
  await cluster.kill('c')
  const leader = await cluster.leader()
  for (let at = 0; at < 300; at += 1) await write(leader, { [`k${at % 50}`]: `${at}` })
  await expect.poll(() => leader.status().logEntries, { timeout: 3_000 }).toBeLessThan(60)
  const before = cluster.snapshots
  const c = await cluster.start('c')
  expect(await read(c, 'k49')).toBe('299')
  expect(cluster.snapshots).toBeGreaterThan(before)
  const d = await cluster.start('d')
  const changes: unknown[] = []
  d.onApplied(({ keys }) => changes.push(keys))
  await leader.addMember(cluster.member('d', false))
  expect(await read(d, 'k48')).toBe('298')
  expect(changes).toContain('everything')
  expect(d.status().members.find((member) => member.id === 'd')?.voter).toBe(false)
  expect(cluster.voters(leader)).not.toContain('d')
})

test('members: removed for good, demoted and promoted, moved; leadership is handed over', async () => {
  await newCluster().grow('a', 'b', 'c')
  const leader = await cluster.leader()
  const [other, third] = [...cluster.nodes.keys()].filter((id) => id !== leader.nodeId)
  if (other === undefined || third === undefined) throw new Error('three nodes expected')
  await leader.setVoter(other, false)
  expect(cluster.voters(leader)).not.toContain(other)
  await leader.setVoter(other, true)
  await expect.poll(() => cluster.voters(leader), { timeout: 5_000 }).toContain(other)
  await leader.addMember({ ...cluster.member(other), apiAddress: 'http://moved:9' })
  expect(leader.status().members.find((member) => member.id === other)?.apiAddress).toBe('http://moved:9')
  await expect(leader.addMember({ ...cluster.member(other), fingerprint: 'other key' })).rejects.toMatchObject({ code: 'ERR_MEMBERSHIP' })
  await cluster.handOver(leader, other)
  const next = await cluster.leader()
  expect(next.nodeId).toBe(other)
  await next.removeMember(third)
  expect(next.status().members.map((member) => member.id)).not.toContain(third)
  expect(cluster.accepted.get(other)).not.toContain(third)
  await expect(next.addMember(cluster.member(third))).rejects.toMatchObject({ code: 'ERR_MEMBERSHIP' })
  await expect(next.removeMember('nobody')).rejects.toMatchObject({ code: 'ERR_MEMBERSHIP' })
})

test('a live voter stays while the rest would have no majority; the dead one goes', async () => {
  await newCluster().grow('a', 'b', 'c')
  const leader = await cluster.leader()
  const [live, dead] = [...cluster.nodes.keys()].filter((id) => id !== leader.nodeId)
  if (live === undefined || dead === undefined) throw new Error('three nodes expected')
  await cluster.kill(dead)
  await delay(1_500)
  const refused = {
    code: 'ERR_MEMBERSHIP',
    message: expect.stringContaining(`silent: '${dead}'`),
    hint: expect.stringContaining('remove those that are dead first'),
  }
  await expect(leader.removeMember(live)).rejects.toMatchObject(refused)
  await expect(leader.setVoter(live, false)).rejects.toMatchObject(refused)
  await expect(leader.removeMember(leader.nodeId)).rejects.toMatchObject(refused)
  await write(leader, { x: 'goes on' })
  await leader.removeMember(dead)
  expect(cluster.voters(leader)).not.toContain(dead)
  await leader.removeMember(live)
  await write(leader, { x: 'alone' })
  expect(await read(leader, 'x')).toBe('alone')
})

test('a demotion that takes its time is not undone by the promotion of learners', async () => {
  await newCluster().grow('a', 'b', 'c')
  const leader = await cluster.leader()
  const [other, slow] = [...cluster.nodes.keys()].filter((id) => id !== leader.nodeId)
  if (other === undefined || slow === undefined) throw new Error('three nodes expected')
  // Its acknowledgement is needed: until then the core counts a learner whom the members' record still calls a voter.
  cluster.cut.add(slow)
  const demoted = leader.setVoter(other, false)
  await delay(120)
  cluster.cut.delete(slow)
  await demoted
  await delay(400)
  expect(cluster.voters(leader)).not.toContain(other)
  expect(leader.status().members.find(({ id }) => id === other)?.voter).toBe(false)
})

test('a node that was away while the members changed finds the leader that it never knew', async () => {
  await newCluster().grow('a', 'b', 'c')
  const leader = await cluster.leader()
  const [away, stays] = [...cluster.nodes.keys()].filter((id) => id !== leader.nodeId)
  if (away === undefined || stays === undefined) throw new Error('three nodes expected')
  await cluster.kill(away)
  await cluster.start('d')
  await leader.addMember(cluster.member('d'))
  await expect.poll(() => cluster.voters(leader), { timeout: 5_000 }).toContain('d')
  await write(leader, { x: 'from before' })
  await cluster.handOver(leader, 'd')
  const stranger = await cluster.leader()
  expect(stranger.nodeId).toBe('d')
  await stranger.removeMember(leader.nodeId)
  await cluster.kill(leader.nodeId)
  const back = await cluster.start(away)
  expect(cluster.accepted.get(away)).not.toContain('d')
  await expect.poll(() => back.status().leader, { timeout: 5_000 }).toBe('d')
  expect(await read(back, 'x')).toBe('from before')
  expect(cluster.accepted.get(away)).toEqual([stays, away, 'd'].toSorted())
})

test('stop hands leadership over, and then answers nothing', async () => {
  await newCluster().grow('a', 'b', 'c')
  const leader = await cluster.leader()
  await leader.stop()
  cluster.nodes.delete(leader.nodeId)
  const others = [...cluster.nodes.values()].map((node) => node.status().leader)
  expect(others.some((id) => id !== null && id !== leader.nodeId)).toBe(true)
  await expect(write(leader, { x: '1' })).rejects.toMatchObject({ code: 'ERR_SHUTTING_DOWN' })
  await expect(leader.readIndex(100)).rejects.toMatchObject({ code: 'ERR_SHUTTING_DOWN' })
  await write(await cluster.leader(), { x: '2' })
})

test('a sealed node never leads while an unsealed one can, and a sealed winner hands over', async () => {
  await newCluster().grow('a', 'b', 'c')
  const leader = await cluster.leader()
  const [sealed, open] = [...cluster.nodes.values()].filter((node) => node !== leader)
  sealed?.setAuthenticator(null)
  await cluster.kill(leader.nodeId)
  const next = await cluster.leader()
  expect(next.nodeId).toBe(open?.nodeId)
})
