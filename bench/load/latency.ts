/**
 * Latencies of one run, in an HDR histogram: Node's own (perf_hooks is HdrHistogram_c, maintained with Node), three significant figures.
 * hdr-histogram-js is alive too, but would be a second implementation of what the runtime ships, and slower.
 *
 * Two ways in, for two ways of driving. With a rate, a request's latency counts from when it was *due*, so a stall of the server is seen by
 * every request that should have been sent meanwhile. Without one, each connection sends when it was answered, a stall is seen once a
 * connection, and the missing ones are put in afterwards (`recordCorrected`).
 */
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'

/** A minute in microseconds: an answer that takes longer counts as that. */
const micros = { lowest: 1, highest: 60_000_000, figures: 3 as const }

export interface LatencySummary {
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly p999: number
  readonly max: number
  readonly mean: number
}

export class Latencies {
  readonly #histogram: RecordableHistogram = createHistogram(micros)

  get count(): number {
    return this.#histogram.count
  }

  /** In milliseconds, as performance.now() has them. */
  record(ms: number): void {
    this.#histogram.record(clamp(ms))
  }

  /**
   * As `record`, and where it took longer than `expectedMs` (what a request takes when nothing stalls), what the requests that this connection
   * would have sent meanwhile would have waited: the latency less once, twice ... the expected one. 0: nothing is put in.
   */
  recordCorrected(ms: number, expectedMs: number): void {
    this.record(ms)
    if (expectedMs <= 0) return
    for (let missing = ms - expectedMs; missing >= expectedMs; missing -= expectedMs) this.record(missing)
  }

  add(other: Latencies): void {
    this.#histogram.add(other.#histogram)
  }

  /** In milliseconds; `part` in [0, 1]. */
  at(part: number): number {
    return this.#histogram.count === 0 ? 0 : Number(this.#histogram.percentile(Math.max(part * 100, Number.MIN_VALUE))) / 1_000
  }

  summary(): LatencySummary {
    const { count, max, mean } = this.#histogram
    const [highest, average] = count === 0 ? [0, 0] : [max / 1_000, Math.round(mean) / 1_000]
    return { p50: this.at(0.5), p90: this.at(0.9), p99: this.at(0.99), p999: this.at(0.999), max: highest, mean: average }
  }
}

function clamp(ms: number): number {
  return Math.min(micros.highest, Math.max(micros.lowest, Math.round(ms * 1_000)))
}
