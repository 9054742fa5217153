/**
 * Entity, groups and policies of a token, as each of its requests needs them.
 *
 * What was resolved is kept beside the bytes that it was made from: the entity's record, and the mark that changes with every group. Both
 * are read anew by each request, in its own view, so nothing that is kept can be older than that view; inside a transaction a change of
 * either is a conflict. That is two reads a request, whatever the number of groups.
 */
import { HoldfastError, wellKnown } from '#base/errors.ts'
import { BoundedLru } from '#base/lru.ts'
import type { ReadView } from '#barrier/types.ts'
import { membership } from './graph.ts'
import { decodeRecord, IdentityReader, paths } from './records.ts'
import type { EntityRecord, GroupRecord, ResolvedIdentity } from './types.ts'

/** Entities and groups kept, summed. */
const keptMax = 65_536

interface Kept {
  readonly entity: Uint8Array
  readonly graph: Uint8Array | null
  readonly resolved: ResolvedIdentity
}

const same = (a: Uint8Array | null, b: Uint8Array | null): boolean => a === b || (a !== null && b !== null && Buffer.compare(a, b) === 0)

export class Resolver {
  readonly #kept = new BoundedLru<string, Kept>({ weightMax: keptMax })

  /** null when there is no such entity (any more). One that was merged gives the one it was merged into. */
  async resolve(view: ReadView, entityId: string, namespace: string): Promise<ResolvedIdentity | null> {
    const reader = new IdentityReader(view, namespace)
    const own = await view.get(reader.section, paths.record('entity', entityId))
    if (own !== null) return this.#resolveBytes(reader, namespace, entityId, own)
    const into = await reader.mergedInto(entityId)
    const bytes = into === null ? null : await view.get(reader.section, paths.record('entity', into))
    return into === null || bytes === null ? null : this.#resolveBytes(reader, namespace, into, bytes)
  }

  /** Of an entity that this transaction has written or is about to: nothing is kept. */
  fresh(reader: IdentityReader, entity: EntityRecord): Promise<ResolvedIdentity> {
    return resolveEntity(reader, entity)
  }

  /** The barrier sealed: nothing opened stays. */
  clear(): void {
    this.#kept.clear()
  }

  async #resolveBytes(reader: IdentityReader, namespace: string, id: string, entity: Uint8Array): Promise<ResolvedIdentity> {
    const key = `${namespace}\0${id}`
    const graph = await reader.view.get(reader.section, paths.graph)
    const kept = this.#kept.get(key)
    if (kept && same(kept.entity, entity) && same(kept.graph, graph)) return kept.resolved
    const resolved = await resolveEntity(reader, decodeRecord<EntityRecord>('entity', entity))
    // Copies of their own: what a view gives may be part of a larger piece of memory, which would be kept with it.
    const bytes = { entity: new Uint8Array(entity), graph: graph && new Uint8Array(graph) }
    this.#kept.set(key, { ...bytes, resolved }, 1 + resolved.groups.length + resolved.entity.aliases.length)
    return resolved
  }
}

/** The groups that count an entity as a member themselves: all internal ones, external ones that still go by the name that a login gave. */
export async function directGroups(reader: IdentityReader, entity: EntityRecord): Promise<GroupRecord[]> {
  const direct: GroupRecord[] = []
  for (const id of entity.groupIds) {
    const group = await reader.group(id)
    if (group !== null) direct.push(group)
  }
  for (const { groupId, stamp } of entity.vouched) {
    const group = await reader.group(groupId)
    if (group !== null && group.alias?.stamp === stamp) direct.push(group)
  }
  return direct
}

async function resolveEntity(reader: IdentityReader, entity: EntityRecord): Promise<ResolvedIdentity> {
  const direct = await directGroups(reader, entity)
  const directGroupIds = direct.map(({ id }) => id).toSorted()
  const groups = await allGroups(reader, directGroupIds)
  const policies = new Set([entity, ...groups].flatMap((holder) => holder.policies))
  // Never written here; should it be there all the same, it must not make a root token.
  policies.delete('root')
  return {
    entity,
    groups: groups.map(({ id, name, metadata }) => ({ id, name, metadata })),
    directGroupIds,
    policies: [...policies].toSorted(),
  }
}

/** More groups than a request may walk: refused as a request, not answered as a bad one. */
async function allGroups(reader: IdentityReader, direct: readonly string[]): Promise<GroupRecord[]> {
  try {
    return await membership(direct, (id) => reader.group(id))
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== 'ERR_BAD_REQUEST') throw error
    throw new HoldfastError('ERR_PERMISSION_DENIED', wellKnown.permissionDenied, { cause: error, hint: error.message })
  }
}
