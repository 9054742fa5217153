/**
 * What the isolation matrix works with: a namespace in which there is one of everything, and for every operation of every route a request that succeeds
 * there. A route without a recipe gets its path from `params` and an empty body; if that does not succeed in its own namespace the matrix fails, and
 * whoever adds a route adds its recipe here.
 */
import { URI, type TOTP } from 'otpauth'
import type { Answer, HouseNode } from './core-house.ts'
import { oidcClient, type OutsideParts, type Outsides } from './outside-doubles.ts'

type Body = Record<string, unknown>

export interface World {
  readonly path: string
  /** Stands in every secret of this namespace, and in none of another. */
  readonly canary: string
  readonly id: string
  readonly admin: string
  /** Kind -> token of this namespace. */
  readonly tokens: ReadonlyMap<string, string>
  readonly facts: Record<string, string>
  readonly outside: OutsideParts
}

export interface Recipe {
  readonly params?: Readonly<Record<string, string>>
  readonly body?: Body
  /** The caller; the namespace's administrator otherwise. */
  readonly token?: string | null
  readonly wrapTtlSeconds?: number
  /** Of what is answered without a token the credentials decide: theirs, not the caller's, are tried in the other namespace. */
  readonly credentials?: boolean
  readonly query?: Readonly<Record<string, string>>
  /** The connection's own, DER. */
  readonly certificate?: Uint8Array
  /** A fact that its success uses up: made anew by `populate`. */
  readonly spends?: string
}

const everything =
  'path "*" { capabilities = ["create", "read", "update", "patch", "delete", "list", "scan", "sudo"] }\npath "sys/namespaces/api-lock/*" { capabilities = ["update", "sudo"] }'

const digits = 'length = 8\nrule "charset" { charset = "0123456789" }'

let serial = 0
const fresh = (name: string): string => `${name}-${(serial += 1)}`

export class Maker {
  readonly #node: HouseNode
  readonly path: string

  nowMs(): number {
    return this.#node.nowMs()
  }

  constructor(node: HouseNode, path: string) {
    this.#node = node
    this.path = path
  }

  send(
    operation: 'read' | 'update' | 'list' | 'delete',
    path: string,
    body: Body = {},
    more: { token?: string | null; wrapTtlSeconds?: number } = {},
  ) {
    return this.#node.ask({ operation, method: 'TEST', namespace: this.path, path, body, ...more })
  }

  async write(path: string, body: Body = {}, more: { token?: string | null; wrapTtlSeconds?: number } = {}): Promise<Answer['body']> {
    const answer = await this.send('update', path, body, more)
    if (answer.status >= 300) throw new Error(`${this.path} ${path}: expected to be written, got ${answer.status} ${answer.text}`)
    return answer.body
  }

  async read(path: string): Promise<Answer['body']> {
    const answer = await this.send('read', path)
    if (answer.status >= 300) throw new Error(`${this.path} ${path}: expected to be read, got ${answer.status} ${answer.text}`)
    return answer.body
  }

  async mount(table: 'mounts' | 'auth', at: string, body: Body): Promise<void> {
    if ((await this.send('read', `sys/${table}/${at}`)).status >= 300) await this.write(`sys/${table}/${at}`, body)
  }
}

const askOutside: ReadonlySet<string> = new Set(['jwt', 'oidc', 'kubernetes', 'cert', 'ldap'])

/**
 * Makes what is missing, so that it can be called again after anything was deleted. `touched`: the type of the mount whose routes were called since
 * `before`, where it was one alone: what only they change is not made again.
 */
export async function populate(
  node: HouseNode,
  outsides: Outsides,
  path: string,
  before: World | null,
  touched: string | null = null,
): Promise<World> {
  const make = new Maker(node, path)
  const canary = `canary-of-${path}`
  const facts: Record<string, string> = { ...before?.facts }
  const wanted = (types: ReadonlySet<string>): boolean => before === null || touched === null || types.has(touched)
  if (before === null) await new Maker(node, '').write(`sys/namespaces/${path}`, { custom_metadata: { note: canary } })
  const { id } = (await new Maker(node, '').read(`sys/namespaces/${path}`)).data
  for (const child of ['c', 'c2'])
    if ((await make.send('read', `sys/namespaces/${child}`)).status === 404) await make.write(`sys/namespaces/${child}`)
  facts['doomed'] = await doomedNamespace(make, before?.facts['doomed'])
  await sealedNamespaces(make, facts, before?.facts ?? {})
  await mountAll(make)
  await make.write('sys/policies/acl/all', { policy: everything })
  await make.write('sys/policies/acl/pol', { policy: `# ${canary}\npath "kv1/x" { capabilities = ["read"] }` })
  await make.write('sys/policies/acl/fold/p', { policy: 'path "kv1/x" { capabilities = ["read"] }' })
  await make.write('sys/policies/password/pol', { policy: `# ${canary}\n${digits}` })
  await make.write('sys/roles/rl', { policies: ['pol'], description: canary })
  await make.write('kv1/x', { value: canary })
  await make.write('kv1/deep/y', { value: canary })
  for (let version = 0; version < 2; version += 1) await make.write('kv2/data/x', { data: { value: canary, version } })
  await make.write('kv2/data/deep/y', { data: { value: canary } })
  await transit(make, facts)
  await users(make, facts, canary)
  await people(make, facts, canary)
  await factors(make, facts, before?.facts ?? {})
  await identityTokens(make, canary)
  const outside = await outsides.of(path, canary)
  if (wanted(askOutside)) await loginsOutside(make, facts, outside, canary)
  await make.write('sys/quotas/rate-limit/pol', { rate: 1_000_000, path: 'kv2' })
  await make.write('sys/quotas/lease-count/pol', { max_leases: 1_000_000, path: 'kv2' })
  await make.write('sys/quotas/request-limits/pol', { max_json_depth: 60, path: 'kv2' })
  const made = await make.write('auth/token/create', { policies: ['all'], ttl: '2h', meta: { note: canary } })
  facts['victim'] = made.auth.client_token
  facts['accessor'] = made.auth.accessor
  facts['lease'] = await newLease(make)
  facts['lent'] = (await make.read('lend/creds/x')).lease_id
  await make.write('auth/token/roles/role1', { allowed_policies: ['all', 'pol'] })
  facts['wrapped'] = (await make.write('sys/wrapping/wrap', { value: canary }, { wrapTtlSeconds: 600 })).wrap_info.token
  if (before === null) {
    await make.mount('mounts', 'before', { type: 'kv' })
    facts['migration'] = (await make.write('sys/remount', { from: 'before', to: 'after' })).data.migration_id
  } else facts['migration'] = before.facts['migration']!
  const tokens = before?.tokens ?? (await callers(make, facts))
  const admin = tokens.get('administrator')!
  if (wanted(new Set(['identity']))) await openidProvider(make, facts, tokens.get('login by password')!, before?.facts['code'] ?? '')
  await make.write('cubbyhole/mine', { value: canary }, { token: admin })
  return { path, canary, id, admin, tokens, facts, outside }
}

/** A namespace to be deleted: that of before, unless it is. */
async function doomedNamespace(make: Maker, present = ''): Promise<string> {
  if (present !== '' && (await make.read(`sys/namespaces/${present}`)).data.tainted === false) return present
  const name = fresh('d')
  await make.write(`sys/namespaces/${name}`)
  return name
}

/** Namespaces with seals of their own, each in the state in which something can be done with it. */
async function sealedNamespaces(make: Maker, facts: Record<string, string>, before: Readonly<Record<string, string>>): Promise<void> {
  await sealable(make, facts, before, 'open', false)
  await sealable(make, facts, before, 'closed', true)
  await sealable(make, facts, before, 'lost', true)
  for (const [role, verified] of [
    ['idle', null],
    ['rekeyed', false],
    ['verified', true],
  ] as const) {
    await sealable(make, facts, before, role, false)
    const at = `sys/namespaces/${facts[role]}/rekey`
    const { started, nonce } = (await make.read(`${at}/init`)).data
    if (started && verified === null) await make.send('delete', `${at}/init`, { nonce })
    if (verified === null) continue
    for (const kept of ['nonce', 'fresh']) facts[`${role}-${kept}`] = before[`${role}-${kept}`] ?? ''
    if (started) continue
    const begun = await make.write(`${at}/init`, { secret_shares: 1, secret_threshold: 1, require_verification: verified })
    facts[`${role}-nonce`] = begun.data.nonce
    if (!verified) continue
    const { data } = await make.write(`${at}/update`, { nonce: begun.data.nonce, key: facts[`${role}-share`] })
    facts[`${role}-nonce`] = data.verification_nonce
    facts[`${role}-fresh`] = data.keys[0]
  }
}

/** The namespace of before, unless it is gone or its share is another by now. */
async function sealable(
  make: Maker,
  facts: Record<string, string>,
  before: Readonly<Record<string, string>>,
  role: string,
  wanted: boolean,
): Promise<void> {
  facts[role] = before[role] ?? ''
  facts[`${role}-share`] = before[`${role}-share`] ?? ''
  let answer = facts[role] === '' ? null : await make.send('read', `sys/namespaces/${facts[role]}/seal-status`)
  const spent = (role === 'rekeyed' || role === 'verified') && !(await isUnderWay(make, facts[role]))
  if (answer?.status !== 200 || spent) {
    facts[role] = fresh('s')
    const { data } = await make.write(`sys/namespaces/${facts[role]}`, { seal: 'seal "shamir" { shares = 1 threshold = 1 }' })
    facts[`${role}-share`] = Object.values(data.key_shares as Record<string, string>)[0]!
    answer = await make.send('read', `sys/namespaces/${facts[role]}/seal-status`)
  }
  if (answer.body.data.sealed === wanted) return
  if (wanted) await make.write(`sys/namespaces/${facts[role]}/seal`)
  else await make.write(`sys/namespaces/${facts[role]}/unseal`, { key: facts[`${role}-share`] })
}

async function isUnderWay(make: Maker, name: string | undefined): Promise<boolean> {
  const answer = name === '' ? null : await make.send('read', `sys/namespaces/${name}/rekey/init`)
  return answer?.status === 200 && answer.body.data.started === true
}

async function mountAll(make: Maker): Promise<void> {
  await make.mount('mounts', 'kv1', { type: 'kv', options: { version: '1' } })
  await make.mount('mounts', 'kv2', { type: 'kv', options: { version: '2' } })
  await make.mount('mounts', 'spare', { type: 'kv' })
  await make.mount('auth', 'spare', { type: 'userpass' })
  await make.mount('mounts', 'lend', { type: 'lending' })
  await make.mount('mounts', 'transit', { type: 'transit' })
  await make.mount('auth', 'userpass', { type: 'userpass', config: { user_lockout_config: { lockout_threshold: 1_000 } } })
  await make.mount('auth', 'approle', { type: 'approle' })
  for (const type of ['apikey', 'jwt', 'oidc', 'kubernetes', 'cert']) await make.mount('auth', type, { type })
  await make.mount('auth', 'ldap', { type: 'ldap', config: { user_lockout_config: { lockout_threshold: 1_000 } } })
}

async function transit(make: Maker, facts: Record<string, string>): Promise<void> {
  await make.write('transit/keys/k')
  await make.write('transit/keys/k/config', { deletion_allowed: true })
  facts['ciphertext'] = (await make.write('transit/encrypt/k', { plaintext: Buffer.from('text').toString('base64') })).data.ciphertext
}

async function users(make: Maker, facts: Record<string, string>, canary: string): Promise<void> {
  await make.write('auth/userpass/users/alice', { password: canary, token_policies: ['all'] })
  await make.write('auth/approle/role/r', { token_policies: ['all'] })
  facts['roleId'] = (await make.read('auth/approle/role/r/role-id')).data.role_id
  const secretId = (await make.write('auth/approle/role/r/secret-id', { metadata: JSON.stringify({ note: canary }) })).data
  facts['secretId'] = secretId.secret_id
  facts['secretIdAccessor'] = secretId.secret_id_accessor
  const apiKey = (await make.write('auth/apikey/key', { token_policies: ['pol'], metadata: { note: canary } })).data
  facts['apiKey'] = apiKey.key
  facts['apiKeyId'] = apiKey.id
  const auths = (await make.read('sys/auth')).data
  facts['userpassAccessor'] = auths['userpass/'].accessor
  facts['approleAccessor'] = auths['approle/'].accessor
  facts['password'] = canary
}

/** Of a token that was made just now, in a folder that has none of before. */
async function newLease(make: Maker): Promise<string> {
  const role = fresh('lease')
  await make.write(`auth/token/roles/${role}`, { allowed_policies: ['pol'] })
  await make.write(`auth/token/create/${role}`, { ttl: '2h' })
  const listed = await make.send('list', `sys/leases/lookup/auth/token/create/${role}/`)
  return `auth/token/create/${role}/${listed.body.data.keys[0]}`
}

/** By names that stay, where the ids may be others each time. */
async function people(make: Maker, facts: Record<string, string>, canary: string): Promise<void> {
  await make.write('identity/entity', { name: 'e1', metadata: { note: canary } })
  facts['entity'] = (await make.read('identity/entity/name/e1')).data.id
  facts['mergeable'] = (await make.write('identity/entity', { name: fresh('m') })).data.id
  await make.write('identity/entity-alias', { name: 'an-alias', canonical_id: facts['entity'], mount_accessor: facts['approleAccessor'] })
  facts['alias'] = (await make.read('identity/entity/name/e1')).data.aliases[0].id
  await make.write('identity/group', { name: 'g1', metadata: { note: canary }, member_entity_ids: [facts['entity']] })
  facts['group'] = (await make.read('identity/group/name/g1')).data.id
  await make.write('identity/group', { name: 'x1', type: 'external' })
  facts['external'] = (await make.read('identity/group/name/x1')).data.id
  const aliased = async (): Promise<string | undefined> => (await make.read('identity/group/name/x1')).data.alias.id
  if ((await aliased()) === undefined) {
    await make.write('identity/group-alias', {
      name: fresh('theirs'),
      canonical_id: facts['external'],
      mount_accessor: facts['approleAccessor'],
    })
  }
  facts['groupAlias'] = (await aliased())!
}

/** Second factors: a method that an enforcement names, one that none does, and a login that waits for its code, by a role of its own. */
async function factors(make: Maker, facts: Record<string, string>, before: Readonly<Record<string, string>>): Promise<void> {
  const method = async (name: string): Promise<string> => {
    const kept = before[name] ?? ''
    if (kept !== '' && (await make.send('read', `identity/mfa/method/totp/${kept}`)).status === 200) return kept
    return (await make.write('identity/mfa/method/totp', { issuer: 'house', method_name: name })).data.method_id
  }
  facts['enforced'] = await method('enforced')
  facts['method'] = await method('method')
  await make.write('auth/approle/role/factor', { token_policies: ['pol'] })
  const roleId = (await make.read('auth/approle/role/factor/role-id')).data.role_id
  const secretId = (await make.write('auth/approle/role/factor/secret-id')).data.secret_id
  const login = (): Promise<Answer['body']> => make.write('auth/approle/login', { role_id: roleId, secret_id: secretId }, { token: null })
  for (const kept of ['factorEntity', 'mfaRequest', 'mfaCode']) facts[kept] = before[kept] ?? ''
  if (facts['factorEntity'] === '') facts['factorEntity'] = (await login()).auth.entity_id
  await make.write('identity/mfa/login-enforcement/enf', {
    mfa_method_ids: [facts['enforced']],
    identity_entity_ids: [facts['factorEntity']],
  })
  if (facts['mfaRequest'] !== '') return
  const { url } = (
    await make.write('identity/mfa/method/totp/admin-generate', {
      method_id: facts['enforced'],
      entity_id: facts['factorEntity'],
      force: true,
    })
  ).data
  facts['mfaCode'] = (URI.parse(url) as TOTP).generate({ timestamp: make.nowMs() })
  facts['mfaRequest'] = (await login()).auth.mfa_requirement.mfa_request_id
}

/** A key that no role names, and a role with another. */
async function identityTokens(make: Maker, canary: string): Promise<void> {
  for (const name of ['free', 'signing']) await make.write(`identity/oidc/key/${name}`, { algorithm: 'EdDSA', allowed_client_ids: ['*'] })
  await make.write('identity/oidc/role/told', { key: 'signing', template: JSON.stringify({ note: canary }) })
}

const redirectUri = 'https://app.example.com/callback'
const oidcConfig = ({ provider }: OutsideParts): Body => ({
  oidc_discovery_url: provider.issuer,
  oidc_client_id: oidcClient,
  oidc_client_secret: 'a client secret',
  default_role: 'shown',
})
const jwtRole = { role_type: 'jwt', user_claim: 'sub', bound_audiences: [oidcClient], token_policies: ['pol'] }
const kubernetesConfig = ({ kubernetes }: OutsideParts): Body => ({
  kubernetes_host: kubernetes.web.url,
  token_reviewer_jwt: 'reviewer',
  disable_local_ca_jwt: true,
})
const kubernetesRole = { bound_service_account_names: ['web'], bound_service_account_namespaces: ['apps'], token_policies: ['pol'] }
const ldapConfig = ({ directory }: OutsideParts): Body => ({
  url: directory.url,
  binddn: 'cn=reader,dc=example',
  bindpass: 'any',
  userdn: 'ou=people,dc=example',
  userattr: 'uid',
})

/** The methods that ask somebody outside, each with a role of each kind and what lets one in. */
async function loginsOutside(make: Maker, facts: Record<string, string>, outside: OutsideParts, canary: string): Promise<void> {
  for (const type of ['jwt', 'oidc']) {
    await make.write(`auth/${type}/config`, { ...oidcConfig(outside), bound_issuer: outside.provider.issuer })
    const bound_claims = { sub: ['carol', canary] }
    await make.write(`auth/${type}/role/shown`, { ...jwtRole, bound_claims })
    const going = { role_type: 'oidc', user_claim: 'sub', bound_claims, token_policies: ['pol'] }
    await make.write(`auth/${type}/role/asked`, { ...going, allowed_redirect_uris: [redirectUri] })
    await make.write(`auth/${type}/role/device`, { ...going, callback_mode: 'device' })
    const begin = async (body: Body): Promise<Record<string, string>> =>
      (await make.write(`auth/${type}/oidc/auth_url`, body, { token: null })).data
    const url = new URL((await begin({ role: 'asked', redirect_uri: redirectUri }))['auth_url'] ?? '')
    facts[`${type}-state`] = url.searchParams.get('state') ?? ''
    facts[`${type}-code`] = url.searchParams.get('nonce') ?? ''
    facts[`${type}-device`] = (await begin({ role: 'device' }))['state'] ?? ''
  }
  facts['jwt'] = await outside.provider.sign()
  await make.write('auth/kubernetes/config', { ...kubernetesConfig(outside), issuer: canary })
  await make.write('auth/kubernetes/role/web', kubernetesRole)
  facts['account'] = await outside.kubernetes.issue()
  await make.write('auth/ldap/config', { ...ldapConfig(outside), groupfilter: `(cn=${canary})` })
  await make.write('auth/ldap/users/bob', { policies: ['pol'], groups: [canary] })
  await make.write('auth/ldap/groups/ops', { policies: ['pol', canary] })
  await make.write('auth/cert/config', { disable_binding: true })
  await make.write('auth/cert/certs/machines', { certificate: outside.authority.pem, display_name: canary, token_policies: ['pol'] })
  await make.write('auth/cert/crls/none', { crl: outside.revoked })
}

/** Applications that people sign in to: one that is used, and one of each kind that nothing else names. */
async function openidProvider(make: Maker, facts: Record<string, string>, person: string, code: string): Promise<void> {
  const at = 'identity/oidc'
  await make.write(`${at}/assignment/free`, { entity_ids: [facts['entity']] })
  await make.write(`${at}/scope/free`, { description: make.path })
  await make.write(`${at}/client/free`, { key: 'signing', redirect_uris: [redirectUri] })
  await make.write(`${at}/provider/free`, { allowed_client_ids: ['x'] })
  await make.write(`${at}/client/app`, { key: 'signing', redirect_uris: [redirectUri], assignments: ['allow_all'] })
  const client = (await make.read(`${at}/client/app`)).data
  facts['clientId'] = client.client_id
  facts['clientSecret'] = client.client_secret
  const newCode = async (): Promise<string> =>
    (await make.write(`${at}/provider/default/authorize`, authorization(facts), { token: person })).code
  facts['code'] = code === '' ? await newCode() : code
  // The keys may have turned: what they had signed is good no more.
  const path = `${at}/provider/default/userinfo`
  if ((await make.send('read', path, {}, { token: facts['access'] ?? null })).status === 200) return
  facts['access'] = (await make.write(`${at}/provider/default/token`, redemption(facts, await newCode()), { token: null })).access_token
}

const authorization = (facts: Readonly<Record<string, string>>): Record<string, string> => ({
  client_id: facts['clientId']!,
  redirect_uri: redirectUri,
  response_type: 'code',
  scope: 'openid',
})
const redemption = (facts: Readonly<Record<string, string>>, code: string): Body => ({
  grant_type: 'authorization_code',
  code,
  redirect_uri: redirectUri,
  client_id: facts['clientId'],
  client_secret: facts['clientSecret'],
})

/** Tokens of every kind. */
async function callers(make: Maker, facts: Record<string, string>): Promise<Map<string, string>> {
  const token = async (body: Body, at = 'create'): Promise<string> => (await make.write(`auth/token/${at}`, body)).auth.client_token
  await make.write('auth/token/roles/role1', { allowed_policies: ['all', 'pol'] })
  const admin = await token({ policies: ['all'], no_parent: true, no_default_policy: true })
  const of = new Map([
    ['administrator', admin],
    ['default policy only', await token({ policies: ['default'] })],
    ['periodic', await token({ policies: ['all'], period: '1h' })],
    ['limited uses', await token({ policies: ['all'], num_uses: 1_000_000 })],
    ['child', (await make.write('auth/token/create', { policies: ['all'] }, { token: admin })).auth.client_token],
    ['of a role', await token({ policies: ['all'] }, 'create/role1')],
    [
      'login by password',
      (await make.write('auth/userpass/login/alice', { password: facts['password'] }, { token: null })).auth.client_token,
    ],
    [
      'login by approle',
      (await make.write('auth/approle/login', { role_id: facts['roleId'], secret_id: facts['secretId'] }, { token: null })).auth
        .client_token,
    ],
    ['wrapping', (await make.write('sys/wrapping/wrap', { value: 'x' }, { wrapTtlSeconds: 3_600 })).wrap_info.token],
  ])
  const batch = await make.send('update', 'auth/token/create', { policies: ['all'], type: 'batch', ttl: '1h' })
  if (batch.status === 200) of.set('batch', batch.body.auth.client_token)
  return of
}

/** What the segments of patterns are called when no recipe says otherwise, by the type of the mount. */
const params: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  system: { path: 'kv1', name: 'pol', urlbytes: '8', source: 'platform', urlalgorithm: 'sha2-256' },
  cubbyhole: { path: 'mine' },
  lending: { name: 'x' },
  kv: { path: 'x' },
  transit: { name: 'k' },
  token: { role_name: 'role1' },
  userpass: { username: 'alice' },
  approle: { role_name: 'r' },
  jwt: { name: 'shown' },
  oidc: { name: 'shown' },
  kubernetes: { name: 'web' },
  cert: { name: 'machines' },
  ldap: { name: 'bob', username: 'bob' },
  identity: { name: 'enf' },
}

const folderOf = (lease: string): string => lease.slice(0, lease.lastIndexOf('/'))

const withId = (id: string): Recipe => ({ params: { id } })
const setting = (name: string, value: unknown) => (): Recipe => ({ body: { [name]: value } })

/** The method that goes by two names. */
const jwtRecipes = (type: 'jwt' | 'oidc'): Readonly<Record<string, (world: World) => Recipe>> => {
  const open = { token: null, credentials: true } as const
  const back = ({ facts }: World): Record<string, string> => ({ state: facts[`${type}-state`]!, code: facts[`${type}-code`]! })
  return {
    [`${type} config update`]: ({ outside }) => ({ body: oidcConfig(outside) }),
    [`${type} role/:name create`]: () => ({ params: { name: fresh('r') }, body: jwtRole }),
    [`${type} role/:name update`]: setting('clock_skew_leeway', 60),
    [`${type} login`]: ({ facts }) => ({ ...open, body: { role: 'shown', jwt: facts['jwt'] } }),
    [`${type} oidc/auth_url`]: () => ({ token: null, body: { role: 'asked', redirect_uri: redirectUri } }),
    [`${type} oidc/callback read`]: (world) => ({ ...open, query: back(world) }),
    [`${type} oidc/callback update`]: (world) => ({ ...open, body: back(world) }),
    [`${type} oidc/poll`]: ({ facts }) => ({ ...open, body: { state: facts[`${type}-device`] } }),
  }
}

/** 'TYPE PATTERN OPERATION' or 'TYPE PATTERN'. */
const recipes: Readonly<Record<string, (world: World) => Recipe>> = {
  ...jwtRecipes('jwt'),
  ...jwtRecipes('oidc'),
  'kubernetes login': ({ facts }) => ({ body: { role: 'web', jwt: facts['account'] }, token: null, credentials: true }),
  'kubernetes config update': ({ outside }) => ({ body: kubernetesConfig(outside) }),
  'kubernetes role/:name create': () => ({ params: { name: fresh('r') }, body: kubernetesRole }),
  'kubernetes role/:name update': setting('token_policies', ['pol']),
  'cert login': ({ outside }) => ({ body: { name: 'machines' }, token: null, credentials: true, certificate: outside.client.der }),
  'cert config update': setting('disable_binding', true),
  'cert certs/:name create': ({ outside }) => ({ params: { name: fresh('c') }, body: { certificate: outside.authority.pem } }),
  'cert certs/:name update': ({ outside }) => ({ body: { certificate: outside.authority.pem } }),
  'cert crls/:name': () => ({ params: { name: 'none' } }),
  'cert crls/:name update': ({ outside }) => ({ params: { name: fresh('l') }, body: { crl: outside.revoked } }),
  'ldap login/:username': ({ facts }) => ({ body: { password: facts['password'] }, token: null, credentials: true }),
  'ldap config update': ({ outside }) => ({ body: ldapConfig(outside) }),
  'ldap users/:name create': () => ({ params: { name: fresh('u') }, body: { policies: ['pol'] } }),
  'ldap users/:name update': setting('policies', ['pol']),
  'ldap groups/:name': () => ({ params: { name: 'ops' } }),
  'ldap groups/:name create': () => ({ params: { name: fresh('g') }, body: { policies: ['pol'] } }),
  'ldap groups/:name update': () => ({ params: { name: 'ops' }, body: { policies: ['pol'] } }),
  'system mounts/:path* update': () => ({ params: { path: fresh('kv') }, body: { type: 'kv' } }),
  'system mounts/:path* delete': () => ({ params: { path: 'spare' } }),
  'system auth/:path* delete': () => ({ params: { path: 'spare' } }),
  'system mounts/:path*/tune update': setting('description', 'tuned'),
  'system auth/:path*': () => ({ params: { path: 'userpass' } }),
  'system auth/:path* update': () => ({ params: { path: fresh('ap') }, body: { type: 'approle' } }),
  'system auth/:path*/tune': () => ({ params: { path: 'userpass' }, body: { description: 'tuned' } }),
  'system remount': () => ({ body: { from: 'spare', to: fresh('moved') } }),
  'system remount/status/:migration_id': ({ facts }) => ({ params: { migration_id: facts['migration']! } }),
  'system policies/acl/:name* update': () => ({ body: { policy: 'path "a" { capabilities = ["read"] }' } }),
  'system policies/acl/:name* patch': () => ({ body: { policy: 'path "b" { capabilities = ["read"] }' } }),
  'system policies/acl/:name* list': () => ({ params: { name: 'fold' } }),
  'system policies/detailed/acl/:name*': () => ({ params: { name: 'fold' } }),
  'system policies/password/:name update': setting('policy', digits),
  'system plugins/catalog/:type': () => ({ params: { type: 'secret' } }),
  'system plugins/catalog/:type/:name': () => ({ params: { type: 'secret', name: 'kv' } }),
  'system policy/:name* update': () => ({ body: { policy: 'path "c" { capabilities = ["read"] }' } }),
  'system capabilities': ({ facts }) => ({ body: { token: facts['victim'], paths: ['kv1/x'] } }),
  'system capabilities-self': () => ({ body: { paths: ['kv1/x'] } }),
  'system capabilities-accessor': ({ facts }) => ({ body: { accessor: facts['accessor'], paths: ['kv1/x'] } }),
  'system policies/explain': () => ({ body: { path: 'kv1/x' } }),
  'system roles/:name': () => ({ params: { name: 'rl' }, body: { policies: ['pol'] } }),
  'system internal/ui/mounts/:path*': ({ admin }) => ({ params: { path: 'kv1/x' }, token: admin }),
  'system quotas/rate-limit/:name update': () => ({ body: { rate: 900_000, path: 'kv2' } }),
  'system quotas/lease-count/:name update': () => ({ body: { max_leases: 900_000, path: 'kv2' } }),
  'system quotas/request-limits/:name update': () => ({ body: { max_json_depth: 50, path: 'kv2' } }),
  'system tools/hash': () => ({ body: { input: 'aGVsbG8=' } }),
  'system tools/hash/:urlalgorithm': () => ({ body: { input: 'aGVsbG8=' } }),
  'system mfa/validate': ({ facts }) => ({
    body: { mfa_request_id: facts['mfaRequest'], mfa_payload: { [facts['enforced']!]: [facts['mfaCode']] } },
    token: null,
    credentials: true,
  }),
  'system wrapping/wrap': () => ({ body: { a: 1 }, wrapTtlSeconds: 60 }),
  'system wrapping/unwrap': ({ facts }) => ({ body: { token: facts['wrapped'] }, credentials: true }),
  'system wrapping/lookup': ({ facts }) => ({ body: { token: facts['wrapped'] }, credentials: true }),
  'system wrapping/rewrap': ({ facts }) => ({ body: { token: facts['wrapped'] }, credentials: true }),
  'system locked-users/:mount_accessor/unlock/:alias_identifier*': ({ facts }) => ({
    params: { mount_accessor: facts['userpassAccessor']!, alias_identifier: 'alice' },
  }),
  'system leases/lookup update': ({ facts }) => ({ body: { lease_id: facts['lease'] } }),
  'system leases/renew': ({ facts }) => ({ body: { lease_id: facts['lent'] } }),
  'system leases/revoke': ({ facts }) => ({ body: { lease_id: facts['lease'] } }),
  'system renew': ({ facts }) => ({ body: { lease_id: facts['lent'] } }),
  'system revoke': ({ facts }) => ({ body: { lease_id: facts['lease'] } }),
  'system leases/renew/:url_lease_id*': ({ facts }) => ({ params: { url_lease_id: facts['lent']! } }),
  'system leases/revoke/:url_lease_id*': ({ facts }) => ({ params: { url_lease_id: facts['lease']! } }),
  'system renew/:url_lease_id*': ({ facts }) => ({ params: { url_lease_id: facts['lent']! } }),
  'system revoke/:url_lease_id*': ({ facts }) => ({ params: { url_lease_id: facts['lease']! } }),
  'system leases/lookup/:prefix*?': ({ facts }) => ({ params: { prefix: folderOf(facts['lease']!) } }),
  'system leases/revoke-prefix/:prefix*': ({ facts }) => ({ params: { prefix: folderOf(facts['lease']!) } }),
  'system leases/revoke-force/:prefix*': ({ facts }) => ({ params: { prefix: folderOf(facts['lease']!) } }),
  'system revoke-prefix/:prefix*': ({ facts }) => ({ params: { prefix: folderOf(facts['lease']!) } }),
  'system revoke-force/:prefix*': ({ facts }) => ({ params: { prefix: folderOf(facts['lease']!) } }),
  'system leases read': () => ({ query: { type: 'irrevocable' } }),
  'system leases/count read': () => ({ query: { type: 'irrevocable' } }),
  'system namespaces/:path* delete': ({ facts }) => ({ params: { path: facts['doomed']! } }),
  'system namespaces/:path*': () => ({ params: { path: 'c2' } }),
  'system namespaces/:path* update': () => ({ params: { path: fresh('n') } }),
  'system namespaces/:path* patch': () => ({ params: { path: 'c' }, body: { custom_metadata: { a: 'b' } } }),
  'system namespaces/api-lock/lock/:path*': () => ({ params: { path: 'c2' } }),
  'system namespaces/api-lock/unlock/:path*': () => ({ params: { path: 'c2' } }),
  'system namespaces/:path*/seal-status': ({ facts }) => ({ params: { path: facts['closed']! } }),
  'system namespaces/:path*/seal': ({ facts }) => ({ params: { path: facts['open']! } }),
  'system namespaces/:path*/unseal': ({ facts }) => ({ params: { path: facts['closed']! }, body: { key: facts['closed-share'] } }),
  'system namespaces/:path*/delete-sealed': ({ facts }) => ({ params: { path: facts['lost']! } }),
  'system namespaces/:path*/key-status': ({ facts }) => ({ params: { path: facts['open']! } }),
  'system namespaces/:path*/rotate': ({ facts }) => ({ params: { path: facts['open']! } }),
  'system namespaces/:path*/rekey/init': ({ facts }) => ({ params: { path: facts['idle']! } }),
  'system namespaces/:path*/rekey/update': ({ facts }) => ({
    params: { path: facts['rekeyed']! },
    body: { nonce: facts['rekeyed-nonce'], key: facts['rekeyed-share'] },
  }),
  'system namespaces/:path*/rekey/verify': ({ facts }) => ({
    params: { path: facts['verified']! },
    body: { nonce: facts['verified-nonce'], key: facts['verified-fresh'] },
  }),
  'cubbyhole :path*? update': () => ({ body: { value: 'x' } }),
  'cubbyhole :path*? list': () => ({ params: { path: '' } }),
  'identity entity': () => ({ body: { name: fresh('e') } }),
  'identity entity/id/:id': ({ facts }) => withId(facts['entity']!),
  'identity entity/id/:id update': ({ facts }) => ({ params: { id: facts['entity']! }, body: { metadata: { a: 'b' } } }),
  'identity entity/name/:name*': () => ({ params: { name: 'e1' } }),
  'identity entity/batch-delete': ({ facts }) => ({ body: { entity_ids: [facts['mergeable']] } }),
  'identity entity/merge': ({ facts }) => ({ body: { from_entity_ids: [facts['mergeable']], to_entity_id: facts['entity'] } }),
  'identity entity-alias': ({ facts }) => ({ body: { name: fresh('al'), mount_accessor: facts['userpassAccessor'] } }),
  'identity entity-alias/id/:id': ({ facts }) => withId(facts['alias']!),
  'identity entity-alias/id/:id update': ({ facts }) => ({ params: { id: facts['alias']! }, body: { custom_metadata: { a: 'b' } } }),
  'identity group': () => ({ body: { name: fresh('g') } }),
  'identity group/id/:id': ({ facts }) => withId(facts['group']!),
  'identity group/id/:id update': ({ facts }) => ({ params: { id: facts['group']! }, body: { metadata: { a: 'b' } } }),
  'identity group/name/:name*': () => ({ params: { name: 'g1' } }),
  'identity group-alias': ({ facts }) => ({
    body: { name: fresh('ga'), mount_accessor: facts['userpassAccessor'], canonical_id: facts['external'] },
  }),
  'identity group-alias/id/:id': ({ facts }) => withId(facts['groupAlias']!),
  'identity group-alias/id/:id update': ({ facts }) => ({
    params: { id: facts['groupAlias']! },
    body: { name: fresh('ga'), mount_accessor: facts['approleAccessor'], canonical_id: facts['external'] },
  }),
  'identity mfa/method/totp update': () => ({ body: { issuer: 'another' } }),
  'identity mfa/method/totp/generate': ({ facts, tokens }) => ({
    body: { method_id: facts['method'] },
    token: tokens.get('login by password')!,
  }),
  'identity mfa/method/totp/admin-generate': ({ facts }) => ({ body: { method_id: facts['method'], entity_id: facts['entity'] } }),
  'identity mfa/method/totp/admin-destroy': ({ facts }) => ({ body: { method_id: facts['method'], entity_id: facts['entity'] } }),
  'identity mfa/method/totp/:method_id': ({ facts }) => ({ params: { method_id: facts['method']! } }),
  'identity mfa/method/totp/:method_id update': ({ facts }) => ({ params: { method_id: facts['method']! }, body: { period: 60 } }),
  'identity mfa/method/:method_id': ({ facts }) => ({ params: { method_id: facts['method']! } }),
  'identity mfa/login-enforcement/:name update': ({ facts }) => ({ body: { mfa_method_ids: [facts['enforced']] } }),
  'identity oidc/key/:name': () => ({ params: { name: 'free' } }),
  'identity oidc/key/:name create': () => ({ params: { name: fresh('k') }, body: { algorithm: 'EdDSA' } }),
  'identity oidc/key/:name/rotate': () => ({ params: { name: 'signing' }, body: { verification_ttl: 0 } }),
  'identity oidc/role/:name': () => ({ params: { name: 'told' } }),
  'identity oidc/role/:name create': () => ({ params: { name: fresh('r') }, body: { key: 'signing' } }),
  'identity oidc/token/:name': ({ tokens }) => ({ params: { name: 'told' }, token: tokens.get('login by password')! }),
  ...Object.fromEntries(
    ['assignment', 'scope', 'client', 'provider'].flatMap((kind) => [
      [`identity oidc/${kind}/:name`, () => ({ params: { name: 'free' } })],
      [`identity oidc/${kind}/:name create`, () => ({ params: { name: fresh('o') } })],
    ]),
  ),
  'identity oidc/provider/:name/authorize read': ({ facts, tokens }) => ({
    params: { name: 'default' },
    query: authorization(facts),
    token: tokens.get('login by password')!,
  }),
  'identity oidc/provider/:name/authorize update': ({ facts, tokens }) => ({
    params: { name: 'default' },
    body: authorization(facts),
    token: tokens.get('login by password')!,
  }),
  'identity oidc/provider/:name/token': ({ facts }) => ({
    params: { name: 'default' },
    body: redemption(facts, facts['code']!),
    token: null,
    credentials: true,
    spends: 'code',
  }),
  'identity oidc/provider/:name/userinfo': ({ facts }) => ({ params: { name: 'default' }, token: facts['access']! }),
  'identity oidc/provider/:name/.well-known/openid-configuration': () => ({ params: { name: 'default' } }),
  'identity oidc/provider/:name/.well-known/keys': () => ({ params: { name: 'default' } }),
  'identity oidc/introspect': () => ({ body: { token: 'x' } }),
  'identity lookup/entity': ({ facts }) => ({ body: { id: facts['entity'] } }),
  'identity lookup/group': ({ facts }) => ({ body: { id: facts['group'] } }),
  'kv config update': setting('max_versions', 7),
  'kv data/:path*? create': () => ({ params: { path: fresh('new') }, body: { data: { a: 1 } } }),
  'kv data/:path*? update': () => ({ body: { data: { a: 1 } } }),
  'kv data/:path*? patch': () => ({ body: { data: { a: 1 } } }),
  'kv delete/:path*?': setting('versions', [1]),
  'kv undelete/:path*?': setting('versions', [1]),
  'kv destroy/:path*?': setting('versions', [1]),
  'kv metadata/:path*? create': () => ({ params: { path: fresh('new') }, body: { max_versions: 3 } }),
  'kv metadata/:path*? update': setting('max_versions', 5),
  'kv metadata/:path*? patch': setting('max_versions', 6),
  'kv metadata/:path*? list': () => ({ params: { path: '' } }),
  'kv metadata/:path*? scan': () => ({ params: { path: '' } }),
  'kv detailed-metadata/:path*?': () => ({ params: { path: '' } }),
  'kv :path*? create': () => ({ params: { path: fresh('new') }, body: { a: 1 } }),
  'kv :path*? update': setting('a', 1),
  'kv :path*? list': () => ({ params: { path: '' } }),
  'kv :path*? scan': () => ({ params: { path: '' } }),
  'transit keys/:name update': () => ({ params: { name: fresh('k') } }),
  'transit keys/:name/config': setting('deletion_allowed', true),
  'transit encrypt/:name create': () => ({ params: { name: fresh('k') }, body: { plaintext: 'aGVsbG8=' } }),
  'transit encrypt/:name update': setting('plaintext', 'aGVsbG8='),
  'transit decrypt/:name': ({ facts }) => ({ body: { ciphertext: facts['ciphertext'] } }),
  'transit rewrap/:name': ({ facts }) => ({ body: { ciphertext: facts['ciphertext'] } }),
  'token create/:role_name': setting('policies', ['pol']),
  'token lookup': ({ facts }) => ({ body: { token: facts['victim'] } }),
  'token lookup-accessor': ({ facts }) => ({ body: { accessor: facts['accessor'] } }),
  'token renew': ({ facts }) => ({ body: { token: facts['victim'] } }),
  'token renew-self': ({ facts }) => ({ token: facts['victim']! }),
  'token renew-accessor': ({ facts }) => ({ body: { accessor: facts['accessor'] } }),
  'token revoke': ({ facts }) => ({ body: { token: facts['victim'] } }),
  'token revoke-self': ({ facts }) => ({ token: facts['victim']! }),
  'token revoke-accessor': ({ facts }) => ({ body: { accessor: facts['accessor'] } }),
  'token revoke-orphan': ({ facts }) => ({ body: { token: facts['victim'] } }),
  'token roles/:role_name update': setting('renewable', true),
  'userpass login/:username': ({ facts }) => ({ body: { password: facts['password'] }, token: null, credentials: true }),
  'userpass users/:username create': () => ({ params: { username: fresh('u') }, body: { password: 'something long' } }),
  'userpass users/:username update': setting('token_policies', ['pol']),
  'userpass users/:username/password': setting('password', 'something else'),
  'userpass users/:username/policies': setting('token_policies', ['pol']),
  'apikey login': ({ facts }) => ({ body: { key: facts['apiKey'] }, token: null, credentials: true }),
  'apikey key/:id': ({ facts }) => ({ params: { id: facts['apiKeyId']! }, body: { name: 'changed' } }),
  'apikey key/:id/rotate': ({ facts }) => ({ params: { id: facts['apiKeyId']! } }),
  'approle login': ({ facts }) => ({ body: { role_id: facts['roleId'], secret_id: facts['secretId'] }, token: null, credentials: true }),
  'approle role/:role_name create': () => ({ params: { role_name: fresh('r') }, body: { token_policies: ['pol'] } }),
  'approle role/:role_name update': setting('token_policies', ['all']),
  'approle role/:role_name/policies update': setting('token_policies', ['all']),
  'approle role/:role_name/bound-cidr-list update': setting('bound_cidr_list', ['127.0.0.1/32']),
  'approle role/:role_name/secret-id-bound-cidrs update': setting('secret_id_bound_cidrs', ['127.0.0.1/32']),
  'approle role/:role_name/token-bound-cidrs update': setting('token_bound_cidrs', ['127.0.0.1/32']),
  'approle role/:role_name/bind-secret-id update': setting('bind_secret_id', true),
  'approle role/:role_name/secret-id-num-uses update': setting('secret_id_num_uses', 0),
  'approle role/:role_name/secret-id-ttl update': setting('secret_id_ttl', '1h'),
  'approle role/:role_name/period update': setting('token_period', '1h'),
  'approle role/:role_name/token-num-uses update': setting('token_num_uses', 0),
  'approle role/:role_name/token-ttl update': setting('token_ttl', '1h'),
  'approle role/:role_name/token-max-ttl update': setting('token_max_ttl', '1h'),
  'approle role/:role_name/role-id update': () => ({ body: { role_id: fresh('id') } }),
  'approle role/:role_name/custom-secret-id': () => ({ body: { secret_id: fresh('a-secret-of-some-length') } }),
  'approle role/:role_name/secret-id/lookup': ({ facts }) => ({ body: { secret_id: facts['secretId'] } }),
  'approle role/:role_name/secret-id/destroy': ({ facts }) => ({ body: { secret_id: facts['secretId'] } }),
  'approle role/:role_name/secret-id-accessor/lookup': ({ facts }) => ({ body: { secret_id_accessor: facts['secretIdAccessor'] } }),
  'approle role/:role_name/secret-id-accessor/destroy': ({ facts }) => ({ body: { secret_id_accessor: facts['secretIdAccessor'] } }),
}

/** How an operation of a route succeeds in `world`. */
export function recipeOf(type: string, pattern: string, operation: string, world: World): Recipe {
  const found = recipes[`${type} ${pattern} ${operation}`] ?? recipes[`${type} ${pattern}`]
  return found?.(world) ?? {}
}

/** The pattern's path, its segments by the recipe or by what is usual for the type. */
export function pathOf(type: string, pattern: string, recipe: Recipe): string {
  return pattern
    .replaceAll(/:([a-z_]+)(\*\?|\*)?/g, (_, name: string) => {
      const value = recipe.params?.[name] ?? params[type]?.[name]
      if (value === undefined) throw new Error(`${type} ${pattern}: expected a recipe for :${name} (test/support/isolation-world.ts)`)
      return value
    })
    .replace(/\/$/, '')
}
