import { createHmac } from 'node:crypto'
import type { Authenticator } from '#replica/authenticator.ts'
import type { Keyring } from './keyring.ts'
import { sealedError } from './opened.ts'

/** Signs commands, and checks those of others, for the replica: handed to it alone, and taken back when the barrier is sealed. */
export class Signer implements Authenticator, Disposable {
  readonly #key: ReturnType<Keyring['derived']>
  #closed = false

  /** Its key is a copy of its own, the same over rotations of the keyring. */
  constructor(keyring: Keyring) {
    this.#key = keyring.derived('command-mac')
  }

  /** @throws ERR_SEALED once disposed of: under a wiped key anybody could sign. */
  mac(input: Uint8Array): Uint8Array {
    if (this.#closed) throw sealedError()
    return createHmac('sha256', this.#key.reveal()).update(input).digest()
  }

  [Symbol.dispose](): void {
    this.#closed = true
    this.#key[Symbol.dispose]()
  }
}
