/**
 * The keys that data is sealed under. Terms: each value names the one it was sealed in; rotation adds a term, rewrites nothing,
 * and old ones stay readable. Beside them a derivation key that rotation leaves alone, from which come the keys whose change
 * would lose what they find (audit HMACs, names of name keys).
 *
 * One record, AES-256-GCM under the root key (a namespace's: ring.ts). A fixed binary layout, not JSON: a string can't be wiped.
 *   format 1 | version u32 | active term u32 | derivation key 32 | count u32 | count x (term u32 | created ms f64 | key 32)
 */
import { assert } from '#base/assert.ts'
import { HoldfastError } from '#base/errors.ts'
import type { RandomSource } from '#base/random.ts'
import { SecretBytes } from '#base/secret.ts'
import { decryptError, deriveKey, keyBytes, openBox, sealBox } from './aead.ts'

/** Where the root's lies. */
const rootPlace = 'core/keyring'
const format = 1
const headBytes = 1 + 4 + 4 + keyBytes + 4
const termBytes = 4 + 8 + keyBytes
/** A term a day for 27 years: the record stays below half a megabyte. */
const termsMax = 10_000

interface KeyringTerm {
  readonly key: SecretBytes
  readonly createdMs: number
}

export class Keyring {
  /** Grows with each change; a record with a lower one than this node has seen was put back by somebody. */
  readonly version: number
  readonly activeTerm: number
  /** Whose it is: '' the root's, else a namespace's (ring.ts). What was counted or derived for one keyring is never taken for another's. */
  readonly id: string
  readonly #terms: ReadonlyMap<number, KeyringTerm>
  readonly #derivation: SecretBytes

  private constructor(id: string, version: number, activeTerm: number, terms: ReadonlyMap<number, KeyringTerm>, derivation: SecretBytes) {
    assert(terms.has(activeTerm), `keyring's active term expected among its terms, got ${activeTerm}`)
    this.id = id
    this.version = version
    this.activeTerm = activeTerm
    this.#terms = terms
    this.#derivation = derivation
  }

  /** A fresh keyring with one term. */
  static create(random: RandomSource, nowMs: number, id = ''): Keyring {
    const first: KeyringTerm = { key: new SecretBytes(random.bytes(keyBytes)), createdMs: nowMs }
    return new Keyring(id, 1, 1, new Map([[1, first]]), new SecretBytes(random.bytes(keyBytes)))
  }

  /** Opens a keyring record. @throws ERR_DECRYPT when the root key is another, or the record is damaged. */
  static decode(record: Uint8Array, rootKey: Uint8Array, place = rootPlace, id = ''): Keyring {
    return Keyring.parse(openBox(rootKey, place, record), id)
  }

  /** What `plain` made, which is wiped. @throws ERR_DECRYPT. */
  static parse(plain: Uint8Array, id = ''): Keyring {
    try {
      return Keyring.#parse(plain, id)
    } finally {
      plain.fill(0)
    }
  }

  static #parse(plain: Uint8Array, id: string): Keyring {
    const view = new DataView(plain.buffer, plain.byteOffset, plain.byteLength)
    if (plain.length < headBytes || plain[0] !== format) throw decryptError(rootPlace)
    const count = view.getUint32(headBytes - 4)
    if (count > termsMax || plain.length !== headBytes + count * termBytes) throw decryptError(rootPlace)
    const terms = new Map<number, KeyringTerm>()
    for (let i = 0; i < count; i++) {
      const at = headBytes + i * termBytes
      const key = new SecretBytes(new Uint8Array(plain.subarray(at + 12, at + termBytes)))
      terms.set(view.getUint32(at), { key, createdMs: view.getFloat64(at + 4) })
    }
    const derivation = new SecretBytes(new Uint8Array(plain.subarray(9, 9 + keyBytes)))
    if (!terms.has(view.getUint32(5))) throw decryptError(rootPlace)
    return new Keyring(id, view.getUint32(1), view.getUint32(5), terms, derivation)
  }

  /** The record to store, under `rootKey`. */
  encode(rootKey: Uint8Array, random: RandomSource, place = rootPlace): Uint8Array {
    const plain = this.plain()
    try {
      return sealBox(rootKey, place, plain, random)
    } finally {
      plain.fill(0)
    }
  }

  /** All of its keys, in the clear: the caller seals and wipes it. */
  plain(): Uint8Array {
    const plain = new Uint8Array(headBytes + this.#terms.size * termBytes)
    const view = new DataView(plain.buffer)
    plain[0] = format
    view.setUint32(1, this.version)
    view.setUint32(5, this.activeTerm)
    plain.set(this.#derivation.reveal(), 9)
    view.setUint32(headBytes - 4, this.#terms.size)
    let at = headBytes
    for (const [term, { key, createdMs }] of this.#terms) {
      view.setUint32(at, term)
      view.setFloat64(at + 4, createdMs)
      plain.set(key.reveal(), at + 12)
      at += termBytes
    }
    return plain
  }

  /** A copy (with keys of its own, wiped by itself) that has one term more, active from now on. @throws ERR_BAD_REQUEST when it is full. */
  rotated(random: RandomSource, nowMs: number): Keyring {
    if (this.#terms.size >= termsMax)
      throw new HoldfastError(
        'ERR_BAD_REQUEST',
        `keyring expected fewer than ${termsMax} terms before a rotation, got ${this.#terms.size}`,
        {
          hint: 'old terms are kept, since values may still be sealed in them: rotate less often',
        },
      )
    const terms = new Map<number, KeyringTerm>()
    for (const [term, { key, createdMs }] of this.#terms) terms.set(term, { key: new SecretBytes(new Uint8Array(key.reveal())), createdMs })
    const next = this.activeTerm + 1
    terms.set(next, { key: new SecretBytes(random.bytes(keyBytes)), createdMs: nowMs })
    return new Keyring(this.id, this.version + 1, next, terms, new SecretBytes(new Uint8Array(this.#derivation.reveal())))
  }

  /** A copy (wiped by itself) of the same terms, one version on: what is sealed under a new root key must not pass for older. */
  reissued(): Keyring {
    const terms = new Map<number, KeyringTerm>()
    for (const [term, { key, createdMs }] of this.#terms) terms.set(term, { key: new SecretBytes(new Uint8Array(key.reveal())), createdMs })
    return new Keyring(this.id, this.version + 1, this.activeTerm, terms, new SecretBytes(new Uint8Array(this.#derivation.reveal())))
  }

  /** The key of `term`, still owned by the keyring; undefined when it has no such term. */
  termKey(term: number): Uint8Array | undefined {
    return this.#terms.get(term)?.key.reveal()
  }

  /** When the active term was made, ms since epoch. */
  get activeSinceMs(): number {
    return this.#terms.get(this.activeTerm)?.createdMs ?? 0
  }

  /** A key of its own for `label`, the same for as long as the cluster lives. The caller owns it. */
  derived(label: string): SecretBytes {
    return new SecretBytes(deriveKey(this.#derivation.reveal(), `holdfast derived v1 ${label}`))
  }

  /** Overwrites all keys. The keyring must not be used afterwards. */
  wipe(): void {
    this.#derivation[Symbol.dispose]()
    for (const { key } of this.#terms.values()) key[Symbol.dispose]()
  }
}
