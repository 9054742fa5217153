/** When to try again what could not be taken back. Pure. */

/** Tries after which a lease is given up and shown to an operator. */
export const attemptsMax = 6
const firstMs = 10_000

/**
 * Milliseconds until the next try after `attempts` failed ones: 10 s, doubled with each, half of it more or less by `draw` (in [0, 1)): a provider that
 * was away must not meet all of its leases in the same moment.
 */
export function retryDelayMs(attempts: number, draw: number): number {
  const base = firstMs * 2 ** Math.min(Math.max(attempts - 1, 0), attemptsMax)
  return Math.round(base * (0.5 + draw))
}
