/**
 * What autopilot thinks of the members, and which dead one may go. Pure: of what the leader knows at one moment. A member that is removed can never
 * come back under its id, so the rules err towards keeping: one at a time, never below `minQuorum` voters, never when those that are heard would
 * not be a majority without it, and never when the leader has not itself been watching for as long as it says that the member is silent.
 */
import type { NodeId } from '#raft/types.ts'
import type { ReplicaStatus } from '#replica/types.ts'

export interface AutopilotConfig {
  readonly cleanupDeadServers: boolean
  /** Silent for longer than this: not healthy. */
  readonly lastContactThresholdMs: number
  /** Silent for longer than this: dead. */
  readonly deadServerLastContactThresholdMs: number
  /** Further behind than so many entries: not healthy. */
  readonly maxTrailingLogs: number
  /** Voters that remain after any removal by itself. */
  readonly minQuorum: number
}

/** A day, as with the peers: long enough for a weekend's hands, short enough for a quorum of the living. */
export const autopilotDefault: AutopilotConfig = {
  cleanupDeadServers: true,
  lastContactThresholdMs: 10_000,
  deadServerLastContactThresholdMs: 24 * 3_600_000,
  maxTrailingLogs: 1_000,
  minQuorum: 3,
}

export interface ServerHealth {
  readonly id: NodeId
  readonly leader: boolean
  readonly voter: boolean
  readonly healthy: boolean
  /** Since it was last heard, ms; null for never in this node's life. The leader hears itself. */
  readonly silentMs: number | null
  /** Highest entry known to be on its disk. */
  readonly lastIndex: number
  readonly sealed: boolean | null
}

/** How long a member has been silent, ms; null when it was never heard by this process. */
export type Silence = (id: NodeId) => number | null

/** Each member's health as the leader sees it. */
export function healthOf(status: ReplicaStatus, silence: Silence, config: AutopilotConfig): ServerHealth[] {
  return status.members.map((member) => {
    const leader = member.id === status.leader
    const peer = status.peers.find(({ id }) => id === member.id)
    const silentMs = leader ? 0 : silence(member.id)
    const lastIndex = leader ? status.lastIndex : (peer?.match ?? 0)
    const near = silentMs !== null && silentMs <= config.lastContactThresholdMs
    return {
      id: member.id,
      leader,
      voter: peer?.voter ?? member.voter,
      healthy: near && lastIndex + config.maxTrailingLogs >= status.commit,
      silentMs,
      lastIndex,
      sealed: peer?.sealed ?? null,
    }
  })
}

/** How many healthy voters may fail before there is no majority. */
export function failureTolerance(servers: readonly ServerHealth[]): number {
  const voters = servers.filter(({ voter }) => voter)
  const healthy = voters.filter((each) => each.healthy).length
  return Math.max(0, healthy - majorityOf(voters.length))
}

/**
 * The dead member to remove now, or null. `leadingMs`: how long this node has been leading; one that was never heard counts as silent for that long,
 * and no longer silence than that is believed: a leader that slept, or has just begun, has heard nobody.
 */
export function deadServer(servers: readonly ServerHealth[], leadingMs: number, config: AutopilotConfig): NodeId | null {
  if (!config.cleanupDeadServers) return null
  const silentFor = ({ silentMs }: ServerHealth): number => Math.min(silentMs ?? Infinity, leadingMs)
  const dead = servers.filter((server) => !server.leader && silentFor(server) > config.deadServerLastContactThresholdMs)
  const learner = dead.find(({ voter }) => !voter)
  if (learner !== undefined) return learner.id
  const voters = servers.filter(({ voter }) => voter)
  const heard = voters.filter(({ silentMs }) => silentMs !== null && silentMs <= config.lastContactThresholdMs).length
  const remaining = voters.length - 1
  // The removal itself must be committed by those that are heard: a majority of the voters before it and of those after it.
  if (remaining < config.minQuorum || heard < majorityOf(voters.length) || heard < majorityOf(remaining)) return null
  return dead[0]?.id ?? null
}

const majorityOf = (voters: number): number => Math.floor(voters / 2) + 1
