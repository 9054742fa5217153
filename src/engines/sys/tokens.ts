import type { ListOptions, ReadView, Transaction } from '#barrier/types.ts'
import type { TokenEntry } from '#tokens/types.ts'

/** What sys needs of the tokens: to find another token by itself or by its accessor. */
export interface SystemTokens {
  lookup(view: ReadView, token: string, namespaceIds: readonly string[]): Promise<TokenEntry | null>
  lookupAccessor(view: ReadView, accessor: string, namespaceId: string): Promise<TokenEntry | null>
  listAccessors(view: ReadView, options: ListOptions, namespaceId: string): Promise<string[]>
  /** A login method is unmounted: the tokens of its logins end. */
  mountGone(transaction: Transaction, mountUuid: string, namespace: string): void
}
