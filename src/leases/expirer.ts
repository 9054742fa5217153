/**
 * Ends what is due, on the leader: reads ahead in the index of dues (due.ts) into a wheel, and hands over what the wheel gives out.
 *
 * Nothing depends on it for safety. Whether a token or a lease is good is decided by whoever looks at it, by its own time; here is only who comes to
 * take it back. So a new leader begins with an empty wheel, serves at once, and fills it in bounded steps; what falls out of memory for whatever reason
 * (no room, a transaction that failed) still stands in the index, which is read again from its beginning twice a minute.
 */
import type { Clock, Timer } from '#base/clock.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import type { Barrier, ReadView } from '#barrier/types.ts'
import { readDues, type Due, type DueCursor } from './due.ts'
import type { LeaseChange, LedgerListener } from './ledger.ts'
import type { SecretLease } from './records.ts'
import { TimingWheel } from './wheel.ts'

export const expirerLimits = {
  /** What is pending in memory: about 30 MB. */
  pendingMax: 100_000,
  /** Names read in one step, before others have their turn. */
  namesPerStep: 2_000,
  stepsPerPass: 8,
  /** What one transaction ends. */
  perTransaction: 128,
  /**
   * Transactions at once: while the disks take in one, another is evaluated. Where a token falls due with thousands of its children, two of them may be in
   * each other's way until one gives up; what it was to end comes again when the index is read again.
   */
  transactionsMax: 2,
  /** Leases being taken back at once, and of one mount: a provider that hangs must not keep the others waiting. */
  revocationsMax: 32,
  revocationsPerMountMax: 8,
} as const

const passEveryMs = 100
/** Between two passes all the same: those that take longer than that are many at once, and end a few in a hundred more a second without a pause of the whole length. */
const pauseMsMin = 10
/** How often all namespaces are looked at for other work, whether or not anybody told of any: once a minute. */
const restAllEveryPasses = 600
/** How far the wheel looks ahead; read again when half of it is over. */
const horizonMs = 60_000

export interface ExpirerOptions {
  readonly barrier: Barrier
  readonly clock: Clock
  readonly log: Logger
  /** The term in which this node leads and is ready; null: it does not, or is sealed. */
  readonly leads: () => number | null
  readonly namespaces: (view: ReadView) => Promise<readonly string[]>
  /** Ends tokens that are due, and hands back the leases of engines that are, which are then given to `revoke` one by one. */
  readonly end: (namespace: string, dues: readonly Due[]) => Promise<readonly SecretLease[]>
  /** Takes one lease back, or notes that it failed. */
  readonly revoke: (lease: SecretLease) => Promise<void>
  /** Other bounded work of a pass: leases of tokens that are gone, prefixes that were revoked. True when more is left. */
  readonly rest: (namespace: string) => Promise<boolean>
}

interface Pending {
  readonly namespace: string
  readonly due: Due
}

export interface ExpirerStatus {
  /** Known to fall due within the next minute, or due. */
  readonly pending: number
  /** Ended since the start: tokens and leases. */
  readonly ended: number
  /** How late the last ones were, ms: the latest of the last pass that ended any. */
  readonly lagMs: number
  /** The index was read to the horizon once since this node began to lead. */
  readonly filled: boolean
}

const keyOf = (namespace: string, { key }: Due): string => `${namespace}/${key}`
const keyOfLease = (namespace: string, id: string): string => keyOf(namespace, { key: id.slice(id.lastIndexOf('/') + 1), dueMs: 0 })

export class Expirer implements LedgerListener {
  readonly #options: ExpirerOptions
  readonly #wheel: TimingWheel<Pending>
  /** Given out by the wheel and not ended yet, by the same keys. */
  readonly #held = new Set<string>()
  /** Of those, when they fall due again: a try that failed lays down the next one before it is let go. */
  readonly #again = new Map<string, Pending>()
  /** Leases to be taken back, by mount, in turn. */
  readonly #queues = new Map<string, SecretLease[]>()
  readonly #running = new Map<string, number>()
  readonly #alarmed = new Set<string>()
  #runningCount = 0
  #idle: (() => void)[] = []
  #term: number | null = null
  #reader: { namespaces: readonly string[]; at: number; cursor: DueCursor | null } | null = null
  #readUntilMs = 0
  /** How far the cluster's clock is ahead of this machine's. */
  #aheadMs = 0
  /** Namespaces in which other work may have come up; null: any. */
  #restDue: Set<string> | null = null
  #restPasses = 0
  #ended = 0
  #lagMs = 0
  #filled = false
  #timer: Timer | null = null
  #pass: Promise<void> = Promise.resolve()
  #stopped = true
  /** Nothing more is begun: `stop` was called. A test that turns passes by hand never starts it. */
  #closing = false

  constructor(options: ExpirerOptions) {
    this.#options = options
    this.#wheel = new TimingWheel({ nowMs: options.clock.nowMs(), sizeMax: expirerLimits.pendingMax })
  }

  start(): void {
    if (!this.#stopped) return
    this.#stopped = false
    this.#closing = false
    this.#arm()
  }

  /** Resolves when the pass under way has ended; what is being taken back goes on to its end, and nothing else is begun. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#closing = true
    this.#timer?.cancel()
    await this.#pass
  }

  status(): ExpirerStatus {
    return { pending: this.#wheel.size + this.#held.size, ended: this.#ended, lagMs: this.#lagMs, filled: this.#filled }
  }

  /** Looks at everything again with the next pass: something may have become due that nobody told of. */
  nudge(): void {
    this.#readUntilMs = 0
    this.#restDue = null
  }

  committed(changes: readonly LeaseChange[]): void {
    if (this.#term === null) return
    for (const { namespace, leaseId, count, due } of changes) {
      if (count === -1 || due === null) this.#restDue?.add(namespace)
      const key = due?.key ?? leaseId.slice(leaseId.lastIndexOf('/') + 1)
      if (due !== null && due.dueMs <= this.#nowMs() + horizonMs) this.#schedule(namespace, due)
      else {
        this.#wheel.cancel(keyOf(namespace, { key, dueMs: 0 }))
        this.#again.delete(keyOf(namespace, { key, dueMs: 0 }))
      }
    }
  }

  lost(): void {
    this.nudge()
  }

  /**
   * Forgets what is pending in namespaces that are sealed: nothing of it can be ended now, and it stands in the index, which is read again when they are
   * open (`nudge`). What is being taken back goes on to its end.
   */
  forget(which: (namespace: string) => boolean): void {
    this.#wheel.cancelWhere(({ namespace }) => which(namespace))
    for (const [key, { namespace }] of this.#again) if (which(namespace)) this.#again.delete(key)
    for (const [mount, queue] of this.#queues) {
      const kept = queue.filter(({ namespaceId }) => !which(namespaceId))
      if (kept.length === queue.length) continue
      for (const { namespaceId, id } of queue) if (which(namespaceId)) this.#letGo(keyOfLease(namespaceId, id))
      if (kept.length > 0) this.#queues.set(mount, kept)
      else this.#queues.delete(mount)
    }
    const reading = this.#reader?.namespaces[this.#reader.at]
    if (this.#reader !== null && reading !== undefined && which(reading)) this.#reader.cursor = null
  }

  /** One pass: reads ahead, ends what is due, and starts taking back. Never rejects. Tests turn it by hand. */
  async pass(): Promise<void> {
    const term = this.#options.leads()
    if (term !== this.#term) this.#begin(term)
    if (term === null) return
    try {
      await this.#read()
      await this.#fire()
      await this.#rest()
      this.#alarmed.delete('')
    } catch (error) {
      this.#complain(error, '')
    }
    this.#dispatch()
  }

  /** Resolves when nothing is being taken back. */
  async idle(): Promise<void> {
    if (this.#runningCount > 0) await new Promise<void>((resolve) => this.#idle.push(resolve))
  }

  #arm(waitMs: number = passEveryMs): void {
    const { clock } = this.#options
    // Stopped and started while a pass was under way: that pass must not turn a second wheel beside this one.
    this.#timer?.cancel()
    this.#timer = clock.setTimer(waitMs, () => {
      const begunMs = clock.monotonicMs()
      this.#pass = this.pass().then(() => {
        if (!this.#stopped) this.#arm(Math.max(pauseMsMin, begunMs + passEveryMs - clock.monotonicMs()))
      })
    })
  }

  #nowMs(): number {
    return this.#options.clock.nowMs() + this.#aheadMs
  }

  /** Another term, or none: what was known may be another leader's to end. What is being taken back goes on, and finds itself refused. */
  #begin(term: number | null): void {
    this.#term = term
    this.#wheel.clear(this.#options.clock.nowMs())
    this.#queues.clear()
    this.#held.clear()
    this.#again.clear()
    this.#reader = null
    this.#readUntilMs = 0
    this.#restDue = null
    this.#filled = false
    this.#alarmed.clear()
  }

  #schedule(namespace: string, due: Due): void {
    const key = keyOf(namespace, due)
    if (this.#held.has(key)) {
      this.#again.set(key, { namespace, due })
      return
    }
    // No room: it stands in the index, which is read again.
    if (!this.#wheel.schedule(key, due.dueMs, { namespace, due })) this.#readUntilMs = 0
  }

  #letGo(key: string): void {
    this.#held.delete(key)
    const again = this.#again.get(key)
    if (again === undefined) return
    this.#again.delete(key)
    this.#schedule(again.namespace, again.due)
  }

  async #read(): Promise<void> {
    const { barrier, namespaces } = this.#options
    if (this.#reader === null) {
      if (this.#readUntilMs > this.#nowMs() + horizonMs / 2) return
      const found = await barrier.read({ kind: 'stale' }, async (view) => {
        this.#aheadMs = Math.max(0, view.nowMs - this.#options.clock.nowMs())
        return namespaces(view)
      })
      this.#readUntilMs = this.#nowMs() + horizonMs
      this.#reader = { namespaces: found, at: 0, cursor: null }
    }
    for (let step = 0; step < expirerLimits.stepsPerPass; step += 1) {
      if (this.#wheel.size + this.#held.size >= expirerLimits.pendingMax - expirerLimits.namesPerStep) return
      if (!(await this.#readStep())) return
    }
  }

  /** False when all is read. */
  async #readStep(): Promise<boolean> {
    const reader = this.#reader
    const namespace = reader?.namespaces[reader.at]
    if (reader === null || namespace === undefined) {
      this.#reader = null
      this.#filled = true
      return false
    }
    try {
      const page = await this.#options.barrier.read({ kind: 'stale' }, (view) =>
        readDues(view, namespace, this.#readUntilMs, reader.cursor, expirerLimits.namesPerStep),
      )
      for (const due of page.dues) this.#schedule(namespace, due)
      reader.cursor = page.next
      this.#alarmed.delete(namespace)
    } catch (error) {
      this.#complain(error, namespace)
      reader.cursor = null
    }
    if (reader.cursor === null) reader.at += 1
    return true
  }

  async #fire(): Promise<void> {
    const due = this.#wheel.advance(this.#nowMs())
    if (due.length === 0) return
    for (const { key } of due) this.#held.add(key)
    const byNamespace = new Map<string, Due[]>()
    for (const { item } of due) {
      const list = byNamespace.get(item.namespace)
      if (list) list.push(item.due)
      else byNamespace.set(item.namespace, [item.due])
    }
    const parts: { readonly namespace: string; readonly dues: readonly Due[] }[] = []
    for (const [namespace, dues] of byNamespace)
      for (let at = 0; at < dues.length; at += expirerLimits.perTransaction)
        parts.push({ namespace, dues: dues.slice(at, at + expirerLimits.perTransaction) })
    let lagMs = 0
    const lane = async (): Promise<void> => {
      for (let part = parts.shift(); part !== undefined; part = parts.shift()) {
        await this.#end(part.namespace, part.dues)
        lagMs = Math.max(lagMs, this.#nowMs() - Math.max(part.dues[0]?.dueMs ?? 0, 0))
      }
    }
    await Promise.all(Array.from({ length: expirerLimits.transactionsMax }, lane))
    this.#lagMs = lagMs
  }

  async #end(namespace: string, dues: readonly Due[]): Promise<void> {
    let secrets: readonly SecretLease[] = []
    try {
      secrets = await this.#options.end(namespace, dues)
      this.#ended += dues.length - secrets.length
    } catch (error) {
      // It stands in the index: what failed now comes again when that is read again.
      this.#complain(error, namespace)
    }
    const kept = new Set(secrets.map(({ id }) => id.slice(id.lastIndexOf('/') + 1)))
    for (const due of dues) if (!kept.has(due.key)) this.#letGo(keyOf(namespace, due))
    for (const lease of secrets) {
      const queue = this.#queues.get(lease.mountUuid)
      if (queue) queue.push(lease)
      else this.#queues.set(lease.mountUuid, [lease])
    }
    this.#dispatch()
  }

  /** Starts as many as may run, a mount at a time in turn. */
  #dispatch(): void {
    for (let started = !this.#closing; started;) {
      started = false
      for (const [mount, queue] of this.#queues) {
        if (this.#runningCount >= expirerLimits.revocationsMax) return
        if ((this.#running.get(mount) ?? 0) >= expirerLimits.revocationsPerMountMax) continue
        const lease = queue.shift()
        if (queue.length === 0) this.#queues.delete(mount)
        if (lease === undefined) continue
        started = true
        void this.#revoke(lease)
      }
    }
  }

  /** Never rejects. */
  async #revoke(lease: SecretLease): Promise<void> {
    const { mountUuid: mount, namespaceId, id } = lease
    this.#runningCount += 1
    this.#running.set(mount, (this.#running.get(mount) ?? 0) + 1)
    try {
      await this.#options.revoke(lease)
      this.#ended += 1
    } catch (error) {
      this.#complain(error, namespaceId)
    } finally {
      this.#runningCount -= 1
      const left = (this.#running.get(mount) ?? 1) - 1
      if (left > 0) this.#running.set(mount, left)
      else this.#running.delete(mount)
      this.#letGo(keyOfLease(namespaceId, id))
      this.#dispatch()
      if (this.#runningCount === 0) for (const resolve of this.#idle.splice(0)) resolve()
    }
  }

  async #rest(): Promise<void> {
    this.#restPasses += 1
    if (this.#restPasses % restAllEveryPasses === 0) this.#restDue = null
    if (this.#restDue?.size === 0) return
    const { barrier, namespaces, rest } = this.#options
    const wanted = this.#restDue === null ? await barrier.read({ kind: 'stale' }, namespaces) : [...this.#restDue]
    this.#restDue = new Set()
    for (const namespace of wanted) {
      try {
        // null again: somebody has nudged meanwhile, and this one is looked at with all others.
        if (await rest(namespace)) this.#restDue?.add(namespace)
      } catch (error) {
        this.#complain(error, namespace)
        // What is sealed is opened with a nudge; what failed otherwise would wait for a minute, and what a token had lent with it.
        if (!isHoldfastError(error, 'ERR_NAMESPACE_SEALED')) this.#restDue?.add(namespace)
      }
    }
  }

  /** Once for each namespace until it goes well again: what is due there waits, as in one that is sealed. */
  #complain(error: unknown, namespace: string): void {
    if (isHoldfastError(error, 'ERR_NOT_LEADER') || this.#options.leads() === null || this.#alarmed.has(namespace)) return
    this.#alarmed.add(namespace)
    const text = error instanceof HoldfastError ? error.message : 'internal error'
    this.#options.log.warn(
      { namespace, error: text },
      'tokens and leases that are due could not be ended; they are not good, and are tried again',
    )
  }
}
