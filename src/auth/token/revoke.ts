/** Revoking tokens: all below them die in the same Raft entry. */
import { HoldfastError } from '#base/errors.ts'
import { clearRevoked } from '#core/revoked.ts'
import { scopeOf, transactionOf } from '#core/scope.ts'
import type { HandlerContext, OperationDef, PathDef } from '#core/types.ts'
import type { Revoked } from '#tokens/store.ts'
import type { TokenEntry } from '#tokens/types.ts'
import type { AuthServices } from '../index.ts'
import { accessorField, byAccessor, named, self, text, tokenField } from './fields.ts'

const endedWithIt = 'Children in a namespace that is sealed could not be made orphans: they ended with this token.'

/** All of a batch token is in itself: there is nothing that could be taken away. */
function revocable(entry: TokenEntry): TokenEntry {
  if (entry.type === 'batch') {
    throw new HoldfastError('ERR_BAD_REQUEST', 'batch tokens cannot be revoked', { hint: 'it ends with its parent, or by its time' })
  }
  return entry
}

export function revokePaths({ tokens }: AuthServices): PathDef[] {
  const clear = async (context: HandlerContext, { entries }: Revoked): Promise<null> => {
    await clearRevoked(transactionOf(context), scopeOf(context).mountsOf, entries)
    return null
  }
  const path = (
    pattern: string,
    synopsis: string,
    fields: PathDef['fields'],
    handler: OperationDef['handler'],
    flags: Partial<PathDef> = {},
  ): PathDef => ({
    pattern,
    fields,
    ...flags,
    help: { synopsis, description: synopsis },
    operations: { update: { summary: 'Revoke', writes: true, handler } },
  })
  /** A token that is not good any more is revoked already: no error, as with the peers. */
  const find = async (context: HandlerContext) => {
    try {
      return (await named(context, tokens)).entry
    } catch (error) {
      if (error instanceof HoldfastError && error.code === 'ERR_PERMISSION_DENIED') return null
      throw error
    }
  }
  return [
    path('revoke', 'Revoke a token and all below it.', { token: tokenField }, async (context) => {
      const entry = await find(context)
      return entry && clear(context, await tokens.revokeTree(transactionOf(context), revocable(entry)))
    }),
    path('revoke-self', "Revoke the caller's token and all below it.", {}, async (context) =>
      clear(context, await tokens.revokeTree(transactionOf(context), revocable(self(context)))),
    ),
    path('revoke-accessor', 'Revoke a token by its accessor, and all below it.', { accessor: accessorField }, async (context) => {
      if (text(context, 'accessor') === '') throw new HoldfastError('ERR_BAD_REQUEST', 'missing accessor')
      return clear(context, await tokens.revokeTree(transactionOf(context), await byAccessor(context, tokens)))
    }),
    path(
      'revoke-orphan',
      'Revoke a token; its children become orphans.',
      { token: tokenField },
      async (context) => {
        const entry = await find(context)
        if (entry === null) return null
        const revoked = await tokens.revokeOrphan(transactionOf(context), revocable(entry))
        await clear(context, revoked)
        return revoked.more ? { warnings: [endedWithIt] } : null
      },
      { sudo: true },
    ),
    path('tidy', 'Delete tokens that have ended, a bounded number of them; the leader does so by itself too.', {}, async (context) => {
      const revoked = await tokens.tidyStep(transactionOf(context), undefined, context.mount.namespaceId)
      await clear(context, revoked)
      return { warnings: ['Tidy operation successfully started. Any information from the operation will be printed to the server logs.'] }
    }),
  ]
}
