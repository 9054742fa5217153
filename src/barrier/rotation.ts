/** When the keyring gets a term by itself: by count, well before a key could have sealed as often as NIST allows, and by age. */
import type { BarrierStatus } from './types.ts'

export interface RotationPolicy {
  readonly enabled: boolean
  /** Uses of a term after which the next one is due. */
  readonly maxOperations: number
  /** Age of a term after which the next one is due; 0: age does not matter. */
  readonly intervalMs: number
}

/** A tenth less than the 2^32 random nonces of NIST SP 800-38D, 8.3; what the peers use, so a cluster that is moved here rotates as before. */
const operationsMax = 3_865_470_566
const operationsMin = 1_000_000
const dayMs = 24 * 3_600_000

/** What a policy may say. */
export const rotationBounds = { operationsMin, operationsMax, intervalMsMin: dayMs, intervalMsMax: 100 * 366 * dayMs } as const

export const rotationDefault: RotationPolicy = { enabled: true, maxOperations: operationsMax, intervalMs: 0 }

/** Why a term more is due at `nowMs` (the leader's clock); null when none is, or this node is sealed. */
export function rotationDue(status: BarrierStatus, policy: RotationPolicy, nowMs: number): 'operations' | 'age' | null {
  const { keyringTerm, keyringTermCreatedMs, encryptions } = status
  if (!policy.enabled || status.sealed || keyringTerm === null) return null
  if (encryptions >= policy.maxOperations) return 'operations'
  const ageMs = nowMs - (keyringTermCreatedMs ?? nowMs)
  return policy.intervalMs > 0 && ageMs >= policy.intervalMs ? 'age' : null
}
