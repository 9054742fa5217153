/**
 * A whole cluster from one seed: the real core, driver and stores on simulated machines, and clients whose history is judged.
 *
 * Two phases. First everything breaks at once, and nothing wrong may happen (safety). Then a random majority is healed and must serve again within a
 * bounded time (liveness), while the rest stays dead.
 */
import { isHoldfastError } from '#base/errors.ts'
import { emptyMembership, isJoint, membersOf, type Membership } from '#raft/index.ts'
import { directoryOp, emptyDirectory, updateDirectory } from '#replica/directory.ts'
import type { Member } from '#replica/types.ts'
import { openStateStore } from '#store/state.ts'
import { checkHistory, describeResult, type HistoryResult } from '#test/support/linearizability/checker.ts'
import type { Operation } from '#test/support/linearizability/history.ts'
import { renderHistoryHtml } from '#test/support/linearizability/picture.ts'
import { Hash } from '../hash.ts'
import { Prng } from '../prng.ts'
import type { Result } from '../result.ts'
import { Clients, keys, registers } from './clients.ts'
import { damage, weightedDamage } from './damage.ts'
import { drawPlan, tickTime, type Chances, type Plan } from './draw.ts'
import { clusterId } from './life.ts'
import { Network } from './network.ts'
import { SimNode } from './node.ts'
import { ClusterOracle, describeMembership, OracleError } from './oracle.ts'
import { Impostor } from './impostor.ts'
import { Probes } from './probes.ts'
import { Restores } from './restores.ts'
import { downgrade, exchangeRelease, finishRolling, nextFormats, refusedRightly, upgradeJoiner } from './rolling.ts'
import { Scheduler, settled } from './scheduler.ts'
import { Shocks } from './shocks.ts'

/** More than any start takes on the slowest disk. */
const openingTicksMax = 50
/** Election timeouts within which a healed majority must serve: sealed nodes wait several, votes may split, snapshots may be due. */
const recoveryElectionsMax = 80
const nodesMax = 11
const checkerStepsMax = 2_000_000

export class World {
  readonly random: Prng
  readonly scheduler = new Scheduler()
  readonly oracle = new ClusterOracle(keys)
  readonly plan: Plan
  readonly network: Network
  readonly faults: Record<string, number> = {}
  readonly nodes = new Map<string, SimNode>()
  readonly lines: string[] | null
  chances: Chances
  clients: Clients | null = null
  #failure: unknown = null
  #failed = false
  readonly #trace = new Hash()
  #damageDue: number[] = []
  #mending: SimNode[] = []
  /** Ids whose disk was replaced: no one may let them in again. */
  readonly #wiped = new Set<string>()
  #quiet = false
  readonly shocks: Shocks
  readonly impostor: Impostor
  readonly restores: Restores
  readonly #probes: Probes
  #verdict: HistoryResult | null = null

  constructor(seed: number, verbose: boolean, adjust: (plan: Plan) => Plan = (plan) => plan) {
    this.random = new Prng(seed)
    this.plan = adjust(drawPlan(this.random, seed))
    this.chances = this.plan.chances
    this.shocks = new Shocks(this, seed)
    this.impostor = new Impostor(this, seed)
    this.#probes = new Probes(this, seed)
    this.restores = new Restores(this, seed, registers)
    this.lines = verbose ? [] : null
    this.network = new Network(
      {
        scheduler: this.scheduler,
        random: this.random.fork(),
        latency: this.plan.latency,
        chunkLatency: this.plan.chunkLatency,
        lifeOf: (id) => this.nodes.get(id)?.life ?? null,
        count: (fault) => this.count(fault),
      },
      this.chances,
    )
    this.say(() => JSON.stringify(this.plan))
  }

  count(fault: string, times = 1): void {
    if (times > 0) this.faults[fault] = (this.faults[fault] ?? 0) + times
  }

  /** Everything that leaves a node or changes its state goes into the hash: two runs of one seed must agree on it. */
  trace(kind: string, a: string, b: string, term: number, index: number): void {
    this.#trace.number(this.scheduler.now).text(kind).text(a).text(b).number(term).number(index)
    this.say(() => `${kind} ${a} ${b} term=${term} index=${index}`)
  }

  say(line: () => string): void {
    this.lines?.push(`${(this.scheduler.now / tickTime).toFixed(3)} ${line()}`)
  }

  traceHash(): string {
    return this.#trace.hex()
  }

  /** The first thing that must not happen. The run ends at the next event. */
  fail(error: unknown): void {
    if (this.#failed) return
    this.#failed = true
    this.#failure = error
    this.say(() => `FAILED ${String(error)}`)
  }

  checkFailed(): void {
    if (this.#failed) throw this.#failure
  }

  /** A node's stores or driver gave up: with reason, or it is a bug. */
  nodeFailed(node: SimNode, { code, reason }: { readonly code: string; readonly reason: string }): void {
    this.trace(`failed ${code}`, node.id, '', 0, 0)
    if (reason.startsWith('consensus stopped')) this.fail(new OracleError(`invariant: ${node.id}: ${reason}`))
    const excused = node.damaged || node.troubled || refusedRightly(this, node, code)
    if (!excused) this.fail(new OracleError(`healthy disk refused: ${node.id}: ${code} ${reason}`))
    const corrupt = code === 'ERR_STORE_CORRUPT'
    // Found while it ran: the next start mends it, or is refused.
    if (corrupt && node.damaged && !node.troubled && !node.life?.replica) {
      node.lost = true
      this.count('damage-detected')
    }
    // The supervisor ends the process; it comes back later, unless its disk is lost.
    const { life } = node
    this.scheduler.after(this.random.between(1, 30_000), () => {
      if (node.life === life) node.kill('kill')
    })
  }

  /** The cluster before anything breaks. */
  async found(): Promise<void> {
    const ids = Array.from({ length: this.plan.voters }, (_, at) => `n${at + 1}`)
    if (this.plan.grows) {
      const first = new SimNode(this, 'n1', {})
      const founder = new SimNode(this, 'n1', { bootstrap: first.member(true) })
      this.nodes.set('n1', founder)
      founder.boot()
      for (const id of ids.slice(1)) this.#addLater(id, 20)
      return
    }
    for (const id of ids) this.nodes.set(id, new SimNode(this, id, {}))
    const members = [...this.nodes.values()].map((node) => node.member(true))
    for (const node of this.nodes.values()) await this.#foundOn(node, members)
    for (const node of this.nodes.values()) node.boot()
  }

  /** What `bootstrap` writes on one node, on all of them: a cluster that has always had these members. */
  async #foundOn(node: SimNode, members: readonly Member[]): Promise<void> {
    const owner = { alive: true, sleep: () => Promise.resolve() }
    const disk = node.disk.mount(owner)
    const state = await openStateStore({ directory: `/data/${node.id}`, clusterId, disk, compression: false })
    const directory = members.reduce((sum, put) => updateDirectory(sum, { put }), { ...emptyDirectory, incarnation: 1 })
    const voters = members.map(({ id }) => id)
    const membership: Membership = { voters, votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false }
    await state.apply([directoryOp(directory)], { ...state.meta, applied: 1, appliedTerm: 1, membership })
    await state.sync()
    await state.close()
    await settled()
    node.disk.flush()
  }

  /** Phase one. */
  async breakThings(ticks: number): Promise<void> {
    this.clients = new Clients(this)
    this.#damageDue = Array.from({ length: this.plan.damage }, () => this.random.between(ticks / 4, ticks - 1))
    for (let tick = 0; tick < ticks; tick += 1) {
      this.#disturb(tick)
      await this.#pass()
    }
  }

  async #pass(): Promise<void> {
    await this.scheduler.runUntil(this.scheduler.now + tickTime)
    this.checkFailed()
  }

  #maybe(chance: number, fault: string, act: (node: SimNode) => boolean | void): void {
    if (!this.random.chance(chance)) return
    const node = this.random.pick([...this.nodes.values()])
    if (act(node) === false) return
    this.count(fault)
    this.trace(fault, node.id, '', 0, 0)
  }

  #disturb(tick: number): void {
    const { chances, random, plan } = this
    const spell = (): number => Math.round(plan.settings.electionTicks * tickTime * (random.between(1, 30) / 10))
    if (random.chance(chances.partition)) this.network.partition([...this.nodes.keys()])
    if (random.chance(chances.heal)) this.network.heal()
    this.#maybe(chances.flap, 'flapping', (node) => {
      this.network.flap(node.id, random.pick([...this.nodes.keys()]), random.between(4, 12), random.between(1, 8) * tickTime)
    })
    this.#maybe(chances.kill, 'kill', (node) => node.up && node.kill('kill'))
    this.#maybe(chances.power, 'power', (node) => node.up && node.kill('power'))
    if (random.chance(chances.power / 5)) {
      this.count('power-all')
      for (const node of this.nodes.values()) node.kill('power')
    }
    this.#maybe(chances.crashPoint, 'crash-armed', (node) => {
      if (!node.up) return false
      node.disk.faults.crashIn = random.between(1, 60)
      return true
    })
    this.#maybe(chances.stop, 'stop', (node) => node.up && node.stop())
    for (const node of this.nodes.values()) {
      if (node.up || node.lost || !random.chance(chances.restart)) continue
      node.boot()
      this.count('restart')
    }
    this.#maybe(chances.pause, 'pause', (node) => node.up && node.life?.pause(spell()))
    this.#maybe(chances.clockJump, 'clock-jump', (node) =>
      node.setClock(node.clockRate, node.wallOffsetMs + random.between(-60_000, 60_000)),
    )
    this.#maybe(chances.clockRate, 'clock-rate', (node) => node.setClock(random.between(...plan.clockRates) / 100, node.wallOffsetMs))
    this.#maybe(chances.slowDisk, 'slow-disk', (node) => node.slowDisk(spell()))
    this.#maybe(chances.syncError, 'sync-error-armed', (node) => void (node.disk.faults.syncErrors = 1))
    this.#maybe(chances.diskFull, 'disk-full-armed', (node) => node.fullDisk(spell()))
    this.#maybe(chances.readError, 'read-error-armed', (node) => void (node.disk.faults.readErrors = 1))
    this.#maybe(chances.wrongValue, 'wrong-value-armed', (node) => void Object.assign(node.disk.faults, { wrongValues: 1, wrongKey: null }))
    this.#maybe(chances.wrongValue / 3, 'lost-value-armed', (node) => {
      // Wrong however often it is read: its node counts as damaged.
      if (node.lost || node.damaged || this.#wiped.has(node.id) || !this.#survives([node.id])) return false
      node.damaged = true
      Object.assign(node.disk.faults, { wrongValues: 2, wrongKey: null })
      return true
    })
    this.#maybe(chances.seal, 'seal', (node) => node.setSealed(true))
    this.#maybe(chances.unseal, 'unseal', (node) => node.setSealed(false))
    this.#maybe(chances.unreachable, 'unreachable', (node) => {
      const peer = random.pick([...this.nodes.keys()])
      node.life?.run(() => node.life?.replica?.onUnreachable(peer))
    })
    this.#maybe(chances.transfer, 'transfer', () => this.transfer(random.chance(0.5) ? null : random.pick([...this.nodes.keys()])))
    this.#maybe(chances.upgrade, 'upgrade', (node) => exchangeRelease(this, node, nextFormats))
    this.#maybe(chances.downgrade, 'downgrade', (node) => downgrade(this, node))
    if (random.chance(0.02)) this.#replaceLost()
    this.#maybe(chances.membership, 'membership', () => this.changeMembership())
    this.impostor.tick()
    this.#probes.tick()
    this.restores.tick()
    while (this.#damageDue.length > 0 && this.#damageDue.some((due) => due <= tick)) {
      this.#damageDue = this.#damageDue.filter((due) => due > tick)
      this.#damageOne()
    }
  }

  /** The node that leads, as far as the newest term's messages tell. */
  #leader(): SimNode | null {
    const node = this.nodes.get(this.oracle.leader?.id ?? '')
    return node?.life?.replica ? node : null
  }

  /** Runs an operator's command; it may be refused, but only in words that the contract knows. */
  #operate(node: SimNode, what: string, act: () => Promise<unknown>): void {
    const { life } = node
    life?.run(() => {
      act().then(
        () => this.say(() => `${what} done`),
        (error: unknown) => {
          if (!isHoldfastError(error)) this.fail(error)
          this.say(() => `${what} refused: ${String(error)}`)
        },
      )
    })
  }

  /** Still in phase one. */
  get stormy(): boolean {
    return !this.#quiet
  }

  transfer(to: string | null): boolean {
    const leader = this.#leader()
    if (leader === null) return false
    this.#operate(leader, `transfer to ${to}`, async () => leader.life?.replica?.transferLeadership(to, 1_000))
    return true
  }

  /** Every membership that any node knows of. */
  #memberships(): Membership[] {
    return [...this.nodes.values()].flatMap((node) => node.memberships())
  }

  /** Would every majority that may be asked for still be there without `gone`, and with `promoted` counted in? */
  #survives(gone: readonly string[], changed: (voters: readonly string[]) => readonly string[] = (voters) => voters): boolean {
    const dead = new Set([
      ...gone,
      ...[...this.nodes.values()]
        .filter((node) => node.lost || node.damaged || node.fenced || this.#wiped.has(node.id))
        .map(({ id }) => id),
    ])
    return this.#memberships().every((membership) =>
      [membership.voters, membership.votersOutgoing, [...membership.voters, ...membership.learners]].every((half) => {
        const voters = changed(half)
        return voters.length === 0 || voters.filter((id) => !dead.has(id)).length * 2 > voters.length
      }),
    )
  }

  changeMembership(): boolean {
    const leader = this.#leader()
    if (leader === null || this.#quiet) return false
    const replica = leader.life?.replica
    if (!replica) return false
    const { random } = this
    const members = replica.status().members.map(({ id }) => id)
    const broken = members.filter((id) => this.nodes.get(id)?.lost === true || this.#wiped.has(id))
    const kind = random.pick(['add', 'remove', 'demote', 'promote'] as const)
    const id = broken.length > 0 && kind === 'remove' ? random.pick(broken) : random.pick([...this.nodes.keys()])
    if (kind === 'add') {
      if (this.nodes.size >= nodesMax) return false
      this.#addLater(`n${this.nodes.size + 1}`, 0)
    } else if (kind === 'promote') this.#operate(leader, `promote ${id}`, () => replica.setVoter(id, true))
    else {
      if (members.length <= 2 || !this.#survives([], (voters) => voters.filter((each) => each !== id))) return false
      this.#operate(leader, `${kind} ${id}`, () => (kind === 'remove' ? this.#remove(leader, id) : replica.setVoter(id, false)))
    }
    this.count(`membership-${kind}`)
    return true
  }

  /** Removes a member. Later somebody tries to let it in again under its old name, which must be refused for good. */
  async #remove(leader: SimNode, id: string): Promise<void> {
    await leader.life?.replica?.removeMember(id)
    for (let times = this.random.below(3); times > 0; times -= 1) {
      this.scheduler.after(this.random.below(300) * tickTime, () => this.#comeBack(id))
    }
  }

  #comeBack(id: string): void {
    const leader = this.#leader()
    const node = this.nodes.get(id)
    if (leader === null || node === undefined || this.#quiet) return
    this.count('removed-id-again')
    this.#operate(leader, `let removed ${id} in`, async () => {
      await leader.life?.replica?.addMember(node.member(this.random.chance(0.5)))
      this.fail(new OracleError(`removed node: ${id} was let in again`))
    })
  }

  /** What an operator does about a node that refused to start: out with the old id, in with a new one. */
  #replaceLost(): void {
    const leader = this.#leader()
    const replica = leader?.life?.replica
    if (!leader || !replica || this.#quiet || this.nodes.size >= nodesMax) return
    const lost = replica.status().members.find(({ id }) => this.nodes.get(id)?.lost === true || this.#wiped.has(id))
    if (lost === undefined) return
    this.count('replaced')
    this.#operate(leader, `replace ${lost.id}`, async () => {
      await this.#remove(leader, lost.id)
      this.#addLater(`n${this.nodes.size + 1}`, 5)
    })
  }

  /** A new machine asks to join, until somebody lets it in. */
  #addLater(id: string, triesMax: number): void {
    const voter = this.random.chance(0.8)
    let tries = 0
    const ask = (): void => {
      const leader = this.#leader()
      const replica = leader?.life?.replica
      if (!leader || !replica || this.#quiet) return again()
      let node = this.nodes.get(id)
      if (node === undefined) {
        const knownMembers = replica.status().members
        if (knownMembers.length === 0) return again()
        node = new SimNode(this, id, { knownMembers })
        this.nodes.set(id, node)
        node.boot()
      }
      const member = node.member(voter || triesMax > 0)
      this.#operate(leader, `add ${id}`, () =>
        replica.addMember(member, node.formats).catch((error: unknown) => {
          upgradeJoiner(this, node, error)
          again()
          throw error
        }),
      )
    }
    const again = (): void => {
      tries += 1
      if (tries <= triesMax) this.scheduler.after(10 * tickTime, ask)
    }
    if (triesMax > 0) this.scheduler.after(this.random.between(5, 100) * tickTime, ask)
    else ask()
  }

  /** One stopped node's disk rots, or is replaced, if the others can do without it. */
  #damageOne(): void {
    const { random } = this
    const candidates = random.shuffled([...this.nodes.values()].filter((node) => !node.lost && !node.damaged && !this.#wiped.has(node.id)))
    const node = candidates.find(({ id }) => this.#survives([id]))
    if (node === undefined || this.#memberships().length === 0) return
    node.kill('kill')
    if (random.chance(0.11)) return this.#wipe(node)
    const kind = random.shuffled(weightedDamage).find((each) => damage(node.disk, random, `/data/${node.id}`, each))
    if (kind === undefined) return
    node.damaged = true
    this.count(kind)
    this.trace(kind, node.id, '', 0, 0)
    node.boot()
  }

  /** The old id on an empty disk: it may run, but nobody takes its votes or lets it in. */
  #wipe(node: SimNode): void {
    this.count('wipe')
    this.trace('wipe', node.id, '', 0, 0)
    this.#wiped.add(node.id)
    node.wipe()
    const leader = this.#leader()
    const replica = leader?.life?.replica
    const members = replica?.status().members ?? []
    if (!leader || !replica || !members.some(({ id }) => id === node.id)) return
    const again = new SimNode(this, node.id, { knownMembers: members })
    again.fingerprint = node.fingerprint
    again.oracleId = node.oracleId
    this.nodes.set(node.id, again)
    again.boot()
    this.#operate(leader, `let wiped ${node.id} in`, async () => {
      await replica.addMember(again.member(true))
      this.fail(new OracleError(`wiped node: ${node.id} was let in again with a new key`))
    })
  }

  /** Phase two. Returns the ticks that recovery took. */
  async recover(): Promise<number> {
    this.#quiet = true
    this.network.heal()
    this.chances = { ...calm }
    this.network.chances = this.chances
    finishRolling(this)
    for (const node of this.nodes.values()) this.#mend(node)
    // The newest membership may lie on the disks of those that are opening just now: which majority must be drawn is not known before.
    for (let tick = 0; tick < openingTicksMax && (tick === 0 || this.#opening()); tick += 1) await this.#pass()
    const core = this.#drawCore()
    if (core === null) {
      this.count('no-majority-left')
      return 0
    }
    this.#handOverToTheDying(core)
    // Whose log lost something helps nobody into office. It must get that back from the others all the same.
    this.#mending = [...this.nodes.values()].filter((node) => node.fenced && !core.includes(node) && this.random.chance(0.7))
    for (const node of this.nodes.values()) {
      if (core.includes(node) || this.#mending.includes(node)) continue
      this.count('minority-lost')
      node.kill('kill')
      node.lost = true
      // What the dead have sent and is still under way is lost with them: it could bring memberships that this core cannot decide.
      for (const { id } of core) this.network.cut(node.id, id)
    }
    const { electionTicks } = this.plan.settings
    const bound = recoveryElectionsMax * electionTicks
    const answeredBefore = this.clients?.answered ?? 0
    let goal: number | null = null
    for (let tick = 1; tick <= bound; tick += 1) {
      for (const node of core) if (!node.up) node.boot()
      this.#unsealOne(core)
      if (tick > bound / 4 && tick % electionTicks === 0) this.#unsealAnother(core)
      await this.#pass()
      const leader = this.#serving(core)
      if (leader !== null && (this.clients?.answered ?? 0) > answeredBefore + 3) goal ??= this.oracle.committedMax
      if (goal !== null && this.#caughtUp(core, goal)) {
        await this.#settle(core)
        if (this.#serving(core)?.life?.replica?.status().level === nextFormats.max) this.count('level-raised')
        return tick
      }
    }
    throw new OracleError(`liveness: no service after ${recoveryElectionsMax} election timeouts: ${this.#describe(core)}`)
  }

  /** The leader has just told another to take over, which dies before it can: it must take writes again. */
  #handOverToTheDying(core: readonly SimNode[]): void {
    const leader = this.#leader()
    const heir = [...this.nodes.values()].find((node) => node.up && !core.includes(node))
    if (leader === null || heir === undefined || !core.includes(leader) || this.random.chance(0.5)) return
    this.count('transfer-to-dying')
    this.transfer(heir.id)
  }

  #mend(node: SimNode): void {
    const { faults } = node.disk
    Object.assign(faults, {
      syncErrors: 0,
      readErrors: 0,
      wrongValues: 0,
      wrongKey: null,
      holes: 0,
      full: false,
      crashIn: 0,
      latency: this.plan.diskLatency,
      // One entry a batch, and a cluster that was behind would still be so when it is asked whether it serves.
      batchLatency: null,
    })
    node.setClock(1, node.wallOffsetMs)
    node.boot()
  }

  /** Starts whoever could run and does not; true while any of those is still on the way. */
  #opening(): boolean {
    const able = [...this.nodes.values()].filter((node) => !node.lost && !node.damaged && !this.#wiped.has(node.id))
    for (const node of able) if (!node.up) node.boot()
    return able.some(({ life }) => !life?.replica)
  }

  /** A majority of every membership that may be in force, drawn at random; null where there is none any more. */
  #drawCore(): SimNode[] | null {
    // Nor one whose state is gone until a peer sends it: who could may not be drawn.
    const usable = [...this.nodes.values()].filter(
      (node) => !node.lost && !node.damaged && !node.stateless && !node.fenced && !this.#wiped.has(node.id),
    )
    const order = this.random.shuffled(usable)
    // A learner may be promoted at any moment: one more voter, with whom the core must still be a majority.
    const halves = this.#memberships().flatMap(({ voters, votersOutgoing, learners }) => [
      voters,
      votersOutgoing,
      [...voters, ...learners],
      ...learners.map((id) => [...voters, id]),
    ])
    const core = new Set<SimNode>()
    for (const half of halves) {
      for (const node of order) {
        const inside = half.filter((id) => [...core].some((member) => member.id === id)).length
        if (inside * 2 > half.length || half.length === 0) break
        if (half.includes(node.id)) core.add(node)
      }
      const inside = half.filter((id) => [...core].some((member) => member.id === id)).length
      if (half.length > 0 && inside * 2 <= half.length) return null
    }
    return core.size === 0 ? null : [...core]
  }

  /** One unsealed voter is all that a majority needs; the others stay as they are. */
  #unsealOne(core: readonly SimNode[]): void {
    const leader = core.find((node) => node.life?.replica?.status().role === 'leader')
    const membership = leader?.life?.state?.meta.membership
    const voters = core.filter((node) => membership?.voters.includes(node.id))
    if (voters.length > 0 && voters.every((node) => node.sealed)) this.random.pick(voters).setSealed(false)
  }

  /**
   * What the operator does who is told that a sealed node can vouch for nothing: where the unsealed ones have to catch up by a snapshot, one of those
   * that are ahead must be opened.
   */
  #unsealAnother(core: readonly SimNode[]): void {
    const sealed = core.filter((node) => node.sealed && node.up)
    if (sealed.length === 0) return
    this.random.pick(sealed).setSealed(false)
    this.count('unsealed-another')
  }

  #serving(core: readonly SimNode[]): SimNode | null {
    // One that has its log back may lead like any other.
    return [...core, ...this.#mending].find((node) => node.life?.replica?.status().ready === true) ?? null
  }

  #caughtUp(core: readonly SimNode[], goal: number): boolean {
    const membership = this.#serving(core)?.life?.state?.meta.membership
    if (membership === undefined || isJoint(membership)) return false
    const members = membersOf(membership)
    return core.every((node) => !members.includes(node.id) || (node.life?.state?.meta.applied ?? 0) >= goal)
  }

  /** Members whose logs were cut have them back, and vote again. */
  #mended(): boolean {
    const members = membersOf(this.#serving([...this.nodes.values()])?.life?.state?.meta.membership ?? emptyMembership)
    const open = this.#mending.filter((node) => members.includes(node.id) && node.up && node.fenced)
    return open.length === 0
  }

  /** Once every member is there and understands the next level, it is raised. */
  #raised(core: readonly SimNode[]): boolean {
    const state = this.#serving(core)?.life?.state
    const members = state ? membersOf(state.meta.membership) : []
    const all = members.every((id) => core.some((node) => node.id === id && node.life?.formats === nextFormats))
    return !all || this.#serving(core)?.life?.replica?.status().level === nextFormats.max
  }

  /** With no new work, everything comes to rest: equal states, and nothing left in the log that is not applied. */
  async #settle(core: readonly SimNode[]): Promise<void> {
    this.clients?.stop()
    const { electionTicks } = this.plan.settings
    const rested = (): boolean => {
      const leader = this.#serving(core)
      const status = leader?.life?.replica?.status()
      // Whoever lost its state, or was told that it is wrong, has it back: the others had it.
      // Who was removed may wait for a state that nobody owes it.
      const members = membersOf(leader?.life?.state?.meta.membership ?? emptyMembership)
      const whole = core.every((node) => !members.includes(node.id) || node.life?.replica?.status().repair === null) && this.#mended()
      return (
        status !== undefined && whole && status.applied === status.lastIndex && this.#caughtUp(core, status.lastIndex) && this.#raised(core)
      )
    }
    let rounds = 0
    for (; rounds < 100 && (rounds < 3 || !rested()); rounds += 1) {
      await this.scheduler.runUntil(this.scheduler.now + electionTicks * tickTime)
      this.checkFailed()
    }
    if (!rested()) throw new OracleError(`convergence: not at rest after ${rounds} election timeouts: ${this.#describe(core)}`)
    const leader = this.#serving(core)
    const members = membersOf(
      leader?.life?.state?.meta.membership ?? { voters: [], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false },
    )
    const digests = core.flatMap((node) => {
      const state = node.life?.state
      return state && members.includes(node.id) ? [this.oracle.digest(state)] : []
    })
    if (new Set(digests).size !== 1) throw new OracleError(`convergence: ${digests.length} members at rest differ`)
  }

  /** Every history is judged; one that the checker can't decide counts as failed. */
  judge(): void {
    this.#verdict = this.#check()
    if (this.#verdict.outcome !== 'linearizable') throw new OracleError(`linearizability: ${describeResult(this.#verdict)}`)
  }

  #check(): HistoryResult {
    return checkHistory(this.#history(), { stepsMax: checkerStepsMax, initial: (key) => this.restores.initial(key) })
  }

  /** By epoch of the cluster: each register begins anew with a restore. */
  #history(): Operation[] {
    const { clients } = this
    return clients === null
      ? []
      : this.restores.split(clients.recorder.history(), ({ id, returnAt }) => {
          const epochs = clients.epochsOf(id)
          // Told of by a test, and never asked: it is of the first.
          return epochs.length === 0 && returnAt !== null ? [0] : epochs
        })
  }

  /** The history as a page: when it is what failed, and whenever somebody wants to see (`always`). */
  picture(always: boolean): string | null {
    const failed = this.#verdict !== null && this.#verdict.outcome !== 'linearizable'
    if (!failed && !always) return null
    return renderHistoryHtml(this.#history(), this.#verdict ?? this.#check())
  }

  #describe(core: readonly SimNode[]): string {
    return core
      .map((node) => {
        const status = node.life?.replica?.status()
        const membership = node.life?.state?.meta.membership
        const where = `term ${status?.term} commit ${status?.commit}/${status?.lastIndex} applied ${status?.applied}`
        const config = membership === undefined ? '' : describeMembership(membership)
        return `${node.id}${node.sealed ? ' sealed' : ''} ${status?.role} of ${status?.leader}, ${where} ${config} ${status?.failed ?? ''}`
      })
      .join('; ')
  }

  end(): void {
    for (const node of this.nodes.values()) node.life?.die()
  }
}

const calm: Chances = {
  loss: 0,
  duplicate: 0,
  late: 0,
  partition: 0,
  heal: 0,
  flap: 0,
  unreachable: 0,
  kill: 0,
  power: 0,
  crashPoint: 0,
  stop: 0,
  restart: 1,
  pause: 0,
  clockJump: 0,
  clockRate: 0,
  slowDisk: 0,
  syncError: 0,
  diskFull: 0,
  readError: 0,
  wrongValue: 0,
  seal: 0,
  unseal: 0,
  transfer: 0,
  membership: 0,
  upgrade: 0,
  downgrade: 0,
  chunkBreaks: 0,
  chunkRots: 0,
}

/**
 * Runs one seed from start to end. Never throws for what the oracles find; the failure is in the result. `beforeJudgement` is for tests of the
 * simulator itself: it may tell the recorder of what never happened.
 */
export async function runSeed(
  seed: number,
  ticks: number,
  trace?: (line: string) => void,
  beforeJudgement: (clients: Clients | null) => void = () => {},
  /** Runs another cluster or other weather than the seed draws: to show that something would be noticed. */
  adjust?: (plan: Plan) => Plan,
): Promise<Result> {
  const world = new World(seed, trace !== undefined, adjust)
  const unhandled = (error: unknown): void => world.fail(error)
  process.on('unhandledRejection', unhandled)
  let failure: string | null = null
  let recoveryTicks = 0
  try {
    await world.found()
    await world.breakThings(ticks)
    recoveryTicks = await world.recover()
    beforeJudgement(world.clients)
    world.judge()
  } catch (error) {
    failure = error instanceof OracleError ? error.message : error instanceof Error ? (error.stack ?? error.message) : String(error)
  } finally {
    world.end()
    await settled()
    process.off('unhandledRejection', unhandled)
  }
  if (trace !== undefined) for (const line of world.lines ?? []) trace(line)
  const { faults, clients } = world
  const picture = world.picture(trace !== undefined)
  return { seed, failure, faults, operations: clients?.operations ?? 0, traceHash: world.traceHash(), recoveryTicks, picture }
}
