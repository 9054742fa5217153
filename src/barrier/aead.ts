import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto'
import { HoldfastError } from '#base/errors.ts'
import type { RandomSource } from '#base/random.ts'

export const keyBytes = 32
export const nonceBytes = 12
export const tagBytes = 16

/** One error for whatever does not open: truncated, moved, altered, or under another key. It says nothing of the content. */
export function decryptError(what: string): HoldfastError {
  return new HoldfastError('ERR_DECRYPT', `${what} expected to open under its key at its place, got an authentication failure`, {
    hint: 'the stored bytes were altered or moved, or belong to another cluster: check the disk, then restore a snapshot',
  })
}

/** AES-256-GCM of `plaintext`, written into `out` at `offset` as ciphertext, then tag. `out` must have room. */
export function gcmSealInto(
  out: Uint8Array,
  offset: number,
  key: Uint8Array,
  nonce: Uint8Array,
  aad: readonly Uint8Array[],
  plaintext: Uint8Array,
): void {
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: tagBytes })
  for (const part of aad) cipher.setAAD(part)
  out.set(cipher.update(plaintext), offset)
  cipher.final()
  out.set(cipher.getAuthTag(), offset + plaintext.length)
}

/** Opens ciphertext followed by its tag; null when it does not authenticate. The caller owns the result. */
export function gcmOpen(key: Uint8Array, nonce: Uint8Array, aad: readonly Uint8Array[], sealed: Uint8Array): Uint8Array | null {
  if (sealed.length < tagBytes) return null
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: tagBytes })
  for (const part of aad) decipher.setAAD(part)
  decipher.setAuthTag(sealed.subarray(sealed.length - tagBytes))
  const plaintext = decipher.update(sealed.subarray(0, sealed.length - tagBytes))
  try {
    decipher.final()
  } catch {
    plaintext.fill(0) // Unauthenticated plaintext must not outlive the refusal.
    return null
  }
  return new Uint8Array(plaintext.buffer, plaintext.byteOffset, plaintext.length)
}

const boxVersion = 1

/**
 * A key, or a record of keys, under another key: version 1 | nonce 12 | ciphertext | tag 16. For the few records that keys
 * themselves are kept in; values have `envelope.ts`. `place` binds the box to where it lies.
 */
export function sealBox(key: Uint8Array, place: string, plaintext: Uint8Array, random: RandomSource): Uint8Array {
  const box = new Uint8Array(1 + nonceBytes + plaintext.length + tagBytes)
  box[0] = boxVersion
  const nonce = random.bytes(nonceBytes)
  box.set(nonce, 1)
  gcmSealInto(box, 1 + nonceBytes, key, nonce, [Buffer.from(`holdfast box v1 ${place}`)], plaintext)
  return box
}

/** Opens what `sealBox` made under the same key and place. The caller owns (and wipes) the result. @throws ERR_DECRYPT. */
export function openBox(key: Uint8Array, place: string, box: Uint8Array): Uint8Array {
  if (box.length < 1 + nonceBytes + tagBytes || box[0] !== boxVersion) throw decryptError(place)
  const nonce = box.subarray(1, 1 + nonceBytes)
  const plaintext = gcmOpen(key, nonce, [Buffer.from(`holdfast box v1 ${place}`)], box.subarray(1 + nonceBytes))
  if (plaintext === null) throw decryptError(place)
  return plaintext
}

/** HKDF-SHA256 (RFC 5869) without salt: `length` bytes that only `key` and `info` give. The caller owns them. */
export function deriveKey(key: Uint8Array, info: Uint8Array | string, length = keyBytes): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', key, new Uint8Array(0), typeof info === 'string' ? Buffer.from(info) : info, length))
}

/** The key by which a node that holds the root key proves so when it joins. The caller owns (and wipes) it. */
export function deriveJoinKey(rootKey: Uint8Array): Uint8Array {
  return deriveKey(rootKey, 'raft-join')
}
