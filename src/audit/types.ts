import type { Chain } from './chain.ts'
import type { LineBatch } from './line-batch.ts'
/** One record before it is hashed and chained. Names are Vault's, so that SIEM pipelines parse it. */
export interface AuditRecord {
  readonly type: 'request' | 'response' | 'forward' | 'disabled'
  readonly time: string
  readonly auth: AuditAuth | null
  readonly request: AuditRequest
  readonly response?: AuditResponse | undefined
  readonly error?: string | undefined
}

export interface AuditAuth {
  readonly client_token?: string | undefined
  readonly accessor?: string | undefined
  readonly display_name?: string | undefined
  readonly policies?: readonly string[] | undefined
  readonly token_policies?: readonly string[] | undefined
  readonly metadata?: Readonly<Record<string, string>> | null | undefined
  readonly entity_id?: string | undefined
  readonly token_type?: string | undefined
  readonly token_ttl?: number | undefined
}

export interface AuditRequest {
  readonly id: string
  readonly operation: string
  readonly mount_type?: string | undefined
  readonly mount_accessor?: string | undefined
  readonly mount_point?: string | undefined
  readonly client_token?: string | undefined
  readonly client_token_accessor?: string | undefined
  /** Without `id` where only its path is known: in records of what was sent on to the leader. */
  readonly namespace: { readonly id?: string; readonly path?: string }
  readonly path: string
  readonly data?: unknown
  readonly query?: unknown
  readonly remote_address: string
  readonly remote_port?: number | undefined
  readonly wrap_ttl?: number | undefined
  /** All of them: a record holds those that the rules name. */
  readonly headers?: Readonly<Record<string, string | readonly string[]>> | undefined
  readonly forwarded_from?: string | undefined
  readonly forwarded_to?: string | undefined
  /** X-Holdfast-Request-Id. */
  readonly retry_id?: string | undefined
  /** No field of a record: what devices have written for this very request, since the record of its response repeats it. */
  readonly written?: Map<object, string>
}

export interface AuditResponse {
  readonly status?: number | undefined
  readonly auth?: unknown
  readonly data?: unknown
  readonly warnings?: readonly string[] | undefined
  readonly mount_type?: string | undefined
  readonly mount_accessor?: string | undefined
  readonly mount_point?: string | undefined
  readonly wrap_info?: unknown
  /** Answered with what the request of this id had been answered: nothing was done now. */
  readonly replay_of?: string | undefined
}

/** Keys whose string values stay in the clear, by the mount's tuning. */
export interface NonHmacKeys {
  readonly request: readonly string[]
  readonly response: readonly string[]
}

/** A line's place in its lane. */
export interface LinePlace {
  readonly boot: string
  readonly seq: number
}

/** Where a lane of this node stands: what an anchor says. */
export interface LaneHead extends LinePlace {
  readonly device: string
  /** SHA-256 of the line. */
  readonly head: string
  /** The epoch that lines up to it were proven in. */
  readonly epoch: number
  /** The first line that the device's retention has left; null: it has deleted none. */
  readonly oldest: LinePlace | null
}

/** What a device's last line says of the chain: its SHA-256, and its place; null for a line that has none. */
export interface LastLine {
  readonly head: string
  readonly chain: Chain | null
}

/** One device: takes finished lines, several at a time, one outstanding operation. */
export interface AuditSink {
  readonly type: string
  /** Resolves when the lines are written (and fsynced where the device is told so). They are the caller's: nothing of them is used after its end. */
  write(lines: LineBatch): Promise<void>
  reopen(): Promise<void>
  close(): Promise<void>
  /** The last whole line that the device holds, so that the chain goes on behind it; null: none. Absent: the device can't be read. */
  lastLine?(): Promise<LastLine | null>
  /** What was written survives a loss of power from here on. Absent: nothing to be done, or nothing that could be. */
  sync?(): Promise<void>
  /** As LaneHead. */
  oldest?(): LinePlace | null
  /** `listener` hears when the sink has begun another file by itself. At most one. */
  onRotated?(listener: () => void): void
}

/** Headers that records hold, by their names in lower case: whether the value is hashed. */
export type HeaderRules = ReadonlyMap<string, boolean>

/** How one device records; every node has it alike. */
export interface DeviceFormat {
  /** Values in the clear. */
  readonly logRaw: boolean
  /** Accessors as hashes. */
  readonly hmacAccessor: boolean
  /** Lists by their length. */
  readonly elideLists: boolean
  /** Put before each line. */
  readonly prefix: string
}

export interface AuditBroker {
  /**
   * Resolves when at least one device has the record (or there are no devices).
   * @throws ERR_AUDIT when none took it: for a request nothing may be done then.
   */
  record(record: AuditRecord, nonHmac: NonHmacKeys): Promise<void>
  /** The barrier opened: values can be hashed under the devices' salts from now on. null: sealed again. */
  setKey(key: Uint8Array | null): void
  reopen(): Promise<void>
  close(): Promise<void>
}
