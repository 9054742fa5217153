/** The authorization endpoint: whoever calls it with their own token gets a code for the application that sent them. */
import type { HandlerContext, LogicalResponse } from '#core/types.ts'
import type { TokenEntry } from '#tokens/types.ts'
import { optional, text } from '../../../sys/table.ts'
import type { IdentityServices } from '../../common.ts'
import { nameOf } from '../keys.ts'
import { readKey } from '../records.ts'
import { callerOf, mayUse } from '../tokens.ts'
import { letsIn, scopesAsked } from './claims.ts'
import { makeCode } from './codes.ts'
import { Fault, told } from './faults.ts'
import { readChallenge, type Challenge } from './pkce.ts'
import { clientById, providers, type Client, type Provider } from './records.ts'
import { isRegistered } from './redirects.ts'

const stateCharsMax = 2_048
const scopeCharsMax = 2_048

/** @throws Fault where the client, or where it wants people sent back to, is not known here: then nobody may be sent there. */
async function clientAsking(context: HandlerContext, provider: Provider): Promise<{ client: Client; redirectUri: string }> {
  const clientId = text(context, 'client_id')
  if (clientId === '') throw new Fault('invalid_client_id', 'client_id parameter is required')
  const found = await clientById(context.storage, clientId)
  if (found === null) throw new Fault('invalid_client_id', 'client with client_id not found')
  const redirectUri = text(context, 'redirect_uri')
  if (redirectUri === '') throw new Fault('invalid_request', 'redirect_uri parameter is required')
  if (!isRegistered(found.client.redirectUris, redirectUri))
    throw new Fault('invalid_redirect_uri', 'redirect_uri is not allowed for the client')
  if (!mayUse(provider.allowedClientIds, clientId)) throw new Fault('unauthorized_client', 'client is not authorized to use the provider')
  return { client: found.client, redirectUri }
}

function checkRequest(context: HandlerContext): void {
  const type = text(context, 'response_type')
  if (type === '') throw new Fault('invalid_request', 'response_type parameter is required')
  if (type !== 'code') throw new Fault('unsupported_response_type', 'unsupported response_type value')
  if (text(context, 'request') !== '') throw new Fault('request_not_supported', 'request parameter is not supported')
  if (text(context, 'request_uri') !== '') throw new Fault('request_uri_not_supported', 'request_uri parameter is not supported')
  for (const [name, max] of Object.entries({ state: stateCharsMax, nonce: stateCharsMax, scope: scopeCharsMax })) {
    if (text(context, name).length > max) throw new Fault('invalid_request', `${name} expected at most ${max} characters`)
  }
}

function challengeOf(context: HandlerContext, client: Client): Challenge | null {
  const challenge = readChallenge(text(context, 'code_challenge'), text(context, 'code_challenge_method'))
  if (challenge === null && client.type === 'public') throw new Fault('invalid_request', 'PKCE is required for public clients')
  return challenge
}

/** When the caller logged in: as far as anybody can tell, when its token was made. @throws Fault where the client wants that to be later. */
function authTimeOf(context: HandlerContext, token: TokenEntry): number {
  const maxAgeSeconds = optional<number>(context, 'max_age')
  if (maxAgeSeconds !== undefined && maxAgeSeconds < 0)
    throw new Fault('invalid_request', 'max_age expected seconds, got a negative number')
  if (maxAgeSeconds !== undefined && context.nowMs - token.creationTimeMs > maxAgeSeconds * 1_000)
    throw new Fault('max_age_violation', 'active re-authentication is required by max_age')
  return token.creationTimeMs
}

/** @throws Fault where the client's key is not there for it. */
async function checkKey(context: HandlerContext, client: Client): Promise<void> {
  const key = await readKey(context.storage, client.key)
  if (key === null || !mayUse(key.allowedClientIds, client.clientId))
    throw new Fault('unauthorized_client', 'client is not authorized to use the key')
}

/** Answers a code, and the client's own state. @throws Fault for each thing that is not as it must be. */
export async function authorize(services: IdentityServices, context: HandlerContext): Promise<LogicalResponse> {
  const name = nameOf(context)
  const provider = await providers.read(context.storage, name)
  if (provider === null) throw new Fault('invalid_request', 'provider not found')
  const { client, redirectUri } = await clientAsking(context, provider)
  checkRequest(context)
  const asked = text(context, 'scope').split(' ')
  const granted = await scopesAsked(context.storage, provider, asked)
  const challenge = challengeOf(context, client)
  await checkKey(context, client)
  const identity = await callerOf(services, context)
  if (identity === null || context.token === null) throw new Fault('access_denied', 'identity entity must be associated with the request')
  if (!(await letsIn(context.storage, client, identity)))
    throw new Fault('access_denied', 'identity entity not authorized by client assignment')
  const code = await makeCode(
    context.storage,
    context.random,
    {
      clientId: client.clientId,
      provider: name,
      redirectUri,
      entityId: identity.entity.id,
      scopes: granted.map(([scope]) => scope),
      nonce: text(context, 'nonce'),
      authTimeMs: authTimeOf(context, context.token),
      challenge,
    },
    context.nowMs,
  )
  return told({ code, ...(text(context, 'state') === '' ? {} : { state: text(context, 'state') }) })
}
