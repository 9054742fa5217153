/**
 * One server, put together in the order in which it boots, and taken apart in the reverse. Everything here happens once a process.
 *
 * Listening comes before the stores are open: a node that starts, or waits to be initialised or unsealed, says so to whoever asks.
 */
import { chmodSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { systemClock } from '#base/clock.ts'
import { HoldfastError, isHoldfastError, type ErrorCode } from '#base/errors.ts'
import { releasedFormats, type FormatRange } from '#base/formats.ts'
import { setLifetimes } from '#base/lifetimes.ts'
import type { Logger } from '#base/logger.ts'
import { randomUuid, systemRandom } from '#base/random.ts'
import { inSpan } from '#base/tracing.ts'
import { createAuditBroker, type ManagedAuditBroker } from '#audit/broker.ts'
import { createAuthMethods } from '#auth/index.ts'
import { createPasswordHasher } from '#auth/passwords.ts'
import { createBarrier } from '#barrier/barrier.ts'
import type { BarrierControl } from '#barrier/types.ts'
import { loadConfig } from '#config/load.ts'
import type { ServerConfig } from '#config/types.ts'
import { bootstrapStorage } from '#core/bootstrap.ts'
import { createCore, type Core } from '#core/core.ts'
import { HttpSettings } from '#core/cors.ts'
import { RequestMetrics } from '#http/request-metrics.ts'
import { houseJobs } from '#core/house-jobs.ts'
import { holdfastVersion } from '#core/version.ts'
import { Leasing } from '#core/leasing.ts'
import { UserLockout } from '#core/lockout.ts'
import { createSecretEngines } from '#engines/index.ts'
import { createSystemEngine, type SystemServices } from '#engines/sys/index.ts'
import type { LifecycleService } from '#engines/sys/types.ts'
import { createIdentityStore } from '#identity/store.ts'
import { LeaseLedger } from '#leases/ledger.ts'
import { LeaseStore } from '#leases/store.ts'
import { createNamespaceStore } from '#namespaces/store.ts'
import { createPolicyStore } from '#policies/store.ts'
import { QuotaFeed } from '#quotas/feed.ts'
import { Limiter } from '#quotas/limiter.ts'
import { QuotaStore } from '#quotas/store.ts'
import { SealKeeper } from '#seal/keeper.ts'
import { checkSealInit, createSealManager } from '#seal/manager.ts'
import { createNamespaceSeals, type NamespaceSeals } from '#seal/namespace-seals.ts'
import type { SealManager } from '#seal/types.ts'
import { createWrapping } from '#wrapping/wrapping.ts'
import type { ReplicaSettings } from '#replica/index.ts'
import { Origin } from '#snapshots/restored.ts'
import { SnapshotRestorer } from '#snapshots/restorer.ts'
import { SnapshotSaver } from '#snapshots/saver.ts'
import { SnapshotSchedules } from '#snapshots/schedules.ts'
import { createTokenStore, type TokenStore } from '#tokens/store.ts'
import { anchorKind, AuditAnchors } from './audit-anchors.ts'
import { AuditDevices, openConfigured } from './audit-devices.ts'
import { auditMetrics } from './audit-metrics.ts'
import { NodeCluster } from './cluster-service.ts'
import { nextBoot } from './boot-number.ts'
import { cacheOptions } from './cache-options.ts'
import { claimDataFolder } from './data-folder.ts'
import { forgetSealed, forgetWithNamespaces } from './forgetting.ts'
import { Forwarding, forwardKind } from './forwarding.ts'
import { Granter } from './granting.ts'
import { hardenProcess } from './hardening.ts'
import { hostInfo } from './host-info.ts'
import { nodeIdOf } from './identity-name.ts'
import { namespaceKeyKind, NamespaceKeyService } from './namespace-keys.ts'
import { joinOptionsOf } from './retry-join.ts'
import { LateReplica } from './late-replica.ts'
import { chooseSeals, type ChosenSeals } from './seal-choice.ts'
import { Birth } from './lifecycle.ts'
import { openListeners } from './listeners.ts'
import { lockoutSettings } from './lockout-settings.ts'
import { createProcessLogger, type ProcessLogger } from './logger.ts'
import { leaseCounterOf, QuotaSync, quotaKind } from './quota-sync.ts'
import { auditRecovery } from './recovery.ts'
import { Renewal, renewKind } from './renewal.ts'
import { becomeSealed, canBeReplaced } from './replacement.ts'
import { metricsText, sanitizedConfig } from './reports.ts'
import { createShareHolders, forHolders, initHolders, type ShareHolders } from './share-holders.ts'
import { tellServiceManager } from './service-manager.ts'
import { watchSignals } from './signals.ts'
import { answerForwarded, forwardTraced, openTracing, TracedReplica, tracingMetrics, type Tracing } from './tracing.ts'

/** How long requests in flight may go on once the node has been told to stop. */
const drainMs = 3_000
/** The same for a node that was sealed: it has nothing left to serve with, and the cluster waits for its vote. */
const sealedDrainMs = 1_000
/** Load balancers look at health about this often: a node that stops says so first, and goes on serving meanwhile. */
const noticeMs = 600
/** Half the processors: whoever floods this node with logins leaves the other half to consensus and to everybody else. */
const passwordsAtOnceMax = Math.max(1, Math.floor(availableParallelism() / 2))

export interface ServerArguments {
  /** Files or folders, HCL or JSON; later ones win. */
  readonly configPaths: readonly string[]
  readonly logLevel?: string
  /** An operator sealed it before its process was replaced: the auto seal must not open it again. */
  readonly staySealed?: boolean
  /** What this node understands of formats; no configuration sets it. Tests run the next release with it. */
  readonly formats?: FormatRange
}

/** The services of one node. */
interface House {
  readonly core: Core
  readonly http: HttpSettings
  readonly requests: RequestMetrics
  readonly barrier: BarrierControl
  readonly seal: SealManager
  readonly seals: ChosenSeals
  readonly keeper: SealKeeper
  readonly namespaceSeals: NamespaceSeals
  readonly namespaceKeys: NamespaceKeyService
  readonly holders: ShareHolders
  readonly birth: Birth
  readonly cluster: NodeCluster
  readonly renewal: Renewal
  readonly quotas: { readonly feed: QuotaFeed; readonly sync: QuotaSync; readonly limiter: Limiter }
  readonly replica: LateReplica
  readonly audit: ManagedAuditBroker
  readonly anchors: AuditAnchors
  readonly saver: SnapshotSaver
  readonly schedules: SnapshotSchedules
  readonly state: { draining: boolean; failed: string | null }
  /** Resolves when an operator has sealed this node. */
  readonly sealedByOperator: Promise<'sealed'>
}

/**
 * Runs a node until it is told to stop. Resolves with the exit code: 0 after an orderly stop, 1 when it could not start.
 * What is wrong with the configuration, a port or the store is on standard error and in the log.
 */
export async function runServer(options: ServerArguments): Promise<number> {
  const flags = options.logLevel === undefined ? {} : { flags: { log_level: options.logLevel } }
  const load = (): ServerConfig => loadConfig({ files: options.configPaths, env: process.env, ...flags })
  const config = load()
  // LevelDB makes its files with whatever mode this leaves: none of them is for others to read.
  process.umask(0o077)
  const folderWarning = claimDataFolder(config.raft.path)
  const nodeId = await nodeIdOf(config.raft.node_id, config.raft.path, systemRandom)
  const logger = createProcessLogger(config.log_level, nodeId)
  setLifetimes({ defaultSeconds: config.default_lease_ttl / 1_000, maxSeconds: config.max_lease_ttl / 1_000 })
  const { log } = logger
  for (const warning of [...config.warnings, folderWarning]) if (warning !== null) log.warn({}, warning)
  try {
    for (const warning of hardenProcess(log)) log.warn({}, warning)
    return await serve(config, nodeId, logger, load, options)
  } catch (error) {
    log.error(
      { code: codeOf(error), hint: isHoldfastError(error) ? error.hint : undefined },
      `could not start: ${(error as Error).message}`,
    )
    throw error
  }
}

async function serve(
  config: ServerConfig,
  nodeId: string,
  logger: ProcessLogger,
  reload: () => ServerConfig,
  options: ServerArguments,
): Promise<number> {
  const { log } = logger
  const seals = chooseSeals(config.seals, { clock: systemClock, random: systemRandom, env: process.env, log })
  const audit = await openAudit(config, nodeId, log)
  const tracing = await openTracing(config.telemetry, nodeId, holdfastVersion, log)
  const house = assemble(config, nodeId, logger, audit, seals, options, tracing)
  const replaces = config.seal_replaces_process && canBeReplaced()
  if (config.seal_replaces_process && !replaces)
    log.warn(
      {},
      'this platform lets no process replace itself: what a node served stays in its memory when it is sealed, until it restarts',
    )
  let listeners: Awaited<ReturnType<typeof openListeners>> = []
  const signals = watchSignals({
    log,
    onHangup: [
      ['audit files', () => audit.reopen()],
      [
        'certificates',
        () => {
          for (const listener of listeners) listener.reloadTls()
        },
      ],
      ['log level', () => logger.setConfigured(reload().log_level)],
    ],
  })
  let removePidFile = (): void => {}
  let why: 'told' | 'sealed' = 'told'
  try {
    // Before the door is open: until its store is, a member can't tell that it is initialised, and must not say that it is not.
    const resumed = await house.birth.resume()
    listeners = await openListeners(config, house.core, nodeId, logger.part('http'), house.http, house.requests, tracing)
    if (config.pid_file !== null) removePidFile = writePidFile(config.pid_file)
    await begin(house, config, log, resumed)
    why = await Promise.race([signals.told, ...(replaces ? [house.sealedByOperator] : [])])
  } finally {
    if (why === 'told') signals.release()
    await end(house, listeners, log, why)
    await tracing?.close()
    if (why === 'told') removePidFile()
  }
  // Told to stop meanwhile: then it stops.
  if (why === 'told' || signals.wasTold()) return 0
  becomeSealed(log)
  return 1
}

/** For whoever manages the process, so readable for all, unlike everything else that is written here. Returns its removal. @throws ERR_CONFIG */
function writePidFile(path: string): () => void {
  try {
    writeFileSync(path, `${process.pid}\n`)
    chmodSync(path, 0o644)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'an error'
    throw new HoldfastError('ERR_CONFIG', `pid_file expected a file that can be written, got ${code} for ${path}`, { cause: error })
  }
  return () => rmSync(path, { force: true })
}

async function begin(house: House, config: ServerConfig, log: Logger, resumed: boolean): Promise<void> {
  if (resumed) await auditRecovery(config.raft.path, house.audit, randomUuid(systemRandom), systemClock.nowMs())
  // From here on it opens by itself as soon as it can: a KMS that is away must not keep a node from voting.
  house.keeper.start()
  house.namespaceKeys.start()
  house.quotas.sync.start(house.quotas.limiter)
  house.anchors.start()
  if (!resumed) house.cluster.retryJoin(config.raft.retry_join.map((block) => joinOptionsOf(block, config.raft.retry_join_as_non_voter)))
  house.core.startJobs()
  house.renewal.start()
  log.info(
    { api_addr: config.api_addr, cluster_addr: config.cluster_addr, member: resumed, sealed: house.barrier.sealed },
    'Holdfast is up',
  )
  tellServiceManager('READY=1', log)
}

async function end(house: House, listeners: Awaited<ReturnType<typeof openListeners>>, log: Logger, why: 'told' | 'sealed'): Promise<void> {
  house.state.draining = true
  // A sealed process only becomes another one: the service goes on.
  if (why === 'told') tellServiceManager('STOPPING=1', log)
  house.cluster.stop()
  house.renewal.stop()
  house.quotas.feed.stop()
  house.quotas.sync.stop()
  for (const listener of listeners) listener.drain()
  const { role, members } = house.replica.status()
  // Alone there is nobody to send clients to: waiting would help no one. A sealed node has told its health already, and leads no more.
  if (members.length > 1 && why === 'told') {
    if (role === 'leader')
      await house.cluster.stepDown().catch((error: unknown) => log.info({ reason: (error as Error).message }, 'stopping as the leader'))
    await new Promise((resolve) => systemClock.setTimer(noticeMs, () => resolve(null)))
  }
  await Promise.all(listeners.map((listener) => listener.close(why === 'sealed' ? sealedDrainMs : drainMs)))
  await house.anchors.stop()
  await house.core.stopJobs()
  await house.schedules.stop()
  house.saver.closeAll()
  await house.namespaceKeys.stop()
  house.namespaceSeals.close()
  await house.birth.stop()
  house.keeper.stop()
  house.holders.close()
  house.seal.close()
  for (const seal of [house.seals.active, house.seals.retired]) await seal?.close()
  house.barrier.close()
  await house.audit.close()
  log.info({}, 'Holdfast has stopped')
}

async function openAudit(config: ServerConfig, nodeId: string, log: Logger): Promise<ManagedAuditBroker> {
  const devices = await openConfigured(config.audit, nodeId, systemClock, log)
  return createAuditBroker({ nodeId, clock: systemClock, random: systemRandom, log, devices })
}

function assemble(
  config: ServerConfig,
  nodeId: string,
  logger: ProcessLogger,
  audit: ManagedAuditBroker,
  seals: ChosenSeals,
  { formats = releasedFormats, staySealed = false }: ServerArguments,
  tracing: Tracing | null,
): House {
  const clock = systemClock
  const random = systemRandom
  const { log } = logger
  const requests = new RequestMetrics()
  const replica = tracing === null ? new LateReplica(nodeId) : new TracedReplica(nodeId, tracing.disk)
  const barrier = createBarrier({ replica, clock, random, log: logger.part('barrier'), ...cacheOptions(config) })
  const leases = new LeaseStore({ random, ledger: new LeaseLedger() })
  const tokens = createTokenStore({ random, leases, incarnation: () => replica.status().incarnation })
  const identity = createIdentityStore({ random })
  const policies = createPolicyStore({ identity })
  const namespaces = createNamespaceStore({ random })
  const wrapping = createWrapping({ tokens })
  const passwords = createPasswordHasher({ clock, random, atOnceMax: passwordsAtOnceMax })
  const lockout = new UserLockout({ term: () => replica.status().term, settingsFor: (type) => lockoutSettings(config.userLockouts, type) })
  const seal = createSealManager({
    barrier,
    replica,
    random,
    log: logger.part('seal'),
    held: staySealed,
    ...(config.cluster_name === null ? {} : { clusterName: config.cluster_name }),
    ...(seals.active === null ? {} : { autoSeal: seals.active }),
    ...(seals.retired === null ? {} : { retiredSeal: seals.retired }),
  })
  const keeper = new SealKeeper({ seal, autoSeal: seals.active, replica, clock, random, log })
  const holders = createShareHolders({ barrier, replica, autoSeal: seals.active, tokens, clock, random, log })
  const state: House['state'] = { draining: false, failed: null }
  const sealed = Promise.withResolvers<'sealed'>()
  const clusterAddress = new URL(config.cluster_addr).host
  const birth = new Birth({
    dataDir: config.raft.path,
    nodeId,
    clusterAddress,
    listenAddress: config.cluster_listen,
    apiAddress: config.api_addr,
    replica,
    settings: replicaSettings(config),
    formats,
    clock,
    random,
    log: logger.part('raft'),
    onRequest: async (from, kind, body) => {
      if (kind === forwardKind) return forwarding.answer(from, body)
      if (kind === renewKind) return renewal.answer(from, body)
      if (kind === quotaKind) return quotaSync.answer(from, body)
      if (kind === namespaceKeyKind) return namespaceKeys.answer(from, body)
      if (kind === anchorKind) return anchors.answer(from, body)
      const kinds = [forwardKind, renewKind, quotaKind, namespaceKeyKind, anchorKind].join(', ')
      throw new HoldfastError('ERR_FRAME', `expected a request of kind ${kinds}, got another`)
    },
  })
  const forwarding = new Forwarding({
    barrier,
    random,
    replica,
    transport: () => birth.transport,
    handle: (request) => answerForwarded(request, tracing, (asked) => core.handle(asked)),
  })
  const quotaStore = new QuotaStore()
  const quotaSync = new QuotaSync({
    barrier,
    random,
    replica,
    transport: () => birth.transport,
    sealed: () => barrier.sealed,
    store: quotaStore,
    clock,
    log,
  })
  const anchors = new AuditAnchors({
    barrier,
    random,
    replica,
    transport: () => birth.transport,
    audit,
    everyMs: config.audit_anchor_interval,
    clock,
    log,
  })
  const auditDevices = new AuditDevices({ config, nodeId, audit, barrier, anchor: () => anchors.round(), clock, random, log })
  const limiter = new Limiter({ cluster: () => quotaSync.cluster(), epochBase: clock.nowMs() * 1_000 })
  const namespaceKeys = new NamespaceKeyService({ barrier, replica, transport: () => birth.transport, clock, random, log })
  const namespaceSeals = createNamespaceSeals({ barrier, replica, clock, random, log })
  const granter = new Granter({ barrier, replica, clock, random, sealRecords: () => seal.records() })
  const renewal = new Renewal({
    replica,
    identity: () => birth.identity,
    adopt: (identity) => birth.adopt(identity),
    transport: () => birth.transport,
    certify: (id, publicKeyPem) => granter.renew(id, publicKeyPem),
    authority: () => granter.authority(),
    clock,
    log,
  })
  const saver = new SnapshotSaver({
    state: () => birth.state,
    replica,
    barrier,
    clusterName: config.cluster_name,
    holdfastVersion,
    clock,
    log,
  })
  const restorer = new SnapshotRestorer({ target: () => birth.restoring, replica, barrier, seal, clock, log })
  const origin = new Origin({ barrier, replica, clock, log })
  const schedules = new SnapshotSchedules({
    barrier,
    replica,
    saver,
    rules: { root: config.snapshot_folder, nodeId },
    clock,
    log,
  })
  const joiner = { nodeId, clusterAddress, apiAddress: config.api_addr, voter: true, formats, dataDir: config.raft.path }
  const cluster = new NodeCluster({ birth, granter, replica, seal, joiner, clock, log })
  const mountable = [
    ...createSecretEngines({ identity, apiAddress: config.api_addr }),
    ...createAuthMethods({ tokens, policies, passwords, identity, clock }),
  ]
  const leasing = new Leasing({
    barrier,
    store: leases,
    tokens,
    namespaces,
    engines: () => mountable,
    leads: () => {
      const { role, ready, term } = replica.status()
      return role === 'leader' && ready && !barrier.sealed && !origin.waits() ? term : null
    },
    clock,
    random,
    log,
  })
  const services: SystemServices = {
    lifecycle: lifecycleOf({ seal, seals, birth, granter, barrier, tokens, state, nodeId, onSealed: () => sealed.resolve('sealed') }),
    cluster,
    rekey: holders.rekey,
    rootGeneration: holders.rootGeneration,
    policies,
    namespaces,
    identity,
    tokens,
    wrapping,
    snapshots: {
      save: () => saver.save(),
      check: (stream) => saver.check(stream),
      restore: (stream, options) => restorer.restore(stream, options),
      origin,
      summary: () => schedules.summary(),
    },
    snapshotFolder: config.snapshot_folder,
    barrier,
    engines: mountable,
    lockout,
    leasing,
    quotas: { store: quotaStore },
    namespaceSeals,
    auditDevices: (view) => auditDevices.list(view),
    auditEnable: (name, type, description, options) => auditDevices.enable(name, type, description, options),
    auditDisable: (name, asked) => auditDevices.disable(name, asked),
    auditHash: (path, input) => (audit.has(path) ? audit.hashValue(path, input) : null),
    auditProof: (view) => anchors.proof(view),
    metricsText: async () =>
      (await metricsText({
        replica,
        barrier,
        birth,
        audit,
        core,
        seal: seals.active,
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
      })) + auditMetrics(audit, anchors.status()),
    logs: logger,
    inFlight: () => core.inFlight(),
    hostInfo: () => hostInfo(clock.nowMs(), config.raft.path),
    sanitizedConfig: () => sanitizedConfig(config),
    clock,
    random,
  }
  const withRequests = {
    ...services,
    metricsText: async () => {
      if (config.telemetry.prometheus_retention_time === 0)
        throw new HoldfastError('ERR_BAD_REQUEST', 'prometheus is not enabled', { hint: 'telemetry.prometheus_retention_time is 0' })
      return `${await services.metricsText()}${requests.text()}${tracingMetrics(tracing)}`
    },
  }
  const core: Core = createCore({
    barrier: leasing.barrier,
    leasing,
    replica,
    tokens,
    policies,
    namespaces,
    identity,
    lockout,
    quotas: { store: quotaStore, limiter, leases: leaseCounterOf(leasing) },
    wrapping,
    audit: tracing === null ? audit : { record: (record, keys) => inSpan('audit.record', () => audit.record(record, keys)) },
    engines: [createSystemEngine(withRequests), ...mountable],
    forward: (request) => forwardTraced(request, replica.status().leader, (asked) => forwarding.forward(asked)),
    jobs: [
      ...houseJobs({
        barrier: leasing.barrier,
        tokens,
        namespaces,
        identity,
        policies,
        quotas: quotaStore,
        leasing,
        keys: barrier.namespaces,
        log,
      }),
      schedules.job,
    ],
    waits: () => origin.waits(),
    forwardsReads: config.disable_standby_reads,
    clock,
    random,
    log: logger.part('core'),
    nodeId,
    boot: nextBoot(config.raft.path, clock.nowMs()),
  })
  leasing.shareMounts(core.mounts)
  const http = new HttpSettings()
  const feed = new QuotaFeed({
    barrier,
    onApplied: (listener) => replica.onApplied(listener),
    store: quotaStore,
    alongside: async (view, namespaceIds) => {
      await core.quotas?.alongside(view, namespaceIds)
      await http.refresh(view)
      // Not waited for: a device that hangs as it is opened must not keep quotas from being read.
      void auditDevices.notice()
    },
    clock,
    log,
  })
  const memories = { core, identity, policies, tokens, lockout, leasing }
  barrier.onSealChange((sealed) => {
    if (sealed) http.onSealed()
    forwarding.forget()
    quotaSync.forget()
    anchors.forget()
    if (sealed) quotaStore.onSealed()
    else feed.look()
    tellKey(barrier, sealed, 'tokens', (key) => tokens.setKey(key))
    tellKey(barrier, sealed, 'audit', (key) => audit.setKey(key))
    if (sealed) {
      forgetSealed(memories, () => true)
      saver.closeAll()
    }
    log.info({}, sealed ? 'sealed' : 'unsealed')
  })
  forgetWithNamespaces(barrier, { ...memories, feed })
  let failed: string | null = null
  replica.onStatus((status) => {
    if (status.failed !== null && failed === null)
      log.error({ reason: status.failed }, 'the store has failed: this node acknowledges nothing more')
    failed = status.failed
    state.failed = status.failed
  })
  return {
    core,
    http,
    requests,
    barrier,
    seal,
    seals,
    keeper,
    namespaceSeals,
    namespaceKeys,
    holders,
    birth,
    cluster,
    renewal,
    quotas: { feed, sync: quotaSync, limiter },
    replica,
    audit,
    anchors,
    saver,
    schedules,
    state,
    sealedByOperator: sealed.promise,
  }
}

/** Lends a service the key that it derives from the barrier's; it copies what it keeps. */
function tellKey(barrier: BarrierControl, sealed: boolean, label: string, take: (key: Uint8Array | null) => void): void {
  if (sealed) return take(null)
  using key = barrier.derivedKey(label)
  take(key.reveal())
}

interface LifecycleDeps {
  readonly seal: SealManager
  readonly seals: ChosenSeals
  readonly birth: Birth
  readonly granter: Granter
  readonly barrier: BarrierControl
  readonly tokens: TokenStore
  readonly state: House['state']
  readonly nodeId: string
  /** An operator has sealed this node. */
  readonly onSealed: () => void
}

function lifecycleOf({ seal, seals, birth, granter, barrier, tokens, state, nodeId, onSealed }: LifecycleDeps): LifecycleService {
  return {
    sealStatus: () => seal.status(),
    unseal: (options) => seal.unseal(options),
    seal: async () => {
      // Sealed first, and at once; the process goes when this has been answered.
      seal.seal()
      onSealed()
    },
    rewrap: () => seal.rewrap(),
    autoSealStatus: () => seals.active?.status() ?? null,
    unavailable: () => (state.draining ? 'this node is draining' : state.failed),
    init: async (options) => {
      // Before anything is founded: a refusal must leave nothing behind.
      checkSealInit(options, seals.active !== null)
      const holders = await initHolders(options, systemClock.nowMs())
      if (!seal.status().initialized) await seals.active?.probe()
      const { keys, recoveryKeys, value } = await birth.found(({ ca, identity }) =>
        seal.init(options, () =>
          barrier.transact(async (transaction) => {
            granter.found(transaction, ca, nodeId, identity.fingerprint)
            return bootstrapStorage(transaction, { random: systemRandom, tokens })
          }),
        ),
      )
      return forHolders(holders, { keys, rootToken: value.rootToken, ...(recoveryKeys === undefined ? {} : { recoveryKeys }) })
    },
  }
}

function replicaSettings({ raft }: ServerConfig): Pick<ReplicaSettings, 'tickMs' | 'trailingEntries' | 'leaseReads' | 'clockDriftMax'> {
  return {
    // The peers' multiplier stretches a heartbeat of a second; ours a tick of 50 ms. 0 means the default, as there.
    tickMs: 50 * Math.max(1, raft.performance_multiplier),
    trailingEntries: raft.trailing_logs,
    leaseReads: raft.lease_reads,
    clockDriftMax: raft.clock_drift_max_percent / 100,
  }
}

function codeOf(error: unknown): ErrorCode | undefined {
  return isHoldfastError(error) ? error.code : undefined
}
