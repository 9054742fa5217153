import { nothing, type FaultKind } from './types.ts'

/** The wall clock of a node jumps, by seconds or by hours, ahead or back, and later back into its place. */
export const clockJump: FaultKind = {
  name: 'clock jump',
  holdMs: [3_000, 6_000],
  unavailable: (machine) => machine.faketime,
  async inject(arena, dice) {
    const node = await arena.victim(dice)
    const offset = `${dice.pick(['+', '-'])}${dice.pick([2, 30, 600, 7_200, 86_400])}s`
    node.setClock(offset)
    return { on: `${node.id} ${offset}`, heal: () => (node.setClock('+0'), nothing()) }
  },
}
