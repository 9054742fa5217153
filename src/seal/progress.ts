import type { RandomSource } from '#base/random.ts'
import { randomUuid } from '#base/random.ts'
import { equalSecrets } from '#base/secret.ts'

/** The shares that were given to this node so far, in memory only. One attempt has one nonce. */
export class UnsealProgress {
  #shares: Uint8Array[] = []
  #nonce = ''

  get count(): number {
    return this.#shares.length
  }

  get nonce(): string {
    return this.#nonce
  }

  /** The shares, still owned by this object. */
  get shares(): readonly Uint8Array[] {
    return this.#shares
  }

  /** Takes ownership of `share`. One that was given already is wiped and not counted again: false. */
  add(share: Uint8Array, random: RandomSource): boolean {
    // By x coordinate too: two different shares at one x can't both count, and a combination of them is no polynomial.
    if (this.#shares.some((given) => equalSecrets(given, share) || given.at(-1) === share.at(-1))) {
      share.fill(0)
      return false
    }
    if (this.#shares.length === 0) this.#nonce = randomUuid(random)
    this.#shares.push(share)
    return true
  }

  /** Wipes all. */
  reset(): void {
    for (const share of this.#shares) share.fill(0)
    this.#shares = []
    this.#nonce = ''
  }
}
