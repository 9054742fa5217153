/** One HTTP exchange with one address, bounded in time and size. */
import type { Readable } from 'node:stream'
import { request as send, type Dispatcher } from 'undici'
import { parseExactJson } from '#base/exact-json.ts'
import { limits } from '#base/limits.ts'
import type { Prepared } from './request.ts'
import type { RawAnswer, Secret } from './types.ts'

/** An answer may be a little more than the largest request, since lists and envelopes add to what was stored. */
const answerBytesMax = 2 * limits.requestBodyBytesMax

/** The exchange failed. `sent` is false only when it is certain that no byte of the request went out. */
export class ExchangeError extends Error {
  readonly sent: boolean
  constructor(reason: string, sent: boolean, cause: unknown) {
    super(reason, { cause })
    this.sent = sent
  }
}

const neverConnected = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EADDRNOTAVAIL',
  'UND_ERR_CONNECT_TIMEOUT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
])

function codesOf(error: unknown): string[] {
  if (!(error instanceof Error)) return []
  const inner = error instanceof AggregateError ? error.errors.flatMap(codesOf) : []
  const code = 'code' in error && typeof error.code === 'string' ? [error.code] : []
  return [...code, ...inner, ...codesOf(error.cause)]
}

/**
 * Certificates and versions are refused during the handshake, before the request is written. Not all that TLS can fail with: a record that does not
 * open comes on a connection that has carried requests.
 */
const handshakeCode =
  /CERT|SELF_SIGNED|UNABLE_TO_|ERR_SSL_(WRONG_VERSION|PACKET_LENGTH|HTTP_REQUEST|UNSUPPORTED|NO_|UNKNOWN_PROTOCOL|TLSV1_ALERT_(PROTOCOL|INSUFFICIENT|UNKNOWN_CA|NO_)|SSLV3_ALERT_HANDSHAKE|TLSV13_ALERT)/

/** A request whose body may be a stream. */
type Sendable = Omit<Prepared, 'body'> & { readonly body: string | Readable | null }

/** @throws ExchangeError, also when `signal` aborts. */
export async function exchange(dispatcher: Dispatcher, address: string, prepared: Sendable, signal: AbortSignal): Promise<RawAnswer> {
  try {
    const answer = await send(`${address}${prepared.target}`, {
      method: prepared.method as Dispatcher.HttpMethod,
      headers: { ...prepared.headers },
      body: prepared.body,
      dispatcher,
      signal,
    })
    const { statusCode: status, headers, body } = answer
    return await readAnswer({ status, headers, body, address }, prepared.exactNumbers)
  } catch (error) {
    throw failureOf(error, signal)
  }
}

/** The whole of an answer whose head is here. @throws when it is longer than any answer, or breaks off. */
export async function readAnswer(
  answer: {
    readonly status: number
    readonly headers: Headers
    readonly body: AsyncIterable<Uint8Array>
    readonly address: string
  },
  exactNumbers = false,
): Promise<RawAnswer> {
  const { status, headers, body, address } = answer
  const text = await readBounded(body)
  return { status, headers: flatten(headers), text, json: parseObject(text, exactNumbers), address }
}

/** What an exchange ended in, as one error that says whether anything was sent. */
export function failureOf(error: unknown, signal: AbortSignal): ExchangeError {
  const codes = codesOf(error)
  const sent = !codes.some((code) => neverConnected.has(code) || handshakeCode.test(code))
  return new ExchangeError(reasonOf(error, codes, signal), sent, error)
}

async function readBounded(body: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of body) {
    bytes += part.byteLength
    if (bytes > answerBytesMax) throw new Error(`answer expected at most ${answerBytesMax} bytes, got more`)
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}

function parseObject(text: string, exactNumbers: boolean): Secret | null {
  if (!text.trimStart().startsWith('{')) return null
  try {
    return (exactNumbers ? parseExactJson(text) : JSON.parse(text)) as Secret
  } catch {
    return null // Not JSON after all (a proxy's page): the status still says what happened.
  }
}

type Headers = Readonly<Record<string, string | string[] | undefined>>

export const flatten = (headers: Headers): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : (value ?? '')]))

function reasonOf(error: unknown, codes: readonly string[], signal: AbortSignal): string {
  if (signal.aborted) return 'no answer in time'
  const [code] = codes
  if (code === 'ECONNREFUSED') return 'connection refused'
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return 'host name not found'
  const message = error instanceof Error ? error.message : 'unknown failure'
  return code === undefined || message.includes(code) ? message : `${message} (${code})`
}
