/** Helpers of the http tests: a listener with a stub core, raw sockets, certificates, and a generator of HTTP/1.1 byte streams. */
import 'reflect-metadata'
import * as x509 from '@peculiar/x509'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { systemClock } from '#base/clock.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import type { CoreResponse, Request } from '#core/types.ts'
import { createHttpListener } from '#http/listener.ts'
import type { HttpCore, HttpListener, HttpListenerOptions } from '#http/types.ts'

export const ok = (body: unknown): CoreResponse => ({ status: 200, headers: {}, body: Buffer.from(JSON.stringify(body)) })

export type Handler = (request: Request) => Promise<CoreResponse> | CoreResponse

export interface Served {
  readonly listener: HttpListener
  readonly port: number
  readonly seen: Request[]
}

export async function serve(
  handler: Handler,
  options: Partial<HttpListenerOptions> & Pick<HttpCore, 'rawBody' | 'uploadBytesMax' | 'admit' | 'quotas'> = {},
): Promise<Served> {
  const seen: Request[] = []
  const core: HttpCore = {
    handle: async (request) => {
      seen.push(request)
      return handler(request)
    },
    ...(options.rawBody ? { rawBody: options.rawBody } : {}),
    ...(options.uploadBytesMax ? { uploadBytesMax: options.uploadBytesMax } : {}),
    ...(options.admit ? { admit: options.admit } : {}),
    ...(options.quotas ? { quotas: options.quotas } : {}),
  }
  const listener = createHttpListener({
    core,
    host: '127.0.0.1',
    port: 0,
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    ...options,
  })
  await listener.listen()
  return { listener, port: listener.address?.port ?? 0, seen }
}

export interface Pem {
  readonly cert: string
  readonly key: string
}

/** A self-signed certificate for `name`, good for a day. */
export async function selfSigned(name: string): Promise<Pem> {
  const keys = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify'])
  const cert = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=${name}`,
    keys,
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 86_400_000),
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    extensions: [
      new x509.SubjectAlternativeNameExtension([
        { type: 'dns', value: name },
        { type: 'ip', value: '127.0.0.1' },
      ]),
    ],
  })
  const key = Buffer.from(await crypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64')
  const lines = key.match(/.{1,64}/g) ?? []
  return { cert: cert.toString('pem'), key: `-----BEGIN PRIVATE KEY-----\n${lines.join('\n')}\n-----END PRIVATE KEY-----\n` }
}

export function writePem(folder: string, name: string, pem: Pem): { certFile: string; keyFile: string } {
  const files = { certFile: join(folder, `${name}.pem`), keyFile: join(folder, `${name}.key`) }
  writeFileSync(files.certFile, pem.cert)
  writeFileSync(files.keyFile, pem.key)
  return files
}

export function temporaryFolder(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'holdfast-http-'))
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}

/** Sends `pieces` one after the other, each in a write of its own, and resolves with all that came back when the server closes. */
export function exchange(
  port: number,
  pieces: readonly (string | Uint8Array)[],
  options: { tls?: boolean; until?: (text: string) => boolean; gapMs?: number; timeoutMs?: number } = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket: Socket = options.tls
      ? connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false })
      : connect({ port, host: '127.0.0.1', noDelay: true })
    const parts: Buffer[] = []
    const timer = setTimeout(() => socket.destroy(new Error('the server said nothing more in time')), options.timeoutMs ?? 10_000)
    const finish = (): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve(Buffer.concat(parts).toString('latin1'))
    }
    socket.on('data', (chunk: Buffer) => {
      parts.push(chunk)
      if (options.until?.(Buffer.concat(parts).toString('latin1')) === true) finish()
    })
    socket.on('close', finish)
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNRESET' || error.code === 'EPIPE') return
      clearTimeout(timer)
      reject(error)
    })
    socket.once(options.tls ? 'secureConnect' : 'connect', () => {
      const send = (index: number): void => {
        const piece = pieces[index]
        if (piece === undefined || socket.destroyed) return
        socket.write(piece, () => (options.gapMs ? setTimeout(() => send(index + 1), options.gapMs) : setImmediate(() => send(index + 1))))
      }
      send(0)
    })
  })
}

/** One status, head and body out of the start of `text`; the rest is what follows. Understands Content-Length only. */
export function readAnswer(text: string): { status: number; head: string; body: string; rest: string } {
  const headEnd = text.indexOf('\r\n\r\n')
  const head = text.slice(0, headEnd)
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1] ?? 0)
  const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0)
  return { status, head, body: text.slice(headEnd + 4, headEnd + 4 + length), rest: text.slice(headEnd + 4 + length) }
}

/** Numbers in [0, 1) from a seed (mulberry32): a failing torture is replayed by its seed. */
export function seeded(seed: number): () => number {
  let a = seed >>> 0
  return () => {
    a = (a + 0x6d2b79f5) >>> 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

export interface Message {
  readonly method: string
  readonly target: string
  readonly body: string
  readonly bytes: string
}

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'LIST', 'LIST', 'LIST', 'OPTIONS']
const bait = [
  'LIST /',
  'LIST /v1/x HTTP/1.1\r\n',
  '\r\n\r\nLIST / HTTP/1.1\r\n\r\n',
  'LINK',
  '0\r\n\r\nLIST /a HTTP/1.1\r\n',
  'LIS',
  'L',
  '\r\n',
  'x',
]

/** A message that Node's strict parser accepts, with a body made of what could be taken for messages. Latin-1 text stands for bytes. */
export function randomMessage(random: () => number, serial: number): Message {
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T
  const method = pick(methods)
  const target = `/v1/m${serial}/${pick(['a', 'LIST', 'x?list=false', 'c%2Fb', 'LIST%20x'])}`
  const withBody = random() < 0.6
  let body = ''
  if (withBody) for (let n = Math.floor(random() * 6); n > 0; n -= 1) body += pick(bait)
  const headers = ['Host: LIST']
  if (random() < 0.5)
    headers.push(pick(['X-LIST: LIST / HTTP/1.1', 'Cookie: LIST', 'Upgrade-Insecure-Requests: 1', 'TE: trailers', 'Content-Type: a']))
  if (random() < 0.2) headers.push('Connection: keep-alive')
  const chunked = withBody && random() < 0.5
  if (chunked) headers.push(pick(['Transfer-Encoding: chunked', 'transfer-encoding:\tChunked', 'TRANSFER-ENCODING: chunked ']))
  else if (withBody) headers.push(pick(['Content-Length: ', 'content-length:', 'CONTENT-LENGTH: 00']) + String(body.length))
  if (random() < 0.3) headers.push('X-After: LIST')
  const lead = random() < 0.1 ? '\r\n' : ''
  const head = `${lead}${method} ${target} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n`
  return { method, target, body, bytes: head + (chunked ? chunkedBody(random, body) : body) }
}

function chunkedBody(random: () => number, body: string): string {
  let text = ''
  for (let at = 0; at < body.length;) {
    const size = 1 + Math.floor(random() * Math.min(24, body.length - at))
    const extension = random() < 0.3 ? ';LIST=LIST' : random() < 0.2 ? ';a="LIST /"' : ''
    text += `${random() < 0.3 ? '0' : ''}${size.toString(16)}${extension}\r\n${body.slice(at, at + size)}\r\n`
    at += size
  }
  const trailer = random() < 0.3 ? 'X-LIST: LIST /\r\n' : ''
  return `${text}0\r\n${trailer}\r\n`
}

/** `text` cut into pieces of 1 to `bytesMax` bytes. */
export function pieces(random: () => number, text: string, bytesMax: number): Buffer[] {
  const bytes = Buffer.from(text, 'latin1')
  const cut: Buffer[] = []
  for (let at = 0; at < bytes.length;) {
    const size = 1 + Math.floor(random() * bytesMax)
    cut.push(Buffer.from(bytes.subarray(at, at + size)))
    at += size
  }
  return cut
}
