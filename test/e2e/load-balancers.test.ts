/**
 * What a client behind the load balancer sees while nodes are killed and come back: the examples of deploy/ as they are shipped.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { Pool } from 'undici'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { LocalNode } from '#cmd/dev/local-cluster.ts'
import { freePorts, mountKv, startCluster, waitForLeader, type TestCluster } from '#test/support/cluster.ts'
import { recordFigures } from '#test/support/figures.ts'
import { full } from '#test/support/full.ts'
import { haproxyInstalled, startHaproxy } from '#test/support/haproxy.ts'
import { nginxInstalled, startNginx } from '#test/support/nginx.ts'
import { startStubNodes } from '#test/support/stub-nodes.ts'

const clients = 16
const recoveryMs = 3_000

interface Outcome {
  readonly atMs: number
  readonly kind: 'read' | 'write'
  readonly failed: string | null
}

const balancers = [
  { name: 'haproxy', installed: haproxyInstalled, start: startHaproxy },
  { name: 'nginx', installed: nginxInstalled, start: startNginx },
] as const

describe.each(balancers)('what $name sends again', ({ installed, start }) => {
  /** What arrived of one request whose answer is lost until the `answeredAt`th time, and the status its client saw. */
  async function lose(method: string, answeredAt?: number): Promise<{ arrived: readonly string[]; status: number }> {
    const stubs = await startStubNodes(answeredAt === undefined ? {} : { answeredAt })
    const proxy = await start(stubs, await freePorts(1))
    const pool = new Pool(proxy.address)
    try {
      const body = ['GET', 'HEAD', 'LIST'].includes(method) ? null : '{"data":{}}'
      const answer = await pool.request({ method: method as 'GET', path: '/v1/lost', body, headersTimeout: 8_000 })
      await answer.body.dump()
      return { arrived: stubs.arrived, status: answer.statusCode }
    } finally {
      await pool.close()
      await proxy.stop()
      await stubs.stop()
    }
  }

  test.skipIf(!installed()).each(['POST', 'PUT', 'DELETE', 'PATCH'])('a %s that was sent is sent once', async (method) => {
    expect(await lose(method)).toEqual({ arrived: [`${method} /v1/lost`], status: 502 })
  })

  test.skipIf(!installed()).each(['GET', 'LIST'])('a %s whose answer was lost is sent again', async (method) => {
    expect(await lose(method, 2)).toEqual({ arrived: Array(2).fill(`${method} /v1/lost`), status: 200 })
  })

  test.skipIf(!installed())('a write whose connection is refused goes to another node', async () => {
    const gone = await freePorts(1)
    const stubs = await startStubNodes({ answeredAt: 1 })
    const nodes = [{ apiAddress: `http://127.0.0.1:${gone}` }, ...stubs.nodes.slice(1)]
    const proxy = await start({ nodes }, await freePorts(2))
    const pool = new Pool(proxy.address)
    try {
      for (let n = 0; n < 3; n += 1) {
        const answer = await pool.request({ method: 'POST', path: '/v1/lost', body: '{}', headersTimeout: 8_000 })
        await answer.body.dump()
        expect(answer.statusCode).toBe(200)
      }
      expect(stubs.arrived).toHaveLength(3)
    } finally {
      await pool.close()
      await proxy.stop()
      await stubs.stop()
    }
  })
})

let running: TestCluster
beforeAll(async () => {
  running = await startCluster()
  await mountKv(running.cluster, 'secret')
})
afterAll(() => running?.dispose())

// Without the balancer there is nothing to test here; CI installs both and counts a skip as a failure.
describe.each(balancers)('behind $name', ({ name, installed, start }) => {
  let proxy: Awaited<ReturnType<typeof start>>

  beforeAll(async () => {
    if (installed()) proxy = await start(running.cluster, await freePorts(1))
  })
  afterAll(() => proxy?.stop())

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

  /** `clients` at work, one request after the other each, while `work` runs. */
  async function underLoad(work: () => Promise<void>): Promise<Outcome[]> {
    const pool = new Pool(proxy.address, { connections: clients })
    const outcomes: Outcome[] = []
    const stop = new AbortController()
    const loops = Promise.all(Array.from({ length: clients }, (_, id) => client(id, pool, stop.signal, outcomes)))
    await delay(1_500)
    try {
      await work()
    } finally {
      stop.abort()
      await loops
      await pool.close()
    }
    return outcomes
  }

  async function comeBack(node: LocalNode): Promise<void> {
    const { cluster } = running
    cluster.spawn(node)
    await cluster.waitForAnswer(node)
    await cluster.unseal(node)
    await cluster.waitUntilServing()
    await delay(1_500)
  }

  test.skipIf(!installed())('nodes are stopped and come back one after the other, and hardly anybody sees it', async () => {
    const { cluster } = running
    const outcomes = await underLoad(async () => {
      const leader = await waitForLeader(cluster)
      for (const node of [leader, ...cluster.nodes.filter((each) => each !== leader)]) {
        await cluster.stopNode(node, 'SIGTERM')
        await comeBack(node)
      }
    })
    const failed = outcomes.filter((outcome) => outcome.failed !== null)
    recordFigures(`${name}-draining`, 'npm run e2e -- test/e2e/load-balancers.test.ts', {
      clients,
      requests: outcomes.length,
      writes: outcomes.filter(({ kind }) => kind === 'write').length,
      failed: failed.length,
    })
    expect(outcomes.length).toBeGreaterThan(3_000)
    // nginx asks nobody's health (its open-source release can't). A write that it sends in the very moment in which the node stops to listen is
    // one that it may not send again: now and then one in thousands.
    const [most, kinds] = name === 'nginx' ? [1, ['write 502']] : [0, []]
    expect(failed.length).toBeLessThanOrEqual(most)
    expect(failed.map((outcome) => `${outcome.kind} ${outcome.failed}`).filter((each) => !kinds.includes(each))).toEqual([])
  })

  test.skipIf(!installed())('no request fails later than three seconds after a node was killed', async () => {
    const { cluster } = running
    const victims = full ? ['leader', 'follower', 'leader'] : ['leader', 'follower']
    const killedAt: { atMs: number; what: string }[] = []
    const outcomes = await underLoad(async () => {
      for (const what of victims) {
        const leader = await waitForLeader(cluster)
        const victim = what === 'leader' ? leader : cluster.nodes.find((node) => node !== leader)
        if (victim === undefined) throw new Error('expected a follower')
        killedAt.push({ atMs: performance.now(), what })
        await cluster.stopNode(victim, 'SIGKILL')
        await delay(4_500)
        await comeBack(victim)
      }
    })
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
    recordFigures(name, 'npm run e2e -- test/e2e/load-balancers.test.ts', {
      clients,
      requests: outcomes.length,
      failed: failures.length,
      late: late.length,
      kills: byKill,
    })
    expect(outcomes.length).toBeGreaterThan(1_500 * victims.length)
    expect(outcomes.filter(({ kind, failed }) => kind === 'write' && failed === null).length).toBeGreaterThan(60 * victims.length)
    expect(late).toEqual([])
  })
})
