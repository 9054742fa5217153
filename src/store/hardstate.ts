import { Packr } from 'msgpackr'
import { checkVersion } from '#base/formats.ts'
import type { HardState } from '#raft/types.ts'
import type { Disk } from './disk.ts'
import { storeCorrupt } from './errors.ts'
import { openSlots } from './slots.ts'

const packr = new Packr({ useRecords: false, mapsAsObjects: true })
const formatVersion = 1

export interface HardStateFile {
  /** What was last written: term and vote as acknowledged, commit as a hint. Null when nothing was ever written. */
  readonly current: HardState | null
  /** Resolves when durable. @throws ERR_STORE_FAILED */
  write(state: HardState): Promise<void>
}

/** Opens the durable term, vote and commit of a node. @throws ERR_STORE_CORRUPT when neither copy can be trusted, or it is another cluster's; ERR_UPGRADE_REQUIRED when of another version. */
export async function openHardState(disk: Disk, directory: string, clusterId: string): Promise<HardStateFile> {
  const slots = await openSlots(disk, directory, 'hardstate')
  let current = slots.current === null ? null : decode(slots.current.payload, clusterId)
  return {
    get current() {
      return current
    },
    async write(state) {
      await slots.write(packr.pack([formatVersion, clusterId, state.term, state.vote, state.commit]))
      current = state
    },
  }
}

function decode(payload: Uint8Array, clusterId: string): HardState {
  const record: unknown = packr.unpack(payload)
  if (!Array.isArray(record) || !checkVersion('hardstate', formatVersion, record[0]))
    throw storeCorrupt('hardstate: expected a version, got none')
  const [, cluster, term, vote, commit] = record as unknown[]
  if (cluster !== clusterId)
    throw storeCorrupt('hardstate: expected this cluster, got the state of another', 'point this node at its own data folder')
  if (typeof term !== 'number' || typeof commit !== 'number' || !(vote === null || typeof vote === 'string')) {
    throw storeCorrupt('hardstate: expected term, vote and commit, got other types')
  }
  return { term, vote, commit }
}
