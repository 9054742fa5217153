/** Bits flipped in the folder of a stopped node, which then starts among its peers: it serves what is right, or it stays out. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { LocalCluster, LocalNode } from '#cmd/dev/local-cluster.ts'
import { countBy, drawFlip, flip, liveFiles, type Flip } from './bit-flips.ts'
import { lookFor, mountKv, restart, waitForLeader, Writers, type Written } from './writers.ts'
import type { Proof } from './types.ts'

/** What a node says of its stores when it starts, by what came of it. */
const mendings = {
  'log cut, without a vote until it is whole': /the log of this node is damaged/,
  'state replayed from the log': /an unreadable end of its log is cut off/,
  'state refetched': /the state of this node is given up|state on the disk is not what it should be|state.*(corrupt|damaged)/,
} as const
type Mending = keyof typeof mendings

interface Round extends Flip {
  readonly outcome: Mending | 'harmless' | 'refused: stayed out'
  readonly said: string
  readonly lost: string[]
  readonly doubled: string[]
}

const servingMsMax = 20_000
/** Secrets that every round reads back, beside those that it wrote itself. */
const keptMax = 400

export const restarts: Proof<Round> = {
  name: 'flips-restart',
  claim:
    '100 single-bit flips, each in the folder of a stopped node that is then started among its peers: never a wrong answer, never a lost acknowledged write.',
  rounds: 100,
  async prepare({ subject, dir, say }) {
    const cluster = await subject.cluster(join(dir, 'cluster'), { nodes: 3 })
    await cluster.start()
    await mountKv(cluster, 2)
    let kept: Written[] = []
    return {
      async round(number, dice) {
        const before = new Writers(cluster, `r${number}-${process.pid}`)
        before.start(8)
        await delay(300)
        const node = dice.pick(cluster.nodes)
        await cluster.stopNode(node, dice.chance(0.5) ? 'SIGKILL' : 'SIGTERM')
        await delay(200)
        await before.stop()
        const drawn = drawFlip(node.dataDir, liveFiles(node.dataDir), dice)
        flip(node.dataDir, drawn)
        const logFrom = existsSync(node.logPath) ? readFileSync(node.logPath).length : 0
        const fromMs = performance.now()
        const served = await comesToServe(cluster, node)
        const said = warnings(node, logFrom)
        const outcome = served ? mendingOf(said) : 'refused: stayed out'
        const cameMs = performance.now() - fromMs
        if (!served) await replace(cluster, node, number)
        say(`${node.id}, ${drawn.file}: ${outcome} after ${(cameMs / 1_000).toFixed(1)} s${said === '' ? '' : `: ${said}`}`)
        kept = [...kept, ...before.written].slice(-keptMax)
        return { ...drawn, outcome, said, ...(await lookFor(cluster, kept)) }
      },
      stop: () => cluster.stop(),
    }
  },
  conclude(rounds) {
    const lost = rounds.flatMap((round) => round.lost)
    const doubled = rounds.flatMap((round) => round.doubled)
    const figures = {
      flips: rounds.length,
      by_file: countBy(rounds, ({ kind }) => kind),
      outcomes: countBy(rounds, ({ outcome }) => outcome),
      by_file_and_outcome: countBy(rounds, ({ kind, outcome }) => `${kind}: ${outcome}`),
      lost: lost.length,
      doubled: doubled.length,
      examples: [...lost, ...doubled].slice(0, 10),
    }
    return { figures, clean: lost.length + doubled.length === 0 }
  },
}

async function comesToServe(cluster: LocalCluster, node: LocalNode): Promise<boolean> {
  cluster.spawn(node)
  // It may answer for a moment, and end when it has looked into its store.
  const ended = once(node.process as ChildProcess, 'exit').then(() => false)
  const serves = (async () => {
    await cluster.waitForAnswer(node)
    await cluster.unseal(node)
    await cluster.waitUntilServing([node], servingMsMax)
    return true
  })().catch(() => false) // It answers, and says why it does not serve: that is in its log.
  return Promise.race([serves, ended])
}

/** As an operator would: what can't be repaired leaves, and comes back empty under a new name. */
async function replace(cluster: LocalCluster, node: LocalNode, number: number): Promise<void> {
  await cluster.stopNode(node, 'SIGKILL')
  const configuration = readFileSync(node.configPath, 'utf8')
  const id = /node_id = "(.*)"/.exec(configuration)?.[1] ?? node.id
  const leader = await waitForLeader(cluster)
  const answer = await cluster.api.call(leader.apiAddress, 'POST', 'sys/storage/raft/remove-peer', {
    token: cluster.rootToken,
    body: { server_id: id },
  })
  if (answer.status >= 300) throw new Error(`remove-peer of ${id}: expected 204, got ${answer.status}: ${JSON.stringify(answer.body)}`)
  rmSync(node.dataDir, { recursive: true, force: true })
  writeFileSync(node.configPath, configuration.replace(`node_id = "${id}"`, `node_id = "${node.id}-${number}"`))
  cluster.spawn(node)
  await cluster.waitForAnswer(node)
  await cluster.join(node, await waitForLeader(cluster))
  await restart(cluster, [node])
}

function mendingOf(said: string): Mending | 'harmless' {
  return (Object.keys(mendings) as Mending[]).find((one) => mendings[one].test(said)) ?? 'harmless'
}

/** What it warned of (pino's levels from 40 on) about its log or its state. */
function warnings(node: LocalNode, from: number): string {
  const lines = readFileSync(node.logPath).subarray(from).toString('utf8').split('\n')
  return lines
    .filter((line) => /"level":[456]0/.test(line) && /log of this node|state|store|corrupt|damage/i.test(line))
    .map((line) => /"msg":"([^"]*)"/.exec(line)?.[1] ?? line)
    .slice(0, 5)
    .join('; ')
    .slice(0, 400)
}
