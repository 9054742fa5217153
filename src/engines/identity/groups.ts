/** Routes of groups: by id, by name. */
import { scopeOf } from '#core/scope.ts'
import { scheduleSweep } from '#core/sweep.ts'
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import type { GroupChange } from '#identity/groups.ts'
import type { Wanted } from '#identity/store.ts'
import type { GroupRecord } from '#identity/types.ts'
import { answer, field, path, reads, text, writes } from '../sys/table.ts'
import {
  bad,
  given,
  idField,
  listPath,
  metadataField,
  mountFinder,
  nameField,
  namespaceOf,
  policiesField,
  sent,
  writing,
  type IdentityServices,
} from './common.ts'
import { groupData, groupInfo } from './shapes.ts'

/** Members that one answer names. */
export const membersShownMax = 10_000

const changeFields = {
  type: field('string', "'internal', with members that are set here, or 'external', with those whose logins say so. Never changes.", {
    example: 'internal',
  }),
  metadata: metadataField('group'),
  policies: policiesField('group'),
  member_entity_ids: field('list', 'Entities in an internal group: replaces who was there.'),
  member_group_ids: field('list', 'Groups in an internal group, whose members are its own too: replaces which were there.'),
}

const bodyId = field('string', 'Its id: then this group is changed.')
const bodyName = field('string', 'Its name; made up for a new group when absent.')

export function groupPaths(services: IdentityServices): PathDef[] {
  const { identity } = services
  const byId = (context: HandlerContext): Wanted => ({ id: text(context, 'id') })
  const byName = (context: HandlerContext): Wanted => ({ name: text(context, 'name') })
  const remove = async (context: HandlerContext, wanted: Wanted): Promise<null> => {
    const group = await identity.group(writing(context), wanted, namespaceOf(context))
    if (!group) return null
    const { section, prefix } = await identity.deleteGroup(writing(context), group, namespaceOf(context))
    scheduleSweep(writing(context), section, prefix)
    return null
  }
  const one = (what: (context: HandlerContext) => Wanted): PathDef['operations'] => ({
    read: reads('Read', (context) => readGroup(services, context, what(context))),
    update: writes('Change', (context) => putGroup(services, context)),
    delete: writes('Delete; its members stay', (context) => remove(context, what(context))),
  })
  return [
    path(
      'group',
      'Make a group, or change the one of this id or name.',
      { fields: { id: bodyId, name: bodyName, ...changeFields } },
      { update: writes('Make or change', (context) => putGroup(services, context)) },
    ),
    path('group/id/:id', 'One group, by its id.', { fields: { id: idField, name: bodyName, ...changeFields } }, one(byId)),
    path('group/name/:name*', 'One group, by its name.', { fields: { name: nameField, ...changeFields } }, one(byName)),
    listPath(
      'group/id',
      'Ids of the groups.',
      (context, page) => identity.list(scopeOf(context).view, 'group', 'id', page, namespaceOf(context)),
      (context, id) => describe(services, context, { id }),
    ),
    listPath(
      'group/name',
      'Names of the groups.',
      (context, page) => identity.list(scopeOf(context).view, 'group', 'name', page, namespaceOf(context)),
      (context, name) => describe(services, context, { name }),
    ),
  ]
}

async function putGroup(services: IdentityServices, context: HandlerContext): Promise<LogicalResponse | null> {
  const { identity } = services
  const previous = await present(services, context)
  const change: GroupChange = {
    ...(given(context, 'name') === undefined ? {} : { name: text(context, 'name') }),
    ...(given(context, 'type') === undefined ? {} : { type: text(context, 'type') }),
    ...sent<'metadata', Record<string, string>>(context, 'metadata', 'metadata'),
    ...sent<'policies', string[]>(context, 'policies', 'policies'),
    ...sent<'memberEntityIds', string[]>(context, 'memberEntityIds', 'member_entity_ids'),
    ...sent<'memberGroupIds', string[]>(context, 'memberGroupIds', 'member_group_ids'),
  }
  const group = await identity.putGroup(writing(context), previous, change, namespaceOf(context))
  return previous ? null : answer({ id: group.id, name: group.name })
}

/** By id where the request has one, which must be there; else by name, which need not. */
async function present({ identity }: IdentityServices, context: HandlerContext): Promise<GroupRecord | null> {
  const [id, name] = [given(context, 'id'), given(context, 'name')]
  if (id === undefined) return name === undefined ? null : identity.group(writing(context), { name }, namespaceOf(context))
  const group = await identity.group(writing(context), { id }, namespaceOf(context))
  if (!group) throw bad('invalid group ID')
  return group
}

/** null when there is none. */
export async function readGroup({ identity }: IdentityServices, context: HandlerContext, wanted: Wanted): Promise<LogicalResponse | null> {
  const { view } = scopeOf(context)
  const group = await identity.group(view, wanted, namespaceOf(context))
  if (!group) return null
  const members = await identity.members(view, group, { limit: membersShownMax + 1 }, namespaceOf(context))
  const data = groupData(mountFinder(context), group, members.slice(0, membersShownMax), namespaceOf(context))
  if (members.length <= membersShownMax) return { data }
  return { data, warnings: [`member_entity_ids has the first ${membersShownMax} members only`] }
}

async function describe(
  { identity }: IdentityServices,
  context: HandlerContext,
  wanted: Wanted,
): Promise<readonly [string, Record<string, unknown>] | null> {
  const group = await identity.group(scopeOf(context).view, wanted, namespaceOf(context))
  return group && [group.id, groupInfo(mountFinder(context), group)]
}
