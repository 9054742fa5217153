/**
 * Sealed nodes are members: they elect, vote and replicate, and serve nothing. A cluster that was restarted as a whole comes back with one
 * unsealed node, whichever it is; a rolling restart costs no acknowledged write; sealing the leader moves leadership.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Answer } from '#cmd/dev/api.ts'
import type { LocalNode } from '#cmd/dev/local-cluster.ts'
import { mountKv, startCluster, waitForLeader, type TestCluster } from '#test/support/cluster.ts'

/** From the last share to the first accepted write: a caretaker's hand-over, or an election, and the empty entry of the term. */
const servingMsMax = 5_000

let running: TestCluster

beforeAll(async () => {
  running = await startCluster()
  await mountKv(running.cluster, 'secret')
})
afterAll(() => running?.dispose())

const sealedErrors = { errors: ['Vault is sealed'] }

function call(node: LocalNode, method: string, path: string, body?: unknown, timeoutMs = 8_000): Promise<Answer> {
  return running.cluster.api.call(node.apiAddress, method, path, { token: running.cluster.rootToken, body, timeoutMs })
}

const put = async (node: LocalNode, name: string, value: string): Promise<number> =>
  (await call(node, 'POST', `secret/data/${name}`, { data: { value } })).status

async function valueOf(node: LocalNode, name: string): Promise<unknown> {
  const { status, body } = await call(node, 'GET', `secret/data/${name}`)
  const data = body?.['data'] as { data?: { value?: unknown } } | undefined
  return status === 200 ? data?.data?.value : `status ${status}`
}

async function until<T>(what: string, attempt: () => Promise<T | null>, timeoutMs: number): Promise<{ value: T; tookMs: number }> {
  const begun = performance.now()
  let last = ''
  while (performance.now() - begun < timeoutMs) {
    try {
      const value = await attempt()
      if (value !== null) return { value, tookMs: performance.now() - begun }
    } catch (error) {
      last = (error as Error).message
    }
    await delay(30)
  }
  throw new Error(`expected ${what} within ${timeoutMs} ms, got nothing${last === '' ? '' : `; last: ${last}`}`)
}

async function kill(nodes: readonly LocalNode[]): Promise<void> {
  await Promise.all(nodes.map((node) => running.cluster.stopNode(node, 'SIGKILL')))
}

async function startSealed(nodes: readonly LocalNode[]): Promise<void> {
  for (const node of nodes) running.cluster.spawn(node)
  await Promise.all(nodes.map((node) => running.cluster.waitForAnswer(node)))
}

async function unsealAll(): Promise<void> {
  const { cluster } = running
  for (const node of cluster.nodes) if (node.process === null) cluster.spawn(node)
  await Promise.all(cluster.nodes.map((node) => cluster.waitForAnswer(node)))
  await Promise.all(cluster.nodes.map((node) => cluster.unseal(node)))
  await cluster.waitUntilServing()
}

/** The address that a node names as its leader's; null while it knows of none. */
async function leaderNamedBy(node: LocalNode): Promise<string | null> {
  const { body } = await call(node, 'GET', 'sys/leader')
  const address = body?.['leader_address']
  return typeof address === 'string' && address !== '' ? address : null
}

async function expectSealed(node: LocalNode): Promise<void> {
  const health = await call(node, 'GET', 'sys/health?standbyok=true')
  expect([health.status, health.body?.['initialized'], health.body?.['sealed'], health.body?.['standby']]).toEqual([503, true, true, true])
  // Who may not open it need not know which cluster it is.
  expect(health.body).not.toHaveProperty('cluster_id')
  for (const [method, path, body] of [
    ['GET', 'secret/data/before'],
    ['POST', 'secret/data/refused', { data: { value: 'x' } }],
    ['GET', 'secret/metadata?list=true'],
    ['GET', 'sys/mounts'],
    ['GET', 'auth/token/lookup-self'],
    ['POST', 'sys/storage/raft/join-token', {}],
  ] as const) {
    const answer = await call(node, method, path, body)
    expect([path, answer.status, answer.body?.['errors']]).toEqual([path, 503, sealedErrors.errors])
  }
}

const commitOf = async (node: LocalNode): Promise<number> => {
  const { body } = await call(node, 'GET', 'sys/leader')
  return body?.['raft_committed_index'] as number
}

const agreed = (values: readonly number[]): readonly number[] | null => (new Set(values).size === 1 ? values : null)

// Each node in turn is the only one to be unsealed; in the last round its log is behind the others'.
test.each([
  { index: 0, behind: false },
  { index: 1, behind: false },
  { index: 2, behind: true },
])('all restarted and sealed: unsealing node $index alone makes it lead and serve (log behind: $behind)', async ({ index, behind }) => {
  const { cluster } = running
  const chosen = cluster.nodes[index] as LocalNode
  const others = cluster.nodes.filter((node) => node !== chosen)
  await unsealAll()
  expect(await put(chosen, 'before', `round-${index}`)).toBe(200)
  if (behind) {
    await kill([chosen])
    await waitForLeader(cluster)
    for (let n = 0; n < 50; n++) expect(await put(others[n % 2] as LocalNode, `missed-${n}`, `value-${n}`)).toBe(200)
    await kill(others)
  } else await kill(cluster.nodes)

  await startSealed(cluster.nodes)
  for (const node of cluster.nodes) await until(`${node.id} to hear of a leader`, () => leaderNamedBy(node), 8_000)
  for (const node of cluster.nodes) await expectSealed(node)
  // A caretaker adds the empty entry of its term and nothing else: whatever it is asked, the log stands still.
  const { value: commits } = await until(
    'one commit index on all nodes',
    async () => agreed(await Promise.all(cluster.nodes.map(commitOf))),
    5_000,
  )
  for (const node of cluster.nodes) expect(await put(node, 'refused', 'x')).toBe(503)
  await delay(1_000)
  expect(await Promise.all(cluster.nodes.map(commitOf))).toEqual(commits)

  await cluster.unseal(chosen)
  const { tookMs } = await until(
    `${chosen.id} to take a write`,
    async () => ((await put(chosen, 'after', `round-${index}`)) === 200 ? true : null),
    15_000,
  )
  expect(tookMs).toBeLessThan(servingMsMax)
  const leader = await call(chosen, 'GET', 'sys/leader')
  expect([leader.body?.['is_self'], leader.body?.['leader_address']]).toEqual([true, chosen.apiAddress])
  expect((await call(chosen, 'GET', 'sys/health')).status).toBe(200)
  expect(await valueOf(chosen, 'before')).toBe(`round-${index}`)
  expect(await valueOf(chosen, 'after')).toBe(`round-${index}`)
  if (behind) for (let n = 0; n < 50; n++) expect(await valueOf(chosen, `missed-${n}`)).toBe(`value-${n}`)
  for (const node of others) await expectSealed(node)
})

interface Traffic {
  readonly acknowledged: Map<string, string>
  readonly times: number[]
  stop(): Promise<void>
}

/** Writers that go through every node, and take a refusal for an answer. */
function startTraffic(prefix: string, writers: number): Traffic {
  const acknowledged = new Map<string, string>()
  const times: number[] = []
  const { nodes } = running.cluster
  let stopped = false
  const write = async (id: number): Promise<void> => {
    for (let n = 0; !stopped; n++) {
      const name = `${prefix}-${id}-${n}`
      const status = await put(nodes[(id + n) % nodes.length] as LocalNode, name, `v${n}`).catch(() => 0)
      if (status === 200) {
        acknowledged.set(name, `v${n}`)
        times.push(performance.now())
      } else await delay(20)
    }
  }
  const done = Promise.all(Array.from({ length: writers }, (_, id) => write(id)))
  return {
    acknowledged,
    times,
    stop: async () => {
      stopped = true
      await done
    },
  }
}

async function lost(node: LocalNode, acknowledged: ReadonlyMap<string, string>): Promise<string[]> {
  const wrong: string[] = []
  const entries = acknowledged.entries()
  const read = async (): Promise<void> => {
    for (const [name, value] of entries) {
      const found = await valueOf(node, name)
      if (found !== value) wrong.push(`${name}: ${String(found)}`)
    }
  }
  await Promise.all(Array.from({ length: 8 }, read))
  return wrong
}

function longestGapMs(times: readonly number[]): number {
  const sorted = times.toSorted((a, b) => a - b)
  return Math.max(...sorted.map((at, i) => at - (sorted[i - 1] ?? at)))
}

test('a rolling restart under traffic, each node staying sealed until the next is back, loses no acknowledged write', async () => {
  const { cluster } = running
  await unsealAll()
  const traffic = startTraffic('rolling', 8)
  let last: LocalNode | null = null
  for (const node of [...cluster.nodes, ...cluster.nodes.slice(0, 1)]) {
    await delay(500)
    await cluster.stopNode(node)
    await startSealed([node])
    // The one restarted before is sealed until now: for a while only one of three is open, and the cluster must go on with it.
    await delay(700)
    if (last !== null) await cluster.unseal(last)
    last = node
  }
  await delay(500)
  await traffic.stop()
  await unsealAll()
  for (const node of cluster.nodes) expect(await lost(node, traffic.acknowledged)).toEqual([])
  expect(traffic.acknowledged.size).toBeGreaterThan(500)
  expect(longestGapMs(traffic.times)).toBeLessThan(3_000)
})

test('sealing the leader moves leadership to an unsealed node, and the cluster goes on', async () => {
  const { cluster } = running
  await unsealAll()
  const traffic = startTraffic('sealing', 8)
  await delay(500)
  const first = await waitForLeader(cluster)
  const sealedAt = performance.now()
  expect((await call(first, 'POST', 'sys/seal')).status).toBe(204)
  // Its process is replaced meanwhile, and answers nobody for a moment.
  await until(`${first.id} to come back sealed`, async () => (await expectSealed(first), true), 10_000)
  const second = await waitForLeader(cluster)
  expect(second).not.toBe(first)
  await delay(1_000)
  const gap = longestGapMs(traffic.times.filter((at) => at > sealedAt - 200))
  await traffic.stop()
  expect(gap).toBeLessThan(3_000)

  // The second one too: one of three is left, and it must lead.
  expect((await call(second, 'PUT', 'sys/seal')).status).toBe(204)
  const third = cluster.nodes.find((node) => node !== first && node !== second) as LocalNode
  const { tookMs } = await until(
    'the last one to take a write',
    async () => ((await put(third, 'last', 'one')) === 200 ? true : null),
    10_000,
  )
  expect(tookMs).toBeLessThan(servingMsMax)
  expect((await waitForLeader(cluster)).id).toBe(third.id)
  expect(await lost(third, traffic.acknowledged)).toEqual([])

  // None is left: nothing is served, though a majority stands. Any one brings it back.
  expect((await call(third, 'POST', 'sys/seal')).status).toBe(204)
  for (const node of cluster.nodes) await until(`${node.id} to be sealed`, async () => (await expectSealed(node), true), 10_000)
  await cluster.unseal(first)
  await until('the first one to take a write', async () => ((await put(first, 'last', 'again')) === 200 ? true : null), 10_000)
  expect(await valueOf(first, 'last')).toBe('again')
})
