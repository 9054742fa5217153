import fc from 'fast-check'
import { beforeEach, describe, expect, test } from 'vitest'
import { autopilotDefault, deadServer, failureTolerance, healthOf, type ServerHealth } from '#engines/sys/autopilot-rules.ts'
import type { ReplicaStatus } from '#replica/types.ts'
import { autopilotJobs } from '#engines/sys/autopilot.ts'
import type { SystemServices } from '#engines/sys/types.ts'
import { openHouse, type HouseNode } from '#test/support/core-house.ts'
import { MemoryMountStorage } from '#test/support/engine-bench.ts'

const dayMs = 24 * 3_600_000
const config = { ...autopilotDefault, minQuorum: 3 }
const server = (id: string, over: Partial<ServerHealth> = {}): ServerHealth => ({
  id,
  leader: id === 'a',
  voter: true,
  healthy: true,
  silentMs: 0,
  lastIndex: 10,
  sealed: false,
  ...over,
})
const dead = { healthy: false, silentMs: 2 * dayMs }

describe('which dead member goes', () => {
  test.each<[string, ServerHealth[], number, string | null]>([
    ['nobody, when all are heard', ['a', 'b', 'c', 'd'].map((id) => server(id)), 9 * dayMs, null],
    ['a dead voter of four', [server('a'), server('b'), server('c'), server('d', dead)], 9 * dayMs, 'd'],
    ['none of three: two would remain', [server('a'), server('b'), server('c', dead)], 9 * dayMs, null],
    ['a dead learner, whatever the voters', [server('a'), server('b', { ...dead, voter: false })], 9 * dayMs, 'b'],
    ['none before the leader has watched for as long', [server('a'), server('b'), server('c'), server('d', dead)], dayMs, null],
    [
      'one that was never heard, once the leader has watched long enough',
      [server('a'), server('b'), server('c'), server('d', { healthy: false, silentMs: null })],
      dayMs + 1,
      'd',
    ],
    [
      'none when those that are heard are no majority',
      [server('a'), server('b'), ...['c', 'd', 'e'].map((id) => server(id, dead))],
      9 * dayMs,
      null,
    ],
  ])('%s', (_, servers, leadingMs, expected) => {
    expect(deadServer(servers, leadingMs, config)).toBe(expected)
    expect(deadServer(servers, leadingMs, { ...config, cleanupDeadServers: false })).toBe(null)
  })

  test('removing until nothing more is due never takes the majority of the living away', () => {
    const member = fc.record({
      voter: fc.boolean(),
      silentMs: fc.option(fc.constantFrom(0, 5_000, 60_000, dayMs, dayMs + 1, 3 * dayMs)),
    })
    const cluster = fc.array(member, { maxLength: 8 }).map((rest) => [server('a'), ...rest.map((each, at) => server(`n${at}`, each))])
    const quorum = fc.integer({ min: 1, max: 5 })
    fc.assert(
      fc.property(cluster, quorum, fc.constantFrom(0, dayMs, dayMs + 1, 9 * dayMs), (first, minQuorum, leadingMs) => {
        let servers = first
        for (let step = 0; step < first.length; step += 1) {
          const gone = deadServer(servers, leadingMs, { ...config, minQuorum })
          if (gone === null) break
          const victim = servers.find(({ id }) => id === gone)!
          const heard = (each: ServerHealth): boolean => each.silentMs !== null && each.silentMs <= config.lastContactThresholdMs
          expect(victim.leader || heard(victim) || leadingMs <= dayMs).toBe(false)
          const voters = servers.filter(({ voter }) => voter)
          servers = servers.filter(({ id }) => id !== gone)
          if (!victim.voter) continue
          expect(voters.length - 1).toBeGreaterThanOrEqual(minQuorum)
          expect(voters.filter(heard).length * 2).toBeGreaterThan(voters.length)
        }
        expect(servers.some(({ leader }) => leader)).toBe(true)
      }),
      { numRuns: 2_000 },
    )
  })
})

test('health counts silence and lag, and the tolerance is what may still fail', () => {
  const peer = (id: string, match: number) => ({ id, voter: true, match, sealed: id === 'c' })
  const member = (id: string) => ({ id, clusterAddress: `${id}:1`, apiAddress: '', fingerprint: '', voter: true })
  const status = {
    leader: 'a',
    commit: 5_000,
    lastIndex: 5_001,
    members: ['a', 'b', 'c', 'd'].map(member),
    peers: [peer('b', 4_500), peer('c', 3_999), peer('d', 5_000)],
  } as unknown as ReplicaStatus
  const silence: Record<string, number | null> = { b: 10_000, c: 0, d: null }
  const servers = healthOf(status, (id) => silence[id]!, autopilotDefault)
  expect(servers.map(({ id, healthy, sealed }) => [id, healthy, sealed])).toEqual([
    ['a', true, null],
    ['b', true, false],
    ['c', false, true],
    ['d', false, false],
  ])
  expect(failureTolerance(servers)).toBe(0)
  expect(failureTolerance([server('a'), server('b'), server('c')])).toBe(1)
  expect(failureTolerance(['a', 'b', 'c', 'd', 'e'].map((id) => server(id)))).toBe(2)
})

test("the job removes nobody by another release's rules, nor by a record without a version", async () => {
  const removed: string[] = []
  const member = (id: string) => ({ id, clusterAddress: `${id}:1`, apiAddress: '', fingerprint: '', voter: true })
  const ids = ['a', 'b', 'c', 'd']
  const status = { leader: 'a', commit: 1, lastIndex: 1, members: ids.map(member), peers: [] } as unknown as ReplicaStatus
  const cluster = {
    status: () => status,
    silentMs: (id: string) => (id === 'd' ? 2 * dayMs : 0),
    leadingMs: () => 9 * dayMs,
    removeDead: async (id: string) => void removed.push(id),
  }
  const storage = new MemoryMountStorage()
  const turn = async (): Promise<string[]> => {
    for (const job of autopilotJobs({ cluster } as unknown as SystemServices)) await job.run(storage, 0)
    return removed.splice(0)
  }
  expect(await turn()).toEqual(['d'])
  storage.putJson('autopilot', { version: 1, ...config, cleanupDeadServers: false })
  expect(await turn()).toEqual([])
  storage.putJson('autopilot', { version: 2, ...config })
  await expect(turn()).rejects.toMatchObject({ code: 'ERR_UPGRADE_REQUIRED' })
  storage.putJson('autopilot', config)
  await expect(turn()).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
  expect(removed).toEqual([])
})

describe('over the API', () => {
  let node: HouseNode
  const at = 'sys/storage/raft/autopilot/configuration'
  beforeEach(async () => {
    node = (await openHouse()).node
  })

  test('the configuration has defaults, is changed field by field, and reset', async () => {
    const standard = {
      cleanup_dead_servers: true,
      dead_server_last_contact_threshold: '24h0m0s',
      disable_upgrade_migration: false,
      last_contact_threshold: '10s',
      max_trailing_logs: 1000,
      min_quorum: 3,
      server_stabilization_time: '0s',
    }
    expect((await node.read(at)).body.data).toEqual(standard)
    expect((await node.write(at, { cleanup_dead_servers: false, dead_server_last_contact_threshold: '1h', min_quorum: 5 })).status).toBe(
      204,
    )
    expect((await node.write(at, { max_trailing_logs: 250 })).status).toBe(204)
    expect((await node.read(at)).body.data).toEqual({
      ...standard,
      cleanup_dead_servers: false,
      dead_server_last_contact_threshold: '1h0m0s',
      max_trailing_logs: 250,
      min_quorum: 5,
    })
    expect((await node.ask({ operation: 'delete', method: 'DELETE', path: at })).status).toBe(204)
    expect((await node.read(at)).body.data).toEqual(standard)
  })

  test.each([
    [{ dead_server_last_contact_threshold: '5s' }, 'dead_server_last_contact_threshold expected at least 1m0s, got 5s'],
    [{ last_contact_threshold: '48h' }, 'dead_server_last_contact_threshold expected more than last_contact_threshold, got less'],
    [{ min_quorum: 0 }, 'min_quorum expected 1 to 100, got 0'],
    [{ server_stabilization_time: '10s' }, 'server_stabilization_time expected 0s, got 10s'],
  ])('a wrong one is refused: %j', async (body, message) => {
    expect(await node.write(at, body)).toMatchObject({ status: 400, body: { errors: [message] } })
  })

  test('the state names each member, its health and what may fail', async () => {
    const { data } = (await node.read('sys/storage/raft/autopilot/state')).body
    expect(data).toMatchObject({ healthy: true, leader: data.voters[0], failure_tolerance: 0, non_voters: [] })
    expect(data.servers[data.leader]).toMatchObject({ status: 'leader', node_type: 'voter', healthy: true, last_contact: '0ms' })
  })
})
