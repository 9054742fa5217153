import { beforeEach, describe, expect, test } from 'vitest'
import { openHouse, type HouseNode } from '#test/support/core-house.ts'

let house: Awaited<ReturnType<typeof openHouse>>
let node: HouseNode
beforeEach(async () => {
  house = await openHouse()
  node = house.node
})

const create = async (body: Record<string, unknown> = {}, token?: string) => (await node.write('auth/token/create', body, token)).body
const made = async (body: Record<string, unknown> = {}, token?: string): Promise<string> => (await create(body, token)).auth.client_token

/** A policy that lets its holder make tokens, with sudo where said. */
const allowCreate = (sudo = false) =>
  node.write('sys/policies/acl/maker', {
    policy: `path "auth/token/*" { capabilities = ["create", "read", "update"${sudo ? ', "sudo"' : ''}] }`,
  })

describe('a new token', () => {
  test('has what was asked, and the default policy', async () => {
    const { auth } = await create({ policies: ['b', 'A'], ttl: '1h', meta: { who: 'x' }, display_name: 'for ci', num_uses: 3 })
    expect(auth).toMatchObject({
      policies: ['a', 'b', 'default'],
      lease_duration: 3600,
      renewable: true,
      metadata: { who: 'x' },
      num_uses: 3,
      orphan: false,
      token_type: 'service',
      mfa_requirement: null,
    })
    expect(auth.client_token).toMatch(/^s\.[A-Za-z0-9]{24,}$/)
    const { data } = (await node.write('auth/token/lookup', { token: auth.client_token })).body
    expect(data).toMatchObject({
      id: auth.client_token,
      path: 'auth/token/create',
      display_name: 'token-for-ci',
      ttl: 3600,
      num_uses: 3,
      type: 'service',
    })
  })

  test('of root without policies is root and never expires', async () => {
    expect((await create()).auth).toMatchObject({ policies: ['root'], lease_duration: 0, renewable: false })
  })

  test('has at most what its parent has', async () => {
    await allowCreate()
    const maker = await made({ policies: ['maker', 'extra'] })
    expect((await create({ policies: ['extra'] }, maker)).auth.policies).toEqual(['default', 'extra'])
    expect((await create({}, maker)).auth.policies).toEqual(['default', 'extra', 'maker'])
    expect((await create({ policies: ['beyond'] }, maker)).errors).toEqual(['child policies must be subset of parent'])
    for (const policies of [['root'], ['Root '], ['ROOT', 'extra']]) {
      expect((await create({ policies }, maker)).errors).toEqual(['root tokens may not be created without parent token being root'])
    }
    expect((await create({ policies: ['response-wrapping'] })).errors).toEqual(['cannot assign policy "response-wrapping"'])
  })

  test('has default only where its parent has, unless that is root or has sudo', async () => {
    await allowCreate()
    const [bare, maker] = [await made({ policies: ['maker', 'x'], no_default_policy: true }), await made({ policies: ['maker', 'x'] })]
    await node.write('auth/token/roles/silent', {})
    const policiesOf = async (token: string, body: object, path = 'create') =>
      (await node.write(`auth/token/${path}`, { ...body }, token)).body.auth?.policies
    expect(await policiesOf(bare, {})).toEqual(['maker', 'x'])
    expect(await policiesOf(bare, {}, 'create/silent')).toEqual(['maker', 'x'])
    expect(await policiesOf(bare, { policies: ['x'] })).toEqual(['x'])
    for (const policies of [['default'], ['Default ', 'x']]) {
      expect((await create({ policies }, bare)).errors).toEqual(['child policies must be subset of parent'])
    }
    expect(await policiesOf(maker, { policies: ['x'] })).toEqual(['default', 'x'])
    for (const policies of [['x'], ['default', 'x']]) expect(await policiesOf(maker, { policies, no_default_policy: true })).toEqual(['x'])
    await allowCreate(true)
    expect(await policiesOf(bare, { policies: ['x'] }), 'with sudo').toEqual(['default', 'x'])
    expect(await policiesOf(bare, {}), 'its own').toEqual(['maker', 'x'])
  })

  test.each([
    [{ no_parent: true }, 'root or sudo privileges required to create orphan token'],
    [{ id: 'chosen' }, 'root or sudo privileges required to specify token id'],
    [{ period: '1h' }, 'root or sudo privileges required to create periodic token'],
  ])('needs sudo for %j', async (body, message) => {
    await allowCreate()
    const maker = await made({ policies: ['maker'] })
    expect((await create(body, maker)).errors).toEqual([message])
    await allowCreate(true)
    expect((await create(body, maker)).errors).toBeUndefined()
  })

  test('a limited token makes no children; a TTL is not negative', async () => {
    await allowCreate()
    const limited = await made({ policies: ['maker'], num_uses: 5 })
    expect((await create({}, limited)).errors).toEqual(['restricted use token cannot generate child tokens'])
    expect((await create({ ttl: '-5s' })).errors).toEqual(['ttl must be positive'])
  })

  test('an expiring root token makes no immortal one', async () => {
    const root = await made({ policies: ['root'], ttl: '1h' })
    expect((await create({ policies: ['root'] }, root)).errors).toEqual(['expiring root tokens cannot create non-expiring root tokens'])
  })

  test('lives at most as long as the system allows, with a warning', async () => {
    const body = await create({ policies: ['x'], ttl: '9000h' })
    expect(body.auth.lease_duration).toBe(768 * 3600)
    expect(body.warnings).toEqual([expect.stringContaining('TTL'), 'Policy "x" does not exist'])
  })
})

describe('a child of a token that is bound to addresses', () => {
  const [inside, outside] = ['10.1.2.3', '192.0.2.1']
  const post = async (path: string, token: string | null, body: Record<string, unknown>) =>
    (await node.ask({ operation: 'update', method: 'POST', path, token, body, clientAddress: inside })).body.auth
  const from = async (clientAddress: string, token: string) =>
    (await node.ask({ path: 'auth/token/lookup-self', token, clientAddress })).status
  let bound: string
  beforeEach(async () => {
    await allowCreate(true)
    await node.write('sys/auth/apikey', { type: 'apikey' })
    const made = await node.write('auth/apikey/key', { token_policies: 'maker', token_bound_cidrs: '10.0.0.0/8' })
    bound = (await post('auth/apikey/login', null, { key: made.body.data.key })).client_token
  })

  test.each(['service', 'batch'])('is bound as its parent is, and so are its own: %s', async (type) => {
    const parent = (await post('auth/token/create', bound, {})).client_token
    for (const token of [parent, (await post('auth/token/create', parent, { type })).client_token])
      expect([await from(inside, token), await from(outside, token)]).toEqual([200, 403])
  })

  test('is as its role says, where there is one, and free as an orphan', async () => {
    await node.write('auth/token/roles/free', {})
    for (const made of [
      await post('auth/token/create/free', bound, {}),
      await post('auth/token/create', bound, { no_parent: true }),
      await post('auth/token/create-orphan', bound, {}),
    ])
      expect(await from(outside, made.client_token)).toBe(200)
  })
})

describe('time', () => {
  test('an expired token is like an unknown one', async () => {
    const token = await made({ policies: ['x'], ttl: '10s' })
    expect((await node.read('auth/token/lookup-self', token)).body.data.ttl).toBe(10)
    house.clock.advance(10_001)
    expect(await node.read('auth/token/lookup-self', token)).toMatchObject({ status: 403, body: { errors: ['permission denied'] } })
  })

  test('renewing prolongs up to the explicit maximum', async () => {
    const token = await made({ policies: ['x'], ttl: '10s', explicit_max_ttl: '15s' })
    house.clock.advance(8_000)
    const renewed = await node.write('auth/token/renew-self', { increment: '10s' }, token)
    expect(renewed.body.auth).toMatchObject({ lease_duration: 7, client_token: token })
    expect(renewed.body.warnings).toHaveLength(1)
    expect((await node.write('auth/token/renew-self', {}, house.rootToken)).status).toBe(400)
    house.clock.advance(8_000)
    expect((await node.write('auth/token/renew-self', {}, token)).status).toBe(403)
  })

  test('by another token or accessor', async () => {
    const { auth } = await create({ policies: ['x'], ttl: '100s' })
    expect((await node.write('auth/token/renew', { token: auth.client_token, increment: 50 })).body.auth.lease_duration).toBe(50)
    const byAccessor = await node.write('auth/token/renew-accessor', { accessor: auth.accessor, increment: 60 })
    expect(byAccessor.body.auth).toMatchObject({ lease_duration: 60, client_token: '' })
    const looked = await node.write('auth/token/lookup-accessor', { accessor: auth.accessor })
    expect(looked.body.data).toMatchObject({ id: '', accessor: auth.accessor })
    expect((await node.write('auth/token/lookup-accessor', { accessor: 'none' })).status).toBe(403)
  })
})

describe('revoking', () => {
  test('takes all below with it, and their cubbyholes', async () => {
    await allowCreate()
    const parent = await made({ policies: ['maker'] })
    const child = await made({}, parent)
    await node.write('cubbyhole/own', { x: 1 }, child)
    expect((await node.read('cubbyhole/own', child)).body.data).toEqual({ x: 1 })
    expect((await node.read('cubbyhole/own', parent)).status).toBe(404)
    expect((await node.write('auth/token/revoke', { token: parent })).status).toBe(204)
    for (const token of [parent, child]) expect((await node.read('auth/token/lookup-self', token)).status).toBe(403)
    const cubbyholes = (await node.read('sys/mounts/cubbyhole')).body.data.uuid as string
    const left = await house.at(0).read({ kind: 'linearizable' }, (view) => view.list({ namespace: 'root', mount: cubbyholes }, ''))
    expect(left).toEqual([])
    expect((await node.write('auth/token/revoke', { token: parent })).status).toBe(204)
  })

  test('an orphan-making revocation leaves the children', async () => {
    await allowCreate()
    const parent = await made({ policies: ['maker'] })
    const child = await made({}, parent)
    expect((await node.write('auth/token/revoke-orphan', { token: parent }, child)).status).toBe(403)
    expect((await node.write('auth/token/revoke-orphan', { token: parent })).status).toBe(204)
    expect((await node.read('auth/token/lookup-self', parent)).status).toBe(403)
    expect((await node.read('auth/token/lookup-self', child)).body.data.orphan).toBe(true)
  })

  test('self, and by accessor', async () => {
    const one = await create({ policies: ['x'] })
    expect((await node.write('auth/token/revoke-self', {}, one.auth.client_token)).status).toBe(204)
    expect((await node.read('auth/token/lookup-self', one.auth.client_token)).status).toBe(403)
    const two = await create({ policies: ['x'] })
    expect((await node.write('auth/token/revoke-accessor', { accessor: two.auth.accessor })).status).toBe(204)
    expect((await node.read('auth/token/lookup-self', two.auth.client_token)).status).toBe(403)
    expect((await node.write('auth/token/revoke-accessor', {})).status).toBe(400)
  })

  test('accessors are listed to sudo only', async () => {
    const { auth } = await create({ policies: ['x'] })
    expect((await node.list('auth/token/accessors')).body.data.keys).toContain(auth.accessor)
    await allowCreate()
    expect((await node.list('auth/token/accessors', await made({ policies: ['maker'] }))).status).toBe(403)
  })
})

test('a limited token ends with its last use, over the real barrier', async () => {
  const token = await made({ policies: ['x'], num_uses: 2 })
  expect((await node.read('auth/token/lookup-self', token)).body.data.num_uses).toBe(1)
  expect((await node.read('nowhere', token)).status).toBe(403)
  expect(await node.read('auth/token/lookup-self', token)).toMatchObject({ status: 403, body: { errors: ['permission denied'] } })
})

test('roles say what their tokens get', async () => {
  await node.write('auth/token/roles/ci', { allowed_policies: 'one,two', orphan: true, token_period: '1h' })
  expect((await node.read('auth/token/roles/ci')).body.data).toMatchObject({
    allowed_policies: ['one', 'two'],
    orphan: true,
    token_period: 3600,
  })
  expect((await node.list('auth/token/roles')).body.data.keys).toEqual(['ci'])
  const { auth } = (await node.write('auth/token/create/ci', { policies: ['one'] })).body
  expect(auth).toMatchObject({ policies: ['default', 'one'], orphan: true, lease_duration: 3600 })
  expect((await node.write('auth/token/create/ci', { policies: ['three'] })).status).toBe(400)
  expect((await node.write('auth/token/create/ci', { policies: ['root'] })).status).toBe(400)
  expect((await node.write('auth/token/create/none')).status).toBe(400)
  expect((await node.remove('auth/token/roles/ci')).status).toBe(204)
})

describe('a renewal asks the role that the token was made by', () => {
  const role = (body: Record<string, unknown>) => node.write('auth/token/roles/ci', { allowed_policies: 'one', ...body })
  const byRole = async (body: Record<string, unknown> = {}): Promise<string> =>
    (await node.write('auth/token/create/ci', body)).body.auth.client_token
  const renew = async (token: string) => (await node.write('auth/token/renew-self', { increment: '1h' }, token)).body

  test('which may be gone', async () => {
    await role({ token_period: '1h' })
    const [token, { accessor }] = [await byRole(), (await node.write('auth/token/create/ci')).body.auth]
    expect((await renew(token)).auth.lease_duration).toBe(3_600)
    await node.remove('auth/token/roles/ci')
    const refused = { status: 400, body: { errors: ['original token role "ci" could not be found, not renewing'] } }
    for (const [path, body] of [
      ['renew-self', {}],
      ['renew', { token }],
      ['renew-accessor', { accessor }],
    ] as const)
      expect(await node.write(`auth/token/${path}`, body, path === 'renew-self' ? token : house.rootToken), path).toMatchObject(refused)
  })

  test('for its period, as it is now', async () => {
    await role({ token_period: '1h' })
    const token = await byRole()
    await role({ token_period: '2h' })
    expect((await renew(token)).auth.lease_duration).toBe(7_200)
    expect((await node.read('auth/token/lookup-self', token)).body.data.period).toBe(7_200)
    await role({ token_period: 0 })
    house.clock.advance(3_600_000)
    const renewed = (await node.write('auth/token/renew-self', { increment: '9000h' }, token)).body.auth
    expect(renewed.lease_duration, 'up to its end, as without a period').toBe(767 * 3_600)
  })

  test('for the longest that its tokens live, which shortens what the token was given and never lengthens it', async () => {
    await role({ token_explicit_max_ttl: '10h' })
    const [token, less] = [await byRole({ ttl: '1h' }), await byRole({ ttl: '1h', explicit_max_ttl: '30m' })]
    await role({ token_explicit_max_ttl: 0 })
    expect([(await renew(token)).auth.lease_duration, (await renew(less)).auth.lease_duration]).toEqual([3_600, 1_800])
    await role({ token_explicit_max_ttl: '20m' })
    expect((await renew(token)).auth.lease_duration).toBe(1_200)
    house.clock.advance(1_199_000)
    expect((await renew(token)).auth.lease_duration).toBe(1)
  })

  test('in its own namespace, wherever that is asked for', async () => {
    await node.write('sys/namespaces/team')
    await node.write('sys/policies/acl/one', { policy: 'path "team/*" { capabilities = ["create", "read", "update", "sudo"] }' })
    await role({ token_period: '1h' })
    await node.write('team/auth/token/roles/ci', { token_period: '2h' })
    const token = await byRole()
    const renewBelow = () => node.write('team/auth/token/renew-self', {}, token)
    expect((await renewBelow()).body.auth.lease_duration).toBe(3_600)
    await node.remove('auth/token/roles/ci')
    expect((await renewBelow()).status).toBe(400)
  })
})

describe('what a role must not give', () => {
  const role = (name: string, body: Record<string, unknown>) => node.write(`auth/token/roles/${name}`, body)

  test('a token without an end: negative durations are refused', async () => {
    for (const key of ['token_period', 'period', 'token_explicit_max_ttl', 'explicit_max_ttl', 'token_num_uses'])
      expect((await role('ci', { [key]: -5 })).status, key).toBe(400)
    expect((await node.write('auth/token/create/ci')).status).toBe(400)
  })

  test('more uses than it says, whatever is asked', async () => {
    await role('once', { allowed_policies: 'one', token_num_uses: 2 })
    expect((await node.read('auth/token/roles/once')).body.data.token_num_uses).toBe(2)
    const uses = async (num_uses?: number) =>
      (await node.write('auth/token/create/once', num_uses === undefined ? {} : { num_uses })).body.auth.num_uses
    expect([await uses(), await uses(0), await uses(1), await uses(9)]).toEqual([2, 2, 1, 2])
    expect((await node.write('auth/token/create/once', { num_uses: -1 })).status).toBe(400)
  })

  test('the policy by which wrapping tokens are known, in any letter case', async () => {
    expect((await role('wrap', { allowed_policies: 'Response-Wrapping' })).status).toBe(400)
    await role('any', { allowed_policies_glob: 'response*' })
    expect((await node.write('auth/token/create/any', { policies: ['RESPONSE-wrapping'] })).status).toBe(400)
  })

  test('policies that its caller has not, where it says nothing of policies', async () => {
    await allowCreate()
    await node.write('auth/token/roles/silent', { orphan: true, token_period: '1h' })
    await node.write('auth/token/roles/others', { disallowed_policies: 'admin' })
    const caller = await made({ policies: ['maker', 'app'] })
    const by = async (name: string, body: Record<string, unknown>) => (await node.write(`auth/token/create/${name}`, body, caller)).body
    expect((await by('silent', { policies: ['admin'] })).errors).toEqual(['child policies must be subset of parent'])
    expect((await by('silent', { policies: ['root'] })).errors).toEqual(['root tokens may not be created from a role'])
    expect((await by('silent', { policies: ['app'] })).auth).toMatchObject({
      policies: ['app', 'default'],
      orphan: true,
      lease_duration: 3_600,
    })
    expect((await by('silent', {})).auth.policies).toEqual(['app', 'default', 'maker'])
    expect((await by('others', { policies: ['admin'] })).errors[0]).toMatch(/must be subset of the role's allowed policies/)
    expect((await by('others', { policies: ['more'] })).auth.policies).toEqual(['default', 'more'])
    // Root may give what it likes, and by a role never root.
    expect((await node.write('auth/token/create/silent', { policies: ['admin'] })).body.auth.policies).toEqual(['admin', 'default'])
    expect((await node.write('auth/token/create/silent')).body.auth.policies).toEqual(['default'])
    expect((await node.write('auth/token/create/silent', { policies: ['Root'] })).status).toBe(400)
    await allowCreate(true)
    expect((await by('silent', { policies: ['admin'] })).auth.policies, 'with sudo').toEqual(['admin', 'default'])
  })

  test('the default policy where it says so, unless its lists allow that by name', async () => {
    await allowCreate()
    const caller = await made({ policies: ['maker', 'app'] })
    const by = async (body: Record<string, unknown>) => (await node.write('auth/token/create/ci', body, caller)).body
    const refused = /must be subset of the role's allowed policies/
    for (const list of [{ allowed_policies: 'app' }, { allowed_policies_glob: 'app*' }]) {
      await node.remove('auth/token/roles/ci')
      await role('ci', { ...list, token_no_default_policy: true })
      expect((await by({ policies: ['app'] })).auth.policies).toEqual(['app'])
      for (const policies of [['default'], ['app', 'Default']]) expect((await by({ policies })).errors?.[0]).toMatch(refused)
    }
    await role('ci', { token_no_default_policy: false })
    expect((await by({ policies: ['app'] })).auth.policies).toEqual(['app', 'default'])
    expect((await by({ policies: ['app'], no_default_policy: true })).auth.policies).toEqual(['app'])
    await role('ci', { allowed_policies: 'app,default', token_no_default_policy: true })
    expect((await by({})).auth.policies).toEqual(['app', 'default'])
    expect((await by({ policies: ['app'] })).auth.policies).toEqual(['app'])
    expect((await by({ policies: ['default'] })).auth.policies).toEqual(['default'])
    for (const policies of [[], ['app', 'default']])
      expect((await by({ policies, no_default_policy: true })).auth.policies).toEqual(['app'])
  })

  test('what it disallows, also of what its caller has', async () => {
    await allowCreate()
    await role('others', { disallowed_policies: 'admin' })
    const by = async (caller: string, body: Record<string, unknown> = {}) =>
      (await node.write('auth/token/create/others', body, caller)).body
    expect((await by(await made({ policies: ['maker', 'app'] }))).auth.policies).toEqual(['app', 'default', 'maker'])
    const admin = await made({ policies: ['maker', 'admin'], no_default_policy: true })
    expect((await by(admin)).errors[0]).toMatch(/must be subset of the role's allowed policies/)
    expect((await by(admin, { policies: ['maker'] })).auth.policies).toEqual(['default', 'maker'])
    expect((await node.write('auth/token/create/others')).body.auth.policies, 'of root').toEqual(['default'])
    await role('others', { token_no_default_policy: true })
    expect((await by(await made({ policies: ['maker', 'app'] }))).auth.policies).toEqual(['app', 'maker'])
  })

  test('a longer period than was asked for', async () => {
    await role('long', { token_period: '24h' })
    const period = async (body: Record<string, unknown>) => (await node.write('auth/token/create/long', body)).body.auth.lease_duration
    expect([await period({}), await period({ period: '1h' }), await period({ period: '48h' })]).toEqual([86_400, 3_600, 86_400])
  })

  test('an address that is none is refused where it is written', async () => {
    expect((await role('net', { token_bound_cidrs: '10.0.0.0/8,nowhere' })).status).toBe(400)
  })
})

test('what a token carries is bounded: entries are cached by their number', async () => {
  const refused = async (body: Record<string, unknown>) => (await node.write('auth/token/create', body)).status
  expect(await refused({ meta: { k: 'x'.repeat(513) } })).toBe(400)
  expect(await refused({ meta: { ['k'.repeat(129)]: 'x' } })).toBe(400)
  expect(await refused({ policies: Array.from({ length: 257 }, (_, i) => `p${i}`) })).toBe(400)
  expect(await refused({ policies: ['p'.repeat(1_025)] })).toBe(400)
  expect(await refused({ display_name: 'd'.repeat(513) })).toBe(400)
  expect(await refused({ meta: { k: 'x'.repeat(512) }, policies: ['p'.repeat(1_024)], display_name: 'd'.repeat(500) })).toBe(200)
})

test('a name is not given again while children of its last bearer are still to be deleted: they would live again', async () => {
  await node.write('sys/policies/acl/maker', { policy: 'path "auth/token/create" { capabilities = ["update"] }' })
  const parent = await made({ id: 'chosen', policies: ['maker'] })
  const children = await Promise.all(Array.from({ length: 300 }, () => made({}, parent)))
  await node.write('auth/token/revoke', { token: parent })
  expect((await node.write('auth/token/create', { id: 'chosen', policies: ['maker'] })).status).toBe(400)
  const statuses = await Promise.all(children.map(async (child) => (await node.read('auth/token/lookup-self', child)).status))
  expect(new Set(statuses)).toEqual(new Set([403]))
  for (let step = 0; step < 3; step += 1) await node.write('auth/token/tidy')
  expect((await node.write('auth/token/create', { id: 'chosen', policies: ['maker'] })).status).toBe(200)
})

test('a token is renewed by the limits of its own namespace, wherever that is asked for', async () => {
  await node.write('sys/namespaces/team')
  await node.write('team/sys/auth/token/tune', { max_lease_ttl: '100000h', default_lease_ttl: '90000h' })
  await node.write('sys/policies/acl/team', { policy: 'path "team/*" { capabilities = ["create", "read", "update", "sudo"] }' })
  const token = await made({ policies: ['team'], ttl: '1h' })
  const renewed = await node.write('team/auth/token/renew-self', { increment: '90000h' }, token)
  expect(renewed.body.auth.lease_duration).toBe(768 * 3_600)
  const below = (await node.write('team/auth/token/create', { ttl: '1h' })).body.auth.client_token
  const own = await node.ask({
    operation: 'update',
    namespace: 'team',
    path: 'auth/token/renew-self',
    body: { increment: '90000h' },
    token: below,
  })
  expect(own.body.auth.lease_duration).toBe(90_000 * 3_600)
})
