/** What a token says against what a role asks for. Pure: the caller says what time it is. */
import { HoldfastError } from '#base/errors.ts'
import { deepEqual } from '#policies/parameters.ts'
import { globMatches } from '../glob.ts'
import type { Claims } from './provider.ts'
import type { JwtRole } from './roles.ts'

/** Where neither role nor token says otherwise; seconds. */
const leewaySecondsDefault = 150
const skewSecondsDefault = 60

const wrong = (why: string): HoldfastError => new HoldfastError('ERR_BAD_CREDENTIALS', `error validating token: ${why}`)
const unfit = (why: string): HoldfastError => new HoldfastError('ERR_BAD_CREDENTIALS', `error validating claims: ${why}`)

/** A claim by its name, or, where it begins with '/', by a JSON pointer (RFC 6901). Undefined: there is none. */
export function claimAt(claims: Claims, name: string): unknown {
  if (!name.startsWith('/')) return Object.hasOwn(claims, name) ? claims[name] : undefined
  let value: unknown = claims
  for (const part of name.slice(1).split('/')) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~')
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined
    value = (value as Readonly<Record<string, unknown>>)[key]
  }
  return value
}

/** Seconds; 0: the claim is absent. */
function timeOf(claims: Claims, name: 'iat' | 'nbf' | 'exp'): number {
  const value = claims[name]
  if (value === undefined) return 0
  if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value
  throw wrong(`${name} expected a number of seconds`)
}

const chosen = (said: number, unsaid: number): number => (said < 0 ? 0 : said === 0 ? unsaid : said)

/**
 * exp, nbf and iat against the cluster's clock, with the role's leeways: a provider's clock is not ours. A token that lacks one gets it from the others,
 * so that none is good without end. @throws ERR_BAD_CREDENTIALS.
 */
export function checkTimes(claims: Claims, role: JwtRole, nowMs: number): void {
  const [iat, nbfSaid, expSaid] = [timeOf(claims, 'iat'), timeOf(claims, 'nbf'), timeOf(claims, 'exp')]
  if (iat === 0 && nbfSaid === 0 && expSaid === 0)
    throw wrong('no issued at (iat), not before (nbf), or expiration time (exp) claims in token')
  const exp = expSaid || Math.max(iat, nbfSaid) + chosen(role.expirationLeewaySeconds, leewaySecondsDefault)
  const nbf = nbfSaid || iat || exp - chosen(role.notBeforeLeewaySeconds, leewaySecondsDefault)
  const skew = chosen(role.clockSkewLeewaySeconds, skewSecondsDefault)
  const now = nowMs / 1_000
  if (now + skew < nbf) throw wrong('invalid not before (nbf) claim: token not yet valid')
  if (now - skew > exp) throw wrong('invalid expiration time (exp) claim: token is expired')
  if (now + skew < iat) throw wrong('invalid issued at (iat) claim: token was issued in the future')
}

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [value])

/** The issuer, where one is bound; '' binds none. @throws ERR_BAD_CREDENTIALS. */
export function checkIssuer(claims: Claims, issuer: string): void {
  if (issuer !== '' && claims['iss'] !== issuer) throw wrong('invalid issuer (iss) claim')
}

export function checkAudience(claims: Claims, bound: readonly string[]): void {
  const audiences = claims['aud'] === undefined ? [] : listOf(claims['aud'])
  if (bound.length === 0) {
    // Whoever else gets tokens of this provider could log in with them here.
    if (audiences.length > 0) throw unfit('audience claim found in JWT but no audiences bound to the role')
    return
  }
  if (!audiences.some((audience) => bound.includes(audience as string))) throw unfit('aud claim does not match any bound audience')
}

export function checkBound(claims: Claims, role: JwtRole): void {
  if (role.boundSubject !== '' && claims['sub'] !== role.boundSubject) throw unfit('sub claim does not match bound subject')
  for (const [name, allowed] of Object.entries(role.boundClaims)) {
    const value = claimAt(claims, name)
    if (value === undefined) throw unfit(`claim ${JSON.stringify(name)} is missing`)
    const fits = listOf(value).some((each) => listOf(allowed).some((bound) => claimFits(each, bound, role.boundClaimsType)))
    if (!fits) throw unfit(`claim ${JSON.stringify(name)} does not match any associated bound claim values`)
  }
}

const claimFits = (value: unknown, bound: unknown, type: JwtRole['boundClaimsType']): boolean =>
  type === 'glob' && typeof value === 'string' && typeof bound === 'string' ? globMatches(bound, value) : deepEqual(value, bound)

const textOf = (value: unknown): string | null =>
  typeof value === 'string' ? value : typeof value === 'number' || typeof value === 'boolean' ? String(value) : null

/** The name that identity knows it by. @throws ERR_BAD_CREDENTIALS where there is none. */
export function userOf(claims: Claims, role: JwtRole): string {
  const value = role.userClaimJsonPointer
    ? claimAt(claims, role.userClaim)
    : Object.hasOwn(claims, role.userClaim)
      ? claims[role.userClaim]
      : undefined
  if (value === undefined) throw unfit(`claim ${JSON.stringify(role.userClaim)} not found in token`)
  if (typeof value !== 'string' || value === '') throw unfit(`claim ${JSON.stringify(role.userClaim)} could not be converted to string`)
  return value
}

/** Null: the role names no claim of groups. @throws ERR_BAD_CREDENTIALS. */
export function groupsOf(claims: Claims, role: JwtRole): string[] | null {
  if (role.groupsClaim === '') return null
  const value = claimAt(claims, role.groupsClaim)
  if (value === undefined) throw unfit(`${JSON.stringify(role.groupsClaim)} claim not found in token`)
  return listOf(value).map((group) => {
    if (typeof group === 'string') return group
    throw unfit(`${JSON.stringify(role.groupsClaim)} claim expected a list of strings`)
  })
}

/** Claims that become metadata; those that the token lacks are left out. */
export function metadataOf(claims: Claims, role: JwtRole): Record<string, string> {
  const metadata: Record<string, string> = {}
  for (const [claim, name] of Object.entries(role.claimMappings)) {
    const value = textOf(claimAt(claims, claim))
    if (value !== null) metadata[name] = value
  }
  return metadata
}
