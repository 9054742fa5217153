/** `storage/raft/autopilot/*`: how the members are, and what is done by itself about one that is dead. */
import { HoldfastError } from '#base/errors.ts'
import { formatDuration, parseDurationMs } from '#base/duration.ts'
import { checkVersion } from '#base/formats.ts'
import type { EngineDef, HandlerContext, LogicalResponse, MountStorage, PathDef } from '#core/types.ts'
import { autopilotDefault, deadServer, failureTolerance, healthOf, type AutopilotConfig, type ServerHealth } from './autopilot-rules.ts'
import { answer, field, optional, path, reads, writes } from './table.ts'
import type { ClusterService, SystemServices } from './types.ts'

const storedAt = 'autopilot'
const version = 1
const checkEveryMs = 5_000
const minQuorumMax = 100
const maxTrailingLogsMax = 1_000_000
const thresholdMsMin = 1_000
/** Below this a restart for an upgrade would look like a death, and a removed node can't come back under its id. */
const deadThresholdMsMin = 60_000

interface StoredConfig extends AutopilotConfig {
  readonly version: number
}

export function autopilotPaths({ cluster }: SystemServices): PathDef[] {
  const flags = { rootNamespaceOnly: true }
  const fields = {
    cleanup_dead_servers: field('bool', 'Whether a member that has been silent for too long is removed.'),
    last_contact_threshold: field('string', 'Silence after which a member is not healthy any more.'),
    dead_server_last_contact_threshold: field('string', 'Silence after which a member is dead, at least 1m.'),
    max_trailing_logs: field('int', 'Entries that a healthy member may be behind.'),
    min_quorum: field('int', 'Voters that must remain after a removal.'),
    server_stabilization_time: field('string', 'Only "0s": a learner is promoted as soon as it has caught up.'),
    disable_upgrade_migration: field('bool', 'Accepted and without effect, as with the peers.'),
  }
  return [
    path(
      'storage/raft/autopilot/state',
      'How the members are doing.',
      flags,
      // As a write, since only the leader knows how far the others are.
      { read: writes('Read', async (context) => answer(stateOf(cluster, await readConfig(context.storage)))) },
    ),
    path(
      'storage/raft/autopilot/configuration',
      'When a member counts as unhealthy or dead, and what is done then.',
      { ...flags, fields },
      {
        read: reads('Read', async ({ storage }) => answer(configAnswer(await readConfig(storage)))),
        update: writes('Configure', configure),
        delete: writes('Reset', async ({ storage }) => (storage.delete(storedAt), null)),
      },
    ),
  ]
}

/** The leader's watch over its members, for the system engine's jobs. */
export function autopilotJobs({ cluster }: SystemServices): NonNullable<EngineDef['jobs']> {
  return [
    {
      name: 'autopilot',
      everyMs: checkEveryMs,
      run: async (storage) => {
        const status = cluster.status()
        if (status === null) return
        const config = await readConfig(storage)
        const dead = deadServer(
          healthOf(status, (id) => cluster.silentMs(id), config),
          cluster.leadingMs(),
          config,
        )
        if (dead !== null) await cluster.removeDead(dead)
      },
    },
  ]
}

async function configure(context: HandlerContext): Promise<LogicalResponse | null> {
  const { storage } = context
  const config = await readConfig(storage)
  const duration = (name: string, was: number, min: number): number => {
    const text = optional<string>(context, name)
    const ms = text === undefined ? was : parseDurationMs(text, { what: name })
    if (ms < min)
      throw new HoldfastError(
        'ERR_BAD_REQUEST',
        `${name} expected at least ${formatDuration(min / 1_000)}, got ${text === '' ? 'an empty text' : text}`,
      )
    return ms
  }
  const count = (name: string, was: number, max: number): number => {
    const value = optional<number>(context, name) ?? was
    if (value < 1 || value > max) throw new HoldfastError('ERR_BAD_REQUEST', `${name} expected 1 to ${max}, got ${value}`)
    return value
  }
  const stabilization = optional<string>(context, 'server_stabilization_time')
  if (stabilization !== undefined && parseDurationMs(stabilization, { what: 'server_stabilization_time' }) !== 0) {
    throw new HoldfastError('ERR_BAD_REQUEST', `server_stabilization_time expected 0s, got ${stabilization}`, {
      hint: 'a learner is promoted as soon as it has caught up; join it with non_voter and promote it by hand to wait longer',
    })
  }
  const next: AutopilotConfig = {
    cleanupDeadServers: optional<boolean>(context, 'cleanup_dead_servers') ?? config.cleanupDeadServers,
    lastContactThresholdMs: duration('last_contact_threshold', config.lastContactThresholdMs, thresholdMsMin),
    deadServerLastContactThresholdMs: duration(
      'dead_server_last_contact_threshold',
      config.deadServerLastContactThresholdMs,
      deadThresholdMsMin,
    ),
    maxTrailingLogs: count('max_trailing_logs', config.maxTrailingLogs, maxTrailingLogsMax),
    minQuorum: count('min_quorum', config.minQuorum, minQuorumMax),
  }
  if (next.deadServerLastContactThresholdMs <= next.lastContactThresholdMs) {
    throw new HoldfastError('ERR_BAD_REQUEST', 'dead_server_last_contact_threshold expected more than last_contact_threshold, got less', {
      hint: 'a member must be unhealthy before it is dead',
    })
  }
  storage.putJson(storedAt, { version, ...next } satisfies StoredConfig)
  return null
}

/** @throws ERR_UPGRADE_REQUIRED: by rules that it half understands a leader could remove the wrong member, for good. */
async function readConfig(storage: MountStorage): Promise<AutopilotConfig> {
  const stored = await storage.getJson<StoredConfig>(storedAt)
  if (stored === null) return autopilotDefault
  if (!checkVersion("autopilot's configuration", version, stored.version))
    throw new HoldfastError('ERR_STORE_CORRUPT', "expected autopilot's configuration to have a version")
  return stored
}

function configAnswer(config: AutopilotConfig): Record<string, unknown> {
  return {
    cleanup_dead_servers: config.cleanupDeadServers,
    last_contact_threshold: formatDuration(config.lastContactThresholdMs / 1_000),
    dead_server_last_contact_threshold: formatDuration(config.deadServerLastContactThresholdMs / 1_000),
    max_trailing_logs: config.maxTrailingLogs,
    min_quorum: config.minQuorum,
    server_stabilization_time: '0s',
    disable_upgrade_migration: false,
  }
}

function stateOf(cluster: ClusterService, config: AutopilotConfig): Record<string, unknown> {
  const status = cluster.status()
  if (status === null) throw new HoldfastError('ERR_NO_LEADER', 'this node has joined no cluster')
  const servers = healthOf(status, (id) => cluster.silentMs(id), config)
  const ids = (voter: boolean): string[] => servers.filter((server) => server.voter === voter).map(({ id }) => id)
  const addresses = new Map(status.members.map(({ id, clusterAddress }) => [id, clusterAddress]))
  return {
    healthy: status.hasQuorum && servers.every(({ healthy }) => healthy),
    leader: status.leader ?? '',
    voters: ids(true),
    non_voters: ids(false),
    failure_tolerance: failureTolerance(servers),
    servers: Object.fromEntries(servers.map((server) => [server.id, serverAnswer(server, addresses.get(server.id) ?? '', config)])),
  }
}

function serverAnswer(server: ServerHealth, address: string, config: AutopilotConfig): Record<string, unknown> {
  const { id, leader, voter, healthy, silentMs, lastIndex, sealed } = server
  return {
    id,
    name: id,
    address,
    node_status: silentMs !== null && silentMs <= config.lastContactThresholdMs ? 'alive' : 'left',
    node_type: voter ? 'voter' : 'non-voter',
    status: leader ? 'leader' : voter ? 'voter' : 'non-voter',
    healthy,
    last_contact: silentMs === null ? 'never' : silentMs < 1_000 ? `${Math.round(silentMs)}ms` : formatDuration(silentMs / 1_000),
    last_index: lastIndex,
    ...(sealed === null ? {} : { sealed }),
  }
}
