/** The npm client `node-vault`, unmodified, from an empty server to a deleted secret. It sends the method LIST over HTTP/1.1. */
import { createRequire } from 'node:module'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { LocalCluster } from '#cmd/dev/local-cluster.ts'
import { URI, type TOTP } from 'otpauth'
import { freePorts } from '#test/support/cluster.ts'
import { TokenReviewServer } from '#test/support/token-review.ts'

interface Login {
  auth: { client_token: string; policies: string[]; metadata: Record<string, string> }
}

interface NodeVault {
  token: string
  init(options: object): Promise<{ keys: string[]; keys_base64: string[]; root_token: string }>
  initialized(): Promise<{ initialized: boolean }>
  unseal(options: { key: string }): Promise<{ sealed: boolean; progress: number; t: number; n: number }>
  status(): Promise<{ sealed: boolean; version: string }>
  health(): Promise<{ initialized: boolean; sealed: boolean }>
  mounts(): Promise<Record<string, { type: string }>>
  mount(options: object): Promise<unknown>
  unmount(options: object): Promise<unknown>
  policies(): Promise<{ policies: string[] }>
  addPolicy(options: { name: string; rules: string }): Promise<unknown>
  getPolicy(options: { name: string }): Promise<{ rules: string }>
  removePolicy(options: { name: string }): Promise<unknown>
  auths(): Promise<Record<string, { type: string }>>
  tokenCreate(options: object): Promise<{ auth: { client_token: string; policies: string[]; lease_duration: number } }>
  tokenLookup(options: { token: string }): Promise<{ data: { policies: string[] } }>
  tokenLookupSelf(): Promise<{ data: { id: string } }>
  tokenRenew(options: object): Promise<{ auth: { lease_duration: number } }>
  tokenRevoke(options: { token: string }): Promise<unknown>
  enableAuth(options: { mount_point: string; type: string }): Promise<unknown>
  disableAuth(options: { mount_point: string }): Promise<unknown>
  userpassLogin(options: { username: string; password: string; mount_point?: string }): Promise<Login>
  addApproleRole(options: { role_name: string } & Record<string, unknown>): Promise<unknown>
  getApproleRole(options: { role_name: string }): Promise<{ data: Record<string, unknown> }>
  deleteApproleRole(options: { role_name: string }): Promise<unknown>
  approleRoles(options?: object): Promise<{ data: { keys: string[] } }>
  getApproleRoleId(options: { role_name: string }): Promise<{ data: { role_id: string } }>
  getApproleRoleSecret(options: {
    role_name: string
    metadata?: string
  }): Promise<{ data: { secret_id: string; secret_id_accessor: string } }>
  approleSecretLookup(options: { role_name: string; secret_id: string }): Promise<{ data: Record<string, unknown> }>
  approleSecretDestroy(options: { role_name: string; secret_id: string }): Promise<unknown>
  kubernetesLogin(options: { role: string; jwt: string; mount_point?: string }): Promise<Login>
  jwtLogin(options: { role: string; jwt: string; mount_point?: string }): Promise<Login>
  approleLogin(options: { role_id: string; secret_id: string }): Promise<Login>
  write(path: string, data: object): Promise<unknown>
  read(path: string): Promise<{ data: Record<string, unknown>; lease_duration: number }>
  list(path: string): Promise<{ data: { keys: string[] } }>
  delete(path: string): Promise<unknown>
}

const nodeVault = createRequire(import.meta.url)('node-vault') as (options: { endpoint: string; token?: string }) => NodeVault

describe('node-vault', () => {
  let dir: string
  let cluster: LocalCluster
  let vault: NodeVault
  let root: string

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'holdfast-compat-'))
    cluster = await LocalCluster.prepare({ nodes: 1, apiPort: await freePorts(2), dataDir: dir, tls: false })
    const [node] = cluster.nodes
    if (node === undefined) throw new Error('expected a node')
    cluster.spawn(node)
    await cluster.waitForAnswer(node)
    vault = nodeVault({ endpoint: node.apiAddress })
  })
  afterAll(async () => {
    await cluster?.stop()
    rmSync(dir, { recursive: true, force: true })
  })

  test('init and unseal', async () => {
    expect(await vault.initialized()).toEqual({ initialized: false })
    const init = await vault.init({ secret_shares: 3, secret_threshold: 2 })
    expect(init.keys).toHaveLength(3)
    expect(await vault.health()).toMatchObject({ initialized: true, sealed: true })
    expect(await vault.unseal({ key: init.keys[0] as string })).toMatchObject({ sealed: true, progress: 1, t: 2, n: 3 })
    expect(await vault.unseal({ key: init.keys_base64[2] as string })).toMatchObject({ sealed: false })
    root = init.root_token
    vault.token = root
    expect((await vault.status()).version).toMatch(/^2\.6\.0\+holdfast\./)
    await expect.poll(async () => (await vault.health()).sealed).toBe(false)
  })

  test('mounts, policies and auth methods', async () => {
    await vault.mount({ mount_point: 'kv1', type: 'kv', options: { version: '1' } })
    await vault.mount({ mount_point: 'kv2', type: 'kv', options: { version: '2' } })
    expect(await vault.mounts()).toMatchObject({
      'kv1/': { type: 'kv' },
      'kv2/': { type: 'kv' },
      'sys/': { type: 'system' },
      'cubbyhole/': { type: 'cubbyhole' },
    })
    expect(await vault.auths()).toMatchObject({ 'token/': { type: 'token' } })
    const rules = 'path "kv1/app/*" { capabilities = ["read", "list"] }'
    await vault.addPolicy({ name: 'app', rules })
    expect((await vault.policies()).policies).toEqual(['app', 'default', 'root'])
    expect((await vault.getPolicy({ name: 'app' })).rules).toBe(rules)
  })

  test('write, read, LIST and delete, v1 and v2', async () => {
    await vault.write('kv1/app/db', { user: 'u', password: 'p' })
    await vault.write('kv1/app/deep/er', { a: 1 })
    const read = await vault.read('kv1/app/db')
    expect(read.data).toEqual({ user: 'u', password: 'p' })
    expect(read.lease_duration).toBe(2_764_800)
    expect((await vault.list('kv1/app')).data.keys).toEqual(['db', 'deep/'])
    await vault.delete('kv1/app/db')
    await expect(vault.read('kv1/app/db')).rejects.toMatchObject({
      message: 'Status 404',
      response: { statusCode: 404, body: { errors: [] } },
    })
    await vault.write('kv2/data/x', { data: { one: 1 } })
    expect((await vault.read('kv2/data/x')).data).toMatchObject({ data: { one: 1 }, metadata: { version: 1 } })
    expect((await vault.list('kv2/metadata')).data.keys).toEqual(['x'])
  })

  test('tokens, and what a refusal says', async () => {
    const made = await vault.tokenCreate({ policies: ['app'], ttl: '1h' })
    expect(made.auth.policies).toEqual(['app', 'default'])
    vault.token = root // This client goes on with whatever token it was last given.
    const limited = nodeVault({ endpoint: cluster.nodes[0]?.apiAddress ?? '', token: made.auth.client_token })
    expect((await limited.tokenLookupSelf()).data.id).toBe(made.auth.client_token)
    expect((await limited.list('kv1/app')).data.keys).toEqual(['deep/'])
    await expect(limited.write('kv1/app/db', { a: 1 })).rejects.toMatchObject({
      message: '1 error occurred:\n\t* permission denied\n\n',
      response: { statusCode: 403 },
    })
    expect((await vault.tokenRenew({ token: made.auth.client_token, increment: '2h' })).auth.lease_duration).toBe(7_200)
    vault.token = root
    await vault.tokenRevoke({ token: made.auth.client_token })
    await expect(limited.read('kv1/app/deep/er')).rejects.toMatchObject({ message: 'permission denied', response: { statusCode: 403 } })
    await vault.removePolicy({ name: 'app' })
    await vault.unmount({ mount_point: 'kv1' })
    await expect(vault.read('kv1/app/deep/er')).rejects.toMatchObject({
      message: 'no handler for route "kv1/app/deep/er". route entry not found.',
      response: { statusCode: 404 },
    })
  })

  test('logins by userpass and AppRole', async () => {
    vault.token = root
    const stranger = nodeVault({ endpoint: cluster.nodes[0]?.apiAddress ?? '' })
    await vault.enableAuth({ mount_point: 'userpass', type: 'userpass' })
    await vault.write('auth/userpass/users/bob', { password: 's3cret', policies: 'app' })
    const person = await stranger.userpassLogin({ username: 'bob', password: 's3cret' })
    expect(person.auth).toMatchObject({ policies: ['app', 'default'], metadata: { username: 'bob' } })
    expect(stranger.token).toBe(person.auth.client_token)
    await expect(stranger.userpassLogin({ username: 'bob', password: 'wrong' })).rejects.toMatchObject({
      message: 'invalid username or password',
      response: { statusCode: 400 },
    })
    await vault.enableAuth({ mount_point: 'approle', type: 'approle' })
    await vault.addApproleRole({ role_name: 'web', policies: 'app', secret_id_num_uses: 1 })
    expect((await vault.approleRoles()).data.keys).toEqual(['web'])
    expect((await vault.getApproleRole({ role_name: 'web' })).data).toMatchObject({ token_policies: ['app'], secret_id_num_uses: 1 })
    const { role_id } = (await vault.getApproleRoleId({ role_name: 'web' })).data
    const { secret_id } = (await vault.getApproleRoleSecret({ role_name: 'web', metadata: '{"host":"a1"}' })).data
    expect((await vault.approleSecretLookup({ role_name: 'web', secret_id })).data).toMatchObject({ secret_id_num_uses: 1 })
    expect((await stranger.approleLogin({ role_id, secret_id })).auth.metadata).toEqual({ role_name: 'web', host: 'a1' })
    await expect(stranger.approleLogin({ role_id, secret_id })).rejects.toMatchObject({ message: 'invalid role or secret ID' })
    await vault.deleteApproleRole({ role_name: 'web' })
    await vault.disableAuth({ mount_point: 'approle' })
    await vault.disableAuth({ mount_point: 'userpass' })
  })

  test('logins by JWT, Kubernetes and API keys', async () => {
    vault.token = root
    const stranger = nodeVault({ endpoint: cluster.nodes[0]?.apiAddress ?? '' })
    const kubernetes = await TokenReviewServer.start(() => Date.now())
    await vault.enableAuth({ mount_point: 'jwt', type: 'jwt' })
    await vault.write('auth/jwt/config', { jwt_validation_pubkeys: kubernetes.publicKeyPem() })
    await vault.write('auth/jwt/role/web', { role_type: 'jwt', user_claim: 'sub', bound_audiences: 'vault', token_policies: 'app' })
    const jwt = await kubernetes.issue('apps/web', { audience: ['vault'] })
    expect((await stranger.jwtLogin({ role: 'web', jwt })).auth).toMatchObject({ policies: ['app', 'default'], metadata: { role: 'web' } })
    await expect(stranger.jwtLogin({ role: 'web', jwt: await kubernetes.issue() })).rejects.toMatchObject({ response: { statusCode: 400 } })
    await vault.enableAuth({ mount_point: 'kubernetes', type: 'kubernetes' })
    await vault.write('auth/kubernetes/config', { kubernetes_host: kubernetes.web.url, token_reviewer_jwt: 'reviewer' })
    const bound = { bound_service_account_names: 'web', bound_service_account_namespaces: 'apps', token_policies: 'app' }
    await vault.write('auth/kubernetes/role/web', bound)
    const pod = await stranger.kubernetesLogin({ role: 'web', jwt: await kubernetes.issue(), mount_point: 'kubernetes' })
    expect(pod.auth.metadata).toMatchObject({ service_account_name: 'web', service_account_namespace: 'apps' })
    await kubernetes.stop()
    await vault.enableAuth({ mount_point: 'apikey', type: 'apikey' })
    const made = (await vault.write('auth/apikey/key', { name: 'ci', token_policies: 'app' })) as { data: { key: string; id: string } }
    const login = (await stranger.write('auth/apikey/login', { key: made.data.key })) as Login
    expect(login.auth).toMatchObject({ policies: ['app', 'default'], metadata: { key_id: made.data.id } })
    for (const mount_point of ['jwt', 'kubernetes', 'apikey']) await vault.disableAuth({ mount_point })
  })

  test('a login with a second factor', async () => {
    vault.token = root
    const stranger = nodeVault({ endpoint: cluster.nodes[0]?.apiAddress ?? '' })
    await vault.enableAuth({ mount_point: 'userpass', type: 'userpass' })
    await vault.write('auth/userpass/users/eve', { password: 's3cret', policies: 'app' })
    const { entity_id } = (await stranger.userpassLogin({ username: 'eve', password: 's3cret' })).auth as unknown as { entity_id: string }
    const method = (await vault.write('identity/mfa/method/totp', { issuer: 'house' })) as { data: { method_id: string } }
    const { method_id } = method.data
    const secret = (await vault.write('identity/mfa/method/totp/admin-generate', { method_id, entity_id })) as { data: { url: string } }
    await vault.write('identity/mfa/login-enforcement/eve', { mfa_method_ids: [method_id], identity_entity_ids: [entity_id] })
    const begun = (await stranger.userpassLogin({ username: 'eve', password: 's3cret' })) as unknown as {
      auth: {
        client_token: string
        mfa_requirement: { mfa_request_id: string; mfa_constraints: Record<string, { any: { id: string }[] }> }
      }
    }
    expect(begun.auth.client_token).toBe('')
    const { mfa_request_id, mfa_constraints } = begun.auth.mfa_requirement
    expect(mfa_constraints['eve']?.any[0]?.id).toBe(method_id)
    const code = (URI.parse(secret.data.url) as TOTP).generate()
    const validate = (passcode: string) => stranger.write('sys/mfa/validate', { mfa_request_id, mfa_payload: { [method_id]: [passcode] } })
    await expect(validate(code === '000000' ? '111111' : '000000')).rejects.toMatchObject({ response: { statusCode: 403 } })
    expect(((await validate(code)) as Login).auth.policies).toEqual(['app', 'default'])
    await vault.delete('identity/mfa/login-enforcement/eve')
    await vault.disableAuth({ mount_point: 'userpass' })
  })
})
