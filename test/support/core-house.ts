/** A core with its real services over real barriers and a fake cluster; only the node around it (seal, membership) is a stand-in. */
import { createAuthMethods } from '#auth/index.ts'
import { createPasswordHasher } from '#auth/passwords.ts'
import { HoldfastError } from '#base/errors.ts'
import { silentLogger, type Logger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import type { AuditRecord } from '#audit/types.ts'
import { bootstrapStorage } from '#core/bootstrap.ts'
import { createCore, type Core } from '#core/core.ts'
import type { CoreDeps } from '#core/deps.ts'
import { houseJobs } from '#core/house-jobs.ts'
import { Leasing } from '#core/leasing.ts'
import { UserLockout } from '#core/lockout.ts'
import type { EngineDef, Request } from '#core/types.ts'
import { createSecretEngines } from '#engines/index.ts'
import { createSystemEngine, type SystemServices } from '#engines/sys/index.ts'
import { createNamespaceSeals } from '#seal/namespace-seals.ts'
import type { SealStatus } from '#seal/types.ts'
import { Forwarding } from '#node/forwarding.ts'
import { Origin } from '#snapshots/restored.ts'
import { SnapshotSchedules } from '#snapshots/schedules.ts'
import { createProcessLogger } from '#node/logger.ts'
import { forgetWithNamespaces } from '#node/forgetting.ts'
import { leaseCounterOf } from '#node/quota-sync.ts'
import { createIdentityStore } from '#identity/store.ts'
import { LeaseLedger } from '#leases/ledger.ts'
import { LeaseStore } from '#leases/store.ts'
import { createNamespaceStore } from '#namespaces/store.ts'
import { createPolicyStore } from '#policies/store.ts'
import { QuotaFeed } from '#quotas/feed.ts'
import { Limiter } from '#quotas/limiter.ts'
import { QuotaStore } from '#quotas/store.ts'
import { createTokenStore, type TokenStore } from '#tokens/store.ts'
import { createShareHolders } from '#node/share-holders.ts'
import { createWrapping } from '#wrapping/wrapping.ts'
import { openBarriers } from './open-barrier.ts'

// oxlint-disable-next-line typescript/no-explicit-any -- tests look into parsed JSON
export type Answer = { status: number; body: any; text: string; headers: Readonly<Record<string, string>> }

type OnCall = ((name: string) => Promise<void>) | null

export interface HouseNode {
  readonly core: Core
  readonly leasing: Leasing
  readonly audit: AuditRecord[]
  readonly sealStatus: { -readonly [K in keyof SealStatus]: SealStatus[K] }
  readonly calls: string[]
  nowMs(): number
  unavailable: string | null
  /** Runs in each call of the services around the core, after it was noted in `calls`. */
  onCall: OnCall
  ask(request: Partial<Request>): Promise<Answer>
  read(path: string, token?: string | null, query?: Record<string, string>): Promise<Answer>
  write(path: string, body?: Record<string, unknown>, token?: string | null): Promise<Answer>
  remove(path: string, token?: string | null): Promise<Answer>
  list(path: string, token?: string | null): Promise<Answer>
}

let serial = 0

/** `nodes` cores, the first leading. The others forward to it in memory, by the real wire's format and seal. */
export async function openHouse(
  nodes = 1,
  extra: readonly EngineDef[] = [],
  log: Logger = silentLogger,
  more: Pick<CoreDeps, 'forwardsReads'> = {},
) {
  const { clock, cluster, at } = await openBarriers(nodes)
  let rootToken = ''
  const house: HouseNode[] = []
  const forwardings = new Map<string, Forwarding>()
  const memories: { readonly tokens: TokenStore; readonly lockout: UserLockout; readonly leasing: Leasing }[] = []
  const quotas: { readonly feed: QuotaFeed; readonly limiter: Limiter; readonly store: QuotaStore }[] = []
  for (let position = 0; position < nodes; position += 1) {
    const barrier = at(position)
    const replica = cluster.node(position)
    const leases = new LeaseStore({ random: systemRandom, ledger: new LeaseLedger() })
    const tokens = createTokenStore({ random: systemRandom, leases, incarnation: () => cluster.incarnation })
    tokens.setKey(new Uint8Array(32).fill(9))
    const identity = createIdentityStore({ random: systemRandom })
    const policies = createPolicyStore({ identity })
    const namespaces = createNamespaceStore({ random: systemRandom })
    const wrapping = createWrapping({ tokens })
    const cost = { memoryKib: 8, passes: 1, parallelism: 1 }
    const passwords = createPasswordHasher({ clock, random: systemRandom, atOnceMax: 2, cost })
    const lockout = new UserLockout({ term: () => replica.status().term })
    if (position === 0)
      rootToken = (await barrier.transact((transaction) => bootstrapStorage(transaction, { random: systemRandom, tokens }))).rootToken
    const quotaStore = new QuotaStore()
    const limiter = new Limiter({ cluster: () => ({ nodes, inContact: true }), epochBase: position * 1_000_000 })
    const audit: AuditRecord[] = []
    const calls: string[] = []
    const sealStatus = standingSeal()
    const mountable = [
      ...extra,
      ...createSecretEngines({ identity, apiAddress: 'http://127.0.0.1:8200' }),
      ...createAuthMethods({ tokens, policies, passwords, identity, clock }),
    ]
    const state = { unavailable: null as string | null, onCall: null as OnCall }
    const call = async (name: string): Promise<void> => {
      calls.push(name)
      await state.onCall?.(name)
    }
    const leasing = new Leasing({
      barrier,
      store: leases,
      tokens,
      namespaces,
      engines: () => mountable,
      leads: () => {
        const { role, ready, term } = replica.status()
        return role === 'leader' && ready && !barrier.sealed ? term : null
      },
      clock,
      random: systemRandom,
      log,
    })
    // Asked how they do, and never run here.
    const schedules = new SnapshotSchedules({
      barrier,
      replica,
      saver: null as never,
      rules: { root: null, nodeId: replica.nodeId },
      clock,
      log,
    })
    const services: SystemServices = {
      lifecycle: {
        sealStatus: () => ({ ...sealStatus, sealed: barrier.sealed }),
        init: async () => {
          if (sealStatus.initialized) throw new HoldfastError('ERR_ALREADY_INITIALIZED', 'Vault is already initialized')
          return { keys: [new Uint8Array(33)], rootToken: 's.root' }
        },
        unseal: async ({ key }) => (await call(`unseal ${key === null ? 'reset' : 'share'}`), sealStatus),
        seal: async () => {
          await call('seal')
          barrier.seal()
        },
        rewrap: async () => call('rewrap'),
        autoSealStatus: () => null,
        unavailable: () => state.unavailable,
      },
      cluster: {
        status: () => replica.status(),
        lastRecovery: () => null,
        withoutMajorityMs: () => (replica.status().hasQuorum ? 0 : 60_000),
        activeSinceMs: () => clock.nowMs(),
        join: async () => ({ joined: true }),
        bootstrapChallenge: async (body) => ({ echo: body }),
        bootstrapAnswer: async () => ({}),
        listJoinTokens: async () => [{ id: 'one', expiresMs: clock.nowMs() + 1_000, nonVoter: false, used: false }],
        revokeJoinToken: async (id) => (await call(`revoke join token ${id}`), id === 'one'),
        createJoinToken: async ({ ttlSeconds }) => ({ id: 'one', token: 'hfj.test', expiresMs: clock.nowMs() + ttlSeconds * 1_000 }),
        verifyStates: () => replica.verify(),
        scrub: () => void call('scrub'),
        removePeer: (id) => call(`remove ${id}`),
        setVoter: (id, voter) => call(`voter ${id} ${voter}`),
        silentMs: () => 0,
        leadingMs: () => 60_000,
        removeDead: (id) => call(`remove dead ${id}`),
        stepDown: () => call('step-down'),
      },
      ...createShareHolders({ barrier, replica, autoSeal: null, tokens, clock, random: systemRandom, log: silentLogger }),
      policies,
      namespaces,
      identity,
      tokens,
      wrapping,
      snapshots: {
        save: () => Promise.reject(new HoldfastError('ERR_BUSY', 'no snapshots in this house')),
        check: () => Promise.reject(new HoldfastError('ERR_BUSY', 'no snapshots in this house')),
        restore: () => Promise.reject(new HoldfastError('ERR_BUSY', 'no snapshots in this house')),
        origin: new Origin({ barrier, replica, clock, log: silentLogger }),
        summary: () => schedules.summary(),
      },
      snapshotFolder: '/var/backups',
      barrier: { status: () => barrier.status(), rotate: () => barrier.rotate() },
      engines: mountable,
      lockout,
      leasing,
      quotas: { store: quotaStore },
      namespaceSeals: createNamespaceSeals({ barrier, replica, clock, random: systemRandom, log }),
      auditDevices: async () => [{ path: 'file', type: 'file', description: '', options: { file_path: 'audit.log' } }],
      auditEnable: (name, type) => call(`enable audit ${name} ${type}`),
      auditDisable: (name) => call(`disable audit ${name}`),
      auditHash: (path, input) => (path === 'file' ? `hmac-sha256:${input.length}` : null),
      auditProof: async () => null,
      metricsText: () => 'holdfast_up 1\n',
      logs: createProcessLogger('info', replica.nodeId, () => {}),
      inFlight: () => house[position]?.core.inFlight() ?? [],
      hostInfo: async () => ({ cpu: [{ cpu: 0 }] }),
      sanitizedConfig: () => ({ api_addr: 'http://127.0.0.1:8200' }),
      clock,
      random: systemRandom,
    }
    const core = createCore({
      ...more,
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
      audit: { record: async (record) => void audit.push(record) },
      engines: [createSystemEngine(services), ...mountable],
      forward: (request) => forwarding.forward(request),
      jobs: houseJobs({ barrier: leasing.barrier, tokens, namespaces, identity, policies, quotas: quotaStore, leasing }),
      clock,
      random: systemRandom,
      log,
      nodeId: replica.nodeId,
      boot: 1,
    })
    leasing.shareMounts(core.mounts)
    const forwarding = new Forwarding({
      barrier,
      random: systemRandom,
      replica,
      transport: () => ({ request: (to, _kind, body) => forwardings.get(to)!.answer(replica.nodeId, body) }),
      handle: (request) => core.handle(request),
    })
    barrier.onSealChange(() => forwarding.forget())
    const feed = new QuotaFeed({
      barrier,
      onApplied: (listener) => replica.onApplied(listener),
      store: quotaStore,
      alongside: async (view, namespaceIds) => core.quotas?.alongside(view, namespaceIds),
      clock,
      log: silentLogger,
    })
    forgetWithNamespaces(barrier, { core, identity, policies, tokens, lockout, leasing, feed })
    memories.push({ tokens, lockout, leasing })
    quotas.push({ feed, limiter, store: quotaStore })
    forwardings.set(replica.nodeId, forwarding)
    house.push(nodeOf(core, leasing, rootToken, audit, calls, sealStatus, state, () => clock.nowMs()))
  }
  return { clock, cluster, house, node: house[0]!, rootToken, at, quotas, memories }
}

const standingSeal = (): SealStatus => ({
  type: 'shamir',
  initialized: true,
  sealed: false,
  t: 3,
  n: 5,
  progress: 0,
  nonce: '',
  recoverySeal: false,
  migration: false,
  clusterName: 'test',
  clusterId: 'c-1',
})

function nodeOf(
  core: Core,
  leasing: Leasing,
  rootToken: string,
  audit: AuditRecord[],
  calls: string[],
  sealStatus: HouseNode['sealStatus'],
  state: { unavailable: string | null; onCall: OnCall },
  nowMs: () => number,
): HouseNode {
  const ask = async (over: Partial<Request>): Promise<Answer> => {
    const request: Request = {
      id: `request-${(serial += 1)}`,
      operation: 'read',
      path: '',
      namespace: '',
      token: rootToken,
      body: {},
      query: {},
      headers: {},
      clientAddress: '127.0.0.1',
      wrapTtlSeconds: 0,
      method: 'GET',
      ...over,
    }
    const { status, body, headers } = await core.handle(request)
    const text = Buffer.from(body).toString()
    return { status, text, headers, body: text.startsWith('{') ? JSON.parse(text) : null }
  }
  const by = (token: string | null | undefined): Partial<Request> => (token === undefined ? {} : { token })
  return {
    core,
    leasing,
    audit,
    calls,
    nowMs,
    sealStatus,
    get onCall() {
      return state.onCall
    },
    set onCall(value) {
      state.onCall = value
    },
    get unavailable() {
      return state.unavailable
    },
    set unavailable(value) {
      state.unavailable = value
    },
    ask,
    read: (path, token, query = {}) => ask({ path, query, ...by(token) }),
    write: (path, body = {}, token) => ask({ operation: 'update', method: 'POST', path, body, ...by(token) }),
    remove: (path, token) => ask({ operation: 'delete', method: 'DELETE', path, ...by(token) }),
    list: (path, token) => ask({ operation: 'list', method: 'LIST', path: `${path}/`, ...by(token) }),
  }
}
