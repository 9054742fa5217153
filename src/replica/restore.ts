/**
 * Restoring a snapshot: the whole state is replaced, by one command of the log (docs/internals/snapshot-restore.md).
 *
 * First the leader stages the state that is to be: it stores it beside its own, and has the other members do the same. Once a majority has it on
 * disk, an order names it by its digest. So from the moment that the order can be committed, whoever can elect a leader has the state too. To a node the order
 * is an entry like every other: applying it puts the staged state in the place of the present one, in one rename. What came before it in the log is replaced on
 * purpose; nothing stands behind it that was evaluated before it, since its leader appends nothing until it has carried it out.
 *
 * Only a node that is open carries out an order: it alone can check who gave it, and afterwards the keys may be others. A node that is sealed waits until it
 * is opened (with the keys of before: its state is still that of before) or has the new state from another; one that has not staged it, or has lost it, waits
 * for the latter. Meanwhile it votes and acknowledges, and serves nothing. So a state of before is never mixed with entries of after.
 */
import { HoldfastError } from '#base/errors.ts'
import type { FormatRange } from '#base/formats.ts'
import { EntryType, type Entry, type Membership, type NodeId, type ProposeResult } from '#raft/types.ts'
import { hasQuorum } from '#raft/quorum.ts'
import type { LogStore, StagedState, StageOptions } from '#store/types.ts'
import { sameBytes } from './authenticator.ts'
import type { CommandChain } from './chain.ts'
import { ordersRestore, type RestoreOrder } from './command.ts'
import { encodeCheck, type StagedMessage } from './digests.ts'
import { firstCallerKeyByte, type Directory } from './directory.ts'
import type { ReplicaOptions } from './options.ts'
import { encodeHeader, type SnapshotHeader } from './snapshots.ts'

const pageBytes = 1024 * 1024
/** A member with a stage asks its leader once in so many times `askTicks` whether it will be called for: longer than most restores take. */
const askStagedEvery = 20
/** How often the others are asked to store what is staged. */
const attemptsMax = 2

/** What everybody else is told who would append behind an order that is not carried out yet. */
export const whileRestoring: ProposeResult & { ok: false } = { ok: false, reason: 'not-ready', detail: 'a snapshot is being restored' }

export const isRestore = ({ type, data }: Entry): boolean => type === EntryType.command && ordersRestore(data)

export interface RestoreHost {
  readonly options: Pick<ReplicaOptions, 'nodeId' | 'clusterId' | 'state' | 'peers' | 'logger'>
  readonly chain: CommandChain
  readonly askTicks: number
  term(): number
  leader(): NodeId | null
  directory(): Directory
  /** Whether it waits has changed. */
  changed(): void
  /** The order may be looked at again. */
  resume(): void
}

export class Restore {
  readonly #host: RestoreHost
  /** The order that this node gave as leader. */
  #ordered = { index: 0, term: 0 }
  /** The lowest order that is on its way to this node, or in its log, as far as it knows. */
  #expectedAt = 0
  #awaiting: { readonly index: number; readonly reason: HoldfastError } | null = null
  #ticks = 0
  #asked = 0
  #stagedTicks = 0
  /** What this node staged last as leader, and will never call for. */
  #void: { readonly id: string; readonly term: number } | null = null

  constructor(host: RestoreHost) {
    this.#host = host
  }

  /** This node gave an order that it has yet to carry out: it appends nothing. */
  get pending(): boolean {
    const { index, term } = this.#ordered
    return term === this.#host.term() && index > this.#host.options.state.meta.applied
  }

  /** Why this node can't carry out the order that is next; null: there is none, or it can. */
  get awaiting(): HoldfastError | null {
    return this.#awaiting?.reason ?? null
  }

  /** A state must reach here at least. */
  get awaitedIndex(): number {
    return this.#awaiting?.index ?? 0
  }

  ordered(index: number): void {
    this.#ordered = { index, term: this.#host.term() }
  }

  /** Reads the log behind what is applied, as a node does that starts. */
  scan(log: LogStore): void {
    const end = log.lastIndex() + 1
    for (let index = this.#host.options.state.meta.applied + 1; index < end;) {
      const entries = log.entries(index, end, pageBytes) ?? []
      if (entries.length === 0) return
      this.note(entries)
      index += entries.length
    }
  }

  /** Takes note of entries that are about to be stored, and replace what stood there. */
  note(entries: readonly Entry[]): void {
    const [first] = entries
    if (first === undefined) return
    if (first.index <= this.#expectedAt) this.#expectedAt = 0
    this.expect(entries)
  }

  /** Takes note of entries that may get into the log: on an open node they were looked at, or what they stand behind was. */
  expect(entries: readonly Entry[]): void {
    if (this.#expectedAt <= this.#host.options.state.meta.applied) this.#expectedAt = this.#orderIn(entries) ?? 0
  }

  #orderIn(entries: readonly Entry[]): number | null {
    const { applied } = this.#host.options.state.meta
    return entries.find((entry) => entry.index > applied && isRestore(entry))?.index ?? null
  }

  /**
   * Of entries that arrive, those that this node can look at before they get into its log: what it has applied may be of a life of the cluster before, and what
   * stands behind an order is of the next one, under keys that come with it. That is checked when it is applied, as on a sealed node.
   */
  checkable(entries: readonly Entry[]): readonly Entry[] {
    const { applied } = this.#host.options.state.meta
    const end = this.#expectedAt > applied ? this.#expectedAt : (this.#orderIn(entries) ?? Infinity)
    return end === Infinity && (entries[0]?.index ?? 0) > applied ? entries : entries.filter(({ index }) => index > applied && index <= end)
  }

  /** Can this node carry out `order`, which is next? `checked`: it is open, and has found it genuine. Otherwise it waits from here on. */
  mayCarryOut(entry: Entry, order: RestoreOrder, checked: boolean): boolean {
    const { staged } = this.#host.options.state
    const here = staged !== null && staged.id === order.id && sameBytes(staged.digest, order.digest)
    if (checked && here) return true
    this.#host.chain.awaitRestored(checked ? order.incarnation : null)
    if (this.#awaiting !== null) return false
    const why = checked ? 'this node has not stored it' : 'this node is sealed'
    const message = `a snapshot is to be restored at index ${entry.index}, and ${why}: it waits for the state from another node`
    const hint = checked
      ? 'it goes on by itself once a node that has restored it is open'
      : 'it goes on by itself once a node that has restored it is open; unsealed with the shares of before, this one restores it itself'
    this.#awaiting = { index: entry.index, reason: new HoldfastError('ERR_STATE_REPAIR', message, { hint }) }
    this.#ticks = 0
    this.#host.options.logger.warn({ index: entry.index, hint }, message)
    this.#host.changed()
    return false
  }

  /** The barrier was opened or sealed: what was waited for may be here. */
  retry(): void {
    if (this.#awaiting === null) return
    this.#awaiting = null
    this.#host.changed()
    this.#host.resume()
  }

  /** A snapshot, or what was staged, is the state now. `reborn`: it is of a later life of the cluster, and what was staged in the one before is void. */
  installed(applied: number, reborn: boolean): void {
    if (reborn) this.#drop()
    if (this.#expectedAt <= applied) this.#expectedAt = 0
    if (applied >= this.awaitedIndex) this.#host.chain.awaitRestored(null)
    if (this.#awaiting === null || applied < this.#awaiting.index) return
    this.#awaiting = null
    this.#host.options.logger.info({ index: applied }, 'the restored state has arrived from another node')
    this.#host.changed()
  }

  tick(): void {
    this.#askForStaged()
    if (this.#awaiting === null) return
    this.#ticks += 1
    if (this.#ticks % this.#host.askTicks !== 0) return
    const { nodeId, peers } = this.#host.options
    const others = this.#host.directory().members.filter(({ id }) => id !== nodeId)
    const to = others[this.#asked % Math.max(1, others.length)]
    this.#asked += 1
    if (to !== undefined) peers.send(to.id, encodeCheck({ kind: 'state-wanted', index: this.#awaiting.index }))
  }

  /** What was staged in a term that is over, and not called for in it, never will be. */
  outdated(): void {
    const { staged, meta } = this.#host.options.state
    if (staged === null || this.#awaiting !== null || meta.appliedTerm <= staged.term) return
    this.#drop()
  }

  /**
   * A restore that failed leaves its stage with those who have stored it, for as long as the term lasts, and the word about that may be lost. To drop it
   * without asking, at a start say, could leave an order that is still on its way with nobody who can carry it out.
   */
  #askForStaged(): void {
    const { nodeId, peers, state } = this.#host.options
    const leader = this.#host.leader()
    if (state.staged === null) this.#stagedTicks = 0
    if (!this.#mayGo(state.staged?.id) || leader === null || leader === nodeId) return
    this.#stagedTicks += 1
    if (this.#stagedTicks % (askStagedEvery * this.#host.askTicks) !== 0) return
    peers.send(leader, encodeCheck({ kind: 'staged-asked', id: state.staged?.id ?? '' }))
  }

  /** Whether what is staged is `id`, of the term that lasts, and nothing in the log may call for it, as far as this node knows. */
  #mayGo(id: string | undefined): boolean {
    const { staged, meta } = this.#host.options.state
    const called = this.#awaiting !== null || this.#expectedAt > meta.applied
    return staged !== null && staged.id === id && staged.term === this.#host.term() && !called
  }

  /** A peer asks whether a stage will be called for, or the leader says that one will not. */
  hear(from: NodeId, message: StagedMessage): void {
    const { peers, logger } = this.#host.options
    if (message.kind === 'staged-asked') {
      // In another term it is for that one's leader to say; and nothing of this one can be called for any more.
      const proof =
        message.id === this.#void?.id && this.#void.term === this.#host.term() ? this.#host.chain.signUnstaged(message.id) : null
      if (proof !== null) peers.send(from, encodeCheck({ kind: 'staged-void', id: message.id, proof }))
      return
    }
    if (from !== this.#host.leader() || !this.#mayGo(message.id) || !this.#host.chain.isUnstagedByLeader(message.id, message.proof)) return
    logger.info({ peer: from }, 'a restore has failed: what this node had stored for it is removed')
    this.#drop()
  }

  #drop(): void {
    const { state, logger } = this.#host.options
    state.discardStaged().catch((error: unknown) => logger.warn({ error: String(error) }, 'a staged state could not be removed'))
  }

  // The leader's part.

  async stage(
    id: string,
    term: number,
    stream: AsyncIterable<Uint8Array>,
    options: Pick<StageOptions, 'leaveOut' | 'add' | 'onProgress'>,
    formats: FormatRange,
  ): Promise<StagedState> {
    if (this.pending || this.#awaiting !== null) throw busy()
    const { leaveOut = () => false, onProgress } = options
    return this.#host.options.state.stage({ id, term }, stream, {
      ...options,
      formats,
      // Members and level are the cluster's own.
      leaveOut: (key, value) => (key[0] ?? 0) < firstCallerKeyByte || leaveOut(key, value),
      onProgress: (bytes) => {
        if (this.#host.term() !== term) throw leadershipLost()
        onProgress?.(bytes)
      },
    })
  }

  async discard(id: string): Promise<void> {
    const { state } = this.#host.options
    const { staged } = state
    if (staged?.id !== id || this.pending || this.#awaiting !== null) return
    // Before it goes: whoever asks must not be told so of one that was carried out, which is gone as well.
    this.#void = { id, term: staged.term }
    await state.discardStaged()
  }

  /** Has the other members store what is staged. Resolves with those that have, and this node. @throws ERR_NO_MAJORITY */
  async spread(staged: StagedState, membership: () => Membership): Promise<readonly NodeId[]> {
    const { nodeId } = this.#host.options
    const stored = new Set<NodeId>([nodeId])
    for (let attempt = 1; attempt <= attemptsMax; attempt += 1) {
      const missing = this.#host.directory().members.filter(({ id }) => !stored.has(id))
      await Promise.all(missing.map(async ({ id }) => ((await this.#sendTo(id, staged)) ? stored.add(id) : null)))
      // Once a majority has it the others can fetch it afterwards.
      if (hasQuorum(membership(), (id) => stored.has(id))) return [...stored]
    }
    throw new HoldfastError(
      'ERR_NO_MAJORITY',
      `restore expected a majority of the members to have stored the snapshot, got ${[...stored].join(', ')}`,
      {
        hint: 'nothing was replaced: see the logs of the others, and try again when a majority is up',
      },
    )
  }

  async #sendTo(to: NodeId, { id, term, digest }: StagedState): Promise<boolean> {
    const { state, peers, clusterId, logger } = this.#host.options
    const { level, incarnation } = this.#host.directory()
    const proof = this.#host.chain.signStaged(id, digest)
    const header = { clusterId, term, index: Math.max(1, state.meta.applied), proof, incarnation, staged: { id, digest } }
    const sending = state.stagedStream(level)
    logger.info({ peer: to }, 'sending the state that is to be restored')
    try {
      await peers.sendSnapshot(to, encodeHeader(header, level), sending.stream)
      return true
    } catch (error) {
      logger.warn(
        { peer: to, reason: error instanceof Error ? error.message : 'unknown' },
        'a member has not stored the state that is to be restored',
      )
      return false
    } finally {
      sending.release()
    }
  }

  // The other members' part.

  /** Stores what the leader wants staged. @throws ERR_PEER_REFUSED, ERR_FRAME, ERR_BUSY */
  async receive(from: NodeId, header: SnapshotHeader, body: AsyncIterable<Uint8Array>, formats: FormatRange): Promise<void> {
    const { state, clusterId, logger } = this.#host.options
    const { staged: wanted, term, proof } = header
    if (wanted === undefined || header.clusterId !== clusterId)
      throw new HoldfastError('ERR_FRAME', 'snapshot: expected one of this cluster, got that of another')
    if (from !== this.#host.leader() || term !== this.#host.term() || !this.#host.chain.isStagedByLeader(wanted.id, wanted.digest, proof))
      throw new HoldfastError(
        'ERR_PEER_REFUSED',
        `state to be restored: expected one that the leader asks to be stored, got one of '${from}'`,
      )
    if (this.#expectedAt > state.meta.applied || this.#awaiting !== null) throw busy()
    const staged = await state.stage({ id: wanted.id, term }, body, { formats })
    if (sameBytes(staged.digest, wanted.digest))
      return logger.info({ peer: from, pairs: staged.pairs }, 'stored the state that is to be restored')
    await state.discardStaged()
    throw new HoldfastError('ERR_FRAME', 'state to be restored: expected the digest that its sender named, got other pairs')
  }
}

const busy = (): HoldfastError =>
  new HoldfastError('ERR_BUSY', 'a snapshot is being restored already', { hint: 'wait until that has ended' })

const leadershipLost = (): HoldfastError =>
  new HoldfastError('ERR_NOT_LEADER', 'leadership was lost while the snapshot was read: nothing was replaced', {
    hint: 'restore it by the new leader',
  })
