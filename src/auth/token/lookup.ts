/** Looking tokens up: by themselves, by the caller's own, by accessor; and the list of accessors. */
import { scopeOf } from '#core/scope.ts'
import type { HandlerContext, LogicalResponse, OperationDef, PathDef } from '#core/types.ts'
import { lookupData } from '#tokens/shapes.ts'
import type { TokenEntry } from '#tokens/types.ts'
import type { AuthServices } from '../index.ts'
import { accessorField, byAccessor, field, inherited, named, optional, self, tokenField } from './fields.ts'

/** Tokens that are found here are of this namespace, but for the caller's own, which may be of one above. */
function namespacePath(context: HandlerContext, { namespaceId }: TokenEntry): { namespace_path?: string } {
  const own = scopeOf(context).line.find(({ id }) => id === namespaceId)
  return own === undefined || own.path === '' ? {} : { namespace_path: own.path }
}

const help = (synopsis: string) => ({ synopsis, description: synopsis })

export function lookupPaths({ tokens, policies }: AuthServices): PathDef[] {
  const reads = (summary: string, handler: OperationDef['handler']): OperationDef => ({ summary, writes: false, handler })
  const describe = async (context: HandlerContext, entry: TokenEntry, token: string): Promise<LogicalResponse> => ({
    data: {
      ...lookupData(entry, context.nowMs, token, await inherited(context, policies, entry)),
      ...namespacePath(context, entry),
    },
  })
  const lookupSelf = (context: HandlerContext): Promise<LogicalResponse> => describe(context, self(context), context.request.token ?? '')
  const lookup = async (context: HandlerContext): Promise<LogicalResponse> => {
    // Without one, the caller asks about its own.
    if (optional<string>(context, 'token') === undefined) return lookupSelf(context)
    const { entry, token } = await named(context, tokens)
    return describe(context, entry, token)
  }
  const page = (context: HandlerContext): { after?: string; limit?: number } => {
    const after = optional<string>(context, 'after')
    const limit = optional<number>(context, 'limit')
    return { ...(after === undefined ? {} : { after }), ...(limit === undefined ? {} : { limit }) }
  }
  const pageFields = {
    after: field('string', 'Accessors after this one.', { in: 'query' }),
    limit: field('int', 'At most so many.', { in: 'query' }),
  }
  return [
    {
      pattern: 'lookup',
      fields: { token: tokenField },
      help: help('Look a token up.'),
      operations: { read: reads('Look up', lookup), update: reads('Look up', lookup) },
    },
    {
      pattern: 'lookup-self',
      fields: {},
      help: help("Look the caller's token up."),
      operations: { read: reads('Look up', lookupSelf), update: reads('Look up', lookupSelf) },
    },
    {
      pattern: 'lookup-accessor',
      fields: { accessor: accessorField },
      help: help('Look a token up by its accessor; the token itself is not answered.'),
      operations: {
        update: reads('Look up', async (context) => describe(context, await byAccessor(context, tokens), '')),
      },
    },
    {
      pattern: 'accessors',
      fields: pageFields,
      sudo: true,
      help: help('Accessors of all tokens.'),
      operations: {
        list: reads('List', async (context) => ({
          data: { keys: await tokens.listAccessors(scopeOf(context).view, page(context), context.mount.namespaceId) },
        })),
      },
    },
  ]
}
