/** Tokens as the field's clients read them. */
import { formatRfc3339 } from '#base/rfc3339.ts'
import type { TokenEntry } from './types.ts'

/** The `auth` part of an answer; structurally the core's AuthResponse. */
export interface TokenAuth {
  client_token: string
  accessor: string
  policies: string[]
  token_policies: string[]
  identity_policies?: string[]
  metadata: Record<string, string> | null
  lease_duration: number
  renewable: boolean
  entity_id: string
  token_type: string
  orphan: boolean
  mfa_requirement: null
  num_uses: number
}

/** Seconds until the token expires; 0 for one that never does. */
export const ttlSeconds = (entry: TokenEntry, nowMs: number): number =>
  entry.expireTimeMs === null ? 0 : Math.max(0, Math.ceil((entry.expireTimeMs - nowMs) / 1_000))

/**
 * `data` of a token lookup. `token` is the token itself; '' when it was found by its accessor. `identityPolicies`: what it has besides, through its
 * entity and groups.
 */
export function lookupData(
  entry: TokenEntry,
  nowMs: number,
  token = '',
  identityPolicies: readonly string[] = [],
): Record<string, unknown> {
  const { expireTimeMs, lastRenewalTimeMs } = entry
  return {
    id: token,
    accessor: entry.accessor,
    policies: entry.policies,
    path: entry.path,
    meta: entry.meta,
    display_name: entry.displayName,
    num_uses: entry.numUses,
    orphan: entry.orphan,
    creation_time: Math.floor(entry.creationTimeMs / 1_000),
    creation_ttl: entry.creationTtlSeconds,
    expire_time: expireTimeMs === null ? null : formatRfc3339(expireTimeMs),
    ttl: ttlSeconds(entry, nowMs),
    explicit_max_ttl: entry.explicitMaxTtlSeconds,
    entity_id: entry.entityId,
    type: entry.type,
    ...(identityPolicies.length > 0 ? { identity_policies: identityPolicies } : {}),
    ...(entry.role === undefined ? {} : { role: entry.role }),
    ...(entry.periodSeconds > 0 ? { period: entry.periodSeconds } : {}),
    ...(entry.boundCidrs.length > 0 ? { bound_cidrs: entry.boundCidrs } : {}),
    ...(lastRenewalTimeMs === null
      ? {}
      : { last_renewal: formatRfc3339(lastRenewalTimeMs), last_renewal_time: Math.floor(lastRenewalTimeMs / 1_000) }),
    ...(expireTimeMs === null ? {} : { renewable: entry.renewable, issue_time: formatRfc3339(entry.creationTimeMs) }),
  }
}

/** `auth` of a login, creation or renewal. The only place, beside `lookupData`, where a token is written out. */
export function authResponse(entry: TokenEntry, token: string, nowMs: number, identityPolicies: readonly string[] = []): TokenAuth {
  return {
    client_token: token,
    accessor: entry.accessor,
    policies: identityPolicies.length > 0 ? [...new Set([...entry.policies, ...identityPolicies])].toSorted() : [...entry.policies],
    token_policies: [...entry.policies],
    ...(identityPolicies.length > 0 ? { identity_policies: [...identityPolicies] } : {}),
    metadata: entry.meta === null ? null : { ...entry.meta },
    lease_duration: ttlSeconds(entry, nowMs),
    renewable: entry.renewable,
    entity_id: entry.entityId,
    token_type: entry.type,
    orphan: entry.orphan,
    mfa_requirement: null,
    num_uses: entry.numUses,
  }
}
