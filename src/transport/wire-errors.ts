import { HoldfastError, errorCodes } from '#base/errors.ts'
import type { ErrorCode } from '#base/errors.ts'
import { frameValue } from './frames.ts'
import type { Frame } from './frames.ts'
import { decode, encode } from './msgpack.ts'

/** Bytes of an error's answer that are read; what is longer is no error of ours. */
export const errorBytesMax = 256 * 1024

/** An error as it crosses the wire. What is no HoldfastError becomes ERR_INTERNAL without detail: its text may quote anything. */
export function encodeError(error: unknown): Buffer {
  const known = error instanceof HoldfastError ? error : new HoldfastError('ERR_INTERNAL', 'internal error')
  const fields = { code: known.code, message: known.message, hint: known.hint, errors: known.errors }
  try {
    const bytes = encode({ ...fields, data: known.data })
    decode(bytes)
    if (bytes.length <= errorBytesMax) return bytes
  } catch {
    // `data` holds what the wire does not carry (a Date, a class): the rest of the error is worth more than no error.
  }
  return encode(fields)
}

/** The error that `encodeError` wrote; ERR_UPSTREAM if these bytes are none, or have a code that we don't know. */
export function decodeError(bytes: Uint8Array): HoldfastError {
  let value: unknown
  try {
    value = decode(bytes)
  } catch (cause) {
    return new HoldfastError('ERR_UPSTREAM', 'peer: expected an error that can be decoded, got something else', { cause })
  }
  const record = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>
  const { code, message, hint, errors, data } = record
  const known = typeof code === 'string' && Object.hasOwn(errorCodes, code)
  return new HoldfastError(known ? (code as ErrorCode) : 'ERR_UPSTREAM', typeof message === 'string' ? message : 'peer: unknown error', {
    ...(typeof hint === 'string' ? { hint } : {}),
    ...(Array.isArray(errors) && errors.every((text) => typeof text === 'string') ? { errors } : {}),
    ...(data === undefined ? {} : { data }),
  })
}

/** What a result frame says: null for success, else the error. @throws ERR_FRAME */
export function resultError(frame: Frame): HoldfastError | null {
  const value = frameValue(frame)
  const { ok, error } = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>
  if (ok === true) return null
  if (error instanceof Uint8Array) return decodeError(error)
  throw new HoldfastError('ERR_FRAME', 'result: expected success or an error, got neither')
}
