/**
 * A cluster goes on without its majority: on one node, stopped, whose log from now on is the cluster's (docs/recovery.md).
 *
 * Everything that its log holds is applied, whether or not the others had it; then the membership in its state is replaced by this node as the only voter,
 * and by whoever else is to be there as learners, who are made voters by the running cluster as any joining node is. The others take part with empty
 * stores, and get the state from here.
 *
 * No entry carries this, so none need be signed by a node that is sealed. What was applied here unchecked is checked when this node is opened, as
 * always (chain.ts); and the forced membership reaches others only in a snapshot, which nobody takes without the proof of an unsealed node: with that
 * proof the key's holder signs it, once it is opened.
 *
 * Rejected: forcing the same membership on several survivors at once, each with its own log. Their logs may differ, and each would have taken for
 * committed what the other replaced. Rejected: an entry in the log that changes the membership. Two survivors could write it at one index and
 * one term behind different entries, and from then on their logs would look alike where they are not.
 */
import { HoldfastError } from '#base/errors.ts'
import { releasedFormats, type FormatRange } from '#base/formats.ts'
import { emptyMembership } from '#raft/index.ts'
import type { NodeId } from '#raft/types.ts'
import type { LogStore, StateStore } from '#store/types.ts'
import type { Slots } from '#store/slots.ts'
import { CommandChain } from './chain.ts'
import { directoryOp, findMember, readDirectory, type Directory } from './directory.ts'
import { Keepsake } from './keepsake.ts'
import { reconcile } from './recover.ts'
import type { RecoveryPlan } from './recovery-plan.ts'
import { isRestore } from './restore.ts'
import { buildRound } from './rounds.ts'
import type { Member } from './types.ts'

const pageBytes = 8 * 1024 * 1024

export interface ForcedOptions {
  readonly nodeId: NodeId
  readonly clusterId: string
  readonly incarnation: number
  readonly log: LogStore
  readonly state: StateStore
  readonly keepsake: Slots
  readonly plan: RecoveryPlan
  readonly formats?: FormatRange
}

export interface Forced {
  /** Up to here the log reached, and everything is applied. */
  readonly index: number
  readonly term: number
  /** Entries that this node did not know to be committed. */
  readonly uncommitted: number
  readonly members: readonly Member[]
  /** Who was a member, and is none any more. */
  readonly removed: readonly NodeId[]
  /** What this node's own log had lost before (store/fence.ts). */
  readonly lost: string | null
}

/**
 * Makes `nodeId` the only voter of its cluster. Durable when it resolves; a crash before that leaves a node on which it can be done again. The
 * stores stay open, the caller's.
 * @throws ERR_MEMBERSHIP for a plan that does not fit what this node knows, or while it has a restore to carry out; ERR_STORE_CORRUPT when its state is damaged
 */
export async function forceMembership(options: ForcedOptions): Promise<Forced> {
  const { nodeId, log, state, plan } = options
  const keepsake = new Keepsake(options.keepsake)
  checkPlan(plan, directoryOf(options), nodeId)
  checkNoRestore(log, state)
  const known = log.hardState.commit
  const { damage } = await reconcile(log, state, null, nodeId)
  if (damage !== null) throw damage
  const before = directoryOf(options)
  const directory = await applyRest(options, before)
  const lost = log.fence?.reason ?? null
  const next = forcedDirectory(directory, plan)
  const others = next.members.filter(({ id }) => id !== nodeId).map(({ id }) => id)
  const membership = { ...emptyMembership, voters: [nodeId], learners: others }
  // Told to the copy first, as at each change of members.
  await keepsake.keep({ index: state.meta.applied, membership, members: next.members })
  await state.apply([directoryOp(next)], { ...state.meta, membership })
  await state.sync()
  const { applied, appliedTerm } = state.meta
  // A term of its own: what members of before still send is of an older one.
  await log.append({ term: log.hardState.term + 1, vote: null, commit: applied }, [])
  await log.forgive()
  const removed = directory.members.map(({ id }) => id).filter((id) => findMember(next, id) === undefined)
  return { index: applied, term: appliedTerm, uncommitted: Math.max(0, applied - known), members: next.members, removed, lost }
}

/** @throws ERR_MEMBERSHIP */
function checkPlan(plan: RecoveryPlan, directory: Directory, nodeId: NodeId): void {
  const unknown = plan.members.find(({ id }) => findMember(directory, id) === undefined)
  if (unknown === undefined) return
  const known = directory.members.map(({ id }) => id).join(', ')
  throw new HoldfastError('ERR_MEMBERSHIP', `peers.json: expected members that '${nodeId}' knows (${known}), got '${unknown.id}'`, {
    hint: 'a new node is let in afterwards, by a join token',
  })
}

/** Where `log` orders a restore (restore.ts) that `state` has not carried out; null: nowhere. */
export function restoreIn(log: LogStore, state: StateStore): number | null {
  const end = log.lastIndex() + 1
  let from = Math.max(state.meta.applied + 1, log.firstIndex())
  while (from < end) {
    const entries = log.entries(from, end, pageBytes) ?? []
    const order = entries.find((entry) => isRestore(entry))
    if (order !== undefined) return order.index
    if (entries.length === 0) return null
    from += entries.length
  }
  return null
}

/**
 * Who ordered it can't be checked without the keys, and what stands behind it is of the state that it brings: on the state of before it would be a mix
 * that no node ever had, and that nobody could open. @throws ERR_MEMBERSHIP
 */
function checkNoRestore(log: LogStore, state: StateStore): void {
  const index = restoreIn(log, state)
  if (index === null) return
  throw new HoldfastError(
    'ERR_MEMBERSHIP',
    `the first node: expected one that has carried out what its log orders, got one with a snapshot to be restored at index ${index}`,
    {
      hint: 'take one that has carried it out as the first; or start this one without the list and unseal it with the shares of before the restore: it carries out what it knows to be committed; or restore the same snapshot into a new cluster',
    },
  )
}

function directoryOf({ state, formats = releasedFormats }: ForcedOptions): Directory {
  const view = state.view()
  try {
    return readDirectory(view, formats)
  } finally {
    view.release()
  }
}

/** Applies what the log has behind the state. Its order is the cluster's from now on. */
async function applyRest(options: ForcedOptions, before: Directory): Promise<Directory> {
  const { log, state, clusterId, incarnation, formats } = options
  const scope = (): { clusterId: string; incarnation: number } => ({ clusterId, incarnation: before.incarnation || incarnation })
  // Sealed: it notes from where on everything is still to be checked.
  const chain = new CommandChain({ log, state, scope })
  let directory = before
  while (state.meta.applied < log.lastIndex()) {
    const from = state.meta.applied + 1
    const entries = log.entries(from, log.lastIndex() + 1, pageBytes) ?? []
    if (entries.length === 0) throw new HoldfastError('ERR_STORE_CORRUPT', `log: expected entry ${from}, got none`)
    const round = buildRound(entries, state.meta, directory, formats)
    await state.apply(round.ops, { ...round.meta, chain: chain.follow(entries, state.meta) })
    directory = round.directory
  }
  return directory
}

function forcedDirectory(directory: Directory, { members: planned }: RecoveryPlan): Directory {
  const members = planned.flatMap(({ id, clusterAddress, voter }) => {
    const member = findMember(directory, id)
    return member === undefined ? [] : [{ ...member, voter, clusterAddress: clusterAddress ?? member.clusterAddress }]
  })
  const gone = directory.members.map(({ id }) => id).filter((id) => !members.some((member) => member.id === id))
  const sorted = members.toSorted((a, b) => (a.id < b.id ? -1 : 1))
  return { ...directory, members: sorted, removed: [...directory.removed, ...gone.filter((id) => !directory.removed.includes(id))] }
}
