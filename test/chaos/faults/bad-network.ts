/** Slow and lossy links, all at once or those of one node. */
import { anywhere, nothing, type FaultKind } from './types.ts'

export const packetLoss: FaultKind = {
  name: 'packet loss',
  holdMs: [3_000, 6_000],
  unavailable: anywhere,
  async inject(arena, dice) {
    const part = dice.between(10, 40) / 100
    for (const from of arena.nodes) for (const to of arena.others(from)) arena.network.lose(from.slot, to.slot, part)
    return { on: `all links, ${part * 100} %`, heal: nothing }
  },
}

export const slowLinks: FaultKind = {
  name: 'delay',
  holdMs: [3_000, 6_000],
  unavailable: anywhere,
  async inject(arena, dice) {
    const node = await arena.victim(dice)
    const delayMs = dice.between(20, 400)
    for (const other of arena.others(node)) {
      arena.network.delay(node.slot, other.slot, delayMs, delayMs)
      arena.network.delay(other.slot, node.slot, delayMs, delayMs)
    }
    return { on: `${node.id}, ${delayMs} to ${2 * delayMs} ms each way`, heal: nothing }
  },
}
