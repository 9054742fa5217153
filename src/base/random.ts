import { randomBytes } from 'node:crypto'

/** Randomness as a parameter: production hands in the kernel's, a simulation a seeded one. */
export interface RandomSource {
  /** `length` fresh random bytes; the caller owns them. */
  bytes(length: number): Uint8Array
}

/** The kernel's random source. Only `node/`, `cmd/` and tests hand it in. */
export const systemRandom: RandomSource = {
  bytes: (length) => new Uint8Array(randomBytes(length)),
}

const base62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** `length` characters of [0-9A-Za-z], uniform (by rejection: a modulo would favour the first letters). */
export function randomBase62(random: RandomSource, length: number): string {
  let text = ''
  while (text.length < length) {
    for (const byte of random.bytes(length + 16)) {
      if (byte < 248 && text.length < length) text += base62[byte % 62]
    }
  }
  return text
}

/** A random UUID, version 4 (RFC 9562). */
export function randomUuid(random: RandomSource): string {
  const bytes = random.bytes(16)
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
  const hex = Buffer.from(bytes).toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

/** At least 0, below 1. */
export function randomFraction(random: RandomSource): number {
  const bytes = random.bytes(4)
  return Buffer.from(bytes).readUInt32BE(0) / 2 ** 32
}
