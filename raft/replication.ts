/** The leader's sending side: appends, heartbeats, snapshots; and what it learns from the answers. */
import { invariant } from './assert.ts'
import { entryBytes } from './log.ts'
import { isVoter } from './membership.ts'
import { drop, membership, send, type Node } from './node.ts'
import type { Progress } from './progress.ts'
import { MessageType, Role, type Message } from './types.ts'

/** Sends to every peer whatever it lacks and may be sent. Called before effects are taken, so that inputs in between share messages. */
export function flushAppends(node: Node): void {
  if (node.role !== Role.leader) return
  for (const progress of node.progress.values()) {
    if (progress.id !== node.config.id) flushPeer(node, progress)
  }
}

function flushPeer(node: Node, progress: Progress): void {
  if (progress.state === 'snapshot') return
  if (progress.state === 'probe') {
    if (!progress.probeSent) sendAppend(node, progress)
    return
  }
  let sent = false
  while (replicating(progress) && progress.next <= node.log.lastIndex() && !progress.inflights.full()) {
    sendAppend(node, progress)
    sent = true
  }
  if (!sent && replicating(progress) && (progress.owed || owesCommit(node, progress))) sendAppend(node, progress)
}

/** A function, since sending may change the state: the next entries may turn out to be compacted away. */
function replicating(progress: Progress): boolean {
  return progress.state === 'replicate'
}

/** Is there a commit index to tell that the peer could already use? A full window waits for the heartbeat, which tells it too. */
function owesCommit(node: Node, progress: Progress): boolean {
  return !progress.inflights.full() && Math.min(node.log.commit, progress.next - 1) > progress.sentCommit
}

/** Sends the entries from `next` on, as many as fit, or none if the window is full: an empty append still finds out what was lost. */
function sendAppend(node: Node, progress: Progress): void {
  const { log, config } = node
  const previous = progress.next - 1
  const previousTerm = progress.needsSnapshot ? null : log.term(previous)
  const full = progress.inflights.full()
  const entries = full ? [] : log.entries(progress.next, log.lastIndex() + 1, config.appendBytesMax)
  if (previousTerm === null || entries === null) return sendSnapshot(node, progress)
  send(node, {
    type: MessageType.append,
    to: progress.id,
    logIndex: previous,
    logTerm: previousTerm,
    commit: log.commit,
    entries,
  })
  const last = previous + entries.length
  progress.owed = false
  progress.sentCommit = Math.max(progress.sentCommit, Math.min(log.commit, last))
  if (progress.state === 'probe') {
    progress.probeSent = true
    return
  }
  progress.next = last + 1
  if (entries.length > 0) {
    progress.inflights.add(
      last,
      entries.reduce((sum, entry) => sum + entryBytes(entry), 0),
    )
  }
}

/** Asks the driver to stream its newest snapshot. A peer that is not in contact waits: its stream would only fail. */
function sendSnapshot(node: Node, progress: Progress): void {
  const meta = node.log.snapshot()
  progress.owed = false
  const usable = meta.index > 0 && meta.membership.voters.length > 0 && meta.index + 1 >= node.log.firstIndex()
  if (!usable || progress.ticksSinceContact >= node.config.electionTicks) {
    // Stay where heartbeats wake us: the peer's answer clears `probeSent`, and the next try finds another snapshot.
    if (progress.state === 'replicate') progress.becomeProbe()
    progress.probeSent = true
    return
  }
  progress.becomeSnapshot(meta.index)
  node.outbox.requestSnapshot(progress.id, meta)
}

/** Tells every peer that this node leads, and lets their answers confirm reads up to the newest round. */
export function broadcastHeartbeat(node: Node, to: 'all' | 'voters'): void {
  node.heartbeatElapsed = to === 'all' ? 0 : node.heartbeatElapsed
  if (node.lease !== null) {
    // Each round gets a number of its own: an acknowledgement of a number used twice could be one of its first use, and says no more than that.
    if (to === 'all') node.reads.round += 1
    node.lease.roundSent(node.reads.round)
  }
  for (const progress of node.progress.values()) {
    if (progress.id === node.config.id || (to === 'voters' && !isVoter(membership(node), progress.id))) continue
    // Capped at what this peer is known to hold: its log may differ behind that, and it would commit what it should drop.
    const commit = Math.min(progress.match, node.log.commit)
    progress.sentCommit = Math.max(progress.sentCommit, commit)
    send(node, { type: MessageType.heartbeat, to: progress.id, commit, context: node.reads.round })
  }
}

/** Any answer of this term shows that the peer is there. Null for one that is no peer (any more). */
export function heardFrom(node: Node, message: Message): Progress | null {
  const progress = node.progress.get(message.from)
  if (progress === undefined) {
    drop(node, 'unknown-peer')
    return null
  }
  progress.ticksSinceContact = 0
  progress.heard = true
  progress.sealed = message.sealed ?? null
  return progress
}

export function handleAppendReply(node: Node, message: Message): void {
  if (node.role !== Role.leader) return drop(node, 'not-leader')
  const progress = heardFrom(node, message)
  if (progress === null) return
  const index = message.logIndex ?? 0
  if (message.reject === true) {
    return progress.refused(index, agreement(node, message))
  }
  if (index > node.log.lastIndex()) return drop(node, 'acknowledged-beyond-log')
  progress.acknowledged(index, node.log.firstIndex())
}

/** Where both logs may agree, from the peer's hint: without a term to compare, its index alone. */
function agreement(node: Node, message: Message): number {
  const { rejectHint = 0, logTerm = 0 } = message
  return logTerm === 0 ? rejectHint : node.log.agreementHint(rejectHint, logTerm).index
}

export function handleHeartbeatReply(node: Node, message: Message): void {
  if (node.role !== Role.leader) return drop(node, 'not-leader')
  const progress = heardFrom(node, message)
  if (progress === null) return
  progress.probeSent = false
  progress.owed ||= progress.match < node.log.lastIndex()
  const round = message.context ?? 0
  if (round <= node.reads.round) progress.ackedRound = Math.max(progress.ackedRound, round)
  // One whose operator has not turned leases on yet may vote at any time: it confirms reads, and carries no lease.
  const promised = (message.promiseMs ?? 0) >= (node.config.lease?.promiseMs ?? Infinity)
  if (promised && round <= node.reads.round) progress.promisedRound = Math.max(progress.promisedRound, round)
}

/** The driver's word on a snapshot stream: go on behind it, or start over. */
export function snapshotSent(node: Node, to: string, ok: boolean): void {
  const progress = node.progress.get(to)
  if (node.role !== Role.leader || progress?.state !== 'snapshot') return
  progress.becomeProbe(ok ? progress.pendingSnapshot + 1 : progress.match + 1)
  // After success wait for the receiver's own acknowledgement, after failure for a sign of life: no busy loop of snapshots.
  progress.probeSent = true
}

export function unreachable(node: Node, peer: string): void {
  const progress = node.progress.get(peer)
  if (node.role === Role.leader && progress?.state === 'replicate') progress.becomeProbe()
}

/** This node's own acknowledgement, once its log is on disk. */
export function acknowledgeOwn(node: Node): void {
  if (node.role !== Role.leader) return
  const own = node.progress.get(node.config.id)
  invariant(own !== undefined, 'a leader keeps its own progress')
  own.match = Math.max(own.match, node.log.durableIndex())
  own.next = own.match + 1
}
