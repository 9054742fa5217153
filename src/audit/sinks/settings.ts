/** What a device is told, under the names of its configuration. Durations are milliseconds. */
interface CommonSettings {
  readonly prefix: string | null
  readonly log_raw: boolean
  readonly hmac_accessor: boolean
  readonly elide_list_responses: boolean
}

export interface FileSettings extends CommonSettings {
  readonly file_path: string
  readonly fsync: boolean
  /** 0: never. */
  readonly rotate_bytes: number
  readonly rotate_duration: number | null
  readonly compress: boolean
  readonly keep: number | null
  readonly archive_s3_bucket: string | null
  readonly archive_s3_region: string
  readonly archive_s3_prefix: string
  readonly archive_s3_endpoint: string | null
  readonly archive_s3_path_style: boolean
  readonly archive_lock: number | null
  readonly archive_lock_mode: 'governance' | 'compliance'
}

export type StdoutSettings = CommonSettings

/** What is spoken to over a stream or in datagrams. */
interface PeerSettings extends CommonSettings {
  readonly write_timeout: number
  readonly tls_ca_cert_file: string | null
  readonly tls_server_name: string | null
}

export interface SocketSettings extends PeerSettings {
  readonly address: string
  readonly socket_type: 'tcp' | 'udp' | 'unix' | 'tls'
}

export interface SyslogSettings extends PeerSettings {
  readonly address: string
  readonly facility: string
  readonly tag: string
}

export interface HttpSettings extends PeerSettings {
  readonly uri: string
  readonly format: 'ndjson' | 'splunk_hec' | 'elastic_bulk'
  readonly headers: readonly string[]
  readonly token: string | null
}

export type DeviceSettings =
  | { readonly type: 'file'; readonly options: FileSettings }
  | { readonly type: 'stdout'; readonly options: StdoutSettings }
  | { readonly type: 'socket'; readonly options: SocketSettings }
  | { readonly type: 'syslog'; readonly options: SyslogSettings }
  | { readonly type: 'http'; readonly options: HttpSettings }
