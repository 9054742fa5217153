/**
 * One request inside its view: route, token, existence, policy, audit, fields, handler. It may run several times for one
 * request (a write whose reads have changed is evaluated again), so it keeps nothing but what `Trace` says.
 */
import { HoldfastError, wellKnown } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import type { RandomSource } from '#base/random.ts'
import type { ReadView, Section, Transaction } from '#barrier/types.ts'
import { rootNamespace, type Namespace } from '#namespaces/record.ts'
import type { NamespaceStore } from '#namespaces/store.ts'
import type { CallerFacts, CompiledAcl, Decision } from '#policies/types.ts'
import { addressAllowed } from '#tokens/cidr.ts'
import { lifetimeSeconds } from '#tokens/lifetime.ts'
import type { TokenEntry } from '#tokens/types.ts'
import type { Wrapping } from '#wrapping/wrapping.ts'
import type { IdentityGate, PolicyGate, TokenGate } from './deps.ts'
import { accessTo } from './access.ts'
import { Asides, bindAsides } from './aside.ts'
import { newTold, type Told } from './audit-records.ts'
import { checkAge } from './consistency.ts'
import { readFields, type ReadFieldsResult } from './fields.ts'
import { helpResponse } from './help.ts'
import { newLoginTrace, runLogin, type LoginTrace } from './login.ts'
import type { Leasing } from './leasing.ts'
import type { UserLockout } from './lockout.ts'
import { applyListLimits, filterList } from './lists.ts'
import type { MountReader, MountTable } from './mounts.ts'
import type { PathMatch } from './paths.ts'
import type { QuotaGate } from './quota-gate.ts'
import { lockedIn, placeOf, rootLine, type Place } from './place.ts'
import { relativeAcl } from './relative-acl.ts'
import { mayWrite, operationDef, type EngineRegistry } from './router.ts'
import { checkWrappable, wrapResponse } from './wrap.ts'
import { replay, reusedId, superseded, type Found, type Kept, type Once, type OnceKey } from './once.ts'
import { bindScope, type RequestScope } from './scope.ts'
import { noStorage, readOnlyStorage, transactionStorage } from './storage.ts'
import type {
  CoreResponse,
  EngineDef,
  HandlerContext,
  LogicalResponse,
  MountEntry,
  Operation,
  OperationDef,
  PathDef,
  Request,
} from './types.ts'

/** Thrown in a read-only view when the request turns out to need a transaction on the leader. Nothing was recorded or done yet. */
export class NeedsTransaction extends Error {}

/** What outlives one evaluation: for the audit's response record, and so that the request is recorded once. */
export interface Trace {
  operation: Operation
  /** The request as it was placed in its namespace; null: it was not yet. */
  request: Request | null
  /** null: as `request`. */
  namespace: Namespace | null
  mount: MountEntry | null
  def: PathDef | null
  token: TokenEntry | null
  nowMs: number
  recorded: boolean
  /** Writes that must be committed though the handler failed: a use of a limited token was counted. */
  usedToken: boolean
  /** null: the handler did not run. */
  writesBeforeHandler: number | null
  /** Of a write that is to be applied once: where its record lies, and what was found there. */
  readonly onceKey: OnceKey | null
  found: Found | null
  /** The answer as it was kept, to be given as it is. */
  rendered: CoreResponse | null
  /** How old the view may be, ms; 0 for what is linearizable. */
  ageMs: number
  /** What was done outside of the transaction, once for all evaluations. */
  readonly asides: Asides
  readonly login: LoginTrace
  readonly told: Told
}

export const newTrace = (request: Request, nowMs: number, onceKey: OnceKey | null = null): Trace => ({
  operation: request.operation,
  request: null,
  namespace: null,
  mount: null,
  def: null,
  token: null,
  nowMs,
  recorded: false,
  usedToken: false,
  writesBeforeHandler: null,
  onceKey,
  found: null,
  rendered: null,
  ageMs: 0,
  asides: new Asides(),
  login: newLoginTrace(),
  told: newTold(),
})

export interface EvaluateDeps {
  readonly tokens: TokenGate
  readonly policies: PolicyGate
  readonly identity: IdentityGate | undefined
  readonly lockout: UserLockout | undefined
  readonly leasing: Leasing | undefined
  readonly quotas: QuotaGate | null
  readonly wrapping: Wrapping | undefined
  readonly once: Once
  readonly registry: EngineRegistry
  readonly mounts: MountReader
  readonly namespaces: NamespaceStore
  readonly random: RandomSource
  readonly log: Logger
  /** Writes the audit's request record. @throws ERR_AUDIT: then nothing may be done. */
  readonly recordRequest: (trace: Trace, error: unknown) => Promise<void>
}

/** `later`: the handler of an outside or local path, to be run once after the view has ended. `replayed`: carried out before; its answer then. */
export type Evaluated =
  | { readonly kind: 'answer'; readonly response: LogicalResponse | null }
  | { readonly kind: 'replayed'; readonly kept: Kept; readonly answer: CoreResponse }
  | { readonly kind: 'later'; readonly run: () => Promise<LogicalResponse | null> }

/** Routes `path` in `mounts`; null where there is no mount, no engine or no pattern. */
export function findPath(
  registry: EngineRegistry,
  mounts: MountTable,
  path: string,
): { mount: MountEntry; match: PathMatch; rest: string } | null {
  const route = mounts.route(path)
  const match = route ? registry.paths(route.mount)?.match(route.rest) : null
  return route && match ? { mount: route.mount, match, rest: route.rest } : null
}

/**
 * @throws NeedsTransaction in a view when the request may write or its token counts uses; HoldfastError for every refusal.
 */
export async function evaluate(
  deps: EvaluateDeps,
  asked: Request,
  trace: Trace,
  view: ReadView,
  transaction: Transaction | null,
): Promise<Evaluated> {
  trace.nowMs = view.nowMs
  trace.operation = asked.operation
  trace.usedToken = false
  trace.writesBeforeHandler = null
  trace.found = null
  trace.rendered = null
  const place = await placeOf(deps, view, asked)
  const { request, mounts, route } = place
  deps.quotas?.placed(asked, place.namespace)
  trace.request = request
  trace.namespace = place.namespace
  const match = route ? (deps.registry.paths(route.mount)?.match(route.rest) ?? null) : null
  trace.mount = route?.mount ?? null
  trace.def = match?.def ?? null
  if (!transaction && match && !match.def.local && mayWrite(match.def, request.operation)) throw new NeedsTransaction()
  // Before the token: a repetition must not use it once more.
  const found = (trace.found = transaction && trace.onceKey ? await deps.once.find(transaction, trace.onceKey) : null)
  if (found?.kind === 'superseded') throw superseded()
  if (found?.kind === 'first') deps.once.checkRoom(view.nowMs, trace.onceKey!)
  const before = found?.kind === 'again' ? found : null
  // The same request, sent again by the node that took it: it was authorised when it was carried out, and must not learn that it failed.
  if (before?.sameSending) return resend(deps, request, trace, view, before)
  const caller = await identify(deps, place, trace, view, transaction, match?.def ?? null, before?.kept ?? null)
  deps.quotas?.identified(asked, trace.token?.entityId ?? '')
  checkAge(trace.ageMs, trace.mount, trace.def, trace.token)
  const engineOf = (mount: MountEntry): EngineDef | null => deps.registry.get(mount.table, mount.type)
  const scope: RequestScope = {
    view,
    transaction,
    line: place.line,
    namespace: place.namespace,
    mounts,
    mountsOf: (namespaceId) => deps.mounts.read(view, namespaceId),
    acl: caller.acl,
    aclOf: (token) => aclIn(deps, place, view, token),
    facts: factsOf(request, trace, view),
    engineOf,
    defAt: async (path) => {
      const { route: found } = await placeOf(deps, view, { ...request, path })
      return found === null ? null : (deps.registry.paths(found.mount)?.match(found.rest)?.def ?? null)
    },
  }
  const contextOf = (read: ReadFieldsResult, outside: boolean, shown: Request = request): HandlerContext => {
    const section: Section = { namespace: trace.mount!.namespaceId, mount: trace.mount!.uuid }
    const context: HandlerContext = {
      request: shown,
      operation: trace.operation,
      path: route!.rest,
      fields: read.fields,
      data: read.data,
      storage: outside
        ? noStorage('ERR_INTERNAL')
        : transaction
          ? transactionStorage(transaction, section)
          : readOnlyStorage(view, section),
      nowMs: view.nowMs,
      random: deps.random,
      mount: trace.mount!,
      token: trace.token,
      section,
      log: deps.log,
    }
    if (!outside) bindScope(context, scope)
    bindAsides(context, trace.asides)
    return context
  }
  if (before) trace.operation = before.kept.operation
  else if (match && request.operation === 'update' && !caller.error) await decideExistence(match, contextOf, trace, caller)
  const checked = await check(deps, place, trace, match, caller)
  if (deps.quotas?.asksRole(asked)) await deps.quotas.loggingIn(asked, checked.error === null ? contextOf(checked.read, false) : null)
  if (!trace.recorded) {
    await deps.recordRequest(trace, checked.error)
    trace.recorded = true
  }
  if (checked.error !== null) throw checked.error
  if (found?.kind === 'reused') throw reusedId()
  if (before) return { kind: 'replayed', kept: before.kept, answer: replay(before.answer) }
  if (request.operation === 'help') return { kind: 'answer', response: helpResponse(checked.match.def, trace.mount!) }
  trace.writesBeforeHandler = transaction?.writes ?? 0
  const outside = checked.operation.outside === true || checked.match.def.local === true
  const context = contextOf(checked.read, outside, checked.asked)
  const isListing = trace.operation === 'list' || trace.operation === 'scan' || checked.operation.lists === true
  const filter = isListing ? caller.decision(trace.operation)?.listFilter : null
  const filtered = (response: LogicalResponse | null): LogicalResponse | null =>
    warned(filter && caller.acl ? filterList(response, filter, request.path, caller.acl, scope.facts) : response, checked.read)
  if (outside) return { kind: 'later', run: async () => filtered(await checked.operation.handler(context)) }
  const response = await runLogin(deps, context, checked.operation, trace.login)
  const shown = filtered(response)
  const wraps = request.wrapTtlSeconds > 0 && transaction && deps.wrapping
  const answer = wraps ? await wrapResponse(wraps, transaction, mounts, request, checked.match.def, shown) : shown
  deps.quotas?.lent(place, checked.operation, response, { wrapped: answer !== shown, ends: trace.login.ends })
  return { kind: 'answer', response: answer }
}

/** An answer without a body stays without one, as with the peers: their clients take it for the whole success. */
export function warned(response: LogicalResponse | null, { warnings }: ReadFieldsResult): LogicalResponse | null {
  if (response === null || warnings.length === 0 || response.raw) return response
  return { ...response, warnings: [...(response.warnings ?? []), ...warnings] }
}

/** Gives the answer of what this very request has done already. */
async function resend(
  deps: EvaluateDeps,
  request: Request,
  trace: Trace,
  view: ReadView,
  { kept, answer }: Found & { kind: 'again' },
): Promise<Evaluated> {
  trace.operation = kept.operation
  trace.token = kept.endedToken ?? (request.token === null || request.token === '' ? null : await deps.tokens.lookup(view, request.token))
  if (!trace.recorded) {
    await deps.recordRequest(trace, null)
    trace.recorded = true
  }
  return { kind: 'replayed', kept, answer: replay(answer) }
}

interface Caller {
  readonly acl: CompiledAcl | null
  readonly error: HoldfastError | null
  /** Why the existence check failed: told only to those whom the policy lets through. */
  existenceError?: HoldfastError
  /** null on unauthenticated paths. */
  readonly decision: (operation: Operation) => Decision | null
}

/**
 * Looks the token up and counts its use, before anything else can fail: a use is a use even when the request is refused. Where the request
 * was carried out before (`kept`) its use is counted already, and a token that it has ended is good for its answer.
 */
async function identify(
  deps: EvaluateDeps,
  place: Place,
  trace: Trace,
  view: ReadView,
  transaction: Transaction | null,
  def: PathDef | null,
  kept: Kept | null,
): Promise<Caller> {
  const { request } = place
  const opened = def?.openOn !== undefined && request.openRoutes?.includes(def.openOn) === true
  const known = request.token === null || request.token === '' ? null : await lookup(deps, place, request.token, view, kept)
  // Where a listener opens it, a token still decides by its policies: what is shown to it is more than strangers are shown.
  const open = def?.unauthenticated === true || (opened && known === null)
  // Where no token is needed, one from an address that it is not bound to is none: such paths show more to a good one.
  const found = known && open && !addressAllowed(known, request.clientAddress) ? null : known
  trace.token = found
  if (!found) return { acl: null, error: open ? null : denied(wellKnown.permissionDenied), decision: () => null }
  if (found.numUses > 0 && !open && !kept) {
    if (!transaction) throw new NeedsTransaction()
    trace.token = await deps.tokens.consumeUse(transaction, found)
    trace.usedToken = true
  }
  if (!open && !addressAllowed(found, request.clientAddress))
    return { acl: null, error: denied(wellKnown.permissionDenied), decision: () => null }
  const compiled = await compileFor(deps, place, view, found)
  // Nor is one that is good for nothing, its entity being disabled or gone: who has it must still be able to log in.
  if (compiled instanceof HoldfastError && open) {
    trace.token = null
    return { acl: null, error: null, decision: () => null }
  }
  if (compiled instanceof HoldfastError) return { acl: null, error: compiled, decision: () => null }
  const acl = compiled
  let decided: Decision | null = null
  return {
    acl,
    error: null,
    decision: (operation) =>
      open
        ? null
        : (decided ??= acl.decide(
            accessTo(
              def,
              { path: request.path, operation, body: request.body, query: request.query, wrapTtlSeconds: request.wrapTtlSeconds },
              factsOf(request, trace, view),
            ),
          )),
  }
}

/** What conditions of rules ask about the caller. */
function factsOf(request: Request, { token }: Trace, view: ReadView): CallerFacts {
  return { nowMs: view.nowMs, clientAddress: request.clientAddress, tokenTtlSeconds: token === null ? undefined : lifetimeSeconds(token) }
}

const rootIds = rootLine.map(({ id }) => id)

/** The token's entry; of one that was ended by the request whose repetition this is, as it was then, as long as it would have lived. */
async function lookup(deps: EvaluateDeps, { line }: Place, token: string, view: ReadView, kept: Kept | null): Promise<TokenEntry | null> {
  // A token is good in its own namespace and below. Elsewhere it is none, and is not looked for: what it is told does not depend on what there is.
  const known = await deps.tokens.lookup(view, token, line === rootLine ? rootIds : line.map(({ id }) => id))
  const ended = kept?.endedToken ?? null
  if (known || !ended || (ended.expireTimeMs !== null && ended.expireTimeMs <= view.nowMs)) return known
  // Revoking its parent would have ended it as well.
  if (ended.parentHash !== null && !(await deps.tokens.lookupHash(view, ended.parentHash, ended.parentNamespaceId ?? ended.namespaceId)))
    return null
  return ended
}

/** A token whose policies can't be combined is refused, and recorded, like any other refusal. */
async function compileFor(deps: EvaluateDeps, place: Place, view: ReadView, token: TokenEntry): Promise<CompiledAcl | HoldfastError> {
  try {
    return await aclIn(deps, place, view, token)
  } catch (error) {
    if (error instanceof HoldfastError && error.status === 403) return error
    throw error
  }
}

/** The token's namespace, where that is the request's or one above it; null otherwise. */
const namespaceOf = ({ line }: Place, { namespaceId }: TokenEntry): Namespace | null => line.find(({ id }) => id === namespaceId) ?? null

/** What the token may do, by paths below the request's namespace. @throws ERR_PERMISSION_DENIED for one of another namespace. */
async function aclIn(deps: EvaluateDeps, place: Place, view: ReadView, token: TokenEntry): Promise<CompiledAcl> {
  const own = namespaceOf(place, token)
  if (own === null) throw denied(wellKnown.permissionDenied)
  const subject = own === rootNamespace ? token : { ...token, namespacePath: own.path }
  return relativeAcl(await deps.policies.compileFor(view, subject), place.namespace.path)
}

const denied = (text: string): HoldfastError => new HoldfastError('ERR_PERMISSION_DENIED', text)

/** As the peers do: the path's own existence check decides between create and update, not the verb. */
async function decideExistence(
  match: PathMatch,
  contextOf: (read: ReadFieldsResult, outside: boolean) => HandlerContext,
  trace: Trace,
  caller: Caller,
): Promise<void> {
  const { def, params } = match
  trace.operation = def.operations.update || !def.operations.create ? 'update' : 'create'
  if (!def.exists) return
  try {
    const context = contextOf({ fields: params, data: Object.create(null), warnings: [] }, false)
    trace.operation = (await def.exists(context)) ? 'update' : 'create'
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error
    caller.existenceError = error
  }
}

type Checked =
  | { readonly error: HoldfastError; readonly match?: undefined }
  | {
      readonly error: null
      readonly match: PathMatch
      readonly operation: OperationDef
      readonly read: ReadFieldsResult
      /** What the handler is shown: a list's limit is its policy's there. */
      readonly asked: Request
    }

/** Everything that can be refused before the handler. Policy comes before the route, so that nobody learns what exists without a right to it. */
async function check(deps: EvaluateDeps, place: Place, trace: Trace, match: PathMatch | null, caller: Caller): Promise<Checked> {
  const { request } = place
  try {
    if (caller.error) throw caller.error
    checkUnlocked(place)
    const decision = caller.decision(trace.operation)
    if (decision && !decision.allowed) throw denied(wellKnown.policyDenied)
    if (!match || !trace.mount) throw new HoldfastError('ERR_NO_ROUTE', wellKnown.noRoute(request.path))
    if (caller.existenceError) throw caller.existenceError
    if (match.def.rootNamespaceOnly && place.namespace !== rootNamespace) {
      throw new HoldfastError('ERR_BAD_REQUEST', 'operation unavailable in namespaces', { hint: 'ask for it in the root namespace' })
    }
    const operation = operationDef(match.def, trace.operation)
    const noHandler: OperationDef = { summary: 'help', writes: false, handler: async () => null }
    if (!operation && trace.operation !== 'help') {
      throw new HoldfastError('ERR_UNSUPPORTED_OPERATION', wellKnown.unsupportedOperation, {
        hint: 'ask the path with ?help=1 what can be done there',
      })
    }
    checkWrappable(request, match.def, match.def.local === true || operation?.outside === true, deps.wrapping)
    const limited = applyListLimits(request, trace.operation, decision?.paginationLimit ?? 0)
    const read =
      trace.operation === 'help' ? { fields: {}, data: {}, warnings: [] } : readFields(match.def, match.params, limited, trace.operation)
    return {
      error: null,
      match,
      operation: operation ?? noHandler,
      read,
      asked: limited === request ? request : limitedTo(request, limited),
    }
  } catch (error) {
    if (error instanceof HoldfastError) return { error }
    throw error
  }
}

/** `signal` is no property of its own of what HTTP hands in, and would be lost. */
const limitedTo = (request: Request, { body, query }: Pick<Request, 'body' | 'query'>): Request => {
  const { signal } = request
  return { ...request, body, query, ...(signal === undefined ? {} : { signal }) }
}

const unlockPath = 'sys/namespaces/api-lock/unlock'

/** A locked API answers only what unlocks it. Whoever has no right to be here was refused before, and does not learn of the lock. */
function checkUnlocked({ line, namespace, request }: Place): void {
  const locked = lockedIn(line)
  if (locked === null || (locked === namespace && request.path === unlockPath)) return
  throw new HoldfastError(
    'ERR_NAMESPACE_LOCKED',
    `API access to this namespace has been locked by an administrator - "${locked.path}" must be unlocked to gain access.`,
    { hint: 'sys/namespaces/api-lock/unlock opens it, with the key that the lock answered' },
  )
}
