/** The receiving side: what a follower takes from its leader. */
import { drop, isJoining, sendDurable, sendInTerm, type Node } from './node.ts'
import { becomeFollower } from './roles.ts'
import { EntryType, MessageType, Role, type Entry, type Message, type NodeId, type SnapshotMeta } from './types.ts'
import { decodeMembershipChange } from './codec.ts'
import { emptyMembership, membershipProblem } from './membership.ts'

/**
 * Notes that `from` leads this term. False when this node leads it itself: two leaders of one term mean that somebody lies or that
 * a vote was lost from a disk, and nothing such a peer says may change this log.
 */
export function followLeader(node: Node, from: NodeId): boolean {
  if (node.role === Role.leader || (node.leader !== null && node.leader !== from)) {
    drop(node, 'second-leader-in-term')
    return false
  }
  if (node.role !== Role.follower || node.leader === null) becomeFollower(node, node.term, from)
  node.electionElapsed = 0
  node.lease?.promise()
  return true
}

export function handleAppend(node: Node, message: Message): void {
  if (!followLeader(node, message.from)) return
  const { logIndex = 0, logTerm = 0, commit = 0, entries = [], from: to } = message
  if (isJoining(node)) return refuseAppend(node, to, logIndex, { index: 0, term: 0 })
  const { log } = node
  // What is committed here is the same at every leader: skip it, and go on with the rest of the message.
  const skipped = Math.min(Math.max(log.commit - logIndex, 0), entries.length)
  const previous = logIndex + skipped
  const fresh = entries.slice(skipped)
  if (previous < log.commit) return acknowledge(node, to, log.commit)
  const previousTerm = skipped > 0 ? (log.term(previous) ?? 0) : logTerm
  if (!log.matches(previous, previousTerm)) {
    return refuseAppend(node, to, logIndex, log.agreementHint(logIndex, logTerm))
  }
  if (fresh.some((entry) => !isUnderstood(entry))) return drop(node, 'entry-not-understood')
  appendFresh(node, fresh)
  // Not the end of this log: what stands behind the last entry of this message may differ from the leader's log (Raft, figure 2).
  commitTo(node, Math.min(commit, previous + fresh.length))
  acknowledge(node, to, previous + fresh.length)
}

/** Appends what is missing; entries that are here already are left alone, so that a late message never cuts newer ones. */
function appendFresh(node: Node, entries: readonly Entry[]): void {
  const missing = entries.slice(node.log.firstMissing(entries))
  const first = missing[0]
  if (first === undefined) return
  node.history.truncateFrom(first.index)
  node.log.append(missing)
  node.history.append(missing)
}

function commitTo(node: Node, index: number): void {
  if (node.log.commitTo(index)) node.history.prune(index)
}

/** Membership entries of a later version are refused, not guessed: this node stays behind until it is upgraded. */
function isUnderstood(entry: Entry): boolean {
  return entry.type !== EntryType.membership || decodeMembershipChange(entry.data) !== null
}

function acknowledge(node: Node, to: NodeId, logIndex: number): void {
  sendDurable(node, { type: MessageType.appendReply, to, logIndex })
}

function refuseAppend(node: Node, to: NodeId, logIndex: number, hint: { readonly index: number; readonly term: number }): void {
  const { index: rejectHint, term: logTerm } = hint
  sendDurable(node, { type: MessageType.appendReply, to, logIndex, reject: true, rejectHint, logTerm })
}

export function handleHeartbeat(node: Node, message: Message): void {
  if (!followLeader(node, message.from)) return
  const { commit = 0, context = 0 } = message
  // The leader caps `commit` at what we acknowledged. If we hold less, our disk has lost something: say so, do not follow.
  if (commit > node.log.lastIndex()) drop(node, 'commit-beyond-log')
  else commitTo(node, commit)
  const promise = node.config.lease === undefined ? {} : { promiseMs: node.config.lease.promiseMs }
  sendInTerm(node, { type: MessageType.heartbeatReply, to: message.from, context, ...promise })
}

/** An append, heartbeat or snapshot of an older term: its sender must learn that it leads no more. */
export function answerStaleLeader(node: Node, to: NodeId): void {
  const index = node.log.lastIndex()
  sendDurable(node, { type: MessageType.appendReply, to, logIndex: index, reject: true, rejectHint: index, logTerm: 0 })
}

/** A snapshot lies on this node's disk, complete and verified, but not installed. */
export function snapshotReceived(node: Node, from: NodeId, term: number, meta: SnapshotMeta): void {
  if (term < node.term) return answerStaleLeader(node, from)
  if (membershipProblem(meta.membership) !== null || meta.membership.voters.length === 0) return drop(node, 'malformed-snapshot')
  if (term > node.term) becomeFollower(node, term, from)
  if (!followLeader(node, from)) return
  const { log } = node
  if (meta.index <= log.commit && !isJoining(node)) return acknowledge(node, from, log.commit)
  if (!isJoining(node) && log.matches(meta.index, meta.term)) {
    // Entries that lead there are here already: only the news that they are committed was missing.
    commitTo(node, meta.index)
    return acknowledge(node, from, meta.index)
  }
  log.restore(meta)
  node.history.reset(meta.index, { ...emptyMembership, ...meta.membership })
  node.handed = meta.index
  acknowledge(node, from, meta.index)
}
