/**
 * Quotas in a request's way. Rate limits come before everything that costs: before the body is read, before a view, before the token. Two kinds must
 * wait: those that count entities know their client when the token is looked up, those of a role when the login's fields are read. A request is counted on
 * the node that took it from its client, or, where it had to wait, on the node that evaluates it; once in either case.
 */
import type { Clock } from '#base/clock.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import type { ReadView } from '#barrier/types.ts'
import { namespaceSegments } from '#namespaces/names.ts'
import type { Namespace } from '#namespaces/record.ts'
import type { NamespaceStore } from '#namespaces/store.ts'
import type { Limiter, Verdict } from '#quotas/limiter.ts'
import { countedFor, countsEntities } from '#quotas/limits.ts'
import type { Matcher, Target } from '#quotas/match.ts'
import type { Quotas, QuotaStore } from '#quotas/store.ts'
import type { LeaseQuota, RateQuota } from '#quotas/types.ts'
import type { MountReader, MountRoute } from './mounts.ts'
import { operationDef, type EngineRegistry } from './router.ts'
import type { Place } from './place.ts'
import type { CoreResponse, HandlerContext, LogicalResponse, OperationDef, PathDef, Request } from './types.ts'

/** What core takes of quotas. */
export interface QuotaService {
  readonly store: QuotaStore
  readonly limiter: Limiter
  /** Absent: nobody counts leases, and no number of them is too many. */
  readonly leases?: LeaseCounter
}

/** How many leases and tokens there are, by the leader's memory; null while they are being counted, and where this node does not lead. */
export interface LeaseCounter {
  /** Of a mount; of the whole namespace for null. */
  count(namespaceId: string, mountUuid: string | null): number | null
  /** Of all namespaces. */
  total(): number | null
}

const saysRole = ({ operation }: Request, def: PathDef | null): boolean =>
  def !== null && operationDef(def, operation)?.login?.roleOf !== undefined

/** Answered by each node for itself without ever looking at a token: no entity would be found out. */
const asksNoToken = (def: PathDef | null): boolean => def?.whileSealed === true || (def?.local === true && def.unauthenticated === true)

/** A root token without an end has no lease: whoever has to make room must be able to make one. */
const isEndless = ({ policies, lease_duration: seconds }: NonNullable<LogicalResponse['auth']>): boolean =>
  seconds === 0 && policies.includes('root')

/** A login, a token that a token makes, or a secret with a lease; not what is prolonged. */
function lends({ mount, rest }: MountRoute, { login }: OperationDef, response: LogicalResponse | null): boolean {
  if (response === null || mount.type === 'system') return false
  if (response.auth !== undefined && isEndless(response.auth)) return false
  if (response.auth !== undefined) return login !== undefined || (mount.type === 'token' && rest.startsWith('create'))
  return response.leaseId !== undefined && response.leaseId !== ''
}

/** What a namespace inherits counts its own leases; what the root gives to all counts all of them. */
const leasesCounted = (leases: LeaseCounter, quota: LeaseQuota, namespaceId: string): number | null =>
  quota.mountUuid === null && quota.namespaceId === 'root' && quota.inheritable
    ? leases.total()
    : leases.count(namespaceId, quota.mountUuid)

function leasesRefusal(path: string): HoldfastError {
  const text = `request path ${JSON.stringify(path)}: lease count quota exceeded`
  return new HoldfastError('ERR_RATE_LIMITED', text, {
    errors: [`1 error occurred:\n\t* ${text}\n\n`],
    hint: 'revoke what nobody needs, or raise the quota: sys/quotas/lease-count',
  })
}

/** What a request may be, where its namespace says so. Absent keys: as the listener says. */
export interface RequestBounds {
  readonly bodyBytesMax?: number
  readonly jsonDepthMax?: number
  readonly durationMsMax?: number
}

interface GateDeps {
  readonly quotas: QuotaService
  readonly registry: EngineRegistry
  readonly mounts: MountReader
  readonly namespaces: Pick<NamespaceStore, 'lastSeen' | 'byId'>
  /** Whether a path is answered by the node itself, the same whatever namespace a request names. */
  readonly isNodesOwn: (path: string) => boolean
  readonly clock: Clock
}

/** What can be said only when more is known of the request. */
interface Late {
  readonly matcher: Matcher<RateQuota>
  readonly waits: 'entity' | 'role'
}

/** How a request stands: what was decided, the tightest of it, and what decides later. */
interface Standing {
  readonly verdict: Verdict | null
  readonly late: readonly Late[]
  /** Judged as one of a namespace that is not known here; absent: of one that is, or it has been placed since. */
  readonly unknown?: Target
}

const counted: Standing = Object.freeze({ verdict: null, late: [] })
const tighter = (before: Verdict | null, next: Verdict): Verdict =>
  before !== null && next.allowed && before.remaining <= next.remaining ? before : next
/** The smaller bound, where 0 is none. */
const narrower = (a: number, b: number): number => (a === 0 || b === 0 ? a + b : Math.min(a, b))
const rootIds: readonly string[] = ['root']
/** In the place of a namespace that is not known here: no namespace has it for its id. */
const unknownId = ''

interface Guess {
  readonly target: Target
  readonly route: MountRoute | null
  /** From the root down. */
  readonly fullPath: string
}

export class QuotaGate {
  readonly #deps: GateDeps
  /** By the request as it came in: each is judged once, however often it is evaluated. */
  readonly #standings = new WeakMap<Request, Standing>()
  readonly #quiet = new WeakSet<object>()

  constructor(deps: GateDeps) {
    this.#deps = deps
  }

  get #quotas(): Quotas {
    return this.#deps.quotas.store.current
  }

  /** Refuses, lets through, or leaves it for later. The refusal; null when the request goes on. */
  admit(request: Request): HoldfastError | null {
    const { rateLimits } = this.#quotas
    if (rateLimits.size === 0 || this.#standings.has(request)) return null
    const standing = this.#judge(request)
    this.#standings.set(request, standing)
    return standing.verdict === null || standing.verdict.allowed ? null : this.#refusal(request, standing.verdict)
  }

  #judge(request: Request): Standing {
    const { rateLimits } = this.#quotas
    const guess = this.#guess(request)
    if (this.#isExempt(request, guess)) return counted
    const unknown = guess.target.namespaces[0] === unknownId ? { unknown: guess.target } : {}
    const def = this.#defOf(guess)
    const late: Late[] = []
    let verdict: Verdict | null = null
    for (const matcher of rateLimits.of(guess.target)) {
      const waits = this.#waitsFor(matcher, guess.target, request, def)
      if (waits !== null) late.push({ matcher, waits })
      else if (request.forwardedFrom === undefined) {
        const quota = matcher.match(guess.target, null)
        verdict = quota === null ? verdict : tighter(verdict, this.#take(quota, request, ''))
        if (verdict?.allowed === false) return { verdict, late: [] }
      }
    }
    return { verdict, late, ...unknown }
  }

  /** Client libraries add a namespace to everything: a load balancer that asks so how a node does would be told 429, and take it for a dead one. */
  #isExempt({ path }: Request, { fullPath }: Guess): boolean {
    const { isExempt } = this.#quotas
    return isExempt(fullPath) || (fullPath !== path && this.#deps.isNodesOwn(path) && isExempt(path))
  }

  #waitsFor(matcher: Matcher<RateQuota>, target: Target, request: Request, def: PathDef | null): Late['waits'] | null {
    if (matcher.asksRole(target.mountUuid) && saysRole(request, def)) return 'role'
    const quota = matcher.match(target, null)
    // A token that is none is found out when it is looked up, and is counted by its address then.
    const hasToken = request.token !== null && request.token !== ''
    return quota !== null && countsEntities(quota) && hasToken && !asksNoToken(def) ? 'entity' : null
  }

  #defOf({ route }: Guess): PathDef | null {
    return (route && this.#deps.registry.paths(route.mount)?.match(route.rest)?.def) ?? null
  }

  #take(quota: RateQuota, { clientAddress: address }: Request, entityId: string): Verdict {
    const { limit, client, shown } = countedFor(quota, { address, entityId })
    return this.#deps.quotas.limiter.take(limit, client, shown, this.#deps.clock.monotonicMs())
  }

  /**
   * Where it is evaluated is known. What names a namespace that is not there is answered by the one above, and counts there: what that one keeps to itself
   * could be gone round by any name. One that was only not known here is another's. @throws ERR_RATE_LIMITED.
   */
  placed(request: Request, { id }: Pick<Namespace, 'id'>): void {
    const standing = this.#standings.get(request)
    if (standing?.unknown === undefined) return
    const { verdict: before, late, unknown } = standing
    const target = { ...unknown, namespaces: unknown.namespaces.slice(1) }
    let verdict = before
    for (const matcher of target.namespaces[0] === id ? this.#quotas.rateLimits.of(target) : []) {
      const quota = matcher.match(target, null)
      if (quota === null || quota === matcher.match(unknown, null) || verdict?.allowed === false) continue
      verdict = tighter(verdict, this.#take(quota, request, ''))
    }
    this.#standings.set(request, { verdict, late })
    if (verdict?.allowed === false) throw this.#refusal(request, verdict)
  }

  /** The token is known: `entityId` is whose it is, '' nobody's. @throws ERR_RATE_LIMITED. */
  identified(request: Request, entityId: string): void {
    this.#judgeLate(request, 'entity', entityId, null)
  }

  /** Whether `loggingIn` must be asked: hardly ever, and what it is given costs as much as a handler's own context. */
  asksRole(request: Request): boolean {
    return this.#standings.get(request)?.late.some(({ waits }) => waits === 'role') === true
  }

  /** A login's fields are read (or can't be: null), and it is about to be carried out. @throws ERR_RATE_LIMITED. */
  async loggingIn(request: Request, context: HandlerContext | null): Promise<void> {
    if (!this.asksRole(request)) return
    if (context === null) return this.#judgeLate(request, 'role', '', null)
    const { mount, path } = context
    const match = this.#deps.registry.paths(mount)?.match(path)
    const roleOf = match && operationDef(match.def, context.operation)?.login?.roleOf
    this.#judgeLate(request, 'role', context.token?.entityId ?? '', (await roleOf?.(context)) ?? null)
  }

  #judgeLate(request: Request, now: Late['waits'], entityId: string, role: string | null): void {
    const standing = this.#standings.get(request)
    const due = standing?.late.filter(({ waits }) => waits === now) ?? []
    if (standing === undefined || due.length === 0) return
    let { verdict } = standing
    for (const { matcher } of due) {
      const quota = matcher.match(this.#guess(request).target, role)
      if (quota !== null && verdict?.allowed !== false) verdict = tighter(verdict, this.#take(quota, request, entityId))
    }
    this.#standings.set(request, { verdict, late: standing.late.filter(({ waits }) => waits !== now) })
    if (verdict?.allowed === false) throw this.#refusal(request, verdict)
  }

  /**
   * A request has lent something: refused, with all that it wrote, where there is as much already as there may be. While leases are being counted
   * (a new leader) nothing is refused; requests at the same moment may each be the last one. `wrapped`: the answer was, and that token has a lease too;
   * not one that is only laid anew. `ends`: the mount whose login has waited for a second factor until now: as many as had begun while there was room
   * would else be let in.
   * @throws ERR_RATE_LIMITED.
   */
  lent(
    { line, route, request }: Pick<Place, 'line' | 'route' | 'request'>,
    operation: OperationDef,
    response: LogicalResponse | null,
    { wrapped, ends }: { readonly wrapped: boolean; readonly ends: string | null },
  ): void {
    const { leaseCounts } = this.#quotas
    const { leases } = this.#deps.quotas
    if (leaseCounts.size === 0 || leases === undefined || route === null) return
    if (!wrapped && ends === null && !lends(route, operation, response)) return
    const namespaces = line.map(({ id }) => id).toReversed()
    const target = { namespaces, mountUuid: ends ?? route.mount.uuid, rest: ends === null ? route.rest : '' }
    for (const matcher of leaseCounts.of(target)) {
      const quota = matcher.match(target, null)
      const counts = quota && leasesCounted(leases, quota, namespaces[0]!)
      if (quota !== null && counts !== null && counts >= quota.leasesMax) throw leasesRefusal(request.path)
    }
  }

  #refusal(request: Request, { retryAfterSeconds }: Verdict): HoldfastError {
    const error = new HoldfastError('ERR_RATE_LIMITED', `request path ${JSON.stringify(request.path)}: rate limit quota exceeded`, {
      retryAfterSeconds,
    })
    if (!this.#quotas.config.auditRefused) this.#quiet.add(error)
    return error
  }

  /** Whether this is a refusal that leaves no records: what a flood can't do to the audit. */
  isQuiet(error: unknown): boolean {
    return typeof error === 'object' && error !== null && this.#quiet.has(error)
  }

  /** The answer with what it says of the limit: always when that was passed, else where the configuration says so. */
  dressed(request: Request, response: CoreResponse): CoreResponse {
    const verdict = this.#standings.get(request)?.verdict
    if (!verdict || (verdict.allowed && !this.#quotas.config.answerHeaders)) return response
    return {
      ...response,
      headers: {
        ...response.headers,
        'x-ratelimit-limit': String(verdict.limit),
        'x-ratelimit-remaining': String(verdict.remaining),
        'x-ratelimit-reset': String(verdict.resetSeconds),
      },
    }
  }

  /** What a request may be; null: as the listener says. */
  bounds(request: Request): RequestBounds | null {
    const { requestLimits } = this.#quotas
    if (requestLimits.size === 0) return null
    const { target } = this.#guess(request)
    let [bytes, depth, seconds] = [0, 0, 0]
    for (const matcher of requestLimits.of(target)) {
      const quota = matcher.match(target, null)
      if (quota === null) continue
      bytes = narrower(bytes, quota.bodyBytesMax)
      depth = narrower(depth, quota.jsonDepthMax)
      seconds = narrower(seconds, quota.durationSecondsMax)
    }
    if (bytes + depth + seconds === 0) return null
    return {
      ...(bytes > 0 ? { bodyBytesMax: bytes } : {}),
      ...(depth > 0 ? { jsonDepthMax: depth } : {}),
      ...(seconds > 0 ? { durationMsMax: seconds * 1_000 } : {}),
    }
  }

  /** Of this node's last look: so that what lies there is known before a request is read. */
  async alongside(view: ReadView, namespaceIds: readonly string[]): Promise<void> {
    for (const id of namespaceIds) await this.#knowPlace(view, id)
  }

  async #knowPlace(view: ReadView, namespaceId: string): Promise<void> {
    await this.#deps.namespaces.byId(view, namespaceId)
    try {
      await this.#deps.mounts.read(view, namespaceId)
    } catch (error) {
      // Its mounts are nobody's to read until it is opened. Were that an error, one sealed namespace with a quota would keep all that is looked at after
      // it from being known: the mounts of others, and what a node reads in the same look.
      if (!isHoldfastError(error, 'ERR_NAMESPACE_SEALED')) throw error
    }
  }

  /**
   * Where the request goes, by what was last read here. A namespace or mount that nobody has asked for yet, and that has no quota, is not known: what holds
   * above it is what holds for it.
   */
  #guess(request: Request): Guess {
    const names = namespaceSegments(request.namespace === 'root' ? '' : request.namespace)
    const header = names.join('/')
    const line = this.#down(names)
    if (line.length > names.length) return this.#below(line, request.path, header === '' ? '' : `${header}/`)
    // A node that forwards everything reads no namespace that has no quota itself: were such a one taken for the root's child, whoever names it
    // would be rid of what the namespaces above it hand down. What these keep to themselves does not hold there.
    const target = { namespaces: [unknownId, ...line], mountUuid: null, rest: '' }
    return { target, route: null, fullPath: `${header}/${request.path}` }
  }

  /** As far down from the root as namespaces are known, the deepest first. */
  #down(names: readonly string[]): readonly string[] {
    let found = rootIds
    for (const name of names) {
      const next = this.#deps.namespaces.lastSeen(found[0]!, name)
      if (next === null) return found
      found = [next.id, ...found]
    }
    return found
  }

  #below(line: readonly string[], path: string, prefix: string): Guess {
    const { mounts, namespaces } = this.#deps
    const fullPath = prefix + path
    let found = line
    for (let rest = path; ;) {
      const route = mounts.lastSeen(found[0]!)?.route(rest) ?? null
      const slash = rest.indexOf('/')
      const next = route === null && slash > 0 ? namespaces.lastSeen(found[0]!, rest.slice(0, slash)) : null
      if (next === null) {
        return { target: { namespaces: found, mountUuid: route?.mount.uuid ?? null, rest: route?.rest ?? rest }, route, fullPath }
      }
      found = [next.id, ...found]
      rest = rest.slice(slash + 1)
    }
  }
}
