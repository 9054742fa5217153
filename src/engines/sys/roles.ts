/** Roles: sets of policies bound to entities and groups. */
import { scopeOf, transactionOf } from '#core/scope.ts'
import { HoldfastError } from '#base/errors.ts'
import { formatRfc3339 } from '#base/rfc3339.ts'
import type { HandlerContext, PathDef } from '#core/types.ts'
import type { PolicyStore } from '#policies/store.ts'
import type { Role } from '#policies/roles.ts'
import { answer, field, inPath, inQuery, optional, path, reads, text, writes } from './table.ts'

const fields = {
  name: inPath('Its name.', 'operators'),
  policies: field('list', 'Policies that its members have. Never root.', { example: ['team-read'] }),
  entity_ids: field('list', 'Entities that have it.'),
  group_ids: field('list', 'Groups whose entities have it.'),
  description: field('string', 'What it is for.'),
}

const pageFields = {
  after: inQuery('string', 'Names after this one.'),
  limit: inQuery('int', 'At most so many.'),
}

const description =
  'A role is a set of policies under a name. Whoever belongs to one of its entities or groups has these policies at the next request, and has them no longer at the ' +
  'next request after the role, or its member, is gone. A change names what changes: the other fields stay.'

export function rolePaths({ roles }: PolicyStore): PathDef[] {
  const shown = (role: Role) => ({
    name: role.name,
    description: role.description,
    policies: role.policies,
    entity_ids: role.entityIds,
    group_ids: role.groupIds,
    modified: formatRfc3339(role.modifiedMs),
  })
  const put = async (context: HandlerContext): Promise<null> => {
    const transaction = transactionOf(context)
    const name = text(context, 'name')
    const before = await roles.get(transaction, name, context.mount.namespaceId)
    if (!before && !optional(context, 'policies')) throw new HoldfastError('ERR_BAD_REQUEST', "'policies' parameter not supplied or empty")
    const list = (key: 'policies' | 'entity_ids' | 'group_ids', present: readonly string[] | undefined): readonly string[] =>
      optional<string[]>(context, key) ?? present ?? []
    const role = {
      description: optional<string>(context, 'description') ?? before?.description ?? '',
      policies: list('policies', before?.policies),
      entityIds: list('entity_ids', before?.entityIds),
      groupIds: list('group_ids', before?.groupIds),
    }
    await roles.put(transaction, name, role, context.mount.namespaceId)
    return null
  }
  return [
    path(
      'roles',
      'Names of the roles.',
      { fields: pageFields },
      {
        list: reads('List', async (context) => {
          const after = optional<string>(context, 'after') ?? ''
          const limit = optional<number>(context, 'limit') ?? 0
          const names = (await roles.list(scopeOf(context).view, context.mount.namespaceId)).filter((name) => name > after)
          return answer({ keys: limit > 0 ? names.slice(0, limit) : names })
        }),
      },
      description,
    ),
    path(
      'roles/:name',
      'One role.',
      { fields },
      {
        read: reads('Read', async (context) => {
          const role = await roles.get(scopeOf(context).view, text(context, 'name'), context.mount.namespaceId)
          return role && answer(shown(role))
        }),
        update: writes('Write', put, { policies: ['app'] }),
        delete: writes('Delete', async (context) => {
          await roles.delete(transactionOf(context), text(context, 'name'), context.mount.namespaceId)
          return null
        }),
      },
      description,
    ),
  ]
}
