/** Three whole replicas (driver, log and state on a real disk) over a network that loses nothing. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { systemClock } from '#base/clock.ts'
import { isHoldfastError } from '#base/errors.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { startReplica, type Peers, type StartedReplica } from '#replica/index.ts'
import type { Member } from '#replica/types.ts'
import { openLogStore } from '#store/log.ts'
import { openStateStore } from '#store/state.ts'
import { testAuthenticator } from '#test/support/authenticator.ts'

const clusterId = 'calm'
const patienceMs = 15_000
const nodes = new Map<string, StartedReplica>()

function member(id: string): Member {
  return { id, clusterAddress: `${id}:1`, apiAddress: `http://${id}:2`, fingerprint: `print-${id}`, voter: true }
}

function peersOf(from: string): Peers {
  return {
    send: (to, message) => {
      const copy = structuredClone(message)
      setImmediate(() => nodes.get(to)?.onMessage(from, copy))
    },
    sendSnapshot: async (to, header, body) => {
      const node = nodes.get(to)
      if (node === undefined) throw new Error(`expected node ${to}, got none`)
      await node.onSnapshot(from, header, body)
    },
    setPeers: () => {},
    lastContactMs: () => null,
  }
}

async function start(folder: string, id: string, first: boolean): Promise<StartedReplica> {
  const directory = join(folder, id)
  const node = await startReplica({
    nodeId: id,
    clusterId,
    incarnation: 1,
    log: await openLogStore({ directory, clusterId }),
    state: await openStateStore({ directory, clusterId }),
    peers: peersOf(id),
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    settings: { tickMs: 20 },
    ...(first ? { bootstrap: member(id) } : { knownMembers: [member('a')] }),
  })
  node.setAuthenticator(testAuthenticator())
  nodes.set(id, node)
  return node
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (const end = performance.now() + patienceMs; !holds(); await sleep(5)) {
    if (performance.now() > end) throw new Error(`expected ${what} within ${patienceMs} ms`)
  }
}

/** Writes on whoever leads: a busy machine may cost a leader its office without any fault. */
async function write(at: number): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    await until('a leader', () => [...nodes.values()].some((node) => node.status().ready))
    const leader = [...nodes.values()].find((node) => node.status().ready)
    try {
      const { term, applied } = leader?.status() ?? { term: 0, applied: 0 }
      const ops = [{ key: Buffer.from(`\x10key-${at}`), value: Buffer.from(`value-${at}`) }]
      const sections = [{ section: new Uint8Array([1]), ops }]
      await leader?.propose({ term, viewIndex: applied, reads: [], ranges: [], sections, timeMs: Date.now() })
      return
    } catch (error) {
      if (attempt >= 5 || !(isHoldfastError(error, 'ERR_NOT_LEADER') || isHoldfastError(error, 'ERR_OUTCOME_UNKNOWN'))) throw error
    }
  }
}

async function check(node: StartedReplica, at: number): Promise<void> {
  await node.readIndex(patienceMs)
  const view = node.view()
  try {
    const value = view.get(Buffer.from(`\x10key-${at}`))
    if (value === undefined || Buffer.from(value).toString() !== `value-${at}`) throw new Error(`expected value-${at} on ${node.nodeId}`)
  } finally {
    view.release()
  }
}

/** @throws when anything that must go well does not. */
export async function calmReplicas(proposals: number, reads: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-calm-'))
  try {
    const first = await start(folder, 'a', true)
    await until('the first leader', () => first.status().ready)
    for (const id of ['b', 'c']) {
      await start(folder, id, false)
      await first.addMember(member(id))
      await until('a promotion', () => first.status().peers.some((peer) => peer.id === id && peer.voter))
    }
    for (let at = 0; at < proposals; at += 1) await write(at)
    for (let at = proposals - reads; at < proposals; at += 1) for (const node of nodes.values()) await check(node, at)
    await Promise.all([...nodes.values()].map((node) => node.stop({ handOver: false })))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
