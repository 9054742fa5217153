import type { SecretBytes } from '#base/secret.ts'

/** A seal that opens without people: a KMS, an HSM, another cluster's transit engine, a key in a file. */
export interface AutoSeal {
  /** As in the configuration and in `seal-status`: 'awskms', 'pkcs11', 'transit', 'static' ... */
  readonly kind: string
  /** Hides `plaintext` (a root key); `place` must be given again to unwrap. The caller owns both. @throws ERR_UPSTREAM. */
  wrap(plaintext: Uint8Array, place: string): Promise<Uint8Array>
  /** The caller owns (and wipes) the result. @throws ERR_UPSTREAM when unreachable, ERR_DECRYPT when it is not ours. */
  unwrap(wrapped: Uint8Array, place: string): Promise<Uint8Array>
  /** Whether it would open now. Never throws. */
  health(): Promise<{ readonly ok: boolean; readonly detail: string }>
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

/** How the root key is protected. Replicated in the clear: nothing in it is secret. */
export type SealConfig =
  | { readonly type: 'shamir'; readonly secret: ShareSet }
  /** Any auto seal; `recovery` shares authorise, they can't decrypt. null: none were made. */
  | { readonly type: string; readonly secret: null; readonly recovery: ShareSet | null }

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
  /** Opens with the auto seal; for boot and for retries. False when this cluster is sealed by shares. @throws as AutoSeal.unwrap. */
  autoUnseal(): Promise<boolean>
  /** Seals this node. */
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
