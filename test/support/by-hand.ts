/** HMAC and HKDF written out over SHA-256 alone: what node:crypto's own are held against. */
import { createHash } from 'node:crypto'

/** RFC 2104 written out. */
export function hmacByHand(key: Uint8Array, message: Uint8Array): Buffer {
  const block = Buffer.alloc(64)
  block.set(key.length > 64 ? createHash('sha256').update(key).digest() : key)
  const pad = (byte: number): Buffer => block.map((each) => each ^ byte) as Buffer
  const inner = createHash('sha256').update(pad(0x36)).update(message).digest()
  return createHash('sha256').update(pad(0x5c)).update(inner).digest()
}

/** RFC 5869 written out, over the HMAC above. */
export function hkdfByHand(ikm: Uint8Array, salt: Uint8Array, info: Uint8Array, size: number): Buffer {
  if (size > 255 * 32) throw new Error('length expected at most 255 blocks')
  const prk = hmacByHand(salt.length === 0 ? Buffer.alloc(32) : salt, ikm)
  const blocks: Buffer[] = []
  for (let i = 1; (i - 1) * 32 < size; i++)
    blocks.push(hmacByHand(prk, Buffer.concat([blocks.at(-1) ?? Buffer.alloc(0), info, Buffer.from([i])])))
  return Buffer.concat(blocks).subarray(0, size)
}
