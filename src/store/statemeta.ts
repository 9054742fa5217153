import { crc32c } from '@node-rs/crc32'
import { Packr } from 'msgpackr'
import type { Membership } from '#raft/types.ts'
import { checkVersion } from '#base/formats.ts'
import { storeCorrupt } from './errors.ts'
import type { StateMeta } from './types.ts'

const packr = new Packr({ useRecords: false, mapsAsObjects: true })
/** From version 3 on each value beside it has its checksum (checked.ts). */
const formatVersion = 3
const nothing = new Uint8Array(0)

export const emptyMembership: Membership = { voters: [], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false }
export const emptyMeta: StateMeta = {
  applied: 0,
  appliedTerm: 0,
  membership: emptyMembership,
  leaderTimeMs: 0,
  chain: nothing,
  digest: nothing,
}

/** The record that lies beside the data and changes with it: msgpack, then its crc32c. */
export function encodeMeta(clusterId: string, meta: StateMeta): Uint8Array {
  const { applied, appliedTerm, membership, leaderTimeMs, chain, digest } = meta
  const packed = packr.pack([formatVersion, clusterId, applied, appliedTerm, membershipRow(membership), leaderTimeMs, chain, digest])
  const out = Buffer.allocUnsafe(packed.length + 4)
  out.set(packed, 0)
  out.writeUInt32BE(crc32c(packed), packed.length)
  return out
}

/** @throws ERR_STORE_CORRUPT when damaged or another cluster's, ERR_UPGRADE_REQUIRED when of another version. */
export function decodeMeta(clusterId: string, value: Uint8Array): StateMeta {
  const bytes = Buffer.from(value)
  const packed = bytes.subarray(0, Math.max(0, bytes.length - 4))
  if (bytes.length < 5 || crc32c(packed) !== bytes.readUInt32BE(packed.length))
    throw storeCorrupt('state: expected a matching checksum of its meta record, got another')
  const record: unknown = packr.unpack(packed)
  if (!Array.isArray(record) || !checkVersion('state', formatVersion, record[0])) throw storeCorrupt('state: expected a version, got none')
  const [, cluster, applied, appliedTerm, membership, leaderTimeMs, chain, digest] = record as unknown[]
  if (cluster !== clusterId)
    throw storeCorrupt('state: expected this cluster, got the state of another', 'point this node at its own data folder')
  if (typeof applied !== 'number' || typeof appliedTerm !== 'number' || typeof leaderTimeMs !== 'number') {
    throw storeCorrupt('state: expected numbers in its meta record, got other types')
  }
  if (!(chain instanceof Uint8Array) || !(digest instanceof Uint8Array))
    throw storeCorrupt('state: expected bytes in its meta record, got other types')
  return {
    applied,
    appliedTerm,
    membership: membershipFrom(membership),
    leaderTimeMs,
    chain: Uint8Array.from(chain),
    digest: Uint8Array.from(digest),
  }
}

function membershipRow(membership: Membership): unknown[] {
  return [membership.voters, membership.votersOutgoing, membership.learners, membership.learnersNext, membership.autoLeave]
}

function membershipFrom(row: unknown): Membership {
  const lists = Array.isArray(row) ? row.slice(0, 4) : []
  if (lists.length !== 4 || !lists.every((list) => Array.isArray(list) && list.every((id) => typeof id === 'string'))) {
    throw storeCorrupt('state: expected a membership in its meta record, got another type')
  }
  const [voters, votersOutgoing, learners, learnersNext] = lists as [string[], string[], string[], string[]]
  return { voters, votersOutgoing, learners, learnersNext, autoLeave: (row as unknown[])[4] === true }
}
