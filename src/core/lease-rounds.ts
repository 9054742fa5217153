/**
 * What the expirer's passes do beside ending what is due, a bounded step at a time: the leases of tokens that are gone, those below prefixes that were
 * revoked, and counting, for quotas and metrics.
 */
import { isHoldfastError } from '#base/errors.ts'
import type { Barrier, ReadView, Transaction } from '#barrier/types.ts'
import type { LeaseCounts } from '#leases/counts.ts'
import { leaseKey } from '#leases/records.ts'
import type { EndingPrefix, LeaseStore } from '#leases/store.ts'
import type { NamespaceStore } from '#namespaces/store.ts'
import { type LeaseMarks, marksPerTransaction } from './lease-marks.ts'
import type { MountReader } from './mounts.ts'

const idsPerStepMax = 2_048
const tokensPerStep = 16

export interface LeaseRoundsOptions {
  /** That of `store.ledger.watch`. */
  readonly barrier: Barrier
  readonly store: LeaseStore
  readonly namespaces: NamespaceStore
  readonly counts: LeaseCounts
  readonly marks: LeaseMarks
  readonly mounts: () => MountReader
  readonly leads: () => number | null
  /** Has all namespaces looked at again with the next pass. */
  readonly nudge: () => void
  /** For tests: leases of one token or prefix that are marked in one step. */
  readonly idsPerStep?: number
}

export class LeaseRounds {
  readonly #options: LeaseRoundsOptions
  readonly #idsPerStep: number
  /** How far the walk below each prefix is, and through the leases of each token that is gone. At most a step behind in each. */
  readonly #walked = new Map<string, string>()
  /** Of those tokens, the ones of which the walk that is under way found leases in a sealed namespace, by the same keys. */
  readonly #waiting = new Set<string>()
  /** How far the round through the tokens that are gone is, by their namespace; `again`: one that it went by is not walked to its end. */
  readonly #rounds = new Map<string, { readonly after: string; readonly again: boolean }>()
  #countedTerm: number | null = null
  #irrevocable = 0

  constructor(options: LeaseRoundsOptions) {
    this.#options = options
    this.#idsPerStep = options.idsPerStep ?? idsPerStepMax
    options.store.ledger.listen({
      committed: (changes) => {
        for (const { irrevocable = 0 } of changes) this.#irrevocable += irrevocable
      },
      // The counts may be off by what nobody knows of: they begin anew, and are told to nobody until they are whole.
      lost: () => void (this.#countedTerm = null),
    })
  }

  /** The term in which leases are counted, or were; null: in none, or nobody knows. */
  get countedTerm(): number | null {
    return this.#countedTerm
  }

  /** Leases that were given up, as far as they are counted. */
  get irrevocable(): number {
    return this.#irrevocable
  }

  /** Forgets how far it is in namespaces that are sealed. */
  forget(which: (namespaceId: string) => boolean): void {
    const lies = (key: string): boolean => which(key.slice(0, key.indexOf('/')))
    for (const key of this.#walked.keys()) if (lies(key)) this.#walked.delete(key)
    for (const key of this.#waiting) if (lies(key)) this.#waiting.delete(key)
    for (const namespace of this.#rounds.keys()) if (which(namespace)) this.#rounds.delete(namespace)
  }

  /** Leases of tokens that are gone, and prefixes; counting. */
  async rest(namespace: string): Promise<boolean> {
    const more = (await this.#restTokens(namespace)) || (await this.#restPrefixes(namespace))
    if (namespace !== 'root') {
      if (this.#options.counts.isUncounted(namespace)) await this.#countOpened(namespace)
      return more
    }
    const term = this.#options.leads()
    if (term !== this.#countedTerm) await this.#startCounting(term)
    if (!this.#options.counts.complete) await this.#options.counts.step(this.#options.barrier)
    return more || !this.#options.counts.complete
  }

  /** It was sealed when it was its turn, and is open now. */
  async #countOpened(namespace: string): Promise<void> {
    this.#irrevocable += await this.#options.barrier.read({ kind: 'stale' }, (view) => this.#lookInto(view, namespace))
    this.#options.counts.count(namespace)
    // The root's turn, which counts, is over in this pass, and would come again in a minute only.
    this.#options.nudge()
  }

  /** Has its mounts read, by which what is counted is told apart; how many there were given up. */
  async #lookInto(view: ReadView, namespace: string): Promise<number> {
    await this.#options.mounts().read(view, namespace)
    return this.#options.store.irrevocableCount(view, namespace)
  }

  async #startCounting(term: number | null): Promise<void> {
    const found = await this.#options.barrier.read({ kind: 'stale' }, async (view) => {
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
    this.#options.counts.restart(found.namespaces)
    this.#irrevocable = found.irrevocable
    this.#countedTerm = term
  }

  /** Some of the tokens that are gone, in turn: those that wait for a sealed namespace stay, and others must not stay behind them. True when more can be done. */
  async #restTokens(namespace: string): Promise<boolean> {
    const { after, again: before } = this.#rounds.get(namespace) ?? { after: '', again: false }
    const hashes = await this.#options.barrier.read({ kind: 'stale' }, (view) =>
      this.#options.store.endingTokens(view, namespace, tokensPerStep, after),
    )
    let again = before
    for (const hash of hashes) if (await this.#walkToken(namespace, hash)) again = true
    if (hashes.length < tokensPerStep) {
      this.#rounds.delete(namespace)
      return again
    }
    this.#rounds.set(namespace, { after: hashes.at(-1)!, again })
    return true
  }

  /**
   * Marks some more leases of a token that is gone: no more are lent to it. They stand there until they are taken back, which may be never: a step that
   * began from the first one each time would mark the same ones for good. False: what is left of them lies in sealed namespaces, and waits.
   */
  async #walkToken(namespace: string, hash: string): Promise<boolean> {
    const key = `${namespace}/token ${hash}`
    const after = this.#walked.get(key) ?? ''
    if (after === '') this.#waiting.delete(key)
    const ids = await this.#options.barrier.read({ kind: 'stale' }, (view) =>
      this.#options.store.idsOf(view, namespace, hash, this.#idsPerStep, after),
    )
    if (!(await this.#endAll(ids))) this.#waiting.add(key)
    if (ids.length >= this.#idsPerStep) {
      this.#walked.set(key, leaseKey(ids.at(-1)?.id ?? ''))
      return true
    }
    this.#walked.delete(key)
    // Opening one has all namespaces looked at again.
    if (this.#waiting.delete(key)) return false
    await this.#options.barrier.transact(async (transaction) => this.#options.store.tokenDone(transaction, namespace, hash))
    return true
  }

  /** Marks those that are not. False: some lie in namespaces that are sealed. */
  async #endAll(ids: readonly { readonly namespace: string; readonly id: string }[]): Promise<boolean> {
    let all = true
    for (let at = 0; at < ids.length; at += marksPerTransaction) {
      const part = ids.slice(at, at + marksPerTransaction)
      const ended = await this.#options.barrier.transact((transaction) => this.#endPart(transaction, part))
      all &&= ended
    }
    return all
  }

  async #endPart(transaction: Transaction, ids: readonly { readonly namespace: string; readonly id: string }[]): Promise<boolean> {
    const { store } = this.#options
    const sealed = new Set<string>()
    for (const { namespace, id } of ids) {
      if (sealed.has(namespace)) continue
      try {
        const lease = await store.load(transaction, namespace, id)
        if (lease?.kind === 'secret' && lease.ending === undefined) store.end(transaction, lease)
      } catch (error) {
        if (!isHoldfastError(error, 'ERR_NAMESPACE_SEALED')) throw error
        sealed.add(namespace)
      }
    }
    return sealed.size === 0
  }

  async #restPrefixes(namespace: string): Promise<boolean> {
    const notes = await this.#options.barrier.read({ kind: 'stale' }, (view) => this.#options.store.endingPrefixes(view, namespace))
    for (const note of notes) await this.#walkPrefix(namespace, note)
    return notes.length > 0
  }

  async #walkPrefix(namespace: string, { name, prefix, atMs, force }: EndingPrefix): Promise<void> {
    const key = `${namespace}/${name}`
    const { ids } = await this.#options.marks.markBelow(namespace, prefix, atMs, force, this.#walked.get(key) ?? '', this.#idsPerStep)
    if (ids.length >= this.#idsPerStep) {
      this.#walked.set(key, ids.at(-1) ?? '')
      return
    }
    this.#walked.delete(key)
    await this.#options.barrier.transact(async (transaction) => this.#options.store.prefixDone(transaction, namespace, name))
  }
}
