/**
 * What the configuration of the node says of lifetimes, where neither a mount nor a request says more: `default_lease_ttl` and `max_lease_ttl`. Set once, before anything
 * is served; the same on every node of a cluster, since whoever leads decides.
 */
import { limits } from './limits.ts'

interface Lifetimes {
  defaultSeconds: number
  maxSeconds: number
}

const current: Lifetimes = { defaultSeconds: limits.ttlSecondsDefault, maxSeconds: limits.ttlSecondsMax }

/** Of the system, in seconds. */
export const lifetimes: Readonly<Lifetimes> = current

/** Sets both; gives back what they were before, for tests. */
export function setLifetimes({ defaultSeconds, maxSeconds }: Readonly<Lifetimes>): Readonly<Lifetimes> {
  const before = { ...current }
  current.defaultSeconds = defaultSeconds
  current.maxSeconds = maxSeconds
  return before
}
