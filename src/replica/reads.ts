/**
 * Read indexes: all reads that wait at one moment share one raft round. One round is under way; who comes meanwhile waits for the next, since a
 * round proves leadership only for reads that had arrived before it began.
 */
import { HoldfastError } from '#base/errors.ts'
import type { ReadState } from '#raft/types.ts'

export interface ReadResult {
  readonly index: number
  readonly leaderTimeMs: number
}

interface Reader {
  readonly sinceMs: number
  readonly deadlineMs: number
  readonly resolve: (result: ReadResult) => void
  readonly reject: (error: HoldfastError) => void
}

export interface ReadRoundsOptions {
  readonly readersMax: number
  /** With no leader known, a read fails after this long and not at its own deadline. */
  readonly noLeaderMs: number
  /** A round that got no answer at all is given up after this long. */
  readonly roundMs: number
  /** Starts a raft read with this context. */
  readonly start: (context: number) => void
}

/** Readers whose index is known; they wait until it is applied here. */
interface Confirmed {
  readonly result: ReadResult
  readers: readonly Reader[]
}

export class ReadRounds {
  readonly #options: ReadRoundsOptions
  #waiting: Reader[] = []
  #round: { readonly context: number; readonly readers: Reader[]; readonly sinceMs: number } | null = null
  #context = 0
  /** In order of their index, but for what a change of leader may mix. */
  #confirmed: Confirmed[] = []
  #applied: number
  /** After a refusal nothing is asked before the next tick or change of leader: asking at once would spin. */
  #backoff = false

  constructor(options: ReadRoundsOptions, applied: number) {
    this.#options = options
    this.#applied = applied
  }

  /** Everybody who waits, for whatever. */
  get count(): number {
    const confirmed = this.#confirmed.reduce((sum, { readers }) => sum + readers.length, 0)
    return this.#waiting.length + (this.#round?.readers.length ?? 0) + confirmed
  }

  request(nowMs: number, timeoutMs: number): Promise<ReadResult> {
    return new Promise((resolve, reject) => {
      if (this.count >= this.#options.readersMax) {
        reject(
          new HoldfastError('ERR_BUSY', `too many reads wait: expected at most ${this.#options.readersMax}`, {
            hint: 'try again in a moment',
          }),
        )
        return
      }
      this.#waiting.push({ sinceMs: nowMs, deadlineMs: nowMs + timeoutMs, resolve, reject })
      this.#next(nowMs)
    })
  }

  /** Takes an answer of raft. */
  answer(state: ReadState, nowMs: number): void {
    const round = this.#round
    // An answer to a round that was given up: its readers are in a later one.
    if (round === null || round.context !== state.context) return
    this.#round = null
    if (state.index === null) {
      this.#waiting = [...round.readers, ...this.#waiting]
      this.#backoff = true
      return
    }
    this.#confirmed.push({ result: { index: state.index, leaderTimeMs: state.leaderTimeMs }, readers: round.readers })
    this.advance(this.#applied)
    this.#next(nowMs)
  }

  /** This node has applied up to `applied`. */
  advance(applied: number): void {
    this.#applied = applied
    if (!this.#confirmed.some(({ result }) => result.index <= applied)) return
    const ready = this.#confirmed.filter(({ result }) => result.index <= applied)
    this.#confirmed = this.#confirmed.filter(({ result }) => result.index > applied)
    for (const { result, readers } of ready) for (const reader of readers) reader.resolve(result)
  }

  leaderChanged(nowMs: number): void {
    this.#backoff = false
    // Whoever was asked no longer leads: waiting for its answer would cost every reader the whole time that a lost round is given.
    if (this.#round !== null) this.#waiting = [...this.#round.readers, ...this.#waiting]
    this.#round = null
    this.#next(nowMs)
  }

  /** Once a tick: deadlines, retries, and rounds that nobody answered. */
  tick(nowMs: number, leaderKnown: boolean): void {
    this.#backoff = false
    const { noLeaderMs, roundMs } = this.#options
    const expired = (reader: Reader): boolean => nowMs >= reader.deadlineMs || (!leaderKnown && nowMs - reader.sinceMs >= noLeaderMs)
    const kept = (readers: readonly Reader[], late: (reader: Reader) => boolean): Reader[] => {
      for (const reader of readers) if (late(reader)) reader.reject(noLeader())
      return readers.filter((reader) => !late(reader))
    }
    if (this.#round !== null) {
      const readers = kept(this.#round.readers, expired)
      const lost = nowMs - this.#round.sinceMs >= roundMs
      this.#waiting = lost ? [...readers, ...this.#waiting] : this.#waiting
      this.#round = lost ? null : { ...this.#round, readers }
    }
    if (this.#waiting.some(expired)) this.#waiting = kept(this.#waiting, expired)
    // Confirmed, but this node is too far behind to answer in time.
    for (const group of this.#confirmed) group.readers = kept(group.readers, (reader) => nowMs >= reader.deadlineMs)
    this.#confirmed = this.#confirmed.filter(({ readers }) => readers.length > 0)
    this.#next(nowMs)
  }

  rejectAll(error: HoldfastError): void {
    const readers = [...(this.#round?.readers ?? []), ...this.#waiting, ...this.#confirmed.flatMap((group) => group.readers)]
    this.#round = null
    this.#waiting = []
    this.#confirmed = []
    for (const reader of readers) reader.reject(error)
  }

  #next(nowMs: number): void {
    if (this.#round !== null || this.#backoff || this.#waiting.length === 0) return
    this.#context += 1
    this.#round = { context: this.#context, readers: this.#waiting, sinceMs: nowMs }
    this.#waiting = []
    this.#options.start(this.#context)
  }
}

function noLeader(): HoldfastError {
  return new HoldfastError('ERR_NO_LEADER', 'no leader confirmed this read in time', {
    hint: 'a majority of the voters must be up and reach each other; see the status of the nodes',
  })
}
