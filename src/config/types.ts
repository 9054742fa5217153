import type {
  auditOptionKeys,
  listenerKeys,
  raftKeys,
  retryJoinKeys,
  SealKind,
  telemetryKeys,
  topKeys,
  userLockoutKeys,
  UserLockoutType,
} from './keys.ts'
import type { KeyTable, ValuesOf } from './key.ts'

/** Where something stands, for messages: 'server.hcl:12' or 'HOLDFAST_API_ADDR'. */
export type Origin = string

/** What other keys decide is filled in: trusted_proxies, the default request duration. */
export type ListenerConfig = ValuesOf<typeof listenerKeys> & {
  readonly address: string
  readonly max_request_duration: number
  readonly x_forwarded_for_reject_not_authorized: boolean
  readonly x_forwarded_for_reject_not_present: boolean
}
export type RetryJoinConfig = ValuesOf<typeof retryJoinKeys> & { readonly leader_api_addr: string }
export type RaftConfig = ValuesOf<typeof raftKeys> & { readonly path: string; readonly retry_join: readonly RetryJoinConfig[] }
export type TelemetryConfig = ValuesOf<typeof telemetryKeys>

/** Options by type; what is required is there. */
export type AuditOptions = {
  [K in keyof typeof auditOptionKeys]: {
    readonly type: K
    readonly options: WithRequired<(typeof auditOptionKeys)[K]>
  }
}[keyof typeof auditOptionKeys]

type WithRequired<T extends KeyTable> = Omit<ValuesOf<T>, 'file_path' | 'address' | 'uri'> & {
  readonly [K in keyof T & ('file_path' | 'address' | 'uri')]: string
}

export type AuditConfig = AuditOptions & { readonly name: string; readonly description: string }

/** A seal as written: its keys are checked for their names and types, and read by the seal itself as texts. */
export interface SealBlock {
  readonly kind: SealKind
  readonly disabled: boolean
  /** Only what was given, without `disabled`; booleans and numbers as their texts. May hold secrets. */
  readonly options: Readonly<Record<string, string>>
}

/** What it leaves out is null, the threshold 0. */
export type UserLockoutConfig = ValuesOf<typeof userLockoutKeys> & { readonly type: UserLockoutType }

/** A whole configuration, checked. Names are the file's; durations are milliseconds, sizes bytes. */
export interface ServerConfig extends ValuesOf<typeof topKeys> {
  /** Given or derived from the first listener. */
  readonly api_addr: string
  /** https://HOST:PORT, given or derived. */
  readonly cluster_addr: string
  /** HOST:PORT to bind for the other nodes. */
  readonly cluster_listen: string
  readonly listeners: readonly ListenerConfig[]
  readonly raft: RaftConfig
  /** Empty: shamir. */
  readonly seals: readonly SealBlock[]
  readonly audit: readonly AuditConfig[]
  readonly telemetry: TelemetryConfig
  /** At most one of a type. */
  readonly userLockouts: readonly UserLockoutConfig[]
  /** One line each, to be logged at start: what was accepted and has no effect. */
  readonly warnings: readonly string[]
  /** Files it came from. */
  readonly files: readonly string[]
}

export interface ConfigSource {
  /** Files or folders (their *.hcl and *.json in order of name). Later ones win; listeners, seals and audit devices add up. */
  readonly files?: readonly string[]
  /** A configuration as text, behind the files: `name` stands in errors. */
  readonly text?: { readonly name: string; readonly text: string }
  /** HOLDFAST_* (and the aliases of the field) win over files. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** By dotted path ('api_addr', 'storage.raft.path'); win over all. */
  readonly flags?: Readonly<Record<string, string>>
}
