/** Restarts: of all at once, and of one that stays sealed for a while. */
import { setTimeout as delay } from 'node:timers/promises'
import { anywhere, nothing, type FaultKind } from './types.ts'

export const restartAll: FaultKind = {
  name: 'restart of all',
  holdMs: [200, 1_000],
  unavailable: anywhere,
  async inject(arena) {
    await Promise.all(arena.nodes.map((node) => node.end('SIGKILL')))
    return { on: 'every node', heal: nothing }
  },
}

export const sealedRestart: FaultKind = {
  name: 'sealed restart',
  holdMs: [3_000, 6_000],
  unavailable: anywhere,
  async inject(arena, dice) {
    const node = await arena.victim(dice)
    const signal = dice.chance(0.5) ? 'SIGKILL' : 'SIGTERM'
    const fromMs = performance.now()
    await node.end(signal)
    const tookMs = Math.round(performance.now() - fromMs)
    node.start()
    await node.answering()
    return { on: `${node.id}, which took ${tookMs} ms to end by ${signal}`, heal: nothing }
  },
}

/** Away for so many writes that the others have cut their logs: it comes back by a snapshot. */
export const lag: FaultKind = {
  name: 'lag that needs a snapshot',
  holdMs: [500, 1_000],
  unavailable: anywhere,
  async inject(arena, dice) {
    const node = dice.pick(arena.nodes)
    await node.end('SIGKILL')
    const leader = await arena.leader()
    const from = await committed()
    const deadline = performance.now() + 25_000
    while ((await committed()) < from + entriesAway && performance.now() < deadline) {
      await Promise.all(
        Array.from({ length: 32 }, (_, i) =>
          arena.call(leader, 'POST', `secret/data/filler/${i}`, { data: { value: 'x' } }).catch(() => null),
        ),
      )
    }
    await delay(1_500) // The log is looked at once a second.
    return { on: node.id, heal: nothing }

    async function committed(): Promise<number> {
      const answer = await arena.call(leader, 'GET', 'sys/leader', undefined, 2_000).catch(() => null)
      const index = answer?.body?.['raft_committed_index']
      return typeof index === 'number' ? index : 0
    }
  },
}
/** More than the log keeps (arena.ts), and the quarter on top after which it is cut. */
const entriesAway = 700
