/** One simulated node: a driver as raft/README.md asks for, on a disk that forgets and a clock that stalls. */
import {
  createRaft,
  EntryType,
  MessageType,
  Role,
  type Effects,
  type Entry,
  type Membership,
  type Message,
  type MembershipChange,
  type Raft,
  type RaftStatus,
  type SnapshotMeta,
} from '#raft/index.ts'
import { SimDisk, type Persist, type State } from './disk.ts'
import { Manners } from './manners.ts'
import { must } from './oracle.ts'
import type { World } from './world.ts'
import { Prng } from './prng.ts'

interface Write {
  readonly index: number
  readonly term: number
}

/** Work that a crash makes void: everything scheduled by a life checks that it is still that life. */
interface Life {
  readonly raft: Raft
  readonly manners: Manners
  /** Peers to whom the last snapshot stream failed, and who were not heard since. */
  readonly streamsFailed: Set<string>
  /** In force when the last write began. */
  members: Membership
  readonly writes: Map<number, Write>
  readonly reads: Map<number, { readonly observed: number; index: number | null }>
  readonly toApply: Entry[]
  inFlight: Persist | null
  applying: boolean
  diskBusyUntil: number
}

export class SimNode {
  readonly id: string
  readonly disk: SimDisk
  readonly #world: World
  readonly #random: Prng
  #life: Life | null = null
  #inbox: Message[] = []
  #pausedTicks = 0
  #pausedUntil = 0
  /** Length of this node's tick, where 1 is right. */
  #clockRate: number
  #nextRead = 1
  sealed = false

  constructor(world: World, id: string, voters: readonly string[]) {
    this.#world = world
    this.id = id
    this.disk = new SimDisk(voters)
    this.#random = world.random.fork()
    this.#clockRate = this.#random.between(85, 115) / 100
  }

  get up(): boolean {
    return this.#life !== null
  }

  get writing(): boolean {
    return this.#life !== null && this.#life.inFlight !== null
  }

  get paused(): boolean {
    return this.#pausedUntil > this.#world.queue.now
  }

  status(): RaftStatus | null {
    return this.#life?.raft.status() ?? null
  }

  start(sealed: boolean): void {
    const { hardState, state } = this.disk
    const { options } = this.#world
    const config = { ...options, id: this.id, randomBelow: (n: number) => this.#random.below(n) }
    const raft = createRaft(config, { hardState, membership: state.membership, applied: state.index }, this.disk)
    const manners = new Manners(
      { id: this.id, electionTicks: options.electionTicks, checkQuorum: options.checkQuorum, promises: options.lease !== undefined },
      raft,
    )
    const nothing = { streamsFailed: new Set<string>(), writes: new Map(), reads: new Map(), toApply: [], inFlight: null }
    this.#life = { raft, manners, ...nothing, members: state.membership, applying: false, diskBusyUntil: 0 }
    this.sealed = sealed
    raft.setSealed(sealed)
    this.#scheduleTick(this.#life)
    this.#pump(this.#life)
  }

  crash(): void {
    const life = this.#life
    if (life === null) return
    this.#life = null
    this.#inbox = []
    this.#pausedUntil = 0
    this.disk.crash(this.#random, life.inFlight)
    this.#world.shocks.gone(this.id)
  }

  pause(time: number): void {
    this.#pausedUntil = this.#world.queue.now + time
    this.#world.queue.after(time, () => this.#resume())
  }

  /** After a stall, the ticks that were missed come in one burst, before or after the messages that piled up. */
  #resume(): void {
    const life = this.#life
    if (this.paused) return
    const inbox = this.#inbox.filter((message) => this.#world.network.isOpen(message.from, this.id))
    const ticks = this.#random.chance(0.5) ? this.#pausedTicks : Math.min(this.#pausedTicks, 1)
    this.#inbox = []
    this.#pausedTicks = 0
    if (life === null) return
    // Clients' requests piled up, too: the first of them meet a node that does not know yet what it missed.
    for (let i = this.#random.below(3); i > 0; i -= 1) this.read()
    const messagesFirst = this.#random.chance(0.5)
    if (messagesFirst) for (const message of inbox) this.#step(life, message)
    for (let i = 0; i < ticks; i += 1) life.manners.tick()
    if (!messagesFirst) for (const message of inbox) this.#step(life, message)
    this.#pump(life)
  }

  #scheduleTick(life: Life): void {
    const time = Math.max(1, Math.round(this.#world.options.tickTime * this.#clockRate))
    this.#world.queue.after(time, () => {
      if (this.#life !== life) return
      if (this.paused) this.#pausedTicks += 1
      else this.#input(life, () => life.manners.tick())
      this.#scheduleTick(life)
    })
  }

  #input(life: Life, input: () => void): void {
    if (this.#life !== life) return
    input()
    this.#pump(life)
  }

  receive(message: Message): void {
    const life = this.#life
    if (life === null) return
    if (this.paused) this.#inbox.push(message)
    else this.#input(life, () => this.#step(life, message))
  }

  #step(life: Life, message: Message): void {
    life.streamsFailed.delete(message.from)
    life.manners.step(message)
  }

  #pump(life: Life): void {
    this.#checkLeader(life)
    this.#handInTime(life)
    for (let rounds = 0; life.raft.hasEffects(); rounds += 1) {
      if (rounds > 10_000) throw new Error(`${this.id} never runs out of effects`)
      this.#carryOut(life, life.raft.takeEffects())
    }
  }

  #handInTime(life: Life): void {
    const { options, queue } = this.#world
    if (options.lease === undefined || this.#random.chance(options.timeForgotten)) return
    life.raft.setMonotonicTime(queue.now / this.#clockRate)
  }

  /** In the order that the README demands of drivers. */
  #carryOut(life: Life, effects: Effects): void {
    const { oracle } = this.#world
    if (effects.persist !== null) this.#startPersist(life, effects.persist)
    for (const message of effects.messages) this.#send(message)
    oracle.committed(this.id, life.raft.status().term, effects.committed)
    life.toApply.push(...effects.committed)
    this.#applySoon(life)
    for (const { context, index } of effects.readStates) this.#readConfirmed(life, context, index)
    for (const { to } of effects.snapshotsToSend) this.#streamSnapshot(life, to)
    this.#checkLeader(life)
  }

  #send(message: Message): void {
    this.#world.oracle.sent(message, this.disk)
    this.#lookAt(message)
    this.#world.trace(message.type, message.from, message.to, message.term, message.logIndex ?? 0)
    this.#world.network.send(message)
  }

  /** Rules of sending that need more than the sender's disk. */
  #lookAt(message: Message): void {
    const { oracle, options } = this.#world
    const { type } = message
    if (type === MessageType.append) return oracle.tells(message)
    if (type === MessageType.preVoteReply && message.reject !== true) return oracle.grants(message)
    if (type === MessageType.vote && message.force !== true && options.preVote) {
      const membership = this.status()?.membership
      // A membership that came since is another election's.
      if (membership !== undefined && this.status()?.role === Role.candidate)
        oracle.asksForVotes(message, [membership.voters, membership.votersOutgoing])
    }
    if (type === MessageType.timeoutNow) this.#checkHandover(message.to)
  }

  /** Whoever is told to take over holds all that this leader has, or it cannot win. A removed leader that goes may try its luck. */
  #checkHandover(to: string): void {
    const status = this.status()
    const heir = this.#world.nodes.get(to)?.disk
    if (status === null || heir === undefined || !status.membership.voters.includes(this.id)) return
    must(
      heir.lastIndex() >= status.lastIndex,
      'handover',
      () => `${this.id} hands over to ${to}, which ends at ${heir.lastIndex()}, not ${status.lastIndex}`,
    )
  }

  #checkLeader(life: Life): void {
    const status = life.raft.status()
    this.#world.oracle.dropped(this.id, status.dropped)
    const begins = life.manners.look(status)
    if (status.role !== Role.leader) return
    if (begins) {
      life.streamsFailed.clear()
      this.#world.shocks.elected(this)
    }
    const tail = new Map((life.inFlight?.entries ?? []).map((entry) => [entry.index, entry.term]))
    this.#world.oracle.leader(this.id, status.term, (index) => tail.get(index) ?? this.disk.term(index), this.disk.firstIndex())
  }

  #startPersist(life: Life, persist: Persist): void {
    const { oracle, queue } = this.#world
    const first = persist.entries[0]
    if (first !== undefined) {
      const before = persist.snapshot?.index === first.index - 1 ? persist.snapshot.term : this.disk.term(first.index - 1)
      oracle.appended(this.id, persist.entries, before ?? -1)
    }
    // Copied, as a disk would: what the core adds to its own list meanwhile is in no write.
    const taken = { ...persist, entries: [...persist.entries] }
    life.inFlight = taken
    this.#shock(life, taken)
    queue.after(this.#diskDelay(life), () => this.#finishPersist(life, taken))
  }

  #shock(life: Life, { entries }: Persist): void {
    const { shocks } = this.#world
    const { role, membership } = life.raft.status()
    if (entries.some(({ type }) => type === EntryType.membership)) {
      life.streamsFailed.clear()
      if (role === Role.leader) shocks.changed(this, life.members, membership)
    }
    life.members = membership
    if ((entries[0]?.index ?? Infinity) <= this.disk.lastIndex()) shocks.overwrites(this)
  }

  #diskDelay(life: Life): number {
    const [lo, hi] = this.#world.options.diskLatency
    return this.#random.between(lo, hi) + Math.max(0, life.diskBusyUntil - this.#world.queue.now)
  }

  slowDisk(time: number): void {
    if (this.#life !== null) this.#life.diskBusyUntil = this.#world.queue.now + time
  }

  #finishPersist(life: Life, persist: Persist): void {
    if (this.#life !== life) return
    if (this.paused) return this.#world.queue.after(20, () => this.#finishPersist(life, persist))
    // The state machine must not move while a snapshot replaces it: the entries that it was given before are in the snapshot.
    if (persist.snapshot !== null) life.toApply.length = 0
    this.disk.persist(persist)
    if (persist.hardState !== null) this.#world.oracle.persisted(this.id, persist.hardState)
    if (persist.snapshot !== null) this.#applied(life)
    life.inFlight = null
    for (const message of persist.messagesAfterPersist) this.#send(message)
    this.#input(life, () => life.raft.persisted(persist.persistId))
  }

  #applySoon(life: Life): void {
    if (life.applying || life.toApply.length === 0) return
    life.applying = true
    const [lo, hi] = this.#world.applyLatency
    this.#world.queue.after(this.#random.between(lo, hi), () => {
      life.applying = false
      if (this.#life === life) this.#applyNow(life)
    })
  }

  #applyNow(life: Life): void {
    const batch = life.toApply.splice(0, this.#random.between(1, 16))
    for (const entry of batch) {
      this.disk.apply(entry)
      this.#applied(life)
    }
    const index = this.disk.state.index
    if (batch.length > 0) this.#input(life, () => life.raft.applied(index))
    this.#applySoon(life)
  }

  #applied(life: Life): void {
    const { state } = this.disk
    this.#world.oracle.applied(this.id, state)
    this.#world.trace('applied', this.id, state.digest, state.term, state.index)
    for (const [index, write] of life.writes) {
      if (index > state.index) continue
      life.writes.delete(index)
      // A snapshot may have passed the index: then only an entry of a later term tells that ours is gone.
      if (index === state.index) this.#writeDone(write, state)
    }
    this.#serveReads(life)
  }

  #writeDone(write: Write, state: State): void {
    const committed = state.term === write.term
    this.#world.oracle.outcome(write.index, write.term, committed ? 'committed' : 'lost')
    if (!committed) return
    this.#world.oracle.acknowledged(write.index)
    this.#world.operations += 1
  }

  // What clients and operators do.

  write(count: number): void {
    const life = this.#life
    if (life === null || this.paused) return
    const { term } = life.raft.status()
    const data = Array.from({ length: count }, () => this.#world.uniqueData())
    const result = life.raft.propose(this.#random.chance(0.05) ? Math.max(0, term - 1) : term, data)
    if (result.ok) life.writes.set(result.index, { index: result.index, term: result.term })
    this.#pump(life)
  }

  read(): void {
    const life = this.#life
    if (life === null || this.paused) return
    const context = this.#nextRead
    this.#nextRead += 1
    life.reads.set(context, { observed: this.#world.oracle.observed, index: null })
    life.raft.readIndex(context)
    this.#pump(life)
  }

  #readConfirmed(life: Life, context: number, index: number | null): void {
    const read = life.reads.get(context)
    if (read === undefined) throw new Error(`${this.id} answers read ${context} twice, or was never asked`)
    if (index === null) return void life.reads.delete(context)
    read.index = index
    this.#serveReads(life)
  }

  #serveReads(life: Life): void {
    for (const [context, read] of life.reads) {
      if (read.index === null || read.index > this.disk.state.index) continue
      life.reads.delete(context)
      this.#world.oracle.read(this.id, this.disk.state.index, read.observed)
      this.#world.operations += 1
    }
  }

  /** Reads that were asked and not answered yet: at rest there must be none. */
  get openReads(): number {
    return this.#life?.reads.size ?? 0
  }

  setSealed(sealed: boolean): boolean {
    const life = this.#life
    if (life === null || this.paused || this.sealed === sealed) return false
    this.sealed = sealed
    this.#input(life, () => life.raft.setSealed(sealed))
    return true
  }

  act(input: (raft: Raft) => void): void {
    const life = this.#life
    if (life !== null && !this.paused) this.#input(life, () => input(life.raft))
  }

  proposeMembership(change: MembershipChange): boolean {
    let ok = false
    this.act((raft) => {
      ok = raft.proposeMembership(change).ok
    })
    return ok
  }

  #streamSnapshot(life: Life, to: string): void {
    const { network, options, queue } = this.#world
    const { state } = this.disk
    const { term } = life.raft.status()
    must(
      !life.streamsFailed.has(to),
      'snapshot',
      () => `${this.id} streams to ${to} again, which has said nothing since the last stream failed`,
    )
    const fails = this.#random.chance(this.#world.chances.snapshotFails) || state.index === 0
    const time = network.delay() * this.#random.between(2, 30)
    queue.after(time, () => {
      const open = network.isOpen(this.id, to) && network.isOpen(to, this.id)
      const ok = !fails && open && this.#world.deliverSnapshot(this.id, to, term, state)
      queue.after(this.#random.between(...options.latency), () => this.#snapshotSent(life, to, ok))
    })
  }

  #snapshotSent(life: Life, to: string, ok: boolean): void {
    if (!ok) life.streamsFailed.add(to)
    this.#input(life, () => life.raft.snapshotSent(to, ok))
  }

  /** The driver's stream to `peer` broke. */
  unreachable(peer: string): void {
    this.#life?.streamsFailed.delete(peer)
    this.act((raft) => raft.unreachable(peer))
  }

  receiveSnapshot(from: string, term: number, state: State): boolean {
    const life = this.#life
    if (life === null || this.paused) return false
    this.disk.received.set(state.index, state)
    const meta: SnapshotMeta = { index: state.index, term: state.term, membership: state.membership }
    life.manners.disturbed()
    this.#input(life, () => life.raft.snapshotReceived(from, term, meta))
    return true
  }
}
