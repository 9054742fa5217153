import { createHmac } from 'node:crypto'
import { HmacKey } from './hmac.ts'
import { inOnePiece } from './quoted.ts'

const memoMax = 16_384
/** RFC 3339, with up to nanoseconds and an offset. */
const timePattern = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/
const timeCharsMin = 20
const timeCharsMax = 35

/**
 * Hides the values of one device's records: 'hmac-sha256:' and the HMAC in hex, under a salt of the device. The same value has the same
 * hash in the same device, on every node, so that an operator who knows a value can find who used it.
 */
export interface ValueHasher {
  /** The hash of a value of data. */
  hash(value: string | Uint8Array): string
  /** As `hash`, as a JSON string. */
  quoted(value: string | Uint8Array): string
  /** As `quoted`, remembered: for tokens and accessors, which come again with every request. */
  quotedOften(value: string): string
}

export function createValueHasher(salt: HmacKey): ValueHasher {
  const memo = new Map<string, string>()
  const quotedAny = (value: string | Uint8Array): string => `"hmac-sha256:${salt.hex(value)}"`
  // In every answer of kv: what is not set.
  let ofNothing: string | null = null
  const quotedOften = (value: string): string => {
    let text = memo.get(value)
    if (text !== undefined) return text
    // Emptied when full instead of keeping an order: an order would cost more, four times a request, than hashing again now and then.
    if (memo.size >= memoMax) memo.clear()
    memo.set(value, (text = inOnePiece(quotedAny(value))))
    return text
  }
  const quoted = (value: string | Uint8Array): string => {
    if (value === '') return (ofNothing ??= quotedAny(''))
    return typeof value === 'string' && isTime(value) ? quotedOften(value) : quotedAny(value)
  }
  return { quoted, quotedOften, hash: (value) => quoted(value).slice(1, -1) }
}

/** When a secret was made comes with each of its answers, and nobody's secret is lost to who finds a time in memory. Looked at cheaply: most values are none. */
const isTime = (value: string): boolean =>
  value.length >= timeCharsMin && value.length <= timeCharsMax && value[10] === 'T' && timePattern.test(value)

/** 32 bytes for one purpose from the audit key. The label tells purposes and devices apart. */
export const deriveKeyBytes = (key: Uint8Array, label: string): Buffer => createHmac('sha256', key).update(label).digest()

export function deriveKey(key: Uint8Array, label: string): HmacKey {
  const bytes = deriveKeyBytes(key, label)
  const derived = new HmacKey(bytes)
  bytes.fill(0)
  return derived
}

export const saltLabel = (device: string): string => `audit salt ${device}`
