/** What the passing of one tick means in each role. */
import { awaitsOwnVote, campaign } from './election.ts'
import { quorumActive } from './leader.ts'
import { drop, isCalledFor, isPromised, isPromotable, type Node } from './node.ts'
import { tickReads } from './readindex.ts'
import { broadcastHeartbeat } from './replication.ts'
import { becomeFollower, restartElectionTimer } from './roles.ts'
import { tickTransfer } from './transfer.ts'
import { Role } from './types.ts'

export function tick(node: Node): void {
  if (node.role === Role.leader) tickLeader(node)
  else tickOther(node)
}

function tickOther(node: Node): void {
  tickReads(node)
  node.electionElapsed += 1
  if (node.electionElapsed < node.electionTimeout || awaitsOwnVote(node)) return
  // Its ticks came in a burst, and the clock says that it is too early: the next tick asks again, not the next timeout.
  if (isPromised(node)) return
  restartElectionTimer(node)
  node.vainTimeouts = node.refusedShorter ? node.vainTimeouts + 1 : 0
  node.refusedShorter = false
  if (isPromotable(node) || isCalledFor(node)) return campaign(node)
  // A learner has lost its leader like anybody else. If it went on to believe in it, each restart of its timer would renew a lease,
  // and a candidate that counts it as a voter (by an entry that it has not got yet) would be ignored.
  becomeFollower(node, node.term, null)
}

function tickLeader(node: Node): void {
  ageProgress(node)
  // Checked at every tick, not once per timeout: a leader that is cut off stops within one election timeout, not two.
  if (node.config.checkQuorum && !quorumActive(node)) {
    drop(node, 'quorum-lost')
    return becomeFollower(node, node.term, null)
  }
  tickTransfer(node)
  node.heartbeatElapsed += 1
  if (node.heartbeatElapsed >= node.config.heartbeatTicks) broadcastHeartbeat(node, 'all')
}

/** A removed peer is still told of its removal for a while, so that it knows to keep quiet; then it is forgotten. */
function ageProgress(node: Node): void {
  for (const [id, progress] of node.progress) {
    if (id === node.config.id) continue
    progress.ticksSinceContact += 1
    if (progress.departedTicks === null) continue
    progress.departedTicks += 1
    if (progress.departedTicks > 2 * node.config.electionTicks) node.progress.delete(id)
  }
}
