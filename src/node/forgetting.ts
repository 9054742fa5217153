/** What was opened and lies in memory goes when its namespace, or the node, is sealed. */
import type { BarrierControl } from '#barrier/types.ts'
import type { Core } from '#core/core.ts'
import type { Leasing } from '#core/leasing.ts'
import type { UserLockout } from '#core/lockout.ts'
import type { IdentityStore } from '#identity/store.ts'
import type { PolicyStore } from '#policies/store.ts'
import type { QuotaFeed } from '#quotas/feed.ts'
import type { TokenStore } from '#tokens/store.ts'

export interface Memories {
  readonly core: Pick<Core, 'onSealed'>
  readonly identity: Pick<IdentityStore, 'onSealed'>
  readonly policies: Pick<PolicyStore, 'onSealed'>
  readonly tokens: Pick<TokenStore, 'forgetOpened'>
  readonly lockout: Pick<UserLockout, 'forget'>
  readonly leasing: Pick<Leasing, 'forget' | 'expirer'>
}

/** Of the namespaces that `isSealed` holds for; what is only a copy of the state, and not told apart by namespace, is read anew for all. */
export function forgetSealed(memories: Memories, isSealed: (namespaceId: string) => boolean): void {
  memories.core.onSealed()
  memories.identity.onSealed()
  memories.policies.onSealed()
  memories.tokens.forgetOpened()
  // These are no copies: others would lose their counts of wrong tries, and wait for their leases to be looked up.
  memories.lockout.forget(isSealed)
  memories.leasing.forget(isSealed)
}

/**
 * Forgets with each namespace that is sealed, on this node; with each that is opened, what is due in it is looked for. Where quotas hold is read anew with
 * both: without, those of a path would let everything through until something is written.
 */
export function forgetWithNamespaces(
  { namespaces }: Pick<BarrierControl, 'namespaces'>,
  memories: Memories & { readonly feed: Pick<QuotaFeed, 'look'> },
): () => void {
  return namespaces.onChange((closed) => {
    if (closed === null) memories.leasing.expirer.nudge()
    else forgetSealed(memories, (namespaceId) => closed.includes(namespaces.keyringId(namespaceId)))
    memories.feed.look()
  })
}
