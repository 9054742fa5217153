/** Devices that send lines to somebody else: none can be read back, so each begins a new life after a failure (lane.ts). */
import { Agent, request } from 'undici'
import type { Clock } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'
import type { LineBatch } from '../line-batch.ts'
import type { AuditSink } from '../types.ts'
import { openWire, type Wire, type WireTarget } from './wire.ts'
import type { HttpSettings, SocketSettings, SyslogSettings } from './settings.ts'

/** What is read of a collector's answer. */
const answerBytesMax = 1024 * 1024

interface LineSinkOptions {
  readonly type: string
  readonly wire: Wire
  /** The messages of a write; whole ones, where the wire sends datagrams. */
  readonly messagesOf: (lines: LineBatch) => readonly Buffer[]
}

class WireSink implements AuditSink {
  readonly type: string
  readonly #wire: Wire
  readonly #messagesOf: (lines: LineBatch) => readonly Buffer[]

  constructor({ type, wire, messagesOf }: LineSinkOptions) {
    this.type = type
    this.#wire = wire
    this.#messagesOf = messagesOf
  }

  write(lines: LineBatch): Promise<void> {
    return this.#wire.send(this.#messagesOf(lines))
  }
  reopen(): Promise<void> {
    return this.#wire.close()
  }
  close(): Promise<void> {
    return this.#wire.close()
  }
}

export interface PeerDeps {
  readonly clock: Clock
  /** PEM of `tls_ca_cert_file`. */
  readonly ca: string | null
  /** For syslog's header. */
  readonly host: string
  readonly processId: number
}

/** Lines as they are, each with its newline. */
export function socketSink(settings: SocketSettings, deps: PeerDeps): AuditSink {
  const { address, socket_type: kind, write_timeout: timeoutMs } = settings
  const target: WireTarget = { kind, address, ca: deps.ca, serverName: settings.tls_server_name }
  const newline = Buffer.from('\n')
  const messagesOf = (lines: LineBatch): readonly Buffer[] =>
    kind === 'udp' ? lines.lines().map((line) => Buffer.concat([line, newline])) : [lines.bytes]
  return new WireSink({ type: 'socket', wire: openWire(target, timeoutMs, deps.clock), messagesOf })
}

const facilities =
  'kern user mail daemon auth syslog lpr news uucp cron authpriv ftp ntp audit alert clock local0 local1 local2 local3 local4 local5 local6 local7'.split(
    ' ',
  )
/** "notice": normal, but worth noting. */
const severity = 5
const tagCharsMax = 48

/** The number of a facility. @throws ERR_CONFIG. */
function facilityOf(name: string): number {
  const number = facilities.indexOf(name.toLowerCase())
  if (number >= 0) return number
  throw new HoldfastError('ERR_CONFIG', `syslog facility expected one of ${facilities.join(', ')}, got ${JSON.stringify(name)}`)
}

/** udp://HOST:PORT, tcp://, tls://, unix://PATH. @throws ERR_CONFIG. */
function syslogTarget({ address, tls_server_name: serverName }: SyslogSettings, ca: string | null): WireTarget {
  const [, kind, rest = ''] = /^(udp|tcp|tls|unix):\/\/(.+)$/.exec(address) ?? []
  if (kind === undefined)
    throw new HoldfastError(
      'ERR_CONFIG',
      `syslog address expected udp://, tcp:// or tls://HOST:PORT or unix://PATH, got ${JSON.stringify(address)}`,
    )
  return { kind: kind as WireTarget['kind'], address: rest, ca, serverName }
}

/** RFC 5424; over streams with the length before each message (RFC 6587, RFC 5425), so that a collector finds its end whatever is in it. */
export function syslogSink(settings: SyslogSettings, deps: PeerDeps): AuditSink {
  const target = syslogTarget(settings, deps.ca)
  const priority = facilityOf(settings.facility) * 8 + severity
  const printable = (text: string, charsMax: number): string => text.replaceAll(/[^\x21-\x7e]/g, '_').slice(0, charsMax) || '-'
  const app = printable(settings.tag, tagCharsMax)
  const host = printable(deps.host, 255)
  const messagesOf = (batch: LineBatch): Buffer[] => {
    const time = new Date(deps.clock.nowMs()).toISOString()
    const header = Buffer.from(`<${priority}>1 ${time} ${host} ${app} ${deps.processId} audit - `)
    if (target.kind === 'udp') return batch.lines().map((line) => Buffer.concat([header, line]))
    return batch.lines().flatMap((line) => [Buffer.from(`${header.length + line.length} `), header, line])
  }
  return new WireSink({ type: 'syslog', wire: openWire(target, settings.write_timeout, deps.clock), messagesOf })
}

/** All lines of a flush in one POST. */
export function httpSink(settings: HttpSettings, deps: PeerDeps): AuditSink {
  const { uri, write_timeout: timeoutMs, format } = settings
  const headers = headersOf(settings)
  const connect = { timeout: timeoutMs, ...(deps.ca === null ? {} : { ca: deps.ca }) }
  const servername = settings.tls_server_name === null ? {} : { servername: settings.tls_server_name }
  const newAgent = (): Agent =>
    new Agent({ connections: 1, pipelining: 1, headersTimeout: timeoutMs, bodyTimeout: timeoutMs, connect: { ...connect, ...servername } })
  let agent = newAgent()
  return {
    type: 'http',
    async write(batch) {
      const body = bodyOf(format, batch)
      const signal = AbortSignal.timeout(timeoutMs)
      const answer = await request(uri, { method: 'POST', headers, body, dispatcher: agent, signal, maxRedirections: 0 } as Parameters<
        typeof request
      >[1])
      const chunks: Buffer[] = []
      let bytes = 0
      for await (const chunk of answer.body as AsyncIterable<Buffer>) {
        bytes += chunk.length
        if (bytes <= answerBytesMax) chunks.push(chunk)
      }
      if (answer.statusCode < 200 || answer.statusCode > 299)
        throw new Error(`the collector expected to answer 2xx, got ${answer.statusCode}`)
      if (format === 'elastic_bulk') checkBulk(Buffer.concat(chunks))
    },
    async reopen() {
      const old = agent
      agent = newAgent()
      await old.close()
    },
    close: async () => agent.destroy(),
  }
}

function headersOf({ headers, token, format }: HttpSettings): Record<string, string> {
  const made: Record<string, string> = { 'content-type': format === 'splunk_hec' ? 'application/json' : 'application/x-ndjson' }
  if (token !== null)
    made['authorization'] = `${format === 'splunk_hec' ? 'Splunk' : format === 'elastic_bulk' ? 'ApiKey' : 'Bearer'} ${token}`
  for (const header of headers) {
    const at = header.indexOf(':')
    // The header's value may be a password: it is not shown.
    if (at <= 0) throw new HoldfastError('ERR_CONFIG', 'audit http headers expected "NAME: VALUE", got one without a colon')
    made[header.slice(0, at).trim().toLowerCase()] = header.slice(at + 1).trim()
  }
  return made
}

function bodyOf(format: HttpSettings['format'], batch: LineBatch): string {
  if (format === 'ndjson') return batch.bytes.toString()
  const lines = batch.lines().map(String)
  if (format === 'elastic_bulk') return lines.map((line) => `{"create":{}}\n${line}\n`).join('')
  // The line as text: parsed and printed again by the collector, it would hash to something else.
  return lines.map((line) => JSON.stringify({ event: line, sourcetype: 'holdfast:audit' })).join('\n')
}

/** Elastic answers 200 and tells in the body which records it did not take. */
function checkBulk(body: Buffer): void {
  let answer: unknown = null
  try {
    answer = JSON.parse(body.toString('utf8'))
  } catch {
    // Told below.
  }
  if (typeof answer === 'object' && answer !== null && 'errors' in answer && answer.errors === false) return
  throw new Error('the collector expected to take every record, got errors')
}
