/** Changing groups, their members and their aliases. */
import { HoldfastError } from '#base/errors.ts'
import { checkEdge } from './graph.ts'
import { checkMetadata, checkName, checkPolicies, foldName } from './names.ts'
import { byHand, members } from './records.ts'
import type { EntityRecord, GroupAliasRecord, GroupRecord, GroupType } from './types.ts'
import { memberGroupsMax, type IdentityWriter } from './writer.ts'

/** Entities that one request brings into a group, or takes out of it. */
export const membersChangedMax = 4_096

/** What is absent stays as it is. */
export interface GroupChange {
  readonly name?: string
  readonly type?: string
  readonly metadata?: Readonly<Record<string, string>>
  readonly policies?: readonly string[]
  readonly memberEntityIds?: readonly string[]
  readonly memberGroupIds?: readonly string[]
}

const bad = (message: string): HoldfastError => new HoldfastError('ERR_BAD_REQUEST', message)

/**
 * Changes `previous`, or makes a group.
 * @throws ERR_BAD_REQUEST: a name that another has, another type, members that are not there or not possible, a cycle.
 */
export async function upsertGroup(writer: IdentityWriter, previous: GroupRecord | null, change: GroupChange): Promise<GroupRecord> {
  const type = groupType(previous, change.type)
  const policies = change.policies === undefined ? undefined : checkPolicies(change.policies)
  if (change.name !== undefined) {
    const owner = await writer.idByName('group', checkName('group name', change.name))
    if (owner !== null && owner !== previous?.id) throw bad('group name is already in use')
  }
  if (type === 'external' && change.memberEntityIds) throw bad("member entities can't be set manually for external groups")
  if (type === 'external' && change.memberGroupIds) throw bad("member groups can't be set for external groups")
  const base = previous ?? (await newGroup(writer, type, change.name))
  const next: GroupRecord = {
    ...base,
    ...(change.name === undefined ? {} : { name: change.name }),
    ...(change.metadata === undefined ? {} : { metadata: checkMetadata('group metadata', change.metadata) }),
    ...(policies === undefined ? {} : { policies }),
    updatedMs: writer.nowMs,
    modifyIndex: base.modifyIndex + 1,
  }
  writer.putGroup(previous, next)
  if (change.memberEntityIds) await setMembers(writer, next, change.memberEntityIds)
  return change.memberGroupIds ? setMemberGroups(writer, next, change.memberGroupIds) : next
}

function groupType(previous: GroupRecord | null, asked: string | undefined): GroupType {
  if (previous && asked !== undefined && asked !== previous.type) throw bad('group type cannot be changed')
  const type = previous?.type ?? (asked === undefined || asked === '' ? 'internal' : asked)
  if (type === 'internal' || type === 'external') return type
  throw bad(`invalid group type ${JSON.stringify(type.slice(0, 64))}`)
}

async function newGroup(writer: IdentityWriter, type: GroupType, name?: string): Promise<GroupRecord> {
  const { nowMs } = writer
  return {
    id: writer.newId(),
    name: name ?? (await writer.newName('group')),
    type,
    metadata: {},
    policies: [],
    parentIds: [],
    memberGroupIds: [],
    alias: null,
    createdMs: nowMs,
    updatedMs: nowMs,
    modifyIndex: 0,
  }
}

const without = (ids: readonly string[], id: string): string[] => ids.filter((other) => other !== id)
const beside = (ids: readonly string[], id: string): string[] => [...without(ids, id), id].toSorted()

/** Makes `wanted` the entities that are in the group themselves. */
async function setMembers(writer: IdentityWriter, group: GroupRecord, wanted: readonly string[]): Promise<void> {
  const present = new Set(await writer.view.list(writer.section, members(group.id, byHand)))
  const asked = new Set(wanted)
  const joining = [...asked].filter((id) => !present.has(id))
  const leaving = [...present].filter((id) => !asked.has(id))
  if (joining.length + leaving.length > membersChangedMax) {
    throw new HoldfastError(
      'ERR_BAD_REQUEST',
      `members to change expected at most ${membersChangedMax}, got ${joining.length + leaving.length}`,
      {
        hint: 'change them in several steps',
      },
    )
  }
  for (const id of leaving) {
    const entity = await writer.entity(id)
    if (entity) writer.putEntity(entity, { ...entity, groupIds: without(entity.groupIds, group.id) })
  }
  for (const id of joining) {
    const entity = await writer.entity(id)
    if (entity === null) throw bad(`invalid entity ID ${JSON.stringify(id.slice(0, 128))}`)
    writer.putEntity(entity, { ...entity, groupIds: beside(await standingGroups(writer, entity), group.id) })
  }
}

/** Without the groups that are gone: an entity that is written anyway need not carry them on. */
async function standingGroups(writer: IdentityWriter, entity: EntityRecord): Promise<string[]> {
  const standing: string[] = []
  for (const id of entity.groupIds) if ((await writer.group(id)) !== null) standing.push(id)
  return standing
}

/** Makes `wanted` the groups that are in the group themselves, one after the other, each checked against all that are there then. */
async function setMemberGroups(writer: IdentityWriter, group: GroupRecord, wanted: readonly string[]): Promise<GroupRecord> {
  const asked = [...new Set(wanted)]
  if (asked.length > memberGroupsMax) throw bad(`member groups expected at most ${memberGroupsMax}, got ${asked.length}`)
  let current = group
  for (const id of group.memberGroupIds) {
    if (asked.includes(id)) continue
    const member = await writer.group(id)
    if (member) writer.putGroup(member, { ...member, parentIds: without(member.parentIds, group.id) })
    current = putMembers(writer, current, without(current.memberGroupIds, id))
  }
  for (const id of asked) {
    if (current.memberGroupIds.includes(id)) continue
    const member = await writer.group(id)
    if (member === null) throw bad(`invalid group ID ${JSON.stringify(id.slice(0, 128))}`)
    await checkEdge(group.id, id, (wantedId) => writer.group(wantedId))
    writer.putGroup(member, { ...member, parentIds: beside(member.parentIds, group.id) })
    current = putMembers(writer, current, beside(current.memberGroupIds, id))
  }
  return current
}

function putMembers(writer: IdentityWriter, group: GroupRecord, memberGroupIds: readonly string[]): GroupRecord {
  const next = { ...group, memberGroupIds }
  writer.putGroup(group, next)
  return next
}

/** Deletes a group; its members stay. The list of who was in it is left for the caller to sweep: `members(id)`. */
export async function removeGroup(writer: IdentityWriter, group: GroupRecord): Promise<void> {
  for (const id of group.parentIds) {
    const parent = await writer.group(id)
    if (parent) writer.putGroup(parent, { ...parent, memberGroupIds: without(parent.memberGroupIds, group.id) })
  }
  for (const id of group.memberGroupIds) {
    const member = await writer.group(id)
    if (member) writer.putGroup(member, { ...member, parentIds: without(member.parentIds, group.id) })
  }
  writer.deleteGroup(group)
}

export interface WantedGroupAlias {
  readonly name: string
  readonly mountAccessor: string
  /** Absent: of the group that has it, or of a new one. */
  readonly groupId?: string
}

export interface ChangedGroupAlias {
  readonly alias: GroupAliasRecord
  readonly groupId: string
  /** False: it was so already, and nothing was written. */
  readonly changed: boolean
}

/**
 * Makes an alias of an external group, or changes the one of `previous`. Another name or mount: who is in the group by the old one is not in it any more.
 * @throws ERR_BAD_REQUEST: no such group, an internal one, a name that another group goes by.
 */
export async function putGroupAlias(
  writer: IdentityWriter,
  previous: GroupRecord | null,
  wanted: WantedGroupAlias,
): Promise<ChangedGroupAlias> {
  const present = previous?.alias ?? null
  const moves = wanted.groupId !== undefined && wanted.groupId !== previous?.id
  const renamed = present?.name !== wanted.name || present.mountAccessor !== wanted.mountAccessor
  if (present && previous && !moves && !renamed) return { alias: present, groupId: previous.id, changed: false }
  const target = await aliasTarget(writer, wanted)
  await checkGroupFactors(writer, present, wanted)
  const { nowMs } = writer
  const alias: GroupAliasRecord = {
    id: present?.id ?? writer.newId(),
    name: wanted.name,
    mountAccessor: wanted.mountAccessor,
    stamp: present && !renamed ? present.stamp : writer.newId(),
    createdMs: present?.createdMs ?? nowMs,
    updatedMs: nowMs,
  }
  if (previous && moves) writer.putGroup(previous, { ...previous, alias: null, updatedMs: nowMs })
  const known = target ?? (moves ? null : previous)
  const group = known ?? (await newGroup(writer, 'external'))
  writer.putGroup(known, { ...group, alias, updatedMs: nowMs, modifyIndex: group.modifyIndex + 1 })
  return { alias, groupId: group.id, changed: true }
}

async function aliasTarget(writer: IdentityWriter, { name, groupId }: WantedGroupAlias): Promise<GroupRecord | null> {
  checkName('group alias name', name)
  if (groupId === undefined) return null
  const group = await writer.group(groupId)
  if (group === null) throw bad("invalid group ID given in 'canonical_id'")
  if (group.type !== 'external') throw bad("alias can't be set on an internal group")
  return group
}

async function checkGroupFactors(writer: IdentityWriter, present: GroupAliasRecord | null, wanted: WantedGroupAlias): Promise<void> {
  const same = present && present.mountAccessor === wanted.mountAccessor && foldName(present.name) === foldName(wanted.name)
  if (same) return
  const owner = await writer.idByFactors('group', wanted.mountAccessor, wanted.name)
  if (owner !== null) throw bad('combination of mount and group alias name is already in use')
}

/** Takes its alias from a group, and with it everybody whom logins by that name had put into it. */
export function removeGroupAlias(writer: IdentityWriter, group: GroupRecord): void {
  writer.putGroup(group, { ...group, alias: null, updatedMs: writer.nowMs, modifyIndex: group.modifyIndex + 1 })
}
