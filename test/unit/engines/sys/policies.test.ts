import { beforeEach, describe, expect, test } from 'vitest'
import { openHouse, type HouseNode } from '#test/support/core-house.ts'

let house: Awaited<ReturnType<typeof openHouse>>
let node: HouseNode
beforeEach(async () => {
  house = await openHouse()
  node = house.node
})

const writePolicy = (name: string, policy: string) => node.write(`sys/policies/acl/${name}`, { policy })
const makeToken = async (policies: string[], more: Record<string, unknown> = {}): Promise<string> =>
  (await node.write('auth/token/create', { policies, ...more })).body.auth.client_token
const readRule = (path: string): string => `path "${path}" { capabilities = ["read"] }`

describe('policies', () => {
  test('PATCH changes what is named, of a policy that exists', async () => {
    await writePolicy('a', readRule('x'))
    const patch = (name: string, body: Record<string, unknown>) =>
      node.ask({ operation: 'patch', method: 'PATCH', path: `sys/policies/acl/${name}`, body })
    expect((await patch('a', { expiration: '2099-01-01T00:00:00Z', cas_required: true, cas: 1 })).status).toBe(204)
    expect((await node.read('sys/policies/acl/a')).body.data).toMatchObject({
      policy: readRule('x'),
      version: 2,
      expiration: '2099-01-01T00:00:00Z',
      cas_required: true,
    })
    expect((await patch('a', { policy: readRule('y') })).status).toBe(400)
    expect((await patch('a', { policy: readRule('y'), cas: 2 })).status).toBe(204)
    expect((await node.read('sys/policies/acl/a')).body.data).toMatchObject({ policy: readRule('y'), expiration: '2099-01-01T00:00:00Z' })
    // Written whole, what is not named gets its default.
    expect((await node.write('sys/policies/acl/a', { policy: readRule('z'), cas: 3 })).status).toBe(204)
    expect((await node.read('sys/policies/acl/a')).body.data.expiration).toBeUndefined()
    for (const name of ['none', 'default', 'root']) expect((await patch(name, { policy: readRule('y') })).status, name).toBe(404)
  })

  test('are listed by what their names begin with', async () => {
    for (const name of ['team/a', 'team/b', 'teams', 'z']) await writePolicy(name, readRule('x'))
    expect((await node.list('sys/policies/acl/team')).body.data.keys).toEqual(['team/a', 'team/b'])
    expect((await node.list('sys/policies/acl/none')).status).toBe(404)
    const detailed = await node.list('sys/policies/detailed/acl/team')
    expect(Object.keys(detailed.body.data.key_info)).toEqual(['team/a', 'team/b'])
    expect((await node.list('sys/policies/acl')).body.data.keys).toEqual(['default', 'team/a', 'team/b', 'teams', 'z', 'root'])
  })
})

describe('conditions', () => {
  test("hold by the caller's address and the token's lifetime, for requests, capabilities and explanations", async () => {
    await writePolicy(
      'near',
      `path "cubbyhole/net" { capabilities = ["create", "read", "update"] conditions { source_cidrs = ["10.0.0.0/8"] } }
       path "cubbyhole/short" { capabilities = ["create", "read", "update"] conditions { max_token_ttl = "1h" } }`,
    )
    const short = await makeToken(['near'], { ttl: '30m', no_default_policy: true })
    const long = await makeToken(['near'], { ttl: '2h', no_default_policy: true })
    const put = async (path: string, token: string, clientAddress: string): Promise<number> =>
      (await node.ask({ operation: 'update', method: 'POST', path, body: { x: 1 }, token, clientAddress })).status
    expect(await put('cubbyhole/net', short, '10.1.1.1')).toBe(204)
    expect(await put('cubbyhole/net', short, '192.0.2.1')).toBe(403)
    expect(await put('cubbyhole/short', short, '192.0.2.1')).toBe(204)
    expect(await put('cubbyhole/short', long, '192.0.2.1')).toBe(403)
    const of = async (token: string) =>
      (await node.write('sys/capabilities', { token, paths: ['cubbyhole/net', 'cubbyhole/short'] })).body.data
    // Where another token is used from, nobody knows.
    expect(await of(short)).toEqual({ 'cubbyhole/net': ['deny'], 'cubbyhole/short': ['create', 'read', 'update'] })
    expect((await of(long))['cubbyhole/short']).toEqual(['deny'])
  })

  test("of a token's lifetime do not hold for one that had itself shortened by a renewal", async () => {
    await writePolicy(
      'short',
      `path "cubbyhole/short" { capabilities = ["create", "update"] conditions { max_token_ttl = "1h" } }
       path "auth/token/renew-self" { capabilities = ["update"] }`,
    )
    const make = (ttl: string) => makeToken(['short'], { ttl, no_default_policy: true })
    const [long, short] = [await make('768h'), await make('30m')]
    const shortIsMet = async (token: string) => (await node.write('cubbyhole/short', { x: 1 }, token)).status === 204
    const renew = async (token: string, increment: string) =>
      (await node.write('auth/token/renew-self', { increment }, token)).body.auth.lease_duration as number
    expect(await shortIsMet(short)).toBe(true)
    expect([await renew(long, '60s'), await shortIsMet(long)]).toEqual([60, false])
    expect([await renew(short, '2h'), await shortIsMet(short)]).toEqual([7_200, false])
    const asked = await node.write('sys/capabilities', { token: long, path: 'cubbyhole/short' })
    expect(asked.body.data.capabilities).toEqual(['deny'])
  })

  test("of a token's lifetime do not hold for one that a renewal made long, and the next one short again", async () => {
    await writePolicy(
      'short',
      `path "cubbyhole/short" { capabilities = ["create", "update"] conditions { max_token_ttl = "1h" } }
       path "auth/token/renew-self" { capabilities = ["update"] }`,
    )
    const token = await makeToken(['short'], { ttl: '30m', no_default_policy: true })
    const isMet = async () => (await node.write('cubbyhole/short', { x: 1 }, token)).status === 204
    const renew = (increment: string) => node.write('auth/token/renew-self', { increment }, token)
    await renew('30m')
    expect(await isMet()).toBe(true)
    await renew('2h')
    await renew('1m')
    expect(await isMet()).toBe(false)
  })

  test("of a token's lifetime do not hold for the short child of a long one, but for what root, sudo or a role gives", async () => {
    await writePolicy('maker', 'path "auth/token/*" { capabilities = ["create", "update"] }')
    await writePolicy('sudo', 'path "auth/token/create" { capabilities = ["create", "update", "sudo"] }')
    await writePolicy('short', 'path "cubbyhole/short" { capabilities = ["create", "update"] conditions { max_token_ttl = "1h" } }')
    await node.write('auth/token/roles/silent', { orphan: true })
    await node.write('auth/token/roles/gives', { allowed_policies: ['short'] })
    const child = async (parent: string, path: string, extra: Record<string, unknown> = {}): Promise<string> =>
      (await node.write(`auth/token/${path}`, { policies: ['short'], ttl: '1m', no_default_policy: true, ...extra }, parent)).body.auth
        .client_token
    const isMet = async (token: string) => (await node.write('cubbyhole/short', { x: 1 }, token)).status === 204
    const long = await makeToken(['maker', 'short'], { ttl: '768h' })
    for (const [path, extra] of [['create'], ['create-orphan'], ['create/silent'], ['create', { type: 'batch' }]] as const) {
      expect(await isMet(await child(long, path, extra)), path).toBe(false)
    }
    const grandchild = await child(await child(long, 'create', { policies: ['maker', 'short'] }), 'create')
    expect(await isMet(grandchild)).toBe(false)
    expect(await isMet(await child(long, 'create/gives'))).toBe(true)
    expect(await isMet(await child(await makeToken(['sudo', 'short'], { ttl: '768h' }), 'create'))).toBe(true)
    expect(await isMet(await child(await makeToken(['maker', 'short'], { ttl: '30m' }), 'create'))).toBe(true)
  })

  test("of a token's lifetime do not hold for a short child that brings its parent's entity along, nor for policies that a role only does not forbid", async () => {
    await writePolicy('maker', 'path "auth/token/*" { capabilities = ["create", "update", "sudo"] }')
    await writePolicy('short', 'path "kvs/short" { capabilities = ["create", "update"] conditions { max_token_ttl = "1h" } }')
    await node.write('sys/mounts/kvs', { type: 'kv' })
    await node.write('auth/token/roles/gives', { allowed_policies: ['default'] })
    await node.write('auth/token/roles/alone', { allowed_policies: ['short'], orphan: true })
    await node.write('auth/token/roles/forbids', { disallowed_policies: ['admin'] })
    await node.write('sys/auth/userpass', { type: 'userpass' })
    const password = 'a password for alice'
    await node.write('auth/userpass/users/alice', { password, token_policies: 'maker', token_ttl: '768h' })
    const { auth } = (await node.write('auth/userpass/login/alice', { password }, null)).body
    await node.write(`identity/entity/id/${auth.entity_id}`, { policies: ['short'] })
    const isMet = async (token: string) => (await node.write('kvs/short', { x: 1 }, token)).status === 204
    const child = async (path: string, parent: string, body: object = {}): Promise<string> =>
      (await node.write(`auth/token/${path}`, { ttl: '1m', ...body }, parent)).body.auth.client_token
    // By the role, and by sudo: what meets the rule is its entity's.
    for (const path of ['create/gives', 'create']) expect(await isMet(await child(path, auth.client_token)), path).toBe(false)
    expect(await isMet(await child('create/alone', auth.client_token))).toBe(true)
    await writePolicy('maker', 'path "auth/token/*" { capabilities = ["create", "update"] }')
    const long = await makeToken(['maker', 'short'], { ttl: '700h' })
    expect(await isMet(await child('create/forbids', long))).toBe(false)
  })

  test("hold by the leader's clock", async () => {
    const hour = new Date(house.clock.nowMs()).getUTCHours()
    const two = (value: number): string => String(value % 24).padStart(2, '0')
    await writePolicy(
      'day',
      `path "cubbyhole/now" { capabilities = ["read"] conditions { time = "${two(hour)}:00-${two(hour + 1)}:00" } }
       path "cubbyhole/later" { capabilities = ["read"] conditions { time = "${two(hour + 1)}:00-${two(hour + 2)}:00" } }`,
    )
    const token = await makeToken(['day'], { no_default_policy: true })
    expect([(await node.read('cubbyhole/now', token)).status, (await node.read('cubbyhole/later', token)).status]).toEqual([404, 403])
  })
})

describe('explain', () => {
  const ask = (body: Record<string, unknown>, token?: string) => node.write('sys/policies/explain', body, token)

  test('says which rule decided, and why, to the token itself', async () => {
    await writePolicy('team', 'path "secret/*" {\n capabilities = ["read"]\n}\npath "secret/+/x" { capabilities = ["deny"] }')
    const token = await makeToken(['team'])
    const denied = await ask({ path: '/v1/secret/a/x' }, token)
    expect(denied.body.data).toMatchObject({
      path: 'secret/a/x',
      operation: 'read',
      allowed: false,
      reason: 'deny',
      rule: { pattern: 'secret/+/x', policies: ['team'] },
      candidates: [
        { pattern: 'secret/+/x', active: true, parts: [{ policy: 'team', line: 4, failed_condition: null }] },
        { pattern: 'secret/*', capabilities: ['read'] },
      ],
    })
    expect((await ask({ path: 'secret/a', operation: 'update' }, token)).body.data).toMatchObject({
      allowed: false,
      reason: 'no capability',
    })
    expect((await ask({ path: 'secret/a' }, token)).body.data).toMatchObject({ allowed: true, reason: 'allowed' })
    expect((await ask({ path: 'other' }, token)).body.data).toMatchObject({ allowed: false, reason: 'no rule', rule: null, candidates: [] })
    expect((await ask({ path: 'anything' })).body.data).toMatchObject({ allowed: true, reason: 'root', root: true })
    expect((await ask({ path: 'x', operation: 'fly' }, token)).status).toBe(400)
    expect((await ask({}, token)).status).toBe(400)
  })

  test('knows which paths of sys need sudo', async () => {
    await writePolicy('rotator', 'path "sys/rotate" { capabilities = ["update"] }\npath "auth/token/accessors" { capabilities = ["list"] }')
    const token = await makeToken(['rotator'])
    expect((await ask({ path: 'sys/rotate', operation: 'update' }, token)).body.data.reason).toBe('no sudo')
    expect((await ask({ path: 'auth/token/accessors', operation: 'list' }, token)).body.data.reason).toBe('no sudo')
  })

  test('says what the gate says: of paths in namespaces, of fields that a write takes from its query, of paths that ask for no token', async () => {
    await node.write('sys/namespaces/team')
    await writePolicy(
      'gate',
      `path "team/sys/auth/*" { capabilities = ["update"] }
       path "sys/policies/acl/*" { capabilities = ["update"] required_parameters = ["limit"] }
       path "sys/health" { capabilities = ["deny"] }`,
    )
    const token = await makeToken(['gate'], { no_default_policy: true })
    await writePolicy('asker', 'path "sys/policies/explain" { capabilities = ["update"] }')
    const asker = await makeToken(['gate', 'asker'], { no_default_policy: true })
    const cases = [
      [{ path: 'team/sys/auth/x', operation: 'update', parameters: { type: 'userpass' } }, 'no sudo'],
      [{ path: 'sys/policies/acl/x', operation: 'update' }, 'parameters'],
      [{ path: 'sys/policies/acl/x', operation: 'update', query: { limit: '5' } }, 'allowed'],
      [{ path: 'sys/policies/acl/x', operation: 'update', query: { other: '5' } }, 'parameters'],
      [{ path: 'sys/health', operation: 'read' }, 'open'],
      [{ path: 'team/nothing', operation: 'read' }, 'no rule'],
    ] as const
    for (const [asked, reason] of cases) {
      const { path, operation } = asked
      expect((await ask(asked, asker)).body.data, path).toMatchObject({ reason, allowed: reason === 'allowed' || reason === 'open' })
      const { status } = await node.ask({
        path,
        operation,
        method: operation === 'update' ? 'POST' : 'GET',
        token,
        ...('parameters' in asked ? { body: asked.parameters } : {}),
        ...('query' in asked ? { query: asked.query } : {}),
      })
      expect(status === 403, `${path} ${reason}`).toBe(reason !== 'allowed' && reason !== 'open')
    }
  })

  test('all of it at once, for interfaces', async () => {
    await writePolicy(
      'team',
      'path "a" { capabilities = ["read"] } path "b/*" { capabilities = ["list"] } path "c/+/d" { capabilities = ["deny"] }',
    )
    const token = await makeToken(['team'])
    const { data } = (await node.read('sys/internal/ui/resultant-acl', token)).body
    expect(data.root).toBe(false)
    expect(data.exact_paths).toMatchObject({ a: { capabilities: ['read'] } })
    expect(data.glob_paths).toMatchObject({ 'b/': { capabilities: ['list'] }, 'c/+/d': { capabilities: ['deny'] } })
    expect((await node.read('sys/internal/ui/resultant-acl')).body.data).toEqual({ root: true, exact_paths: {}, glob_paths: {} })
  })
})

describe('roles', () => {
  test('are written, changed in part, listed and deleted', async () => {
    const body = { policies: 'a,b', entity_ids: ['e-1'], description: 'why' }
    expect((await node.write('sys/roles/Ops', body)).status).toBe(204)
    expect((await node.write('sys/roles/dev', { policies: ['a'] })).status).toBe(204)
    expect((await node.write('sys/roles/ops', { group_ids: ['g-1'] })).status).toBe(204)
    expect((await node.read('sys/roles/ops')).body.data).toMatchObject({
      name: 'ops',
      policies: ['a', 'b'],
      entity_ids: ['e-1'],
      group_ids: ['g-1'],
      description: 'why',
      modified: expect.stringMatching(/^\d{4}-/),
    })
    expect((await node.list('sys/roles')).body.data.keys).toEqual(['dev', 'ops'])
    expect(
      (await node.ask({ operation: 'list', method: 'LIST', path: 'sys/roles/', query: { after: 'dev', limit: '1' } })).body.data.keys,
    ).toEqual(['ops'])
    expect((await node.remove('sys/roles/ops')).status).toBe(204)
    expect((await node.read('sys/roles/ops')).status).toBe(404)
  })

  test('reach whoever logs in as a member, by entity and by group, with templates filled, until they are gone', async () => {
    await node.write('sys/auth/userpass', { type: 'userpass' })
    await node.write('auth/userpass/users/alice', { password: 'right' })
    const { auth } = (
      await node.ask({ operation: 'update', method: 'POST', path: 'auth/userpass/login/alice', token: null, body: { password: 'right' } })
    ).body
    const token = auth.client_token as string
    await node.write(`identity/entity/id/${auth.entity_id}`, { metadata: { team: 'red' } })
    const group = (await node.write('identity/group', { name: 'ops', member_entity_ids: [auth.entity_id] })).body.data.id as string
    await writePolicy('home', 'path "home/{{identity.entity.metadata.team}}/{{identity.groups.names.ops.id}}" { capabilities = ["read"] }')
    await writePolicy('duty', readRule('duty'))
    const allowed = async (path: string) => (await node.write('sys/policies/explain', { path }, token)).body.data.allowed as boolean
    expect(await allowed('duty')).toBe(false)
    await node.write('sys/roles/home', { policies: ['home'], entity_ids: [auth.entity_id] })
    await node.write('sys/roles/duty', { policies: ['duty'], group_ids: [group] })
    expect([await allowed('duty'), await allowed(`home/red/${group}`), await allowed(`home/blue/${group}`)]).toEqual([true, true, false])
    await node.remove(`identity/group/id/${group}`)
    await node.remove('sys/roles/home')
    expect([await allowed('duty'), await allowed(`home/red/${group}`)]).toEqual([false, false])
    expect((await node.read('sys/roles/duty')).body.data.group_ids).toEqual([])
  })

  test('wrong ones are refused', async () => {
    expect((await node.write('sys/roles/x', {})).status).toBe(400)
    expect((await node.write('sys/roles/x', { policies: ['root'] })).status).toBe(400)
    expect((await node.write('sys/roles/x', { policies: [] })).status).toBe(400)
  })
})

describe('a denial', () => {
  test('never says whether the path, the mount or the route exists', async () => {
    await node.write('sys/mounts/kv', { type: 'kv', options: { version: '2' } })
    await node.write('kv/data/there', { data: { x: 1 } })
    const token = await makeToken(['default'])
    const answers = new Set<string>()
    const paths = ['kv/data/there', 'kv/data/missing', 'kv/nonsense', 'nowhere/at/all', 'sys/nonsense', 'sys/raw/x', 'auth/none/login']
    for (const path of paths) {
      for (const operation of ['read', 'update', 'patch', 'delete', 'list'] as const) {
        const { status, body } = await node.ask({ operation, path: operation === 'list' ? `${path}/` : path, token, body: {} })
        answers.add(JSON.stringify([status, body.errors]))
      }
    }
    expect([...answers]).toEqual([JSON.stringify([403, ['1 error occurred:\n\t* permission denied\n\n']])])
  })
})

describe('paths that need sudo (api.md section 2), of what stands', () => {
  test.each<[operation: 'read' | 'update' | 'list' | 'delete', path: string]>([
    ['list', 'auth/token/accessors/'],
    ['read', 'sys/audit'],
    ['update', 'sys/audit/x'],
    ['update', 'sys/auth/x'],
    ['delete', 'sys/auth/x'],
    ['update', 'sys/remount'],
    ['update', 'sys/rotate'],
    ['update', 'sys/seal'],
    ['update', 'sys/step-down'],
  ])('%s %s', async (operation, path) => {
    await writePolicy('weak', `path "${path}" { capabilities = ["create", "read", "update", "delete", "list"] }`)
    await writePolicy('strong', `path "${path}" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }`)
    const reason = async (policy: string) =>
      (await node.write('sys/policies/explain', { path, operation }, await makeToken([policy]))).body.data.reason
    expect([await reason('weak'), await reason('strong')]).toEqual(['no sudo', 'allowed'])
    expect((await node.ask({ operation, path, token: await makeToken(['weak']), body: {} })).status).toBe(403)
  })
})
