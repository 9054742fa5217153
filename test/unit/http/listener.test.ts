import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { connect } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { CoreResponse } from '#core/types.ts'
import { exchange, ok, pieces, randomMessage, readAnswer, seeded, selfSigned, serve, temporaryFolder, writePem } from './support.ts'
import type { Handler, Served } from './support.ts'

const folder = temporaryFolder()
let files = { certFile: '', keyFile: '' }
const open: Served[] = []

beforeAll(async () => {
  files = writePem(folder.path, 'server', await selfSigned('localhost'))
})
afterAll(() => folder.remove())
afterEach(async () => {
  for (const served of open.splice(0)) await served.listener.close(0)
})

async function start(handler: Handler, options: Parameters<typeof serve>[1] = {}): Promise<Served> {
  const served = await serve(handler, options)
  open.push(served)
  return served
}

const echo: Handler = (request) => ok({ method: request.method, path: request.path, operation: request.operation })

/** Answers of the listener to a whole raw request, the connection closed behind it. */
async function ask(served: Served, text: string): Promise<ReturnType<typeof readAnswer>> {
  const gone = text.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n')
  return readAnswer(await exchange(served.port, [gone]))
}
const get = (path: string, headers = ''): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n${headers}\r\n`
const post = (path: string, body: string, headers = ''): string =>
  `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: ${Buffer.byteLength(body)}\r\n${headers}\r\n${body}`

describe('LIST on the wire', () => {
  test.each([
    ['plain', false],
    ['TLS', true],
  ])('%s: random splits, pipelines and bodies full of LIST come out as sent', async (_name, tls) => {
    const served = await start((request) => ok([request.method, request.path, request.query]), {
      ...(tls ? { tls: files } : {}),
      // Bodies here are bait, not JSON.
      rawBody: () => ({ bytesMax: 100_000 }),
    })
    const torture = async (seed: number): Promise<void> => {
      const random = seeded(seed)
      // OPTIONS is answered 405 and PATCH needs no type here, since bodies are raw.
      const messages = Array.from({ length: 1 + Math.floor(random() * 6) }, (_, serial) => randomMessage(random, serial)).filter(
        (message) => message.method !== 'OPTIONS' && message.method !== 'HEAD',
      )
      const last = 'GET /v1/last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'
      const stream = messages.map((message) => message.bytes).join('') + last
      const heard: unknown[] = []
      let text = await exchange(served.port, pieces(random, stream, 1 + Math.floor(random() * 12)), { tls })
      while (text.length > 0) {
        const answer = readAnswer(text)
        expect(answer.status, `seed ${seed}: ${answer.body}`).toBe(200)
        heard.push((JSON.parse(answer.body) as unknown[])[0])
        text = answer.rest
      }
      expect(heard, `seed ${seed}`).toEqual([...messages.map((message) => message.method), 'GET'])
    }
    for (let seed = 1; seed <= 120; seed += 8) await Promise.all(Array.from({ length: 8 }, (_, i) => torture(seed + i + (tls ? 1_000 : 0))))
    expect(served.seen.some((request) => request.method === 'LIST')).toBe(true)
  })

  test('keep-alive: many LISTs on one connection', async () => {
    const served = await start(echo)
    const one = 'LIST /v1/secret/metadata HTTP/1.1\r\nHost: a\r\n\r\n'
    const text = await exchange(
      served.port,
      Array.from({ length: 20 }, () => one),
      {
        until: (so) => so.split('"operation":"list"').length === 21,
      },
    )
    expect(text.match(/"path":"secret\/metadata\/"/g)).toHaveLength(20)
  })

  test('a real LINK is refused, before and after the framer gave up', async () => {
    const served = await start(echo)
    expect((await ask(served, 'LINK /v1/x HTTP/1.1\r\nHost: a\r\n\r\n')).status).toBe(400)
    const upgrade = 'GET /v1/x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n'
    const text = await exchange(served.port, [`${upgrade}LINK /v1/y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`])
    expect(readAnswer(readAnswer(text).rest).status).toBe(405)
    expect(served.seen.map((request) => request.path)).toEqual(['x'])
  })
})

describe('what is asked of the core', () => {
  test('token, namespace, wrap TTL, client address and headers', async () => {
    const served = await start(() => ok({}))
    const headers =
      'X-Vault-Token: s.one\r\nAuthorization: Bearer two\r\nX-Vault-Namespace: /team/a/\r\nX-Vault-Wrap-TTL: 5m\r\nX-Vault-Request: true\r\n'
    const answer = await ask(served, get('/v1/secret/data/foo?version=2', headers))
    expect(answer.status).toBe(200)
    expect(answer.head.toLowerCase()).toContain('x-vault-namespace: /team/a/')
    expect(served.seen[0]).toMatchObject({
      operation: 'read',
      path: 'secret/data/foo',
      namespace: 'team/a',
      token: 's.one',
      wrapTtlSeconds: 300,
      clientAddress: '127.0.0.1',
      query: { version: '2' },
      body: {},
      method: 'GET',
    })
    expect(served.seen[0]?.headers).toMatchObject({ 'x-vault-request': 'true', host: 'a' })
    expect(served.seen[0]?.headers).not.toHaveProperty('x-vault-token')
    expect(served.seen[0]?.headers).not.toHaveProperty('authorization')
    expect(served.seen[0]?.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  })

  test.each([
    ['team', 'team'],
    ['team%2Fa/', 'team/a'],
    ['team%2F', 'team'],
    ['team/%2F', null],
    ['%2Fteam', null],
    ['%2F', null],
    ['root/', ''],
  ])('the namespace %s is %s, however its slashes are written', async (header, namespace) => {
    const served = await start(() => ok({}))
    const answer = await ask(served, get('/v1/a', `X-Vault-Namespace: ${header}\r\n`))
    expect([answer.status, served.seen[0]?.namespace ?? null]).toEqual([namespace === null ? 400 : 200, namespace])
  })

  test.each([
    ['0', 0],
    ['60', 60],
    ['1.5', 2],
    ['500ms', 1],
    ['1ns', 1],
  ])('a wrap TTL of %s is %i seconds: whoever asks for wrapping gets it', async (header, seconds) => {
    const served = await start(() => ok({}))
    await ask(served, get('/v1/a', `X-Vault-Wrap-TTL: ${header}\r\n`))
    expect(served.seen[0]?.wrapTtlSeconds).toBe(seconds)
  })

  test("a client's id for its write, and that it is sent again, go along, but not among the headers", async () => {
    const served = await start(() => ok({}))
    const id = `${'!~'.repeat(64)}`
    await ask(served, get('/v1/a', `X-Holdfast-Request-Id: ${id}\r\nX-Holdfast-Request-Repeated: true\r\n`))
    await ask(served, get('/v1/a'))
    expect(served.seen.map(({ retryId, repeated }) => [retryId, repeated])).toEqual([
      [id, true],
      [undefined, undefined],
    ])
    for (const name of Object.keys(served.seen[0]?.headers ?? {})) expect(name).not.toMatch(/holdfast/)
  })

  test.each([
    ['empty', 'X-Holdfast-Request-Id: '],
    ['too long', `X-Holdfast-Request-Id: ${'x'.repeat(129)}`],
    ['with a space', 'X-Holdfast-Request-Id: a b'],
    ['not ASCII', 'X-Holdfast-Request-Id: caf\u00e9'],
    ['given twice', 'X-Holdfast-Request-Id: a\r\nX-Holdfast-Request-Id: b'],
    ['repeated what', 'X-Holdfast-Request-Repeated: true'],
    ['repeated how', 'X-Holdfast-Request-Id: a\r\nX-Holdfast-Request-Repeated: 1'],
  ])('an id that is %s is refused in words that say what is expected', async (_what, header) => {
    const served = await start(() => ok({}))
    const answer = await ask(served, get('/v1/a', `${header}\r\n`))
    expect(answer.status).toBe(400)
    expect(answer.body).toMatch(/X-Holdfast-Request-(Id|Repeated) expected/)
    expect(served.seen).toHaveLength(0)
  })

  test('Bearer alone is a token; other schemes go to the core as a header', async () => {
    const served = await start(() => ok({}))
    await ask(served, get('/v1/a', 'Authorization: bearer s.two\r\n'))
    await ask(served, get('/v1/a', 'Authorization: Basic abc\r\n'))
    expect(served.seen.map((request) => request.token)).toEqual(['s.two', null])
    expect(served.seen[1]?.headers.authorization).toBe('Basic abc')
  })

  test.each([
    [get('/v1/a?list=true'), 'list', 'a/'],
    [get('/v1/a/?list=1'), 'list', 'a/'],
    [get('/v1/a?scan=true'), 'scan', 'a/'],
    [get('/v1/a?list=false'), 'read', 'a'],
    [get('/v1/a?help=1'), 'help', 'a'],
    [get('/v1/sys/mounts/'), 'read', 'sys/mounts'],
    [get('/v1/a%20b/%C3%A9%2Fc'), 'read', 'a b/é/c'],
    [get('http://a/v1/b'), 'read', 'b'],
    ['HEAD /v1/a HTTP/1.1\r\nHost: a\r\n\r\n', 'read', 'a'],
    ['PUT /v1/a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}', 'update', 'a'],
    ['DELETE /v1/a HTTP/1.1\r\nHost: a\r\n\r\n', 'delete', 'a'],
    ['DELETE /v1/sys/mounts/kv/ HTTP/1.1\r\nHost: a\r\n\r\n', 'delete', 'sys/mounts/kv'],
    [
      'PATCH /v1/a HTTP/1.1\r\nHost: a\r\nContent-Type: Application/Merge-Patch+JSON; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}',
      'patch',
      'a',
    ],
  ])('%j is %s of %s', async (text, operation, path) => {
    const served = await start(() => ok({}))
    expect((await ask(served, text)).status).toBe(200)
    expect(served.seen[0]).toMatchObject({ operation, path })
  })

  test.each([
    ['JSON', '{"a":"b"}', '', { a: 'b' }],
    ['JSON with the type of a form', '{"a":"b"}', 'Content-Type: application/x-www-form-urlencoded\r\n', { a: 'b' }],
    ['a form', 'a=b+c&d=1&d=2', 'Content-Type: application/x-www-form-urlencoded\r\n', { a: 'b c', d: ['1', '2'] }],
    ['null', 'null', '', {}],
    ['white space', ' \n', '', {}],
    ['the last of repeated keys', '{"a":1,"a":2}', '', { a: 2 }],
  ])('a body of %s', async (_name, body, headers, expected) => {
    const served = await start(() => ok({}))
    expect((await ask(served, post('/v1/a', body, headers))).status).toBe(200)
    expect(served.seen[0]?.body).toEqual(expected)
  })

  test('numbers that a double cannot hold keep their digits', async () => {
    const served = await start((request) => ok(request.body))
    const answer = await ask(served, post('/v1/a', '{"n":12345678901234567890,"m":1e400,"k":0.10,"s":"12345678901234567890"}'))
    expect(answer.body).toBe('{"n":12345678901234567890,"m":1e400,"k":0.1,"s":"12345678901234567890"}')
  })

  test('a raw body arrives as bytes', async () => {
    const served = await start(() => ok({}), { rawBody: (_method, path) => (path === 'snap' ? { bytesMax: 10 } : null) })
    await ask(served, post('/v1/snap', 'not json'))
    expect(Buffer.from(served.seen[0]?.rawBody ?? []).toString()).toBe('not json')
    expect((await ask(served, post('/v1/snap', '12345678901'))).status).toBe(413)
  })
})

describe('refusals before the core', () => {
  test.each([
    ['an unknown route', get('/'), 404],
    ['the UI', get('/ui/'), 404],
    ['an unknown method', 'OPTIONS /v1/a HTTP/1.1\r\nHost: a\r\n\r\n', 405],
    ['list and scan', get('/v1/a?list=true&scan=true'), 400],
    ['a bad flag', get('/v1/a?list=maybe'), 400],
    ['a relative path', get('/v1/a/../b'), 400],
    ['a relative path in disguise', get('/v1/a/%2e%2E/b'), 400],
    ['a hidden relative path', get('/v1/a%2F..%2Fb'), 400],
    ['an empty segment', get('/v1/a//b'), 400],
    ['NUL', get('/v1/a%00'), 400],
    ['a newline', get('/v1/a%0Ab'), 400],
    ['a bad escape', get('/v1/a%zz'), 400],
    ['bad UTF-8', get('/v1/a%ff'), 400],
    ['a long segment', get(`/v1/${'a'.repeat(2_000)}`), 400],
    ['a write to a folder', post('/v1/a/', '{}'), 400],
    ['a delete of a folder', 'DELETE /v1/secret/a/ HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['a delete of a folder that is called sys', 'DELETE /v1/secret/sys/a/ HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['a namespace that climbs', get('/v1/a', 'X-Vault-Namespace: a/../b\r\n'), 400],
    ['a bad wrap TTL', get('/v1/a', 'X-Vault-Wrap-TTL: soon\r\n'), 400],
    ['malformed JSON', post('/v1/a', '{"a":'), 400],
    ['an array', post('/v1/a', '[]'), 400],
    ['a string', post('/v1/a', '"a"'), 400],
    ['bytes that are no UTF-8', `POST /v1/a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{"a":"\u00ff"}`, 400],
    ['deep JSON', post('/v1/a', `{"a":${'['.repeat(100)}${']'.repeat(100)}}`), 400],
    ['many strings', post('/v1/a', JSON.stringify({ a: Array.from({ length: 1_001 }, () => '') })), 400],
    ['a PATCH of JSON', 'PATCH /v1/a HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}', 415],
    ['no Host', 'GET /v1/a HTTP/1.1\r\n\r\n', 400],
    ['no HTTP', 'HELLO\r\n\r\n', 400],
    ['both lengths', 'POST /v1/a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}', 400],
    ['large headers', get('/v1/a', `X: ${'a'.repeat(20_000)}\r\n`), 431],
  ])('%s', async (_name, text, status) => {
    const served = await start(() => ok({}))
    const answer = readAnswer(
      await exchange(served.port, [Buffer.from(text.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'), 'latin1')]),
    )
    expect(answer.status).toBe(status)
    expect(Array.isArray((JSON.parse(answer.body) as { errors: unknown }).errors)).toBe(true)
    expect(answer.head.toLowerCase()).toContain('cache-control: no-store')
    expect(served.seen).toHaveLength(0)
  })

  test('JSON with the type of a form is scanned though white space comes first, alone', async () => {
    const served = await start(() => ok({}))
    const bomb = '['.repeat(4_000)
    const head = `POST /v1/a HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n`
    const socket = connect(served.port, '127.0.0.1')
    socket.write(`${head}Content-Length: ${bomb.length + 1}\r\n\r\n `)
    await new Promise((resolve) => setTimeout(resolve, 100)) // A chunk of its own.
    socket.write(bomb)
    const answer = readAnswer((await Array.fromAsync(socket as AsyncIterable<Buffer>)).join(''))
    expect(answer).toMatchObject({ status: 400, body: expect.stringContaining('levels') as string })
    expect(served.seen).toHaveLength(0)
  })

  test('a form of many fields costs nothing', async () => {
    const served = await start(() => ok({}))
    const form = 'Content-Type: application/x-www-form-urlencoded\r\n'
    const began = performance.now()
    expect((await ask(served, post('/v1/a', 'ab&'.repeat(200_000), form))).status).toBe(400)
    expect(performance.now() - began).toBeLessThan(200)
    expect((await ask(served, post('/v1/a', Array.from({ length: 500 }, (_, i) => `k${i}=v`).join('&'), form))).status).toBe(200)
    expect((await ask(served, post('/v1/a', Array.from({ length: 501 }, (_, i) => `k${i}=v`).join('&'), form))).status).toBe(400)
  })

  test('never quotes the body', async () => {
    const served = await start(() => ok({}))
    const answer = await ask(served, post('/v1/a', '{"password":"hunter2-secret" oops'))
    expect(answer.status).toBe(400)
    expect(answer.body).not.toContain('hunter2')
    expect(answer.body).toContain('error parsing JSON')
  })

  test('an oversized body gets its 413 while it is still being sent, and the connection goes on', async () => {
    const served = await start(echo, { limits: { bodyBytesMax: 1_000 } })
    const big = `{"a":"${'x'.repeat(2_000)}"}`
    for (const first of [
      post('/v1/a', big),
      `POST /v1/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n7d8\r\n${'x'.repeat(2_008)}\r\n0\r\n\r\n`,
    ]) {
      const text = await exchange(served.port, [first, 'GET /v1/next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'])
      expect(readAnswer(text).status).toBe(413)
      expect(readAnswer(readAnswer(text).rest).body).toContain('"next"')
    }
    const huge = await exchange(served.port, [`POST /v1/a HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n`])
    expect(readAnswer(huge).status).toBe(413)
  })

  test('bodies of all requests share one budget', async () => {
    const served = await start(echo, { limits: { bufferedBodyBytesMax: 100 } })
    const part = 'POST /v1/a HTTP/1.1\r\nHost: a\r\nContent-Length: 90\r\n\r\n' + 'x'.repeat(80)
    const first = exchange(served.port, [part], { timeoutMs: 300 }).catch(() => '')
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect((await ask(served, post('/v1/a', `{"a":"${'x'.repeat(50)}"}`))).status).toBe(503)
    await first
    await expect.poll(async () => (await ask(served, post('/v1/a', `{"a":"${'x'.repeat(50)}"}`))).status).toBe(200)
  })

  test('too many requests in flight', async () => {
    let release: (response: CoreResponse) => void = () => {}
    const served = await start(
      () =>
        new Promise<CoreResponse>((resolve) => {
          release = resolve
        }),
      { limits: { requestsInFlightMax: 1 } },
    )
    const first = ask(served, get('/v1/a'))
    await expect.poll(() => served.listener.inFlight.count).toBe(1)
    expect(served.listener.inFlight.list()[0]).toMatchObject({ path: 'a', method: 'GET', clientAddress: '127.0.0.1' })
    expect((await ask(served, get('/v1/b'))).status).toBe(503)
    release(ok({}))
    expect((await first).status).toBe(200)
    expect(served.listener.inFlight.count).toBe(0)
  })
})

describe('answers', () => {
  test('carry what the core gave, no body on HEAD and 204', async () => {
    const served = await start((request) =>
      request.path === 'none'
        ? { status: 204, headers: {}, body: new Uint8Array(0) }
        : { status: 429, headers: { 'Content-Type': 'text/plain', 'retry-after': '3' }, body: Buffer.from('busy') },
    )
    const answer = await ask(served, get('/v1/a'))
    expect(answer).toMatchObject({ status: 429, body: 'busy' })
    expect(answer.head.toLowerCase()).toContain('content-type: text/plain')
    expect(answer.head.toLowerCase()).toContain('retry-after: 3')
    const head = await exchange(served.port, ['HEAD /v1/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'])
    expect(head.endsWith('\r\n\r\n')).toBe(true)
    expect(head.toLowerCase()).toContain('content-length: 4')
    const none = await exchange(served.port, [get('/v1/none').replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n')])
    expect(none.startsWith('HTTP/1.1 204 ')).toBe(true)
    expect(none.toLowerCase()).not.toContain('content-length')
    expect(none.endsWith('\r\n\r\n')).toBe(true)
  })

  test('an error that the core throws becomes an answer, without its text', async () => {
    const served = await start(() => Promise.reject(new Error('secret detail')))
    expect(await ask(served, get('/v1/a'))).toMatchObject({ status: 500, body: '{"errors":["internal error"]}\n' })
  })

  test('an answer that HTTP cannot carry cuts the connection and ends nothing else', async () => {
    const served = await start((request) =>
      request.path === 'bad' ? { status: 200, headers: { a: 'b\r\nc' }, body: Buffer.from('') } : ok({}),
    )
    expect(await exchange(served.port, [get('/v1/bad')])).toBe('')
    expect((await ask(served, get('/v1/good'))).status).toBe(200)
    expect(served.listener.inFlight.count).toBe(0)
  })

  test("a parser's error waits behind the answers that come first", async () => {
    const served = await start(async () => {
      await new Promise((resolve) => setTimeout(resolve, 150))
      return ok({ slow: true })
    })
    const text = await exchange(served.port, [`${get('/v1/a')}GARBAGE\r\n\r\n`])
    const first = readAnswer(text)
    expect(first).toMatchObject({ status: 200, body: '{"slow":true}' })
    expect(readAnswer(first.rest).status).toBe(400)
  })
})

describe('time', () => {
  test('a request that the core does not answer is told to stop, then answered for it', async () => {
    let aborted = false
    const served = await start(
      (request) => {
        request.signal?.addEventListener('abort', () => (aborted = true))
        return new Promise<CoreResponse>(() => {})
      },
      { limits: { requestDurationMsMax: 100, requestGraceMs: 100 } },
    )
    const [read, write] = await Promise.all([ask(served, get('/v1/a')), ask(served, post('/v1/a', '{}'))])
    expect(aborted).toBe(true)
    expect(read.status).toBe(408)
    expect(write.status).toBe(500)
    expect(served.listener.inFlight.count).toBe(0)
  })

  test('a client that goes away aborts its request', async () => {
    let aborted = false
    const served = await start((request) => {
      request.signal?.addEventListener('abort', () => (aborted = true))
      return new Promise<CoreResponse>(() => {})
    })
    await exchange(served.port, [get('/v1/a')], { timeoutMs: 100 }).catch(() => '')
    await expect.poll(() => aborted).toBe(true)
  })

  test('a trickling body is dropped', async () => {
    const served = await start(echo, { limits: { bodyWindowMs: 300 } })
    const head = 'POST /v1/a HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n'
    const text = await exchange(served.port, [head, ...Array.from({ length: 50 }, () => 'x')], { gapMs: 100 })
    expect(readAnswer(text).status).toBe(408)
    expect(served.seen).toHaveLength(0)
  })

  test('headers that do not end are dropped', async () => {
    const served = await start(echo, { limits: { headerReadMsMax: 300 } })
    const text = await exchange(served.port, ['GET /v1/a HTTP/1.1\r\n', ...Array.from({ length: 60 }, () => 'X: y\r\n')], { gapMs: 100 })
    expect(readAnswer(text).status).toBe(408)
  })

  test('connections beyond the bound are refused', async () => {
    const served = await start(echo, { limits: { connectionsMax: 1 } })
    const first = connect(served.port, '127.0.0.1')
    await new Promise((resolve) => first.once('connect', resolve))
    await expect.poll(() => served.listener.connections).toBe(1)
    expect(await exchange(served.port, [get('/v1/a')])).toBe('')
    first.destroy()
  })
})

describe('the end', () => {
  test('close lets requests finish, tells their clients so, and takes no more', async () => {
    const served = await serve(async () => {
      await new Promise((resolve) => setTimeout(resolve, 200))
      return ok({ done: true })
    })
    const idle = connect(served.port, '127.0.0.1')
    const answer = exchange(served.port, [get('/v1/a')])
    await expect.poll(() => served.listener.inFlight.count).toBe(1)
    const began = performance.now()
    await served.listener.close(5_000)
    expect(performance.now() - began).toBeLessThan(2_000)
    const read = readAnswer(await answer)
    expect(read.body).toBe('{"done":true}')
    expect(read.head.toLowerCase()).toContain('connection: close')
    await expect(exchange(served.port, [get('/v1/a')])).rejects.toThrow('ECONNREFUSED')
    idle.destroy()
  })

  test('close cuts what does not finish in time', async () => {
    const served = await serve(() => new Promise<CoreResponse>(() => {}))
    const answer = exchange(served.port, [get('/v1/a')])
    await expect.poll(() => served.listener.inFlight.count).toBe(1)
    await served.listener.close(100)
    expect(await answer).toBe('')
  })

  test('a taken port is a clear error', async () => {
    const served = await start(echo)
    await expect(serve(echo, { port: served.port })).rejects.toMatchObject({
      code: 'ERR_CONFIG',
      message: expect.stringContaining('EADDRINUSE'),
    })
  })
})

describe('TLS', () => {
  const commonName = (port: number): Promise<{ name: string; protocol: string | null }> =>
    new Promise((resolve, reject) => {
      const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
        resolve({ name: String(socket.getPeerCertificate().subject.CN), protocol: socket.getProtocol() })
        socket.destroy()
      })
      socket.on('error', reject)
    })

  test('serves 1.3, refuses 1.1, says HSTS, and shows a client certificate to the core', async () => {
    const client = await selfSigned('client')
    const served = await start(echo, { tls: files })
    expect((await commonName(served.port)).protocol).toBe('TLSv1.3')
    await expect(
      new Promise((_resolve, reject) => {
        connectTls({
          port: served.port,
          host: '127.0.0.1',
          rejectUnauthorized: false,
          maxVersion: 'TLSv1.1',
          minVersion: 'TLSv1',
          ciphers: 'DEFAULT:@SECLEVEL=0',
        }).on('error', reject)
      }),
    ).rejects.toThrow()
    const text = await new Promise<string>((resolve) => {
      const socket = connectTls({ port: served.port, host: '127.0.0.1', rejectUnauthorized: false, ...client }, () =>
        socket.write('GET /v1/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'),
      )
      let all = ''
      socket.on('data', (chunk: Buffer) => (all += chunk.toString()))
      socket.on('close', () => resolve(all))
    })
    expect(text.toLowerCase()).toContain('strict-transport-security: max-age=')
    expect(served.seen[0]?.clientCertificate?.byteLength).toBeGreaterThan(100)
  })

  test('reloads certificates, and keeps the old ones when the new are bad', async () => {
    const own = writePem(folder.path, 'reload', await selfSigned('first'))
    const served = await start(echo, { tls: own })
    expect((await commonName(served.port)).name).toBe('first')
    writePem(folder.path, 'reload', await selfSigned('second'))
    served.listener.reloadTls()
    expect((await commonName(served.port)).name).toBe('second')
    writePem(folder.path, 'reload', { cert: 'nonsense', key: 'nonsense' })
    expect(() => served.listener.reloadTls()).toThrow('tls_cert_file')
    expect((await commonName(served.port)).name).toBe('second')
  })

  test('a missing file and a key of another certificate are clear errors', async () => {
    const pem = await selfSigned('a')
    const mixed = writePem(folder.path, 'mixed', { cert: pem.cert, key: (await selfSigned('b')).key })
    await expect(serve(echo, { tls: mixed })).rejects.toMatchObject({ code: 'ERR_CONFIG' })
    await expect(serve(echo, { tls: { certFile: '/nowhere', keyFile: '/nowhere' } })).rejects.toMatchObject({
      message: expect.stringContaining('ENOENT'),
    })
  })
})
