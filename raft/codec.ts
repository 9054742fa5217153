/**
 * How a membership change stands in the log. Little and fixed: a version byte, so that a later release refuses instead of guessing;
 * lengths before everything; nothing after the end.
 *
 * version:u8=1 joint:u8 steps:u8 { kind:u8 length:u8 id:utf8 } contextLength:u32be context
 */
import { changeMembership, membersMax, nodeIdBytesMax } from './membership.ts'
import type { Membership, MembershipChange, MembershipStep } from './types.ts'
import { utf8Decode, utf8Encode } from './utf8.ts'

const version = 1
const joints = ['auto', 'explicit', 'leave'] as const
const kinds = ['add-voter', 'add-learner', 'remove'] as const

/** Bounds what one membership entry may weigh, whatever `entryBytesMax` says. */
export const contextBytesMax = 65_536

/**
 * Encodes a change for the log. The result shares nothing with the argument.
 * @throws {RangeError} for an id or context that is too long; `proposeMembership` refuses those with a reason instead.
 */
export function encodeMembershipChange(change: MembershipChange): Uint8Array {
  const problem = changeProblem(change)
  if (problem !== null) throw new RangeError(problem)
  const ids = change.steps.map((step) => utf8Encode(step.node))
  const bytes = new Uint8Array(7 + ids.reduce((sum, id) => sum + 2 + id.length, 0) + change.context.length)
  bytes.set([version, joints.indexOf(change.joint), change.steps.length])
  let at = 3
  for (const [i, step] of change.steps.entries()) {
    const id = ids[i] ?? new Uint8Array()
    bytes.set([kinds.indexOf(step.kind), id.length], at)
    bytes.set(id, at + 2)
    at += 2 + id.length
  }
  new DataView(bytes.buffer).setUint32(at, change.context.length)
  bytes.set(change.context, at + 4)
  return bytes
}

/** Why a change could not be encoded, or null. */
export function changeProblem(change: MembershipChange): string | null {
  if (!joints.includes(change.joint)) return `expected a joint mode of ${joints.join(', ')}`
  if (change.steps.length > membersMax) return `expected at most ${membersMax} steps, got ${change.steps.length}`
  if (change.context.length > contextBytesMax) {
    return `expected a context of at most ${contextBytesMax} bytes, got ${change.context.length}`
  }
  for (const step of change.steps) {
    if (!kinds.includes(step.kind)) return `expected a step of ${kinds.join(', ')}`
    const length = utf8Encode(step.node).length
    if (length === 0 || length > nodeIdBytesMax) return `expected a node id of 1 to ${nodeIdBytesMax} bytes, got ${length}`
  }
  return null
}

/** The change that `data` holds; null when it is malformed or of an unknown version. The context is a copy. */
export function decodeMembershipChange(data: Uint8Array): MembershipChange | null {
  const joint = joints[data[1] ?? 255]
  if (data[0] !== version || joint === undefined || data.length < 7) return null
  const steps: MembershipStep[] = []
  let at = 3
  for (let left = data[2] ?? 0; left > 0; left -= 1) {
    const kind = kinds[data[at] ?? 255]
    const end = at + 2 + (data[at + 1] ?? 0)
    const node = end > data.length ? null : utf8Decode(data.subarray(at + 2, end))
    if (kind === undefined || node === null || node === '') return null
    steps.push({ kind, node })
    at = end
  }
  if (at + 4 > data.length || steps.length > membersMax) return null
  const length = new DataView(data.buffer, data.byteOffset, data.byteLength).getUint32(at)
  if (at + 4 + length !== data.length || length > contextBytesMax) return null
  return { steps, joint, context: data.slice(at + 4) }
}

/**
 * What a driver stores as "membership as of applied": the membership after the entry whose data this is. Total: an entry that
 * cannot be understood or applied changes nothing, on every node alike.
 */
export function applyMembershipEntry(membership: Membership, data: Uint8Array): Membership {
  const change = decodeMembershipChange(data)
  const result = change === null ? null : changeMembership(membership, change)
  return result?.ok === true ? result.membership : membership
}
