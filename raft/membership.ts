/**
 * The algebra of memberships: what a change makes of a membership, or why it is refused. Pure and total: an invalid change is an
 * answer, never an exception, because one that throws while entries are applied would take down every node at the same index.
 *
 * Rejected: changing two voters at once without a joint phase. The two majorities need not overlap ({1,2,3} to {3,4,5}), and two
 * leaders could then commit different entries in one index.
 */
import type { Membership, MembershipChange, MembershipStep, NodeId } from './types.ts'

/** More members than a cluster of 3 to 5 ever needs; bounds every loop over peers. */
export const membersMax = 64
export const nodeIdBytesMax = 255

export type MembershipResult = { readonly ok: true; readonly membership: Membership } | { readonly ok: false; readonly detail: string }

export const emptyMembership: Membership = {
  voters: [],
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
}

export function isJoint(membership: Membership): boolean {
  return membership.votersOutgoing.length > 0
}

/** Does `id` count in either half? */
export function isVoter(membership: Membership, id: NodeId): boolean {
  return membership.voters.includes(id) || membership.votersOutgoing.includes(id)
}

/** Every node that receives entries, each once, sorted. */
export function membersOf(membership: Membership): NodeId[] {
  return sorted(new Set([...membership.voters, ...membership.votersOutgoing, ...membership.learners, ...membership.learnersNext]))
}

export function isMember(membership: Membership, id: NodeId): boolean {
  return isVoter(membership, id) || membership.learners.includes(id) || membership.learnersNext.includes(id)
}

/**
 * What `change` makes of `membership`. Deterministic in its two arguments, so that every node that applies the same log ends with
 * the same membership. From an empty membership every change is simple: there is no old majority to overlap with.
 */
export function changeMembership(membership: Membership, change: MembershipChange): MembershipResult {
  if (change.joint === 'leave') return leaveJoint(membership, change.steps)
  if (isJoint(membership)) return refused('expected a plain membership, got a joint one: leave it first')
  const problem = stepsProblem(membership, change.steps)
  if (problem !== null) return refused(problem)
  const target = applySteps(membership, change.steps)
  if (target.voters.size === 0) return refused('expected at least one voter to remain, got none')
  if (target.voters.size + target.learners.size > membersMax) {
    return refused(`expected at most ${membersMax} members, got ${target.voters.size + target.learners.size}`)
  }
  const changed = votersChanged(new Set(membership.voters), target.voters)
  const simple = change.joint === 'auto' && (changed <= 1 || membership.voters.length === 0)
  return { ok: true, membership: simple ? plain(target) : enterJoint(membership, target, change.joint === 'auto') }
}

interface Target {
  readonly voters: Set<NodeId>
  readonly learners: Set<NodeId>
}

function applySteps(membership: Membership, steps: readonly MembershipStep[]): Target {
  const target = { voters: new Set(membership.voters), learners: new Set(membership.learners) }
  for (const step of steps) {
    target.voters.delete(step.node)
    target.learners.delete(step.node)
    if (step.kind === 'add-voter') target.voters.add(step.node)
    if (step.kind === 'add-learner') target.learners.add(step.node)
  }
  return target
}

function plain(target: Target): Membership {
  return { ...emptyMembership, voters: sorted(target.voters), learners: sorted(target.learners) }
}

function enterJoint(membership: Membership, target: Target, autoLeave: boolean): Membership {
  // A voter of the outgoing half cannot be a learner at the same time: it would count in one place and not in the other.
  // It waits in learnersNext until the joint phase ends.
  const outgoing = new Set(membership.voters)
  return {
    voters: sorted(target.voters),
    votersOutgoing: sorted(outgoing),
    learners: sorted([...target.learners].filter((id) => !outgoing.has(id))),
    learnersNext: sorted([...target.learners].filter((id) => outgoing.has(id))),
    autoLeave,
  }
}

function leaveJoint(membership: Membership, steps: readonly MembershipStep[]): MembershipResult {
  if (!isJoint(membership)) return refused('expected a joint membership to leave, got a plain one')
  if (steps.length > 0) return refused(`expected no steps when leaving a joint membership, got ${steps.length}`)
  const learners = sorted(new Set([...membership.learners, ...membership.learnersNext]))
  return { ok: true, membership: { ...emptyMembership, voters: membership.voters, learners } }
}

/** A step may repeat what is (it then only carries a new context); removing a stranger is a mistake. */
function stepsProblem(membership: Membership, steps: readonly MembershipStep[]): string | null {
  if (steps.length === 0) return 'expected at least one step, got none'
  if (steps.length > membersMax) return `expected at most ${membersMax} steps, got ${steps.length}`
  const seen = new Set<NodeId>()
  for (const step of steps) {
    if (!isNodeId(step.node)) return `expected a node id of 1 to ${nodeIdBytesMax} characters`
    if (seen.has(step.node)) return `expected one step for each node, got two for '${step.node}'`
    if (step.kind === 'remove' && !isMember(membership, step.node)) return `expected a member to remove, got '${step.node}'`
    seen.add(step.node)
  }
  return null
}

/** Ids are bounded in characters too, so that a hostile one is refused before it is measured in bytes. */
export function isNodeId(value: unknown): value is NodeId {
  return typeof value === 'string' && value.length > 0 && value.length <= nodeIdBytesMax
}

/** Size of the symmetric difference: how many voters come, go, or are demoted. */
export function votersChanged(before: ReadonlySet<NodeId>, after: ReadonlySet<NodeId>): number {
  let count = 0
  for (const id of before) if (!after.has(id)) count += 1
  for (const id of after) if (!before.has(id)) count += 1
  return count
}

/** What is wrong with a membership as a whole, or null. Snapshots from peers and disks pass through here. */
export function membershipProblem(membership: Membership): string | null {
  const { voters, votersOutgoing, learners, learnersNext } = membership
  const joint = votersOutgoing.length > 0
  if (voters.length === 0) return joint || learners.length > 0 ? 'no voters' : null
  if (!joint && (learnersNext.length > 0 || membership.autoLeave)) return 'learnersNext or autoLeave outside a joint membership'
  if (learnersNext.some((id) => !votersOutgoing.includes(id))) return 'a node of learnersNext is no outgoing voter'
  if (learners.some((id) => isVoter(membership, id))) return 'a learner is also a voter'
  if (learnersNext.some((id) => voters.includes(id))) return 'a node of learnersNext is also an incoming voter'
  const lists = [voters, votersOutgoing, learners, learnersNext]
  if (lists.some((list) => new Set(list).size !== list.length)) return 'a node is listed twice'
  if (lists.some((list) => list.length > membersMax || !list.every(isNodeId))) return 'too many members or a bad id'
  return null
}

function refused(detail: string): MembershipResult {
  return { ok: false, detail }
}

/** Sorted by code unit: the same order on every machine, whatever its locale. */
function sorted(ids: Iterable<NodeId>): NodeId[] {
  return [...ids].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
}
