/** The one place that writes identity: a record and all of its indexes together, from what it was and what it is to be. */
import { assert } from '#base/assert.ts'
import { HoldfastError } from '#base/errors.ts'
import { randomUuid, type RandomSource } from '#base/random.ts'
import type { Transaction } from '#barrier/types.ts'
import { byHand, encodeRecord, IdentityReader, paths, type Kind } from './records.ts'
import type { EntityRecord, GroupRecord } from './types.ts'

/** Aliases of one entity: one a mount. */
export const aliasesMax = 256
/** Groups that have one entity, or one group, as a member themselves. */
export const directGroupsMax = 1_024
/** Groups that are members of one group themselves. */
export const memberGroupsMax = 1_024
/** Entities that were merged into one. */
export const mergedMax = 1_024

const one = Uint8Array.of(1)
const nameTriesMax = 16

/** What of a record its indexes are made from. */
interface Indexed {
  readonly name: string
  readonly aliases: readonly { readonly id: string; readonly name: string; readonly mountAccessor: string }[]
}

const entityIndexed = (entity: EntityRecord | null): Indexed => entity ?? { name: '', aliases: [] }
const groupIndexed = (group: GroupRecord | null): Indexed =>
  group === null ? { name: '', aliases: [] } : { name: group.name, aliases: group.alias === null ? [] : [group.alias] }

/** Paths that an entity is listed at as a member. */
const memberPaths = (entity: EntityRecord | null): string[] =>
  entity === null
    ? []
    : [
        ...entity.groupIds.map((group) => paths.member(group, byHand, entity.id)),
        ...entity.vouched.map(({ groupId, stamp }) => paths.member(groupId, stamp, entity.id)),
      ]

function indexPaths(kind: Kind, id: string, { name, aliases }: Indexed): Map<string, string> {
  const made = new Map<string, string>()
  if (name !== '') {
    made.set(paths.name(kind, name), id)
    made.set(paths.listed(kind, name), id)
  }
  for (const alias of aliases) {
    made.set(paths.alias(kind, alias.id), id)
    made.set(paths.aliasOf(kind, alias.mountAccessor, alias.name), id)
  }
  return made
}

function refuseBeyond(what: string, max: number, got: number): void {
  if (got > max) throw new HoldfastError('ERR_BAD_REQUEST', `${what} expected at most ${max}, got ${got}`)
}

export class IdentityWriter extends IdentityReader {
  readonly transaction: Transaction
  readonly #random: RandomSource

  constructor(transaction: Transaction, namespace: string, random: RandomSource) {
    super(transaction, namespace)
    this.transaction = transaction
    this.#random = random
  }

  newId(): string {
    return randomUuid(this.#random)
  }

  /** A name that nothing of this kind has: 'entity_1a2b3c4d'. */
  async newName(kind: Kind): Promise<string> {
    for (let attempt = 0; attempt < nameTriesMax; attempt += 1) {
      const name = `${kind}_${this.newId().slice(0, 8)}`
      if ((await this.idByName(kind, name)) === null) return name
    }
    return `${kind}_${this.newId()}`
  }

  /** Writes `next` in place of `previous` (null: there was none; the same id otherwise), with what is found through it. */
  putEntity(previous: EntityRecord | null, next: EntityRecord): void {
    refuseBeyond('aliases of an entity', aliasesMax, next.aliases.length)
    refuseBeyond('groups of an entity', directGroupsMax, next.groupIds.length + next.vouched.length)
    refuseBeyond('entities merged into one', mergedMax, next.mergedIds.length)
    this.#replace('entity', next.id, entityIndexed(previous), entityIndexed(next))
    this.#swap(memberPaths(previous), memberPaths(next))
    this.transaction.put(this.section, paths.record('entity', next.id), encodeRecord(next))
  }

  /** Deletes an entity with what is found through it; not the marks of those merged into it. */
  deleteEntity(entity: EntityRecord): void {
    this.#replace('entity', entity.id, entityIndexed(entity), entityIndexed(null))
    this.#swap(memberPaths(entity), [])
    this.transaction.delete(this.section, paths.record('entity', entity.id))
  }

  /** As `putEntity`. From here on what was resolved before counts no more. */
  putGroup(previous: GroupRecord | null, next: GroupRecord): void {
    refuseBeyond('groups above a group', directGroupsMax, next.parentIds.length)
    refuseBeyond('groups in a group', memberGroupsMax, next.memberGroupIds.length)
    assert(next.alias === null || next.type === 'external', 'a group with an alias expected to be external')
    this.#replace('group', next.id, groupIndexed(previous), groupIndexed(next))
    this.transaction.put(this.section, paths.record('group', next.id), encodeRecord(next))
    this.graphChanged()
  }

  /** Deletes a group with what is found through it. The entities in it are left alone: an id that is gone stands for nothing. */
  deleteGroup(group: GroupRecord): void {
    this.#replace('group', group.id, groupIndexed(group), groupIndexed(null))
    this.transaction.delete(this.section, paths.record('group', group.id))
    this.graphChanged()
  }

  mark(path: string): void {
    this.transaction.put(this.section, path, one)
  }

  removeMerged(from: string): void {
    this.remove(paths.merged(from))
  }

  setMerged(from: string, into: string): void {
    this.transaction.put(this.section, paths.merged(from), Buffer.from(into))
  }

  remove(path: string): void {
    this.transaction.delete(this.section, path)
  }

  /** Random, not counted: after a restore the same number could stand for other groups. */
  graphChanged(): void {
    this.transaction.put(this.section, paths.graph, this.#random.bytes(16))
  }

  #replace(kind: Kind, id: string, previous: Indexed, next: Indexed): void {
    const [before, after] = [indexPaths(kind, id, previous), indexPaths(kind, id, next)]
    for (const path of before.keys()) if (!after.has(path)) this.remove(path)
    for (const path of after.keys()) if (!before.has(path)) this.transaction.put(this.section, path, Buffer.from(id))
  }

  #swap(before: readonly string[], after: readonly string[]): void {
    const [old, wanted] = [new Set(before), new Set(after)]
    for (const path of old) if (!wanted.has(path)) this.remove(path)
    for (const path of wanted) if (!old.has(path)) this.mark(path)
  }
}
