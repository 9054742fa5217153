/** Read indexes as messages: rounds of heartbeats at the leader, questions and answers elsewhere. */
import { committedInTerm, drop, membership, send, sendInTerm, type Node } from './node.ts'
import { committedIndex } from './quorum.ts'
import type { PendingRead } from './reads.ts'
import { broadcastHeartbeat } from './replication.ts'
import { MessageType, Role, type Message } from './types.ts'

/** A read of this node's own. Without a leader it is refused at once; the caller asks again or says so. */
export function readIndex(node: Node, context: number): void {
  const queued = node.role === Role.leader ? node.reads.add({ from: null, context }) : node.leader !== null && node.forwarded.add(context)
  if (!queued) return refuse(node, { from: null, context })
  node.lease?.readArrived()
}

/** Another node's reads. They wait here like our own until this term has a commit and a round is confirmed. */
export function handleReadIndex(node: Node, message: Message): void {
  const read = { from: message.from, context: message.context ?? 0 }
  if (node.role !== Role.leader || !node.reads.add(read)) return refuse(node, read)
  node.lease?.readArrived()
}

function refuse(node: Node, { from, context }: PendingRead): void {
  drop(node, 'read-refused')
  if (from === null) node.outbox.answerRead({ context, index: null, leaderTimeMs: 0 })
  else sendInTerm(node, { type: MessageType.readIndexReply, to: from, context, reject: true })
}

export function handleReadIndexReply(node: Node, message: Message): void {
  if (node.leader !== message.from) return drop(node, 'not-the-leader')
  const index = message.reject === true ? null : (message.logIndex ?? null)
  const leaderTimeMs = message.leaderTimeMs ?? 0
  for (const context of node.forwarded.settle(message.context ?? 0)) node.outbox.answerRead({ context, index, leaderTimeMs })
}

/** Sends what waits: all reads that came since the last time share one round, or one question. */
export function flushReads(node: Node): void {
  if (node.role === Role.leader) return startRound(node)
  if (node.leader === null || !node.forwarded.wantsBatch()) return
  const context = node.forwarded.closeBatch()
  sendInTerm(node, { type: MessageType.readIndex, to: node.leader, context })
}

/**
 * Before the first commit of its term a leader does not know what is committed: its commit index may lag behind what an earlier
 * leader acknowledged. That holds for a sole voter that restarts, too.
 */
function startRound(node: Node): void {
  if (!committedInTerm(node)) return
  if (node.reads.hasWaiting() && holdsLease(node)) {
    for (const read of node.reads.takeWaiting()) answer(node, read, node.log.commit)
    return
  }
  if (!node.reads.wantsRound()) return
  node.reads.startRound(node.log.commit)
  broadcastHeartbeat(node, 'voters')
  settleReads(node)
}

/**
 * May reads be answered at the commit index of now, with no round? Not while leadership is being handed over: whoever takes it passes all promises.
 * The majority is that of the membership in force now, so each of its halves has promised, and neighbouring memberships' majorities overlap: nothing
 * need be cleared when a change enters. While it is not committed rounds are taken all the same: changes are rare, and nobody then has to
 * believe that argument for nodes that decide by the one and by the other at the same time.
 */
function holdsLease(node: Node): boolean {
  if (node.lease === null || node.transfer !== null || node.history.pendingAt(node.log.commit)) return false
  return node.lease.holds(majorityRound(node, 'promisedRound'))
}

/** The newest round that a majority (of each half) has confirmed, this node itself counted. */
function majorityRound(node: Node, kind: 'ackedRound' | 'promisedRound'): number {
  const { id } = node.config
  return committedIndex(membership(node), (peer) => (peer === id ? node.reads.round : (node.progress.get(peer)?.[kind] ?? 0)))
}

/** Answers the reads whose round a majority (of each half) has acknowledged. */
export function settleReads(node: Node): void {
  if (node.role !== Role.leader) return
  for (const { index, reads } of node.reads.confirm(majorityRound(node, 'ackedRound'))) {
    for (const read of reads) answer(node, read, index)
  }
}

function answer(node: Node, { from, context }: PendingRead, logIndex: number): void {
  const { leaderTimeMs } = node
  if (from === null) node.outbox.answerRead({ context, index: logIndex, leaderTimeMs })
  else send(node, { type: MessageType.readIndexReply, to: from, context, logIndex, leaderTimeMs })
}

/** Questions that got lost are repeated; those that nobody answers within an election timeout are refused. */
export function tickReads(node: Node): void {
  const { heartbeatTicks, electionTicks } = node.config
  const { again, expired } = node.forwarded.tick(heartbeatTicks, electionTicks)
  for (const context of expired) refuse(node, { from: null, context })
  if (node.leader === null) return
  for (const context of again) sendInTerm(node, { type: MessageType.readIndex, to: node.leader, context })
}
