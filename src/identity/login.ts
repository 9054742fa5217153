/** What a login does to identity: the entity of who logs in, made when there is none, and the external groups that the method names. */
import { HoldfastError, wellKnown } from '#base/errors.ts'
import { newEntity } from './entities.ts'
import { checkMetadata, checkName } from './names.ts'
import { directGroupsMax, type IdentityWriter } from './writer.ts'
import type { AliasRecord, EntityRecord, LoginAlias, Vouched } from './types.ts'

/** Group names of one login that are looked at: directories give hundreds, hardly thousands. */
export const groupAliasesMax = 1_024

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)

/** The entity that the alias stands for, with the alias as this login gives it. Writes nothing when nothing has changed. */
export async function loginEntity(writer: IdentityWriter, alias: LoginAlias): Promise<EntityRecord> {
  checkName('alias name', alias.name)
  const metadata = checkMetadata('alias metadata', alias.metadata ?? {})
  const id = await writer.idByFactors('entity', alias.mountAccessor, alias.name)
  const entity = id === null ? null : await writer.entity(id)
  if (entity === null) return makeEntity(writer, alias, metadata)
  if (entity.disabled) throw new HoldfastError('ERR_PERMISSION_DENIED', wellKnown.permissionDenied)
  const renewed = entity.aliases.map((known) =>
    known.mountAccessor === alias.mountAccessor && !sameMetadata(known.metadata, metadata)
      ? { ...known, metadata, updatedMs: writer.nowMs }
      : known,
  )
  if (renewed.every((known, at) => known === entity.aliases[at])) return entity
  const next = { ...entity, aliases: renewed }
  writer.putEntity(entity, next)
  return next
}

/** Methods need not give the pairs in the same order each time. */
function sameMetadata(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && a[key] === b[key])
}

async function makeEntity(writer: IdentityWriter, wanted: LoginAlias, metadata: Record<string, string>): Promise<EntityRecord> {
  const { nowMs } = writer
  const alias: AliasRecord = {
    id: writer.newId(),
    name: wanted.name,
    mountAccessor: wanted.mountAccessor,
    metadata,
    customMetadata: {},
    local: wanted.local === true,
    mergedFromIds: [],
    createdMs: nowMs,
    updatedMs: nowMs,
  }
  const entity: EntityRecord = { ...(await newEntity(writer)), aliases: [alias] }
  writer.putEntity(null, entity)
  return entity
}

export interface Refreshed {
  readonly entity: EntityRecord
  /** Of the names given, those that a group goes by. */
  readonly groupAliases: readonly string[]
}

/**
 * Puts an entity into the external groups that `names` are aliases of at this mount, and takes it out of the mount's others. What other
 * mounts said stands, unless its group is gone or goes by another name now.
 * @throws ERR_BAD_REQUEST beyond 1,024 names.
 */
export async function refreshGroups(
  writer: IdentityWriter,
  entity: EntityRecord,
  mountAccessor: string,
  names: readonly string[],
): Promise<Refreshed> {
  if (names.length > groupAliasesMax) {
    throw new HoldfastError('ERR_BAD_REQUEST', `groups of a login expected at most ${groupAliasesMax}, got ${names.length}`, {
      hint: 'let the login method hand over fewer groups, by a filter',
    })
  }
  const named = new Map<string, Vouched>()
  const valid: string[] = []
  for (const name of new Set(names)) {
    const groupId = await writer.idByFactors('group', mountAccessor, name)
    const group = groupId === null ? null : await writer.group(groupId)
    if (group === null || group.alias === null) continue
    named.set(group.id, { groupId: group.id, stamp: group.alias.stamp, mountAccessor })
    valid.push(name)
  }
  const vouched = [...(await standing(writer, entity, mountAccessor)), ...named.values()]
    .toSorted((a, b) => (a.groupId < b.groupId ? -1 : 1))
    .slice(0, directGroupsMax)
  if (same(vouched, entity.vouched)) return { entity, groupAliases: valid }
  const next = { ...entity, vouched }
  writer.putEntity(entity, next)
  return { entity: next, groupAliases: valid }
}

/** What mounts other than `mountAccessor` said and what still holds. */
async function standing(writer: IdentityWriter, entity: EntityRecord, mountAccessor: string): Promise<Vouched[]> {
  const kept: Vouched[] = []
  for (const vouched of entity.vouched) {
    if (vouched.mountAccessor === mountAccessor) continue
    const group = await writer.group(vouched.groupId)
    if (group?.alias?.stamp === vouched.stamp) kept.push(vouched)
  }
  return kept
}
