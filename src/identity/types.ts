/** Who somebody is, whatever login method says so: an entity, its aliases (one a mount), its groups. */

/** The name that a login method knows an entity by. One a mount at most. */
export interface AliasRecord {
  readonly id: string
  readonly name: string
  readonly mountAccessor: string
  /** As the last login of the method gave it. */
  readonly metadata: Readonly<Record<string, string>>
  /** As an operator gave it. */
  readonly customMetadata: Readonly<Record<string, string>>
  /** Of a mount that is not replicated to other clusters. */
  readonly local: boolean
  readonly mergedFromIds: readonly string[]
  readonly createdMs: number
  readonly updatedMs: number
}

/** A login said that the entity belongs to an external group. It holds as long as the group goes by the name that was said. */
export interface Vouched {
  readonly groupId: string
  /** `GroupAliasRecord.stamp` of then. */
  readonly stamp: string
  /** The mount that said it: its next word replaces this one. */
  readonly mountAccessor: string
}

export interface EntityRecord {
  readonly id: string
  /** Unique whatever its letter case. */
  readonly name: string
  readonly metadata: Readonly<Record<string, string>>
  readonly policies: readonly string[]
  /** No token of it is good. */
  readonly disabled: boolean
  readonly aliases: readonly AliasRecord[]
  /** Internal groups that have it as a member themselves; those above them are found through them. Sorted. */
  readonly groupIds: readonly string[]
  /** External groups that a login put it into. Sorted by group. */
  readonly vouched: readonly Vouched[]
  /** Entities that were merged into this one: their tokens are its own. */
  readonly mergedIds: readonly string[]
  readonly createdMs: number
  readonly updatedMs: number
}

export type GroupType = 'internal' | 'external'

/** The name that a login method knows a group by. */
export interface GroupAliasRecord {
  readonly id: string
  readonly name: string
  readonly mountAccessor: string
  /** Another one whenever name or mount change: who was vouched for by the old name is not by the new one. */
  readonly stamp: string
  readonly createdMs: number
  readonly updatedMs: number
}

export interface GroupRecord {
  readonly id: string
  /** Unique whatever its letter case. */
  readonly name: string
  /** `external`: its members are those whose logins said so. */
  readonly type: GroupType
  readonly metadata: Readonly<Record<string, string>>
  readonly policies: readonly string[]
  /** Groups that have it as a member. Sorted. */
  readonly parentIds: readonly string[]
  /** Groups that are its members. Sorted. */
  readonly memberGroupIds: readonly string[]
  readonly alias: GroupAliasRecord | null
  readonly createdMs: number
  readonly updatedMs: number
  /** 1 when it was made, one more with each change; logins that bring or take members of an external group do not count. */
  readonly modifyIndex: number
}

/** What a login method found out about who logs in. */
export interface LoginAlias {
  /** Its name at this mount, as the method spells it: 'alice', a role id ... */
  readonly name: string
  readonly mountAccessor: string
  readonly mountType: string
  readonly metadata?: Readonly<Record<string, string>>
  /** The mount is not replicated to other clusters. */
  readonly local?: boolean
  /** Names that the method gives to the groups of who logs in. Absent is none: it leaves all external groups of this mount. */
  readonly groupAliases?: readonly string[]
}

/** What a login's token gets of identity. */
export interface LoginIdentity {
  readonly entityId: string
  /** The entity's and its groups', sorted; for `identity_policies` of the answer. The token's own are not among them. */
  readonly policies: readonly string[]
  /** Those of the alias's groups that some group goes by. */
  readonly groupAliases: readonly string[]
}

/** A group as templates see it. */
export interface ResolvedGroup {
  readonly id: string
  readonly name: string
  readonly metadata: Readonly<Record<string, string>>
}

/** All that a request of a token with an entity needs, for policies and their templates. Immutable: it is shared between requests. */
export interface ResolvedIdentity {
  /** Not the token's `entityId` where that one was merged. */
  readonly entity: EntityRecord
  /** Direct and inherited, by id. */
  readonly groups: readonly ResolvedGroup[]
  /** Ids of the groups that have the entity as a member themselves; the others are inherited. */
  readonly directGroupIds: readonly string[]
  /** The entity's and its groups', sorted, each once; never `root`. */
  readonly policies: readonly string[]
}
