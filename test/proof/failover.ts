import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { lookFor, mountKv, quantile, restart, waitForLeader, Writers } from './writers.ts'
import type { Proof } from './types.ts'

interface Round {
  /** From the kill to the first acknowledgement of a write that was sent after it. */
  readonly nextWriteMs: number
  readonly acknowledged: number
  readonly lost: string[]
}

const clients = 16
const targetMs = 2_000
const watchMs = 3_000

/** The leader is killed without warning, at default settings. */
export const failover: Proof<Round> = {
  name: 'failover',
  claim: `Failover over 50 leader kills at default settings: the next accepted write within ${targetMs} ms.`,
  rounds: 50,
  async prepare({ subject, dir }) {
    const cluster = await subject.cluster(join(dir, 'cluster'), { nodes: 3 })
    await cluster.start()
    await mountKv(cluster, 2)
    return {
      async round(number, dice) {
        const writers = new Writers(cluster, `f${number}-${process.pid}`)
        writers.start(clients)
        await delay(dice.between(500, 1_000))
        const leader = await waitForLeader(cluster)
        const killedAtMs = performance.now()
        await cluster.stopNode(leader, 'SIGKILL')
        await delay(watchMs)
        await writers.stop()
        const after = writers.written.filter(({ sentAtMs, ackedAtMs }) => sentAtMs >= killedAtMs && ackedAtMs !== null)
        const nextWriteMs = Math.min(watchMs * 10, ...after.map(({ ackedAtMs }) => (ackedAtMs as number) - killedAtMs))
        await restart(cluster, [leader])
        const { lost } = await lookFor(cluster, writers.written)
        return { nextWriteMs: Math.round(nextWriteMs), acknowledged: writers.written.length, lost }
      },
      stop: () => cluster.stop(),
    }
  },
  conclude(rounds) {
    const times = rounds.map(({ nextWriteMs }) => nextWriteMs)
    const lost = rounds.flatMap((round) => round.lost)
    const figures = {
      nodes: 3,
      clients,
      kills: rounds.length,
      median_ms: quantile(times, 0.5),
      p90_ms: quantile(times, 0.9),
      worst_ms: Math.max(...times),
      all_ms: times.toSorted((a, b) => a - b),
      lost: lost.length,
    }
    return { figures, clean: lost.length === 0 && figures.worst_ms < targetMs }
  },
}
