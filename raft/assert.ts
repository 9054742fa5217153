/** A broken promise of the core or of its driver. Never a peer's doing: what peers send is dropped and counted. */
export class RaftInvariantError extends Error {
  override readonly name = 'RaftInvariantError'
}

/**
 * Stops the node when the impossible happened. Going on would turn one wrong index into a wrong log on a majority of disks.
 * Pass a function where building the message costs something.
 */
export function invariant(condition: boolean, message: string | (() => string)): asserts condition {
  if (condition) return
  throw new RaftInvariantError(typeof message === 'string' ? message : message())
}

/** Terms and indexes stay below this, so that adding one, or a batch, never leaves the safe integers. */
export const counterMax = Number.MAX_SAFE_INTEGER - 2 ** 32

/** A term, index or round number as it may come from a peer. */
export function isCounter(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= counterMax
}
