/**
 * A Replica without disk, network or consensus, for tests of the rooms above: one ordered log that all its nodes apply, views that
 * stand still, the conflict check of the real one, the applied feed. Faults are set from outside. No timer, no randomness.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { HoldfastError } from '#base/errors.ts'
import { releasedFormats } from '#base/formats.ts'
import type { Authenticator } from '#replica/authenticator.ts'
import type { AppliedChange, Member, Proposal, Replica, ReplicaStatus, VerifiedNode, VerifyReport } from '#replica/types.ts'
import { emptyMeta } from '#store/statemeta.ts'
import type { KeyCursor, Op, StateMeta, StateView } from '#store/types.ts'

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1')
const bytesOf = (id: string): Uint8Array => new Uint8Array(Buffer.from(id, 'latin1'))
const membership = { voters: [], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false }

interface FakeEntry {
  readonly index: number
  readonly term: number
  readonly ops: readonly Op[]
  readonly timeMs: number
}

/** All versions of all keys: a view is an index. */
class Versions {
  readonly #keys: string[] = []
  readonly #versions = new Map<string, { readonly index: number; readonly value: Uint8Array | null }[]>()

  write(index: number, op: Op): void {
    const id = text(op.key)
    let versions = this.#versions.get(id)
    if (versions === undefined) {
      versions = []
      this.#versions.set(id, versions)
      this.#keys.splice(this.#lowerBound(id), 0, id)
    }
    versions.push({ index, value: op.value === null ? null : op.value.slice() })
  }

  read(index: number, id: string): Uint8Array | undefined {
    const newest = this.#versions.get(id)?.findLast((version) => version.index <= index)
    return newest?.value?.slice() ?? undefined
  }

  /** First key >= `from` and < `end` that is there at `index`. */
  next(index: number, from: string, end: string): string | undefined {
    for (let i = this.#lowerBound(from); i < this.#keys.length; i++) {
      const id = this.#keys[i] ?? ''
      if (id >= end) return undefined
      if (this.read(index, id) !== undefined) return id
    }
    return undefined
  }

  #lowerBound(id: string): number {
    let low = 0
    let high = this.#keys.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#keys[middle] ?? '') < id) low = middle + 1
      else high = middle
    }
    return low
  }
}

class FakeView implements StateView {
  readonly meta: StateMeta
  readonly #versions: Versions
  readonly #onRelease: () => void
  #released = false

  constructor(meta: StateMeta, versions: Versions, onRelease: () => void) {
    this.meta = meta
    this.#versions = versions
    this.#onRelease = onRelease
  }

  get(key: Uint8Array): Uint8Array | undefined {
    this.#check()
    return this.#versions.read(this.meta.applied, text(key))
  }

  async *entriesFrom(start: Uint8Array, end: Uint8Array): AsyncIterableIterator<readonly [Uint8Array, Uint8Array]> {
    let id = this.#next(text(start), text(end))
    while (id !== undefined) {
      yield [bytesOf(id), this.get(bytesOf(id)) ?? new Uint8Array(0)]
      id = this.#next(`${id}\0`, text(end))
    }
  }

  keyCursor(start: Uint8Array, end: Uint8Array): KeyCursor {
    let from = text(start)
    const last = text(end)
    return {
      next: async (seek) => {
        if (seek !== undefined && text(seek) > from) from = text(seek)
        const id = this.#next(from, last)
        if (id === undefined) return undefined
        from = `${id}\0`
        return bytesOf(id)
      },
      close: async () => {},
    }
  }

  release(): void {
    if (this.#released) throw new Error('view released twice')
    this.#released = true
    this.#onRelease()
  }

  #next(from: string, end: string): string | undefined {
    this.#check()
    return this.#versions.next(this.meta.applied, from, end)
  }

  #check(): void {
    if (this.#released) throw new Error('view used after its release')
  }
}

const unknownState = { index: null, digest: null, expected: null, agrees: null } as const

/** One node. Everything beyond `Replica` is the test's. */
export class FakeReplica implements Replica {
  readonly nodeId: string
  /** Views taken and not released: 0 when all work has ended. */
  openViews = 0
  /** Stops applying (a follower that lags, a leader whose disk hangs); `resume` goes on. */
  paused = false
  /** Awaited between the change of the state and its announcement: the gap in which a view is ahead of the feed. */
  announceGap: (() => Promise<void>) | null = null
  /** Thrown by the next propose, which then writes nothing. */
  failNextPropose: Error | null = null
  /** Called at the start of each propose, before the conflict check: the place to slip in a competing write. */
  beforePropose: ((proposal: Proposal) => Promise<void> | void) | null = null
  /** Every proposal that was accepted, in order. */
  readonly proposals: Proposal[] = []
  sealed = true
  /** As the status says them. */
  failed: string | null = null
  repair: string | null = null
  logRepair: string | null = null
  readIndexes = 0
  readonly #cluster: FakeCluster
  readonly #versions = new Versions()
  readonly #applyListeners = new Set<(change: AppliedChange) => void>()
  readonly #statusListeners = new Set<(status: ReplicaStatus) => void>()
  #waiters: { readonly index: number; readonly resolve: () => void }[] = []
  #applied = 0
  #leaderTimeMs = 0
  #pumping = false

  constructor(cluster: FakeCluster, nodeId: string) {
    this.#cluster = cluster
    this.nodeId = nodeId
  }

  status(): ReplicaStatus {
    const { term, leader, log, incarnation } = this.#cluster
    const leads = leader === this.nodeId
    const members: readonly Member[] = this.#cluster.nodes.map(({ nodeId }) => this.#member(nodeId))
    return {
      nodeId: this.nodeId,
      clusterId: 'fake-cluster',
      incarnation,
      role: leads ? 'leader' : 'follower',
      term,
      leader,
      leaderMember: leader === null ? null : this.#member(leader),
      commit: log.length,
      applied: this.#applied,
      lastIndex: log.length,
      ready: leads && !this.sealed && this.#applied >= this.#cluster.termStart,
      hasQuorum: leader !== null,
      failed: this.failed,
      repair: this.repair,
      logRepair: this.logRepair,
      members,
      peers: [],
      logEntries: log.length,
      readsConfirmed: { byLease: 0, byRound: 0 },
      level: releasedFormats.max,
      formats: releasedFormats,
      memberFormats: { [this.nodeId]: releasedFormats },
    }
  }

  async readIndex(): Promise<{ readonly index: number; readonly leaderTimeMs: number }> {
    this.readIndexes++
    if (this.#cluster.leader === null)
      throw new HoldfastError('ERR_NO_LEADER', 'leader expected, got none', { hint: 'wait for an election' })
    const index = this.#cluster.log.length
    await nextTurn()
    await this.appliedUpTo(index)
    return { index, leaderTimeMs: this.#cluster.nowMs() }
  }

  view(): StateView {
    this.openViews++
    const meta = { ...emptyMeta, applied: this.#applied, appliedTerm: this.#cluster.term, membership, leaderTimeMs: this.#leaderTimeMs }
    return new FakeView(meta, this.#versions, () => this.openViews--)
  }

  async propose(proposal: Proposal): Promise<{ readonly index: number }> {
    await this.beforePropose?.(proposal)
    const failure = this.failNextPropose
    this.failNextPropose = null
    if (failure !== null) throw failure
    if (!this.status().ready || proposal.term !== this.#cluster.term)
      throw new HoldfastError('ERR_NOT_LEADER', `leader of term ${proposal.term} expected, got none here`, { hint: 'ask the leader' })
    const conflict = this.#cluster.conflict(proposal)
    if (conflict !== null) {
      await this.appliedUpTo(conflict)
      throw new HoldfastError('ERR_CONFLICT', 'unchanged keys expected, got a change', { hint: 'evaluate again' })
    }
    this.proposals.push(proposal)
    const ops = proposal.sections.flatMap((section) => section.ops)
    const index = this.#cluster.append(ops, proposal.timeMs)
    await this.appliedUpTo(index)
    return { index }
  }

  onApplied(listener: (change: AppliedChange) => void): () => void {
    this.#applyListeners.add(listener)
    return () => this.#applyListeners.delete(listener)
  }

  onStatus(listener: (status: ReplicaStatus) => void): () => void {
    this.#statusListeners.add(listener)
    return () => this.#statusListeners.delete(listener)
  }

  setAuthenticator(authenticator: Authenticator | null): void {
    this.sealed = authenticator === null
    this.tellStatus()
  }

  async addMember(): Promise<void> {}
  async removeMember(): Promise<void> {}
  async setVoter(): Promise<void> {}
  async transferLeadership(to: string | null): Promise<void> {
    this.#cluster.elect(to)
  }
  async verify(): Promise<VerifyReport> {
    const nodes = this.#cluster.nodes.map((each): VerifiedNode => {
      const damage = each.repair
      const member = this.#member(each.nodeId)
      const states =
        damage === null ? ({ index: 5, digest: 'd'.repeat(64), expected: 'd'.repeat(64), agrees: true } as const) : unknownState
      return { node: each.nodeId, member, answered: true, applied: 5, damage, repairs: 0, scrub: null, ...states }
    })
    return { nodes, scrub: { running: false, bytesRead: 0, last: null }, repairing: this.repair !== null }
  }

  scrub(): void {}

  async stop(): Promise<void> {}

  /** Goes on applying after `paused`. */
  resume(): void {
    this.paused = false
    void this.pump()
  }

  /** Announces that everything changed, as after an installed snapshot. */
  announceEverything(): void {
    this.#announce({ index: this.#applied, leaderTimeMs: this.#leaderTimeMs, keys: 'everything' })
  }

  /** All keys and values of the newest state: to search for what must not be readable. */
  dump(): readonly (readonly [Uint8Array, Uint8Array])[] {
    const found: [Uint8Array, Uint8Array][] = []
    for (
      let id = this.#versions.next(this.#applied, '', '\xff');
      id !== undefined;
      id = this.#versions.next(this.#applied, `${id}\0`, '\xff')
    )
      found.push([bytesOf(id), this.#versions.read(this.#applied, id) ?? new Uint8Array(0)])
    return found
  }

  /** Writes past every check, as a thief or a bad disk would: not announced. */
  tamper(key: Uint8Array, value: Uint8Array | null): void {
    this.#versions.write(this.#applied, { key, value })
  }

  appliedUpTo(index: number): Promise<void> {
    if (this.#applied >= index && !this.#pumping) return Promise.resolve()
    return new Promise((resolve) => this.#waiters.push({ index, resolve }))
  }

  tellStatus(): void {
    for (const listener of this.#statusListeners) listener(this.status())
  }

  /** Applies what is committed. Called by the cluster after each append. */
  async pump(): Promise<void> {
    if (this.#pumping) return
    this.#pumping = true
    await nextTurn()
    while (!this.paused && this.#applied < this.#cluster.log.length) await this.#applyNext()
    this.#pumping = false
    this.#wake()
    this.tellStatus()
  }

  async #applyNext(): Promise<void> {
    const entry = this.#cluster.log[this.#applied]
    if (entry === undefined) return
    for (const op of entry.ops) this.#versions.write(entry.index, op)
    this.#applied = entry.index
    this.#leaderTimeMs = Math.max(this.#leaderTimeMs, entry.timeMs)
    if (this.announceGap !== null) await this.announceGap()
    this.#announce({ index: entry.index, leaderTimeMs: this.#leaderTimeMs, keys: entry.ops.map(({ key }) => key) })
    this.#wake()
  }

  #announce(change: AppliedChange): void {
    for (const listener of this.#applyListeners) listener(change)
  }

  #wake(): void {
    const due = this.#waiters.filter(({ index }) => index <= this.#applied)
    this.#waiters = this.#waiters.filter(({ index }) => index > this.#applied)
    for (const { resolve } of due) resolve()
  }

  #member(id: string): Member {
    return { id, clusterAddress: `${id}:8201`, apiAddress: `http://${id}:8200`, fingerprint: '', voter: true }
  }
}

/** Nodes over one log. The first leads, in term 1; followers apply by themselves unless paused. */
export class FakeCluster {
  readonly log: FakeEntry[] = []
  readonly nodes: readonly FakeReplica[]
  readonly nowMs: () => number
  incarnation = 1
  term = 1
  /** Index of the empty entry of the present term. */
  termStart = 0
  leader: string | null

  constructor(options: { readonly ids: readonly string[]; readonly nowMs?: () => number }) {
    this.nowMs = options.nowMs ?? (() => 1_700_000_000_000)
    this.leader = options.ids[0] ?? null
    this.nodes = options.ids.map((id) => new FakeReplica(this, id))
  }

  node(position: number): FakeReplica {
    const node = this.nodes[position]
    if (node === undefined) throw new Error(`fake cluster expected a node at ${position}`)
    return node
  }

  /** A new term, led by `leader` (null: nobody), with its empty entry. */
  elect(leader: string | null): void {
    this.term++
    this.leader = leader
    if (leader !== null) this.termStart = this.append([], 0)
    for (const node of this.nodes) node.tellStatus()
  }

  append(ops: readonly Op[], timeMs: number): number {
    const index = this.log.length + 1
    this.log.push({ index, term: this.term, ops, timeMs })
    for (const node of this.nodes) void node.pump()
    return index
  }

  /** Index of the newest entry, applied or in flight, that changed what `proposal` read after its view; null when none did. */
  conflict(proposal: Proposal): number | null {
    const reads = new Set(proposal.reads.map(text))
    const ranges = proposal.ranges.map(([start, end]) => [text(start), text(end)] as const)
    const touches = ({ key }: Op): boolean => {
      const id = text(key)
      return reads.has(id) || ranges.some(([start, end]) => id >= start && id < end)
    }
    return this.log.findLast((entry) => entry.index > proposal.viewIndex && entry.ops.some(touches))?.index ?? null
  }
}

/** A cluster of one that leads. */
export function createFakeReplica(nowMs?: () => number): FakeReplica {
  return new FakeCluster({ ids: ['node-1'], ...(nowMs === undefined ? {} : { nowMs }) }).node(0)
}
