/**
 * Who the members are and where they listen: replicated in the clear beside the data, under a key that no caller can use, and changed only in the
 * batch of the entry that carries the change. Raft's own membership (who votes) lies in the state's meta record; this says how to reach them.
 */
import { crc32c } from '@node-rs/crc32'
import { Packr } from 'msgpackr'
import { HoldfastError } from '#base/errors.ts'
import { checkLevel, firstLevel, laidOut, levelOf, releasedFormats, versionAt, type FormatRange } from '#base/formats.ts'
import type { Membership, NodeId } from '#raft/types.ts'
import type { Op, StateView } from '#store/types.ts'
import type { Member } from './types.ts'

const packr = new Packr({ useRecords: false, mapsAsObjects: true })
const updateVersion = 1
/** Of the stored record: msgpack, then its crc32c. LevelDB may return a wrong value, and this one, unlike a caller's, no cipher proves. */
const recordVersion = 2
/** Reserved for this room: 0x08 to 0x0f. Callers' keys begin at 0x10. */
export const firstCallerKeyByte = 0x10
const directoryKey = new Uint8Array([0x08])
/**
 * The cluster's level: version 1, the level (4 bytes), crc32c of both. This format never changes: it is what tells a node, before it reads anything
 * else, whether it understands the rest. Absent: level 1.
 */
const levelKey = new Uint8Array([0x09])
const levelVersion = 1
const removedMax = 1_000
const textBytesMax = 1_024

export interface Directory {
  readonly incarnation: number
  /** The format level of the cluster: everything replicated or sent is written as it says. Never lowered. */
  readonly level: number
  readonly members: readonly Member[]
  /** Ids that were removed: a new disk means a new id, so none comes back. The newest thousand. */
  readonly removed: readonly NodeId[]
}

export type DirectoryUpdate = { readonly put: Member } | { readonly remove: NodeId } | { readonly level: number }

export const emptyDirectory: Directory = { incarnation: 0, level: firstLevel, members: [], removed: [] }

export function findMember(directory: Directory, id: NodeId): Member | undefined {
  return directory.members.find((member) => member.id === id)
}

/** The directory after `update`. */
export function updateDirectory(directory: Directory, update: DirectoryUpdate): Directory {
  if ('level' in update) return { ...directory, level: Math.max(directory.level, update.level) }
  const id = 'put' in update ? update.put.id : update.remove
  const others = directory.members.filter((member) => member.id !== id)
  if ('put' in update) {
    const members = [...others, update.put].sort((a, b) => (a.id < b.id ? -1 : 1))
    return { ...directory, members }
  }
  const removed = directory.removed.includes(id) ? directory.removed : [...directory.removed, id].slice(-removedMax)
  return { ...directory, members: others, removed }
}

/** What a membership entry's context changes, given the membership after it: only what agrees with who really is a member now. */
export function followMembership(directory: Directory, update: DirectoryUpdate | null, membership: Membership): Directory {
  if (update === null || 'level' in update) return directory
  const id = 'put' in update ? update.put.id : update.remove
  const lists = [membership.voters, membership.votersOutgoing, membership.learners, membership.learnersNext]
  const isMember = lists.some((list) => list.includes(id))
  // The core may have refused the change (it was invalid by the time it was applied): then its context says nothing either.
  return isMember === 'put' in update ? updateDirectory(directory, update) : directory
}

/** The directory as it is stored at its own level. */
export function directoryOp(directory: Directory): Op {
  const { incarnation, level, members, removed } = directory
  const packed = packr.pack([versionAt(recordVersion, level), ...laidOut([incarnation, members.map(memberRow), removed], level)])
  const value = Buffer.allocUnsafe(packed.length + 4)
  value.set(packed, 0)
  value.writeUInt32BE(crc32c(packed), packed.length)
  return { key: directoryKey, value }
}

export function levelOp(level: number): Op {
  const value = Buffer.alloc(9)
  value[0] = levelVersion
  value.writeUInt32BE(level, 1)
  value.writeUInt32BE(crc32c(value.subarray(0, 5)), 5)
  return { key: levelKey, value }
}

/** The cluster's level as this state has it; null when it says nothing of it. @throws ERR_STORE_CORRUPT */
function readLevel(view: StateView): number | null {
  const value = view.get(levelKey)
  if (value === undefined) return null
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  if (bytes.length !== 9 || bytes[0] !== levelVersion || crc32c(bytes.subarray(0, 5)) !== bytes.readUInt32BE(5))
    throw corrupt('expected a format level with a matching checksum')
  return bytes.readUInt32BE(1)
}

/**
 * The directory in `view`; empty when none was written yet.
 * @throws ERR_UPGRADE_REQUIRED when the cluster is at a level outside `formats`; ERR_STORE_CORRUPT
 */
export function readDirectory(view: StateView, formats: FormatRange): Directory {
  const stored = readLevel(view)
  const value = view.get(directoryKey)
  // A node that has no state yet: it will be told.
  if (stored === null && value === undefined) return { ...emptyDirectory, level: formats.min }
  const clusterLevel = stored ?? firstLevel
  checkLevel(clusterLevel, formats)
  if (value === undefined) throw corrupt('expected members beside a format level')
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  const packed = bytes.subarray(0, Math.max(0, bytes.length - 4))
  if (bytes.length < 5 || crc32c(packed) !== bytes.readUInt32BE(packed.length)) throw corrupt('expected a matching checksum')
  const record = unpack(packed)
  const level = Array.isArray(record) ? levelOf('member directory', recordVersion, record[0], formats) : null
  if (level !== clusterLevel) throw corrupt(`expected version ${versionAt(recordVersion, clusterLevel)}`)
  const [incarnation, rows, removed] = laidOut((record as unknown[]).slice(1), level)
  if (typeof incarnation !== 'number' || !Array.isArray(rows) || !Array.isArray(removed)) throw corrupt('expected members')
  const members = rows.map(memberFrom)
  if (members.includes(null)) throw corrupt('expected member records')
  return {
    incarnation,
    level,
    members: members.filter((member) => member !== null),
    removed: removed.filter((id): id is string => typeof id === 'string'),
  }
}

/** An update as it travels in a membership entry's context or in a command. */
export function encodeUpdate(update: DirectoryUpdate, level: number = firstLevel): Uint8Array {
  const put = 'put' in update ? memberRow(update.put) : null
  const remove = 'remove' in update ? update.remove : null
  const raise = 'level' in update ? update.level : null
  return packr.pack([versionAt(updateVersion, level), ...laidOut([put, remove, raise], level)])
}

/**
 * Null for what is empty or malformed: then the entry says nothing about the directory, on every node alike.
 * @throws ERR_UPGRADE_REQUIRED for a version outside `formats`: another release would read something there.
 */
export function decodeUpdate(bytes: Uint8Array, formats: FormatRange = releasedFormats): DirectoryUpdate | null {
  if (bytes.length === 0) return null
  const record = unpack(bytes)
  const level = Array.isArray(record) ? levelOf('member update', updateVersion, record[0], formats) : null
  if (level === null) return null
  const [row, remove, raise] = laidOut((record as unknown[]).slice(1), level)
  if (typeof raise === 'number' && Number.isSafeInteger(raise) && raise >= firstLevel) return { level: raise }
  if (typeof remove === 'string') return { remove }
  const put = memberFrom(row)
  return put === null ? null : { put }
}

export function memberRow(member: Member): unknown[] {
  return [member.id, member.clusterAddress, member.apiAddress, member.fingerprint, member.voter]
}

export function memberFrom(row: unknown): Member | null {
  if (!Array.isArray(row)) return null
  const [id, clusterAddress, apiAddress, fingerprint, voter] = row as unknown[]
  const texts = [id, clusterAddress, apiAddress, fingerprint]
  if (!texts.every((each): each is string => typeof each === 'string' && each.length <= textBytesMax)) return null
  if (typeof voter !== 'boolean' || id === '') return null
  return {
    id: id as string,
    clusterAddress: clusterAddress as string,
    apiAddress: apiAddress as string,
    fingerprint: fingerprint as string,
    voter,
  }
}

function unpack(bytes: Uint8Array): unknown {
  try {
    return packr.unpack(bytes)
  } catch {
    return null
  }
}

function corrupt(expected: string): HoldfastError {
  return new HoldfastError('ERR_STORE_CORRUPT', `member directory: ${expected}, got something else`, {
    hint: 'this folder was written by a newer version, or is damaged: keep it, and let a node with a new id join',
  })
}
