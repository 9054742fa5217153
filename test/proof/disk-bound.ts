/** A thousand keys overwritten a million times, then fifty restarts: the folder must stay below a bound that stands here before the run. */
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { KvClient } from '../chaos/kv.ts'
import { mountKv, restart } from './writers.ts'
import type { Proof } from './types.ts'

interface Round {
  readonly step: 'overwrites' | 'restart'
  readonly overwrites: number
  /** Data folder of each node. */
  readonly megabytes: number[]
  readonly seconds: number
}

const keys = 1_000
const overwritesPerRound = 20_000
const overwriteRounds = 50
const restartRounds = 50
const writersAtOnce = 64
/**
 * A node's log keeps 10,000 entries and a quarter more of less than 1 KiB; LevelDB may hold each of them several times until it has compacted its
 * levels, and its two write-ahead logs have up to 8 and 16 MiB. The state is 1,000 small values.
 */
const megabytesMax = 128

export const diskBound: Proof<Round> = {
  name: 'disk-bound',
  claim: `Disk after 1 million overwrites of 1,000 keys, and after 50 restarts: below ${megabytesMax} MB a node.`,
  rounds: overwriteRounds + restartRounds,
  async prepare({ subject, dir, say }) {
    const cluster = await subject.cluster(join(dir, 'cluster'), { nodes: 3 })
    await cluster.start()
    await mountKv(cluster, 1)
    let overwrites = 0
    const measure = (): number[] => cluster.nodes.map(({ dataDir }) => +(bytesBelow(dataDir) / 1e6).toFixed(1))
    return {
      async round(number) {
        const fromMs = performance.now()
        const step = number < overwriteRounds ? 'overwrites' : 'restart'
        if (step === 'overwrites') {
          const client = new KvClient((await cluster.leader())?.apiAddress ?? cluster.nodes[0]?.apiAddress ?? '', cluster.rootToken, 20_000)
          let next = 0
          const writer = async (): Promise<void> => {
            while (next < overwritesPerRound) {
              const n = next++
              const answer = await client.putPlain(`key${n % keys}`, `value ${number}/${n} ${'x'.repeat(200)}`)
              if (answer.outcome !== 'done') throw new Error(`expected a calm cluster to take a write, got ${answer.code}`)
            }
          }
          await Promise.all(Array.from({ length: writersAtOnce }, writer))
          await client.close()
          overwrites += overwritesPerRound
        } else {
          for (const node of cluster.nodes) {
            await cluster.stopNode(node, number % 2 === 0 ? 'SIGTERM' : 'SIGKILL')
            await restart(cluster, [node])
          }
        }
        const megabytes = measure()
        say(`${step} ${number + 1}: ${megabytes.join(', ')} MB`)
        return { step, overwrites, megabytes, seconds: Math.round((performance.now() - fromMs) / 1_000) }
      },
      stop: () => cluster.stop(),
    }
  },
  conclude(rounds) {
    const worst = Math.max(...rounds.flatMap(({ megabytes }) => megabytes))
    const figures = {
      nodes: 3,
      keys,
      overwrites: rounds.filter(({ step }) => step === 'overwrites').length * overwritesPerRound,
      restarts: rounds.filter(({ step }) => step === 'restart').length,
      bound_mb: megabytesMax,
      worst_mb: worst,
      last_mb: rounds.at(-1)?.megabytes,
      curve_mb: rounds.map(({ megabytes }) => Math.max(...megabytes)),
      seconds: rounds.reduce((sum, round) => sum + round.seconds, 0),
    }
    return { figures, clean: worst < megabytesMax }
  },
}

function bytesBelow(path: string): number {
  let sum = 0
  for (const entry of readdirSync(path, { recursive: true, withFileTypes: true })) {
    try {
      if (entry.isFile()) sum += statSync(join(entry.parentPath, entry.name)).size
    } catch {
      continue // LevelDB has just removed it.
    }
  }
  return sum
}
