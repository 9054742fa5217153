/**
 * The clear record in a restored state that says where it comes from: `core/restored`. Nothing in it is secret.
 *
 * Where the snapshot was another cluster's, that cluster may still run: what falls due in its state, here and there at once, would be ended by both. So
 * leases, engines' jobs and schedules wait here until an operator says that it is gone (decision 12).
 */
import { bareNames } from '#barrier/bare.ts'
import type { BarrierControl } from '#barrier/types.ts'
import type { Clock } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'
import { checkVersion } from '#base/formats.ts'
import type { Logger } from '#base/logger.ts'
import type { Replica } from '#replica/types.ts'

const formatVersion = 1

export interface RestoredRecord {
  readonly restoredMs: number
  readonly byNode: string
  /** Of the file. */
  readonly sha256: string
  /** Where and when the snapshot was saved. */
  readonly clusterId: string
  readonly clusterName: string | null
  readonly incarnation: number
  readonly index: number
  readonly createdMs: number
  /** When an operator said that what is due may be done here; absent: nobody has. */
  readonly confirmedMs?: number
}

export const encodeRestored = (record: RestoredRecord): Uint8Array =>
  new Uint8Array(Buffer.from(JSON.stringify({ version: formatVersion, ...record })))

/** @throws ERR_UPGRADE_REQUIRED, ERR_STORE_CORRUPT */
export function decodeRestored(bytes: Uint8Array): RestoredRecord {
  const { version, ...record } = JSON.parse(Buffer.from(bytes).toString('utf8')) as RestoredRecord & { readonly version: number }
  if (!checkVersion('record of a restore', formatVersion, version))
    throw new HoldfastError('ERR_STORE_CORRUPT', `record of a restore: expected version ${formatVersion}, got none`)
  return record
}

/** Where a restored state is from. */
export type StateOrigin = Pick<RestoredRecord, 'clusterId' | 'clusterName' | 'incarnation' | 'index' | 'createdMs'>

/**
 * What `core/restored` says of a file that `saver` saved and cluster `own` restores; `before` is the record in the file, null where it has none. A cluster that
 * waited when it saved itself still waits for the same cluster: saving and restoring confirm nothing.
 */
export function originOf(saver: StateOrigin, before: RestoredRecord | null, own: string): StateOrigin {
  const waited = before !== null && before.confirmedMs === undefined && before.clusterId !== own
  const { clusterId, clusterName, incarnation, index, createdMs } = saver.clusterId === own && waited ? before : saver
  return { clusterId, clusterName, incarnation, index, createdMs }
}

export interface OriginOptions {
  readonly barrier: Pick<BarrierControl, 'readBare' | 'changeSeal'>
  readonly replica: Pick<Replica, 'status'>
  readonly clock: Clock
  readonly log: Logger
}

/** Where this node's state comes from, and whether anything waits for that. */
export class Origin {
  readonly #options: OriginOptions

  constructor(options: OriginOptions) {
    this.#options = options
  }

  /** null: no snapshot was ever restored. Sealed nodes can tell too. */
  restored(): RestoredRecord | null {
    const bytes = this.#options.barrier.readBare(bareNames.restored)
    return bytes === null ? null : decodeRestored(bytes)
  }

  /** Whether what reaches outside must not be done: the state is another cluster's, and nobody has said that it is this one's now. */
  waits(): boolean {
    const record = this.restored()
    return record !== null && record.confirmedMs === undefined && record.clusterId !== this.#options.replica.status().clusterId
  }

  /** From now on what is due is done here. Leader only. @throws ERR_BAD_REQUEST when nothing waits; and as `changeSeal`. */
  async confirm(): Promise<void> {
    const { barrier, clock, log } = this.#options
    const found = barrier.readBare(bareNames.restored)
    if (found === null || !this.waits())
      throw new HoldfastError('ERR_BAD_REQUEST', 'expected a restored snapshot of another cluster, whose leases and jobs wait, got none', {
        hint: 'sys/storage/raft/configuration says what was restored last',
      })
    const record = encodeRestored({ ...decodeRestored(found), confirmedMs: clock.nowMs() })
    await barrier.changeSeal({ records: { [bareNames.restored]: record }, expected: { [bareNames.restored]: found } })
    log.warn({}, "leases and jobs of the restored snapshot begin: an operator has said that the snapshot's own cluster is gone")
  }
}
