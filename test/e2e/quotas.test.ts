/** Quotas on a real cluster: a limit holds over all nodes together, whichever way the load comes; bounds of a request; what a refusal says. */
import { setTimeout as delay } from 'node:timers/promises'
import { request } from 'undici'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runCommand, temporaryHome } from '#test/support/cli.ts'
import { mountKv, startCluster, waitForLeader, type TestCluster } from '#test/support/cluster.ts'
import { recordFigures } from '#test/support/figures.ts'
import { full } from '#test/support/full.ts'

let running: TestCluster
beforeAll(async () => {
  running = await startCluster()
  await mountKv(running.cluster, 'secret')
  for (const name of ['even', 'one', 'moving', 'lost']) await mountKv(running.cluster, name, 1)
})
afterAll(() => running?.dispose())

const node = (at: number) => running.cluster.nodes[at % running.cluster.nodes.length]!

async function ask(at: number, method: string, path: string, body?: object | string) {
  const answer = await request(`${node(at).apiAddress}/v1/${path}`, {
    method: method as 'GET',
    headers: { 'x-vault-token': running.cluster.rootToken },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })
  const text = await answer.body.text()
  return { status: answer.statusCode, headers: answer.headers, body: text === '' ? null : JSON.parse(text) }
}
async function root(method: string, path: string, body?: object): Promise<void> {
  const answer = await ask(0, method, path, body)
  expect(answer.status, `${method} ${path}: ${JSON.stringify(answer.body)}`).toBeLessThan(300)
}
/** A change holds on every node within the next looks of its feed. */
const quota = async (name: string, body: object, kind = 'rate-limit'): Promise<void> => {
  await root('POST', `sys/quotas/${kind}/${name}`, body)
  await delay(500)
}

/** Asks as fast as `perSecond` says, through each node, for `ms`; how many were let through by each, and how many were asked. */
async function load(path: string, ms: number, perSecond: (at: number, sinceMs: number) => number) {
  const passed = [0, 0, 0]
  let asked = 0
  const failures = new Set<string>()
  const startedMs = performance.now()
  const one = async (at: number): Promise<void> => {
    asked += 1
    const { status, body } = await ask(at, 'GET', path)
    if (status === 404) passed[at]! += 1
    else if (status !== 429) failures.add(`${status} ${JSON.stringify(body)}`)
  }
  const through = async (at: number): Promise<void> => {
    const pending = new Set<Promise<void>>()
    let owed = 0
    let lastMs = startedMs
    while (performance.now() - startedMs < ms) {
      const nowMs = performance.now()
      owed = Math.min(owed + (perSecond(at, nowMs - startedMs) * (nowMs - lastMs)) / 1_000, 100)
      lastMs = nowMs
      for (; owed >= 1 && pending.size < 64; owed -= 1) {
        const sent: Promise<void> = one(at).finally(() => pending.delete(sent))
        pending.add(sent)
      }
      await delay(5)
    }
    await Promise.all(pending)
  }
  await Promise.all([0, 1, 2].map(through))
  return { passed, total: passed[0]! + passed[1]! + passed[2]!, asked, tookMs: performance.now() - startedMs, failures: [...failures] }
}

const command = 'npm run e2e -- test/e2e/quotas.test.ts'
const rate = 60
const burst = 20

/** As many as the rate allows in the time that it took, and the burst once; a tenth more or less. */
function expectHeld({ total, asked, tookMs, failures }: Awaited<ReturnType<typeof load>>): void {
  expect(failures).toEqual([])
  const allowed = (rate * tookMs) / 1_000
  expect(asked, 'more was asked than is allowed').toBeGreaterThan(allowed * 1.3)
  expect(total).toBeLessThanOrEqual(allowed * 1.1 + burst)
  expect(total).toBeGreaterThanOrEqual(allowed * 0.9)
}

test('a limit holds over three nodes that are asked alike', async () => {
  await quota('even', { path: 'even', rate, burst })
  const seen = await load('even/x', 10_000, () => 50)
  expectHeld(seen)
  for (const each of seen.passed) expect(each).toBeGreaterThan(seen.total / 6)
  recordFigures('quotas-even', command, { rate, burst, ...seen })
})

// Both ways at once are in the first; each by itself is of use where that one fails.
if (full) {
  test('one node that is asked alone lets through all of it', async () => {
    await quota('one', { path: 'one', rate, burst })
    const seen = await load('one/x', 10_000, (at) => (at === 1 ? 120 : 0))
    expectHeld(seen)
    recordFigures('quotas-one-node', command, { rate, burst, ...seen })
  })

  test('the load moves from node to node, and the limit holds all the same', async () => {
    await quota('moving', { path: 'moving', rate, burst })
    const seen = await load('moving/x', 10_000, (at, sinceMs) => (Math.floor(sinceMs / 2_500) % 3 === at ? 120 : 0))
    expectHeld(seen)
    recordFigures('quotas-moving', command, { rate, burst, ...seen })
  })
}

test('a refusal says what to wait, and is refused before its body is read', async () => {
  await quota('tight', { path: 'secret/data/tight', rate: 1, interval: '1h' })
  expect((await ask(1, 'GET', 'secret/data/tight')).status).toBe(404)
  const refused = await ask(1, 'POST', 'secret/data/tight', { data: { a: 'x'.repeat(300_000) } })
  expect(refused).toMatchObject({ status: 429, body: { errors: ['request path "secret/data/tight": rate limit quota exceeded'] } })
  expect(Number(refused.headers['retry-after'])).toBeGreaterThan(3_000)
  expect(refused.headers).toMatchObject({ 'x-ratelimit-limit': '1', 'x-ratelimit-remaining': '0' })
  expect((await ask(1, 'GET', 'secret/data/other')).status, 'the next request').toBe(404)
  expect((await request(`${node(1).apiAddress}/v1/sys/health`)).statusCode).toBeLessThan(500)
})

test('what a request may be: how large, how deep, and never more than the listener allows', async () => {
  await quota('small', { path: 'secret', max_request_bytes: 1_000, max_json_depth: 3 }, 'request-limits')
  const write = (body: object | string, at = 2) => ask(at, 'POST', 'secret/data/small', body)
  expect((await write({ data: { a: 'fits' } })).status).toBe(200)
  expect((await write({ data: { a: 'x'.repeat(2_000) } })).status).toBe(413)
  expect(await write({ data: { a: { b: { c: 1 } } } })).toMatchObject({
    status: 400,
    body: { errors: ['error parsing JSON: expected at most 3 levels, got more'] },
  })
  expect((await ask(2, 'POST', 'sys/policies/acl/other', { policy: `# ${'x'.repeat(2_000)}` })).status, 'another mount').toBe(204)
  await quota('small', { path: 'secret', max_request_bytes: 1_000_000_000, max_json_depth: 1_000 }, 'request-limits')
  expect((await write(`{"data":${'{"a":'.repeat(100)}1${'}'.repeat(100)}}`)).status, "the listener's own").toBe(400)
  await root('DELETE', 'sys/quotas/request-limits/small')
})

test('the command, and the metrics', async () => {
  const options = { address: node(0).apiAddress, env: { HOLDFAST_TOKEN: running.cluster.rootToken }, home: temporaryHome() }
  const holdfast = (line: string) => runCommand(line, options)
  expect(await holdfast('write sys/quotas/rate-limit/cli path=secret/data/cli rate=7 interval=1m')).toMatchObject({ code: 0 })
  expect((await holdfast('read -field=rate sys/quotas/rate-limit/cli')).out.trim()).toBe('7')
  expect((await holdfast('list sys/quotas/rate-limit')).out).toContain('cli')
  expect((await holdfast('delete sys/quotas/rate-limit/cli')).code).toBe(0)
  const metrics = await request(`${node(1).apiAddress}/v1/sys/metrics?format=prometheus`, {
    headers: { 'x-vault-token': running.cluster.rootToken },
  })
  const text = await metrics.body.text()
  expect(Number(/^holdfast_quota_refused (\d+)$/m.exec(text)?.[1])).toBeGreaterThan(100)
  expect(Number(/^holdfast_quota_buckets (\d+)$/m.exec(text)?.[1]), 'of the limits that were met').toBeGreaterThan(1)
})

test('the leader is lost: the limit holds through the election and after it', async () => {
  await quota('lost', { path: 'lost', rate, burst })
  const leader = await waitForLeader(running.cluster)
  const at = running.cluster.nodes.indexOf(leader)
  const counting = load('lost/x', 10_000, (other) => (other === at ? 0 : 90))
  await delay(3_000)
  await running.cluster.stopNode(leader, 'SIGKILL')
  const seen = await counting
  expect(seen.total).toBeLessThanOrEqual(((rate * seen.tookMs) / 1_000) * 1.1 + 2 * burst)
  recordFigures('quotas-leader-lost', command, { rate, burst, ...seen })
})
