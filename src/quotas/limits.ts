/** From a quota as it is written down to the buckets that it is kept by. */
import type { Flow } from './bucket.ts'
import type { Limit } from './limiter.ts'
import { quotaId, type RateQuota } from './types.ts'

const kept = new WeakMap<RateQuota, readonly [Limit, Limit]>()

/** For whom a quota's requests are counted. */
export interface Counted {
  readonly limit: Limit
  /** Which bucket of it. */
  readonly client: string
  /** The rate as the client is told it. */
  readonly shown: number
}

/** Buckets of requests that come without an entity where entities are counted. '#' is in no quota's name. */
const secondaryMark = '#'

/** `entityId`: '' where the request has none, or it does not matter. */
export function countedFor(quota: RateQuota, client: { readonly address: string; readonly entityId: string }): Counted {
  const [main, secondary] = limitsOf(quota)
  const { groupBy, rate } = quota
  if (groupBy === 'ip') return { limit: main, client: addressGroup(client.address), shown: rate }
  if (groupBy === 'none') return { limit: main, client: '', shown: rate }
  if (client.entityId !== '') return { limit: main, client: client.entityId, shown: rate }
  const shown = quota.secondaryRate || rate
  return { limit: secondary, client: groupBy === 'entity_then_ip' ? addressGroup(client.address) : '', shown }
}

/** Whether who asks must be known first. */
export const countsEntities = ({ groupBy }: RateQuota): boolean => groupBy === 'entity_then_ip' || groupBy === 'entity_then_none'

/** What the buckets behind a limit's id fill by; null for a quota that is not there. */
export function flowOf(id: string, find: (name: string) => RateQuota | null): Flow | null {
  const isSecondary = id.endsWith(secondaryMark)
  const quota = find(isSecondary ? id.slice(0, -1) : id)
  return quota === null ? null : limitsOf(quota)[isSecondary ? 1 : 0].flow
}

function limitsOf(quota: RateQuota): readonly [Limit, Limit] {
  const known = kept.get(quota)
  if (known !== undefined) return known
  const { rate, intervalSeconds, blockSeconds, burst, secondaryRate } = quota
  const limit = (name: string, each: number): Limit => ({
    id: name,
    flow: { perMs: each / (intervalSeconds * 1_000), tokensMax: Math.max(1, burst || each) },
    blockMs: blockSeconds * 1_000,
  })
  const id = quotaId(quota)
  const made = [limit(id, rate), limit(`${id}${secondaryMark}`, secondaryRate || rate)] as const
  kept.set(quota, made)
  return made
}

/** A client with IPv6 has at least 2^64 addresses: by each of them it could begin anew. */
export function addressGroup(address: string): string {
  if (!address.includes(':')) return address
  const [head = '', tail = ''] = address.split('%', 1)[0]!.split('::')
  const left = head === '' ? [] : head.split(':')
  if (!address.includes('::')) return `${left.slice(0, 4).join(':')}::`
  const right = tail === '' ? [] : tail.split(':')
  // An IPv4 address at the end stands for two groups.
  const groups = left.length + right.length + (tail.includes('.') ? 1 : 0)
  const whole = [...left, ...Array.from({ length: Math.max(0, 8 - groups) }, () => '0'), ...right]
  return `${whole.slice(0, 4).join(':')}::`
}
