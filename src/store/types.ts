import type { FormatRange } from '#base/formats.ts'
import type { Entry, HardState, LogReader, Membership, SnapshotMeta } from '#raft/types.ts'
import type { HoldfastError } from '#base/errors.ts'
import type { Fence } from './fence.ts'

/** A change to one key of the state machine; `value: null` deletes. Ciphertext, both. */
export interface Op {
  readonly key: Uint8Array
  readonly value: Uint8Array | null
}

/** The durable log of one node, with its hard state. One append at a time. */
export interface LogStore extends LogReader {
  readonly hardState: HardState
  /** Set while this log lacks what it may have acknowledged: this node must neither vote nor campaign. It lifts itself with the append that makes all good. */
  readonly fence: Fence | null
  /** Persists in this order: hard state, then entries (truncating everything from entries[0].index on); resolves when all is fsynced.
   *  The first failure is final: every later call rejects with ERR_STORE_FAILED. */
  append(hardState: HardState | null, entries: readonly Entry[]): Promise<void>
  /** Forgets entries up to and including `index`, which the state store holds durably. */
  compact(index: number): Promise<void>
  /** Drops the whole log; the next entry is meta.index+1. */
  reset(meta: SnapshotMeta): Promise<void>
  /** Lifts the fence although what was lost is not back: an operator has said that nobody has it any more. */
  forgive(): Promise<void>
  /** Bytes held in memory and on disk (approximate), for status. */
  stats(): { readonly entries: number; readonly bytes: number }
  close(): Promise<void>
}

/** What stands beside the data, changed with it in one atomic batch. */
export interface StateMeta {
  readonly applied: number
  readonly appliedTerm: number
  readonly membership: Membership
  /** The leader's clock as last carried by a command, milliseconds; never runs backwards. */
  readonly leaderTimeMs: number
  /** The MAC of the last authenticated entry that is applied: where the chain of commands goes on. Empty before the first. */
  readonly chain: Uint8Array
  /** Additive hash of all replicated pairs: equal on every node at the same index. Empty for none. */
  readonly digest: Uint8Array
}

/** The state machine at one applied index. Shared and counted: call `release` once. */
export interface StateView {
  readonly meta: StateMeta
  /** The value, owned by the caller; undefined when absent. */
  get(key: Uint8Array): Uint8Array | undefined
  /** Keys with their values, in [start, end), in order. Leaving the loop early is fine. */
  entriesFrom(start: Uint8Array, end: Uint8Array): AsyncIterableIterator<readonly [Uint8Array, Uint8Array]>
  /** Keys only, in [start, end), in order; `next` may be given a key to jump to (>= its position). */
  keyCursor(start: Uint8Array, end: Uint8Array): KeyCursor
  release(): void
}

export interface KeyCursor {
  /** The next key, after jumping to `seek` where given; undefined at the end. */
  next(seek?: Uint8Array): Promise<Uint8Array | undefined>
  close(): Promise<void>
}

export interface StateStore {
  readonly meta: StateMeta
  /** What is wrong with the state: it is empty or not to be believed, and takes no changes until a snapshot is installed. Null: nothing that is known. */
  readonly damage: HoldfastError | null
  /**
   * Applies changes and moves `meta`, atomically, and its digest with them (whatever `meta.digest` says). Not fsynced: the log is the truth until `sync`. Keys begin with a byte >= 0x08 (what lies
   * below is the store's). `onVisible` is called synchronously at the moment from which new views show the change, before the promise resolves.
   * @throws ERR_STORE_CORRUPT where a value that is replaced is not what was written: then nothing was changed. Any other failure is final: every later
   * call rejects with ERR_STORE_FAILED.
   */
  apply(ops: readonly Op[], meta: StateMeta, onVisible?: () => void): Promise<void>
  /**
   * `tell` hears of every value that was not what was written under its key, or lies in a block that is damaged, read twice; the reader gets the same ERR_STORE_CORRUPT;
   * and of a disk that did not answer, twice: ERR_STORE_FAILED, which is final. One listener.
   */
  onUnreadable(tell: (reason: HoldfastError) => void): void
  /** Makes everything applied so far durable, so that the log may be compacted to the returned index. */
  sync(): Promise<number>
  /** A view at the newest applied index. Cheap: views of one index are shared. */
  view(): StateView
  /** Streams the whole state at one index: a header first, then chunks, each checksummed; constant memory. Written in `level`, by default the first. */
  snapshot(level?: number): { readonly meta: SnapshotMeta; readonly stream: AsyncIterable<Uint8Array>; release(): void }
  /**
   * Writes a snapshot stream beside the state and verifies it; resolves with its meta. Nothing is replaced yet. `adopt` is given the record that came
   * with it, once all of it agrees with it, and returns the one to keep; what it throws refuses the snapshot.
   * @throws ERR_FRAME; ERR_UPGRADE_REQUIRED for one of a version outside `formats`, by default what this release understands.
   */
  receive(stream: AsyncIterable<Uint8Array>, formats?: FormatRange, adopt?: (meta: StateMeta) => StateMeta): Promise<SnapshotMeta>
  /**
   * Replaces the state by the received snapshot; a crash at any step leaves the old or the new state. Views taken before stay readable until they
   * are released (they hold the old generation's folder). `onVisible` as in `apply`.
   */
  install(meta: SnapshotMeta, onVisible?: () => void): Promise<void>
  /** The state that lies durably beside this one until a restore puts it in its place, also after a restart; null: none. */
  readonly staged: StagedState | null
  /**
   * Writes a snapshot stream, of this cluster or another, beside the state and verifies it, in place of what was staged before. Nothing is replaced yet.
   * @throws ERR_FRAME; ERR_BUSY; ERR_UPGRADE_REQUIRED for one of a version outside `formats`
   */
  stage(as: Pick<StagedState, 'id' | 'term'>, stream: AsyncIterable<Uint8Array>, options?: StageOptions): Promise<StagedState>
  /** Streams what is staged, as `snapshot` does the state; its meta record has nothing but the digest. */
  stagedStream(level?: number): { readonly stream: AsyncIterable<Uint8Array>; release(): void }
  /**
   * Puts what is staged, with `ops` in it, in the state's place, under `meta` (but for its digest): a crash at any step leaves the old state and what is
   * staged, or the new one. `onVisible` as in `apply`.
   */
  restore(ops: readonly Op[], meta: StateMeta, onVisible?: () => void): Promise<void>
  /** Does nothing when nothing is staged. */
  discardStaged(): Promise<void>
  /** Gives this state up, durably: `damage` is `reason` until a snapshot is installed, also after a restart. */
  condemn(reason: HoldfastError): Promise<void>
  /**
   * Reads the whole state at one index, compares its digest with the record's, and verifies the checksums of the live tables. `pace` is told of bytes as
   * they are read, and may take its time or throw to end it. @throws ERR_STORE_CORRUPT;
   * ERR_BUSY when a snapshot replaced it meanwhile; whatever the disk or `pace` throw.
   */
  scrub(pace: (bytes: number) => Promise<void>): Promise<ScrubResult>
  /** After a scrub that found other pairs than the digest says: makes the digest that of those pairs. False when there is nothing of the kind to do. */
  amend(): Promise<boolean>
  close(): Promise<void>
}

/** What is staged, and how it is told from any other. */
export interface StagedState {
  readonly id: string
  /** The leader's term in which it was staged: only in this one may it be called for. */
  readonly term: number
  /** Of its pairs. */
  readonly digest: Uint8Array
  readonly pairs: number
  readonly bytes: number
}

export interface StageOptions {
  /** By default what this release understands. */
  readonly formats?: FormatRange
  /** Pairs that are left out. */
  readonly leaveOut?: (key: Uint8Array, value: Uint8Array) => boolean
  /** Asked once all of the stream is here and agrees with its digest: pairs that come beside its own. What it throws refuses the stream. */
  readonly add?: () => readonly Op[]
  /** Told of each piece that is stored. */
  readonly onProgress?: (bytes: number) => void
}

export interface ScrubResult {
  /** The applied index of the state that was read. */
  readonly index: number
  readonly pairs: number
  readonly bytes: number
}
