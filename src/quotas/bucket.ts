/**
 * A bucket of tokens. Pure: the caller passes the time (monotonic ms) and keeps the bucket.
 *
 * Intuition: tokens drip in at a steady rate up to a brim, and each request takes one. A level below zero is a debt: more was taken elsewhere than
 * there was, and nothing is given until it is paid. Counting requests in fixed windows would be as cheap, but lets twice the limit through at each border.
 */

export interface Bucket {
  /** As of `atMs`. May be negative. */
  tokens: number
  atMs: number
}

export interface Flow {
  readonly perMs: number
  /** The brim: what can be taken at once. At least 1, or nothing ever could. */
  readonly tokensMax: number
}

/** A sum of so many drips is a whole token, though a double says a trifle less. */
const trifle = 1e-9

/** Brings the level up to `nowMs`. An older time changes nothing. A brim that has come down spills. */
export function refill(bucket: Bucket, { perMs, tokensMax }: Flow, nowMs: number): void {
  const passedMs = Math.max(0, nowMs - bucket.atMs)
  bucket.tokens = Math.min(tokensMax, bucket.tokens + passedMs * perMs)
  bucket.atMs = Math.max(bucket.atMs, nowMs)
}

/** Takes one token if there is one. */
export function take(bucket: Bucket, flow: Flow, nowMs: number): boolean {
  refill(bucket, flow, nowMs)
  if (bucket.tokens + trifle < 1) return false
  bucket.tokens -= 1
  return true
}

/** How long until the level is `tokens`, ms; 0 when it is. Infinity when nothing drips in. The bucket must be refilled up to now. */
export function msUntil(bucket: Bucket, { perMs }: Flow, tokens: number): number {
  return bucket.tokens + trifle >= tokens ? 0 : (tokens - bucket.tokens) / perMs
}
