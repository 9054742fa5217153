/**
 * Other shares in the place of those that stand. Holders of the present ones agree; then the new shares are made, and one replicated change
 * puts them in force: the root key is another one, wrapped by what the new shares make, and the keyring is sealed under it. Until that change
 * the old shares hold, whatever happens; from it on they are refused by name.
 *
 * An attempt lives in the leader's memory. A crash between the change and its answer would leave shares in force that nobody has seen: whoever can't
 * bear that asks for verification, where the change waits until the new shares were typed in.
 */
import { sealBox } from '#barrier/aead.ts'
import { bareNames } from '#barrier/bare.ts'
import type { BarrierControl } from '#barrier/types.ts'
import type { Clock } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import type { RandomSource } from '#base/random.ts'
import { SecretBytes } from '#base/secret.ts'
import type { Replica } from '#replica/types.ts'
import { authorise } from './authorise.ts'
import { openBackup, sealBackup, type KeysBackup } from './backup.ts'
import { encodeSealConfig, retiredMax } from './config.ts'
import { Led } from './leadership.ts'
import { rootKeyPlace, wrapSurely } from './migration.ts'
import { settled } from './outcome.ts'
import { encryptShares, readPgpKeys, type PgpKey } from './pgp.ts'
import { proven } from './proof.ts'
import { Quorum } from './quorum.ts'
import { checkShareCounts, shareSet, splitKey, unsealKeyBytes } from './shamir.ts'
import { sharesOf } from './share-check.ts'
import { standing } from './standing.ts'
import type { AutoSeal, SealConfig, SealRecords, ShareSet } from './types.ts'

/** `root`: what protects the root key (unseal shares; with an auto seal the root key itself). `recovery`: the recovery shares. */
export type RekeyTarget = 'root' | 'recovery'

export interface RekeyRequest {
  readonly shares: number
  readonly threshold: number
  readonly pgpKeys: readonly string[]
  readonly backup: boolean
  readonly requireVerification: boolean
}

export interface RekeyStatus {
  /** '' when none was begun. */
  readonly nonce: string
  readonly started: boolean
  /** Of the shares to come. */
  readonly threshold: number
  readonly shares: number
  readonly progress: number
  readonly required: number
  readonly pgpFingerprints: readonly string[] | null
  readonly backup: boolean
  readonly verificationRequired: boolean
  /** '' before the new shares were handed out. */
  readonly verificationNonce: string
}

export interface RekeyResult {
  readonly nonce: string
  /** The new shares, raw or PGP-encrypted; none where the seal needs none. */
  readonly keys: readonly Uint8Array[]
  readonly pgpFingerprints: readonly string[] | null
  readonly backup: boolean
  readonly verificationRequired: boolean
  readonly verificationNonce: string
  readonly warnings: readonly string[]
}

export interface VerificationStatus {
  readonly nonce: string
  readonly started: boolean
  readonly threshold: number
  readonly shares: number
  readonly progress: number
}

export interface RekeyService {
  status(target: RekeyTarget): Promise<RekeyStatus>
  /** Begins. @throws ERR_BAD_REQUEST: one is under way, or it asks for what can't be. */
  init(target: RekeyTarget, request: RekeyRequest): Promise<RekeyStatus>
  /** Ends what is under way; the present shares stay. `nonce` null: whoever asks may do so without it. */
  cancel(target: RekeyTarget, nonce: string | null): Promise<void>
  /** Takes a present share; with the last one needed the result. */
  update(target: RekeyTarget, nonce: string, key: string): Promise<RekeyStatus | RekeyResult>
  verificationStatus(target: RekeyTarget): Promise<VerificationStatus>
  /** Takes a new share; with the last one needed they are in force: null. */
  verify(target: RekeyTarget, nonce: string, key: string): Promise<{ readonly nonce: string; readonly status: VerificationStatus | null }>
  /** Forgets the new shares that were typed in, not the rekey. */
  restartVerification(target: RekeyTarget, nonce: string | null): Promise<VerificationStatus>
  backup(target: RekeyTarget): KeysBackup | null
  deleteBackup(target: RekeyTarget): Promise<void>
  /** Another root key, without holders: auto seals only. @throws ERR_BAD_REQUEST with shares. */
  rotateRoot(): Promise<void>
  close(): void
}

export interface RekeyOptions {
  readonly barrier: BarrierControl
  readonly replica: Pick<Replica, 'status' | 'onStatus' | 'readIndex'>
  readonly autoSeal: AutoSeal | null
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Logger
}

/** The shares to come. */
interface Fresh {
  /** What they make. null where the seal has its own key. */
  readonly key: SecretBytes | null
  readonly set: ShareSet | null
  /** As they are handed out. */
  readonly keys: readonly Uint8Array[]
}

interface Attempt {
  readonly target: RekeyTarget
  readonly request: RekeyRequest
  readonly pgpKeys: readonly PgpKey[]
  /** As they stood at its beginning: a change of them in between makes it void. */
  readonly records: SealRecords
  readonly config: SealConfig
  readonly quorum: Quorum
  fresh: Fresh | null
  verification: Quorum | null
}

const backupNames = { root: bareNames.unsealKeysBackup, recovery: bareNames.recoveryKeysBackup } as const

class LeaderRekey implements RekeyService {
  readonly #options: RekeyOptions
  readonly #led: Led
  readonly #attempts: Record<RekeyTarget, Attempt | null> = { root: null, recovery: null }

  constructor(options: RekeyOptions) {
    this.#options = options
    this.#led = new Led({ ...options, onLost: () => this.#lost() })
  }

  status(target: RekeyTarget): Promise<RekeyStatus> {
    return this.#led.run(() => this.#status(target))
  }

  #status(target: RekeyTarget): RekeyStatus {
    const { config } = standing(this.#options.barrier)
    const set = this.#holders(target, config)
    const attempt = this.#attempts[target]
    const none = { nonce: '', started: false, threshold: 0, shares: 0, progress: 0, pgpFingerprints: null, backup: false } as const
    if (attempt === null) return { ...none, required: set.threshold, verificationRequired: false, verificationNonce: '' }
    const { request, quorum, pgpKeys, verification } = attempt
    return {
      nonce: quorum.nonce,
      started: true,
      threshold: request.threshold,
      shares: request.shares,
      progress: quorum.count,
      required: set.threshold,
      pgpFingerprints: fingerprintsOf(pgpKeys),
      backup: request.backup,
      verificationRequired: request.requireVerification,
      verificationNonce: verification?.nonce ?? '',
    }
  }

  init(target: RekeyTarget, request: RekeyRequest): Promise<RekeyStatus> {
    return this.#led.run(async () => {
      if (this.#attempts[target] !== null) throw refusal('rekey already in progress', 'cancel it, or go on with it under its nonce')
      const { clock, random, log } = this.#options
      const { records, config } = standing(this.#options.barrier)
      const set = this.#holders(target, config)
      checkRequest(target, config, request)
      const pgpKeys = await readPgpKeys('pgp_keys', request.pgpKeys, clock.nowMs())
      const quorum = new Quorum(config, set, random)
      this.#attempts[target] = { target, request, pgpKeys, records, config, quorum, fresh: null, verification: null }
      log.info(
        { target, shares: request.shares, threshold: request.threshold, verification: request.requireVerification },
        'a rekey has begun',
      )
      return this.#status(target)
    })
  }

  cancel(target: RekeyTarget, nonce: string | null): Promise<void> {
    return this.#led.run(() => {
      const attempt = this.#attempts[target]
      if (attempt === null) return
      if (nonce !== null) attempt.quorum.checkNonce(nonce)
      this.#drop(target)
      this.#options.log.info({ target }, 'the rekey is cancelled: the shares of before stay')
    })
  }

  update(target: RekeyTarget, nonce: string, key: string): Promise<RekeyStatus | RekeyResult> {
    return this.#led.run(async () => {
      const attempt = this.#underWay(target)
      const { quorum, request, pgpKeys } = attempt
      if (attempt.fresh !== null) {
        quorum.checkNonce(nonce)
        throw refusal(
          'the new shares were handed out already, and wait for verification',
          'give them to rekey/verify under the verification nonce',
        )
      }
      if (!quorum.give(nonce, key)) return this.#status(target)
      await this.#authorise(attempt)
      const fresh = await this.#makeShares(attempt)
      const facts = { nonce, keys: fresh.keys, pgpFingerprints: fingerprintsOf(pgpKeys), backup: request.backup }
      // Led no more while shares were made: the attempt is gone, and they are nobody's.
      if (this.#attempts[target] !== attempt) {
        fresh.key?.[Symbol.dispose]()
        throw ended()
      }
      attempt.fresh = fresh
      if (request.requireVerification && fresh.set !== null) {
        attempt.verification = new Quorum(attempt.config, fresh.set, this.#options.random)
        return { ...facts, verificationRequired: true, verificationNonce: attempt.verification.nonce, warnings: [] }
      }
      const warnings = await this.#enforce(attempt)
      return { ...facts, verificationRequired: false, verificationNonce: '', warnings }
    })
  }

  /** Right or wrong: what was typed in does not stay in memory. */
  async #authorise({ quorum, config, records }: Attempt): Promise<void> {
    try {
      await authorise(this.#options.barrier, config, records, quorum.shares)
    } finally {
      quorum.wipe()
    }
  }

  async #makeShares({ target, config, request, pgpKeys }: Attempt): Promise<Fresh> {
    if (target === 'root' && config.secret === null) return { key: null, set: null, keys: [] }
    const { random } = this.#options
    const key = new SecretBytes(random.bytes(unsealKeyBytes))
    try {
      const shares = await splitKey(key.reveal(), request.shares, request.threshold)
      return { key, set: shareSet(shares, request.threshold, random), keys: await encryptShares(pgpKeys, shares) }
    } catch (error) {
      key[Symbol.dispose]()
      throw error
    }
  }

  verificationStatus(target: RekeyTarget): Promise<VerificationStatus> {
    return this.#led.run(() => verificationOf(this.#underWay(target)))
  }

  verify(target: RekeyTarget, nonce: string, key: string): Promise<{ nonce: string; status: VerificationStatus | null }> {
    return this.#led.run(async () => {
      const attempt = this.#underWay(target)
      const { verification } = attempt
      if (verification === null) throw refusal('no rekey verification in progress', 'first the present shares: rekey/update')
      if (!verification.give(nonce, key)) return { nonce, status: verificationOf(attempt) }
      // Each is known by its hash, so together they are the key that is kept.
      const [warning] = await this.#enforce(attempt)
      if (warning !== undefined)
        throw new HoldfastError('ERR_OUTCOME_UNKNOWN', warning, { hint: 'unseal a node with the new shares, then with those of before' })
      return { nonce, status: null }
    })
  }

  restartVerification(target: RekeyTarget, nonce: string | null): Promise<VerificationStatus> {
    return this.#led.run(() => {
      const attempt = this.#underWay(target)
      const { verification, fresh, config } = attempt
      if (verification === null || fresh?.set === null || fresh === null)
        throw refusal('no rekey verification in progress', 'first the present shares: rekey/update')
      if (nonce !== null) verification.checkNonce(nonce)
      verification.wipe()
      attempt.verification = new Quorum(config, fresh.set, this.#options.random)
      return verificationOf(attempt)
    })
  }

  /** The one change. What it gives are warnings: whether it came to pass may not be known. */
  async #enforce(attempt: Attempt): Promise<readonly string[]> {
    const { log } = this.#options
    const { target, fresh } = attempt
    if (fresh === null) throw ended()
    // Out of reach of `#lost`: the loss of leadership in the middle of the change is the very case in which its outcome must be found out.
    attempt.fresh = null
    this.#drop(target)
    try {
      const known = await this.#replace(attempt, fresh)
      if (known) {
        log.info({ target, shares: fresh.set?.shares, threshold: fresh.set?.threshold }, 'the rekey is done: the shares of before are void')
        return []
      }
      log.warn({ target }, 'the leader changed during a rekey, and whether it is done is not known')
      return [
        'the cluster lost its leader in the middle: whether the new shares are in force is not known; keep those of before until the new ones have unsealed a node',
      ]
    } finally {
      fresh.key?.[Symbol.dispose]()
    }
  }

  /** False when nobody knows. @throws when it surely was not done. */
  async #replace({ target, config, records, request, pgpKeys, quorum }: Attempt, { key, set, keys }: Fresh): Promise<boolean> {
    const { barrier, clock, random, replica } = this.#options
    const expected = { [bareNames.sealConfig]: records.sealConfig, [bareNames.rootKey]: records.rootKey }
    const next = set === null ? records.sealConfig : encodeSealConfig(proven(barrier, nextConfig(config, set, clock.nowMs())))
    const kept = request.backup
      ? { [backupNames[target]]: sealBackup(barrier, backupNames[target], { nonce: quorum.nonce, keys: backupOf(pgpKeys, keys) }, random) }
      : {}
    const { term } = replica.status()
    if (target === 'recovery') {
      const change = barrier.changeSeal({ records: { [bareNames.sealConfig]: next, ...kept }, expected })
      return settled({ ...this.#options, change, term, name: bareNames.sealConfig, value: next })
    }
    using rootKey = new SecretBytes(random.bytes(unsealKeyBytes))
    const wrapped = await this.#wrap(rootKey, key)
    const change = barrier.changeSeal({
      records: { [bareNames.rootKey]: wrapped, [bareNames.sealConfig]: next, ...kept },
      expected,
      rootKey,
    })
    return settled({ ...this.#options, change, term, name: bareNames.rootKey, value: wrapped })
  }

  async #wrap(rootKey: SecretBytes, unsealKey: SecretBytes | null): Promise<Uint8Array> {
    const { autoSeal, random } = this.#options
    if (unsealKey !== null) return sealBox(unsealKey.reveal(), rootKeyPlace, rootKey.reveal(), random)
    if (autoSeal === null)
      throw refusal('rekey expected an auto seal, got none in the configuration', 'end the migration of the seal first')
    return wrapSurely(autoSeal, rootKey)
  }

  rotateRoot(): Promise<void> {
    return this.#led.run(async () => {
      const { barrier, autoSeal, replica, random, log } = this.#options
      const { records, config } = standing(this.#options.barrier)
      if (config.secret !== null)
        throw refusal(
          'rotating the root key by itself expected an auto seal, got shares',
          'the root key is wrapped by what the shares make: rotate it with them, by rotate/root/init',
        )
      if (autoSeal?.kind !== config.type)
        throw refusal(
          `rotating the root key expected the seal ${config.type}, got another in the configuration`,
          'end the migration of the seal first',
        )
      using rootKey = new SecretBytes(random.bytes(unsealKeyBytes))
      const wrapped = await wrapSurely(autoSeal, rootKey)
      const { term } = replica.status()
      const expected = { [bareNames.sealConfig]: records.sealConfig, [bareNames.rootKey]: records.rootKey }
      const change = barrier.changeSeal({ records: { [bareNames.rootKey]: wrapped }, expected, rootKey })
      if (!(await settled({ ...this.#options, change, term, name: bareNames.rootKey, value: wrapped })))
        throw new HoldfastError(
          'ERR_OUTCOME_UNKNOWN',
          'the cluster lost its leader in the middle: the root key may or may not be another one',
          {
            hint: 'either is in order: the seal opens it',
          },
        )
      log.info({}, 'the root key is replaced')
    })
  }

  backup(target: RekeyTarget): KeysBackup | null {
    const { barrier } = this.#options
    const box = barrier.readBare(backupNames[target])
    return box === null ? null : openBackup(barrier, backupNames[target], box)
  }

  async deleteBackup(target: RekeyTarget): Promise<void> {
    await this.#options.barrier.writeBare({ [backupNames[target]]: null })
  }

  /** Whose shares decide. @throws ERR_BAD_REQUEST. */
  #holders(target: RekeyTarget, config: SealConfig): ShareSet {
    if (target === 'recovery' && config.secret !== null)
      throw refusal('recovery rekeying not supported', 'only an auto seal has recovery keys: rekey the unseal keys')
    const set = sharesOf(config)
    if (set === null)
      throw refusal(`a rekey expected recovery keys, which this ${config.type} seal was made without`, 'nobody can agree to it')
    return set
  }

  #underWay(target: RekeyTarget): Attempt {
    const attempt = this.#attempts[target]
    if (attempt === null)
      throw refusal('no rekey in progress', "an attempt lives in the leader's memory and ends with its leadership: begin it again")
    return attempt
  }

  #drop(target: RekeyTarget): void {
    const attempt = this.#attempts[target]
    this.#attempts[target] = null
    attempt?.quorum.wipe()
    attempt?.verification?.wipe()
    attempt?.fresh?.key?.[Symbol.dispose]()
  }

  #lost(): void {
    for (const target of ['root', 'recovery'] as const) {
      if (this.#attempts[target] === null) continue
      this.#drop(target)
      this.#options.log.warn({ target }, "the rekey under way has ended with this node's leadership: the shares of before stay")
    }
  }

  close(): void {
    this.#led.close()
  }
}

/** @throws ERR_BAD_REQUEST, with the peers' texts where they have one. */
function checkRequest(target: RekeyTarget, config: SealConfig, request: RekeyRequest): void {
  const { shares, threshold, pgpKeys, backup, requireVerification } = request
  if (target === 'root' && config.secret === null) {
    if (shares > 1 || threshold > 1 || pgpKeys.length > 0 || backup || requireVerification)
      throw refusal(
        `rekeying the root key of a ${config.type} seal expected one share and nothing else, got more`,
        'this seal keeps the key itself and hands out no shares: send secret_shares 1 and secret_threshold 1, or rekey the recovery keys',
      )
    return
  }
  checkShareCounts(shares, threshold)
  if (backup && pgpKeys.length === 0)
    throw refusal('cannot request a backup of the new keys without providing PGP keys for encryption', 'send pgp_keys, one a share')
  if (pgpKeys.length > 0 && pgpKeys.length !== shares)
    throw refusal('incorrect number of PGP keys for rekey', `send one a share: expected ${shares}, got ${pgpKeys.length}`)
}

function nextConfig(config: SealConfig, set: ShareSet, nowMs: number): SealConfig {
  const before = sharesOf(config)
  const replaced = before === null ? [] : [{ salt: before.salt, hashes: before.hashes, replacedMs: nowMs }]
  const retired = [...replaced, ...(config.retired ?? [])].slice(0, retiredMax)
  return config.secret === null ? { type: config.type, secret: null, recovery: set, retired } : { type: 'shamir', secret: set, retired }
}

function verificationOf({ verification, request }: Attempt): VerificationStatus {
  return {
    nonce: verification?.nonce ?? '',
    started: verification !== null,
    threshold: request.threshold,
    shares: request.shares,
    progress: verification?.count ?? 0,
  }
}

const fingerprintsOf = (keys: readonly PgpKey[]): readonly string[] | null =>
  keys.length === 0 ? null : keys.map(({ fingerprint }) => fingerprint)

/** By fingerprint; one holder may have several. */
function backupOf(pgpKeys: readonly PgpKey[], keys: readonly Uint8Array[]): KeysBackup['keys'] {
  const byHolder: Record<string, string[]> = {}
  for (const [at, { fingerprint }] of pgpKeys.entries()) (byHolder[fingerprint] ??= []).push(Buffer.from(keys[at]!).toString('hex'))
  return byHolder
}

const refusal = (words: string, hint: string): HoldfastError => new HoldfastError('ERR_BAD_REQUEST', words, { hint })

const ended = (): HoldfastError =>
  new HoldfastError('ERR_NOT_LEADER', 'the rekey expected this node to lead to its end, got another leader', {
    hint: 'the shares of before stay: begin it again',
  })

/** Rekeys of the cluster that `barrier` opens. Listens to leadership until closed. */
export function createRekey(options: RekeyOptions): RekeyService {
  return new LeaderRekey(options)
}
