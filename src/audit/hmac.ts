import { createHmac, createSecretKey } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

/**
 * HMAC-SHA-256 under one key. All of it is node:crypto's: one put together here from two one-shot hashes was twice as fast for the short
 * texts of a line, and would have been a primitive of our own.
 */
export class HmacKey {
  readonly #key: KeyObject

  /** Copies `key`. */
  constructor(key: Uint8Array) {
    this.#key = createSecretKey(key)
  }

  /** The HMAC of bytes or of a text's UTF-8, hex. */
  hex(text: string | Uint8Array): string {
    return createHmac('sha256', this.#key).update(text).digest('hex')
  }
}
