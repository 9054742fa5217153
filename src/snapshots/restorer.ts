/**
 * Restores a snapshot file: on the leader, into the cluster that it leads. The file is looked at as it comes and stored beside the state; nothing is replaced
 * before all of it was found right (docs/internals/snapshot-restore.md).
 */
import { bareKey, bareNames } from '#barrier/bare.ts'
import type { BarrierControl } from '#barrier/types.ts'
import type { Clock } from '#base/clock.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import { formatRfc3339 } from '#base/rfc3339.ts'
import type { StartedReplica } from '#replica/index.ts'
import type { Replica } from '#replica/types.ts'
import { parseSealConfig } from '#seal/config.ts'
import type { SealConfig, SealManager } from '#seal/types.ts'
import type { StagedState } from '#store/types.ts'
import { damaged } from './blocks.ts'
import { isSealedBy, macKeyLabel, openSnapshotFile, type OpenedSnapshotFile } from './file.ts'
import { sealOf, type SnapshotFileHeader } from './header.ts'
import { decodeRestored, encodeRestored, originOf, type StateOrigin } from './restored.ts'

export interface RestorerOptions {
  /** null while this node belongs to no cluster. */
  readonly target: () => Pick<StartedReplica, 'stage' | 'discard' | 'restore'> | null
  readonly replica: Pick<Replica, 'nodeId' | 'status'>
  readonly barrier: Pick<BarrierControl, 'sealed' | 'derivedKey' | 'opensKeyring' | 'rotate'>
  readonly seal: Pick<SealManager, 'records'>
  readonly clock: Clock
  readonly log: Logger
}

export interface Restored {
  readonly header: SnapshotFileHeader
  readonly index: number
  readonly incarnation: number
  /** Nodes that had stored it before it took the state's place. */
  readonly stored: readonly string[]
  readonly bytes: number
  readonly sha256: string
  /** This node, by the snapshot's seal. */
  readonly sealed: boolean
  readonly warnings: readonly string[]
}

export class SnapshotRestorer {
  readonly #options: RestorerOptions
  #busy = false

  constructor(options: RestorerOptions) {
    this.#options = options
  }

  /**
   * Replaces the cluster's whole state by that of the file. `force`: also where the file is sealed otherwise than the cluster is, or its MAC is not ours.
   * @throws ERR_SEALED; ERR_NOT_LEADER; ERR_BUSY; ERR_SNAPSHOT_DAMAGED; ERR_SNAPSHOT_FOREIGN; ERR_UPGRADE_REQUIRED; ERR_NO_MAJORITY; what `stream` throws:
   *   nothing was replaced. ERR_OUTCOME_UNKNOWN: it may be.
   */
  async restore(stream: AsyncIterable<Uint8Array>, { force }: { readonly force: boolean }): Promise<Restored> {
    const { barrier, target } = this.#options
    barrier.derivedKey(macKeyLabel)[Symbol.dispose]() // Sealed: said before anything is done.
    this.#expectLeader()
    const replica = target()
    if (replica === null) throw new HoldfastError('ERR_NO_LEADER', 'this node has joined no cluster')
    if (this.#busy) throw new HoldfastError('ERR_BUSY', 'another snapshot is being restored', { hint: 'wait until that has ended' })
    this.#busy = true
    try {
      return await this.#restore(replica, await openSnapshotFile(stream), force)
    } finally {
      this.#busy = false
    }
  }

  async #restore(replica: NonNullable<ReturnType<RestorerOptions['target']>>, file: OpenedSnapshotFile, force: boolean): Promise<Restored> {
    const { barrier, clock, log } = this.#options
    const { header } = file
    const origin = { cluster: header.clusterId, saved: formatRfc3339(header.createdMs), index: header.index, force }
    try {
      this.#expectLevel(header)
      if (!force) this.#expectSeal(header)
    } catch (error) {
      await file.close()
      throw error
    }
    log.warn(origin, 'a snapshot is being read, to be restored')
    const { staged, from } = await this.#stage(replica, file, force)
    const { sha256, bytes } = file.seal()
    try {
      log.warn({ ...origin, pairs: staged.pairs, bytes }, 'the snapshot is whole: the other nodes store it')
      const timeMs = Math.max(clock.nowMs(), header.leaderTimeMs)
      const result = await replica.restore(staged, { incarnation: header.incarnation, timeMs })
      log.warn({ ...origin, sha256, ...result }, 'a snapshot was restored: the cluster begins a new incarnation')
      await this.#rotate()
      return { header, ...result, bytes, sha256, sealed: barrier.sealed, warnings: this.#warnings(header, from) }
    } catch (error) {
      // Surely not called for: it is in nobody's way, but takes room.
      if (!isHoldfastError(error, 'ERR_OUTCOME_UNKNOWN')) await replica.discard(staged.id)
      throw error
    }
  }

  async #stage(
    replica: NonNullable<ReturnType<RestorerOptions['target']>>,
    file: OpenedSnapshotFile,
    force: boolean,
  ): Promise<{ readonly staged: StagedState; readonly from: StateOrigin }> {
    const { header } = file
    const own = this.#options.replica.status().clusterId
    let from: StateOrigin = header
    let before: Uint8Array | null = null
    const expected = new Map(Object.entries(header.records).map(([name, value]) => [latin1(bareKey(name)), value]))
    const restoredKey = bareKey(bareNames.restored)
    const leaveOut = (key: Uint8Array, value: Uint8Array): boolean => {
      const record = expected.get(latin1(key))
      if (record !== undefined && Buffer.compare(record, value) === 0) expected.delete(latin1(key))
      if (latin1(key) !== latin1(restoredKey)) return false
      before = Uint8Array.from(value)
      return true
    }
    const add = (): { key: Uint8Array; value: Uint8Array }[] => {
      // What was looked at before the body came must be what is restored.
      if (expected.size > 0) throw damaged(0, file.position, 'expected the records of its header in the body, got none')
      if (!force) this.#expectMac(file)
      from = originOf(header, before === null ? null : decodeRestored(before), own)
      return [{ key: restoredKey, value: this.#record(file, from) }]
    }
    try {
      return { staged: await replica.stage(file.body, { leaveOut, add }), from }
    } catch (error) {
      // Within blocks that are as they were written: made so, or put together by somebody.
      if (isHoldfastError(error, 'ERR_FRAME') || isHoldfastError(error, 'ERR_STORE_CORRUPT')) throw damaged(0, file.position, error.message)
      throw error
    }
  }

  /** What was restored may be so elsewhere too, under the same keys: from here on this cluster seals under one that no other has. */
  async #rotate(): Promise<void> {
    const { barrier, log } = this.#options
    if (barrier.sealed) return
    try {
      await barrier.rotate('a snapshot was restored')
    } catch (error) {
      log.warn(
        { error: isHoldfastError(error) ? error.message : 'unknown' },
        'the keyring was not rotated after the restore: do so with operator rotate',
      )
    }
  }

  #expectLeader(): void {
    const { role, ready, leaderMember } = this.#options.replica.status()
    if (role === 'leader' && ready) return
    throw new HoldfastError(
      'ERR_NOT_LEADER',
      'a snapshot is restored by the leader, expected to be asked as that, got asked as another node',
      {
        hint: leaderMember === null ? 'wait until the cluster has a leader' : `ask ${leaderMember.apiAddress}`,
      },
    )
  }

  #expectLevel({ formatLevel }: SnapshotFileHeader): void {
    const { level } = this.#options.replica.status()
    if (formatLevel <= level) return
    throw new HoldfastError('ERR_UPGRADE_REQUIRED', `snapshot: expected format level ${level} or below, got ${formatLevel}`, {
      hint: 'upgrade all nodes to the release that saved it first',
    })
  }

  /** @throws ERR_SNAPSHOT_FOREIGN, in words */
  #expectSeal(header: SnapshotFileHeader): void {
    const records = this.#options.seal.records()
    const theirs = sealOf(header)
    const keyring = header.records[bareNames.keyring]
    if (theirs === null || keyring === undefined)
      throw foreign('was saved before its cluster was initialised: there is nothing in it that could be opened', 'restore another snapshot')
    if (records === null) throw foreign('expected an initialised cluster to compare its seal with, got none', needs(theirs, header))
    const ours = parseSealConfig(records.sealConfig)
    const own = header.clusterId === this.#options.replica.status().clusterId
    const whose = own ? 'this cluster' : `cluster ${header.clusterName ?? ''}${header.clusterName === null ? '' : ' '}(${header.clusterId})`
    if (!this.#options.barrier.opensKeyring(keyring)) {
      const why = own
        ? `is of this cluster as it was sealed on ${formatRfc3339(header.createdMs)}, by ${sealWords(theirs)}: its root key has been replaced since, and the present one does not open it`
        : `is of ${whose}, sealed by ${sealWords(theirs)}: the keys of this cluster (${sealWords(ours)}) do not open it`
      throw foreign(why, needs(theirs, header))
    }
    if (saltOf(ours) !== saltOf(theirs) || ours.type !== theirs.type)
      throw foreign(
        `is of ${whose}, whose shares or seal were changed since: expected the present ${sealWords(ours)}, got ${sealWords(theirs)} of then`,
        needs(theirs, header),
      )
  }

  #expectMac(file: OpenedSnapshotFile): void {
    using key = this.#options.barrier.derivedKey(macKeyLabel)
    if (isSealedBy(file.seal(), key.reveal())) return
    throw foreign(
      "is whole, but its MAC is not one of this cluster's keys: somebody has altered it, or put it together",
      'take another copy, or an older snapshot. With -force it is restored all the same: whoever has made it chooses what the state is',
    )
  }

  #record(file: OpenedSnapshotFile, from: StateOrigin): Uint8Array {
    const { clock, replica } = this.#options
    return encodeRestored({ restoredMs: clock.nowMs(), byNode: replica.nodeId, sha256: file.seal().sha256, ...from })
  }

  #warnings(header: SnapshotFileHeader, from: StateOrigin): string[] {
    const seal = sealOf(header)
    const foreign = from.clusterId !== this.#options.replica.status().clusterId
    return [
      ...(!this.#options.barrier.sealed || seal === null ? [] : [`the cluster is sealed by the snapshot's seal: ${needs(seal, header)}`]),
      ...(foreign
        ? [
            "leases and jobs of the snapshot wait: once the cluster that saved it is gone for good, 'operator raft snapshot confirm' lets them begin",
          ]
        : []),
    ]
  }
}

const latin1 = (key: Uint8Array): string => Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1')

const saltOf = (seal: SealConfig): string | null => seal.secret?.salt ?? null

function sealWords(seal: SealConfig): string {
  return seal.secret === null ? seal.type : `${seal.secret.threshold} of ${seal.secret.shares} shares`
}

/** What opens the cluster once it was restored. */
function needs(seal: SealConfig, { createdMs }: SnapshotFileHeader): string {
  const then = formatRfc3339(createdMs)
  return seal.secret === null
    ? `restored with -force, it takes the ${seal.type} seal as it was on ${then}: each node must be configured with it, and opens by itself`
    : `restored with -force, it takes ${seal.secret.threshold} of the ${seal.secret.shares} unseal shares as they were on ${then}, and its tokens: those of now open nothing any more`
}

const foreign = (what: string, hint: string): HoldfastError => new HoldfastError('ERR_SNAPSHOT_FOREIGN', `the snapshot ${what}`, { hint })
