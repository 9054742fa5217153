import type { TokenEntry } from './types.ts'

/**
 * The lifetime that a token was given, by its creation or its last renewal, whichever gave more, in seconds; null: it never ends. What its creation gave counts
 * for good: by renewing itself for a minute a token of a month would pass for a short one.
 */
export function lifetimeSeconds({ expireTimeMs, lastRenewalTimeMs, creationTimeMs, creationTtlSeconds }: TokenEntry): number | null {
  if (expireTimeMs === null) return null
  return Math.max(creationTtlSeconds, Math.ceil((expireTimeMs - (lastRenewalTimeMs ?? creationTimeMs)) / 1_000))
}
