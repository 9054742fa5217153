import fc from 'fast-check'
import { createServer } from 'node:http'
import { duplexPair } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { MessageFramer } from '#http/framer.ts'
import { acceptListMethod, methodOf } from '#http/list-method.ts'
import { pieces, randomMessage, seeded } from './support.ts'
import type { Message } from './support.ts'

/** What the framer makes of a stream that arrives in these pieces. */
function framed(chunks: readonly Buffer[]): { text: string; framer: MessageFramer } {
  const framer = new MessageFramer()
  for (const chunk of chunks) framer.feed(chunk)
  return { text: Buffer.concat(chunks).toString('latin1'), framer }
}

const whole = (text: string): ReturnType<typeof framed> => framed([Buffer.from(text, 'latin1')])

/** The oracle: it knows where each message begins, since it built them. */
const rewritten = (messages: readonly Message[]): string =>
  messages.map((message) => (message.method === 'LIST' ? message.bytes.replace('LIST', 'LINK') : message.bytes)).join('')

function randomMessages(random: () => number): Message[] {
  return Array.from({ length: 1 + Math.floor(random() * 8) }, (_, serial) => randomMessage(random, serial))
}

test('rewrites LIST at message boundaries and nothing else, however the bytes are split', () => {
  fc.assert(
    fc.property(fc.nat(), fc.integer({ min: 1, max: 40 }), (seed, bytesMax) => {
      const random = seeded(seed)
      const messages = randomMessages(random)
      const result = framed(pieces(random, messages.map((message) => message.bytes).join(''), bytesMax))
      expect(result.text).toBe(rewritten(messages))
      expect(result.framer.stopped).toBe(false)
      for (const message of messages) if (message.method === 'LIST') expect(result.framer.takeList()).toBe(true)
      expect(result.framer.takeList()).toBe(false)
    }),
    { numRuns: 3_000 },
  )
})

test('every split of one stream into two gives the same bytes', () => {
  const random = seeded(7)
  const messages = Array.from({ length: 12 }, (_, serial) => randomMessage(random, serial))
  const bytes = Buffer.from(messages.map((message) => message.bytes).join(''), 'latin1')
  for (let at = 0; at <= bytes.length; at += 1) {
    expect(framed([Buffer.from(bytes.subarray(0, at)), Buffer.from(bytes.subarray(at))]).text).toBe(rewritten(messages))
  }
})

const list = 'LIST / HTTP/1.1\r\n\r\n'

describe('stops on doubt, so that a later LIST is left for the parser to refuse', () => {
  test.each([
    ['both lengths', 'POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc'],
    ['both lengths, the other way round', 'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc'],
    ['two lengths', 'POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc'],
    ['a list of lengths', 'POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\nabc'],
    ['a signed length', 'POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc'],
    ['an empty length', 'POST / HTTP/1.1\r\nContent-Length:\r\n\r\n'],
    ['a huge length', 'POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n'],
    ['another coding', 'POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n'],
    ['chunked twice', 'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['identity', 'POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n'],
    ['an upgrade', 'GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n'],
    ['CONNECT', 'CONNECT a:1 HTTP/1.1\r\n\r\n'],
    ['a method of others', 'QUERY / HTTP/1.1\r\n\r\n'],
    ['HTTP/1.0', 'GET / HTTP/1.0\r\n\r\n'],
    ['no version', 'GET /\r\n\r\n'],
    ['a bare LF behind the request line', 'GET / HTTP/1.1\n\r\n'],
    ['a bare LF behind a header', 'GET / HTTP/1.1\r\nA: b\n\r\n'],
    ['a bare CR in a header', 'GET / HTTP/1.1\r\nA: b\rc\r\n\r\n'],
    ['a folded header', 'GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n'],
    ['a folded length', 'POST / HTTP/1.1\r\nContent-Length:\r\n 3\r\n\r\nabc'],
    ['a space before the colon', 'POST / HTTP/1.1\r\nContent-Length : 3\r\n\r\nabc'],
    ['a header without a colon', 'POST / HTTP/1.1\r\nContent-Length\r\n\r\n'],
    ['a chunk size with a space', 'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n'],
    ['a chunk size with a sign', 'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n'],
    ['a chunk size of nine digits', 'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n000000003\r\nabc\r\n0\r\n\r\n'],
    ['a chunk that is longer than it says', 'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n'],
    ['a bare LF in a chunk extension', 'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;a\nb\r\nab\r\n0\r\n\r\n'],
    ['a length in the trailer', 'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\n'],
    ['a long method', 'LISTLISTLIST / HTTP/1.1\r\n\r\n'],
  ])('%s', (_name, text) => {
    const result = whole(text + list)
    expect(result.framer.stopped).toBe(true)
    expect(result.text.endsWith(list)).toBe(true)
  })
})

test('what is no LIST can never become LINK', () => {
  for (const text of [
    'LINK / HTTP/1.1\r\n',
    'LISK / HTTP/1.1\r\n',
    'LISTK / HTTP/1.1\r\n',
    'LIST\t/ HTTP/1.1\r\n',
    'LISLIST / HTTP/1.1\r\n',
  ]) {
    for (let size = 1; size <= 6; size += 1) {
      const chunks = Array.from({ length: Math.ceil(text.length / size) }, (_, i) => Buffer.from(text.slice(i * size, (i + 1) * size)))
      const result = framed(chunks)
      expect(result.text.startsWith('LINK ')).toBe(false)
      expect(result.text).toContain('\0')
      expect(result.framer.takeList()).toBe(false)
    }
  }
  for (const text of ['list / HTTP/1.1\r\n', 'LIsT / HTTP/1.1\r\n', 'LI / HTTP/1.1\r\n', 'GLIST / HTTP/1.1\r\n', 'LLIST / HTTP/1.1\r\n']) {
    expect(whole(text).text).toBe(text)
  }
})

interface Heard {
  readonly requests: { method: string | null; url: string; body: string }[]
  readonly pieces: string[]
  readonly broken: boolean
}

/** What a real node:http server hears of a stream, through an in-memory connection. */
async function heardBy(chunks: readonly Buffer[]): Promise<Heard> {
  const heard: { requests: { method: string | null; url: string; body: string }[]; pieces: string[]; broken: boolean } = {
    requests: [],
    pieces: [],
    broken: false,
  }
  const server = createServer({ requireHostHeader: false }, (request, response) => {
    const entry = { method: methodOf(request), url: request.url ?? '', body: '' }
    heard.requests.push(entry)
    request.on('data', (chunk: Buffer) => {
      entry.body += chunk.toString('latin1')
      heard.pieces.push(chunk.toString('latin1'))
    })
    request.on('end', () => response.end())
  })
  acceptListMethod(server, 'connection')
  const [client, remote] = duplexPair()
  const over = new Promise<void>((resolve) => remote.on('close', () => resolve()))
  server.on('clientError', (_error, socket) => {
    heard.broken = true
    socket.destroy()
  })
  server.emit('connection', remote)
  client.resume()
  for (const chunk of chunks) {
    if (client.destroyed || remote.destroyed) break
    await Promise.race([over, new Promise<void>((resolve) => void client.write(chunk, () => resolve()))])
  }
  client.end()
  await over
  return heard
}

test("Node's own parser and the framer see the same messages", async () => {
  for (let seed = 1; seed <= 250; seed += 1) {
    const random = seeded(seed)
    const messages = randomMessages(random)
    const text = messages.map((message) => message.bytes).join('')
    const heard = await heardBy(pieces(random, text, 1 + Math.floor(random() * 60)))
    const expected = messages.map((message) => ({ method: message.method, url: message.target, body: message.body }))
    expect(heard.requests, `seed ${seed}`).toEqual(expected)
    expect(heard.broken).toBe(false)
  }
})

test('a damaged stream never makes the framer touch a body, or the handler see a LIST that stands in one', async () => {
  const damage = [
    '\r',
    '\n',
    '\r\n',
    ' ',
    ':',
    '0',
    '5',
    'f',
    ';',
    '\0',
    'Content-Length: 4\r\n',
    'Transfer-Encoding: chunked\r\n',
    'LIST / HTTP/1.1\r\n\r\n',
  ]
  let brokenCount = 0
  for (let seed = 1; seed <= 500; seed += 1) {
    const random = seeded(seed * 7_919)
    // No LINK in what is sent: so a LINK in a body could only come from the framer.
    let text = randomMessages(random)
      .map((message) => message.bytes)
      .join('')
      .replaceAll('LINK', 'LOCK')
    for (let n = 1 + Math.floor(random() * 3); n > 0; n -= 1) {
      const at = Math.floor(random() * text.length)
      const cut = Math.floor(random() * 3)
      text = text.slice(0, at) + (damage[Math.floor(random() * damage.length)] ?? '') + text.slice(at + cut)
    }
    const heard = await heardBy(pieces(random, text, 1 + Math.floor(random() * 60)))
    for (const piece of heard.pieces) expect(text.includes(piece), `seed ${seed}`).toBe(true)
    for (const request of heard.requests) expect(request.method, `seed ${seed}`).not.toBe(null)
    if (heard.broken) brokenCount += 1
  }
  // A run in which no damage broke anything would have tested nothing.
  expect(brokenCount).toBeGreaterThan(50)
})
