/**
 * Reads the whole state once in a while, slowly: values that rot where nobody reads them are found while the other nodes still have them. Bounded in
 * bytes a second, and in what it reads between two turns of the event loop; one at a time.
 */
import { sleep, type Clock } from '#base/clock.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import type { StateStore } from '#store/types.ts'
import type { ScrubReport } from './digests.ts'

export interface ScrubHost {
  readonly state: StateStore
  readonly clock: Clock
  readonly logger: Logger
  /** Neither failed, stopped nor being repaired. */
  healthy(): boolean
  /** The state on the disk is not what its record says; null: it is. */
  found(reason: HoldfastError | null): void
}

export interface ScrubSettings {
  /** From the end of one to the beginning of the next; 0: only on demand. */
  readonly scrubIntervalMs: number
  readonly scrubBytesPerSecondMax: number
}

export interface ScrubStatus {
  readonly running: boolean
  /** Of the one under way. */
  readonly bytesRead: number
  readonly last: ScrubReport | null
}

class Ended extends Error {}

const firstAfterMsMax = 60_000
/** Owed pauses shorter than this are gathered. */
const pauseMsMin = 5

export class Scrubber {
  readonly #host: ScrubHost
  readonly #settings: ScrubSettings
  #running: Promise<void> | null = null
  #bytesRead = 0
  #last: ScrubReport | null = null
  #nextMs: number
  #stopped = false

  constructor(host: ScrubHost, settings: ScrubSettings) {
    this.#host = host
    this.#settings = settings
    // The first one soon: what happened to the disk while the node was down is found early.
    this.#nextMs = host.clock.monotonicMs() + Math.min(settings.scrubIntervalMs, firstAfterMsMax)
  }

  status(): ScrubStatus {
    return { running: this.#running !== null, bytesRead: this.#running === null ? 0 : this.#bytesRead, last: this.#last }
  }

  tick(): void {
    const { scrubIntervalMs } = this.#settings
    if (scrubIntervalMs > 0 && this.#host.clock.monotonicMs() >= this.#nextMs) this.request()
  }

  /** Begins one now, unless one is under way. */
  request(): void {
    if (this.#running !== null || this.#stopped || !this.#host.healthy()) return
    this.#bytesRead = 0
    this.#running = this.#scrub().finally(() => {
      this.#running = null
      this.#nextMs = this.#host.clock.monotonicMs() + this.#settings.scrubIntervalMs
    })
  }

  /** Resolves once none is under way. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#running
  }

  /** Never rejects. */
  async #scrub(): Promise<void> {
    const { state, clock, logger } = this.#host
    const { applied } = state.meta
    try {
      const { index, pairs, bytes } = await state.scrub((read) => this.#pace(read))
      this.#last = { endedMs: clock.nowMs(), ok: true, index, bytes }
      this.#host.found(null)
      logger.info({ index, pairs, bytes }, 'the state on the disk is what its digest says')
    } catch (error) {
      // Ended, stopped, or overtaken by a snapshot: nothing was found.
      if (
        error instanceof Ended ||
        isHoldfastError(error, 'ERR_SHUTTING_DOWN') ||
        isHoldfastError(error, 'ERR_BUSY') ||
        !this.#host.healthy()
      )
        return
      this.#last = { endedMs: clock.nowMs(), ok: false, index: applied, bytes: this.#bytesRead }
      this.#host.found(
        isHoldfastError(error, 'ERR_STORE_CORRUPT')
          ? error
          : new HoldfastError('ERR_STORE_CORRUPT', 'state: could not be read from the disk', { cause: error }),
      )
    }
  }

  #owedMs = 0
  async #pace(bytes: number): Promise<void> {
    this.#bytesRead += bytes
    this.#owedMs += (bytes * 1_000) / this.#settings.scrubBytesPerSecondMax
    const pauseMs = Math.max(1, Math.floor(this.#owedMs))
    if (this.#owedMs >= pauseMsMin) {
      this.#owedMs -= pauseMs
      await sleep(this.#host.clock, pauseMs)
    }
    if (this.#stopped || !this.#host.healthy()) throw new Ended()
  }
}
