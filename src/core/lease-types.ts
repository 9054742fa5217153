/** What an engine and the core say to each other about leases. An engine lends; the core keeps the books, and asks for it back. */
import type { Logger } from '#base/logger.ts'
import type { RandomSource } from '#base/random.ts'
import type { MountEntry, MountStorage } from './types.ts'

/** In a handler's answer: what it gives out is lent. The core registers the lease in the handler's own transaction, and answers its id. */
export interface LeaseGrant {
  /** Which of the engine's `leases` takes it back. */
  readonly type: string
  /** What that needs: handed back as it is, shown to nobody. At most 64 KiB as JSON. */
  readonly internal: Readonly<Record<string, unknown>>
  /** Absent or 0: the mount's default. */
  readonly ttlSeconds?: number
  /** Absent or 0: the mount's maximum, beyond which it never goes. */
  readonly maxTtlSeconds?: number
  /** Absent: renewable if the engine can renew it. */
  readonly renewable?: boolean
}

/** A lease, as its engine sees it. `aside` (aside.ts) takes this object where a handler has its context. */
export interface LeaseCall {
  readonly id: string
  readonly internal: Readonly<Record<string, unknown>>
  readonly issueTimeMs: number
  readonly expireTimeMs: number
  /** The mount's corner, in the transaction that ends or prolongs the lease. */
  readonly storage: MountStorage
  readonly mount: MountEntry
  readonly nowMs: number
  readonly random: RandomSource
  readonly log: Logger
}

/** What a renewal changes; absent keys stay as they are. */
export interface RenewedLease {
  /** What it gets that asks for nothing. */
  readonly ttlSeconds?: number
  /** Since its issue. */
  readonly maxTtlSeconds?: number
  readonly internal?: Readonly<Record<string, unknown>>
}

/** How leases of one type are taken back and prolonged. */
export interface LeaseDef {
  /**
   * Takes back what was lent. What it writes is committed with the end of the lease, once. What it does outside of the process it does by `aside`, and may be asked
   * to do again though it was done (the leader went in between): what is gone already is a success. @throws where it failed: it is tried again,
   * later and later, and shown to an operator in the end.
   */
  readonly revoke: (call: LeaseCall) => Promise<void>
  /** Absent: these leases are not renewable. @throws ERR_BAD_REQUEST where this one may not be renewed any more. */
  readonly renew?: (call: LeaseCall & { readonly incrementSeconds: number }) => Promise<RenewedLease | null>
}
