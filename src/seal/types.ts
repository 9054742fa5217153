import type { BarrierControl } from '#barrier/types.ts'
import type { SecretBytes } from '#base/secret.ts'
import type { SealFaultKind } from './faults.ts'

/** What a seal opens, and its rekeys change: the cluster's barrier, or one namespace's keys (namespace-barrier.ts). */
export type SealBarrier = Pick<
  BarrierControl,
  'sealed' | 'initialize' | 'open' | 'seal' | 'writeBare' | 'changeSeal' | 'isRootKey' | 'readBare' | 'derivedKey' | 'onSealChange'
>

/** Whose shares: told in errors. */
export type SealOwner = 'cluster' | 'namespace'

/** What stands behind an auto seal: a KMS, an HSM, another cluster's transit engine, a key in a file. Bare: bounds and records are the guard's. */
export interface SealBackend {
  /** As in the configuration and in `seal-status`: 'awskms', 'pkcs11', 'transit', 'static'. */
  readonly kind: string
  /** Hides `plaintext` (a root key); `place` must be given again to unwrap. The caller owns both. @throws SealFault. */
  wrap(plaintext: Uint8Array, place: string, signal: AbortSignal): Promise<Uint8Array>
  /** The caller owns (and wipes) the result. @throws SealFault; ERR_DECRYPT when it is not ours. */
  unwrap(wrapped: Uint8Array, place: string, signal: AbortSignal): Promise<Uint8Array>
  /** Whether `wrapped` shows that another key than the present one made it. False where that can't be seen. */
  outdated(wrapped: Uint8Array): boolean
  close(): Promise<void>
}

/** How an auto seal has done on this node since it started. */
export interface AutoSealStatus {
  readonly kind: string
  /** null before the first call. */
  readonly ok: boolean | null
  readonly lastOkMs: number | null
  readonly lastFailure: { readonly fault: SealFaultKind; readonly message: string; readonly atMs: number } | null
  readonly failures: readonly { readonly fault: SealFaultKind; readonly count: number }[]
}

/** A seal that opens without people. Every call ends in bounded time; see guard.ts. */
export interface AutoSeal {
  readonly kind: string
  /** As SealBackend, tried again where that may help. */
  wrap(plaintext: Uint8Array, place: string): Promise<Uint8Array>
  unwrap(wrapped: Uint8Array, place: string): Promise<Uint8Array>
  /** Wraps and unwraps random bytes. @throws as they do. */
  probe(): Promise<void>
  /** The same, as words. Never throws. */
  health(): Promise<{ readonly ok: boolean; readonly detail: string }>
  outdated(wrapped: Uint8Array): boolean
  status(): AutoSealStatus
  close(): Promise<void>
}

/** How many shares of a secret there are and how many open it; salted hashes, so that a wrong share is named when it is given. */
export interface ShareSet {
  readonly shares: number
  readonly threshold: number
  /** Hex. */
  readonly salt: string
  /** Hex, one a share, in the order in which they were handed out. */
  readonly hashes: readonly string[]
}

/** Shares that a rekey has replaced: known by their hashes, so that one of them is told apart from a stranger's. */
export interface RetiredShares {
  readonly salt: string
  readonly hashes: readonly string[]
  /** By the leader's clock, ms since the epoch. */
  readonly replacedMs: number
}

/** How the root key is protected. Replicated in the clear: nothing in it is secret. */
export type SealConfig = {
  /** The newest first; absent: none. */
  readonly retired?: readonly RetiredShares[]
} & (
  | { readonly type: 'shamir'; readonly secret: ShareSet }
  /**
   * Any auto seal; `recovery` shares authorise, they can't decrypt. null: none were made. `proof`: that they were made behind the barrier (proof.ts);
   * without it whoever writes to a disk could put shares of his own there.
   */
  | { readonly type: string; readonly secret: null; readonly recovery: ShareSet | null; readonly proof?: string }
)

/** As `sys/seal-status` and `sys/unseal` answer it; version fields are HTTP's. */
export interface SealStatus {
  readonly type: string
  readonly initialized: boolean
  readonly sealed: boolean
  /** Shares needed, shares made, shares given so far. */
  readonly t: number
  readonly n: number
  readonly progress: number
  /** Of the present attempt; '' when no share was given. */
  readonly nonce: string
  readonly recoverySeal: boolean
  readonly migration: boolean
  readonly clusterName: string | null
  readonly clusterId: string | null
  readonly warnings?: readonly string[]
}

export interface SealInitOptions {
  readonly secretShares: number
  readonly secretThreshold: number
  /** Used with an auto seal only; 0: none. */
  readonly recoveryShares: number
  readonly recoveryThreshold: number
  readonly pgpKeys: readonly string[]
  readonly recoveryPgpKeys: readonly string[]
  readonly rootTokenPgpKey: string
}

export interface SealInitResult<T> {
  /** The shares, once and never again; empty with an auto seal. */
  readonly keys: readonly Uint8Array[]
  /** With an auto seal that was asked for them. */
  readonly recoveryKeys?: readonly Uint8Array[]
  /** What `populate` gave. */
  readonly value: T
}

export interface UnsealOptions {
  /** A share as hex or base64, as the client sent it; null with reset. */
  readonly key: string | null
  readonly reset: boolean
  readonly migrate?: boolean
}

/** What a joining node is told before it has any state: how the cluster is sealed, and the wrapped root key. */
export interface SealRecords {
  readonly sealConfig: Uint8Array
  readonly rootKey: Uint8Array
}

export interface SealManager {
  status(): SealStatus
  /**
   * Gives birth to the cluster on this node, which must be its only one: makes root key, keyring and shares, then runs `populate` with
   * the barrier open (mounts, root token), and last writes the seal configuration, which is what 'initialised' means: whatever
   * fails before leaves a cluster that can be initialised again. A Shamir-sealed node is sealed afterwards.
   * @throws ERR_ALREADY_INITIALIZED, ERR_BAD_REQUEST, ERR_NOT_LEADER, and what `populate` throws.
   */
  init<T>(options: SealInitOptions, populate: () => Promise<T>): Promise<SealInitResult<T>>
  /** Takes one share. Opens the barrier with the last one needed. @throws ERR_NOT_INITIALIZED, ERR_BAD_SHARE, ERR_BAD_REQUEST. */
  unseal(options: UnsealOptions): Promise<SealStatus>
  /** Opens with the auto seal. False when this cluster is sealed by shares, or not there yet. @throws as AutoSeal.unwrap; ERR_CONFIG. */
  autoUnseal(): Promise<boolean>
  /** Sealed, by an auto seal that may be asked now: not by an operator, who means it, and not before a migration. */
  readonly wantsToOpen: boolean
  /** The root key is wrapped by another key than the seal would take now. */
  readonly outdated: boolean
  /** Wraps the root key anew by the present seal. Leader only. @throws as AutoSeal.wrap, ERR_BAD_REQUEST, ERR_CONFLICT, ERR_NOT_LEADER. */
  rewrap(): Promise<void>
  /** Ends a migration that was unsealed for on this node, once it leads. Does nothing otherwise. @throws as BarrierControl.writeBare. */
  settleMigration(): Promise<void>
  /** Seals this node: until shares (recovery shares with an auto seal) are given, or it restarts. */
  seal(): void
  /**
   * For a node that is joining: collects shares (or asks the auto seal) for the cluster that `records` came from, and resolves with the
   * key that proves so (see deriveJoinKey). The root key is kept: the barrier opens by itself when the keyring arrives.
   * One at a time: a new call ends the one before with ERR_SHUTTING_DOWN.
   */
  openForJoin(records: SealRecords): Promise<SecretBytes>
  /** What a joiner needs, from this node's state; null when not initialised. */
  records(): SealRecords | null
  /** Stops listening and forgets what it holds. */
  close(): void
}
