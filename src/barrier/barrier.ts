/**
 * The barrier: plaintext above, ciphertext below. Joins the replica (an ordered state of opaque keys) with the keys that open it.
 *
 * A read takes a read index, then a view, so it holds every write acknowledged before it began. A transaction takes its term
 * before its view, remembers what it read, and is appended in that term or not at all (decision 5).
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Clock } from '#base/clock.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { limits } from '#base/limits.ts'
import type { Logger } from '#base/logger.ts'
import type { RandomSource } from '#base/random.ts'
import { equalSecrets, SecretBytes } from '#base/secret.ts'
import type { AppliedChange, Proposal, Replica } from '#replica/types.ts'
import type { StateView } from '#store/types.ts'
import { deriveJoinKey } from './aead.ts'
import { Signer } from './authenticator.ts'
import { KeyClass, bareBatch, bareKey, bareNames, readBare } from './bare.ts'
import { byteString, startsWith } from './bytes.ts'
import { ValueCache } from './cache.ts'
import { Envelope } from './envelope.ts'
import { FolderIndex } from './folders.ts'
import { Keyring } from './keyring.ts'
import { leftoverKeys, waitUntilReady } from './initialize.ts'
import { nameKeyPrefix, OpenedKeys, sealedError, sealHandover } from './opened.ts'
import { BarrierNamespaces } from './namespaces.ts'
import { ringUsesKey, type Ring } from './ring.ts'
import { CollectingTransaction } from './transaction.ts'
import { CommitAndThrow } from './types.ts'
import type { BarrierControl, BarrierStatus, Consistency, ReadPoint, ReadView, SealChange, Section, Transaction } from './types.ts'
import { decodeKeyUses, encodeKeyUses, KeyUses, keyUsesKey } from './uses.ts'
import type { SealingTerm } from './uses.ts'
import { OpenedView } from './view.ts'
import type { ViewContext } from './view.ts'

export interface BarrierOptions {
  readonly replica: Replica
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Logger
  /** Which sections leave the cluster with performance replicas. Default: all. Must never change for a section that has data. */
  readonly classOf?: (section: Section) => KeyClass
  /** Opened values kept in memory; 0: none. */
  readonly valueCacheBytesMax?: number
  /** Names of folders kept in memory, for listing; 0: none. */
  readonly folderIndexBytesMax?: number
  /** Hidden names kept in memory; 0: none. */
  readonly nameCacheBytesMax?: number
  /** How long a read waits for a leader. */
  readonly readIndexTimeoutMs?: number
  /** Children that a listing looks at before it lets others run. */
  readonly listEntriesPerTurn?: number
  /** Lets others run, between the parts of a long listing. */
  readonly yieldTurn?: () => Promise<void>
}

const defaults = {
  valueCacheBytesMax: limits.valueCacheBytesMax,
  folderIndexBytesMax: 2 * limits.valueCacheBytesMax,
  nameCacheBytesMax: limits.valueCacheBytesMax / 2,
  readIndexTimeoutMs: 5_000,
  readyTimeoutMs: 10_000,
} as const

const keyringKey = bareKey(bareNames.keyring)
const nameKeysPrefix = bareKey(nameKeyPrefix)

/** How a transaction's work ended. */
type Outcome<T> =
  | { readonly kind: 'value'; readonly value: T }
  | { readonly kind: 'error'; readonly error: unknown; readonly commit: boolean }

/** This node led `term`, in which everything up to `index` was committed; it is applied here by now. */
interface Confirmed {
  readonly term: number
  readonly index: number
}

/** How often a keyring's term has sealed, as `KeyUses.count` gave it; committed with what was sealed. */
interface UsesNote {
  readonly uses: KeyUses
  readonly under: SealingTerm
  readonly note: number
}

interface SealedProposal {
  readonly proposal: Proposal
  readonly notes: readonly UsesNote[]
  /** Keyrings with their own seal that begin with this commit. */
  readonly born: readonly Ring[]
}

async function outcomeOf<T>(work: (transaction: Transaction) => Promise<T>, transaction: Transaction): Promise<Outcome<T>> {
  try {
    return { kind: 'value', value: await work(transaction) }
  } catch (error) {
    if (error instanceof CommitAndThrow) return { kind: 'error', error: error.reason, commit: true }
    return { kind: 'error', error, commit: false }
  }
}

function settle<T>(outcome: Outcome<T>): T {
  if (outcome.kind === 'error') throw outcome.error
  return outcome.value
}

class ReplicatedBarrier implements BarrierControl {
  readonly #options: BarrierOptions
  readonly #replica: Replica
  readonly #envelope: Envelope
  /** By keyring; a number or two for each that this process has sealed under. */
  readonly #uses = new Map<string, KeyUses>()
  readonly #cache: ValueCache
  readonly #folders: FolderIndex
  readonly #listeners = new Set<(sealed: boolean) => void>()
  readonly #unsubscribe: () => void
  readonly #readIndexTimeoutMs: number
  readonly namespaces: BarrierNamespaces
  #keys: OpenedKeys | null = null
  /** What the replica holds. */
  #signer: Signer | null = null
  /** The leader's clock as last heard, and our monotonic clock at that moment: what a stale read's 'now' goes on from. */
  #heard = { leaderTimeMs: 0, atMs: 0 }
  /** When the last read index that was confirmed and is applied here was asked for, on the monotonic clock. */
  #confirmedMs = -Infinity

  constructor(options: BarrierOptions) {
    this.#options = options
    this.#replica = options.replica
    this.#readIndexTimeoutMs = options.readIndexTimeoutMs ?? defaults.readIndexTimeoutMs
    this.#envelope = new Envelope({ random: options.random, nodeId: options.replica.nodeId })
    const bytesMax = options.valueCacheBytesMax ?? defaults.valueCacheBytesMax
    this.#cache = new ValueCache({ bytesMax, applied: options.replica.status().applied })
    this.#folders = new FolderIndex({ memory: this.#cache, bytesMax: options.folderIndexBytesMax ?? defaults.folderIndexBytesMax })
    this.namespaces = new BarrierNamespaces({
      keys: () => this.#opened(),
      view: () => this.#replica.view(),
      transact: (work) => this.transact(work),
      encryptions: (keys, view, ring) => this.#usesOf(keys, ring, view),
      forget: (prefix) => {
        this.#cache.forget(prefix)
        this.#folders.forget(prefix)
      },
      log: options.log,
    })
    this.#unsubscribe = options.replica.onApplied((change) => this.#applied(change))
  }

  get sealed(): boolean {
    return this.#keys === null
  }

  status(): BarrierStatus {
    return {
      sealed: this.#keys === null,
      keyringTerm: this.#keys?.keyring.activeTerm ?? null,
      keyringTermCreatedMs: this.#keys?.keyring.activeSinceMs ?? null,
      encryptions: this.#keys === null ? 0 : this.#usesOf(this.#keys, null),
      sealedHere: this.#envelope.seals,
      sealedUnderKey: this.#envelope.sealsUnderKey,
      cache: { bytes: this.#cache.bytes + this.#folders.bytes, hits: this.#cache.hits, misses: this.#cache.misses },
    }
  }

  /** How often the active term's key has sealed, as far as this node can know. `ring` null: the root's. */
  #usesOf(keys: OpenedKeys, ring: Ring | null, known?: StateView): number {
    const { term: raftTerm, incarnation } = this.#replica.status()
    const keyringTerm = (ring ?? keys).keyring.activeTerm
    const counted = this.#uses.get(ring?.id ?? '')?.total({ keyringTerm, incarnation, raftTerm }) ?? null
    if (counted !== null) return counted
    const view = known ?? this.#viewIfAny()
    try {
      return view === null ? 0 : this.#notedUses(keys, view, ring, keyringTerm)
    } catch {
      return 0 // A state that can't be read says so elsewhere: whoever asks for a status, as the metrics do, must not fail with it.
    } finally {
      if (view !== known) view?.release()
    }
  }

  #notedUses(keys: OpenedKeys, state: StateView, ring: Ring | null, keyringTerm: number): number {
    const key = usesKeyOf(ring, keyringTerm)
    const record = state.get(key)
    return record === undefined ? 0 : decodeKeyUses(keys.open(state, key, record, ring))
  }

  async read<T>(consistency: Consistency, work: (view: ReadView, at: ReadPoint) => Promise<T>): Promise<T> {
    this.#opened()
    const { ageMs, leaderTimeMs } = await this.#freshen(consistency)
    const context = this.#context() // Once more: the wait was long enough to be sealed in.
    const state = this.#replica.view()
    const view = new OpenedView(context, state, Math.max(leaderTimeMs, state.meta.leaderTimeMs))
    try {
      return await work(view, { index: state.meta.applied, ageMs })
    } finally {
      view.end()
      state.release()
    }
  }

  /** Waits until the state here is as fresh as is asked. The age runs from when the confirmation was asked for, not from when it came. */
  async #freshen(consistency: Consistency): Promise<{ readonly ageMs: number; readonly leaderTimeMs: number }> {
    const sentMs = this.#options.clock.monotonicMs()
    const ageMs = Math.max(1, sentMs - this.#confirmedMs)
    if (consistency.kind === 'stale' || (consistency.kind === 'bounded' && ageMs <= consistency.ageMsMax))
      return { ageMs, leaderTimeMs: this.#estimatedLeaderTimeMs() }
    const { leaderTimeMs } = await this.#replica.readIndex(this.#readIndexTimeoutMs)
    this.#confirmedMs = Math.max(this.#confirmedMs, sentMs)
    this.#hear(leaderTimeMs)
    return { ageMs: 0, leaderTimeMs }
  }

  async transact<T>(work: (transaction: Transaction) => Promise<T>): Promise<T> {
    let confirmed: Confirmed | null = null
    for (let attempt = 1; attempt <= limits.transactionAttemptsMax; attempt++) {
      const ended: Outcome<T> | Confirmed | 'conflict' = await this.#attempt(work, confirmed)
      if (ended === 'conflict') continue
      if ('index' in ended) confirmed = ended
      else return settle(ended)
    }
    throw new HoldfastError(
      'ERR_CONFLICT',
      `transaction expected to commit within ${limits.transactionAttemptsMax} attempts, got a conflict in each`,
      {
        hint: 'many writers change the same keys at once: try again later',
      },
    )
  }

  /**
   * Evaluates once, then commits or confirms. What writes nothing must not be answered from a view that lacks what was committed before it was asked: this
   * leader may not have applied yet what a follower has already shown to somebody. Then it gives back how far a view must reach, for another attempt.
   */
  async #attempt<T>(
    work: (transaction: Transaction) => Promise<T>,
    confirmed: Confirmed | null,
  ): Promise<Outcome<T> | Confirmed | 'conflict'> {
    const context = this.#context()
    const term = this.#leaderTerm() // Before the view: what is evaluated on an older leader's state must not be appended by a newer.
    const state = this.#replica.view()
    const { applied } = state.meta
    const view = new OpenedView(context, state, this.#nowMs(state))
    const transaction = new CollectingTransaction(view, this.#options.random)
    let outcome: Outcome<T>
    let sealed: SealedProposal | null = null
    try {
      outcome = await outcomeOf(work, transaction)
      const commit = outcome.kind === 'value' || outcome.commit
      if (commit && transaction.writes > 0) sealed = this.#seal(context.keys, transaction, term, state)
    } finally {
      transaction.end()
      view.end()
      state.release()
    }
    if (sealed === null) {
      const fresh = confirmed?.term === term && applied >= confirmed.index ? confirmed : await this.#confirm(term)
      return applied >= fresh.index ? outcome : fresh
    }
    if (!(await this.#proposeWith(context.keys, sealed))) return 'conflict'
    for (const { uses, under, note } of sealed.notes) uses.committed(under, note)
    return outcome
  }

  /** Seals what was written in `term`, and counts it. `state`: the transaction's view. */
  #seal(keys: OpenedKeys, transaction: CollectingTransaction, term: number, state: StateView): SealedProposal {
    keys.check() // Wiped keys would seal what nobody can open again.
    // What nobody would take is not sealed: a term that comes back to the envelope after a later one would begin to count its key anew.
    if (this.#leaderTerm() !== term) throw this.#notLeader()
    const { incarnation } = this.#replica.status()
    const notes: (UsesNote & { readonly ring: Ring | null })[] = []
    for (const [ring, seals] of transaction.seals()) {
      ring?.check()
      const under: SealingTerm = { keyringTerm: (ring ?? keys).keyring.activeTerm, incarnation, raftTerm: term }
      const uses = this.#counterOf(ring)
      const note = uses.count(under, seals, () => this.#notedUses(keys, state, ring, under.keyringTerm))
      if (note !== null) notes.push({ uses, under, note, ring })
    }
    const proposal = transaction.proposal(
      term,
      (ring, key, value) => this.#envelope.seal((ring ?? keys).keyring, incarnation, term, key, value),
      notes.map(({ ring, under, note }) => ({ key: usesKeyOf(ring, under.keyringTerm), value: encodeKeyUses(note), ring })),
    )
    return { proposal, notes, born: transaction.keyrings.takeOwnSealed() }
  }

  #counterOf(ring: Ring | null): KeyUses {
    const id = ring?.id ?? ''
    let uses = this.#uses.get(id)
    if (uses === undefined) this.#uses.set(id, (uses = new KeyUses()))
    return uses
  }

  /** As #propose; what was born with it stays open here. */
  async #proposeWith(keys: OpenedKeys, { proposal, born }: SealedProposal): Promise<boolean> {
    let done = false
    try {
      return (done = await this.#propose(proposal))
    } finally {
      for (const ring of born) {
        if (!done || keys.closed) ring.close()
        else keys.rings.adopt(ring)
      }
      if (done && born.length > 0) this.namespaces.opened()
    }
  }

  /** False on a conflict. @throws what propose throws otherwise. */
  async #propose(proposal: Proposal): Promise<boolean> {
    try {
      await this.#replica.propose(proposal)
      return true
    } catch (error) {
      if (isHoldfastError(error, 'ERR_CONFLICT')) return false
      throw error
    }
  }

  /**
   * Makes sure that this node still led `term` after the view was taken. Otherwise a deposed leader would answer 'not found' or
   * 'check-and-set failed' from a state that its successor has moved on from.
   */
  async #confirm(term: number): Promise<Confirmed> {
    const { index, leaderTimeMs } = await this.#replica.readIndex(this.#readIndexTimeoutMs)
    this.#hear(leaderTimeMs)
    if (this.#leaderTerm() !== term) throw this.#notLeader()
    return { term, index }
  }

  #leaderTerm(): number {
    const status = this.#replica.status()
    if (!status.ready) throw this.#notLeader()
    return status.term
  }

  #notLeader(): HoldfastError {
    return new HoldfastError('ERR_NOT_LEADER', 'this node expected to lead the cluster, got another leader or none', {
      hint: 'send the request to the leader, or again in a moment',
    })
  }

  #opened(): OpenedKeys {
    if (this.#keys === null) throw sealedError()
    return this.#keys
  }

  #context(): ViewContext {
    return {
      keys: this.#opened(),
      cache: this.#cache,
      folders: this.#folders,
      classOf: this.#options.classOf ?? (() => KeyClass.everywhere),
      turns: {
        yieldTurn: this.#options.yieldTurn ?? (() => nextTurn()),
        entriesPerTurn: this.#options.listEntriesPerTurn ?? limits.listEntriesPerTurn,
      },
    }
  }

  /** The leader's clock when this node leads: its own, but never behind what the cluster has already seen. */
  #nowMs(state: StateView): number {
    return Math.max(this.#options.clock.nowMs(), state.meta.leaderTimeMs)
  }

  #hear(leaderTimeMs: number): void {
    this.#heard = { leaderTimeMs: Math.max(leaderTimeMs, this.#estimatedLeaderTimeMs()), atMs: this.#options.clock.monotonicMs() }
  }

  /** What the leader's clock says by now, as far as a node that can't ask can tell. Without it nothing would expire in a cut-off part. */
  #estimatedLeaderTimeMs(): number {
    if (this.#heard.leaderTimeMs === 0) return 0
    return Math.floor(this.#heard.leaderTimeMs + this.#options.clock.monotonicMs() - this.#heard.atMs)
  }

  #applied(change: AppliedChange): void {
    this.#cache.apply(change)
    this.#folders.apply(change)
    if (change.leaderTimeMs > this.#estimatedLeaderTimeMs()) this.#hear(change.leaderTimeMs)
    if (this.#keys === null) return
    if (change.keys === 'everything') return this.#reload(this.#keys, true)
    for (const key of change.keys) {
      if (key[0] !== KeyClass.bare) continue
      if (byteString(key) === byteString(keyringKey)) this.#reload(this.#keys, false)
      else if (startsWith(key, nameKeysPrefix)) this.#keys?.forgetNames(key)
      else if (this.#keys !== null) this.namespaces.applied(this.#keys, key)
    }
  }

  /** Takes over a keyring that was rotated or restored. One that does not open means that our root key is no longer the cluster's. */
  #reload(keys: OpenedKeys, replaced: boolean): void {
    if (keys.closed) return
    const view = this.#replica.view()
    try {
      keys.reload(view, replaced)
      if (replaced) keys.forgetNames()
      if (replaced) this.namespaces.replaced(keys, view)
    } catch (error) {
      this.#options.log.error(
        { error: isHoldfastError(error) ? error.code : 'unknown' },
        'the replicated keyring does not open any more: sealing this node',
      )
      this.seal()
    } finally {
      view.release()
    }
  }

  async initialize(rootKey: SecretBytes, records: Readonly<Record<string, Uint8Array>>): Promise<void> {
    const { clock, random } = this.#options
    const keyring = Keyring.create(random, clock.nowMs())
    try {
      // A sealed node proposes nothing, and somebody must make the first proposal of all.
      this.#sign(keyring)
      await this.#proposeFirst(rootKey, records, keyring)
    } catch (error) {
      rootKey[Symbol.dispose]()
      if (this.sealed) this.#sign(null)
      throw error
    } finally {
      keyring.wipe()
    }
    this.open(rootKey)
  }

  async #proposeFirst(rootKey: SecretBytes, records: Readonly<Record<string, Uint8Array>>, keyring: Keyring): Promise<void> {
    const { clock, random } = this.#options
    const { term } = await waitUntilReady(this.#replica, clock, defaults.readyTimeoutMs)
    const view = this.#replica.view()
    try {
      const batch = bareBatch({ ...records, [bareNames.keyring]: keyring.encode(rootKey.reveal(), random) })
      const ops = [...(await leftoverKeys(view, batch.ops)), ...batch.ops]
      const reads = [bareKey(bareNames.sealConfig), keyringKey]
      const sections = [{ section: batch.section, ops }]
      const { applied: viewIndex } = view.meta
      await this.#replica.propose({ term, viewIndex, reads, ranges: [], sections, timeMs: this.#nowMs(view), begins: true })
    } finally {
      view.release()
    }
  }

  open(rootKey: SecretBytes): void {
    if (this.#keys !== null) {
      rootKey[Symbol.dispose]()
      return
    }
    const keyring = this.#openKeyring(rootKey)
    this.#folders.clear()
    this.#cache.restart(this.#replica.status().applied)
    this.#keys = new OpenedKeys({
      rootKey,
      keyring,
      envelope: this.#envelope,
      memory: this.#cache,
      nameCacheBytesMax: this.#options.nameCacheBytesMax ?? defaults.nameCacheBytesMax,
    })
    try {
      this.#sign(keyring)
    } catch (error) {
      // What this node holds is not what unsealed leaders wrote: it must not be served.
      this.#forget(this.#keys)
      throw error
    }
    this.namespaces.begin()
    this.#tell(false)
  }

  #openKeyring(rootKey: SecretBytes): Keyring {
    const record = this.readBare(bareNames.keyring)
    try {
      if (record === null)
        throw new HoldfastError('ERR_NOT_INITIALIZED', 'keyring expected in the replicated state, got none', {
          hint: 'initialise the cluster, or join it and wait until this node has caught up',
        })
      return Keyring.decode(record, rootKey.reveal())
    } catch (error) {
      rootKey[Symbol.dispose]()
      throw error
    }
  }

  seal(): void {
    const keys = this.#keys
    if (keys === null) return
    this.#forget(keys)
    this.#sign(null)
    this.#tell(true)
  }

  /** Lets the replica sign and check under `keyring`; null: no more. @throws ERR_UNPROVEN */
  #sign(keyring: Keyring | null): void {
    const before = this.#signer
    const next = keyring === null ? null : new Signer(keyring)
    try {
      this.#replica.setAuthenticator(next)
    } catch (error) {
      next?.[Symbol.dispose]()
      throw error
    }
    this.#signer = next
    before?.[Symbol.dispose]()
  }

  #forget(keys: OpenedKeys): void {
    this.#keys = null
    keys.close()
    this.namespaces.end()
    this.#cache.clear()
    this.#folders.clear()
  }

  async rotate(reason = 'it was asked for'): Promise<{ readonly keyringTerm: number }> {
    for (let attempt = 1; attempt <= limits.transactionAttemptsMax; attempt++) {
      const keys = this.#opened()
      const keyringTerm = await this.#proposeNext(keys)
      if (keyringTerm === null) continue
      this.#options.log.info({ keyring_term: keyringTerm, reason }, 'the keyring has a new term')
      return { keyringTerm }
    }
    throw new HoldfastError('ERR_CONFLICT', 'rotation expected to commit, got a conflict in each attempt', { hint: 'rotate again' })
  }

  /**
   * Proposes the keyring with a term more; null on a conflict. The keyring is the view's, not the one in memory: that may still wait
   * for the feed, and a rotation built on it would drop the term of the one before, with all that is already sealed in it.
   */
  async #proposeNext(keys: OpenedKeys): Promise<number | null> {
    const term = this.#leaderTerm()
    const view = this.#replica.view()
    const rings: Keyring[] = []
    try {
      const current = keys.keyringOf(view)
      rings.push(current)
      const next = current.rotated(this.#options.random, this.#nowMs(view))
      rings.push(next)
      const batch = bareBatch({ [bareNames.keyring]: next.encode(keys.rootKey, this.#options.random) })
      const { applied: viewIndex } = view.meta
      const timeMs = this.#nowMs(view)
      const keyringTerm = next.activeTerm
      return (await this.#propose({ term, viewIndex, reads: [keyringKey], ranges: [], sections: [batch], timeMs })) ? keyringTerm : null
    } finally {
      for (const ring of rings) ring.wipe() // What counts is what the feed brings back, here as on the followers.
      view.release()
    }
  }

  async writeBare(records: Readonly<Record<string, Uint8Array | null>>): Promise<void> {
    this.#opened()
    const term = this.#leaderTerm()
    const view = this.#replica.view()
    const { applied: viewIndex } = view.meta
    const timeMs = this.#nowMs(view)
    view.release()
    await this.#replica.propose({ term, viewIndex, reads: [], ranges: [], sections: [bareBatch(records)], timeMs })
  }

  async changeSeal(change: SealChange): Promise<void> {
    for (let attempt = 1; attempt <= limits.transactionAttemptsMax; attempt++) {
      if (await this.#proposeSealChange(this.#opened(), change)) return
    }
    throw sealMoved()
  }

  /** False on a conflict, which may be a rotation of the keyring: then it is built on that one. */
  async #proposeSealChange(keys: OpenedKeys, { records, expected, rootKey }: SealChange): Promise<boolean> {
    const term = this.#leaderTerm()
    const view = this.#replica.view()
    try {
      for (const [name, value] of Object.entries(expected)) {
        const found = readBare(view, name)
        if (value === null ? found !== undefined : found === undefined || !equalSecrets(found, value)) throw sealMoved()
      }
      const batch = bareBatch(rootKey === undefined ? records : { ...records, ...this.#underNewRootKey(keys, view, rootKey.reveal()) })
      const reads = [...Object.keys(expected).map((name) => bareKey(name)), ...(rootKey === undefined ? [] : [keyringKey])]
      const { applied: viewIndex } = view.meta
      return await this.#propose({ term, viewIndex, reads, ranges: [], sections: [batch], timeMs: this.#nowMs(view) })
    } finally {
      view.release()
    }
  }

  #underNewRootKey(keys: OpenedKeys, view: StateView, rootKey: Uint8Array): Record<string, Uint8Array> {
    const { random } = this.#options
    const current = keys.keyringOf(view)
    const next = current.reissued()
    try {
      return { [bareNames.keyring]: next.encode(rootKey, random), [bareNames.rootKeyHandover]: sealHandover(current, rootKey, random) }
    } finally {
      current.wipe()
      next.wipe()
    }
  }

  isRootKey(rootKey: Uint8Array): boolean {
    return equalSecrets(this.#opened().rootKey, rootKey)
  }

  opensKeyring(record: Uint8Array): boolean {
    const { rootKey } = this.#opened()
    try {
      Keyring.decode(record, rootKey).wipe()
      return true
    } catch (error) {
      if (isHoldfastError(error, 'ERR_DECRYPT')) return false
      throw error
    }
  }

  readBare(name: string): Uint8Array | null {
    const view = this.#viewIfAny()
    if (view === null) return null
    try {
      return readBare(view, name) ?? null
    } finally {
      view.release()
    }
  }

  /** Before a node belongs to a cluster it has no state, but must say so in seal-status and health. */
  #viewIfAny(): StateView | null {
    try {
      return this.#replica.view()
    } catch (error) {
      if (isHoldfastError(error, 'ERR_NOT_INITIALIZED')) return null
      throw error
    }
  }

  derivedKey(label: string): SecretBytes {
    return this.#opened().keyring.derived(label)
  }

  joinKey(): SecretBytes {
    return new SecretBytes(deriveJoinKey(this.#opened().rootKey))
  }

  onSealChange(listener: (sealed: boolean) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #tell(sealed: boolean): void {
    for (const listener of this.#listeners) {
      try {
        listener(sealed)
      } catch (error) {
        this.#options.log.error({ error: error instanceof Error ? error.message : 'unknown' }, 'a listener to sealing failed')
      }
    }
  }

  close(): void {
    this.seal()
    this.#unsubscribe()
  }
}

function usesKeyOf(ring: Ring | null, keyringTerm: number): Uint8Array {
  return ring === null ? keyUsesKey(keyringTerm) : ringUsesKey(ring.id, keyringTerm)
}

function sealMoved(): HoldfastError {
  return new HoldfastError('ERR_CONFLICT', 'the seal expected to stand still, got another change of it', {
    hint: 'a rekey, a migration or a rewrap came in between: nothing was changed by this one, begin it again',
  })
}

/** A sealed barrier over `replica`. Listens to its feed until closed. */
export function createBarrier(options: BarrierOptions): BarrierControl {
  return new ReplicatedBarrier(options)
}
