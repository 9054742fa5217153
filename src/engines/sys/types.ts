/**
 * What the system engine is made with: the lifecycle of a node and of its cluster, which only node/ can put together, and the
 * services whose data it shows. Everything here is called after token, policy and audit have been decided.
 */
import type { ProofFile } from '#audit/anchor.ts'
import type { Barrier, BarrierStatus, ReadView } from '#barrier/types.ts'
import type { Clock } from '#base/clock.ts'
import type { RandomSource } from '#base/random.ts'
import type { EngineDef } from '#core/types.ts'
import type { InFlightRequest } from '#core/core.ts'
import type { Leasing } from '#core/leasing.ts'
import type { UserLockout } from '#core/lockout.ts'
import type { IdentityStore } from '#identity/store.ts'
import type { NamespaceStore } from '#namespaces/store.ts'
import type { PolicyStore } from '#policies/store.ts'
import type { QuotaStore } from '#quotas/store.ts'
import type { ReplicaStatus, VerifyReport } from '#replica/types.ts'
import type { RootGeneration } from '#seal/generate-root.ts'
import type { NamespaceSeals } from '#seal/namespace-seals.ts'
import type { RekeyService } from '#seal/rekey-types.ts'
import type { AutoSealStatus, SealStatus, UnsealOptions } from '#seal/types.ts'
import type { Wrapping } from '#wrapping/wrapping.ts'
import type { LogControl } from './logs.ts'
import type { SnapshotService } from './snapshots.ts'
import type { SystemTokens } from './tokens.ts'

export interface InitOptions {
  readonly secretShares: number
  readonly secretThreshold: number
  readonly recoveryShares: number
  readonly recoveryThreshold: number
  readonly pgpKeys: readonly string[]
  readonly recoveryPgpKeys: readonly string[]
  readonly rootTokenPgpKey: string
  readonly storedShares: number | null
}

export interface InitResult {
  /** Unseal shares, raw or PGP-encrypted; hex and base64 are made here. Empty with an auto seal. */
  readonly keys: readonly Uint8Array[]
  /** Recovery shares, with an auto seal. */
  readonly recoveryKeys?: readonly Uint8Array[]
  /** With a PGP key of its own: the message in base64. */
  readonly rootToken: string
  readonly warnings?: readonly string[]
}

/** One node's seal and its birth. Works while sealed. */
export interface LifecycleService {
  sealStatus(): SealStatus | Promise<SealStatus>
  /** @throws ERR_ALREADY_INITIALIZED, ERR_BAD_REQUEST. */
  init(options: InitOptions): Promise<InitResult>
  /** @throws ERR_NOT_INITIALIZED, ERR_BAD_SHARE. */
  unseal(options: UnsealOptions): Promise<SealStatus>
  /** Seals this node. Resolves when it is done, or begun (the process may be replaced). */
  seal(): Promise<void>
  /** Wraps the root key anew by the present auto seal. Leader only. @throws ERR_BAD_REQUEST with shares. */
  rewrap(): Promise<void>
  /** How this node's auto seal does; null with shares. */
  autoSealStatus(): AutoSealStatus | null
  /** Why this node should get no traffic though it is open ('draining', ...); null when it may. */
  unavailable(): string | null
}

export interface JoinOptions {
  readonly leaderApiAddress: string
  readonly leaderCaCertificatePem: string | null
  readonly leaderClientCertificatePem: string | null
  readonly leaderClientKeyPem: string | null
  readonly leaderTlsServerName: string | null
  readonly autoJoin: string | null
  readonly token: string | null
  readonly retry: boolean
  readonly nonVoter: boolean
}

/** An open join token as it may be shown: its id is its first half and lets nobody join. */
export interface JoinTokenInfo {
  readonly id: string
  readonly expiresMs: number
  readonly nonVoter: boolean
  readonly used: boolean
}

/** The cluster's membership. Calls that change it run on the leader. */
export interface ClusterService {
  /** null before this node has a replica (not initialised, not joined). */
  status(): ReplicaStatus | null
  /** What the last recovery from a lost majority did to this node's stores, as it is kept in the data folder; null: there was none. */
  lastRecovery(): Readonly<Record<string, unknown>> | null
  /** How long this node has been without a majority, ms; 0 while it has one. An election under way counts too. */
  withoutMajorityMs(): number
  /** When this node began to lead, ms since the epoch; null when it does not. */
  activeSinceMs(): number | null
  /** Makes this node join the cluster of another. @throws ERR_BAD_JOIN_TOKEN, ERR_UPSTREAM. */
  join(options: JoinOptions): Promise<{ readonly joined: boolean }>
  /** The two steps of the peers' join by the seal's proof; `body` and answer as they are on the wire. */
  bootstrapChallenge(body: Readonly<Record<string, unknown>>): Promise<Readonly<Record<string, unknown>>>
  bootstrapAnswer(body: Readonly<Record<string, unknown>>): Promise<Readonly<Record<string, unknown>>>
  /** A one-time token with which a node may join. */
  createJoinToken(options: {
    readonly ttlSeconds: number
    readonly nonVoter: boolean
  }): Promise<{ readonly id: string; readonly token: string; readonly expiresMs: number }>
  listJoinTokens(): Promise<readonly JoinTokenInfo[]>
  /** False when there is none of this id. */
  revokeJoinToken(id: string): Promise<boolean>
  /** Compares the states of all members. Acts on what it finds where this node leads. */
  verifyStates(): Promise<VerifyReport>
  /** Begins to read this node's whole state from its disk. */
  scrub(): void
  removePeer(nodeId: string): Promise<void>
  setVoter(nodeId: string, voter: boolean): Promise<void>
  /** Since anything was heard from a member, ms; null when nothing was in this node's life. */
  silentMs(nodeId: string): number | null
  /** For how long this node has been leading, on its monotonic clock, ms; 0 when it does not. */
  leadingMs(): number
  /** As `removePeer`, decided by autopilot: it says so in the log. Nothing while another change is under way. */
  removeDead(nodeId: string): Promise<void>
  /** Hands leadership over. */
  stepDown(): Promise<void>
}

/** An audit device, as `sys/audit` lists it. */
export interface AuditDevice {
  readonly path: string
  readonly type: string
  readonly description: string
  readonly options: Readonly<Record<string, string>>
}

/** Who disables an audit device: what its last record says. */
export interface AuditAsked {
  readonly requestId: string
  readonly displayName: string
  readonly accessor: string | null
  readonly entityId: string | null
  readonly address: string
}

export interface SystemServices {
  readonly lifecycle: LifecycleService
  readonly cluster: ClusterService
  readonly rekey: RekeyService
  readonly rootGeneration: RootGeneration
  readonly policies: PolicyStore
  readonly namespaces: NamespaceStore
  /** Absent where nothing is sealed (doubles in tests): then no namespace has a seal of its own. */
  readonly namespaceSeals?: NamespaceSeals
  /** Whose aliases go with the mount that they belong to. */
  readonly identity: Pick<IdentityStore, 'dropMount' | 'list' | 'mfa'>
  readonly tokens: SystemTokens
  readonly wrapping: Wrapping
  readonly lockout: UserLockout
  readonly leasing: Leasing
  readonly quotas: { readonly store: QuotaStore }
  readonly snapshots: SnapshotService
  /** Below which scheduled snapshots may be kept on this node; null: nowhere. */
  readonly snapshotFolder: string | null
  readonly barrier: {
    status(): BarrierStatus
    rotate(reason?: string): Promise<unknown>
    /** Absent where nothing is sealed: keyrings of namespaces are not looked after then. */
    readonly read?: Barrier['read']
  }
  /** Types that can be mounted. */
  readonly engines: readonly EngineDef[]
  readonly auditDevices: (view: ReadView) => Promise<readonly AuditDevice[]>
  /** On the leader, for all nodes. @throws ERR_BAD_REQUEST. */
  readonly auditEnable: (name: string, type: string, description: string, options: Readonly<Record<string, string>>) => Promise<void>
  /** On the leader, for all nodes, once its last record is written. Nothing happens for a name that is not there. @throws ERR_BAD_REQUEST, ERR_AUDIT. */
  readonly auditDisable: (name: string, asked: AuditAsked) => Promise<void>
  /** `input` hashed as device `path` would record it; null when there is no such device. */
  readonly auditHash: (path: string, input: string) => string | null
  /** What checking files needs, as `view` has it, signed; null while nothing is anchored. */
  readonly auditProof: (view: ReadView) => Promise<ProofFile | null>
  /** Metrics as text in the Prometheus format. */
  readonly metricsText: () => string | Promise<string>
  /** The process's own log. */
  readonly logs: LogControl
  readonly inFlight: () => readonly InFlightRequest[]
  /** What the host is, for `sys/host-info`; nothing secret. */
  readonly hostInfo: () => Promise<Readonly<Record<string, unknown>>>
  /** The configuration without its secrets. */
  readonly sanitizedConfig: () => Readonly<Record<string, unknown>>
  readonly clock: Clock
  readonly random: RandomSource
}
