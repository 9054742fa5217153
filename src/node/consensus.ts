/** Stores, transport and replica, wired to each other: this node's part in its cluster. */
import { join } from 'node:path'
import type { Clock } from '#base/clock.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import type { FormatRange } from '#base/formats.ts'
import type { Logger } from '#base/logger.ts'
import type { RandomSource } from '#base/random.ts'
import { startReplica, type ReplicaSettings, type StartedReplica } from '#replica/index.ts'
import { keptOthers, openKeepsake } from '#replica/keepsake.ts'
import type { Member } from '#replica/types.ts'
import { nodeDisk } from '#store/disk.ts'
import { expectNotInUse } from '#store/in-use.ts'
import { openLogStore } from '#store/log.ts'
import { openStateStore } from '#store/state.ts'
import type { StateStore } from '#store/types.ts'
import { createTransport } from '#transport/transport.ts'
import type { Identity, NodeTransport, TransportHandlers } from '#transport/types.ts'
import { Addresses, addressKind } from './addresses.ts'
import { leftOutIn } from './left-out.ts'
import { checkStores, noteStores } from './stores-mark.ts'

export interface ConsensusOptions {
  readonly dataDir: string
  readonly identity: Identity
  readonly incarnation: number
  /** This node as its configuration has it. */
  readonly self: Member
  /** It founds the cluster. */
  readonly founding: boolean
  readonly knownMembers: readonly Member[]
  readonly listenAddress: string
  readonly settings: Partial<ReplicaSettings>
  readonly formats: FormatRange
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Logger
  readonly onRequest: TransportHandlers['request']
}

export interface Consensus {
  readonly replica: StartedReplica
  readonly transport: NodeTransport
  readonly identity: Identity
  /** This node's state, for saving it. Whoever reads it changes nothing. */
  readonly state: Pick<StateStore, 'snapshot' | 'view'>
  /** Hands leadership over, flushes and closes. */
  stop(): Promise<void>
}

/** @throws ERR_STORE_CORRUPT, ERR_STORE_FAILED; ERR_UPGRADE_REQUIRED when the cluster's format level is none of `formats`; ERR_CONFIG when the cluster address can't be listened on. */
export async function openConsensus(options: ConsensusOptions): Promise<Consensus> {
  const { dataDir: directory, identity, clock, random, log } = options
  const { clusterId, nodeId } = identity
  // Peers may call as soon as the port is open, and the replica sends as soon as it is made: what comes in between is refused, and comes again.
  let replica: StartedReplica | null = null
  let addresses: Addresses | null = null
  const starting = (): HoldfastError => new HoldfastError('ERR_BUSY', 'this node is starting', { hint: 'try again in a moment' })
  const handlers: TransportHandlers = {
    message: (from, message) => replica?.onMessage(from, message),
    snapshot: async (from, header, body) => {
      if (replica === null) throw starting()
      await replica.onSnapshot(from, header, body)
    },
    request: async (from, kind, body, signal) => {
      if (kind !== addressKind) return options.onRequest(from, kind, body, signal)
      if (addresses === null) throw starting()
      return addresses.answer(from, body)
    },
    unreachable: (peer) => replica?.onUnreachable(peer),
  }
  // What was opened when a later step fails is closed again: the next try would find the stores locked, and the port taken.
  const opened: (() => Promise<void>)[] = []
  checkStores(directory)
  await expectNotInUse(join(directory, 'log'))
  try {
    const keepsake = await openKeepsake(nodeDisk, directory)
    // Where nobody else has what a damaged log lost, it is refused as it lies there.
    const repairable = keptOthers(keepsake, nodeId)
    const logStore = await openLogStore({ directory, clusterId, logger: log, repairable }).catch((error: unknown) => {
      throw repairable ? error : withoutPeers(error)
    })
    opened.push(() => logStore.close())
    const state = await openStateStore({ directory, clusterId, logger: log, repairable: true })
    opened.push(() => state.close())
    // Before anybody hears of this node: what it says from here on it must not forget.
    noteStores(directory)
    const { listenAddress } = options
    const leftOut = leftOutIn(directory)
    const transport = createTransport({ identity, listenAddress, handlers, clock, random, log, trustCa: true, leftOut })
    opened.push(() => transport.close())
    const known = new Addresses({ self: options.self, transport, clock, log })
    addresses = known
    await transport.listen()
    const started = await startReplica({
      nodeId,
      clusterId,
      incarnation: options.incarnation,
      log: logStore,
      state,
      peers: known.peers,
      clock,
      random,
      logger: log,
      knownMembers: options.knownMembers,
      keepsake,
      settings: options.settings,
      formats: options.formats,
      ...(options.founding ? { bootstrap: options.self } : {}),
    })
    replica = started
    known.start(started)
    return {
      replica: started,
      transport,
      identity,
      state,
      stop: async () => {
        known.stop()
        await started.stop()
        await transport.close()
      },
    }
  } catch (error) {
    // Their own failures would only hide the first one.
    await Promise.allSettled(opened.map((close) => close()))
    throw error
  }
}

/** No member is known that could have what the log lost. */
function withoutPeers(error: unknown): unknown {
  if (!isHoldfastError(error, 'ERR_STORE_CORRUPT')) return error
  return new HoldfastError('ERR_STORE_CORRUPT', error.message, {
    hint: "no other member is known that has what this one lost: keep a copy of the folder, then restore a snapshot into a new cluster, or go on without what is lost by 'operator raft recover' (docs/recovery.md)",
    cause: error,
  })
}
