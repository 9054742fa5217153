/**
 * The durable log of one node: entries in LevelDB (`log/`), term and vote beside it (hardstate.ts), and the proof, when it opens and
 * whenever it reads from disk, that what it holds is what was acknowledged (record.ts, ack.ts). What fails the proof is ERR_STORE_CORRUPT, never cut off as
 * a torn tail: a "tail" may be a majority's only copy of a committed entry.
 *
 * An append is one LevelDB batch with `sync: true`; the first error is final (after a failed fsync the kernel may call the page clean,
 * and a retry would "succeed" without a byte on the disk).
 */
import { dirname, join } from 'node:path'
import { assert } from '#base/assert.ts'
import { isHoldfastError, type HoldfastError } from '#base/errors.ts'
import { silentLogger, type Logger } from '#base/logger.ts'
import type { Entry, HardState, SnapshotMeta } from '#raft/types.ts'
import { AckFile, ackFileName } from './ack.ts'
import { decodeBase, encodeBase, type LogBase } from './base.ts'
import { nodeDisk, type Disk } from './disk.ts'
import { isRepairable, storeCorrupt, storeFailed, storeLost } from './errors.ts'
import { openFence, type Fence, type FenceFile } from './fence.ts'
import { namesIn, syncDirectory } from './files.ts'
import { openHardState, type HardStateFile } from './hardstate.ts'
import { openLevel, type Level, type LevelFactory, type LevelOp, type LevelOptions } from './level.ts'
import { checkLevelFiles } from './levelcheck.ts'
import { Mutex } from './mutex.ts'
import { baseKey, chainOrigin, clusterTag, decodeRecord, encodeRecord, indexKey, recordOverheadBytes } from './record.ts'
import { logName, salvageLog } from './salvage.ts'
import { LogTail } from './tail.ts'
import { TermRuns } from './terms.ts'
import type { LogStore } from './types.ts'

export interface LogStoreOptions {
  /** The node's data folder; the log takes `log/`, `hardstate.*`, `fence.*` and `acknowledged` in it. Created if missing. */
  readonly directory: string
  readonly clusterId: string
  readonly logger?: Logger
  readonly compression?: boolean
  /** Bytes of recent entries kept in memory. */
  readonly tailBytesMax?: number
  /** Bytes that one `entries` call reads from disk at most (beside its first entry): it blocks the event loop while it does. */
  readonly diskReadBytesMax?: number
  readonly disk?: Disk
  /** In place of the disk's own. */
  readonly level?: LevelFactory
  /** A damaged log is cut back to what proves itself, for a node whose peers have the rest; it is fenced then (fence.ts). Otherwise it is refused. */
  readonly repairable?: boolean
}

const commitKey = new Uint8Array([0xff, 0x63])
const tailBytesMaxDefault = 32 * 1024 * 1024
const diskReadBytesMaxDefault = 1024 * 1024
const deletesPerBatchMax = 20_000
const noState: HardState = { term: 0, vote: null, commit: 0 }
const synced = { sync: true } as const

const levelOptions = (options: LogStoreOptions): LevelOptions => ({
  compression: options.compression ?? true,
  cacheBytes: 4 * 1024 * 1024,
  writeBufferBytes: 8 * 1024 * 1024,
  multithreading: false,
})

/**
 * Opens (or creates) the log in `options.directory`, verifying all of it.
 * @throws ERR_STORE_CORRUPT when anything acknowledged is missing or damaged (with `repairable`: when term and vote are, or the note of an earlier
 *   loss); ERR_STORE_FAILED when it can't be opened.
 */
export async function openLogStore(options: LogStoreOptions): Promise<LogStore> {
  const { directory, disk = nodeDisk } = options
  try {
    await disk.mkdir(directory, { recursive: true, mode: 0o700 })
    const hard = await openHardState(disk, directory, options.clusterId)
    const fence = await openFence(disk, directory)
    return await openOrSalvage(options, disk, hard, fence)
  } catch (error) {
    if (isHoldfastError(error)) throw error
    throw storeFailed('log: could not be opened', error)
  }
}

async function openOrSalvage(options: LogStoreOptions, disk: Disk, hard: HardStateFile, fence: FenceFile): Promise<LogStore> {
  const { directory, clusterId, level: factory = disk.level, logger = silentLogger } = options
  const open = (): Promise<LogStore> => openVerified(options, disk, hard, fence)
  // What this node voted for no peer can tell it: only what follows from sound term and vote can be mended.
  const mendable = (error: unknown): boolean => options.repairable === true && hard.current !== null && isRepairable(error)
  try {
    return await open()
  } catch (error) {
    if (!mendable(error)) throw error
  }
  try {
    // A disk may read wrongly once; nothing is cut off for that.
    return await open()
  } catch (error) {
    if (!mendable(error) || !isRepairable(error)) throw error
    const cluster = clusterTag(clusterId)
    await salvageLog({ disk, directory, cluster, factory, level: levelOptions(options), hard, fence, logger }, error)
    return await open()
  }
}

async function openVerified(options: LogStoreOptions, disk: Disk, hard: HardStateFile, fence: FenceFile): Promise<LogStore> {
  const { directory } = options
  const path = join(directory, logName)
  const names = await namesIn(disk, path)
  // Without a term nothing was ever appended: what lies there is a creation that a crash cut short, in whatever state.
  const used = hard.current !== null && hard.current.term > 0
  if (hard.current !== null && !used) {
    await disk.rm(path, { recursive: true, force: true })
    await disk.rm(join(directory, ackFileName), { force: true })
  }
  const exists = (used || hard.current === null) && (names?.includes('CURRENT') ?? false)
  if (exists && hard.current === null) throw storeLost('hardstate: expected it beside the log, got none')
  if (!exists && (hard.current?.term ?? 0) > 0) throw storeCorrupt('log: expected it beside the hard state, got none')
  if (exists && !((await namesIn(disk, directory)) ?? []).includes(ackFileName))
    throw storeCorrupt(`${ackFileName}: expected it beside the log, got none`)
  if (hard.current === null) await hard.write(noState)
  const ack = await AckFile.open(disk, directory)
  let level: Level | null = null
  try {
    if (exists) await checkLevelFiles(disk, path, { repairTornLogs: false, logger: options.logger ?? silentLogger })
    level = await openLevel(options.level ?? disk.level, path, levelOptions(options))
    // LevelDB renames its CURRENT without a sync of the folder: a power cut would bring back one that names a manifest which was never synced.
    await syncDirectory(disk, path)
    if (!exists) await syncDirectory(disk, directory).then(() => syncDirectory(disk, dirname(directory)))
    const store = new LevelLogStore(options, level, hard, ack, fence)
    await store.load()
    return store
  } catch (error) {
    await level?.close().catch(() => {})
    await ack.close().catch(() => {})
    throw error
  }
}

class LevelLogStore implements LogStore {
  readonly #level: Level
  readonly #hard: HardStateFile
  readonly #ack: AckFile
  readonly #fence: FenceFile
  readonly #cluster: Uint8Array
  readonly #diskReadBytesMax: number
  readonly #writes = new Mutex()
  readonly #tail: LogTail
  readonly #terms = new TermRuns()
  #hardState: HardState = noState
  /** What precedes the first entry: an empty beginning, a snapshot, or the last compacted entry. */
  #base: LogBase
  #last = 0
  #lastChain: Uint8Array
  #storedCommit = 0
  /** Approximate bytes of all records held. */
  #bytes = 0
  #failure: HoldfastError | null = null
  #closed = false

  constructor(options: LogStoreOptions, level: Level, hard: HardStateFile, ack: AckFile, fence: FenceFile) {
    this.#level = level
    this.#hard = hard
    this.#ack = ack
    this.#fence = fence
    this.#cluster = clusterTag(options.clusterId)
    this.#diskReadBytesMax = options.diskReadBytesMax ?? diskReadBytesMaxDefault
    this.#tail = new LogTail(options.tailBytesMax ?? tailBytesMaxDefault)
    this.#base = { index: 0, term: 0, chain: chainOrigin(this.#cluster, 0, 0) }
    this.#lastChain = this.#base.chain
  }

  get hardState(): HardState {
    return this.#hardState
  }

  get fence(): Fence | null {
    return this.#fence.current
  }

  firstIndex(): number {
    return this.#base.index + 1
  }

  lastIndex(): number {
    return this.#last
  }

  term(index: number): number | null {
    if (index === this.#base.index) return this.#base.term
    if (index < this.#base.index || index > this.#last) return null
    return this.#terms.at(index) ?? null
  }

  snapshot(): SnapshotMeta {
    return {
      index: this.#base.index,
      term: this.#base.term,
      membership: { voters: [], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false },
    }
  }

  stats(): { entries: number; bytes: number } {
    return { entries: this.#last - this.#base.index, bytes: this.#bytes }
  }

  /** @throws ERR_STORE_CORRUPT (which latches) when an entry on disk does not verify. */
  entries(lo: number, hi: number, bytesMax: number): readonly Entry[] | null {
    assert(hi <= this.#last + 1, `log range expected to end at most at ${this.#last + 1}, got ${hi}`)
    if (lo <= this.#base.index) return null
    const found: Entry[] = []
    let bytes = 0
    let diskBytes = 0
    let chain: Uint8Array | null = null
    for (let index = lo; index < hi; index += 1) {
      let entry = this.#tail.at(index)
      if (entry === undefined) {
        if (diskBytes > this.#diskReadBytesMax) break
        const read: { entry: Entry; chain: Uint8Array } = this.#read(index, chain ?? this.#chainAt(index - 1))
        entry = read.entry
        chain = read.chain
        diskBytes += entry.data.length + recordOverheadBytes
      }
      bytes += entry.data.length
      if (bytes > bytesMax && found.length > 0) break
      found.push(entry)
    }
    return found
  }

  append(hardState: HardState | null, entries: readonly Entry[]): Promise<void> {
    return this.#guarded(async () => {
      if (hardState !== null) await this.#setHardState(hardState)
      if (entries.length === 0) return
      this.#ack.checkWritten()
      await this.#appendEntries(entries)
    })
  }

  compact(index: number): Promise<void> {
    return this.#guarded(async () => {
      if (index <= this.#base.index) return
      const term = this.term(index)
      assert(term !== null, `compaction expected at most index ${this.#last}, got ${index}`)
      const from = this.#base.index + 1
      const base: LogBase = { index, term, chain: new Uint8Array(this.#chainAt(index)) }
      // The base first, with the first deletes: what is left below it after a crash is cleared at the next start.
      for (let low = from; low <= index; low += deletesPerBatchMax) {
        const ops: LevelOp[] = low === from ? [this.#basePut(base)] : []
        for (let at = low; at <= index && at < low + deletesPerBatchMax; at += 1) ops.push({ type: 'del', key: indexKey(at) })
        await this.#level.batch(ops, synced)
        if (low === from) this.#adoptBase(base)
      }
    })
  }

  reset(meta: SnapshotMeta): Promise<void> {
    return this.#guarded(async () => {
      const base: LogBase = { index: meta.index, term: meta.term, chain: chainOrigin(this.#cluster, meta.index, meta.term) }
      await this.#ack.lower(null)
      // All in one batch: an old entry left above the new base would look like a broken chain.
      const ops: LevelOp[] = [this.#basePut(base)]
      for (let at = this.#base.index + 1; at <= this.#last; at += 1) ops.push({ type: 'del', key: indexKey(at) })
      await this.#level.batch(ops, synced)
      // A base record that rots back to an older one would else make a shorter log that verifies.
      await this.#ack.lower({ index: base.index, chain: base.chain })
      this.#base = base
      this.#last = base.index
      this.#lastChain = base.chain
      this.#tail.clear()
      this.#terms.clear()
      this.#bytes = 0
      await this.#liftFence()
    })
  }

  forgive(): Promise<void> {
    return this.#guarded(async () => {
      if (this.#fence.current !== null) await this.#fence.write(null)
    })
  }

  close(): Promise<void> {
    return this.#writes.run(async () => {
      if (this.#closed) return
      this.#closed = true
      await this.#ack.close().catch((error: unknown) => this.#latch(error))
      await this.#level.close()
    })
  }

  /** Reads and verifies everything; called once, before the store is handed out. */
  async load(): Promise<void> {
    const stored = this.#hard.current ?? noState
    const base = await this.#level.get(baseKey)
    if (base === undefined) await this.#create(stored)
    else this.#base = decodeBase(base, this.#cluster)
    this.#last = this.#base.index
    this.#lastChain = this.#base.chain
    await this.#level.clear({ gte: indexKey(0), lte: indexKey(this.#base.index) })
    await this.#loadEntries()
    this.#checkMark()
    if (stored.term < (this.term(this.#last) ?? 0)) {
      throw storeLost(`hardstate: expected a term of at least ${this.term(this.#last)}, that of the last entry, got ${stored.term}`)
    }
    const commit = await this.#level.get(commitKey)
    this.#storedCommit = commit === undefined ? 0 : Number(Buffer.from(commit).toString('latin1')) || 0
    const hint = Math.min(Math.max(stored.commit, this.#storedCommit, this.#base.index), this.#last)
    this.#hardState = { ...stored, commit: hint }
    await this.#liftFence()
  }

  /** An entry of a term in which this node had said nothing yet: all that it ever acknowledged, and that counts, comes before it. */
  async #liftFence(): Promise<void> {
    const fence = this.#fence.current
    if (fence !== null && (this.term(this.#last) ?? 0) >= fence.term) await this.#fence.write(null)
  }

  async #create(stored: HardState): Promise<void> {
    const iterator = this.#level.iterator({ values: false })
    let first: unknown
    try {
      first = (await iterator.nextv(1))[0]
    } finally {
      await iterator.close()
    }
    if (stored.term > 0 || first !== undefined) throw storeCorrupt('log: expected a base record, got none')
    await this.#level.batch([this.#basePut(this.#base)], synced)
  }

  async #loadEntries(): Promise<void> {
    const iterator = this.#level.iterator({
      gt: indexKey(this.#base.index),
      lt: new Uint8Array([0xff]),
      fillCache: false,
      highWaterMarkBytes: 1 << 20,
    })
    try {
      for (let batch = await iterator.nextv(512); batch.length > 0; batch = await iterator.nextv(512)) {
        for (const [key, value] of batch) this.#loadEntry(key, value)
      }
    } finally {
      await iterator.close()
    }
  }

  #loadEntry(key: Uint8Array, value: Uint8Array): void {
    const index = this.#last + 1
    if (Buffer.compare(indexKey(index), key) !== 0) throw storeCorrupt(`log: expected an entry at index ${index}, got a hole`)
    const { entry, chain } = decodeRecord(this.#cluster, index, value, this.#lastChain)
    const previous = this.term(index - 1) ?? 0
    if (entry.term < previous) throw storeCorrupt(`log entry ${index}: expected a term of at least ${previous}, got ${entry.term}`)
    this.#adopt(entry, chain)
    const mark = this.#ack.mark
    if (mark?.index === index && Buffer.compare(chain, mark.chain) !== 0) throw acknowledgedLost(index)
  }

  /** The log must reach what was acknowledged; a shorter one has lost its end, however well it verifies. */
  #checkMark(): void {
    const mark = this.#ack.mark
    if (mark === null || mark.index < this.#base.index) return
    if (mark.index > this.#last) throw acknowledgedLost(mark.index)
    if (mark.index === this.#base.index && !Buffer.from(this.#base.chain).equals(mark.chain)) throw acknowledgedLost(mark.index)
  }

  async #setHardState(state: HardState): Promise<void> {
    const { term, vote } = this.#hardState
    // The commit index is a hint that is known again from the leader: not worth an fsync. It rides in the next batch.
    if (state.term !== term || state.vote !== vote) await this.#hard.write(state)
    this.#hardState = { term: state.term, vote: state.vote, commit: state.commit }
  }

  async #appendEntries(entries: readonly Entry[]): Promise<void> {
    const first = entries[0]?.index ?? 0
    assert(
      first > this.#base.index && first <= this.#last + 1,
      `append expected to begin in [${this.#base.index + 1}, ${this.#last + 1}], got ${first}`,
    )
    const previousChain = first === this.#last + 1 ? this.#lastChain : this.#chainAt(first - 1)
    if (first <= this.#last && (this.#ack.mark?.index ?? 0) >= first) {
      await this.#ack.lower(first === 1 ? null : { index: first - 1, chain: new Uint8Array(previousChain) })
    }
    const ops: LevelOp[] = []
    const chains: Uint8Array[] = []
    let chain = previousChain
    for (const [position, entry] of entries.entries()) {
      assert(entry.index === first + position, `append expected contiguous indexes, got ${entry.index} at ${first + position}`)
      const encoded = encodeRecord(this.#cluster, chain, entry)
      chain = encoded.chain
      chains.push(chain)
      ops.push({ type: 'put', key: indexKey(entry.index), value: encoded.record })
    }
    for (let at = first + entries.length; at <= this.#last; at += 1) ops.push({ type: 'del', key: indexKey(at) })
    if (this.#hardState.commit !== this.#storedCommit)
      ops.push({ type: 'put', key: commitKey, value: Buffer.from(String(this.#hardState.commit), 'latin1') as Uint8Array })
    await this.#level.batch(ops, synced)
    this.#storedCommit = this.#hardState.commit
    if (first <= this.#last) this.#truncate(first)
    for (const [position, entry] of entries.entries()) this.#adopt(entry, chains[position] ?? chain)
    // Copies: the chain is a view into a record that may be megabytes long.
    this.#lastChain = new Uint8Array(chain)
    this.#ack.raise({ index: this.#last, chain: this.#lastChain })
    await this.#liftFence()
  }

  #adopt(entry: Entry, chain: Uint8Array): void {
    this.#tail.push(entry)
    this.#terms.push(entry.index, entry.term)
    this.#last = entry.index
    this.#lastChain = chain
    this.#bytes += entry.data.length + recordOverheadBytes
  }

  #truncate(first: number): void {
    this.#bytes = Math.round((this.#bytes * (first - 1 - this.#base.index)) / (this.#last - this.#base.index))
    this.#tail.truncateFrom(first)
    this.#terms.truncateFrom(first)
    this.#last = first - 1
  }

  #adoptBase(base: LogBase): void {
    const held = this.#last - this.#base.index
    this.#bytes = held === 0 ? 0 : Math.round((this.#bytes * (this.#last - base.index)) / held)
    this.#base = base
    this.#tail.dropThrough(base.index)
    this.#terms.dropBelow(base.index + 1)
  }

  #basePut(base: LogBase): LevelOp {
    return { type: 'put', key: baseKey, value: encodeBase(base, this.#cluster) }
  }

  /** The chain value of a held entry, or of the base. */
  #chainAt(index: number): Uint8Array {
    if (index === this.#base.index) return this.#base.chain
    if (index === this.#last) return this.#lastChain
    return this.#read(index, null).chain
  }

  #read(index: number, previousChain: Uint8Array | null): { entry: Entry; chain: Uint8Array } {
    if (this.#failure !== null) throw this.#failure
    try {
      const read = decodeRecord(this.#cluster, index, this.#level.getSync(indexKey(index)), previousChain)
      const term = this.term(index)
      if (read.entry.term !== term) throw storeCorrupt(`log entry ${index}: expected term ${term}, got ${read.entry.term}`)
      return read
    } catch (error) {
      throw this.#latch(error)
    }
  }

  /** Runs one write after those before it, and makes its failure final. */
  #guarded(task: () => Promise<void>): Promise<void> {
    return this.#writes.run(async () => {
      if (this.#failure !== null) throw storeFailed('log: an earlier write failed, nothing more is accepted', this.#failure)
      if (this.#closed) throw storeFailed('log: is closed')
      try {
        await task()
      } catch (error) {
        throw this.#latch(error)
      }
    })
  }

  #latch(error: unknown): HoldfastError {
    const failure = isHoldfastError(error) ? error : storeFailed('log: could not be written', error)
    this.#failure ??= failure
    return failure
  }
}

function acknowledgedLost(index: number): HoldfastError {
  return storeCorrupt(`log: expected the acknowledged entry ${index}, got a log that lost it`)
}
