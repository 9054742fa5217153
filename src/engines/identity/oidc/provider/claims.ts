/** What the tokens of the OpenID provider say of somebody, and whether they may still be given. */
import { createHash } from 'node:crypto'
import type { HandlerContext, MountStorage } from '#core/types.ts'
import { scopeOf } from '#core/scope.ts'
import type { ResolvedIdentity } from '#identity/types.ts'
import { namespaceOf, type IdentityServices } from '../../common.ts'
import { readConfig, type SignatureAlgorithm } from '../records.ts'
import type { Claims } from '../template.ts'
import { isAssigned } from './assignments.ts'
import { asFault, Fault } from './faults.ts'
import { assignments, openidScope, scopes, type Client, type Provider, type Scope } from './records.ts'
import { claimsOfScopes, clashOf } from './scopes.ts'

/** The path that every issuer of this provider ends with, whichever node it names. */
export const issuerPathOf = (context: HandlerContext, name: string): string =>
  `/v1/${scopeOf(context).namespace.path}identity/oidc/provider/${name}`

/** Its own, else that of identity tokens, else '': the address of whichever node answers. */
export const originOf = async (storage: MountStorage, provider: Provider): Promise<string> =>
  provider.issuer === '' ? (await readConfig(storage)).issuer : provider.issuer

export async function issuerOf(
  { apiAddress }: IdentityServices,
  context: HandlerContext,
  name: string,
  provider: Provider,
): Promise<string> {
  const origin = await originOf(context.storage, provider)
  return `${origin === '' ? apiAddress : origin}${issuerPathOf(context, name)}`
}

/** Whether the client lets in whom it is about. */
export async function letsIn(storage: MountStorage, client: Client, identity: ResolvedIdentity): Promise<boolean> {
  for (const name of client.assignments) {
    const assignment = await assignments.read(storage, name)
    if (assignment !== null && isAssigned(assignment, identity)) return true
  }
  return false
}

/** Somebody of this namespace who is there, and not disabled; null otherwise. */
export async function personOf(
  { identity }: IdentityServices,
  context: HandlerContext,
  entityId: string,
): Promise<ResolvedIdentity | null> {
  const found = await identity.resolve(scopeOf(context).view, entityId, namespaceOf(context))
  return found === null || found.entity.disabled ? null : found
}

/** Of what a client asks for: what the provider offers. What it does not is left out, as OpenID says. @throws Fault without openid, or where two say the same claim. */
export async function scopesAsked(
  storage: MountStorage,
  provider: Provider,
  asked: readonly string[],
): Promise<readonly (readonly [string, Scope])[]> {
  if (!asked.includes(openidScope)) throw new Fault('invalid_scope', `scope parameter must include ${JSON.stringify(openidScope)}`)
  const found: (readonly [string, Scope])[] = []
  for (const name of provider.scopes) {
    const scope = asked.includes(name) ? await scopes.read(storage, name) : null
    if (scope !== null) found.push([name, scope])
  }
  const clash = clashOf(found)
  if (clash === null) return found
  throw new Fault(
    'invalid_scope',
    `scopes ${JSON.stringify(clash.one)} and ${JSON.stringify(clash.other)} both say ${JSON.stringify(clash.claim)}`,
  )
}

/** What these scopes say of somebody. @throws Fault where that can't be said. */
export const claimsOf = (named: readonly (readonly [string, Scope])[], identity: ResolvedIdentity, nowMs: number): Promise<Claims> =>
  asFault('invalid_scope', () => claimsOfScopes(named, { identity, nowMs }))

/** The hash that a signature by this algorithm is made over. */
const hashes: Readonly<Record<SignatureAlgorithm, string>> = {
  RS256: 'sha256',
  RS384: 'sha384',
  RS512: 'sha512',
  ES256: 'sha256',
  ES384: 'sha384',
  ES512: 'sha512',
  EdDSA: 'sha512',
}

/** `at_hash` and `c_hash` (OpenID Connect Core, 3.1.3.6): the left half of the hash of what the token came with. */
export function halfHash(algorithm: SignatureAlgorithm, text: string): string {
  const digest = createHash(hashes[algorithm]).update(text).digest()
  return digest.subarray(0, digest.length / 2).toString('base64url')
}
