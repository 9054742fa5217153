/**
 * One node's seal: unseal key (shares) or auto seal -> root key -> barrier. Works on a node that is sealed, follows, or has only just
 * joined: all it needs are bare records of its own state. What was typed in is per node and in memory only.
 */
import { HoldfastError, wellKnown } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import { isHoldfastError } from '#base/errors.ts'
import type { RandomSource } from '#base/random.ts'
import { equalSecrets, SecretBytes } from '#base/secret.ts'
import { deriveJoinKey, sealBox } from '#barrier/aead.ts'
import { bareNames } from '#barrier/bare.ts'
import type { Replica } from '#replica/types.ts'
import { encodeSealConfig, parseSealConfig } from './config.ts'
import { UnsealProgress } from './progress.ts'
import { openRootKey, prepareMigration, type PreparedMigration, rootKeyPlace } from './migration.ts'
import { proven } from './proof.ts'
import { checkShare } from './share-check.ts'
import { checkShareCounts, combineShares, parseShare, shareSet, splitKey, unsealKeyBytes } from './shamir.ts'
import type {
  AutoSeal,
  SealBarrier,
  SealConfig,
  SealInitOptions,
  SealInitResult,
  SealManager,
  SealOwner,
  SealRecords,
  SealStatus,
  ShareSet,
  UnsealOptions,
} from './types.ts'

export interface SealManagerOptions {
  readonly barrier: SealBarrier
  readonly replica: Pick<Replica, 'status' | 'onApplied'>
  readonly random: RandomSource
  readonly log: Logger
  readonly clusterName?: string | null
  /** The configured auto seal; absent: shares. */
  readonly autoSeal?: AutoSeal
  /** The one that a migration comes from: configured with `disabled = true`. */
  readonly retiredSeal?: AutoSeal
  /** Default: the cluster. */
  readonly owner?: SealOwner
  /** Begins as if an operator had sealed it: the auto seal is not asked. */
  readonly held?: boolean
}

const rootKeyBytes = 32
const place = rootKeyPlace
/** Unseal calls that may wait for one another. */
const waitingMax = 32

interface Joining {
  readonly records: SealRecords
  readonly resolve: (joinKey: SecretBytes) => void
  readonly reject: (error: Error) => void
}

/** What this node waits for: so many shares of `set`, and what for. */
interface Need {
  readonly config: SealConfig
  readonly set: ShareSet
  readonly purpose: 'open' | 'recover' | 'migrate'
}

class NodeSealManager implements SealManager {
  readonly #options: SealManagerOptions
  readonly #progress = new UnsealProgress()
  /** Salt of the set that the shares given so far belong to. */
  #progressOf = ''
  readonly #unsubscribe: () => void
  #joining: Joining | null = null
  /** Of a cluster that we are joining: opens the barrier as soon as the keyring has arrived. */
  #awaitingKeyring: SecretBytes | null = null
  #initializing = false
  /** Sealed by an operator: it stays so until somebody unseals it, or it restarts (its own replacement is no restart: see `held`). */
  #held: boolean
  /** Why the auto seal did not open last time; null: it did, or was not asked. */
  #openFailure: string | null = null
  /** Opened by the seal of before, wrapped by the next one; written as soon as this node leads. */
  #migration: PreparedMigration | null = null
  #settling = false
  #queue: Promise<unknown> = Promise.resolve()
  #waiting = 0

  constructor(options: SealManagerOptions) {
    this.#options = options
    this.#held = options.held === true
    this.#unsubscribe = options.replica.onApplied(() => this.#keyringArrived())
  }

  status(): SealStatus {
    const config = this.#config()
    const initialized = config !== null
    const shares = config?.secret ?? (config !== null && config.secret === null ? config.recovery : null)
    return {
      type: config?.type ?? this.#options.autoSeal?.kind ?? 'shamir',
      initialized,
      sealed: !initialized || this.#options.barrier.sealed,
      t: shares?.threshold ?? 0,
      n: shares?.shares ?? 0,
      progress: this.#progress.count,
      nonce: this.#progress.nonce,
      recoverySeal: (config?.type ?? this.#options.autoSeal?.kind ?? 'shamir') !== 'shamir',
      migration:
        this.#migration !== null || (this.#joining === null && config !== null && this.#options.barrier.sealed && this.#migrates(config)),
      clusterName: this.#options.clusterName ?? null,
      clusterId: this.#options.replica.status().clusterId,
      ...this.#warnings(),
    }
  }

  #warnings(): { readonly warnings?: readonly string[] } {
    if (!this.#options.barrier.sealed) return {}
    // Shares say by themselves what is waited for; an auto seal that is not asked would look like one that fails.
    if (this.#held && this.#options.autoSeal !== undefined)
      return { warnings: ['sealed by an operator: it stays so until recovery keys are given, or it restarts'] }
    return this.#openFailure === null ? {} : { warnings: [`the seal does not open: ${this.#openFailure}`] }
  }

  get wantsToOpen(): boolean {
    const { barrier, autoSeal } = this.#options
    if (autoSeal === undefined || !barrier.sealed || this.#held || this.#initializing || this.#joining !== null) return false
    if (this.#awaitingKeyring !== null || barrier.readBare(bareNames.keyring) === null) return false
    const config = this.#config()
    return config !== null && config.type !== 'shamir' && !this.#migrates(config)
  }

  get outdated(): boolean {
    const { autoSeal } = this.#options
    const records = this.records()
    if (autoSeal === undefined || records === null || parseSealConfig(records.sealConfig).type !== autoSeal.kind) return false
    return autoSeal.outdated(records.rootKey)
  }

  /** The seal that this node runs with is another than the one that the cluster is sealed by, and this node can open the latter. */
  #migrates({ type }: SealConfig): boolean {
    const { autoSeal, retiredSeal } = this.#options
    return type !== (autoSeal?.kind ?? 'shamir') && (type === 'shamir' || type === retiredSeal?.kind)
  }

  records(): SealRecords | null {
    const { barrier } = this.#options
    const sealConfig = barrier.readBare(bareNames.sealConfig)
    const rootKey = barrier.readBare(bareNames.rootKey)
    return sealConfig === null || rootKey === null ? null : { sealConfig, rootKey }
  }

  #config(): SealConfig | null {
    const record = this.#joining?.records.sealConfig ?? this.#options.barrier.readBare(bareNames.sealConfig)
    return record === null ? null : parseSealConfig(record)
  }

  async init<T>(options: SealInitOptions, populate: () => Promise<T>): Promise<SealInitResult<T>> {
    if (this.#config() !== null) throw alreadyInitialized()
    if (this.#initializing)
      throw new HoldfastError('ERR_BUSY', 'one initialisation expected, got a second', { hint: 'wait for the first one' })
    checkSealInit(options, this.#options.autoSeal !== undefined)
    this.#initializing = true
    try {
      return await (this.#options.autoSeal === undefined
        ? this.#initShamir(options, populate)
        : this.#initAuto(this.#options.autoSeal, options, populate))
    } finally {
      this.#initializing = false
    }
  }

  async #initShamir<T>(options: SealInitOptions, populate: () => Promise<T>): Promise<SealInitResult<T>> {
    const { secretShares, secretThreshold } = options
    const { random, barrier } = this.#options
    using unsealKey = new SecretBytes(random.bytes(unsealKeyBytes))
    const keys = await splitKey(unsealKey.reveal(), secretShares, secretThreshold)
    const rootKey = new SecretBytes(random.bytes(rootKeyBytes))
    const wrapped = sealBox(unsealKey.reveal(), place, rootKey.reveal(), random)
    try {
      const secret = shareSet(keys, secretThreshold, random)
      const value = await this.#giveBirth(rootKey, wrapped, { type: 'shamir', secret }, populate)
      return { keys, value }
    } finally {
      barrier.seal() // As the peers do: whoever holds the shares shows now that they open.
    }
  }

  async #initAuto<T>(seal: AutoSeal, options: SealInitOptions, populate: () => Promise<T>): Promise<SealInitResult<T>> {
    const { random, barrier } = this.#options
    const recovery = await this.#makeRecovery(options)
    const rootKey = new SecretBytes(random.bytes(rootKeyBytes))
    try {
      const wrapped = await seal.wrap(rootKey.reveal(), place)
      const config: SealConfig = { type: seal.kind, secret: null, recovery: recovery?.set ?? null }
      const value = await this.#giveBirth(rootKey, wrapped, config, populate)
      return { keys: [], ...(recovery === null ? {} : { recoveryKeys: recovery.keys }), value }
    } catch (error) {
      rootKey[Symbol.dispose]()
      barrier.seal()
      throw error
    }
  }

  async #makeRecovery(options: SealInitOptions): Promise<{ readonly keys: readonly Uint8Array[]; readonly set: ShareSet } | null> {
    if (options.recoveryShares === 0) return null
    using key = new SecretBytes(this.#options.random.bytes(unsealKeyBytes))
    const keys = await splitKey(key.reveal(), options.recoveryShares, options.recoveryThreshold)
    return { keys, set: shareSet(keys, options.recoveryThreshold, this.#options.random) }
  }

  async #giveBirth<T>(rootKey: SecretBytes, wrapped: Uint8Array, config: SealConfig, populate: () => Promise<T>): Promise<T> {
    const { barrier, log } = this.#options
    await barrier.initialize(rootKey, { [bareNames.rootKey]: wrapped })
    const value = await populate()
    // Last, and one write: a crash before it leaves a cluster that is not initialised, and the next init begins anew. The other way round
    // it could leave one that is, whose shares nobody has seen.
    await barrier.writeBare({ [bareNames.sealConfig]: encodeSealConfig(proven(barrier, config)) })
    log.info({ seal: config.type }, 'the cluster is initialised')
    return value
  }

  unseal(options: UnsealOptions): Promise<SealStatus> {
    return this.#inTurn(() => this.#unseal(options))
  }

  async #unseal({ key, reset, migrate }: UnsealOptions): Promise<SealStatus> {
    if (reset) {
      this.#progress.reset()
      return this.status()
    }
    if (key === null || key === '')
      throw new HoldfastError('ERR_BAD_REQUEST', "'key' must be specified in request body as JSON, or 'reset' set to true", {
        hint: 'send {"key": "<one share>"}',
      })
    const share = parseShare(key)
    let need: Need | null
    try {
      need = this.#needed(migrate === true)
    } catch (error) {
      share.fill(0)
      throw error
    }
    if (need === null) {
      share.fill(0)
      return this.status()
    }
    this.#take(need, share)
    if (this.#progress.count >= need.set.threshold) await this.#finish(need)
    return this.status()
  }

  /** null when this node is open, or about to be. @throws when shares are not what it needs, or not in this way. */
  #needed(migrate: boolean): Need | null {
    if (!this.#options.barrier.sealed || this.#awaitingKeyring !== null) return null
    const config = this.#config()
    if (config === null) throw notInitialized()
    const set = config.secret ?? config.recovery
    if (set === null)
      throw new HoldfastError('ERR_BAD_REQUEST', `unseal expected recovery keys, which this ${config.type} seal was made without`, {
        hint: 'restart the node: it opens by itself',
      })
    const migrates = this.#migrates(config)
    if (migrate && this.#joining !== null) throw badMigration("can't perform a seal migration while joining a raft cluster", 'join first')
    if (migrate && !migrates)
      throw badMigration(
        "can't perform a seal migration, no migration seal found",
        'leave out migrate, or configure the seal to migrate to',
      )
    if (!migrate && migrates && this.#joining === null)
      throw badMigration('migrate option not provided and seal migration is pending', 'operator unseal -migrate')
    return { config, set, purpose: migrate ? 'migrate' : config.secret === null ? 'recover' : 'open' }
  }

  #take({ config, set }: Need, share: Uint8Array): void {
    checkShare(config, set, share, this.#options.owner)
    // A rekey came in between: what was given before belongs to shares that are void, and would spoil the combination.
    if (this.#progressOf !== set.salt) this.#progress.reset()
    this.#progressOf = set.salt
    this.#progress.add(share, this.#options.random)
  }

  async #finish({ purpose, config, set }: Need): Promise<void> {
    try {
      if (purpose === 'recover') {
        this.#held = false
        await this.autoUnseal()
      } else if (purpose === 'migrate') await this.#migrate(config, set)
      else {
        const wrapped = this.#joining?.records.rootKey ?? this.#options.barrier.readBare(bareNames.rootKey)
        if (wrapped === null) throw notInitialized()
        using unsealKey = new SecretBytes(await combineShares(this.#progress.shares))
        this.#useRootKey(new SecretBytes(openRootKey(unsealKey.reveal(), wrapped)))
        this.#held = false
      }
    } finally {
      this.#progress.reset() // Right or wrong: what was typed in does not stay in memory.
    }
  }

  /** Opens by the seal of before, and has the root key ready under the next one. */
  async #migrate(config: SealConfig, set: ShareSet): Promise<void> {
    const { autoSeal, retiredSeal, random, log } = this.#options
    const records = this.records()
    if (records === null) throw notInitialized()
    const from = config.type === 'shamir' ? null : (retiredSeal ?? null)
    const shares = this.#progress.shares
    const { rootKey, migration } = await prepareMigration({ records, shares, set, from, to: autoSeal ?? null, random })
    this.#useRootKey(rootKey)
    this.#held = false
    this.#migration = migration
    log.info(
      { from: config.type, to: migration.type },
      'opened by the seal of before; the cluster changes over when this node, or another such, leads',
    )
    await this.settleMigration()
  }

  async settleMigration(): Promise<void> {
    const { barrier, replica, log } = this.#options
    const migration = this.#migration
    if (migration === null || this.#settling || barrier.sealed) return
    const records = this.records()
    if (records === null) return
    if (parseSealConfig(records.sealConfig).type === migration.type) {
      this.#migration = null // Another node has done it.
      return
    }
    if (!equalSecrets(records.rootKey, migration.from.rootKey) || !equalSecrets(records.sealConfig, migration.from.sealConfig)) {
      log.error(
        { to: migration.type },
        'the root key or the shares were changed during the migration of the seal: restart this node and unseal it with migrate again',
      )
      this.#migration = null
      return
    }
    const { role, ready } = replica.status()
    if (role !== 'leader' || !ready) return
    this.#settling = true
    try {
      const sealConfig = encodeSealConfig(proven(barrier, migration.config))
      await barrier.changeSeal({
        records: { [bareNames.rootKey]: migration.rootKey, [bareNames.sealConfig]: sealConfig },
        expected: { [bareNames.rootKey]: records.rootKey, [bareNames.sealConfig]: records.sealConfig },
      })
      this.#migration = null
      log.info({ to: migration.type }, 'the cluster is now sealed by it')
    } finally {
      this.#settling = false
    }
  }

  async rewrap(): Promise<void> {
    const { autoSeal, barrier, log } = this.#options
    const records = this.records()
    if (records === null) throw notInitialized()
    const { type } = parseSealConfig(records.sealConfig)
    if (autoSeal === undefined || type !== autoSeal.kind)
      throw new HoldfastError('ERR_BAD_REQUEST', `rewrap expected an auto seal that the cluster is sealed by, got ${type}`, {
        hint: 'shares are changed by a rekey; another seal by a migration',
      })
    using rootKey = new SecretBytes(await autoSeal.unwrap(records.rootKey, place))
    const wrapped = await autoSeal.wrap(rootKey.reveal(), place)
    using check = new SecretBytes(await autoSeal.unwrap(wrapped, place))
    if (!equalSecrets(check.reveal(), rootKey.reveal()))
      throw new HoldfastError('ERR_DECRYPT', `seal ${type} expected back what it wrapped`)
    // Only over what was unwrapped: the wrapping of a root key that a rekey has replaced meanwhile would open nothing.
    const expected = { [bareNames.rootKey]: records.rootKey, [bareNames.sealConfig]: records.sealConfig }
    await barrier.changeSeal({ records: { [bareNames.rootKey]: wrapped }, expected })
    log.info({ seal: type }, 'the root key is wrapped anew')
  }

  /** Takes ownership of the root key: opens the barrier, or proves it to the cluster that we are joining. */
  #useRootKey(rootKey: SecretBytes): void {
    const joining = this.#joining
    if (joining === null) return this.#options.barrier.open(rootKey)
    this.#joining = null
    this.#awaitingKeyring?.[Symbol.dispose]()
    this.#awaitingKeyring = rootKey
    joining.resolve(new SecretBytes(deriveJoinKey(rootKey.reveal())))
    this.#keyringArrived()
  }

  #keyringArrived(): void {
    const rootKey = this.#awaitingKeyring
    if (rootKey === null || this.#options.barrier.readBare(bareNames.keyring) === null) return
    this.#awaitingKeyring = null
    try {
      this.#options.barrier.open(rootKey)
    } catch (error) {
      this.#options.log.error(
        { error: isHoldfastError(error) ? error.code : 'unknown' },
        'the keyring of the joined cluster does not open: this node stays sealed',
      )
    }
  }

  async autoUnseal(): Promise<boolean> {
    const { barrier } = this.#options
    const records = this.#joining?.records ?? this.records()
    if (records === null) return false
    const config = parseSealConfig(records.sealConfig)
    if (config.type === 'shamir') return false
    if (!barrier.sealed) return true
    try {
      const seal = this.#sealOf(config)
      this.#useRootKey(new SecretBytes(await seal.unwrap(records.rootKey, place)))
      this.#openFailure = null
      return true
    } catch (error) {
      this.#openFailure = isHoldfastError(error) ? error.message : 'an unknown error'
      throw error
    }
  }

  #sealOf({ type }: SealConfig): AutoSeal {
    const { autoSeal, retiredSeal } = this.#options
    if (autoSeal?.kind === type) return autoSeal
    // A node may join a cluster that is about to change over.
    if (this.#joining !== null && retiredSeal?.kind === type) return retiredSeal
    throw new HoldfastError('ERR_CONFIG', `seal expected ${type}, got ${autoSeal?.kind ?? 'none'} in the configuration`, {
      hint: 'configure the seal that the cluster is sealed by; for a migration, with disabled = true beside the next one',
    })
  }

  async openForJoin(records: SealRecords): Promise<SecretBytes> {
    const config = parseSealConfig(records.sealConfig) // Before anything changes: it came from another machine.
    this.#endJoining()
    // Of a join that failed after its shares: kept, it would have this one wait for a keyring that never comes, and take no share.
    this.#awaitingKeyring?.[Symbol.dispose]()
    this.#awaitingKeyring = null
    const opened = new Promise<SecretBytes>((resolve, reject) => {
      this.#joining = { records, resolve, reject }
    })
    this.#progress.reset()
    if (config.type !== 'shamir') {
      try {
        await this.autoUnseal()
      } catch (error) {
        opened.catch(() => {}) // Told by what is thrown here.
        this.#endJoining()
        throw error
      }
    }
    return opened
  }

  #endJoining(): void {
    this.#joining?.reject(
      new HoldfastError('ERR_SHUTTING_DOWN', 'joining expected to go on, got another attempt or the end', { hint: 'join again' }),
    )
    this.#joining = null
  }

  seal(): void {
    this.#held = true
    this.#migration = null
    this.#progress.reset()
    this.#options.barrier.seal()
  }

  close(): void {
    this.#unsubscribe()
    this.#endJoining()
    this.#awaitingKeyring?.[Symbol.dispose]()
    this.#awaitingKeyring = null
    this.seal()
  }

  /** One share at a time: combining waits, and a share that came meanwhile would be counted for an attempt that is over. */
  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#waiting >= waitingMax)
      throw new HoldfastError('ERR_BUSY', `unsealing expected at most ${waitingMax} shares at once, got more`, {
        hint: 'again in a moment',
      })
    this.#waiting++
    const before = this.#queue
    const turn = (async () => {
      await before
      return work()
    })()
    this.#queue = turn.catch(() => {}) // The caller is told; the next one in line must not be.
    try {
      return await turn
    } finally {
      this.#waiting--
    }
  }
}

/** Whether `options` can be met; for callers that must know before anything is founded. @throws ERR_BAD_REQUEST. */
export function checkSealInit(options: SealInitOptions, autoSeal: boolean): void {
  if (!autoSeal) checkShareCounts(options.secretShares, options.secretThreshold)
  else if (options.recoveryShares !== 0) checkShareCounts(options.recoveryShares, options.recoveryThreshold)
  const [keys, shares] = autoSeal ? [options.recoveryPgpKeys, options.recoveryShares] : [options.pgpKeys, options.secretShares]
  if (keys.length === 0 || keys.length === shares) return
  throw new HoldfastError('ERR_BAD_REQUEST', `incorrect number of PGP keys: expected one a share, ${shares}, got ${keys.length}`, {
    hint: 'the first share is encrypted to the first key, and so on',
  })
}

function badMigration(message: string, hint: string): HoldfastError {
  return new HoldfastError('ERR_BAD_REQUEST', message, { hint })
}

function notInitialized(): HoldfastError {
  return new HoldfastError('ERR_NOT_INITIALIZED', wellKnown.notInitialized, { hint: 'initialise the cluster, or join one' })
}

function alreadyInitialized(): HoldfastError {
  return new HoldfastError('ERR_ALREADY_INITIALIZED', wellKnown.alreadyInitialized, { hint: 'unseal it with the shares printed then' })
}

/** The seal of one node, over its barrier and its replica. */
export function createSealManager(options: SealManagerOptions): SealManager {
  return new NodeSealManager(options)
}
