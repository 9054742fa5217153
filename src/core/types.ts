/**
 * The engine contract: an engine or login method is a table of paths. From the table come validation, existence checks,
 * `?help=1`, the OpenAPI document and the UI's forms; handlers see nothing global.
 */
import type { Logger } from '#base/logger.ts'
import type { RandomSource } from '#base/random.ts'
import type { ListOptions, Section } from '#barrier/types.ts'
import type { CreateToken } from '#tokens/store.ts'
import type { TokenEntry } from '#tokens/types.ts'
import type { LeaseDef, LeaseGrant } from './lease-types.ts'
import type { Login, LoginDef, LoginRenewal, RenewedLogin } from './login-types.ts'
import type { Ticket } from './slots.ts'

export type Operation = 'create' | 'read' | 'update' | 'patch' | 'delete' | 'list' | 'scan' | 'help'

export type FieldType = 'string' | 'lower-string' | 'int' | 'bool' | 'duration' | 'list' | 'string-map' | 'map' | 'any' | 'time'

export interface FieldSchema {
  readonly type: FieldType
  readonly description: string
  /** 'path': filled from the pattern; 'query': from the query string (and body); 'body' is the default. */
  readonly in?: 'path' | 'query' | 'body'
  readonly required?: boolean
  readonly default?: unknown
  /** Closed set of values, for strings. */
  readonly enum?: readonly string[]
  readonly example?: unknown
  /** Shown in help but no longer used. */
  readonly deprecated?: boolean
  /** Never shown in the clear in the audit whatever the mount's tuning says. */
  readonly sensitive?: boolean
}

/** Fields after validation: durations are seconds, lists are string arrays, absent ones without default are missing. */
export type Fields = Readonly<Record<string, unknown>>

export interface OperationDef {
  readonly summary: string
  /** May write to storage or cause an effect: forwarded to the leader before the handler runs, and run in a Transaction. */
  readonly writes: boolean
  readonly handler: (context: HandlerContext) => Promise<LogicalResponse | null>
  /**
   * For effects on the cluster (membership, stepping down): the transaction decides token, policy and audit, and ends; then the
   * handler runs once, without storage. What runs inside a transaction may run again on a conflict.
   */
  readonly outside?: boolean
  /** Answers as a list does, by another operation: what a policy filters of a list is filtered of it. */
  readonly lists?: boolean
  /** Somebody logs in here: whose name it claims, and whether too many wrong tries lock it. */
  readonly login?: LoginDef
  /** A body that does what `summary` says, for OpenAPI: a test sends it. Absent: made of the examples of the fields that are required. */
  readonly example?: Readonly<Record<string, unknown>>
  /** HTTP statuses and example bodies, for OpenAPI. */
  readonly responses?: Readonly<Record<number, { readonly description: string; readonly example?: unknown }>>
}

export interface PathDef {
  /**
   * '/'-separated; `:name` is one segment, `:name*` the whole rest, at least one segment; `:name*?` may be empty; only literal
   * segments may follow a rest. E.g. 'data/:path*', 'mounts/:path*' + '/tune'.
   */
  readonly pattern: string
  readonly fields: Readonly<Record<string, FieldSchema>>
  readonly operations: Readonly<Partial<Record<Operation, OperationDef>>>
  /** Decides create against update before the policy check, as the peers do. Absent: update when `update` exists, else create. */
  readonly exists?: (context: HandlerContext) => Promise<boolean>
  readonly help: { readonly synopsis: string; readonly description: string }
  /** No token needed. */
  readonly unauthenticated?: boolean
  /** No token needed either where the request came in by a listener that opens these routes (`openRoutes`): for when there is no token left. */
  readonly openOn?: OpenRoutes
  /** Needs the sudo capability besides. */
  readonly sudo?: boolean
  /** Answers while the node is sealed or not initialised (sys/init, unseal ...): no token, no storage; `context.storage` throws ERR_SEALED. */
  readonly whileSealed?: boolean
  /** Not recorded (health, leader, seal-status). */
  readonly unaudited?: boolean
  /** Never forwarded: each node answers for itself (health, seal-status, unseal, in-flight requests). Implies no Transaction. */
  readonly local?: boolean
  /** The answer is `response.data` itself, no envelope (init, seal-status, health, leader ...). */
  readonly bare?: boolean
  /** `data`'s keys are repeated at the top level of the envelope (legacy sys routes). */
  readonly injected?: boolean
  /** Only in the root namespace. */
  readonly rootNamespaceOnly?: boolean
  /** The body is not JSON: handler reads `request.rawBody`. */
  readonly rawBody?: boolean
  /**
   * The body is a stream of up to so many bytes: the handler reads `request.upload`, as it arrives. Only for `local` paths under sys/: nothing forwards a
   * stream, and where it goes must be known before a mount table is readable.
   */
  readonly uploadBytesMax?: number
  /** Only tells that something else was meant: it stands in no document. */
  readonly unpublished?: boolean
  /** Body keys that no field declares are kept in `context.data` (kv v1) instead of ignored. */
  readonly freeForm?: boolean
}

/** Routes that a listener can open to those without a token: where shares speak for them, or what is told is for whoever watches. */
export type OpenRoutes = 'rekey' | 'generate-root' | 'metrics' | 'in-flight-req'

/** What HTTP (or WebSocket, or whatever comes later) hands to the core. */
export interface Request {
  readonly id: string
  /** 'list' and 'scan' already decided from method or query; create/update are one verb here ('update') until the existence check. */
  readonly operation: Operation
  /** Without '/v1/' and without a leading slash; a trailing slash only for list/scan. Percent-decoded, and checked for '.' and '..'. */
  readonly path: string
  /** Namespace path from header and prefix, '' for root; no slashes at its ends. */
  readonly namespace: string
  readonly token: string | null
  /** Parsed JSON object (or form); {} when there was no body. */
  readonly body: Readonly<Record<string, unknown>>
  readonly rawBody?: Uint8Array
  /** The body of a path with `uploadBytesMax`; read once. Throws what ends it before its time. */
  readonly upload?: AsyncIterable<Uint8Array>
  readonly query: Readonly<Record<string, string>>
  /** Lower-case names; only those the core may see. */
  readonly headers: Readonly<Record<string, string>>
  /** Already resolved through trusted proxies. */
  readonly clientAddress: string
  readonly clientPort?: number
  readonly clientCertificate?: Uint8Array
  /** What the client sent behind its certificate, DER each: unverified. */
  readonly clientCertificateChain?: readonly Uint8Array[]
  /** X-Vault-Wrap-TTL in seconds, 0 when absent. */
  readonly wrapTtlSeconds: number
  /** What the listener that took it opens; absent: nothing. */
  readonly openRoutes?: readonly OpenRoutes[]
  /** Set when another node forwarded it. */
  readonly forwardedFrom?: string
  /** X-Holdfast-Request-Id: under it a write is applied once, however often it is sent. */
  readonly retryId?: string
  /** Set by the core of the node that took it from its client, once it forwards it: the same in each sending. */
  ticket?: Ticket
  /** Sent before, under its `retryId` or ticket, with an outcome that nobody knows. */
  repeated?: boolean
  /** Each sending so far was answered by a leader that surely did nothing, or reached none: what one of them had noted as begun was not done. */
  undone?: boolean
  /** Set by the node that took it where it is traced: the span (W3C) that the leader's work is a part of. A client's own is in `headers`. */
  traceparent?: string
  readonly method: string
  readonly signal?: AbortSignal
}

export interface AuthResponse {
  client_token: string
  accessor: string
  policies: string[]
  token_policies?: string[]
  identity_policies?: string[]
  metadata: Record<string, string> | null
  lease_duration: number
  renewable: boolean
  entity_id: string
  token_type: string
  orphan: boolean
  mfa_requirement: null | object
  num_uses: number
}

export interface WrapInfo {
  token: string
  accessor: string
  ttl: number
  creation_time: string
  creation_path: string
  wrapped_accessor?: string
}

/** The body of an answer that is made while it is sent. Whoever holds it reads it, or closes it; both are allowed, in this order. */
export interface StreamBody {
  /** Pulled as fast as the client takes it. Read once. An error in it breaks the answer off: its client sees that it is not whole. */
  readonly chunks: AsyncIterable<Uint8Array>
  /** Lets go what is behind it, wherever it stands. Called again, does nothing. */
  close(): void
}

/** What a handler answers. null from a handler: 204 on a write, 404 with no errors on a read or list. */
export interface LogicalResponse {
  readonly data?: Readonly<Record<string, unknown>> | null
  readonly auth?: AuthResponse
  /** Who has logged in, and what its token gets: the core makes the token in the handler's own transaction, and answers `auth`. */
  readonly login?: Login
  /** A login that was waited with is whole: the core makes its token, and answers `auth`. */
  readonly granted?: CreateToken
  /** What is given out is lent: the core registers it in the handler's own transaction, and answers `leaseId`, `renewable` and `leaseSeconds`. */
  readonly lease?: LeaseGrant
  readonly warnings?: readonly string[]
  readonly leaseId?: string
  readonly renewable?: boolean
  readonly leaseSeconds?: number
  readonly wrapInfo?: WrapInfo
  /** Given once, to whoever asked: it is not laid down for a repetition of the request, since nothing behind the root's keys may tell it. */
  readonly unkept?: boolean
  /** Overrides the status (kv v2's 404 with metadata, health's 429 ...). */
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  /** Bypasses the envelope. With `stream`, which only `local` paths may answer, `body` is empty. */
  readonly raw?: { readonly contentType: string; readonly body: Uint8Array; readonly stream?: StreamBody }
  /** For bare answers that are not objects with data (rare). */
  readonly bareBody?: unknown
}

/** What the core gives back to HTTP: ready to be written. */
export interface CoreResponse {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  /** Already serialised; empty for 204, and with `stream`. */
  readonly body: Uint8Array
  readonly stream?: StreamBody
}

/** The mount's own corner of the transaction: paths are relative to it; other mounts can't be reached. */
export interface MountStorage {
  get(path: string): Promise<Uint8Array | null>
  getJson<T>(path: string): Promise<T | null>
  list(prefix: string, options?: ListOptions): Promise<string[]>
  /** Throws ERR_INTERNAL in a read-only view: the path's table said that it does not write. */
  put(path: string, value: Uint8Array): void
  putJson(path: string, value: unknown): void
  delete(path: string): void
  deleteTree(prefix: string, keysMax: number): Promise<number>
}

export interface MountEntry {
  /** Path with a trailing slash: 'secret/'; auth mounts: 'token/' in table 'auth'. */
  readonly path: string
  readonly table: 'secret' | 'auth'
  readonly type: string
  readonly description: string
  readonly accessor: string
  readonly uuid: string
  readonly namespaceId: string
  readonly options: Readonly<Record<string, string>> | null
  readonly local: boolean
  readonly sealWrap: boolean
  readonly config: MountConfig
}

export interface MountConfig {
  readonly default_lease_ttl: number
  readonly max_lease_ttl: number
  readonly force_no_cache: boolean
  readonly audit_non_hmac_request_keys?: readonly string[]
  readonly audit_non_hmac_response_keys?: readonly string[]
  readonly listing_visibility?: string
  readonly passthrough_request_headers?: readonly string[]
  readonly allowed_response_headers?: readonly string[]
  readonly token_type?: string
  /** Where it differs from the server's configuration; absent keys are as that says. */
  readonly user_lockout_config?: UserLockoutConfig
  /** Seconds that a read may be old where the client asks for less than linearizable; absent or 0: it may not. */
  readonly max_read_age?: number
}

/** Durations in seconds. */
export interface UserLockoutConfig {
  readonly lockout_threshold?: number
  readonly lockout_duration?: number
  readonly lockout_counter_reset?: number
  readonly lockout_disable?: boolean
}

export interface HandlerContext {
  readonly request: Request
  readonly operation: Operation
  /** Path below the mount. */
  readonly path: string
  /** Validated fields. */
  readonly fields: Fields
  /** Body keys that no field declares (only with freeForm). */
  readonly data: Readonly<Record<string, unknown>>
  readonly storage: MountStorage
  /** The only 'now' a handler compares with (leader's clock, ms). */
  readonly nowMs: number
  readonly random: RandomSource
  readonly mount: MountEntry
  /** null on unauthenticated paths when no good token came with the request. */
  readonly token: TokenEntry | null
  readonly section: Section
  readonly log: Logger
}

/** One engine or login method. */
export interface EngineDef {
  readonly type: string
  readonly kind: 'secret' | 'auth'
  readonly description: string
  /** Called with the mount's options, so that one type can have several tables (kv v1 and v2). */
  readonly paths: (mount: MountEntry) => readonly PathDef[]
  /** Runs in the transaction that mounts it. */
  readonly onMount?: (storage: MountStorage, mount: MountEntry, random: RandomSource) => Promise<void>
  /**
   * Asked at each renewal of a token that a login here made: what its account says of tokens now. Throws ERR_BAD_REQUEST where it may not be
   * renewed any more (the account is gone, its policies are others). Absent: renewed as it was made.
   */
  readonly renewLogin?: (renewal: LoginRenewal) => Promise<RenewedLogin>
  /** How what it lends is taken back and prolonged, by the type that `LeaseGrant` names. */
  readonly leases?: Readonly<Record<string, LeaseDef>>
  /** Checks options at mount and tune; throws ERR_BAD_REQUEST. */
  readonly checkOptions?: (options: Readonly<Record<string, string>> | null) => void
  /** Jobs that only the leader runs, each pass one or more transactions of its own. */
  readonly jobs?: readonly {
    readonly name: string
    readonly everyMs: number
    readonly run: (storage: MountStorage, nowMs: number) => Promise<void>
  }[]
}
