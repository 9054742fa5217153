/** The keyring that seals what is written in the request's namespace: the root's, or the namespace's own. */
import { HoldfastError } from '#base/errors.ts'
import { formatRfc3339 } from '#base/rfc3339.ts'
import { transactionOf } from '#core/scope.ts'
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { rootNamespace } from '#namespaces/record.ts'
import { answer, effects, path, reads, writes } from './table.ts'
import type { SystemServices } from './types.ts'

const description =
  "Each namespace has a keyring of its own: asked inside one, it is that namespace's. What was sealed under the terms of before stays readable."

export function keyPaths({ barrier, namespaceSeals }: SystemServices): PathDef[] {
  const statusOf = ({ mount }: HandlerContext) => {
    if (mount.namespaceId === rootNamespace.id) return barrier.status()
    const status = namespaceSeals?.keyStatus(mount.namespaceId) ?? null
    if (status === null) throw new HoldfastError('ERR_NOT_FOUND', 'a namespace with keys expected, got one that has none yet')
    return status
  }
  const status = async (context: HandlerContext): Promise<LogicalResponse> => {
    const { keyringTerm, keyringTermCreatedMs, encryptions } = statusOf(context)
    return answer({ term: keyringTerm ?? 0, install_time: formatRfc3339(keyringTermCreatedMs ?? 0), encryptions })
  }
  const rotate = effects('Add a key', async (context) => {
    const { namespaceId } = context.mount
    statusOf(context)
    if (namespaceId === rootNamespace.id) await barrier.rotate()
    else await namespaceSeals?.rotate(namespaceId)
    return null
  })
  const renewal = async ({ mount }: HandlerContext): Promise<LogicalResponse> => {
    const under = namespaceSeals?.namesRenewal(mount.namespaceId) ?? null
    return answer({ in_progress: under !== null, phase: under?.phase ?? '', keys: under?.keys ?? 0 })
  }
  const renew = writes('Begin', async (context) => {
    const { keyrings } = transactionOf(context)
    if (keyrings === undefined) throw new HoldfastError('ERR_INTERNAL', 'a transaction of the barrier expected, got another')
    keyrings.renewNames(context.mount.namespaceId)
    return null
  })
  const synopsis = 'Add a key to the keyring; nothing is rewritten.'
  const flags = { injected: true, sudo: true }
  return [
    path('key-status', 'The term of the key that seals now.', { injected: true }, { read: reads('Status', status) }, description),
    path('rotate', synopsis, flags, { update: rotate }, description),
    path('rotate/keyring', synopsis, flags, { update: rotate }, description),
    path(
      'rotate/names',
      'Replace the key that hides paths; every stored key moves.',
      { sudo: true },
      { read: writes('How far it is', renewal), update: renew },
      "The name key of the request's namespace, which stands outside of the keyring's terms. The leader moves the stored keys in the background, and goes on where another one stopped; " +
        'the namespace is served meanwhile, and each write in it costs twice. One that is sealed waits.',
    ),
  ]
}
