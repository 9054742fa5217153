/** Birth, sealing, health and leadership of a node. Most of it answers while sealed, without a token. */
import { HoldfastError } from '#base/errors.ts'
import { formatRfc3339 } from '#base/rfc3339.ts'
import type { ReadView } from '#barrier/types.ts'
import { scopeOf } from '#core/scope.ts'
import { apiVersion, buildDate } from '#core/version.ts'
import { readVersions } from '#core/version-history.ts'
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { metricsJson } from './metrics-json.ts'
import { answer, effects, field, inQuery, optional, path, reads, text } from './table.ts'
import type { ReplicaStatus } from '#replica/types.ts'
import type { AutoSealStatus, SealStatus } from '#seal/types.ts'
import type { SystemServices } from './types.ts'

const openFlags = { unauthenticated: true, whileSealed: true, local: true, bare: true, rootNamespaceOnly: true } as const
const seldomFlags = { local: true, rootNamespaceOnly: true } as const

export function lifecyclePaths(services: SystemServices): PathDef[] {
  return [...initPaths(services), ...sealPaths(services), healthPath(services), ...leaderPaths(services), ...nodePaths(services)]
}

function sealStatusBody(status: SealStatus): Record<string, unknown> {
  return {
    type: status.type,
    initialized: status.initialized,
    sealed: status.sealed,
    t: status.t,
    n: status.n,
    progress: status.progress,
    nonce: status.nonce,
    version: apiVersion,
    build_date: buildDate,
    commit_date: buildDate,
    migration: status.migration,
    ...(status.clusterName === null || status.sealed ? {} : { cluster_name: status.clusterName }),
    ...(status.clusterId === null || status.sealed ? {} : { cluster_id: status.clusterId }),
    recovery_seal: status.recoverySeal,
    ...(status.recoverySeal ? { recovery_seal_type: 'shamir' } : {}),
    storage_type: 'raft',
    ...(status.warnings?.length ? { warnings: status.warnings } : {}),
  }
}

/** The same bytes, not a copy: that would stay in the pool of small buffers when the key is wiped. */
const asBuffer = (key: Uint8Array): Buffer => Buffer.from(key.buffer, key.byteOffset, key.length)
const hexOf = (key: Uint8Array): string => asBuffer(key).toString('hex')
const base64Of = (key: Uint8Array): string => asBuffer(key).toString('base64')

function initPaths({ lifecycle }: SystemServices): PathDef[] {
  const fields = {
    secret_shares: field('int', 'Into how many shares the unseal key is split.', { default: 5 }),
    secret_threshold: field('int', 'How many shares unseal.', { default: 3 }),
    stored_shares: field('int', 'Accepted for old clients; ignored.', { deprecated: true }),
    recovery_shares: field('int', 'Into how many shares the recovery key is split, with an auto seal.', { default: 5 }),
    recovery_threshold: field('int', 'How many recovery shares are needed.', { default: 3 }),
    pgp_keys: field('list', 'PGP public keys, base64, one a share.', { default: [] }),
    recovery_pgp_keys: field('list', 'PGP public keys for the recovery shares.', { default: [] }),
    root_token_pgp_key: field('string', 'PGP public key for the root token.', { default: '' }),
  }
  const init = async (context: HandlerContext): Promise<LogicalResponse> => {
    checkApplicable(context, await lifecycle.sealStatus())
    const result = await lifecycle.init({
      secretShares: optional<number>(context, 'secret_shares') ?? 5,
      secretThreshold: optional<number>(context, 'secret_threshold') ?? 3,
      recoveryShares: optional<number>(context, 'recovery_shares') ?? 5,
      recoveryThreshold: optional<number>(context, 'recovery_threshold') ?? 3,
      pgpKeys: optional<string[]>(context, 'pgp_keys') ?? [],
      recoveryPgpKeys: optional<string[]>(context, 'recovery_pgp_keys') ?? [],
      rootTokenPgpKey: text(context, 'root_token_pgp_key'),
      storedShares: optional<number>(context, 'stored_shares') ?? null,
    })
    const shown = answer({
      keys: result.keys.map(hexOf),
      keys_base64: result.keys.map(base64Of),
      ...(result.recoveryKeys
        ? { recovery_keys: result.recoveryKeys.map(hexOf), recovery_keys_base64: result.recoveryKeys.map(base64Of) }
        : {}),
      root_token: result.rootToken,
      ...(result.warnings?.length ? { warnings: result.warnings } : {}),
    })
    for (const key of [...result.keys, ...(result.recoveryKeys ?? [])]) key.fill(0)
    return shown
  }
  return [
    path(
      'init',
      'Whether the cluster is initialised; and initialising it, once.',
      { ...openFlags, fields },
      {
        read: reads('Is it initialised', async () => answer({ initialized: (await lifecycle.sealStatus()).initialized })),
        update: effects('Initialise', init),
      },
    ),
  ]
}

const given = (context: HandlerContext, name: string): boolean => {
  const value = context.request.body[name]
  return value !== undefined && value !== null && value !== 0 && value !== '' && !(Array.isArray(value) && value.length === 0)
}

/** An auto seal has recovery shares, a shamir seal has unseal shares; who asks for the other expects something that would not be. @throws ERR_BAD_REQUEST. */
function checkApplicable(context: HandlerContext, { type, initialized, recoverySeal }: SealStatus): void {
  const names = recoverySeal
    ? ['secret_shares', 'secret_threshold', 'pgp_keys']
    : ['recovery_shares', 'recovery_threshold', 'recovery_pgp_keys']
  const wrong = names.filter((name) => given(context, name))
  if (initialized || wrong.length === 0) return
  throw new HoldfastError('ERR_BAD_REQUEST', `parameters ${wrong.join(',')} not applicable to seal type ${type}`, {
    hint: recoverySeal ? 'this seal opens by itself: ask for recovery_shares' : 'without an auto seal there are only secret_shares',
  })
}

function sealPaths({ lifecycle, cluster }: SystemServices): PathDef[] {
  const unsealFields = {
    key: field('string', 'One share, as hex or base64.', { sensitive: true }),
    reset: field('bool', 'Forget the shares given so far.', { default: false }),
    migrate: field('bool', 'Take part in a migration of the seal.', { default: false }),
  }
  return [
    path(
      'seal-status',
      'Whether this node is sealed, and how far unsealing is.',
      { ...openFlags, unaudited: true },
      {
        read: reads('Seal status', async () => answer(sealStatusBody(await lifecycle.sealStatus()))),
      },
    ),
    path(
      'unseal',
      'Give one unseal share to this node.',
      { ...openFlags, fields: unsealFields },
      {
        update: effects('Unseal', async (context) => {
          const key = text(context, 'key')
          const reset = optional<boolean>(context, 'reset') === true
          const status = await lifecycle.unseal({
            key: key === '' ? null : key,
            reset,
            migrate: optional<boolean>(context, 'migrate') === true,
          })
          return answer(sealStatusBody(status))
        }),
      },
    ),
    path(
      'seal',
      'Seal this node.',
      { ...seldomFlags, sudo: true },
      {
        update: effects('Seal', async () => {
          await lifecycle.seal()
          return null
        }),
      },
      'Keys are forgotten at once. When this is answered, the process is replaced by a fresh one, unless seal_replaces_process is off: it answers again after a second or two. With an auto seal the node stays sealed until recovery keys are given to it, or it restarts.',
    ),
    path(
      'sealwrap/rewrap',
      'Wrap the root key anew by the auto seal, after its key was rotated or replaced.',
      { rootNamespaceOnly: true, sudo: true },
      {
        update: effects('Rewrap', async () => {
          await lifecycle.rewrap()
          return null
        }),
      },
    ),
    path(
      'seal-backend-status',
      "How this node's auto seal does: last success, last failure, counts.",
      { ...seldomFlags },
      {
        read: reads('Seal backend', async () => answer(backendBody(lifecycle.autoSealStatus()))),
      },
    ),
    path(
      'step-down',
      'Make the leader hand leadership to another node.',
      { rootNamespaceOnly: true, sudo: true },
      {
        update: effects('Step down', async () => {
          await cluster.stepDown()
          return null
        }),
      },
    ),
  ]
}

const time = (ms: number | null): string | null => (ms === null ? null : formatRfc3339(ms))

/** As Vault answers it, with what it does not tell: the cause, and counts. */
function backendBody(status: AutoSealStatus | null): Record<string, unknown> {
  if (status === null) return { healthy: true, backends: [{ name: 'shamir', healthy: true }] }
  const healthy = status.ok !== false
  const failure = status.lastFailure
  return {
    healthy,
    ...(healthy || failure === null ? {} : { unhealthy_since: time(status.lastOkMs ?? failure.atMs) }),
    backends: [
      {
        name: status.kind,
        healthy,
        last_ok: time(status.lastOkMs),
        last_failure: failure === null ? null : { cause: failure.fault, message: failure.message, time: time(failure.atMs) },
        failures: Object.fromEntries(status.failures.map(({ fault, count }) => [fault, count])),
      },
    ],
  }
}

/** Parameters without a value (`?standbyok`) are switched on, as the peers read them. */
const switchedOn = (context: HandlerContext, name: string): boolean => {
  const value = context.fields[name]
  return value !== undefined && value !== 'false' && value !== '0'
}

function healthPath(services: SystemServices): PathDef {
  const fields = {
    standbyok: inQuery('string', 'Followers answer as the leader does.'),
    perfstandbyok: inQuery('string', 'The same, by its other name.'),
    activecode: inQuery('int', 'Status of the leader, instead of 200.'),
    standbycode: inQuery('int', 'Status of a follower, instead of 429.'),
    sealedcode: inQuery('int', 'Status when sealed, instead of 503.'),
    uninitcode: inQuery('int', 'Status when not initialised, instead of 501.'),
    drsecondarycode: inQuery('int', 'Accepted and ignored.'),
    performancestandbycode: inQuery('int', 'Accepted and ignored.'),
  }
  const description =
    'Leader 200, follower 429 (200 with standbyok), not initialised 501, sealed 503. A node that drains or has lost its majority is 503 whatever the parameters say, with the cause in the body. There also: why a node whose log lost something has no vote (log_repair), and how scheduled snapshots do (snapshots: last_success, which each schedule has reached, and how many are failing).'
  return path(
    'health',
    'Health of this node, for load balancers.',
    { ...openFlags, unaudited: true, fields },
    {
      read: reads('Health', (context) => health(services, context)),
    },
    description,
  )
}

async function health({ lifecycle, cluster, clock, snapshots }: SystemServices, context: HandlerContext): Promise<LogicalResponse> {
  const seal = await lifecycle.sealStatus()
  const status = cluster.status()
  const leads = status?.role === 'leader' && status.ready
  const cause = seal.initialized && !seal.sealed ? unavailability(lifecycle.unavailable(), cluster) : null
  const storage = storageCause(status)
  const sealedCauses = [...(storage === null ? [] : [storage]), ...(seal.sealed ? (seal.warnings ?? []) : [])]
  const scheduled = seal.sealed || !seal.initialized ? null : await snapshots.summary()
  const code = (name: string, otherwise: number): number => optional<number>(context, name) ?? otherwise
  const activeCode = code('activecode', 200)
  const standbyOk = switchedOn(context, 'standbyok') || switchedOn(context, 'perfstandbyok')
  let answerCode = leads ? activeCode : standbyOk ? activeCode : code('standbycode', 429)
  if (!seal.initialized) answerCode = code('uninitcode', 501)
  else if (seal.sealed) answerCode = code('sealedcode', 503)
  else if (cause !== null) answerCode = 503
  return {
    status: validStatus(answerCode),
    data: {
      initialized: seal.initialized,
      sealed: seal.sealed,
      standby: !leads,
      performance_standby: false,
      replication_performance_mode: 'disabled',
      replication_dr_mode: 'disabled',
      server_time_utc: Math.floor(clock.nowMs() / 1_000),
      version: apiVersion,
      ...(seal.sealed || seal.clusterName === null ? {} : { cluster_name: seal.clusterName }),
      ...(seal.sealed || seal.clusterId === null ? {} : { cluster_id: seal.clusterId }),
      ...(cause === null ? {} : { cause }),
      ...(cause === null && sealedCauses.length > 0 ? { cause: sealedCauses.join('; ') } : {}),
      ...(status?.logRepair ? { log_repair: status.logRepair } : {}),
      ...(scheduled === null ? {} : { snapshots: { last_success: time(scheduled.lastSuccessMs), failing: scheduled.failing } }),
    },
  }
}

/**
 * An election takes about a second, and requests wait for its end: a load balancer that heard 503 meanwhile would take every node out at once
 * and turn a pause into an outage.
 */
const majorityGraceMs = 2_500

function unavailability(own: string | null, cluster: SystemServices['cluster']): string | null {
  if (own !== null) return own
  const status = cluster.status()
  if (!status) return 'this node has joined no cluster'
  const storage = storageCause(status)
  if (storage !== null) return storage
  return cluster.withoutMajorityMs() > majorityGraceMs ? 'this node reaches no majority: no leader is heard' : null
}

/** What is wrong with this node's disk, or what it holds: worth telling while it is sealed as well. */
function storageCause(status: ReplicaStatus | null): string | null {
  if (status?.failed) return `storage failed: ${status.failed}`
  return status?.repair ? `the state of this node is being fetched again: ${status.repair}` : null
}

const validStatus = (code: number): number => (code >= 200 && code <= 599 ? code : 400)

function leaderPaths({ cluster }: SystemServices): PathDef[] {
  const leader = (): LogicalResponse => {
    const status = cluster.status()
    const isSelf = status?.role === 'leader' && status.ready
    const activeMs = cluster.activeSinceMs()
    return answer({
      ha_enabled: true,
      is_self: isSelf,
      active_time: isSelf && activeMs !== null ? formatRfc3339(activeMs) : '0001-01-01T00:00:00Z',
      leader_address: status?.leaderMember?.apiAddress ?? '',
      leader_cluster_address: status?.leaderMember ? `https://${status.leaderMember.clusterAddress}` : '',
      performance_standby: false,
      performance_standby_last_remote_wal: 0,
      ...(status ? { raft_committed_index: status.commit, raft_applied_index: status.applied } : {}),
    })
  }
  const haStatus = (): LogicalResponse => {
    const status = cluster.status()
    const nodes = (status?.members ?? []).map((member) => ({
      hostname: member.id,
      api_address: member.apiAddress,
      cluster_address: `https://${member.clusterAddress}`,
      active_node: member.id === status?.leader,
      last_echo: null,
      version: apiVersion,
    }))
    return answer({ nodes })
  }
  return [
    path('leader', 'Who leads.', { ...openFlags, unaudited: true }, { read: reads('Leader', async () => leader()) }),
    path('ha-status', 'The nodes of the cluster.', { ...seldomFlags, injected: true }, { read: reads('Nodes', async () => haStatus()) }),
  ]
}

function nodePaths(services: SystemServices): PathDef[] {
  // This node's own is among them before the leader has noted it: in the first seconds, and on a follower that is upgraded first.
  const history = async (view: ReadView): Promise<LogicalResponse> => {
    const noted = await readVersions(view)
    const own = noted.some(({ version }) => version === apiVersion) ? [] : [{ version: apiVersion, buildDate, sinceMs: null }]
    const versions = [...noted, ...own]
    const info = versions.map(({ version, buildDate: built, sinceMs }, at) => {
      const installed = sinceMs === null ? null : formatRfc3339(sinceMs)
      return [version, { build_date: built, previous_version: versions[at - 1]?.version ?? null, timestamp_installed: installed }] as const
    })
    return { data: { keys: versions.map(({ version }) => version), key_info: Object.fromEntries(info) } }
  }
  const metricsFields = { format: { ...inQuery('string', "Prometheus' text, or one JSON object."), enum: ['', 'prometheus', 'json'] } }
  return [
    path('host-info', 'What this host is.', seldomFlags, { read: reads('Host', async () => answer(await services.hostInfo())) }),
    path(
      'in-flight-req',
      'Requests that this node is answering now.',
      { ...seldomFlags, openOn: 'in-flight-req' },
      {
        read: reads('Requests in flight', async () => {
          const entries = services.inFlight().map((request) => [
            request.id,
            {
              start_time: formatRfc3339(request.startedMs),
              client_remote_address: request.clientAddress,
              request_path: `/v1/${request.path}`,
              request_method: request.method,
            },
          ])
          return answer(Object.fromEntries(entries) as Record<string, unknown>)
        }),
      },
    ),
    path(
      'metrics',
      'Metrics of this node.',
      { ...seldomFlags, openOn: 'metrics', fields: metricsFields },
      {
        read: reads('Metrics', async (context) => {
          const prometheus = await services.metricsText()
          if (text(context, 'format') === 'json')
            return { raw: { contentType: 'application/json', body: Buffer.from(metricsJson(prometheus, context.nowMs)) } }
          return { raw: { contentType: 'text/plain; version=0.0.4; charset=utf-8', body: Buffer.from(prometheus) } }
        }),
      },
    ),
    path('config/state/sanitized', 'The configuration of this node without its secrets.', seldomFlags, {
      read: reads('Configuration', async () => answer(services.sanitizedConfig())),
    }),
    path(
      'version-history',
      'Versions that this cluster has run.',
      { rootNamespaceOnly: true },
      { list: reads('Versions', (context) => history(scopeOf(context).view)) },
    ),
  ]
}
