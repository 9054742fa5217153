/** Identity as the rest of the house uses it. Records and their layout: records.ts. */
import type { RandomSource } from '#base/random.ts'
import type { ReadView, Transaction } from '#barrier/types.ts'
import { loginEntity, refreshGroups } from './login.ts'
import { Resolver } from './resolve.ts'
import type { LoginAlias, LoginIdentity, ResolvedIdentity } from './types.ts'
import { IdentityWriter } from './writer.ts'

export interface IdentityStore {
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
  /** The barrier sealed: forget what was opened. */
  onSealed(): void
}

/** One a process (or thread): keeps a cache and nothing else. */
export function createIdentityStore({ random }: { readonly random: RandomSource }): IdentityStore {
  const resolver = new Resolver()
  return {
    resolve: (view, entityId, namespace = 'root') => resolver.resolve(view, entityId, namespace),

    async login(transaction, alias, namespace = 'root') {
      const writer = new IdentityWriter(transaction, namespace, random)
      const found = await loginEntity(writer, alias)
      const { entity, groupAliases } = await refreshGroups(writer, found, alias.mountAccessor, alias.groupAliases ?? [])
      const { policies } = await resolver.fresh(writer, entity)
      return { entityId: entity.id, policies, groupAliases }
    },

    async refreshGroups(transaction, entityId, mountAccessor, names, namespace = 'root') {
      const writer = new IdentityWriter(transaction, namespace, random)
      const known = (await writer.entity(entityId)) ?? (await writer.entity((await writer.mergedInto(entityId)) ?? ''))
      if (known === null) return null
      const { entity, groupAliases } = await refreshGroups(writer, known, mountAccessor, names)
      const { policies } = await resolver.fresh(writer, entity)
      return { entityId: entity.id, policies, groupAliases }
    },

    onSealed: () => resolver.clear(),
  }
}
