/** What a leader decides: what enters the log, what is committed, and what follows from a commit. */
import { counterMax, invariant } from './assert.ts'
import { changeProblem, encodeMembershipChange } from './codec.ts'
import { entryOverheadBytes } from './log.ts'
import { changeMembership, isJoint, isMember, isVoter, membersOf } from './membership.ts'
import { committedInTerm, drop, isReady, membership, send, type Node } from './node.ts'
import { committedIndex, hasQuorum } from './quorum.ts'
import { acknowledgeOwn, flushAppends } from './replication.ts'
import { becomeFollower, becomeLeader, followMembership } from './roles.ts'
import { bestTransferee } from './transfer.ts'
import {
  EntryType,
  MessageType,
  Role,
  type Entry,
  type Membership,
  type MembershipChange,
  type NodeId,
  type ProposeRefusal,
  type ProposeResult,
} from './types.ts'

const noBytes = new Uint8Array(0)

/** A won election: the empty entry of the new term is what commits everything before it (Raft, 5.4.2). */
export function lead(node: Node): void {
  becomeLeader(node)
  appendOwn(node, [{ type: EntryType.empty, data: noBytes }])
}

function appendOwn(node: Node, drafts: readonly Pick<Entry, 'type' | 'data'>[]): void {
  const first = node.log.lastIndex() + 1
  const entries = drafts.map(({ type, data }, i): Entry => ({ index: first + i, term: node.term, type, data }))
  node.log.append(entries)
  if (node.history.append(entries)) followMembership(node)
}

export function propose(node: Node, term: number, data: readonly Uint8Array[]): ProposeResult {
  const bytes = data.reduce((sum, item) => sum + item.length + entryOverheadBytes, 0)
  if (node.role === Role.leader && term !== node.term) return refuse(node, 'wrong-term', `expected term ${node.term}, got ${term}`)
  const refusal = refusalOf(node, data, bytes)
  if (refusal !== null) return refusal
  appendOwn(
    node,
    data.map((item) => ({ type: EntryType.command, data: item })),
  )
  node.uncommitted.add(node.log.lastIndex(), bytes)
  return { ok: true, index: node.log.lastIndex(), term: node.term }
}

/** Why `data` may not be appended now, or null. */
function refusalOf(node: Node, data: readonly Uint8Array[], bytes: number): ProposeResult | null {
  const { entryBytesMax, uncommittedBytesMax } = node.config
  if (node.role !== Role.leader) return refuse(node, 'not-leader', `expected a leader, got a ${node.role} in term ${node.term}`)
  if (node.sealed) return refuse(node, 'caretaker', 'expected an unsealed leader, got a sealed one, which hands over')
  if (node.transfer !== null) return refuse(node, 'transferring', `leadership is being handed to '${node.transfer.to}'`)
  if (!isReady(node)) {
    return refuse(node, 'not-ready', `expected entry ${node.termStart} to be applied, got ${node.applied}`)
  }
  const large = data.find((item) => item.length > entryBytesMax)
  if (large !== undefined || node.log.lastIndex() + data.length > counterMax) {
    return refuse(node, 'too-large', `expected at most ${entryBytesMax} bytes, got ${large?.length ?? 'too many entries'}`)
  }
  if (!node.uncommitted.admits(bytes)) {
    const detail = `expected at most ${uncommittedBytesMax} uncommitted bytes, got ${node.uncommitted.bytes} and ${bytes} more`
    return refuse(node, 'too-much-uncommitted', detail)
  }
  return null
}

/** The steps of a change are checked here, so that an entry in the log always applies. */
export function proposeMembership(node: Node, change: MembershipChange): ProposeResult {
  const problem = changeProblem(change)
  if (problem !== null) return refuse(node, 'membership-invalid', problem)
  const data = encodeMembershipChange(change)
  const refusal = refusalOf(node, [data], data.length)
  if (refusal !== null) return refusal
  // One at a time: the majorities of two memberships that are one change apart overlap, of two changes apart they need not.
  const autoLeaving = isJoint(membership(node)) && membership(node).autoLeave
  if (node.history.pendingAt(node.log.commit) || autoLeaving) {
    return refuse(node, 'membership-pending', `expected no change under way, got one at index ${node.history.newest.index}`)
  }
  const result = changeMembership(membership(node), change)
  if (!result.ok) return refuse(node, 'membership-invalid', result.detail)
  const unfit = unfitVoter(node, result.membership) ?? withoutMajority(node, result.membership)
  if (unfit !== null) return unfit
  appendOwn(node, [{ type: EntryType.membership, data }])
  return { ok: true, index: node.log.lastIndex(), term: node.term }
}

/**
 * A new voter must be a learner that already holds the log up to its own admission. One that has nothing yet may not vote (a wiped
 * disk looks the same), so a majority that needs it could never elect again; and a mistyped name would be counted forever.
 */
function unfitVoter(node: Node, next: Membership): ProposeResult | null {
  for (const id of next.voters) {
    if (isVoter(membership(node), id) || id === node.config.id) continue
    if (!isMember(membership(node), id)) {
      return refuse(node, 'membership-invalid', `expected '${id}' to be a learner first, got a stranger`)
    }
    const match = node.progress.get(id)?.match ?? 0
    const { index } = node.history.newest
    if (match < index) return refuse(node, 'membership-pending', `expected '${id}' to hold the log up to ${index}, got ${match}`)
  }
  return null
}

/**
 * A membership counts from the append on: one of which no majority answers would commit nothing any more, not even its own undoing. So a live
 * voter is not removed, nor made a learner, while those that remain are too many of them dead. A dead one may always go: that makes it no worse.
 */
function withoutMajority(node: Node, next: Membership): ProposeResult | null {
  const now = membership(node)
  if (sameVoters(now.voters, next.voters) && sameVoters(now.votersOutgoing, next.votersOutgoing)) return null
  const { electionTicks, id } = node.config
  const silent = (peer: NodeId): boolean => peer !== id && (node.progress.get(peer)?.ticksSinceContact ?? Infinity) >= electionTicks
  const heard = (peer: NodeId): boolean => peer === id || (!silent(peer) && node.progress.get(peer)?.heard === true)
  if (hasQuorum(next, heard)) return null
  const voters = membersOf({ ...next, learners: [], learnersNext: [] })
  const named = (ids: readonly NodeId[]): string => ids.map((each) => `'${each}'`).join(', ')
  if (hasQuorum(next, (peer) => !silent(peer))) {
    // A leader that is new: an election timeout tells who is there.
    return refuse(node, 'membership-pending', `expected an answer first of ${named(voters.filter((peer) => !heard(peer)))}`)
  }
  const detail = `expected a majority of the voters that would remain (${named(voters)}) to be heard, got some that are silent: ${named(voters.filter(silent))}`
  return refuse(node, 'membership-unheard', detail)
}

const sameVoters = (before: readonly NodeId[], after: readonly NodeId[]): boolean =>
  before.length === after.length && before.every((id) => after.includes(id))

function refuse(node: Node, reason: ProposeRefusal, detail: string): ProposeResult {
  drop(node, reason)
  return { ok: false, reason, detail }
}

/**
 * Draws the conclusions from whatever the last input changed: what is committed, whether this node must go, whether a joint
 * membership is to be left. One place instead of a call at the end of every handler.
 */
export function settleLeader(node: Node): void {
  if (node.role !== Role.leader) return
  acknowledgeOwn(node)
  advanceCommit(node)
  if (stepDownIfRemoved(node)) return
  leaveJointIfDue(node)
}

function advanceCommit(node: Node): void {
  const index = committedIndex(membership(node), (id) => node.progress.get(id)?.match ?? 0)
  // Only an entry of this term is committed by counting. An older one on a majority can still be overwritten by a later leader
  // that never saw it (Raft, figure 8); it is committed together with the first entry of this term.
  if (index <= node.log.commit || index < node.termStart) return
  invariant(node.log.term(index) === node.term, 'a leader commits by counting only what it appended')
  node.log.commitTo(index)
  node.uncommitted.committed(index)
  node.history.prune(index)
}

/**
 * A leader whose removal or demotion is committed tells the others, hands over and goes; so does a learner that had to lead, once what it holds is
 * committed with its first entry.
 */
function stepDownIfRemoved(node: Node): boolean {
  if (isVoter(membership(node), node.config.id) || node.history.pendingAt(node.log.commit) || !committedInTerm(node)) return false
  flushAppends(node)
  const heir = bestTransferee(node)
  if (heir !== null) send(node, { type: MessageType.timeoutNow, to: heir })
  drop(node, 'removed-leader-stepped-down')
  becomeFollower(node, node.term, null)
  return true
}

/**
 * Leaves a joint membership once it is committed, if it said so. Whoever leads does it: the leader that entered it may be gone.
 * A caretaker proposes nothing; its successor will leave. So it is left once: the entry that leaves is in force when it is appended.
 */
function leaveJointIfDue(node: Node): void {
  const { autoLeave } = membership(node)
  if (!autoLeave || node.sealed || node.transfer !== null || !committedInTerm(node)) return
  if (node.history.pendingAt(node.log.commit)) return
  const data = encodeMembershipChange({ steps: [], joint: 'leave', context: noBytes })
  appendOwn(node, [{ type: EntryType.membership, data }])
}

/** Has a majority answered within an election timeout, this node itself counted? */
export function quorumActive(node: Node): boolean {
  const { electionTicks, id } = node.config
  return hasQuorum(membership(node), (peer) => peer === id || (node.progress.get(peer)?.ticksSinceContact ?? Infinity) < electionTicks)
}
