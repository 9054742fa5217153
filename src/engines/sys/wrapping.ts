/** Wrapping anything, and opening what is wrapped. */
import { HoldfastError } from '#base/errors.ts'
import { scopeOf, transactionOf } from '#core/scope.ts'
import { cubbyholeSection } from '#core/wrap.ts'
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import type { TokenEntry } from '#tokens/types.ts'
import { answer, field, path, reads, text, writes } from './table.ts'
import type { SystemServices } from './types.ts'

const invalid = (): HoldfastError =>
  new HoldfastError('ERR_BAD_REQUEST', 'wrapping token is not valid or does not exist', {
    hint: 'it has expired, was opened already (by whom? the audit says), or is of another cluster',
  })

/** Whoever wraps a token's answer again still has to find its token: an accessor that the first wrapping named, and the second did not, is lost. */
function accessorIn(response: string): { readonly wrappedAccessor?: string } {
  const { auth } = JSON.parse(response) as { readonly auth?: { readonly accessor?: string } | null }
  return auth?.accessor === undefined ? {} : { wrappedAccessor: auth.accessor }
}

export function wrappingPaths({ wrapping }: SystemServices): PathDef[] {
  const fields = { token: field('string', "The wrapping token; the caller's own when absent.", { sensitive: true }) }
  const section = (context: HandlerContext) => cubbyholeSection(scopeOf(context).mounts)
  const find = async (context: HandlerContext): Promise<TokenEntry> => {
    const token = text(context, 'token') || (context.request.token ?? '')
    const entry = token === '' ? null : await wrapping.find(scopeOf(context).view, token, context.mount.namespaceId)
    if (!entry) throw invalid()
    return entry
  }
  const lookup = async (context: HandlerContext): Promise<LogicalResponse> => {
    const facts = await wrapping.facts(scopeOf(context).view, section(context), await find(context))
    if (!facts) throw invalid()
    return answer({ ...facts })
  }
  const unwrap = async (context: HandlerContext): Promise<LogicalResponse> => {
    const response = await wrapping.unwrap(transactionOf(context), section(context), await find(context))
    if (response === null) throw invalid()
    return { raw: { contentType: 'application/json', body: Buffer.from(response) } }
  }
  const rewrap = async (context: HandlerContext): Promise<LogicalResponse> => {
    const entry = await find(context)
    const transaction = transactionOf(context)
    const facts = await wrapping.facts(transaction, section(context), entry)
    const response = await wrapping.unwrap(transaction, section(context), entry)
    if (!facts || response === null) throw invalid()
    const wrapInfo = await wrapping.wrap(transaction, section(context), {
      text: response,
      ttlSeconds: facts.creation_ttl,
      creationPath: facts.creation_path,
      ...accessorIn(response),
    })
    return { wrapInfo }
  }
  // Whoever has the wrapping token may use it: it is the right itself, so no other token is asked for.
  const bearer = { unauthenticated: true, fields } as const
  return [
    path(
      'wrapping/wrap',
      'Wrap what the body says.',
      { injected: true, freeForm: true },
      {
        update: writes('Wrap', async (context) => {
          if (context.request.wrapTtlSeconds <= 0) {
            throw new HoldfastError('ERR_BAD_REQUEST', 'endpoint requires response wrapping to be used', {
              hint: 'send the header X-Vault-Wrap-TTL',
            })
          }
          return answer(context.data)
        }),
      },
    ),
    path('wrapping/unwrap', 'Open a wrapping token, once.', bearer, { update: writes('Unwrap', unwrap) }),
    path('wrapping/lookup', 'When and where a wrapping token was made; does not open it.', bearer, {
      read: reads('Look up', lookup),
      update: reads('Look up', lookup),
    }),
    path('wrapping/rewrap', 'Lay the answer into a fresh token.', bearer, { update: writes('Rewrap', rewrap) }),
  ]
}
