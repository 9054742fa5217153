/**
 * Seals of namespaces: shares of their own, taken by the code that takes the cluster's. What was given so far lies in the leader's memory, so that a load
 * balancer may spread the shares over the nodes; it ends when another node leads.
 */
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { sealBox } from '#barrier/aead.ts'
import type { BarrierControl, NamespaceKeyStatus, NamesRenewal, OwnSeal } from '#barrier/types.ts'
import type { Clock, Timer } from '#base/clock.ts'
import type { Logger } from '#base/logger.ts'
import { BoundedLru } from '#base/lru.ts'
import type { RandomSource } from '#base/random.ts'
import { SecretBytes } from '#base/secret.ts'
import type { Replica } from '#replica/types.ts'
import { encodeSealConfig, parseSealConfig } from './config.ts'
import { createSealManager } from './manager.ts'
import { rootKeyPlace } from './migration.ts'
import { namespaceBarrier } from './namespace-barrier.ts'
import type { NamespaceSealSpec } from './namespace-config.ts'
import { encryptShares, readPgpKeys } from './pgp.ts'
import { createRekey } from './rekey.ts'
import type { RekeyService } from './rekey-types.ts'
import { checkShareCounts, shareSet, splitKey, unsealKeyBytes } from './shamir.ts'
import type { SealManager, UnsealOptions } from './types.ts'

/** Namespaces whose shares are being collected, or replaced, at once: the one that waited longest begins anew. */
const attemptsMax = 1_024
/** How long keys stay open that shares have opened here, while the cluster has not heard of it: as long as a write whose end is unknown may take. */
const unsaidMsMax = 30_000

export interface NamespaceSealStatus {
  readonly sealed: boolean
  readonly threshold: number
  readonly shares: number
  readonly progress: number
  readonly nonce: string
  readonly keys: NamespaceKeyStatus
}

/** A seal that is ready to be given to a namespace, once. Wipes its root key. */
export interface MadeSeal extends Disposable {
  readonly seal: OwnSeal
  /** Raw or PGP-encrypted. The caller's. */
  readonly keys: readonly Uint8Array[]
}

export interface NamespaceSealsOptions {
  readonly barrier: BarrierControl
  readonly replica: Pick<Replica, 'status' | 'onStatus' | 'onApplied' | 'readIndex'>
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Logger
}

export interface NamespaceSeals {
  /** Fresh shares, and a root key that they wrap. @throws ERR_BAD_REQUEST. */
  make(spec: NamespaceSealSpec): Promise<MadeSeal>
  /** null without a seal of its own. What was given so far the leader knows. @throws ERR_SEALED. */
  status(namespace: string): NamespaceSealStatus | null
  /**
   * Takes a share. With the last one needed the keys are open on this node: the caller then says so to the cluster (KeyringWrites.setSealed). Where that
   * is not committed within half a minute they are closed again. Leader only.
   * @throws ERR_BAD_SHARE, ERR_BAD_REQUEST, ERR_NAMESPACE_SEALED when what it lies in is sealed, ERR_NOT_LEADER.
   */
  unseal(namespace: string, options: Pick<UnsealOptions, 'key' | 'reset'>): Promise<{ readonly opened: boolean }>
  /** Other shares for those that stand. Leader only. */
  rekey(namespace: string): RekeyService
  /** As NamespaceKeys.status. */
  keyStatus(namespace: string): NamespaceKeyStatus | null
  /** As NamespaceKeys.namesRenewal. */
  namesRenewal(namespace: string): NamesRenewal | null
  /** A term more for its keyring. Leader only. @throws as KeyringWrites.rotate. */
  rotate(namespace: string): Promise<void>
  close(): void
}

interface Attempt {
  readonly manager: SealManager
  rekey: RekeyService | null
}

class LeaderNamespaceSeals implements NamespaceSeals {
  readonly #options: NamespaceSealsOptions
  readonly #attempts = new BoundedLru<string, Attempt>({ weightMax: attemptsMax, dropped: end })
  readonly #unsubscribe: () => void
  /** Namespaces whose keys are open here, and may not be for long: at most one for each that has a seal of its own. */
  readonly #unsaid = new Map<string, Timer>()

  constructor(options: NamespaceSealsOptions) {
    this.#options = options
    const { barrier, replica } = options
    const stopStatus = replica.onStatus(({ role }) => role !== 'leader' && this.#attempts.clear())
    const stopSeal = barrier.onSealChange((sealed) => sealed && this.#attempts.clear())
    this.#unsubscribe = () => {
      stopStatus()
      stopSeal()
    }
  }

  async make({ shares, threshold, pgpKeys }: NamespaceSealSpec): Promise<MadeSeal> {
    const { clock, random } = this.#options
    checkShareCounts(shares, threshold)
    if (pgpKeys.length > 0 && pgpKeys.length !== shares)
      throw new HoldfastError('ERR_BAD_REQUEST', `incorrect number of PGP keys: expected one a share, ${shares}, got ${pgpKeys.length}`)
    const holders = await readPgpKeys('pgp_keys', pgpKeys, clock.nowMs())
    using unsealKey = new SecretBytes(random.bytes(unsealKeyBytes))
    const plain = await splitKey(unsealKey.reveal(), shares, threshold)
    const rootKey = new SecretBytes(random.bytes(unsealKeyBytes))
    try {
      const wrappedRootKey = sealBox(unsealKey.reveal(), rootKeyPlace, rootKey.reveal(), random)
      const sealConfig = encodeSealConfig({ type: 'shamir', secret: shareSet(plain, threshold, random) })
      const keys = await encryptShares(holders, plain)
      if (keys !== plain) for (const share of plain) share.fill(0)
      return { seal: { rootKey, sealConfig, wrappedRootKey }, keys, [Symbol.dispose]: () => rootKey[Symbol.dispose]() }
    } catch (error) {
      rootKey[Symbol.dispose]()
      throw error
    }
  }

  status(namespace: string): NamespaceSealStatus | null {
    const { namespaces } = this.#options.barrier
    const keys = namespaces.status(namespace)
    const record = namespaces.read(namespace, 'sealConfig')
    if (keys === null || !keys.ownSeal || record === null) return null
    const { secret } = parseSealConfig(record)
    const given = this.#attempts.peek(namespace)?.manager.status()
    return {
      sealed: keys.sealed,
      threshold: secret?.threshold ?? 0,
      shares: secret?.shares ?? 0,
      progress: given?.progress ?? 0,
      nonce: given?.nonce ?? '',
      keys,
    }
  }

  async unseal(namespace: string, options: Pick<UnsealOptions, 'key' | 'reset'>): Promise<{ readonly opened: boolean }> {
    this.#checkLeads()
    const before = this.status(namespace)
    if (before === null) throw noSeal()
    if (!before.sealed) return { opened: false }
    const { manager } = this.#attempt(namespace)
    await manager.unseal({ ...options, migrate: false })
    const { progress } = manager.status()
    const opened = progress === 0 && !options.reset
    if (opened && this.#attempts.peek(namespace)?.rekey === null) this.#attempts.delete(namespace)
    if (opened) this.#closeUnlessSaid(namespace)
    return { opened }
  }

  /** What its shares have opened must not stay open where the commit that says so failed: sealed, by the cluster's word, nobody would think of its key. */
  #closeUnlessSaid(namespace: string): void {
    const { barrier, clock, log } = this.#options
    this.#unsaid.get(namespace)?.cancel()
    const timer = clock.setTimer(unsaidMsMax, () => {
      this.#unsaid.delete(namespace)
      try {
        barrier.namespaces.closeUnsaid(namespace)
      } catch (error) {
        // Sealed, the node has wiped it with all others.
        if (!isHoldfastError(error, 'ERR_SEALED')) log.error({ namespace, error: 'unknown' }, 'a namespace could not be closed again')
      }
    })
    this.#unsaid.set(namespace, timer)
  }

  rekey(namespace: string): RekeyService {
    if (this.status(namespace) === null) throw noSeal()
    const attempt = this.#attempt(namespace)
    const { barrier, ...rest } = this.#options
    attempt.rekey ??= createRekey({
      ...rest,
      barrier: namespaceBarrier(barrier, namespace),
      autoSeal: null,
      log: rest.log.child({ namespace }),
    })
    return attempt.rekey
  }

  keyStatus(namespace: string): NamespaceKeyStatus | null {
    return this.#options.barrier.namespaces.status(namespace)
  }

  namesRenewal(namespace: string): NamesRenewal | null {
    return this.#options.barrier.namespaces.namesRenewal(namespace)
  }

  rotate(namespace: string): Promise<void> {
    return this.#options.barrier.transact(async ({ keyrings }) => void keyrings?.rotate(namespace))
  }

  #attempt(namespace: string): Attempt {
    const known = this.#attempts.get(namespace)
    if (known !== undefined) return known
    const { barrier, replica, random, log } = this.#options
    const manager = createSealManager({
      barrier: namespaceBarrier(barrier, namespace),
      replica,
      random,
      log: log.child({ namespace }),
      owner: 'namespace',
    })
    const attempt: Attempt = { manager, rekey: null }
    this.#attempts.set(namespace, attempt)
    return attempt
  }

  #checkLeads(): void {
    const { role, ready } = this.#options.replica.status()
    if (role !== 'leader' || !ready)
      throw new HoldfastError('ERR_NOT_LEADER', 'this node expected to lead the cluster, got another leader or none', {
        hint: 'again in a moment',
      })
  }

  close(): void {
    this.#unsubscribe()
    this.#attempts.clear()
    for (const timer of this.#unsaid.values()) timer.cancel()
    this.#unsaid.clear()
  }
}

function end({ manager, rekey }: Attempt): void {
  manager.close()
  rekey?.close()
}

function noSeal(): HoldfastError {
  return new HoldfastError('ERR_BAD_REQUEST', 'namespace expected to have a seal of its own, got one that has none', {
    hint: 'a namespace is given its seal when it is created; the namespaces in it are sealed with it',
  })
}

/** Listens to leadership until closed. */
export function createNamespaceSeals(options: NamespaceSealsOptions): NamespaceSeals {
  return new LeaderNamespaceSeals(options)
}
