import { anywhere, nothing, type FaultKind } from './types.ts'

/** Longer than any lease and election timeout: when it goes on, the node must not answer from what it knew. */
export const pause: FaultKind = {
  name: 'SIGSTOP beyond the lease',
  holdMs: [2_500, 5_000],
  unavailable: anywhere,
  async inject(arena, dice) {
    const node = await arena.victim(dice)
    node.signal('SIGSTOP')
    return { on: node.id, heal: () => (node.signal('SIGCONT'), nothing()) }
  },
}
