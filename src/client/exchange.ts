/** One HTTP exchange with one address, bounded in time and size. */
import { request as send, type Dispatcher } from 'undici'
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

/** Certificates are refused during the handshake, before the request is written. */
const handshakeCode = /CERT|SELF_SIGNED|UNABLE_TO_|ERR_SSL_/

/** @throws ExchangeError, also when `signal` aborts. */
export async function exchange(dispatcher: Dispatcher, address: string, prepared: Prepared, signal: AbortSignal): Promise<RawAnswer> {
  try {
    const answer = await send(`${address}${prepared.target}`, {
      method: prepared.method as Dispatcher.HttpMethod,
      headers: { ...prepared.headers },
      body: prepared.body,
      dispatcher,
      signal,
    })
    const text = await readBounded(answer.body)
    return { status: answer.statusCode, headers: flatten(answer.headers), text, json: parseObject(text), address }
  } catch (error) {
    const codes = codesOf(error)
    const sent = !codes.some((code) => neverConnected.has(code) || handshakeCode.test(code))
    throw new ExchangeError(reasonOf(error, codes, signal), sent, error)
  }
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

function parseObject(text: string): Secret | null {
  if (!text.trimStart().startsWith('{')) return null
  try {
    return JSON.parse(text) as Secret
  } catch {
    return null // Not JSON after all (a proxy's page): the status still says what happened.
  }
}

const flatten = (headers: Readonly<Record<string, string | string[] | undefined>>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : (value ?? '')]))

function reasonOf(error: unknown, codes: readonly string[], signal: AbortSignal): string {
  if (signal.aborted) return 'no answer in time'
  const [code] = codes
  if (code === 'ECONNREFUSED') return 'connection refused'
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return 'host name not found'
  const message = error instanceof Error ? error.message : 'unknown failure'
  return code === undefined || message.includes(code) ? message : `${message} (${code})`
}
