import type { FormatRange } from '#base/formats.ts'
import type { Op, StateView } from '#store/types.ts'
import type { Authenticator } from './authenticator.ts'
import type { NodeId, PeerStatus, Role } from '#raft/types.ts'
import type { ScrubReport, Verdict } from './digests.ts'
import type { ScrubStatus } from './scrub.ts'

/** A node as the cluster knows it. Replicated in the clear: nothing in it is secret. */
export interface Member {
  readonly id: NodeId
  /** host:port of the node-to-node listener. */
  readonly clusterAddress: string
  /** URL that clients use. */
  readonly apiAddress: string
  /** SHA-256 of the node certificate's public key (SPKI), hex: peers are accepted by this, not by CA alone. */
  readonly fingerprint: string
  readonly voter: boolean
}

/** Writes to one (namespace, mount): the unit that a filter or a performance replica may leave out. */
export interface SectionBatch {
  /** Opaque section id, as the barrier hides it. */
  readonly section: Uint8Array
  readonly ops: readonly Op[]
}

export interface Proposal {
  /** The term in which this was evaluated: appended in this term or not at all. */
  readonly term: number
  /** Index of the view that it was evaluated on. */
  readonly viewIndex: number
  /** Physical keys that were read. */
  readonly reads: readonly Uint8Array[]
  /** Physical key ranges [start, end) that were listed. */
  readonly ranges: readonly (readonly [Uint8Array, Uint8Array])[]
  readonly sections: readonly SectionBatch[]
  /** The leader's clock at evaluation, ms. */
  readonly timeMs: number
  /** The first command of an initialisation: the chain of commands begins with it, under the key that came to be with it. */
  readonly begins?: boolean
}

/** What the apply loop says after each applied batch, in order, before anybody is told that it is applied. */
export interface AppliedChange {
  readonly index: number
  readonly leaderTimeMs: number
  /** 'everything': a snapshot was installed or the state replaced. */
  readonly keys: readonly Uint8Array[] | 'everything'
}

export interface ReplicaStatus {
  readonly nodeId: NodeId
  readonly clusterId: string
  readonly incarnation: number
  readonly role: Role
  readonly term: number
  readonly leader: NodeId | null
  readonly leaderMember: Member | null
  readonly commit: number
  readonly applied: number
  readonly lastIndex: number
  readonly ready: boolean
  /** This node leads a quorum, or hears a leader. */
  readonly hasQuorum: boolean
  /** Set once the store failed (fsync error, full disk, corruption): why. The node acknowledges nothing more. */
  readonly failed: string | null
  /** Set while the state is damaged or differs from the majority's, and is being fetched again: why. The node votes and replicates, and serves nothing. */
  readonly repair: string | null
  /** Set while the log lacks what this node may have acknowledged: what was wrong with it. The node fetches it, and neither votes nor leads meanwhile. */
  readonly logRepair: string | null
  readonly members: readonly Member[]
  readonly peers: readonly PeerStatus[]
  readonly logEntries: number
  /** The format level of the cluster: what is replicated or sent is written in it. Raised once every member understands the next, never lowered. */
  readonly level: number
  /** The levels that this node understands. */
  readonly formats: FormatRange
  /** Those of the members, by id, as each last said; on the leader. Elsewhere only this node's own. */
  readonly memberFormats: Readonly<Record<NodeId, FormatRange>>
  /** Read indexes that this node has confirmed as leader since it started: from its lease, or by a round of heartbeats. */
  readonly readsConfirmed: { readonly byLease: number; readonly byRound: number }
}

/**
 * Consensus as the rooms above see it: opaque operations go in, an ordered state comes out.
 * Message-shaped (plain data in and out), so that it can move to a thread of its own.
 */
export interface Replica {
  readonly nodeId: NodeId
  status(): ReplicaStatus
  /**
   * Resolves once every write that was acknowledged before this call is applied here.
   * @throws ERR_NO_LEADER when no leader confirmed within `timeoutMs`; ERR_SHUTTING_DOWN.
   */
  readIndex(timeoutMs: number): Promise<{ readonly index: number; readonly leaderTimeMs: number }>
  /** The state here and now, at its applied index. Release it. */
  view(): StateView
  /**
   * Commits writes. Resolves when they are applied on this node.
   * @throws ERR_CONFLICT: something read has changed since the view: evaluate again (nothing was written; resolves after the conflicting write is applied);
   *   ERR_NOT_LEADER: not (any more, or not yet ready) leader of `term`; nothing was or will be written;
   *   ERR_BUSY: too much in flight; nothing written; ERR_OUTCOME_UNKNOWN: leadership was lost while it was in flight: may or may not commit.
   */
  propose(proposal: Proposal): Promise<{ readonly index: number }>
  /** Called after each applied batch, in order, before its proposers resolve. Returns the unsubscriber. */
  onApplied(listener: (change: AppliedChange) => void): () => void
  /** Called when role, term, leader or readiness changed. */
  onStatus(listener: (status: ReplicaStatus) => void): () => void
  /**
   * This node's barrier was opened, or sealed (null, as at the start): sealed nodes vote, replicate, campaign last, propose nothing, and apply what they
   * can't check. When it is opened, what was applied unchecked is checked before this returns.
   * @throws ERR_UNPROVEN: nothing changed, and this node must stay sealed
   */
  setAuthenticator(authenticator: Authenticator | null): void
  /** Leader only. Adds `member` as a learner (it is promoted to voter by itself when caught up, if `member.voter`). `formats`: what it understands. @throws ERR_UPGRADE_REQUIRED when that is not the cluster's level. */
  addMember(member: Member, formats?: FormatRange): Promise<void>
  removeMember(id: NodeId): Promise<void>
  /** Voter to learner, learner to voter. */
  setVoter(id: NodeId, voter: boolean): Promise<void>
  /** This node's own addresses changed: tells the cluster. */
  transferLeadership(to: NodeId | null, timeoutMs: number): Promise<void>
  /** Compares the states of all members now. On any node; a leader acts on what it finds. */
  verify(): Promise<VerifyReport>
  /** Begins to read this node's whole state from the disk, if that is not under way. */
  scrub(): void
  /** Stops: hands over if it leads, stops ticking, flushes, closes its stores. */
  stop(): Promise<void>
}

/** One member, as a comparison found it. */
export interface VerifiedNode extends Verdict {
  readonly member: Member | null
  readonly answered: boolean
  readonly applied: number | null
  /** Why its state is being fetched again. */
  readonly damage: string | null
  readonly repairs: number | null
  readonly scrub: ScrubReport | null
}

export interface VerifyReport {
  readonly nodes: readonly VerifiedNode[]
  /** Of the node that was asked. */
  readonly scrub: ScrubStatus
  readonly repairing: boolean
}
