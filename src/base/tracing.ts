/**
 * Which request a piece of work belongs to, and how long its parts take: for the log's lines, and for traces where they are switched on.
 *
 * The context travels with the asynchronous work (AsyncLocalStorage), not as a parameter: what writes a line of log, or waits for a disk, lies
 * rooms below whoever knows the request, and a parameter would pass through every signature between. Nothing decides anything by it.
 *
 * Traces leave the house, to a collector that is not behind the barrier. So what a span may say is a closed list: no path, no namespace, no
 * address, no token or accessor, no name that a client chose.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { isHoldfastError } from './errors.ts'

/** W3C trace context: 32 and 16 hexadecimal digits, neither all zeros. */
export interface TraceParent {
  readonly traceId: string
  readonly spanId: string
  readonly sampled: boolean
}

/** Everything that a span can say of itself. A new one is a decision about what leaves the barrier: docs/tracing.md lists them all. */
export interface SpanAttributes {
  readonly 'http.request.method'?: string
  /** The pattern of the route, by the type of its mount: 'kv data/:path*'. Never what stands in its place. */
  readonly 'http.route'?: string
  readonly 'http.response.status_code'?: number
  /** An error's code, from the table of errors. */
  readonly 'error.type'?: string
  /** The id that answer, audit and log have. */
  readonly 'holdfast.request_id'?: string
  readonly 'holdfast.operation'?: string
  /** Raft's: of the entry that the request became. */
  readonly 'holdfast.raft.term'?: number
  readonly 'holdfast.raft.index'?: number
  /** Ids of members. */
  readonly 'holdfast.node'?: string
  readonly 'holdfast.raft.leader'?: string
  /** How many writes of the store one wait for the disk covered: those of other requests among them. */
  readonly 'holdfast.disk.writes'?: number
}

export type SpanName = 'raft.read_index' | 'raft.propose' | 'disk.append' | 'forward' | 'audit.record'

/** One piece of work that takes time. Whoever begins it ends it, once; what comes after is ignored. */
export interface Span {
  /** Its own name, for those who carry on elsewhere. */
  readonly parent: TraceParent
  /** A part of it. `startMs` (wall clock, milliseconds with fractions): it began then; absent: now. */
  child(name: SpanName, startMs?: number): Span
  rename(name: string): void
  set(attributes: SpanAttributes): void
  /** `error`: it failed; of a HoldfastError its code is kept, of any other nothing. */
  end(error?: unknown): void
}

/** Begins traces. One a process. */
export interface Tracer {
  /**
   * The span of a whole request; null: it is not among those that are looked at. Carries on the trace of `parent` where there is one; of a client's
   * only where that is allowed.
   */
  request(name: string, parent: TraceParent | null, from: 'client' | 'member'): Span | null
}

/** Of one request, while it is being answered. */
export interface RequestContext {
  readonly requestId: string
  /** null: nobody traces it. */
  readonly traceId: string | null
  /** What work now belongs to; null: it is not looked at. */
  readonly span: Span | null
  /** Set when it has been answered: what it started and goes on is nobody's request any more. Shared by all contexts of one request. */
  readonly state: { answered: boolean }
}

const contexts = new AsyncLocalStorage<RequestContext>()

/** The request that the running code works for; null: none, or one that has been answered. */
export function currentRequest(): RequestContext | null {
  const context = contexts.getStore()
  return context === undefined || context.state.answered ? null : context
}

/** Runs `work`, and all that it starts, for a request. */
export const runForRequest = <T>(context: RequestContext, work: () => T): T => contexts.run(context, work)

/** Runs `work` as a part of the current request's span. Where nothing is traced it is just run. */
export function inSpan<T>(name: SpanName, work: (span: Span | null) => Promise<T>): Promise<T> {
  const context = currentRequest()
  return context === null || context.span === null ? work(null) : inChild(context, context.span.child(name), work)
}

async function inChild<T>(context: RequestContext, span: Span, work: (span: Span) => Promise<T>): Promise<T> {
  try {
    const result = await contexts.run({ ...context, span }, () => work(span))
    span.end()
    return result
  } catch (error) {
    span.end(error)
    throw error
  }
}

const traceParentText = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/

/** Reads a `traceparent` header (W3C Trace Context, 2021); null for what is none: the standard says to begin a new trace then. */
export function parseTraceParent(text: string): TraceParent | null {
  const [, version, traceId = '', spanId = '', flags = '', rest] = traceParentText.exec(text) ?? []
  if (version === undefined || version === 'ff' || (version === '00' && rest !== undefined)) return null
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return null
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 }
}

export const formatTraceParent = ({ traceId, spanId, sampled }: TraceParent): string => `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`

/** What a span says of an error: the code, which is one of a closed table, and never its text, which may name a path. */
export const errorTypeOf = (error: unknown): string => (isHoldfastError(error) ? error.code : 'ERR_INTERNAL')
