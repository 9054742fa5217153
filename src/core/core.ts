/**
 * The one way in: `handle(request)`. Decides where a request is answered (at once, from a view here, in a transaction on the
 * leader), runs it, records its response in the audit, and only then lets the answer go.
 */
import { sleep } from '#base/clock.ts'
import { HoldfastError, isHoldfastError, wellKnown } from '#base/errors.ts'
import type { AuditRecord } from '#audit/types.ts'
import { CommitAndThrow, type ReadView } from '#barrier/types.ts'
import { forwardRecord, nonHmacKeys, requestRecord, responseRecord, type AuditFacts } from './audit-records.ts'
import type { CoreDeps } from './deps.ts'
import { renderResponse } from './envelope.ts'
import { errorResponse } from './errors.ts'
import { evaluate, findPath, NeedsTransaction, newTrace, type Evaluated, type EvaluateDeps, type Trace } from './evaluate.ts'
import { readFields } from './fields.ts'
import { LeaderJobs } from './jobs.ts'
import { MountReader, mountTable, newMount } from './mounts.ts'
import type { PathMatch } from './paths.ts'
import { EngineRegistry, mayWrite, operationDef } from './router.ts'
import { noStorage } from './storage.ts'
import type { CoreResponse, HandlerContext, LogicalResponse, MountEntry, PathDef, Request } from './types.ts'

/** How long a write waits for a leader, and how often it looks. */
const leaderWaitMsMax = 5_000
const leaderPollMs = 50

export interface InFlightRequest {
  readonly id: string
  readonly path: string
  readonly method: string
  readonly clientAddress: string
  readonly startedMs: number
}

export interface Core {
  /** Answers one request. Never rejects: what goes wrong is an answer too. */
  handle(request: Request): Promise<CoreResponse>
  /** Requests being answered now, oldest first. */
  inFlight(): readonly InFlightRequest[]
  /** Starts the leader's jobs (they run only while this node is the ready leader). */
  startJobs(): void
  stopJobs(): Promise<void>
  /** The barrier sealed: forget what was opened. */
  onSealed(): void
  readonly registry: EngineRegistry
  readonly mounts: MountReader
}

export function createCore(deps: CoreDeps): Core {
  return new CoreRunner(deps)
}

/** Node-local answers (health, seal-status ...) stand before any mount table is readable: sys is always at 'sys/'. */
function bootMounts(deps: CoreDeps): { table: ReturnType<typeof mountTable>; sys: MountEntry } {
  const sys = newMount(deps.random, { path: 'sys/', table: 'secret', type: 'system' })
  return { table: mountTable([sys]), sys }
}

/** No token, no storage: answered in any state of the node. */
const answersAlone = (def: PathDef): boolean => def.whileSealed === true || (def.local === true && def.unauthenticated === true)

class CoreRunner implements Core {
  readonly registry: EngineRegistry
  readonly mounts = new MountReader()
  readonly #deps: CoreDeps
  readonly #evaluateDeps: Omit<EvaluateDeps, 'recordRequest'>
  readonly #boot: ReturnType<typeof bootMounts>
  readonly #inFlight = new Map<Request, number>()
  readonly #jobs: LeaderJobs

  constructor(deps: CoreDeps) {
    this.#deps = deps
    this.registry = new EngineRegistry(deps.engines)
    this.#boot = bootMounts(deps)
    this.#evaluateDeps = {
      tokens: deps.tokens,
      policies: deps.policies,
      wrapping: deps.wrapping,
      registry: this.registry,
      mounts: this.mounts,
      random: deps.random,
      log: deps.log,
    }
    this.#jobs = new LeaderJobs(deps, this.registry, this.mounts)
  }

  async handle(request: Request): Promise<CoreResponse> {
    this.#inFlight.set(request, this.#deps.clock.nowMs())
    try {
      return await this.#place(request)
    } catch (error) {
      return errorResponse(error, request.id, this.#deps.log)
    } finally {
      this.#inFlight.delete(request)
    }
  }

  inFlight(): readonly InFlightRequest[] {
    return [...this.#inFlight].map(([request, startedMs]) => ({
      id: request.id,
      path: request.path,
      method: request.method,
      clientAddress: request.clientAddress,
      startedMs,
    }))
  }

  startJobs(): void {
    this.#jobs.start()
  }

  stopJobs(): Promise<void> {
    return this.#jobs.stop()
  }

  onSealed(): void {
    this.mounts.clear()
  }

  /** Where the request is answered. */
  async #place(request: Request): Promise<CoreResponse> {
    const boot = request.path.startsWith('sys/') ? findPath(this.registry, this.#boot.table, request.path) : null
    const def = boot?.match.def
    const inRoot = request.namespace === '' || request.namespace === 'root'
    // Load balancers' questions are answered whatever namespace header a client library adds to everything.
    if (boot && def && answersAlone(def) && request.operation !== 'help' && (inRoot || def.unaudited)) {
      return this.#answerLocally(request, boot.match)
    }
    if (this.#deps.barrier.sealed) throw new HoldfastError('ERR_SEALED', wellKnown.sealed)
    if (!inRoot) {
      return this.#refuse(
        request,
        new HoldfastError('ERR_NOT_FOUND', 'namespace not found', { hint: 'this version has the root namespace only' }),
      )
    }
    if (def?.local) return this.#answerHere(request)
    if (request.wrapTtlSeconds > 0 || this.#looksLikeWrite(request)) return this.#onLeader(request)
    try {
      return await this.#read(request)
    } catch (error) {
      if (error instanceof NeedsTransaction) return this.#onLeader(request)
      throw error
    }
  }

  /** What is refused before anything was looked at leaves its records too. */
  async #refuse(request: Request, error: HoldfastError): Promise<never> {
    const trace = newTrace(request, this.#deps.clock.nowMs())
    await this.#record(trace, (facts) => requestRecord(facts, error), request)
    await this.#recordResponse(request, trace, null, error, true)
    throw error
  }

  /** By the last table seen: only saves a read index before a request is forwarded; a wrong guess is put right in the view. */
  #looksLikeWrite(request: Request): boolean {
    const mounts = this.mounts.lastSeen('root')
    const found = mounts ? findPath(this.registry, mounts, request.path) : null
    return found !== null && mayWrite(found.match.def, request.operation)
  }

  /** Health, seal-status, init, unseal ...: no token, no storage, whatever the state of the cluster. */
  async #answerLocally(request: Request, { def, params }: PathMatch): Promise<CoreResponse> {
    const trace = newTrace(request, this.#deps.clock.nowMs())
    const operation = operationDef(def, request.operation)
    trace.mount = this.#boot.sys
    trace.def = def
    await this.#record(trace, (facts) => requestRecord(facts, null), request)
    let response: LogicalResponse | null = null
    let failure: unknown = null
    try {
      if (!operation) throw new HoldfastError('ERR_UNSUPPORTED_OPERATION', wellKnown.unsupportedOperation)
      const read = readFields(def, params, request, request.operation)
      response = await operation.handler(this.#localContext(request, read.fields, read.data))
    } catch (error) {
      failure = error
    }
    // Without its data: what init and unseal answer has no place in a record, hashed or not.
    const status = statusOf(request, trace, response, failure)
    const harmless = operation?.writes !== true
    await this.#auditDone(() => this.#record(trace, (facts) => responseRecord(facts, status, null, failure), request), failure, harmless)
    if (failure !== null) throw failure
    return renderResponse(request.id, request.operation, def, response)
  }

  #localContext(request: Request, fields: HandlerContext['fields'], data: HandlerContext['data']): HandlerContext {
    const { sys } = this.#boot
    return {
      request,
      operation: request.operation,
      path: request.path.slice('sys/'.length),
      fields,
      data,
      storage: noStorage('ERR_SEALED'),
      nowMs: this.#deps.clock.nowMs(),
      random: this.#deps.random,
      mount: sys,
      token: null,
      section: { namespace: 'root', mount: sys.uuid },
      log: this.#deps.log,
    }
  }

  /** A path that each node answers for itself, but only to a good token: the check is linearizable, or stale when the node is cut off. */
  async #answerHere(request: Request): Promise<CoreResponse> {
    try {
      return await this.#read(request)
    } catch (error) {
      if (error instanceof NeedsTransaction) {
        return this.#refuse(
          request,
          new HoldfastError('ERR_BAD_REQUEST', 'expected a token without a use limit on a path that each node answers for itself'),
        )
      }
      if (!isHoldfastError(error, 'ERR_NO_LEADER')) throw error
      // An operator must be able to seal or inspect a node that lost its majority; it serves no secret on these paths.
      return this.#read(request, 'stale')
    }
  }

  async #read(request: Request, kind: 'linearizable' | 'stale' = 'linearizable'): Promise<CoreResponse> {
    const trace = newTrace(request, this.#deps.clock.nowMs())
    const work = (view: ReadView): Promise<Evaluated> => evaluate(this.#traced(request), request, trace, view, null)
    return this.#finish(request, trace, false, () => this.#deps.barrier.read({ kind }, work))
  }

  /** Here if this node leads, else on whoever does; waits for one while there is none, as long as `deadlineMs` (monotonic) allows. */
  async #onLeader(request: Request, deadlineMs = this.#deps.clock.monotonicMs() + leaderWaitMsMax): Promise<CoreResponse> {
    if (!this.#leads()) return this.#forward(request, deadlineMs)
    const trace = newTrace(request, this.#deps.clock.nowMs())
    try {
      return await this.#finish(request, trace, true, () => this.#transact(request, trace))
    } catch (error) {
      // Nothing was written, and another node leads: it may do the whole again.
      if (isHoldfastError(error, 'ERR_NOT_LEADER')) return this.#forward(request, deadlineMs)
      throw error
    }
  }

  #leads(): boolean {
    const { role, ready } = this.#deps.replica.status()
    return role === 'leader' && ready
  }

  async #transact(request: Request, trace: Trace): Promise<Evaluated> {
    const deps = this.#traced(request)
    let lostUse = false
    try {
      return await this.#deps.barrier.transact(async (transaction) => {
        lostUse = false
        try {
          return await evaluate(deps, request, trace, transaction, transaction)
        } catch (error) {
          if (!trace.usedToken || error instanceof CommitAndThrow) throw error
          // A refused or failed request has used its token all the same. What a failing handler wrote must not ride along:
          // then the use is counted in a transaction of its own.
          if (transaction.writes === trace.writesBeforeHandler || trace.writesBeforeHandler === 0) throw new CommitAndThrow(error)
          lostUse = true
          throw error
        }
      })
    } finally {
      if (lostUse) await this.#countUse(request)
    }
  }

  async #countUse(request: Request): Promise<void> {
    await this.#deps.barrier.transact(async (transaction) => {
      const entry = request.token === null ? null : await this.#deps.tokens.lookup(transaction, request.token)
      if (entry && entry.numUses > 0) await this.#deps.tokens.consumeUse(transaction, entry)
    })
  }

  #traced(request: Request): EvaluateDeps {
    return {
      ...this.#evaluateDeps,
      recordRequest: (trace, error) => this.#record(trace, (facts) => requestRecord(facts, error), request),
    }
  }

  /** Runs the evaluation, the handler that waits for its end, and the response's audit record. */
  async #finish(request: Request, trace: Trace, wrote: boolean, run: () => Promise<Evaluated>): Promise<CoreResponse> {
    let response: LogicalResponse | null = null
    let failure: unknown = null
    try {
      const evaluated = await run()
      response = evaluated.kind === 'later' ? await evaluated.run() : evaluated.response
    } catch (error) {
      if (error instanceof NeedsTransaction) throw error
      failure = error
    }
    // What failed before it could be evaluated (no leader, a spent token) leaves its records too.
    if (!trace.recorded) await this.#record(trace, (facts) => requestRecord(facts, failure), request)
    await this.#recordResponse(request, trace, response, failure, !wrote)
    if (failure !== null) throw failure
    return renderResponse(request.id, trace.operation, trace.def!, response)
  }

  async #forward(request: Request, deadlineMs: number): Promise<CoreResponse> {
    if (request.forwardedFrom !== undefined) {
      throw new HoldfastError('ERR_NOT_LEADER', 'this node is not the leader', { hint: 'an election is under way: try again' })
    }
    const { clock, replica } = this.#deps
    const trace = newTrace(request, clock.nowMs())
    for (;;) {
      const { answer, failure } = await this.#forwardOnce(request)
      // While nobody leads nothing was done: an election is shorter than a client's patience.
      if (isHoldfastError(failure, 'ERR_NO_LEADER') || (answer && saysNotLeader(answer))) {
        const waited = clock.monotonicMs() < deadlineMs && !request.signal?.aborted
        if (waited) await sleep(clock, leaderPollMs)
        if (waited && this.#leads()) return this.#onLeader(request, deadlineMs)
        if (waited) continue
      }
      const status = answer?.status ?? null
      const { leader } = replica.status()
      await this.#auditDone(() => this.#record(trace, (facts) => forwardRecord(facts, leader, status, failure), request), failure)
      if (answer === null) throw failure
      return answer
    }
  }

  async #forwardOnce(request: Request): Promise<{ readonly answer: CoreResponse | null; readonly failure: unknown }> {
    try {
      return { answer: await this.#deps.forward(request), failure: null }
    } catch (failure) {
      return { answer: null, failure }
    }
  }

  async #record(trace: Trace, build: (facts: AuditFacts) => AuditRecord, request: Request): Promise<void> {
    if (trace.def?.unaudited) return
    const facts: AuditFacts = {
      request,
      operation: trace.operation,
      mount: trace.mount,
      token: trace.token,
      nowMs: this.#deps.clock.nowMs(),
    }
    await this.#deps.audit.record(build(facts), nonHmacKeys(trace.mount, trace.def))
  }

  async #recordResponse(
    request: Request,
    trace: Trace,
    response: LogicalResponse | null,
    failure: unknown,
    harmless: boolean,
  ): Promise<void> {
    const status = statusOf(request, trace, response, failure)
    await this.#auditDone(
      () => this.#record(trace, (facts) => responseRecord(facts, status, response, failure), request),
      failure,
      harmless,
    )
  }

  /** An unrecorded answer is not given. Where a write is already done, or may be, the client must learn that it is. */
  async #auditDone(record: () => Promise<void>, failure: unknown, harmless = false): Promise<void> {
    try {
      await record()
    } catch (error) {
      if (isHoldfastError(failure, 'ERR_OUTCOME_UNKNOWN')) throw failure
      if (harmless || failure !== null || !isHoldfastError(error, 'ERR_AUDIT')) throw error
      throw new HoldfastError('ERR_DONE_NOT_AUDITED', 'internal error', {
        hint: 'the request was carried out, but no audit device could record its response',
        cause: error,
      })
    }
  }
}

/** Whether the asked node answered that it does not lead: then it has done nothing. */
function saysNotLeader({ status, body }: CoreResponse): boolean {
  if (status !== 503) return false
  try {
    return (JSON.parse(Buffer.from(body).toString()) as { code?: unknown }).code === 'ERR_NOT_LEADER'
  } catch {
    return false
  }
}

function statusOf(request: Request, trace: Trace, response: LogicalResponse | null, failure: unknown): number {
  if (failure !== null) return isHoldfastError(failure) ? failure.status : 500
  if (response?.status !== undefined) return response.status
  if (response !== null) return 200
  return request.operation === 'read' || trace.operation === 'list' || trace.operation === 'scan' ? 404 : 204
}
