/** A lease as it is stored, and what it is worth at a moment. */
import { HoldfastError } from '#base/errors.ts'
import { checkVersion } from '#base/formats.ts'

const formatVersion = 1

/** What somebody was lent, and who takes it back: the engine of the mount, by `type`. */
export interface SecretLease {
  readonly kind: 'secret'
  /** REQUEST_PATH/KEY. */
  readonly id: string
  readonly namespaceId: string
  /** Of the mount that lent it, which may have been moved since. */
  readonly mountUuid: string
  /** Which of the engine's lease handlers. */
  readonly type: string
  /** For the handlers alone: what is needed to take it back. */
  readonly internal: Readonly<Record<string, unknown>>
  /** Storage name of the token that it belongs to and ends with; '': of none. */
  readonly tokenHash: string
  /** Where that lies, if not in the lease's own namespace. */
  readonly tokenNamespaceId?: string
  readonly issueTimeMs: number
  /** Not valid from here on. */
  readonly expireTimeMs: number
  readonly lastRenewalTimeMs: number | null
  readonly renewable: boolean
  /** Renewed at most to here. */
  readonly endTimeMs: number
  /** It has ended, and is to be taken back; absent while it is good. */
  readonly ending?: LeaseEnding
}

export interface LeaseEnding {
  /** When it is next tried; what the index of dues says. */
  readonly dueMs: number
  /** Tries that failed. */
  readonly attempts: number
  /** Of the last one, without secrets; '' before the first. */
  readonly error: string
  /** Taken off the books even if it can't be taken back. */
  readonly force: boolean
  /** Given up: an operator must look at it. Since when; absent: it is still tried. */
  readonly irrevocableSinceMs?: number
}

/** Of a token: what it says stands in the token's own entry, whose storage name is the last segment of the id. */
export interface TokenLease {
  readonly kind: 'token'
  readonly id: string
  readonly namespaceId: string
}

export type Lease = SecretLease | TokenLease

/** The last segment of a lease's id: 24 random characters, or the storage name of a token. */
export const leaseKey = (id: string): string => id.slice(id.lastIndexOf('/') + 1)

export const encodeLease = (lease: Lease): Uint8Array => {
  const { id: _id, namespaceId: _namespaceId, ...rest } = lease
  return Buffer.from(JSON.stringify({ version: formatVersion, ...rest }))
}

/** @throws ERR_UPGRADE_REQUIRED for a later format; ERR_STORE_CORRUPT for what is none. */
export function decodeLease(namespaceId: string, id: string, bytes: Uint8Array): Lease {
  let parsed: Record<string, unknown> & { version?: unknown }
  try {
    parsed = JSON.parse(Buffer.from(bytes).toString('utf8')) as typeof parsed
  } catch {
    throw new HoldfastError('ERR_STORE_CORRUPT', 'expected a lease to be JSON')
  }
  if (!checkVersion('lease', formatVersion, parsed.version))
    throw new HoldfastError('ERR_STORE_CORRUPT', 'expected a lease with its version')
  const { version: _version, ...rest } = parsed
  return { ...rest, id, namespaceId } as unknown as Lease
}

/** Whether it is good: what is due is not, whether or not anybody has come to take it back. */
export const isGood = (lease: SecretLease, nowMs: number): boolean => lease.ending === undefined && lease.expireTimeMs > nowMs

export const isIrrevocable = (lease: SecretLease): boolean => lease.ending?.irrevocableSinceMs !== undefined

/** When it stands in the index of dues; null: it does not. */
export const dueMsOf = ({ ending, expireTimeMs }: SecretLease): number | null => {
  if (ending === undefined) return expireTimeMs
  return ending.irrevocableSinceMs === undefined ? ending.dueMs : null
}
