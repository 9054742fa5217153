/**
 * The loop between the core and the world. Every input (tick, message, proposal, finished write) goes into the core; then its effects are carried out:
 * send at once what promises nothing; write hard state and entries, one write at a time, and only then send what speaks of them; apply
 * what is committed, in order. What is proposed while a write is in flight shares the next one: that is all the batching there is.
 *
 * The first failure (of a store, or of an invariant) is final: nothing is sent, applied or acknowledged after it, so that peers elect another leader.
 */
import type { Timer } from '#base/clock.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { releasedFormats, type FormatRange } from '#base/formats.ts'
import { createRaft } from '#raft/index.ts'
import { MessageType, Role, type Effects, type Entry, type Message, type Raft } from '#raft/types.ts'
import { Announced } from './announced.ts'
import { ConflictWindow } from './conflicts.ts'
import { emptyDirectory, readDirectory, type Directory } from './directory.ts'
import { encodeHint, hintFrom, isUseful, type MembersHint } from './hints.ts'
import { encodeFormats, formatsFrom, Levels } from './levels.ts'
import { encodeMessage, messageFrom } from './messages.ts'
import type { ReplicaOptions, ReplicaSettings } from './options.ts'
import { Proposals } from './proposals.ts'
import { ReadRounds } from './reads.ts'
import { logReader } from './recover.ts'
import { buildRound } from './rounds.ts'
import { SleepWatch } from './sleepwatch.ts'
import { OutgoingSnapshots, receiveSnapshot } from './snapshots.ts'
import type { AppliedChange } from './types.ts'
import { AppliedWaiters } from './waiters.ts'

type Persist = NonNullable<Effects['persist']>

/** Ticks made up for after a stall: enough to keep time on a busy machine, too few for a stall to cause an election. */
const ticksPerTimerMax = 2
/** For how many election timeouts what a member said of its formats counts; it says so several times in each. */
const formatsFreshElections = 2
/** Effects taken in one turn before others get one. */
const turnsMax = 256

export class Driver {
  readonly options: ReplicaOptions
  readonly settings: ReplicaSettings
  readonly raft: Raft
  readonly conflicts: ConflictWindow
  readonly proposals = new Proposals()
  /** Proposers that wait for the entry that they conflict with. */
  readonly conflicting: AppliedWaiters
  readonly reads: ReadRounds
  readonly outgoing: OutgoingSnapshots
  /** What this node understands. */
  readonly formats: FormatRange
  readonly levels: Levels
  readonly #announced: Announced
  /** Members as of the applied index. */
  directory: Directory = emptyDirectory
  failure: HoldfastError | null = null
  /** Neither failed nor stopped: inputs are taken. */
  running = true
  onChange: (change: AppliedChange) => void = () => {}
  /** Role, term, leader, members or failure may have changed. */
  onStatus: () => void = () => {}
  onTick: () => void = () => {}

  readonly #defer: (task: () => void) => void
  #role: Role = Role.follower
  #term: number
  #leader: string | null = null
  /** The last term in which this node was seen ready to serve as leader. */
  #readyTerm = 0
  readonly #sleepWatch: SleepWatch
  #timer: Timer | null = null
  #lastTickMs: number
  #leaderlessTicks = 0
  #ticks = 0
  #pumpDue = false
  #persisting: Promise<void> | null = null
  #applying: Promise<void> | null = null
  /** Committed, not applied yet. Bounded by the core (committedBytesMax). */
  #queue: Entry[] = []
  #installing = false
  #receiving = false

  constructor(options: ReplicaOptions, settings: ReplicaSettings) {
    this.options = options
    this.settings = settings
    this.formats = options.formats ?? releasedFormats
    this.levels = new Levels(this.formats, formatsFreshElections * settings.electionTicks * settings.tickMs)
    this.#announced = new Announced(this.formats)
    this.#defer = options.defer ?? ((task) => void setImmediate(task))
    const { log, state, random } = options
    const { hardState } = log
    this.#term = hardState.term
    this.#lastTickMs = options.clock.monotonicMs()
    this.conflicting = new AppliedWaiters(state.meta.applied)
    this.conflicts = new ConflictWindow(settings.conflictKeysMax, state.meta.applied)
    this.outgoing = new OutgoingSnapshots(state, options.peers, options.clusterId, options.logger)
    const electionMs = settings.electionTicks * settings.tickMs
    const start = (context: number): void => this.input(() => this.raft.readIndex(context))
    this.reads = new ReadRounds(
      { readersMax: settings.readsMax, noLeaderMs: settings.noLeaderElections * electionMs, roundMs: 2 * electionMs, start },
      state.meta.applied,
    )
    this.#sleepWatch = new SleepWatch(options.clock, settings.tickMs)
    this.raft = createRaft(
      {
        ...settings,
        id: options.nodeId,
        pendingReadsMax: settings.readsMax,
        lease: settings.leaseReads ? { promiseMs: electionMs, clockDriftMax: settings.clockDriftMax } : undefined,
        randomBelow: (n) => randomBelow(random.bytes(6), n),
      },
      { hardState, membership: state.meta.membership, applied: state.meta.applied },
      logReader(log, state),
    )
  }

  get role(): Role {
    return this.#role
  }
  get term(): number {
    return this.#term
  }
  get leader(): string | null {
    return this.#leader
  }

  /** Reads the directory and begins to tick. */
  start(): void {
    const { log, state } = this.options
    this.#announced.scan(log, state.meta.applied)
    this.#loadDirectory()
    this.#arm()
    this.schedule()
  }

  /** Runs one input of the core, and soon after it what follows from it. A throw is a broken invariant: final. */
  input<T>(task: () => T): T {
    try {
      return task()
    } catch (error) {
      throw this.fail(error)
    } finally {
      this.schedule()
    }
  }

  /** A peer's message, as decoded by the transport; malformed ones are logged and dropped. */
  receive(from: string, value: unknown): void {
    if (!this.running) return
    const hint = hintFrom(value)
    if (hint !== null) return this.#followHint(from, hint)
    const formats = formatsFrom(value)
    if (formats !== null) return this.levels.hear(from, formats, this.options.clock.monotonicMs())
    try {
      const message = messageFrom(value, from, this.options.nodeId, this.formats)
      this.raft.step(message)
      if (message.type === MessageType.preVote) this.#offerHint(from, message.logIndex ?? 0)
    } catch (error) {
      if (isHoldfastError(error, 'ERR_FRAME'))
        this.options.logger.warn({ peer: from, reason: error.message, hint: error.hint }, 'message refused')
      else this.fail(error)
    }
    this.schedule()
  }

  /** A peer that asks for votes with a shorter log than this node has applied may not know the members of today. */
  #offerHint(to: string, logIndex: number): void {
    const { peers, state } = this.options
    const { applied } = state.meta
    if (logIndex < applied && this.directory.members.length > 0)
      peers.send(to, encodeHint({ index: applied, members: this.directory.members }))
  }

  /** A learner asks for no votes: without a leader it asks for members instead, by telling which ones it knows. */
  #seekMembers(): void {
    const { electionTicks } = this.settings
    this.#leaderlessTicks = this.#leader === null ? this.#leaderlessTicks + 1 : 0
    if (this.#leaderlessTicks === 0 || this.#leaderlessTicks % (2 * electionTicks) !== 0) return
    for (const { id } of this.directory.members) if (id !== this.options.nodeId) this.#offerHint(id, -1)
  }

  #followHint(from: string, hint: MembersHint): void {
    const { peers, state, nodeId, logger } = this.options
    const known = this.directory.members.some((member) => member.id === from)
    if (known && hint.index < state.meta.applied) return this.#offerHint(from, hint.index)
    if (!known || this.#leader !== null || !isUseful(hint, from, nodeId, state.meta.applied)) return
    logger.info({ peer: from, index: hint.index }, 'reaching for the members that a peer named')
    peers.setPeers(hint.members)
  }

  /** Stores a peer's snapshot; resolves when it is installed, or was found to be of no use. */
  async receiveSnapshot(from: string, header: Uint8Array, body: AsyncIterable<Uint8Array>): Promise<void> {
    this.checkRunning()
    if (this.#receiving) throw new HoldfastError('ERR_BUSY', 'this node is receiving a snapshot already')
    this.#receiving = true
    try {
      const { state, clusterId, logger } = this.options
      const { term, meta } = await receiveSnapshot(state, clusterId, header, body, this.formats).catch((error: unknown) => {
        // It will never be able to read what the cluster writes: better told now than at each try.
        throw isHoldfastError(error, 'ERR_UPGRADE_REQUIRED') ? this.fail(error) : error
      })
      this.checkRunning()
      logger.info({ peer: from, index: meta.index }, 'received a snapshot')
      this.input(() => this.raft.snapshotReceived(from, term, meta))
      // Until the core has had it installed, or let it lie, no other may take its place.
      this.#pump()
      while (this.#persisting !== null) await this.#persisting
    } finally {
      this.#receiving = false
    }
  }

  checkRunning(): void {
    if (this.failure !== null) throw this.failure
    if (!this.running) throw shuttingDown()
  }

  /** Ends this node's part in consensus, for good. Returns the error that callers get. */
  fail(error: unknown): HoldfastError {
    const failure = isHoldfastError(error)
      ? error
      : new HoldfastError('ERR_STORE_FAILED', `consensus stopped: ${error instanceof Error ? error.message : 'unknown failure'}`, {
          cause: error,
        })
    if (this.failure !== null || !this.running) return failure
    this.failure = failure
    this.options.logger.error(
      { reason: failure.message, code: failure.code, hint: failure.hint },
      'this node takes no further part in consensus',
    )
    this.#end(failure)
    this.onStatus()
    return failure
  }

  /** Stops taking inputs, and waits for writes under way. */
  async halt(): Promise<void> {
    if (this.running) this.#end(shuttingDown())
    while (this.#persisting !== null || this.#applying !== null) {
      await this.#persisting
      await this.#applying
    }
  }

  #end(reason: HoldfastError): void {
    this.running = false
    this.#timer?.cancel()
    this.#queue = []
    this.proposals.rejectAll()
    this.reads.rejectAll(reason)
    this.conflicting.rejectAll(reason)
  }

  schedule(): void {
    if (this.#pumpDue || !this.running) return
    this.#pumpDue = true
    this.#defer(() => {
      this.#pumpDue = false
      this.#pump()
    })
  }

  #pump(): void {
    try {
      for (let turn = 0; this.running && this.#hasEffects(); turn += 1) {
        if (turn >= turnsMax) return this.schedule()
        this.#carryOut(this.raft.takeEffects())
      }
    } catch (error) {
      this.fail(error)
    }
  }

  /** With the time of this turn: a read that came with the last one must not be answered from a clock that was read before it came. */
  #hasEffects(): boolean {
    this.#handInTime()
    return this.raft.hasEffects()
  }

  #handInTime(): void {
    if (!this.settings.leaseReads) return
    // The clock first: if the machine falls asleep between the two, the time that the core is given is one from before, at which the lease held.
    this.raft.setMonotonicTime(this.options.clock.monotonicMs())
    if (this.#sleepWatch.slept()) this.raft.doubtLease()
  }

  #carryOut(effects: Effects): void {
    const { clock } = this.options
    for (const message of effects.messages) this.#send(message)
    if (effects.persist !== null) this.#startPersist(effects.persist)
    if (effects.roleChange !== null) this.#changeRole(effects.roleChange)
    if (effects.committed.length > 0) {
      for (const entry of effects.committed) this.#queue.push(entry)
      this.#startApplying()
    }
    if (effects.readStates.length > 0) {
      const nowMs = clock.monotonicMs()
      for (const state of effects.readStates) this.reads.answer(state, nowMs)
    }
    for (const { to } of effects.snapshotsToSend) this.#sendSnapshot(to)
  }

  #send(message: Message): void {
    this.options.peers.send(message.to, encodeMessage(message, this.directory.level))
  }

  /** Tells the leader which formats this node understands, twice in an election timeout. */
  #tellFormats(): void {
    const { peers, nodeId } = this.options
    this.#ticks += 1
    if (this.#ticks % Math.ceil(this.settings.electionTicks / 2) !== 0) return
    if (this.#leader !== null && this.#leader !== nodeId) peers.send(this.#leader, encodeFormats(this.formats))
  }

  /** What each member understands, as far as this node knows: of others only the leader does. */
  memberFormats(): Readonly<Record<string, FormatRange>> {
    const { nodeId } = this.options
    const found: Record<string, FormatRange> = { [nodeId]: this.formats }
    if (this.#role !== Role.leader) return found
    for (const { id } of this.directory.members) {
      const formats = id === nodeId ? null : this.levels.of(id)
      if (formats !== null) found[id] = formats
    }
    return found
  }

  #sendSnapshot(to: string): void {
    this.outgoing
      .send(to, this.#term, this.directory.level)
      ?.then((ok) => {
        if (this.running) this.input(() => this.raft.snapshotSent(to, ok))
      })
      .catch((error: unknown) => void this.fail(error))
  }

  #changeRole(change: NonNullable<Effects['roleChange']>): void {
    const nowMs = this.options.clock.monotonicMs()
    const led = this.#role === Role.leader
    const leads = change.role === Role.leader
    if (led && (!leads || change.term !== this.#term)) {
      this.proposals.leadershipLost(nowMs)
      // What they wait for may never be applied; nothing of theirs was proposed.
      this.conflicting.rejectAll(notLeader(this.#term))
    }
    // A view from before this leadership knows nothing of the entries that it inherited: whoever read in it must read again.
    if (leads && (!led || change.term !== this.#term)) {
      this.conflicts.reset(this.raft.status().lastIndex)
      this.levels.forget()
    }
    this.#role = change.role
    this.#term = change.term
    this.#leader = change.leader
    if (change.leader !== null) this.reads.leaderChanged(nowMs)
    this.onStatus()
  }

  #startPersist(persist: Persist): void {
    if (this.#announced.note(persist.entries)) this.#tellPeers()
    this.#persisting = this.#persist(persist)
      .catch((error: unknown) => void this.fail(error))
      .finally(() => {
        this.#persisting = null
        this.#pump()
      })
  }

  async #persist(persist: Persist): Promise<void> {
    const { log, state } = this.options
    const { snapshot } = persist
    if (snapshot === null) await log.append(persist.hardState, persist.entries)
    else {
      // The term first: messages of it may have left. Then the state, from which the log can be mended after a crash (recover.ts), then the log.
      if (persist.hardState !== null) await log.append(persist.hardState, [])
      await this.#install(snapshot.index, () => state.install(snapshot, () => this.#showSnapshot()))
      await log.reset(snapshot)
      if (persist.entries.length > 0) await log.append(null, persist.entries)
    }
    if (!this.running) return
    for (const message of persist.messagesAfterPersist) this.#send(message)
    this.raft.persisted(persist.persistId)
  }

  /** Runs `install` while nothing is applied; entries that the snapshot covers are not applied any more. */
  async #install(index: number, install: () => Promise<void>): Promise<void> {
    this.#installing = true
    try {
      while (this.#applying !== null) await this.#applying
      this.#queue = this.#queue.filter((entry) => entry.index > index)
      await install()
    } finally {
      this.#installing = false
    }
    this.#startApplying()
  }

  #showSnapshot(): void {
    const { applied, leaderTimeMs } = this.options.state.meta
    this.#loadDirectory()
    this.onChange({ index: applied, leaderTimeMs, keys: 'everything' })
    this.proposals.overtaken(applied)
    this.conflicting.advance(applied)
    this.reads.advance(applied)
    this.onStatus()
  }

  #startApplying(): void {
    if (this.#applying !== null || this.#installing || !this.running || this.#queue.length === 0) return
    this.#applying = this.#applyAll()
      .catch((error: unknown) => void this.fail(error))
      .finally(() => {
        this.#applying = null
        this.#startApplying()
        this.#pump()
      })
  }

  async #applyAll(): Promise<void> {
    const { state } = this.options
    while (this.running && !this.#installing && this.#queue.length > 0) {
      const entries = this.#takeRound()
      const round = buildRound(entries, state.meta, this.directory, this.formats)
      await state.apply(round.ops, round.meta, () => {
        if (!this.running) return
        const { applied, leaderTimeMs } = round.meta
        // Caches first, then those who wait: nobody may be told of a write while a cache still shows what it replaced.
        this.onChange({ index: applied, leaderTimeMs, keys: round.keys })
        if (round.directory !== this.directory) this.#adoptDirectory(round.directory)
        for (const entry of entries) this.proposals.applied(entry.index, entry.term)
        this.conflicting.advance(applied)
        this.reads.advance(applied)
        this.conflicts.trim(applied)
      })
      if (!this.running) return
      this.raft.applied(round.meta.applied)
      this.#noteReady()
      this.schedule()
    }
  }

  /** A new leader may serve from the moment its own empty entry is applied: whoever waits for that need not wait for a tick. */
  #noteReady(): void {
    if (this.#role !== Role.leader || this.#readyTerm === this.#term || !this.raft.status().ready) return
    this.#readyTerm = this.#term
    this.onStatus()
  }

  #takeRound(): Entry[] {
    const { applyEntriesMax, applyBytesMax } = this.settings
    let count = 0
    for (let bytes = 0; count < this.#queue.length && count < applyEntriesMax; count += 1) {
      bytes += this.#queue[count]?.data.length ?? 0
      if (bytes > applyBytesMax && count > 0) break
    }
    return this.#queue.splice(0, count)
  }

  #loadDirectory(): void {
    const view = this.options.state.view()
    try {
      this.#adoptDirectory(readDirectory(view, this.formats))
    } finally {
      view.release()
    }
  }

  #adoptDirectory(directory: Directory): void {
    this.directory = directory
    this.#announced.forget(this.options.state.meta.applied)
    this.#tellPeers()
    this.onStatus()
  }

  #tellPeers(): void {
    const { peers, knownMembers } = this.options
    const { members } = this.directory
    if (members.length > 0) peers.setPeers(this.#announced.with(members))
    else if (knownMembers !== undefined) peers.setPeers(knownMembers, { provisional: true })
  }

  #arm(): void {
    this.#timer = this.options.clock.setTimer(this.settings.tickMs, () => {
      if (!this.running) return
      this.#tick()
      if (this.running) this.#arm()
    })
  }

  #tick(): void {
    const { clock, state } = this.options
    const { tickMs, outcomeWaitMs } = this.settings
    const nowMs = clock.monotonicMs()
    const due = Math.floor((nowMs - this.#lastTickMs) / tickMs)
    this.#lastTickMs = due > ticksPerTimerMax ? nowMs : this.#lastTickMs + Math.max(1, due) * tickMs
    try {
      this.#handInTime()
      this.raft.setLeaderTime(Math.max(state.meta.leaderTimeMs, clock.nowMs()))
      for (let tick = 0; tick < Math.min(Math.max(1, due), ticksPerTimerMax); tick += 1) this.raft.tick()
      this.proposals.expire(nowMs - outcomeWaitMs)
      this.reads.tick(nowMs, this.#leader !== null)
      this.#seekMembers()
      this.#tellFormats()
      this.onTick()
    } catch (error) {
      this.fail(error)
    }
    this.schedule()
  }
}

export function notLeader(term: number): HoldfastError {
  return new HoldfastError('ERR_NOT_LEADER', `this node does not lead term ${term}`, { hint: 'send it to the leader' })
}

export function shuttingDown(): HoldfastError {
  return new HoldfastError('ERR_SHUTTING_DOWN', 'this node is shutting down', { hint: 'send the request to another node' })
}

/** Uniform in [0, n) for n far below 2^48: the bias of the modulo is then below 2^-16. */
function randomBelow(bytes: Uint8Array, n: number): number {
  return Buffer.from(bytes).readUIntBE(0, 6) % n
}
