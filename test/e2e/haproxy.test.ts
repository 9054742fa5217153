/**
 * What a client behind the load balancer sees while nodes are killed and come back: the example of deploy/haproxy as it is shipped.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { Pool } from 'undici'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freePorts, mountKv, startCluster, waitForLeader, type TestCluster } from '#test/support/cluster.ts'
import { recordFigures } from '#test/support/figures.ts'
import { haproxyInstalled, startHaproxy } from '#test/support/haproxy.ts'

const clients = 16
const recoveryMs = 3_000

interface Outcome {
  readonly atMs: number
  readonly kind: 'read' | 'write'
  readonly failed: string | null
}

// Without haproxy there is nothing to test here; CI installs it and counts a skip as a failure.
describe.skipIf(!haproxyInstalled())('behind haproxy', () => {
  let running: TestCluster
  let proxy: Awaited<ReturnType<typeof startHaproxy>>

  beforeAll(async () => {
    running = await startCluster()
    await mountKv(running.cluster, 'secret')
    proxy = await startHaproxy(running.cluster, await freePorts(1))
  })
  afterAll(async () => {
    await proxy?.stop()
    await running?.dispose()
  })

  async function client(id: number, pool: Pool, stop: AbortSignal, outcomes: Outcome[]): Promise<void> {
    const headers = { 'x-vault-token': running.cluster.rootToken }
    for (let n = 0; !stop.aborted; n++) {
      const kind = n % 10 === 0 ? 'write' : 'read'
      let failed: string | null = null
      try {
        const answer = await pool.request(
          kind === 'write'
            ? { method: 'POST', path: `/v1/secret/data/c${id}`, headers, body: JSON.stringify({ data: { n } }), headersTimeout: 8_000 }
            : { method: 'GET', path: `/v1/secret/data/c${id}`, headers, headersTimeout: 8_000 },
        )
        await answer.body.dump()
        if (answer.statusCode !== 200) failed = String(answer.statusCode)
      } catch (error) {
        failed = (error as NodeJS.ErrnoException).code ?? 'error'
      }
      outcomes.push({ atMs: performance.now(), kind, failed })
      await delay(5)
    }
  }

  test('no request fails later than three seconds after a node was killed', async () => {
    const { cluster } = running
    const pool = new Pool(proxy.address, { connections: clients })
    const outcomes: Outcome[] = []
    const stop = new AbortController()
    const loops = Promise.all(Array.from({ length: clients }, (_, id) => client(id, pool, stop.signal, outcomes)))
    await delay(1_500)
    const killedAt: { atMs: number; what: string }[] = []
    for (const what of ['leader', 'follower', 'leader']) {
      const leader = await waitForLeader(cluster)
      const victim = what === 'leader' ? leader : cluster.nodes.find((node) => node !== leader)
      if (victim === undefined) throw new Error('expected a follower')
      killedAt.push({ atMs: performance.now(), what })
      await cluster.stopNode(victim, 'SIGKILL')
      await delay(4_500)
      cluster.spawn(victim)
      await cluster.waitForAnswer(victim)
      await cluster.unseal(victim)
      await cluster.waitUntilServing()
      await delay(1_500)
    }
    stop.abort()
    await loops
    await pool.close()
    const failures = outcomes.filter(({ failed }) => failed !== null)
    const sinceKill = (atMs: number): number => Math.min(...killedAt.filter((kill) => kill.atMs <= atMs).map((kill) => atMs - kill.atMs))
    const byKill = killedAt.map(({ atMs, what }, i) => {
      const until = killedAt[i + 1]?.atMs ?? Number.POSITIVE_INFINITY
      const mine = failures.filter((failure) => failure.atMs >= atMs && failure.atMs < until)
      return {
        what,
        failed: mine.length,
        last_failure_ms: Math.round(Math.max(0, ...mine.map((failure) => failure.atMs - atMs))),
        kinds: [...new Set(mine.map(({ failed, kind }) => `${kind} ${failed}`))],
      }
    })
    const late = failures.filter(({ atMs }) => sinceKill(atMs) > recoveryMs)
    recordFigures('haproxy', 'npm run e2e -- test/e2e/haproxy.test.ts', {
      clients,
      requests: outcomes.length,
      failed: failures.length,
      late: late.length,
      kills: byKill,
    })
    expect(outcomes.length).toBeGreaterThan(5_000)
    expect(outcomes.filter(({ kind, failed }) => kind === 'write' && failed === null).length).toBeGreaterThan(200)
    expect(late).toEqual([])
  })
})
