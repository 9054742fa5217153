/** `holdfast migrate` from a real OpenBao, and from another Holdfast, into a cluster of real processes. */
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startOpenBao } from '../../../bench/load/openbao.ts'
import { Api, type Answer } from '#cmd/dev/api.ts'
import { writeApiCertificates } from '#cmd/dev/certificates.ts'
import { runCommand, type Ran } from '#test/support/cli.ts'
import { startCluster, type TestCluster } from '#test/support/cluster.ts'

const canary = 'canary-value-that-is-never-printed'
/** More than a page of names. */
const manyNames = 1_030

interface Source {
  readonly address: string
  readonly token: string
  readonly stop: () => Promise<void>
}

async function holdfast(): Promise<Source> {
  const made = await startCluster({ nodes: 1 })
  return { address: made.cluster.nodes[0]?.apiAddress ?? '', token: made.cluster.rootToken, stop: () => made.dispose() }
}

async function openbao(): Promise<Source> {
  const options = { nodes: 1, tls: false, audit: false, via: 'leader', extraConfig: '', profileDir: null, say: () => {} } as const
  const made = await startOpenBao({ ...options, dataDir: tmpdir() })
  return { address: made.control ?? '', token: made.token ?? '', stop: () => made.stop() }
}

const publicKey = (): string =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ type: 'spki', format: 'pem' }).toString()

describe.each([
  ['Holdfast', holdfast],
  ['OpenBao', openbao],
])('from %s', (_, start) => {
  const api = new Api(null)
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-migrate-'))
  let source: Source
  let target: TestCluster
  let address = ''

  const at =
    (where: () => { readonly address: string; readonly token: string }) =>
    async (method: string, path: string, body?: unknown): Promise<Answer> =>
      await api.call(where().address, method, path, { token: where().token, body, timeoutMs: 60_000 })
  const from = at(() => source)
  const to = at(() => ({ address, token: target.cluster.rootToken }))
  const put = async (path: string, body: unknown = {}): Promise<Record<string, unknown>> => {
    const answer = await from('POST', path, body)
    expect(answer.status, `${path}: ${JSON.stringify(answer.body)}`).toBeLessThan(300)
    return (answer.body?.['data'] ?? {}) as Record<string, unknown>
  }
  /** Releases of OpenBao leave some methods out. */
  const methods = new Set<string>()
  const mount = async (type: string): Promise<boolean> => {
    const { status } = await from('POST', `sys/auth/${type}`, { type })
    if (status < 300) methods.add(type)
    return status < 300
  }
  /** `data` or `auth` of an answer that has it. */
  const part = <T>({ body }: Answer, name: 'data' | 'auth' = 'data'): T => (body ?? {})[name] as T
  // oxlint-disable-next-line typescript/no-explicit-any -- parsed JSON
  const read = async (path: string): Promise<any> => (await to('GET', path)).body?.['data'] ?? null

  const migrate = (line: string): Promise<Ran> =>
    runCommand(`migrate -format=json ${line}`, {
      address,
      env: { HOLDFAST_TOKEN: target.cluster.rootToken, HOLDFAST_FROM_ADDR: source.address, HOLDFAST_FROM_TOKEN: source.token },
    })
  const counted = async (line = ''): Promise<{ counts: Record<string, number>; items: Record<string, string>[]; code: number }> => {
    const { out, err, code } = await migrate(line)
    expect(out + err).not.toContain(canary)
    return { ...(JSON.parse(out) as { counts: Record<string, number>; items: Record<string, string>[] }), code }
  }

  beforeAll(async () => {
    source = await start()
    target = await startCluster({ nodes: 1 })
    address = target.cluster.nodes[0]?.apiAddress ?? ''
    const caPath = (await writeApiCertificates(join(dir, 'tls'))) ?? ''
    await put('sys/mounts/secret', { type: 'kv', options: { version: '2' }, description: 'ours' })
    await put('sys/mounts/plain', { type: 'kv', options: { version: '1' } })
    await put('sys/mounts/transit', { type: 'transit' })
    for (let version = 1; version <= 3; version += 1) await put('secret/data/app/db', { data: { password: canary, n: version } })
    await put('secret/metadata/app/db', { custom_metadata: { team: 'shop' }, delete_version_after: '2400h', max_versions: 4 })
    await put('secret/delete/app/db', { versions: [1] })
    await put('secret/destroy/app/db', { versions: [2] })
    for (let n = 0; n < manyNames; n += 1) await put(`secret/data/many/k${n}`, { data: { n } })
    await put('plain/a/b', { value: canary })
    await put('sys/policies/acl/app', { policy: 'path "secret/data/app/*" { capabilities = ["read"] }' })
    await put('sys/auth/approle', { type: 'approle', config: { max_lease_ttl: '20m' } })
    await put('auth/approle/role/ci', { token_policies: 'app', token_ttl: '5m', token_max_ttl: '10m', secret_id_num_uses: 3 })
    await put('sys/auth/userpass', { type: 'userpass' })
    await put('auth/userpass/users/ada', { password: canary, token_policies: 'app' })
    await put('auth/token/roles/ci', { allowed_policies: 'app', token_period: '1h' })
    if (await mount('ldap')) {
      await put('auth/ldap/config', {
        url: 'ldap://127.0.0.1:1',
        binddn: 'cn=reader',
        bindpass: canary,
        userdn: 'ou=people',
        groupdn: 'ou=groups',
      })
      await put('auth/ldap/groups/admins', { policies: 'app' })
    }
    await put('sys/auth/jwt', { type: 'jwt' })
    await put('auth/jwt/config', { jwt_validation_pubkeys: publicKey(), bound_issuer: 'us' })
    await put('auth/jwt/role/ci', {
      role_type: 'jwt',
      user_claim: 'sub',
      bound_audiences: 'vault',
      bound_claims: { a: ['b'] },
      token_policies: 'app',
    })
    if (await mount('kubernetes')) {
      await put('auth/kubernetes/config', {
        kubernetes_host: 'https://10.0.0.1:6443',
        token_reviewer_jwt: canary,
        disable_local_ca_jwt: true,
        kubernetes_ca_cert: readFileSync(caPath, 'utf8'),
      })
      await put('auth/kubernetes/role/ci', {
        bound_service_account_names: 'ci',
        bound_service_account_namespaces: 'default',
        token_policies: 'app',
        audience: 'vault',
      })
    }
    if (await mount('cert')) {
      await put('auth/cert/certs/ci', { certificate: readFileSync(caPath, 'utf8'), token_policies: 'app', allowed_common_names: 'ci' })
    }
    await put('identity/entity', { name: 'ada', policies: 'app', metadata: { team: 'shop' } })
    const { id } = part<{ id: string }>(await from('GET', 'identity/entity/name/ada'))
    const mounts = part<Record<string, { accessor: string }>>(await from('GET', 'sys/auth'))
    await put('identity/entity-alias', { name: 'ada', canonical_id: id, mount_accessor: mounts['userpass/']?.accessor })
    await put('identity/group', { name: 'team', policies: 'app', member_entity_ids: [id] })
    const team = part<{ id: string }>(await from('GET', 'identity/group/name/team'))
    await put('identity/group', { name: 'all', member_group_ids: [team.id] })
    await put('identity/group', { name: 'admins', type: 'external' })
    const admins = part<{ id: string }>(await from('GET', 'identity/group/name/admins'))
    await put('identity/group-alias', { name: 'admins', canonical_id: admins.id, mount_accessor: mounts['jwt/']?.accessor })
  }, 600_000)
  afterAll(async () => {
    await source?.stop()
    await target?.dispose()
    await api.close()
    rmSync(dir, { recursive: true, force: true })
  })

  test('a dry run plans all of it and writes nothing', { timeout: 300_000 }, async () => {
    const { counts, code, items } = await counted('-dry-run')
    expect([code, counts['conflict'], counts['failed']], JSON.stringify(items.filter(({ status }) => status === 'failed'))).toEqual([
      0, 0, 0,
    ])
    expect(counts['copy']).toBeGreaterThan(manyNames + 20)
    expect(Object.keys((await read('sys/mounts')) ?? {})).not.toContain('secret/')
  })

  test('it comes over, whole', { timeout: 600_000 }, async () => {
    const { counts, items, code } = await counted()
    const problems = items.filter(({ status, reason }) => status === 'failed' || status === 'conflict' || (status === 'copied' && reason))
    expect(problems.map(({ path, reason }) => `${path}: ${reason}`)).toEqual([
      expect.stringContaining('secret/app/db: 2 version(s) came without contents'),
    ])
    expect([code, counts['failed'], counts['conflict']]).toEqual([0, 0, 0])
    expect(items.filter(({ status }) => status === 'skipped').map(({ path }) => path)).toEqual(
      expect.arrayContaining([
        'auth/approle/role',
        ...['kubernetes', 'ldap'].filter((type) => methods.has(type)).map((type) => `auth/${type}/config`),
        'auth/userpass/users/ada',
        'sys/policies/acl/default',
        'tokens and leases',
        'transit/',
      ]),
    )
    expect(await read('secret/data/app/db')).toMatchObject({ data: { password: canary, n: 3 }, metadata: { version: 3 } })
    const metadata = await read('secret/metadata/app/db')
    expect(metadata).toMatchObject({ custom_metadata: { team: 'shop' }, max_versions: 4, delete_version_after: '2400h0m0s' })
    expect([metadata.versions['1'].deletion_time === '', metadata.versions['1'].destroyed, metadata.versions['2'].destroyed]).toEqual([
      false,
      false,
      true,
    ])
    expect(await read(`secret/data/many/k${manyNames - 1}`)).toMatchObject({ data: { n: manyNames - 1 } })
    expect(await read('plain/a/b')).toEqual({ value: canary })
    expect(await read('auth/jwt/role/ci')).toMatchObject({
      bound_audiences: ['vault'],
      bound_claims: { a: ['b'] },
      token_policies: ['app'],
    })
    if (methods.has('kubernetes'))
      expect(await read('auth/kubernetes/role/ci')).toMatchObject({ bound_service_account_names: ['ci'], audience: 'vault' })
    expect((await read('identity/group/name/team')).member_entity_ids).toEqual([(await read('identity/entity/name/ada')).id])
    expect((await read('identity/group/name/admins')).alias).toMatchObject({ name: 'admins', mount_path: 'auth/jwt/' })
  })

  test('again, all of it is equal', { timeout: 300_000 }, async () => {
    const { counts, items, code } = await counted()
    expect(items.filter(({ status }) => status !== 'skipped')).toEqual([])
    expect([code, counts['copied'], counts['conflict']]).toEqual([0, 0, 0])
    expect(counts['equal']).toBeGreaterThan(manyNames + 20)
  })

  test('a machine logs in under its old role id, and may what it might', async () => {
    const { role_id } = part<{ role_id: string }>(await from('GET', 'auth/approle/role/ci/role-id'))
    const secret = part<{ secret_id: string }>(await to('POST', 'auth/approle/role/ci/secret-id', {}))
    const login = await to('POST', 'auth/approle/login', { role_id, secret_id: secret.secret_id })
    const { client_token: token } = part<{ client_token: string }>(login, 'auth')
    const asked = async (path: string): Promise<number> => (await api.call(address, 'GET', path, { token })).status
    expect([await asked('secret/data/app/db'), await asked('secret/data/many/k1')]).toEqual([200, 403])
  })

  test('the command that the report names makes the user; it is equal then', async () => {
    const skipped = (await counted('-only=auth')).items.find(({ path }) => path === 'auth/userpass/users/ada')
    const [, line = ''] = /: holdfast (.*)$/.exec(skipped?.['reason'] ?? '') ?? []
    const ran = await runCommand(line, { address, stdin: 'correct horse', env: { HOLDFAST_TOKEN: target.cluster.rootToken } })
    expect([ran.code, ran.err]).toEqual([0, ''])
    const { items, code } = await counted('-only=auth')
    expect([code, items.some(({ path }) => path === 'auth/userpass/users/ada')]).toEqual([0, false])
    expect((await to('POST', 'auth/userpass/login/ada', { password: 'correct horse' })).status).toBe(200)
  })

  test('a token that may not read all copies what it may', { timeout: 300_000 }, async () => {
    await put('sys/policies/acl/reader', { policy: 'path "plain/*" { capabilities = ["read", "list"] }' })
    const made = await from('POST', 'auth/token/create', { policies: ['reader'] })
    const { client_token: token } = part<{ client_token: string }>(made, 'auth')
    const file = join(dir, 'reader.token')
    writeFileSync(file, `${token}\n`, { mode: 0o600 })
    await put('plain/later', { value: canary })
    const { counts, code } = await counted(`-from-token-file=${file} -only=kv -mount=plain`)
    expect([code, counts]).toEqual([0, { copied: 1, overwritten: 0, equal: 2, skipped: 0, conflict: 0, failed: 0 }])
  })
})
