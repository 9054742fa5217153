/**
 * Read indexes: all reads that wait at one moment share one raft round. One round is under way; who comes meanwhile waits for the next, since a
 * round proves leadership only for reads that had arrived before it began.
 */
import { HoldfastError } from '#base/errors.ts'
import type { ReadState } from '#raft/types.ts'
import type { AppliedWaiters } from './waiters.ts'

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
  readonly applied: AppliedWaiters
}

export class ReadRounds {
  readonly #options: ReadRoundsOptions
  #waiting: Reader[] = []
  #round: { readonly context: number; readonly readers: Reader[]; readonly sinceMs: number } | null = null
  #context = 0
  /** Readers whose index is known and not applied yet. */
  readonly #confirmed = new Set<Reader>()
  /** After a refusal nothing is asked before the next tick or change of leader: asking at once would spin. */
  #backoff = false

  constructor(options: ReadRoundsOptions) {
    this.#options = options
  }

  get count(): number {
    return this.#waiting.length + (this.#round?.readers.length ?? 0) + this.#confirmed.size
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
    const result = { index: state.index, leaderTimeMs: state.leaderTimeMs }
    this.#settle(round.readers, result)
    this.#next(nowMs)
  }

  leaderChanged(nowMs: number): void {
    this.#backoff = false
    this.#next(nowMs)
  }

  /** Once a tick: deadlines, retries, and rounds that nobody answered. */
  tick(nowMs: number, leaderKnown: boolean): void {
    this.#backoff = false
    const { noLeaderMs, roundMs } = this.#options
    const expired = (reader: Reader): boolean => nowMs >= reader.deadlineMs || (!leaderKnown && nowMs - reader.sinceMs >= noLeaderMs)
    const round = this.#round
    if (round !== null && nowMs - round.sinceMs >= roundMs) {
      this.#round = null
      this.#waiting = [...round.readers, ...this.#waiting]
    } else if (round !== null && round.readers.some(expired)) {
      for (const reader of round.readers.filter(expired)) reader.reject(noLeader())
      this.#round = { ...round, readers: round.readers.filter((reader) => !expired(reader)) }
    }
    if (this.#waiting.some(expired)) {
      for (const reader of this.#waiting.filter(expired)) reader.reject(noLeader())
      this.#waiting = this.#waiting.filter((reader) => !expired(reader))
    }
    for (const reader of this.#confirmed) {
      // Confirmed, but this node is too far behind to answer in time.
      if (nowMs >= reader.deadlineMs) {
        this.#confirmed.delete(reader)
        reader.reject(noLeader())
      }
    }
    this.#next(nowMs)
  }

  rejectAll(error: HoldfastError): void {
    const readers = [...(this.#round?.readers ?? []), ...this.#waiting, ...this.#confirmed]
    this.#round = null
    this.#waiting = []
    this.#confirmed.clear()
    for (const reader of readers) reader.reject(error)
  }

  #next(nowMs: number): void {
    if (this.#round !== null || this.#backoff || this.#waiting.length === 0) return
    this.#context += 1
    this.#round = { context: this.#context, readers: this.#waiting, sinceMs: nowMs }
    this.#waiting = []
    this.#options.start(this.#context)
  }

  #settle(readers: readonly Reader[], result: ReadResult): void {
    for (const reader of readers) this.#confirmed.add(reader)
    this.#options.applied.wait(result.index).then(
      () => {
        for (const reader of readers) if (this.#confirmed.delete(reader)) reader.resolve(result)
      },
      (error: HoldfastError) => {
        for (const reader of readers) if (this.#confirmed.delete(reader)) reader.reject(error)
      },
    )
  }
}

function noLeader(): HoldfastError {
  return new HoldfastError('ERR_NO_LEADER', 'no leader confirmed this read in time', {
    hint: 'a majority of the voters must be up and reach each other; see the status of the nodes',
  })
}
