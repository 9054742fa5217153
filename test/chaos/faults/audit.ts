import { anywhere, nothing, type FaultKind } from './types.ts'

/** Nobody reads the FIFO that is the node's audit file: once the pipe is full, its writes hang. */
export const hungAudit: FaultKind = {
  name: 'hung audit file',
  holdMs: [3_000, 6_000],
  unavailable: anywhere,
  async inject(arena, dice) {
    const node = await arena.victim(dice)
    node.audit.hang()
    return { on: node.id, heal: () => (node.audit.goOn(), nothing()) }
  },
}
