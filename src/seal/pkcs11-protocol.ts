/** What the seal asks of the process that talks to the HSM, and what that answers: one request a process. */

export interface Pkcs11Settings {
  readonly library: string
  /** Either is enough; both must agree. */
  readonly slot: number | null
  readonly tokenLabel: string | null
  readonly keyLabel: string
  /** CKA_ID in hex; null: there must be one key of that label. */
  readonly keyId: string | null
  /** null: by the kind of the key. */
  readonly mechanism: Pkcs11Mechanism | null
  readonly oaepHash: OaepHash
  readonly generateKey: boolean
  readonly readWrite: boolean
}

export const mechanisms = ['aes-gcm', 'rsa-oaep'] as const
export type Pkcs11Mechanism = (typeof mechanisms)[number]
export const oaepHashes = ['sha1', 'sha256', 'sha384', 'sha512'] as const
export type OaepHash = (typeof oaepHashes)[number]

/** Which key wrapped, and how: kept beside the ciphertext, so that it is found after the configuration names another. */
export interface Pkcs11Wrapped {
  readonly keyLabel: string
  readonly keyId: string
  readonly mechanism: Pkcs11Mechanism
  readonly oaepHash: OaepHash
  /** Nonce and ciphertext with tag for AES-GCM; the block for RSA. */
  readonly nonce: Uint8Array
  readonly ciphertext: Uint8Array
}

export type Pkcs11Request = { readonly settings: Pkcs11Settings; readonly pin: Uint8Array; readonly place: Uint8Array } & (
  | { readonly kind: 'wrap'; readonly plaintext: Uint8Array; readonly nonce: Uint8Array }
  | { readonly kind: 'unwrap'; readonly wrapped: Pkcs11Wrapped }
)

/** `stage` is what was being done; `code` is the HSM's own, such as CKR_PIN_INCORRECT. */
export type Pkcs11Answer =
  | { readonly kind: 'wrapped'; readonly wrapped: Pkcs11Wrapped }
  | { readonly kind: 'unwrapped'; readonly plaintext: Uint8Array }
  | { readonly kind: 'failed'; readonly stage: Pkcs11Stage; readonly code: string }

export type Pkcs11Stage = 'package' | 'library' | 'token' | 'login' | 'key' | 'crypto'
