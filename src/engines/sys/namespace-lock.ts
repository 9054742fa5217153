/** Locking the API of a namespace: it, and all that lies in it, answers 503 until it is unlocked. */
import { HoldfastError } from '#base/errors.ts'
import { scopeOf, transactionOf } from '#core/scope.ts'
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import type { Namespace } from '#namespaces/record.ts'
import { beingDeleted } from '#namespaces/store.ts'
import { find } from './namespaces.ts'
import { answer, field, inPath, path, text, writes } from './table.ts'
import type { SystemServices } from './types.ts'

const description =
  'While it is locked, every request in the namespace and in those inside it is answered 503, whoever asks; its data, tokens and leases stay as they are. ' +
  'It is unlocked with the key that the lock answered, from inside or from a namespace above; with sudo on the path without it.'

export function namespaceLockPaths(services: SystemServices): PathDef[] {
  const inUrl = { path: inPath('Its path, below the namespace of the request; that namespace itself when absent.', 'team') }
  const lock = {
    update: writes('Lock', async (context) =>
      answer({ unlock_key: await services.namespaces.lock(transactionOf(context), await found(services, context)) }),
    ),
  }
  const keyField = { unlock_key: field('string', 'What the lock answered; not needed with sudo on this path.', { sensitive: true }) }
  const unlocking = { update: writes('Unlock', (context) => unlock(services, context)) }
  return [
    path('namespaces/api-lock/lock', 'Lock the API of this namespace.', {}, lock, description),
    path('namespaces/api-lock/lock/:path*', 'Lock the API of a namespace.', { fields: inUrl }, lock, description),
    path('namespaces/api-lock/unlock', 'Unlock the API of this namespace.', { fields: keyField }, unlocking, description),
    path(
      'namespaces/api-lock/unlock/:path*',
      'Unlock the API of a namespace.',
      { fields: { ...inUrl, ...keyField } },
      unlocking,
      description,
    ),
  ]
}

async function found(services: SystemServices, context: HandlerContext): Promise<Namespace> {
  const present = await find(services, context)
  if (present === null) throw new HoldfastError('ERR_NOT_FOUND', 'requested namespace does not exist')
  if (present.state === 'deleting') throw beingDeleted(present)
  return present
}

async function unlock(services: SystemServices, context: HandlerContext): Promise<LogicalResponse | null> {
  const key = text(context, 'unlock_key')
  const { acl, facts } = scopeOf(context)
  const capabilities = acl?.capabilities(context.request.path, facts) ?? []
  const sudo = capabilities.includes('root') || capabilities.includes('sudo')
  if (key === '' && !sudo)
    throw new HoldfastError('ERR_BAD_REQUEST', 'provided empty key', { hint: 'send unlock_key, or use a token with sudo on this path' })
  services.namespaces.unlock(transactionOf(context), await found(services, context), key === '' ? null : key)
  return key === '' ? { warnings: ['Namespace unlocked using sudo capabilities'] } : null
}
