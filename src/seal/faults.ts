/** Why a seal did not do what it was asked: one closed list, so that status, metrics and log name the same cause. */
import { HoldfastError, type ErrorCode, type HoldfastErrorOptions } from '#base/errors.ts'

/**
 * credentials: refused, expired or none found. network: nobody answered, or answered with a failure of its own. timeout: no answer in time.
 * throttled: too many calls. key: the key is missing, disabled or another one. missing: a library or package is not installed here.
 */
export const sealFaults = ['credentials', 'network', 'timeout', 'throttled', 'key', 'missing', 'other'] as const
export type SealFaultKind = (typeof sealFaults)[number]

/** What asking again at once may cure. Not a timeout: it has cost its time already, and whoever waits should hear of it. */
const passing: ReadonlySet<SealFaultKind> = new Set(['network', 'throttled'])

const codes: Readonly<Record<SealFaultKind, ErrorCode>> = {
  credentials: 'ERR_UPSTREAM',
  network: 'ERR_UPSTREAM',
  timeout: 'ERR_UPSTREAM',
  throttled: 'ERR_UPSTREAM',
  key: 'ERR_DECRYPT',
  missing: 'ERR_CONFIG',
  other: 'ERR_UPSTREAM',
}

/** Message and hint are our own words: what a KMS or an HSM says may hold an account's names, and is answered to whoever asks for the status. */
export class SealFault extends HoldfastError {
  readonly fault: SealFaultKind
  constructor(fault: SealFaultKind, message: string, options: HoldfastErrorOptions = {}) {
    super(codes[fault], message, options)
    this.name = 'SealFault'
    this.fault = fault
  }
  get passing(): boolean {
    return passing.has(this.fault)
  }
}

/** The kind of any error that came out of a seal. */
export function faultOf(error: unknown): SealFaultKind {
  if (error instanceof SealFault) return error.fault
  return error instanceof HoldfastError && error.code === 'ERR_DECRYPT' ? 'key' : 'other'
}
