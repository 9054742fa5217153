/** Renewing tokens. */
import { HoldfastError } from '#base/errors.ts'
import { renewalTerms } from '#core/login.ts'
import { scopeOf, transactionOf } from '#core/scope.ts'
import { transactionStorage } from '#core/storage.ts'
import type { HandlerContext, LogicalResponse, MountEntry, OperationDef, PathDef } from '#core/types.ts'
import { authResponse } from '#tokens/shapes.ts'
import { shorter } from '#tokens/ttl.ts'
import type { TokenEntry } from '#tokens/types.ts'
import type { AuthServices } from '../index.ts'
import { accessorField, byAccessor, incrementField, inherited, named, optional, self, tokenField, ttlLimits } from './fields.ts'
import { readRole } from './roles.ts'

/** Of the token's own namespace. Where it is renewed may be one below, whose administrators say how long tokens live there, and not this one. */
async function mountOf(context: HandlerContext, { namespaceId }: TokenEntry): Promise<MountEntry> {
  if (namespaceId === context.mount.namespaceId) return context.mount
  const own = (await scopeOf(context).mountsOf(namespaceId)).entries.find(({ table, type }) => table === 'auth' && type === 'token')
  return own ?? context.mount
}

/**
 * What the role of a token that was made by one says by now. The longest that it lives was laid down when it was made: the role may shorten it, not lengthen it.
 * @throws ERR_BAD_REQUEST: there is no such role any more.
 */
async function roleTerms(
  context: HandlerContext,
  mount: MountEntry,
  { role: name, explicitMaxTtlSeconds }: TokenEntry,
): Promise<Partial<Pick<TokenEntry, 'periodSeconds' | 'explicitMaxTtlSeconds'>>> {
  if (name === undefined) return {}
  const storage = transactionStorage(transactionOf(context), { namespace: mount.namespaceId, mount: mount.uuid })
  const role = await readRole(storage, name)
  if (role === null)
    throw new HoldfastError('ERR_BAD_REQUEST', `original token role ${JSON.stringify(name)} could not be found, not renewing`)
  return { periodSeconds: role.periodSeconds, explicitMaxTtlSeconds: shorter(explicitMaxTtlSeconds, role.explicitMaxTtlSeconds) }
}

export function renewPaths({ tokens, policies, identity }: AuthServices): PathDef[] {
  /** One that no login made. */
  const renewOwn = async (context: HandlerContext, entry: TokenEntry, asked: number) => {
    const mount = await mountOf(context, entry)
    return tokens.renew(transactionOf(context), entry, asked, ttlLimits(mount), await roleTerms(context, mount, entry))
  }
  const renew = async (context: HandlerContext, entry: TokenEntry, token: string): Promise<LogicalResponse> => {
    if (entry.type === 'batch') throw new HoldfastError('ERR_BAD_REQUEST', 'batch tokens cannot be renewed')
    const asked = optional<number>(context, 'increment') ?? 0
    const terms = await renewalTerms(context, entry)
    const renewed =
      terms === null
        ? await renewOwn(context, entry, asked)
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
