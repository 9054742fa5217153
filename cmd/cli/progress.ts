/** How far a long transfer is, on one line of a terminal that is written over. Where no terminal is, nothing. */
import { systemClock } from '#base/clock.ts'
import type { Io } from './io.ts'

const everyMs = 250
const kib = 1_024

/** '12.3 MiB' */
export function sizeText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes
  let unit = 0
  while (value >= kib && unit < units.length - 1) {
    value /= kib
    unit += 1
  }
  return unit === 0 ? `${bytes} B` : `${value.toFixed(1)} ${units[unit]}`
}

export class Progress {
  readonly #io: Io
  readonly #verb: string
  readonly #total: number | null
  readonly #startedMs = systemClock.monotonicMs()
  #shownMs = -Infinity

  /** `total` null: nobody knows how much there is. */
  constructor(io: Io, verb: string, total: number | null) {
    this.#io = io
    this.#verb = verb
    this.#total = total
  }

  at(bytes: number): void {
    const nowMs = systemClock.monotonicMs()
    if (!this.#io.stderrIsTty || nowMs - this.#shownMs < everyMs) return
    this.#shownMs = nowMs
    const seconds = Math.max(0.001, (nowMs - this.#startedMs) / 1_000)
    const share =
      this.#total === null || this.#total === 0 ? '' : ` of ${sizeText(this.#total)} (${Math.floor((100 * bytes) / this.#total)}%)`
    this.#io.err(`\r\u001b[K${this.#verb} ${sizeText(bytes)}${share}, ${sizeText(Math.round(bytes / seconds))}/s`)
  }

  /** Takes the line away. */
  end(): void {
    if (this.#io.stderrIsTty && this.#shownMs > -Infinity) this.#io.err('\r\u001b[K')
  }

  get seconds(): number {
    return (systemClock.monotonicMs() - this.#startedMs) / 1_000
  }
}
