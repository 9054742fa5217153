/**
 * Other shares in the place of those that stand. Holders of the present ones agree; then the new shares are made, and one replicated change
 * puts them in force: the root key is another one, wrapped by what the new shares make, and the keyring is sealed under it. Until that change
 * the old shares hold, whatever happens; from it on they are refused by name.
 *
 * An attempt lives in the leader's memory. A crash between the change and its answer would leave shares in force that nobody has seen: whoever can't
 * bear that asks for verification, where the change waits until the new shares were typed in.
 */
import { HoldfastError } from '#base/errors.ts'
import { authorise } from './authorise.ts'
import { openBackup, type KeysBackup } from './backup.ts'
import { Led } from './leadership.ts'
import { readPgpKeys } from './pgp.ts'
import { Quorum } from './quorum.ts'
import { checkRequest, fingerprintsOf, makeShares, refusal, verificationOf, type Attempt } from './rekey-attempt.ts'
import { backupNames, replaceShares, rotateRootKey } from './rekey-change.ts'
import type { RekeyOptions, RekeyRequest, RekeyResult, RekeyService, RekeyStatus, RekeyTarget, VerificationStatus } from './rekey-types.ts'
import { sharesOf } from './share-check.ts'
import { standing } from './standing.ts'
import type { SealConfig, ShareSet } from './types.ts'

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

  init(target: RekeyTarget, request: RekeyRequest, byRoot = false): Promise<RekeyStatus | RekeyResult> {
    return this.#led.run(async (still) => {
      if (this.#attempts[target] !== null) throw refusal('rekey already in progress', 'cancel it, or go on with it under its nonce')
      const { clock, random, log } = this.#options
      const { records, config } = standing(this.#options.barrier)
      const first = target === 'recovery' && byRoot && sharesOf(config) === null
      const holders = first ? null : this.#holders(target, config)
      checkRequest(target, config, request)
      const pgpKeys = await readPgpKeys('pgp_keys', request.pgpKeys, clock.nowMs())
      still()
      if (holders === null) return this.#makeFirst({ target, request, pgpKeys, records, config })
      const quorum = new Quorum(config, holders, random)
      this.#attempts[target] = { target, request, pgpKeys, records, config, quorum, fresh: null, verification: null }
      log.info(
        { target, shares: request.shares, threshold: request.threshold, verification: request.requireVerification },
        'a rekey has begun',
      )
      return this.#status(target)
    })
  }

  /** Recovery keys for a cluster that has none: a root token can do all that they can. */
  async #makeFirst(begun: Pick<Attempt, 'target' | 'request' | 'pgpKeys' | 'records' | 'config'>): Promise<RekeyResult> {
    const { request, config, pgpKeys } = begun
    const { random } = this.#options
    if (request.requireVerification)
      throw refusal(
        'the first recovery keys expected no verification, got a wish for it',
        'there are none of before that could hold meanwhile',
      )
    const fresh = await makeShares(begun, random)
    const attempt: Attempt = { ...begun, quorum: new Quorum(config, fresh.set!, random), fresh, verification: null }
    const warnings = await this.#enforce(attempt)
    const { nonce } = attempt.quorum
    const facts = { nonce, keys: fresh.keys, pgpFingerprints: fingerprintsOf(pgpKeys), backup: request.backup }
    return { ...facts, verificationRequired: false, verificationNonce: '', warnings }
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
      const fresh = await makeShares(attempt, this.#options.random)
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
      const known = await replaceShares(this.#options, attempt, fresh)
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

  rotateRoot(): Promise<void> {
    return this.#led.run(() => rotateRootKey(this.#options))
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
      throw refusal(
        `a rekey expected recovery keys, which this ${config.type} seal was made without`,
        target === 'recovery' ? 'a root token makes them: rotate/recovery/init' : 'nobody can agree to it',
      )
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

const ended = (): HoldfastError =>
  new HoldfastError('ERR_NOT_LEADER', 'the rekey expected this node to lead to its end, got another leader', {
    hint: 'the shares of before stay: begin it again',
  })

/** Rekeys of the cluster that `barrier` opens. Listens to leadership until closed. */
export function createRekey(options: RekeyOptions): RekeyService {
  return new LeaderRekey(options)
}
