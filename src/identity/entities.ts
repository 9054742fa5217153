/** Changing entities: by hand, and merging several into one. */
import { assert } from '#base/assert.ts'
import { HoldfastError } from '#base/errors.ts'
import { checkMetadata, checkName, checkPolicies, foldName } from './names.ts'
import type { AliasRecord, EntityRecord, Vouched } from './types.ts'
import type { IdentityWriter } from './writer.ts'

/** What is absent stays as it is. */
export interface EntityChange {
  readonly name?: string
  readonly metadata?: Readonly<Record<string, string>>
  readonly policies?: readonly string[]
  readonly disabled?: boolean
}

/** Entities that one request deletes at most. */
export const batchDeleteMax = 1_024
/** Entities that one request merges into another at most. */
export const mergeAtOnceMax = 64

const bad = (message: string, data?: unknown): HoldfastError =>
  new HoldfastError('ERR_BAD_REQUEST', message, data === undefined ? {} : { data })

/**
 * Changes the entity of `id`, else that of `change.name`, else makes one.
 * @throws ERR_BAD_REQUEST: no entity of that id, a name that another has, metadata or policies that can't be kept.
 */
export async function upsertEntity(
  writer: IdentityWriter,
  id: string | null,
  change: EntityChange,
): Promise<{ readonly entity: EntityRecord; readonly created: boolean }> {
  const named = change.name === undefined ? null : await writer.idByName('entity', checkName('entity name', change.name))
  if (id !== null && named !== null && named !== id) throw bad('entity name is already in use')
  const known = id ?? named
  const previous = known === null ? null : await writer.entity(known)
  if (previous === null && id !== null) throw bad('entity not found from id')
  const base = previous ?? (await newEntity(writer, change.name))
  const next: EntityRecord = {
    ...base,
    ...(change.name === undefined ? {} : { name: change.name }),
    ...(change.metadata === undefined ? {} : { metadata: checkMetadata('entity metadata', change.metadata) }),
    ...(change.policies === undefined ? {} : { policies: checkPolicies(change.policies) }),
    ...(change.disabled === undefined ? {} : { disabled: change.disabled }),
    updatedMs: writer.nowMs,
  }
  writer.putEntity(previous, next)
  return { entity: next, created: previous === null }
}

/** Not written yet. `name`: one that nobody has; absent: made up. */
export async function newEntity(writer: IdentityWriter, name?: string): Promise<EntityRecord> {
  const { nowMs } = writer
  return {
    id: writer.newId(),
    name: name ?? (await writer.newName('entity')),
    metadata: {},
    policies: [],
    disabled: false,
    aliases: [],
    groupIds: [],
    vouched: [],
    mergedIds: [],
    createdMs: nowMs,
    updatedMs: nowMs,
  }
}

/** Deletes an entity, and forgets which were merged into it: no token of any of them is good any more. */
export function removeEntity(writer: IdentityWriter, entity: EntityRecord): void {
  writer.deleteEntity(entity)
  for (const merged of entity.mergedIds) writer.removeMerged(merged)
}

export interface Merge {
  readonly into: string
  readonly from: readonly string[]
  /** Where both have an alias at a mount: the one that stays. */
  readonly keepAliasIds: readonly string[]
}

/** Named for the answer: which aliases are in each other's way. */
export interface AliasClash {
  readonly entity: EntityRecord
  readonly alias: AliasRecord
}

/** Two entities have an alias at the same mount, and nobody said which one stays. */
export class AliasesClash extends Error {
  readonly clashes: readonly AliasClash[]
  constructor(message: string, clashes: readonly AliasClash[]) {
    super(message)
    this.clashes = clashes
  }
}

/**
 * Merges entities into one: it gets their aliases and their groups, and their tokens become its own. Its name, metadata and policies stay, theirs go.
 * @throws ERR_BAD_REQUEST for entities that are not there; AliasesClash.
 */
export async function mergeEntities(writer: IdentityWriter, merge: Merge): Promise<EntityRecord> {
  const fromIds = [...new Set(merge.from)]
  const previous = await writer.entity(merge.into)
  if (previous === null) throw bad('entity id to merge to is invalid')
  if (fromIds.length > mergeAtOnceMax) throw bad(`entity ids to merge from expected at most ${mergeAtOnceMax}, got ${fromIds.length}`)
  if (fromIds.length > 1 && merge.keepAliasIds.length > 1) {
    throw bad('aliases conflicts cannot be resolved with multiple from entity ids - merge one entity at a time')
  }
  const from: EntityRecord[] = []
  for (const id of fromIds) from.push(await mergeable(writer, previous, id))
  checkAccessors(previous, from)
  if (merge.keepAliasIds.length === 0) checkClashes(previous, from)
  const next = from.reduce((into, entity) => absorb(into, entity, merge.keepAliasIds, writer.nowMs), previous)
  for (const entity of from) {
    writer.deleteEntity(entity)
    for (const id of [entity.id, ...entity.mergedIds]) writer.setMerged(id, next.id)
  }
  writer.putEntity(previous, next)
  return next
}

async function mergeable(writer: IdentityWriter, into: EntityRecord, id: string): Promise<EntityRecord> {
  if (id === into.id) throw bad('to_entity_id should not be present in from_entity_ids')
  const entity = await writer.entity(id)
  if (entity === null) throw bad('entity id to merge from is invalid')
  return entity
}

/** An entity has one alias a mount: which of two it keeps can be said for one other entity at a time only. */
function checkAccessors(into: EntityRecord, from: readonly EntityRecord[]): void {
  const owners = new Map<string, string>()
  for (const entity of from) {
    for (const { mountAccessor } of entity.aliases) {
      if (owners.has(mountAccessor)) {
        throw bad(`mount accessor ${mountAccessor} found in multiple fromEntities, merge should be done with one fromEntity at a time`)
      }
      owners.set(mountAccessor, into.id)
    }
  }
}

function checkClashes(into: EntityRecord, from: readonly EntityRecord[]): void {
  const texts: string[] = []
  const clashes: AliasClash[] = []
  for (const entity of from) {
    for (const alias of entity.aliases) {
      const own = into.aliases.find(({ mountAccessor }) => mountAccessor === alias.mountAccessor)
      if (!own) continue
      texts.push(
        `mountAccessor: ${own.mountAccessor}, toEntity ID: ${into.id}, fromEntity ID: ${entity.id}, conflicting toEntity alias ID: ${own.id}, conflicting fromEntity alias ID: ${alias.id}`,
      )
      clashes.push({ entity: into, alias: own }, { entity, alias })
    }
  }
  if (texts.length === 0) return
  const all = [
    'toEntity and at least one fromEntity have aliases with the same mount accessor, repeat the merge request specifying exactly one fromEntity, clashes: ',
    ...texts,
  ]
  throw new AliasesClash(`${all.length} errors occurred:\n${all.map((text) => `\t* ${text}\n`).join('')}\n`, clashes)
}

/** `into` with what `from` brings. Groups that a mount put one of them into go with the alias at that mount. */
function absorb(into: EntityRecord, from: EntityRecord, keep: readonly string[], nowMs: number): EntityRecord {
  let { aliases } = into
  let [own, theirs] = [into, from]
  for (const alias of from.aliases) {
    const other = aliases.find(({ mountAccessor }) => mountAccessor === alias.mountAccessor)
    if (other && keep.includes(other.id)) {
      theirs = { ...theirs, vouched: vouchedBeside(theirs, alias.mountAccessor) }
      continue
    }
    if (other && !keep.includes(alias.id)) {
      throw bad(
        `conflicting mount accessors in following alias IDs and neither were present in conflicting_alias_ids_to_keep: ${alias.id}, ${other.id}`,
      )
    }
    if (other) own = { ...own, vouched: vouchedBeside(own, alias.mountAccessor) }
    const moved = { ...alias, mergedFromIds: [...alias.mergedFromIds, from.id], updatedMs: nowMs }
    aliases = [...aliases.filter((present) => present !== other), moved]
  }
  const vouched = new Map([...own.vouched, ...theirs.vouched].map((word) => [word.groupId, word]))
  return {
    ...into,
    aliases,
    groupIds: [...new Set([...into.groupIds, ...from.groupIds])].toSorted(),
    vouched: [...vouched.values()].toSorted((a, b) => (a.groupId < b.groupId ? -1 : 1)),
    mergedIds: [...into.mergedIds, ...from.mergedIds, from.id],
    updatedMs: nowMs,
  }
}

/** What is absent stays as it is. */
export interface AliasChange {
  readonly name?: string
  readonly mountAccessor?: string
  readonly entityId?: string
  readonly customMetadata?: Readonly<Record<string, string>>
}

export interface ChangedAlias {
  readonly alias: AliasRecord
  readonly entityId: string
  /** False: it was so already, and nothing was written. */
  readonly changed: boolean
}

/** Makes an alias of an entity, or of a new one. @throws ERR_BAD_REQUEST: no such entity, or it has an alias at this mount. */
export async function createAlias(
  writer: IdentityWriter,
  wanted: { readonly name: string; readonly mountAccessor: string; readonly local: boolean } & AliasChange,
): Promise<ChangedAlias> {
  const previous = wanted.entityId === undefined ? null : await writer.entity(wanted.entityId)
  if (previous === null && wanted.entityId !== undefined) throw bad('invalid canonical ID')
  const entity = previous ?? (await newEntity(writer))
  if (hasAliasAt(entity, wanted.mountAccessor)) throw bad('Alias already exists for requested entity and mount accessor')
  const { nowMs } = writer
  const alias: AliasRecord = {
    id: writer.newId(),
    name: checkName('alias name', wanted.name),
    mountAccessor: wanted.mountAccessor,
    metadata: {},
    customMetadata: checkMetadata('alias custom metadata', wanted.customMetadata ?? {}),
    local: wanted.local,
    mergedFromIds: [],
    createdMs: nowMs,
    updatedMs: nowMs,
  }
  writer.putEntity(previous, { ...entity, aliases: [...entity.aliases, alias], updatedMs: nowMs })
  return { alias, entityId: entity.id, changed: true }
}

const hasAliasAt = (entity: EntityRecord, accessor: string): boolean =>
  entity.aliases.some(({ mountAccessor }) => mountAccessor === accessor)

/** Changes an alias of `entity`; moves it to another entity. @throws ERR_BAD_REQUEST where something is in the way. */
export async function changeAlias(
  writer: IdentityWriter,
  entity: EntityRecord,
  aliasId: string,
  change: AliasChange,
): Promise<ChangedAlias> {
  const alias = entity.aliases.find(({ id }) => id === aliasId)
  assert(alias !== undefined, 'alias expected to be one of the entity')
  const next: AliasRecord = {
    ...alias,
    name: checkName('alias name', change.name ?? alias.name),
    mountAccessor: change.mountAccessor ?? alias.mountAccessor,
    customMetadata: change.customMetadata ? checkMetadata('alias custom metadata', change.customMetadata) : alias.customMetadata,
  }
  const moves = change.entityId !== undefined && change.entityId !== entity.id
  if (!moves && JSON.stringify(next) === JSON.stringify(alias)) return { alias, entityId: entity.id, changed: false }
  await checkFactors(writer, alias, next)
  const written = { ...next, updatedMs: writer.nowMs }
  if (moves) return moveAlias(writer, entity, written, change.entityId!)
  if (next.mountAccessor !== alias.mountAccessor && hasAliasAt(entity, next.mountAccessor)) {
    throw bad("Alias cannot be updated as the entity already has an alias for the given 'mount_accessor' ")
  }
  writer.putEntity(entity, {
    ...entity,
    aliases: entity.aliases.map((own) => (own.id === alias.id ? written : own)),
    vouched: next.mountAccessor === alias.mountAccessor ? entity.vouched : vouchedBeside(entity, alias.mountAccessor),
  })
  return { alias: written, entityId: entity.id, changed: true }
}

async function checkFactors(writer: IdentityWriter, alias: AliasRecord, next: AliasRecord): Promise<void> {
  // The same name in another spelling is its own.
  if (next.mountAccessor === alias.mountAccessor && foldName(next.name) === foldName(alias.name)) return
  const owner = await writer.idByFactors('entity', next.mountAccessor, next.name)
  if (owner !== null) throw bad('alias with combination of mount accessor and name already exists')
}

async function moveAlias(writer: IdentityWriter, entity: EntityRecord, alias: AliasRecord, toId: string): Promise<ChangedAlias> {
  if (alias.local) throw bad("local aliases can't be moved between entities")
  const target = await writer.entity(toId)
  if (target === null) throw bad("given 'canonical_id' is not associated with an entity")
  if (hasAliasAt(target, alias.mountAccessor)) throw bad('Alias cannot be updated as the given entity already has an alias for this mount ')
  removeAlias(writer, entity, alias.id)
  writer.putEntity(target, { ...target, aliases: [...target.aliases, alias], updatedMs: writer.nowMs })
  return { alias, entityId: toId, changed: true }
}

/** What other mounts said of its groups. */
const vouchedBeside = (entity: EntityRecord, accessor: string): Vouched[] =>
  entity.vouched.filter(({ mountAccessor }) => mountAccessor !== accessor)

/** Takes an alias from its entity, which stays. The external groups that its mount put the entity into go with it. */
export function removeAlias(writer: IdentityWriter, entity: EntityRecord, aliasId: string): EntityRecord {
  const gone = entity.aliases.find(({ id }) => id === aliasId)
  const next: EntityRecord = {
    ...entity,
    aliases: entity.aliases.filter(({ id }) => id !== aliasId),
    vouched: gone === undefined ? entity.vouched : vouchedBeside(entity, gone.mountAccessor),
    updatedMs: writer.nowMs,
  }
  writer.putEntity(entity, next)
  return next
}
