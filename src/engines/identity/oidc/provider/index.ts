/**
 * The OpenID provider (identity/oidc/provider/...): people who log in here, by whatever method, sign in to applications that know nothing of it.
 *
 * OpenID Connect Core's authorization code flow. The person's own program calls the authorization endpoint with the person's token, and brings the code
 * that it answers to the application; all else is as relying parties expect it.
 */
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { field, path, reads, writes } from '../../../sys/table.ts'
import type { IdentityServices } from '../../common.ts'
import { nameField, nameOf } from '../keys.ts'
import { publishedKeys, readKey, signatureAlgorithms, type PublishedKey } from '../records.ts'
import { assignmentPaths } from './assignments.ts'
import { authorize } from './authorize.ts'
import { issuerOf } from './claims.ts'
import { clientPaths } from './clients.ts'
import { proofMethods } from './client-proof.ts'
import { exchange } from './exchange.ts'
import { faultsAnswered } from './faults.ts'
import { challengeMethods } from './pkce.ts'
import { clientById, openidScope, providers, type Provider } from './records.ts'
import { providerPaths } from './providers.ts'
import { scopePaths } from './scopes.ts'
import { userInfo } from './userinfo.ts'

/** So long a relying party may keep the document; keys turn a minute after they are published at the soonest. */
const documentSeconds = 3_600
const keySetSeconds = 60

async function discovery(services: IdentityServices, context: HandlerContext): Promise<LogicalResponse | null> {
  const name = nameOf(context)
  const provider = await providers.read(context.storage, name)
  if (provider === null) return null
  const issuer = await issuerOf(services, context, name, provider)
  return {
    headers: { 'cache-control': `max-age=${documentSeconds}` },
    bareBody: {
      issuer,
      jwks_uri: `${issuer}/.well-known/keys`,
      authorization_endpoint: `${issuer}/authorize`,
      token_endpoint: `${issuer}/token`,
      userinfo_endpoint: `${issuer}/userinfo`,
      scopes_supported: [...provider.scopes, openidScope],
      response_types_supported: ['code'],
      grant_types_supported: ['authorization_code'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: signatureAlgorithms,
      token_endpoint_auth_methods_supported: proofMethods,
      code_challenge_methods_supported: challengeMethods,
      claims_supported: [],
      request_parameter_supported: false,
      request_uri_parameter_supported: false,
    },
  }
}

async function keySet(context: HandlerContext): Promise<LogicalResponse | null> {
  const provider = await providers.read(context.storage, nameOf(context))
  if (provider === null) return null
  const keys = await keysOf(context, provider)
  return { headers: { 'cache-control': `max-age=${keySetSeconds}` }, bareBody: { keys: keys.map(({ jwk }) => jwk) } }
}

/** Those of its clients; of a provider for all clients, all there are. */
async function keysOf({ storage, nowMs }: HandlerContext, { allowedClientIds }: Provider): Promise<PublishedKey[]> {
  if (allowedClientIds.includes('*')) return publishedKeys(storage, nowMs)
  const names = new Set<string>()
  for (const clientId of allowedClientIds) {
    const found = await clientById(storage, clientId)
    if (found !== null) names.add(found.client.key)
  }
  const published: PublishedKey[] = []
  for (const name of names) published.push(...((await readKey(storage, name))?.published ?? []))
  return published.filter(({ untilMs }) => untilMs === null || untilMs > nowMs)
}

const authorizeFields = {
  name: nameField,
  client_id: field('string', 'The id of the client that asks.'),
  redirect_uri: field('string', 'Where the client wants the code brought: one of its own.'),
  response_type: field('string', '"code".'),
  scope: field('string', 'Scopes, with blanks between; "openid" is one of them.'),
  state: field('string', 'What the client wants back with the code.'),
  nonce: field('string', 'What the client wants to find in the id token.'),
  max_age: field('int', 'Seconds since the person logged in, at most.'),
  code_challenge: field('string', 'PKCE: what the verifier must fit. A public client needs it.'),
  code_challenge_method: field('string', 'PKCE: "S256", or "plain", which is it unless said.'),
  request: field('string', 'Not supported.'),
  request_uri: field('string', 'Not supported.'),
}

const tokenFields = {
  name: nameField,
  grant_type: field('string', '"authorization_code".'),
  code: field('string', 'The code: good once, for a minute.', { sensitive: true }),
  redirect_uri: field('string', 'As it was when the code was asked for.'),
  code_verifier: field('string', 'PKCE: what the challenge was made of.', { sensitive: true }),
  client_id: field('string', 'The id of the client, unless it comes by Basic.'),
  client_secret: field('string', 'Its secret, unless it comes by Basic.', { sensitive: true }),
}

export function providerRoutes(services: IdentityServices): PathDef[] {
  const authorizing = faultsAnswered((context) => authorize(services, context))
  const telling = faultsAnswered((context) => userInfo(services, context))
  return [
    ...assignmentPaths(),
    ...scopePaths(),
    ...clientPaths(),
    ...providerPaths(),
    path(
      'oidc/provider/:name/authorize',
      'A code for an application that the caller wants to sign in to.',
      { bare: true, fields: authorizeFields },
      { read: writes('Get a code', authorizing), update: writes('Get a code, asked for by a form', authorizing) },
      'The caller needs an entity of this namespace that an assignment of the client names. Answers code and state, or error and error_description.',
    ),
    path(
      'oidc/provider/:name/token',
      'The tokens that a code stands for.',
      { unauthenticated: true, bare: true, fields: tokenFields },
      {
        update: writes(
          'Redeem a code',
          faultsAnswered((context) => exchange(services, context)),
        ),
      },
      'The client proves itself by Basic or in the form; a public one by the verifier of its code.',
    ),
    path(
      'oidc/provider/:name/userinfo',
      'What is known of the person of an access token.',
      { unauthenticated: true, bare: true, fields: { name: nameField } },
      { read: reads('Read', telling), update: reads('Read, asked for by POST', telling) },
      'With the header "Authorization: Bearer ACCESS_TOKEN". An access token opens nothing else.',
    ),
    path(
      'oidc/provider/:name/.well-known/openid-configuration',
      'What relying parties have to know (OpenID Connect Discovery).',
      { unauthenticated: true, bare: true, fields: { name: nameField } },
      { read: reads('Read', (context) => discovery(services, context)) },
    ),
    path(
      'oidc/provider/:name/.well-known/keys',
      "The public keys of the provider's clients (RFC 7517).",
      { unauthenticated: true, bare: true, fields: { name: nameField } },
      { read: reads('Read', keySet) },
    ),
  ]
}
