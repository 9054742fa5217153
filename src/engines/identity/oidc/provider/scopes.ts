/** Routes of scopes: claims that a client may ask for. */
import type { HandlerContext, PathDef } from '#core/types.ts'
import { field, optional, path, reads, writes } from '../../../sys/table.ts'
import { bad } from '../../common.ts'
import { nameField, nameOf } from '../keys.ts'
import { templateOf } from '../roles.ts'
import { claimNamesOf, compileTemplate, type Claims, type TemplateFacts } from '../template.ts'
import { checkRoom, listed, listPath, shown } from './crud.ts'
import { openidScope, providerLimits, providers, scopes, type Scope } from './records.ts'

const descriptionCharsMax = 1_024

async function save(context: HandlerContext): Promise<null> {
  const name = nameOf(context)
  if (name === openidScope) throw bad(`the "${openidScope}" scope name is reserved`)
  const before = await scopes.read(context.storage, name)
  await checkRoom(context, scopes, before, providerLimits.scopesMax, 'scopes')
  const template = templateOf(optional<string>(context, 'template') ?? before?.template ?? '')
  compileTemplate(template)
  const description = optional<string>(context, 'description') ?? before?.description ?? ''
  if (description.length > descriptionCharsMax) throw bad(`description expected at most ${descriptionCharsMax} characters`)
  scopes.write(context.storage, name, { template, description })
  return null
}

async function remove(context: HandlerContext): Promise<null> {
  const name = nameOf(context)
  const holders = (await providers.all(context.storage)).filter(([, each]) => each.scopes.includes(name)).map(([holder]) => holder)
  if (holders.length > 0) {
    throw bad(`unable to delete scope ${JSON.stringify(name)} because it is currently referenced by these providers: ${listed(holders)}`)
  }
  scopes.delete(context.storage, name)
  return null
}

/** Two of `named` that say the same claim, and which; null where each is said once. Of two that differ a relying party could be told either. */
export function clashOf(named: readonly (readonly [string, Scope])[]): { claim: string; one: string; other: string } | null {
  const saidBy = new Map<string, string>()
  for (const [scope, { template }] of named) {
    for (const claim of claimNamesOf(template)) {
      const one = saidBy.get(claim)
      if (one !== undefined) return { claim, one, other: scope }
      saidBy.set(claim, scope)
    }
  }
  return null
}

/** The claims that these scopes give for somebody. */
export const claimsOfScopes = (named: readonly (readonly [string, Scope])[], facts: TemplateFacts): Claims =>
  Object.assign({}, ...named.map(([, { template }]) => compileTemplate(template)(facts)))

export const scopePaths = (): PathDef[] => [
  listPath('oidc/scope', 'Names of the scopes.', scopes),
  path(
    'oidc/scope/:name',
    'Claims that a client may ask for by its name.',
    {
      fields: {
        name: nameField,
        template: field('string', 'The claims: JSON, with {{identity.entity.name}} and its like as values. Plain or base64.', {
          example: '{"username": {{identity.entity.name}}}',
        }),
        description: field('string', 'For whom or what it is.'),
      },
      exists: async (context) => (await scopes.read(context.storage, nameOf(context))) !== null,
    },
    {
      create: writes('Make', save, { template: '{"username": {{identity.entity.name}}}' }),
      update: writes('Change', save),
      read: reads(
        'Read',
        shown(scopes, ({ template, description }) => ({ template, description })),
      ),
      delete: writes('Delete', remove),
    },
    'A provider offers it by naming it in scopes_supported. The claims that a token says by itself can not be named in a template.',
  ),
]
