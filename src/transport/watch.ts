import type { Clock } from '#base/clock.ts'

/** Something that must go on: when it has not for `ms`, it is told, once. */
export interface Watched {
  /** Says that it goes on. */
  progress(): void
  /** No longer looked at. */
  done(): void
}

interface Entry {
  progressMs: number
  readonly msMax: number
  readonly stalled: () => void
}

/**
 * Stall detection for any number of streams with one timer: whoever owns it calls `look` at every pulse.
 * A timer for each stream would cost more than the streams do.
 */
export class StallWatch {
  readonly #clock: Clock
  readonly #entries = new Set<Entry>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  watch(msMax: number, stalled: () => void): Watched {
    const entry: Entry = { progressMs: this.#clock.monotonicMs(), msMax, stalled }
    this.#entries.add(entry)
    return {
      progress: () => {
        entry.progressMs = this.#clock.monotonicMs()
      },
      done: () => {
        this.#entries.delete(entry)
      },
    }
  }

  look(): void {
    const now = this.#clock.monotonicMs()
    for (const entry of this.#entries) {
      if (now - entry.progressMs <= entry.msMax) continue
      this.#entries.delete(entry)
      entry.stalled()
    }
  }
}
