/** Writes answers: the headers that every answer carries, and the core's on top. */
import type { ServerResponse } from 'node:http'
import { HoldfastError } from '#base/errors.ts'
import type { CoreResponse } from '#core/types.ts'

/** Headers of every answer of a listener, flat as Node takes them, lower-case names. */
export function standingHeaders(secure: boolean, extra: Readonly<Record<string, string>> = {}): readonly string[] {
  const headers: Record<string, string> = { 'cache-control': 'no-store' }
  if (secure) headers['strict-transport-security'] = 'max-age=31536000; includeSubDomains'
  for (const name of Object.keys(extra)) headers[name.toLowerCase()] = extra[name] ?? ''
  return Object.entries(headers).flat()
}

export interface Answer {
  readonly response: CoreResponse
  /** X-Vault-Namespace as the client sent it. */
  readonly namespace: string | undefined
  readonly close: boolean
}

const inlineBytesMax = 16 * 1024

/** Sends a whole answer, or the head of one whose body is a stream. `standing` comes from `standingHeaders`; a header of the core replaces a standing one of the same name. */
export function respond(out: ServerResponse, standing: readonly string[], answer: Answer): void {
  const { status, headers, body, stream } = answer.response
  const flat: string[] = []
  let typed = false
  for (let i = 0; i < standing.length; i += 2) {
    const name = standing[i] as string
    if (headers[name] === undefined) flat.push(name, standing[i + 1] as string)
  }
  for (const name in headers) {
    const lower = name.toLowerCase()
    if (lower === 'content-length' || lower === 'connection' || lower === 'transfer-encoding') continue
    if (lower === 'content-type') typed = true
    flat.push(lower, headers[name] as string)
  }
  if (!typed && body.length > 0) flat.push('content-type', 'application/json')
  if (status !== 204 && status !== 304 && stream === undefined) flat.push('content-length', String(body.length))
  if (answer.namespace !== undefined) flat.push('x-vault-namespace', answer.namespace)
  if (answer.close) flat.push('connection', 'close')
  out.writeHead(status, flat)
  if (stream !== undefined) return
  // A short body as text goes out in one write with its headers; as bytes it would cost the kernel a gathering write, at twice the CPU.
  if (body.length <= inlineBytesMax) out.end(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('latin1'), 'latin1')
  else out.end(body)
}

const reasons: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  413: 'Payload Too Large',
  431: 'Request Header Fields Too Large',
}

/** A whole answer as bytes, for a connection whose parser has given up: there is no response object to write it with. */
export function rawAnswer(error: HoldfastError): Buffer {
  const { status } = error
  const body = `${JSON.stringify({ errors: error.errors })}\n`
  return Buffer.from(
    `HTTP/1.1 ${status} ${reasons[status] ?? 'Error'}\r\nCache-Control: no-store\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  )
}

/** An error of Node's parser or timers, by its code, as one of ours. */
export function clientError(code: string | undefined): HoldfastError {
  if (code === 'HPE_HEADER_OVERFLOW') {
    return new HoldfastError(
      'ERR_HEADERS_TOO_LARGE',
      'request line and headers expected to be smaller, got more than this listener takes',
      {
        hint: 'max_request_header_size of the listener is the bound; a token or namespace in a header is usually short',
      },
    )
  }
  if (code === 'HPE_CHUNK_EXTENSIONS_OVERFLOW') {
    return new HoldfastError('ERR_BODY_TOO_LARGE', 'chunk extensions expected to be short, got too many bytes')
  }
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return new HoldfastError('ERR_TIMEOUT', 'request expected to arrive in time, got too slow a client')
  }
  return new HoldfastError('ERR_BAD_REQUEST', 'request expected to be well-formed HTTP/1.1, got something else')
}
