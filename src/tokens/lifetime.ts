import type { TokenEntry } from './types.ts'

/**
 * The longest lifetime that a token was given, in seconds; null: it never ends. What was given once counts for good: by renewing itself for a minute a token
 * of a month would pass for a short one.
 */
export function lifetimeSeconds({
  expireTimeMs,
  lastRenewalTimeMs,
  creationTimeMs,
  creationTtlSeconds,
  longestGrantSeconds = 0,
}: TokenEntry): number | null {
  if (expireTimeMs === null) return null
  const lastGrantSeconds = Math.ceil((expireTimeMs - (lastRenewalTimeMs ?? creationTimeMs)) / 1_000)
  return Math.max(creationTtlSeconds, longestGrantSeconds, lastGrantSeconds)
}

/** What an entry keeps of it: nothing where its creation says as much, as most do. */
export const longestGrant = (seconds: number, { creationTtlSeconds }: Pick<TokenEntry, 'creationTtlSeconds'>) =>
  seconds > creationTtlSeconds ? { longestGrantSeconds: seconds } : {}
