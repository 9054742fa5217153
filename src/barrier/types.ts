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
  /** Whether anything lies in folder `prefix`: what a listing of it would tell, without opening, sorting or keeping a name. */
  holds(section: Section, prefix: string): Promise<boolean>
}

/** Reads at a fixed view that see this transaction's own writes; writes collected, committed all at once or not at all. */
export interface Transaction extends ReadView {
  /** Takes ownership of `value`: it is sealed only when `work` is done. @throws ERR_BODY_TOO_LARGE, ERR_NAMESPACE_SEALED (as every call that names a section). */
  put(section: Section, path: string, value: Uint8Array): void
  delete(section: Section, path: string): void
  /** Deletes every key below `prefix` ('' = the whole section). Bounded by the transaction's byte limit: throws ERR_BUSY beyond `keysMax`; returns how many. */
  deleteTree(section: Section, prefix: string, keysMax: number): Promise<number>
  readonly writes: number
  /** Changes of namespaces' keys, in this commit. Absent where nothing is sealed (doubles in tests). */
  readonly keyrings?: KeyringWrites
}

/** A namespace's own seal at its birth. */
export interface OwnSeal {
  /** Under which its keyring is sealed. Stays the caller's: each attempt of the transaction takes a copy. */
  readonly rootKey: SecretBytes
  /** How it is protected, and wrapped: what a node reads that does not have it open. Nothing in it is secret. */
  readonly sealConfig: Uint8Array
  readonly wrappedRootKey: Uint8Array
}

/** What a change of a namespace's seal writes: as SealChange, of one namespace. */
export type NamespaceSealRecord = 'sealConfig' | 'rootKey' | 'backup'

export interface NamespaceSealChange {
  readonly records: Readonly<Partial<Record<NamespaceSealRecord, Uint8Array | null>>>
  readonly expected: Readonly<Partial<Record<NamespaceSealRecord, Uint8Array | null>>>
  readonly rootKey?: SecretBytes
}

export interface KeyringWrites {
  /**
   * Gives `namespace`, which has nothing yet, a keyring of its own: under its own seal, or under the keyring of `parent` ('root': the root's). What lies in
   * a namespace whose parent is sealed is sealed with it. A namespace that is written to without it gets one under the root's.
   * @throws ERR_CONFLICT when it has one; ERR_NAMESPACE_SEALED when the parent's is not open here.
   */
  create(namespace: string, parent: string, seal?: OwnSeal): void
  /** A term more; the number of it. @throws ERR_NAMESPACE_SEALED, ERR_BAD_REQUEST when it is full, ERR_NOT_FOUND when it has no keyring. */
  rotate(namespace: string): number
  /** Closes it, or lets it be open, on every node from here on. @throws ERR_BAD_REQUEST when it has no seal of its own. */
  setSealed(namespace: string, sealed: boolean): void
  /** As BarrierControl.changeSeal, of its own seal. @throws ERR_CONFLICT, ERR_NAMESPACE_SEALED. */
  changeSeal(namespace: string, change: NamespaceSealChange): void
  /**
   * Deletes its keyring: nothing that lies in it, or in what stands under it, is ever opened again here. The ciphertexts are swept afterwards. Works on a
   * sealed one. False when it has none.
   */
  destroy(namespace: string): boolean
  /**
   * Begins to give it another name key: each of its stored keys moves, by the leader's job (NamespaceKeys.renewNamesStep). Works on the root.
   * @throws ERR_BAD_REQUEST while that is under way, and after 255 of them; ERR_NAMESPACE_SEALED, ERR_NOT_FOUND when nothing was written to it.
   */
  renewNames(namespace: string): void
  /** Whether it, or one that it lies in, has a seal of its own: then nothing of it may lie under the root's keys. True where that can't be told. */
  underOwnSeal(namespace: string): boolean
}

/** How a namespace's keys are, as far as this node knows. */
export interface NamespaceKeyStatus {
  /** Nothing of it can be read here now. */
  readonly sealed: boolean
  readonly ownSeal: boolean
  /** It is to be open, by the cluster's word; false: an operator has sealed it. True where it has no seal of its own. */
  readonly wanted: boolean
  /** The how manieth opening or sealing this is; 0 without a seal of its own. */
  readonly generation: number
  readonly keyringTerm: number | null
  readonly keyringTermCreatedMs: number | null
  /** As BarrierStatus. */
  readonly encryptions: number
}

/** How far a namespace is on its way to another name key. */
export interface NamesRenewal {
  readonly namespace: string
  /** `copying` to the new places; then `sweeping` the old ones. */
  readonly phase: 'copying' | 'sweeping'
  /** Copied, or swept, so far. */
  readonly keys: number
  /** This was the last step. */
  readonly done: boolean
}

/** The namespaces' keys as their seals and the node drive them. Ids are those of keyrings (ring.ts), which tell no names. */
export interface NamespaceKeys {
  /** null when it has no keyring: nothing was ever written to it, or it was destroyed. @throws ERR_SEALED. */
  status(namespace: string): NamespaceKeyStatus | null
  /** What `onChange` calls the keyring of `namespace`; '' is the root's. @throws ERR_SEALED. */
  keyringId(namespace: string): string
  /** A bare record of its seal, as this node has it. @throws ERR_SEALED. */
  read(namespace: string, record: NamespaceSealRecord): Uint8Array | null
  /** Opens it on this node alone. Takes the root key, and wipes it where it does not open. @throws ERR_DECRYPT, ERR_NAMESPACE_SEALED when a parent is, ERR_SEALED. */
  open(namespace: string, rootKey: SecretBytes): void
  /** Closes it on this node where the cluster's word is that it is sealed: it was opened by hand, and nobody said so. @throws ERR_SEALED. */
  closeUnsaid(namespace: string): void
  isRootKey(namespace: string, rootKey: Uint8Array): boolean
  /** A key of its own for `label`. The caller owns it. @throws ERR_NAMESPACE_SEALED. */
  derivedKey(namespace: string, label: string): SecretBytes
  /** Finds out which own seals there are, where that is not known since the barrier was opened or the whole state replaced. @throws ERR_SEALED, ERR_DECRYPT. */
  refresh(): Promise<void>
  /** Ids of those that are to be open and are not here, as far as was found out. */
  wanted(): readonly string[]
  /** The generation that `id` is to be open in; null when it is not to be. */
  generationOf(id: string): number | null
  /** The root key of `id`, for a node that has proven itself, where it is open here in `generation`; else null. The caller owns it. */
  rootKeyFor(id: string, generation: number): SecretBytes | null
  /** As `open`, by id: what another node gave. False when it does not open, or is not wanted any more. */
  openById(id: string, rootKey: SecretBytes): boolean
  /** Deletes ciphertexts that destroyed namespaces left, at most `keysMax` of them; how many. Leader only. */
  sweepDestroyed(keysMax: number): Promise<number>
  /** null where the name key of `namespace` is not being changed. @throws ERR_SEALED, ERR_NAMESPACE_SEALED. */
  namesRenewal(namespace: string): NamesRenewal | null
  /** A step of one such change, of the first namespace that is open: at most `keysMax` keys. null when there is none. Leader only. */
  renewNamesStep(keysMax: number): Promise<NamesRenewal | null>
  /** Own seals here, by how they are now. */
  counts(): { readonly open: number; readonly sealed: number }
  /** Called with the ids of keyrings that were closed, or null when one was opened or is to be. Returns the unsubscriber. */
  onChange(listener: (closed: readonly string[] | null) => void): () => void
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
  readonly namespaces: NamespaceKeys
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
