/** Partitions: of one node in both directions or in one, of halves, and with one node that reaches both sides. */
import { anywhere, nothing, type FaultKind } from './types.ts'

export const symmetricPartition: FaultKind = {
  name: 'symmetric partition',
  holdMs: [2_000, 5_000],
  unavailable: anywhere,
  async inject(arena, dice) {
    const victim = await arena.victim(dice)
    // With five nodes the minority may be two.
    const size = dice.between(1, Math.floor((arena.nodes.length - 1) / 2))
    const side = [victim, ...dice.shuffled(arena.others(victim))].slice(0, size)
    for (const inside of side)
      for (const outside of arena.nodes) if (!side.includes(outside)) arena.network.cutBoth(inside.slot, outside.slot)
    return { on: side.map(({ id }) => id).join(' and '), heal: nothing }
  },
}

export const asymmetricPartition: FaultKind = {
  name: 'asymmetric partition',
  holdMs: [2_000, 5_000],
  unavailable: anywhere,
  async inject(arena, dice) {
    const node = await arena.victim(dice)
    const deaf = dice.chance(0.5)
    for (const other of arena.others(node)) {
      if (deaf) arena.network.cut(other.slot, node.slot)
      else arena.network.cut(node.slot, other.slot)
    }
    return { on: `${node.id}, which ${deaf ? 'hears' : 'is heard by'} nobody`, heal: nothing }
  },
}

export const bridgePartition: FaultKind = {
  name: 'bridge partition',
  holdMs: [2_000, 5_000],
  unavailable: anywhere,
  async inject(arena, dice) {
    const bridge = await arena.victim(dice)
    const rest = dice.shuffled(arena.others(bridge))
    const half = Math.ceil(rest.length / 2)
    for (const left of rest.slice(0, half)) for (const right of rest.slice(half)) arena.network.cutBoth(left.slot, right.slot)
    return { on: `only ${bridge.id} reaches all`, heal: nothing }
  },
}
