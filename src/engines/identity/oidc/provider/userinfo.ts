/** The user info endpoint: what the scopes of an access token say of its person, now. */
import { jwtVerify, type JWTPayload } from 'jose'
import type { HandlerContext, LogicalResponse } from '#core/types.ts'
import type { IdentityServices } from '../../common.ts'
import { nameOf } from '../keys.ts'
import { readKey, signatureAlgorithms } from '../records.ts'
import { reasonOf, verifierOf } from '../signing.ts'
import { mayUse, tokenCharsMax } from '../tokens.ts'
import { claimsOf, issuerPathOf, letsIn, originOf, personOf, scopesAsked } from './claims.ts'
import { accessTokenType, userInfoOf } from './exchange.ts'
import { Fault, told } from './faults.ts'
import { clientById, providers, type Provider } from './records.ts'

const refused = (why: string): Fault => new Fault('invalid_token', why, 'Bearer error="invalid_token"')

/** @throws Fault for what is no access token of this provider, or none any more. */
async function verified(context: HandlerContext, name: string, provider: Provider): Promise<JWTPayload> {
  const token = context.request.token ?? ''
  if (token === '' || token.length > tokenCharsMax) throw new Fault('invalid_token', 'expected an access token', 'Bearer')
  const origin = await originOf(context.storage, provider)
  const path = userInfoOf(issuerPathOf(context, name))
  try {
    const { payload, protectedHeader } = await jwtVerify(token, await verifierOf(context.storage, context.nowMs), {
      algorithms: [...signatureAlgorithms],
      typ: accessTokenType,
      currentDate: new Date(context.nowMs),
      requiredClaims: ['sub', 'exp', 'client_id', 'scope'],
      ...(origin === '' ? {} : { audience: `${origin}${path}` }),
    })
    // Without an issuer that is set, each node says its own address.
    if (origin === '' && !(typeof payload.aud === 'string' && payload.aud.endsWith(path)))
      throw refused('claim "aud" is missing or another')
    const known = await clientById(context.storage, String(payload['client_id']))
    const key = known && (await readKey(context.storage, known.client.key))
    if (!key?.published.some(({ kid }) => kid === protectedHeader.kid)) throw refused('token is not signed for its client')
    return payload
  } catch (error) {
    if (error instanceof Fault) throw error
    throw refused(reasonOf(error))
  }
}

/** Answers the subject and what its scopes say. @throws Fault where the token, its client or its person is not good any more. */
export async function userInfo(services: IdentityServices, context: HandlerContext): Promise<LogicalResponse> {
  const name = nameOf(context)
  const provider = await providers.read(context.storage, name)
  if (provider === null) throw new Fault('invalid_request', 'provider not found')
  const payload = await verified(context, name, provider)
  const found = await clientById(context.storage, String(payload['client_id']))
  const person = await personOf(services, context, payload.sub ?? '')
  if (found === null || person === null) throw refused('the client or the entity of the token is gone')
  if (!mayUse(provider.allowedClientIds, found.client.clientId) || !(await letsIn(context.storage, found.client, person)))
    throw refused('the client or the entity of the token is not authorized any more')
  const scopes = await scopesAsked(context.storage, provider, String(payload['scope']).split(' '))
  return told({ ...(await claimsOf(scopes, person, context.nowMs)), sub: payload.sub })
}
