/**
 * One device's way to its sink: one write at a time, and what comes meanwhile goes with the next one (group commit).
 *
 * A record is chained when its write begins, not when it is handed in: a write that fails must leave no gap. After a failure, or a
 * write that came back too late, the chain goes on from what the sink says its last line is.
 *
 * A sink that hangs holds up nobody: what waits for it fails after a time limit, and what comes later fails at once until it moves again.
 */
import { assert } from '#base/assert.ts'
import type { Clock } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'
import type { HmacKey } from './hmac.ts'
import { chainLine, lineHash } from './chain.ts'
import type { ChainPlace, ChainState } from './chain.ts'
import type { AuditSink } from './types.ts'

const waitingMax = 20_000
const waitingCharsMax = 64 * 1024 * 1024
/** One write carries at most so much: a longer one would hold the thread pool's slot and the deadline of all its records. */
const writeCharsMax = 4 * 1024 * 1024

interface Waiting {
  readonly body: string
  readonly resolve: () => void
  readonly reject: (error: HoldfastError) => void
}

export interface LaneOptions {
  readonly name: string
  readonly sink: AuditSink
  readonly place: ChainPlace
  readonly clock: Clock
  readonly writeMsMax: number
}

export interface LaneStatus {
  readonly records: number
  readonly failures: number
  readonly waiting: number
  /** A write has not come back in time. */
  readonly stuck: boolean
}

const failed = (name: string, why: string, cause?: unknown): HoldfastError =>
  new HoldfastError(
    'ERR_AUDIT',
    `audit device ${JSON.stringify(name)} expected to take the record, got ${why}`,
    cause === undefined ? {} : { cause },
  )

export class Lane {
  readonly #options: LaneOptions
  #macKey: HmacKey | null = null
  /** null: to be read from the sink before the next write. */
  #chain: ChainState | null = null
  /** Of this boot; survives rotations and failed writes. */
  #seq = 0
  #waiting: Waiting[] = []
  #waitingChars = 0
  #pumping = false
  #stuck = false
  #closed = false
  #tasks: (() => Promise<void>)[] = []
  #records = 0
  #failures = 0

  constructor(options: LaneOptions) {
    assert(options.writeMsMax > 0, 'a device without a time limit could hold up every request')
    this.#options = options
  }

  get name(): string {
    return this.#options.name
  }

  status(): LaneStatus {
    return { records: this.#records, failures: this.#failures, waiting: this.#waiting.length, stuck: this.#stuck }
  }

  setMacKey(key: HmacKey | null): void {
    this.#macKey = key
  }

  /** Resolves when the sink has the record. @throws ERR_AUDIT. */
  append(body: string): Promise<void> {
    if (this.#closed) return Promise.reject(this.#failure('a device that is closed'))
    if (this.#stuck) return Promise.reject(this.#failure('a write that has not come back'))
    if (this.#waiting.length >= waitingMax || this.#waitingChars + body.length > waitingCharsMax) {
      return Promise.reject(this.#failure('a full queue'))
    }
    this.#waitingChars += body.length
    return new Promise((resolve, reject) => {
      this.#waiting.push({ body, resolve, reject })
      this.#start()
    })
  }

  /** Opens the sink anew (after a rotation), between two writes; the chain goes on. */
  reopen(): Promise<void> {
    return this.#task(async () => {
      await this.#options.sink.reopen()
      const last = (await this.#options.sink.lastLine?.()) ?? null
      // An empty file continues the chain of the one that was moved away; one with lines continues its own.
      if (last !== null) this.#chain = { seq: this.#seq, head: lineHash(last) }
    })
  }

  /** Writes what waits, then closes the sink. Gives up on a sink that hangs. */
  async close(): Promise<void> {
    this.#closed = true
    const closing = this.#task(() => this.#options.sink.close())
    await this.#inTime(closing, 'no end')
  }

  #failure(why: string, cause?: unknown): HoldfastError {
    this.#failures += 1
    return failed(this.name, why, cause)
  }

  #task(work: () => Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#tasks.push(() => work().then(resolve, reject))
      this.#start()
    })
  }

  #start(): void {
    if (this.#pumping) return
    this.#pumping = true
    this.#pump().catch((error: unknown) => {
      // A bug of ours, since neither a batch nor a task rejects. Whoever waits must hear of it, not wait for ever.
      this.#pumping = false
      for (const { reject } of this.#waiting.splice(0)) reject(this.#failure('a broken queue', error))
      this.#waitingChars = 0
    })
  }

  async #pump(): Promise<void> {
    // Let the records of this turn of the event loop gather: they go in one write.
    await Promise.resolve()
    while (this.#waiting.length > 0 || this.#tasks.length > 0) {
      if (this.#waiting.length > 0) await this.#writeBatch(this.#takeBatch())
      else await this.#tasks.shift()?.()
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

  /** Never rejects. */
  async #writeBatch(batch: readonly Waiting[]): Promise<void> {
    const write = this.#write(batch)
    try {
      await this.#inTime(write, `no answer in ${this.#options.writeMsMax} ms`)
      this.#records += batch.length
      for (const { resolve } of batch) resolve()
    } catch (error) {
      const reason = error instanceof HoldfastError ? error : failed(this.name, 'a failed write', error)
      this.#failures += batch.length
      this.#chain = null
      for (const { reject } of batch) reject(reason)
      if (this.#stuck) await this.#waitForStuck(write)
    }
  }

  /** Refuses what waits behind a write that hangs, then waits for it however long that takes: two writes at once would mix their lines. */
  async #waitForStuck(write: Promise<void>): Promise<void> {
    for (const { reject } of this.#waiting.splice(0)) reject(this.#failure('a write that has not come back'))
    this.#waitingChars = 0
    await write.catch(() => {}) // Its records were told already.
    this.#stuck = false
    // Whether its lines were written or not, the file says.
    this.#chain = null
  }

  async #write(batch: readonly Waiting[]): Promise<void> {
    const { sink, place } = this.#options
    this.#chain ??= await this.#readChain()
    let state = this.#chain
    const lines = batch.map(({ body }) => {
      const chained = chainLine(body, place, state, this.#macKey)
      state = chained.state
      return chained.line
    })
    await sink.write(lines)
    this.#chain = state
    this.#seq = state.seq
  }

  /** Where the sink says that the chain is: after a start or a failure. */
  async #readChain(): Promise<ChainState> {
    const last = (await this.#options.sink.lastLine?.()) ?? null
    // If lines of ours did arrive in a write that failed, the count goes on behind them.
    if (last !== null) this.#seq = Math.max(this.#seq, seqOf(last, this.#options.place))
    return { seq: this.#seq, head: last === null ? null : lineHash(last) }
  }

  /** Rejects with ERR_AUDIT after the time limit, and marks the lane as stuck. */
  #inTime(work: Promise<void>, why: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = this.#options.clock.setTimer(this.#options.writeMsMax, () => {
        this.#stuck = true
        reject(failed(this.name, why))
      })
      work.then(resolve, reject).finally(() => timer.cancel())
    })
  }
}

/** The number of a line of this very boot; 0 for any other. */
function seqOf(line: string, place: ChainPlace): number {
  const chain = line.lastIndexOf('"chain":{')
  const mark = `"node":${JSON.stringify(place.node)},"boot":${JSON.stringify(place.boot)},`
  return chain >= 0 && line.startsWith(mark, chain + 9) ? Number(/"seq":(\d+)/.exec(line.slice(chain))?.[1] ?? 0) : 0
}
