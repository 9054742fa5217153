/** What a node says of itself: metrics, host, configuration. Nothing in here is secret. */
import { availableParallelism, freemem, hostname, loadavg, release, totalmem, type, uptime } from 'node:os'
import { formatRfc3339 } from '#base/rfc3339.ts'
import type { ManagedAuditBroker } from '#audit/broker.ts'
import type { PasswordHasher } from '#auth/passwords.ts'
import type { BarrierControl } from '#barrier/types.ts'
import type { ServerConfig } from '#config/types.ts'
import type { Core } from '#core/core.ts'
import type { Limiter } from '#quotas/limiter.ts'
import type { QuotaStore } from '#quotas/store.ts'
import type { Leasing } from '#core/leasing.ts'
import type { NamespaceStore } from '#namespaces/store.ts'
import type { UserLockout } from '#core/lockout.ts'
import type { LateReplica } from './late-replica.ts'
import type { AutoSeal } from '#seal/types.ts'
import type { Origin } from '#snapshots/restored.ts'
import type { SnapshotSaver } from '#snapshots/saver.ts'
import type { SnapshotSchedules } from '#snapshots/schedules.ts'
import type { Birth } from './lifecycle.ts'
import type { QuotaSync } from './quota-sync.ts'

export interface MetricSources {
  readonly replica: LateReplica
  readonly barrier: BarrierControl
  readonly birth: Birth
  readonly audit: ManagedAuditBroker
  readonly core: Core
  /** null: shares. */
  readonly seal: AutoSeal | null
  readonly saver: SnapshotSaver
  readonly schedules: SnapshotSchedules
  readonly origin: Pick<Origin, 'waits'>
  readonly passwords: PasswordHasher
  readonly lockout: UserLockout
  readonly leasing: Leasing
  readonly limiter: Limiter
  readonly quotaSync: QuotaSync
  readonly quotaStore: QuotaStore
  readonly namespaces: NamespaceStore
}

/** Prometheus' text format. Labels are bounded: node ids of the membership, and nothing that a client sends. */
export async function metricsText(sources: MetricSources): Promise<string> {
  const {
    replica,
    barrier,
    birth,
    core,
    seal,
    saver,
    schedules,
    origin,
    passwords,
    lockout,
    leasing,
    limiter,
    quotaSync,
    quotaStore,
    namespaces,
  } = sources
  const status = replica.status()
  const { sealed, encryptions, keyringTerm, keyringTermCreatedMs, sealedHere, sealedUnderKey, cache } = barrier.status()
  const memory = process.memoryUsage()
  const lines: string[] = []
  const gauge = (name: string, help: string, value: number, labels = ''): void => {
    if (!lines.some((line) => line.startsWith(`# HELP ${name} `))) lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} gauge`)
    lines.push(`${name}${labels} ${value}`)
  }
  gauge('holdfast_unsealed', 'Whether this node is unsealed.', sealed ? 0 : 1)
  gauge('holdfast_leader', 'Whether this node leads and is ready.', status.role === 'leader' && status.ready ? 1 : 0)
  gauge('holdfast_quorum', 'Whether this node reaches a majority.', status.hasQuorum ? 1 : 0)
  gauge('holdfast_store_failed', 'Whether the store has failed.', status.failed === null ? 0 : 1)
  gauge('holdfast_state_repair', 'Whether the state is being fetched again from the other nodes.', status.repair === null ? 0 : 1)
  gauge(
    'holdfast_log_repair',
    'Whether the log lacks what it may have acknowledged: the node has no vote until it has that again.',
    status.logRepair === null ? 0 : 1,
  )
  gauge('holdfast_raft_term', 'The current term.', status.term)
  gauge('holdfast_raft_commit_index', 'Highest committed index known here.', status.commit)
  gauge('holdfast_raft_applied_index', 'Highest applied index.', status.applied)
  gauge('holdfast_raft_last_index', 'Highest index of the log.', status.lastIndex)
  gauge('holdfast_raft_log_entries', 'Entries held in the log.', status.logEntries)
  gauge('holdfast_raft_members', 'Members of the cluster.', status.members.length)
  const { byLease, byRound } = status.readsConfirmed
  const confirmed = 'Read indexes that this node confirmed as leader since the start.'
  gauge('holdfast_raft_reads_confirmed', confirmed, byLease, '{by="lease"}')
  gauge('holdfast_raft_reads_confirmed', confirmed, byRound, '{by="round"}')
  for (const peer of status.peers)
    gauge(
      'holdfast_raft_peer_lag_entries',
      'Entries that a peer lacks, as the leader knows.',
      Math.max(0, status.lastIndex - peer.match),
      `{peer="${peer.id.replace(/[\\"\n]/g, '_')}"}`,
    )
  gauge('holdfast_password_checks_running', 'Passwords that this node hashes now.', passwords.queue.running)
  gauge('holdfast_password_checks_waiting', 'Logins that wait for it.', passwords.queue.waiting)
  gauge('holdfast_password_checks_refused', 'Logins turned away since the start, since too many waited.', passwords.queue.refused)
  gauge('holdfast_lockout_names', 'Names whose wrong tries this leader counts now.', lockout.names)
  const found = sealed ? 0 : await barrier.read({ kind: 'stale' }, (view) => namespaces.count(view))
  gauge('holdfast_namespaces', 'Namespaces besides the root, as this node has applied; 0 while it is sealed.', found)
  gauge('holdfast_quota_rate_limits', 'Rate limits that hold.', quotaStore.current.rateLimits.size)
  gauge('holdfast_quota_buckets', 'Clients that are counted now, once for each rate limit.', limiter.size)
  gauge('holdfast_quota_refused', 'Requests refused by rate limits on this node since the start.', limiter.refused)
  gauge('holdfast_quota_accounts', 'Of the whole cluster, those that this node counts as the leader.', quotaSync.accounts)
  const leases = leasing.status()
  gauge('holdfast_leases', 'Leases and tokens that end some time, as the leader counts them; 0 elsewhere.', leases.leases)
  gauge('holdfast_leases_irrevocable', 'Leases that could not be taken back and were given up.', leases.irrevocable)
  gauge('holdfast_lease_pending', 'Leases and tokens that fall due within a minute, in the memory of the leader.', leases.pending)
  gauge('holdfast_lease_expiries', 'Leases and tokens that this node has ended since the start.', leases.ended)
  gauge('holdfast_lease_revocation_failures', 'Tries to take a lease back that have failed since the start.', leases.failures)
  gauge('holdfast_lease_lag_seconds', 'How late the last ones were ended that were due.', leases.lagMs / 1_000)
  gauge('holdfast_barrier_encryptions', 'Values sealed since the start.', sealedHere ?? 0)
  gauge('holdfast_barrier_key_encryptions', 'Of those, under the key that this leader seals with now.', sealedUnderKey ?? 0)
  gauge('holdfast_barrier_keyring_term', 'Active term of the keyring.', keyringTerm ?? 0)
  gauge('holdfast_barrier_keyring_term_created_seconds', 'When it was added, seconds since 1970.', (keyringTermCreatedMs ?? 0) / 1_000)
  gauge('holdfast_barrier_keyring_term_encryptions', 'Values sealed in it, by all leaders; rotate/config bounds it.', encryptions)
  gauge('holdfast_barrier_cache_bytes', 'Opened values and names kept in memory.', cache?.bytes ?? 0)
  gauge('holdfast_barrier_cache_hits', 'Values found there since the start.', cache?.hits ?? 0)
  gauge('holdfast_barrier_cache_misses', 'Values that had to be opened since the start.', cache?.misses ?? 0)
  const seals = barrier.namespaces.counts()
  gauge('holdfast_namespaces_open', 'Namespaces with a seal of their own that are open on this node.', seals.open)
  gauge('holdfast_namespaces_sealed', 'Those that are not.', seals.sealed)
  gauge('holdfast_requests_in_flight', 'Requests being answered.', core.inFlight().length)
  gauge('holdfast_old_reads', 'Reads answered as bounded or stale since the start.', core.oldReads())
  const auto = seal?.status()
  if (auto !== undefined) {
    gauge('holdfast_seal_ok', 'Whether the last call to the seal succeeded; -1 before the first.', auto.ok === null ? -1 : auto.ok ? 1 : 0)
    gauge(
      'holdfast_seal_last_ok_seconds',
      'When a call to the seal last succeeded, seconds since 1970; 0: not yet.',
      (auto.lastOkMs ?? 0) / 1_000,
    )
    gauge('holdfast_seal_last_failure_seconds', 'When one last failed.', (auto.lastFailure?.atMs ?? 0) / 1_000)
    for (const { fault, count } of auto.failures)
      gauge('holdfast_seal_failures', 'Failed calls to the seal since the start.', count, `{cause="${fault}"}`)
  }
  gauge(
    'holdfast_restored_waits',
    "Whether leases and jobs wait, since the state is another cluster's snapshot and nobody has confirmed that it is this one's.",
    origin.waits() ? 1 : 0,
  )
  gauge('holdfast_snapshot_saves', 'Snapshots that this node is saving.', saver.saving)
  for (const { schedule, run } of sealed ? [] : await schedules.status()) {
    // Names of schedules are letters, digits, - and _.
    const labels = `{schedule="${schedule.name}"}`
    const lastOkMs = run?.lastSuccess?.endedMs ?? 0
    gauge(
      'holdfast_snapshot_last_success_seconds',
      'When a scheduled snapshot was last kept, seconds since 1970; 0: not yet.',
      lastOkMs / 1_000,
      labels,
    )
    gauge('holdfast_snapshot_last_bytes', 'Bytes of that one.', run?.lastSuccess?.bytes ?? 0, labels)
    gauge('holdfast_snapshot_failures', 'Runs of the schedule that have failed since its last success.', run?.failures ?? 0, labels)
    gauge('holdfast_snapshot_last_failure_seconds', 'When one last failed.', (run?.lastError?.atMs ?? 0) / 1_000, labels)
  }
  const transport = birth.transport?.stats()
  if (transport !== undefined) gauge('holdfast_transport_peers', 'Peers with an open stream.', transport.peers.length)
  gauge(
    'process_start_time_seconds',
    'When this process began, seconds since 1970: sealing by an operator begins another one.',
    performance.timeOrigin / 1_000,
  )
  gauge('process_resident_memory_bytes', 'Resident set.', memory.rss)
  gauge('nodejs_heap_used_bytes', 'JavaScript heap in use.', memory.heapUsed)
  return `${lines.join('\n')}\n`
}

/** As `sys/host-info` answers. */
export function hostInfo(nowMs: number): Readonly<Record<string, unknown>> {
  const [load1 = 0, load5 = 0, load15 = 0] = loadavg()
  return {
    timestamp: formatRfc3339(nowMs),
    cpu: { cores: availableParallelism(), load1, load5, load15 },
    host: { hostname: hostname(), os: type().toLowerCase(), kernelVersion: release(), uptime: Math.round(uptime()) },
    memory: { total: totalmem(), free: freemem() },
  }
}

/** The configuration without what is secret in it: seals and join tokens are named, not shown. */
export function sanitizedConfig(config: ServerConfig): Readonly<Record<string, unknown>> {
  const { api_addr, cluster_addr, cluster_name, log_level, default_lease_ttl, max_lease_ttl, pid_file, raw_storage_endpoint } = config
  return {
    api_addr,
    cluster_addr,
    cluster_name,
    log_level,
    default_lease_ttl: default_lease_ttl / 1_000,
    max_lease_ttl: max_lease_ttl / 1_000,
    pid_file: pid_file ?? '',
    raw_storage_endpoint,
    disable_cache: config.disable_cache,
    cache_bytes_max: config.cache_bytes_max,
    listeners: config.listeners.map(({ address, cluster_address, tls_disable }) => ({
      type: 'tcp',
      config: { address, cluster_address, tls_disable },
    })),
    storage: {
      type: 'raft',
      cluster_addr,
      redirect_addr: api_addr,
      disable_clustering: false,
      raft: { path: config.raft.path, node_id: config.raft.node_id },
    },
    seals: config.seals.map(({ kind, disabled }) => ({ type: kind, disabled })),
  }
}
