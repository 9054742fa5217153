/** Tokens that say who somebody is, to services that ask no secrets store: signed, checked, and told apart. Signatures are jose's. */
import { jwtVerify } from 'jose'
import { HoldfastError, wellKnown } from '#base/errors.ts'
import { scopeOf } from '#core/scope.ts'
import type { HandlerContext, LogicalResponse } from '#core/types.ts'
import type { ResolvedIdentity } from '#identity/types.ts'
import { answer, text } from '../../sys/table.ts'
import { bad, given, namespaceOf, type IdentityServices } from '../common.ts'
import { readConfig, readKey, readRole, signatureAlgorithms, type OidcRole } from './records.ts'
import { reasonOf, signClaims, verifierOf } from './signing.ts'
import { compileTemplate } from './template.ts'

/** A longer text is no token of ours, and is not looked into. */
export const tokenCharsMax = 131_072

/** Whose word a token of this namespace is: `issuer` as it is set, else the address of this node. */
export async function issuerOf({ apiAddress }: IdentityServices, context: HandlerContext): Promise<string> {
  const { issuer } = await readConfig(context.storage)
  return `${issuer === '' ? apiAddress : issuer}/v1/${scopeOf(context).namespace.path}identity/oidc`
}

/** Whether what a client calls itself is among `allowed`. */
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
  const token = await signClaims(context.storage, role.key, key, claims)
  return answer({ token, client_id: role.clientId, ttl })
}

async function whoAsks(services: IdentityServices, context: HandlerContext): Promise<ResolvedIdentity> {
  const found = await callerOf(services, context)
  if (found === null) throw bad("no entity associated with the request's token")
  return found
}

/**
 * The caller's entity; null where it has none here. One of a namespace above is nobody here: its groups and names are told to no service that trusts
 * this namespace. @throws ERR_PERMISSION_DENIED for a disabled one.
 */
export async function callerOf({ identity }: IdentityServices, context: HandlerContext): Promise<ResolvedIdentity | null> {
  const { token } = context
  const here = token !== null && token.entityId !== '' && token.namespaceId === namespaceOf(context)
  const found = here ? await identity.resolve(scopeOf(context).view, token.entityId, namespaceOf(context)) : null
  if (found?.entity.disabled) throw new HoldfastError('ERR_PERMISSION_DENIED', wellKnown.permissionDenied)
  return found
}

const claimsOf = ({ template }: OidcRole, identity: ResolvedIdentity, nowMs: number): Readonly<Record<string, unknown>> =>
  compileTemplate(template)({ identity, nowMs })

/** Whether a token is one of ours, and good now: answered bare, as RFC 7662 says, and never as an error. */
export async function introspect(services: IdentityServices, context: HandlerContext): Promise<LogicalResponse> {
  const refusal = await whyNot(services, context)
  return { bareBody: refusal === null ? { active: true } : { active: false, error: refusal } }
}

/** Whichever node has signed it. */
const isOwnIssuer = (context: HandlerContext, issuer: string | undefined): boolean =>
  issuer?.endsWith(`/v1/${scopeOf(context).namespace.path}identity/oidc`) === true

/** null: it is good. */
async function whyNot({ identity }: IdentityServices, context: HandlerContext): Promise<string | null> {
  const token = text(context, 'token')
  const audience = given(context, 'client_id')
  if (token === '' || token.length > tokenCharsMax) return 'expected a signed token'
  const { issuer } = await readConfig(context.storage)
  try {
    const { payload, protectedHeader } = await jwtVerify(token, await verifierOf(context.storage, context.nowMs), {
      algorithms: [...signatureAlgorithms],
      currentDate: new Date(context.nowMs),
      requiredClaims: ['iss', 'sub', 'aud', 'exp', 'iat'],
      ...(issuer === '' ? {} : { issuer: `${issuer}/v1/${scopeOf(context).namespace.path}identity/oidc` }),
      ...(audience === undefined ? {} : { audience }),
    })
    // What the OpenID provider has signed with the same key is no token of identity: its own clients tell those.
    if (protectedHeader.typ !== undefined || !isOwnIssuer(context, payload.iss)) return 'token is none of identity'
    const wanted = typeof payload.sub === 'string' ? payload.sub : ''
    const found = await identity.resolve(scopeOf(context).view, wanted, namespaceOf(context))
    if (found === null) return 'entity was not found'
    return found.entity.disabled ? 'entity is disabled' : null
  } catch (error) {
    return reasonOf(error)
  }
}
