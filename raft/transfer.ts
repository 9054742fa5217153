/**
 * Handing leadership over: bring the successor up to date, tell it to campaign at once, and give up after an election timeout.
 * Proposals are refused meanwhile, since the successor could not catch up with a log that grows.
 */
import { committedInTerm, membership, send, type Node } from './node.ts'
import { MessageType, Role, type NodeId } from './types.ts'

export interface TransferResult {
  readonly ok: boolean
  readonly detail: string
}

/** Starts a transfer; it has succeeded when another node leads. A new target replaces an earlier one. */
export function transferLeadership(node: Node, to: NodeId | null): TransferResult {
  if (node.role !== Role.leader) return { ok: false, detail: `expected a leader, got a ${node.role}` }
  const target = to ?? bestTransferee(node)
  if (target === null) return { ok: false, detail: 'expected an unsealed voter in contact, got none' }
  const problem = targetProblem(node, target)
  if (problem !== null) return { ok: false, detail: problem }
  if (node.transfer?.to !== target) node.transfer = { to: target, elapsedTicks: 0, sentTicks: null }
  return { ok: true, detail: `handing leadership to '${target}'` }
}

function targetProblem(node: Node, target: NodeId): string | null {
  if (target === node.config.id) return 'expected another node, got the leader itself'
  if (!membership(node).voters.includes(target)) return `expected a voter, got '${target}'`
  if (node.progress.get(target)?.sealed === true) return `expected an unsealed node, got '${target}', which is sealed`
  return null
}

/**
 * The unsealed voter that would take over soonest: in contact, furthest ahead. Whoever failed the last transfer comes last, so that
 * a caretaker does not try one dead end forever.
 */
export function bestTransferee(node: Node): NodeId | null {
  let best: { readonly id: NodeId; readonly failed: boolean; readonly match: number } | null = null
  for (const id of membership(node).voters) {
    const progress = node.progress.get(id)
    if (id === node.config.id || progress === undefined) continue
    if (progress.sealed !== false || progress.ticksSinceContact >= node.config.electionTicks) continue
    const failed = id === node.failedTransferee
    const better = best === null || (failed === best.failed ? progress.match > best.match : best.failed)
    if (better) best = { id, failed, match: progress.match }
  }
  return best?.id ?? null
}

/** A sealed leader looks for somebody who can serve; then, as for any transfer, the target is told once it is up to date. */
export function settleTransfer(node: Node): void {
  if (node.role !== Role.leader) return
  if (node.sealed && node.transfer === null && committedInTerm(node)) startCaretakerTransfer(node)
  const transfer = node.transfer
  const progress = transfer === null ? undefined : node.progress.get(transfer.to)
  if (transfer === null || progress === undefined || transfer.sentTicks !== null) return
  if (progress.match < node.log.lastIndex()) return
  node.lease?.bar()
  send(node, { type: MessageType.timeoutNow, to: transfer.to })
  transfer.sentTicks = 0
}

function startCaretakerTransfer(node: Node): void {
  const target = bestTransferee(node)
  if (target !== null) node.transfer = { to: target, elapsedTicks: 0, sentTicks: null }
}

/** Counts the time: repeats a lost timeoutNow, and gives up after an election timeout, after which writes resume. */
export function tickTransfer(node: Node): void {
  const transfer = node.transfer
  if (transfer === null) return
  transfer.elapsedTicks += 1
  if (transfer.elapsedTicks >= node.config.electionTicks) {
    node.failedTransferee = transfer.to
    node.transfer = null
    return
  }
  if (transfer.sentTicks === null) return
  transfer.sentTicks += 1
  // The target campaigns in a new term, in which this message is stale: repeating it can never start a second campaign.
  if (transfer.sentTicks % node.config.heartbeatTicks === 0) send(node, { type: MessageType.timeoutNow, to: transfer.to })
}
