/** A trace over three real nodes: from a client's header through the follower that took the request to the leader, its log and its disk. */
import { afterEach, expect, test } from 'vitest'
import { mountKv, startCluster, waitForLeader, type TestCluster } from '#test/support/cluster.ts'
import { TraceCollector } from '#test/support/trace-collector.ts'

let running: TestCluster | null = null
let collector: TraceCollector | null = null
afterEach(async () => {
  await running?.dispose()
  await collector?.stop()
})

test('a write through a follower is one trace: taken, forwarded, recorded, proposed, on the disk', async () => {
  collector = await TraceCollector.start()
  running = await startCluster({ extraConfig: `telemetry {\n  trace_endpoint = "${collector.address}"\n  trace_sample_one_in = 0\n}\n` })
  const { cluster } = running
  await mountKv(cluster, 'secret')
  const leader = await waitForLeader(cluster)
  const follower = cluster.nodes.find(({ apiAddress }) => apiAddress !== leader.apiAddress)!
  const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
  const ask = async (method: string, path: string, flags: string, body?: object): Promise<number> => {
    const answer = await fetch(`${follower.apiAddress}/v1/${path}`, {
      method,
      headers: { 'x-vault-token': cluster.rootToken, traceparent: `00-${traceId}-00f067aa0ba902b7-${flags}` },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    await answer.arrayBuffer()
    return answer.status
  }
  expect(await ask('POST', 'secret/data/hidden-customer', '01', { data: { password: 'hunter2-hidden' } })).toBe(200)
  expect(await ask('GET', 'secret/data/hidden-customer', '00')).toBe(200)
  expect(await ask('GET', 'secret/data/hidden-customer', '01')).toBe(200)
  const found = collector.spans
  const named = (name: string): (typeof found)[number][] => found.filter((span) => span.name === name)
  await expect.poll(() => named('disk.append').length, { timeout: 20_000 }).toBeGreaterThan(0)
  await expect.poll(() => named('read kv data/:path*?').length, { timeout: 20_000 }).toBe(1)
  expect(new Set(found.map((span) => span.traceId))).toEqual(new Set([traceId]))

  const taken = found.find(({ name, parentSpanId }) => name === 'POST' && parentSpanId === '00f067aa0ba902b7')
  expect(taken).toMatchObject({ node: follower.id, kind: 2, failed: false, attributes: { 'http.response.status_code': 200 } })
  const forward = named('forward')[0]!
  expect(forward).toMatchObject({ node: follower.id, parentSpanId: taken!.spanId, kind: 3 })
  const there = found.find(({ parentSpanId }) => parentSpanId === forward.spanId)!
  expect(there).toMatchObject({ node: leader.id, attributes: { 'http.route': 'kv data/:path*?', 'http.response.status_code': 200 } })
  const propose = named('raft.propose')[0]!
  expect(propose).toMatchObject({ node: leader.id, parentSpanId: there.spanId })
  expect(propose.attributes['holdfast.raft.index']).toBeGreaterThan(0)
  const append = named('disk.append')[0]!
  expect(append).toMatchObject({ node: leader.id, parentSpanId: propose.spanId })
  expect(append.startNs >= propose.startNs && append.endNs <= propose.endNs).toBe(true)
  expect(named('raft.read_index').some(({ node }) => node === follower.id)).toBe(true)
  expect(named('audit.record').length).toBeGreaterThanOrEqual(2)

  const sent = collector.received.map(({ body }) => body).join('\n')
  for (const secret of [cluster.rootToken, 'hidden-customer', 'hunter2-hidden', '127.0.0.1']) expect(sent).not.toContain(secret)
})
