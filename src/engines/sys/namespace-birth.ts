/** The keys that a namespace is born with. */
import { HoldfastError } from '#base/errors.ts'
import { transactionOf } from '#core/scope.ts'
import type { HandlerContext } from '#core/types.ts'
import type { Namespace } from '#namespaces/record.ts'
import { parseNamespaceSeal } from '#seal/namespace-config.ts'
import { text } from './table.ts'
import type { SystemServices } from './types.ts'

/** Before shares are made. @throws ERR_BAD_REQUEST. */
export function refuseWrapping({ request }: HandlerContext): void {
  if (request.wrapTtlSeconds <= 0) return
  throw new HoldfastError('ERR_BAD_REQUEST', "a namespace's shares expected to be answered as they are, got a request to wrap the answer", {
    hint: 'what is wrapped lies under the keys of the namespace around it: encrypt the shares to pgp_keys instead',
  })
}

/** Gives `made`, which has nothing yet, its keys in the request's transaction; what is answered besides. @throws ERR_BAD_REQUEST. */
export async function giveKeys(
  { namespaceSeals }: Pick<SystemServices, 'namespaceSeals'>,
  context: HandlerContext,
  made: Namespace,
): Promise<Record<string, unknown>> {
  const { keyrings } = transactionOf(context)
  const wish = text(context, 'seal')
  if (wish === '') {
    keyrings?.create(made.id, made.parentId!)
    return {}
  }
  refuseWrapping(context)
  if (keyrings === undefined || namespaceSeals === undefined)
    throw new HoldfastError('ERR_BAD_REQUEST', 'seal expected only where namespaces can have one of their own, got one')
  using fresh = await namespaceSeals.make(parseNamespaceSeal(wish))
  keyrings.create(made.id, made.parentId!, fresh.seal)
  const keys = fresh.keys.map((key) => Buffer.from(key.buffer, key.byteOffset, key.length))
  const shown = { key_shares: keys.map((key) => key.toString('hex')), key_shares_base64: keys.map((key) => key.toString('base64')) }
  for (const key of keys) key.fill(0)
  return shown
}
