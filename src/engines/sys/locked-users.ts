/** Names that are locked after too many wrong tries to log in: listing them, and unlocking one. */
import { HoldfastError } from '#base/errors.ts'
import { scopeOf, transactionOf } from '#core/scope.ts'
import type { LockedNames } from '#core/lockout.ts'
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { answer, inPath, inQuery, optional, path, reads, text, writes } from './table.ts'
import type { SystemServices } from './types.ts'

/** Names that one answer shows at most. */
const namesMax = 10_000

export function lockedUserPaths({ lockout }: Pick<SystemServices, 'lockout'>): PathDef[] {
  return [
    path(
      'locked-users',
      'Names that cannot log in for a while, after too many wrong tries.',
      {
        fields: {
          mount_accessor: inQuery('string', 'Of this mount alone.'),
          limit: inQuery('int', `At most so many names; ${namesMax} otherwise.`),
        },
      },
      { read: reads('List', (context) => list(lockout, context)) },
    ),
    path(
      'locked-users/:mount_accessor/unlock/:alias_identifier*',
      'Let a name log in again at once.',
      { fields: { mount_accessor: inPath('Of the login method.'), alias_identifier: inPath('The name, as the list shows it.') } },
      { update: writes('Unlock', (context) => unlock(lockout, context)) },
      'Does nothing when it is not locked.',
    ),
  ]
}

type Lockout = SystemServices['lockout']

async function list(lockout: Lockout, context: HandlerContext): Promise<LogicalResponse> {
  const { namespaceId } = context.mount
  const limit = optional<number>(context, 'limit') ?? 0
  const max = limit > 0 ? Math.min(limit, namesMax) : namesMax
  const accessor = text(context, 'mount_accessor')
  const locked = await lockout.list(scopeOf(context).view, namespaceId, accessor === '' ? null : accessor, max)
  const counts = locked.reduce((sum, { names }) => sum + names.length, 0)
  const mounts = locked.map(({ mountAccessor, names }: LockedNames) => ({
    mount_accessor: mountAccessor,
    counts: names.length,
    alias_identifiers: names,
  }))
  const namespaces = [{ namespace_id: namespaceId, namespace_path: scopeOf(context).namespace.path, counts, mount_accessors: mounts }]
  return answer({ by_namespace: counts === 0 ? [] : namespaces, total: counts })
}

async function unlock(lockout: Lockout, context: HandlerContext): Promise<null> {
  const accessor = text(context, 'mount_accessor')
  const mount = scopeOf(context).mounts.entries.find((entry) => entry.table === 'auth' && entry.accessor === accessor)
  if (!mount) throw new HoldfastError('ERR_BAD_REQUEST', 'no login method has this mount accessor', { hint: 'sys/auth lists them' })
  await lockout.unlock(transactionOf(context), mount, text(context, 'alias_identifier'))
  return null
}
