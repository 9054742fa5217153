/**
 * What an acknowledgement is worth: 16 writers through all three nodes while the leader is killed again and again.
 * Every acknowledged write must be there afterwards, on every node, with its value.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { Pool } from 'undici'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { mountKv, startCluster, waitForLeader, type TestCluster } from '#test/support/cluster.ts'
import { recordFigures } from '#test/support/figures.ts'
import { full } from '#test/support/full.ts'

const writers = 16
const kills = full ? 5 : 2
const settledMs = 3_000

let running: TestCluster

beforeAll(async () => {
  running = await startCluster()
  await mountKv(running.cluster, 'secret')
})
afterAll(() => running?.dispose())

interface Acknowledged {
  readonly path: string
  readonly value: string
  readonly atMs: number
}

/** Writes new keys one after another, to each node in turn, until told to stop. */
async function writer(
  id: number,
  pools: readonly Pool[],
  stop: AbortSignal,
  acknowledged: Acknowledged[],
  errors: Map<string, number>,
): Promise<void> {
  for (let n = 0; !stop.aborted; n++) {
    const path = `/v1/secret/data/w${id}/n${n}`
    const value = `value-${id}-${n}`
    const pool = pools[(id + n) % pools.length] as Pool
    try {
      const answer = await pool.request({
        method: 'POST',
        path,
        headers: { 'x-vault-token': running.cluster.rootToken },
        body: JSON.stringify({ data: { value } }),
        headersTimeout: 5_000,
      })
      await answer.body.dump()
      if (answer.statusCode === 200) acknowledged.push({ path, value, atMs: performance.now() })
      else errors.set(String(answer.statusCode), (errors.get(String(answer.statusCode)) ?? 0) + 1)
      if (answer.statusCode !== 200) await delay(20)
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? 'error'
      errors.set(code, (errors.get(code) ?? 0) + 1)
      await delay(20)
    }
  }
}

async function readBack(pool: Pool, wanted: readonly Acknowledged[]): Promise<string[]> {
  const wrong: string[] = []
  let next = 0
  const reader = async (): Promise<void> => {
    for (let item = wanted[next++]; item !== undefined; item = wanted[next++]) {
      const answer = await pool.request({ method: 'GET', path: item.path, headers: { 'x-vault-token': running.cluster.rootToken } })
      const body = (await answer.body.json()) as { data?: { data?: { value?: string } } }
      if (body.data?.data?.value !== item.value) wrong.push(`${item.path}: ${answer.statusCode}`)
    }
  }
  await Promise.all(Array.from({ length: 16 }, reader))
  return wrong
}

/** The longest time between two acknowledgements in [from, to]. */
function longestGapMs(times: readonly number[], fromMs: number, toMs: number): number {
  const inside = [fromMs, ...times.filter((at) => at >= fromMs && at <= toMs), toMs]
  return Math.max(...inside.map((at, i) => (i === 0 ? 0 : at - (inside[i - 1] as number))))
}

test('every acknowledged write survives kills of the leader, and writing resumes within two seconds', async () => {
  const { cluster } = running
  const pools = cluster.nodes.map((node) => new Pool(node.apiAddress, { connections: 8, pipelining: 1 }))
  const acknowledged: Acknowledged[] = []
  const errors = new Map<string, number>()
  const stop = new AbortController()
  const started = performance.now()
  const writing = Promise.all(Array.from({ length: writers }, (_, id) => writer(id, pools, stop.signal, acknowledged, errors)))
  const windows: { from: number; to: number }[] = []
  const gaps: number[] = []
  for (let kill = 0; kill < kills; kill++) {
    const from = performance.now()
    await delay(settledMs)
    windows.push({ from, to: performance.now() })
    const leader = await waitForLeader(cluster)
    const killedAt = performance.now()
    await cluster.stopNode(leader, 'SIGKILL')
    await delay(2_500)
    gaps.push(
      longestGapMs(
        acknowledged.map(({ atMs }) => atMs),
        killedAt,
        performance.now(),
      ),
    )
    cluster.spawn(leader)
    await cluster.waitForAnswer(leader)
    await cluster.unseal(leader)
    await cluster.waitUntilServing()
  }
  const last = performance.now()
  await delay(settledMs)
  windows.push({ from: last, to: performance.now() })
  stop.abort()
  await writing
  const times = acknowledged.map(({ atMs }) => atMs).toSorted((a, b) => a - b)
  const rates = windows.map(({ from, to }) => times.filter((at) => at >= from && at < to).length / ((to - from) / 1_000))
  const longestGap = longestGapMs(times, started, times.at(-1) ?? started)
  const wrong: string[] = []
  for (const pool of pools) wrong.push(...(await readBack(pool, acknowledged)))
  await Promise.all(pools.map((pool) => pool.close()))
  recordFigures('failover', 'npm run e2e -- test/e2e/failover.test.ts', {
    writers,
    kills,
    acknowledged: acknowledged.length,
    read_back_on_each_of: cluster.nodes.length,
    wrong: wrong.length,
    writes_per_second_between_kills: rates.map(Math.round),
    gap_after_each_kill_ms: gaps.map(Math.round),
    longest_gap_ms: Math.round(longestGap),
    refused_or_failed: Object.fromEntries(errors),
  })
  expect(wrong).toEqual([])
  expect(acknowledged.length).toBeGreaterThan(1_000)
  expect(Math.min(...rates)).toBeGreaterThanOrEqual(200)
  expect(longestGap).toBeLessThan(2_000)
})
