/**
 * Which implementation is held against which vectors. "Ours" are the functions that production calls (over node:crypto); node:crypto by itself covers the sizes
 * that we do not use, and another implementation (@noble/ciphers, or the definition written out) answers each question once more.
 */
import { createCipheriv, createDecipheriv, createHmac, createPublicKey, hkdfSync, timingSafeEqual, verify } from 'node:crypto'
import type { CipherGCM, DecipherGCM } from 'node:crypto'
import { aessiv, gcm, gcmsiv } from '@noble/ciphers/aes.js'
import { hchacha, xchacha20poly1305 } from '@noble/ciphers/chacha.js'
import { deriveKey, gcmOpen, gcmSealInto } from '#barrier/aead.ts'
import { sivOpen, sivSeal } from '#barrier/siv.ts'
import { hkdfByHand, hmacByHand } from './by-hand.ts'
import { bytesOf, type Vector, type VectorGroup } from './vectors.ts'

export interface Implementation {
  readonly name: string
  /** Whether the vector lies within what it is for; what does not is counted and named by the test. */
  takes(vector: Vector, group: VectorGroup): boolean
  /** Whether it accepts the vector: opens or verifies what is given, and makes the same where it can. */
  accepts(vector: Vector, group: VectorGroup): boolean
}

export interface Suite {
  readonly algorithm: string
  readonly file: string
  readonly implementations: readonly Implementation[]
}

/** An authenticated cipher: seals to ciphertext and tag, opens to null or the plaintext. Either may throw: that is a refusal. */
interface Aead {
  seal(key: Uint8Array, iv: Uint8Array, aad: Uint8Array, plaintext: Uint8Array): Uint8Array
  open(key: Uint8Array, iv: Uint8Array, aad: Uint8Array, sealed: Uint8Array): Uint8Array | null
}

const everything = (): boolean => true
const same = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && timingSafeEqual(a, b)

function attempt<T>(work: () => T): T | null {
  try {
    return work()
  } catch {
    return null
  }
}

/** Accepts a vector that opens, and is then held to sealing the same bytes: one that opens what it would not make is broken, whatever the vector says. */
function aeadImplementation(name: string, takes: Implementation['takes'], aead: Aead): Implementation {
  return {
    name,
    takes,
    accepts(vector) {
      const [key, iv, aad, msg] = ['key', 'iv', 'aad', 'msg'].map((field) => bytesOf(vector, field)) as [Buffer, Buffer, Buffer, Buffer]
      const sealed = Buffer.concat([bytesOf(vector, 'ct'), bytesOf(vector, 'tag')])
      const opened = attempt(() => aead.open(key, iv, aad, sealed))
      if (opened === null) return false
      if (!same(opened, msg)) throw new Error(`${name} opened vector ${vector.tcId} to another plaintext`)
      if (!same(aead.seal(key, iv, aad, msg), sealed)) throw new Error(`${name} sealed vector ${vector.tcId} to other bytes`)
      return true
    },
  }
}

/** node:crypto's cipher `name`, the tag behind the ciphertext, or before it (SIV). */
function nodeAead(name: (key: Uint8Array) => string, options: { readonly tagFirst?: boolean; readonly iv?: boolean } = {}): Aead {
  const lengths = { authTagLength: 16 } as object
  const ivOf = (iv: Uint8Array): Uint8Array | null => (options.iv === false ? null : iv)
  return {
    seal(key, iv, aad, plaintext) {
      const cipher = createCipheriv(name(key), key, ivOf(iv), lengths) as CipherGCM
      cipher.setAAD(aad)
      const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()])
      return Buffer.concat(options.tagFirst === true ? [cipher.getAuthTag(), ciphertext] : [ciphertext, cipher.getAuthTag()])
    },
    open(key, iv, aad, sealed) {
      const decipher = createDecipheriv(name(key), key, ivOf(iv), lengths) as DecipherGCM
      const tagAt = options.tagFirst === true ? 0 : sealed.length - 16
      decipher.setAuthTag(sealed.subarray(tagAt, tagAt + 16))
      decipher.setAAD(aad)
      const ciphertext = options.tagFirst === true ? sealed.subarray(16) : sealed.subarray(0, tagAt)
      return Buffer.concat([decipher.update(ciphertext), decipher.final()])
    },
  }
}

interface NobleCipher {
  encrypt(plaintext: Uint8Array): Uint8Array
  decrypt(ciphertext: Uint8Array): Uint8Array
}

const nobleAead = (make: (key: Uint8Array, iv: Uint8Array, aad: Uint8Array) => NobleCipher): Aead => ({
  seal: (key, iv, aad, plaintext) => make(key, iv, aad).encrypt(plaintext),
  open: (key, iv, aad, sealed) => make(key, iv, aad).decrypt(sealed),
})

const ourGcm: Aead = {
  seal(key, iv, aad, plaintext) {
    const sealed = new Uint8Array(plaintext.length + 16)
    gcmSealInto(sealed, 0, key, iv, [aad], plaintext)
    return sealed
  },
  open: (key, iv, aad, sealed) => gcmOpen(key, iv, [aad], sealed),
}

const ourSiv: Aead = {
  seal: (key, _iv, aad, plaintext) => sivSeal(key, aad, plaintext),
  open: (key, _iv, aad, sealed) => sivOpen(key, aad, sealed),
}

const words = (bytes: Uint8Array): Uint32Array => new Uint32Array(Uint8Array.from(bytes).buffer)
const chachaConstants = words(Buffer.from('expand 32-byte k'))

/** XChaCha20-Poly1305 by its definition: HChaCha20 gives the key for node:crypto's ChaCha20-Poly1305, which has no long nonces by itself. */
const xchachaByNode: Aead = (() => {
  const inner = (key: Uint8Array, iv: Uint8Array): [Uint8Array, Uint8Array] => {
    if (iv.length !== 24) throw new Error(`nonce expected 24 bytes, got ${iv.length}`)
    const out = new Uint32Array(8)
    hchacha(chachaConstants, words(key), words(iv.subarray(0, 16)), out)
    return [new Uint8Array(out.buffer), Buffer.concat([Buffer.alloc(4), iv.subarray(16)])]
  }
  const node = nodeAead(() => 'chacha20-poly1305')
  return {
    seal: (key, iv, aad, plaintext) => node.seal(...inner(key, iv), aad, plaintext),
    open: (key, iv, aad, sealed) => node.open(...inner(key, iv), aad, sealed),
  }
})()

const macImplementation = (name: string, mac: (key: Uint8Array, message: Uint8Array) => Buffer): Implementation => ({
  name,
  takes: everything,
  accepts(vector) {
    const tag = bytesOf(vector, 'tag')
    return same(mac(bytesOf(vector, 'key'), bytesOf(vector, 'msg')).subarray(0, tag.length), tag)
  },
})

type Hkdf = (ikm: Uint8Array, salt: Uint8Array, info: Uint8Array, size: number) => Uint8Array

const hkdfImplementation = (name: string, takes: Implementation['takes'], hkdf: Hkdf): Implementation => ({
  name,
  takes,
  accepts(vector) {
    const [ikm, salt, info] = ['ikm', 'salt', 'info'].map((field) => bytesOf(vector, field)) as [Buffer, Buffer, Buffer]
    const made = attempt(() => hkdf(ikm, salt, info, Number(vector['size'])))
    return made !== null && same(made, bytesOf(vector, 'okm'))
  },
})

const ed25519Implementation = (name: string, keyOf: (pk: Buffer) => ReturnType<typeof createPublicKey>): Implementation => ({
  name,
  takes: everything,
  accepts: (vector, group) =>
    attempt(() => verify(null, bytesOf(vector, 'msg'), keyOf(Buffer.from(group.publicKey?.pk ?? '', 'hex')), bytesOf(vector, 'sig'))) ===
    true,
})

const spkiHead = Buffer.from('302a300506032b6570032100', 'hex')

export const suites: readonly Suite[] = [
  {
    algorithm: 'AES-GCM',
    file: 'aes_gcm_test.json',
    implementations: [
      aeadImplementation('ours', (_, { keySize, ivSize }) => keySize === 256 && ivSize === 96, ourGcm),
      // Nonces of more than 128 bytes OpenSSL has no room for.
      aeadImplementation(
        'node:crypto',
        (_, { ivSize = 0 }) => ivSize <= 1_024,
        nodeAead((key) => `aes-${key.length * 8}-gcm`),
      ),
      // Short nonces it refuses by itself, for good reasons.
      aeadImplementation('@noble/ciphers', (_, { ivSize = 0 }) => ivSize === 0 || ivSize >= 64, nobleAead(gcm)),
    ],
  },
  {
    algorithm: 'AES-SIV',
    file: 'aes_siv_cmac_test.json',
    implementations: [
      // No segment of a path is empty: pathSegments refuses it.
      aeadImplementation('ours', (vector, { keySize }) => keySize === 512 && vector['msg'] !== '', ourSiv),
      aeadImplementation(
        'node:crypto',
        (vector) => vector['msg'] !== '',
        nodeAead((key) => `aes-${key.length * 4}-siv`, { tagFirst: true, iv: false }),
      ),
      aeadImplementation(
        '@noble/ciphers',
        everything,
        nobleAead((key, _iv, aad) => aessiv(key, aad)),
      ),
    ],
  },
  {
    algorithm: 'AES-GCM-SIV',
    file: 'aes_gcm_siv_test.json',
    implementations: [
      aeadImplementation(
        'node:crypto',
        everything,
        nodeAead((key) => `aes-${key.length * 8}-gcm-siv`),
      ),
      aeadImplementation('@noble/ciphers', everything, nobleAead(gcmsiv)),
    ],
  },
  {
    algorithm: 'XChaCha20-Poly1305',
    file: 'xchacha20_poly1305_test.json',
    implementations: [
      aeadImplementation('node:crypto over HChaCha20', everything, xchachaByNode),
      aeadImplementation('@noble/ciphers', everything, nobleAead(xchacha20poly1305)),
    ],
  },
  {
    algorithm: 'HMAC-SHA-256',
    file: 'hmac_sha256_test.json',
    implementations: [
      macImplementation('node:crypto', (key, message) => createHmac('sha256', key).update(message).digest()),
      macImplementation('the definition', hmacByHand),
    ],
  },
  {
    algorithm: 'HKDF-SHA-256',
    file: 'hkdf_sha256_test.json',
    implementations: [
      hkdfImplementation(
        'ours',
        ({ salt }) => salt === '',
        (ikm, _salt, info, size) => deriveKey(ikm, info, size),
      ),
      hkdfImplementation('node:crypto', everything, (ikm, salt, info, size) => new Uint8Array(hkdfSync('sha256', ikm, salt, info, size))),
      hkdfImplementation('the definition', everything, hkdfByHand),
    ],
  },
  {
    algorithm: 'Ed25519',
    file: 'ed25519_test.json',
    implementations: [
      ed25519Implementation('node:crypto, key as SPKI', (pk) =>
        createPublicKey({ key: Buffer.concat([spkiHead, pk]), format: 'der', type: 'spki' }),
      ),
      ed25519Implementation('node:crypto, key as JWK', (pk) =>
        createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: pk.toString('base64url') }, format: 'jwk' }),
      ),
    ],
  },
]
