/** One request and its answer: parse, read the body, ask the core, write. The listener owns many of these at a time. */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import { HoldfastError } from '#base/errors.ts'
import type { Clock } from '#base/clock.ts'
import type { Logger } from '#base/logger.ts'
import { parseTraceParent, runForRequest, type RequestContext, type Tracer } from '#base/tracing.ts'
import { corsVerdict, type CorsRules, type HttpSettings } from '#core/cors.ts'
import { errorResponse, errorText } from '#core/errors.ts'
import type { Ticket } from '#core/slots.ts'
import type { RequestBounds } from '#core/quota-gate.ts'
import type { CoreResponse, OpenRoutes, Operation, Request, StreamBody } from '#core/types.ts'
import { BodyReader, bodyTooLarge, declaredLength } from './body.ts'
import type { BodyBudget } from './body.ts'
import type { Connection, ForwardingRules } from './connection.ts'
import type { InFlightRegistry, InFlightRequest } from './in-flight.ts'
import { JsonScanner } from './json.ts'
import type { HttpLimits } from './limits.ts'
import { oversizeDiscardFactor, uploadAnswerMsMax, uploadDurationMsMax, uploadLingerMs } from './limits.ts'
import type { RequestMetrics } from './request-metrics.ts'
import {
  checkPatchType,
  isForm,
  namespaceOf,
  parseBody,
  repeatedOf,
  retryIdOf,
  route,
  tokenOf,
  visibleHeaders,
  wrapTtlOf,
} from './request.ts'
import type { Routed } from './request.ts'
import { respond } from './respond.ts'
import { sendStream } from './stream-answer.ts'
import { parseTarget } from './target.ts'
import type { HttpCore } from './types.ts'
import { Upload } from './upload.ts'

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
  readonly settings: Pick<HttpSettings, 'cors'>
  readonly metrics: RequestMetrics | null
  readonly tracer: Tracer | null
  readonly openRoutes: readonly OpenRoutes[]
  /** Ask clients for certificates at all? */
  readonly clientCertificates: boolean
  readonly nextId: () => string
  readonly draining: () => boolean
}

/** The rest of a refused request that is read, so that its client sees the answer and can go on using the connection. */
const refusedBodyBytesMax = 64 * 1024
/** How long after a namespace's time limit an answer is still waited for. */
const shortGraceMs = 250

/** What a namespace or mount allows, and never more than the listener. */
const narrowed = (limits: HttpLimits, { bodyBytesMax = Infinity, jsonDepthMax = Infinity }: RequestBounds): HttpLimits => ({
  ...limits,
  bodyBytesMax: Math.min(limits.bodyBytesMax, bodyBytesMax),
  jsonDepthMax: Math.min(limits.jsonDepthMax, jsonDepthMax),
})

const bodyless: ReadonlySet<string> = new Set(['GET', 'HEAD', 'LIST', 'DELETE'])
const noBytes = new Uint8Array(0)
const noBody: Readonly<Record<string, unknown>> = Object.freeze({})
const noRoute: CoreResponse = {
  status: 404,
  headers: { 'content-type': 'application/json' },
  body: Buffer.from('{"errors":["path expected to begin with /v1/, got another"]}\n'),
}

/** What the core gets. `signal` is on the prototype: a controller for each request would be the dearest thing here, and few look. */
class CoreRequest implements Request {
  readonly id: string
  readonly operation: Operation
  readonly path: string
  readonly namespace: string
  readonly token: string | null
  body: Readonly<Record<string, unknown>> = noBody
  readonly query: Readonly<Record<string, string>>
  readonly headers: Readonly<Record<string, string>>
  readonly clientAddress: string
  readonly clientPort: number
  readonly wrapTtlSeconds: number
  readonly method: string
  declare retryId?: string
  declare ticket?: Ticket
  declare repeated?: boolean
  declare traceparent?: string
  declare openRoutes?: readonly OpenRoutes[]
  declare clientCertificate?: Uint8Array
  declare clientCertificateChain?: readonly Uint8Array[]
  declare rawBody?: Uint8Array
  declare upload?: AsyncIterable<Uint8Array>
  readonly #exchange: Exchange

  constructor(exchange: Exchange, headers: IncomingHttpHeaders, routed: Routed, clientPort: number, openRoutes: readonly OpenRoutes[]) {
    this.#exchange = exchange
    this.id = exchange.id
    this.operation = routed.operation
    this.path = routed.path
    this.namespace = namespaceOf(headers)
    this.token = tokenOf(headers)
    this.query = routed.query
    this.headers = visibleHeaders(headers)
    this.clientAddress = exchange.clientAddress
    this.clientPort = clientPort
    this.wrapTtlSeconds = wrapTtlOf(headers)
    this.method = exchange.method
    const retryId = retryIdOf(headers)
    if (retryId !== undefined) this.retryId = retryId
    if (repeatedOf(headers)) this.repeated = true
    if (openRoutes.length > 0) this.openRoutes = openRoutes
  }

  get signal(): AbortSignal {
    return this.#exchange.signal
  }
}

export class Exchange implements InFlightRequest {
  readonly id: string
  method = ''
  path = ''
  clientAddress = ''
  startedMs = 0
  startedMonotonicMs = 0
  abortAtMs = 0
  expireAtMs = 0
  readonly #host: ExchangeHost
  readonly #in: IncomingMessage
  readonly #out: ServerResponse
  readonly #connection: Connection
  #registered = false
  #answered = false
  #abort: AbortController | null = null
  #aborted = false
  /** What its namespace allows it; null: what the listener does. */
  #durationMsMax: number | null = null
  #reader: BodyReader | null = null
  #upload: Upload | null = null
  #cors: Readonly<Record<string, string>> | null = null
  /** null before its path is known. */
  #context: RequestContext | null = null

  constructor(host: ExchangeHost, connection: Connection, request: IncomingMessage, response: ServerResponse) {
    this.#host = host
    this.#connection = connection
    this.#in = request
    this.#out = response
    this.id = host.nextId()
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
    if (this.#host.settings.cors !== null && this.#preflight(this.#host.settings.cors, method)) return
    if (method === null) throw new HoldfastError('ERR_UNSUPPORTED_OPERATION', 'unsupported operation')
    const headers = this.#in.headers
    if (headers.host === undefined && this.#in.httpVersionMinor === 1) {
      throw new HoldfastError('ERR_BAD_REQUEST', 'missing required Host header')
    }
    const target = parseTarget(this.#in.url ?? '')
    if (target === null) return this.#answer(noRoute, false)
    const routed = route(method, target)
    this.clientAddress = this.#connection.clientAddress(headers['x-forwarded-for'] as string | undefined, this.#host.rules)
    this.#register(method, routed.path)
    this.#context = this.#contextOf(method, headers.traceparent)
    const request = new CoreRequest(this, headers, routed, this.#connection.peer.port, this.#host.openRoutes)
    if (this.#host.clientCertificates) this.#showCertificate(request)
    const refused = this.#host.core.admit?.(request) ?? null
    if (refused !== null) return this.#turnAway(refused)
    const bounds = this.#host.core.quotas?.bounds(request) ?? null
    if (bounds?.durationMsMax !== undefined) this.#shorten(bounds.durationMsMax)
    if (bodyless.has(method)) this.#ask(request)
    else this.#readBody(request, bounds)
  }

  /** What its work is for: in the log's lines, and in a trace where there is one. */
  #contextOf(method: string, header: string | string[] | undefined): RequestContext {
    const parent = typeof header === 'string' ? parseTraceParent(header) : null
    const span = this.#host.tracer?.request(method, parent, 'client') ?? null
    span?.set({ 'http.request.method': method, 'holdfast.request_id': this.id })
    return { requestId: this.id, traceId: span?.parent.traceId ?? parent?.traceId ?? null, span, state: { answered: false } }
  }

  #showCertificate(request: CoreRequest): void {
    const shown = this.#connection.certificate(this.#in.socket, this.#in.headers, this.#host.rules)
    if (shown === null) return
    request.clientCertificate = shown.leaf
    if (shown.chain.length > 0) request.clientCertificateChain = shown.chain
  }

  /** True where a browser only asks whether it may ask: that is answered, without a token. @throws ERR_PERMISSION_DENIED for a page of elsewhere. */
  #preflight(rules: CorsRules, method: string | null): boolean {
    const { origin } = this.#in.headers
    if (origin === undefined || method === null) return false
    const { headers, preflight } = corsVerdict(rules, origin, method, this.#in.headers['access-control-request-method'])
    this.#cors = headers
    if (preflight) this.#answer({ status: 204, headers: {}, body: noBytes }, false)
    return preflight
  }

  /** A body that nobody reads is thrown away as it comes; a long one is not waited for. */
  #turnAway(refused: Promise<CoreResponse>): void {
    const close = (declaredLength(this.#in) ?? 0) > refusedBodyBytesMax || this.#in.headers['transfer-encoding'] !== undefined
    refused.then(
      (response) => this.#answer(response, close),
      (error: unknown) => this.#fail(error, close),
    )
  }

  /** Its namespace gives it less time than the listener does. */
  #shorten(durationMsMax: number): void {
    if (this.startedMonotonicMs + durationMsMax >= this.abortAtMs) return
    this.#durationMsMax = durationMsMax
    this.abortAtMs = this.startedMonotonicMs + durationMsMax
    this.expireAtMs = this.abortAtMs + Math.min(shortGraceMs, this.#host.limits.requestGraceMs)
  }

  #register(method: string, path: string): void {
    const { inFlight, clock, limits } = this.#host
    this.method = method
    this.path = path
    this.startedMs = clock.nowMs()
    this.startedMonotonicMs = clock.monotonicMs()
    this.abortAtMs = this.startedMonotonicMs + limits.requestDurationMsMax
    this.expireAtMs = this.abortAtMs + limits.requestGraceMs
    this.#registered = inFlight.add(this)
    if (!this.#registered) throw new HoldfastError('ERR_BUSY', `expected at most ${inFlight.requestsMax} requests in flight, got more`)
  }

  #readBody(request: CoreRequest, bounds: RequestBounds | null): void {
    const { core, budget, clock } = this.#host
    const limits = bounds === null ? this.#host.limits : narrowed(this.#host.limits, bounds)
    const uploadBytesMax = core.uploadBytesMax?.(request.path) ?? null
    if (uploadBytesMax !== null) return this.#takeUpload(request, uploadBytesMax)
    const contentType = this.#in.headers['content-type'] ?? ''
    const raw = core.rawBody?.(request.method, request.path, contentType) ?? null
    if (raw === null && request.method === 'PATCH') checkPatchType(contentType)
    const bytesMax = Math.min(raw?.bytesMax ?? limits.bodyBytesMax, bounds?.bodyBytesMax ?? Infinity)
    const declared = declaredLength(this.#in)
    if (declared === null && this.#in.headers['transfer-encoding'] === undefined) return this.#ask(request)
    if (declared !== null && declared > bytesMax * oversizeDiscardFactor) {
      // Too much even to throw away: the client may see a reset instead of this answer.
      return this.#answer(errorResponse(bodyTooLarge(bytesMax), this.id, this.#host.log), true)
    }
    const scanner = raw === null ? new JsonScanner(limits) : null
    // A form has quotes and brackets of its own; what looks like JSON is scanned whatever its type says.
    let form: boolean | null = null
    const watch = scanner && {
      feed: (chunk: Buffer): void => {
        // White space decides nothing: a first chunk of it must not let the JSON behind it pass unscanned.
        form ??= isForm(contentType, chunk)
        if (form !== true) scanner.feed(chunk)
      },
    }
    this.#reader = new BodyReader(this.#in, { bytesMax, limits, budget, scanner: watch }, clock.monotonicMs(), (outcome) => {
      this.#connection.cancelBody = null
      if (!('body' in outcome)) return this.#fail(outcome.error, outcome.close)
      try {
        if (raw !== null) request.rawBody = outcome.body
        else request.body = parseBody(outcome.body, contentType, scanner?.longNumbers ?? false, limits.jsonStringsMax)
        this.#ask(request)
      } catch (error) {
        this.#fail(error)
      }
    })
    this.#connection.cancelBody = (error) => this.#reader?.cancel(error)
  }

  /** The core decides whether it wants the body before any of it is read; its time begins anew when the body has ended. */
  #takeUpload(request: CoreRequest, bytesMax: number): void {
    const { limits, budget, clock } = this.#host
    const declared = declaredLength(this.#in)
    if (declared !== null && declared > bytesMax) return this.#fail(bodyTooLarge(bytesMax), true)
    this.#connection.uploading = true
    const upload = new Upload(this.#in, {
      bytesMax,
      limits,
      budget,
      nowMonotonicMs: clock.monotonicMs(),
      onBegin: () => (this.abortAtMs = this.expireAtMs = clock.monotonicMs() + uploadDurationMsMax),
      onEnd: () => {
        this.abortAtMs = clock.monotonicMs() + uploadAnswerMsMax
        this.expireAtMs = this.abortAtMs + limits.requestGraceMs
        // Neither side has anything to send meanwhile; the next request on it has its own limit again.
        this.#in.socket.setTimeout(uploadAnswerMsMax + limits.requestGraceMs)
      },
    })
    this.#upload = upload
    this.#connection.cancelBody = (error) => upload.cancel(error)
    request.upload = upload
    this.#ask(request)
  }

  #ask(request: Request): void {
    const { core } = this.#host
    const context = this.#context
    const answer = context === null ? core.handle(request) : runForRequest(context, () => core.handle(request))
    answer.then(
      (response) => this.#answer(response, false),
      (error: unknown) => this.#fail(error),
    )
  }

  /** Aborted when the client goes away or time is up. */
  get signal(): AbortSignal {
    this.#abort ??= new AbortController()
    if (this.#aborted) this.#abort.abort()
    return this.#abort.signal
  }

  abort(): void {
    if (this.#aborted) return
    this.#aborted = true
    this.#abort?.abort()
  }

  expire(): void {
    const write = !bodyless.has(this.method) || this.method === 'DELETE'
    this.#fail(
      write
        ? new HoldfastError('ERR_OUTCOME_UNKNOWN', 'expected an answer in time, got none: the write may or may not have happened', {
            hint: 'with an X-Holdfast-Request-Id send it again as it was, it is applied once; without, read the value back first',
          })
        : this.#durationMsMax !== null
          ? new HoldfastError('ERR_TIME_LIMIT', `expected an answer within ${this.#durationMsMax} ms, got none`, {
              hint: 'this is the time limit of the namespace or mount: see sys/quotas/request-limits',
            })
          : new HoldfastError('ERR_TIMEOUT', 'expected an answer in time, got none'),
    )
  }

  #fail(error: unknown, close = false): void {
    this.#answer(errorResponse(error, this.id, this.#host.log), close)
  }

  /** Writes the first answer and ignores any later one. */
  #answer(response: CoreResponse, close: boolean): void {
    if (this.#answered) return response.stream?.close()
    this.#answered = true
    this.#context?.span?.set({ 'http.response.status_code': response.status })
    const header = this.#in.headers['x-vault-namespace']
    const namespace = typeof header === 'string' && header !== '' ? header : undefined
    const { standing, draining, log, metrics, clock } = this.#host
    // What was refused before its time was taken took none.
    if (metrics !== null)
      metrics.observe(this.method, response.status, this.#registered ? clock.monotonicMs() - this.startedMonotonicMs : 0)
    if (!this.#out.destroyed) {
      try {
        const sent = this.#cors === null ? response : { ...response, headers: { ...response.headers, ...this.#cors } }
        respond(this.#out, standing, { response: sent, namespace, close: close || draining() })
      } catch (error) {
        // A header that HTTP can't carry: a bug of who made it. The client must not wait for nothing.
        log.error({ request_id: this.id, code: (error as NodeJS.ErrnoException).code }, 'expected an answer that HTTP can carry')
        this.#out.destroy()
      }
    }
    if (this.#upload !== null) this.#discardUpload()
    if (response.stream === undefined) this.#leave()
    else this.#stream(response.stream)
  }

  /** It counts as in flight until its last byte: the node that stops waits for it, for as long as it waits for any. */
  #stream(stream: StreamBody): void {
    this.abortAtMs = this.expireAtMs = Infinity
    if (this.#out.destroyed || this.method === 'HEAD') {
      stream.close()
      this.#out.end()
      return this.#leave()
    }
    void sendStream(this.#out, stream).then((end) => {
      if (end.kind === 'failed')
        this.#host.log.warn({ request_id: this.id, path: this.path, error: errorText(end.error) }, 'a streamed answer was broken off')
      this.#leave()
    })
  }

  /** What the client still sends of a body that nobody wants is thrown away for a moment, so that it reads its answer before the connection is cut. */
  #discardUpload(): void {
    const { clock } = this.#host
    const connection = this.#connection
    this.#upload?.leave()
    connection.cancelBody = null
    if (this.#in.complete || this.#in.destroyed) {
      connection.uploading = false
      return
    }
    this.#in.resume()
    const timer = clock.setTimer(uploadLingerMs, () => this.#in.destroy())
    this.#in.once('end', () => {
      timer.cancel()
      connection.uploading = false
    })
  }

  /** The client went away, or has its answer. */
  readonly #onClose = (): void => {
    this.#connection.inFlight -= 1
    if (this.#answered) return
    this.abort()
  }

  #leave(): void {
    this.#reader?.release()
    this.#reader = null
    if (this.#registered) this.#host.inFlight.remove(this)
    this.#registered = false
    if (this.#context === null) return
    this.#context.state.answered = true
    this.#context.span?.end()
  }
}
