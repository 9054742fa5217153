/**
 * Time as a parameter. Below `node/` nobody reads a clock or sets a timer but through this, so that a simulation can replay a run.
 */
export interface Timer {
  /** Cancels; does nothing if it has fired. */
  cancel(): void
}

export interface Clock {
  /** Wall-clock milliseconds since the Unix epoch. May jump. */
  nowMs(): number
  /** Monotonic milliseconds from an arbitrary origin, with fractions. Never jumps back. */
  monotonicMs(): number
  /** Calls `fire` once after `delayMs`. An exception in `fire` is the process's: callers handle their own errors. */
  setTimer(delayMs: number, fire: () => void): Timer
}

/** The machine's clock. Only `node/`, `cmd/`, `bench/` and tests create one. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  setTimer(delayMs, fire) {
    const handle = setTimeout(fire, delayMs)
    return { cancel: () => clearTimeout(handle) }
  },
}

/** Resolves after `delayMs` on `clock`. */
export function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    clock.setTimer(delayMs, resolve)
  })
}
