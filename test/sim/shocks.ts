/**
 * Blows struck where they hurt, and not just anywhere: at a leader that has begun a change of membership, between the two halves of a joint one, at
 * one that has just been elected, at a write that replaces entries. Drawn from a stream of their own: off in some seeds, hard in others.
 */
import type { Membership, MembershipStep } from '#raft/index.ts'
import { Prng } from './prng.ts'
import type { SimNode } from './replica.ts'
import type { World } from './world.ts'

const changeShocks = ['crash', 'cut', 'few', 'halves', 'transfer', 'pause', 'restart', 'again', 'halves', 'few'] as const
const newLeaderShocks = ['change', 'corner', 'corner', 'meet', 'meet', 'cut', 'few', 'unreachable', 'crash'] as const
const transferShocks = ['restart-heir', 'restart-heir', 'pause-heir', 'crash'] as const
type Shock = (typeof changeShocks)[number] | (typeof newLeaderShocks)[number]

export class Shocks {
  readonly #world: World
  readonly #random: Prng
  readonly #chance: number
  /** How much more often members change than the seed's plan says, and a majority of them at once. */
  readonly #swaps: number

  constructor(world: World, seed: number) {
    this.#world = world
    this.#random = new Prng(seed + 0x5b0c4)
    this.#chance = this.#random.chance(0.4) ? 0 : this.#random.pick([0.2, 0.5, 0.9])
    this.#swaps = this.#chance === 0 ? 0 : this.#random.pick([0.02, 0.05, 0.15])
  }

  get #strikes(): boolean {
    return this.#world.stormy && this.#random.chance(this.#chance)
  }

  #soon(ticks: number, act: () => void): void {
    const { queue, options } = this.#world
    queue.after(this.#random.below(ticks * options.tickTime + 1), () => {
      if (this.#world.stormy) act()
    })
  }

  /** Once a tick: members change, more of them at once than by one step at a time. */
  tick(): void {
    if (this.#random.chance(this.#swaps)) this.#swap()
    if (!this.#strikes) return
    // Streams to whom nobody hears break again and again.
    for (const leader of this.#world.leaders()) {
      for (const { id, ticksSinceContact } of leader.status()?.peers ?? []) {
        if (ticksSinceContact > 2 && this.#random.chance(0.2)) leader.unreachable(id)
      }
    }
  }

  /** `leader` hands over to `heir`, who is told to campaign within a tick or so. */
  transfers(leader: SimNode, heir: string | null): void {
    const node = this.#world.nodes.get(heir ?? '')
    if (node === undefined || !this.#strikes) return
    const kind = this.#random.pick(transferShocks)
    this.#world.count(`transfer-shock-${kind}`)
    if (kind === 'crash') return this.#soon(2, () => this.#crash(leader))
    this.#soon(2, () => {
      if (!node.up) return
      if (kind === 'pause-heir') return node.pause(this.#random.between(5, 40) * this.#world.network.delay())
      this.#crash(node)
      node.start(false)
    })
  }

  #swap(): void {
    const { random } = { random: this.#random }
    const leader = this.#world.leaders().at(-1)
    const status = leader?.status()
    if (leader === undefined || !status) return
    const { voters } = status.membership
    const ready = status.peers.filter(({ voter, match }) => !voter && match >= status.commit).map(({ id }) => id)
    const steps: MembershipStep[] = []
    if (ready.length === 0 || random.chance(0.3)) {
      for (let i = random.between(1, 2); i > 0; i -= 1) steps.push({ kind: 'add-learner', node: this.#world.newNode() })
    } else {
      const coming = random.shuffled(ready).slice(0, random.between(1, 3))
      const going = random.shuffled(voters.filter((id) => id !== leader.id || random.chance(0.3))).slice(0, random.below(coming.length + 1))
      for (const node of coming) steps.push({ kind: 'add-voter', node })
      for (const node of going) steps.push({ kind: random.chance(0.7) ? 'remove' : 'add-learner', node })
    }
    this.#propose(leader, steps)
  }

  #propose(leader: SimNode, steps: readonly MembershipStep[]): void {
    const joint = this.#random.pick(['auto', 'auto', 'explicit'] as const)
    const done = leader.proposeMembership({ steps, joint, context: new Uint8Array(0) })
    if (done) this.#world.count('membership')
  }

  /** `leader` has appended a change from `before` to `after`; nobody else knows of it yet. */
  changed(leader: SimNode, before: Membership, after: Membership): void {
    if (!this.#strikes) return
    const kind = this.#random.pick(changeShocks)
    const old = new Set([...before.voters, ...before.votersOutgoing])
    const next = new Set(after.voters)
    this.#world.count(`change-shock-${kind}`)
    this.#strike(kind, leader, (id) => old.has(id) && !next.has(id))
  }

  /** `leader` leads a term that had no leader yet. */
  elected(leader: SimNode): void {
    if (!this.#strikes) return
    // Somebody holds a change that this leader knows nothing of: the next one must not be decided apart from it.
    const kind = this.#disputed(leader) && this.#random.chance(0.7) ? 'corner' : this.#random.pick(newLeaderShocks)
    this.#world.count(`election-shock-${kind}`)
    this.#strike(kind, leader, () => this.#random.chance(0.5))
  }

  #disputed(leader: SimNode): boolean {
    const own = leader.status()?.membership.voters.length
    return [...this.#world.nodes.values()].some((node) => node.up && (node.status()?.membership.voters.length ?? own) !== own)
  }

  /** A write begins that replaces entries of an older term: a crash may leave half of it. */
  overwrites(node: SimNode): void {
    if (!this.#world.stormy || !this.#random.chance(Math.sqrt(this.#chance))) return
    this.#world.count('overwrite-shock')
    this.#soon(1, () => node.writing && this.#crash(node))
  }

  /** A node is gone: streams to it break, and those at their other end hear of it. */
  gone(id: string): void {
    if (!this.#strikes) return
    for (const node of this.#world.nodes.values()) if (node.id !== id) this.#soon(5, () => node.unreachable(id))
  }

  #strike(kind: Shock, leader: SimNode, isOther: (id: string) => boolean): void {
    const { network, nodes } = this.#world
    const ids = [...nodes.keys()].filter((id) => id !== leader.id)
    switch (kind) {
      case 'crash':
        return this.#soon(2, () => this.#crash(leader))
      case 'restart':
        return this.#soon(2, () => {
          this.#crash(leader)
          this.#soon(2, () => !leader.up && leader.start(false))
        })
      case 'cut':
        return this.#soon(1, () => this.#between([leader.id], ids))
      case 'few': {
        // Only one or two hear it.
        const lucky = this.#random.shuffled(ids).slice(0, this.#random.between(0, 2))
        return this.#between(
          [leader.id, ...lucky],
          ids.filter((id) => !lucky.includes(id)),
        )
      }
      case 'corner':
        // What was split before is whole again, but for this leader and its few; and it acts as if it had a majority.
        network.heal()
        return this.#corner(leader)
      case 'meet':
        // Two leaders write to one node, whose disk is slow.
        network.heal()
        for (const node of nodes.values()) if (node !== leader) node.slowDisk(this.#random.between(0, 3) * this.#world.options.tickTime)
        for (const old of this.#world.leaders()) for (let i = 0; i < 3; i += 1) this.#soon(1, () => old.write(1))
        return
      case 'halves':
        return this.#between(
          [...nodes.keys()].filter((id) => isOther(id)),
          [...nodes.keys()].filter((id) => !isOther(id)),
        )
      case 'transfer': {
        const to = this.#random.chance(0.3) ? null : this.#random.pick(ids.length > 0 ? ids : [leader.id])
        return this.#soon(2, () => leader.act((raft) => raft.transferLeadership(to)))
      }
      case 'pause':
        return this.#soon(1, () => leader.up && leader.pause(this.#random.between(1, 30) * network.delay()))
      case 'unreachable':
        for (const id of ids) this.#soon(3, () => leader.unreachable(id))
        return
      case 'again':
      case 'change':
        // Correct leaders refuse most of these: too soon, or one is under way.
        for (let i = 0; i < 4; i += 1) this.#soon(2, () => this.#insist(leader))
    }
  }

  /** One voter short of a majority, which the removal of one of the others would make one. */
  #corner(leader: SimNode): void {
    const { voters = [] } = leader.status()?.membership ?? {}
    const others = this.#random.shuffled(voters.filter((id) => id !== leader.id))
    const lucky = others.slice(0, Math.max(0, (voters.length >> 1) - 1))
    const few = [leader.id, ...lucky]
    this.#between(
      few,
      [...this.#world.nodes.keys()].filter((id) => !few.includes(id)),
    )
    const node = others.at(-1)
    if (node === undefined) return
    for (let i = 0; i < 3; i += 1) {
      const kind = this.#random.chance(0.7) ? 'remove' : 'add-learner'
      this.#soon(i, () => this.#propose(leader, [{ kind, node }]))
    }
  }

  #insist(leader: SimNode): void {
    const status = leader.status()
    if (!status) return
    if (this.#random.chance(0.3)) return this.#propose(leader, [])
    if (this.#random.chance(0.4)) return this.#swap()
    const { voters, learners } = status.membership
    const node = this.#random.pick([...voters, ...learners])
    const kind = learners.includes(node) ? 'add-voter' : this.#random.pick(['remove', 'add-learner'] as const)
    this.#propose(leader, [{ kind, node }])
  }

  #crash(node: SimNode): void {
    if (!node.up) return
    node.crash()
    this.#world.count('crash')
  }

  #between(a: readonly string[], b: readonly string[]): void {
    for (const x of a) {
      for (const y of b) {
        this.#world.network.cut(x, y)
        this.#world.network.cut(y, x)
      }
    }
  }
}
