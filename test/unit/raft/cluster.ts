/**
 * A cluster under the test's hand: nothing moves unless the test says so. Messages lie in a pool until they are delivered, disks
 * write when they are told to (at once, unless held), clocks tick when they are ticked.
 */
import {
  createRaft,
  emptyMembership,
  type Effects,
  type Entry,
  type HardState,
  type Membership,
  type Message,
  MessageType,
  type NodeId,
  type Raft,
  type RaftConfig,
  type ReadState,
} from '#raft/index.ts'
import { SimDisk } from '#test/sim/disk.ts'

export const config: Omit<RaftConfig, 'id'> = {
  electionTicks: 10,
  heartbeatTicks: 1,
  sealedElectionFactor: 3,
  entryBytesMax: 1000,
  appendBytesMax: 10_000,
  inflightMessagesMax: 8,
  inflightBytesMax: 100_000,
  uncommittedBytesMax: 10_000,
  committedBytesMax: 10_000,
  pendingReadsMax: 100,
  preVote: true,
  checkQuorum: true,
  randomBelow: () => 0,
}

export interface Member {
  readonly id: NodeId
  readonly disk: SimDisk
  raft: Raft
  reads: ReadState[]
  committed: Entry[]
  snapshotsTo: NodeId[]
  /** Set by tests: effects to persist pile up here instead of being written. */
  holdPersist: boolean
  held: NonNullable<Effects['persist']> | null
  holdApply: boolean
  down: boolean
}

export interface NodeSetup {
  readonly voters?: readonly NodeId[]
  readonly membership?: Membership
  readonly hardState?: HardState
  readonly log?: readonly Entry[]
  readonly config?: Partial<RaftConfig>
}

export function entry(index: number, term: number, data: Uint8Array = new Uint8Array([index & 0xff])): Entry {
  return { index, term, type: 0, data }
}

/** Entries from 1 on, one for each term given. */
export function logOf(...terms: readonly number[]): Entry[] {
  return terms.map((term, i) => entry(i + 1, term))
}

export class Cluster {
  readonly members = new Map<NodeId, Member>()
  /** Sent and not delivered. */
  pool: Message[] = []
  /** Everything ever sent, for looking back. */
  sent: Message[] = []
  readonly cut = new Set<string>()
  /** What a node's clock says, where a test has one: handed in before effects are taken, as drivers do. */
  readonly clocks = new Map<NodeId, number>()
  readonly #config: Partial<RaftConfig>

  constructor(ids: readonly NodeId[], overrides: Partial<RaftConfig> = {}, setups: Readonly<Record<NodeId, NodeSetup>> = {}) {
    this.#config = overrides
    for (const [i, id] of ids.entries()) this.add(id, { voters: ids, config: { randomBelow: (n) => (i * 3) % n }, ...setups[id] })
  }

  add(id: NodeId, setup: NodeSetup): Member {
    const disk = new SimDisk(setup.voters ?? setup.membership?.voters ?? [])
    disk.persist({ persistId: 0, hardState: setup.hardState ?? null, entries: setup.log ?? [], snapshot: null, messagesAfterPersist: [] })
    const membership = setup.membership ?? { ...emptyMembership, voters: setup.voters ?? [] }
    const term = setup.log?.at(-1)?.term ?? 0
    const hardState = setup.hardState ?? { term, vote: null, commit: 0 }
    const raft = createRaft({ ...config, ...this.#config, ...setup.config, id }, { hardState, membership, applied: 0 }, disk)
    const member: Member = {
      id,
      disk,
      raft,
      reads: [],
      committed: [],
      snapshotsTo: [],
      holdPersist: false,
      held: null,
      holdApply: false,
      down: false,
    }
    this.members.set(id, member)
    this.pump(member)
    return member
  }

  node(id: NodeId): Member {
    const member = this.members.get(id)
    if (member === undefined) throw new Error(`expected a member, got '${id}'`)
    return member
  }

  raft(id: NodeId): Raft {
    return this.node(id).raft
  }

  /** Forgets what was not written, and starts again from the disk. */
  restart(id: NodeId, overrides: Partial<RaftConfig> = {}): void {
    const member = this.node(id)
    const { hardState, state } = member.disk
    member.held = null
    member.holdPersist = false
    member.down = false
    member.reads = []
    const initial = { hardState, membership: state.membership, applied: state.index }
    member.raft = createRaft({ ...config, ...this.#config, ...overrides, id }, initial, member.disk)
    this.pump(member)
  }

  do(id: NodeId, input: (raft: Raft) => void): void {
    const member = this.node(id)
    input(member.raft)
    this.pump(member)
  }

  tick(id: NodeId, ticks = 1): void {
    for (let i = 0; i < ticks; i += 1) this.do(id, (raft) => raft.tick())
  }

  /** Ticks every running node and delivers everything, again and again. */
  run(ticks: number): void {
    for (let i = 0; i < ticks; i += 1) {
      for (const member of this.members.values()) if (!member.down) this.tick(member.id)
      this.deliverAll()
    }
  }

  pump(member: Member): void {
    const ms = this.clocks.get(member.id)
    for (;;) {
      if (ms !== undefined) member.raft.setMonotonicTime(ms)
      if (!member.raft.hasEffects()) return
      this.#carryOut(member, member.raft.takeEffects())
    }
  }

  #carryOut(member: Member, effects: Effects): void {
    this.#send(effects.messages)
    member.reads.push(...effects.readStates)
    member.snapshotsTo.push(...effects.snapshotsToSend.map(({ to }) => to))
    member.committed.push(...effects.committed)
    if (effects.persist !== null) member.held = effects.persist
    if (!member.holdPersist) this.write(member.id)
    if (!member.holdApply) this.apply(member.id)
  }

  #send(messages: readonly Message[]): void {
    this.pool.push(...messages)
    this.sent.push(...messages)
  }

  /** Lets a held write reach the disk. */
  write(id: NodeId): void {
    const member = this.node(id)
    const persist = member.held
    if (persist === null) return
    member.held = null
    member.disk.persist(persist)
    this.#send(persist.messagesAfterPersist)
    member.raft.persisted(persist.persistId)
    this.pump(member)
  }

  apply(id: NodeId): void {
    const member = this.node(id)
    const entries = member.committed.filter(({ index }) => index > member.disk.state.index)
    for (const item of entries) member.disk.apply(item)
    if (entries.length > 0) member.raft.applied(member.disk.state.index)
  }

  /** Delivers what lies in the pool and `wanted` accepts; the rest stays. What their delivery causes stays in the pool, too. */
  deliver(wanted: (message: Message) => boolean = () => true): Message[] {
    const messages = this.pool.filter(wanted)
    this.pool = this.pool.filter((message) => !wanted(message))
    for (const message of messages) this.inject(message)
    return messages
  }

  inject(message: Message): void {
    const member = this.members.get(message.to)
    if (member === undefined || member.down || this.cut.has(`${message.from}>${message.to}`)) return
    member.raft.step(message)
    this.pump(member)
  }

  deliverAll(): void {
    for (let rounds = 0; this.pool.length > 0; rounds += 1) {
      if (rounds > 1000) throw new Error('the cluster never comes to rest')
      this.deliver()
    }
  }

  drop(unwanted: (message: Message) => boolean = () => true): void {
    this.pool = this.pool.filter((message) => !unwanted(message))
  }

  isolate(id: NodeId): void {
    for (const other of this.members.keys()) {
      this.cut.add(`${id}>${other}`)
      this.cut.add(`${other}>${id}`)
    }
  }

  heal(): void {
    this.cut.clear()
  }

  /** Makes `id` campaign and win. */
  elect(id: NodeId): void {
    this.do(id, (raft) => raft.campaign())
    this.deliverAll()
    const status = this.raft(id).status()
    if (status.role !== 'leader') throw new Error(`expected ${id} to win, got ${status.role}`)
    this.run(2)
  }

  propose(id: NodeId, ...texts: readonly string[]): ReturnType<Raft['propose']> {
    const raft = this.raft(id)
    const result = raft.propose(
      raft.status().term,
      texts.map((text) => new Uint8Array(text.length).fill(text.charCodeAt(0))),
    )
    this.pump(this.node(id))
    return result
  }

  leader(): NodeId | null {
    const leaders = [...this.members.values()].filter(({ raft, down }) => !down && raft.status().role === 'leader')
    return leaders.toSorted((a, b) => b.raft.status().term - a.raft.status().term)[0]?.id ?? null
  }

  /** Streams the snapshot that `from` was asked to send, as a driver would. */
  streamSnapshot(from: NodeId, to: NodeId): void {
    const { state } = this.node(from).disk
    const receiver = this.node(to)
    receiver.disk.received.set(state.index, state)
    const meta = { index: state.index, term: state.term, membership: state.membership }
    const { term } = this.raft(from).status()
    this.do(to, (raft) => raft.snapshotReceived(from, term, meta))
    this.do(from, (raft) => raft.snapshotSent(to, true))
  }
}

export function isType(...types: readonly MessageType[]): (message: Message) => boolean {
  return (message) => types.includes(message.type)
}

/** A message with the fields that every message has. */
export function message(from: NodeId, to: NodeId, term: number, type: MessageType, rest: Partial<Message> = {}): Message {
  return { version: 1, from, to, term, type, sealed: false, ...rest }
}

export { MessageType }
