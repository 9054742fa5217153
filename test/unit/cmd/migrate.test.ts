/** `holdfast migrate` between two real cores, each behind a plain HTTP server: what comes over, what does not, and what is said of it. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runCommand, type Ran } from '#test/support/cli.ts'
import { openHouse } from '#test/support/core-house.ts'
import { frontOf, type House } from '#test/support/house-front.ts'
import type { Asked, Reply, StubServer } from '#test/support/stub-server.ts'

let from: House
let to: House
let source: StubServer
let target: StubServer
let sourceInstead: (asked: Asked) => Reply | undefined = () => undefined
let targetInstead: (asked: Asked) => Reply | undefined = () => undefined

const canary = 'canary-value-that-is-never-printed'

/** Both cores are stand-ins of one cluster: here they are two. */
const named = (id: string, { path }: Asked): Reply | undefined => (path === 'sys/seal-status' ? { json: { cluster_id: id } } : undefined)

async function open(): Promise<void> {
  from = await openHouse()
  to = await openHouse()
  sourceInstead = () => undefined
  targetInstead = () => undefined
  source = await frontOf(from, (asked) => named('source', asked) ?? sourceInstead(asked))
  target = await frontOf(to, (asked) => named('target', asked) ?? targetInstead(asked))
}

async function close(): Promise<void> {
  await source?.[Symbol.asyncDispose]()
  await target?.[Symbol.asyncDispose]()
}

const migrate = (line = '', more: Record<string, string> = {}): Promise<Ran> =>
  runCommand(`migrate ${line}`, {
    address: target.address,
    env: { HOLDFAST_TOKEN: to.rootToken, HOLDFAST_FROM_ADDR: source.address, HOLDFAST_FROM_TOKEN: from.rootToken, ...more },
  })

interface Report {
  readonly counts: Readonly<Record<string, number>>
  readonly items: readonly { readonly status: string; readonly kind: string; readonly path: string; readonly reason?: string }[]
}

async function reported(line = ''): Promise<Report & { readonly code: number }> {
  const ran = await migrate(`-format=json ${line}`)
  expect(ran.out + ran.err).not.toContain(canary)
  return { ...(JSON.parse(ran.out) as Report), code: ran.code }
}

const put = async (house: House, path: string, body: Record<string, unknown>): Promise<void> => {
  const { status, text } = await house.node.write(path, body)
  expect(status, `${path}: ${text}`).toBeLessThan(300)
}
const data = async (house: House, path: string, query: Record<string, string> = {}): Promise<Record<string, unknown> | null> =>
  ((await house.node.read(path, undefined, query)).body?.data ?? null) as Record<string, unknown> | null

const requestsThatWrite = (stub: StubServer): readonly string[] =>
  stub.asked
    .filter(({ method, path }) => method !== 'GET' && path !== 'identity/lookup/entity')
    .map(({ method, path }) => `${method} ${path}`)

describe('secrets', () => {
  beforeAll(async () => {
    await open()
    await put(from, 'sys/mounts/secret', { type: 'kv', options: { version: '2' }, description: 'ours', config: { max_lease_ttl: '2h' } })
    await put(from, 'sys/mounts/old', { type: 'kv', options: { version: '1' } })
    await put(from, 'secret/config', { max_versions: 3 })
    await put(from, 'secret/metadata/app/db', { max_versions: 5 })
    for (let version = 1; version <= 4; version += 1) await put(from, 'secret/data/app/db', { data: { password: canary, n: version } })
    await put(from, 'secret/metadata/app/db', { custom_metadata: { team: 'shop' }, cas_required: true })
    await put(from, 'secret/delete/app/db', { versions: [2] })
    await put(from, 'secret/destroy/app/db', { versions: [3] })
    await put(from, 'secret/metadata/rotated', { max_versions: 2 })
    for (let version = 1; version <= 6; version += 1) await put(from, 'secret/data/rotated', { data: { n: version } })
    await put(from, 'secret/metadata/only-metadata', { custom_metadata: { a: 'b' } })
    await put(from, 'secret/data/app', { data: { folder: 'and secret' } })
    await put(from, 'old/a/b', { value: canary, big: 1 })
  })
  afterAll(close)

  test('a dry run reads both sides, says what it would do, and writes nothing', async () => {
    const { counts, items, code } = await reported('-only=kv -dry-run')
    expect([code, counts]).toEqual([0, { copy: 8, overwrite: 0, equal: 0, skip: 0, conflict: 0, failed: 0 }])
    expect(items.map(({ path }) => path)).toEqual([
      'old/',
      'old/a/b',
      'secret/',
      'secret/app',
      'secret/app/db',
      'secret/config',
      'secret/only-metadata',
      'secret/rotated',
    ])
    expect(requestsThatWrite(target)).toEqual([])
  })

  test('every version comes over under its number, with its marks, settings and custom metadata', async () => {
    const { counts, items, code } = await reported('-only=kv')
    expect([code, counts['copied'], counts['failed']]).toEqual([0, 8, 0])
    expect(items.find(({ path }) => path === 'secret/app/db')?.reason).toContain('2 version(s) came without contents')
    expect(await data(to, 'secret/data/app/db')).toMatchObject({ data: { password: canary, n: 4 }, metadata: { version: 4 } })
    expect((await data(to, 'secret/data/app/db', { version: '1' }))?.['data']).toEqual({ password: canary, n: 1 })
    const metadata = await data(to, 'secret/metadata/app/db')
    expect(metadata).toMatchObject({ cas_required: true, max_versions: 5, custom_metadata: { team: 'shop' }, current_version: 4 })
    const versions = metadata?.['versions'] as Record<string, { deletion_time: string; destroyed: boolean }>
    expect([versions['2']?.destroyed, versions['2']?.deletion_time === '', versions['3']?.destroyed]).toEqual([false, false, true])
    expect(Object.keys((await data(to, 'secret/metadata/rotated'))?.['versions'] ?? {})).toEqual(['4', '5', '6'])
    expect((await data(to, 'secret/data/rotated', { version: '5' }))?.['data']).toEqual({ n: 5 })
    expect(await data(to, 'secret/metadata/only-metadata')).toMatchObject({ current_version: 0, custom_metadata: { a: 'b' } })
    expect(await data(to, 'old/a/b')).toEqual({ value: canary, big: 1 })
    expect(await data(to, 'sys/mounts/secret')).toMatchObject({ description: 'ours', config: { max_lease_ttl: 7_200 } })
    expect(await data(to, 'secret/config')).toMatchObject({ max_versions: 3 })
    expect(requestsThatWrite(source)).toEqual([])
  })

  test('again, nothing is left to do', async () => {
    const before = requestsThatWrite(target).length
    const { counts, items } = await reported('-only=kv')
    expect([counts, items]).toEqual([{ copied: 0, overwritten: 0, equal: 8, skipped: 0, conflict: 0, failed: 0 }, []])
    expect(requestsThatWrite(target).length).toBe(before)
  })

  test('what the source has got since is appended', async () => {
    await put(from, 'secret/data/rotated', { data: { n: 7 } })
    await put(from, 'secret/data/app/db', { data: { n: 5 }, options: { cas: 4 } })
    const { counts } = await reported('-only=kv -mount=secret')
    expect(counts).toMatchObject({ copied: 2, equal: 4 })
    expect(await data(to, 'secret/data/rotated')).toMatchObject({ data: { n: 7 }, metadata: { version: 7 } })
    expect(await data(to, 'secret/data/app/db')).toMatchObject({ data: { n: 5 }, metadata: { version: 5 } })
  })

  test('what the target has otherwise is a conflict, left alone; -overwrite replaces it', async () => {
    await put(to, 'secret/data/rotated', { data: { n: 'mine' } })
    await put(to, 'secret/metadata/app', { custom_metadata: { mine: 'yes' } })
    await put(to, 'old/a/b', { value: 'mine' })
    const left = await reported('-only=kv')
    expect([left.code, left.counts['conflict'], left.counts['copied']]).toEqual([2, 3, 0])
    expect(left.items.map(({ path, reason }) => `${path}: ${reason}`)).toEqual([
      'old/a/b: the target has other contents',
      'secret/app: the target has another custom_metadata',
      "secret/rotated: the target has version 8, newer than the source's 7",
    ])
    expect(await data(to, 'secret/data/rotated')).toMatchObject({ data: { n: 'mine' } })
    const replaced = await reported('-only=kv -overwrite')
    expect([replaced.code, replaced.counts['overwritten']]).toEqual([0, 3])
    expect(await data(to, 'secret/data/rotated')).toMatchObject({ data: { n: 7 }, metadata: { version: 7 } })
    expect((await data(to, 'secret/metadata/app'))?.['custom_metadata']).toBe(null)
    expect((await reported('-only=kv')).counts).toMatchObject({ equal: 8, conflict: 0 })
  })

  test('a copy that broke off goes on where it stopped, marks included', async () => {
    await to.node.remove('secret/metadata/app/db')
    let writes = 0
    // The third version gets lost on its way, and the target with it.
    targetInstead = ({ method, path }) => (method === 'POST' && path === 'secret/data/app/db' && (writes += 1) > 2 ? 'drop' : undefined)
    const broken = await migrate('-only=kv')
    expect([broken.code, broken.err]).toEqual([2, expect.stringContaining('stopped before its end')])
    expect((await data(to, 'secret/metadata/app/db'))?.['current_version']).toBe(2)
    targetInstead = () => undefined
    const { counts } = await reported('-only=kv')
    expect(counts).toMatchObject({ copied: 1, equal: 7 })
    const versions = (await data(to, 'secret/metadata/app/db'))?.['versions'] as Record<
      string,
      { deletion_time: string; destroyed: boolean }
    >
    expect([versions['2']?.deletion_time === '', versions['3']?.destroyed, versions['5']?.destroyed]).toEqual([false, true, false])
  })

  test('one that may not be read is told by name, and the others come', async () => {
    sourceInstead = ({ path }) =>
      path === 'secret/metadata/rotated' ? { status: 403, json: { errors: ['permission denied'] } } : undefined
    const { items, code } = await reported('-only=kv')
    expect([code, items]).toEqual([
      2,
      [{ status: 'failed', kind: 'kv', path: 'secret/rotated', reason: expect.stringContaining('answered 403') }],
    ])
    sourceInstead = () => undefined
  })

  test('an engine of another kind at the path is a conflict, and nothing goes into it', async () => {
    await put(from, 'sys/mounts/other', { type: 'kv', options: { version: '2' } })
    await put(from, 'other/data/x', { data: { a: 1 } })
    await put(to, 'sys/mounts/other', { type: 'kv', options: { version: '1' } })
    const { items, code } = await reported('-only=kv -mount=other -overwrite')
    expect(code).toBe(2)
    expect(items.map(({ status, path }) => `${status} ${path}`)).toEqual(['skipped other/', 'conflict other/'])
    expect((await to.node.list('other')).status).toBe(404)
  })

  test('an engine without versions comes into one that has them', async () => {
    await to.node.remove('sys/mounts/old')
    await put(to, 'sys/mounts/old', { type: 'kv', options: { version: '2' } })
    const { counts } = await reported('-only=kv -mount=old')
    expect(counts).toMatchObject({ copied: 1, conflict: 1 })
    expect(await data(to, 'old/data/a/b')).toMatchObject({ data: { value: canary, big: 1 }, metadata: { version: 1 } })
    expect((await reported('-only=kv -mount=old')).counts).toMatchObject({ equal: 1, conflict: 1 })
  })
})

describe('policies, login methods and identities', () => {
  beforeAll(async () => {
    await open()
    for (const house of [from, to]) await put(house, 'sys/mounts/noise', { type: 'transit' })
    await put(from, 'sys/policies/acl/app', { policy: 'path "secret/*" { capabilities = ["read"] }' })
    await put(from, 'sys/policies/password/digits', { policy: 'length = 8\nrule "charset" { charset = "0123456789" }' })
    await put(from, 'sys/auth/approle', { type: 'approle', description: 'machines', config: { default_lease_ttl: '10m' } })
    await put(from, 'auth/approle/role/ci', { token_policies: ['app'], token_ttl: '5m', secret_id_ttl: '1h' })
    await put(from, 'auth/approle/role/ci/role-id', { role_id: 'the-role-id-of-ci' })
    await put(from, 'auth/approle/role/ci/secret-id', {})
    await put(from, 'sys/auth/people', { type: 'userpass' })
    await put(from, 'auth/people/users/ada', { password: canary, token_policies: ['app'], token_ttl: '5m' })
    await put(from, 'auth/token/roles/ci', { allowed_policies: ['app'], renewable: false })
    await put(from, 'sys/auth/ldap', { type: 'ldap' })
    await put(from, 'auth/ldap/config', { url: 'ldap://127.0.0.1:1', binddn: 'cn=reader', bindpass: canary, userdn: 'ou=people' })
    await put(from, 'auth/ldap/groups/admins', { policies: ['app'] })
    await put(from, 'sys/auth/keys', { type: 'apikey' })
    await put(from, 'auth/keys/key', { name: 'one' })
    await put(from, 'identity/entity/name/ada', { policies: ['app'], metadata: { team: 'shop' } })
    await put(from, 'identity/entity/name/ben', {})
    const idOf = async (what: string): Promise<unknown> => (await data(from, `identity/${what}`))?.['id']
    const accessor = async (path: string): Promise<unknown> => (await data(from, `sys/auth/${path}`))?.['accessor']
    const ada = await idOf('entity/name/ada')
    await put(from, 'identity/entity-alias', { name: 'ada', canonical_id: ada, mount_accessor: await accessor('people') })
    await put(from, 'identity/group/name/team', { policies: ['app'], member_entity_ids: [ada, await idOf('entity/name/ben')] })
    await put(from, 'identity/group/name/all', { member_group_ids: [await idOf('group/name/team')] })
    await put(from, 'identity/group/name/admins', { type: 'external' })
    const admins = await idOf('group/name/admins')
    await put(from, 'identity/group-alias', { name: 'admins', canonical_id: admins, mount_accessor: await accessor('ldap') })
  })
  afterAll(close)

  test('a dry run writes nothing', async () => {
    const { code, counts } = await reported('-dry-run')
    expect([code, counts['conflict'], counts['failed'], requestsThatWrite(target)]).toEqual([0, 0, 0, []])
  })

  test('all comes over that the API shows; what it does not is named, with what to do', async () => {
    const { items, counts, code } = await reported()
    expect(items.filter(({ status }) => status !== 'copied').map(({ path, reason }) => `${path}: ${reason}`)).toEqual([
      'audit/file/: a device of type file is of the machine: holdfast audit enable -help',
      'auth/approle/role: secret ids are never shown: make new ones: holdfast write -force auth/approle/role/NAME/secret-id',
      expect.stringMatching(/^auth\/keys\/key\/\w+: an API key is never shown: make another: holdfast write auth\/keys\/key name=NAME$/),
      'auth/ldap/config: bindpass is never shown: set it again, with the rest, at auth/ldap/config',
      'auth/people/users/ada: its password is never shown: holdfast write auth/people/users/ada password=- token_policies=app token_ttl=300',
      'noise/: an engine of type transit holds keys or accounts that the API does not show: set it up anew',
      'sys/policies/acl/default: every server has its own; if yours was changed, compare: holdfast policy read default',
      'tokens and leases: they stay with the server that gave them: everybody logs in anew',
    ])
    expect(items.filter(({ status }) => status === 'copied').filter(({ reason }) => reason !== undefined)).toEqual([])
    expect([code, counts]).toEqual([0, { copied: 19, overwritten: 0, equal: 0, skipped: 8, conflict: 0, failed: 0 }])
    expect(requestsThatWrite(source)).toEqual([])
  })

  test('it works there: the same policies, role ids, tuning, members and aliases', async () => {
    expect(await data(to, 'auth/approle/role/ci')).toMatchObject({ token_policies: ['app'], token_ttl: 300, secret_id_ttl: 3_600 })
    expect(await data(to, 'auth/approle/role/ci/role-id')).toEqual({ role_id: 'the-role-id-of-ci' })
    expect(await data(to, 'sys/auth/approle')).toMatchObject({ description: 'machines', config: { default_lease_ttl: 600 } })
    expect(await data(to, 'auth/token/roles/ci')).toMatchObject({ allowed_policies: ['app'], renewable: false })
    expect(await data(to, 'auth/ldap/config')).toMatchObject({ binddn: 'cn=reader', userdn: 'ou=people' })
    const [ada, ben] = [await data(to, 'identity/entity/name/ada'), await data(to, 'identity/entity/name/ben')]
    expect(ada).toMatchObject({ policies: ['app'], metadata: { team: 'shop' }, aliases: [{ name: 'ada', mount_path: 'auth/people/' }] })
    const team = await data(to, 'identity/group/name/team')
    expect(new Set(team?.['member_entity_ids'] as string[])).toEqual(new Set([ada?.['id'], ben?.['id']]))
    expect((await data(to, 'identity/group/name/all'))?.['member_group_ids']).toEqual([team?.['id']])
    expect((await data(to, 'identity/group/name/admins'))?.['alias']).toMatchObject({ name: 'admins', mount_path: 'auth/ldap/' })
  })

  test('again, nothing is left but what a person has to do', async () => {
    const before = requestsThatWrite(target).length
    expect((await reported()).counts).toEqual({ copied: 0, overwritten: 0, equal: 19, skipped: 8, conflict: 0, failed: 0 })
    expect(requestsThatWrite(target).length).toBe(before)
  })

  test('a user made by the command that was told is equal; one that got the password only is a conflict', async () => {
    await put(to, 'auth/people/users/ada', { password: 'another one' })
    expect((await reported('-only=auth')).counts).toMatchObject({ copied: 0, conflict: 1 })
    await put(to, 'auth/people/users/ada', { password: 'another one', token_policies: 'app', token_ttl: '300' })
    expect((await reported('-only=auth')).counts).toMatchObject({ copied: 0, conflict: 0 })
  })

  test('what differs is a conflict by name of the field; -overwrite writes it', async () => {
    await put(to, 'auth/approle/role/ci', { token_ttl: '6m' })
    await put(to, 'sys/policies/acl/app', { policy: 'path "other" { capabilities = ["deny"] }' })
    await put(to, 'sys/auth/approle/tune', { description: 'mine' })
    const left = await reported()
    expect([left.code, left.items.filter(({ status }) => status === 'conflict').map(({ path, reason }) => `${path}: ${reason}`)]).toEqual([
      2,
      [
        'auth/approle/: the target has another description',
        'auth/approle/role/ci: the target has another token_ttl',
        'sys/policies/acl/app: the target has another policy',
      ],
    ])
    const replaced = await reported('-overwrite')
    expect([replaced.code, replaced.counts['overwritten']]).toEqual([0, 3])
    expect((await reported()).counts).toMatchObject({ equal: 20, conflict: 0 })
  })

  test('a name that a login made an entity of its own from is not taken away from it', async () => {
    await to.node.remove('identity/entity/name/ada')
    await put(to, 'identity/entity/name/somebody', {})
    const mount_accessor = (await data(to, 'sys/auth/people'))?.['accessor']
    const canonical_id = (await data(to, 'identity/entity/name/somebody'))?.['id']
    await put(to, 'identity/entity-alias', { name: 'ada', canonical_id, mount_accessor })
    const { items } = await reported('-only=identity')
    expect(items.filter(({ status }) => status === 'conflict').map(({ path, reason }) => `${path}: ${reason}`)).toEqual([
      'identity/entity/name/ada, alias ada of auth/people/: the target has another entity',
      'identity/group/name/team, members: the target has another entities',
    ])
  })
})

describe('how it is asked', () => {
  beforeAll(open)
  afterAll(close)

  test.each([
    ['', { HOLDFAST_FROM_ADDR: '' }, 1, 'expected the server to copy from'],
    ['', { HOLDFAST_FROM_TOKEN: '' }, 1, 'the source expected a token of its own'],
    ['', { HOLDFAST_FROM_TOKEN: 's.wrong' }, 2, 'the source at'],
    ['', { HOLDFAST_TOKEN: 's.wrong' }, 2, 'the target at'],
    ['-from-token=s.inTheListOfProcesses', {}, 1, 'flag -from-token expected one of -'],
    ['-only=kv,everything', {}, 1, '-only expected some of'],
    ['-mount=nothing', {}, 2, 'the source has no nothing'],
    ['-parallel=0', {}, 1, '-parallel expected 1 to 32'],
    ['-output-policy', {}, 1, 'migrate sends several requests'],
  ])('migrate %s %o ends with %i', async (line, env, code, said) => {
    const ran = await migrate(line, env)
    expect([ran.code, ran.err]).toEqual([code, expect.stringContaining(said)])
    expect(ran.out + ran.err).not.toContain('inTheListOfProcesses')
    expect(requestsThatWrite(target)).toEqual([])
  })

  test('a cluster is not copied onto itself', async () => {
    const env = { HOLDFAST_FROM_ADDR: target.address, HOLDFAST_FROM_TOKEN: to.rootToken }
    expect((await migrate('', env)).err).toContain('source and target are the same cluster and namespace')
  })

  test('a source that answers pages that it does not know is read once', { timeout: 120_000 }, async () => {
    await put(from, 'sys/mounts/secret', { type: 'kv', options: { version: '1' } })
    const names = Array.from({ length: 1_000 }, (_, at) => `k${String(at).padStart(4, '0')}`)
    const bare: Reply = { json: { data: { value: 'x' } } }
    // Exactly a page, and the same one again whatever is asked for: a server that ignores "after".
    sourceInstead = ({ path, query }) =>
      path === 'secret/' && query['list'] === 'true' ? { json: { data: { keys: names } } } : path.startsWith('secret/k') ? bare : undefined
    const { counts } = await reported('-only=kv -dry-run')
    expect(counts).toMatchObject({ copy: 1_001, failed: 0 })
    sourceInstead = () => undefined
  })

  test('after a hundred failures in a row it gives up, and says what the last one was', { timeout: 120_000 }, async () => {
    const names = Array.from({ length: 500 }, (_, at) => `k${at}`)
    sourceInstead = ({ path, query }) =>
      path === 'secret/' && query['list'] === 'true'
        ? { json: { data: { keys: names } } }
        : path.startsWith('secret/k')
          ? { status: 403, json: { errors: ['permission denied'] } }
          : undefined
    const ran = await migrate('-only=kv')
    expect([ran.code, ran.err]).toEqual([2, expect.stringContaining('stopped after 100 failures in a row')])
    expect(source.asked.filter(({ path }) => path.startsWith('secret/k')).length).toBeLessThan(1_120)
    sourceInstead = () => undefined
  })

  test('for people: a table, the sums, and a hint where something is in conflict', async () => {
    await put(from, 'sys/mounts/team', { type: 'kv', options: { version: '2' } })
    await put(from, 'team/data/a', { data: { a: canary } })
    await put(to, 'sys/mounts/team', { type: 'kv', options: { version: '2' } })
    await put(to, 'team/data/a', { data: { a: 'mine' } })
    await put(from, 'team/data/b', { data: { a: canary } })
    const { out, err, code } = await migrate('-only=kv -mount=team')
    expect(code).toBe(2)
    expect(out.split('\n').map((line) => line.replaceAll(/ {2,}/g, '  '))).toEqual([
      'Action  Kind  Path  Why',
      '------  ----  ----  ---',
      'copied  kv  team/b',
      'conflict  kv  team/a  version 1 differs',
      '',
      'Done: 1 copied, 0 overwritten, 2 equal, 0 skipped, 1 conflict, 0 failed',
      '',
    ])
    expect(err).toBe('hint: -overwrite puts what the source has in place of what is in conflict\n')
  })
})
