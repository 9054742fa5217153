/**
 * One device's way to its sink: one operation at a time, and what comes meanwhile goes with the next one (group commit).
 *
 * A record is chained when its write begins, not when it is handed in: a write that fails must leave no gap. After a failure, or a
 * write that came back too late, the chain goes on from what the sink says its last line is; a sink that can't be asked begins a new life.
 *
 * A sink that hangs holds up nobody: what waits for it fails after a time limit, and what comes later fails at once until it moves again.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { assert } from '#base/assert.ts'
import type { Clock } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'
import { chainLine, writingPlace } from './chain.ts'
import type { ChainPlace, ChainState, MacKey, WritingPlace } from './chain.ts'
import { epochKey } from './epochs.ts'
import { deriveKeyBytes } from './hashing.ts'
import { HmacKey } from './hmac.ts'
import { LineBatch } from './line-batch.ts'
import type { AuditSink, LaneHead, LastLine } from './types.ts'

const waitingMax = 20_000
const waitingCharsMax = 64 * 1024 * 1024
/** One write carries at most so much: a longer one would hold the thread pool's slot and the deadline of all its records. */
const writeCharsMax = 4 * 1024 * 1024
/** So old an epoch ends with the next anchor, and its key can be told. */
const epochMsMax = 24 * 3_600_000
interface Waiting {
  readonly body: string
  readonly done: () => void
  readonly refused: (error: HoldfastError) => void
}

export interface LaneOptions {
  readonly name: string
  readonly sink: AuditSink
  readonly nodeId: string
  /** Names a life of the device. */
  readonly newBoot: () => string
  readonly clock: Clock
  readonly writeMsMax: number
  /** The sink began another file: the one before should be anchored soon. */
  readonly onRotated: () => void
  /** Records were not taken: for the log. Whoever handed them in is told too. */
  readonly onFailure: (error: HoldfastError) => void
}

export interface LaneStatus {
  readonly records: number
  readonly failures: number
  readonly waiting: number
  /** An operation has not come back in time. */
  readonly stuck: boolean
  /** The last write succeeded, or none was tried yet. */
  readonly healthy: boolean
  /** Milliseconds that the last write took. */
  readonly lastWriteMs: number
}

const failed = (name: string, why: string, cause?: unknown): HoldfastError =>
  new HoldfastError(
    'ERR_AUDIT',
    `audit device ${JSON.stringify(name)} expected to take the record, got ${why}`,
    cause === undefined ? {} : { cause },
  )

export class Lane {
  readonly #options: LaneOptions
  #place: WritingPlace
  #auditKey: Uint8Array | null = null
  /** Tells one audit key from another when the barrier opens again. */
  #keyId: string | null = null
  #newLifeDue = false
  #mac: MacKey | null = null
  #epoch = 1
  #epochSinceMs: number
  #epochDue = false
  /** null: to be read from the sink before the next write. */
  #chain: ChainState | null = null
  /** Of this life; survives rotations and failed writes. */
  #seq = 0
  /** Of the write that is under way. */
  readonly #lines = new LineBatch()
  #waiting: Waiting[] = []
  #waitingChars = 0
  #pumping = false
  #stuck = false
  #closed = false
  #tasks: (() => Promise<void>)[] = []
  #records = 0
  #failures = 0
  #healthy = true
  #lastWriteMs = 0

  constructor(options: LaneOptions) {
    assert(options.writeMsMax > 0, 'a device without a time limit could hold up every request')
    this.#options = options
    this.#place = writingPlace(options.nodeId, options.newBoot())
    this.#epochSinceMs = options.clock.monotonicMs()
    options.sink.onRotated?.(() => {
      this.#epochDue = true
      options.onRotated()
    })
  }

  get name(): string {
    return this.#options.name
  }

  get sink(): AuditSink {
    return this.#options.sink
  }

  status(): LaneStatus {
    return {
      records: this.#records,
      failures: this.#failures,
      waiting: this.#waiting.length,
      stuck: this.#stuck,
      healthy: this.#healthy && !this.#stuck,
      lastWriteMs: this.#lastWriteMs,
    }
  }

  /** Borrowed: whoever gives it calls again with null before wiping it. */
  setKey(auditKey: Uint8Array | null): void {
    this.#auditKey = auditKey
    if (auditKey !== null) {
      const id = deriveKeyBytes(auditKey, 'audit key id').toString('hex')
      // Another cluster's state was restored. Under one epoch of one life stands one key, or the lines before would seem forged.
      if (this.#keyId !== null && this.#keyId !== id) this.#newLifeDue = true
      this.#keyId = id
    }
    this.#newMacKey()
  }

  /** Calls `done` when the sink has the record, or `refused` with ERR_AUDIT; which may be at once. */
  append(body: string, done: () => void, refused: (error: HoldfastError) => void): void {
    if (this.#closed) refused(this.#failure('a device that is closed'))
    else if (this.#stuck) refused(this.#failure('a write that has not come back'))
    else if (this.#waiting.length >= waitingMax || this.#waitingChars + body.length > waitingCharsMax) {
      refused(this.#failure('a full queue'))
    } else {
      this.#waitingChars += body.length
      this.#waiting.push({ body, done, refused })
      this.#start()
    }
  }

  /** Opens the sink anew (after a rotation), between two writes; the chain goes on. */
  reopen(): Promise<void> {
    return this.#task(async () => {
      await this.#options.sink.reopen()
      const last = (await this.#options.sink.lastLine?.()) ?? null
      // An empty file continues the chain of the one that was moved away; one with lines continues its own.
      if (last !== null) this.#chain = { seq: this.#seq, head: last.head }
      this.#epochDue = true
      this.#options.onRotated()
    })
  }

  /**
   * Where the lane stands, once the sink has put everything before it in safety; null when it wrote nothing in this life. An epoch that is
   * old, or whose file was rotated away, ends here.
   */
  async head(): Promise<LaneHead | null> {
    let head: LaneHead | null = null
    await this.#task(async () => {
      const { sink, clock, name } = this.#options
      if (this.#chain === null || this.#chain.head === null || this.#seq === 0) return
      await sink.sync?.().catch((cause: unknown) => {
        this.#healthy = false
        throw this.#failure('a disk that does not keep what was written', cause)
      })
      const oldest = sink.oldest?.() ?? null
      head = { device: name, boot: this.#place.boot, seq: this.#seq, head: this.#chain.head, epoch: this.#epoch, oldest }
      if (!this.#epochDue && clock.monotonicMs() - this.#epochSinceMs < epochMsMax) return
      this.#epoch += 1
      this.#epochDue = false
      this.#epochSinceMs = clock.monotonicMs()
      this.#newMacKey()
    })
    return head
  }

  /** Writes what waits, then closes the sink. Gives up on a sink that hangs. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#task(() => this.#options.sink.close(), true)
  }

  #newMacKey(): void {
    this.#mac = null
    if (this.#auditKey === null) return
    const bytes = epochKey(this.#auditKey, this.#place.boot, this.#epoch)
    this.#mac = { epoch: this.#epoch, key: new HmacKey(bytes) }
    bytes.fill(0)
  }

  #newLife(): void {
    this.#place = writingPlace(this.#place.node, this.#options.newBoot())
    this.#newLifeDue = false
    this.#seq = 0
    this.#epoch = 1
    this.#epochDue = false
    this.#epochSinceMs = this.#options.clock.monotonicMs()
    this.#newMacKey()
  }

  #failure(why: string, cause?: unknown): HoldfastError {
    this.#failures += 1
    const error = failed(this.name, why, cause)
    this.#options.onFailure(error)
    return error
  }

  /** Rejects after the time limit, or twice that from when it was asked if another operation hangs before it. */
  #task(work: () => Promise<void>, patient = false): Promise<void> {
    if (this.#stuck && !patient) return Promise.reject(failed(this.name, 'an operation that has not come back'))
    const { clock, writeMsMax } = this.#options
    return new Promise((resolve, reject) => {
      const timer = clock.setTimer(writeMsMax * 2, () => reject(failed(this.name, 'no end')))
      this.#tasks.push(() =>
        this.#guarded(work)
          .then(resolve, reject)
          .finally(() => timer.cancel()),
      )
      this.#start()
    })
  }

  #start(): void {
    if (this.#pumping) return
    this.#pumping = true
    this.#pump().catch((error: unknown) => {
      // A bug of ours, since neither a batch nor a task rejects. Whoever waits must hear of it, not wait for ever.
      this.#pumping = false
      this.#refuseWaiting('a broken queue', error)
    })
  }

  async #pump(): Promise<void> {
    while (this.#waiting.length > 0 || this.#tasks.length > 0) {
      if (this.#waiting.length > 0) {
        // What this turn of the event loop brings goes in one write, of requests that were read in it and of those that the last write let go on: a write
        // costs as much as twenty records, and the first record alone would have all others wait for it.
        await nextTurn()
        await this.#writeBatch(this.#takeBatch())
      }
      // One task between two writes at most: a flood of records must not keep a rotation waiting.
      await this.#tasks.shift()?.()
    }
    // In the same turn as the check above: a record that came in between would never be written.
    this.#pumping = false
  }

  #takeBatch(): Waiting[] {
    let chars = 0
    let count = 0
    while (count < this.#waiting.length && (count === 0 || chars + this.#waiting[count]!.body.length <= writeCharsMax)) {
      chars += this.#waiting[count]!.body.length
      count += 1
    }
    this.#waitingChars -= chars
    return this.#waiting.splice(0, count)
  }

  #refuseWaiting(why: string, cause?: unknown): void {
    for (const { refused } of this.#waiting.splice(0)) refused(this.#failure(why, cause))
    this.#waitingChars = 0
  }

  /** Never rejects. */
  async #writeBatch(batch: readonly Waiting[]): Promise<void> {
    let told = false
    const fail = (error: unknown): void => {
      if (told) return
      told = true
      const reason = error instanceof HoldfastError ? error : failed(this.name, 'a failed write', error)
      this.#failures += batch.length
      this.#healthy = false
      this.#chain = null
      this.#options.onFailure(reason)
      for (const { refused } of batch) refused(reason)
    }
    const startMs = this.#options.clock.monotonicMs()
    await this.#guarded(() => this.#write(batch), fail).catch(fail)
    if (told) return
    this.#lastWriteMs = this.#options.clock.monotonicMs() - startMs
    this.#healthy = true
    this.#records += batch.length
    for (const { done } of batch) done()
  }

  /**
   * Runs `work` under the time limit. When it is late, `onLate` is told (without it this rejects), what waits is refused, and then it is waited
   * for however long that takes: two operations at once would mix their lines. Rejects with what `work` does, or because it was late.
   */
  async #guarded(work: () => Promise<void>, onLate: (error: HoldfastError) => void = () => {}): Promise<void> {
    const { clock, writeMsMax } = this.#options
    let late: HoldfastError | null = null
    const timer = clock.setTimer(writeMsMax, () => {
      late = failed(this.name, `no answer in ${writeMsMax} ms`)
      this.#stuck = true
      onLate(late)
      this.#refuseWaiting('a write that has not come back')
    })
    try {
      await work()
    } finally {
      timer.cancel()
      if (late !== null) {
        this.#stuck = false
        // Whether its lines were written or not, the sink says.
        this.#chain = null
      }
    }
    if (late !== null) throw late
  }

  async #write(batch: readonly Waiting[]): Promise<void> {
    const { sink } = this.#options
    this.#chain ??= await this.#readChain()
    if (this.#newLifeDue) {
      this.#newLife()
      this.#chain = { seq: 0, head: this.#chain.head }
    }
    let state = this.#chain
    const last = batch.length - 1
    try {
      for (let i = 0; i <= last; i += 1) state = chainLine(batch[i]!.body, this.#place, state, i === last ? this.#mac : null, this.#lines)
      await sink.write(this.#lines)
    } finally {
      this.#lines.clear()
    }
    this.#chain = state
    this.#seq = state.seq
  }

  /** Where the sink says that the chain is: after a start or a failure. */
  async #readChain(): Promise<ChainState> {
    const { sink } = this.#options
    if (sink.lastLine === undefined) {
      // What was in the failed write may have arrived or not: nothing may follow on it.
      if (this.#seq > 0 || this.#failures > 0) this.#newLife()
      return { seq: 0, head: null }
    }
    const last = await sink.lastLine()
    // If lines of ours did arrive in a write that failed, the count goes on behind them.
    if (last !== null) this.#seq = Math.max(this.#seq, seqOf(last, this.#place))
    return { seq: this.#seq, head: last === null ? null : last.head }
  }
}

/** The number of a line of this very life; 0 for any other. */
function seqOf({ chain }: LastLine, { node, boot }: ChainPlace): number {
  return chain?.boot === boot && chain.node === node ? chain.seq : 0
}
