/** The token endpoint: a code for an id token, which says who signed in, and an access token, which opens the user info of that person and nothing else. */
import { randomUuid } from '#base/random.ts'
import type { HandlerContext, LogicalResponse } from '#core/types.ts'
import { text } from '../../../sys/table.ts'
import { namespaceOf, type IdentityServices } from '../../common.ts'
import { nameOf } from '../keys.ts'
import { readKey, type NamedKey } from '../records.ts'
import { signClaims } from '../signing.ts'
import { mayUse } from '../tokens.ts'
import { claimsOf, halfHash, issuerOf, letsIn, personOf, scopesAsked } from './claims.ts'
import { provenClient } from './client-proof.ts'
import { takeCode, type Authorization } from './codes.ts'
import { asFault, Fault, told } from './faults.ts'
import { checkVerifier } from './pkce.ts'
import { openidScope, providers, type Client } from './records.ts'

/** In the header of an access token (RFC 9068): no id token has it. */
export const accessTokenType = 'at+jwt'
export const userInfoOf = (issuer: string): string => `${issuer}/userinfo`

/** The code's own facts, if it was given to this client, here, for there. It is spent in any case. */
async function redeemed(context: HandlerContext, name: string, client: Client): Promise<Authorization> {
  const code = text(context, 'code')
  if (code === '') throw new Fault('invalid_request', 'code parameter is required')
  const found = await takeCode(context.storage, code, context.nowMs)
  if (found === null || found.clientId !== client.clientId || found.provider !== name)
    throw new Fault('invalid_grant', 'authorization grant is invalid or expired')
  if (text(context, 'redirect_uri') !== found.redirectUri)
    throw new Fault('invalid_grant', 'redirect_uri does not match the redirect_uri used in the authorization request')
  checkVerifier(found.challenge, text(context, 'code_verifier'))
  return found
}

async function keyOf(context: HandlerContext, client: Client): Promise<NamedKey> {
  const key = await readKey(context.storage, client.key)
  if (key !== null && mayUse(key.allowedClientIds, client.clientId)) return key
  throw new Fault('unauthorized_client', 'client is not authorized to use the key')
}

/** Answers both tokens for a code. @throws Fault for each thing that is not as it must be. */
export async function exchange(services: IdentityServices, context: HandlerContext): Promise<LogicalResponse> {
  const name = nameOf(context)
  const { storage, nowMs } = context
  const provider = await providers.read(storage, name)
  if (provider === null) throw new Fault('invalid_request', 'provider not found')
  const client = await provenClient(context, provider)
  const grant = text(context, 'grant_type')
  if (grant === '') throw new Fault('invalid_request', 'grant_type parameter is required')
  if (grant !== 'authorization_code') throw new Fault('unsupported_grant_type', 'unsupported grant_type value')
  const authorization = await redeemed(context, name, client)
  const key = await keyOf(context, client)
  const person = await personOf(services, context, authorization.entityId)
  if (person === null || !(await letsIn(storage, client, person)))
    throw new Fault('invalid_grant', 'identity entity not authorized by client assignment')
  const scopes = await scopesAsked(storage, provider, [openidScope, ...authorization.scopes])
  const claims = await claimsOf(scopes, person, nowMs)
  const issuer = await issuerOf(services, context, name, provider)
  const issued = Math.floor(nowMs / 1_000)
  // Nothing is good for longer than it can be verified.
  const accessSeconds = Math.min(client.accessTokenSeconds, key.verificationSeconds)
  const common = { iss: issuer, sub: person.entity.id, iat: issued, namespace: namespaceOf(context) }
  const access = await signClaims(
    storage,
    client.key,
    key,
    {
      ...common,
      aud: userInfoOf(issuer),
      exp: issued + accessSeconds,
      jti: randomUuid(context.random),
      client_id: client.clientId,
      scope: [openidScope, ...scopes.map(([scope]) => scope)].join(' '),
    },
    accessTokenType,
  )
  const idToken = await asFault('invalid_scope', () =>
    signClaims(storage, client.key, key, {
      ...claims,
      ...common,
      aud: client.clientId,
      exp: issued + Math.min(client.idTokenSeconds, key.verificationSeconds),
      auth_time: Math.floor(authorization.authTimeMs / 1_000),
      ...(authorization.nonce === '' ? {} : { nonce: authorization.nonce }),
      at_hash: halfHash(key.algorithm, access),
      c_hash: halfHash(key.algorithm, text(context, 'code')),
    }),
  )
  return told({ access_token: access, expires_in: accessSeconds, id_token: idToken, token_type: 'Bearer' })
}
