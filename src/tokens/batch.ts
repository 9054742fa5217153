/**
 * Batch tokens: everything about them is in the token, sealed, and nothing is stored. So making one costs no write and no fsync: a fleet that logs in at
 * once costs the log nothing. The price: they can't be renewed, counted or revoked; they end by their time, with their parent, or with their mount.
 *
 *   'b.' base64url( version 1 | incarnation u32 | length u8, namespace | salt 24 | ciphertext | tag 16 )
 *
 * Sealed by AES-256-GCM under a key and nonce of its own, both from HKDF-SHA256 over the barrier's key and the token's random salt: so however many are made,
 * no key meets a nonce twice (a bare 96-bit nonce would be used up in 2^32 tokens, which a busy cluster makes in weeks; the AWS Encryption SDK does
 * the same for each message). What stands in the clear is bound in, as associated data and in the derivation. The barrier's key outlives rotations of the
 * keyring, and is nothing that a sealed node has. A token of another incarnation is none: after a restore nobody knows what was revoked since.
 */
import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto'
import { HoldfastError } from '#base/errors.ts'
import { BoundedLru } from '#base/lru.ts'
import type { RandomSource } from '#base/random.ts'
import type { TokenEntry } from './types.ts'

const prefix = 'b.'
const version = 1
const saltBytes = 24
const keyBytes = 32
const nonceBytes = 12
const tagBytes = 16
/** Of one token: what a header may carry beside others. */
export const batchTokenCharsMax = 8_192
const openedCharsMax = 8 * 1024 * 1024

/** What the token says of itself; the rest of an entry is the same for all of them. */
type Claims = Pick<
  TokenEntry,
  | 'parentHash'
  | 'parentNamespaceId'
  | 'policies'
  | 'path'
  | 'meta'
  | 'displayName'
  | 'entityId'
  | 'role'
  | 'creationTimeMs'
  | 'creationTtlSeconds'
  | 'longestGrantSeconds'
  | 'boundCidrs'
> & { readonly mountUuid?: string }

export type BatchEntry = Claims & { readonly namespaceId: string }

export const looksLikeBatch = (token: string): boolean => token.startsWith(prefix) && token.length <= batchTokenCharsMax

export class BatchTokens {
  readonly #random: RandomSource
  readonly #incarnation: () => number
  /** Opened ones, by the token: opening costs about 20 us, and each of them comes many times. */
  readonly #opened = new BoundedLru<string, BatchEntry>({ weightMax: openedCharsMax })
  #key: Uint8Array | null = null

  constructor({ random, incarnation }: { readonly random: RandomSource; readonly incarnation: () => number }) {
    this.#random = random
    this.#incarnation = incarnation
  }

  /** 32 bytes when the barrier opens (copied), null when it seals. */
  setKey(key: Uint8Array | null): void {
    this.#opened.clear()
    this.#key?.fill(0)
    this.#key = key === null ? null : new Uint8Array(hkdfSync('sha256', key, new Uint8Array(0), 'holdfast batch tokens v1', keyBytes))
  }

  /** Drops the opened ones; how many. */
  forget(): number {
    const { size } = this.#opened
    this.#opened.clear()
    return size
  }

  /** @throws ERR_BAD_REQUEST when it would be longer than a token may be; ERR_SEALED. */
  seal({ namespaceId, ...claims }: BatchEntry): string {
    const salt = this.#random.bytes(saltBytes)
    const namespace = Buffer.from(namespaceId)
    const incarnation = Buffer.alloc(4)
    incarnation.writeUInt32BE(this.#incarnation())
    const header = Buffer.concat([Buffer.of(version), incarnation, Buffer.of(namespace.length), namespace, salt])
    const { key, nonce } = this.#derive(header)
    const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: tagBytes })
    cipher.setAAD(header)
    const sealed = Buffer.concat([header, cipher.update(JSON.stringify(claims)), cipher.final(), cipher.getAuthTag()])
    key.fill(0)
    const token = `${prefix}${sealed.toString('base64url')}`
    if (token.length <= batchTokenCharsMax) return token
    throw new HoldfastError('ERR_BAD_REQUEST', `batch token expected at most ${batchTokenCharsMax} characters, got ${token.length}`, {
      hint: 'fewer policies or less metadata, or a service token',
    })
  }

  /** null for what this cluster did not make. @throws ERR_SEALED. */
  open(token: string): BatchEntry | null {
    if (!looksLikeBatch(token)) return null
    const known = this.#opened.get(token)
    if (known !== undefined) return known
    const bytes = Buffer.from(token.slice(prefix.length), 'base64url')
    const namespaceEnd = 6 + (bytes[5] ?? 0)
    const headerEnd = namespaceEnd + saltBytes
    if (bytes[0] !== version || bytes.length < headerEnd + tagBytes || bytes.readUInt32BE(1) !== this.#incarnation()) return null
    // Another spelling of the same bytes would be another name of the same token.
    if (bytes.toString('base64url') !== token.slice(prefix.length)) return null
    const header = bytes.subarray(0, headerEnd)
    const { key, nonce } = this.#derive(header)
    const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: tagBytes })
    key.fill(0)
    decipher.setAAD(header)
    decipher.setAuthTag(bytes.subarray(bytes.length - tagBytes))
    const plain = decipher.update(bytes.subarray(headerEnd, bytes.length - tagBytes))
    try {
      decipher.final()
    } catch {
      return null
    }
    const claims = JSON.parse(plain.toString('utf8')) as Claims
    const entry: BatchEntry = { ...claims, namespaceId: header.subarray(6, namespaceEnd).toString('utf8') }
    this.#opened.set(token, entry, token.length)
    return entry
  }

  #derive(header: Uint8Array): { readonly key: Uint8Array; readonly nonce: Uint8Array } {
    if (this.#key === null) throw new HoldfastError('ERR_SEALED', 'Vault is sealed')
    const salt = header.subarray(header.length - saltBytes)
    const info = Buffer.concat([Buffer.from('holdfast batch token v1'), header.subarray(0, header.length - saltBytes)])
    const derived = new Uint8Array(hkdfSync('sha256', this.#key, salt, info, keyBytes + nonceBytes))
    return { key: derived.subarray(0, keyBytes), nonce: derived.subarray(keyBytes) }
  }
}

/** As every other token's entry. */
export const batchEntryOf = (idHash: string, { mountUuid, ...claims }: BatchEntry): TokenEntry => ({
  idHash,
  accessor: '',
  ...claims,
  type: 'batch',
  numUses: 0,
  explicitMaxTtlSeconds: 0,
  periodSeconds: 0,
  renewable: false,
  orphan: claims.parentHash === null,
  expireTimeMs: claims.creationTimeMs + claims.creationTtlSeconds * 1_000,
  lastRenewalTimeMs: null,
  ...(mountUuid === undefined ? {} : { login: { mountUuid, internal: {} } }),
})
