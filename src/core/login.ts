/** From a method's word that somebody is who it claims to be, to a token: one module for every method, in the login's own transaction. */
import { HoldfastError, wellKnown } from '#base/errors.ts'
import { lifetimes } from '#base/lifetimes.ts'
import type { Transaction } from '#barrier/types.ts'
import type { LoginAlias } from '#identity/types.ts'
import { isAssignablePolicy, sanitizePolicyNames } from '#policies/names.ts'
import { authResponse } from '#tokens/shapes.ts'
import type { CreateToken } from '#tokens/store.ts'
import { grantTtl, type TtlLimits } from '#tokens/ttl.ts'
import type { TokenEntry } from '#tokens/types.ts'
import type { IdentityGate, PolicyGate, TokenGate } from './deps.ts'
import type { LeaseGrant } from './lease-types.ts'
import type { Login, TokenParams } from './login-types.ts'
import type { Leasing } from './leasing.ts'
import { secondFactor } from './mfa.ts'
import { isWrong, type LockoutSubject, type UserLockout } from './lockout.ts'
import { scopeOf, transactionOf } from './scope.ts'
import { transactionStorage } from './storage.ts'
import type { AuthResponse, HandlerContext, LogicalResponse, MountEntry, OperationDef } from './types.ts'

export interface LoginDeps {
  readonly tokens: TokenGate
  readonly policies: PolicyGate
  readonly identity?: IdentityGate | undefined
  readonly lockout?: UserLockout | undefined
  readonly leasing?: Leasing | undefined
}

/** What the login of one request has to do with lockout; outlives its evaluations. */
export interface LoginTrace {
  subject: LockoutSubject | null
  /** The wrong try was counted: once, however often the request is evaluated. */
  counted: boolean
  /** The counted try was the one that locks. */
  locks: boolean
  /** The uuid of the mount whose login ends with this request, of which it is none itself; null: there is none. */
  ends: string | null
}

export const newLoginTrace = (): LoginTrace => ({ subject: null, counted: false, locks: false, ends: null })

/**
 * Runs a login's handler between the two checks of lockout, and makes the token. Other operations just run.
 * @throws ERR_PERMISSION_DENIED for a locked name, whatever the handler says.
 */
export async function runLogin(
  deps: LoginDeps,
  context: HandlerContext,
  operation: OperationDef,
  trace: LoginTrace,
): Promise<LogicalResponse | null> {
  const { login } = operation
  if (login === undefined) {
    const response = await operation.handler(context)
    trace.ends = response?.granted?.login?.mountUuid ?? null
    return endsHere(response) ? response : await finish(deps, context, response)
  }
  const name = await login.aliasOf(context)
  const subject = (trace.subject = login.lockout === true ? (deps.lockout?.subject(context.mount, name) ?? null) : null)
  if (subject === null || deps.lockout === undefined) return finish(deps, context, await operation.handler(context))
  if (!trace.counted) await deps.lockout.check(scopeOf(context).view, subject)
  try {
    const response = await operation.handler(context)
    // From the verdict to here nobody else had a turn: what was locked meanwhile stays locked.
    deps.lockout.checkMemory(subject, context.nowMs)
    return await finish(deps, context, response)
  } catch (error) {
    if (!isWrong(error) || trace.counted) throw error
    trace.locks = deps.lockout.failed(subject, context.nowMs)
    trace.counted = true
    throw error
  }
}

/** Most answers neither lend nor log anybody in: they need not wait for `finish`. */
const endsHere = (response: LogicalResponse | null): boolean =>
  response === null || (!response.lease && response.granted === undefined && !response.login)

async function finish(deps: LoginDeps, context: HandlerContext, response: LogicalResponse | null): Promise<LogicalResponse | null> {
  if (response?.lease) return lend(deps, context, response, response.lease)
  if (response?.granted !== undefined) {
    const { granted, ...rest } = response
    return { ...rest, auth: await issue(deps, transactionOf(context), granted) }
  }
  if (!response?.login) return response
  // A method that says yes and no at once has said no (CVE-2026-46405).
  if ((response.status ?? 200) >= 400) throw new HoldfastError('ERR_INTERNAL', 'expected a login to succeed or to fail, got both')
  const { login, ...rest } = response
  const { auth, warnings } = await makeToken(deps, context, login)
  return { ...rest, auth, warnings: [...(rest.warnings ?? []), ...warnings] }
}

/** What the handler lends is registered with what it wrote. */
function lend({ leasing }: LoginDeps, context: HandlerContext, response: LogicalResponse, grant: LeaseGrant): LogicalResponse {
  if (leasing === undefined) throw new HoldfastError('ERR_INTERNAL', 'expected a book of leases')
  const { lease: _, ...rest } = response
  const made = leasing.grant(transactionOf(context), context.mount, context.request.path, context.token, grant)
  return { ...rest, ...made, warnings: [...(rest.warnings ?? []), ...(made.warnings ?? [])] }
}

type Made = Required<Pick<LogicalResponse, 'auth' | 'warnings'>>

async function makeToken(deps: LoginDeps, context: HandlerContext, login: Login): Promise<Made> {
  const { mount, request } = context
  const transaction = transactionOf(context)
  if (deps.tokens.create === undefined) throw new HoldfastError('ERR_INTERNAL', 'expected a token store that makes tokens')
  const { token: params } = login
  const policies = sanitizePolicyNames(params.policies, !params.noDefaultPolicy)
  // A method's own checks may have a hole; a root token is never a login's.
  if (policies.includes('root')) throw new HoldfastError('ERR_BAD_REQUEST', 'auth methods cannot create root tokens')
  if (!policies.every(isAssignablePolicy)) throw new HoldfastError('ERR_BAD_REQUEST', 'cannot assign policy "response-wrapping"')
  const type = tokenTypeOf(mount, params)
  const granted = grantTtl(params, loginTtlLimits(mount, params))
  const identity =
    login.alias === null || deps.identity === undefined
      ? null
      : await deps.identity.login(transaction, loginAlias(mount, login.alias), mount.namespaceId)
  const wanted: CreateToken = {
    parent: null,
    policies,
    namespaceId: mount.namespaceId,
    path: request.path,
    displayName: displayNameOf(mount, login.displayName),
    ttlSeconds: granted.ttlSeconds,
    // Of a batch token its time is the limit by itself.
    explicitMaxTtlSeconds: type === 'batch' ? 0 : granted.explicitMaxTtlSeconds,
    periodSeconds: granted.periodSeconds,
    numUses: params.numUses,
    meta: login.metadata,
    renewable: type === 'service' && (login.renewable ?? true),
    type,
    boundCidrs: params.boundCidrs,
    entityId: identity?.entityId ?? '',
    login: { mountUuid: mount.uuid, internal: login.internal ?? {} },
  }
  const waits = await mustWait(deps, context, wanted)
  if (waits !== null) return { auth: waits, warnings: granted.warnings }
  return { auth: await issue(deps, transaction, wanted, identity?.policies), warnings: granted.warnings }
}

/** What is answered in the token's place while a second factor is due; null: none is. */
async function mustWait({ identity }: LoginDeps, context: HandlerContext, wanted: CreateToken): Promise<AuthResponse | null> {
  const { mount, request } = context
  const { line } = scopeOf(context)
  const transaction = transactionOf(context)
  // Where nobody has asked for any, a login costs this one read a namespace more.
  if (identity?.mfa === undefined || !(await identity.mfa.anyEnforced(transaction, line))) return null
  const entityId = wanted.entityId ?? ''
  const found = entityId === '' ? null : await identity.resolve?.(transaction, entityId, mount.namespaceId)
  const groupIds = found?.groups.map(({ id }) => id) ?? []
  return secondFactor(transaction, { store: identity.mfa, mount, line, request, entityId, groupIds }, wanted)
}

async function issue(
  deps: LoginDeps,
  transaction: Transaction,
  wanted: CreateToken,
  policies: readonly string[] = [],
): Promise<AuthResponse> {
  if (deps.tokens.create === undefined) throw new HoldfastError('ERR_INTERNAL', 'expected a token store that makes tokens')
  const { token, entry } = await deps.tokens.create(transaction, wanted)
  const inherited = entry.entityId === '' ? [] : ((await deps.policies.identityPolicies?.(transaction, entry)) ?? policies)
  return authResponse(entry, token, transaction.nowMs, inherited)
}

const loginAlias = (mount: MountEntry, alias: NonNullable<Login['alias']>): LoginAlias => ({
  name: alias.name,
  mountAccessor: mount.accessor,
  mountType: mount.type,
  local: mount.local,
  ...(alias.metadata === undefined ? {} : { metadata: alias.metadata }),
  ...(alias.groups === undefined ? {} : { groupAliases: alias.groups }),
})

/** `userpass-alice` for a mount at `auth/userpass/`. */
const displayNameOf = (mount: MountEntry, name: string): string => {
  const prefix = mount.path.slice(0, -1).replaceAll('/', '-')
  return name === '' ? prefix : `${prefix}-${name}`
}

/** An account's own type stands above the mount's, unless the mount allows one only. */
function tokenTypeOf(mount: MountEntry, { type }: TokenParams): 'service' | 'batch' {
  const tuned = mount.config.token_type ?? 'default-service'
  const wanted = tuned === 'service' || tuned === 'batch' || type === 'default' ? tuned : type
  return wanted === 'batch' || wanted === 'default-batch' ? 'batch' : 'service'
}

/** The mount's TTLs, the system's where it sets none, within the account's maximum. */
function loginTtlLimits(mount: MountEntry, { maxTtlSeconds }: TokenParams): TtlLimits {
  const mountMax = mount.config.max_lease_ttl || lifetimes.maxSeconds
  const max = maxTtlSeconds > 0 ? Math.min(maxTtlSeconds, mountMax) : mountMax
  return { defaultTtlSeconds: Math.min(mount.config.default_lease_ttl || lifetimes.defaultSeconds, max), maxTtlSeconds: max }
}

/** How a login's token is renewed: for `TokenStore.renew`. */
export interface RenewalTerms {
  readonly limits: TtlLimits
  /** What a renewal gives that asks for nothing. */
  readonly ttlSeconds: number
  readonly periodSeconds: number
  /** Groups that the method found it in now, and the accessor of its mount; null: it did not look. */
  readonly groups: { readonly names: readonly string[]; readonly mountAccessor: string } | null
}

/**
 * Asks the method that made the token; null for tokens that no login made.
 * @throws ERR_BAD_REQUEST where the method refuses; ERR_PERMISSION_DENIED when its mount is gone.
 */
export async function renewalTerms(context: HandlerContext, token: TokenEntry): Promise<RenewalTerms | null> {
  if (token.login === undefined) return null
  const { mountsOf, engineOf } = scopeOf(context)
  const { mountUuid, internal } = token.login
  const mount = (await mountsOf(token.namespaceId)).entries.find((entry) => entry.uuid === mountUuid)
  if (!mount) throw new HoldfastError('ERR_PERMISSION_DENIED', wellKnown.permissionDenied)
  const storage = transactionStorage(transactionOf(context), { namespace: mount.namespaceId, mount: mount.uuid })
  const params = await engineOf(mount)?.renewLogin?.({ storage, mount, token, internal, nowMs: context.nowMs, context })
  if (params === undefined) return null
  const ttlLimits = loginTtlLimits(mount, params)
  return {
    limits: ttlLimits,
    ttlSeconds: params.ttlSeconds || ttlLimits.defaultTtlSeconds,
    periodSeconds: Math.min(params.periodSeconds, ttlLimits.maxTtlSeconds),
    groups: params.groups === undefined ? null : { names: params.groups, mountAccessor: mount.accessor },
  }
}
