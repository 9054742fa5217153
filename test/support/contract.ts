/**
 * What the API's contract says word for word, as requests with the reply that clients of the field parse: which keys, which text, which status. Each is sent
 * by test/unit/core/contract.test.ts to a whole core; docs/api-coverage.md says `same` of the routes named here, and of no other.
 *
 * A reply has the keys of its fixture, may have those that the contract makes conditional, and those of our own that are named; one more or one less fails.
 */
import type { Answer, HouseNode } from './core-house.ts'

export interface Keys {
  /** Where in the reply: dots go inward, '*' into the first of a list or map. '' is the whole body. */
  readonly at: string
  /** Names with a question mark may be absent; with a plus they are ours, beside the contract's. */
  readonly keys: string
}

export interface Fixture {
  /** `METHOD path`, as docs/api-coverage.md names it; '*' for any. */
  readonly route: string
  readonly says: string
  readonly send: (world: ContractWorld) => Promise<Answer>
  readonly status: number
  readonly shapes?: readonly Keys[]
  /** Values that are fixed. */
  readonly holds?: Readonly<Record<string, unknown>>
  /** `data`'s keys stand at the top level too. */
  readonly injected?: true
  /** The whole text; null: no body. */
  readonly text?: string | null
}

export interface ContractWorld {
  readonly node: HouseNode
  /** A service token with an end, made for this fixture, and its accessor. */
  readonly token: string
  readonly accessor: string
  /** An unseal share, base64. */
  readonly share: string
  /** A lease of this fixture's. */
  readonly leaseId: string
}

const envelope = { at: '', keys: 'request_id lease_id renewable lease_duration data wrap_info warnings auth' }
const none = { status: 204, text: null } as const
const nothing = { status: 404, text: '{"errors":[]}\n' } as const
const invalidWrapping = { status: 400, holds: { errors: ['wrapping token is not valid or does not exist'] } } as const

const sealKeys =
  'type initialized sealed t n progress nonce recovery_seal recovery_seal_type? version commit_date build_date migration cluster_name? cluster_id? storage_type? warnings?'
const attemptKeys = 'nonce started progress required complete encoded_token encoded_root_token pgp_fingerprint otp otp_length'
const tokenKeys =
  'id accessor policies path meta display_name num_uses orphan creation_time creation_ttl expire_time ttl explicit_max_ttl entity_id type role? period? bound_cidrs? namespace_path? last_renewal? last_renewal_time? renewable? issue_time? identity_policies? external_namespace_policies?'
const mountKeys =
  'type description accessor uuid config local seal_wrap external_entropy_access options plugin_version running_plugin_version running_sha256 deprecation_status'
const authKeys =
  'client_token accessor policies token_policies? identity_policies? metadata lease_duration renewable entity_id token_type orphan mfa_requirement num_uses'
const wrapKeys = 'token accessor ttl creation_time creation_path wrapped_accessor?'
const versionKeys = 'version created_time deletion_time destroyed custom_metadata'

type Send = Fixture['send']
const read =
  (path: string): Send =>
  ({ node }) =>
    node.read(path)
const write =
  (path: string, body?: Record<string, unknown>): Send =>
  ({ node }) =>
    node.write(path, body)
/** After some writes that the fixture needs and does not look at. */
const after =
  (before: (world: ContractWorld) => Promise<unknown>, send: Send): Send =>
  async (world) => {
    await before(world)
    return await send(world)
  }

const lifecycle: readonly Fixture[] = [
  {
    route: 'POST sys/init',
    says: 'bare',
    send: after(async ({ node }) => void (node.sealStatus.initialized = false), write('sys/init')),
    status: 200,
    shapes: [{ at: '', keys: 'keys keys_base64 recovery_keys? recovery_keys_base64? root_token warnings+' }],
  },
  { route: 'GET sys/init', says: 'bare', send: read('sys/init'), status: 200, text: '{"initialized":true}\n' },
  { route: 'GET sys/seal-status', says: 'bare', send: read('sys/seal-status'), status: 200, shapes: [{ at: '', keys: sealKeys }] },
  {
    route: 'POST sys/unseal',
    says: 'as seal-status',
    send: write('sys/unseal', { reset: true }),
    status: 200,
    shapes: [{ at: '', keys: sealKeys }],
  },
  {
    route: 'GET sys/health',
    says: 'bare',
    send: read('sys/health'),
    status: 200,
    shapes: [
      {
        at: '',
        keys: 'initialized sealed standby replication_performance_mode replication_dr_mode server_time_utc version cluster_name? cluster_id? performance_standby+ snapshots+',
      },
    ],
  },
  {
    route: 'GET sys/leader',
    says: 'bare',
    send: read('sys/leader'),
    status: 200,
    shapes: [
      {
        at: '',
        keys: 'ha_enabled is_self? active_time? leader_address? leader_cluster_address? raft_committed_index? raft_applied_index? performance_standby+ performance_standby_last_remote_wal+',
      },
    ],
  },
  {
    route: 'GET sys/ha-status',
    says: 'nodes, at the top level too',
    send: read('sys/ha-status'),
    status: 200,
    injected: true,
    shapes: [{ at: 'data.nodes.*', keys: 'hostname api_address cluster_address active_node last_echo version' }],
  },
  ...(
    [
      ['generate-root-token', [envelope, { at: 'data', keys: attemptKeys }]],
      ['generate-root', [{ at: '', keys: attemptKeys }]],
    ] as const
  ).flatMap(([name, shapes]): Fixture[] => [
    { route: `GET sys/${name}/attempt`, says: 'how far', send: read(`sys/${name}/attempt`), status: 200, shapes },
    { route: `POST sys/${name}/attempt`, says: 'how far', send: write(`sys/${name}/attempt`), status: 200, shapes },
    {
      route: `POST sys/${name}/update`,
      says: 'how far',
      send: async ({ node, share }) => {
        const { nonce } = (await node.write('sys/generate-root/attempt')).body
        return await node.write(`sys/${name}/update`, { nonce, key: share })
      },
      status: 200,
      shapes,
    },
  ]),
  {
    route: 'GET sys/storage/raft/configuration',
    says: 'servers and index',
    send: read('sys/storage/raft/configuration'),
    status: 200,
    shapes: [
      envelope,
      { at: 'data', keys: 'config' },
      { at: 'data.config', keys: 'servers index format_level+' },
      { at: 'data.config.servers.*', keys: 'node_id address leader protocol_version voter format_levels+' },
    ],
  },
  {
    route: 'POST sys/storage/raft/join',
    says: 'bare',
    send: write('sys/storage/raft/join', { leader_api_addr: 'http://127.0.0.1:1' }),
    status: 200,
    text: '{"joined":true}\n',
  },
  { route: 'GET sys/key-status', says: 'data at the top level too', send: read('sys/key-status'), status: 200, injected: true },
]

const mounts: readonly Fixture[] = [
  ...(['sys/mounts', 'sys/auth'] as const).map((path): Fixture => ({
    route: `GET ${path}`,
    says: 'entries by path, at the top level too',
    send: read(path),
    status: 200,
    injected: true,
    shapes: [
      { at: 'data.*', keys: mountKeys },
      { at: 'data.*.config', keys: 'default_lease_ttl max_lease_ttl force_no_cache token_type?' },
    ],
  })),
  ...(
    [
      ['mounts/:path', 'mounts/secret'],
      ['auth/:path', 'auth/people'],
    ] as const
  ).map(([route, path]): Fixture => ({
    route: `GET sys/${route}`,
    says: 'one entry, at the top level too',
    send: read(`sys/${path}`),
    status: 200,
    injected: true,
    shapes: [{ at: 'data', keys: mountKeys }],
  })),
  { route: 'POST sys/mounts/:path', says: 'no body', send: write('sys/mounts/contract', { type: 'kv' }), ...none },
  { route: 'POST sys/auth/:path', says: 'no body', send: write('sys/auth/contract', { type: 'userpass' }), ...none },
  { route: 'DELETE sys/mounts/:path', says: 'no body', send: ({ node }) => node.remove('sys/mounts/secret'), ...none },
  { route: 'DELETE sys/auth/:path', says: 'no body', send: ({ node }) => node.remove('sys/auth/people'), ...none },
  { route: 'GET sys/audit', says: 'data at the top level too', send: read('sys/audit'), status: 200, injected: true },
  { route: 'GET sys/config/cors', says: 'data at the top level too', send: read('sys/config/cors'), status: 200, injected: true },
  {
    route: 'GET sys/config/auditing/request-headers',
    says: 'data at the top level too',
    send: read('sys/config/auditing/request-headers'),
    status: 200,
    injected: true,
  },
]

const policies: readonly Fixture[] = [
  ...['GET', 'LIST'].map((method): Fixture => ({
    route: `${method} sys/policy`,
    says: 'data at the top level too',
    send: ({ node }) => (method === 'GET' ? node.read('sys/policy') : node.list('sys/policy')),
    status: 200,
    injected: true,
  })),
  { route: 'GET sys/policy/:name', says: 'data at the top level too', send: read('sys/policy/app'), status: 200, injected: true },
  ...(
    [
      ['capabilities', (world: ContractWorld) => ({ token: world.token })],
      ['capabilities-self', () => ({})],
      ['capabilities-accessor', (world: ContractWorld) => ({ accessor: world.accessor })],
    ] as const
  ).map(([name, whose]): Fixture => ({
    route: `POST sys/${name}`,
    says: 'one key a path, and capabilities for a single one, at the top level too',
    send: (world) => world.node.write(`sys/${name}`, { ...whose(world), paths: ['sys/mounts'] }),
    status: 200,
    injected: true,
    shapes: [{ at: 'data', keys: 'sys/mounts capabilities' }],
  })),
]

const leases: readonly Fixture[] = [
  {
    route: 'POST sys/leases/lookup',
    says: 'the lease',
    send: ({ node, leaseId }) => node.write('sys/leases/lookup', { lease_id: leaseId }),
    status: 200,
    shapes: [{ at: 'data', keys: 'id issue_time expire_time last_renewal ttl renewable path namespace_path? revoke_error?' }],
  },
]

const wrapped = async ({ node }: ContractWorld): Promise<string> =>
  (await node.ask({ operation: 'update', method: 'POST', path: 'sys/wrapping/wrap', body: { a: '1' }, wrapTtlSeconds: 60 })).body.wrap_info
    .token
const wrapping: readonly Fixture[] = [
  {
    route: 'POST sys/wrapping/wrap',
    says: 'where it lies, without request_id and data',
    send: ({ node }) => node.ask({ operation: 'update', method: 'POST', path: 'sys/wrapping/wrap', body: { a: '1' }, wrapTtlSeconds: 60 }),
    status: 200,
    shapes: [envelope, { at: 'wrap_info', keys: wrapKeys }],
    holds: { request_id: '', data: null, 'wrap_info.ttl': 60, 'wrap_info.creation_path': 'sys/wrapping/wrap' },
  },
  {
    route: 'POST sys/wrapping/rewrap',
    says: 'where it lies now, as it was first wrapped',
    send: async (world) => world.node.write('sys/wrapping/rewrap', { token: await wrapped(world) }),
    status: 200,
    shapes: [envelope, { at: 'wrap_info', keys: wrapKeys }],
    holds: { request_id: '', data: null, 'wrap_info.creation_path': 'sys/wrapping/wrap' },
  },
  {
    route: 'POST sys/wrapping/lookup',
    says: 'what made it, and for how long',
    send: async (world) => world.node.write('sys/wrapping/lookup', { token: await wrapped(world) }, null),
    status: 200,
    shapes: [envelope, { at: 'data', keys: 'creation_time creation_path creation_ttl' }],
  },
  {
    route: 'POST sys/wrapping/unwrap',
    says: 'what was wrapped, once',
    send: async (world) => world.node.write('sys/wrapping/unwrap', { token: await wrapped(world) }),
    status: 200,
    injected: true,
    shapes: [envelope],
    holds: { data: { a: '1' } },
  },
  {
    route: 'POST sys/wrapping/unwrap',
    says: 'a second time: an invalid wrapping token',
    send: async (world) => {
      const token = await wrapped(world)
      await world.node.write('sys/wrapping/unwrap', { token })
      return await world.node.write('sys/wrapping/unwrap', { token })
    },
    ...invalidWrapping,
  },
]

const shown = [envelope, { at: 'data', keys: tokenKeys }]
const loggedIn = [envelope, { at: 'auth', keys: authKeys }]
const tokens: readonly Fixture[] = [
  {
    route: 'GET auth/token/lookup-self',
    says: 'the token',
    send: ({ node, token }) => node.read('auth/token/lookup-self', token),
    status: 200,
    shapes: shown,
  },
  {
    route: 'POST auth/token/lookup-self',
    says: 'the token',
    send: write('auth/token/lookup-self'),
    status: 200,
    shapes: shown,
  },
  {
    route: 'POST auth/token/lookup',
    says: 'the token',
    send: ({ node, token }) => node.write('auth/token/lookup', { token }),
    status: 200,
    shapes: shown,
  },
  {
    route: 'POST auth/token/lookup-accessor',
    says: 'the token, without its id',
    send: ({ node, accessor }) => node.write('auth/token/lookup-accessor', { accessor }),
    status: 200,
    shapes: shown,
    holds: { 'data.id': '' },
  },
  ...['create', 'create-orphan', 'create/:role'].map((path): Fixture => ({
    route: `POST auth/token/${path}`,
    says: 'auth',
    send: write(`auth/token/${path.replace(':role', 'ci')}`, { ttl: '1h' }),
    status: 200,
    shapes: loggedIn,
  })),
  {
    route: 'POST auth/token/renew-self',
    says: 'auth',
    send: ({ node, token }) => node.write('auth/token/renew-self', {}, token),
    status: 200,
    shapes: loggedIn,
  },
  {
    route: 'POST auth/token/renew',
    says: 'auth',
    send: ({ node, token }) => node.write('auth/token/renew', { token }),
    status: 200,
    shapes: loggedIn,
  },
  {
    route: 'POST auth/token/renew-accessor',
    says: 'auth, without the token',
    send: ({ node, accessor }) => node.write('auth/token/renew-accessor', { accessor }),
    status: 200,
    shapes: loggedIn,
    holds: { 'auth.client_token': '' },
  },
  {
    route: 'POST auth/userpass/login/:username',
    says: 'auth',
    send: ({ node }) => node.write('auth/people/login/ada', { password: 'correct horse' }, null),
    status: 200,
    shapes: loggedIn,
  },
]

const secret = 'secret/data/team/database'
const written: Pick<Fixture, 'status' | 'shapes'> = { status: 200, shapes: [envelope, { at: 'data', keys: versionKeys }] }
const keyValue: readonly Fixture[] = [
  { route: 'POST kv/data/:path', says: "the version's metadata", send: write(secret, { data: { a: 1 } }), ...written },
  {
    route: 'POST kv/data/:path',
    says: 'cas of another version',
    send: write(secret, { data: { a: 1 }, options: { cas: 99 } }),
    status: 400,
    holds: { errors: ['check-and-set parameter did not match the current version'] },
  },
  {
    route: 'POST kv/data/:path',
    says: 'no cas where it is required',
    send: after(({ node }) => node.write('secret/config', { cas_required: true }), write(secret, { data: { a: 1 } })),
    status: 400,
    holds: { errors: ['check-and-set parameter required for this call'] },
  },
  {
    route: 'GET kv/data/:path',
    says: 'data and its metadata',
    send: read(secret),
    status: 200,
    shapes: [envelope, { at: 'data', keys: 'data metadata' }, { at: 'data.metadata', keys: versionKeys }],
  },
  { route: 'GET kv/data/:path', says: 'nothing there', send: read('secret/data/none'), ...nothing },
  {
    route: 'GET kv/data/:path',
    says: 'a deleted version: 404 with the envelope and its metadata',
    send: after(({ node }) => node.remove(secret), read(secret)),
    status: 404,
    shapes: [envelope, { at: 'data.metadata', keys: versionKeys }],
    holds: { 'data.data': null },
  },
  {
    route: 'PATCH kv/data/:path',
    says: "the new version's metadata",
    send: ({ node }) => node.ask({ operation: 'patch', method: 'PATCH', path: secret, body: { data: { a: 1 } } }),
    ...written,
  },
  {
    route: 'PATCH kv/data/:path',
    says: 'nothing there',
    send: ({ node }) => node.ask({ operation: 'patch', method: 'PATCH', path: 'secret/data/none', body: { data: { a: 1 } } }),
    ...nothing,
  },
  { route: 'DELETE kv/data/:path', says: 'no body', send: ({ node }) => node.remove(secret), ...none },
  { route: 'DELETE kv/data/:path', says: 'no body, though nothing is there', send: ({ node }) => node.remove('secret/data/none'), ...none },
  { route: 'LIST kv/metadata/:path', says: 'nothing there', send: ({ node }) => node.list('secret/metadata/none'), ...nothing },
  {
    route: 'LIST kv/detailed-metadata/:path',
    says: 'keys and key_info',
    send: ({ node }) => node.list('secret/detailed-metadata/team'),
    status: 200,
    shapes: [envelope, { at: 'data', keys: 'keys key_info' }],
  },
  {
    route: 'GET kv/:path',
    says: 'no lease, and how long it may be kept',
    send: read('kv1/team/database'),
    status: 200,
    shapes: [envelope],
    holds: { lease_id: '', renewable: false, lease_duration: 2_764_800 },
  },
  { route: 'GET kv/:path', says: 'nothing there', send: read('kv1/none'), ...nothing },
  { route: 'LIST kv/:path', says: 'nothing there', send: ({ node }) => node.list('kv1/none'), ...nothing },
  { route: 'POST kv/:path', says: 'no body', send: write('kv1/team/database', { a: 1 }), ...none },
  { route: 'DELETE kv/:path', says: 'no body', send: ({ node }) => node.remove('kv1/team/database'), ...none },
  { route: 'GET cubbyhole/:path', says: 'nothing there', send: read('cubbyhole/none'), ...nothing },
]

/** What holds of every route, whichever is asked. */
export const everywhere: readonly Fixture[] = [
  {
    route: '*',
    says: 'a token that is none',
    send: ({ node }) => node.read('sys/mounts', 's.nobody'),
    status: 403,
    holds: { errors: ['permission denied'] },
  },
  {
    route: '*',
    says: 'a policy that denies',
    send: ({ node, token }) => node.read('sys/mounts', token),
    status: 403,
    holds: { errors: ['1 error occurred:\n\t* permission denied\n\n'] },
  },
  {
    route: '*',
    says: 'no such route',
    send: read('nowhere/x'),
    status: 404,
    holds: { errors: ['no handler for route "nowhere/x". route entry not found.'] },
  },
  {
    route: '*',
    says: 'another method',
    send: ({ node }) => node.remove('sys/mounts'),
    status: 405,
    holds: { errors: ['unsupported operation'] },
  },
  {
    route: '*',
    says: 'help',
    send: ({ node }) => node.ask({ operation: 'help', path: 'sys/mounts' }),
    status: 200,
    shapes: [{ at: '', keys: 'help openapi' }],
  },
  {
    route: '*',
    says: 'sealed',
    send: after(({ node }) => node.write('sys/seal'), read('sys/mounts')),
    status: 503,
    holds: { errors: ['Vault is sealed'] },
  },
]

export const fixtures: readonly Fixture[] = [...lifecycle, ...mounts, ...policies, ...leases, ...wrapping, ...tokens, ...keyValue]
