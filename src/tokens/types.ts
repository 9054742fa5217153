export type TokenType = 'service' | 'batch'

/** A token as stored. Never holds the token itself: its key is a salted HMAC of it. */
export interface TokenEntry {
  /** Salted HMAC of the token, hex: the storage name. */
  readonly idHash: string
  readonly accessor: string
  readonly parentHash: string | null
  /** Where its parent lies; absent: where it lies itself. */
  readonly parentNamespaceId?: string
  readonly policies: readonly string[]
  /** Path that made it: 'auth/token/create', 'auth/token/root'. */
  readonly path: string
  readonly meta: Readonly<Record<string, string>> | null
  readonly displayName: string
  readonly type: TokenType
  readonly namespaceId: string
  readonly entityId: string
  readonly role?: string
  /** Remaining uses; 0: unlimited; -1: used up, being revoked. */
  readonly numUses: number
  readonly creationTimeMs: number
  readonly creationTtlSeconds: number
  /** The longest that a renewal gave it, or that the token had which handed on to it what it may; absent: no longer than its creation gave, or a record of before this was kept. */
  readonly longestGrantSeconds?: number
  readonly explicitMaxTtlSeconds: number
  readonly periodSeconds: number
  readonly renewable: boolean
  readonly orphan: boolean
  /** null: never expires (root). */
  readonly expireTimeMs: number | null
  readonly lastRenewalTimeMs: number | null
  readonly boundCidrs: readonly string[]
  /** Of a login's token: the mount that made it, without which it is not good, and what its method laid down for renewals. */
  readonly login?: { readonly mountUuid: string; readonly internal: Readonly<Record<string, string>> }
}
