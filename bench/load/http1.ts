/**
 * One keep-alive connection that speaks HTTP/1.1, one request at a time: the least that a load generator needs.
 *
 * Own code, because the generator shares two cores with what it measures: a request costs it 13 us of CPU, an undici Pool (pipelining 1) 45, and a
 * bare node:http server 20 to answer it (node bench/generator.ts). By undici the figures would mostly be the client's.
 * Answers with a length, chunked answers and answers without a body are understood; nothing else is (no 1xx, no trailers that matter).
 */
import { connect as connectPlain, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'

export interface Endpoint {
  readonly host: string
  readonly port: number
  /** null: plain HTTP. */
  readonly tls: { readonly ca: Buffer | null } | null
}

/** @throws Error with a sentence for whoever typed the address. */
export function endpointOf(address: string, ca: Buffer | null): Endpoint {
  const url = URL.parse(address)
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new Error(`address expected http://HOST:PORT or https://HOST:PORT, got ${address}`)
  const secure = url.protocol === 'https:'
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port || (secure ? 443 : 80)), tls: secure ? { ca } : null }
}

export interface Answer {
  readonly status: number
  /** Valid until the listener returns. */
  readonly body: Buffer
  readonly close: boolean
}

const connectMsMax = 10_000
const answerBytesMax = 16 * 2 ** 20
const noBytes = Buffer.alloc(0)

export class Connection {
  readonly #endpoint: Endpoint
  readonly #onAnswer: (answer: Answer) => void
  readonly #onBroken: (error: Error) => void
  #socket: Socket | null = null
  #pending: Buffer = noBytes

  /** `onBroken`: the connection ended while an answer was awaited; `open` may be called again. */
  constructor(endpoint: Endpoint, onAnswer: (answer: Answer) => void, onBroken: (error: Error) => void) {
    this.#endpoint = endpoint
    this.#onAnswer = onAnswer
    this.#onBroken = onBroken
  }

  get isOpen(): boolean {
    return this.#socket !== null
  }

  /** @throws Error that names the address. */
  open(): Promise<void> {
    const { host, port, tls } = this.#endpoint
    return new Promise((resolve, reject) => {
      const socket =
        tls === null
          ? connectPlain({ host, port, noDelay: true })
          : connectTls({ host, port, ...(tls.ca === null ? {} : { ca: tls.ca }), minVersion: 'TLSv1.3' }).setNoDelay(true)
      const fail = (error: Error): void => {
        socket.destroy()
        reject(new Error(`expected ${host}:${port} to take a connection, got ${(error as NodeJS.ErrnoException).code ?? error.message}`))
      }
      socket.setTimeout(connectMsMax, () => fail(new Error(`no answer within ${connectMsMax / 1_000} s`)))
      socket.once('error', fail)
      socket.once(tls === null ? 'connect' : 'secureConnect', () => {
        socket.setTimeout(0)
        socket.off('error', fail)
        this.#attach(socket)
        resolve()
      })
    })
  }

  #attach(socket: Socket): void {
    this.#socket = socket
    this.#pending = noBytes
    let cause: Error | null = null
    socket.on('error', (error) => (cause = error))
    socket.on('close', () => {
      if (this.#socket !== socket) return
      this.#socket = null
      this.#onBroken(cause ?? new Error('the server closed the connection'))
    })
    socket.on('data', (chunk: Buffer) => this.#take(socket, chunk))
  }

  /** Sends a whole request. Only when the one before has been answered. */
  send(request: string): void {
    this.#socket?.write(request, 'latin1')
  }

  #take(socket: Socket, chunk: Buffer): void {
    const bytes = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk])
    const answer = parseAnswer(bytes)
    if (answer === null) {
      this.#pending = bytes
      if (bytes.length > answerBytesMax) socket.destroy(new Error(`answer expected at most ${answerBytesMax} bytes, got more`))
      return
    }
    this.#pending = noBytes
    if (answer.close) this.close()
    this.#onAnswer(answer)
  }

  /** Ends the connection without a word to `onBroken`. */
  close(): void {
    const socket = this.#socket
    this.#socket = null
    socket?.destroy()
  }
}

/** null: more is to come. @throws never: bytes that are not HTTP count as status 0. */
export function parseAnswer(bytes: Buffer): Answer | null {
  const headEnd = bytes.indexOf('\r\n\r\n')
  if (headEnd < 0) return null
  const head = bytes.toString('latin1', 0, headEnd)
  const status = Number(head.slice(9, 12)) || 0
  const close = /\r\nconnection: *close/i.test(head)
  if (status === 204 || status === 304) return { status, body: noBytes, close }
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1]
  const from = headEnd + 4
  if (length !== undefined) {
    const end = from + Number(length)
    return bytes.length < end ? null : { status, body: bytes.subarray(from, end), close }
  }
  const body = chunkedBody(bytes, from)
  return body === null ? null : { status, body, close }
}

/** null: more is to come. */
function chunkedBody(bytes: Buffer, from: number): Buffer | null {
  const parts: Buffer[] = []
  for (let at = from; ;) {
    const lineEnd = bytes.indexOf('\r\n', at)
    if (lineEnd < 0) return null
    const size = Number.parseInt(bytes.toString('latin1', at, lineEnd), 16)
    const next = lineEnd + 2 + size + 2
    if (bytes.length < next) return null
    if (size === 0) return Buffer.concat(parts)
    parts.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + size))
    at = next
  }
}

/** A request's bytes as one string of ASCII. `headers` end with CRLF each. */
export function requestText(method: string, path: string, headers: string, body: string | null): string {
  const length = body === null ? '' : `Content-Length: ${body.length}\r\n`
  return `${method} ${path} HTTP/1.1\r\n${headers}${length}\r\n${body ?? ''}`
}
