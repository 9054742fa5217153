/** Streamed answers and uploads: no faster than the other side takes them, ended when it goes, bounded in bytes and slowness but not in time. */
import { createHash } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { Client } from '#client/client.ts'
import { ApiError, UnreachableError } from '#client/errors.ts'
import { systemClock } from '#base/clock.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { errorResponse } from '#core/errors.ts'
import type { CoreResponse, Request } from '#core/types.ts'
import { ok, serve, type Handler, type Served } from './support.ts'

const piece = new Uint8Array(64 * 1024).fill(7)
const served: Served[] = []
const clients: Client[] = []
afterEach(async () => {
  for (const client of clients.splice(0)) await client.close()
  for (const one of served.splice(0)) await one.listener.close(0)
})

async function start(handler: Handler, options: Parameters<typeof serve>[1] = {}): Promise<Served> {
  const one = await serve(handler, { uploadBytesMax: (path) => (path === 'up' ? 50_000_000 : null), ...options })
  served.push(one)
  return one
}

function clientOf(...ports: readonly number[]): Client {
  const addresses = ports.map((port) => `http://127.0.0.1:${port}`)
  const client = new Client({ addresses, timeoutMs: 2_000, retriesMax: 0 }, { clock: systemClock, random: systemRandom })
  clients.push(client)
  return client
}

/** A stream of `count` pieces that says how many were taken, and how often it was closed. */
function source(count: number, failAt = Infinity) {
  const seen = { pulled: 0, closed: 0 }
  const chunks = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
    for (; seen.pulled < count; seen.pulled += 1) {
      if (seen.pulled === failAt) throw new HoldfastError('ERR_STORE_CORRUPT', 'a value that is not what was written')
      yield piece
    }
  }
  const response = (): CoreResponse => ({
    status: 200,
    headers: { 'content-type': 'application/gzip' },
    body: new Uint8Array(0),
    stream: { chunks: chunks(), close: () => void (seen.closed += 1) },
  })
  return { seen, response }
}

const settled = async (check: () => boolean): Promise<void> => {
  for (let turn = 0; turn < 400 && !check(); turn += 1) await delay(10)
  expect(check()).toBe(true)
}

/** Writes a request by hand, and reads nothing. */
function ask(port: number, text: string): Promise<Socket> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' }, () => {
      socket.pause()
      socket.write(text)
      resolve(socket)
    })
    socket.on('error', () => {})
  })
}

test('a stream arrives whole, and its source is closed; the connection serves on', async () => {
  const { seen, response } = source(100)
  const { port } = await start((request) => (request.path === 'big' ? response() : ok({ fine: true })))
  const client = clientOf(port)
  const { body, headers } = await client.download({ method: 'GET', path: 'big' })
  let bytes = 0
  for await (const part of body) bytes += part.length
  expect([bytes, headers['content-type'], headers['content-length']]).toEqual([100 * piece.length, 'application/gzip', undefined])
  await settled(() => seen.closed > 0)
  expect((await client.raw({ method: 'GET', path: 'small' })).status).toBe(200)
})

test('a client that reads nothing holds the source where the buffers are full; one that goes away closes it', async () => {
  const { seen, response } = source(100_000)
  const { port, listener } = await start(response)
  const socket = await ask(port, 'GET /v1/big HTTP/1.1\r\nHost: x\r\n\r\n')
  await settled(() => seen.pulled > 2)
  await delay(300)
  const before = seen.pulled
  await delay(300)
  expect(seen.pulled).toBe(before)
  // 6.5 GB are on offer; kernel and Node hold a few MB.
  expect(before).toBeLessThan(500)
  expect([listener.inFlight.count, seen.closed]).toEqual([1, 0])
  socket.destroy()
  await settled(() => seen.closed > 0 && listener.inFlight.count === 0)
})

test('what fails midway cuts the connection: the client knows that it has not all', async () => {
  const { seen, response } = source(100, 5)
  const { port } = await start(response)
  const { body } = await clientOf(port).download({ method: 'GET', path: 'big' })
  await expect(
    (async () => {
      for await (const _ of body) continue
    })(),
  ).rejects.toThrow(UnreachableError)
  await settled(() => seen.closed > 0)
})

test('HEAD sends the head alone; a refusal is an error with its words, and the next node is asked', async () => {
  const { seen, response } = source(100)
  const { port } = await start((request) =>
    request.path === 'no' ? errorResponse(new HoldfastError('ERR_BUSY', 'too many'), 'x', silentLogger) : response(),
  )
  const answer = await fetch(`http://127.0.0.1:${port}/v1/big`, { method: 'HEAD' })
  expect([answer.status, (await answer.arrayBuffer()).byteLength, seen.pulled]).toEqual([200, 0, 0])
  await settled(() => seen.closed > 0)
  await expect(clientOf(port).download({ method: 'GET', path: 'no' })).rejects.toThrow(ApiError)
  const sealed = await start(() => errorResponse(new HoldfastError('ERR_SEALED', 'Vault is sealed'), 'x', silentLogger))
  const second = await clientOf(sealed.port, port).download({ method: 'GET', path: 'big' })
  expect(second.address).toMatch(new RegExp(`:${port}$`))
  for await (const _ of second.body) break
})

test('a server that falls silent in the middle is left after the time limit, not waited for', async () => {
  let stop = (): void => {}
  const chunks = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
    yield piece
    await new Promise<void>((resolve) => (stop = resolve))
  }
  const { port } = await start(() => ({ ...source(1).response(), stream: { chunks: chunks(), close: () => {} } }))
  const { body } = await clientOf(port).download({ method: 'GET', path: 'big' })
  const started = performance.now()
  await expect(
    (async () => {
      for await (const _ of body) continue
    })(),
  ).rejects.toThrow(/broke off: no answer in time/)
  expect(performance.now() - started).toBeLessThan(10_000)
  stop()
})

/** Reads an upload to its end, and answers its length and hash. */
async function swallow(request: Request): Promise<CoreResponse> {
  try {
    const hash = createHash('sha256')
    let bytes = 0
    for await (const part of request.upload ?? []) {
      bytes += part.length
      hash.update(part)
    }
    return ok({ bytes, sha256: hash.digest('hex') })
  } catch (error) {
    return errorResponse(error, request.id, silentLogger)
  }
}

async function* repeat(count: number, pauseMs = 0, bytes = piece): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < count; at += 1) {
    if (pauseMs > 0) await delay(pauseMs)
    yield bytes
  }
}

test('an upload goes through whole, larger than any JSON body, and for longer than any other request may take', async () => {
  const { port } = await start(swallow, {
    limits: {
      bodyBytesMax: 1_000,
      bufferedBodyBytesMax: 2_000,
      requestReadMsMax: 1_500,
      headerReadMsMax: 1_000,
      requestDurationMsMax: 1_000,
    },
  })
  const answer = await clientOf(port).upload({ method: 'POST', path: 'up' }, () => repeat(40, 100))
  expect(answer.json).toEqual({
    bytes: 40 * piece.length,
    sha256: createHash('sha256')
      .update(Buffer.alloc(40 * piece.length, 7))
      .digest('hex'),
  })
}, 30_000)

test('the core answers before the body is there; what is still sent is thrown away, and the client reads the refusal', async () => {
  const { port, listener } = await start(() =>
    errorResponse(new HoldfastError('ERR_PERMISSION_DENIED', 'permission denied'), 'x', silentLogger),
  )
  const sent = { pieces: 0 }
  const counted = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const part of repeat(10_000)) {
      sent.pieces += 1
      yield part
    }
  }
  const outcome = await clientOf(port)
    .upload({ method: 'POST', path: 'up' }, counted)
    .then(
      ({ status }) => status,
      (error: unknown) => error,
    )
  expect(outcome === 403 || outcome instanceof UnreachableError, String(outcome)).toBe(true)
  expect(sent.pieces).toBeLessThan(10_000)
  await settled(() => listener.inFlight.count === 0)
})

test('a reader that is slow holds the client back, and is not taken for a slow client', async () => {
  let read = 0
  let go = (): void => {}
  const gate = new Promise<void>((resolve) => (go = resolve))
  const { port } = await start(
    async (request) => {
      for await (const part of request.upload ?? []) {
        read += part.length
        await gate
      }
      return ok({ read })
    },
    { limits: { bodyWindowMs: 500, bodyWindowBytesMin: 1_000_000 } },
  )
  const sent = { pieces: 0 }
  const counted = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const part of repeat(600)) {
      sent.pieces += 1
      yield part
    }
  }
  const client = new Client(
    { addresses: [`http://127.0.0.1:${port}`], timeoutMs: 20_000, retriesMax: 0 },
    { clock: systemClock, random: systemRandom },
  )
  clients.push(client)
  const answer = client.upload({ method: 'POST', path: 'up' }, counted)
  await delay(2_500)
  expect(sent.pieces).toBeLessThan(400)
  go()
  expect((await answer).json).toEqual({ read: 600 * piece.length })
}, 30_000)

test('an upload that is too large, trickles or breaks off ends with what is wrong', async () => {
  const ended: unknown[] = []
  const { port } = await start(
    async (request) => {
      const response = await swallow(request)
      ended.push(JSON.parse(Buffer.from(response.body).toString()))
      return response
    },
    { uploadBytesMax: () => 100_000, limits: { bodyWindowMs: 500, bodyWindowBytesMin: 1_000 } },
  )
  const outcome = await clientOf(port)
    .upload({ method: 'POST', path: 'up' }, () => repeat(100, 1))
    .catch((error: unknown) => error)
  expect(isHoldfastError(outcome) || (outcome as { status: number }).status === 413).toBe(true)
  await settled(() => ended.length === 1)
  expect(ended[0]).toMatchObject({ errors: ['http: request body too large'] })
  const trickle = await ask(port, 'POST /v1/up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n')
  await settled(() => ended.length === 2)
  expect(ended[1]).toMatchObject({ errors: [expect.stringMatching(/expected at least 1000 bytes in 500 ms/)] })
  trickle.destroy()
  const broken = await ask(port, 'POST /v1/up HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\nabc')
  await delay(100)
  broken.destroy()
  await settled(() => ended.length === 3)
  expect(ended[2]).toMatchObject({ errors: [expect.stringMatching(/the connection was closed|well-formed HTTP/)] })
  // A length that is said beforehand is refused before anybody is asked.
  const large = await fetch(`http://127.0.0.1:${port}/v1/up`, { method: 'POST', body: new Uint8Array(100_001) })
  expect([large.status, ended.length]).toEqual([413, 3])
}, 30_000)
