/** What a listener does with quotas: refusals before the body, and bounds of a request that are narrower than its own. */
import { setTimeout as delay } from 'node:timers/promises'
import { request } from 'undici'
import { afterEach, expect, test } from 'vitest'
import type { RequestBounds } from '#core/quota-gate.ts'
import { ok, serve, type Handler, type Served } from './support.ts'

const open: Served[] = []
afterEach(async () => {
  for (const served of open.splice(0)) await served.listener.close(0)
})

async function start(bounds: RequestBounds | null, handler: Handler = ({ body }) => ok(body), options: Parameters<typeof serve>[1] = {}) {
  const served = await serve(handler, { ...options, quotas: { bounds: () => bounds } })
  open.push(served)
  return {
    seen: served.seen,
    ask: async (method: 'GET' | 'POST', body?: string) => {
      const answer = await request(`http://127.0.0.1:${served.port}/v1/secret/a`, { method, ...(body === undefined ? {} : { body }) })
      return { status: answer.statusCode, headers: answer.headers, body: JSON.parse(await answer.body.text()) as unknown }
    },
  }
}

test('a refusal is answered before the body is read, and the core is not asked', async () => {
  const refusal = { status: 429, headers: { 'retry-after': '7' }, body: Buffer.from('{"errors":["too often"]}') }
  let asked = 0
  const { ask, seen } = await start(null, undefined, {
    admit: () => {
      asked += 1
      return asked === 2 ? null : Promise.resolve(refusal)
    },
  })
  expect(await ask('POST', JSON.stringify({ a: 'x'.repeat(10_000) }))).toMatchObject({ status: 429, headers: { 'retry-after': '7' } })
  expect(await ask('POST', '{"a":"1"}')).toMatchObject({ status: 200, body: { a: '1' } })
  expect((await ask('GET')).status).toBe(429)
  // A long body is not waited for: the connection ends with the answer.
  expect(await ask('POST', JSON.stringify({ a: 'x'.repeat(100_000) }))).toMatchObject({ status: 429, headers: { connection: 'close' } })
  expect(seen).toHaveLength(1)
})

test('a body is as large and as deep as its namespace allows', async () => {
  const { ask, seen } = await start({ bodyBytesMax: 100, jsonDepthMax: 2 })
  expect(await ask('POST', '{"a":{"b":1}}')).toMatchObject({ status: 200, body: { a: { b: 1 } } })
  expect((await ask('POST', '{"a":{"b":[1]}}')).status).toBe(400)
  expect((await ask('POST', JSON.stringify({ a: 'x'.repeat(100) }))).status).toBe(413)
  expect(seen).toHaveLength(1)
})

test('a body that is not JSON is bounded too', async () => {
  const { ask } = await start({ bodyBytesMax: 100 }, ({ rawBody }) => ok(rawBody?.length), { rawBody: () => ({ bytesMax: 1_000 }) })
  expect(await ask('POST', 'x'.repeat(100))).toMatchObject({ status: 200, body: 100 })
  expect((await ask('POST', 'x'.repeat(101))).status).toBe(413)
})

test('and never larger, deeper or longer than the listener allows', async () => {
  const wide = { bodyBytesMax: 1e9, jsonDepthMax: 1e9, durationMsMax: 1e9 }
  const { ask } = await start(wide, undefined, { limits: { bodyBytesMax: 100, bufferedBodyBytesMax: 1_000, jsonDepthMax: 2 } })
  expect((await ask('POST', '{"a":{"b":[1]}}')).status).toBe(400)
  expect((await ask('POST', JSON.stringify({ a: 'x'.repeat(100) }))).status).toBe(413)
  const { ask: slowly } = await start(wide, () => delay(10_000, ok({}), { ref: false }), {
    limits: { requestDurationMsMax: 300, requestGraceMs: 100 },
  })
  expect((await slowly('GET')).status).toBe(408)
})

test('what takes longer than its namespace allows is given up: a read with 503, a write as one of unknown outcome', async () => {
  let aborted = 0
  const { ask } = await start({ durationMsMax: 200 }, async ({ signal }) => {
    signal?.addEventListener('abort', () => (aborted += 1))
    await delay(30_000, null, { ref: false })
    return ok({})
  })
  const startedMs = performance.now()
  expect(await ask('GET')).toMatchObject({
    status: 503,
    body: { errors: ['expected an answer within 200 ms, got none'], code: 'ERR_TIME_LIMIT' },
  })
  expect(performance.now() - startedMs).toBeLessThan(8_000)
  expect(await ask('POST', '{}')).toMatchObject({
    status: 500,
    body: { errors: [expect.stringContaining('may or may not have happened')] },
  })
  expect(aborted).toBe(2)
})
