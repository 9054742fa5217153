/** `vault:v<version>:<base64 of nonce, ciphertext, tag>`, as the field writes it, so that clients and other clusters read each other's. */
import { gcmOpen, gcmSealInto, nonceBytes, tagBytes } from '#barrier/aead.ts'
import { HoldfastError } from '#base/errors.ts'
import type { RandomSource } from '#base/random.ts'
import type { TransitKey } from './key.ts'

const bad = (message: string, hint?: string): HoldfastError =>
  new HoldfastError('ERR_BAD_REQUEST', message, hint === undefined ? {} : { hint })

function materialOf(key: TransitKey, version: number): Uint8Array {
  const stored = key.versions[String(version)]
  if (stored === undefined) throw bad('invalid ciphertext: version is too new')
  return new Uint8Array(Buffer.from(stored.key, 'base64'))
}

/** The version to encrypt with; 0 asks for the newest. @throws ERR_BAD_REQUEST. */
function versionToUse(key: TransitKey, asked: number): number {
  if (asked === 0) return key.latest
  if (asked < 0 || asked > key.latest) throw bad('requested version for encryption is higher than the latest key version')
  if (asked < Math.max(key.minEncryption, key.minDecryption))
    throw bad('requested version for encryption is less than the minimum encryption key version')
  return asked
}

export interface Encrypted {
  readonly ciphertext: string
  readonly key_version: number
}

/** @throws ERR_BAD_REQUEST. */
export function encrypt(key: TransitKey, plaintext: Uint8Array, associated: Uint8Array, asked: number, random: RandomSource): Encrypted {
  const version = versionToUse(key, asked)
  const material = materialOf(key, version)
  const sealed = new Uint8Array(nonceBytes + plaintext.length + tagBytes)
  const nonce = random.bytes(nonceBytes)
  sealed.set(nonce)
  gcmSealInto(sealed, nonceBytes, material, nonce, [associated], plaintext)
  material.fill(0)
  return { ciphertext: `vault:v${version}:${Buffer.from(sealed).toString('base64')}`, key_version: version }
}

/** The caller owns (and wipes) the result. @throws ERR_BAD_REQUEST with the peers' texts. */
export function decrypt(key: TransitKey, ciphertext: string, associated: Uint8Array): Uint8Array {
  if (!ciphertext.startsWith('vault:v')) throw bad('invalid ciphertext: no prefix')
  const match = /^vault:v(\d{1,9}):([A-Za-z0-9+/]*={0,2})$/.exec(ciphertext)
  if (match === null) throw bad('invalid ciphertext: wrong number of fields')
  const version = Number(match[1])
  if (version < 1) throw bad('invalid ciphertext: version 0 is not known')
  if (version > key.latest) throw bad('invalid ciphertext: version is too new')
  if (version < key.minDecryption)
    throw bad('ciphertext or signature version is disallowed by policy (too old)', 'lower min_decryption_version')
  const sealed = new Uint8Array(Buffer.from(match[2] ?? '', 'base64'))
  const material = materialOf(key, version)
  const plaintext = gcmOpen(material, sealed.subarray(0, nonceBytes), [associated], sealed.subarray(nonceBytes))
  material.fill(0)
  if (plaintext === null) throw bad('invalid ciphertext: unable to decrypt', 'is it of this key, with the same associated_data?')
  return plaintext
}
