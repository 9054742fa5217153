import { HoldfastError } from '#base/errors.ts'
import type { Level, LevelIterator, LevelSnapshot } from './level.ts'
import type { KeyCursor, StateMeta, StateView } from './types.ts'

const cursorBatchMin = 16
const cursorBatchMax = 512
const entriesBatchMax = 256
const iteratorBytesMax = 256 * 1024

/**
 * One LevelDB snapshot at one applied index, shared by all views of that index and closed when the last of them is released.
 * The store itself holds one reference while the index is the newest.
 */
export class SharedView {
  readonly meta: StateMeta
  readonly level: Level
  readonly #snapshot: LevelSnapshot
  readonly #onClosed: () => void
  readonly #readOptions: { snapshot: LevelSnapshot }
  #references = 1
  #closed = false

  constructor(level: Level, meta: StateMeta, onClosed: () => void) {
    this.level = level
    this.meta = meta
    this.#snapshot = level.snapshot()
    this.#readOptions = { snapshot: this.#snapshot }
    this.#onClosed = onClosed
  }

  /** A view for one caller. */
  take(): StateView {
    this.#references += 1
    return new CountedView(this)
  }

  drop(): void {
    this.#references -= 1
    if (this.#references === 0) this.close()
  }

  /** Ends it for all who still hold it: their reads then throw ERR_SHUTTING_DOWN. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    // Waits for iterators on it; nothing else can fail in releasing a LevelDB snapshot.
    this.#snapshot.close().then(this.#onClosed, this.#onClosed)
  }

  get(key: Uint8Array): Uint8Array | undefined {
    this.checkOpen()
    return this.level.getSync(key, this.#readOptions)
  }

  iterate(start: Uint8Array, end: Uint8Array): LevelIterator {
    this.checkOpen()
    return this.level.iterator({ gte: start, lt: end, snapshot: this.#snapshot, highWaterMarkBytes: iteratorBytesMax })
  }

  iterateKeys(start: Uint8Array, end: Uint8Array): LevelIterator {
    this.checkOpen()
    return this.level.iterator({ gte: start, lt: end, values: false, snapshot: this.#snapshot, highWaterMarkBytes: iteratorBytesMax })
  }

  checkOpen(): void {
    if (this.#closed) throw new HoldfastError('ERR_SHUTTING_DOWN', 'the state was closed while this view was open')
  }
}

class CountedView implements StateView {
  #shared: SharedView | null
  readonly meta: StateMeta

  constructor(shared: SharedView) {
    this.#shared = shared
    this.meta = shared.meta
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#open().get(key)
  }

  async *entriesFrom(start: Uint8Array, end: Uint8Array): AsyncIterableIterator<readonly [Uint8Array, Uint8Array]> {
    const iterator = this.#open().iterate(start, end)
    try {
      for (let batch = await iterator.nextv(cursorBatchMin); batch.length > 0; batch = await iterator.nextv(entriesBatchMax)) yield* batch
    } finally {
      await iterator.close()
    }
  }

  keyCursor(start: Uint8Array, end: Uint8Array): KeyCursor {
    return new LevelKeyCursor(this.#open().iterateKeys(start, end), start)
  }

  release(): void {
    const shared = this.#shared
    this.#shared = null
    shared?.drop()
  }

  #open(): SharedView {
    if (this.#shared === null) throw new HoldfastError('ERR_INTERNAL', 'expected an open view, got one that was released')
    return this.#shared
  }
}

class LevelKeyCursor implements KeyCursor {
  readonly #iterator: LevelIterator
  #batch: [Uint8Array, Uint8Array][] = []
  #position = 0
  #size = cursorBatchMin
  /** Where the cursor stands: the last key or target, at first the range's start. LevelDB would jump backwards, or end on leaving the range. */
  #last: Uint8Array

  constructor(iterator: LevelIterator, start: Uint8Array) {
    this.#iterator = iterator
    this.#last = start
  }

  async next(seek?: Uint8Array): Promise<Uint8Array | undefined> {
    if (seek !== undefined) this.#jump(seek)
    if (this.#position >= this.#batch.length) {
      this.#batch = await this.#iterator.nextv(this.#size)
      this.#position = 0
      // Small after a jump (a caller that hops over folders wants one key), larger while it walks.
      this.#size = Math.min(this.#size * 4, cursorBatchMax)
    }
    const found = this.#batch[this.#position]?.[0]
    this.#position += 1
    if (found !== undefined) this.#last = found
    return found
  }

  async close(): Promise<void> {
    this.#batch = []
    await this.#iterator.close()
  }

  /** Forward only: a target behind the position is where we are. */
  #jump(target: Uint8Array): void {
    while (this.#position < this.#batch.length) {
      const held = this.#batch[this.#position]
      if (held === undefined || Buffer.compare(held[0], target) >= 0) return
      this.#position += 1
    }
    if (Buffer.compare(target, this.#last) <= 0) return
    this.#iterator.seek(target)
    this.#last = target
    this.#size = cursorBatchMin
  }
}
