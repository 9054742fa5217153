import { HoldfastError, isHoldfastError } from '#base/errors.ts'

/** What is on the disk is not what was acknowledged. `what` names the file or record, never its content. */
export function storeCorrupt(what: string, hint?: string, cause?: unknown): HoldfastError {
  return new HoldfastError('ERR_STORE_CORRUPT', what, {
    hint:
      hint ??
      'do not delete parts of the folder: stop this node, keep the folder for inspection, and let a node with a new id join in its place',
    cause,
  })
}

/** Damage that must not be mended from peers: what it concerns can't be known from anywhere else. */
const beyondRepair = new WeakSet<Error>()

/** As `storeCorrupt`, where a repair would be a guess: the vote of this node, or whose store this is. */
export function storeLost(what: string, hint?: string): HoldfastError {
  const error = storeCorrupt(what, hint)
  beyondRepair.add(error)
  return error
}

export function isRepairable(error: unknown): error is HoldfastError {
  return isHoldfastError(error, 'ERR_STORE_CORRUPT') && !beyondRepair.has(error)
}

/** A write, a sync or an open failed. Final for the store that reports it: nothing may be acknowledged after it. */
export function storeFailed(what: string, cause?: unknown): HoldfastError {
  const code = errnoOf(cause)
  return new HoldfastError('ERR_STORE_FAILED', code === undefined ? what : `${what}: ${code}`, {
    hint: hintOf(code),
    cause,
  })
}

function hintOf(code: string | undefined): string {
  if (code === 'ENOSPC' || code === 'EDQUOT') return 'free some space on the disk of the data folder, then restart this node'
  if (code === 'LEVEL_LOCKED') return 'another process has this data folder open: stop it first'
  if (code === 'EACCES' || code === 'EROFS') return 'the data folder must be writable by the user of this process'
  return 'look into the system log for errors of the disk, then restart this node; it comes back only with what it can verify'
}

/** The innermost `code` of an error and its causes (LevelDB's and Node's errors both carry one). */
export function errnoOf(error: unknown): string | undefined {
  let found: string | undefined
  let current: unknown = error
  for (let depth = 0; depth < 5 && current instanceof Error; depth += 1) {
    const code: unknown = (current as { code?: unknown }).code
    if (typeof code === 'string') found = code
    current = current.cause
  }
  return found
}
