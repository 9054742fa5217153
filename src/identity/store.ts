/** Identity as the rest of the house uses it. Records and their layout: records.ts. */
import type { RandomSource } from '#base/random.ts'
import type { ListOptions, ReadView, Section, Transaction } from '#barrier/types.ts'
import type { Namespace } from '#namespaces/record.ts'
import { createRoleStore } from '#policies/roles.ts'
import {
  changeAlias,
  createAlias,
  mergeEntities,
  removeAlias,
  removeEntity,
  upsertEntity,
  type AliasChange,
  type ChangedAlias,
  type EntityChange,
  type Merge,
} from './entities.ts'
import { dropMount, goneStep } from './gone.ts'
import {
  putGroupAlias,
  removeGroup,
  removeGroupAlias,
  upsertGroup,
  type ChangedGroupAlias,
  type GroupChange,
  type WantedGroupAlias,
} from './groups.ts'
import { loginEntity, refreshGroups } from './login.ts'
import { MfaStore } from './mfa.ts'
import { nameSegment, segmentName } from './names.ts'
import { aliasFolder, byHand, identitySection, IdentityReader, members, paths, type Kind } from './records.ts'
import { Resolver } from './resolve.ts'
import type { EntityRecord, GroupRecord, LoginAlias, LoginIdentity, ResolvedIdentity } from './types.ts'
import { IdentityWriter } from './writer.ts'

/** What is looked for: one of these. */
export type Wanted =
  | { readonly id: string }
  | { readonly name: string }
  | { readonly aliasId: string }
  | { readonly mountAccessor: string; readonly aliasName: string }

export interface IdentityStore {
  /** Second factors of logins. */
  readonly mfa: MfaStore
  /**
   * Entity, groups and policies of a token's `entityId`, as they are in `view`; null when the entity is gone: its tokens are good for nothing.
   * Two reads; what is resolved from them is kept.
   */
  resolve(view: ReadView, entityId: string, namespace?: string): Promise<ResolvedIdentity | null>
  /**
   * To be called by a login, in the transaction that makes its token: finds the alias's entity or makes it, keeps the alias's metadata, and puts
   * the entity into the external groups that the method names (out of those of this mount that it does not name).
   * @throws ERR_PERMISSION_DENIED when the entity is disabled; ERR_BAD_REQUEST: a name or metadata that can't be kept.
   */
  login(transaction: Transaction, alias: LoginAlias, namespace?: string): Promise<LoginIdentity>
  /** The same for a renewal, where the method has asked again which groups there are. Null when the entity is gone. @throws as `login`. */
  refreshGroups(
    transaction: Transaction,
    entityId: string,
    mountAccessor: string,
    groupAliases: readonly string[],
    namespace?: string,
  ): Promise<LoginIdentity | null>

  /** One read, or two: an index and the record. null when there is none. */
  entity(view: ReadView, wanted: Wanted, namespace?: string): Promise<EntityRecord | null>
  group(view: ReadView, wanted: Wanted, namespace?: string): Promise<GroupRecord | null>
  /** Ids, names as they were written, or ids of aliases; in order. */
  list(view: ReadView, kind: Kind, by: 'id' | 'name' | 'alias', options?: ListOptions, namespace?: string): Promise<string[]>
  /** Entities that are in the group themselves. */
  members(view: ReadView, group: GroupRecord, options?: ListOptions, namespace?: string): Promise<string[]>

  /** See upsertEntity. */
  putEntity(
    transaction: Transaction,
    id: string | null,
    change: EntityChange,
    namespace?: string,
  ): Promise<{ readonly entity: EntityRecord; readonly created: boolean }>
  /** Its tokens are good for nothing from then on. Roles forget it. */
  deleteEntity(transaction: Transaction, entity: EntityRecord, namespace?: string): Promise<void>
  /** See mergeEntities. Roles of those that were merged are not handed on. */
  merge(transaction: Transaction, merge: Merge, namespace?: string): Promise<EntityRecord>
  createAlias(
    transaction: Transaction,
    wanted: { readonly name: string; readonly mountAccessor: string; readonly local: boolean } & AliasChange,
    namespace?: string,
  ): Promise<ChangedAlias>
  changeAlias(
    transaction: Transaction,
    entity: EntityRecord,
    aliasId: string,
    change: AliasChange,
    namespace?: string,
  ): Promise<ChangedAlias>
  deleteAlias(transaction: Transaction, entity: EntityRecord, aliasId: string, namespace?: string): void
  /** See upsertGroup. */
  putGroup(transaction: Transaction, previous: GroupRecord | null, change: GroupChange, namespace?: string): Promise<GroupRecord>
  /** Deletes a group. Gives back where its list of members lies, for the caller to sweep: nothing reads it any more. */
  deleteGroup(
    transaction: Transaction,
    group: GroupRecord,
    namespace?: string,
  ): Promise<{ readonly section: Section; readonly prefix: string }>
  /** See putGroupAlias; `previous`: the group that has it now, null for a new alias. */
  putGroupAlias(
    transaction: Transaction,
    previous: GroupRecord | null,
    wanted: WantedGroupAlias,
    namespace?: string,
  ): Promise<ChangedGroupAlias>
  deleteGroupAlias(transaction: Transaction, group: GroupRecord, namespace?: string): void
  /** A mount is disabled: its aliases go, in this transaction and, where they are many, in steps that `tidyStep` does. */
  dropMount(transaction: Transaction, accessor: string, namespace?: string): Promise<void>
  /** One bounded step of what `dropMount` has left; true when there is more. For a job of the leader. */
  tidyStep(transaction: Transaction, namespace?: string): Promise<boolean>
  /**
   * `namespace`, which nothing reaches any more, is deleted: one bounded step of taking what the apps of its entities were given from the methods of the namespaces
   * `above`, where it lies. With it go the records by which that is found; true when more may be left.
   */
  drainNamespace(transaction: Transaction, above: readonly Pick<Namespace, 'id' | 'path'>[], namespace: string): Promise<boolean>
  /** The barrier sealed: forget what was opened. */
  onSealed(): void
}

/** Of a namespace that is deleted, at once: each costs a read a method. */
const entitiesPerStepMax = 64

async function idOf(reader: IdentityReader, kind: Kind, wanted: Wanted): Promise<string | null> {
  if ('id' in wanted) return wanted.id
  if ('name' in wanted) return reader.idByName(kind, wanted.name)
  if ('aliasId' in wanted) return reader.idByAlias(kind, wanted.aliasId)
  return reader.idByFactors(kind, wanted.mountAccessor, wanted.aliasName)
}

const listFolder = (kind: Kind, by: 'id' | 'name' | 'alias'): string =>
  by === 'id' ? kind : by === 'name' ? `${kind}-listed` : aliasFolder(kind)

/** One a process (or thread): keeps a cache and nothing else. */
export function createIdentityStore({ random }: { readonly random: RandomSource }): IdentityStore {
  const resolver = new Resolver()
  const mfa = new MfaStore(random)
  const roles = createRoleStore()
  const writing = (transaction: Transaction, namespace: string): IdentityWriter => new IdentityWriter(transaction, namespace, random)

  async function known(writer: IdentityWriter, entityId: string): Promise<EntityRecord | null> {
    const entity = await writer.entity(entityId)
    const into = entity ? null : await writer.mergedInto(entityId)
    return into === null ? entity : writer.entity(into)
  }

  async function groupsOf(
    writer: IdentityWriter,
    entity: EntityRecord,
    mountAccessor: string,
    names: readonly string[],
  ): Promise<LoginIdentity> {
    const refreshed = await refreshGroups(writer, entity, mountAccessor, names)
    const { policies } = await resolver.fresh(writer, refreshed.entity)
    return { entityId: entity.id, policies, groupAliases: refreshed.groupAliases }
  }

  return {
    mfa,

    resolve: (view, entityId, namespace = 'root') => resolver.resolve(view, entityId, namespace),

    async login(transaction, alias, namespace = 'root') {
      const writer = writing(transaction, namespace)
      return groupsOf(writer, await loginEntity(writer, alias), alias.mountAccessor, alias.groupAliases ?? [])
    },

    async refreshGroups(transaction, entityId, mountAccessor, names, namespace = 'root') {
      const writer = writing(transaction, namespace)
      const entity = await known(writer, entityId)
      return entity && groupsOf(writer, entity, mountAccessor, names)
    },

    async entity(view, wanted, namespace = 'root') {
      const reader = new IdentityReader(view, namespace)
      const id = await idOf(reader, 'entity', wanted)
      return id === null ? null : reader.entity(id)
    },

    async group(view, wanted, namespace = 'root') {
      const reader = new IdentityReader(view, namespace)
      const id = await idOf(reader, 'group', wanted)
      return id === null ? null : reader.group(id)
    },

    async list(view, kind, by, options = {}, namespace = 'root') {
      const after = options.after === undefined || by !== 'name' ? options.after : nameSegment(options.after)
      const { limit } = options
      const window = { ...(after === undefined ? {} : { after }), ...(limit === undefined ? {} : { limit }) }
      const found = await view.list(identitySection(namespace), listFolder(kind, by), window)
      return by === 'name' ? found.map(segmentName) : found
    },

    async members(view, group, options = {}, namespace = 'root') {
      const stamp = group.type === 'internal' ? byHand : group.alias?.stamp
      return stamp === undefined ? [] : view.list(identitySection(namespace), members(group.id, stamp), options)
    },

    putEntity: (transaction, id, change, namespace = 'root') => upsertEntity(writing(transaction, namespace), id, change),
    async deleteEntity(transaction, entity, namespace = 'root') {
      removeEntity(writing(transaction, namespace), entity)
      await roles.forget(transaction, 'entity', entity.id, namespace)
    },

    async merge(transaction, merge, namespace = 'root') {
      const merged = await mergeEntities(writing(transaction, namespace), merge)
      for (const id of new Set(merge.from)) await roles.forget(transaction, 'entity', id, namespace)
      return merged
    },

    createAlias: (transaction, wanted, namespace = 'root') => createAlias(writing(transaction, namespace), wanted),
    changeAlias(transaction, entity, aliasId, change, namespace = 'root') {
      return changeAlias(writing(transaction, namespace), entity, aliasId, change)
    },
    deleteAlias: (transaction, entity, aliasId, namespace = 'root') => void removeAlias(writing(transaction, namespace), entity, aliasId),
    putGroup: (transaction, previous, change, namespace = 'root') => upsertGroup(writing(transaction, namespace), previous, change),

    async deleteGroup(transaction, group, namespace = 'root') {
      const writer = writing(transaction, namespace)
      await removeGroup(writer, group)
      await roles.forget(transaction, 'group', group.id, namespace)
      return { section: writer.section, prefix: `member/${group.id}` }
    },

    putGroupAlias: (transaction, previous, wanted, namespace = 'root') => putGroupAlias(writing(transaction, namespace), previous, wanted),
    deleteGroupAlias: (transaction, group, namespace = 'root') => removeGroupAlias(writing(transaction, namespace), group),
    dropMount: (transaction, accessor, namespace = 'root') => dropMount(writing(transaction, namespace), accessor),
    tidyStep: (transaction, namespace = 'root') => goneStep(writing(transaction, namespace)),
    async drainNamespace(transaction, above, namespace) {
      // Where no method lies above there is nothing to take, and the rest goes with its section.
      if ((await mfa.methodsOn(transaction, above)).length === 0) return false
      const section = identitySection(namespace)
      const ids = await transaction.list(section, 'entity', { limit: entitiesPerStepMax })
      await mfa.forgetEntities(transaction, above, ids)
      for (const id of ids) transaction.delete(section, paths.record('entity', id))
      return ids.length > 0
    },
    onSealed: () => resolver.clear(),
  }
}
