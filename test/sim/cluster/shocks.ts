/**
 * Blows struck where they hurt, as in the core's simulator: at a leader that writes a change of membership or has just begun its term, and at a node
 * that installs a snapshot. Drawn from a stream of their own: off in some seeds, hard in others.
 */
import { EntryType, isJoint, type Entry } from '#raft/index.ts'
import { Prng } from '../prng.ts'
import { tickTime } from './draw.ts'
import type { SimNode } from './node.ts'
import type { World } from './world.ts'

const changeShocks = ['kill', 'power', 'crash-point', 'cut', 'few', 'few', 'halves', 'halves', 'transfer', 'pause'] as const
const newLeaderShocks = ['unreachable', 'cut', 'few', 'power', 'change', 'change'] as const
type Shock = (typeof changeShocks)[number] | (typeof newLeaderShocks)[number]

export class Shocks {
  readonly #world: World
  readonly #random: Prng
  readonly #chance: number
  /** Newest term in which a leader was seen to write. */
  #ledTerm = 0

  constructor(world: World, seed: number) {
    this.#world = world
    this.#random = new Prng(seed + 0x5b0c4)
    this.#chance = this.#random.chance(0.4) ? 0 : this.#random.pick([0.15, 0.4, 0.8])
  }

  get #strikes(): boolean {
    return this.#world.stormy && this.#random.chance(this.#chance)
  }

  #soon(ticks: number, act: () => void): void {
    this.#world.scheduler.after(this.#random.below(ticks * tickTime + 1), () => {
      if (this.#world.stormy) act()
    })
  }

  /** `node` is about to store `entries`. */
  appends(node: SimNode, entries: readonly Entry[]): void {
    const { role, term } = node.life?.replica?.status() ?? { role: null, term: 0 }
    if (role !== 'leader') return
    const begins = entries.some((entry) => entry.type === EntryType.empty && entry.term === term) && term > this.#ledTerm
    if (begins) this.#ledTerm = term
    if (entries.some(({ type }) => type === EntryType.membership)) this.#strike('change', this.#random.pick(changeShocks), node)
    else if (begins) this.#strike('election', this.#random.pick(newLeaderShocks), node)
  }

  /** A received snapshot is about to take the place of log and state: a crash between two of its steps. */
  installs(node: SimNode): void {
    if (!this.#strikes) return
    this.#world.count('install-shock')
    node.disk.faults.crashIn = this.#random.between(1, 25)
  }

  #strike(cause: 'change' | 'election', kind: Shock, leader: SimNode): void {
    if (!this.#strikes) return
    this.#world.count(`${cause}-shock-${kind}`)
    this.#world.trace(`${cause}-shock-${kind}`, leader.id, '', 0, 0)
    const { network, nodes } = this.#world
    const others = [...nodes.keys()].filter((id) => id !== leader.id)
    switch (kind) {
      case 'kill':
      case 'power':
        return this.#soon(2, () => leader.kill(kind))
      case 'crash-point':
        leader.disk.faults.crashIn = this.#random.between(1, 12)
        return
      case 'cut':
        return this.#soon(1, () => this.#between([leader.id], others))
      case 'few': {
        const lucky = this.#random.shuffled(others).slice(0, this.#random.between(0, 2))
        return this.#between(
          [leader.id, ...lucky],
          others.filter((id) => !lucky.includes(id)),
        )
      }
      case 'halves': {
        const going = this.#goingVoters(leader)
        return this.#between(
          [...nodes.keys()].filter((id) => going(id)),
          [...nodes.keys()].filter((id) => !going(id)),
        )
      }
      case 'transfer': {
        const to = this.#random.chance(0.5) ? null : this.#random.pick([...nodes.keys()])
        return this.#soon(2, () => void this.#world.transfer(to))
      }
      case 'pause':
        return this.#soon(1, () => leader.life?.pause(this.#random.between(1, 30) * network.delay()))
      case 'unreachable':
        for (const id of others) this.#soon(3, () => leader.life?.run(() => leader.life?.replica?.onUnreachable(id)))
        return
      case 'change':
        return this.#soon(2, () => void this.#world.changeMembership())
    }
  }

  /** Voters of the old half that are not in the new one; where no two halves are known, any half. */
  #goingVoters(leader: SimNode): (id: string) => boolean {
    const membership = leader.memberships().at(-1)
    if (membership === undefined || !isJoint(membership)) return () => this.#random.chance(0.5)
    return (id) => membership.votersOutgoing.includes(id) && !membership.voters.includes(id)
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
