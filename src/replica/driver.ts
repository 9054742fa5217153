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
import { createRaft, membersOf } from '#raft/index.ts'
import {
  MessageType,
  Role,
  type Effects,
  type Entry,
  type Membership,
  type MembershipChange,
  type Message,
  type ProposeResult,
  type Raft,
  type SnapshotMeta,
} from '#raft/types.ts'
import { Announced } from './announced.ts'
import { ReplicaCheck } from './check.ts'
import { isProven, macOf, type Authenticator, type Scope } from './authenticator.ts'
import { CommandChain } from './chain.ts'
import { decodeCommand, encodeCommand, ordersRestore } from './command.ts'
import { ConflictWindow } from './conflicts.ts'
import { checkFrom, encodeCheck, RecentStates, type CheckMessage, type DigestAnswer } from './digests.ts'
import { directoryOp, emptyDirectory, levelOp, readDirectory, type Directory } from './directory.ts'
import { encodeHint, hintFrom, isUseful, reachable, type MembersHint } from './hints.ts'
import { encodeFormats, formatsFrom, Levels } from './levels.ts'
import { encodeMessage, messageFrom } from './messages.ts'
import type { Fence } from '#store/fence.ts'
import type { Keepsake } from './keepsake.ts'
import type { ReplicaOptions, ReplicaSettings } from './options.ts'
import { Proposals } from './proposals.ts'
import { ReadRounds } from './reads.ts'
import { logReader, type Beginning } from './recover.ts'
import { beingRepaired, differingState, StateRepair } from './repair.ts'
import { isRestore, Restore, whileRestoring } from './restore.ts'
import { buildRound, type ApplyRound } from './rounds.ts'
import { SleepWatch } from './sleepwatch.ts'
import { TermGuard } from './term-guard.ts'
import { Scrubber } from './scrub.ts'
import { decodeHeader, OutgoingSnapshots, receiveSnapshot, type SnapshotHeader, type SnapshotJudge } from './snapshots.ts'
import type { AppliedChange } from './types.ts'
import { AppliedWaiters } from './waiters.ts'

type Persist = NonNullable<Effects['persist']>

/** Ticks made up for after a stall: enough to keep time on a busy machine, too few for a stall to cause an election. */
const ticksPerTimerMax = 2
/** For how many election timeouts what a member said of its formats counts; it says so several times in each. */
const formatsFreshElections = 2
/** Snapshots that fail in a row before this node reads its own disk through. */
const snapshotsBetweenScrubs = 4
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
  readonly chain: CommandChain
  readonly #termGuard = new TermGuard()
  /** What this node understands. */
  readonly formats: FormatRange
  readonly levels: Levels
  readonly #announced: Announced
  /** Members as of the applied index. */
  directory: Directory = emptyDirectory
  failure: HoldfastError | null = null
  /** Views before this index are of a state that a restore has replaced. */
  restoredAt = 0
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
  /** The log lacks what this node may have acknowledged (store/fence.ts). */
  #fenced: boolean
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
  readonly #recent: RecentStates
  readonly check: ReplicaCheck
  readonly repair: StateRepair
  readonly scrubber: Scrubber
  readonly restore: Restore
  /** What the last scrub found. */
  #suspect: HoldfastError | null = null
  /** In a row. */
  #snapshotsFailed = 0
  readonly #keepsake: Keepsake | null
  /** The last index that the core has handed out to be applied. */
  #handed: number
  /** The last index that is or was in the queue, or that the state covers. */
  #queued: number

  constructor(options: ReplicaOptions, settings: ReplicaSettings, beginning: Beginning, keepsake: Keepsake | null) {
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
    this.chain = new CommandChain({ log, state, scope: () => this.#scope() })
    this.outgoing = new OutgoingSnapshots(state, options.peers, options.clusterId, options.logger, (meta) => ({
      proof: this.chain.prove(meta),
      incarnation: this.#scope().incarnation,
    }))
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
      { hardState, membership: beginning.membership, applied: beginning.applied },
      logReader(log, state),
    )
    this.#handed = beginning.applied
    this.#queued = beginning.applied
    this.#keepsake = keepsake
    this.#recent = new RecentStates(settings.checkpointEntries)
    this.check = this.#newCheck(2 * electionMs)
    this.repair = this.#newRepair(beginning.damage)
    this.scrubber = this.#newScrubber()
    this.restore = new Restore({
      options,
      chain: this.chain,
      term: () => this.#term,
      leader: () => this.#leader,
      directory: () => this.directory,
      changed: () => {
        this.#tellSealed()
        this.onStatus()
      },
      resume: () => this.#startApplying(),
      askTicks: settings.electionTicks,
    })
    if (state.damage === null) this.#recent.note(state.meta)
    // Until the barrier says otherwise, and hands down what it takes to sign and to check.
    this.raft.setSealed(true)
    this.#fenced = log.fence !== null
    if (log.fence === null) return
    if (!hasOthers(this.raft.status().membership, options.nodeId)) throw nobodyHasIt(log.fence)
    this.raft.setVoteless(true)
  }

  /** Why this node's state can't be served: it is damaged, or a restore has replaced it and it is not here yet. Null: it can. */
  get unfit(): HoldfastError | null {
    return this.repair.reason ?? this.restore.awaiting
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
  /** The last index that the core has handed out. */
  get handed(): number {
    return this.#handed
  }

  /** Reads the directory and begins to tick. */
  start(): void {
    const { log, state } = this.options
    this.#announced.scan(log, Math.max(state.meta.applied, this.#handed))
    this.restore.scan(log)
    this.#loadDirectory()
    this.#arm()
    this.schedule()
  }

  #scope(): Scope {
    const { clusterId, incarnation } = this.options
    return { clusterId, incarnation: this.directory.incarnation || incarnation }
  }

  /**
   * The barrier was opened, or sealed (null). What was applied while it was sealed is checked first.
   * @throws ERR_UNPROVEN: this node stays sealed; for good, if what it holds was forged
   */
  setAuthenticator(authenticator: Authenticator | null): void {
    if (authenticator === null) this.chain.seal()
    else {
      try {
        this.chain.open(authenticator)
      } catch (error) {
        throw this.fail(error)
      }
    }
    this.#tellSealed()
    this.restore.retry()
  }

  /** Signs a command and appends it. `begins`: it is the first of an initialisation, and nothing before it counts. */
  propose(term: number, data: Uint8Array, begins = false): ProposeResult {
    return this.input(() => {
      const { ready, lastIndex, term: current } = this.raft.status()
      // The core says why not.
      if (!ready || current !== term) return this.raft.propose(term, [data])
      if (this.restore.pending) return whileRestoring
      const mac = this.chain.signCommand(data, { index: lastIndex + 1, term }, begins)
      const result = this.raft.propose(term, [data])
      if (result.ok) this.chain.appended(term, mac)
      if (result.ok && ordersRestore(data)) this.restore.ordered(result.index)
      return result
    })
  }

  /** Signs a change of the membership and appends it. */
  proposeMembership(change: MembershipChange): ProposeResult {
    return this.input(() => {
      const { ready, lastIndex, term } = this.raft.status()
      if (!ready) return this.raft.proposeMembership(change)
      if (this.restore.pending) return whileRestoring
      const signed = this.chain.signChange(change, { index: lastIndex + 1, term })
      const result = this.raft.proposeMembership(signed.change)
      if (result.ok) this.chain.appended(term, signed.mac)
      return result
    })
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
    const check = checkFrom(value)
    if (check !== null) return this.#hearCheck(from, check)
    const formats = formatsFrom(value)
    if (formats !== null) return this.levels.hear(from, formats, this.options.clock.monotonicMs())
    try {
      const message = messageFrom(value, from, this.options.nodeId, this.formats)
      if (!this.#believes(from, message, value)) return
      this.#step(message)
      if (message.type === MessageType.preVote) this.#offerHint(from, message.logIndex ?? 0)
    } catch (error) {
      if (isHoldfastError(error, 'ERR_FRAME') || isHoldfastError(error, 'ERR_PEER_REFUSED'))
        this.options.logger.warn({ peer: from, reason: error.message, hint: error.hint }, 'message refused')
      else this.fail(error)
    }
    this.schedule()
  }

  /**
   * Is a message to be looked at at all? Whoever has a member's identity is heard; what it can't show is not believed.
   * @throws ERR_PEER_REFUSED for entries that no unsealed leader made
   */
  #believes(from: string, message: Message, value: unknown): boolean {
    const { term } = this
    if (!this.#termGuard.admits(message.term, term))
      return this.#disbelieve(from, 'expected a term that elections can have led to, got a far higher one')
    if (message.type === MessageType.append) this.#admit(from, message)
    const { authenticator } = this.chain
    if (authenticator === null || message.type !== MessageType.readIndexReply || message.reject === true) return true
    const { proof } = value as { readonly proof?: Uint8Array }
    if (isProven(authenticator, 'read index', this.#scope(), answerParts(message), proof)) return true
    return this.#disbelieve(from, 'expected a read index that an unsealed leader confirmed, got one without its proof')
  }

  /** @throws ERR_PEER_REFUSED */
  #admit(from: string, { logIndex = 0, entries = [] }: Message): void {
    try {
      this.chain.admit(from, this.restore.checkable(entries))
    } catch (error) {
      // Behind a hole nothing is stored: the core says no, and its leader learns where our log ends. Unanswered it would send the same for ever,
      // where an order to restore is in the hole, behind which we can check nothing.
      if (logIndex <= this.raft.status().lastIndex) throw error
      return
    }
    this.restore.expect(entries)
  }

  #step(message: Message): void {
    const before = this.#term
    this.raft.step(message)
    // Only what it raised in fact: requests that the lease or a longer log turns away must not use up what an honest election needs.
    if (message.term > before) this.#termGuard.charge(this.raft.status().term - before)
  }

  #disbelieve(from: string, reason: string): false {
    this.options.logger.warn({ peer: from, reason }, 'message not believed')
    return false
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
    const known = this.directory.members.find((member) => member.id === from)
    if (known && hint.index < state.meta.applied) return this.#offerHint(from, hint.index)
    if (!known || this.#leader !== null || !isUseful(hint, nodeId, state.meta.applied)) return
    logger.info({ peer: from, index: hint.index }, 'reaching for the members that a peer named')
    // Its own log may name one that the peer has not heard of, and whose vote is needed.
    peers.setPeers(this.#announced.with(reachable(hint, known)))
  }

  /** Stores a peer's snapshot; resolves when it is installed, or was found to be of no use. */
  async receiveSnapshot(from: string, header: Uint8Array, body: AsyncIterable<Uint8Array>): Promise<void> {
    this.checkRunning()
    if (this.#receiving) throw new HoldfastError('ERR_BUSY', 'this node is receiving a snapshot already')
    this.#receiving = true
    try {
      const { state, clusterId, logger } = this.options
      const decoded = this.#snapshotHeader(header)
      if (decoded.staged !== undefined) return await this.restore.receive(from, decoded, body, this.formats)
      const accept: SnapshotJudge = {
        header: ({ proof, term: claimed, incarnation }) => {
          if (!this.#termGuard.admits(claimed, this.term))
            throw new HoldfastError('ERR_PEER_REFUSED', 'snapshot: expected a term that elections can have led to')
          this.chain.expectProof(from, proof, incarnation)
        },
        meta: (received, { proof, incarnation }) => this.chain.received(from, received, proof, incarnation),
      }
      const { term, meta } = await receiveSnapshot(state, clusterId, decoded, body, accept, this.formats).catch((error: unknown) => {
        // It will never be able to read what the cluster writes: better told now than at each try.
        throw isHoldfastError(error, 'ERR_UPGRADE_REQUIRED') ? this.fail(error) : error
      })
      this.checkRunning()
      logger.info({ peer: from, index: meta.index }, 'received a snapshot')
      if (this.unfit !== null) return await this.#repairWith(from, term, meta)
      this.input(() => this.raft.snapshotReceived(from, term, meta))
      // Until the core has had it installed, or let it lie, no other may take its place.
      this.#pump()
      while (this.#persisting !== null) await this.#persisting
    } finally {
      this.#receiving = false
    }
  }

  /** One of another release ends this node's part, as its body would. */
  #snapshotHeader(header: Uint8Array): SnapshotHeader {
    try {
      return decodeHeader(header, this.formats)
    } catch (error) {
      throw isHoldfastError(error, 'ERR_UPGRADE_REQUIRED') ? this.fail(error) : error
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
    await this.scrubber.stop()
    while (this.#persisting !== null || this.#applying !== null) {
      await this.#persisting
      await this.#applying
    }
  }

  #end(reason: HoldfastError): void {
    this.running = false
    this.#timer?.cancel()
    this.check.stop()
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
      this.#takeCommitted(effects.committed)
      this.#startApplying()
    }
    if (effects.readStates.length > 0) {
      const nowMs = clock.monotonicMs()
      for (const state of effects.readStates) this.reads.answer(state, nowMs)
    }
    for (const { to } of effects.snapshotsToSend) this.#sendSnapshot(to)
  }

  #send(message: Message): void {
    const { authenticator } = this.chain
    const encoded = encodeMessage(message, this.directory.level)
    // Beside the core, which knows of no keys. What unsealed nodes serve rests on this answer; a sealed leader's serves nobody.
    const proven = authenticator !== null && message.type === MessageType.readIndexReply && message.reject !== true
    const proof = proven ? { proof: macOf(authenticator, 'read index', this.#scope(), answerParts(message)) } : {}
    this.options.peers.send(message.to, proven ? { ...(encoded as object), ...proof } : encoded)
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
    // A state that is given up is not passed on.
    if (this.repair.reason !== null) return this.#defer(() => void (this.running && this.input(() => this.raft.snapshotSent(to, false))))
    this.outgoing
      .send(to, this.#term, this.directory.level)
      .then((ok) => {
        if (!this.running) return
        this.#countSnapshot(ok)
        this.input(() => this.raft.snapshotSent(to, ok))
      })
      .catch((error: unknown) => void this.fail(error))
  }

  /** Refused again and again, it may be this node's own disk that changes what it sends. */
  #countSnapshot(ok: boolean): void {
    this.#snapshotsFailed = ok ? 0 : this.#snapshotsFailed + 1
    if (this.#snapshotsFailed % snapshotsBetweenScrubs === snapshotsBetweenScrubs - 1) this.scrubber.request()
  }

  /** What a snapshot that was installed beside the core already covers is not applied again; what it does not reach is read from the log first. */
  #takeCommitted(entries: readonly Entry[]): void {
    const { applied } = this.options.state.meta
    const fresh = entries.filter(({ index }) => index > this.#queued)
    if (fresh[0]?.index === this.#queued + 1) {
      for (const entry of fresh) this.#queue.push(entry)
      this.#queued = fresh.at(-1)?.index ?? this.#queued
    }
    this.#handed = entries.at(-1)?.index ?? this.#handed
    if ((entries[0]?.index ?? Infinity) <= applied) this.raft.applied(Math.min(applied, this.#handed))
  }

  /** A state that was fetched again may be older than what the core has handed out: the log has the rest. */
  #refill(): void {
    if (this.#queue.length > 0 || this.#queued >= this.#handed || this.repair.reason !== null) return
    const { log } = this.options
    const end = Math.min(this.#handed, log.lastIndex()) + 1
    for (const entry of log.entries(this.#queued + 1, end, this.settings.applyBytesMax) ?? []) this.#queue.push(entry)
    this.#queued = this.#queue.at(-1)?.index ?? this.#queued
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
    this.restore.note(persist.entries)
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
      this.#handed = Math.max(this.#handed, snapshot.index)
      this.#queued = Math.max(this.#queued, snapshot.index)
      await this.#install(snapshot.index, async () => {
        await state.install(snapshot, () => this.#showSnapshot())
        // Before anything is applied again: an entry that changes the members would write them at the same time.
        await this.#keepMembers()
      })
      await log.reset(snapshot)
      if (persist.entries.length > 0) await log.append(null, persist.entries)
    }
    if (!this.running) return
    this.#noteFence()
    for (const message of persist.messagesAfterPersist) this.#send(message)
    this.raft.persisted(persist.persistId)
  }

  /** What was lost is back: from here on this node has a say again. */
  #noteFence(): void {
    const { log, logger } = this.options
    if (!this.#fenced || log.fence !== null) return
    this.#fenced = false
    this.raft.setVoteless(false)
    logger.info({ index: log.lastIndex(), term: this.#term }, 'the log of this node is repaired: it votes again')
    this.onStatus()
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
    this.#suspect = null
    this.#recent.clear()
    this.#recent.note(this.options.state.meta)
    this.repair.installed(applied)
    const { incarnation } = this.directory
    this.#loadDirectory()
    this.restore.installed(applied, this.directory.incarnation !== incarnation)
    this.onChange({ index: applied, leaderTimeMs, keys: 'everything' })
    // Of a later life of the cluster, and taken on trust: whoever is open with its keys checks it before anybody is served from it.
    this.chain.expectChecked(this.options.state.meta)
    this.proposals.overtaken(applied)
    this.conflicting.advance(applied)
    this.reads.advance(applied)
    this.onStatus()
  }

  #startApplying(): void {
    if (this.#applying === null && !this.#installing && this.running) this.#refill()
    if (this.#applying !== null || this.#installing || !this.running || this.#queue.length === 0 || this.unfit !== null) return
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
    while (this.running && !this.#installing && this.repair.reason === null && this.#queue.length > 0) {
      const [first] = this.#queue
      if (first !== undefined && isRestore(first)) {
        if (!(await this.#applyRestore(first))) return
        this.#noteApplied()
        continue
      }
      const entries = this.#takeRound()
      const round = buildRound(entries, state.meta, this.directory, this.formats)
      if (!(await this.#keptMembersOf(round))) return void this.#queue.unshift(...entries)
      if (!(await this.#applyRound(entries, round))) return void this.#queue.unshift(...entries)
      if (!this.running) return
      this.#noteApplied()
    }
  }

  #noteApplied(): void {
    const { meta } = this.options.state
    this.#recent.note(meta)
    this.raft.applied(meta.applied)
    this.#noteReady()
    this.#noteCheckpoint()
    this.restore.outdated()
    this.schedule()
  }

  /** Replaces the state as `entry` orders. False where this node must wait: until it is opened, or has the state from another. */
  async #applyRestore(entry: Entry): Promise<boolean> {
    const { state } = this.options
    const command = decodeCommand(entry.data, { min: this.formats.min, max: this.directory.level })
    const order = command.restore ?? null
    if (order === null)
      throw new HoldfastError('ERR_STORE_CORRUPT', `entry ${entry.index}: expected an order to restore, got another command`)
    // Checks it, while that is possible: afterwards the keys may be others.
    const chain = this.chain.authenticator === null ? null : this.chain.follow([entry], state.meta)
    if (!this.restore.mayCarryOut(entry, order, chain !== null) || chain === null) return false
    const directory = { ...this.directory, incarnation: order.incarnation }
    const leaderTimeMs = Math.max(state.meta.leaderTimeMs, command.timeMs)
    const meta = { ...state.meta, applied: entry.index, appliedTerm: entry.term, leaderTimeMs, chain }
    this.#queue.shift()
    await state.restore([directoryOp(directory), levelOp(directory.level)], meta, () => this.#showRestored(entry))
    return this.running
  }

  #showRestored({ index, term }: Entry): void {
    if (!this.running) return
    this.options.logger.warn({ index }, 'a snapshot was restored: the whole state is replaced')
    // What was evaluated on the state before is sealed under its keys, and means other mounts.
    this.conflicts.reset(index)
    this.restoredAt = index
    this.proposals.applied(index, term)
    this.#showSnapshot()
  }

  /** False when the state can't be read any more, and is given up. */
  async #applyRound(entries: readonly Entry[], round: ApplyRound): Promise<boolean> {
    const { state } = this.options
    const visible = (): void => {
      if (!this.running) return
      // The barrier may have been opened while this was on its way.
      this.chain.expectChecked(state.meta)
      const { applied, leaderTimeMs } = round.meta
      // Caches first, then those who wait: nobody may be told of a write while a cache still shows what it replaced.
      this.onChange({ index: applied, leaderTimeMs, keys: round.keys })
      if (round.directory !== this.directory) this.#adoptDirectory(round.directory)
      for (const entry of entries) this.proposals.applied(entry.index, entry.term)
      this.conflicting.advance(applied)
      this.reads.advance(applied)
      this.conflicts.trim(applied)
    }
    const meta = { ...round.meta, chain: this.#chainAfter(entries, round) }
    try {
      await state.apply(round.ops, meta, visible)
      return true
    } catch (error) {
      // Others have what this disk has lost; alone, a restart may read it rightly, and says what is wrong if not.
      if (!isHoldfastError(error, 'ERR_STORE_CORRUPT') || this.directory.members.length < 2) throw error
      this.#giveUp(error, [])
      return false
    }
  }

  #chainAfter(entries: readonly Entry[], { checkpoints }: ApplyRound): Uint8Array {
    const chain = this.chain.follow(entries, this.options.state.meta)
    return checkpoints.reduce((sum, proof) => this.chain.rebased(sum, proof), chain)
  }

  /** Every node stops at the same indexes, where leaders say what the state is. */
  #noteCheckpoint(): void {
    const { state } = this.options
    if (state.meta.applied % this.settings.checkpointEntries !== 0) return
    this.chain.remember(state.meta)
    if (this.#role !== Role.leader || !this.raft.status().ready) return
    const proof = this.chain.prove(state.meta)
    if (proof === null) return
    const data = encodeCommand({ timeMs: 0, sections: [], directory: null, checkpoint: proof }, this.directory.level)
    const result = this.propose(this.#term, data)
    if (!result.ok) this.options.logger.debug({ reason: result.detail }, 'no proof of the state was logged; the next one will do')
  }

  /** A new leader may serve from the moment its own empty entry is applied: whoever waits for that need not wait for a tick. */
  #noteReady(): void {
    if (this.#role !== Role.leader || this.#readyTerm === this.#term || !this.raft.status().ready) return
    this.#readyTerm = this.#term
    this.onStatus()
  }

  #takeRound(): Entry[] {
    const { applyEntriesMax, applyBytesMax, checkpointEntries } = this.settings
    let count = 0
    for (let bytes = 0; count < this.#queue.length && count < applyEntriesMax; count += 1) {
      bytes += this.#queue[count]?.data.length ?? 0
      if (bytes > applyBytesMax && count > 0) break
      if (count > 0 && (this.#queue[count - 1]?.index ?? 0) % checkpointEntries === 0) break
      // An order to restore is a round of its own.
      const entry = this.#queue[count]
      if (count > 0 && entry !== undefined && isRestore(entry)) break
    }
    return this.#queue.splice(0, count)
  }

  #newCheck(roundMs: number): ReplicaCheck {
    const { nodeId, logger, clock, log } = this.options
    const host = {
      nodeId,
      logger,
      recent: this.#recent,
      nowMs: () => clock.monotonicMs(),
      role: () => this.#role,
      term: () => this.#term,
      leader: () => this.#leader,
      members: () => this.directory.members.map(({ id }) => id),
      membership: () => this.raft.status().membership,
      send: (to: string, message: CheckMessage) => this.options.peers.send(to, encodeCheck(message)),
      answer: () => this.#answerCheck(),
      differs: (index: number, _: string, agreeing: readonly string[]) => {
        // What the others are sure to have must meet this log, or nothing could join the two again.
        if (index >= log.firstIndex() - 1) this.#giveUp(this.#suspect ?? differingState(index), agreeing)
      },
      suspect: () => this.#suspect !== null,
      amend: () => this.#amend(),
    }
    return new ReplicaCheck(host, this.settings.checkIntervalMs, roundMs)
  }

  #newRepair(damage: HoldfastError | null): StateRepair {
    const { nodeId, logger, state, log } = this.options
    const host = {
      nodeId,
      logger,
      leader: () => this.#leader,
      members: () => this.directory.members.map(({ id }) => id),
      wantedIndex: () => log.firstIndex() - 1,
      send: (to: string, message: CheckMessage) => this.options.peers.send(to, encodeCheck(message)),
      condemn: (reason: HoldfastError) => {
        this.#recent.clear()
        this.reads.rejectAll(beingRepaired(reason))
        state.condemn(reason).catch((error: unknown) => void this.fail(error))
      },
      changed: () => {
        this.#tellSealed()
        this.onStatus()
      },
    }
    return new StateRepair(host, this.settings.electionTicks, damage)
  }

  #newScrubber(): Scrubber {
    const { state, clock, logger } = this.options
    const healthy = (): boolean => this.running && this.repair.reason === null
    state.onUnreadable((reason) => {
      // Not at once: a reader may be in the middle of the core's turn.
      if (isHoldfastError(reason, 'ERR_STORE_FAILED')) this.#defer(() => void this.fail(reason))
      else this.#suspectState(reason)
    })
    return new Scrubber({ state, clock, logger, healthy, found: (reason) => this.#suspectState(reason) }, this.settings)
  }

  /** It does not leave by itself: others may be in doubt as well. The next comparison decides (check.ts). Null: all is as it should be. */
  #suspectState(reason: HoldfastError | null): void {
    if (!this.running || this.repair.reason !== null) return
    if (reason !== null)
      this.options.logger.warn({ reason: reason.message, hint: reason.hint }, 'the state on the disk is not what it should be')
    this.#suspect = reason
    // Whoever needs a snapshot gets none from here: one that can give it should lead, if there is any. Not at once: a reader may be in the middle of the core's turn.
    if (reason !== null && this.#role === Role.leader)
      this.#defer(() => void (this.running && this.input(() => this.raft.transferLeadership(null))))
    this.onStatus()
  }

  #answerCheck(): DigestAnswer {
    const { reason, repairs } = this.repair
    const { last } = this.scrubber.status()
    const states = reason === null ? this.#recent.summaries() : new Map<number, string>()
    return {
      applied: this.options.state.meta.applied,
      states,
      damage: reason?.message ?? null,
      suspect: this.#suspect !== null,
      repairs,
      scrub: last,
    }
  }

  #hearCheck(from: string, message: CheckMessage): void {
    if (message.kind === 'staged-asked' || message.kind === 'staged-void') this.restore.hear(from, message)
    else if (message.kind !== 'state-wanted') this.check.receive(from, message)
    else if (
      this.unfit === null &&
      this.options.state.meta.applied >= message.index &&
      // It would be refused, and the refusal taken for a fault of this disk.
      this.chain.prove(this.options.state.meta) !== null &&
      this.directory.members.some(({ id }) => id === from)
    )
      this.#sendState(from)
    this.schedule()
  }

  /** Beside the core: whoever asks for it has its log. */
  #sendState(to: string): void {
    this.outgoing
      .send(to, this.#term, this.directory.level)
      .then((ok) => {
        // Refused, it may be this node's own disk that changed it.
        if (!ok && this.running) this.scrubber.request()
      })
      .catch((error: unknown) => void this.fail(error))
  }

  /** A node whose state can't be served must not lead, and proposes nothing: to the core it is sealed. */
  #tellSealed(): void {
    if (this.running) this.input(() => this.raft.setSealed(this.chain.authenticator === null || this.unfit !== null))
  }

  /** A snapshot has arrived that this node asked for. */
  async #repairWith(from: string, term: number, meta: SnapshotMeta): Promise<void> {
    const { log, state } = this.options
    const { commit } = this.raft.status()
    if (meta.index < log.firstIndex() - 1) return
    const held = (): boolean => meta.index <= this.raft.status().commit && log.term(meta.index) === meta.term
    if (!held() && from === this.#leader && meta.index > commit) {
      this.input(() => this.raft.snapshotReceived(from, term, meta))
      this.#pump()
      while (this.#persisting !== null) await this.#persisting
    }
    if (!this.running || this.unfit === null || !held()) return
    if (meta.index < this.restore.awaitedIndex) return
    await this.#install(meta.index, async () => {
      this.#queue = []
      this.#queued = meta.index
      // It may be older than the state that was given up: members that came in between are named by the log alone again.
      this.#announced.scan(log, meta.index)
      await state.install(meta, () => this.#showSnapshot())
      await this.#keepMembers()
    })
    if (this.running) this.input(() => this.raft.applied(Math.min(meta.index, this.#handed)))
  }

  /** False when the state was given up meanwhile: the round must wait. */
  async #keptMembersOf({ meta, directory }: ApplyRound): Promise<boolean> {
    const { membership } = this.options.state.meta
    if (meta.membership === membership && directory === this.directory) return true
    await this.#keepsake?.keep({ index: meta.applied, membership: meta.membership, members: directory.members })
    return this.running && this.repair.reason === null
  }

  /** Nobody else has what the record says. */
  #amend(): void {
    const { state, logger } = this.options
    this.#suspect = null
    this.#recent.clear()
    state
      .amend()
      .then((amended) => {
        this.#recent.clear()
        this.#recent.note(state.meta)
        if (amended)
          logger.warn(
            { hint: 'values that changed on the disk fail to decrypt when they are read: write them again, or restore a snapshot' },
            'no other member has the state that was recorded: what the disk holds is taken for it',
          )
      })
      .catch((error: unknown) => void this.fail(error))
  }

  /** Gives the state up, unless it is being replaced already. */
  #giveUp(reason: HoldfastError, sources: readonly string[]): void {
    if (!this.#installing) this.repair.begin(reason, sources)
  }

  async #keepMembers(): Promise<void> {
    const { applied, membership } = this.options.state.meta
    await this.#keepsake?.keep({ index: applied, membership, members: this.directory.members })
  }

  #loadDirectory(): void {
    const kept = this.#keepsake?.kept
    const remembered = (): void =>
      this.#adoptDirectory({ ...emptyDirectory, incarnation: this.options.incarnation, members: kept?.members ?? [] })
    if (this.repair.reason !== null && kept) return remembered()
    const view = this.options.state.view()
    try {
      this.#adoptDirectory(readDirectory(view, this.formats))
    } catch (error) {
      if (!isHoldfastError(error, 'ERR_STORE_CORRUPT') || !kept || kept.members.length < 2 || this.#installing) throw error
      this.#giveUp(error, [])
      remembered()
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
      this.#termGuard.tick()
      this.check.tick()
      this.repair.tick()
      this.restore.tick()
      this.scrubber.tick()
      this.onTick()
    } catch (error) {
      this.fail(error)
    }
    this.schedule()
  }
}

function hasOthers(membership: Membership, self: string): boolean {
  return membersOf(membership).some((id) => id !== self)
}

function nobodyHasIt({ reason }: Fence): HoldfastError {
  return new HoldfastError('ERR_STORE_CORRUPT', `the log of the only member is damaged: ${reason}`, {
    hint: "nobody else has what it lost: restore a snapshot into a new cluster, or go on without it by 'operator raft recover' (docs/recovery.md)",
  })
}

/** What an answer to a read is about. The asker numbers its questions, and never uses a number twice; so no answer passes for another. */
function answerParts({ from, to, term, context = 0, logIndex = 0, leaderTimeMs = 0 }: Message): (string | number)[] {
  return [from, to, term, context, logIndex, leaderTimeMs]
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
