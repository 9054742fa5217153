/** Replicas with real LevelDB in temporary folders, over a network in memory that can drop, cut and delay. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { expect } from 'vitest'
import { systemClock, type Clock } from '#base/clock.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import type { FormatRange } from '#base/formats.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { startReplica, type Peers, type ReplicaSettings, type StartedReplica } from '#replica/index.ts'
import { keptOthers, openKeepsake } from '#replica/keepsake.ts'
import type { Member, Proposal } from '#replica/types.ts'
import type { Message } from '#raft/types.ts'
import type { LogStore, StateStore } from '#store/types.ts'
import { nodeDisk } from '#store/disk.ts'
import type { LevelFactory } from '#store/level.ts'
import { openLogStore } from '#store/log.ts'
import { openStateStore } from '#store/state.ts'
import { testAuthenticator } from '#test/support/authenticator.ts'

export const clusterId = 'cluster-1'
export const key = (name: string): Uint8Array => new Uint8Array(Buffer.from(`\x10${name}`))
export const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))

export interface NodeOptions {
  readonly settings?: Partial<ReplicaSettings>
  readonly sealed?: boolean
  /** LevelDB of the log, of the state. */
  readonly level?: LevelFactory
  readonly stateLevel?: LevelFactory
  /** Where the test has one of its own. */
  readonly clock?: Clock
  readonly formats?: FormatRange
}

export class TestCluster {
  readonly folder = mkdtempSync(join(tmpdir(), 'holdfast-replica-'))
  readonly nodes = new Map<string, StartedReplica>()
  /** Ids that nobody reaches. */
  readonly cut = new Set<string>()
  /** Whom each node's transport accepts; none was told yet: anybody. */
  readonly accepted = new Map<string, readonly string[]>()
  snapshots = 0
  readonly logs = new Map<string, LogStore>()
  readonly states = new Map<string, StateStore>()
  /** Called for each message at the moment at which its sender hands it to the network. */
  onSend: (from: string, message: Message) => void = () => {}
  /** Called for each snapshot that is about to arrive. */
  onSnapshot: (header: Uint8Array, chunks: Uint8Array[]) => void = () => {}
  readonly #settings: Partial<ReplicaSettings>

  constructor(settings: Partial<ReplicaSettings> = {}) {
    this.#settings = { tickMs: 20, ...settings }
  }

  member(id: string, voter = true): Member {
    return { id, clusterAddress: `${id}:1`, apiAddress: `http://${id}:2`, fingerprint: `print-${id}`, voter }
  }

  async start(id: string, bootstrap = false, options: NodeOptions = {}): Promise<StartedReplica> {
    const directory = join(this.folder, id)
    const level = options.level === undefined ? {} : { level: options.level }
    const keepsake = await openKeepsake(nodeDisk, directory)
    const log = await openLogStore({ directory, clusterId, repairable: keptOthers(keepsake, id), ...level })
    const stateLevel = options.stateLevel === undefined ? {} : { level: options.stateLevel }
    const state = await openStateStore({ directory, clusterId, repairable: true, ...stateLevel }).catch(async (error: unknown) => {
      // A file that the garbage collector closes ends the test run.
      await log.close()
      throw error
    })
    this.states.set(id, state)
    this.logs.set(id, log)
    const replica = await startReplica({
      nodeId: id,
      clusterId,
      incarnation: 1,
      log,
      state,
      peers: this.#peers(id),
      clock: options.clock ?? systemClock,
      random: systemRandom,
      logger: silentLogger,
      settings: { ...this.#settings, ...options.settings },
      keepsake,
      ...(options.formats === undefined ? {} : { formats: options.formats }),
      ...(bootstrap ? { bootstrap: this.member(id) } : { knownMembers: [this.member('a')] }),
    })
    if (options.sealed !== true) replica.setAuthenticator(testAuthenticator())
    this.nodes.set(id, replica)
    return replica
  }

  /** `a` alone, then the others joined through it, all voters. */
  async grow(...ids: string[]): Promise<StartedReplica[]> {
    const first = await this.start(ids[0] ?? 'a', true)
    await this.ready(first)
    for (const id of ids.slice(1)) {
      await this.start(id)
      await first.addMember(this.member(id))
      await expect.poll(() => this.voters(first), { timeout: 5_000, interval: 10 }).toContain(id)
    }
    // Membership counts from append on: only what follows is sure to find the promotions committed, everywhere.
    await write(first, { grown: ids.join() })
    for (const id of ids) await this.node(id).readIndex(5_000)
    return ids.map((id) => this.node(id))
  }

  voters(replica: StartedReplica): string[] {
    const { peers, nodeId } = replica.status()
    return [nodeId, ...peers.filter((peer) => peer.voter).map((peer) => peer.id)]
  }

  node(id: string): StartedReplica {
    const found = this.nodes.get(id)
    if (found === undefined) throw new Error(`no node ${id}`)
    return found
  }

  async ready(replica: StartedReplica): Promise<void> {
    await expect.poll(() => replica.status().ready, { timeout: 5_000, interval: 5 }).toBe(true)
  }

  /** The one that leads and serves, among those that are up. */
  async leader(): Promise<StartedReplica> {
    const find = (): StartedReplica | undefined =>
      [...this.nodes.values()].find((node) => node.status().ready && !this.cut.has(node.nodeId))
    await expect.poll(() => find()?.nodeId, { timeout: 8_000, interval: 5 }).toBeDefined()
    return find() ?? this.node('none')
  }

  /**
   * Tries again where a busy machine lets an election timeout pass first: the core then gives a transfer up, as it should; or another leads by then, and
   * hands over in its place.
   */
  async handOver(from: StartedReplica, to: string): Promise<void> {
    let leader = from
    for (let attempt = 1; leader.nodeId !== to; attempt += 1) {
      try {
        return await leader.transferLeadership(to, 3_000)
      } catch (error) {
        const passes = isHoldfastError(error) && ['ERR_TIMEOUT', 'ERR_NOT_LEADER', 'ERR_MEMBERSHIP'].includes(error.code)
        if (attempt === 10 || !passes) throw error
      }
      leader = await this.leader()
    }
  }

  /** Ends a node as a crash would, as far as a process can do that to itself. */
  async kill(id: string): Promise<void> {
    const node = this.node(id)
    this.nodes.delete(id)
    await node.stop({ handOver: false })
  }

  async end(): Promise<void> {
    const nodes = [...this.nodes.values()]
    this.nodes.clear()
    await Promise.all(nodes.map((node) => node.stop({ handOver: false })))
    rmSync(this.folder, { recursive: true, force: true })
  }

  #reach(from: string, to: string): StartedReplica | undefined {
    const accepts = (id: string, peer: string): boolean => this.accepted.get(id)?.includes(peer) ?? true
    const apart = this.cut.has(from) || this.cut.has(to) || !accepts(from, to) || !accepts(to, from)
    return apart ? undefined : this.nodes.get(to)
  }

  #peers(from: string): Peers {
    return {
      send: (to, message) => {
        this.onSend(from, message as Message)
        // A copy, as a wire would make: nobody shares buffers with a peer.
        const copy = structuredClone(message)
        setImmediate(() => this.#reach(from, to)?.onMessage(from, copy))
      },
      sendSnapshot: async (to, header, body) => {
        const node = this.#reach(from, to)
        if (node === undefined) throw new HoldfastError('ERR_UPSTREAM', 'unreachable')
        this.snapshots += 1
        const chunks: Uint8Array[] = []
        for await (const chunk of body) chunks.push(Uint8Array.from(chunk))
        this.onSnapshot(header, chunks)
        await node.onSnapshot(from, header, Readable.from(chunks))
      },
      setPeers: (peers) =>
        void this.accepted.set(
          from,
          peers.map((peer) => peer.id),
        ),
      lastContactMs: () => null,
    }
  }
}

/** A write of `entries` as the barrier would make it, evaluated now on `replica`. */
export function proposal(replica: StartedReplica, entries: Record<string, string | null>, more: Partial<Proposal> = {}): Proposal {
  const status = replica.status()
  const ops = Object.entries(entries).map(([name, value]) => ({ key: key(name), value: value === null ? null : bytes(value) }))
  const sections = [{ section: new Uint8Array([1]), ops }]
  return { term: status.term, viewIndex: status.applied, reads: [], ranges: [], sections, timeMs: Date.now(), ...more }
}

export const write = (replica: StartedReplica, entries: Record<string, string | null>): Promise<{ readonly index: number }> =>
  replica.propose(proposal(replica, entries))

/** A linearizable read. */
export async function read(replica: StartedReplica, name: string): Promise<string | undefined> {
  await replica.readIndex(3_000)
  const view = replica.view()
  try {
    const value = view.get(key(name))
    return value === undefined ? undefined : Buffer.from(value).toString()
  } finally {
    view.release()
  }
}
