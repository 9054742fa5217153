/**
 * Tokens of identity (identity/oidc/...): a service that trusts this namespace's keys learns from a signed token who somebody is, without asking here.
 * Keys and documents are for anybody to read: that is how relying parties verify.
 */
import type { EngineDef, HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { answer, field, optional, path, reads, writes } from '../../sys/table.ts'
import type { IdentityServices } from '../common.ts'
import { readIssuer } from './issuer.ts'
import { keyPaths, nameField } from './keys.ts'
import { keyFolder, publishedKeys, readConfig, readKey, signatureAlgorithms, writeConfig } from './records.ts'
import { rolePaths } from './roles.ts'
import { dropCodes } from './provider/codes.ts'
import { providerRoutes } from './provider/index.ts'
import { rotateDue } from './rotation.ts'
import { introspect, issuerOf, issueToken } from './tokens.ts'

const rotateEveryMs = 30_000
const dropCodesEveryMs = 60_000
/** The next key is published a whole period ahead, a minute at least. */
const keptSecondsMax = 3_600
const issuerWarning =
  'If "issuer" is set explicitly, all tokens must be validated against that address, including those issued by other nodes. Setting issuer to "" will restore the default behavior of using the answering node\'s api_addr as the issuer.'

export const oidcJobs: NonNullable<EngineDef['jobs']> = [
  { name: 'rotate keys of identity tokens', everyMs: rotateEveryMs, run: rotateDue },
  { name: 'drop codes of the OpenID provider', everyMs: dropCodesEveryMs, run: dropCodes },
]

async function saveConfig(context: HandlerContext): Promise<LogicalResponse> {
  const issuer = readIssuer(optional<string>(context, 'issuer') ?? '')
  writeConfig(context.storage, { issuer })
  return { warnings: issuer === '' ? [] : [issuerWarning] }
}

async function discovery(services: IdentityServices, context: HandlerContext): Promise<LogicalResponse> {
  const issuer = await issuerOf(services, context)
  return cached(
    {
      issuer,
      jwks_uri: `${issuer}/.well-known/keys`,
      response_types_supported: ['id_token'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: signatureAlgorithms,
    },
    keptSecondsMax,
  )
}

async function keySet(context: HandlerContext): Promise<LogicalResponse> {
  const keys = await publishedKeys(context.storage, context.nowMs)
  return cached({ keys: keys.map(({ jwk }) => jwk) }, await keptSeconds(context))
}

/** Until the first of the keys has its turn: by then the set has another key in it. */
async function keptSeconds({ storage, nowMs }: HandlerContext): Promise<number> {
  let seconds = keptSecondsMax
  for (const name of await storage.list(keyFolder)) {
    const key = await readKey(storage, name)
    if (key !== null) seconds = Math.min(seconds, Math.floor((key.nextRotationMs - nowMs) / 1_000))
  }
  return Math.max(0, seconds)
}

const cached = (bareBody: object, seconds: number): LogicalResponse => ({ bareBody, headers: { 'cache-control': `max-age=${seconds}` } })

export const oidcPaths = (services: IdentityServices): PathDef[] => [
  path(
    'oidc/config',
    'Under which address relying parties know this namespace.',
    {
      fields: {
        issuer: field('string', "Scheme, host and port, the same for every node; '' for that of the node that answers.", {
          example: 'https://holdfast.example.com:8200',
        }),
      },
    },
    {
      read: reads('Read', async (context) => answer(await readConfig(context.storage).then(({ issuer }) => ({ issuer })))),
      update: writes('Set', saveConfig),
    },
  ),
  ...keyPaths(),
  ...rolePaths(),
  path(
    'oidc/token/:name',
    'A token that says who the caller is.',
    { fields: { name: nameField } },
    { read: reads('Sign one', (context) => issueToken(services, context)) },
    'The caller needs an entity of this namespace. What it says beyond the usual claims, the template of the role says.',
  ),
  path(
    'oidc/introspect',
    'Whether a token of identity is good.',
    {
      bare: true,
      fields: {
        token: field('string', 'The token.', { required: true, sensitive: true }),
        client_id: field('string', 'Then it must be for this audience.'),
      },
    },
    { update: reads('Look into it', (context) => introspect(services, context)) },
  ),
  path(
    'oidc/.well-known/openid-configuration',
    'What relying parties have to know (OpenID Connect Discovery).',
    { unauthenticated: true, bare: true },
    { read: reads('Read', (context) => discovery(services, context)) },
  ),
  path(
    'oidc/.well-known/keys',
    'The public keys that tokens of identity are verified with (RFC 7517).',
    { unauthenticated: true, bare: true },
    { read: reads('Read', keySet) },
  ),
  ...providerRoutes(services),
]
