/**
 * Leases between requests, engines and the books (leases/store.ts): who is lent what for how long, and how it is taken back.
 *
 * A lease ends in two steps. First it is marked, and is good no more: in the transaction of whoever ends it, or by its time alone. Then it is taken back
 * by its engine, on the leader, as often as that takes. So ending a million of them is one entry of the log, and a database that is away delays nobody.
 */
import type { Clock } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'
import { lifetimes } from '#base/lifetimes.ts'
import type { Logger } from '#base/logger.ts'
import type { RandomSource } from '#base/random.ts'
import { formatDuration } from '#base/duration.ts'
import type { Barrier, ReadView, Transaction } from '#barrier/types.ts'
import { LeaseCounts } from '#leases/counts.ts'
import { deleteDue, readDueId, type Due } from '#leases/due.ts'
import { Expirer } from '#leases/expirer.ts'
import { dueMsOf, isIrrevocable, leaseKey, type SecretLease, type TokenLease } from '#leases/records.ts'
import type { LeaseStore } from '#leases/store.ts'
import type { NamespaceStore } from '#namespaces/store.ts'
import type { TokenStore } from '#tokens/store.ts'
import type { TokenEntry } from '#tokens/types.ts'
import { shareAsides } from './aside.ts'
import { LeaseMarks, marksPerTransaction } from './lease-marks.ts'
import { LeaseRounds } from './lease-rounds.ts'
import type { LeaseGrant } from './lease-types.ts'
import { MountReader } from './mounts.ts'
import { OneFailed, TakingBack, textOf } from './taking-back.ts'
import type { EngineDef, LogicalResponse, MountEntry } from './types.ts'

/** How long a request waits until all below its prefix is taken back; the rest is done without it. */
const waitMsMax = 60_000
const atOnceMax = 16

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
  readonly #back: TakingBack
  readonly #marks: LeaseMarks
  readonly #rounds: LeaseRounds
  #mounts = new MountReader()

  constructor(options: LeasingOptions) {
    this.#options = options
    this.store = options.store
    this.barrier = options.store.ledger.watch(options.barrier)
    this.#counts = new LeaseCounts((namespace, id) => this.#mounts.lastSeen(namespace)?.route(id)?.mount.uuid ?? null)
    const shared = { ...options, barrier: this.barrier, mounts: () => this.#mounts }
    this.#back = new TakingBack(shared)
    this.#marks = new LeaseMarks(shared)
    this.expirer = new Expirer({
      barrier: this.barrier,
      clock: options.clock,
      log: options.log,
      leads: options.leads,
      namespaces: async (view) => ['root', ...(await options.namespaces.ids(view))],
      end: (namespace, dues) => this.#end(namespace, dues),
      revoke: (lease) => this.#back.attempt(lease),
      rest: (namespace) => this.#rounds.rest(namespace),
    })
    options.store.ledger.listen(this.expirer)
    options.store.ledger.listen(this.#counts)
    this.#rounds = new LeaseRounds({ ...shared, counts: this.#counts, marks: this.#marks, nudge: () => this.expirer.nudge() })
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
    return this.#options.leads() === null || this.#options.leads() !== this.#rounds.countedTerm
      ? null
      : this.#counts.of(namespaceId, mountUuid)
  }

  /** Forgets what is known of the leases of namespaces that are sealed, but for those that are being taken back. */
  forget(which: (namespaceId: string) => boolean): void {
    this.expirer.forget(which)
    this.#mounts.clear()
    this.#rounds.forget(which)
  }

  /** For metrics. Counts are the leader's. */
  status() {
    const leads = this.#options.leads() !== null
    const { pending, ended, lagMs, filled } = this.expirer.status()
    const leases = leads && this.#counts.complete ? this.#counts.total : 0
    return {
      leases,
      irrevocable: leads ? this.#rounds.irrevocable : 0,
      failures: this.#back.failures,
      pending,
      ended,
      lagMs: leads ? lagMs : 0,
      filled,
    }
  }

  /** Registers what `grant` lends to `token`, in the transaction of the handler that lends it. */
  grant(transaction: Transaction, mount: MountEntry, path: string, token: TokenEntry | null, grant: LeaseGrant): Partial<LogicalResponse> {
    if (token === null) throw new HoldfastError('ERR_INTERNAL', 'expected a token that a lease can belong to')
    const def = this.#back.leaseDef(mount, grant.type)
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
    const mount = await this.#back.mountOf(transaction, lease)
    const def = mount && this.#back.leaseDef(mount, lease.type)
    if (!lease.renewable || !mount || !def?.renew) throw bad('lease is not renewable')
    const call = { ...this.#back.call(transaction, lease, mount), incrementSeconds }
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
    const marked = await this.barrier.transact((transaction) => this.#marks.mark(transaction, namespaceId, id, false))
    if (marked !== null && wait) await this.#back.takeBack(marked)
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
      const lease = await this.#marks.mark(transaction, namespaceId, prefix, force)
      await this.store.endBelow(transaction, namespaceId, prefix, force)
      return lease
    })
    if (!wait) return
    const state = { done: 0, failure: null as { readonly id: string; readonly error: unknown } | null }
    if (exact !== null) await this.#taken(exact, state)
    for (let after = ''; ;) {
      const { ids, marked } = await this.#marks.markBelow(namespaceId, prefix, Number.MAX_SAFE_INTEGER, force, after, marksPerTransaction)
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
      await this.#back.takeBack(lease)
      state.done += 1
    } catch (error) {
      state.failure ??= { id: lease.id, error }
    }
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
          else if (!withLeases || !(await this.#back.takenBackAtOnce(transaction, lease))) secrets.push(lease)
          continue
        }
        const ended = await tokens.endDue(transaction, due.key, namespace)
        if (ended === 'gone') this.store.dropLease(transaction, namespace, id, due.dueMs)
        else if (ended === 'alive') deleteDue(transaction, namespace, due)
        else await this.#marks.clear(transaction, ended.entries)
      }
      return secrets
    })
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
