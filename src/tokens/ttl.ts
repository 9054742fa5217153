/** How long a token lives. Pure; seconds throughout, 0 meaning "not set". */
import { formatDuration } from '#base/duration.ts'
import type { TokenEntry } from './types.ts'

export interface TtlLimits {
  readonly defaultTtlSeconds: number
  readonly maxTtlSeconds: number
}

export interface TtlRequest {
  readonly ttlSeconds: number
  readonly periodSeconds: number
  readonly explicitMaxTtlSeconds: number
}

export interface GrantedTtl {
  readonly ttlSeconds: number
  readonly periodSeconds: number
  readonly explicitMaxTtlSeconds: number
  readonly warnings: readonly string[]
}

const exceeded = (what: string, asked: number, max: number): string =>
  `${what} of "${formatDuration(asked)}" exceeded the effective max_ttl of "${formatDuration(max)}"; ${what} value is capped accordingly`

/** The lower of two limits, 0 being none. */
export const shorter = (a: number, b: number): number => (a > 0 && b > 0 ? Math.min(a, b) : Math.max(a, b))

/** What a new token gets: a period replaces the TTL and outlives the mount's maximum by renewal; the explicit maximum is never outlived. */
export function grantTtl(request: TtlRequest, limits: TtlLimits): GrantedTtl {
  const warnings: string[] = []
  let { explicitMaxTtlSeconds, periodSeconds } = request
  if (explicitMaxTtlSeconds > limits.maxTtlSeconds) {
    warnings.push(
      `Explicit max TTL of "${formatDuration(explicitMaxTtlSeconds)}" is greater than system/mount allowed value; value is being capped to "${formatDuration(limits.maxTtlSeconds)}"`,
    )
    explicitMaxTtlSeconds = limits.maxTtlSeconds
  }
  if (periodSeconds > limits.maxTtlSeconds) {
    warnings.push(exceeded('period', periodSeconds, limits.maxTtlSeconds))
    periodSeconds = limits.maxTtlSeconds
  }
  let ttlSeconds = periodSeconds || request.ttlSeconds || limits.defaultTtlSeconds
  const max = explicitMaxTtlSeconds > 0 ? explicitMaxTtlSeconds : limits.maxTtlSeconds
  if (ttlSeconds > max) {
    warnings.push(exceeded('TTL', ttlSeconds, max))
    ttlSeconds = max
  }
  return { ttlSeconds, periodSeconds, explicitMaxTtlSeconds, warnings }
}

/** What a renewal at `nowMs` gives; `ttlSeconds` <= 0: the token has reached its end and can't be renewed. */
export function renewedTtl(
  entry: TokenEntry,
  nowMs: number,
  incrementSeconds: number,
  limits: TtlLimits,
): { readonly ttlSeconds: number; readonly warnings: readonly string[] } {
  const periodic = entry.periodSeconds > 0
  const asked = periodic
    ? Math.min(entry.periodSeconds, limits.maxTtlSeconds)
    : incrementSeconds || entry.creationTtlSeconds || limits.defaultTtlSeconds
  const max = entry.explicitMaxTtlSeconds > 0 ? Math.min(entry.explicitMaxTtlSeconds, limits.maxTtlSeconds) : limits.maxTtlSeconds
  if (periodic && entry.explicitMaxTtlSeconds === 0) return { ttlSeconds: asked, warnings: [] }
  const leftSeconds = Math.floor((entry.creationTimeMs + max * 1_000 - nowMs) / 1_000)
  if (asked <= leftSeconds) return { ttlSeconds: asked, warnings: [] }
  return { ttlSeconds: leftSeconds, warnings: leftSeconds > 0 ? [exceeded('TTL', asked, max)] : [] }
}
