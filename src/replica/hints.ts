/**
 * How a node finds its way back after the members changed while it was away. Its transport accepts only the members that it knows; if the leader is
 * one that joined later, neither reaches the other, and nothing replicates. So whoever is asked for a vote by a member that has applied less than
 * itself answers with the members that it knows. A learner asks for no votes: without a leader it tells those whom it knows of the members that it
 * knows, and whoever knows better answers in the same way. The asker only uses them to be reachable (its transport's list), and only from a peer
 * that it has accepted: what its state says about members comes with the log, as ever.
 */
import type { NodeId } from '#raft/types.ts'
import { memberFrom, memberRow } from './directory.ts'
import type { Member } from './types.ts'

const kind = 'members'
const membersMax = 128

export interface MembersHint {
  /** Up to where the sender had applied. */
  readonly index: number
  readonly members: readonly Member[]
}

export function encodeHint(hint: MembersHint): unknown {
  return { version: 1, kind, index: hint.index, members: hint.members.map(memberRow) }
}

/** The hint in a decoded message; null when it is something else, or malformed. */
export function hintFrom(value: unknown): MembersHint | null {
  if (typeof value !== 'object' || value === null) return null
  const fields = value as Record<string, unknown>
  const { index, members: rows } = fields
  if (fields['version'] !== 1 || fields['kind'] !== kind || typeof index !== 'number' || !Number.isSafeInteger(index)) return null
  if (!Array.isArray(rows) || rows.length > membersMax) return null
  const members = rows.map((row: unknown) => memberFrom(row)).filter((member) => member !== null)
  return members.length === rows.length ? { index, members } : null
}

/** Is `hint` worth following for `self`, which has applied `applied`? It must name it: who was removed is told nothing of use. */
export function isUseful(hint: MembersHint, self: NodeId, applied: number): boolean {
  return hint.index > applied && hint.members.some((member) => member.id === self)
}

/** Whom to reach after `hint`: those that it names, and its sender still, who may have been removed itself and be the only one that this node knows. */
export function reachable(hint: MembersHint, sender: Member): readonly Member[] {
  return hint.members.some(({ id }) => id === sender.id) ? hint.members : [...hint.members, sender]
}
