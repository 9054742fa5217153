/** Routes of entities: by id, by name, merging, deleting several. */
import { HoldfastError } from '#base/errors.ts'
import { scopeOf } from '#core/scope.ts'
import type { FieldSchema, HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { AliasesClash, batchDeleteMax, type EntityChange } from '#identity/entities.ts'
import type { Wanted } from '#identity/store.ts'
import type { EntityRecord } from '#identity/types.ts'
import { answer, field, optional, path, reads, text, writes } from '../sys/table.ts'
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
import { entityData, entityInfo } from './shapes.ts'

const changeFields = {
  metadata: metadataField('entity'),
  policies: policiesField('entity'),
  disabled: field('bool', 'While it is, no token of the entity is good, and none of its aliases can log in.'),
}

const bodyId: FieldSchema = field('string', 'Its id: then this entity is changed.')
const bodyName: FieldSchema = field('string', 'Its name; made up for a new entity when absent.')

export function entityPaths(services: IdentityServices): PathDef[] {
  const { identity } = services
  const byId = (context: HandlerContext): Wanted => ({ id: text(context, 'id') })
  const byName = (context: HandlerContext): Wanted => ({ name: text(context, 'name') })
  const upsert = (context: HandlerContext) => upsertHandler(services, context)
  const one = (what: (context: HandlerContext) => Wanted): PathDef['operations'] => ({
    read: reads('Read', (context) => readEntity(services, context, what(context))),
    update: writes('Change', upsert),
    delete: writes('Delete, with its MFA secrets; tokens of the entity are good for nothing any more', async (context) => {
      const entity = await identity.entity(writing(context), what(context), namespaceOf(context))
      if (entity) await remove(services, context, [entity])
      return null
    }),
  })
  return [
    path(
      'entity',
      'Make an entity, or change the one of this id or name.',
      { fields: { id: bodyId, name: bodyName, ...changeFields } },
      { update: writes('Make or change', upsert, { name: 'ada', metadata: { team: 'analytics' } }) },
    ),
    path('entity/id/:id', 'One entity, by its id.', { fields: { id: idField, name: bodyName, ...changeFields } }, one(byId)),
    path('entity/name/:name*', 'One entity, by its name.', { fields: { name: nameField, id: bodyId, ...changeFields } }, one(byName)),
    listPath(
      'entity/id',
      'Ids of the entities.',
      (context, page) => identity.list(scopeOf(context).view, 'entity', 'id', page, namespaceOf(context)),
      (context, id) => describe(services, context, { id }),
    ),
    listPath(
      'entity/name',
      'Names of the entities.',
      (context, page) => identity.list(scopeOf(context).view, 'entity', 'name', page, namespaceOf(context)),
      (context, name) => describe(services, context, { name }),
    ),
    path(
      'entity/batch-delete',
      'Delete several entities.',
      { fields: { entity_ids: field('list', `Their ids, at most ${batchDeleteMax}.`) } },
      { update: writes('Delete', (context) => batchDelete(services, context)) },
    ),
    path(
      'entity/merge',
      'Merge entities into one, which gets their aliases, groups, tokens and MFA secrets.',
      {
        fields: {
          from_entity_ids: field('list', 'Entities that are merged, and are no more afterwards.'),
          to_entity_id: field('string', 'The entity that stays.'),
          conflicting_alias_ids_to_keep: field('list', 'Where both have an alias at the same mount: the one that stays.'),
          force: field(
            'bool',
            'Where several have a secret of one MFA method: keep that of the entity that stays. Without it such a merge is refused.',
          ),
        },
      },
      { update: writes('Merge', (context) => merge(services, context)) },
      'Name, metadata and policies of the entity that stays are left as they are; those of the others are lost. MFA enforcements that name one of the others name it from then on.',
    ),
  ]
}

async function upsertHandler({ identity }: IdentityServices, context: HandlerContext): Promise<LogicalResponse | null> {
  const change: EntityChange = {
    ...(given(context, 'name') === undefined ? {} : { name: text(context, 'name') }),
    ...sent<'metadata', Record<string, string>>(context, 'metadata', 'metadata'),
    ...sent<'policies', string[]>(context, 'policies', 'policies'),
    ...sent<'disabled', boolean>(context, 'disabled', 'disabled'),
  }
  const { entity, created } = await identity.putEntity(writing(context), given(context, 'id') ?? null, change, namespaceOf(context))
  return created ? answer({ id: entity.id, name: entity.name, aliases: null }) : null
}

/** null when there is none. */
export async function readEntity({ identity }: IdentityServices, context: HandlerContext, wanted: Wanted): Promise<LogicalResponse | null> {
  const { view } = scopeOf(context)
  const entity = await identity.entity(view, wanted, namespaceOf(context))
  const resolved = entity && (await identity.resolve(view, entity.id, namespaceOf(context)))
  return entity && resolved && answer(entityData(mountFinder(context), entity, resolved, namespaceOf(context)))
}

async function describe(
  { identity }: IdentityServices,
  context: HandlerContext,
  wanted: Wanted,
): Promise<readonly [string, Record<string, unknown>] | null> {
  const entity = await identity.entity(scopeOf(context).view, wanted, namespaceOf(context))
  return entity && [entity.id, entityInfo(mountFinder(context), entity)]
}

async function batchDelete({ identity }: IdentityServices, context: HandlerContext): Promise<null> {
  const ids = [...new Set(optional<string[]>(context, 'entity_ids') ?? [])]
  if (ids.length === 0) throw bad('missing entity ids to delete')
  if (ids.length > batchDeleteMax) throw bad(`entity ids to delete expected at most ${batchDeleteMax}, got ${ids.length}`)
  const found: EntityRecord[] = []
  for (const id of ids) {
    const entity = await identity.entity(writing(context), { id }, namespaceOf(context))
    if (entity) found.push(entity)
  }
  await remove({ identity }, context, found)
  return null
}

/** With what their apps were given, and what was left of those that were merged into them. */
async function remove(
  { identity }: Pick<IdentityServices, 'identity'>,
  context: HandlerContext,
  entities: readonly EntityRecord[],
): Promise<void> {
  for (const entity of entities) await identity.deleteEntity(writing(context), entity, namespaceOf(context))
  const ids = entities.flatMap(({ id, mergedIds }) => [id, ...mergedIds])
  await identity.mfa.forgetEntities(writing(context), scopeOf(context).line, ids)
}

async function merge({ identity }: IdentityServices, context: HandlerContext): Promise<null> {
  const into = given(context, 'to_entity_id')
  const from = optional<string[]>(context, 'from_entity_ids') ?? []
  if (into === undefined) throw bad('missing entity id to merge to')
  if (from.length === 0) throw bad('missing entity ids to merge from')
  const keepAliasIds = optional<string[]>(context, 'conflicting_alias_ids_to_keep') ?? []
  try {
    await identity.merge(writing(context), { into, from, keepAliasIds }, namespaceOf(context))
    const force = optional<boolean>(context, 'force') ?? false
    await identity.mfa.merge(writing(context), scopeOf(context).line, { into, from: [...new Set(from)], force })
    return null
  } catch (error) {
    if (error instanceof AliasesClash) throw clashAnswer(context, error)
    throw error
  }
}

function clashAnswer(context: HandlerContext, { message, clashes }: AliasesClash): HoldfastError {
  const find = mountFinder(context)
  const data = clashes.map(({ entity, alias }) => {
    const mount = find(alias.mountAccessor)
    return {
      alias: alias.name,
      entity: entity.name,
      entity_id: entity.id,
      mount: mount?.type ?? '',
      mount_path: mount ? `${mount.table === 'auth' ? 'auth/' : ''}${mount.path}` : '',
    }
  })
  return new HoldfastError('ERR_BAD_REQUEST', message, {
    data,
    hint: 'merge one entity at a time, and name in conflicting_alias_ids_to_keep which alias of each mount stays',
  })
}
