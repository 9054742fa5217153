/**
 * Linearizable reads of whole replicas (driver, core, stores) over a network in memory whose messages take a millisecond each way: reads a second
 * and their delay, at the leader and at a follower, one reader after another and many at once, by rounds of heartbeats and by leases.
 * Run: node bench/reads.ts [--seconds 2]
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { systemClock } from '#base/clock.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { startReplica, type Peers, type StartedReplica } from '#replica/index.ts'
import type { Member } from '#replica/types.ts'
import { openLogStore } from '#store/log.ts'
import { openStateStore } from '#store/state.ts'
import { testAuthenticator } from '#test/support/authenticator.ts'
import { recordFigures } from '#test/support/figures.ts'

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '2' } } })
const runMs = Number(values.seconds) * 1_000
const oneWayMs = 1
const clusterId = 'bench'
const patienceMs = 15_000

function member(id: string): Member {
  return { id, clusterAddress: `${id}:1`, apiAddress: `http://${id}:2`, fingerprint: `print-${id}`, voter: true }
}

class Trio {
  readonly folder = mkdtempSync(join(tmpdir(), 'holdfast-bench-'))
  readonly nodes = new Map<string, StartedReplica>()
  readonly #leaseReads: boolean

  constructor(leaseReads: boolean) {
    this.#leaseReads = leaseReads
  }

  async start(): Promise<{ readonly leader: StartedReplica; readonly follower: StartedReplica }> {
    const leader = await this.#add('a')
    await until('a leader', () => leader.status().ready)
    for (const id of ['b', 'c']) {
      await this.#add(id)
      await leader.addMember(member(id))
      await until('a promotion', () => leader.status().peers.some((peer) => peer.id === id && peer.voter))
    }
    const follower = this.nodes.get('b')
    if (follower === undefined) throw new Error('expected a follower, got none')
    return { leader, follower }
  }

  async #add(id: string): Promise<StartedReplica> {
    const directory = join(this.folder, id)
    const node = await startReplica({
      nodeId: id,
      clusterId,
      incarnation: 1,
      log: await openLogStore({ directory, clusterId }),
      state: await openStateStore({ directory, clusterId }),
      peers: this.#peersOf(id),
      clock: systemClock,
      random: systemRandom,
      logger: silentLogger,
      settings: { leaseReads: this.#leaseReads },
      ...(id === 'a' ? { bootstrap: member(id) } : { knownMembers: [member('a')] }),
    })
    node.setAuthenticator(testAuthenticator())
    this.nodes.set(id, node)
    return node
  }

  #peersOf(from: string): Peers {
    return {
      send: (to, message) => {
        const copy: unknown = structuredClone(message)
        setTimeout(() => this.nodes.get(to)?.onMessage(from, copy), oneWayMs)
      },
      sendSnapshot: async (to, header, body) => {
        await sleep(oneWayMs)
        await this.nodes.get(to)?.onSnapshot(from, header, body)
      },
      setPeers: () => {},
      lastContactMs: () => null,
    }
  }

  async end(): Promise<void> {
    await Promise.all([...this.nodes.values()].map((node) => node.stop({ handOver: false })))
    rmSync(this.folder, { recursive: true, force: true })
  }
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (const end = performance.now() + patienceMs; !holds(); await sleep(5)) {
    if (performance.now() > end) throw new Error(`expected ${what} within ${patienceMs} ms`)
  }
}

async function measure(node: StartedReplica, readers: number): Promise<Record<string, number>> {
  const delaysMs: number[] = []
  const end = performance.now() + runMs
  const readAgain = async (): Promise<void> => {
    while (performance.now() < end) {
      const startedMs = performance.now()
      await node.readIndex(patienceMs)
      delaysMs.push(performance.now() - startedMs)
    }
  }
  await Promise.all(Array.from({ length: readers }, readAgain))
  delaysMs.sort((a, b) => a - b)
  const at = (part: number): number => Math.round((delaysMs[Math.floor(delaysMs.length * part)] ?? 0) * 1_000) / 1_000
  return { reads_per_second: Math.round(delaysMs.length / (runMs / 1_000)), p50_ms: at(0.5), p99_ms: at(0.99) }
}

const figures: Record<string, Record<string, Record<string, number>>> = {}
for (const by of ['round', 'lease'] as const) {
  const trio = new Trio(by === 'lease')
  try {
    const { leader, follower } = await trio.start()
    // A lease begins with the first heartbeat that is acknowledged after the last change of members.
    await sleep(500)
    const before = leader.status().readsConfirmed
    figures[`by_${by}`] = {
      leader_1_reader: await measure(leader, 1),
      leader_64_readers: await measure(leader, 64),
      follower_1_reader: await measure(follower, 1),
      follower_64_readers: await measure(follower, 64),
    }
    const { byLease, byRound } = leader.status().readsConfirmed
    figures[`by_${by}`] = { ...figures[`by_${by}`], confirmed: { by_lease: byLease - before.byLease, by_round: byRound - before.byRound } }
  } finally {
    await trio.end()
  }
}
recordFigures('reads', 'node bench/reads.ts', { one_way_ms: oneWayMs, ...figures })
