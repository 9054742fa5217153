/**
 * How one lease is taken back by its engine, on the leader: in the transaction of whoever ends it where the engine asks nobody outside, and otherwise one by
 * one, in a bounded time, with tries that are noted and come again, until it is given up with an alarm.
 */
import type { Clock } from '#base/clock.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { BoundedLru } from '#base/lru.ts'
import type { Logger } from '#base/logger.ts'
import type { RandomSource } from '#base/random.ts'
import type { Barrier, ReadView, Transaction } from '#barrier/types.ts'
import { attemptsMax, retryDelayMs } from '#leases/backoff.ts'
import { isGood, type SecretLease } from '#leases/records.ts'
import type { LeaseStore } from '#leases/store.ts'
import { Asides, bindAsides, NeedsAside } from './aside.ts'
import { errorText } from './errors.ts'
import type { LeaseCall, LeaseDef } from './lease-types.ts'
import type { MountReader } from './mounts.ts'
import { transactionStorage } from './storage.ts'
import type { EngineDef, MountEntry } from './types.ts'

/** How long an engine may take for what it does outside of the process to take one lease back. */
const effectMsMax = 30_000
const outsideMax = 4_096

/** A lease among others could not be taken back. */
export class OneFailed extends Error {}

export interface TakingBackOptions {
  /** That of `store.ledger.watch`. */
  readonly barrier: Barrier
  readonly store: LeaseStore
  readonly mounts: () => MountReader
  readonly engines: () => readonly EngineDef[]
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Logger
}

export class TakingBack {
  readonly #options: TakingBackOptions
  /** Being taken back, by namespace and id: whoever asks for the same waits for the same. */
  readonly #underWay = new Map<string, Promise<void>>()
  /** Kinds of leases, by mount and type, that ask somebody outside: one by one, or a provider that is away would hold up the others. */
  readonly #outside = new BoundedLru<string, true>({ weightMax: outsideMax })
  #failures = 0

  constructor(options: TakingBackOptions) {
    this.#options = options
  }

  /** Tries that failed, since the start. */
  get failures(): number {
    return this.#failures
  }

  /** Takes back one that has ended. @throws what kept it from that; it is noted then, and tried again later. */
  async takeBack(lease: SecretLease): Promise<void> {
    const key = `${lease.namespaceId}/${lease.id}`
    const running = this.#underWay.get(key)
    if (running) return running
    const run = this.#takeBack(lease).finally(() => this.#underWay.delete(key))
    this.#underWay.set(key, run)
    return run
  }

  /** False, with nothing written: its engine asks somebody outside, it failed before, or somebody is at it. @throws OneFailed */
  async takenBackAtOnce(transaction: Transaction, lease: SecretLease): Promise<boolean> {
    const kind = `${lease.mountUuid}/${lease.type}`
    if (this.#outside.peek(kind) || (lease.ending?.attempts ?? 0) > 0 || this.#underWay.has(`${lease.namespaceId}/${lease.id}`))
      return false
    try {
      await this.#takeBackIn(transaction, lease, new Asides())
      return true
    } catch (error) {
      // Asked for before an engine's first write (aside.ts): nothing of it is in the transaction.
      if (!(error instanceof NeedsAside)) throw isPassing(error) ? error : new OneFailed()
      this.#outside.set(kind, true)
      return false
    }
  }

  /** For the expirer: what fails is noted and no error. */
  async attempt(lease: SecretLease): Promise<void> {
    try {
      await this.takeBack(lease)
    } catch (error) {
      if (isPassing(error)) throw error
    }
  }

  async #takeBack(lease: SecretLease): Promise<void> {
    const asides = new Asides()
    const untilMs = this.#options.clock.monotonicMs() + effectMsMax
    try {
      for (;;) {
        try {
          await this.#options.barrier.transact((transaction) => this.#takeBackIn(transaction, lease, asides))
          return
        } catch (error) {
          if (!(error instanceof NeedsAside)) throw error
          await asides.carryOut(new NeedsAside(error.key, () => this.#bounded(error.work, untilMs)))
        }
      }
    } catch (error) {
      // Nothing is known of the engine then: another try is not a failed one.
      if (isPassing(error)) throw error
      if (await this.#failed(lease, error)) return
      throw error
    }
  }

  async #takeBackIn(transaction: Transaction, lease: SecretLease, asides: Asides): Promise<void> {
    const current = await this.#options.store.load(transaction, lease.namespaceId, lease.id)
    if (current?.kind !== 'secret' || isGood(current, transaction.nowMs)) return
    const mount = await this.mountOf(transaction, current)
    const def = mount && this.leaseDef(mount, current.type)
    if (!mount || !def) throw new HoldfastError('ERR_NOT_FOUND', 'expected the engine that lent it, got none')
    const call = this.call(transaction, current, mount)
    bindAsides(call, asides)
    await def.revoke(call)
    this.#options.store.remove(transaction, current)
  }

  /** Notes a failed try, or takes it off the books where that is wanted (true). */
  async #failed(lease: SecretLease, error: unknown): Promise<boolean> {
    const { random, log } = this.#options
    this.#failures += 1
    const text = textOf(error)
    const state = await this.#options.barrier.transact(async (transaction) => {
      const current = await this.#options.store.load(transaction, lease.namespaceId, lease.id)
      if (current?.kind !== 'secret' || isGood(current, transaction.nowMs)) return 'gone'
      if (current.ending?.force === true) {
        this.#options.store.remove(transaction, current)
        return 'forced'
      }
      const attempts = (current.ending?.attempts ?? 0) + 1
      const [high = 0, low = 0] = random.bytes(2)
      const dueMs = transaction.nowMs + retryDelayMs(attempts, (high * 256 + low) / 65_536)
      const over = attempts >= attemptsMax
      const ending = { dueMs, attempts, error: text, force: false, ...(over ? { irrevocableSinceMs: transaction.nowMs } : {}) }
      this.#options.store.put(transaction, current, { ...current, expireTimeMs: Math.min(current.expireTimeMs, transaction.nowMs), ending })
      return over ? 'irrevocable' : 'again'
    })
    const fields = { lease: lease.id, namespace: lease.namespaceId, error: text }
    if (state === 'irrevocable') {
      log.error(
        fields,
        'ALARM: a lease could not be taken back and is given up: what it stands for may still be in use (sys/leases?type=irrevocable)',
      )
    } else if (state === 'again') log.warn(fields, 'a lease could not be taken back: it is tried again')
    else if (state === 'forced') log.warn(fields, 'a lease could not be taken back, and was taken off the books by force')
    return state === 'forced' || state === 'gone'
  }

  /** One of several pieces of work of one try: all of them together have until then. */
  async #bounded(work: () => Promise<unknown>, untilMs: number): Promise<unknown> {
    const { clock } = this.#options
    let timer: { cancel(): void } | undefined
    const late = new Promise<never>((_, reject) => {
      timer = clock.setTimer(Math.max(0, untilMs - clock.monotonicMs()), () =>
        reject(
          new HoldfastError('ERR_TIMEOUT', `expected the engine to take a lease back within ${effectMsMax / 1_000} seconds, got no answer`),
        ),
      )
    })
    try {
      return await Promise.race([work(), late])
    } finally {
      timer?.cancel()
    }
  }

  async mountOf(view: ReadView, { namespaceId, mountUuid }: SecretLease): Promise<MountEntry | null> {
    const { entries } = await this.#options.mounts().read(view, namespaceId)
    return entries.find(({ uuid }) => uuid === mountUuid) ?? null
  }

  leaseDef(mount: MountEntry, type: string): LeaseDef | null {
    const engine = this.#options.engines().find(({ kind, type: name }) => kind === mount.table && name === mount.type)
    return engine?.leases?.[type] ?? null
  }

  call(transaction: Transaction, lease: SecretLease, mount: MountEntry): LeaseCall {
    const { random, log } = this.#options
    const { id, internal, issueTimeMs, expireTimeMs } = lease
    const storage = transactionStorage(transaction, { namespace: mount.namespaceId, mount: mount.uuid })
    return { id, internal, issueTimeMs, expireTimeMs, storage, mount, nowMs: transaction.nowMs, random, log }
  }
}

/** It says nothing of the engine: another leader, a busy log, a node that stops. */
const isPassing = (error: unknown): boolean =>
  (
    [
      'ERR_NOT_LEADER',
      'ERR_NO_LEADER',
      'ERR_SEALED',
      'ERR_NAMESPACE_SEALED',
      'ERR_BUSY',
      'ERR_CONFLICT',
      'ERR_OUTCOME_UNKNOWN',
      'ERR_SHUTTING_DOWN',
      'ERR_STORE_FAILED',
    ] as const
  ).some((code) => isHoldfastError(error, code))

/** What an engine failed with, as it is noted and shown. */
export const textOf = (error: unknown): string => errorText(error).slice(0, 512)
