/** Campaigns and votes, with the pre-vote phase and the leader's lease on votes. */
import {
  drop,
  hearsLeader,
  isCalledFor,
  isPromised,
  isPromotable,
  mayVote,
  membership,
  send,
  sendDurable,
  sendInTerm,
  type Node,
} from './node.ts'
import { membersOf } from './membership.ts'
import { voteResult } from './quorum.ts'
import { lead } from './leader.ts'
import { becomeCandidate, becomeFollower, becomePreCandidate, restartElectionTimer } from './roles.ts'
import { MessageType, Role, type Message } from './types.ts'
import { counterMax } from './assert.ts'

/** Campaigns if this node may. `force`: the leader asked for it, so skip the pre-vote and pass the voters' lease. */
export function campaign(node: Node, force = false): void {
  if (node.role === Role.leader) return
  // Its own vote is worth as much as any other voter's, and an operator may ask at any time.
  if (!force && isPromised(node)) return drop(node, 'leader-lease')
  if (!isPromotable(node) && !isCalledFor(node)) return
  if (node.term >= counterMax) return drop(node, 'term-exhausted')
  if (node.config.preVote && !force) askPreVotes(node)
  else askVotes(node, force)
}

function askPreVotes(node: Node): void {
  becomePreCandidate(node)
  node.votes.set(node.config.id, true)
  askAll(node, MessageType.preVote, false)
  conclude(node)
}

/** Raises the term and votes for itself; its own vote counts only once it is on disk (`countOwnVote`). */
function askVotes(node: Node, force: boolean): void {
  becomeCandidate(node)
  askAll(node, MessageType.vote, force)
}

function askAll(node: Node, type: MessageType, force: boolean): void {
  const { log } = node
  for (const to of membersOf(membership(node))) {
    if (to === node.config.id) continue
    const draft = { type, to, logIndex: log.lastIndex(), logTerm: log.lastTerm() }
    if (type === MessageType.preVote) send(node, { ...draft, term: node.term + 1 })
    // Durable first: after a crash this node might campaign again in the same term with a shorter log, and a late answer to this
    // request would elect it.
    else sendDurable(node, force ? { ...draft, force } : draft)
  }
}

/**
 * A candidate whose own vote is not on disk yet: nobody has been asked. To campaign again would only raise the term once more, and on a disk that
 * is slower than the timeout no campaign would ever be seen by anybody.
 */
export function awaitsOwnVote(node: Node): boolean {
  const { term, vote } = node.durable
  return node.role === Role.candidate && (term !== node.term || vote !== node.config.id)
}

/** The hard state with the vote for itself is on disk. The others are asked now, and have a whole timeout to answer. */
export function countOwnVote(node: Node): void {
  if (node.role !== Role.candidate || awaitsOwnVote(node) || node.votes.has(node.config.id)) return
  restartElectionTimer(node)
  node.votes.set(node.config.id, true)
  conclude(node)
}

function conclude(node: Node): void {
  const result = voteResult(membership(node), (id) => node.votes.get(id))
  if (result === 'lost') return becomeFollower(node, node.term, null)
  if (result === 'pending') return
  if (node.role === Role.preCandidate) askVotes(node, false)
  else if (node.role === Role.candidate) lead(node)
}

/**
 * Is a request to be ignored because this node hears a leader? That protects a working leader from a node that cannot hear it.
 * The candidate is not told: an answer would carry nothing but this term, which the leader's own messages carry too.
 */
export function leaseForbids(node: Node, message: Message): boolean {
  if (message.force === true && message.type === MessageType.vote) return false
  if (!node.config.checkQuorum && message.type === MessageType.vote) return false
  return hearsLeader(node) && message.term > node.term
}

/**
 * Does this node's promise to a leader that it heard forbid an answer? Unlike the lease above it outlives the term: a node that has learned of a newer term
 * from somewhere knows no leader, but the one that it acknowledged may still count on it.
 */
export function promiseForbids(node: Node, message: Message): boolean {
  if (!isPromised(node)) return false
  // A pre-vote binds nobody; one that lags in terms gets its refusal, which carries the term.
  if (message.type === MessageType.preVote) return message.term > node.term
  return message.term >= node.term && message.force !== true
}

/** A real vote: at most one a term, on disk before it is told, and only for a log that holds all that may be committed. */
export function handleVote(node: Node, message: Message): void {
  const free = node.vote === message.from || (node.vote === null && node.leader === null)
  const upToDate = isUpToDate(node, message)
  if (!free || !upToDate) {
    return sendDurable(node, { type: MessageType.voteReply, to: message.from, reject: true })
  }
  node.vote = message.from
  node.electionElapsed = 0
  sendDurable(node, { type: MessageType.voteReply, to: message.from })
}

/**
 * Would this node vote for the sender in the term that it names? Binds nobody and changes nothing. A refusal carries this node's
 * own term, so that a candidate that lags behind in terms adopts it instead of asking in vain forever (openraft#1796).
 */
export function handlePreVote(node: Node, message: Message): void {
  const free = message.term > node.term || node.vote === message.from || (node.vote === null && node.leader === null)
  const upToDate = isUpToDate(node, message)
  const granted = message.term >= node.term && free && upToDate
  if (granted) send(node, { type: MessageType.preVoteReply, to: message.from, term: message.term })
  else sendInTerm(node, { type: MessageType.preVoteReply, to: message.from, reject: true })
}

function isUpToDate(node: Node, { logIndex = 0, logTerm = 0 }: Message): boolean {
  const upToDate = node.log.isUpToDate(logIndex, logTerm)
  if (!upToDate) node.refusedShorter = true
  return upToDate
}

export function handlePreVoteReply(node: Node, message: Message): void {
  const reject = message.reject === true
  if (node.role !== Role.preCandidate) return
  if (!reject && message.term !== node.term + 1) return drop(node, 'stale-vote')
  recordVote(node, message.from, !reject)
}

export function handleVoteReply(node: Node, message: Message): void {
  if (node.role !== Role.candidate) return
  recordVote(node, message.from, message.reject !== true)
}

/** The first answer of each voter counts. */
function recordVote(node: Node, from: string, granted: boolean): void {
  if (!node.votes.has(from)) node.votes.set(from, granted)
  conclude(node)
}

/** The leader hands over. Late ones find a node that is no voter any more, or was sealed since, and are ignored. */
export function handleTimeoutNow(node: Node, message: Message): void {
  if (node.role !== Role.follower || node.leader !== message.from) return drop(node, 'stale-timeout-now')
  if (!mayVote(node) || node.sealed) return drop(node, 'timeout-now-refused')
  campaign(node, true)
}
