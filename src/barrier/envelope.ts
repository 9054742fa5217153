/**
 * How a value lies on disk:
 *
 *   version 1 | keyring term u32 | incarnation u32 | Raft term u48 | epoch u16 | node 8 | nonce 12 | ciphertext | tag 16
 *
 * Random 96-bit nonces are safe for 2^32 messages a key (NIST SP 800-38D, 8.3), and a busy cluster writes that in days. So no
 * keyring key seals anything itself: each leader derives its own from (incarnation, Raft term, node) and counts from zero. A Raft
 * term has one leader and a process that ends loses its leadership, so nobody ever goes on with a key whose count it has lost.
 * A leader that outlives 2^30 seals moves on to the next epoch, another key again. The rejected way, a counter on disk, would
 * cost a write for each reservation and repeat nonces the day a disk comes back from a backup.
 *
 * The header and the whole physical key are associated data: a record moved to another place does not open.
 */
import { createHash } from 'node:crypto'
import { assert } from '#base/assert.ts'
import type { RandomSource } from '#base/random.ts'
import { decryptError, deriveKey, gcmOpen, gcmSealInto, nonceBytes, tagBytes } from './aead.ts'
import { byteString, concatBytes } from './bytes.ts'
import type { Keyring } from './keyring.ts'
import { BoundedLru } from '#base/lru.ts'

const version = 1
const headerBytes = 1 + 4 + 4 + 6 + 2 + 8
/** What sealing adds to a value. */
export const envelopeBytes = headerBytes + nonceBytes + tagBytes
/** A quarter of what NIST allows. */
const sealsPerEpochMax = 2 ** 30
const derivedKeysMax = 1_024
const noncesPerDraw = 256
const label = Buffer.from('holdfast value v1')

/** The keyring term that `record` names, without opening it; undefined when it is no envelope. */
export function envelopeTerm(record: Uint8Array): number | undefined {
  if (record.length < envelopeBytes || record[0] !== version) return undefined
  return new DataView(record.buffer, record.byteOffset).getUint32(1)
}

/** The key that one keyring's values are sealed under, and how often it was used. */
interface Sealing {
  keyringTerm: number
  epoch: number
  seals: number
  header: Uint8Array
}

/** Seals and opens values. Counts what it sealed; lives as long as the process, over seals and unseals, so that the counts do. */
export class Envelope {
  readonly #random: RandomSource
  readonly #node: Uint8Array
  readonly #sealsPerKeyMax: number
  readonly #derived = new BoundedLru<string, Uint8Array>({ weightMax: derivedKeysMax, dropped: (key) => key.fill(0) })
  #nonces = new Uint8Array(0)
  /** What seals now, by keyring: values of several namespaces are sealed in turns, and none of them may make another begin an epoch. */
  readonly #sealing = new Map<string, Sealing>()
  /** The Raft term that `#sealing` counts in: what is older never seals again. */
  #era = { incarnation: -1, raftTerm: -1 }
  #seals = 0

  /** @param options.sealsPerKeyMax for tests: a billion seals take an hour. */
  constructor(options: { readonly random: RandomSource; readonly nodeId: string; readonly sealsPerKeyMax?: number }) {
    this.#random = options.random
    this.#sealsPerKeyMax = options.sealsPerKeyMax ?? sealsPerEpochMax
    this.#node = createHash('sha256').update(options.nodeId).digest().subarray(0, 8)
  }

  /** Values sealed by this process. */
  get seals(): number {
    return this.#seals
  }

  /** Of those, under the key that seals now for the root's keyring. */
  get sealsUnderKey(): number {
    return this.#sealing.get('')?.seals ?? 0
  }

  /** Seals `value` for the place `key`, in Raft term `raftTerm` of cluster `incarnation`. Neither buffer is kept. */
  seal(keyring: Keyring, incarnation: number, raftTerm: number, key: Uint8Array, value: Uint8Array): Uint8Array {
    const { header } = this.#prepare(keyring, incarnation, raftTerm)
    const record = new Uint8Array(envelopeBytes + value.length)
    record.set(header)
    const nonce = this.#nextNonce()
    record.set(nonce, headerBytes)
    const sealingKey = this.#derive(keyring, header)
    assert(sealingKey !== undefined, "keyring's active term expected to have a key")
    gcmSealInto(record, headerBytes + nonceBytes, sealingKey, nonce, [header, key], value)
    return record
  }

  /** Opens the record found at the place `key`. The caller owns the value. @throws ERR_DECRYPT. */
  open(keyring: Keyring, key: Uint8Array, record: Uint8Array): Uint8Array {
    if (record.length < envelopeBytes || record[0] !== version) throw decryptError('a stored value')
    const header = record.subarray(0, headerBytes)
    const openingKey = this.#derive(keyring, header)
    if (openingKey === undefined) throw decryptError('a stored value of an unknown keyring term')
    const nonce = record.subarray(headerBytes, headerBytes + nonceBytes)
    const value = gcmOpen(openingKey, nonce, [header, key], record.subarray(headerBytes + nonceBytes))
    if (value === null) throw decryptError('a stored value')
    return value
  }

  /** Wipes the derived keys, of one keyring or of all; counts go on. */
  forget(id?: string): void {
    if (id === undefined) return this.#derived.clear()
    for (const known of this.#derived.keys())
      if (known.length === id.length + headerBytes && known.startsWith(id)) this.#derived.delete(known)
  }

  /** Moves on to a fresh key when the state changed or the epoch is used up; counts one seal. */
  #prepare({ id, activeTerm }: Keyring, incarnation: number, raftTerm: number): Sealing {
    if (this.#era.raftTerm !== raftTerm || this.#era.incarnation !== incarnation) {
      // A Raft term that went by never comes back (decision 5: evaluated in T, appended in T), so counting restarts with it;
      // within one Raft term the epoch only grows, whatever else changes, so that no key is used again with its count lost.
      this.#sealing.clear()
      this.#era = { incarnation, raftTerm }
    }
    let sealing = this.#sealing.get(id)
    if (sealing === undefined || sealing.keyringTerm !== activeTerm || sealing.seals >= this.#sealsPerKeyMax) {
      const epoch = sealing === undefined ? 0 : sealing.epoch + 1
      assert(epoch <= 0xffff, 'epochs of one Raft term used up: hand leadership over')
      sealing = { keyringTerm: activeTerm, epoch, seals: 0, header: this.#headerOf(activeTerm, epoch) }
      this.#sealing.set(id, sealing)
    }
    sealing.seals++
    this.#seals++
    return sealing
  }

  #headerOf(keyringTerm: number, epoch: number): Uint8Array {
    const { incarnation, raftTerm } = this.#era
    const header = new Uint8Array(headerBytes)
    const view = new DataView(header.buffer)
    header[0] = version
    view.setUint32(1, keyringTerm)
    view.setUint32(5, incarnation)
    view.setUint16(9, Math.floor(raftTerm / 2 ** 32))
    view.setUint32(11, raftTerm % 2 ** 32)
    view.setUint16(15, epoch)
    header.set(this.#node, 17)
    return header
  }

  /** The key that `header` names: HKDF of its keyring term's key; undefined when the keyring has no such term. */
  #derive(keyring: Keyring, header: Uint8Array): Uint8Array | undefined {
    const id = keyring.id + byteString(header)
    const known = this.#derived.get(id)
    if (known !== undefined) return known
    const termKey = keyring.termKey(new DataView(header.buffer, header.byteOffset).getUint32(1))
    if (termKey === undefined) return undefined
    const key = deriveKey(termKey, concatBytes(label, header.subarray(5)))
    this.#derived.set(id, key)
    return key
  }

  #nextNonce(): Uint8Array {
    // One draw for many: asking the kernel each time costs a fifth of a seal.
    if (this.#nonces.length === 0) this.#nonces = Uint8Array.from(this.#random.bytes(nonceBytes * noncesPerDraw))
    const nonce = this.#nonces.subarray(0, nonceBytes)
    this.#nonces = this.#nonces.subarray(nonceBytes)
    return nonce
  }
}
