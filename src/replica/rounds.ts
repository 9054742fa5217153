/** From committed entries to one state batch. Pure: the same entries on the same state give the same batch on every node. */
import { applyMembershipEntry } from '#raft/index.ts'
import { EntryType, type Entry, type Membership } from '#raft/types.ts'
import { checkLevel, releasedFormats, type FormatRange } from '#base/formats.ts'
import type { Op, StateMeta } from '#store/types.ts'
import { decodeCommand } from './command.ts'
import {
  decodeUpdate,
  directoryOp,
  findMember,
  followMembership,
  levelOp,
  updateDirectory,
  type Directory,
  type DirectoryUpdate,
} from './directory.ts'
import { membershipChangeIn } from './entries.ts'

export interface ApplyRound {
  readonly ops: readonly Op[]
  readonly meta: StateMeta
  /** Callers' keys that change, as views into the entries; a key may occur twice. */
  readonly keys: readonly Uint8Array[]
  readonly directory: Directory
  /** Proofs of states that its commands carry. */
  readonly checkpoints: readonly Uint8Array[]
}

/**
 * @throws ERR_UPGRADE_REQUIRED for an entry of a version that this node does not know, or that the cluster was not raised to before it, and for the
 *   entry that raises it beyond `formats`; ERR_STORE_CORRUPT for a malformed one.
 */
export function buildRound(
  entries: readonly Entry[],
  meta: StateMeta,
  directory: Directory,
  formats: FormatRange = releasedFormats,
): ApplyRound {
  const ops: Op[] = []
  const keys: Uint8Array[] = []
  const checkpoints: Uint8Array[] = []
  let { applied, appliedTerm, membership, leaderTimeMs } = meta
  let members = directory
  for (const entry of entries) {
    applied = entry.index
    appliedTerm = entry.term
    if (entry.type === EntryType.membership) {
      membership = applyMembershipEntry(membership, entry.data)
      members = membersAfter(members, entry.data, membership, formats)
    } else if (entry.type === EntryType.command) {
      // Not this node's own maximum: whatever is written in a level follows the entry that raised the cluster to it.
      const command = decodeCommand(entry.data, { min: formats.min, max: members.level })
      for (const { ops: sectionOps } of command.sections) {
        for (const op of sectionOps) {
          ops.push(op)
          keys.push(op.key)
        }
      }
      if (command.checkpoint instanceof Uint8Array) checkpoints.push(command.checkpoint)
      // Only of who is a member still: a leader that had not applied a removal yet may have written this, and would let the removed one in again.
      if (command.directory !== null && isKnown(members, command.directory)) members = updateDirectory(members, command.directory)
      checkLevel(members.level, formats)
      // The clock that TTLs run on never goes back, whatever clock a new leader has.
      leaderTimeMs = Math.max(leaderTimeMs, command.timeMs)
    }
  }
  if (members !== directory) ops.push(directoryOp(members))
  if (members.level !== directory.level) ops.push(levelOp(members.level))
  return { ops, meta: { ...meta, applied, appliedTerm, membership, leaderTimeMs }, keys, directory: members, checkpoints }
}

const isKnown = (directory: Directory, update: DirectoryUpdate): boolean =>
  !('put' in update) || findMember(directory, update.put.id) !== undefined

function membersAfter(directory: Directory, data: Uint8Array, membership: Membership, { min }: FormatRange): Directory {
  const change = membershipChangeIn(data)
  if (change === null) return directory
  return followMembership(directory, decodeUpdate(change.context, { min, max: directory.level }), membership)
}
