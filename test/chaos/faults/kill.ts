import { anywhere, nothing, type FaultKind } from './types.ts'

export const kill: FaultKind = {
  name: 'kill -9',
  holdMs: [500, 3_000],
  unavailable: anywhere,
  async inject(arena, dice) {
    const node = await arena.victim(dice)
    await node.end('SIGKILL')
    return { on: node.id, heal: nothing }
  },
}
