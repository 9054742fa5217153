import { hashSync } from '@node-rs/bcrypt'
import { beforeEach, describe, expect, test } from 'vitest'
import { openHouse, type HouseNode } from '#test/support/core-house.ts'

let house: Awaited<ReturnType<typeof openHouse>>
let node: HouseNode
beforeEach(async () => {
  house = await openHouse()
  node = house.node
  await node.write('sys/auth/userpass', { type: 'userpass' })
  await user('alice', { password: 'right', token_policies: ['app'] })
})

const user = (name: string, body: Record<string, unknown>) => node.write(`auth/userpass/users/${name}`, body)
const login = (name: string, password: unknown, over = {}) =>
  node.ask({ operation: 'update', method: 'POST', path: `auth/userpass/login/${name}`, token: null, body: { password }, ...over })
const wrong = { errors: ['invalid username or password'] }

describe('a login', () => {
  test('answers a token with the policies of the user', async () => {
    const { status, body } = await login('alice', 'right')
    expect(status).toBe(200)
    expect(body.auth).toMatchObject({
      policies: ['app', 'default'],
      token_policies: ['app', 'default'],
      metadata: { username: 'alice' },
      orphan: true,
      renewable: true,
      token_type: 'service',
      lease_duration: 2_764_800,
    })
    const { data } = (await node.read('auth/token/lookup-self', body.auth.client_token)).body
    expect(data).toMatchObject({ display_name: 'userpass-alice', path: 'auth/userpass/login/alice', meta: { username: 'alice' } })
  })

  test('is one entry of the log', async () => {
    const before = house.cluster.node(0).status().applied
    await login('alice', 'right')
    expect(house.cluster.node(0).status().applied - before).toBe(1)
  })

  test('with a wrong password, or of a user that does not exist, is answered alike', async () => {
    const known = await login('alice', 'wrong')
    const unknown = await login('nobody', 'wrong')
    expect([known.status, known.body]).toEqual([400, wrong])
    expect([unknown.status, unknown.body]).toEqual([400, wrong])
    expect((await login('alice', '')).body).toEqual({ errors: ['missing password'] })
    expect((await login('alice', undefined)).body).toEqual({ errors: ['missing password'] })
    expect((await login('alice', 'x'.repeat(5_000))).status).toBe(400)
  })

  test('asks nothing of letter case', async () => {
    expect((await login('ALICE', 'right')).body.auth.metadata).toEqual({ username: 'alice' })
    expect((await login('alice', 'RIGHT')).status).toBe(400)
    await user('BOB', { password: 'b' })
    expect((await login('bob', 'b')).status).toBe(200)
    expect((await node.list('auth/userpass/users')).body.data.keys).toEqual(['alice', 'bob'])
  })

  test('with a bcrypt hash that the operator brought', async () => {
    const hash = hashSync('old', { cost: 4 })
    expect((await user('carol', { password_hash: hash })).status).toBe(204)
    expect((await login('carol', 'old')).status).toBe(200)
    expect((await login('carol', 'new')).body).toEqual(wrong)
    for (const bad of ['', 'secret', hash.slice(0, -1), hash.replace('$04$', '$31$')]) {
      const { status, text } = await user('dave', { password_hash: bad })
      expect(status).toBe(400)
      expect(text).not.toContain('secret')
    }
    expect((await user('dave', { password: 'x', password_hash: hash })).status).toBe(400)
  })

  test('can be wrapped', async () => {
    const { body } = await login('alice', 'right', { wrapTtlSeconds: 60 })
    expect(body.auth).toBeNull()
    const unwrapped = await node.write('sys/wrapping/unwrap', {}, body.wrap_info.token)
    expect(unwrapped.body.auth).toMatchObject({ policies: ['app', 'default'], accessor: body.wrap_info.wrapped_accessor })
  })

  test('from elsewhere is refused, and its token is', async () => {
    await user('alice', { token_bound_cidrs: '10.0.0.0/8' })
    expect((await login('alice', 'right')).body).toEqual({ errors: ['permission denied'] })
    const { body } = await login('alice', 'right', { clientAddress: '10.1.2.3' })
    const token = body.auth.client_token
    expect((await node.read('auth/token/lookup-self', token)).status).toBe(403)
    expect((await node.ask({ path: 'auth/token/lookup-self', token, clientAddress: '10.9.9.9' })).status).toBe(200)
  })

  test('never gives root', async () => {
    for (const token_policies of ['root', 'ROOT', 'app,Root ']) {
      await user('alice', { token_policies })
      expect((await login('alice', 'right')).body.errors).toEqual(['auth methods cannot create root tokens'])
    }
  })

  test('records neither password nor token in the audit', async () => {
    await login('alice', 'right')
    const [request] = node.audit.filter((record) => record.request?.path === 'auth/userpass/login/alice')
    expect(request).toMatchObject({ type: 'request', request: { data: { password: 'right' } } }) // Hashed by the broker, which this house has none of.
  })
})

describe('what the user says of tokens', () => {
  test('is kept, shown and applied', async () => {
    const said = {
      token_ttl: '10m',
      token_max_ttl: 3_600,
      token_explicit_max_ttl: '2h',
      token_num_uses: 3,
      token_no_default_policy: true,
      token_policies: ['b', 'a'],
      token_type: 'service',
    }
    await user('alice', said)
    expect((await node.read('auth/userpass/users/alice')).body.data).toEqual({
      token_bound_cidrs: [],
      token_explicit_max_ttl: 7_200,
      token_max_ttl: 3_600,
      token_no_default_policy: true,
      token_num_uses: 3,
      token_period: 0,
      token_policies: ['b', 'a'],
      token_ttl: 600,
      token_type: 'service',
    })
    expect((await login('alice', 'right')).body.auth).toMatchObject({ lease_duration: 600, num_uses: 3, policies: ['a', 'b'] })
  })

  test('can be said by its old names, of which the new one wins', async () => {
    await user('alice', { policies: 'x', ttl: 60, max_ttl: 120, bound_cidrs: '127.0.0.1' })
    const read = async () => (await node.read('auth/userpass/users/alice')).body.data
    expect(await read()).toMatchObject({ token_policies: ['x'], token_ttl: 60, token_max_ttl: 120, token_bound_cidrs: ['127.0.0.1'] })
    await user('alice', { policies: 'x', token_policies: 'y' })
    expect(await read()).toMatchObject({ token_policies: ['y'], token_ttl: 60 })
  })

  test.each([
    [{ token_ttl: -1 }, "'token_ttl' cannot be negative"],
    [{ token_ttl: 100, token_max_ttl: 50 }, "'token_ttl' cannot be greater than 'token_max_ttl'"],
    [{ token_type: 'odd' }, `invalid 'token_type' value "odd"`],
    [{ token_type: 'batch', token_period: '1h' }, "'token_type' cannot be 'batch' or 'default_batch' when set to generate periodic tokens"],
    [{ token_bound_cidrs: 'nowhere' }, 'bound CIDR expected an address or address/bits, got "nowhere"'],
  ])('is refused where it makes no sense: %j', async (body, error) => {
    const answer = await user('alice', body)
    expect([answer.status, answer.body.errors]).toEqual([400, [error]])
  })

  test('is capped by the mount, with a warning', async () => {
    await node.write('sys/auth/userpass/tune', { max_lease_ttl: '1h' })
    await user('alice', { token_ttl: '10h' })
    const { body } = await login('alice', 'right')
    expect(body.auth.lease_duration).toBe(3_600)
    expect(body.warnings).toEqual([expect.stringContaining('exceeded the effective max_ttl')])
  })
})

describe('users', () => {
  test('are listed in pages', async () => {
    for (const name of ['b', 'c', 'd']) await user(name, { password: 'x' })
    const page = (query: Record<string, string>) => node.ask({ operation: 'list', path: 'auth/userpass/users/', query })
    expect((await page({ after: 'alice', limit: '2' })).body.data.keys).toEqual(['b', 'c'])
    expect((await page({ after: 'd' })).status).toBe(404)
  })

  test('change their password and policies by routes of their own', async () => {
    expect((await node.write('auth/userpass/users/Alice/password', { password: 'next' })).status).toBe(204)
    expect((await login('alice', 'right')).status).toBe(400)
    expect((await login('alice', 'next')).body.auth.policies).toEqual(['app', 'default'])
    expect((await node.write('auth/userpass/users/alice/policies', { policies: 'other' })).status).toBe(204)
    expect((await login('alice', 'next')).body.auth.policies).toEqual(['default', 'other'])
    for (const path of ['password', 'policies']) {
      const answer = await node.write(`auth/userpass/users/nobody/${path}`, { password: 'x', policies: 'y' })
      expect([answer.status, answer.body.errors]).toEqual([400, ['username does not exist']])
    }
    expect((await node.write('auth/userpass/users/alice/password', {})).body.errors).toEqual(['missing password'])
  })

  test('need a password to begin with, and show none', async () => {
    expect((await user('new', { token_policies: 'x' })).body.errors).toEqual(['missing password'])
    expect((await user('new', { password: '' })).body.errors).toEqual(['missing password'])
    expect((await node.read('auth/userpass/users/new')).status).toBe(404)
    const { text } = await node.read('auth/userpass/users/alice')
    expect(text).not.toMatch(/password|argon|hash/)
  })

  test('explain their fields', async () => {
    const { body } = await node.ask({ operation: 'help', path: 'auth/userpass/users/alice' })
    expect(body.help).toMatch(/token_bound_cidrs/)
    expect((await node.ask({ operation: 'help', path: 'auth/userpass/login/alice' })).status).toBe(200)
  })
})

describe('renewing a login', () => {
  const renew = (token: string, body = {}) => node.write('auth/token/renew-self', body, token)
  const made = async (): Promise<string> => (await login('alice', 'right')).body.auth.client_token

  test('follows what the user says by now', async () => {
    await user('alice', { token_ttl: 60, token_max_ttl: 600 })
    const token = await made()
    await user('alice', { token_ttl: 120 })
    expect((await renew(token)).body.auth.lease_duration).toBe(120)
    expect((await renew(token, { increment: 300 })).body.auth.lease_duration).toBe(300)
    const capped = await renew(token, { increment: '1h' })
    expect(capped.body.auth.lease_duration).toBe(600)
    expect(capped.body.warnings).toHaveLength(1)
    await user('alice', { token_period: 30 })
    expect((await renew(token, { increment: 300 })).body.auth.lease_duration).toBe(30)
  })

  test('ends when the user is deleted, or has other policies', async () => {
    const token = await made()
    await user('alice', { token_policies: 'more' })
    expect((await renew(token)).body.errors).toEqual(['policies have changed, not renewing'])
    await user('alice', { token_policies: 'App' })
    expect((await renew(token)).status).toBe(200)
    await node.remove('auth/userpass/users/alice')
    expect((await renew(token)).body.errors).toEqual(['the user no longer exists, not renewing'])
    expect((await node.read('auth/token/lookup-self', token)).status).toBe(200)
  })
})

describe('lockout', () => {
  const fail = async (name: string, times: number): Promise<void> => {
    for (let n = 0; n < times; n += 1) expect((await login(name, 'wrong')).body).toEqual(wrong)
  }
  const denied = { errors: ['permission denied'] }
  const accessor = async (): Promise<string> => (await node.read('sys/auth')).body.data['userpass/'].accessor

  test.each(['alice', 'nobody'])('locks %s after five wrong tries, for a quarter of an hour', async (name) => {
    await fail(name, 5)
    expect((await login(name, 'wrong')).body).toEqual(denied)
    expect((await login(name, 'right')).body).toEqual(denied)
    house.clock.advance(899_000)
    expect((await login(name.toUpperCase(), 'right')).body).toEqual(denied)
    house.clock.advance(2_000)
    expect((await login(name, 'wrong')).body).toEqual(wrong)
    expect((await login('alice', 'right')).status).toBe(200)
  })

  test('forgets wrong tries after a right one, and after a while', async () => {
    await fail('alice', 4)
    expect((await login('alice', 'right')).status).toBe(200)
    await fail('alice', 4)
    house.clock.advance(901_000)
    await fail('alice', 4)
    expect((await login('alice', 'right')).status).toBe(200)
  })

  test('lets no more than five of any number of tries at once know whether they were right', async () => {
    const tries = await Promise.all(Array.from({ length: 40 }, (_, n) => login('alice', n === 39 ? 'right' : `wrong ${n}`)))
    expect(tries.filter(({ body }) => body.errors?.[0] === wrong.errors[0])).toHaveLength(5)
    expect(tries.filter(({ status }) => status === 403)).toHaveLength(35)
  })

  test('shows who is locked, and unlocks', async () => {
    await fail('alice', 5)
    await fail('nobody', 5)
    const mount = await accessor()
    const { data } = (await node.read('sys/locked-users')).body
    expect(data).toEqual({
      by_namespace: [
        {
          namespace_id: 'root',
          namespace_path: '',
          counts: 2,
          mount_accessors: [{ mount_accessor: mount, counts: 2, alias_identifiers: ['alice', 'nobody'] }],
        },
      ],
      total: 2,
    })
    expect((await node.write(`sys/locked-users/${mount}/unlock/alice`)).status).toBe(204)
    expect((await login('alice', 'right')).status).toBe(200)
    expect((await login('nobody', 'right')).body).toEqual(denied)
    expect((await node.read('sys/locked-users', undefined, { mount_accessor: mount })).body.data.total).toBe(1)
    expect((await node.write('sys/locked-users/none/unlock/alice')).status).toBe(400)
  })

  test('is tuned by the mount, and turned off', async () => {
    await node.write('sys/auth/userpass/tune', { user_lockout_config: { lockout_threshold: '2', lockout_duration: '1m' } })
    expect((await node.read('sys/auth/userpass/tune')).body.data).toMatchObject({
      user_lockout_threshold: 2,
      user_lockout_duration: 60,
      user_lockout_counter_reset_duration: 900,
      user_lockout_disable: false,
    })
    await fail('alice', 2)
    expect((await login('alice', 'right')).body).toEqual(denied)
    house.clock.advance(61_000)
    await node.write('sys/auth/userpass/tune', { user_lockout_config: { lockout_disable: true } })
    await fail('alice', 10)
    expect((await login('alice', 'right')).status).toBe(200)
    expect((await node.write('sys/auth/userpass/tune', { user_lockout_config: { lockout_threshold: 0 } })).status).toBe(400)
  })
})

describe('unmounting the method', () => {
  test('ends the tokens of its logins, and their children', async () => {
    await node.write('sys/policies/acl/app', { policy: 'path "auth/token/create" { capabilities = ["update"] }' })
    const token = (await login('alice', 'right')).body.auth.client_token
    const child = (await node.write('auth/token/create', {}, token)).body.auth.client_token
    expect((await node.read('auth/token/lookup-self', child)).status).toBe(200)
    await node.remove('sys/auth/userpass')
    for (const dead of [token, child]) expect((await node.read('auth/token/lookup-self', dead)).status).toBe(403)
    // Deleting them is housekeeping: only root's own is left.
    await node.write('auth/token/tidy')
    expect((await node.list('auth/token/accessors')).body.data.keys).toHaveLength(1)
    await node.write('sys/auth/userpass', { type: 'userpass' })
    expect((await node.read('auth/token/lookup-self', token)).status).toBe(403)
  })

  test('moving it keeps them', async () => {
    const token = (await login('alice', 'right')).body.auth.client_token
    await node.write('sys/remount', { from: 'auth/userpass', to: 'auth/people' })
    expect((await node.write('auth/token/renew-self', {}, token)).status).toBe(200)
  })
})
