import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { lookFor, mountKv, restart, waitForLeader, Writers } from './writers.ts'
import type { Proof } from './types.ts'

interface Round {
  readonly whom: string
  readonly afterMs: number
  readonly acknowledged: number
  readonly unknown: number
  readonly lost: string[]
  readonly doubled: string[]
}

const clients = 16
const killMsMax = 500

/** Kill -9 at a random moment of the writes, over and over: on one node, or on three, where it hits the leader, any one, or all. */
export function killLoop(nodes: 1 | 3): Proof<Round> {
  return {
    name: nodes === 1 ? 'kill-loop' : 'kill-loop-3',
    claim: `Kill -9 at a random 0 to ${killMsMax} ms into the writes of ${clients} clients, on ${nodes} node${nodes === 1 ? '' : 's'}: no lost or doubled write.`,
    rounds: 200,
    async prepare({ subject, dir }) {
      const cluster = await subject.cluster(join(dir, 'cluster'), { nodes })
      await cluster.start()
      await mountKv(cluster, 2)
      return {
        async round(number, dice) {
          const kind = nodes === 1 ? 'the only one' : dice.pick(['the leader', 'any one', 'all'])
          const leader = await waitForLeader(cluster)
          const victims = kind === 'all' ? cluster.nodes : [kind === 'any one' ? dice.pick(cluster.nodes) : leader]
          const writers = new Writers(cluster, `r${number}-${process.pid}`)
          const afterMs = dice.between(0, killMsMax)
          writers.start(clients)
          await delay(afterMs)
          await Promise.all(victims.map((node) => cluster.stopNode(node, 'SIGKILL')))
          // Those that are left go on for a moment, through the election and the loss of their connections.
          await delay(nodes === 1 ? 20 : 300)
          await writers.stop()
          await restart(cluster, victims)
          const found = await lookFor(cluster, writers.written)
          const acknowledged = writers.written.filter(({ ackedAtMs }) => ackedAtMs !== null).length
          return { whom: kind, afterMs, acknowledged, unknown: writers.written.length - acknowledged, ...found }
        },
        stop: () => cluster.stop(),
      }
    },
    conclude(rounds) {
      const sum = (count: (round: Round) => number): number => rounds.reduce((total, round) => total + count(round), 0)
      const lost = rounds.flatMap((round) => round.lost)
      const doubled = rounds.flatMap((round) => round.doubled)
      const figures = {
        nodes,
        clients,
        kills: rounds.length,
        whom: Object.fromEntries([...Map.groupBy(rounds, ({ whom }) => whom)].map(([whom, each]) => [whom, each.length])),
        acknowledged: sum((round) => round.acknowledged),
        unknown: sum((round) => round.unknown),
        lost: lost.length,
        doubled: doubled.length,
        examples: [...lost, ...doubled].slice(0, 10),
      }
      return { figures, clean: lost.length + doubled.length === 0 && figures.acknowledged > 10 * rounds.length }
    },
  }
}
