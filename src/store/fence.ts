/**
 * A node whose log lost something that it may have acknowledged (salvage.ts) must not vote as if it had never said so: with its vote a candidate could
 * win that lacks an entry which this node had helped to commit. Nor can it know how far it had acknowledged: that is what was lost.
 *
 * So the loss is noted here, durably and before anything is cut off, with a term that this node had never taken part in. Until its log holds an entry of
 * that term or a later one it gives no vote and does not campaign. A leader of such a term was elected without this node, by a majority that shares a node
 * with every majority that this one was ever counted in, itself left out: so that leader's log holds all that was committed with this node's
 * help, and whoever holds an entry of that leader's holds all that comes before it. The rest of raft's proof is unchanged from there.
 *
 * Rejected: waiting for the mark of `acknowledged`. It is a lower bound, and lags.
 */
import { Packr } from 'msgpackr'
import { checkVersion } from '#base/formats.ts'
import type { Disk } from './disk.ts'
import { storeCorrupt } from './errors.ts'
import { openSlots } from './slots.ts'

const packr = new Packr({ useRecords: false, mapsAsObjects: true })
const formatVersion = 1
const reasonCharactersMax = 500
export const fenceName = 'fence'

export interface Fence {
  /** No vote before the log holds an entry of this term, or of a later one. */
  readonly term: number
  /** What was wrong with the log. */
  readonly reason: string
}

export interface FenceFile {
  /** Null: nothing was lost, or all of it is back. */
  readonly current: Fence | null
  /** Resolves when durable. @throws ERR_STORE_FAILED */
  write(fence: Fence | null): Promise<void>
}

/** Opens the note. @throws ERR_STORE_CORRUPT when neither copy can be trusted: this node may have lost what it acknowledged; ERR_UPGRADE_REQUIRED when of another version. */
export async function openFence(disk: Disk, directory: string): Promise<FenceFile> {
  const slots = await openSlots(disk, directory, fenceName)
  let current = slots.current === null ? null : decodeFence(slots.current.payload)
  return {
    get current() {
      return current
    },
    async write(fence) {
      await slots.write(encodeFence(fence))
      current = fence
    },
  }
}

export function encodeFence(fence: Fence | null): Uint8Array {
  return packr.pack([formatVersion, fence?.term ?? 0, fence?.reason.slice(0, reasonCharactersMax) ?? ''])
}

/** @throws ERR_STORE_CORRUPT, ERR_UPGRADE_REQUIRED */
export function decodeFence(payload: Uint8Array): Fence | null {
  const record: unknown = packr.unpack(payload)
  if (!Array.isArray(record) || !checkVersion(fenceName, formatVersion, record[0]))
    throw storeCorrupt('fence: expected a version, got none')
  const [, term, reason] = record as unknown[]
  if (typeof term !== 'number' || typeof reason !== 'string') throw storeCorrupt('fence: expected a term and a reason, got other types')
  return term === 0 ? null : { term, reason }
}
