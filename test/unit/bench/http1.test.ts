import fc from 'fast-check'
import { expect, test } from 'vitest'
import { endpointOf, parseAnswer, requestText } from '../../../bench/load/http1.ts'

const withLength = (body: string): string =>
  `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
const chunked = (parts: readonly string[]): string =>
  `HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n${parts.map((part) => `${part.length.toString(16)}\r\n${part}\r\n`).join('')}0\r\n\r\n`
const text = fc.string({ maxLength: 60, unit: fc.constantFrom('a', '{', '\r', '\n', '0', ':') })

test('an answer is one as soon as its last byte is there, and not before', () => {
  const answers = fc.oneof(
    text.map((body) => ({ raw: withLength(body), body, status: 200 })),
    fc
      .array(
        text.filter((part) => part.length > 0),
        { maxLength: 4 },
      )
      .map((parts) => ({ raw: chunked(parts), body: parts.join(''), status: 404 })),
    fc.constant({ raw: 'HTTP/1.1 204 No Content\r\ncache-control: no-store\r\n\r\n', body: '', status: 204 }),
  )
  fc.assert(
    fc.property(answers, ({ raw, body, status }) => {
      for (let length = 0; length < raw.length; length += 1) expect(parseAnswer(Buffer.from(raw.slice(0, length)))).toBeNull()
      const answer = parseAnswer(Buffer.from(raw))
      expect(answer).toMatchObject({ status, close: false })
      expect(answer?.body.toString()).toBe(body)
    }),
  )
})

test('a server that says it closes is believed', () => {
  expect(parseAnswer(Buffer.from('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'))).toMatchObject({
    close: true,
    status: 400,
  })
})

test('requests carry their length, and addresses what is needed to reach them', () => {
  expect(requestText('POST', '/v1/a', 'Host: bench\r\n', '{"b":1}')).toBe(
    'POST /v1/a HTTP/1.1\r\nHost: bench\r\nContent-Length: 7\r\n\r\n{"b":1}',
  )
  expect(requestText('GET', '/v1/a', 'Host: bench\r\n', null)).toBe('GET /v1/a HTTP/1.1\r\nHost: bench\r\n\r\n')
  expect(endpointOf('http://127.0.0.1:8200', null)).toEqual({ host: '127.0.0.1', port: 8200, tls: null })
  expect(endpointOf('https://[::1]:8200', null)).toEqual({ host: '::1', port: 8200, tls: { ca: null } })
  expect(() => endpointOf('127.0.0.1:8200', null)).toThrow('expected http://HOST:PORT')
})
