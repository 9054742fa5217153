/**
 * A root token by the consent of those who hold shares, for when there is none. It leaves under a one-time pad or a PGP key that whoever began chose, so
 * that who gives the last share does not learn it. An attempt lives in the leader's memory.
 */
import type { BarrierControl } from '#barrier/types.ts'
import type { Clock } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import type { RandomSource } from '#base/random.ts'
import { randomBase62 } from '#base/random.ts'
import type { Replica } from '#replica/types.ts'
import { authorise } from './authorise.ts'
import { Led } from './leadership.ts'
import { readPgpKey, type PgpKey } from './pgp.ts'
import { Quorum } from './quorum.ts'
import { sharesOf } from './share-check.ts'
import { standing } from './standing.ts'
import type { SealConfig, SealRecords, ShareSet } from './types.ts'

/** `s.` and 24 characters: what a root token is, and so a pad. */
export const rootTokenChars = 26

export interface RootGenerationStatus {
  /** '' when none was begun. */
  readonly nonce: string
  readonly started: boolean
  readonly progress: number
  readonly required: number
  /** Lower-case hex; '' with a pad. */
  readonly pgpFingerprint: string
  /** Made here, told once: to whoever began without bringing one. */
  readonly otp: string
  /** The token under pad or key, base64; '' before the end. */
  readonly encodedToken: string
}

export interface RootGeneration {
  status(): Promise<RootGenerationStatus>
  /** Begins; with neither `otp` nor `pgpKey` a pad is made. '' stands for none. @throws ERR_BAD_REQUEST. */
  init(request: { readonly otp: string; readonly pgpKey: string }): Promise<RootGenerationStatus>
  /** As RekeyService.cancel. */
  cancel(nonce: string | null): Promise<void>
  /** Takes a share; with the last one needed the token. @throws ERR_BAD_REQUEST, ERR_BAD_SHARE. */
  update(nonce: string, key: string): Promise<RootGenerationStatus>
  close(): void
}

export interface RootGenerationOptions {
  readonly barrier: BarrierControl
  readonly replica: Pick<Replica, 'status' | 'onStatus'>
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Logger
  /** Makes a root token, and gives what `encode` makes of it; where that fails there is no token. */
  readonly createToken: (encode: (token: string) => Promise<string>) => Promise<string>
}

interface Attempt {
  readonly quorum: Quorum
  readonly records: SealRecords
  readonly config: SealConfig
  /** One of the two. */
  readonly pgpKey: PgpKey | null
  readonly otp: Uint8Array | null
}

class LeaderRootGeneration implements RootGeneration {
  readonly #options: RootGenerationOptions
  readonly #led: Led
  #attempt: Attempt | null = null

  constructor(options: RootGenerationOptions) {
    this.#options = options
    this.#led = new Led({ ...options, onLost: () => this.#lost() })
  }

  status(): Promise<RootGenerationStatus> {
    return this.#led.run(() => this.#status(''))
  }

  #status(otp: string): RootGenerationStatus {
    const { threshold } = this.#holders(standing(this.#options.barrier).config)
    const attempt = this.#attempt
    return {
      nonce: attempt?.quorum.nonce ?? '',
      started: attempt !== null,
      progress: attempt?.quorum.count ?? 0,
      required: threshold,
      pgpFingerprint: attempt?.pgpKey?.fingerprint ?? '',
      otp,
      encodedToken: '',
    }
  }

  init({ otp, pgpKey }: { readonly otp: string; readonly pgpKey: string }): Promise<RootGenerationStatus> {
    return this.#led.run(async (still) => {
      const { barrier, clock, random, log } = this.#options
      if (this.#attempt !== null) throw refusal('root generation already in progress', 'cancel it, or go on with it under its nonce')
      if (otp !== '' && pgpKey !== '')
        throw refusal('expected an otp or a pgp_key, got both', 'send one of them, or neither: then an otp is made')
      const { records, config } = standing(barrier)
      const set = this.#holders(config)
      const holder = pgpKey === '' ? null : await readPgpKey('pgp_key', pgpKey, clock.nowMs())
      still()
      const made = otp === '' && holder === null ? randomBase62(random, rootTokenChars) : ''
      const pad = holder === null ? padOf(made === '' ? otp : made) : null
      this.#attempt = { quorum: new Quorum(config, set, random), records, config, pgpKey: holder, otp: pad }
      log.info({ pgp: holder?.fingerprint }, 'the generation of a root token has begun')
      return this.#status(made)
    })
  }

  cancel(nonce: string | null): Promise<void> {
    return this.#led.run(() => {
      if (this.#attempt === null) return
      if (nonce !== null) this.#attempt.quorum.checkNonce(nonce)
      this.#drop()
      this.#options.log.info({}, 'the generation of a root token is cancelled')
    })
  }

  update(nonce: string, key: string): Promise<RootGenerationStatus> {
    return this.#led.run(async () => {
      const attempt = this.#attempt
      if (attempt === null)
        throw refusal(
          'no root generation in progress',
          "an attempt lives in the leader's memory and ends with its leadership: begin it again",
        )
      const { quorum, config, records, pgpKey } = attempt
      if (!quorum.give(nonce, key)) return this.#status('')
      const { count: progress } = quorum
      try {
        await this.#authorise(attempt, config, records)
        const encodedToken = await this.#options.createToken((token) => encode(token, attempt))
        this.#options.log.warn({ holders: progress, pgp: pgpKey?.fingerprint }, 'a root token was generated by the holders of shares')
        return {
          nonce,
          started: true,
          progress,
          required: quorum.set.threshold,
          pgpFingerprint: pgpKey?.fingerprint ?? '',
          otp: '',
          encodedToken,
        }
      } finally {
        this.#drop()
      }
    })
  }

  /** Shares of before a rekey that has come in between open nothing any more: `authorise` compares with the root key in use. */
  async #authorise({ quorum }: Attempt, config: SealConfig, records: SealRecords): Promise<void> {
    const { barrier } = this.#options
    if (Buffer.compare(standing(barrier).records.sealConfig, records.sealConfig) !== 0)
      throw refusal(
        'the generation of a root token expected the shares to stand still, got a change of them',
        'begin it again, with the present shares',
      )
    await authorise(barrier, config, records, quorum.shares)
  }

  #holders(config: SealConfig): ShareSet {
    const set = sharesOf(config)
    if (set === null)
      throw refusal(
        `generating a root token expected recovery keys, which this ${config.type} seal was made without`,
        'nobody can agree to it',
      )
    return set
  }

  #drop(): void {
    this.#attempt?.quorum.wipe()
    this.#attempt?.otp?.fill(0)
    this.#attempt = null
  }

  #lost(): void {
    if (this.#attempt === null) return
    this.#drop()
    this.#options.log.warn({}, "the generation of a root token has ended with this node's leadership")
  }

  close(): void {
    this.#led.close()
  }
}

function padOf(otp: string): Uint8Array {
  const pad = new Uint8Array(Buffer.from(otp))
  if (pad.length === rootTokenChars) return pad
  throw refusal(
    `OTP string is wrong length: expected ${rootTokenChars} bytes, got ${pad.length}`,
    'send none, and one is made; or: holdfast operator generate-root -generate-otp',
  )
}

/** As the peers: XOR with the pad and base64 without padding, or a PGP message in base64. */
async function encode(token: string, { pgpKey, otp }: Attempt): Promise<string> {
  const plain = new Uint8Array(Buffer.from(token))
  try {
    if (pgpKey !== null) return Buffer.from(await pgpKey.encrypt(plain)).toString('base64')
    return xorBase64(plain, otp ?? new Uint8Array(0))
  } finally {
    plain.fill(0)
  }
}

function xorBase64(plain: Uint8Array, pad: Uint8Array): string {
  if (plain.length !== pad.length) throw new HoldfastError('ERR_INTERNAL', `pad expected ${plain.length} bytes, got ${pad.length}`)
  const mixed = Buffer.from(plain.map((byte, at) => byte ^ pad[at]!))
  return mixed.toString('base64').replaceAll('=', '')
}

const refusal = (words: string, hint: string): HoldfastError => new HoldfastError('ERR_BAD_REQUEST', words, { hint })

/** Generation of root tokens for the cluster that `barrier` opens. Listens to leadership until closed. */
export function createRootGeneration(options: RootGenerationOptions): RootGeneration {
  return new LeaderRootGeneration(options)
}
