/** Routes of aliases: the names that login methods know entities and groups by. */
import { scopeOf } from '#core/scope.ts'
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import type { AliasChange } from '#identity/entities.ts'
import { answer, field, path, reads, text, writes } from '../sys/table.ts'
import { bad, given, idField, listPath, mountFinder, mountOf, namespaceOf, sent, writing, type IdentityServices } from './common.ts'
import { aliasData, aliasInfo, groupAliasData } from './shapes.ts'

const accessorField = field('string', 'Accessor of the mount that knows it by this name.')

const entityAliasFields = {
  name: field('string', 'The name, as the login method spells it.'),
  mount_accessor: accessorField,
  canonical_id: field('string', 'The entity; a new one is made when absent.'),
  entity_id: field('string', 'The same, by its old name.', { deprecated: true }),
  custom_metadata: field('string-map', 'What an operator knows of the alias; logins leave it alone.'),
}

export function entityAliasPaths(services: IdentityServices): PathDef[] {
  const { identity } = services
  const find = (context: HandlerContext, aliasId: string) => identity.entity(scopeOf(context).view, { aliasId }, namespaceOf(context))
  return [
    path(
      'entity-alias',
      'Make an alias, or change the one of this id, or of this mount and name.',
      { fields: { id: field('string', 'Its id: then this alias is changed.'), ...entityAliasFields } },
      { update: writes('Make or change', (context) => putAlias(services, context)) },
    ),
    path(
      'entity-alias/id/:id',
      'One alias of an entity.',
      { fields: { id: idField, ...entityAliasFields } },
      {
        read: reads('Read', async (context) => {
          const entity = await find(context, text(context, 'id'))
          const alias = entity?.aliases.find(({ id }) => id === text(context, 'id'))
          return entity && alias
            ? answer({ ...aliasData(mountFinder(context), alias, entity.id), namespace_id: namespaceOf(context) })
            : null
        }),
        update: writes('Change', (context) => putAlias(services, context)),
        delete: writes('Delete; the entity stays', async (context) => {
          const entity = await find(context, text(context, 'id'))
          if (entity) identity.deleteAlias(writing(context), entity, text(context, 'id'), namespaceOf(context))
          return null
        }),
      },
    ),
    listPath(
      'entity-alias/id',
      'Ids of the aliases of entities.',
      (context, page) => identity.list(scopeOf(context).view, 'entity', 'alias', page, namespaceOf(context)),
      async (context, aliasId) => {
        const entity = await find(context, aliasId)
        const alias = entity?.aliases.find(({ id }) => id === aliasId)
        return entity && alias ? [aliasId, aliasInfo(mountFinder(context), alias, entity.id)] : null
      },
    ),
  ]
}

async function putAlias(services: IdentityServices, context: HandlerContext): Promise<LogicalResponse | null> {
  const { identity } = services
  const [name, accessor] = [given(context, 'name'), given(context, 'mount_accessor')]
  const aliasId = given(context, 'id') ?? null
  if (aliasId === null && (name === undefined || accessor === undefined)) {
    throw bad("'id' or 'mount_accessor' and 'name' must be provided")
  }
  const mount = accessor === undefined ? null : mountOf(context, accessor)
  const wanted = aliasId === null ? { mountAccessor: accessor!, aliasName: name! } : { aliasId }
  const entity = await identity.entity(writing(context), wanted, namespaceOf(context))
  const entityId = given(context, 'canonical_id') ?? given(context, 'entity_id')
  const change: AliasChange = {
    ...(name === undefined ? {} : { name }),
    ...(accessor === undefined ? {} : { mountAccessor: accessor }),
    ...(entityId === undefined ? {} : { entityId }),
    ...sent<'customMetadata', Record<string, string>>(context, 'customMetadata', 'custom_metadata'),
  }
  if (entity === null) {
    if (aliasId !== null) throw bad('invalid alias ID provided')
    const made = await identity.createAlias(
      writing(context),
      { ...change, name: name!, mountAccessor: accessor!, local: mount?.local === true },
      namespaceOf(context),
    )
    return answer({ id: made.alias.id, canonical_id: made.entityId })
  }
  const known = aliasId ?? entity.aliases.find(({ mountAccessor }) => mountAccessor === accessor)!.id
  const changed = await identity.changeAlias(writing(context), entity, known, change, namespaceOf(context))
  return changed.changed ? answer({ id: changed.alias.id, canonical_id: changed.entityId }) : null
}

const groupAliasFields = {
  name: field('string', 'The name that the login method gives the group.'),
  mount_accessor: accessorField,
  canonical_id: field('string', 'The external group; a new one is made when absent.'),
}

export function groupAliasPaths(services: IdentityServices): PathDef[] {
  const { identity } = services
  const find = (context: HandlerContext, aliasId: string) => identity.group(scopeOf(context).view, { aliasId }, namespaceOf(context))
  return [
    path(
      'group-alias',
      'Make an alias of an external group, or change the one of this id.',
      { fields: { id: field('string', 'Its id: then this alias is changed.'), ...groupAliasFields } },
      { update: writes('Make or change', (context) => putGroupAlias(services, context)) },
      'Whose login names the group so is in it. With another name or mount, those whom the old one had put into it are in it no more.',
    ),
    path(
      'group-alias/id/:id',
      'One alias of a group.',
      { fields: { id: idField, ...groupAliasFields } },
      {
        read: reads('Read', async (context) => {
          const group = await find(context, text(context, 'id'))
          return group?.alias
            ? answer({ ...groupAliasData(mountFinder(context), group.alias, group.id), namespace_id: namespaceOf(context) })
            : null
        }),
        update: writes('Change', (context) => putGroupAlias(services, context)),
        delete: writes('Delete; the group stays, without those whom logins had put into it', async (context) => {
          const group = await find(context, text(context, 'id'))
          if (group) identity.deleteGroupAlias(writing(context), group, namespaceOf(context))
          return null
        }),
      },
    ),
    listPath(
      'group-alias/id',
      'Ids of the aliases of groups.',
      (context, page) => identity.list(scopeOf(context).view, 'group', 'alias', page, namespaceOf(context)),
      async (context, aliasId) => {
        const group = await find(context, aliasId)
        return group?.alias ? [aliasId, aliasInfo(mountFinder(context), group.alias, group.id)] : null
      },
    ),
  ]
}

async function putGroupAlias({ identity }: IdentityServices, context: HandlerContext): Promise<LogicalResponse | null> {
  const aliasId = given(context, 'id')
  const previous = aliasId === undefined ? null : await identity.group(writing(context), { aliasId }, namespaceOf(context))
  if (previous === null && aliasId !== undefined) throw bad('invalid group alias ID')
  const [name, accessor] = [given(context, 'name'), given(context, 'mount_accessor')]
  if (name === undefined) throw bad('missing alias name')
  if (accessor === undefined) throw bad('missing mount_accessor')
  if (mountOf(context, accessor).local) throw bad(`mount accessor ${JSON.stringify(accessor)} is a local mount`)
  const groupId = given(context, 'canonical_id')
  const wanted = { name, mountAccessor: accessor, ...(groupId === undefined ? {} : { groupId }) }
  const put = await identity.putGroupAlias(writing(context), previous, wanted, namespaceOf(context))
  return put.changed ? answer({ id: put.alias.id, canonical_id: put.groupId }) : null
}
