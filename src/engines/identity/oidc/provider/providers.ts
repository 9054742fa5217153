/** Routes of providers: issuers that relying parties know, each with its clients and scopes. */
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { field, inQuery, optional, path, reads, text, writes } from '../../../sys/table.ts'
import { bad } from '../../common.ts'
import { nameField, nameOf } from '../keys.ts'
import { readIssuer } from '../issuer.ts'
import { mayUse } from '../tokens.ts'
import { checkRoom, idsIn, listPath, shown } from './crud.ts'
import { defaultProvider, openidScope, providerLimits, providers, scopes, type Provider, type Scope } from './records.ts'
import { clashOf } from './scopes.ts'

const clientIdsMax = 1_024
const scopesOfOneMax = 64

const described = ({ issuer, allowedClientIds, scopes: named }: Provider): Readonly<Record<string, unknown>> => ({
  issuer,
  allowed_client_ids: allowedClientIds,
  scopes_supported: named,
})

async function save(context: HandlerContext): Promise<LogicalResponse | null> {
  const name = nameOf(context)
  const before = await providers.read(context.storage, name)
  await checkRoom(context, providers, before, providerLimits.providersMax, 'providers')
  const issuer = optional<string>(context, 'issuer')
  const named = idsIn('scopes_supported', optional<string[]>(context, 'scopes_supported') ?? before?.scopes ?? [], scopesOfOneMax)
  const found = await existing(context, named)
  providers.write(context.storage, name, {
    issuer: issuer === undefined ? (before?.issuer ?? '') : readIssuer(issuer),
    allowedClientIds: idsIn(
      'allowed_client_ids',
      optional<string[]>(context, 'allowed_client_ids') ?? before?.allowedClientIds ?? [],
      clientIdsMax,
    ),
    scopes: named,
  })
  const clash = clashOf(found)
  if (clash === null) return null
  const text = `Found scope templates with conflicting top-level keys: conflict ${JSON.stringify(clash.claim)} in scopes ${JSON.stringify(clash.one)}, ${JSON.stringify(clash.other)}. A client that asks for both is refused.`
  return { warnings: [text] }
}

/** @throws ERR_BAD_REQUEST for a scope that there is not. */
async function existing({ storage }: HandlerContext, named: readonly string[]): Promise<(readonly [string, Scope])[]> {
  const found: (readonly [string, Scope])[] = []
  for (const name of named) {
    if (name === openidScope) throw bad(`the "${openidScope}" scope is always there, and is not named`)
    const scope = await scopes.read(storage, name)
    if (scope === null) throw bad(`scope ${JSON.stringify(name)} does not exist`)
    found.push([name, scope])
  }
  return found
}

async function remove(context: HandlerContext): Promise<null> {
  const name = nameOf(context)
  if (name === defaultProvider) throw bad(`deletion of OIDC provider "${defaultProvider}" not allowed`)
  providers.delete(context.storage, name)
  return null
}

const fields = {
  name: nameField,
  issuer: field('string', "Scheme, host and port that relying parties know it by; '' for that of identity/oidc/config.", {
    example: 'https://holdfast.example.com:8200',
  }),
  allowed_client_ids: field('list', 'Ids of the clients that may use it; "*" for all. None unless said.'),
  scopes_supported: field('list', 'Names of the scopes that clients may ask for, besides openid.'),
}

export const providerPaths = (): PathDef[] => [
  listPath(
    'oidc/provider',
    'Names of the providers, with what they are.',
    providers,
    described,
    (context, { allowedClientIds }) => {
      const wanted = text(context, 'allowed_client_id')
      return wanted === '' || mayUse(allowedClientIds, wanted)
    },
    { allowed_client_id: inQuery('string', 'Only those that this client may use.') },
  ),
  path(
    'oidc/provider/:name',
    'An issuer that relying parties know.',
    { fields, exists: async (context) => (await providers.read(context.storage, nameOf(context))) !== null },
    {
      create: writes('Make', save, { allowed_client_ids: ['*'] }),
      update: writes('Change', save),
      read: reads('Read', shown(providers, described)),
      delete: writes('Delete', remove),
    },
    'The provider "default" is always there, for all clients.',
  ),
]
