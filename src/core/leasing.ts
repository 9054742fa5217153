/**
 * Leases between requests, engines and the books (leases/store.ts): who is lent what for how long, and how it is taken back.
 *
 * A lease ends in two steps. First it is marked, and is good no more: in the transaction of whoever ends it, or by its time alone. Then it is taken back
 * by its engine, on the leader, as often as that takes. So ending a million of them is one entry of the log, and a database that is away delays nobody.
 */
import type { Clock } from '#base/clock.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { lifetimes } from '#base/lifetimes.ts'
import { BoundedLru } from '#base/lru.ts'
import type { Logger } from '#base/logger.ts'
import type { RandomSource } from '#base/random.ts'
import { formatDuration } from '#base/duration.ts'
import type { Barrier, ReadView, Transaction } from '#barrier/types.ts'
import { attemptsMax, retryDelayMs } from '#leases/backoff.ts'
import { LeaseCounts } from '#leases/counts.ts'
import { deleteDue, readDueId, type Due } from '#leases/due.ts'
import { Expirer } from '#leases/expirer.ts'
import { dueMsOf, isGood, isIrrevocable, leaseKey, type SecretLease, type TokenLease } from '#leases/records.ts'
import type { EndingPrefix, LeaseStore } from '#leases/store.ts'
import type { NamespaceStore } from '#namespaces/store.ts'
import type { TokenStore } from '#tokens/store.ts'
import type { TokenEntry } from '#tokens/types.ts'
import { Asides, bindAsides, NeedsAside, shareAsides } from './aside.ts'
import { errorText } from './errors.ts'
import type { LeaseCall, LeaseDef, LeaseGrant } from './lease-types.ts'
import { MountReader } from './mounts.ts'
import { clearRevoked } from './revoked.ts'
import { transactionStorage } from './storage.ts'
import type { EngineDef, LogicalResponse, MountEntry } from './types.ts'

/** How long an engine may take for what it does outside of the process to take one lease back. */
const effectMsMax = 30_000
const marksPerTransaction = 128
const idsPerStepMax = 2_048
const tokensPerStep = 16
/** How long a request waits until all below its prefix is taken back; the rest is done without it. */
const waitMsMax = 60_000
const atOnceMax = 16
const outsideMax = 4_096

/** A lease among others could not be taken back. */
class OneFailed extends Error {}

export interface LeasingOptions {
  readonly barrier: Barrier
  readonly store: LeaseStore
  readonly tokens: TokenStore
  readonly namespaces: NamespaceStore
  /** Asked once there is something to take back. */
  readonly engines: () => readonly EngineDef[]
  /** The term in which this node leads and is ready; null: it does not, or is sealed. */
  readonly leads: () => number | null
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Logger
  /** For tests: leases of one token or prefix that are marked in one step. */
  readonly idsPerStep?: number
}

export class Leasing {
  readonly store: LeaseStore
  readonly expirer: Expirer
  /** The barrier that whatever touches tokens or leases is to be done through: so that memory hears of it. */
  readonly barrier: Barrier
  readonly #options: LeasingOptions
  readonly #counts: LeaseCounts
  #mounts = new MountReader()
  /** Being taken back, by namespace and id: whoever asks for the same waits for the same. */
  readonly #underWay = new Map<string, Promise<void>>()
  /** How far the walk below each prefix is, and through the leases of each token that is gone. At most a step behind in each. */
  readonly #walked = new Map<string, string>()
  readonly #idsPerStep: number
  /** Kinds of leases, by mount and type, that ask somebody outside: one by one, or a provider that is away would hold up the others. */
  readonly #outside = new BoundedLru<string, true>({ weightMax: outsideMax })
  #countedTerm: number | null = null
  #irrevocable = 0
  #failures = 0

  constructor(options: LeasingOptions) {
    this.#options = options
    this.#idsPerStep = options.idsPerStep ?? idsPerStepMax
    this.store = options.store
    this.barrier = options.store.ledger.watch(options.barrier)
    this.#counts = new LeaseCounts((namespace, id) => this.#mounts.lastSeen(namespace)?.route(id)?.mount.uuid ?? null)
    this.expirer = new Expirer({
      barrier: this.barrier,
      clock: options.clock,
      log: options.log,
      leads: options.leads,
      namespaces: async (view) => ['root', ...(await options.namespaces.ids(view))],
      end: (namespace, dues) => this.#end(namespace, dues),
      revoke: (lease) => this.#attempt(lease),
      rest: (namespace) => this.#rest(namespace),
    })
    options.store.ledger.listen(this.expirer)
    options.store.ledger.listen(this.#counts)
    options.store.ledger.listen({
      committed: (changes) => {
        for (const { irrevocable = 0 } of changes) this.#irrevocable += irrevocable
      },
      // The counts may be off by what nobody knows of: they begin anew, and are told to nobody until they are whole.
      lost: () => void (this.#countedTerm = null),
    })
  }

  /**
   * Reads mount tables through `reader` from here on: that of the core, which has read the table anew for each request that lends. A reader of one's own
   * would count leases of a mount that is newer than its last look to no mount, and the mount's quota would never hold.
   */
  shareMounts(reader: MountReader): void {
    this.#mounts = reader
  }

  /** Leases and tokens of a mount, of the whole namespace for null; null while this node does not lead, or still counts them. For quotas. */
  leaseCount(namespaceId: string, mountUuid: string | null): number | null {
    return this.#options.leads() === null || this.#options.leads() !== this.#countedTerm ? null : this.#counts.of(namespaceId, mountUuid)
  }

  /** Forgets what is known of the leases of namespaces that are sealed, but for those that are being taken back. */
  forget(which: (namespaceId: string) => boolean): void {
    this.expirer.forget(which)
    this.#mounts.clear()
    for (const key of this.#walked.keys()) if (which(key.slice(0, key.indexOf('/')))) this.#walked.delete(key)
  }

  /** For metrics. Counts are the leader's. */
  status() {
    const leads = this.#options.leads() !== null
    const { pending, ended, lagMs, filled } = this.expirer.status()
    const leases = leads && this.#counts.complete ? this.#counts.total : 0
    return {
      leases,
      irrevocable: leads ? this.#irrevocable : 0,
      failures: this.#failures,
      pending,
      ended,
      lagMs: leads ? lagMs : 0,
      filled,
    }
  }

  /** Registers what `grant` lends to `token`, in the transaction of the handler that lends it. */
  grant(transaction: Transaction, mount: MountEntry, path: string, token: TokenEntry | null, grant: LeaseGrant): Partial<LogicalResponse> {
    if (token === null) throw new HoldfastError('ERR_INTERNAL', 'expected a token that a lease can belong to')
    const def = this.#leaseDef(mount, grant.type)
    if (def === null) throw new HoldfastError('ERR_INTERNAL', `expected the engine to say how a lease of type '${grant.type}' ends`)
    const { ttlSeconds, maxTtlSeconds, warnings } = leaseTtl(mount, grant.ttlSeconds ?? 0, grant.maxTtlSeconds ?? 0)
    const lease = this.store.register(transaction, {
      namespaceId: mount.namespaceId,
      path,
      mountUuid: mount.uuid,
      type: grant.type,
      internal: grant.internal,
      ...ownerOf(token, mount.namespaceId),
      ttlSeconds,
      maxTtlSeconds,
      renewable: def.renew !== undefined && token.type !== 'batch' && (grant.renewable ?? true),
    })
    return {
      leaseId: lease.id,
      renewable: lease.renewable,
      leaseSeconds: Math.ceil((lease.expireTimeMs - transaction.nowMs) / 1_000),
      warnings,
    }
  }

  /** A lease that is good at `view`, its token too; null for everything else. */
  async good(view: ReadView, namespaceId: string, id: string): Promise<SecretLease | null> {
    const lease = await this.store.load(view, namespaceId, id)
    if (lease === null || lease.kind !== 'secret' || !(await this.store.isGood(view, lease))) return null
    return (await this.#hasToken(view, lease)) ? lease : null
  }

  /** The token that a lease is of, if it is good at `view`. */
  token(view: ReadView, lease: TokenLease): Promise<TokenEntry | null> {
    return this.#options.tokens.lookupHash(view, leaseKey(lease.id), lease.namespaceId)
  }

  async #hasToken(view: ReadView, { tokenHash, tokenNamespaceId, namespaceId }: SecretLease): Promise<boolean> {
    return tokenHash === '' || (await this.#options.tokens.lookupHash(view, tokenHash, tokenNamespaceId ?? namespaceId)) !== null
  }

  /** Prolongs it, as its engine allows. @throws ERR_BAD_REQUEST. */
  async renew(transaction: Transaction, namespaceId: string, id: string, incrementSeconds: number, key: object): Promise<LogicalResponse> {
    const found = await this.store.load(transaction, namespaceId, id)
    const bad = (text: string): HoldfastError => new HoldfastError('ERR_BAD_REQUEST', text)
    if (found === null) throw bad('lease not found')
    if (found.kind === 'token') {
      throw new HoldfastError('ERR_BAD_REQUEST', 'tokens cannot be renewed through this endpoint', { hint: 'auth/token/renew does' })
    }
    if (found.ending?.irrevocableSinceMs !== undefined) throw bad('lease is expired and has failed previous revocation attempts')
    const lease = await this.good(transaction, namespaceId, id)
    if (lease === null) throw bad('lease expired')
    const mount = await this.#mountOf(transaction, lease)
    const def = mount && this.#leaseDef(mount, lease.type)
    if (!lease.renewable || !mount || !def?.renew) throw bad('lease is not renewable')
    const call = { ...this.#call(transaction, lease, mount), incrementSeconds }
    shareAsides(key, call)
    const renewed = await def.renew(call)
    const { ttlSeconds, maxTtlSeconds } = leaseTtl(mount, incrementSeconds || (renewed?.ttlSeconds ?? 0), renewed?.maxTtlSeconds ?? 0)
    const nowMs = transaction.nowMs
    // What was laid down when it was lent (the end of a batch token, say) is never outlived.
    const endTimeMs = Math.min(lease.endTimeMs, lease.issueTimeMs + maxTtlSeconds * 1_000)
    const expireTimeMs = Math.min(nowMs + ttlSeconds * 1_000, endTimeMs)
    if (expireTimeMs <= nowMs) throw bad('past the max TTL, cannot renew')
    const capped = expireTimeMs < nowMs + ttlSeconds * 1_000
    this.store.put(transaction, lease, { ...lease, expireTimeMs, lastRenewalTimeMs: nowMs, internal: renewed?.internal ?? lease.internal })
    const granted = Math.ceil((expireTimeMs - nowMs) / 1_000)
    const warning = `TTL of "${formatDuration(ttlSeconds)}" exceeded the effective max_ttl of "${formatDuration(granted)}"; TTL value is capped accordingly`
    return { leaseId: lease.id, renewable: true, leaseSeconds: granted, warnings: capped ? [warning] : [] }
  }

  /** Ends one lease, or the token that it is of; one that does not exist has ended already. With `wait`, resolves when it is taken back. @throws what kept it from that. */
  async revoke(namespaceId: string, id: string, wait: boolean): Promise<void> {
    const marked = await this.barrier.transact((transaction) => this.#mark(transaction, namespaceId, id, false))
    if (marked !== null && wait) await this.takeBack(marked)
  }

  /** The same for all that there are below `prefix`. With `force` they are off the books even where they can't be taken back. @throws ERR_BAD_REQUEST where one can't. */
  async revokeBelow(
    namespaceId: string,
    prefix: string,
    { force, wait }: { readonly force: boolean; readonly wait: boolean },
  ): Promise<void> {
    const { clock } = this.#options
    const untilMs = clock.monotonicMs() + waitMsMax
    const exact = await this.barrier.transact(async (transaction) => {
      const lease = await this.#mark(transaction, namespaceId, prefix, force)
      await this.store.endBelow(transaction, namespaceId, prefix, force)
      return lease
    })
    if (!wait) return
    const state = { done: 0, failure: null as { readonly id: string; readonly error: unknown } | null }
    if (exact !== null) await this.#taken(exact, state)
    for (let after = ''; ;) {
      const { ids, marked } = await this.#markBelow(namespaceId, prefix, Number.MAX_SAFE_INTEGER, force, after, marksPerTransaction)
      for (let at = 0; at < marked.length; at += atOnceMax) {
        if (clock.monotonicMs() > untilMs) {
          throw new HoldfastError(
            'ERR_TIMEOUT',
            `expected all leases to be taken back within ${waitMsMax / 1_000} seconds, got ${state.done} of them`,
            {
              hint: 'none of them is good any more; the rest is taken back without waiting for it',
            },
          )
        }
        await Promise.all(marked.slice(at, at + atOnceMax).map((lease) => this.#taken(lease, state)))
      }
      after = ids.at(-1) ?? ''
      if (ids.length === 0) break
    }
    if (state.failure === null) return
    throw new HoldfastError('ERR_BAD_REQUEST', `failed to revoke "${state.failure.id}": ${textOf(state.failure.error)}`, {
      hint: 'it is not good any more and is tried again; sys/leases/revoke-force takes it off the books',
      cause: state.failure.error,
    })
  }

  async #taken(
    lease: SecretLease,
    state: { done: number; failure: { readonly id: string; readonly error: unknown } | null },
  ): Promise<void> {
    try {
      await this.takeBack(lease)
      state.done += 1
    } catch (error) {
      state.failure ??= { id: lease.id, error }
    }
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

  /** What a namespace that is going must give back first; true while there is some of it. */
  async drainNamespace(transaction: Transaction, namespaceId: string): Promise<boolean> {
    const ids = await this.store.idsBelow(transaction, namespaceId, '', marksPerTransaction)
    let left = false
    for (const id of ids) {
      const lease = await this.store.load(transaction, namespaceId, id)
      // What could not be taken back was alarmed, and does not hold the namespace up for good.
      if (lease?.kind !== 'secret' || isIrrevocable(lease)) continue
      left = true
      if (lease.ending === undefined) this.store.end(transaction, lease)
    }
    return left
  }

  /** Marks `id` as ended; a token is revoked with all below it. The lease that is to be taken back; null: nothing is. */
  async #mark(transaction: Transaction, namespaceId: string, id: string, force: boolean): Promise<SecretLease | null> {
    const lease = await this.store.load(transaction, namespaceId, id)
    if (lease === null) return null
    if (lease.kind === 'secret') return lease.ending === undefined || force ? this.store.end(transaction, lease, force) : lease
    const { entries } = await this.#options.tokens.revokeTree(transaction, { namespaceId, idHash: leaseKey(lease.id) })
    await this.#clear(transaction, entries)
    return null
  }

  /** Marks up to `max` leases below `prefix` that were issued up to `atMs`, behind `after`. */
  async #markBelow(namespaceId: string, prefix: string, atMs: number, force: boolean, after: string, max: number) {
    const ids = await this.barrier.read({ kind: 'linearizable' }, (view) => this.store.idsBelow(view, namespaceId, prefix, max, after))
    const marked: SecretLease[] = []
    for (let at = 0; at < ids.length; at += marksPerTransaction) {
      const part = ids.slice(at, at + marksPerTransaction)
      marked.push(
        ...(await this.barrier.transact(async (transaction) => {
          const leases: SecretLease[] = []
          for (const id of part) {
            if (!(await this.#issuedBy(transaction, namespaceId, id, atMs))) continue
            const lease = await this.#mark(transaction, namespaceId, id, force)
            if (lease !== null) leases.push(lease)
          }
          return leases
        })),
      )
    }
    return { ids, marked }
  }

  async #issuedBy(view: ReadView, namespaceId: string, id: string, atMs: number): Promise<boolean> {
    const lease = await this.store.load(view, namespaceId, id)
    if (lease === null) return false
    if (lease.kind === 'secret') return lease.issueTimeMs <= atMs
    const token = await this.#options.tokens.stored(view, leaseKey(id), namespaceId)
    return token !== null && token.creationTimeMs <= atMs
  }

  async #clear(transaction: Transaction, entries: readonly TokenEntry[]): Promise<void> {
    await clearRevoked(transaction, (namespace) => this.#mounts.read(transaction, namespace), entries)
  }

  /**
   * Ends tokens that are due, and with them the leases of engines that are where that asks nobody outside; hands back the other leases. All of it is one
   * entry of the log: a lease each would cost each a flush of the disks, and what falls due together would be ended late. Where one lease can't be taken
   * back nothing of the others is lost: all are handed back then, to be taken back one by one.
   */
  async #end(namespace: string, dues: readonly Due[]): Promise<readonly SecretLease[]> {
    try {
      return await this.#endTogether(namespace, dues, true)
    } catch (error) {
      if (!(error instanceof OneFailed)) throw error
      return this.#endTogether(namespace, dues, false)
    }
  }

  #endTogether(namespace: string, dues: readonly Due[], withLeases: boolean): Promise<readonly SecretLease[]> {
    const { tokens } = this.#options
    return this.barrier.transact(async (transaction) => {
      const secrets: SecretLease[] = []
      for (const due of dues) {
        const id = await readDueId(transaction, namespace, due)
        if (id === null || due.dueMs > transaction.nowMs) continue
        const lease = await this.store.load(transaction, namespace, id)
        if (lease?.kind === 'secret') {
          if (dueMsOf(lease) !== due.dueMs) deleteDue(transaction, namespace, due)
          else if (!withLeases || !(await this.#takenBackAtOnce(transaction, lease))) secrets.push(lease)
          continue
        }
        const ended = await tokens.endDue(transaction, due.key, namespace)
        if (ended === 'gone') this.store.dropLease(transaction, namespace, id, due.dueMs)
        else if (ended === 'alive') deleteDue(transaction, namespace, due)
        else await this.#clear(transaction, ended.entries)
      }
      return secrets
    })
  }

  /** False, with nothing written: its engine asks somebody outside, it failed before, or somebody is at it. @throws OneFailed */
  async #takenBackAtOnce(transaction: Transaction, lease: SecretLease): Promise<boolean> {
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
  async #attempt(lease: SecretLease): Promise<void> {
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
          await this.barrier.transact((transaction) => this.#takeBackIn(transaction, lease, asides))
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
    const current = await this.store.load(transaction, lease.namespaceId, lease.id)
    if (current?.kind !== 'secret' || isGood(current, transaction.nowMs)) return
    const mount = await this.#mountOf(transaction, current)
    const def = mount && this.#leaseDef(mount, current.type)
    if (!mount || !def) throw new HoldfastError('ERR_NOT_FOUND', 'expected the engine that lent it, got none')
    const call = this.#call(transaction, current, mount)
    bindAsides(call, asides)
    await def.revoke(call)
    this.store.remove(transaction, current)
  }

  /** Notes a failed try, or takes it off the books where that is wanted (true). */
  async #failed(lease: SecretLease, error: unknown): Promise<boolean> {
    const { random, log } = this.#options
    this.#failures += 1
    const text = textOf(error)
    const state = await this.barrier.transact(async (transaction) => {
      const current = await this.store.load(transaction, lease.namespaceId, lease.id)
      if (current?.kind !== 'secret' || isGood(current, transaction.nowMs)) return 'gone'
      if (current.ending?.force === true) {
        this.store.remove(transaction, current)
        return 'forced'
      }
      const attempts = (current.ending?.attempts ?? 0) + 1
      const [high = 0, low = 0] = random.bytes(2)
      const dueMs = transaction.nowMs + retryDelayMs(attempts, (high * 256 + low) / 65_536)
      const over = attempts >= attemptsMax
      const ending = { dueMs, attempts, error: text, force: false, ...(over ? { irrevocableSinceMs: transaction.nowMs } : {}) }
      this.store.put(transaction, current, { ...current, expireTimeMs: Math.min(current.expireTimeMs, transaction.nowMs), ending })
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

  /** Leases of tokens that are gone, and prefixes; counting. */
  async #rest(namespace: string): Promise<boolean> {
    const more = (await this.#restTokens(namespace)) || (await this.#restPrefixes(namespace))
    if (namespace !== 'root') {
      if (this.#counts.isUncounted(namespace)) await this.#countOpened(namespace)
      return more
    }
    const term = this.#options.leads()
    if (term !== this.#countedTerm) await this.#startCounting(term)
    if (!this.#counts.complete) await this.#counts.step(this.barrier)
    return more || !this.#counts.complete
  }

  /** It was sealed when it was its turn, and is open now. */
  async #countOpened(namespace: string): Promise<void> {
    this.#irrevocable += await this.barrier.read({ kind: 'stale' }, (view) => this.#lookInto(view, namespace))
    this.#counts.count(namespace)
    // The root's turn, which counts, is over in this pass, and would come again in a minute only.
    this.expirer.nudge()
  }

  /** Has its mounts read, by which what is counted is told apart; how many there were given up. */
  async #lookInto(view: ReadView, namespace: string): Promise<number> {
    await this.#mounts.read(view, namespace)
    return this.store.irrevocableCount(view, namespace)
  }

  async #startCounting(term: number | null): Promise<void> {
    const found = await this.barrier.read({ kind: 'stale' }, async (view) => {
      const namespaces = ['root', ...(await this.#options.namespaces.ids(view))]
      let irrevocable = 0
      for (const namespace of namespaces) {
        // One that is sealed keeps no other from being counted.
        irrevocable += await this.#lookInto(view, namespace).catch((error: unknown) => {
          if (isHoldfastError(error, 'ERR_NAMESPACE_SEALED')) return 0
          throw error
        })
      }
      return { namespaces, irrevocable }
    })
    this.#counts.restart(found.namespaces)
    this.#irrevocable = found.irrevocable
    this.#countedTerm = term
  }

  async #restTokens(namespace: string): Promise<boolean> {
    const hashes = await this.barrier.read({ kind: 'stale' }, (view) => this.store.endingTokens(view, namespace, tokensPerStep))
    for (const hash of hashes) await this.#walkToken(namespace, hash)
    return hashes.length > 0
  }

  /**
   * Marks some more leases of a token that is gone: no more are lent to it. They stand there until they are taken back, which may be never: a step that
   * began from the first one each time would mark the same ones for good.
   */
  async #walkToken(namespace: string, hash: string): Promise<void> {
    const key = `${namespace}/token ${hash}`
    const after = this.#walked.get(key) ?? ''
    const ids = await this.barrier.read({ kind: 'stale' }, (view) => this.store.idsOf(view, namespace, hash, this.#idsPerStep, after))
    await this.#endAll(ids)
    if (ids.length >= this.#idsPerStep) {
      this.#walked.set(key, leaseKey(ids.at(-1)?.id ?? ''))
      return
    }
    this.#walked.delete(key)
    await this.barrier.transact(async (transaction) => this.store.tokenDone(transaction, namespace, hash))
  }

  /** Marks those that are not. */
  async #endAll(ids: readonly { readonly namespace: string; readonly id: string }[]): Promise<void> {
    for (let at = 0; at < ids.length; at += marksPerTransaction) {
      const part = ids.slice(at, at + marksPerTransaction)
      await this.barrier.transact(async (transaction) => {
        for (const { namespace, id } of part) {
          const lease = await this.store.load(transaction, namespace, id)
          if (lease?.kind === 'secret' && lease.ending === undefined) this.store.end(transaction, lease)
        }
      })
    }
  }

  async #restPrefixes(namespace: string): Promise<boolean> {
    const notes = await this.barrier.read({ kind: 'stale' }, (view) => this.store.endingPrefixes(view, namespace))
    for (const note of notes) await this.#walkPrefix(namespace, note)
    return notes.length > 0
  }

  async #walkPrefix(namespace: string, { name, prefix, atMs, force }: EndingPrefix): Promise<void> {
    const key = `${namespace}/${name}`
    const { ids } = await this.#markBelow(namespace, prefix, atMs, force, this.#walked.get(key) ?? '', this.#idsPerStep)
    if (ids.length >= this.#idsPerStep) {
      this.#walked.set(key, ids.at(-1) ?? '')
      return
    }
    this.#walked.delete(key)
    await this.barrier.transact(async (transaction) => this.store.prefixDone(transaction, namespace, name))
  }

  async #mountOf(view: ReadView, { namespaceId, mountUuid }: SecretLease): Promise<MountEntry | null> {
    const { entries } = await this.#mounts.read(view, namespaceId)
    return entries.find(({ uuid }) => uuid === mountUuid) ?? null
  }

  #leaseDef(mount: MountEntry, type: string): LeaseDef | null {
    const engine = this.#options.engines().find(({ kind, type: name }) => kind === mount.table && name === mount.type)
    return engine?.leases?.[type] ?? null
  }

  #call(transaction: Transaction, lease: SecretLease, mount: MountEntry): LeaseCall {
    const { random, log } = this.#options
    const { id, internal, issueTimeMs, expireTimeMs } = lease
    const storage = transactionStorage(transaction, { namespace: mount.namespaceId, mount: mount.uuid })
    return { id, internal, issueTimeMs, expireTimeMs, storage, mount, nowMs: transaction.nowMs, random, log }
  }
}

/** A batch token can't be revoked: its leases belong to its parent, and end with itself at the latest. */
function ownerOf(token: TokenEntry, namespaceId: string): { tokenHash: string; tokenNamespaceId?: string; tokenEndMs: number | null } {
  const batch = token.type === 'batch'
  const own = batch ? (token.parentNamespaceId ?? token.namespaceId) : token.namespaceId
  return {
    tokenHash: batch ? (token.parentHash ?? '') : token.idHash,
    ...(own === namespaceId ? {} : { tokenNamespaceId: own }),
    tokenEndMs: batch ? token.expireTimeMs : null,
  }
}

/** Within the mount's maximum, the system's where it sets none. */
function leaseTtl(mount: MountEntry, askedSeconds: number, maxSeconds: number) {
  const mountMax = mount.config.max_lease_ttl || lifetimes.maxSeconds
  const max = maxSeconds > 0 ? Math.min(maxSeconds, mountMax) : mountMax
  const asked = askedSeconds > 0 ? askedSeconds : mount.config.default_lease_ttl || Math.min(lifetimes.defaultSeconds, max)
  const warnings =
    asked > max
      ? [`TTL of "${formatDuration(asked)}" exceeded the effective max_ttl of "${formatDuration(max)}"; TTL value is capped accordingly`]
      : []
  return { ttlSeconds: Math.min(asked, max), maxTtlSeconds: max, warnings }
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

const textOf = (error: unknown): string => errorText(error).slice(0, 512)
