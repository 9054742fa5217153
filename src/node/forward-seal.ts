/**
 * What unsealed nodes say to each other about clients is sealed under a key of the barrier, inside the TLS that the transport has. A
 * node's transport identity lies in its data folder: whoever steals one may vote, even lead, but it reads no client's token and is
 * believed about no client's address (decision 2).
 *
 *   salt 16 | box (aead.ts), under HKDF(key derived from the barrier's, salt), bound to `place`
 *
 * Each process seals under keys of its own, a salt each, so that random nonces stay far below 2^32 a key (NIST SP 800-38D).
 */
import { deriveKey, openBox, sealBox } from '#barrier/aead.ts'
import type { BarrierControl } from '#barrier/types.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { BoundedLru } from '#base/lru.ts'
import type { RandomSource } from '#base/random.ts'

const saltBytes = 16
const sealsPerSaltMax = 2 ** 24
/** One for each process that this one hears of. */
const keysMax = 64

export interface ForwardSealOptions {
  readonly barrier: Pick<BarrierControl, 'derivedKey'>
  readonly random: RandomSource
}

export class ForwardSeal {
  readonly #options: ForwardSealOptions
  readonly #keys = new BoundedLru<string, Uint8Array>({ weightMax: keysMax, dropped: (key) => key.fill(0) })
  #salt: Uint8Array | null = null
  #seals = 0

  constructor(options: ForwardSealOptions) {
    this.#options = options
  }

  /** @throws ERR_SEALED. */
  seal(place: string, plaintext: Uint8Array): Uint8Array {
    if (this.#salt === null || this.#seals >= sealsPerSaltMax) {
      this.#salt = Uint8Array.from(this.#options.random.bytes(saltBytes))
      this.#seals = 0
    }
    this.#seals += 1
    return Buffer.concat([this.#salt, sealBox(this.#key(this.#salt), place, plaintext, this.#options.random)])
  }

  /** @throws ERR_SEALED; ERR_PEER_REFUSED when whoever made it does not hold the barrier's key, or made it for another place. */
  open(place: string, sealed: Uint8Array): Uint8Array {
    try {
      return openBox(this.#key(sealed.subarray(0, saltBytes)), place, sealed.subarray(saltBytes))
    } catch (error) {
      if (!isHoldfastError(error, 'ERR_DECRYPT')) throw error
      throw new HoldfastError('ERR_PEER_REFUSED', 'forwarding: expected the message of an unsealed node of this cluster, got another')
    }
  }

  /** The barrier sealed or opened: its keys may be others from now on. */
  forget(): void {
    this.#keys.clear()
    this.#salt = null
  }

  #key(salt: Uint8Array): Uint8Array {
    const id = Buffer.from(salt).toString('latin1')
    const known = this.#keys.get(id)
    if (known !== undefined) return known
    using derived = this.#options.barrier.derivedKey('forwarding')
    const key = deriveKey(derived.reveal(), Buffer.concat([Buffer.from('holdfast forward v1'), salt]))
    this.#keys.set(id, key)
    return key
  }
}
