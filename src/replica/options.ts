import { assert } from '#base/assert.ts'
import type { Clock } from '#base/clock.ts'
import { limits } from '#base/limits.ts'
import type { Logger } from '#base/logger.ts'
import type { RandomSource } from '#base/random.ts'
import type { NodeId } from '#raft/types.ts'
import type { FormatRange } from '#base/formats.ts'
import type { Slots } from '#store/slots.ts'
import type { LogStore, StateStore } from '#store/types.ts'
import type { Member } from './types.ts'

export interface PeerAddress {
  readonly id: NodeId
  readonly clusterAddress: string
  readonly fingerprint: string
}

/** What the driver needs of the transport; a network in memory satisfies it too. */
export interface Peers {
  /** Fire and forget: lost, repeated, late and reordered messages are all allowed. The message is plain data and must not be modified. */
  send(to: NodeId, message: unknown): void
  /** Resolves when the peer's `onSnapshot` has. */
  sendSnapshot(to: NodeId, header: Uint8Array, body: AsyncIterable<Uint8Array>): Promise<void>
  /** Replaces the accepted peers. `provisional`: not from replicated membership yet, so go on accepting what the cluster's CA vouches for. */
  setPeers(peers: readonly PeerAddress[], options?: { readonly provisional?: boolean }): void
  lastContactMs(peer: NodeId): number | null
}

export interface ReplicaOptions {
  readonly nodeId: NodeId
  readonly clusterId: string
  /** Which life of the cluster this is: a restored one counts on. */
  readonly incarnation: number
  /** Opened for this node and cluster; closed by `stop`. */
  readonly log: LogStore
  readonly state: StateStore
  readonly peers: Peers
  readonly clock: Clock
  readonly random: RandomSource
  readonly logger: Logger
  /** This node begins a new cluster with itself as the only voter; ignored once the store holds something. */
  readonly bootstrap?: Member
  /** For a node that joins: whom its join answer named, until replicated membership is here. */
  readonly knownMembers?: readonly Member[]
  readonly settings?: Partial<ReplicaSettings>
  /** Where the members are kept a second time, so that a lost state can be fetched from them. Without it such a node stays out. */
  readonly keepsake?: Slots
  /** The format levels that this node understands; by default what this release does. Tests start nodes of the next one with it. */
  readonly formats?: FormatRange
  /** Runs `task` soon, after the inputs that are already waiting. Default: setImmediate. A simulation hands in its own. */
  readonly defer?: (task: () => void) => void
}

export interface ReplicaSettings {
  readonly tickMs: number
  readonly heartbeatTicks: number
  readonly electionTicks: number
  readonly sealedElectionFactor: number
  readonly preVote: boolean
  readonly checkQuorum: boolean
  /** Answers reads from a lease on clocks, without a round of heartbeats. The same on every node of a cluster. */
  readonly leaseReads: boolean
  /** By what part the rates of two nodes' clocks may differ: 0.1 is a tenth. Beyond it a lease may serve what is no longer true. */
  readonly clockDriftMax: number
  readonly entryBytesMax: number
  readonly appendBytesMax: number
  readonly uncommittedBytesMax: number
  readonly inflightMessagesMax: number
  readonly inflightBytesMax: number
  readonly committedBytesMax: number
  /** Entries and bytes that stay in the log behind the applied index, so that a node that was away briefly needs no snapshot. */
  readonly trailingEntries: number
  readonly logBytesMax: number
  readonly proposalsMax: number
  readonly readsMax: number
  /** How many election timeouts a read waits for a leader before it is refused: an election under way is no reason to fail. */
  readonly noLeaderElections: number
  /** Keys of recent changes that the leader remembers for conflict checks. */
  readonly conflictKeysMax: number
  /** Entries in one apply batch. */
  readonly applyEntriesMax: number
  readonly applyBytesMax: number
  /** At multiples of so many entries leaders log a proof of their state: what a sealed node keeps of its log at most, beside its trail. The same on every node. */
  readonly checkpointEntries: number
  /** How long a proposer is kept waiting, after its leader lost leadership, for the next leader to decide the entry's fate. */
  readonly outcomeWaitMs: number
  /** A learner this close to the commit index is promoted. */
  readonly promoteLagMax: number
  readonly membershipWaitMs: number
  /** How often the leader compares the digests of all members; 0: only on demand. */
  readonly checkIntervalMs: number
  /** From the end of one reading of the whole state to the beginning of the next; 0: only on demand. */
  readonly scrubIntervalMs: number
  readonly scrubBytesPerSecondMax: number
}

export const settingsDefault: ReplicaSettings = {
  tickMs: 50,
  heartbeatTicks: 2,
  electionTicks: 10,
  sealedElectionFactor: 3,
  preVote: true,
  checkQuorum: true,
  leaseReads: false,
  clockDriftMax: 0.1,
  entryBytesMax: limits.entryBytesMax,
  appendBytesMax: 1024 * 1024,
  uncommittedBytesMax: limits.uncommittedBytesMax,
  inflightMessagesMax: 64,
  inflightBytesMax: 16 * 1024 * 1024,
  committedBytesMax: 16 * 1024 * 1024,
  trailingEntries: 10_000,
  logBytesMax: 256 * 1024 * 1024,
  proposalsMax: 16_384,
  readsMax: 65_536,
  noLeaderElections: 5,
  conflictKeysMax: 100_000,
  applyEntriesMax: 2_048,
  applyBytesMax: 8 * 1024 * 1024,
  checkpointEntries: 4_096,
  outcomeWaitMs: 3_000,
  promoteLagMax: 64,
  membershipWaitMs: 10_000,
  checkIntervalMs: 10_000,
  scrubIntervalMs: 6 * 3_600_000,
  scrubBytesPerSecondMax: 8 * 1024 * 1024,
}

/** Fills in defaults and checks how the settings relate. @throws AssertionError */
export function settingsFrom(given: Partial<ReplicaSettings> | undefined): ReplicaSettings {
  const settings = { ...settingsDefault, ...given }
  assert(settings.tickMs > 0 && settings.heartbeatTicks > 0, 'ticks must take time')
  assert(settings.electionTicks >= 3 * settings.heartbeatTicks, 'two heartbeats lost in a row must not depose a leader')
  const { leaseReads, checkQuorum, clockDriftMax, electionTicks, heartbeatTicks } = settings
  assert(!leaseReads || checkQuorum, 'a lease is what voters keep: it needs checkQuorum')
  assert(clockDriftMax >= 0 && electionTicks / (1 + clockDriftMax) > heartbeatTicks, 'a lease must last longer than a heartbeat')
  assert(settings.appendBytesMax <= limits.appendBytesMax, 'one append must fit a frame')
  return settings
}
