/** Routes of assignments: which entities and groups may sign in at a client. */
import type { HandlerContext, PathDef } from '#core/types.ts'
import type { ResolvedIdentity } from '#identity/types.ts'
import { field, optional, path, reads, writes } from '../../../sys/table.ts'
import { bad } from '../../common.ts'
import { nameField, nameOf } from '../keys.ts'
import { checkRoom, idsIn, listed, listPath, shown } from './crud.ts'
import { allowAll, assignments, clients, providerLimits, type Assignment } from './records.ts'

const idsMax = 4_096

/** Whether somebody is one of those whom it names, by entity or by a group, direct or inherited. */
export function isAssigned({ entityIds, groupIds }: Assignment, { entity, groups }: ResolvedIdentity): boolean {
  if (entityIds.includes('*') || groupIds.includes('*')) return true
  // A token may be of an entity that was merged: what named the one names the other.
  if (entityIds.includes(entity.id) || entity.mergedIds.some((id) => entityIds.includes(id))) return true
  return groups.some(({ id }) => groupIds.includes(id))
}

function changeable(context: HandlerContext, verb: string): string {
  const name = nameOf(context)
  if (name === allowAll) throw bad(`${verb} of assignment "${allowAll}" not allowed`)
  return name
}

async function save(context: HandlerContext): Promise<null> {
  const name = changeable(context, 'modification')
  const before = await assignments.read(context.storage, name)
  await checkRoom(context, assignments, before, providerLimits.assignmentsMax, 'assignments')
  assignments.write(context.storage, name, {
    entityIds: idsIn('entity_ids', optional<string[]>(context, 'entity_ids') ?? before?.entityIds ?? [], idsMax),
    groupIds: idsIn('group_ids', optional<string[]>(context, 'group_ids') ?? before?.groupIds ?? [], idsMax),
  })
  return null
}

async function remove(context: HandlerContext): Promise<null> {
  const name = changeable(context, 'deletion')
  const holders = (await clients.all(context.storage)).filter(([, client]) => client.assignments.includes(name)).map(([holder]) => holder)
  if (holders.length > 0) {
    throw bad(`unable to delete assignment ${JSON.stringify(name)} because it is currently referenced by these clients: ${listed(holders)}`)
  }
  assignments.delete(context.storage, name)
  return null
}

export const assignmentPaths = (): PathDef[] => [
  listPath('oidc/assignment', 'Names of the assignments.', assignments),
  path(
    'oidc/assignment/:name',
    'Who may sign in at clients that name it.',
    {
      fields: {
        name: nameField,
        entity_ids: field('list', 'Ids of entities; "*" for all.'),
        group_ids: field('list', 'Ids of groups, whose members of members count as well; "*" for all.'),
      },
      exists: async (context) => (await assignments.read(context.storage, nameOf(context))) !== null,
    },
    {
      create: writes('Make', save, { group_ids: ['ff35b5c2-4a3c-4a4c-8f3e-1b2a5e0b8c11'] }),
      update: writes('Change', save),
      read: reads(
        'Read',
        shown(assignments, ({ entityIds, groupIds }) => ({ entity_ids: entityIds, group_ids: groupIds })),
      ),
      delete: writes('Delete', remove),
    },
    'The assignment "allow_all" is always there, and lets in everybody who has an entity in this namespace.',
  ),
]
