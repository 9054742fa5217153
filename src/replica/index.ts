/** Consensus as the rooms above see it. */
import { sleep } from '#base/clock.ts'
import { assert } from '#base/assert.ts'
import { HoldfastError } from '#base/errors.ts'
import { releasedFormats, type FormatRange } from '#base/formats.ts'
import { Role, type NodeId } from '#raft/types.ts'
import type { StagedState, StageOptions, StateView } from '#store/types.ts'
import type { Authenticator } from './authenticator.ts'
import { encodeCommand } from './command.ts'
import { Compactor } from './compactor.ts'
import { findMember, firstCallerKeyByte, readDirectory } from './directory.ts'
import { Driver, notLeader, shuttingDown } from './driver.ts'
import { Members, refusal } from './members.ts'
import { settingsFrom, type ReplicaOptions, type ReplicaSettings } from './options.ts'
import { Keepsake } from './keepsake.ts'
import { bootstrap, reconcile, type Beginning } from './recover.ts'
import { beingRepaired } from './repair.ts'
import type { AppliedChange, Member, Proposal, Replica, ReplicaStatus, VerifyReport } from './types.ts'

export type { PeerAddress, Peers, ReplicaOptions, ReplicaSettings } from './options.ts'

export interface RestoreResult {
  readonly index: number
  readonly incarnation: number
  /** Members that had stored it before it was called for; the others fetch it. */
  readonly stored: readonly NodeId[]
}

/** A replica, and where the transport hands in what arrives. */
export interface StartedReplica extends Replica {
  /** A decoded raft message from an authenticated peer. Malformed ones are logged and dropped. */
  onMessage(from: NodeId, message: unknown): void
  /** A peer's snapshot. Resolves when it is installed or not needed. @throws ERR_FRAME, ERR_BUSY, ERR_SHUTTING_DOWN */
  onSnapshot(from: NodeId, header: Uint8Array, body: AsyncIterable<Uint8Array>): Promise<void>
  onUnreachable(peer: NodeId): void
  /** Leader only: replaces the record of a member (its addresses, a renewed key). */
  updateMember(member: Member): Promise<void>
  /**
   * Leader only. Stores a state stream, of this cluster or another, beside the state, checked but for who made it; in place of what was stored so before. What
   * lies under keys of this room is left out. @throws ERR_FRAME, ERR_BUSY, ERR_NOT_LEADER
   */
  stage(stream: AsyncIterable<Uint8Array>, options?: Pick<StageOptions, 'leaveOut' | 'add' | 'onProgress'>): Promise<StagedState>
  /** Forgets what was staged under `id`. */
  discard(id: string): Promise<void>
  /**
   * Leader only. Has what was staged stored by the other members, at least a majority, and then puts it in the place of the state, on all of them. Resolves
   * when it is so here; nothing is replaced where it throws anything but ERR_OUTCOME_UNKNOWN.
   * @param after the new incarnation is above this one, and above the cluster's own
   * @throws ERR_NOT_LEADER; ERR_NO_MAJORITY when too few members have stored it; ERR_BUSY; ERR_OUTCOME_UNKNOWN
   */
  restore(staged: StagedState, after: { readonly incarnation: number; readonly timeMs: number }): Promise<RestoreResult>
  /** `handOver: false` skips handing leadership over, as a crash would. */
  stop(options?: { readonly handOver?: boolean }): Promise<void>
}

/**
 * Starts this node's part in consensus; it takes over `options.log` and `options.state`, and closes both where it throws.
 * @throws ERR_STORE_CORRUPT when log and state can't be brought into agreement; ERR_STORE_FAILED; ERR_UPGRADE_REQUIRED when the cluster is at a format
 *   level that `options.formats` does not reach.
 */
export async function startReplica(options: ReplicaOptions): Promise<StartedReplica> {
  try {
    return await start(options)
  } catch (error) {
    // What closing says would hide why.
    await Promise.allSettled([options.log.close(), options.state.close()])
    throw error
  }
}

async function start(options: ReplicaOptions): Promise<StartedReplica> {
  const settings = settingsFrom(options.settings)
  if (options.bootstrap !== undefined) {
    assert(options.bootstrap.id === options.nodeId, 'bootstrap expected this node itself')
    await bootstrap(options.log, options.state, options.bootstrap, options.incarnation, options.formats?.max)
  }
  const keepsake = options.keepsake === undefined ? null : new Keepsake(options.keepsake)
  const beginning = await reconcile(options.log, options.state, keepsake?.kept ?? null, options.nodeId)
  if (beginning.damage === null) await keepMembers(options, keepsake)
  return new NodeReplica(options, settings, beginning, keepsake)
}

/** A crash may have come between a change of the members and its note; and a node of an older release has none. */
async function keepMembers({ state, formats }: ReplicaOptions, keepsake: Keepsake | null): Promise<void> {
  const view = state.view()
  try {
    const { applied, membership } = view.meta
    const { members } = readDirectory(view, formats ?? releasedFormats)
    if (members.length > 0) await keepsake?.keep({ index: applied, membership, members })
  } finally {
    view.release()
  }
}

class NodeReplica implements StartedReplica {
  readonly nodeId: NodeId
  readonly #options: ReplicaOptions
  readonly #settings: ReplicaSettings
  readonly #driver: Driver
  readonly #members: Members
  readonly #compactor: Compactor
  readonly #changeListeners = new Set<(change: AppliedChange) => void>()
  readonly #statusListeners = new Set<(status: ReplicaStatus) => void>()
  #told = ''
  #stopping: Promise<void> | null = null
  #ticks = 0

  constructor(options: ReplicaOptions, settings: ReplicaSettings, beginning: Beginning, keepsake: Keepsake | null) {
    this.nodeId = options.nodeId
    this.#options = options
    this.#settings = settings
    this.#driver = new Driver(options, settings, beginning, keepsake)
    this.#members = new Members(this.#driver)
    this.#compactor = new Compactor(this.#driver)
    this.#driver.onChange = (change) => {
      // A throw here is final (the driver sees to it): a cache that missed a change would serve what is no longer true.
      for (const listener of this.#changeListeners) listener(change)
    }
    this.#driver.onStatus = () => this.#tellStatus()
    this.#driver.onTick = () => this.#tick()
    this.#driver.start()
  }

  status(): ReplicaStatus {
    const { raft, directory, failure } = this.#driver
    const { role, term, leader, commit, lastIndex, ready, quorumActive, peers, readsConfirmed } = raft.status()
    const alive = failure === null
    return {
      nodeId: this.nodeId,
      clusterId: this.#options.clusterId,
      incarnation: directory.incarnation || this.#options.incarnation,
      role: alive ? role : Role.follower,
      term,
      leader: alive ? leader : null,
      leaderMember: alive && leader !== null ? (findMember(directory, leader) ?? this.#knownMember(leader)) : null,
      commit,
      // What views show; the core hears of it a moment later.
      applied: this.#options.state.meta.applied,
      lastIndex,
      ready: alive && ready,
      hasQuorum: alive && quorumActive,
      failed: failure === null ? null : failure.message,
      repair: this.#driver.unfit?.message ?? null,
      logRepair: this.#options.log.fence?.reason ?? null,
      members: directory.members.length > 0 ? directory.members : (this.#options.knownMembers ?? []),
      peers,
      logEntries: this.#options.log.stats().entries,
      level: directory.level,
      formats: this.#driver.formats,
      memberFormats: this.#driver.memberFormats(),
      readsConfirmed,
    }
  }

  async readIndex(timeoutMs: number): Promise<{ readonly index: number; readonly leaderTimeMs: number }> {
    this.#checkOpen()
    const { unfit } = this.#driver
    if (unfit !== null) throw beingRepaired(unfit)
    return this.#driver.reads.request(this.#options.clock.monotonicMs(), timeoutMs)
  }

  view(): StateView {
    return this.#options.state.view()
  }

  async propose(proposal: Proposal): Promise<{ readonly index: number }> {
    this.#checkOpen()
    const { conflicts, proposals, conflicting, role, term } = this.#driver
    if (role !== Role.leader || term !== proposal.term) throw notLeader(proposal.term)
    const conflict = conflicts.check(proposal.viewIndex, proposal.reads, proposal.ranges)
    if (proposals.count + conflicting.count >= this.#settings.proposalsMax) {
      throw new HoldfastError('ERR_BUSY', `too many writes in flight: expected at most ${this.#settings.proposalsMax}`, {
        hint: 'try again in a moment',
      })
    }
    if (conflict !== null) {
      await conflicting.wait(conflict)
      throw new HoldfastError('ERR_CONFLICT', 'something that was read has changed since', { hint: 'evaluate the request again' })
    }
    if (proposal.viewIndex < this.#driver.restoredAt)
      throw new HoldfastError('ERR_CONFLICT', 'the state that was read was replaced by a restored snapshot', {
        hint: 'evaluate the request again',
      })
    checkProposal(proposal)
    const data = encodeCommand({ timeMs: proposal.timeMs, sections: proposal.sections, directory: null }, this.#driver.directory.level)
    const result = this.#driver.propose(proposal.term, data, proposal.begins ?? false)
    if (!result.ok) throw refusal(result)
    conflicts.note(result.index, keysOf(proposal))
    return proposals.add(result.index, result.term)
  }

  onApplied(listener: (change: AppliedChange) => void): () => void {
    this.#changeListeners.add(listener)
    return () => this.#changeListeners.delete(listener)
  }

  onStatus(listener: (status: ReplicaStatus) => void): () => void {
    this.#statusListeners.add(listener)
    return () => this.#statusListeners.delete(listener)
  }

  setAuthenticator(authenticator: Authenticator | null): void {
    try {
      this.#driver.setAuthenticator(authenticator)
    } finally {
      this.#tellStatus()
    }
  }

  async addMember(member: Member, formats?: FormatRange): Promise<void> {
    this.#checkOpen()
    await this.#members.add(member, formats)
  }

  async updateMember(member: Member): Promise<void> {
    this.#checkOpen()
    await this.#members.update(member)
  }

  async removeMember(id: NodeId): Promise<void> {
    this.#checkOpen()
    await this.#members.remove(id)
  }

  async setVoter(id: NodeId, voter: boolean): Promise<void> {
    this.#checkOpen()
    await this.#members.setVoter(id, voter)
  }

  async transferLeadership(to: NodeId | null, timeoutMs: number): Promise<void> {
    this.#checkOpen()
    if (this.#driver.role !== Role.leader) throw notLeader(this.#driver.term)
    const { ok, detail } = this.#driver.input(() => this.#driver.raft.transferLeadership(to))
    if (!ok)
      throw new HoldfastError('ERR_MEMBERSHIP', `leadership can't be handed over: ${detail}`, {
        hint: 'the target must be an unsealed voter that is up',
      })
    const { clock } = this.#options
    const deadlineMs = clock.monotonicMs() + timeoutMs
    while (this.#driver.running && this.#driver.role === Role.leader) {
      const abandoned = this.#driver.raft.status().transferee === null
      if (abandoned || clock.monotonicMs() >= deadlineMs) {
        throw new HoldfastError('ERR_TIMEOUT', 'leadership was not taken over in time: this node still leads', {
          hint: 'try again, or name another node',
        })
      }
      await sleep(clock, this.#settings.tickMs)
    }
  }

  async verify(): Promise<VerifyReport> {
    this.#checkOpen()
    const { check, scrubber, repair, directory } = this.#driver
    const { verdicts, answers } = await check.run()
    const rows = verdicts.map((verdict) => {
      const { applied = null, damage = null, repairs = null, scrub = null } = answers.get(verdict.node) ?? {}
      return {
        ...verdict,
        member: findMember(directory, verdict.node) ?? null,
        answered: answers.has(verdict.node),
        applied,
        damage,
        repairs,
        scrub,
      }
    })
    return { nodes: rows, scrub: scrubber.status(), repairing: repair.reason !== null }
  }

  scrub(): void {
    this.#checkOpen()
    this.#driver.scrubber.request()
  }

  async stage(
    stream: AsyncIterable<Uint8Array>,
    options: Pick<StageOptions, 'leaveOut' | 'add' | 'onProgress'> = {},
  ): Promise<StagedState> {
    this.#checkOpen()
    if (!this.#driver.raft.status().ready) throw notLeader(this.#driver.term)
    const id = Buffer.from(this.#options.random.bytes(16)).toString('hex')
    return this.#driver.restore.stage(id, this.#driver.term, stream, options, this.#driver.formats)
  }

  async discard(id: string): Promise<void> {
    await this.#driver.restore.discard(id)
  }

  async restore(staged: StagedState, after: { readonly incarnation: number; readonly timeMs: number }): Promise<RestoreResult> {
    this.#checkOpen()
    const driver = this.#driver
    if (!driver.raft.status().ready || driver.term !== staged.term) throw notLeader(staged.term)
    const stored = await driver.restore.spread(staged, () => driver.raft.status().membership)
    this.#checkOpen()
    const incarnation = Math.max(after.incarnation, this.status().incarnation) + 1
    const { id, digest } = staged
    const data = encodeCommand(
      { timeMs: after.timeMs, sections: [], directory: null, restore: { id, digest, incarnation } },
      driver.directory.level,
    )
    const result = driver.propose(staged.term, data)
    if (!result.ok) throw refusal(result)
    const { index } = await driver.proposals.add(result.index, result.term)
    return { index, incarnation, stored }
  }

  stop(options: { readonly handOver?: boolean } = {}): Promise<void> {
    this.#stopping ??= this.#stop(options.handOver ?? true)
    return this.#stopping
  }

  onMessage(from: NodeId, message: unknown): void {
    this.#driver.receive(from, message)
  }

  async onSnapshot(from: NodeId, header: Uint8Array, body: AsyncIterable<Uint8Array>): Promise<void> {
    await this.#driver.receiveSnapshot(from, header, body)
  }

  onUnreachable(peer: NodeId): void {
    if (this.#driver.running) this.#driver.input(() => this.#driver.raft.unreachable(peer))
  }

  async #stop(handOver: boolean): Promise<void> {
    const { log, state, logger } = this.#options
    const { electionTicks, tickMs } = this.#settings
    if (handOver && this.#driver.running && this.#driver.role === Role.leader) {
      const reason = await this.#handOver(electionTicks * tickMs)
      if (reason !== null) logger.info({ reason }, 'stopping without handing leadership over')
    }
    await this.#driver.halt()
    await this.#compactor.idle()
    if (this.#driver.failure === null && handOver) await state.sync()
    await state.close()
    await log.close()
  }

  /** Why leadership was not handed over, or null. Writes that come meanwhile are refused by the core. */
  async #handOver(timeoutMs: number): Promise<string | null> {
    const { clock } = this.#options
    const { ok, detail } = this.#driver.input(() => this.#driver.raft.transferLeadership(null))
    if (!ok) return detail
    const deadlineMs = clock.monotonicMs() + timeoutMs
    while (this.#driver.running && this.#driver.role === Role.leader && clock.monotonicMs() < deadlineMs)
      await sleep(clock, this.#settings.tickMs)
    return this.#driver.role === Role.leader ? 'nobody took over in time' : null
  }

  #tick(): void {
    this.#ticks += 1
    this.#tellStatus()
    this.#compactor.tick()
    if (this.#ticks % this.#settings.heartbeatTicks === 0) this.#members.tend()
  }

  #tellStatus(): void {
    if (this.#statusListeners.size === 0) return
    const status = this.status()
    const { role, term, leader, ready, hasQuorum, failed, repair, logRepair, members } = status
    const summary = JSON.stringify([role, term, leader, ready, hasQuorum, failed, repair, logRepair, members])
    if (summary === this.#told) return
    this.#told = summary
    for (const listener of this.#statusListeners) listener(status)
  }

  #knownMember(id: NodeId): Member | null {
    return this.#options.knownMembers?.find((member) => member.id === id) ?? null
  }

  #checkOpen(): void {
    if (this.#stopping !== null) throw shuttingDown()
    this.#driver.checkRunning()
  }
}

function* keysOf(proposal: Proposal): Generator<Uint8Array, void, undefined> {
  for (const { ops } of proposal.sections) for (const { key } of ops) yield key
}

/** An entry that can't be applied would stop every node at once: it must not get into the log. @throws AssertionError */
function checkProposal(proposal: Proposal): void {
  assert(Number.isSafeInteger(Math.round(proposal.timeMs)), 'proposal expected a time in milliseconds')
  for (const { section, ops } of proposal.sections) {
    assert(section instanceof Uint8Array, 'section expected bytes')
    for (const { key, value } of ops) {
      assert(key instanceof Uint8Array && (key[0] ?? 0) >= firstCallerKeyByte, `key expected to begin with a byte >= ${firstCallerKeyByte}`)
      assert(value === null || value instanceof Uint8Array, 'value expected bytes or null')
    }
  }
}
