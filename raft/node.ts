/**
 * The whole state of one replica, and the few helpers that every part of the protocol uses. The parts (election, replication,
 * reads ...) are functions over it; `core.ts` is the only one that calls them in order.
 */
import type { MembershipHistory } from './history.ts'
import type { Lease } from './lease.ts'
import type { Log } from './log.ts'
import { isMember, isVoter } from './membership.ts'
import type { Outbox } from './outbox.ts'
import type { Progress } from './progress.ts'
import type { ForwardedReads, ReadQueue } from './reads.ts'
import { Role, type Message, type Membership, type NodeId, type RaftConfig } from './types.ts'
import type { Uncommitted } from './uncommitted.ts'

export interface Node {
  readonly config: RaftConfig
  readonly log: Log
  readonly history: MembershipHistory
  readonly outbox: Outbox
  readonly dropped: Map<string, number>

  /** Newest term seen. Never decreases. Invariant: term >= durable.term. */
  term: number
  /** Whom this node voted for in `term`. Set at most once in a term. */
  vote: NodeId | null
  /** What is known to be on disk. Replies that speak of the term wait until it is here. */
  durable: { readonly term: number; readonly vote: NodeId | null; readonly commit: number }
  role: Role
  /** Leader of `term`, as far as known. */
  leader: NodeId | null
  sealed: boolean
  /** Its log lacks what it may have acknowledged once: it takes entries, and has no say in elections. */
  voteless: boolean
  leaderTimeMs: number
  /** What clocks say of leaders; null where lease reads are off. */
  readonly lease: Lease | null
  /** Highest index whose entry the driver has been given. Invariant: applied <= handed <= log.commit. */
  handed: number
  applied: number

  /** Ticks since this node heard its leader, voted, or began to campaign. */
  electionElapsed: number
  /** Drawn anew at each change of role: the spread is what breaks repeated split votes. */
  electionTimeout: number
  votes: Map<NodeId, boolean>
  /** Since the last timeout a candidate was refused whose log lacks what this node's has. */
  refusedShorter: boolean
  /** A learner's timeouts in a row with such a refusal, and without a leader. */
  vainTimeouts: number
  /** Read questions to the leader, while this node does not lead. */
  readonly forwarded: ForwardedReads

  // What follows means something only while this node leads.
  readonly progress: Map<NodeId, Progress>
  readonly reads: ReadQueue
  readonly uncommitted: Uncommitted
  heartbeatElapsed: number
  /** Index of the empty entry of this term: nothing is proposed or read before it is committed. */
  termStart: number
  transfer: Transfer | null
  /** Who failed the last transfer, so that a caretaker tries another one first. */
  failedTransferee: NodeId | null
}

export interface Transfer {
  readonly to: NodeId
  elapsedTicks: number
  /** Ticks since timeoutNow was sent; null while the transferee still catches up. */
  sentTicks: number | null
}

/** A message without what the sender's state fills in. */
export type Draft = Omit<Message, 'version' | 'from' | 'term' | 'sealed'> & { readonly term?: number }

export function compose(node: Node, draft: Draft): Message {
  return { version: 1, from: node.config.id, term: node.term, sealed: node.sealed, ...draft }
}

/** Sends at once: for what promises nothing that a crash could take back. */
export function send(node: Node, draft: Draft): void {
  node.outbox.send(compose(node, draft))
}

/** Sends once all that this node holds now is on disk. */
export function sendDurable(node: Node, draft: Draft): void {
  if (!node.outbox.sendDurable(compose(node, draft))) drop(node, 'durable-queue-full')
}

/** Sends at once if the term is on disk: for replies that speak of nothing but the term, and should not wait for entries. */
export function sendInTerm(node: Node, draft: Draft): void {
  if (node.durable.term === node.term) send(node, draft)
  else sendDurable(node, draft)
}

/** Counts what was dropped or refused, by reason. The reasons are a closed set of constants, so the map stays small. */
export function drop(node: Node, reason: string): void {
  node.dropped.set(reason, (node.dropped.get(reason) ?? 0) + 1)
}

export function membership(node: Node): Membership {
  return node.history.active
}

/**
 * May this node campaign? As a voter of the membership in force; or of the last committed one, since a voter whose removal is not
 * committed may be the only one with a log long enough to finish it (thesis, 4.2.2).
 */
export function isPromotable(node: Node): boolean {
  const { id } = node.config
  if (node.voteless) return false
  return isVoter(membership(node), id) || isVoter(node.history.committedAt(node.log.commit), id)
}

/** After so many timeouts any voter that can win has won. */
const vainTimeoutsMin = 2

/**
 * Must a learner campaign? Voters that are left may need its vote, since their logs make it one, and it can't give it, since its own log is newer: nobody
 * could ever be elected. It may lead as a removed voter may: it needs a majority of the voters that it knows, and goes when its first entry is committed.
 */
export function isCalledFor(node: Node): boolean {
  return node.vainTimeouts >= vainTimeoutsMin && mayVote(node)
}

/** Neither a node that knows itself removed nor one that has not been let in yet has a say in elections, nor one whose log has lost something. */
export function mayVote(node: Node): boolean {
  const { id } = node.config
  if (node.voteless) return false
  return isMember(membership(node), id) || isMember(node.history.committedAt(node.log.commit), id)
}

/** A node without any membership has nothing to compare a log with: it waits for a snapshot. */
export function isJoining(node: Node): boolean {
  return membership(node).voters.length === 0
}

/** Has this node, or the leader it follows, been confirmed recently? Then nobody needs an election. */
export function hearsLeader(node: Node): boolean {
  return node.role === Role.leader || (node.leader !== null && node.electionElapsed < node.config.electionTicks)
}

/** Has this node promised, lately enough, to help no other leader into office? */
export function isPromised(node: Node): boolean {
  return node.lease?.promised() ?? false
}

export function committedInTerm(node: Node): boolean {
  return node.role === Role.leader && node.log.commit >= node.termStart
}

/** Leader, unsealed, and everything of earlier terms is applied: it may evaluate and propose. */
export function isReady(node: Node): boolean {
  return node.role === Role.leader && !node.sealed && node.applied >= node.termStart
}
