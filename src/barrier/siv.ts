import { createCipheriv, createDecipheriv } from 'node:crypto'
import type { CipherGCM, DecipherGCM } from 'node:crypto'
import { concatBytes } from './bytes.ts'

export const sivTagBytes = 16

// node:crypto's types know the tag length only of GCM, CCM, OCB and ChaCha20-Poly1305.
const options = { authTagLength: sivTagBytes } as object

/** AES-256-SIV (RFC 5297) of `plaintext` (at least a byte) with one string of associated data: tag, then ciphertext. `key`: 64 bytes. */
export function sivSeal(key: Uint8Array, aad: Uint8Array, plaintext: Uint8Array): Uint8Array {
  const cipher = createCipheriv('aes-256-siv', key, null, options) as CipherGCM
  cipher.setAAD(aad)
  const ciphertext = cipher.update(plaintext)
  cipher.final()
  return concatBytes(cipher.getAuthTag(), ciphertext)
}

/** Opens what `sivSeal` made; null when it does not authenticate. */
export function sivOpen(key: Uint8Array, aad: Uint8Array, sealed: Uint8Array): Buffer | null {
  if (sealed.length <= sivTagBytes) return null
  const decipher = createDecipheriv('aes-256-siv', key, null, options) as DecipherGCM
  decipher.setAuthTag(sealed.subarray(0, sivTagBytes))
  decipher.setAAD(aad)
  try {
    const plaintext = decipher.update(sealed.subarray(sivTagBytes))
    decipher.final()
    return plaintext
  } catch {
    return null
  }
}
