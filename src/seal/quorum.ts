/** Holders of shares who agree to something: as many as the threshold, under one nonce. What they gave is in memory only. */
import { HoldfastError } from '#base/errors.ts'
import type { RandomSource } from '#base/random.ts'
import { randomUuid } from '#base/random.ts'
import { equalSecretStrings } from '#base/secret.ts'
import { UnsealProgress } from './progress.ts'
import { parseShare } from './shamir.ts'
import { checkShare } from './share-check.ts'
import type { SealConfig, ShareSet } from './types.ts'

export class Quorum {
  /** Names this attempt: a share that is meant for another one is not taken. */
  readonly nonce: string
  readonly set: ShareSet
  readonly #config: SealConfig
  readonly #random: RandomSource
  readonly #progress = new UnsealProgress()

  /** `set` of `config` counts. */
  constructor(config: SealConfig, set: ShareSet, random: RandomSource) {
    this.#config = config
    this.set = set
    this.#random = random
    this.nonce = randomUuid(random)
  }

  get count(): number {
    return this.#progress.count
  }

  /** The shares, still owned by this object. */
  get shares(): readonly Uint8Array[] {
    return this.#progress.shares
  }

  /** Takes one share as it was typed. True when there are enough. @throws ERR_BAD_REQUEST, ERR_BAD_SHARE: then nothing has changed. */
  give(nonce: string, key: string): boolean {
    this.checkNonce(nonce)
    if (key === '')
      throw new HoldfastError('ERR_BAD_REQUEST', "'key' must be specified in request body as JSON", {
        hint: 'send {"key": "<one share>", "nonce": "..."}',
      })
    const share = parseShare(key)
    checkShare(this.#config, this.set, share)
    if (!this.#progress.add(share, this.#random))
      throw new HoldfastError('ERR_BAD_REQUEST', 'given key has already been provided during this operation', {
        hint: 'another holder gives the next one',
      })
    return this.#progress.count >= this.set.threshold
  }

  /** Without saying which one is right: whoever begins an attempt is told, and hands it on. @throws ERR_BAD_REQUEST. */
  checkNonce(nonce: string): void {
    if (equalSecretStrings(nonce, this.nonce)) return
    throw new HoldfastError(
      'ERR_BAD_REQUEST',
      nonce === '' ? "'nonce' must be specified in request body as JSON" : 'incorrect nonce supplied',
      {
        hint: 'every step names the nonce that the beginning answered; another attempt has another one',
      },
    )
  }

  wipe(): void {
    this.#progress.reset()
  }
}
