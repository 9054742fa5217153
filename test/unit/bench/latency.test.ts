import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Latencies } from '../../../bench/load/latency.ts'

/** Slow twin: every latency kept, in whole microseconds as the histogram has them. */
class AllLatencies {
  readonly micros: number[] = []

  record(ms: number): void {
    this.micros.push(Math.min(60_000_000, Math.max(1, Math.round(ms * 1_000))))
  }

  recordCorrected(ms: number, expectedMs: number): void {
    this.record(ms)
    if (expectedMs <= 0) return
    for (let missing = ms - expectedMs; missing >= expectedMs; missing -= expectedMs) this.record(missing)
  }

  /** The value of the nearest rank. */
  at(part: number): number {
    const sorted = this.micros.toSorted((a, b) => a - b)
    return (sorted[Math.max(0, Math.floor(part * sorted.length + 0.5) - 1)] ?? 0) / 1_000
  }
}

/** Three significant figures. */
const near = (got: number, wanted: number): boolean => Math.abs(got - wanted) <= wanted / 1_000 + 0.0011

test('percentiles are those of all latencies, to three figures, corrected or not', () => {
  const latencies = fc.array(fc.double({ min: 0, max: 3_000, noNaN: true }), { minLength: 1, maxLength: 200 })
  fc.assert(
    fc.property(latencies, fc.constantFrom(0, 0.7, 5, 120), fc.constantFrom(0.5, 0.9, 0.99, 0.999, 1), (values, expectedMs, part) => {
      const [fast, slow] = [new Latencies(), new AllLatencies()]
      for (const value of values) {
        fast.recordCorrected(value, expectedMs)
        slow.recordCorrected(value, expectedMs)
      }
      expect(fast.count).toBe(slow.micros.length)
      expect(near(fast.at(part), slow.at(part)), `${part}: ${fast.at(part)} and ${slow.at(part)}`).toBe(true)
      expect(near(fast.summary().max, slow.at(1))).toBe(true)
    }),
    { numRuns: 300 },
  )
})

test('a stall of a second is seen as often as requests would have been sent in it', () => {
  const [plain, corrected] = [new Latencies(), new Latencies()]
  for (let i = 0; i < 999; i += 1) for (const each of [plain, corrected]) each.recordCorrected(1, 1)
  plain.record(1_000)
  corrected.recordCorrected(1_000, 1)
  expect(plain.at(0.99), 'one connection, one stall: hidden').toBeCloseTo(1, 1)
  expect(corrected.count).toBe(999 + 1_000)
  expect(corrected.at(0.75)).toBeGreaterThan(490)
})

test('what was measured in several turns is one histogram', () => {
  const [a, b, both] = [new Latencies(), new Latencies(), new Latencies()]
  a.record(1)
  b.record(3)
  both.add(a)
  both.add(b)
  expect(both.count).toBe(2)
  expect(both.summary().max).toBe(b.summary().max)
  expect(near(both.summary().mean, 2)).toBe(true)
  expect(new Latencies().summary(), 'of nothing').toEqual({ p50: 0, p90: 0, p99: 0, p999: 0, max: 0, mean: 0 })
})
