/** Where the tokens come from, and whose keys sign them: one of static keys, a key set at an address, or an OpenID provider that is discovered. */
import { createPublicKey } from 'node:crypto'
import { HoldfastError } from '#base/errors.ts'
import type { HandlerContext, LogicalResponse, MountStorage, PathDef } from '#core/types.ts'
import { readConfig } from '../accounts.ts'
import { field, optional, path, reads, text, writes } from '../fields.ts'
import { checkWebUrl } from '../outside.ts'
import type { Provider } from './provider.ts'

const formatVersion = 1
const what = "the configuration of a mount's JWT logins"

/** Never HMAC (a public key would be the secret), never none. */
export const algorithms = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'] as const

export interface JwtConfig {
  readonly version: number
  readonly oidcDiscoveryUrl: string
  readonly oidcDiscoveryCaPem: string
  readonly oidcClientId: string
  readonly oidcClientSecret: string
  readonly jwksUrl: string
  readonly jwksCaPem: string
  readonly validationPubkeys: readonly string[]
  readonly boundIssuer: string
  readonly supportedAlgs: readonly string[]
  readonly defaultRole: string
  readonly namespaceInState: boolean
}

/** @throws ERR_BAD_REQUEST before the mount is configured. */
export async function configOf(storage: MountStorage): Promise<JwtConfig> {
  const config = await readConfig<JwtConfig>(storage, what, formatVersion)
  if (config === null) throw new HoldfastError('ERR_BAD_REQUEST', 'could not load configuration', { hint: 'write auth/PATH/config first' })
  return config
}

const configFields = {
  oidc_discovery_url: field('string', 'Issuer of an OpenID provider, without .well-known: its keys and routes are discovered.'),
  oidc_discovery_ca_pem: field('string', "PEM of the authority of the provider's TLS certificate."),
  oidc_client_id: field('string', 'As which client it knows this mount; for roles of type oidc.'),
  oidc_client_secret: field('string', "That client's secret; empty for a public client.", { sensitive: true }),
  jwks_url: field('string', 'Address of a key set (JWKS).'),
  jwks_ca_pem: field('string', "PEM of the authority of the key set's TLS certificate."),
  jwt_validation_pubkeys: field('list', 'Public keys or certificates in PEM that sign the tokens.'),
  bound_issuer: field('string', "What a token's iss must be."),
  jwt_supported_algs: field('list', `Algorithms that are accepted; all of ${algorithms.join(', ')} unless said. Never HMAC.`),
  default_role: field('string', 'The role of logins that name none.'),
  provider_config: field('map', 'Ways of single providers: none are known; expected empty.'),
  namespace_in_state: field('bool', 'Kept and shown: the state is opaque.', { default: true }),
  oidc_response_mode: field('string', "Only 'query', or empty.", { enum: ['', 'query'] }),
  oidc_response_types: field('list', "Only 'code', or empty."),
  skip_jwks_validation: field('bool', 'Does not ask the provider now whether it answers.'),
}

export function configPath(provider: Provider): PathDef {
  return path(
    'config',
    'Whose tokens are believed.',
    { fields: configFields },
    { read: reads('Read, without the client secret', describe), update: writes('Set, all of it', (context) => save(provider, context)) },
    'Writing replaces the whole configuration. Exactly one of jwt_validation_pubkeys, jwks_url and oidc_discovery_url says whose keys sign.',
  )
}

const bad = (message: string): HoldfastError => new HoldfastError('ERR_BAD_REQUEST', message)

function readFields(context: HandlerContext): JwtConfig {
  const list = (name: string): string[] => optional<string[]>(context, name)?.filter((each) => each !== '') ?? []
  const config: JwtConfig = {
    version: formatVersion,
    oidcDiscoveryUrl: text(context, 'oidc_discovery_url'),
    oidcDiscoveryCaPem: text(context, 'oidc_discovery_ca_pem'),
    oidcClientId: text(context, 'oidc_client_id'),
    oidcClientSecret: text(context, 'oidc_client_secret'),
    jwksUrl: text(context, 'jwks_url'),
    jwksCaPem: text(context, 'jwks_ca_pem'),
    validationPubkeys: list('jwt_validation_pubkeys'),
    boundIssuer: text(context, 'bound_issuer'),
    supportedAlgs: list('jwt_supported_algs'),
    defaultRole: text(context, 'default_role').toLowerCase(),
    namespaceInState: optional<boolean>(context, 'namespace_in_state') ?? true,
  }
  const sources = [config.oidcDiscoveryUrl, config.jwksUrl, config.validationPubkeys[0] ?? ''].filter((source) => source !== '')
  if (sources.length !== 1) throw bad("exactly one of 'jwt_validation_pubkeys', 'jwks_url' or 'oidc_discovery_url' must be set")
  if (config.oidcClientId !== '' && config.oidcDiscoveryUrl === '') throw bad("'oidc_discovery_url' must be set for OIDC")
  if (config.oidcClientId === '' && config.oidcClientSecret !== '') throw bad("'oidc_client_id' must be set beside 'oidc_client_secret'")
  if (config.oidcDiscoveryUrl !== '') checkWebUrl('oidc_discovery_url', config.oidcDiscoveryUrl)
  if (config.jwksUrl !== '') checkWebUrl('jwks_url', config.jwksUrl)
  const unknown = config.supportedAlgs.find((name) => !(algorithms as readonly string[]).includes(name))
  if (unknown !== undefined)
    throw bad(`jwt_supported_algs expected names among ${algorithms.join(', ')}, got ${JSON.stringify(unknown.slice(0, 16))}`)
  config.validationPubkeys.forEach((pem, at) => checkPublicKey(pem, at))
  if (Object.keys(optional<object>(context, 'provider_config') ?? {}).length > 0) throw bad('provider_config expected nothing, got some')
  const types = list('oidc_response_types')
  if (types.some((type) => type !== 'code')) throw bad("oidc_response_types expected 'code' alone")
  return config
}

function checkPublicKey(pem: string, at: number): void {
  try {
    if (/PRIVATE KEY/.test(pem)) throw new Error('private')
    createPublicKey(pem)
  } catch {
    throw bad(`jwt_validation_pubkeys expected public keys or certificates in PEM, got something else at ${at}`)
  }
}

async function save(provider: Provider, context: HandlerContext): Promise<LogicalResponse | null> {
  const config = readFields(context)
  if (optional<boolean>(context, 'skip_jwks_validation') !== true) await provider.check(context, config)
  context.storage.putJson('config', config)
  return null
}

async function describe(context: HandlerContext): Promise<LogicalResponse | null> {
  const config = await readConfig<JwtConfig>(context.storage, what, formatVersion)
  if (config === null) return null
  return {
    data: {
      bound_issuer: config.boundIssuer,
      default_role: config.defaultRole,
      jwks_ca_pem: config.jwksCaPem,
      jwks_url: config.jwksUrl,
      jwt_supported_algs: config.supportedAlgs,
      jwt_validation_pubkeys: config.validationPubkeys,
      namespace_in_state: config.namespaceInState,
      oidc_client_id: config.oidcClientId,
      oidc_discovery_ca_pem: config.oidcDiscoveryCaPem,
      oidc_discovery_url: config.oidcDiscoveryUrl,
      oidc_response_mode: '',
      oidc_response_types: [],
      provider_config: {},
    },
  }
}
