/** Changes of role and term. They send nothing: what a new role says first is the business of those who call this. */
import { invariant } from './assert.ts'
import { drop, membership, sendInTerm, type Node } from './node.ts'
import { Progress } from './progress.ts'
import { membersOf } from './membership.ts'
import { MessageType, Role, type NodeId } from './types.ts'

export function becomeFollower(node: Node, term: number, leader: NodeId | null): void {
  reset(node, term, leader)
  node.role = Role.follower
}

/** Asks first whether a campaign could be won, and changes neither term nor vote: an isolated node's term does not grow. */
export function becomePreCandidate(node: Node): void {
  invariant(node.role !== Role.leader, 'a leader does not campaign')
  reset(node, node.term, null)
  node.role = Role.preCandidate
}

export function becomeCandidate(node: Node): void {
  invariant(node.role !== Role.leader, 'a leader does not campaign')
  reset(node, node.term + 1, null)
  node.role = Role.candidate
  node.vote = node.config.id
}

/** Only right after a won election. The caller appends the empty entry at once. */
export function becomeLeader(node: Node): void {
  invariant(node.role === Role.candidate, 'only a candidate becomes leader')
  reset(node, node.term, node.config.id)
  node.role = Role.leader
  node.termStart = node.log.lastIndex() + 1
  followMembership(node)
}

function reset(node: Node, term: number, leader: NodeId | null): void {
  invariant(term >= node.term, () => `term must not go back from ${node.term} to ${term}`)
  const follows = node.role === Role.follower
  if (!follows || term !== node.term || leader !== node.leader) refuseReads(node)
  // A follower that only learns of a newer term goes on waiting. If every campaign restarted its timer, a candidate with a short log
  // and a short timeout (unsealed, say) could keep the one node that can win from ever having its turn.
  if (!follows || leader !== null) restartElectionTimer(node)
  if (term > node.term) {
    node.term = term
    node.vote = null
  }
  node.leader = leader
  if (leader !== null) node.vainTimeouts = 0
  node.votes = new Map()
  node.progress.clear()
  node.uncommitted.clear()
  node.heartbeatElapsed = 0
  node.termStart = 0
  node.lease?.reset()
  // A transfer is the business of one leader in one term: a flag that outlived it would block a later leadership (hashicorp#696).
  node.transfer = null
  node.failedTransferee = null
}

export function restartElectionTimer(node: Node): void {
  node.electionElapsed = 0
  drawElectionTimeout(node)
}

/**
 * A sealed node waits several times longer, so that an unsealed one wins if any can. A sole voter does not wait: nobody else
 * could win, and nobody else could be disturbed.
 */
export function drawElectionTimeout(node: Node): void {
  const { electionTicks, sealedElectionFactor, randomBelow, id } = node.config
  const { voters, votersOutgoing } = membership(node)
  const alone = voters.length === 1 && voters[0] === id && votersOutgoing.length === 0
  const base = node.sealed ? electionTicks * sealedElectionFactor : electionTicks
  node.electionTimeout = alone ? 1 : base + randomBelow(electionTicks)
}

/** Whoever waits for a read learns that it must ask again; nobody waits for a leader that is gone. */
function refuseReads(node: Node): void {
  for (const context of node.forwarded.drain()) node.outbox.answerRead({ context, index: null, leaderTimeMs: 0 })
  for (const read of node.reads.drain()) {
    if (read.from === null) node.outbox.answerRead({ context: read.context, index: null, leaderTimeMs: 0 })
    else sendInTerm(node, { type: MessageType.readIndexReply, to: read.from, context: read.context, reject: true })
  }
}

/** Brings the leader's view of its peers in line with the membership in force. */
export function followMembership(node: Node): void {
  const members = new Set(membersOf(membership(node)))
  for (const id of new Set([...members, node.config.id])) {
    const known = node.progress.get(id)
    if (known === undefined) node.progress.set(id, newProgress(node, id))
    else known.departedTicks = null
  }
  for (const [id, progress] of node.progress) {
    if (!members.has(id) && id !== node.config.id) progress.departedTicks ??= 0
  }
  if (node.transfer !== null && !membership(node).voters.includes(node.transfer.to)) {
    drop(node, 'transfer-target-removed')
    node.transfer = null
  }
}

/**
 * A new peer counts as active until it had the time to answer: otherwise adding a voter could cost a healthy leader its quorum.
 */
function newProgress(node: Node, id: NodeId): Progress {
  const { inflightMessagesMax, inflightBytesMax } = node.config
  const progress = new Progress(id, node.log.lastIndex() + 1, { messagesMax: inflightMessagesMax, bytesMax: inflightBytesMax })
  if (id === node.config.id) progress.match = node.log.durableIndex()
  return progress
}
