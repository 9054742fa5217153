/** One request and its answer: parse, read the body, ask the core, write. The listener owns many of these at a time. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { HoldfastError } from '#base/errors.ts'
import type { Clock } from '#base/clock.ts'
import type { Logger } from '#base/logger.ts'
import { errorResponse } from '#core/errors.ts'
import type { CoreResponse, Request } from '#core/types.ts'
import { BodyReader, bodyTooLarge, declaredLength } from './body.ts'
import type { BodyBudget } from './body.ts'
import type { Connection, ForwardingRules } from './connection.ts'
import type { InFlightRegistry } from './in-flight.ts'
import { JsonScanner } from './json.ts'
import type { HttpLimits } from './limits.ts'
import { oversizeDiscardFactor } from './limits.ts'
import { checkPatchType, isForm, namespaceOf, parseBody, route, tokenOf, visibleHeaders, wrapTtlOf } from './request.ts'
import type { Routed } from './request.ts'
import { respond } from './respond.ts'
import { parseTarget } from './target.ts'
import type { HttpCore } from './types.ts'

/** What all exchanges of one listener share. */
export interface ExchangeHost {
  readonly core: HttpCore
  readonly limits: HttpLimits
  readonly clock: Clock
  readonly log: Logger
  readonly inFlight: InFlightRegistry
  readonly budget: BodyBudget
  readonly rules: ForwardingRules
  readonly standing: readonly string[]
  /** Ask clients for certificates at all? */
  readonly clientCertificates: boolean
  readonly nextId: () => string
  readonly draining: () => boolean
}

const bodyless: ReadonlySet<string> = new Set(['GET', 'HEAD', 'LIST', 'DELETE'])
const noBody: Readonly<Record<string, unknown>> = Object.freeze({})
const noRoute: CoreResponse = {
  status: 404,
  headers: { 'content-type': 'application/json' },
  body: Buffer.from('{"errors":[]}\n'),
}

/** What is known of a request before its body is. */
type Head = Omit<Request, 'body' | 'rawBody' | 'signal'>

export class Exchange {
  readonly #host: ExchangeHost
  readonly #in: IncomingMessage
  readonly #out: ServerResponse
  readonly #connection: Connection
  readonly #id: string
  #registered = false
  #answered = false
  #abort: AbortController | null = null
  #aborted = false
  #reader: BodyReader | null = null

  constructor(host: ExchangeHost, connection: Connection, request: IncomingMessage, response: ServerResponse) {
    this.#host = host
    this.#connection = connection
    this.#in = request
    this.#out = response
    this.#id = host.nextId()
  }

  /** `method` null: a method that is not for us. Never throws. */
  run(method: string | null): void {
    this.#connection.inFlight += 1
    this.#out.on('close', this.#onClose)
    try {
      this.#start(method)
    } catch (error) {
      this.#fail(error)
    }
  }

  #start(method: string | null): void {
    if (method === null) throw new HoldfastError('ERR_UNSUPPORTED_OPERATION', 'unsupported operation')
    const headers = this.#in.headers
    if (headers.host === undefined && this.#in.httpVersionMinor === 1) {
      throw new HoldfastError('ERR_BAD_REQUEST', 'missing required Host header')
    }
    const target = parseTarget(this.#in.url ?? '')
    if (target === null) return this.#answer(noRoute, false)
    const routed = route(method, target)
    const clientAddress = this.#connection.clientAddress(headers['x-forwarded-for'] as string | undefined, this.#host.rules)
    this.#register(method, routed, clientAddress)
    const head = this.#head(method, routed, clientAddress)
    if (bodyless.has(method)) this.#ask(head, noBody)
    else this.#readBody(head)
  }

  #register(method: string, routed: Routed, clientAddress: string): void {
    const { inFlight, clock } = this.#host
    this.#registered = inFlight.add({
      id: this.#id,
      method,
      path: routed.path,
      clientAddress,
      startedMs: clock.nowMs(),
      startedMonotonicMs: clock.monotonicMs(),
      abort: this.#giveUp,
      expire: this.#expire,
    })
    if (!this.#registered) throw new HoldfastError('ERR_BUSY', `expected at most ${inFlight.requestsMax} requests in flight, got more`)
  }

  #head(method: string, routed: Routed, clientAddress: string): Head {
    const headers = this.#in.headers
    const connection = this.#connection
    const certificate = this.#host.clientCertificates ? connection.certificate(this.#in.socket) : null
    const head = {
      id: this.#id,
      operation: routed.operation,
      path: routed.path,
      namespace: namespaceOf(headers),
      token: tokenOf(headers),
      query: routed.query,
      headers: visibleHeaders(headers),
      clientAddress,
      clientPort: connection.peer.port,
      wrapTtlSeconds: wrapTtlOf(headers),
      method,
    }
    return certificate === null ? head : { ...head, clientCertificate: certificate }
  }

  #readBody(head: Head): void {
    const { core, limits, budget, clock } = this.#host
    const contentType = this.#in.headers['content-type'] ?? ''
    const raw = core.rawBody?.(head.method, head.path, contentType) ?? null
    if (raw === null && head.method === 'PATCH') checkPatchType(contentType)
    const bytesMax = raw?.bytesMax ?? limits.bodyBytesMax
    const declared = declaredLength(this.#in)
    if (declared === null && this.#in.headers['transfer-encoding'] === undefined) return this.#ask(head, noBody)
    if (declared !== null && declared > bytesMax * oversizeDiscardFactor) {
      // Too much even to throw away: the client may see a reset instead of this answer.
      return this.#answer(errorResponse(bodyTooLarge(bytesMax), this.#id, this.#host.log), true)
    }
    const scanner = raw === null ? new JsonScanner(limits) : null
    // A form has quotes and brackets of its own; what looks like JSON is scanned whatever its type says.
    let scans: boolean | null = null
    const watch = scanner && {
      feed: (chunk: Buffer): void => {
        scans ??= !isForm(contentType, chunk)
        if (scans) scanner.feed(chunk)
      },
    }
    this.#reader = new BodyReader(this.#in, { bytesMax, limits, budget, scanner: watch }, clock.monotonicMs(), (outcome) => {
      this.#connection.cancelBody = null
      if (!('body' in outcome)) return this.#fail(outcome.error, outcome.close)
      if (raw !== null) return this.#ask(head, noBody, outcome.body)
      try {
        this.#ask(head, parseBody(outcome.body, contentType, scanner?.longNumbers ?? false, limits.jsonStringsMax))
      } catch (error) {
        this.#fail(error)
      }
    })
    this.#connection.cancelBody = (error) => this.#reader?.cancel(error)
  }

  #ask(head: Head, body: Readonly<Record<string, unknown>>, rawBody?: Buffer): void {
    const signalOf = (): AbortSignal => this.#signal()
    const request: Request = {
      ...head,
      body,
      ...(rawBody === undefined ? {} : { rawBody }),
      // A getter, since a controller for each request would be the dearest thing here and few handlers look.
      get signal(): AbortSignal {
        return signalOf()
      },
    }
    this.#host.core.handle(request).then(
      (response) => this.#answer(response, false),
      (error: unknown) => this.#fail(error),
    )
  }

  #signal(): AbortSignal {
    this.#abort ??= new AbortController()
    if (this.#aborted) this.#abort.abort()
    return this.#abort.signal
  }

  readonly #giveUp = (): void => {
    if (this.#aborted) return
    this.#aborted = true
    this.#abort?.abort()
  }

  readonly #expire = (): void => {
    const write = !bodyless.has(this.#in.method ?? '') || this.#in.method === 'DELETE'
    this.#fail(
      write
        ? new HoldfastError('ERR_OUTCOME_UNKNOWN', 'expected an answer in time, got none: the write may or may not have happened')
        : new HoldfastError('ERR_TIMEOUT', 'expected an answer in time, got none'),
    )
  }

  #fail(error: unknown, close = false): void {
    this.#answer(errorResponse(error, this.#id, this.#host.log), close)
  }

  /** Writes the first answer and ignores any later one. */
  #answer(response: CoreResponse, close: boolean): void {
    if (this.#answered) return
    this.#answered = true
    const header = this.#in.headers['x-vault-namespace']
    const namespace = typeof header === 'string' && header !== '' ? header : undefined
    const { standing, draining, log } = this.#host
    if (!this.#out.destroyed) {
      try {
        respond(this.#out, standing, { response, namespace, close: close || draining() })
      } catch (error) {
        // A header that HTTP can't carry: a bug of who made it. The client must not wait for nothing.
        log.error({ request_id: this.#id, code: (error as NodeJS.ErrnoException).code }, 'expected an answer that HTTP can carry')
        this.#out.destroy()
      }
    }
    this.#leave()
  }

  /** The client went away, or has its answer. */
  readonly #onClose = (): void => {
    this.#connection.inFlight -= 1
    if (this.#answered) return
    this.#giveUp()
  }

  #leave(): void {
    this.#reader?.release()
    this.#reader = null
    if (this.#registered) this.#host.inFlight.remove(this.#id)
    this.#registered = false
  }
}
