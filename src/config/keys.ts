/**
 * Every key of the server's configuration, under Vault's and OpenBao's names where they have one. docs/configuration.md is made from
 * these tables and held to them by a test. A dotted name is a key inside a block without labels: `telemetry { ... }` in a listener.
 */
import { limits } from '#base/limits.ts'
import { address, bool, choice, cidrs, duration, ignored, int, list, maybeBool, maybeDuration, refused, text, textOr, url } from './key.ts'
import type { KeyTable } from './key.ts'

const noPlugins = 'engines and login methods are built in'
const noMetricsPush = 'metrics are fetched from sys/metrics'
const noLogFile = 'the log goes to standard output; let systemd or the container runtime keep it'
const hourMs = 3_600_000

export const topKeys = {
  api_addr: url("This node's API as clients reach it. Default: made from the first listener, unless that listens on every interface.", {
    aliases: ['VAULT_API_ADDR', 'BAO_API_ADDR', 'VAULT_REDIRECT_ADDR'],
  }),
  cluster_addr: url(
    'This node as the other nodes reach it. The scheme does not matter: it is always mutual TLS. Default: made from the first listener.',
    { aliases: ['VAULT_CLUSTER_ADDR', 'BAO_CLUSTER_ADDR'] },
  ),
  cluster_name: text('A name for people; generated at init when absent.'),
  trusted_proxies: cidrs(
    'Addresses and networks whose X-Forwarded-For and PROXY headers are believed, for every listener that does not say its own.',
  ),
  default_lease_ttl: duration('768h', 768 * hourMs, 'Life of tokens and leases that ask for none. The same on every node.'),
  max_lease_ttl: duration('768h', 768 * hourMs, 'Longest life of any; mounts may allow more or less. The same on every node.'),
  default_max_request_duration: duration('90s', limits.requestDurationMsMax, 'For listeners that do not say their own.'),
  log_level: choice(['trace', 'debug', 'info', 'notice', 'warn', 'error'], 'info', 'Changed by SIGHUP without a restart.', {
    aliases: ['VAULT_LOG_LEVEL', 'BAO_LOG_LEVEL'],
  }),
  log_format: choice(['json', 'standard'], 'json', 'One JSON object a line; "standard" is accepted and means the same.'),
  pid_file: text('Written when the server listens, removed when it stops.'),
  seal_replaces_process: bool(
    true,
    'A node that an operator seals becomes a fresh process under the same id, which comes up sealed: nothing of what it served is left in its memory (docs/threat-model.md). Not on Windows.',
  ),
  raw_storage_endpoint: ignored('there is no sys/raw: nothing reads or writes below the policies'),
  introspection_endpoint: ignored('there is no sys/internal/inspect'),
  disable_standby_reads: bool(false, 'Forwards every read to the leader, in place of answering it here.'),
  unsafe_allow_api_audit_creation: bool(false, 'Lets the API create audit devices; file devices only below audit_api_folder.'),
  audit_anchor_interval: duration(
    '10s',
    10_000,
    'How often the audit is anchored in the Raft log while there is something new: the longest unproven tail.',
  ),
  audit_api_folder: text('Folder below which the API may create audit files.'),
  snapshot_folder: text('Folder below which scheduled snapshots may be kept on this node. Without it they may only go to S3.'),
  unsafe_allow_audit_log_raw: bool(
    false,
    'Lets an audit device record values in the clear (log_raw): whoever reads it reads every secret.',
  ),
  allow_audit_log_prefixing: bool(false, 'Lets an audit device set a prefix for its lines.'),
  disable_cache: bool(
    false,
    'Keeps no opened value and no name in memory beyond the request that needed it; each read and listing opens them anew.',
  ),
  cache_bytes_max: int(
    limits.serverCacheBytesMax,
    'Bytes of opened values kept in memory; names for listings may take up to two thirds as much besides, hidden names a quarter. Emptied on sealing.',
    {
      min: 65_536,
      max: 16 * 1024 * 1024 * 1024,
    },
  ),
  enable_response_header_hostname: bool(false, 'Answers carry X-Vault-Hostname.'),
  enable_response_header_raft_node_id: bool(false, 'Answers carry X-Vault-Raft-Node-ID.'),
  disable_mlock: ignored('a JavaScript process cannot lock its memory; disable swap on the machine'),
  ui: ignored('there is no web interface yet'),
  cache_size: ignored('the cache is bounded in bytes: cache_bytes_max'),
  disable_sealwrap: ignored('there is no seal wrapping'),
  disable_performance_standby: ignored('use disable_standby_reads'),
  disable_printable_check: ignored('control characters in paths are always refused'),
  disable_ssct_tokens: ignored('reads are linearizable without them'),
  detect_deadlocks: ignored('there are no locks to watch'),
  imprecise_lease_role_tracking: ignored('leases are not counted by role'),
  allow_unauthenticated_workflows: ignored('there are no workflows'),
  plugin_directory: ignored(noPlugins),
  plugin_tmpdir: ignored(noPlugins),
  plugin_file_uid: ignored(noPlugins),
  plugin_file_permissions: ignored(noPlugins),
  plugin_auto_download: ignored(noPlugins),
  plugin_auto_register: ignored(noPlugins),
  plugin_download_behavior: ignored(noPlugins),
  log_file: ignored(noLogFile),
  log_rotate_duration: ignored(noLogFile),
  log_rotate_bytes: ignored(noLogFile),
  log_rotate_max_files: ignored(noLogFile),
  log_requests_level: ignored('the audit records every request'),
  license_path: ignored('there is no licence to check'),
  disable_clustering: refused('every server is a member of a cluster, if only of one; leave it out'),
  ha_storage: refused('storage "raft" carries high availability itself; leave it out'),
  unsafe_relative_paths: refused("'.' and '..' in paths are always refused; leave it out"),
  plugin: refused(`${noPlugins}; leave it out`),
  initialize: refused('run `holdfast operator init` instead'),
  service_registration: refused('let the load balancer ask sys/health instead'),
  entropy: refused("the kernel's random source is used; leave it out"),
} as const satisfies KeyTable

const noAcme = 'obtain certificates with an ACME client of your own, and send SIGHUP after each renewal'

export const listenerKeys = {
  address: { ...address('HOST:PORT of the API. Default 127.0.0.1:8200.'), defaultText: '"127.0.0.1:8200"' },
  cluster_address: address("HOST:PORT for the other nodes. Default: the same host, one port higher. Only the first listener's counts."),
  tls_disable: bool(false, 'Serves plain HTTP.'),
  tls_cert_file: text('PEM: the certificate, then its chain. Read again at SIGHUP.'),
  tls_key_file: text('PEM, not encrypted. Read again at SIGHUP.'),
  tls_min_version: choice(['tls12', 'tls13'], 'tls12', 'tls10 and tls11 are refused.'),
  tls_max_version: choice(['tls12', 'tls13'], 'tls13', 'The highest version offered.'),
  tls_cipher_suites: list("OpenSSL's names, for TLS 1.2 only. Default: Node's."),
  tls_client_ca_file: text('PEM: authorities of client certificates.'),
  tls_require_and_verify_client_cert: bool(false, 'Ends a handshake without a certificate of tls_client_ca_file.'),
  tls_disable_client_certs: bool(false, 'Asks no client for a certificate: the cert login method then cannot be used here.'),
  tls_prefer_server_cipher_suites: ignored('the server always chooses'),
  x_forwarded_for_authorized_addrs: cidrs('Whose X-Forwarded-For is believed. Default: trusted_proxies.'),
  x_forwarded_for_hop_skips: int(0, 'Addresses to skip from the end of X-Forwarded-For.', { min: 0, max: 32 }),
  x_forwarded_for_client_cert_header: text(
    "Header in which those proxies tell the client's certificate: PEM, percent-encoded PEM, or DER in base64. They must drop it from clients.",
  ),
  x_forwarded_for_reject_not_authorized: maybeBool(
    'Answers 400 to X-Forwarded-For from anyone else. Default: true with x_forwarded_for_authorized_addrs, else false.',
  ),
  x_forwarded_for_reject_not_present: maybeBool(
    'Answers 400 to a trusted proxy without it. Default: true with x_forwarded_for_authorized_addrs, else false.',
  ),
  proxy_protocol_behavior: choice(
    ['', 'use_always', 'allow_authorized', 'deny_unauthorized'],
    '',
    'Takes PROXY protocol headers (version 1 and 2) before TLS: from everyone, from authorized addresses, or cuts everyone else off.',
  ),
  proxy_protocol_authorized_addrs: cidrs('Whose PROXY header is believed. Default: trusted_proxies.'),
  max_request_size: int(limits.requestBodyBytesMax, 'Bytes of one body; beyond it 413.', { min: 1_024, max: 256 * 1024 * 1024 }),
  max_request_duration: maybeDuration('From the headers to the answer. Default: default_max_request_duration.'),
  max_request_json_strings: int(limits.jsonStringsMax, 'Keys and string values of one JSON body.', { min: 16, max: 1_000_000 }),
  max_request_json_memory: ignored('depth, strings and items of a body are bounded instead'),
  max_request_json_depth: int(limits.jsonDepthMax, 'Nesting of one JSON body.', { min: 4, max: 1_000 }),
  max_request_header_size: int(limits.requestHeaderBytesMax, 'Bytes of request line and headers; beyond it 431.', {
    min: 4_096,
    max: 1_048_576,
  }),
  max_requests_in_flight: int(4_096, 'Beyond it 503.', { min: 1, max: 1_000_000 }),
  max_connections: int(10_000, 'Beyond it new connections are closed at once.', { min: 1, max: 1_000_000 }),
  http_read_header_timeout: duration('10s', 10_000, 'From a connection or the first byte to the end of the headers.'),
  http_read_timeout: duration('30s', 30_000, 'From the first byte to the end of the body.'),
  http_write_timeout: duration('120s', 120_000, 'A connection on which nothing moves is closed. Must exceed the request duration.'),
  http_idle_timeout: duration('5m', 300_000, 'How long a kept connection may wait for its next request.'),
  'telemetry.unauthenticated_metrics_access': bool(false, 'sys/metrics without a token.'),
  'profiling.unauthenticated_pprof_access': ignored('there is no pprof without a token'),
  'inflight_requests_logging.unauthenticated_in_flight_requests_access': bool(false, 'sys/in-flight-req without a token.'),
  custom_response_headers: ignored('set headers at the load balancer'),
  disable_unauthed_rekey_endpoints: bool(
    true,
    'With false, sys/rekey and sys/rekey-recovery-key need no token here: shares speak for themselves. For an emergency, on a loopback address.',
  ),
  disable_unauthed_generate_root_endpoints: bool(true, 'The same for sys/generate-root: for when no token is left that may use it.'),
  redact_addresses: ignored('not supported'),
  redact_cluster_name: ignored('not supported'),
  redact_version: ignored('not supported'),
  tls_acme_ca_directory: refused(noAcme),
  tls_acme_domains: refused(noAcme),
  tls_acme_email: refused(noAcme),
  tls_acme_cache_path: refused(noAcme),
} as const satisfies KeyTable

export const raftKeys = {
  path: text('Folder of the store and of the node identity, mode 0700, on a local disk.', {
    required: true,
    aliases: ['VAULT_RAFT_PATH', 'BAO_RAFT_PATH'],
  }),
  node_id: text('Unique in the cluster and for ever. Generated and kept in the folder when absent.', {
    aliases: ['VAULT_RAFT_NODE_ID', 'BAO_RAFT_NODE_ID'],
  }),
  performance_multiplier: int(1, 'Stretches election timeouts and heartbeats, for slow networks. The peers default to 5.', {
    min: 0,
    max: 10,
  }),
  lease_reads: bool(
    false,
    'The leader answers reads without asking a majority while its voters promise to elect no other. Rests on clocks (docs/consistency.md). The same on every node.',
  ),
  clock_drift_max_percent: int(10, "By how much the rates of two nodes' clocks may differ at most, where lease_reads is on.", {
    min: 1,
    max: 100,
  }),
  snapshot_threshold: ignored('the state is kept as it is applied, and the log is cut behind it all the time: trailing_logs'),
  trailing_logs: int(10_000, 'Entries kept behind what is applied, so that a slow follower needs no snapshot.', {
    min: 0,
    max: 100_000_000,
  }),
  snapshot_interval: ignored('the state is kept as it is applied, and the log is cut behind it all the time: trailing_logs'),
  retry_join_as_non_voter: bool(false, 'What joins by retry_join does not vote.', { aliases: ['VAULT_RAFT_RETRY_JOIN_AS_NON_VOTER'] }),
  autopilot_reconcile_interval: ignored('members are watched all the time'),
  autopilot_update_interval: ignored('members are watched all the time'),
  max_entry_size: ignored('a value may have 1 MiB'),
  max_mount_and_namespace_table_entry_size: ignored('the tables are not bound to one entry'),
  max_transaction_size: ignored('a transaction may have 8 MiB'),
} as const satisfies KeyTable

const noDiscovery = 'name one retry_join block with leader_api_addr for each node, or one DNS name that covers all'

export const retryJoinKeys = {
  leader_api_addr: url('API address of a node that may know the leader.', { required: true }),
  leader_ca_cert_file: text('PEM: authority of its certificate.'),
  leader_ca_cert: text('The same, as text.'),
  leader_client_cert_file: text('PEM: certificate to show it.'),
  leader_client_cert: text('The same, as text.'),
  leader_client_key_file: text('PEM: the key of that certificate.'),
  leader_client_key: text('The same, as text.', { secret: true }),
  leader_tls_servername: text('Name expected in its certificate.'),
  join_token: text('One-time token of `operator raft join-token`. Without it the seal must prove that the node belongs.', { secret: true }),
  join_token_file: text('File that holds it.'),
  auto_join: refused(noDiscovery),
  auto_join_scheme: refused(noDiscovery),
  auto_join_port: refused(noDiscovery),
} as const satisfies KeyTable

/** `audit "TYPE" "NAME" { ... }`: options are the device's own. */
export const auditKeys = {
  description: textOr('', 'For people.'),
  local: bool(false, 'Accepted for compatibility: devices of the configuration are always of this node.'),
  path: text('Name of the device, where it is not the second label.'),
} as const satisfies KeyTable

/** Options that every audit device has. */
const auditCommonKeys = {
  format: ignored('records are JSON'),
  prefix: text('Put before each line; needs allow_audit_log_prefixing.'),
  log_raw: bool(false, 'Record values in the clear instead of their HMAC. Needs unsafe_allow_audit_log_raw; never in production.'),
  hmac_accessor: bool(true, 'HMAC token accessors too.'),
  elide_list_responses: bool(false, 'Record how many entries a list had, not which.'),
  skip_test: ignored('no test record is written'),
} as const satisfies KeyTable

const auditPeerKeys = {
  write_timeout: duration('2s', 2_000, 'How long a connection, and each write, may take.'),
  tls_ca_cert_file: text('PEM: authorities that are believed instead of those of this machine.'),
  tls_server_name: text('Name expected in the certificate.'),
} as const satisfies KeyTable

/** Options of each audit device type. */
export const auditOptionKeys = {
  file: {
    file_path: text('File to append to, or "stdout".', { required: true }),
    fsync: bool(false, 'Wait for the disk before a record counts. Records that come together share one wait.'),
    rotate_bytes: int(0, 'Begin another file at so many bytes; 0: never.', { min: 0 }),
    rotate_duration: maybeDuration('Begin another file after so long. Default: never.'),
    compress: bool(false, 'Compress files that were rotated away (gzip).'),
    keep: maybeDuration(
      'Delete rotated files when they are so old, once archived where that is set: "61320h" is seven years. Default: never.',
    ),
    archive_s3_bucket: text('Bucket that rotated files are copied to, below NODE/.'),
    archive_s3_region: textOr('us-east-1', 'Its region.'),
    archive_s3_prefix: textOr('', 'What keys begin with.'),
    archive_s3_endpoint: url('Another service that speaks the language of S3.'),
    archive_s3_path_style: bool(false, 'Names the bucket in the path, not in the host.'),
    archive_lock: maybeDuration('Locks each object for so long; the bucket must have object lock. Default: no lock.'),
    archive_lock_mode: choice(['governance', 'compliance'], 'compliance', 'Who may lift the lock: whoever has the right to, or nobody.'),
    mode: ignored('audit files have mode 0600'),
    ...auditCommonKeys,
  },
  stdout: { ...auditCommonKeys },
  socket: {
    address: text('HOST:PORT, or the path of a socket.', { required: true }),
    socket_type: choice(['tcp', 'udp', 'unix', 'tls'], 'tcp', 'What is spoken there.'),
    ...auditPeerKeys,
    ...auditCommonKeys,
  },
  syslog: {
    address: text('udp://HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT, or unix://PATH for a local stream socket.', { required: true }),
    facility: textOr('auth', 'As RFC 5424 names it.'),
    tag: textOr('holdfast', 'The name of the program in each message.'),
    ...auditPeerKeys,
    ...auditCommonKeys,
  },
  http: {
    uri: text('Where each flush is posted.', { required: true }),
    ...auditPeerKeys,
    ...auditCommonKeys,
    format: choice(
      ['ndjson', 'splunk_hec', 'elastic_bulk'],
      'ndjson',
      "A line each; events of Splunk's HTTP Event Collector; or operations of an index's _bulk.",
    ),
    headers: list('"NAME: VALUE" each.'),
    token: text('Sent as Authorization: Bearer; for Splunk as "Splunk TOKEN", for Elastic as "ApiKey TOKEN".', { secret: true }),
  },
} as const satisfies Readonly<Record<string, KeyTable>>

/** `user_lockout "TYPE" { ... }`: of a login method's type, or of all. 0: as `all` says, or the default. */
export const userLockoutKeys = {
  lockout_threshold: int(0, 'Wrong tries that lock a name; 0: as "all" says, 5 when that says nothing.', { min: 0, max: 1_000_000 }),
  lockout_duration: maybeDuration('For how long. Default: as "all" says, 15m when that says nothing.'),
  lockout_counter_reset: maybeDuration('After so long without one, wrong tries are forgotten. Default: as for the duration.'),
  disable_lockout: maybeBool('Locks no name. Default: as "all" says, else false.'),
} as const satisfies KeyTable

/** Those whose names can be locked, and `all`. */
export const userLockoutTypes = ['all', 'userpass', 'approle', 'ldap'] as const
export type UserLockoutType = (typeof userLockoutTypes)[number]

export const telemetryKeys = {
  prometheus_retention_time: duration('24h', 24 * hourMs, '0 switches sys/metrics off.'),
  disable_hostname: ignored('metrics never carry the host name'),
  metrics_prefix: ignored('the names of metrics are fixed: docs/metrics.md'),
  trace_endpoint: url(
    'Where traces go, by OTLP over HTTP: "https://collector:4318", to which /v1/traces is added, or a whole URL. Absent: nothing is traced (docs/tracing.md).',
  ),
  trace_sample_one_in: int(
    1,
    'Of requests whose caller has not decided it, one in so many is traced. 0: only those whose caller asks for it.',
    {
      min: 0,
      max: 1_000_000,
    },
  ),
  trace_accept_parent: bool(
    true,
    "Carries on the trace that a request's traceparent header names, and traces it if that says so. false: clients decide nothing.",
  ),
  trace_ca_cert_file: text("PEM: authorities of the collector's certificate, instead of those of this machine."),
  trace_token: text('Sent to the collector as Authorization: Bearer.', { secret: true }),
  usage_gauge_period: ignored('gauges are computed when asked for'),
  maximum_gauge_cardinality: ignored('labels are bounded'),
  enable_hostname_label: ignored('let Prometheus add it'),
  filter_default: ignored('filter at the scraper'),
  prefix_filter: ignored('filter at the scraper'),
  lease_metrics_epsilon: ignored('not measured'),
  num_lease_metrics_buckets: ignored('not measured'),
  add_lease_metrics_namespace_labels: ignored('not measured'),
  add_mount_point_rollback_metrics: ignored('not measured'),
  rollback_metrics_include_mount_point: ignored('not measured'),
  statsite_address: ignored(noMetricsPush),
  statsd_address: ignored(noMetricsPush),
  dogstatsd_addr: ignored(noMetricsPush),
  dogstatsd_tags: ignored(noMetricsPush),
  circonus_api_token: ignored(noMetricsPush),
  stackdriver_project_id: ignored(noMetricsPush),
  stackdriver_location: ignored(noMetricsPush),
  stackdriver_namespace: ignored(noMetricsPush),
} as const satisfies KeyTable

const noHmac = 'AES-GCM and RSA-OAEP, which authenticate by themselves, are what there is; leave it out'

const sealCommon = {
  disabled: bool(false, 'The seal that a migration comes from.'),
  name: text('For people, where there are several.'),
  priority: ignored('there is one seal'),
} as const satisfies KeyTable

/** Keys of each seal; the seal itself reads their texts. */
export const sealKeys = {
  shamir: sealCommon,
  static: {
    ...sealCommon,
    current_key_id: text('Name of the key, kept with what it wraps.', { required: true }),
    current_key: text('32 bytes: file:///PATH, env://NAME, base64 or hex.', { required: true, secret: true }),
    previous_key_id: text('While the key is being changed: the name of the one before.'),
    previous_key: text('The key before.', { secret: true }),
  },
  awskms: {
    ...sealCommon,
    kms_key_id: text('Key id, ARN or alias.', { required: true, aliases: ['VAULT_AWSKMS_SEAL_KEY_ID', 'BAO_AWSKMS_SEAL_KEY_ID'] }),
    region: textOr('us-east-1', 'Region of the key.', { aliases: ['AWS_REGION', 'AWS_DEFAULT_REGION'] }),
    failover_regions: list(
      'Regions in which the same alias, or a replica of the same multi-region key, wraps the root key too; asked in this order.',
    ),
    access_key: text("Default: the AWS client's own search.", { secret: true }),
    secret_key: text("Default: the AWS client's own search.", { secret: true }),
    session_token: text('For temporary credentials.', { secret: true }),
    endpoint: text('URL of the KMS where it is another than AWS names, such as a VPC endpoint; {region} stands for the region.'),
    shared_creds_filename: refused('name the file in the environment: AWS_SHARED_CREDENTIALS_FILE'),
    shared_creds_profile: text('Profile of the credentials file.'),
  },
  pkcs11: {
    ...sealCommon,
    lib: text("Path of the HSM's library.", { required: true }),
    slot: text('Slot number; token_label is safer, since numbers change.'),
    token_label: text('Label of the token.'),
    pin: text('PIN of the user: file:///PATH, env://NAME, or itself. Read for each call.', {
      secret: true,
      aliases: ['VAULT_HSM_PIN', 'BAO_HSM_PIN'],
    }),
    key_label: text('Label of the key.', { required: true }),
    key_id: text('Id of the key, in hexadecimal.'),
    mechanism: text('CKM_AES_GCM or CKM_RSA_PKCS_OAEP. Default: by the kind of the key.'),
    hmac_key_label: refused(noHmac),
    default_hmac_key_label: refused(noHmac),
    hmac_mechanism: refused(noHmac),
    generate_key: bool(false, 'Makes an AES key of 256 bits, never to be extracted, if there is none of that label.'),
    force_rw_session: bool(false, 'Opens sessions for writing.'),
    max_parallel: int(1, 'Sessions used at a time.', { min: 1, max: 64 }),
    rsa_oaep_hash: textOr('sha256', 'Hash of RSA-OAEP: sha1, sha256, sha384 or sha512.'),
    rsa_encrypt_local: ignored('the HSM encrypts'),
  },
  transit: {
    ...sealCommon,
    address: url('The cluster whose transit engine wraps.', { required: true }),
    token: text('Token for it: file:///PATH, env://NAME, or itself. Read for each call.', {
      secret: true,
      aliases: ['VAULT_TOKEN', 'BAO_TOKEN'],
    }),
    key_name: text('Transit key.', { required: true }),
    mount_path: textOr('transit/', 'Where the engine is mounted.'),
    namespace: text('Its namespace.'),
    disable_renewal: bool(false, 'Does not renew the token.'),
    tls_ca_cert: text('PEM file: authority of its certificate.'),
    tls_client_cert: text('PEM file: certificate to show it.'),
    tls_client_key: text('PEM file: the key of that certificate.'),
    tls_server_name: text('Name expected in its certificate.'),
    tls_skip_verify: bool(false, 'Believes any certificate. Never in production.'),
    key_id_prefix: ignored('keys are named in full'),
  },
} as const satisfies Readonly<Record<string, KeyTable>>

export type SealKind = keyof typeof sealKeys
export type AuditType = keyof typeof auditOptionKeys
