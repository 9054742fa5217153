/**
 * The one error class of Holdfast and its closed table of codes.
 *
 * A code decides the HTTP status, so that no handler ever chooses one by hand, and two rooms can't answer the same failure
 * differently. Messages are what a client of Vault or OpenBao matches on: where those have an exact string, we use it.
 * No message, hint or cause may ever carry a secret, a token or a key: lengths, names and codes only.
 */

/** code -> HTTP status. `docs/errors.md` lists every code and no other; a test holds the two together. */
export const errorCodes = {
  ERR_BAD_REQUEST: 400,
  ERR_CAS_MISMATCH: 400,
  ERR_CAS_REQUIRED: 400,
  ERR_ALREADY_INITIALIZED: 400,
  ERR_NOT_INITIALIZED: 400,
  ERR_BAD_SHARE: 400,
  ERR_BAD_JOIN_TOKEN: 400,
  ERR_MOUNT_EXISTS: 400,
  ERR_POLICY_SYNTAX: 400,
  ERR_RELATIVE_PATH: 400,
  ERR_CONFIG: 400,
  ERR_MEMBERSHIP: 400,
  ERR_REQUEST_ID_REUSED: 400,
  ERR_SNAPSHOT_DAMAGED: 400,
  ERR_SNAPSHOT_FOREIGN: 400,
  ERR_BAD_CREDENTIALS: 400,
  ERR_PERMISSION_DENIED: 403,
  ERR_NOT_FOUND: 404,
  ERR_NO_ROUTE: 404,
  ERR_UNSUPPORTED_OPERATION: 405,
  ERR_TIMEOUT: 408,
  ERR_NAMESPACE_DELETING: 409,
  ERR_NAMESPACE_NOT_EMPTY: 409,
  ERR_PRECONDITION: 412,
  ERR_BODY_TOO_LARGE: 413,
  ERR_UNSUPPORTED_MEDIA_TYPE: 415,
  ERR_HEADERS_TOO_LARGE: 431,
  ERR_RATE_LIMITED: 429,
  ERR_INTERNAL: 500,
  ERR_AUDIT: 500,
  ERR_DONE_NOT_AUDITED: 500,
  ERR_OUTCOME_UNKNOWN: 500,
  ERR_ANSWER_NOT_KEPT: 500,
  ERR_UPSTREAM: 502,
  ERR_SNAPSHOT_TARGET: 502,
  ERR_SEALED: 503,
  ERR_NAMESPACE_SEALED: 503,
  ERR_NAMESPACE_LOCKED: 503,
  ERR_NO_LEADER: 503,
  ERR_NOT_LEADER: 503,
  ERR_NO_MAJORITY: 503,
  ERR_BUSY: 503,
  ERR_TIME_LIMIT: 503,
  ERR_SHUTTING_DOWN: 503,
  ERR_CONFLICT: 503,
  ERR_STORE_CORRUPT: 503,
  ERR_STORE_FAILED: 503,
  ERR_STATE_REPAIR: 503,
  ERR_DECRYPT: 500,
  ERR_FRAME: 400,
  ERR_PEER_REFUSED: 403,
  ERR_UNPROVEN: 503,
  ERR_UPGRADE_REQUIRED: 503,
} as const

export type ErrorCode = keyof typeof errorCodes

export interface HoldfastErrorOptions extends ErrorOptions {
  /** What the reader can do about it, one sentence, no secret. */
  readonly hint?: string
  /** When the answer has more than one error string (or none). Defaults to [message]. */
  readonly errors?: readonly string[]
  /** Answered as `data` beside `errors`. */
  readonly data?: unknown
  /** When it makes sense to try again: answered as `Retry-After`. */
  readonly retryAfterSeconds?: number
}

export class HoldfastError extends Error {
  readonly code: ErrorCode
  readonly hint: string | undefined
  readonly errors: readonly string[]
  readonly data: unknown
  readonly retryAfterSeconds: number | undefined
  constructor(code: ErrorCode, message: string, options: HoldfastErrorOptions = {}) {
    super(message, options)
    this.name = 'HoldfastError'
    this.code = code
    this.hint = options.hint
    this.errors = options.errors ?? [message]
    this.data = options.data
    this.retryAfterSeconds = options.retryAfterSeconds
  }
  /** The HTTP status that this error is answered with. */
  get status(): number {
    return errorCodes[this.code]
  }
}

/** True if `error` is a HoldfastError, of the given code where one is given. */
export function isHoldfastError(error: unknown, code?: ErrorCode): error is HoldfastError {
  return error instanceof HoldfastError && (code === undefined || error.code === code)
}

/** Error texts of the field that clients match on, letter by letter. */
export const wellKnown = {
  permissionDenied: 'permission denied',
  /** A policy's denial is rendered as Go's multierror renders one error; clients match on it. */
  policyDenied: '1 error occurred:\n\t* permission denied\n\n',
  sealed: 'Vault is sealed',
  notInitialized: 'server is not yet initialized',
  alreadyInitialized: 'Vault is already initialized',
  casMismatch: 'check-and-set parameter did not match the current version',
  casRequired: 'check-and-set parameter required for this call',
  unsupportedOperation: 'unsupported operation',
  noRoute: (path: string): string => `no handler for route "${path}". route entry not found.`,
} as const
