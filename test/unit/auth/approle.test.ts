import { beforeEach, describe, expect, test } from 'vitest'
import { approleEngineStorage } from './approle-storage.ts'
import { openHouse, type HouseNode } from '#test/support/core-house.ts'

let house: Awaited<ReturnType<typeof openHouse>>
let node: HouseNode
let roleId: string
beforeEach(async () => {
  house = await openHouse()
  node = house.node
  await node.write('sys/auth/approle', { type: 'approle' })
  await role('app', { token_policies: 'app' })
  roleId = (await node.read('auth/approle/role/app/role-id')).body.data.role_id
})

const role = (name: string, body: Record<string, unknown> = {}) => node.write(`auth/approle/role/${name}`, body)
const secretId = (body: Record<string, unknown> = {}, name = 'app') => node.write(`auth/approle/role/${name}/secret-id`, body)
const made = async (body: Record<string, unknown> = {}, name = 'app'): Promise<{ secret_id: string; secret_id_accessor: string }> =>
  (await secretId(body, name)).body.data
const login = (secret_id: unknown, over = {}, role_id: unknown = roleId) =>
  node.ask({ operation: 'update', method: 'POST', path: 'auth/approle/login', token: null, body: { role_id, secret_id }, ...over })
const wrong = { errors: ['invalid role or secret ID'] }

describe('a login', () => {
  test('answers a token as the role says', async () => {
    await role('app', { token_ttl: 60, token_max_ttl: 120, token_num_uses: 5 })
    const { secret_id } = await made({ metadata: '{"host":"a1"}' })
    const { status, body } = await login(secret_id)
    expect(status).toBe(200)
    expect(body.auth).toMatchObject({
      policies: ['app', 'default'],
      metadata: { role_name: 'app', host: 'a1' },
      lease_duration: 60,
      num_uses: 5,
      orphan: true,
    })
    expect((await node.read('auth/token/lookup-self', body.auth.client_token)).body.data).toMatchObject({
      display_name: 'approle',
      path: 'auth/approle/login',
    })
  })

  test.each([
    ['a wrong secret id', async () => login('00000000-0000-0000-0000-000000000000')],
    ['a wrong role id', async () => login((await made()).secret_id, {}, 'nobody')],
    ["another role's secret id", async () => (await role('other'), login((await made({}, 'other')).secret_id))],
    [
      'an expired secret id',
      async () => {
        const { secret_id } = await made({ ttl: 60 })
        house.clock.advance(60_000)
        return login(secret_id)
      },
    ],
    [
      'a secret id that was destroyed',
      async () => {
        const { secret_id } = await made()
        await node.write('auth/approle/role/app/secret-id/destroy', { secret_id })
        return login(secret_id)
      },
    ],
    ['an endless secret id', async () => login('x'.repeat(10_000))],
  ])('with %s is answered alike', async (_, tried) => {
    const answer = await tried()
    expect([answer.status, answer.body]).toEqual([400, wrong])
  })

  test('needs both ids', async () => {
    expect((await login((await made()).secret_id, {}, '')).body.errors).toEqual(['missing role_id'])
    expect((await login('')).body.errors).toEqual(['missing secret_id'])
    expect((await login(undefined)).body.errors).toEqual(['missing secret_id'])
  })

  test('without a secret id where the role asks for none', async () => {
    await role('app', { bind_secret_id: false, secret_id_bound_cidrs: '10.0.0.0/8' })
    expect((await login(undefined, { clientAddress: '10.0.0.1' })).status).toBe(200)
    const elsewhere = await login(undefined, { clientAddress: '11.0.0.1' })
    expect([elsewhere.status, elsewhere.body.errors]).toEqual([
      400,
      ['source address "11.0.0.1" unauthorized by CIDR restrictions on the role'],
    ])
    expect((await secretId()).body.errors).toEqual(['bind_secret_id is not set on the role'])
  })

  test('of a secret id whose tokens could be used from where the role allows none any more is refused', async () => {
    const wide = await made({ token_bound_cidrs: '10.0.0.0/8' })
    const plain = await made()
    expect((await login(wide.secret_id)).status).toBe(200)
    await role('app', { token_bound_cidrs: '10.1.0.0/16' })
    expect((await login(wide.secret_id)).body).toEqual(wrong)
    const { client_token } = (await login(plain.secret_id)).body.auth
    const lookup = (clientAddress: string) => node.ask({ path: 'auth/token/lookup-self', token: client_token, clientAddress })
    expect([(await lookup('10.1.2.3')).status, (await lookup('10.2.0.1')).status]).toEqual([200, 403])
  })

  test('is held to the networks of the secret id, and its token to theirs', async () => {
    await role('app', { token_bound_cidrs: '10.0.0.0/8' })
    const { secret_id } = await made({ cidr_list: '10.1.0.0/16', token_bound_cidrs: ['10.1.2.3'], num_uses: 1 })
    const refused = await login(secret_id, { clientAddress: '10.2.0.1' })
    expect(refused.body.errors).toEqual(['source address "10.2.0.1" unauthorized through CIDR restrictions on the secret ID'])
    // That was no use.
    const { auth } = (await login(secret_id, { clientAddress: '10.1.0.9' })).body
    const lookup = (clientAddress: string) => node.ask({ path: 'auth/token/lookup-self', token: auth.client_token, clientAddress })
    expect([(await lookup('10.1.2.3')).status, (await lookup('10.1.2.4')).status]).toEqual([200, 403])
  })

  test('locks the role id after five wrong tries, known or not', async () => {
    const { secret_id } = await made()
    for (const id of [roleId, 'unknown']) {
      for (let n = 0; n < 5; n += 1) expect((await login('wrong', {}, id)).body).toEqual(wrong)
      expect((await login(secret_id, {}, id)).body).toEqual({ errors: ['permission denied'] })
    }
    house.clock.advance(901_000)
    expect((await login(secret_id)).status).toBe(200)
  })
})

describe('uses', () => {
  test('are counted exactly, however many come at once', async () => {
    for (const num_uses of [1, 3]) {
      const { secret_id } = await made({ num_uses })
      const answers = await Promise.all(Array.from({ length: 5 }, () => login(secret_id)))
      expect(answers.filter(({ status }) => status === 200)).toHaveLength(num_uses)
      expect(answers.filter(({ status }) => status === 400)).toHaveLength(5 - num_uses)
    }
  })

  test('are shown as they are left', async () => {
    const { secret_id, secret_id_accessor } = await made({ num_uses: 2 })
    house.clock.advance(1_000)
    await login(secret_id)
    const shown = await node.write('auth/approle/role/app/secret-id/lookup', { secret_id })
    expect(shown.body.data).toMatchObject({ secret_id_num_uses: 1, secret_id_accessor })
    expect(shown.body.data.last_updated_time > shown.body.data.creation_time).toBe(true)
    await login(secret_id)
    expect((await node.write('auth/approle/role/app/secret-id/lookup', { secret_id })).status).toBe(204)
    expect((await node.list('auth/approle/role/app/secret-id')).status).toBe(404)
  })

  test('and the token are one entry of the log', async () => {
    const { secret_id } = await made({ num_uses: 2 })
    const before = house.cluster.node(0).status().applied
    await login(secret_id)
    expect(house.cluster.node(0).status().applied - before).toBe(1)
  })

  test('cannot exceed what the role says', async () => {
    await role('app', { secret_id_num_uses: 3, secret_id_ttl: '1h' })
    expect((await secretId()).body.data).toMatchObject({ secret_id_num_uses: 3, secret_id_ttl: 3_600 })
    expect((await secretId({ num_uses: 2, ttl: '10m' })).body.data).toMatchObject({ secret_id_num_uses: 2, secret_id_ttl: 600 })
    for (const num_uses of [0, 4]) {
      expect((await secretId({ num_uses })).body.errors).toEqual(["num_uses cannot be higher than the role's secret_id_num_uses"])
    }
    for (const ttl of [0, '2h'])
      expect((await secretId({ ttl })).body.errors).toEqual(["ttl cannot be longer than the role's secret_id_ttl"])
    expect((await secretId({ num_uses: -1 })).body.errors).toEqual(['num_uses cannot be negative'])
  })
})

describe('secret ids', () => {
  test('are delivered wrapped, once', async () => {
    const wrapped = await node.ask({
      operation: 'update',
      method: 'POST',
      path: 'auth/approle/role/app/secret-id',
      wrapTtlSeconds: 60,
    })
    expect(wrapped.body.data).toBeNull()
    const token = wrapped.body.wrap_info.token
    const { data } = (await node.write('sys/wrapping/unwrap', {}, token)).body
    expect((await login(data.secret_id)).status).toBe(200)
    expect((await node.write('sys/wrapping/unwrap', {}, token)).status).toBe(400)
  })

  test('are looked up, listed and destroyed by their accessors', async () => {
    const one = await made({ ttl: 60, cidr_list: '127.0.0.0/8', metadata: 'a=b, c=d' })
    const two = await made()
    const { keys } = (await node.list('auth/approle/role/app/secret-id')).body.data
    expect(keys.toSorted()).toEqual([one.secret_id_accessor, two.secret_id_accessor].toSorted())
    const by = (what: string, secret_id_accessor: string) =>
      node.write(`auth/approle/role/app/secret-id-accessor/${what}`, { secret_id_accessor })
    expect((await by('lookup', one.secret_id_accessor)).body.data).toEqual({
      secret_id_accessor: one.secret_id_accessor,
      secret_id_num_uses: 0,
      secret_id_ttl: 60,
      creation_time: expect.stringMatching(/^2023-/),
      expiration_time: expect.stringMatching(/^2023-/),
      last_updated_time: expect.stringMatching(/^2023-/),
      metadata: { a: 'b', c: 'd' },
      cidr_list: ['127.0.0.0/8'],
      token_bound_cidrs: [],
    })
    expect((await by('lookup', two.secret_id_accessor)).body.data.expiration_time).toBe('0001-01-01T00:00:00Z')
    expect((await by('destroy', one.secret_id_accessor)).status).toBe(204)
    expect((await login(one.secret_id)).body).toEqual(wrong)
    for (const what of ['lookup', 'destroy']) {
      const gone = await by(what, one.secret_id_accessor)
      expect([gone.status, gone.body.errors[0]]).toEqual([404, expect.stringContaining('failed to find accessor entry')])
    }
    await role('other')
    const foreign = await node.write('auth/approle/role/other/secret-id-accessor/lookup', { secret_id_accessor: two.secret_id_accessor })
    expect(foreign.status).toBe(404)
  })

  test('may be chosen by the caller', async () => {
    const custom = (secret_id?: string) => node.write('auth/approle/role/app/custom-secret-id', { secret_id })
    expect((await custom('mine')).body.data.secret_id).toBe('mine')
    expect((await login('mine')).status).toBe(200)
    expect((await custom('mine')).body.errors).toEqual(['SecretID is already registered'])
    expect((await custom()).body.errors).toEqual(['missing secret_id'])
    expect((await custom('x'.repeat(5_000))).status).toBe(400)
  })

  test('stay within the networks of the role', async () => {
    await role('app', { secret_id_bound_cidrs: ['10.0.0.0/8', '127.0.0.1'] })
    expect((await secretId({ cidr_list: '10.5.0.0/16,127.0.0.1/32' })).status).toBe(200)
    for (const cidr_list of ['0.0.0.0/0', '10.0.0.0/7', '127.0.0.0/24', '::/0']) expect((await secretId({ cidr_list })).status).toBe(400)
    const { secret_id } = await made({ cidr_list: '127.0.0.1' })
    await role('app', { secret_id_bound_cidrs: '10.0.0.0/8' })
    expect((await login(secret_id)).body).toEqual(wrong)
  })

  test.each(['not json', '{"a":', '["a"]', '{"a":{"b":1}}', { a: [] }, { a: 'x'.repeat(600) }])(
    'refuse metadata like %j',
    async (metadata) => {
      expect((await secretId({ metadata })).status).toBe(400)
    },
  )

  test('lie in storage as hashes only', async () => {
    const { secret_id } = await made()
    const stored = await approleEngineStorage(house)
    expect(stored.length).toBeGreaterThan(3)
    expect(stored.join('\n')).not.toContain(secret_id)
    // A role id is shown to whoever may read the role: it lies in its role, but in no name.
    expect(stored.filter((line) => line.split(' ')[0]?.includes(roleId))).toEqual([])
  })

  test('that have expired are tidied away', async () => {
    const kept = await made({ ttl: 600 })
    for (let n = 0; n < 3; n += 1) await made({ ttl: 30 })
    house.clock.advance(120_000)
    const { status, body } = await node.write('auth/approle/tidy/secret-id')
    expect([status, body.warnings.length]).toEqual([202, 1])
    expect((await node.list('auth/approle/role/app/secret-id')).body.data.keys).toEqual([kept.secret_id_accessor])
    expect((await login(kept.secret_id)).status).toBe(200)
  })
})

describe('roles', () => {
  test('are written, read, listed and deleted', async () => {
    await role('App', { secret_id_ttl: '10m', secret_id_num_uses: 4, token_period: '1h' })
    expect((await node.read('auth/approle/role/app')).body.data).toEqual({
      bind_secret_id: true,
      local_secret_ids: false,
      secret_id_bound_cidrs: null,
      secret_id_num_uses: 4,
      secret_id_ttl: 600,
      token_bound_cidrs: [],
      token_explicit_max_ttl: 0,
      token_max_ttl: 0,
      token_no_default_policy: false,
      token_num_uses: 0,
      token_period: 3_600,
      token_policies: ['app'],
      token_ttl: 0,
      token_type: 'default',
    })
    await role('b')
    const page = (query: Record<string, string>) => node.ask({ operation: 'list', path: 'auth/approle/role/', query })
    expect((await page({})).body.data.keys).toEqual(['app', 'b'])
    expect((await page({ after: 'app', limit: '1' })).body.data.keys).toEqual(['b'])
    const { secret_id } = await made()
    expect((await node.remove('auth/approle/role/app')).status).toBe(204)
    expect((await node.read('auth/approle/role/app')).status).toBe(404)
    // The next role of that name, even with the same role id, knows nothing of what was issued for the last one.
    await role('app', { role_id: roleId })
    expect((await login(secret_id)).body).toEqual(wrong)
  })

  test('have role ids of their own', async () => {
    expect((await role('b', { role_id: roleId })).body.errors).toEqual(['role_id already in use'])
    await role('b', { role_id: 'chosen' })
    const { secret_id } = await made({}, 'b')
    expect((await login(secret_id, {}, 'chosen')).status).toBe(200)
    expect((await node.write('auth/approle/role/b/role-id', { role_id: 'next' })).status).toBe(204)
    expect((await login(secret_id, {}, 'chosen')).body).toEqual(wrong)
    expect((await login(secret_id, {}, 'next')).status).toBe(200)
    await role('c', { role_id: 'chosen' })
    expect((await node.read('auth/approle/role/c/role-id')).body.data).toEqual({ role_id: 'chosen' })
  })

  test.each([
    [{ bind_secret_id: false }, 'at least one constraint should be enabled on the role'],
    [{ secret_id_num_uses: -1 }, 'secret_id_num_uses cannot be negative'],
    [{ secret_id_bound_cidrs: 'x' }, 'bound CIDR expected an address or address/bits, got "x"'],
    [{ period: '800h' }, `period of "800h0m0s" is greater than the backend's maximum lease TTL of "768h0m0s"`],
    [{ role_id: '' }, 'invalid role_id supplied, or failed to generate a role_id'],
    [{ local_secret_ids: true }, 'local_secret_ids can only be modified during role creation'],
  ])('refuse what makes no sense: %j', async (body, error) => {
    const answer = await role('app', body)
    expect([answer.status, answer.body.errors]).toEqual([400, [error]])
  })

  test('renew the tokens of their logins as long as they are there', async () => {
    await role('app', { token_ttl: 60 })
    const { client_token } = (await login((await made()).secret_id)).body.auth
    const renew = () => node.write('auth/token/renew-self', {}, client_token)
    await role('app', { token_ttl: 90, token_policies: 'changed' })
    // AppRole, other than userpass, goes on with the policies that the token has.
    expect((await renew()).body.auth).toMatchObject({ lease_duration: 90, policies: ['app', 'default'] })
    await node.remove('auth/approle/role/app')
    expect((await renew()).body.errors).toEqual(['role "app" does not exist during renewal'])
    await role('app')
    expect((await renew()).status).toBe(400)
  })

  test('have a route for each field', async () => {
    const cases: [string, string, unknown, unknown, unknown][] = [
      ['policies', 'token_policies', ['app'], 'x,y', ['x', 'y']],
      ['bound-cidr-list', 'bound_cidr_list', null, '10.0.0.0/8', ['10.0.0.0/8']],
      ['secret-id-bound-cidrs', 'secret_id_bound_cidrs', ['10.0.0.0/8'], ['10.1.0.0/16'], ['10.1.0.0/16']],
      ['token-bound-cidrs', 'token_bound_cidrs', null, '10.2.0.0/16', ['10.2.0.0/16']],
      ['bind-secret-id', 'bind_secret_id', true, 'false', false],
      ['secret-id-num-uses', 'secret_id_num_uses', 0, '7', 7],
      ['secret-id-ttl', 'secret_id_ttl', 0, '1h', 3_600],
      ['period', 'token_period', 0, '2h', 7_200],
      ['token-num-uses', 'token_num_uses', 0, 3, 3],
      ['token-ttl', 'token_ttl', 0, '10s', 10],
      ['token-max-ttl', 'token_max_ttl', 0, 20, 20],
    ]
    for (const [route, field, before, given, after] of cases) {
      const path = `auth/approle/role/app/${route}`
      expect([route, (await node.read(path)).body.data]).toEqual([route, { [field]: before }])
      expect([route, (await node.write(path, {})).body.errors]).toEqual([route, [expect.stringMatching(/^missing /)]])
      expect([route, (await node.write(path, { [field]: given })).status]).toEqual([route, 204])
      expect([route, (await node.read(path)).body.data]).toEqual([route, { [field]: after }])
    }
    for (const [route, field] of cases.toReversed()) {
      expect([route, (await node.remove(`auth/approle/role/app/${route}`)).status]).toEqual([route, 204])
      const shown = (await node.read(`auth/approle/role/app/${route}`)).body.data[field]
      expect([route, shown]).toEqual([
        route,
        field === 'bind_secret_id' ? true : field === 'token_policies' ? [] : field.includes('cidr') ? null : 0,
      ])
    }
    expect((await node.read('auth/approle/role/app/local-secret-ids')).body.data).toEqual({ local_secret_ids: false })
    expect((await node.write('auth/approle/role/none/token-ttl', { token_ttl: 1 })).status).toBe(404)
    expect((await node.read('auth/approle/role/none/token-ttl')).status).toBe(404)
    expect((await node.remove('auth/approle/role/none/token-ttl')).status).toBe(204)
  })
})
