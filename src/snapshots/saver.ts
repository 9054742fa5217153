/**
 * Saves this node's state as a snapshot file, and checks files that claim to be of this cluster. On any node that is open: a follower waits for a read index
 * first, so that what it saves has every write that was acknowledged before it was asked.
 *
 * A save holds a view of the state, which keeps what is overwritten meanwhile on the disk: so they are few, and none may last for ever.
 */
import { readBare } from '#barrier/bare.ts'
import type { BarrierControl } from '#barrier/types.ts'
import type { Clock, Timer } from '#base/clock.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import type { Replica } from '#replica/types.ts'
import type { StateStore } from '#store/types.ts'
import { damageOf, type Damage } from './blocks.ts'
import { encodeSnapshotFile, isSealedBy, macKeyLabel, openSnapshotFile } from './file.ts'
import { headerRecords, type SnapshotFileHeader } from './header.ts'

export const saverLimits = {
  /** Saves at a time on one node, of clients and of schedules together. */
  savesMax: 2,
  /** Files being checked at a time. */
  checksMax: 2,
  /** After so long a save is cut off: its client takes no more, or too slowly. */
  saveDurationMsMax: 6 * 3_600_000,
  readIndexMsMax: 10_000,
} as const

/** What a node's state store offers here. */
export type SnapshotSource = Pick<StateStore, 'snapshot' | 'view'>

export interface SaverOptions {
  /** null while this node belongs to no cluster. */
  readonly state: () => SnapshotSource | null
  readonly replica: Pick<Replica, 'nodeId' | 'status' | 'readIndex'>
  readonly barrier: Pick<BarrierControl, 'sealed' | 'derivedKey'>
  readonly clusterName: string | null
  readonly holdfastVersion: string
  readonly clock: Clock
  readonly log: Logger
}

/** A save under way. Whoever has it either reads `chunks` to the end (or leaves the loop), or calls `close`. */
export interface Saving {
  readonly header: SnapshotFileHeader
  /** The file's bytes, pulled as fast as they are taken. Read once. */
  readonly chunks: AsyncIterable<Uint8Array>
  /** Bytes handed out so far. */
  readonly bytes: number
  /** Lets the state go, and ends `chunks` with an error if it is still read. Called again, does nothing. */
  close(): void
}

/** What a check by the key found. */
export type Proof =
  | { readonly state: 'proven'; readonly header: SnapshotFileHeader; readonly sha256: string; readonly bytes: number }
  /** Whole, but not sealed by this cluster's key: of another cluster, or altered by somebody. */
  | { readonly state: 'unproven'; readonly header: SnapshotFileHeader; readonly sha256: string; readonly bytes: number }
  | { readonly state: 'damaged'; readonly damage: Damage; readonly message: string }

export class SnapshotSaver {
  readonly #options: SaverOptions
  readonly #saves = new Set<SavingRun>()
  #checks = 0

  constructor(options: SaverOptions) {
    this.#options = options
  }

  get saving(): number {
    return this.#saves.size
  }

  /** @throws ERR_SEALED; ERR_BUSY; ERR_NO_MAJORITY when no leader confirms it; ERR_STATE_REPAIR or ERR_STORE_CORRUPT while the state is damaged. */
  async save(): Promise<Saving> {
    const { replica, barrier, state, clock } = this.#options
    barrier.derivedKey(macKeyLabel)[Symbol.dispose]() // Sealed: said before anything is done.
    if (this.#saves.size >= saverLimits.savesMax)
      throw busy(`expected at most ${saverLimits.savesMax} saves of a snapshot at a time, got more`)
    const run = new SavingRun(clock, () => this.#saves.delete(run))
    this.#saves.add(run)
    try {
      await this.#confirm()
      const source = state()
      if (source === null) throw new HoldfastError('ERR_NO_LEADER', 'this node has joined no cluster')
      const { repair } = replica.status()
      if (repair !== null)
        throw new HoldfastError('ERR_STATE_REPAIR', `the state of this node is being fetched again: ${repair}`, {
          hint: 'save from another node',
        })
      run.begin(
        source,
        (index, term) => this.#headerOf(source, index, term),
        replica.status().level,
        () => barrier.derivedKey(macKeyLabel),
      )
      return run
    } catch (error) {
      run.close()
      throw error
    }
  }

  async #confirm(): Promise<void> {
    try {
      await this.#options.replica.readIndex(saverLimits.readIndexMsMax)
    } catch (error) {
      if (!isHoldfastError(error, 'ERR_NO_LEADER')) throw error
      throw new HoldfastError('ERR_NO_MAJORITY', 'expected a leader to confirm that this state is the newest, got none', {
        hint: 'a snapshot is never saved of a state that may be old: try again when the cluster has a leader',
        cause: error,
      })
    }
  }

  /** In the same turn as the snapshot is taken, so of the same index: views of one index are one. */
  #headerOf(source: SnapshotSource, index: number, term: number): SnapshotFileHeader {
    const { replica, clock, clusterName, holdfastVersion } = this.#options
    const { clusterId, incarnation, level } = replica.status()
    const view = source.view()
    try {
      const found = headerRecords.map((name) => [name, readBare(view, name)] as const)
      const records = found.filter((entry): entry is readonly [string, Uint8Array] => entry[1] !== undefined)
      return {
        clusterId,
        clusterName,
        incarnation,
        index,
        term,
        createdMs: clock.nowMs(),
        leaderTimeMs: view.meta.leaderTimeMs,
        nodeId: replica.nodeId,
        holdfastVersion,
        formatLevel: level,
        records: Object.fromEntries(records),
      }
    } finally {
      view.release()
    }
  }

  /** Reads `stream` to its end, unless it is damaged before that, and checks it by this cluster's key. @throws ERR_SEALED; ERR_BUSY; ERR_UPGRADE_REQUIRED; what `stream` throws. */
  async check(stream: AsyncIterable<Uint8Array>): Promise<Proof> {
    if (this.#checks >= saverLimits.checksMax)
      throw busy(`expected at most ${saverLimits.checksMax} snapshots to be checked at a time, got more`)
    this.#checks += 1
    try {
      const file = await openSnapshotFile(stream)
      for await (const _ of file.body) continue
      using key = this.#options.barrier.derivedKey(macKeyLabel)
      const seal = file.seal()
      const { sha256, bytes } = seal
      return { state: isSealedBy(seal, key.reveal()) ? 'proven' : 'unproven', header: file.header, sha256, bytes }
    } catch (error) {
      const damage = damageOf(error)
      if (damage === null || !isHoldfastError(error)) throw error
      return { state: 'damaged', damage, message: error.message }
    } finally {
      this.#checks -= 1
    }
  }

  /** This node stops, or was sealed: no save goes on. */
  closeAll(): void {
    for (const run of this.#saves) run.close()
  }
}

const busy = (message: string): HoldfastError =>
  new HoldfastError('ERR_BUSY', message, { hint: 'try again in a moment, or ask another node' })

class SavingRun implements Saving {
  readonly #onClosed: () => void
  readonly #deadline: Timer
  #header: SnapshotFileHeader | null = null
  #chunks: AsyncGenerator<Uint8Array, void, undefined> | null = null
  #release: () => void = () => {}
  #closed = false
  bytes = 0

  constructor(clock: Clock, onClosed: () => void) {
    this.#onClosed = onClosed
    this.#deadline = clock.setTimer(saverLimits.saveDurationMsMax, () => this.close())
  }

  begin(
    source: SnapshotSource,
    headerOf: (index: number, term: number) => SnapshotFileHeader,
    level: number,
    macKey: Parameters<typeof encodeSnapshotFile>[2],
  ): void {
    const snapshot = source.snapshot(level)
    this.#release = () => snapshot.release()
    this.#header = headerOf(snapshot.meta.index, snapshot.meta.term)
    this.#chunks = encodeSnapshotFile(this.#header, snapshot.stream, macKey)
  }

  get header(): SnapshotFileHeader {
    if (this.#header === null) throw new Error('expected a save that has begun')
    return this.#header
  }

  get chunks(): AsyncIterable<Uint8Array> {
    return this.#run()
  }

  async *#run(): AsyncGenerator<Uint8Array, void, undefined> {
    const chunks = this.#chunks
    if (chunks === null) throw new Error('expected a save that has begun')
    try {
      for await (const chunk of chunks) {
        if (this.#closed) throw new HoldfastError('ERR_SHUTTING_DOWN', 'the save was ended before its snapshot was whole')
        this.bytes += chunk.length
        yield chunk
      }
    } finally {
      this.close()
    }
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#deadline.cancel()
    this.#release()
    this.#onClosed()
  }
}
