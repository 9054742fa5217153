/**
 * The state machine of one node in LevelDB: ciphertext pairs, and one meta record (how far it is applied) that changes in the same batch, so that no
 * entry is ever applied twice or skipped after a crash. Batches are not fsynced: what a crash takes is applied again from the log, as long as `sync`
 * comes before the log is compacted.
 */
import { join } from 'node:path'
import { assert } from '#base/assert.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { firstLevel, releasedFormats, type FormatRange } from '#base/formats.ts'
import { silentLogger, type Logger } from '#base/logger.ts'
import type { SnapshotMeta } from '#raft/types.ts'
import { nodeDisk, type Disk } from './disk.ts'
import { storeCorrupt, storeFailed } from './errors.ts'
import { CheckedLevel } from './checked.ts'
import { syncDirectory, syncLevelFiles } from './files.ts'
import { ElementCache, expand, StateDigest, type Element } from './digest.ts'
import { Generations } from './generations.ts'
import { openLevel, type Level, type LevelFactory, type LevelOp } from './level.ts'
import { checkLevelFiles, checkLiveTables } from './levelcheck.ts'
import { Mutex } from './mutex.ts'
import { decodeMeta, emptyMeta, encodeMeta } from './statemeta.ts'
import { decodeSnapshot, encodeSnapshot, refuseStream, type Pair } from './stream.ts'
import { decodeStaged, encodeStaged } from './staged.ts'
import type { Op, ScrubResult, StagedState, StageOptions, StateMeta, StateStore, StateView } from './types.ts'
import { SharedView } from './view.ts'

export interface StateStoreOptions {
  /** The node's data folder; the state takes `state/` in it. Created if missing. */
  readonly directory: string
  readonly clusterId: string
  readonly logger?: Logger
  /** LevelDB's compression of its blocks; on by default (ciphertext hardly shrinks, hidden names do). */
  readonly compression?: boolean
  readonly cacheBytes?: number
  /** Lets worker threads of this process open the same database. */
  readonly multithreading?: boolean
  /**
   * A damaged state does not keep the store from opening: it opens empty, says so in `damage`, and waits for a snapshot. Only for a node whose peers can
   * send one.
   */
  readonly repairable?: boolean
  readonly disk?: Disk
  /** In place of the disk's own. */
  readonly level?: LevelFactory
}

const repairHint = 'it is fetched again from the other nodes; if it recurs, look into the system log for errors of the disk'
const metaKey = new Uint8Array([0x00])
/** Keys of the store itself lie below this. */
export const firstOpenKeyByte = 0x08
const firstDataKey = new Uint8Array([firstOpenKeyByte])
/** Above every key that a caller may use. */
const endOfKeys = new Uint8Array(64).fill(0xff)
const cacheBytesDefault = 64 * 1024 * 1024
const receiveBatchBytes = 4 * 1024 * 1024
/** 2 KiB each. */
const elementsCachedMax = 4_096
/** After so many values read and expanded in one go, others get the event loop: half a millisecond. */
const readsPerTurnMax = 64

/** Opens (or creates, empty) the state in `options.directory`. @throws ERR_STORE_CORRUPT, ERR_STORE_FAILED */
export async function openStateStore(options: StateStoreOptions): Promise<StateStore> {
  const disk = options.disk ?? nodeDisk
  try {
    await disk.mkdir(options.directory, { recursive: true, mode: 0o700 })
    const generations = await Generations.open(disk, join(options.directory, 'state'), options.repairable ?? false)
    await syncDirectory(disk, options.directory)
    return await LevelStateStore.open({ ...options, unreadable: { tell: () => {} } }, generations)
  } catch (error) {
    if (isHoldfastError(error)) throw error
    throw storeFailed('state: could not be opened', error)
  }
}

type Opening = StateStoreOptions & { readonly unreadable: { tell: (reason: HoldfastError) => void } }

/** One open LevelDB folder, closed and (if replaced) removed when its last view has gone. */
interface Generation {
  readonly number: number
  readonly level: Level
  views: number
  replaced: boolean
}

class LevelStateStore implements StateStore {
  readonly #options: Opening
  readonly #disk: Disk
  readonly #generations: Generations
  readonly #logger: Logger
  readonly #writes = new Mutex()
  #generation: Generation
  #meta: StateMeta
  /** The view that new callers share; null until somebody asks after an apply. */
  #current: SharedView | null = null
  readonly #views = new Set<SharedView>()
  readonly #elements = new ElementCache(elementsCachedMax)
  damage: HoldfastError | null = null
  /** What the pairs on the disk sum up to beyond the digest, as the last scrub found it: changes since then move both alike. */
  #off: Element | null = null
  #received: { readonly generation: Generation; readonly meta: StateMeta } | null = null
  #receiving = false
  #staged: { readonly generation: Generation; readonly info: StagedState } | null = null
  #failure: HoldfastError | null = null
  #closed = false

  private constructor(options: Opening, generations: Generations, generation: Generation, meta: StateMeta) {
    this.#options = options
    this.#disk = options.disk ?? nodeDisk
    this.#logger = options.logger ?? silentLogger
    this.#generations = generations
    this.#generation = generation
    this.#meta = meta
  }

  static async open(options: Opening, generations: Generations): Promise<LevelStateStore> {
    const { disk = nodeDisk } = options
    if (generations.current === 0) {
      const generation = await openGeneration(options, generations, generations.next(), true)
      await generation.level.put(metaKey, encodeMeta(options.clusterId, emptyMeta))
      await syncLevelFiles(disk, generations.path(generation.number))
      await generations.activate(generation.number)
      return new LevelStateStore(options, generations, generation, emptyMeta)
    }
    try {
      if (generations.damage !== null) throw storeCorrupt(generations.damage)
      return await LevelStateStore.#openCurrent(options, generations)
    } catch (error) {
      if (options.repairable !== true || !isHoldfastError(error, 'ERR_STORE_CORRUPT')) throw error
      // Beside the damaged one, which `current` goes on naming until a snapshot is here: a crash finds the same damage again.
      const generation = await openGeneration(options, generations, generations.next(), true)
      const store = new LevelStateStore(options, generations, generation, emptyMeta)
      store.damage = error
      return store
    }
  }

  static async #openCurrent(options: Opening, generations: Generations): Promise<LevelStateStore> {
    const path = generations.path(generations.current)
    await checkLevelFiles(options.disk ?? nodeDisk, path, { repairTornLogs: true, logger: options.logger ?? silentLogger })
    const generation = await openGeneration(options, generations, generations.current, false)
    try {
      const stored = await generation.level.get(metaKey)
      if (stored === undefined) throw storeCorrupt('state: expected a meta record, got none')
      const store = new LevelStateStore(options, generations, generation, decodeMeta(options.clusterId, stored))
      await store.#openStaged()
      return store
    } catch (error) {
      await generation.level.close().catch(() => {})
      throw error
    }
  }

  get meta(): StateMeta {
    return this.#meta
  }

  onUnreadable(tell: (reason: HoldfastError) => void): void {
    this.#options.unreadable.tell = (reason) => {
      if (isHoldfastError(reason, 'ERR_STORE_FAILED')) this.#failure ??= reason
      tell(reason)
    }
  }

  async apply(ops: readonly Op[], meta: StateMeta, onVisible?: () => void): Promise<void> {
    const unreadable = await this.#guarded(async () => {
      assert(this.damage === null, 'apply expected a sound state, got one that waits for a snapshot')
      assert(meta.applied >= this.#meta.applied, `applied index expected at least ${this.#meta.applied}, got ${meta.applied}`)
      const batch: LevelOp[] = []
      for (const { key, value } of ops) {
        assert((key[0] ?? 0) >= firstOpenKeyByte, `state key expected to begin with a byte >= ${firstOpenKeyByte}`)
        batch.push(value === null ? { type: 'del', key } : { type: 'put', key, value })
      }
      const digest = await this.#digestAfter(ops)
      if (digest instanceof HoldfastError) return digest
      const next = { ...meta, digest }
      batch.push({ type: 'put', key: metaKey, value: encodeMeta(this.#options.clusterId, next) })
      // The batch runs on another thread: a view that is asked for meanwhile must be the old index's, not something between.
      this.#shareCurrent()
      await this.#generation.level.batch(batch)
      this.#show(next, onVisible)
      return null
    })
    if (unreadable !== null) throw unreadable
  }

  sync(): Promise<number> {
    return this.#guarded(async () => {
      const { applied } = this.#meta
      if (this.damage !== null) return applied
      await syncLevelFiles(this.#disk, this.#generations.path(this.#generation.number))
      return applied
    })
  }

  view(): StateView {
    if (this.#closed) throw new HoldfastError('ERR_SHUTTING_DOWN', 'the state is closed')
    return this.#shareCurrent().take()
  }

  snapshot(level: number = firstLevel): { meta: SnapshotMeta; stream: AsyncIterable<Uint8Array>; release(): void } {
    if (this.damage !== null) throw this.damage
    const view = this.view()
    const { applied, appliedTerm, membership } = view.meta
    const header = { clusterId: this.#options.clusterId, meta: encodeMeta(this.#options.clusterId, view.meta) }
    return {
      meta: { index: applied, term: appliedTerm, membership },
      stream: encodeSnapshot(header, view.entriesFrom(firstDataKey, endOfKeys), level),
      release: () => view.release(),
    }
  }

  async receive(
    stream: AsyncIterable<Uint8Array>,
    formats: FormatRange = releasedFormats,
    adopt: (meta: StateMeta) => StateMeta = (meta) => meta,
  ): Promise<SnapshotMeta> {
    if (this.#receiving) throw new HoldfastError('ERR_BUSY', 'another snapshot is being received')
    this.#checkUsable()
    this.#receiving = true
    try {
      await this.#dropReceived()
      const generation = await openGeneration(this.#options, this.#generations, this.#generations.next(), true)
      try {
        const meta = await this.#fill(generation, stream, formats, adopt)
        this.#received = { generation, meta }
        return { index: meta.applied, term: meta.appliedTerm, membership: meta.membership }
      } catch (error) {
        await this.#discard(generation)
        throw isHoldfastError(error) ? error : refuseStream('could not be stored', error)
      }
    } finally {
      this.#receiving = false
    }
  }

  install(wanted: SnapshotMeta, onVisible?: () => void): Promise<void> {
    return this.#guarded(async () => {
      const received = this.#received
      assert(received !== null, 'install expected a received snapshot, got none')
      assert(
        received.meta.applied === wanted.index && received.meta.appliedTerm === wanted.term,
        `install expected the snapshot at ${wanted.index}, got ${received.meta.applied}`,
      )
      await this.#generations.activate(received.generation.number)
      this.#received = null
      await this.#takeOver(received.generation, received.meta, onVisible)
    })
  }

  /** `generation` is what `current` names by now. */
  async #takeOver(generation: Generation, meta: StateMeta, onVisible: (() => void) | undefined): Promise<void> {
    const old = this.#generation
    old.replaced = true
    this.#generation = generation
    this.#elements.clear()
    this.#off = null
    this.damage = null
    this.#show(meta, onVisible)
    await this.#retire(old)
  }

  get staged(): StagedState | null {
    return this.#staged?.info ?? null
  }

  /** What can't be read is removed: whoever is called upon to restore it fetches the state from those who have it. */
  async #openStaged(): Promise<void> {
    const { staged } = this.#generations
    if (staged === null) return
    const info = decodeStaged(staged.note)
    try {
      if (info === null) throw storeCorrupt('state: expected a note of what is staged, got something else')
      const path = this.#generations.path(staged.number)
      await checkLevelFiles(this.#disk, path, { repairTornLogs: false, logger: this.#logger })
      this.#staged = { generation: await openGeneration(this.#options, this.#generations, staged.number, false), info }
    } catch (error) {
      if (!isHoldfastError(error, 'ERR_STORE_CORRUPT')) throw error
      this.#logger.warn({ reason: error.message }, 'a staged state is damaged, and is removed')
      await this.#generations.unstage(staged.number)
      await this.#generations.remove(staged.number)
    }
  }

  async stage(as: Pick<StagedState, 'id' | 'term'>, stream: AsyncIterable<Uint8Array>, options: StageOptions = {}): Promise<StagedState> {
    if (this.#receiving) throw new HoldfastError('ERR_BUSY', 'another snapshot is being received')
    this.#checkUsable()
    this.#receiving = true
    try {
      await this.discardStaged()
      const generation = await openGeneration(this.#options, this.#generations, this.#generations.next(), true)
      try {
        const info = { ...as, ...(await this.#fillStaged(generation, stream, options)) }
        await this.#generations.stage(generation.number, encodeStaged(info))
        this.#staged = { generation, info }
        return info
      } catch (error) {
        await this.#discard(generation)
        throw isHoldfastError(error) ? error : storeFailed('state: what is to be restored could not be stored', error)
      }
    } finally {
      this.#receiving = false
    }
  }

  stagedStream(level: number = firstLevel): { readonly stream: AsyncIterable<Uint8Array>; release(): void } {
    const staged = this.#staged
    if (staged === null) throw new HoldfastError('ERR_INTERNAL', 'expected a staged state, got none')
    const { generation, info } = staged
    generation.views += 1
    const meta = { ...emptyMeta, digest: info.digest }
    const shared = new SharedView(generation.level, meta, () => {
      this.#views.delete(shared)
      generation.views -= 1
      this.#retire(generation).catch((error: unknown) => this.#logger.warn({ error: String(error) }, 'a staged state could not be removed'))
    })
    this.#views.add(shared)
    const view = shared.take()
    shared.drop()
    const header = { clusterId: this.#options.clusterId, meta: encodeMeta(this.#options.clusterId, meta) }
    return { stream: encodeSnapshot(header, view.entriesFrom(firstDataKey, endOfKeys), level), release: () => view.release() }
  }

  restore(ops: readonly Op[], meta: StateMeta, onVisible?: () => void): Promise<void> {
    return this.#guarded(async () => {
      const staged = this.#staged
      assert(staged !== null, 'restore expected a staged state, got none')
      assert(meta.applied > this.#meta.applied, `restore expected an index above ${this.#meta.applied}, got ${meta.applied}`)
      const { generation, info } = staged
      const sum = new StateDigest(info.digest)
      const batch: LevelOp[] = []
      for (const { key, value } of ops) {
        assert(value !== null && (key[0] ?? 0) >= firstOpenKeyByte, 'restore expected pairs beside those that are staged')
        // Whatever an attempt that a crash ended has written here: what is staged has none of these, and its digest counts none.
        sum.add(expand(key, value))
        batch.push({ type: 'put', key, value })
      }
      const next = { ...meta, digest: sum.bytes() }
      batch.push({ type: 'put', key: metaKey, value: encodeMeta(this.#options.clusterId, next) })
      await generation.level.batch(batch)
      await syncLevelFiles(this.#disk, this.#generations.path(generation.number))
      await this.#generations.activate(generation.number)
      this.#staged = null
      await this.#takeOver(generation, next, onVisible)
      await this.#generations.unstage(generation.number)
    })
  }

  discardStaged(): Promise<void> {
    return this.#guarded(async () => {
      const staged = this.#staged
      if (staged === null) return
      this.#staged = null
      await this.#generations.unstage(staged.generation.number)
      staged.generation.replaced = true
      await this.#retire(staged.generation)
    })
  }

  async condemn(reason: HoldfastError): Promise<void> {
    await this.#guarded(async () => {
      if (this.damage !== null) return
      this.damage = reason
      await this.#generations.condemn(reason.message)
    })
  }

  async scrub(pace: (bytes: number) => Promise<void>): Promise<ScrubResult> {
    const generation = this.#generation
    const view = this.view()
    const { applied, digest } = view.meta
    let read = noPairs
    try {
      read = await sumOf(view, pace)
      // Once more before it is believed: what was read wrongly once may be read rightly now.
      if (!read.sum.equals(digest)) read = await sumOf(view, pace)
      if (generation !== this.#generation) throw new HoldfastError('ERR_BUSY', 'the state was replaced while it was read')
      this.#off = read.sum.equals(digest) ? null : read.sum.minus(digest)
      if (this.#off !== null)
        throw storeCorrupt(
          `state: expected the digest of its record at index ${applied}, got another from its ${read.pairs} pairs`,
          repairHint,
        )
    } finally {
      view.release()
    }
    const { pairs } = read
    const bytes = read.bytes + (await checkLiveTables(this.#disk, this.#generations.path(this.#generation.number), pace))
    return { index: applied, pairs, bytes }
  }

  async close(): Promise<void> {
    await this.#writes.run(async () => {
      if (this.#closed) return
      this.#closed = true
      this.#current = null
      const beside = [this.#received, this.#staged].filter((each) => each !== null)
      const held = new Set([this.#generation, ...beside.map(({ generation }) => generation)])
      for (const view of this.#views) view.close()
      for (const generation of held) await generation.level.close()
    })
  }

  /** Writes a verified stream into `generation`, and makes it durable: the pairs alone, without a record of how far they are applied. */
  async #fillStaged(
    generation: Generation,
    stream: AsyncIterable<Uint8Array>,
    { formats = releasedFormats, leaveOut = () => false, add = () => [], onProgress }: StageOptions,
  ): Promise<Pick<StagedState, 'digest' | 'pairs' | 'bytes'>> {
    let expected: Uint8Array = emptyMeta.digest
    const [all, kept] = [new StateDigest(), new StateDigest()]
    const totals = { pairs: 0, bytes: 0 }
    let batch: LevelOp[] = []
    let batchBytes = 0
    const flush = async (): Promise<void> => {
      await generation.level.batch(batch)
      batch = []
      batchBytes = 0
    }
    const keep = (key: Uint8Array, value: Uint8Array, element: Element): void => {
      if ((key[0] ?? 0) < firstOpenKeyByte) throw refuseStream('expected only replicated keys, got one of the store itself')
      batch.push({ type: 'put', key, value })
      kept.add(element)
      totals.pairs += 1
      totals.bytes += key.length + value.length
      batchBytes += key.length + value.length
    }
    await decodeSnapshot(
      stream,
      (header) => (expected = decodeMeta(header.clusterId, header.meta).digest),
      async (pairs: Pair[]) => {
        for (const [key, value] of pairs) {
          const element = expand(key, value)
          all.add(element)
          if (!leaveOut(key, value)) keep(key, value, element)
        }
        if (batchBytes >= receiveBatchBytes) await flush()
        onProgress?.(totals.bytes)
      },
      formats,
    )
    if (!all.equals(expected)) throw refuseStream("expected its state's digest, got other pairs")
    for (const { key, value } of add()) if (value !== null) keep(key, value, expand(key, value))
    await flush()
    await syncLevelFiles(this.#disk, this.#generations.path(generation.number))
    return { digest: kept.bytes(), ...totals }
  }

  /** Writes a verified stream into `generation`, and makes it durable. */
  async #fill(
    generation: Generation,
    stream: AsyncIterable<Uint8Array>,
    formats: FormatRange,
    adopt: (meta: StateMeta) => StateMeta,
  ): Promise<StateMeta> {
    let meta = emptyMeta
    const sum = new StateDigest()
    let batch: LevelOp[] = []
    let bytes = 0
    const flush = async (): Promise<void> => {
      await generation.level.batch(batch)
      batch = []
      bytes = 0
    }
    await decodeSnapshot(
      stream,
      (header) => {
        if (header.clusterId !== this.#options.clusterId) throw refuseStream('expected one of this cluster, got that of another')
        meta = decodeMeta(this.#options.clusterId, header.meta)
      },
      async (pairs: Pair[]) => {
        for (const [key, value] of pairs) {
          if ((key[0] ?? 0) < firstOpenKeyByte) throw refuseStream('expected only replicated keys, got one of the store itself')
          batch.push({ type: 'put', key, value })
          sum.add(expand(key, value))
          bytes += key.length + value.length
        }
        if (bytes >= receiveBatchBytes) await flush()
      },
      formats,
    )
    // The sender's disk may have changed a value under it: its own checksums, made while it sends, would not tell.
    if (!sum.equals(meta.digest)) throw refuseStream("expected its state's digest, got other pairs")
    meta = adopt(meta)
    batch.push({ type: 'put', key: metaKey, value: encodeMeta(this.#options.clusterId, meta) })
    await flush()
    await syncLevelFiles(this.#disk, this.#generations.path(generation.number))
    return meta
  }

  /** The digest once `ops` are applied, in their order; an error where a value that is replaced can't be believed, which does not end the store. */
  async #digestAfter(ops: readonly Op[]): Promise<Uint8Array | HoldfastError> {
    if (ops.length === 0) return this.#meta.digest
    try {
      return await this.#summed(ops)
    } catch (error) {
      // It has learnt of values that are not written.
      this.#elements.clear()
      if (isHoldfastError(error, 'ERR_STORE_CORRUPT')) return error
      throw error
    }
  }

  async #summed(ops: readonly Op[]): Promise<Uint8Array> {
    const sum = new StateDigest(this.#meta.digest)
    let reads = 0
    for (const { key, value } of ops) {
      const id = Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1')
      let old = this.#elements.get(id)
      if (old === undefined) {
        reads += 1
        old = await this.#stored(key, reads % readsPerTurnMax === 0)
      }
      const element = value === null ? null : expand(key, value)
      if (old !== null) sum.subtract(old)
      if (element !== null) sum.add(element)
      this.#elements.set(id, element)
    }
    return sum.bytes()
  }

  /** The element of what lies under `key` now. Read at once, which is cheapest; or so that others get the event loop meanwhile. */
  async #stored(key: Uint8Array, yielding: boolean): Promise<Element | null> {
    const { level } = this.#generation
    const value = yielding ? await level.get(key) : level.getSync(key)
    return value === undefined ? null : expand(key, value)
  }

  async amend(): Promise<boolean> {
    let amended = false
    await this.#guarded(async () => {
      const off = this.#off
      if (off === null || this.damage !== null) return
      const sum = new StateDigest(this.#meta.digest)
      sum.add(off)
      const next = { ...this.#meta, digest: sum.bytes() }
      this.#shareCurrent()
      await this.#generation.level.put(metaKey, encodeMeta(this.#options.clusterId, next))
      this.#off = null
      this.#elements.clear()
      this.#show(next, undefined)
      amended = true
    })
    return amended
  }

  #shareCurrent(): SharedView {
    if (this.#current !== null) return this.#current
    const generation = this.#generation
    generation.views += 1
    const view = new SharedView(generation.level, this.#meta, () => {
      this.#views.delete(view)
      generation.views -= 1
      this.#retire(generation).catch((error: unknown) => this.#logger.warn({ error: String(error) }, 'an old state could not be removed'))
    })
    this.#views.add(view)
    this.#current = view
    return view
  }

  /** From here on new views show `meta`. */
  #show(meta: StateMeta, onVisible: (() => void) | undefined): void {
    const old = this.#current
    this.#meta = meta
    this.#current = null
    old?.drop()
    onVisible?.()
  }

  /** Closes and removes a replaced generation once nobody reads it. */
  async #retire(generation: Generation): Promise<void> {
    if (generation.replaced && generation.views === 0) await this.#discard(generation)
  }

  async #discard(generation: Generation): Promise<void> {
    await generation.level.close()
    await this.#generations.remove(generation.number)
  }

  async #dropReceived(): Promise<void> {
    const received = this.#received
    this.#received = null
    if (received !== null) await this.#discard(received.generation)
  }

  #checkUsable(): void {
    if (this.#failure !== null) throw storeFailed('state: an earlier write failed, nothing more is accepted', this.#failure)
    if (this.#closed) throw new HoldfastError('ERR_SHUTTING_DOWN', 'the state is closed')
  }

  #guarded<T>(task: () => Promise<T>): Promise<T> {
    return this.#writes.run(async () => {
      this.#checkUsable()
      try {
        return await task()
      } catch (error) {
        const failure = isHoldfastError(error) ? error : storeFailed('state: could not be written', error)
        this.#failure ??= failure
        throw failure
      }
    })
  }
}

interface PairsRead {
  readonly sum: StateDigest
  readonly pairs: number
  readonly bytes: number
}

const noPairs: PairsRead = { sum: new StateDigest(), pairs: 0, bytes: 0 }

/** Reads every pair of `view`. */
async function sumOf(view: StateView, pace: (bytes: number) => Promise<void>): Promise<PairsRead> {
  const sum = new StateDigest()
  let [pairs, bytes, due] = [0, 0, 0]
  for await (const [key, value] of view.entriesFrom(firstDataKey, endOfKeys)) {
    sum.add(expand(key, value))
    pairs += 1
    bytes += key.length + value.length
    due += key.length + value.length
    if (pairs % readsPerTurnMax !== 0) continue
    await pace(due)
    due = 0
  }
  return { sum, pairs, bytes }
}

async function openGeneration(options: Opening, generations: Generations, number: number, fresh: boolean): Promise<Generation> {
  if (fresh) await generations.remove(number)
  const level = await openLevel(options.level ?? (options.disk ?? nodeDisk).level, generations.path(number), {
    compression: options.compression ?? true,
    cacheBytes: options.cacheBytes ?? cacheBytesDefault,
    writeBufferBytes: 16 * 1024 * 1024,
    multithreading: options.multithreading ?? false,
  })
  return {
    number,
    level: new CheckedLevel(level, firstOpenKeyByte, (reason) => options.unreadable.tell(reason)),
    views: 0,
    replaced: false,
  }
}
