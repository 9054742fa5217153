import type { TokenEntry } from './types.ts'

/** The lifetime that a token was last given, by its creation or its last renewal, in seconds; null: it never ends. */
export function lifetimeSeconds({ expireTimeMs, lastRenewalTimeMs, creationTimeMs }: TokenEntry): number | null {
  return expireTimeMs === null ? null : Math.ceil((expireTimeMs - (lastRenewalTimeMs ?? creationTimeMs)) / 1_000)
}
