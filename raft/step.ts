/** Where a message goes: first by its term (Raft, 5.1), then by its kind. */
import {
  handlePreVote,
  handlePreVoteReply,
  handleTimeoutNow,
  handleVote,
  handleVoteReply,
  leaseForbids,
  promiseForbids,
} from './election.ts'
import { answerStaleLeader, handleAppend, handleHeartbeat } from './follower.ts'
import { messageProblem } from './messages.ts'
import { drop, mayVote, sendDurable, type Node } from './node.ts'
import { handleReadIndex, handleReadIndexReply } from './readindex.ts'
import { handleAppendReply, handleHeartbeatReply } from './replication.ts'
import { becomeFollower } from './roles.ts'
import { MessageType, Role, type Message } from './types.ts'

export function step(node: Node, message: Message): void {
  const problem = messageProblem(message) ?? refusal(node, message)
  if (problem !== null) return drop(node, problem)
  if (message.term < node.term) return handleStale(node, message)
  if (message.term > node.term && raisesTerm(message)) becomeFollower(node, message.term, null)
  dispatch(node, message)
}

/** Why a well-formed message is none of this node's business, or null. Decided before its term counts for anything. */
function refusal(node: Node, message: Message): string | null {
  const { type, from, to, term } = message
  if (to !== node.config.id || from === node.config.id) return 'misdirected'
  if (type !== MessageType.vote && type !== MessageType.preVote) return isStranger(node, message) ? 'stranger' : null
  if (!mayVote(node)) return 'no-vote'
  if (promiseForbids(node, message)) return 'leader-lease'
  return term > node.term && leaseForbids(node, message) ? 'leader-lease' : null
}

/**
 * A leader takes no newer term from a node that it has removed or never knew: such a node could depose it with every answer. A
 * newer leader's append is something else: it may know a membership that this node does not.
 */
function isStranger(node: Node, { type, from, term }: Message): boolean {
  if (node.role !== Role.leader || term <= node.term || type === MessageType.append || type === MessageType.heartbeat) return false
  const progress = node.progress.get(from)
  return progress === undefined || progress.departedTicks !== null
}

/** A pre-vote names a term that nobody is in yet, and so does its granting. */
function raisesTerm({ type, reject }: Message): boolean {
  return type !== MessageType.preVote && (type !== MessageType.preVoteReply || reject === true)
}

/** The sender lags behind. Whoever believes to lead, or wants to, is told this node's term; answers of earlier terms mean nothing. */
function handleStale(node: Node, message: Message): void {
  switch (message.type) {
    case MessageType.append:
    case MessageType.heartbeat:
      return answerStaleLeader(node, message.from)
    case MessageType.preVote:
      return handlePreVote(node, message)
    case MessageType.vote:
      return sendDurable(node, { type: MessageType.voteReply, to: message.from, reject: true })
    default:
      return drop(node, 'stale-term')
  }
}

function dispatch(node: Node, message: Message): void {
  switch (message.type) {
    case MessageType.append:
      return handleAppend(node, message)
    case MessageType.appendReply:
      return handleAppendReply(node, message)
    case MessageType.heartbeat:
      return handleHeartbeat(node, message)
    case MessageType.heartbeatReply:
      return handleHeartbeatReply(node, message)
    case MessageType.vote:
      return handleVote(node, message)
    case MessageType.voteReply:
      return handleVoteReply(node, message)
    case MessageType.preVote:
      return handlePreVote(node, message)
    case MessageType.preVoteReply:
      return handlePreVoteReply(node, message)
    case MessageType.timeoutNow:
      return handleTimeoutNow(node, message)
    case MessageType.readIndex:
      return handleReadIndex(node, message)
    case MessageType.readIndexReply:
      return handleReadIndexReply(node, message)
    case MessageType.snapshot:
    case MessageType.snapshotReply:
      return drop(node, 'unknown-type') // Snapshots travel beside the core: see snapshotReceived.
  }
}
