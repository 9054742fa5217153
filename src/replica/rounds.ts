/** From committed entries to one state batch. Pure: the same entries on the same state give the same batch on every node. */
import { applyMembershipEntry } from '#raft/index.ts'
import { EntryType, type Entry, type Membership } from '#raft/types.ts'
import { decodeMembershipChange } from '#raft/index.ts'
import type { Op, StateMeta } from '#store/types.ts'
import { decodeCommand } from './command.ts'
import { decodeUpdate, directoryOp, followMembership, updateDirectory, type Directory } from './directory.ts'

export interface ApplyRound {
  readonly ops: readonly Op[]
  readonly meta: StateMeta
  /** Callers' keys that change, as views into the entries; a key may occur twice. */
  readonly keys: readonly Uint8Array[]
  readonly directory: Directory
}

/** @throws ERR_STORE_CORRUPT for a command of a version that this node does not know. */
export function buildRound(entries: readonly Entry[], meta: StateMeta, directory: Directory): ApplyRound {
  const ops: Op[] = []
  const keys: Uint8Array[] = []
  let { applied, appliedTerm, membership, leaderTimeMs } = meta
  let members = directory
  for (const entry of entries) {
    applied = entry.index
    appliedTerm = entry.term
    if (entry.type === EntryType.membership) {
      membership = applyMembershipEntry(membership, entry.data)
      members = membersAfter(members, entry.data, membership)
    } else if (entry.type === EntryType.command) {
      const command = decodeCommand(entry.data)
      for (const { ops: sectionOps } of command.sections) {
        for (const op of sectionOps) {
          ops.push(op)
          keys.push(op.key)
        }
      }
      if (command.directory !== null) members = updateDirectory(members, command.directory)
      // The clock that TTLs run on never goes back, whatever clock a new leader has.
      leaderTimeMs = Math.max(leaderTimeMs, command.timeMs)
    }
  }
  if (members !== directory) ops.push(directoryOp(members))
  return { ops, meta: { ...meta, applied, appliedTerm, membership, leaderTimeMs }, keys, directory: members }
}

function membersAfter(directory: Directory, data: Uint8Array, membership: Membership): Directory {
  const change = decodeMembershipChange(data)
  return change === null ? directory : followMembership(directory, decodeUpdate(change.context), membership)
}
