/** Roles: which tokens are let in, and what theirs get. */
import { HoldfastError } from '#base/errors.ts'
import type { TokenParams } from '#core/login-types.ts'
import type { HandlerContext, PathDef } from '#core/types.ts'
import { recordPaths, Records } from '../accounts.ts'
import { field, optional, text } from '../fields.ts'
import { describeTokenParams, noTokenParams, readTokenParams, tokenFields, type OldNames } from '../token-params.ts'
import { checkWebUrl } from '../outside.ts'
import { configOf } from './config.ts'

export interface JwtRole {
  readonly version: number
  readonly roleType: 'jwt' | 'oidc'
  readonly boundAudiences: readonly string[]
  readonly boundSubject: string
  readonly boundClaims: Readonly<Record<string, unknown>>
  readonly boundClaimsType: 'string' | 'glob'
  readonly userClaim: string
  readonly userClaimJsonPointer: boolean
  readonly groupsClaim: string
  readonly claimMappings: Readonly<Record<string, string>>
  /** Seconds; 0: the default; below 0: none. */
  readonly expirationLeewaySeconds: number
  readonly notBeforeLeewaySeconds: number
  readonly clockSkewLeewaySeconds: number
  readonly oidcScopes: readonly string[]
  readonly allowedRedirectUris: readonly string[]
  readonly callbackMode: 'client' | 'device'
  /** Seconds since who logs in last proved it to the provider; 0: however long. */
  readonly maxAgeSeconds: number
  readonly token: TokenParams
}

export const roleTable = new Records<JwtRole>('a role', 'roles', 1)

const leeway = (which: string, unsaid: number) =>
  field('duration', `How far ${which} may be passed, seconds or a duration; 0: ${unsaid} seconds; -1: not at all.`)

const roleFields = {
  role_type: field('string', "'jwt': a token is shown; 'oidc': who logs in goes to the provider.", { enum: ['jwt', 'oidc'] }),
  bound_audiences: field('list', 'Of these audiences a token must be for one.'),
  bound_subject: field('string', 'The subject that a token must have.'),
  bound_claims: field('map', 'Claims and the values of which they must have one; a name that begins with / is a JSON pointer.'),
  bound_claims_type: field('string', "'string', or 'glob': * in values stands for anything.", { enum: ['string', 'glob'] }),
  user_claim: field('string', 'The claim that names who logs in.'),
  user_claim_json_pointer: field('bool', 'user_claim is a JSON pointer.'),
  groups_claim: field('string', 'The claim that lists its groups.'),
  claim_mappings: field('string-map', 'Claims that become metadata, and its names.'),
  expiration_leeway: leeway('the end (exp)', 150),
  not_before_leeway: leeway('the begin (nbf)', 150),
  clock_skew_leeway: leeway('each of exp, nbf and iat', 60),
  oidc_scopes: field('list', 'Scopes to ask for besides openid.'),
  allowed_redirect_uris: field('list', 'Where the provider may send who logs in.'),
  callback_mode: field('string', "'client': the provider sends the browser to who logs in; 'device': with a code on another machine.", {
    enum: ['client', 'device'],
  }),
  max_age: field('duration', 'How long ago the provider may have asked for its password.'),
  verbose_oidc_logging: field('bool', 'Kept by other servers; nothing of a token is ever logged here.', { deprecated: true }),
  policies: field('list', 'Use token_policies.', { deprecated: true }),
  ttl: field('duration', 'Use token_ttl.', { deprecated: true }),
  max_ttl: field('duration', 'Use token_max_ttl.', { deprecated: true }),
  period: field('duration', 'Use token_period.', { deprecated: true }),
  num_uses: field('int', 'Use token_num_uses.', { deprecated: true }),
  bound_cidrs: field('list', 'Use token_bound_cidrs.', { deprecated: true }),
  ...tokenFields,
}
const old: OldNames = {
  token_policies: 'policies',
  token_ttl: 'ttl',
  token_max_ttl: 'max_ttl',
  token_period: 'period',
  token_bound_cidrs: 'bound_cidrs',
}

const newRole: Omit<JwtRole, 'version'> = {
  roleType: 'oidc',
  boundAudiences: [],
  boundSubject: '',
  boundClaims: {},
  boundClaimsType: 'string',
  userClaim: '',
  userClaimJsonPointer: false,
  groupsClaim: '',
  claimMappings: {},
  expirationLeewaySeconds: 0,
  notBeforeLeewaySeconds: 0,
  clockSkewLeewaySeconds: 0,
  oidcScopes: [],
  allowedRedirectUris: [],
  callbackMode: 'client',
  maxAgeSeconds: 0,
  token: noTokenParams,
}

const bad = (message: string): HoldfastError => new HoldfastError('ERR_BAD_REQUEST', message)

function change(context: HandlerContext, present: JwtRole | null): Omit<JwtRole, 'version'> {
  const { version: _, ...before } = present ?? { version: 0, ...newRole }
  const role: Omit<JwtRole, 'version'> = {
    roleType: optional<JwtRole['roleType']>(context, 'role_type') ?? before.roleType,
    boundAudiences: optional<string[]>(context, 'bound_audiences') ?? before.boundAudiences,
    boundSubject: optional<string>(context, 'bound_subject') ?? before.boundSubject,
    boundClaims: optional<Record<string, unknown>>(context, 'bound_claims') ?? before.boundClaims,
    boundClaimsType: optional<JwtRole['boundClaimsType']>(context, 'bound_claims_type') ?? before.boundClaimsType,
    userClaim: optional<string>(context, 'user_claim') ?? before.userClaim,
    userClaimJsonPointer: optional<boolean>(context, 'user_claim_json_pointer') ?? before.userClaimJsonPointer,
    groupsClaim: optional<string>(context, 'groups_claim') ?? before.groupsClaim,
    claimMappings: optional<Record<string, string>>(context, 'claim_mappings') ?? before.claimMappings,
    expirationLeewaySeconds: leewayOf(context, 'expiration_leeway') ?? before.expirationLeewaySeconds,
    notBeforeLeewaySeconds: leewayOf(context, 'not_before_leeway') ?? before.notBeforeLeewaySeconds,
    clockSkewLeewaySeconds: leewayOf(context, 'clock_skew_leeway') ?? before.clockSkewLeewaySeconds,
    oidcScopes: optional<string[]>(context, 'oidc_scopes') ?? before.oidcScopes,
    allowedRedirectUris: optional<string[]>(context, 'allowed_redirect_uris') ?? before.allowedRedirectUris,
    callbackMode: optional<JwtRole['callbackMode']>(context, 'callback_mode') ?? before.callbackMode,
    maxAgeSeconds: optional<number>(context, 'max_age') ?? before.maxAgeSeconds,
    token: readTokenParams(context, before.token, old),
  }
  checkRole(role)
  return role
}

function checkRole(role: Omit<JwtRole, 'version'>): void {
  if (role.userClaim === '') throw bad('a user claim must be defined on the role')
  const guards = [role.boundAudiences, role.token.boundCidrs, Object.keys(role.boundClaims), role.boundSubject]
  if (role.roleType === 'jwt' && guards.every(({ length }) => length === 0))
    throw bad('must have at least one bound constraint when creating/updating a role')
  if (role.roleType === 'oidc' && role.callbackMode === 'client' && role.allowedRedirectUris.length === 0)
    throw bad("'allowed_redirect_uris' must be set if 'role_type' is 'oidc' or unspecified.")
  role.allowedRedirectUris.forEach((uri) => checkWebUrl('allowed_redirect_uris', uri))
  for (const [claim, values] of Object.entries(role.boundClaims)) {
    const list = Array.isArray(values) ? values : [values]
    const plain = list.length > 0 && list.every((value) => ['string', 'number', 'boolean'].includes(typeof value))
    if (!plain || (role.boundClaimsType === 'glob' && list.some((value) => typeof value !== 'string')))
      throw bad(
        `claim ${JSON.stringify(claim)} expected ${role.boundClaimsType === 'glob' ? 'a string' : 'a string, a number, a bool'} or a list of them`,
      )
  }
  const names = Object.values(role.claimMappings)
  if (names.includes('role')) throw bad("metadata key 'role' is reserved and may not be a mapping destination")
  if (new Set(names).size !== names.length) throw bad('claim_mappings expected each metadata key once')
}

/** Below 0 means none. */
function leewayOf(context: HandlerContext, name: string): number | undefined {
  const value = optional<number>(context, name)
  return value === undefined ? undefined : Math.max(value, -1)
}

const describe = (role: JwtRole): Record<string, unknown> => ({
  role_type: role.roleType,
  bound_audiences: role.boundAudiences,
  bound_subject: role.boundSubject,
  bound_claims: role.boundClaims,
  bound_claims_type: role.boundClaimsType,
  user_claim: role.userClaim,
  user_claim_json_pointer: role.userClaimJsonPointer,
  groups_claim: role.groupsClaim,
  claim_mappings: role.claimMappings,
  expiration_leeway: role.expirationLeewaySeconds,
  not_before_leeway: role.notBeforeLeewaySeconds,
  clock_skew_leeway: role.clockSkewLeewaySeconds,
  oidc_scopes: role.oidcScopes,
  allowed_redirect_uris: role.allowedRedirectUris,
  callback_mode: role.callbackMode,
  max_age: role.maxAgeSeconds,
  verbose_oidc_logging: false,
  ...describeTokenParams(role.token),
})

export const rolePaths = (): PathDef[] =>
  recordPaths({
    records: roleTable,
    route: 'role',
    parameter: 'name',
    synopsis: 'A role: which tokens are let in, and what theirs get.',
    fields: roleFields,
    change,
    describe,
  })

/** The role that a login asks for, or the mount's own. @throws ERR_BAD_REQUEST. */
export async function roleOf(context: HandlerContext, defaultRole: string, given = text(context, 'role')): Promise<[string, JwtRole]> {
  const name = given.toLowerCase() || defaultRole
  if (name === '') throw bad('missing role')
  const role = await roleTable.read(context.storage, name)
  if (role === null) throw bad(`role ${JSON.stringify(name.slice(0, 128))} could not be found`)
  return [name, role]
}

/** The same name, for quotas, before anything is checked; null: neither names one. */
export async function roleAsked(context: HandlerContext): Promise<string | null> {
  const given = text(context, 'role').toLowerCase()
  return given || (await configOf(context.storage).catch(() => null))?.defaultRole || null
}
