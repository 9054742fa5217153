/**
 * A key's value as the simulated service stores it: version, text and which attempt wrote it, under a checksum bound to its key, as the barrier's
 * cipher binds it in production: a value that the disk got wrong is refused and never answered with.
 */
import { crc32c } from '@node-rs/crc32'

export interface Value {
  readonly version: number
  readonly text: string | null
  /** Which call of `propose` wrote it: unique in a run. */
  readonly attempt: number
}

export const section = new Uint8Array([1])

export function keyBytes(key: string): Uint8Array {
  return new Uint8Array(Buffer.from(`\x10${key}`, 'latin1'))
}

export function encodeValue(key: string, { version, text, attempt }: Value): Uint8Array {
  const body = Buffer.from(JSON.stringify([version, text, attempt]))
  const out = Buffer.alloc(4 + body.length)
  out.set(body, 4)
  out.writeUInt32BE(crc32c(Buffer.concat([Buffer.from(key), body])), 0)
  return out
}

/** @throws Error when it is not what was written under `key`. */
export function decodeValue(key: string, bytes: Uint8Array | undefined): Value {
  if (bytes === undefined) return { version: 0, text: null, attempt: 0 }
  const whole = Buffer.from(bytes)
  const body = whole.subarray(4)
  if (whole.length < 5 || crc32c(Buffer.concat([Buffer.from(key), body])) !== whole.readUInt32BE(0)) throw new ValueRefused()
  const [version, text, attempt] = JSON.parse(body.toString()) as [number, string | null, number]
  return { version, text, attempt }
}

export class ValueRefused extends Error {}
