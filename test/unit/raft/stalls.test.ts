/** A process that stands still for a while, then gets all its ticks and messages at once (rung 35), and what a leader says of its peers (rung 37). */
import { expect, test } from 'vitest'
import { Cluster, config } from './cluster.ts'

const { electionTicks } = config

/** `id` stands still while the others go on; what they send it waits. */
function stall(cluster: Cluster, id: string, ticks: number): void {
  const others = [...cluster.members.keys()].filter((each) => each !== id)
  for (let tick = 0; tick < ticks; tick += 1) {
    for (const each of others) cluster.tick(each)
    while (cluster.pool.some(({ to }) => to !== id)) cluster.deliver(({ to }) => to !== id)
  }
}

const stalls = [0.1, 0.5, 1, 3, 10].flatMap((timeouts) =>
  ['leader', 'follower'].flatMap((who) => ['ticks', 'messages'].map((first) => [timeouts, who, first] as const)),
)

test.each(stalls)(
  '%s election timeouts of the %s, then a burst, %s first: one election at most, and it goes on',
  (timeouts, who, first) => {
    // Timeouts as unlike as elections make them: with the same ones the two that are left would ask at the same moment, and ask again.
    const cluster = new Cluster(['a', 'b', 'c'])
    cluster.elect('a')
    const id = who === 'leader' ? 'a' : 'b'
    const { term } = cluster.raft('a').status()
    const ticks = Math.round(timeouts * electionTicks)
    stall(cluster, id, ticks)
    if (first === 'messages') cluster.deliverAll()
    cluster.tick(id, ticks)
    cluster.run(4 * electionTicks)
    const leaders = [...cluster.members.keys()].filter((each) => cluster.raft(each).status().role === 'leader')
    expect(leaders).toHaveLength(1)
    const [leader = ''] = leaders
    expect(cluster.raft(leader).status().term - term).toBeLessThanOrEqual(who === 'leader' && timeouts >= 1 ? 1 : 0)
    expect(cluster.propose(leader, 'after').ok).toBe(true)
    cluster.run(2)
    const commits = [...cluster.members.keys()].map((each) => cluster.raft(each).status().commit)
    expect(new Set(commits).size).toBe(1)
  },
)

test('a leader says of each peer how far it is, how it is sent to, and since when it is silent', () => {
  const cluster = new Cluster(['a', 'b', 'c'])
  cluster.elect('a')
  cluster.propose('a', 'x')
  cluster.run(2)
  const of = (id: string) =>
    cluster
      .raft('a')
      .status()
      .peers.find((peer) => peer.id === id)
  const { lastIndex } = cluster.raft('a').status()
  expect(of('b')).toMatchObject({ voter: true, state: 'replicate', match: lastIndex, next: lastIndex + 1, recentActive: true })
  expect(of('b')?.ticksSinceContact).toBeLessThanOrEqual(1)
  cluster.isolate('c')
  cluster.propose('a', 'y')
  cluster.run(electionTicks)
  expect(of('c')).toMatchObject({ match: lastIndex })
  expect(of('c')?.ticksSinceContact).toBeGreaterThanOrEqual(electionTicks - 1)
  expect(of('b')).toMatchObject({ match: lastIndex + 1 })
  expect(cluster.raft('a').status().quorumActive).toBe(true)
  cluster.isolate('b')
  cluster.run(electionTicks + 2)
  expect(cluster.raft('a').status(), 'who hears nobody leads nobody').toMatchObject({ role: 'follower', peers: [] })
  expect(cluster.raft('b').status()).toMatchObject({ quorumActive: false })
})
