/**
 * The routes that clients of Vault and OpenBao know, by family: what `docs/api-coverage.md` is made from. A line is `METHODS PATH`, with a remark after a
 * bar: `differs` (here, and why it answers otherwise), `none` (has no meaning here, and why) or `waits` (for an engine or method that is not built yet).
 * `:x` stands for whatever a client puts there. A remark is held by the test too: what has no meaning must not be in the routing
 * table, what `differs` must be; what `waits` is shown as here once it is.
 */

export interface Family {
  readonly title: string
  /** Engine or login method whose table it is, as `TABLE:TYPE`, with kv's version; null: not built. */
  readonly engine: string | null
  /** What stands before the paths on the page. */
  readonly prefix: string
  readonly lines: string
}

const recovery = 'none | there is no recovery mode: a node whose seal is gone is replaced, and the cluster goes on without it'
const catalog = 'none | engines are part of the build: a plugin that the API could register would run with the barrier open'
const workflows = 'waits | for an engine of chained requests: the peer has it since 2.6, and no client of the field calls it'
const externalKeys = "waits | for an engine that uses keys which stay in a KMS; a KMS can open the seal"
const approvals = 'waits | for approvals by others: a policy that asks for one (control_group) is refused when it is written, not ignored'

export const families: readonly Family[] = [
  {
    title: 'Lifecycle of a node',
    engine: 'secret:system',
    prefix: 'sys/',
    lines: `
GET POST init
GET seal-status
POST unseal
POST seal | differs | the process is replaced, since a heap that held secrets can't be wiped
POST step-down
GET health | differs | a node that drains or reaches no majority is 503 whatever the parameters say, with the cause beside it
GET leader
GET ha-status | differs | when a member was last heard is not kept (operator members asks each), and the version is that of the node which answers
LIST version-history
GET host-info
GET in-flight-req
GET monitor
GET metrics | differs | Prometheus' format unless \`format=json\` is asked for
GET pprof | none | a heap profile holds secrets; Node's own inspector is off, and \`holdfast debug\` gathers what is safe
GET pprof/:profile | none | as above`,
  },
  {
    title: 'Root tokens and keys',
    engine: 'secret:system',
    prefix: 'sys/',
    lines: `
GET POST DELETE generate-root-token/attempt
POST generate-root-token/update
GET POST DELETE generate-root/attempt | differs | without a token only where the listener opens it (\`enable_unauthenticated_access\`)
POST generate-root/update | differs | as above
POST decode-token
GET POST DELETE generate-recovery-token/attempt | ${recovery}
POST generate-recovery-token/update | ${recovery}
POST rotate
POST rotate/keyring
GET POST rotate/config
GET POST rotate/keyring/config
POST rotate/root
GET POST DELETE rotate/root/init
POST rotate/root/update
GET POST DELETE rotate/root/verify
GET DELETE rotate/root/backup
GET POST DELETE rotate/recovery/init
POST rotate/recovery/update
GET POST DELETE rotate/recovery/verify
GET DELETE rotate/recovery/backup
GET key-status
GET POST DELETE rekey/init | differs | without a token only where the listener opens it
POST rekey/update | differs | as above
GET POST DELETE rekey/verify | differs | as above
GET DELETE rekey/backup
GET DELETE rekey/recovery-key-backup
GET POST DELETE rekey-recovery-key/init | differs | as above
POST rekey-recovery-key/update | differs | as above
GET POST DELETE rekey-recovery-key/verify | differs | as above
GET POST sealwrap/rewrap | differs | POST only: it does it at once, there is no progress to ask for
GET seal-backend-status`,
  },
  {
    title: 'Mounts and plugins',
    engine: 'secret:system',
    prefix: 'sys/',
    lines: `
GET mounts
GET POST DELETE mounts/:path
GET POST mounts/:path/tune | differs | passthrough_request_headers and allowed_response_headers are kept and shown, and no engine here reads or sets headers
GET auth
GET POST DELETE auth/:path
GET POST auth/:path/tune | differs | passthrough_request_headers and allowed_response_headers are kept and shown, and no engine here reads or sets headers
POST remount | differs | where nothing is lent it is done when it is answered; what is lent is taken back first, by a job; within one namespace
GET remount/status/:id
GET plugins/catalog
LIST plugins/catalog/:type
GET plugins/catalog/:type/:name
POST DELETE plugins/catalog/:type/:name | ${catalog}
POST plugins/reload/backend | ${catalog}`,
  },
  {
    title: 'Policies',
    engine: 'secret:system',
    prefix: 'sys/',
    lines: `
LIST policies/acl
GET POST PATCH DELETE policies/acl/:name
LIST policies/acl/:prefix
LIST policies/detailed/acl
LIST policies/detailed/acl/:prefix
GET LIST policy
GET POST DELETE policy/:name
LIST policies/password
GET POST DELETE policies/password/:name
GET policies/password/:name/generate
POST capabilities
POST capabilities-self
POST capabilities-accessor`,
  },
  {
    title: 'Leases',
    engine: 'secret:system',
    prefix: 'sys/',
    lines: `
POST leases/lookup
LIST leases/lookup/:prefix
POST leases/renew
POST leases/renew/:id
POST leases/revoke
POST leases/revoke/:id
POST leases/revoke-prefix/:prefix
POST leases/revoke-force/:prefix
POST leases/tidy
GET leases/count
GET leases
POST renew
POST renew/:id
POST revoke
POST revoke/:id
POST revoke-prefix/:prefix
POST revoke-force/:prefix`,
  },
  {
    title: 'Audit',
    engine: 'secret:system',
    prefix: 'sys/',
    lines: `
GET audit
POST DELETE audit/:path | differs | a file device only below a folder that the configuration allows
POST audit-hash/:path
GET config/auditing/request-headers
GET POST DELETE config/auditing/request-headers/:name`,
  },
  {
    title: 'Wrapping and tools',
    engine: 'secret:system',
    prefix: 'sys/',
    lines: `
POST wrapping/wrap
POST wrapping/unwrap
POST wrapping/rewrap
GET POST wrapping/lookup
POST tools/random
POST tools/random/:bytes
POST tools/random/:source/:bytes
POST tools/hash
POST tools/hash/:algorithm`,
  },
  {
    title: 'Namespaces',
    engine: 'secret:system',
    prefix: 'sys/',
    lines: `
LIST SCAN namespaces
GET POST PATCH DELETE namespaces/:path
POST namespaces/:path/seal
POST namespaces/:path/unseal
GET namespaces/:path/seal-status
DELETE namespaces/:path/delete-sealed
POST namespaces/api-lock/lock
POST namespaces/api-lock/lock/:path
POST namespaces/api-lock/unlock
POST namespaces/api-lock/unlock/:path`,
  },
  {
    title: 'Raft',
    engine: 'secret:system',
    prefix: 'sys/',
    lines: `
POST storage/raft/bootstrap | none | it makes Raft the coordinator beside another store; here there is no other store
POST storage/raft/join
POST storage/raft/bootstrap/challenge
POST storage/raft/bootstrap/answer
GET storage/raft/configuration
POST storage/raft/remove-peer
POST storage/raft/promote
POST storage/raft/demote
GET storage/raft/snapshot | differs | a format of our own, that can be checked without a key; from any node
POST storage/raft/snapshot | differs | as above
POST storage/raft/snapshot-force | differs | as above
GET storage/raft/autopilot/state
GET POST storage/raft/autopilot/configuration
LIST storage/raft/snapshot-auto/config
GET POST DELETE storage/raft/snapshot-auto/config/:name
GET storage/raft/snapshot-auto/status/:name`,
  },
  {
    title: 'Quotas',
    engine: 'secret:system',
    prefix: 'sys/',
    lines: `
GET POST quotas/config
LIST quotas/rate-limit
GET POST DELETE quotas/rate-limit/:name | differs | a limit holds over the whole cluster, not a node
LIST quotas/lease-count
GET POST DELETE quotas/lease-count/:name`,
  },
  {
    title: 'Other system routes',
    engine: 'secret:system',
    prefix: 'sys/',
    lines: `
GET POST DELETE config/cors
LIST config/ui/headers
GET POST DELETE config/ui/headers/:header | differs | kept and shown; there is no web interface yet that would send them
GET config/state/sanitized
POST config/reload/:subsystem | none | SIGHUP reloads certificates, audit files and the log level: who may do that owns the process
GET POST DELETE loggers
GET POST DELETE loggers/:name
GET locked-users
POST locked-users/:accessor/unlock/:alias
POST mfa/validate
GET internal/ui/mounts
GET internal/ui/mounts/:path
GET internal/ui/namespaces
GET internal/ui/resultant-acl
GET internal/counters/tokens
GET internal/counters/entities
GET internal/inspect/router/:tag | none | it shows the peer's own tables; \`sys/internal/specs/openapi\` lists the routes
POST internal/inspect/request | none | \`sys/policies/explain\` says which rule decides a request
GET internal/specs/openapi
GET POST DELETE LIST raw/:path | none | keys and values lie on the disk as ciphertext bound to their place: a raw write could only destroy
GET POST DELETE LIST workflows/manage/:path | ${workflows}
POST workflows/execute/:path | ${workflows}
POST workflows/trace/:path | ${workflows}
POST workflows/unauthed-execute/:path | ${workflows}
GET POST DELETE external-keys/configs/:config | ${externalKeys}
GET POST DELETE external-keys/configs/:config/keys/:key | ${externalKeys}
GET POST DELETE external-keys/configs/:config/keys/:key/grants/:mount | ${externalKeys}
POST control-group/authorize | ${approvals}
POST control-group/request | ${approvals}`,
  },
  {
    title: 'Tokens',
    engine: 'auth:token',
    prefix: 'auth/token/',
    lines: `
POST create
POST create-orphan
POST create/:role
POST lookup
GET POST lookup-self
POST lookup-accessor
POST renew
POST renew-self
POST renew-accessor
POST revoke
POST revoke-self
POST revoke-orphan
POST revoke-accessor
POST tidy
LIST accessors
LIST roles
GET POST DELETE roles/:name`,
  },
  {
    title: 'AppRole',
    engine: 'auth:approle',
    prefix: 'auth/approle/',
    lines: `
POST login
LIST role
GET POST DELETE role/:name
${[
  'policies',
  'bound-cidr-list',
  'secret-id-bound-cidrs',
  'token-bound-cidrs',
  'bind-secret-id',
  'secret-id-num-uses',
  'secret-id-ttl',
  'period',
  'token-num-uses',
  'token-ttl',
  'token-max-ttl',
]
  .map((name) => `GET POST DELETE role/:name/${name}`)
  .join('\n')}
GET role/:name/local-secret-ids
GET POST role/:name/role-id
POST LIST role/:name/secret-id
POST role/:name/secret-id/lookup
POST DELETE role/:name/secret-id/destroy
POST role/:name/secret-id-accessor/lookup
POST DELETE role/:name/secret-id-accessor/destroy
POST role/:name/custom-secret-id
POST tidy/secret-id`,
  },
  {
    title: 'Userpass',
    engine: 'auth:userpass',
    prefix: 'auth/userpass/',
    lines: `
POST login/:username
LIST users
GET POST DELETE users/:username
POST users/:username/password
POST users/:username/policies`,
  },
  { title: 'JWT and OIDC', engine: 'auth:jwt', prefix: 'auth/jwt/', lines: `
GET POST config
LIST role
GET POST DELETE role/:name
POST login
POST oidc/auth_url
GET POST oidc/callback
POST oidc/poll` },
  { title: 'Certificates', engine: 'auth:cert', prefix: 'auth/cert/', lines: `
POST login
LIST certs
GET POST DELETE certs/:name
GET POST config
LIST crls
GET POST DELETE crls/:name` },
  { title: 'Kubernetes logins', engine: 'auth:kubernetes', prefix: 'auth/kubernetes/', lines: `
GET POST config
POST login
LIST role
GET POST DELETE role/:name` },
  { title: 'LDAP logins', engine: 'auth:ldap', prefix: 'auth/ldap/', lines: `
GET POST config
POST login/:username
LIST users
GET POST DELETE users/:name
LIST groups
GET POST DELETE groups/:name` },
  {
    title: 'Key-value secrets, version 1',
    engine: 'secret:kv:1',
    prefix: 'kv/',
    lines: `
GET POST DELETE LIST SCAN :path`,
  },
  {
    title: 'Key-value secrets, version 2',
    engine: 'secret:kv:2',
    prefix: 'kv/',
    lines: `
GET POST config
GET POST PATCH DELETE data/:path
GET POST PATCH DELETE LIST SCAN metadata/:path
LIST SCAN detailed-metadata/:path
POST delete/:path
POST undelete/:path
POST destroy/:path
GET subkeys/:path`,
  },
  {
    title: 'Cubbyhole',
    engine: 'secret:cubbyhole',
    prefix: 'cubbyhole/',
    lines: `
GET POST DELETE LIST :path`,
  },
  {
    title: 'Identity',
    engine: 'secret:identity',
    prefix: 'identity/',
    lines: `
POST entity
LIST entity/id
GET POST DELETE entity/id/:id
LIST entity/name
GET POST DELETE entity/name/:name
POST entity/merge
POST entity/batch-delete
POST entity-alias
LIST entity-alias/id
GET POST DELETE entity-alias/id/:id
POST group
LIST group/id
GET POST DELETE group/id/:id
LIST group/name
GET POST DELETE group/name/:name
POST group-alias
LIST group-alias/id
GET POST DELETE group-alias/id/:id
POST lookup/entity
POST lookup/group
LIST mfa/method
GET mfa/method/:id
POST LIST mfa/method/totp
GET POST DELETE mfa/method/totp/:id
POST mfa/method/totp/generate
POST mfa/method/totp/admin-generate
POST mfa/method/totp/admin-destroy
LIST mfa/login-enforcement
GET POST DELETE mfa/login-enforcement/:name
GET POST oidc/config
LIST oidc/key
GET POST DELETE oidc/key/:name
LIST oidc/role
GET POST DELETE oidc/role/:name
GET oidc/token/:name
POST oidc/introspect
GET oidc/.well-known/keys
GET oidc/.well-known/openid-configuration
POST oidc/key/:name/rotate
LIST oidc/assignment
GET POST DELETE oidc/assignment/:name
LIST oidc/scope
GET POST DELETE oidc/scope/:name
LIST oidc/client
GET POST DELETE oidc/client/:name
LIST oidc/provider
GET POST DELETE oidc/provider/:name
GET POST oidc/provider/:name/authorize
POST oidc/provider/:name/token
GET POST oidc/provider/:name/userinfo
GET oidc/provider/:name/.well-known/openid-configuration
GET oidc/provider/:name/.well-known/keys`,
  },
  {
    title: 'Transit',
    engine: 'secret:transit',
    prefix: 'transit/',
    lines: `
LIST keys
GET POST DELETE keys/:name
POST keys/:name/config
POST keys/:name/rotate
POST encrypt/:name
POST decrypt/:name
POST rewrap/:name
POST keys/:name/trim | waits | the rest of transit
POST keys/:name/import | waits | the rest of transit
POST keys/:name/import_version | waits | the rest of transit
POST datakey/plaintext/:name | waits | the rest of transit
POST datakey/wrapped/:name | waits | the rest of transit
POST sign/:name | waits | the rest of transit
POST verify/:name | waits | the rest of transit
POST hmac/:name | waits | the rest of transit
POST hash | waits | the rest of transit
POST random | waits | the rest of transit
GET export/:type/:name | waits | the rest of transit
GET backup/:name | waits | the rest of transit
POST restore | waits | the rest of transit
GET POST cache-config | waits | the rest of transit
GET wrapping_key | waits | the rest of transit`,
  },
]

/** Engines and methods of which nothing is built, named as a whole. */
export const unbuilt: readonly string[] = [
  'pki',
  'ssh',
  'totp',
  'database',
  'kubernetes (engine)',
  'ldap (engine)',
  'rabbitmq',
  'radius (login)',
  'kerberos (login)',
]
