/**
 * The one way in: `handle(request)`. Decides where a request is answered (at once, from a view here, in a transaction on the
 * leader), runs it, records its response in the audit, and only then lets the answer go.
 */
import { sleep } from '#base/clock.ts'
import { HoldfastError, isHoldfastError, wellKnown } from '#base/errors.ts'
import { currentRequest, errorTypeOf } from '#base/tracing.ts'
import type { AuditRecord } from '#audit/types.ts'
import { createNamespaceStore, type NamespaceStore } from '#namespaces/store.ts'
import { CommitAndThrow, type Consistency, type ReadView } from '#barrier/types.ts'
import { forwardRecord, nonHmacKeys, replayRecord, requestRecord, responseRecord, type AuditFacts } from './audit-records.ts'
import { NeedsAside } from './aside.ts'
import { askedOf, asksFreshness, checkSeen, NeedsFresher, withFreshness, type Asked, type Freshness } from './consistency.ts'
import type { CoreDeps } from './deps.ts'
import { renderResponse } from './envelope.ts'
import { errorResponse, errorText } from './errors.ts'
import { evaluate, findPath, NeedsTransaction, newTrace, warned, type Evaluated, type EvaluateDeps, type Trace } from './evaluate.ts'
import { readFields } from './fields.ts'
import { LeaderJobs } from './jobs.ts'
import { fences, Keeping } from './keeping.ts'
import { MountReader, mountTable, newMount } from './mounts.ts'
import { nodeName, onceLimits, replay, type OnceKey } from './once.ts'
import { lockoutJob } from './lockout-job.ts'
import { onceJobs } from './once-sweep.ts'
import type { PathMatch } from './paths.ts'
import { guessPlace } from './place.ts'
import { QuotaGate } from './quota-gate.ts'
import { EngineRegistry, mayWrite, operationDef } from './router.ts'
import { fateOf, lose, refused, type Journey, type Sending, undo } from './sending.ts'
import { SlotPool } from './slots.ts'
import { noStorage } from './storage.ts'
import type { CoreResponse, HandlerContext, LogicalResponse, MountEntry, PathDef, Request } from './types.ts'

/** How long a write waits for a leader, and how often it looks. */
const leaderWaitMsMax = 5_000
const leaderPollMs = 50
/** How long a write that may have been carried out waits for a leader that knows. */
const outcomeWaitMsMax = 30_000

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
  /** What `handle` asks first, to be asked before the body is read: the refusal of a request that comes too often; null: it goes on. */
  admit(request: Request): Promise<CoreResponse> | null
  /** null: nothing is limited. */
  readonly quotas: QuotaGate | null
  /** How large the body of a write to `path` may be where its handler reads it as it arrives; null: it is read whole before `handle` is called. */
  uploadBytesMax(path: string): number | null
  /** Requests being answered now, oldest first. */
  inFlight(): readonly InFlightRequest[]
  /** Reads that were answered from a state that may have been old, since the start. */
  oldReads(): number
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
  readonly #namespaces: NamespaceStore
  readonly quotas: QuotaGate | null
  readonly #inFlight = new Map<Request, number>()
  readonly #jobs: LeaderJobs
  readonly #keeping: Keeping
  readonly #slots: SlotPool
  #oldReads = 0

  constructor(deps: CoreDeps) {
    this.#deps = deps
    this.registry = new EngineRegistry(deps.engines)
    this.#boot = bootMounts(deps)
    this.#namespaces = deps.namespaces ?? createNamespaceStore({ random: deps.random })
    this.#keeping = new Keeping(deps)
    const { quotas, clock } = deps
    const isNodesOwn = (path: string): boolean => this.#atBoot(path)?.match.def.unaudited === true
    const known = { registry: this.registry, mounts: this.mounts, namespaces: this.#namespaces, isNodesOwn, clock }
    this.quotas = quotas === undefined ? null : new QuotaGate({ quotas, ...known })
    this.#evaluateDeps = {
      quotas: this.quotas,
      tokens: deps.tokens,
      policies: deps.policies,
      identity: deps.identity,
      lockout: deps.lockout,
      leasing: deps.leasing,
      wrapping: deps.wrapping,
      once: this.#keeping.once,
      registry: this.registry,
      mounts: this.mounts,
      namespaces: this.#namespaces,
      random: deps.random,
      log: deps.log,
    }
    this.#slots = new SlotPool(deps.boot, onceLimits.slotsPerNodeMax)
    const members = (): readonly string[] => {
      const status = deps.replica.status()
      return status.members.map(({ id }) => nodeName(id, status.incarnation))
    }
    const { barrier, lockout } = deps
    const jobs = [
      ...deps.jobs,
      ...onceJobs({ barrier, members }),
      ...(lockout ? [lockoutJob({ barrier, lockout, namespaces: this.#namespaces })] : []),
    ]
    this.#jobs = new LeaderJobs({ ...deps, jobs }, this.registry, this.mounts, this.#namespaces)
  }

  async handle(request: Request): Promise<CoreResponse> {
    const refused = this.admit(request)
    if (refused !== null) return refused
    this.#inFlight.set(request, this.#deps.clock.nowMs())
    try {
      return this.#dressed(request, await this.#place(request))
    } catch (error) {
      return this.#dressed(request, errorResponse(error, request.id, this.#deps.log))
    } finally {
      this.#inFlight.delete(request)
    }
  }

  admit(request: Request): Promise<CoreResponse> | null {
    const refusal = this.quotas?.admit(request) ?? null
    return refusal === null ? null : this.#turnAway(request, refusal)
  }

  /** Never rejects. Recorded only where the configuration says so: else a flood would fill the audit's disk. */
  async #turnAway(request: Request, refusal: HoldfastError): Promise<CoreResponse> {
    let error: unknown = refusal
    if (this.quotas?.isQuiet(refusal) === false) await this.#refuse(request, refusal).catch((thrown: unknown) => (error = thrown))
    return this.#dressed(request, errorResponse(error, request.id, this.#deps.log))
  }

  #dressed(request: Request, response: CoreResponse): CoreResponse {
    return this.quotas?.dressed(request, response) ?? response
  }

  uploadBytesMax(path: string): number | null {
    return findPath(this.registry, this.#boot.table, path)?.match.def.uploadBytesMax ?? null
  }

  oldReads(): number {
    return this.#oldReads
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
    this.#deps.leasing?.expirer.start()
  }

  async stopJobs(): Promise<void> {
    await this.#deps.leasing?.expirer.stop()
    await this.#jobs.stop()
  }

  onSealed(): void {
    this.mounts.clear()
    this.#namespaces.onSealed()
  }

  /** Of the house's own paths, which are known before any mount table is; null for all others. */
  #atBoot(path: string): ReturnType<typeof findPath> {
    return path.startsWith('sys/') ? findPath(this.registry, this.#boot.table, path) : null
  }

  /** Where the request is answered. */
  async #place(request: Request): Promise<CoreResponse> {
    const boot = this.#atBoot(request.path)
    const def = boot?.match.def
    const inRoot = request.namespace === '' || request.namespace === 'root'
    // Load balancers' questions are answered whatever namespace header a client library adds to everything.
    if (boot && def && answersAlone(def) && request.operation !== 'help' && (inRoot || def.unaudited)) {
      return this.#answerLocally(request, boot.match)
    }
    if (this.#deps.barrier.sealed) throw new HoldfastError('ERR_SEALED', wellKnown.sealed)
    if (def?.local) return this.#answerHere(request)
    const asked = asksFreshness(request.headers) ? await this.#asked(request) : null
    const forwarded = this.#deps.forwardsReads === true && !this.#leads()
    if (request.wrapTtlSeconds > 0 || forwarded || this.#looksLikeWrite(request)) return this.#write(request, asked)
    try {
      return await (asked === null ? this.#read(request) : this.#readAsAsked(request, asked))
    } catch (error) {
      if (error instanceof NeedsTransaction) return this.#write(request, asked)
      throw error
    }
  }

  async #asked(request: Request): Promise<Asked | null> {
    try {
      return askedOf(request.headers)
    } catch (error) {
      return this.#refuse(request, error as HoldfastError)
    }
  }

  /** One who keeps track of what it has seen is told what it has written. The leader's answer says so already where this node forwards. */
  async #write(request: Request, asked: Asked | null): Promise<CoreResponse> {
    const response = await this.#onLeader(request)
    if (asked === null || !this.#leads()) return response
    const { clusterId, incarnation, applied } = this.#deps.replica.status()
    return withFreshness(response, { ageMs: 0, index: applied }, { clusterId, incarnation })
  }

  /** As old as the client permits where the mount does too; else, and where that proves too old, linearizable. */
  async #readAsAsked(request: Request, asked: Asked): Promise<CoreResponse> {
    const { clusterId, incarnation } = this.#deps.replica.status()
    let at: Freshness = { ageMs: 0, index: 0 }
    const check = (found: Freshness): void => checkSeen(asked, (at = found), { clusterId, incarnation })
    const answer = async (consistency: Consistency): Promise<CoreResponse> => {
      const response = await this.#read(request, consistency, check)
      if (at.ageMs > 0) this.#oldReads += 1
      return withFreshness(response, at, { clusterId, incarnation })
    }
    try {
      return await answer(asked.consistency)
    } catch (error) {
      if (error instanceof NeedsFresher) return answer({ kind: 'linearizable' })
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
    const guess = guessPlace(this.mounts, this.#namespaces, request)
    const found = guess && findPath(this.registry, guess.mounts, guess.path)
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
      response = warned(await operation.handler(this.#localContext(request, read.fields, read.data)), read)
    } catch (error) {
      failure = error
    }
    describe(trace, failure)
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
      return this.#read(request, { kind: 'stale' })
    }
  }

  /** `check` is given what was read at, and may refuse it; without it, age does not matter. */
  #read(
    request: Request,
    consistency: Consistency = { kind: 'linearizable' },
    check: ((at: Freshness) => void) | null = null,
  ): Promise<CoreResponse> {
    const trace = newTrace(request, this.#deps.clock.nowMs())
    const work = (view: ReadView, at: Freshness): Promise<Evaluated> => {
      if (check !== null) {
        check(at)
        trace.ageMs = at.ageMs
      }
      return evaluate(this.#traced(request), request, trace, view, null)
    }
    return this.#finish(request, trace, false, () => this.#withAsides(trace, () => this.#deps.barrier.read(consistency, work)))
  }

  /** Here if this node leads, else on whoever does; waits for one while there is none. */
  async #onLeader(request: Request): Promise<CoreResponse> {
    try {
      return await this.#hereOrThere(request, { startedMs: this.#deps.clock.monotonicMs(), lost: null })
    } finally {
      if (request.ticket !== undefined && request.forwardedFrom === undefined) this.#slots.give(request.ticket)
    }
  }

  async #hereOrThere(request: Request, journey: Journey): Promise<CoreResponse> {
    if (!this.#leads()) return this.#forward(request, journey)
    let onceKey: OnceKey | null = null
    try {
      onceKey = this.#keeping.keyOf(request)
      const trace = newTrace(request, this.#deps.clock.nowMs(), onceKey)
      return await this.#finish(request, trace, true, () =>
        this.#loggingIn(trace, () => this.#withAsides(trace, () => this.#transact(request, trace))),
      )
    } catch (error) {
      // Nothing was written, and another node leads: it may do the whole again.
      if (isHoldfastError(error, 'ERR_NOT_LEADER')) {
        if (request.forwardedFrom === undefined) undo(request, journey)
        return this.#forward(request, journey)
      }
      // What has an id can be asked of the next leader.
      const lost = isHoldfastError(error, 'ERR_OUTCOME_UNKNOWN') && onceKey !== null && request.forwardedFrom === undefined
      if (lost) lose(request, journey, { answer: null, failure: error })
      if (lost || (journey.lost !== null && isHoldfastError(error) && error.status === 503)) return this.#forward(request, journey)
      throw error
    }
  }

  #leads(): boolean {
    const { role, ready } = this.#deps.replica.status()
    return role === 'leader' && ready
  }

  /** Runs what the handler sets aside between its evaluations, with no view held (aside.ts). */
  async #withAsides(trace: Trace, run: () => Promise<Evaluated>): Promise<Evaluated> {
    for (;;) {
      try {
        return await run()
      } catch (error) {
        if (!(error instanceof NeedsAside)) throw error
        await trace.asides.carryOut(error)
      }
    }
  }

  /** What a login's end means for its name (lockout.ts): the lock is laid down before the client learns that its try was wrong. */
  async #loggingIn(trace: Trace, run: () => Promise<Evaluated>): Promise<Evaluated> {
    const { lockout, barrier, log } = this.#deps
    try {
      const evaluated = await run()
      if (trace.login.subject !== null && evaluated.kind === 'answer') lockout?.succeeded(trace.login.subject)
      return evaluated
    } catch (error) {
      const { subject, locks } = trace.login
      if (subject === null || !locks || !lockout) throw error
      try {
        await barrier.transact((transaction) => lockout.lock(transaction, subject))
        log.warn({ mount: subject.mount.path }, 'a name was locked after too many wrong tries to log in')
      } catch (failure) {
        // It is locked all the same, as long as this node leads.
        log.warn({ mount: subject.mount.path, error: errorText(failure) }, 'the lock of a name was not written')
      }
      throw error
    }
  }

  async #transact(request: Request, trace: Trace): Promise<Evaluated> {
    const deps = this.#traced(request)
    let aside = false
    try {
      return await this.#deps.barrier.transact(async (transaction) => {
        aside = false
        try {
          const evaluated = await evaluate(deps, request, trace, transaction, transaction)
          await this.#keeping.answered(transaction, request, trace, evaluated)
          return evaluated
        } catch (error) {
          if (error instanceof NeedsAside) throw error
          if (error instanceof CommitAndThrow) await this.#keeping.failed(transaction, request, trace, error.reason)
          if ((!trace.usedToken && !fences(trace, error)) || error instanceof CommitAndThrow) throw error
          // A refused or failed request has used its token all the same, and a repeated one is refused for good. What a failing handler
          // wrote must not ride along: then that is committed in a transaction of its own.
          if (trace.writesBeforeHandler === null || transaction.writes === trace.writesBeforeHandler) {
            await this.#keeping.failed(transaction, request, trace, error)
            throw new CommitAndThrow(error)
          }
          aside = true
          throw error
        }
      })
    } catch (error) {
      const earlier = aside ? await this.#commitFailure(request, trace, error) : null
      if (earlier !== null) return earlier
      throw error
    }
  }

  /** Counts the token's use, and lays the failure down. Gives what an earlier sending of the request did, if that came first. */
  async #commitFailure(request: Request, trace: Trace, error: unknown): Promise<Evaluated | null> {
    return this.#deps.barrier.transact(async (transaction) => {
      const found = trace.onceKey && (await this.#keeping.once.find(transaction, trace.onceKey))
      trace.found = found
      if (found?.kind === 'again') return { kind: 'replayed', kept: found.kept, answer: replay(found.answer) }
      if (found !== null && found.kind !== 'first') return null
      const entry = request.token === null || !trace.usedToken ? null : await this.#deps.tokens.lookup(transaction, request.token)
      if (entry && entry.numUses > 0) await this.#deps.tokens.consumeUse(transaction, entry)
      await this.#keeping.failed(transaction, request, trace, error)
      return null
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
      if (evaluated.kind === 'replayed') return await this.#replayed(request, trace, evaluated)
      response = evaluated.kind === 'later' ? await this.#keeping.effect(trace, evaluated.run) : evaluated.response
    } catch (error) {
      if (error instanceof NeedsTransaction || error instanceof NeedsFresher || this.quotas?.isQuiet(error)) throw error
      failure = error
    }
    describe(trace, failure)
    // What failed before it could be evaluated (no leader, a spent token) leaves its records too.
    if (!trace.recorded) await this.#record(trace, (facts) => requestRecord(facts, failure), request)
    try {
      await this.#recordResponse(request, trace, response, failure, !wrote)
    } catch (error) {
      response?.raw?.stream?.close()
      throw error
    }
    if (failure !== null) throw failure
    return trace.rendered ?? renderResponse(request.id, trace.operation, trace.def!, response)
  }

  async #replayed(request: Request, trace: Trace, { kept, answer }: Evaluated & { kind: 'replayed' }): Promise<CoreResponse> {
    await this.#record(trace, (facts) => replayRecord(facts, kept.requestId, answer), request)
    return answer
  }

  /**
   * Sends the request to whoever leads, again and again under one ticket: while nobody leads nothing was done, and a leader that
   * fell silent may have done it, which its successor knows.
   */
  async #forward(request: Request, journey: Journey): Promise<CoreResponse> {
    if (request.forwardedFrom !== undefined) {
      throw new HoldfastError('ERR_NOT_LEADER', 'this node is not the leader', { hint: 'an election is under way: try again' })
    }
    request.ticket ??= this.#ticket()
    for (;;) {
      const sending = await this.#forwardOnce(request)
      const fate = fateOf(sending)
      if (fate === 'unknown') lose(request, journey, sending)
      if (fate === 'undone') undo(request, journey)
      const again = fate !== 'answered' || (journey.lost !== null && refused(sending))
      if (!again || !this.#patient(request, journey, sending)) return this.#tell(request, again ? (journey.lost ?? sending) : sending)
      await sleep(this.#deps.clock, leaderPollMs)
      if (this.#leads()) return this.#hereOrThere(request, journey)
    }
  }

  #ticket(): NonNullable<Request['ticket']> {
    const ticket = this.#slots.take(this.#deps.replica.status().incarnation)
    if (ticket !== null) return ticket
    throw new HoldfastError('ERR_BUSY', `expected at most ${onceLimits.slotsPerNodeMax} requests under way at the leader, got more`, {
      hint: 'nothing was done: try again in a moment',
    })
  }

  #patient(request: Request, { startedMs, lost }: Journey, { failure }: Sending): boolean {
    const { clock, barrier } = this.#deps
    if (request.signal?.aborted || barrier.sealed || isHoldfastError(failure, 'ERR_SHUTTING_DOWN')) return false
    return clock.monotonicMs() < startedMs + (lost === null ? leaderWaitMsMax : outcomeWaitMsMax)
  }

  async #tell(request: Request, { answer, failure }: Sending): Promise<CoreResponse> {
    const trace = newTrace(request, this.#deps.clock.nowMs())
    const status = answer?.status ?? null
    const { leader } = this.#deps.replica.status()
    await this.#auditDone(() => this.#record(trace, (facts) => forwardRecord(facts, leader, status, failure), request), failure)
    if (answer === null) throw failure
    return answer
  }

  async #forwardOnce(request: Request): Promise<Sending> {
    try {
      return { answer: await this.#deps.forward(request), failure: null }
    } catch (failure) {
      return { answer: null, failure }
    }
  }

  async #record(trace: Trace, build: (facts: AuditFacts) => AuditRecord, request: Request): Promise<void> {
    if (trace.def?.unaudited) return
    const facts: AuditFacts = {
      request: trace.request ?? request,
      operation: trace.operation,
      namespace: trace.namespace,
      mount: trace.mount,
      token: trace.token,
      nowMs: this.#deps.clock.nowMs(),
      told: trace.told,
    }
    await this.#deps.audit.record(build(facts), nonHmacKeys(trace.mount, trace.def))
  }

  #recordResponse(request: Request, trace: Trace, response: LogicalResponse | null, failure: unknown, harmless: boolean): Promise<void> {
    const status = statusOf(request, trace, response, failure)
    return this.#auditDone(
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

/** In a trace, if there is one: only what the engines' tables say, and never what a client wrote in its place. */
function describe({ mount, def, operation }: Trace, failure: unknown): void {
  const span = currentRequest()?.span ?? null
  if (span === null) return
  if (failure !== null) span.set({ 'error.type': errorTypeOf(failure) })
  if (mount === null || def === null) return
  const route = `${mount.type} ${def.pattern}`
  span.rename(`${operation} ${route}`)
  span.set({ 'http.route': route, 'holdfast.operation': operation })
}

function statusOf(request: Request, trace: Trace, response: LogicalResponse | null, failure: unknown): number {
  if (failure !== null) return isHoldfastError(failure) ? failure.status : 500
  if (response?.status !== undefined) return response.status
  if (response !== null) return 200
  return request.operation === 'read' || trace.operation === 'list' || trace.operation === 'scan' ? 404 : 204
}
