/**
 * A retried write is applied once: writers through the followers' doors while the leader is killed again and again. Every write appends a
 * version to its secret, so the number of its newest version counts how often writes were applied.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '#base/clock.ts'
import { systemRandom } from '#base/random.ts'
import { Client } from '#client/client.ts'
import { runCommand } from '#test/support/cli.ts'
import { mountKv, startCluster, waitForLeader, type TestCluster } from '#test/support/cluster.ts'
import { recordFigures } from '#test/support/figures.ts'
import { full } from '#test/support/full.ts'

const writers = 16
const kills = full ? 5 : 2

let running: TestCluster

beforeAll(async () => {
  running = await startCluster()
  await mountKv(running.cluster, 'secret')
})
afterAll(() => running?.dispose())

interface Written {
  readonly answered: number[]
  replayed: number
  refused: number
}

const client = (address: string): Client =>
  new Client({ addresses: [address], token: running.cluster.rootToken, timeoutMs: 8_000 }, { clock: systemClock, random: systemRandom })

/** Writes one secret again and again, each write under its own id until it is answered, by whichever node. */
async function writer(id: number, clients: readonly Client[], stop: AbortSignal, withIds: boolean): Promise<Written> {
  const written: Written = { answered: [], replayed: 0, refused: 0 }
  for (let n = 0; !stop.aborted; n += 1) {
    for (let sending = 0; ; sending += 1) {
      const door = clients[(id + n + sending) % clients.length]!
      try {
        const answer = await door.raw({
          method: 'POST',
          path: `secret/data/w${id}`,
          body: { data: { n } },
          requestId: withIds ? `writer-${id}-${n}` : '',
        })
        if (answer.status === 200) {
          if (answer.headers['x-holdfast-replayed'] !== undefined) written.replayed += 1
          written.answered.push(answer.json?.data?.['version'] as number)
          break
        }
        if (!withIds) throw new Error(`expected 200 through a follower, got ${answer.status}: ${answer.text}`)
        written.refused += 1
      } catch (error) {
        if (!withIds) throw error
        written.refused += 1
      }
      await delay(50)
    }
  }
  return written
}

async function killLeaders(times: number, beforeEach: number): Promise<void> {
  const { cluster } = running
  for (let kill = 0; kill < times; kill += 1) {
    await delay(beforeEach)
    const leader = await waitForLeader(cluster)
    await cluster.stopNode(leader, 'SIGKILL')
    await delay(2_000)
    cluster.spawn(leader)
    await cluster.waitForAnswer(leader)
    await cluster.unseal(leader)
    await cluster.waitUntilServing()
  }
}

test('16 writers, each write sent until it is answered: applied once each, over kills of the leader', async () => {
  const { cluster } = running
  for (let id = 0; id < writers; id += 1) await clear(`w${id}`)
  const clients = cluster.nodes.map(({ apiAddress }) => client(apiAddress))
  const stop = new AbortController()
  const writing = Promise.all(Array.from({ length: writers }, (_, id) => writer(id, clients, stop.signal, true)))
  await killLeaders(kills, 2_000)
  await delay(1_000)
  stop.abort()
  const all = await writing
  const versions = await Promise.all(all.map((_, id) => versionsOf(`w${id}`)))
  const acknowledged = all.reduce((sum, { answered }) => sum + answered.length, 0)
  const applied = versions.reduce((sum, version) => sum + version, 0)
  const sum = (field: 'replayed' | 'refused'): number => all.reduce((total, written) => total + written[field], 0)
  recordFigures('retries', 'npm run e2e -- test/e2e/retries.test.ts', {
    writers,
    kills,
    distinct_ids: acknowledged,
    versions_written: applied,
    applied_twice: applied - acknowledged,
    answered_as_repetition: sum('replayed'),
    sendings_that_failed: sum('refused'),
  })
  for (const [id, { answered }] of all.entries()) {
    expect(answered, `writer ${id}: each write made the next version, and only that`).toEqual(answered.map((_, at) => at + 1))
    expect(versions[id], `writer ${id}: no version is there that nobody was told of`).toBe(answered.length)
  }
  expect(acknowledged).toBeGreaterThan(200 * kills)
  await Promise.all(clients.map((one) => one.close()))
})

test("without any id: a follower's clients do not notice that the leader died", async () => {
  const { cluster } = running
  await cluster.waitUntilServing()
  const leader = await waitForLeader(cluster)
  for (let id = 0; id < writers; id += 1) await clear(`w${id}`)
  const clients = cluster.nodes.filter((node) => node !== leader).map(({ apiAddress }) => client(apiAddress))
  const stop = new AbortController()
  const writing = Promise.all(Array.from({ length: writers }, (_, id) => writer(id, clients, stop.signal, false)))
  await delay(1_500)
  await cluster.stopNode(leader, 'SIGKILL')
  await delay(4_000)
  stop.abort()
  for (const [id, { answered }] of (await writing).entries()) {
    expect(answered).toEqual(answered.map((_, at) => at + 1))
    expect(await versionsOf(`w${id}`, clients[0])).toBe(answered.length)
  }
  await Promise.all(clients.map((one) => one.close()))
})

test("'holdfast kv put' in the middle of the leader's death: each ends well, and each made one version", async () => {
  const { cluster } = running
  for (const node of cluster.nodes.filter(({ process: server }) => server === null)) {
    cluster.spawn(node)
    await cluster.waitForAnswer(node)
    await cluster.unseal(node)
  }
  await cluster.waitUntilServing()
  await clear('cli')
  const leader = await waitForLeader(cluster)
  // The leader first: it takes the write itself, and nobody but the command can send it again.
  const addresses = [leader, ...cluster.nodes.filter((node) => node !== leader)].map(({ apiAddress }) => apiAddress)
  const env = { HOLDFAST_TOKEN: cluster.rootToken, HOLDFAST_MAX_RETRIES: '5' }
  const versions: number[] = []
  let killed: Promise<void> | null = null
  for (let n = 1; n <= 40; n += 1) {
    if (n === 10) killed = cluster.stopNode(leader, 'SIGKILL').then(() => undefined)
    const ran = await runCommand(['kv', 'put', '-field=version', 'secret/cli', `n=${n}`], { address: addresses.join(','), env })
    expect(ran, `put ${n}`).toMatchObject({ code: 0 })
    versions.push(Number(ran.out))
  }
  await killed
  expect(versions).toEqual(versions.map((_, at) => at + 1))
})

/** No such secret: its first version will be 1. */
async function clear(name: string): Promise<void> {
  const leader = await waitForLeader(running.cluster)
  await using admin = client(leader.apiAddress)
  await admin.delete(`secret/metadata/${name}`)
}

async function versionsOf(name: string, by?: Client): Promise<number> {
  await using own = client(running.cluster.nodes[0]!.apiAddress)
  const secret = await (by ?? own).read(`secret/metadata/${name}`)
  return secret?.data?.['current_version'] as number
}
