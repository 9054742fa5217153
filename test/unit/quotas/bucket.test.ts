import fc from 'fast-check'
import { expect, test } from 'vitest'
import { msUntil, refill, take, type Bucket } from '#quotas/bucket.ts'

/** Twin: whole millionths of a token, a millisecond at a time. */
class SlowBucket {
  #millionths: number
  #atMs = 0
  readonly #perMs: number
  readonly #brim: number
  constructor(perMs: number, brim: number) {
    this.#perMs = perMs
    this.#brim = brim * 1_000_000
    this.#millionths = this.#brim
  }
  take(nowMs: number): boolean {
    for (; this.#atMs < nowMs; this.#atMs += 1) this.#millionths = Math.min(this.#brim, this.#millionths + this.#perMs)
    if (this.#millionths < 1_000_000) return false
    this.#millionths -= 1_000_000
    return true
  }
}

test('a bucket lets through what its slow twin does', () => {
  let refused = 0
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 400_000 }),
      fc.integer({ min: 1, max: 5 }),
      fc.array(fc.nat({ max: 40 }), { minLength: 1, maxLength: 60 }),
      (perMs, brim, gapsMs) => {
        const slow = new SlowBucket(perMs, brim)
        const bucket: Bucket = { tokens: brim, atMs: 0 }
        let nowMs = 0
        for (const gapMs of gapsMs) {
          nowMs += gapMs
          const allowed = take(bucket, { perMs: perMs / 1_000_000, tokensMax: brim }, nowMs)
          if (!allowed) refused += 1
          if (allowed !== slow.take(nowMs)) return false
        }
        return true
      },
    ),
    { numRuns: 2_000 },
  )
  expect(refused, 'buckets that ran dry').toBeGreaterThan(1_000)
})

test('in any window no more passes than brim and rate allow', () => {
  const flow = { perMs: 0.01, tokensMax: 3 }
  const bucket: Bucket = { tokens: 3, atMs: 0 }
  const passed: number[] = []
  for (let ms = 0; ms < 5_000; ms += 7) if (take(bucket, flow, ms)) passed.push(ms)
  for (const from of passed) {
    for (const window of [100, 500, 2_000]) {
      expect(passed.filter((at) => at >= from && at < from + window).length).toBeLessThanOrEqual(3 + window * 0.01)
    }
  }
  expect(passed.length).toBeGreaterThanOrEqual(50)
})

test('time that goes back gives nothing; a brim that comes down spills; the wait is as long as it says', () => {
  const bucket: Bucket = { tokens: 0, atMs: 1_000 }
  refill(bucket, { perMs: 1, tokensMax: 10 }, 500)
  expect(bucket).toEqual({ tokens: 0, atMs: 1_000 })
  refill(bucket, { perMs: 1, tokensMax: 10 }, 1_100)
  expect(bucket.tokens).toBe(10)
  refill(bucket, { perMs: 1, tokensMax: 2 }, 1_100)
  expect(bucket.tokens).toBe(2)
  const flow = { perMs: 0.002, tokensMax: 1 }
  const dry: Bucket = { tokens: -0.5, atMs: 0 }
  expect(msUntil(dry, flow, 1)).toBe(750)
  expect(take(dry, flow, 749)).toBe(false)
  expect(take(dry, flow, 750)).toBe(true)
  expect(msUntil({ tokens: 0, atMs: 0 }, { perMs: 0, tokensMax: 1 }, 1)).toBe(Infinity)
})

test('ten tenths of a token are one, though doubles sum them to a trifle less', () => {
  const bucket: Bucket = { tokens: 0, atMs: 0 }
  const flow = { perMs: 0.1, tokensMax: 5 }
  for (let ms = 1; ms < 10; ms += 1) expect(take(bucket, flow, ms)).toBe(false)
  refill(bucket, flow, 10)
  expect(bucket.tokens).toBeLessThan(1)
  expect(msUntil(bucket, flow, 1)).toBe(0)
  expect(take(bucket, flow, 10)).toBe(true)
})
