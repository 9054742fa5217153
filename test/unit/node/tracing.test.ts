/** Traces: both sides of their switch, who decides what is traced, what leaves the house, and what a collector that is away does to requests. */
import { afterEach, expect, test } from 'vitest'
import { systemClock } from '#base/clock.ts'
import type { Logger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { formatTraceParent } from '#base/tracing.ts'
import { loadConfig } from '#config/load.ts'
import { createHttpListener } from '#http/listener.ts'
import type { EngineDef } from '#core/types.ts'
import type { HttpListener } from '#http/types.ts'
import { createProcessLogger } from '#node/logger.ts'
import { answerForwarded, openTracing, tracingMetrics, type Tracing } from '#node/tracing.ts'
import { openHouse } from '#test/support/core-house.ts'
import { TraceCollector } from '#test/support/trace-collector.ts'

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end()
})

const parent = { traceId: '4bf92f3577b34da6a3ce929d0e0e4736', spanId: '00f067aa0ba902b7', sampled: true }

function telemetry(keys: string): Parameters<typeof openTracing>[0] {
  const text = `storage "raft" { path = "/nowhere" }\nlistener "tcp" { tls_disable = true }\ntelemetry {\n${keys}\n}`
  return loadConfig({ text: { name: 'test', text }, env: {} }).telemetry
}

/** An engine whose handler writes a line to the log, now and after its answer. */
const talking: EngineDef = {
  kind: 'secret',
  type: 'talking',
  description: 'Writes to the log.',
  paths: () => [
    {
      pattern: 'say',
      fields: {},
      help: { synopsis: 'Says.', description: 'Says.' },
      operations: {
        read: {
          summary: 'Say.',
          writes: false,
          handler: async ({ log }) => {
            log.info({}, 'said')
            log.info({ request_id: 'own' }, 'said for another')
            setTimeout(() => log.info({}, 'said after the answer'), 50)
            return { data: { ok: true } }
          },
        },
      },
    },
  ],
}

interface Running {
  readonly collector: TraceCollector
  readonly tracing: Tracing | null
  readonly listener: HttpListener
  readonly rootToken: string
  readonly lines: string[]
  readonly ask: (path: string, headers?: Record<string, string>, body?: object) => Promise<number>
  /** Sends what waits. */
  readonly flush: () => Promise<void>
}

async function run(keys: (address: string) => string): Promise<Running> {
  const collector = await TraceCollector.start()
  ends.push(() => collector.stop())
  const lines: string[] = []
  const { log } = createProcessLogger('info', 'node-1', (line) => lines.push(line))
  const tracing = await openTracing(telemetry(keys(collector.address)), 'node-1', '1.2.3', log)
  const { node, rootToken } = await openHouse(1, [talking], log)
  const { core } = node
  const listener = createHttpListener({
    core,
    host: '127.0.0.1',
    port: 0,
    clock: systemClock,
    random: systemRandom,
    log,
    ...(tracing === null ? {} : { tracer: tracing }),
  })
  await listener.listen()
  ends.push(() => listener.close(0))
  let closed = false
  const flush = async (): Promise<void> => {
    if (!closed) await tracing?.close()
    closed = true
  }
  ends.push(flush)
  const ask = async (path: string, headers: Record<string, string> = {}, body?: object): Promise<number> => {
    const answer = await fetch(`http://127.0.0.1:${listener.address!.port}/v1/${path}`, {
      headers: { 'x-vault-token': rootToken, ...headers },
      ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
    })
    await answer.arrayBuffer()
    return answer.status
  }
  return { collector, tracing, listener, rootToken, lines, ask, flush }
}

test('without an endpoint there is no tracer, and nothing is loaded or sent', async () => {
  const { tracing, ask, collector } = await run(() => '')
  expect(tracing).toBeNull()
  expect(tracingMetrics(tracing)).toBe('')
  expect(await ask('sys/mounts', { traceparent: formatTraceParent(parent) })).toBe(200)
  expect(collector.received).toEqual([])
})

test('a span says the route, the status and the code of an error, and no path, token, namespace or value', async () => {
  const { ask, collector, flush, rootToken } = await run(
    (address) => `trace_endpoint = "${address}"\ntrace_token = "collectors-own-token"\n`,
  )
  expect(await ask('sys/mounts/kv-of-jane', {}, { type: 'kv', options: { version: '2' } })).toBe(204)
  expect(await ask('kv-of-jane/data/passwords-of-jane', {}, { data: { pin: 'value-of-jane' } })).toBe(200)
  expect(await ask('kv-of-jane/data/nothing-of-jane?version=3')).toBe(404)
  expect(await ask('sys/mounts', { 'x-vault-namespace': 'team-of-jane' })).toBe(404)
  expect(await ask('sys/mounts', { 'x-vault-token': 'token-of-jane' })).toBe(403)
  await flush()
  expect(collector.received.map(({ path, authorization }) => [path, authorization])[0]).toEqual([
    '/v1/traces',
    'Bearer collectors-own-token',
  ])
  expect(collector.spans.map(({ name }) => name)).toEqual([
    'update system mounts/:path*',
    'create kv data/:path*?',
    'read kv data/:path*?',
    'GET',
    'read system mounts',
  ])
  expect(collector.spans[1]).toMatchObject({
    node: 'node-1',
    kind: 2,
    parentSpanId: '',
    attributes: { 'http.route': 'kv data/:path*?', 'http.request.method': 'POST', 'http.response.status_code': 200 },
  })
  expect(collector.spans[4]?.attributes).toMatchObject({ 'error.type': 'ERR_PERMISSION_DENIED', 'http.response.status_code': 403 })
  const sent = collector.received.map(({ body }) => body).join('\n')
  for (const secret of ['jane', rootToken, '127.0.0.1', 'collectors-own-token']) expect(sent).not.toContain(secret)
})

test("a client's traceparent is carried on, and decides whether the request is traced", async () => {
  const { ask, collector, flush, tracing } = await run((address) => `trace_endpoint = "${address}"\ntrace_sample_one_in = 0\n`)
  expect(await ask('sys/mounts')).toBe(200)
  expect(await ask('sys/mounts', { traceparent: formatTraceParent({ ...parent, sampled: false }) })).toBe(200)
  expect(await ask('sys/mounts', { traceparent: 'nonsense' })).toBe(200)
  expect(await ask('sys/mounts', { traceparent: formatTraceParent(parent) })).toBe(200)
  await flush()
  expect(collector.spans).toHaveLength(1)
  expect(collector.spans[0]).toMatchObject({ traceId: parent.traceId, parentSpanId: parent.spanId })
  expect(tracing?.counts).toEqual({ sent: 1, lost: 0 })
  expect(tracingMetrics(tracing)).toContain('holdfast_trace_spans{result="sent"} 1')
})

test('where clients decide nothing, their header is not carried on; what another member says of a forwarded request is', async () => {
  const { ask, collector, flush, tracing } = await run(
    (address) => `trace_endpoint = "${address}"\ntrace_accept_parent = false\ntrace_sample_one_in = 0\n`,
  )
  expect(await ask('sys/mounts', { traceparent: formatTraceParent(parent) })).toBe(200)
  const request = { id: 'r', operation: 'read', path: 'x', namespace: '', token: null, body: {}, query: {}, method: 'GET' } as const
  const more = { clientAddress: '', wrapTtlSeconds: 0, headers: { traceparent: formatTraceParent(parent) } }
  const answer = { status: 200, headers: {}, body: new Uint8Array(0) }
  await answerForwarded({ ...request, ...more }, tracing, async () => answer)
  await answerForwarded({ ...request, ...more, traceparent: formatTraceParent(parent) }, tracing, async () => answer)
  await flush()
  expect(collector.spans).toHaveLength(1)
  expect(collector.spans[0]).toMatchObject({ traceId: parent.traceId, attributes: { 'holdfast.request_id': 'r' } })
})

test('a collector that refuses, or is away, costs spans and one line of the log: requests go on', async () => {
  const { ask, collector, flush, tracing, lines } = await run((address) => `trace_endpoint = "${address}/other/path"\n`)
  collector.status = 400
  expect(await ask('sys/mounts')).toBe(200)
  expect(await ask('sys/mounts')).toBe(200)
  await flush()
  expect(collector.received[0]?.path).toBe('/other/path')
  expect(tracing?.counts).toEqual({ sent: 0, lost: 2 })
  expect(lines.filter((line) => line.includes('the collector took no traces'))).toHaveLength(1)
})

test('each line that a request writes to the log carries its id and its trace, whether or not it is traced; later lines do not', async () => {
  const { ask, lines } = await run(() => '')
  expect(await ask('sys/mounts/talk', {}, { type: 'talking' })).toBe(204)
  expect(await ask('talk/say', { traceparent: formatTraceParent(parent) })).toBe(200)
  await expect.poll(() => lines.some((line) => line.includes('after the answer'))).toBe(true)
  const said = lines.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ msg }) => String(msg).startsWith('said'))
  expect(said).toMatchObject([
    { msg: 'said', trace_id: parent.traceId, request_id: expect.stringMatching(/^[0-9a-f-]{36}$/) as string },
    { msg: 'said for another', request_id: 'own' },
    { msg: 'said after the answer' },
  ])
  expect(said[2]).not.toHaveProperty('request_id')
  expect(said[2]).not.toHaveProperty('trace_id')
})

test('the lines of consensus, whose loop works for all, name no request', async () => {
  const lines: string[] = []
  const logger = createProcessLogger('info', 'node-1', (line) => lines.push(line))
  const { runForRequest } = await import('#base/tracing.ts')
  const context = { requestId: 'r', traceId: null, span: null, state: { answered: false } }
  const say = (log: Logger): void => runForRequest(context, () => log.info({}, 'line'))
  say(logger.part('raft'))
  say(logger.part('raft').child({ peer: 'b' }))
  say(logger.part('core'))
  expect(lines.map((line) => (JSON.parse(line) as { request_id?: string }).request_id)).toEqual([undefined, undefined, 'r'])
})
