/**
 * Traces, where the configuration names a collector (docs/tracing.md): OpenTelemetry's own packages make ids, hold spans back in a bounded queue and
 * send them by OTLP over HTTP. They are loaded only then; without a collector nothing below exists, and the way of a request has no branch of it but
 * one that finds null.
 *
 * Spans below a request's are taken at edges that are there: the replica that the barrier is given, the audit, the forwarding, and the handle that
 * the log's store is given of its database. Consensus itself knows of none of it.
 */
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import type { Context, Span as OtelSpan, Tracer as OtelTracer } from '@opentelemetry/api'
import type { ReadableSpan, SpanExporter, TracerProvider } from '@opentelemetry/sdk-trace'
import { systemClock } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import {
  errorTypeOf,
  formatTraceParent,
  inSpan,
  parseTraceParent,
  runForRequest,
  type Span,
  type SpanAttributes,
  type SpanName,
  type TraceParent,
  type Tracer,
} from '#base/tracing.ts'
import type { TelemetryConfig } from '#config/types.ts'
import type { CoreResponse, Request } from '#core/types.ts'
import type { Proposal } from '#replica/types.ts'
import { nodeDisk } from '#store/disk.ts'
import type { Level, LevelFactory } from '#store/level.ts'
import { logName } from '#store/salvage.ts'
import { LateReplica } from './late-replica.ts'

/** Spans that wait to be sent; those that come while so many wait are lost, and requests go on. */
const spansWaitingMax = 4_096
const spansPerExportMax = 512
const exportEveryMs = 2_000
const exportMsMax = 5_000
/** A collector that is away is said once, not with every batch. */
const warnEveryMs = 60_000
/** Spans of one request: a handler that reads a thousand secrets must not fill the queue alone. */
const spansPerRequestMax = 64

type Otel = typeof import('@opentelemetry/api')

export interface Tracing extends Tracer {
  /** Spans that a collector took, and that were lost on the way to it. */
  readonly counts: { readonly sent: number; readonly lost: number }
  /** Proposals whose entry has not been written yet: the next wait for the disk is theirs. */
  readonly disk: DiskWatch
  /** Sends what waits, for a moment, and ends. */
  close(): Promise<void>
}

/**
 * Null without `trace_endpoint`. Call before the stores are opened.
 * @throws ERR_CONFIG for a certificate file that can't be read.
 */
export async function openTracing(config: TelemetryConfig, nodeId: string, version: string, log: Logger): Promise<Tracing | null> {
  if (config.trace_endpoint === null) return null
  const [api, sdk, { resourceFromAttributes }, { OTLPTraceExporter }] = await Promise.all([
    import('@opentelemetry/api'),
    import('@opentelemetry/sdk-trace'),
    import('@opentelemetry/resources'),
    import('@opentelemetry/exporter-trace-otlp-http'),
  ])
  const exporter = new CountingExporter(
    new OTLPTraceExporter({
      url: endpointOf(config.trace_endpoint),
      timeoutMillis: exportMsMax,
      headers: config.trace_token === null ? {} : { authorization: `Bearer ${config.trace_token}` },
      ...(config.trace_ca_cert_file === null ? {} : { httpAgentOptions: { ca: certificatesIn(config.trace_ca_cert_file) } }),
    }),
    log,
  )
  const oneIn = config.trace_sample_one_in
  const provider = new sdk.TracerProvider({
    sampler: new sdk.ParentBasedSampler({ root: new sdk.TraceIdRatioBasedSampler(oneIn === 0 ? 0 : 1 / oneIn) }),
    resource: resourceFromAttributes({ 'service.name': 'holdfast', 'service.version': version, 'service.instance.id': nodeId }),
    spanLimits: { attributeValueLengthLimit: 256, attributeCountLimit: 16, eventCountLimit: 0, linkCountLimit: 0 },
    spanProcessors: [
      new sdk.BatchSpanProcessor({
        exporter,
        maxQueueSize: spansWaitingMax,
        maxExportBatchSize: spansPerExportMax,
        scheduledDelayMillis: exportEveryMs,
        exportTimeoutMillis: exportMsMax,
      }),
    ],
  })
  log.info({ endpoint: endpointOf(config.trace_endpoint) }, 'requests are traced')
  const disk = new DiskWatch()
  disk.watch()
  return new OtelTracing(api, provider, exporter, disk, config.trace_accept_parent)
}

/** As OpenTelemetry's own base addresses are meant: the signal's path is added where there is none. */
function endpointOf(address: string): string {
  const url = new URL(address)
  if (url.pathname === '/' || url.pathname === '') url.pathname = '/v1/traces'
  return url.href
}

function certificatesIn(path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'an error'
    throw new HoldfastError('ERR_CONFIG', `telemetry.trace_ca_cert_file expected a file that can be read, got ${code} for ${path}`, {
      cause: error,
    })
  }
}

class CountingExporter implements SpanExporter {
  readonly #inner: SpanExporter
  readonly #log: Logger
  #warnedMs = -Infinity
  sent = 0
  lost = 0

  constructor(inner: SpanExporter, log: Logger) {
    this.#inner = inner
    this.#log = log
  }

  export(spans: ReadableSpan[], done: Parameters<SpanExporter['export']>[1]): void {
    this.#inner.export(spans, (result) => {
      if (result.code === 0) this.sent += spans.length
      else this.#fail(spans.length)
      // Its own report of the failure would go to the console, with whatever the collector answered.
      done({ code: 0 })
    })
  }

  #fail(count: number): void {
    this.lost += count
    const nowMs = systemClock.monotonicMs()
    if (nowMs < this.#warnedMs + warnEveryMs) return
    this.#warnedMs = nowMs
    this.#log.warn({ spans_lost: this.lost }, 'the collector took no traces: spans are lost, requests go on')
  }

  async forceFlush(): Promise<void> {
    await this.#inner.forceFlush?.()
  }

  shutdown(): Promise<void> {
    return this.#inner.shutdown()
  }
}

class OtelTracing implements Tracing {
  readonly disk: DiskWatch
  readonly #api: Otel
  readonly #tracer: OtelTracer
  readonly #provider: TracerProvider
  readonly #exporter: CountingExporter
  readonly #acceptParent: boolean

  constructor(api: Otel, provider: TracerProvider, exporter: CountingExporter, disk: DiskWatch, acceptParent: boolean) {
    this.#api = api
    this.#provider = provider
    this.#tracer = provider.getTracer('holdfast')
    this.#exporter = exporter
    this.disk = disk
    this.#acceptParent = acceptParent
  }

  get counts(): { readonly sent: number; readonly lost: number } {
    const { sent, lost } = this.#exporter
    return { sent, lost }
  }

  request(name: string, parent: TraceParent | null, from: 'client' | 'member'): Span | null {
    const { trace, ROOT_CONTEXT, SpanKind, TraceFlags } = this.#api
    const believed = from === 'member' || this.#acceptParent ? parent : null
    const context =
      believed === null
        ? ROOT_CONTEXT
        : trace.setSpanContext(ROOT_CONTEXT, {
            traceId: believed.traceId,
            spanId: believed.spanId,
            traceFlags: believed.sampled ? TraceFlags.SAMPLED : TraceFlags.NONE,
            isRemote: true,
          })
    const span = this.#tracer.startSpan(name, { kind: SpanKind.SERVER }, context)
    return span.isRecording() ? new RequestSpan(this.#api, this.#tracer, span, { left: spansPerRequestMax }) : null
  }

  async close(): Promise<void> {
    await Promise.race([this.#provider.shutdown(), new Promise((resolve) => systemClock.setTimer(exportMsMax, () => resolve(null)))])
  }
}

class RequestSpan implements Span {
  readonly parent: TraceParent
  readonly #api: Otel
  readonly #tracer: OtelTracer
  readonly #span: OtelSpan
  readonly #budget: { left: number }
  #context: Context | null = null

  constructor(api: Otel, tracer: OtelTracer, span: OtelSpan, budget: { left: number }) {
    this.#api = api
    this.#tracer = tracer
    this.#span = span
    this.#budget = budget
    const { traceId, spanId } = span.spanContext()
    this.parent = { traceId, spanId, sampled: true }
  }

  child(name: SpanName, startMs?: number): Span {
    const { trace, ROOT_CONTEXT, SpanKind } = this.#api
    if (this.#budget.left <= 0) return new NoSpan(this.parent)
    this.#budget.left -= 1
    this.#context ??= trace.setSpan(ROOT_CONTEXT, this.#span)
    const kind = name === 'forward' ? SpanKind.CLIENT : SpanKind.INTERNAL
    const span = this.#tracer.startSpan(name, startMs === undefined ? { kind } : { kind, startTime: startMs }, this.#context)
    return new RequestSpan(this.#api, this.#tracer, span, this.#budget)
  }

  rename(name: string): void {
    this.#span.updateName(name)
  }

  set(attributes: SpanAttributes): void {
    this.#span.setAttributes({ ...attributes })
  }

  end(error?: unknown): void {
    if (!this.#span.isRecording()) return
    if (error !== undefined) {
      this.#span.setAttribute('error.type', errorTypeOf(error))
      this.#span.setStatus({ code: this.#api.SpanStatusCode.ERROR })
    }
    this.#span.end()
  }
}

/** Stands for what is too much to be told; what is below it is told as a part of whatever it is in. */
class NoSpan implements Span {
  readonly parent: TraceParent

  constructor(parent: TraceParent) {
    this.parent = parent
  }

  child(): Span {
    return this
  }

  rename(): void {}
  set(): void {}
  end(): void {}
}

/** When the log waits for its disk. An entry is in the first write that begins after it was proposed, with all that waited beside it. */
export class DiskWatch {
  readonly #expecting = new Set<Span>()

  expect(span: Span): void {
    this.#expecting.add(span)
  }

  forget(span: Span): void {
    this.#expecting.delete(span)
  }

  /** The seam is the store's: its simulations put another disk there. */
  watch(): void {
    const disk = nodeDisk as { level: LevelFactory }
    const { level } = disk
    disk.level = (path, options) => (basename(path) === logName ? this.#timed(level(path, options)) : level(path, options))
  }

  #timed(level: Level): Level {
    const batch = level.batch.bind(level)
    level.batch = async (ops, options) => {
      if (options?.sync !== true || this.#expecting.size === 0) return batch(ops, options)
      const startMs = performance.timeOrigin + performance.now()
      const spans = [...this.#expecting].map((span) => span.child('disk.append', startMs))
      this.#expecting.clear()
      for (const span of spans) span.set({ 'holdfast.disk.writes': ops.length })
      try {
        await batch(ops, options)
        for (const span of spans) span.end()
      } catch (error) {
        for (const span of spans) span.end(error)
        throw error
      }
    }
    return level
  }
}

/** The replica as the barrier is given it where requests are traced. */
export class TracedReplica extends LateReplica {
  readonly #disk: DiskWatch

  constructor(nodeId: string, disk: DiskWatch) {
    super(nodeId)
    this.#disk = disk
  }

  override readIndex(timeoutMs: number): ReturnType<LateReplica['readIndex']> {
    return inSpan('raft.read_index', () => super.readIndex(timeoutMs))
  }

  /** From the entry's way into the leader's log until it is applied here: a majority has it on its disks then. */
  override propose(proposal: Proposal): ReturnType<LateReplica['propose']> {
    return inSpan('raft.propose', async (span) => {
      if (span === null) return super.propose(proposal)
      this.#disk.expect(span)
      try {
        const done = await super.propose(proposal)
        span.set({ 'holdfast.raft.term': proposal.term, 'holdfast.raft.index': done.index })
        return done
      } finally {
        this.#disk.forget(span)
      }
    })
  }
}

/** Sends a request to the leader, which carries the trace on. */
export function forwardTraced(
  request: Request,
  leader: string | null,
  forward: (request: Request) => Promise<CoreResponse>,
): Promise<CoreResponse> {
  return inSpan('forward', (span) => {
    if (span !== null) {
      request.traceparent = formatTraceParent(span.parent)
      if (leader !== null) span.set({ 'holdfast.raft.leader': leader })
    }
    return forward(request)
  })
}

/** Answers a request that another member forwarded, under the id that it has there. `tracer` null: only the log says whose work it is. */
export async function answerForwarded(
  request: Request,
  tracer: Tracer | null,
  handle: (request: Request) => Promise<CoreResponse>,
): Promise<CoreResponse> {
  // A member's own word first; without one it traces nothing, and the client's header is for the log alone.
  const text = request.traceparent ?? request.headers.traceparent
  const parent = typeof text === 'string' ? parseTraceParent(text) : null
  const span = tracer?.request(request.method, parent, request.traceparent === undefined ? 'client' : 'member') ?? null
  span?.set({ 'http.request.method': request.method, 'holdfast.request_id': request.id })
  const traceId = span?.parent.traceId ?? parent?.traceId ?? null
  const state = { answered: false }
  try {
    const response = await runForRequest({ requestId: request.id, traceId, span, state }, () => handle(request))
    span?.set({ 'http.response.status_code': response.status })
    return response
  } finally {
    state.answered = true
    span?.end()
  }
}

/** In Prometheus' text format; '' where nothing is traced. */
export function tracingMetrics(tracing: Pick<Tracing, 'counts'> | null): string {
  if (tracing === null) return ''
  const { sent, lost } = tracing.counts
  const name = 'holdfast_trace_spans'
  return `# HELP ${name} Spans of traces since the start, by what became of them; there where traces are switched on.\n# TYPE ${name} gauge\n${name}{result="sent"} ${sent}\n${name}{result="lost"} ${lost}\n`
}
