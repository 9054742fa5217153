/**
 * A whole cluster from one seed: nodes, network, disks, clients and operators.
 *
 * Two phases. First everything breaks at once, and nothing wrong may happen (safety). Then a random majority is healed and must
 * serve again within a bounded time (liveness), while the rest stays dead.
 */
import { isJoint, membersOf, Role, type Message, type MembershipStep } from '#raft/index.ts'
import type { State } from './disk.ts'
import { Hash } from './hash.ts'
import { Network } from './network.ts'
import { calm, drawOptions, type Chances, type Options } from './options.ts'
import { Oracle, OracleError } from './oracle.ts'
import { Prng } from './prng.ts'
import { EventQueue } from './queue.ts'
import { SimNode } from './replica.ts'
import type { Result } from './result.ts'
import { Shocks } from './shocks.ts'

/** Election timeouts within which a healed majority must serve. Sealed nodes wait up to five, votes may split several times. */
const recoveryElectionsMax = 40
const nodesMax = 9

export class World {
  readonly random: Prng
  readonly queue = new EventQueue()
  readonly oracle = new Oracle()
  readonly options: Options
  readonly network: Network
  readonly faults: Record<string, number> = {}
  readonly nodes = new Map<string, SimNode>()
  readonly shocks: Shocks
  /** In phase one. */
  stormy = true
  readonly log: string[] | null
  chances: Chances
  operations = 0
  #unique = 0
  #trace = new Hash()

  constructor(seed: number, verbose = false) {
    this.random = new Prng(seed)
    this.options = drawOptions(this.random, seed)
    this.chances = this.options.chances
    this.shocks = new Shocks(this, seed)
    this.log = verbose ? [] : null
    const count = (fault: string): void => this.count(fault)
    const deliver = (message: Message): void => this.nodes.get(message.to)?.receive(message)
    this.network = new Network(this.queue, this.random.fork(), this.options.latency, deliver, count)
    this.network.weather = this.chances
    const ids = Array.from({ length: this.options.voters }, (_, i) => `n${i + 1}`)
    for (const id of ids) this.nodes.set(id, new SimNode(this, id, ids))
    for (const node of this.nodes.values()) node.start(this.random.chance(this.chances.sealedAtStart))
  }

  /** In the second phase state machines keep up: a backlog is no fault of the core's. */
  get applyLatency(): readonly [number, number] {
    return this.chances.heal === 1 ? [1, 10] : this.options.applyLatency
  }

  count(fault: string): void {
    this.faults[fault] = (this.faults[fault] ?? 0) + 1
  }

  /** Everything that leaves a node or changes its state goes into the hash: two runs of one seed must agree on it. */
  trace(kind: number | string, a: string, b: string, term: number, index: number): void {
    this.#trace.number(this.queue.now).text(`${kind} ${a} ${b}`).number(term).number(index)
    this.log?.push(`${this.queue.now} ${kind} ${a} ${b} term=${term} index=${index}`)
  }

  traceHash(): string {
    return this.#trace.hex()
  }

  uniqueData(): Uint8Array {
    this.#unique += 1
    const data = new Uint8Array(this.random.between(4, 40))
    new DataView(data.buffer).setUint32(0, this.#unique)
    return data
  }

  deliverSnapshot(from: string, to: string, term: number, state: State): boolean {
    return this.nodes.get(to)?.receiveSnapshot(from, term, state) ?? false
  }

  /** Phase one. */
  breakThings(ticks: number): void {
    for (let tick = 0; tick < ticks; tick += 1) {
      this.#disturb()
      this.#work()
      this.queue.runUntil(this.queue.now + this.options.tickTime, () => {})
    }
  }

  #maybe(chance: number, fault: string, act: (node: SimNode) => boolean | void): void {
    if (!this.random.chance(chance)) return
    const node = this.random.pick([...this.nodes.values()])
    if (act(node) !== false) this.count(fault)
  }

  #disturb(): void {
    const { chances, random } = this
    const { electionTicks, tickTime } = this.options
    const spell = (): number => Math.round(electionTicks * tickTime * (random.between(1, 30) / 10))
    if (random.chance(chances.partition)) this.#partition()
    if (random.chance(chances.heal)) this.network.heal()
    this.#maybe(chances.crash, 'crash', (node) => node.up && node.crash())
    // A crash in the middle of a write is where disks differ from what was promised.
    if (random.chance(chances.crash)) this.#crashWriting()
    if (random.chance(chances.crash / 10)) this.#crashAll()
    for (const node of this.nodes.values()) {
      if (!node.up && random.chance(chances.restart)) node.start(random.chance(chances.sealedAtStart))
    }
    this.#maybe(chances.pause, 'pause', (node) => node.up && node.pause(spell()))
    this.#maybe(chances.slowDisk, 'slow-disk', (node) => node.up && node.slowDisk(spell()))
    this.#maybe(chances.seal, 'seal', (node) => node.setSealed(true))
    this.#maybe(chances.unseal, 'unseal', (node) => node.setSealed(false))
    this.#maybe(chances.campaign, 'campaign', (node) => node.act((raft) => raft.campaign()))
    this.#maybe(chances.unreachable, 'unreachable', (node) => {
      const peer = random.pick([...this.nodes.keys()])
      node.unreachable(peer)
    })
    this.#maybe(chances.transfer, 'transfer', (node) => this.#transfer(random.chance(0.5) ? (this.leaders().at(-1) ?? node) : node))
    this.#maybe(chances.membership, 'membership', () => this.#changeMembership())
    this.shocks.tick()
  }

  /** Half of the time it is a leader that is cut off: what it goes on to do is what can go wrong. */
  #partition(): void {
    const leaders = this.leaders()
    if (leaders.length === 0 || this.random.chance(0.5)) return this.network.partition([...this.nodes.keys()])
    this.count('partition-leader')
    const { id } = this.random.pick(leaders)
    const bothWays = this.random.chance(0.5)
    const inward = this.random.chance(0.5)
    for (const other of this.nodes.keys()) {
      if (bothWays || inward) this.network.cut(other, id)
      if (bothWays || !inward) this.network.cut(id, other)
    }
  }

  leaders(): SimNode[] {
    return [...this.nodes.values()].filter((node) => node.status()?.role === Role.leader)
  }

  #crashWriting(): void {
    const writing = [...this.nodes.values()].filter((node) => node.writing)
    if (writing.length === 0) return
    this.count('crash-writing')
    this.random.pick(writing).crash()
  }

  #crashAll(): void {
    this.count('crash-all')
    for (const node of this.nodes.values()) node.crash()
  }

  #transfer(node: SimNode): boolean {
    const to = this.random.chance(0.5) ? null : this.random.pick([...this.nodes.keys()])
    let ok = false
    node.act((raft) => {
      ok = raft.transferLeadership(to).ok
      if (ok) this.shocks.transfers(node, raft.status().transferee)
    })
    return ok
  }

  #work(): void {
    const { chances, random } = this
    for (const node of this.nodes.values()) {
      if (random.chance(chances.write / 2)) node.write(random.between(1, 4))
      if (random.chance(chances.read / 2)) node.read()
      if (node.up && random.chance(chances.sync)) node.disk.sync()
      if (node.up && random.chance(chances.compact)) node.disk.compact(node.disk.state.index - random.below(20))
    }
  }

  /** Draws a change that makes some sense, or none: refusals are part of the test. */
  #changeMembership(): boolean {
    const leader = [...this.nodes.values()].find((node) => node.status()?.role === Role.leader)
    const status = leader?.status()
    if (leader === undefined || status === null || status === undefined) return false
    const context = new Uint8Array(this.random.below(4))
    if (isJoint(status.membership) && this.random.chance(0.7)) {
      return leader.proposeMembership({ steps: [], joint: 'leave', context })
    }
    const steps = Array.from({ length: this.random.pick([1, 1, 1, 2, 3]) }, () => this.#drawStep(membersOf(status.membership)))
    return leader.proposeMembership({ steps, joint: this.random.pick(['auto', 'auto', 'explicit']), context })
  }

  #drawStep(members: readonly string[]): MembershipStep {
    const kind = this.random.pick(['add-voter', 'add-learner', 'remove'] as const)
    if (kind === 'remove' || this.random.chance(0.6)) return { kind, node: this.random.pick([...this.nodes.keys()]) }
    const stranger = members.length < 6 && kind === 'add-learner'
    return { kind, node: stranger ? this.newNode() : this.random.pick(members) }
  }

  /** A new node has a new disk and a new name, and waits to be let in. */
  newNode(): string {
    if (this.nodes.size >= nodesMax) return this.random.pick([...this.nodes.keys()])
    const id = `n${this.nodes.size + 1}`
    const node = new SimNode(this, id, [])
    this.nodes.set(id, node)
    node.start(this.random.chance(this.chances.sealedAtStart))
    return id
  }

  /** Phase two. Returns the ticks that recovery took. */
  recover(): number {
    // Memberships in the logs of the dead count as well, committed or not: wake everybody to ask.
    for (const node of this.nodes.values()) if (!node.up) node.start(false)
    this.stormy = false
    const core = this.#drawCore()
    this.chances = calm
    this.network.weather = calm
    this.#handOverToTheDying(core)
    this.network.heal()
    for (const node of this.nodes.values()) {
      if (core.includes(node)) continue
      node.crash()
      // What the dead have sent and is still under way is lost with them: it could bring memberships that this core cannot decide.
      for (const { id } of core) this.network.cut(node.id, id)
    }
    const { electionTicks, tickTime } = this.options
    const targetIndex = (): number => this.oracle.committedMax
    let goal: number | null = null
    for (let tick = 1; tick <= recoveryElectionsMax * electionTicks; tick += 1) {
      this.#unsealOne(core)
      this.#work()
      this.queue.runUntil(this.queue.now + tickTime, () => {})
      const leader = core.find((node) => node.status()?.ready === true)
      if (leader !== undefined) this.#leaveJoint(leader)
      if (leader !== undefined) this.#switchOffRemoved(leader)
      if (leader !== undefined) goal ??= targetIndex() + 1
      if (goal !== null && this.#serves(core, goal)) return this.#settle(core, tick)
    }
    throw new OracleError(`liveness: ${this.#describe(core)}`)
  }

  /** A leader that has just told another to take over, which dies before it can: it must take writes again. */
  #handOverToTheDying(core: readonly SimNode[]): void {
    if (!this.random.chance(0.5)) return
    for (const leader of this.leaders().filter((node) => core.includes(node))) {
      const { commit = 0, peers = [] } = leader.status() ?? {}
      const heir = peers.find(({ id, match }) => match >= commit && !core.some((node) => node.id === id))
      if (heir === undefined) continue
      leader.act((raft) => raft.transferLeadership(heir.id))
      this.count('transfer-to-dying')
    }
  }

  /** Without pre-vote and check-quorum a removed node that never heard of it can disturb for ever: its operator must stop it. */
  #switchOffRemoved(leader: SimNode): void {
    const status = leader.status()
    if (this.options.preVote || this.options.checkQuorum || status === null || status.lastIndex > status.commit) return
    for (const node of this.nodes.values()) if (!membersOf(status.membership).includes(node.id)) node.crash()
  }

  /** An explicit joint membership waits for its operator. */
  #leaveJoint(leader: SimNode): void {
    const membership = leader.status()?.membership
    if (membership === undefined || !isJoint(membership) || membership.autoLeave) return
    leader.proposeMembership({ steps: [], joint: 'leave', context: new Uint8Array(0) })
  }

  /** A majority of every membership that may be in force, drawn at random. */
  #drawCore(): SimNode[] {
    const order = this.random.shuffled([...this.nodes.values()])
    const memberships = order.flatMap((node) => node.status()?.membership ?? [])
    const halves = memberships.flatMap((membership) => [membership.voters, membership.votersOutgoing])
    const core = new Set<SimNode>()
    for (const half of halves) {
      for (const node of order) {
        const inside = half.filter((id) => [...core].some((member) => member.id === id)).length
        if (inside * 2 > half.length || half.length === 0) break
        if (half.includes(node.id)) core.add(node)
      }
    }
    return [...core]
  }

  /** One unsealed voter is all that a majority needs; the others stay as they are. */
  #unsealOne(core: readonly SimNode[]): void {
    const leader = core.find((node) => node.status()?.role === Role.leader)
    const voters = core.filter((node) => !node.paused && leader?.status()?.membership.voters.includes(node.id))
    if (voters.length > 0 && voters.every((node) => node.sealed)) this.random.pick(voters).setSealed(false)
  }

  #serves(core: readonly SimNode[], goal: number): boolean {
    const leader = core.find((node) => node.status()?.ready === true)
    const membership = leader?.status()?.membership
    if (membership === undefined || isJoint(membership)) return false
    return core.every((node) => !membersOf(membership).includes(node.id) || node.disk.state.index >= goal)
  }

  /** With no new work, everything comes to rest: equal states, nothing uncommitted, no read left waiting. */
  #settle(core: readonly SimNode[], ticks: number): number {
    this.chances = { ...calm, write: 0, read: 0, compact: 0 }
    const { electionTicks, tickTime } = this.options
    // A slow state machine or a window of one message may have a backlog: it is given the time that it needs, within reason.
    const end = (): number => Math.max(...core.map((node) => node.status()?.lastIndex ?? 0))
    const behind = (node: SimNode): boolean => this.#isMember(core, node) && (node.status()?.applied ?? 0) < end()
    for (let rounds = 0; rounds < 6 || (rounds < 1000 && core.some(behind)); rounds += 1) {
      this.queue.runUntil(this.queue.now + electionTicks * tickTime, () => {})
    }
    const leader = core.find((node) => node.status()?.role === Role.leader)
    const status = leader?.status()
    if (status === null || status === undefined) throw new OracleError(`liveness: no leader at rest: ${this.#describe(core)}`)
    if (status.uncommittedBytes !== 0) throw new OracleError(`backpressure: ${status.uncommittedBytes} uncommitted bytes at rest`)
    for (const node of core) {
      if (!membersOf(status.membership).includes(node.id)) continue
      if (node.disk.state.digest !== leader?.disk.state.digest) throw new OracleError(`convergence: ${node.id} differs at rest`)
      if (node.openReads > 0) throw new OracleError(`reads: ${node.id} has ${node.openReads} unanswered reads at rest`)
    }
    return ticks
  }

  /** By the word of whoever leads; without a leader everybody is. */
  #isMember(core: readonly SimNode[], node: SimNode): boolean {
    const membership = core.find((each) => each.status()?.role === Role.leader)?.status()?.membership
    return node.up && (membership === undefined || membersOf(membership).includes(node.id))
  }

  #describe(core: readonly SimNode[]): string {
    const nodes = core.map((node) => {
      const status = node.status()
      const { voters, votersOutgoing, learners } = status?.membership ?? { voters: [], votersOutgoing: [], learners: [] }
      const config = `(${voters.join(' ')})(${votersOutgoing.join(' ')})<${learners.join(' ')}>`
      const where = `term ${status?.term} commit ${status?.commit}/${status?.lastIndex} applied ${status?.applied}`
      return `${node.id}${node.sealed ? ' sealed' : ''} ${status?.role} of ${status?.leader}, ${where} ${config}`
    })
    return `no service after ${recoveryElectionsMax} election timeouts: ${nodes.join('; ')}`
  }
}

/** Runs one seed from start to end. Never throws for what the oracles find; the failure is in the result. */
export function runSeed(seed: number, ticks: number, trace?: (line: string) => void): Result {
  const world = new World(seed, trace !== undefined)
  let failure: string | null = null
  let recoveryTicks = 0
  try {
    world.breakThings(ticks)
    recoveryTicks = world.recover()
  } catch (error) {
    failure = error instanceof OracleError ? error.message : error instanceof Error ? (error.stack ?? error.message) : String(error)
  }
  if (trace !== undefined) for (const line of world.log ?? []) trace(line)
  const { faults, operations } = world
  return { seed, failure, faults, operations, traceHash: world.traceHash(), recoveryTicks, picture: null }
}
