/**
 * The types that the core and its driver share. Plain data: what crosses this border can be logged, encoded and replayed.
 */

/** A node's name. A new disk means a new id: a re-used one could vote twice in a term. */
export type NodeId = string

export const EntryType = { command: 0, empty: 1, membership: 2 } as const
export type EntryType = (typeof EntryType)[keyof typeof EntryType]

/** One log entry. Immutable once made: core, store and transport share the same buffers. */
export interface Entry {
  /** 1-based position, below 2^53. */
  readonly index: number
  /** Term of the leader that appended it. */
  readonly term: number
  readonly type: EntryType
  /** Opaque to the core, but for membership entries, which `encodeMembershipChange` made. */
  readonly data: Uint8Array
}

/** What must be on disk before any message that speaks of it leaves. Term and vote are one atomic record. */
export interface HardState {
  readonly term: number
  readonly vote: NodeId | null
  /** A hint only: it may lag behind what is committed, and is never trusted beyond the log's end. */
  readonly commit: number
}

/**
 * Who counts. A change is in force from the moment that it stands in a node's log, committed or not (and is undone if it is truncated).
 * Outside a joint change `votersOutgoing` and `learnersNext` are empty and `autoLeave` is false.
 * No voters at all: a joining node, which takes no entries, only a snapshot.
 */
export interface Membership {
  readonly voters: readonly NodeId[]
  readonly votersOutgoing: readonly NodeId[]
  readonly learners: readonly NodeId[]
  readonly learnersNext: readonly NodeId[]
  readonly autoLeave: boolean
}

export interface MembershipStep {
  readonly kind: 'add-voter' | 'add-learner' | 'remove'
  readonly node: NodeId
}

/** What a membership entry carries. No steps and `joint: 'leave'` leaves a joint configuration. */
export interface MembershipChange {
  readonly steps: readonly MembershipStep[]
  /** 'auto': simple if one voter changes, joint (left by itself) otherwise. */
  readonly joint: 'auto' | 'explicit' | 'leave'
  /** Opaque to the core: the driver's member record (addresses, fingerprint). */
  readonly context: Uint8Array
}

export interface SnapshotMeta {
  readonly index: number
  readonly term: number
  readonly membership: Membership
}

/**
 * What the core reads. Synchronous: a driver keeps the recent entries in memory and may read older ones from disk.
 * Entries handed to `append` by effects are visible here only after the driver has *persisted* them; the core keeps them itself until then.
 */
export interface LogReader {
  /** Index of the first entry that is still held; lastIndex()+1 when none is. */
  firstIndex(): number
  lastIndex(): number
  /** Term of the entry at `index`, in [firstIndex()-1, lastIndex()]; null when compacted or beyond the end. */
  term(index: number): number | null
  /** Entries in [lo, hi), in order, stopping before `bytesMax` but always at least one; null when `lo` is compacted away. The caller must not modify them. */
  entries(lo: number, hi: number, bytesMax: number): readonly Entry[] | null
  /** The newest snapshot that the driver could stream (its state machine at an applied index). */
  snapshot(): SnapshotMeta
}

export const Role = { follower: 'follower', preCandidate: 'pre-candidate', candidate: 'candidate', leader: 'leader' } as const
export type Role = (typeof Role)[keyof typeof Role]

export type ProposeRefusal =
  | 'not-leader'
  | 'wrong-term'
  | 'transferring'
  | 'caretaker'
  | 'not-ready' // the empty entry of this term is not committed yet
  | 'too-much-uncommitted'
  | 'too-large'
  | 'stopped'
  | 'membership-pending'
  | 'membership-invalid'
  | 'membership-unheard' // those that this leader hears are no majority of the membership that would come

export type ProposeResult =
  | { readonly ok: true; readonly index: number; readonly term: number }
  | { readonly ok: false; readonly reason: ProposeRefusal; readonly detail: string }

/** A read that the leader has confirmed (or this node, having asked the leader): safe once `applied >= index`. */
export interface ReadState {
  readonly context: number
  /** null: refused (no leader, leader changed, not ready); the caller asks again or answers 'no leader'. */
  readonly index: number | null
  /** Whatever the leader's driver attached to its answer (here: the leader's clock, milliseconds). */
  readonly leaderTimeMs: number
}

/** One message between two cores. Plain data, encoded by the transport's codec; `version` is the wire format's. */
export interface Message {
  readonly version: 1
  readonly type: MessageType
  readonly from: NodeId
  readonly to: NodeId
  /** The sender's term (for pre-vote requests: the term that it would campaign in). */
  readonly term: number
  readonly logIndex?: number
  readonly logTerm?: number
  readonly commit?: number
  readonly entries?: readonly Entry[]
  readonly snapshot?: SnapshotMeta
  readonly reject?: boolean
  readonly rejectHint?: number
  /** Read-index rounds: an acknowledgement counts only for the heartbeat round that carried this number. */
  readonly context?: number
  /** The sender's barrier is sealed: it must not be handed leadership. */
  readonly sealed?: boolean
  /** The leader's clock as its driver last set it, for read-index answers. */
  readonly leaderTimeMs?: number
  /** On an acknowledged heartbeat: for how long its sender helps no other leader into office. Absent: it promises nothing. */
  readonly promiseMs?: number
  /** A vote request that may pass check-quorum's lease: leadership transfer. */
  readonly force?: boolean
}

export const MessageType = {
  append: 0,
  appendReply: 1,
  heartbeat: 2,
  heartbeatReply: 3,
  vote: 4,
  voteReply: 5,
  preVote: 6,
  preVoteReply: 7,
  /** Tells the receiver to fetch the snapshot `snapshot` from the sender; the bytes go beside the core (driver and transport). */
  snapshot: 8,
  snapshotReply: 9,
  timeoutNow: 10,
  readIndex: 11,
  readIndexReply: 12,
} as const
export type MessageType = (typeof MessageType)[keyof typeof MessageType]

/**
 * What the core wants done. The driver: (1) sends `messages` at once; (2) persists `hardState`, then `entries` (or installs
 * `snapshot` first), and fsyncs; (3) sends `messagesAfterPersist` and calls `persisted(persistId)`; (4) applies `committed` in order
 * and calls `applied(index)`. One persist is in flight at a time; what is proposed meanwhile shares the next one.
 */
export interface Effects {
  readonly messages: readonly Message[]
  /** null: nothing to persist now (or one is in flight still). */
  readonly persist: {
    readonly persistId: number
    readonly hardState: HardState | null
    /** Contiguous; overwrites (truncates) everything from entries[0].index on. */
    readonly entries: readonly Entry[]
    /** A snapshot that the driver has already received in full and must now install, replacing log and state. */
    readonly snapshot: SnapshotMeta | null
    readonly messagesAfterPersist: readonly Message[]
  } | null
  /** Newly committed entries, each handed out exactly once, in order. The driver may still be applying earlier ones. */
  readonly committed: readonly Entry[]
  readonly readStates: readonly ReadState[]
  /** Peers that need a snapshot: the driver streams its newest one there, then calls `snapshotSent`. */
  readonly snapshotsToSend: readonly { readonly to: NodeId; readonly meta: SnapshotMeta }[]
  /** Set when role, term or leader changed since the last call. */
  readonly roleChange: { readonly role: Role; readonly term: number; readonly leader: NodeId | null } | null
}

/**
 * Lease reads rest on clocks: no two nodes' clocks may differ in rate by more than the declared factor. All nodes of a cluster should be given the same
 * values: who promises less than the leader counts on (or nothing, having no lease configured) does not count for its lease. A node must not be
 * restarted without a lease, or with a shorter promise, sooner than a promise that it gave has lapsed: only a node that has a lease keeps still that long after a start.
 */
export interface LeaseConfig {
  /** How long a node that heard a leader helps no other into office, by its own clock. At most the election timeout, or elections only wait for it. */
  readonly promiseMs: number
  /** 0.1: while one clock counts 1000 ms, no other counts more than 1100 or less than 909. */
  readonly clockDriftMax: number
}

export interface RaftConfig {
  readonly id: NodeId
  /** A follower campaigns after a random number of ticks in [electionTicks, 2*electionTicks). */
  readonly electionTicks: number
  readonly heartbeatTicks: number
  /** A sealed node waits this many times longer before it campaigns. */
  readonly sealedElectionFactor: number
  readonly entryBytesMax: number
  readonly appendBytesMax: number
  readonly inflightMessagesMax: number
  readonly inflightBytesMax: number
  readonly uncommittedBytesMax: number
  readonly committedBytesMax: number
  readonly pendingReadsMax: number
  readonly preVote: boolean
  readonly checkQuorum: boolean
  /** Answers reads from a lease where it can; needs `checkQuorum`. Absent: off, every read costs a (shared) round. */
  readonly lease?: LeaseConfig | undefined
  /** Uniform in [0, n). Seeded by the caller, so that a seed replays every election. */
  readonly randomBelow: (n: number) => number
}

export interface PeerStatus {
  readonly id: NodeId
  readonly voter: boolean
  readonly state: 'probe' | 'replicate' | 'snapshot'
  readonly match: number
  readonly next: number
  readonly recentActive: boolean
  readonly ticksSinceContact: number
  readonly sealed: boolean | null
}

export interface RaftStatus {
  readonly id: NodeId
  readonly role: Role
  readonly term: number
  readonly leader: NodeId | null
  readonly commit: number
  readonly applied: number
  readonly lastIndex: number
  readonly firstIndex: number
  readonly membership: Membership
  readonly sealed: boolean
  /** Leader, unsealed, and the empty entry of its term is applied: it may evaluate and propose. */
  readonly ready: boolean
  readonly transferee: NodeId | null
  /** On the leader: is a quorum in contact, itself counted. On others: has the leader been heard within an election timeout. */
  readonly quorumActive: boolean
  readonly uncommittedBytes: number
  /** Read indexes that this node has confirmed as leader since it started, its own and others'. A question that another node asks for many readers counts once. */
  readonly readsConfirmed: { readonly byLease: number; readonly byRound: number }
  /** Messages and refusals by reason code since the start: malformed, unknown-peer, stale-term ... Codes with a count of zero are absent. */
  readonly dropped: Readonly<Record<string, number>>
  readonly peers: readonly PeerStatus[]
}

/** The core as its driver sees it; `createRaft` in raft/index.ts makes one. All methods are synchronous and free of I/O. */
export interface Raft {
  tick(): void
  /** Takes a message from a peer. Malformed or foreign ones are dropped and counted, never thrown. */
  step(message: Message): void
  /** Appends each command of `data` (all or none) if this node leads `term`, is ready and unsealed. The core keeps the buffers: do not modify them. */
  propose(term: number, data: readonly Uint8Array[]): ProposeResult
  proposeMembership(change: MembershipChange): ProposeResult
  /** Starts a read; answered by a ReadState with the same `context` (any number that the caller has not in flight). */
  readIndex(context: number): void
  /** Hands leadership to `to`, or to the best unsealed voter when null. Returns why not. */
  transferLeadership(to: NodeId | null): { readonly ok: boolean; readonly detail: string }
  campaign(): void
  setSealed(sealed: boolean): void
  /** For a node whose log lost what it may have acknowledged: it takes entries and snapshots, but neither votes nor campaigns. To be set before the first input. */
  setVoteless(voteless: boolean): void
  /** The clock that read-index answers carry when this node leads. */
  setLeaderTime(timeMs: number): void
  /**
   * What the monotonic clock says at this moment; of use with `lease` only. To be handed in after inputs, before their effects are taken: a read
   * that arrived since the last time is not answered from a lease.
   */
  setMonotonicTime(timeMs: number): void
  /** The clock may have stood still for a while (the machine was suspended): no lease is older than now. */
  doubtLease(): void
  /** A snapshot from `from` has arrived in full and was verified: hand it to the core, which may ask for its installation. */
  snapshotReceived(from: NodeId, term: number, meta: SnapshotMeta): void
  snapshotSent(to: NodeId, ok: boolean): void
  /** A peer could not be reached (its stream broke): go back to probing. */
  unreachable(peer: NodeId): void
  /** What to do now; call after every input until it is empty. */
  takeEffects(): Effects
  hasEffects(): boolean
  persisted(persistId: number): void
  applied(index: number): void
  status(): RaftStatus
}

/** Where a restarted node begins. */
export interface InitialState {
  readonly hardState: HardState
  /** As of `applied`: membership entries beyond it are still to be applied (or committed) again. */
  readonly membership: Membership
  readonly applied: number
}
