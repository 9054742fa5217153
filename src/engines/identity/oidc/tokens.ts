/** Tokens that say who somebody is, to services that ask no secrets store: signed, checked, and told apart. Signatures are jose's. */
import { createLocalJWKSet, errors, importJWK, jwtVerify, SignJWT } from 'jose'
import { HoldfastError, wellKnown } from '#base/errors.ts'
import { scopeOf } from '#core/scope.ts'
import type { HandlerContext, LogicalResponse } from '#core/types.ts'
import type { ResolvedIdentity } from '#identity/types.ts'
import { answer, text } from '../../sys/table.ts'
import { bad, given, namespaceOf, type IdentityServices } from '../common.ts'
import { publishedKeys, readConfig, readKey, readRole, readSecret, signatureAlgorithms, type OidcRole } from './records.ts'
import { compileTemplate } from './template.ts'

/** Services take tokens in a header: what is much longer they refuse. */
const claimsBytesMax = 65_536
const tokenCharsMax = 131_072

/** Whose word a token of this namespace is: `issuer` as it is set, else the address of this node. */
export async function issuerOf({ apiAddress }: IdentityServices, context: HandlerContext): Promise<string> {
  const { issuer } = await readConfig(context.storage)
  return `${issuer === '' ? apiAddress : issuer}/v1/${scopeOf(context).namespace.path}identity/oidc`
}

export const mayUse = (allowed: readonly string[], clientId: string): boolean => allowed.includes('*') || allowed.includes(clientId)

/** @throws ERR_BAD_REQUEST where the role or its key does not let the caller have one. */
export async function issueToken(services: IdentityServices, context: HandlerContext): Promise<LogicalResponse> {
  const name = text(context, 'name')
  const role = await readRole(context.storage, name)
  if (role === null) throw bad(`role ${JSON.stringify(name)} not found`)
  const key = await readKey(context.storage, role.key)
  if (key === null) throw bad(`key ${JSON.stringify(role.key)} not found`)
  if (!mayUse(key.allowedClientIds, role.clientId)) {
    throw bad(`the key ${JSON.stringify(role.key)} does not list the client ID of the role ${JSON.stringify(name)} as an allowed client ID`)
  }
  const identity = await whoAsks(services, context)
  const issued = Math.floor(context.nowMs / 1_000)
  // The role may be older than the key's time is short: nothing outlives the key that it is verified with.
  const ttl = Math.min(role.ttlSeconds, key.verificationSeconds)
  const claims = {
    ...claimsOf(role, identity, context.nowMs),
    iss: await issuerOf(services, context),
    sub: identity.entity.id,
    aud: role.clientId,
    iat: issued,
    exp: issued + ttl,
    namespace: namespaceOf(context),
  }
  if (Buffer.byteLength(JSON.stringify(claims)) > claimsBytesMax) {
    throw bad(`expected claims of at most ${claimsBytesMax} bytes, got more: the role's template takes in too much`)
  }
  const secret = await importJWK(await readSecret(context.storage, role.key, key.signingKid), key.algorithm)
  const header = { alg: key.algorithm, kid: key.signingKid }
  const token = await new SignJWT(claims).setProtectedHeader(header).sign(secret)
  return answer({ token, client_id: role.clientId, ttl })
}

/** The caller's entity. One of a namespace above is nobody here: its groups and names are told to no service that trusts this namespace. */
async function whoAsks({ identity }: IdentityServices, context: HandlerContext): Promise<ResolvedIdentity> {
  const { token } = context
  const here = token !== null && token.entityId !== '' && token.namespaceId === namespaceOf(context)
  const found = here ? await identity.resolve(scopeOf(context).view, token.entityId, namespaceOf(context)) : null
  if (found === null) throw bad("no entity associated with the request's token")
  if (found.entity.disabled) throw new HoldfastError('ERR_PERMISSION_DENIED', wellKnown.permissionDenied)
  return found
}

const claimsOf = ({ template }: OidcRole, identity: ResolvedIdentity, nowMs: number): Readonly<Record<string, unknown>> =>
  compileTemplate(template)({ identity, nowMs })

/** Whether a token is one of ours, and good now: answered bare, as RFC 7662 says, and never as an error. */
export async function introspect(services: IdentityServices, context: HandlerContext): Promise<LogicalResponse> {
  const refusal = await whyNot(services, context)
  return { bareBody: refusal === null ? { active: true } : { active: false, error: refusal } }
}

/** null: it is good. */
async function whyNot({ identity }: IdentityServices, context: HandlerContext): Promise<string | null> {
  const token = text(context, 'token')
  const audience = given(context, 'client_id')
  if (token === '' || token.length > tokenCharsMax) return 'expected a signed token'
  const { issuer } = await readConfig(context.storage)
  const set = { keys: (await publishedKeys(context.storage, context.nowMs)).map(({ jwk }) => jwk) }
  try {
    const { payload } = await jwtVerify(token, createLocalJWKSet(set), {
      algorithms: [...signatureAlgorithms],
      currentDate: new Date(context.nowMs),
      requiredClaims: ['iss', 'sub', 'aud', 'exp', 'iat'],
      ...(issuer === '' ? {} : { issuer: `${issuer}/v1/${scopeOf(context).namespace.path}identity/oidc` }),
      ...(audience === undefined ? {} : { audience }),
    })
    const wanted = typeof payload.sub === 'string' ? payload.sub : ''
    const found = await identity.resolve(scopeOf(context).view, wanted, namespaceOf(context))
    if (found === null) return 'entity was not found'
    return found.entity.disabled ? 'entity is disabled' : null
  } catch (error) {
    return reasonOf(error)
  }
}

/** Why a token is not good, without a word of it. */
function reasonOf(error: unknown): string {
  if (error instanceof errors.JWTExpired) return 'token is expired'
  if (error instanceof errors.JWTClaimValidationFailed) return `claim ${JSON.stringify(error.claim)} is missing or another`
  if (error instanceof errors.JOSEError) return 'token is not signed by a key of this namespace'
  throw error
}
