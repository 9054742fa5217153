/**
 * A node's birth and its place in a cluster: founding one (init), joining one (by token, or by the seal's proof), finding itself again after a
 * restart. Owns the consensus once there is one.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join as joinPath } from 'node:path'
import type { Clock } from '#base/clock.ts'
import { HoldfastError, wellKnown } from '#base/errors.ts'
import type { FormatRange } from '#base/formats.ts'
import type { Logger } from '#base/logger.ts'
import { randomUuid, type RandomSource } from '#base/random.ts'
import { createClusterCa, type ClusterCa } from '#transport/certificates.ts'
import { createIdentity, loadIdentity, saveIdentity } from '#transport/identity.ts'
import type { Member } from '#replica/types.ts'
import type { Identity, NodeTransport, TransportHandlers } from '#transport/types.ts'
import { openConsensus, type Consensus } from './consensus.ts'
import { syncFolder, writeDurably } from './data-folder.ts'
import type { ReplicaSettings, StartedReplica } from '#replica/index.ts'
import { forgetJoiningKey, type Joined } from './joining.ts'
import type { LateReplica } from './late-replica.ts'
import { consumePlan, planIn, recover } from './recovery.ts'

const certificateDays = 365

export interface BirthOptions {
  readonly dataDir: string
  readonly nodeId: string
  /** host:port that other nodes reach this one at. */
  readonly clusterAddress: string
  /** host:port to listen on for them. */
  readonly listenAddress: string
  readonly apiAddress: string
  /** Answers other nodes' requests. */
  readonly onRequest: TransportHandlers['request']
  readonly replica: LateReplica
  readonly settings: Partial<ReplicaSettings>
  readonly formats: FormatRange
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Logger
}

/** What a founder must keep behind the barrier as soon as that is open. */
export interface Founding {
  readonly ca: ClusterCa
  readonly identity: Identity
}

export class Birth {
  readonly #options: BirthOptions
  #consensus: Consensus | null = null
  /** Made, but what must go behind the barrier is not there yet. */
  #founding: Founding | null = null
  #busy = false

  constructor(options: BirthOptions) {
    this.#options = options
  }

  get transport(): NodeTransport | null {
    return this.#consensus?.transport ?? null
  }

  /** null before there is a cluster. */
  get state(): Consensus['state'] | null {
    return this.#consensus?.state ?? null
  }

  /** What restores a snapshot here; null before there is a cluster. */
  get restoring(): Pick<StartedReplica, 'stage' | 'discard' | 'restore'> | null {
    return this.#consensus?.replica ?? null
  }

  get identity(): Identity | null {
    return this.#consensus?.identity ?? null
  }

  /** A renewed certificate of the same key: on disk first, then on every new connection. @throws ERR_STORE_FAILED */
  async adopt(identity: Identity): Promise<void> {
    const consensus = this.#consensus
    if (consensus === null) throw new HoldfastError('ERR_NOT_INITIALIZED', wellKnown.notInitialized)
    await saveIdentity(this.#options.dataDir, identity)
    consensus.transport.setIdentity(identity)
    this.#consensus = { ...consensus, identity }
  }

  /** Finds this node's cluster in its data folder. False when it belongs to none yet. @throws what opening the stores throws. */
  async resume(): Promise<boolean> {
    const { dataDir } = this.#options
    if (existsSync(this.#foundingMark())) {
      // The founder died before it had answered: nobody has a share or a token of what lies here.
      this.#options.log.warn({}, 'an initialisation was cut short: beginning again with an empty store')
      this.#clear()
    }
    const identity = await loadIdentity(dataDir)
    if (identity === null) return false
    // Left by a crash right after the identity was saved, which holds the same key.
    forgetJoiningKey(dataDir)
    if (identity.nodeId !== this.#options.nodeId) {
      throw new HoldfastError(
        'ERR_CONFIG',
        `storage.raft.node_id expected ${identity.nodeId}, as the identity in ${dataDir} says, got ${this.#options.nodeId}`,
        {
          hint: 'a node keeps its id for as long as it keeps its disk',
        },
      )
    }
    await this.#recover(identity)
    await this.#open(identity, false, 1, this.#knownMembers())
    return true
  }

  /** An operator has left a list of members: the majority of before is lost for good. */
  async #recover(identity: Identity): Promise<void> {
    const { dataDir, formats, clock, log } = this.#options
    const plan = planIn(dataDir)
    if (plan === null) return
    consumePlan(dataDir, await recover({ dataDir, identity, formats, log }, plan), clock.nowMs())
  }

  /**
   * Makes a cluster of one. `write` puts behind the barrier what must be there; only then is the founding final.
   * @throws ERR_ALREADY_INITIALIZED
   */
  async found<T>(write: (founding: Founding) => Promise<T>): Promise<T> {
    return this.#alone(async () => {
      // A founding that failed half-way can be tried again: nobody has been given a share of what it left.
      this.#founding ??= await this.#foundCluster()
      const result = await write(this.#founding)
      rmSync(this.#foundingMark())
      // Before anybody is given a share: a mark that came back with a power cut would have the next start wipe a cluster that is in use.
      syncFolder(this.#options.dataDir)
      this.#founding = null
      return result
    })
  }

  async #foundCluster(): Promise<Founding> {
    const { nodeId, clock, random, dataDir } = this.#options
    mkdirSync(dataDir, { recursive: true, mode: 0o700 })
    await this.#expectNoIdentity()
    // What an attempt of before left (its port was taken, say) is of another cluster id.
    if (existsSync(this.#foundingMark())) this.#clear()
    writeFileSync(this.#foundingMark(), '')
    syncFolder(dataDir)
    const clusterId = randomUuid(random)
    const ca = await createClusterCa({ clusterId, nowMs: clock.nowMs(), random })
    const identity = await createIdentity(ca, { nodeId, clusterId, nowMs: clock.nowMs(), days: certificateDays, random })
    await saveIdentity(dataDir, identity)
    await this.#open(identity, true, 1, [])
    return { ca, identity }
  }

  /** Becomes a member of the cluster that `prove` talked to. @throws ERR_ALREADY_INITIALIZED, and what `prove` throws. */
  async join(prove: () => Promise<Joined>): Promise<void> {
    await this.#alone(async () => {
      await this.#expectNoIdentity()
      const joined = await prove()
      // Before the identity, which is what makes this node a member: without them it could not answer the first who calls.
      mkdirSync(joinPath(this.#options.dataDir, 'identity'), { recursive: true, mode: 0o700 })
      writeDurably(this.#membersPath(), JSON.stringify(joined.members))
      await saveIdentity(this.#options.dataDir, joined.identity)
      forgetJoiningKey(this.#options.dataDir)
      await this.#open(joined.identity, false, joined.incarnation, joined.members)
    })
  }

  async stop(): Promise<void> {
    await this.#consensus?.stop()
  }

  /** Another process may have been pointed at the same folder, and have founded or joined since this one looked. */
  async #expectNoIdentity(): Promise<void> {
    if (existsSync(this.#foundingMark()) || (await loadIdentity(this.#options.dataDir)) === null) return
    throw new HoldfastError('ERR_ALREADY_INITIALIZED', wellKnown.alreadyInitialized, {
      hint: `another process has used ${this.#options.dataDir} meanwhile: each node needs a data folder of its own`,
    })
  }

  /** One founding or joining at a time, and none once there is a cluster. */
  async #alone<T>(work: () => Promise<T>): Promise<T> {
    if (this.#consensus !== null || this.#busy)
      throw new HoldfastError('ERR_ALREADY_INITIALIZED', wellKnown.alreadyInitialized, { hint: 'this node belongs to a cluster already' })
    this.#busy = true
    try {
      return await work()
    } finally {
      this.#busy = false
    }
  }

  async #open(identity: Identity, founding: boolean, incarnation: number, knownMembers: readonly Member[]): Promise<void> {
    const { dataDir, clusterAddress, apiAddress, settings, formats, clock, random, log, replica } = this.#options
    const { nodeId, fingerprint } = identity
    const self: Member = { id: nodeId, clusterAddress, apiAddress, fingerprint, voter: true }
    this.#consensus = await openConsensus({
      dataDir,
      identity,
      incarnation,
      self,
      founding,
      knownMembers,
      listenAddress: this.#options.listenAddress,
      settings,
      formats,
      clock,
      random,
      log,
      onRequest: this.#options.onRequest,
    })
    replica.attach(this.#consensus.replica)
  }

  /** As the join answer named them; replicated membership replaces them as soon as it is here. */
  #knownMembers(): readonly Member[] {
    try {
      return JSON.parse(readFileSync(this.#membersPath(), 'utf8')) as Member[]
    } catch {
      return [] // The founder has none; a damaged file costs a joiner only what the leader tells it anyway.
    }
  }

  #membersPath(): string {
    return joinPath(this.#options.dataDir, 'identity', 'members.json')
  }

  #foundingMark(): string {
    return joinPath(this.#options.dataDir, 'founding')
  }

  #clear(): void {
    for (const name of ['identity', 'log', 'state', 'hardstate.0', 'hardstate.1', 'acknowledged', 'founding']) {
      rmSync(joinPath(this.#options.dataDir, name), { recursive: true, force: true })
    }
  }
}
