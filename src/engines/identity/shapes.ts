/** Entities, groups and aliases as the field's clients read them. */
import { formatRfc3339 } from '#base/rfc3339.ts'
import { fullPath } from '#core/mounts.ts'
import type { MountEntry } from '#core/types.ts'
import type { AliasRecord, EntityRecord, GroupAliasRecord, GroupRecord, ResolvedIdentity } from '#identity/types.ts'

type Data = Record<string, unknown>

/** The mount of an accessor; null when there is none any more. */
export type FindMount = (accessor: string) => MountEntry | null

const orNull = <T extends object>(value: T): T | null => (Object.keys(value).length === 0 ? null : value)

const mountData = (find: FindMount, accessor: string): Data => {
  const mount = find(accessor)
  return mount === null ? {} : { mount_path: fullPath(mount), mount_type: mount.type }
}

const times = ({ createdMs, updatedMs }: { readonly createdMs: number; readonly updatedMs: number }): Data => ({
  creation_time: formatRfc3339(createdMs),
  last_update_time: formatRfc3339(updatedMs),
})

export const aliasData = (find: FindMount, alias: AliasRecord, entityId: string): Data => ({
  id: alias.id,
  canonical_id: entityId,
  name: alias.name,
  mount_accessor: alias.mountAccessor,
  ...mountData(find, alias.mountAccessor),
  metadata: orNull(alias.metadata),
  custom_metadata: alias.customMetadata,
  merged_from_canonical_ids: orNull(alias.mergedFromIds),
  local: alias.local,
  ...times(alias),
})

export const groupAliasData = (find: FindMount, alias: GroupAliasRecord, groupId: string): Data => ({
  id: alias.id,
  canonical_id: groupId,
  name: alias.name,
  mount_accessor: alias.mountAccessor,
  ...mountData(find, alias.mountAccessor),
  metadata: null,
  merged_from_canonical_ids: null,
  ...times(alias),
})

export function entityData(find: FindMount, entity: EntityRecord, { groups, directGroupIds }: ResolvedIdentity, namespace: string): Data {
  const inherited = groups.map(({ id }) => id).filter((id) => !directGroupIds.includes(id))
  return {
    id: entity.id,
    name: entity.name,
    metadata: orNull(entity.metadata),
    policies: entity.policies,
    disabled: entity.disabled,
    aliases: entity.aliases.map((alias) => aliasData(find, alias, entity.id)),
    merged_entity_ids: orNull(entity.mergedIds),
    direct_group_ids: directGroupIds,
    inherited_group_ids: inherited,
    group_ids: [...directGroupIds, ...inherited],
    namespace_id: namespace,
    ...times(entity),
  }
}

export function groupData(find: FindMount, group: GroupRecord, members: readonly string[], namespace: string): Data {
  return {
    id: group.id,
    name: group.name,
    type: group.type,
    metadata: orNull(group.metadata),
    policies: group.policies,
    member_entity_ids: members,
    member_group_ids: group.memberGroupIds,
    parent_group_ids: group.parentIds,
    alias: group.alias === null ? {} : groupAliasData(find, group.alias, group.id),
    modify_index: group.modifyIndex,
    namespace_id: namespace,
    ...times(group),
  }
}

/** Of one entry of a list. */
const listedAlias = (find: FindMount, alias: { readonly id: string; readonly name: string; readonly mountAccessor: string }): Data => ({
  id: alias.id,
  name: alias.name,
  mount_accessor: alias.mountAccessor,
  ...mountData(find, alias.mountAccessor),
})

export const entityInfo = (find: FindMount, entity: EntityRecord): Data => ({
  name: entity.name,
  ...(entity.aliases.length === 0 ? {} : { aliases: entity.aliases.map((alias) => listedAlias(find, alias)) }),
})

export const groupInfo = (find: FindMount, group: GroupRecord): Data => ({
  name: group.name,
  num_member_groups: group.memberGroupIds.length,
  ...(group.alias === null ? {} : { alias: listedAlias(find, group.alias) }),
})

/** Of an alias in a list of aliases, where its id is the key. */
export function aliasInfo(
  find: FindMount,
  alias: { readonly id: string; readonly name: string; readonly mountAccessor: string },
  ownerId: string,
): Data {
  const { id: _, ...rest } = listedAlias(find, alias)
  return { canonical_id: ownerId, ...rest }
}
