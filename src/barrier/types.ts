import type { SecretBytes } from '#base/secret.ts'

/** One mount's storage in one namespace. Both are ids (never names): a rename moves nothing. */
export interface Section {
  readonly namespace: string
  readonly mount: string
}

export interface ListOptions {
  /** Only entries strictly greater than this (plaintext order). */
  readonly after?: string
  /** At most so many; <= 0 or absent: all. */
  readonly limit?: number
}

/** The state at one index, opened. Paths are plaintext, '/'-separated, no leading or trailing slash, no empty, '.' or '..' segment. */
export interface ReadView {
  /** Log index that this view stands at. */
  readonly index: number
  /** The leader's clock for this view, ms since epoch: the only 'now' that a TTL is compared with. */
  readonly nowMs: number
  /** The value; the caller must not modify it (it may be the cache's). null when absent. */
  get(section: Section, path: string): Promise<Uint8Array | null>
  /** Children of folder `prefix` ('' is the root), in plaintext order; folders end in '/'. A name can appear both as 'a' and 'a/'. */
  list(section: Section, prefix: string, options?: ListOptions): Promise<string[]>
}

/** Reads at a fixed view that see this transaction's own writes; writes collected, committed all at once or not at all. */
export interface Transaction extends ReadView {
  /** Takes ownership of `value`: it is sealed only when `work` is done. @throws ERR_BODY_TOO_LARGE. */
  put(section: Section, path: string, value: Uint8Array): void
  delete(section: Section, path: string): void
  /** Deletes every key below `prefix` ('' = the whole section). Bounded by the transaction's byte limit: throws ERR_BUSY beyond `keysMax`; returns how many. */
  deleteTree(section: Section, prefix: string, keysMax: number): Promise<number>
  readonly writes: number
}

/** `bounded`: no older than so many milliseconds of this node's own clock; `stale`: whatever is here. */
export type Consistency =
  | { readonly kind: 'linearizable' }
  | { readonly kind: 'bounded'; readonly ageMsMax: number }
  | { readonly kind: 'stale' }

/** What a view shows: everything that was acknowledged `ageMs` ago at least (0: when the read was asked for; Infinity: nothing is known). */
export interface ReadPoint {
  readonly index: number
  readonly ageMs: number
}

export interface BarrierStatus {
  readonly sealed: boolean
  readonly keyringTerm: number | null
  /** When that term was added, ms since the epoch; null when sealed. */
  readonly keyringTermCreatedMs?: number | null
  /** How often that term's key has sealed, over all leaders: exact on the leader, elsewhere what it noted ahead (uses.ts). 0 when sealed. */
  readonly encryptions: number
  /** Values sealed by this process since its start, under whatever key. */
  readonly sealedHere?: number
  /** Of those, under the key that this leader seals with now: the count that must stay below 2^32 (envelope.ts). */
  readonly sealedUnderKey?: number
  /** Opened values and names of folders that are kept in memory, and how often a value was found there since the start. */
  readonly cache?: { readonly bytes: number; readonly hits: number; readonly misses: number }
}

export interface Barrier {
  readonly sealed: boolean
  status(): BarrierStatus
  /**
   * Runs `work` on a view that holds every write acknowledged before the call (linearizable), or before it by as much as `consistency` allows.
   * @throws ERR_SEALED, ERR_NO_LEADER.
   */
  read<T>(consistency: Consistency, work: (view: ReadView, at: ReadPoint) => Promise<T>): Promise<T>
  /**
   * Runs `work` in a transaction on the leader; commits its writes; runs it again (on a fresh view) when something it read
   * has changed meanwhile, at most limits.transactionAttemptsMax times. Without writes the leader confirms by a read index that the view was not stale
   * before this resolves. If `work` throws, nothing is written and the error is passed on (after the same confirmation) -
   * unless it throws CommitAndThrow, which commits and then throws its cause.
   * @throws ERR_SEALED, ERR_NOT_LEADER, ERR_OUTCOME_UNKNOWN, ERR_BUSY, ERR_CONFLICT (attempts used up).
   */
  transact<T>(work: (transaction: Transaction) => Promise<T>): Promise<T>
}

/** A change of what a sealed node can read, all of it or nothing. */
export interface SealChange {
  /** Clear names, see bare.ts; null deletes. */
  readonly records: Readonly<Record<string, Uint8Array | null>>
  /** What must still stand, as it was read; null: nothing. */
  readonly expected: Readonly<Record<string, Uint8Array | null>>
  /** From now on the root key: the keyring is sealed under it in the same change, and handed to every open node. Stays the caller's. */
  readonly rootKey?: SecretBytes
}

/** The barrier as the seal and the node drive it. Rooms that only store take `Barrier`. */
export interface BarrierControl extends Barrier {
  /**
   * Writes a fresh keyring under `rootKey` and `records` (clear names, see bare.ts) in one commit, into a cluster of one that
   * was never initialised: whatever else the state holds is deleted. Then opens. Takes ownership of the root key, as `open` does.
   * @throws ERR_NOT_LEADER, ERR_ALREADY_INITIALIZED when a seal configuration stands.
   */
  initialize(rootKey: SecretBytes, records: Readonly<Record<string, Uint8Array>>): Promise<void>
  /**
   * Opens with `rootKey` (takes ownership; wiped if it does not open) and tells the replica that this node may lead.
   * @throws ERR_NOT_INITIALIZED when there is no keyring here (yet); ERR_DECRYPT when the root key is another; ERR_UNPROVEN when what this node took
   *   while it was sealed was not made by unsealed leaders.
   */
  open(rootKey: SecretBytes): void
  /** Wipes all keys and opened values. What still runs ends with ERR_SEALED. Does nothing when sealed. */
  seal(): void
  /**
   * Adds a keyring term, in which values are sealed from now on; nothing is rewritten. Leader only. `reason` is for the log.
   * @throws as transact; ERR_BAD_REQUEST when the keyring is full.
   */
  rotate(reason?: string): Promise<{ readonly keyringTerm: number }>
  /** Writes records that a sealed node can read (null deletes), in the clear. Leader only. @throws as transact. */
  writeBare(records: Readonly<Record<string, Uint8Array | null>>): Promise<void>
  /**
   * Writes `change` in one commit. Leader only.
   * @throws ERR_CONFLICT when something else stands than expected: nothing was written; ERR_OUTCOME_UNKNOWN; and as transact.
   */
  changeSeal(change: SealChange): Promise<void>
  /** Whether `rootKey` is the one that is in use, in constant time. @throws ERR_SEALED. */
  isRootKey(rootKey: Uint8Array): boolean
  /** Whether the root key that is in use opens `keyring`, the record of another state. @throws ERR_SEALED. */
  opensKeyring(keyring: Uint8Array): boolean
  /** The bare record `name` as this node has it, sealed or not; null when absent. */
  readBare(name: string): Uint8Array | null
  /** A key of its own for `label`, the same over rotations for as long as the cluster lives. The caller owns it. @throws ERR_SEALED. */
  derivedKey(label: string): SecretBytes
  /** What a joiner that opens the same seal derives too (aead.ts, deriveJoinKey). The caller owns it. @throws ERR_SEALED. */
  joinKey(): SecretBytes
  /** Called with `sealed` after each seal and each opening. Returns the unsubscriber. */
  onSealChange(listener: (sealed: boolean) => void): () => void
  /** Stops listening to the replica, after sealing. */
  close(): void
}

/** Thrown inside `transact` to commit what was written (use counts, lockouts) although the request fails with `reason`. */
export class CommitAndThrow extends Error {
  readonly reason: unknown
  constructor(reason: unknown) {
    super('commit, then throw')
    this.reason = reason
  }
}
