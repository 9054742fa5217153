/** Renewing tokens. */
import { HoldfastError } from '#base/errors.ts'
import { renewalTerms } from '#core/login.ts'
import { scopeOf, transactionOf } from '#core/scope.ts'
import type { HandlerContext, LogicalResponse, OperationDef, PathDef } from '#core/types.ts'
import { authResponse } from '#tokens/shapes.ts'
import type { TtlLimits } from '#tokens/ttl.ts'
import type { TokenEntry } from '#tokens/types.ts'
import type { AuthServices } from '../index.ts'
import { accessorField, byAccessor, incrementField, inherited, named, optional, self, tokenField, ttlLimits } from './fields.ts'

/** Of the token's own namespace. Where it is renewed may be one below, whose administrators say how long tokens live there, and not this one. */
async function limitsOf(context: HandlerContext, { namespaceId }: TokenEntry): Promise<TtlLimits> {
  if (namespaceId === context.mount.namespaceId) return ttlLimits(context.mount)
  const own = (await scopeOf(context).mountsOf(namespaceId)).entries.find(({ table, type }) => table === 'auth' && type === 'token')
  return ttlLimits(own ?? context.mount)
}

export function renewPaths({ tokens, policies, identity }: AuthServices): PathDef[] {
  const renew = async (context: HandlerContext, entry: TokenEntry, token: string): Promise<LogicalResponse> => {
    if (entry.type === 'batch') throw new HoldfastError('ERR_BAD_REQUEST', 'batch tokens cannot be renewed')
    const asked = optional<number>(context, 'increment') ?? 0
    const terms = await renewalTerms(context, entry)
    const renewed =
      terms === null
        ? await tokens.renew(transactionOf(context), entry, asked, await limitsOf(context, entry))
        : await tokens.renew(transactionOf(context), entry, asked || terms.ttlSeconds, terms.limits, { periodSeconds: terms.periodSeconds })
    if (terms?.groups && entry.entityId !== '') {
      const { names, mountAccessor } = terms.groups
      await identity.refreshGroups(transactionOf(context), entry.entityId, mountAccessor, names, entry.namespaceId)
    }
    const identityPolicies = await inherited(context, policies, entry)
    return { auth: authResponse(renewed.entry, token, context.nowMs, identityPolicies), warnings: renewed.warnings }
  }
  const path = (pattern: string, synopsis: string, fields: PathDef['fields'], handler: OperationDef['handler']): PathDef => ({
    pattern,
    fields: { increment: incrementField, ...fields },
    help: { synopsis, description: 'What is granted is bounded by the maximum TTL; a warning says so.' },
    operations: { update: { summary: 'Renew', writes: true, handler } },
  })
  return [
    path('renew', 'Renew a token.', { token: tokenField }, async (context) => {
      const { entry, token } = await named(context, tokens)
      return renew(context, entry, token)
    }),
    path('renew-self', "Renew the caller's token.", {}, (context) => renew(context, self(context), context.request.token ?? '')),
    path(
      'renew-accessor',
      'Renew a token by its accessor; the token itself is not answered.',
      { accessor: accessorField },
      async (context) => renew(context, await byAccessor(context, tokens), ''),
    ),
  ]
}
