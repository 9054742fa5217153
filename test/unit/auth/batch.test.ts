/** Batch tokens through a core: what they may, what they may not, and what they cost. */
import { openHouse, type HouseNode } from '#test/support/core-house.ts'
import { testRootKey } from '#test/support/open-barrier.ts'
import { lendingEngine } from '#test/support/lending-engine.ts'
import { beforeEach, describe, expect, test } from 'vitest'

let house: Awaited<ReturnType<typeof openHouse>>
let node: HouseNode
beforeEach(async () => {
  house = await openHouse(1, [lendingEngine().engine])
  node = house.node
  await node.write('sys/policies/acl/app', {
    policy: `path "auth/token/*" { capabilities = ["create", "read", "update", "sudo"] }
      path "cubbyhole/*" { capabilities = ["create", "read", "update", "list"] }
      path "db/*" { capabilities = ["read"] }
      path "sys/leases/*" { capabilities = ["update"] }`,
  })
})

const create = async (body: Record<string, unknown>, token?: string) => (await node.write('auth/token/create', body, token)).body
const batch = async (body: Record<string, unknown> = {}, token?: string): Promise<string> =>
  (await create({ type: 'batch', policies: ['app'], ttl: '1h', ...body }, token)).auth.client_token
const works = async (token: string): Promise<boolean> => (await node.read('auth/token/lookup-self', token)).status === 200

describe('a batch token', () => {
  test('has its policies and no accessor, and is looked up like any other', async () => {
    const { auth } = await create({ type: 'batch', policies: ['app'], ttl: '1h', meta: { who: 'x' } })
    expect(auth).toMatchObject({ token_type: 'batch', accessor: '', renewable: false, lease_duration: 3_600, num_uses: 0, orphan: false })
    expect(auth.client_token).toMatch(/^b\./)
    const { data } = (await node.read('auth/token/lookup-self', auth.client_token)).body
    expect(data).toMatchObject({
      id: auth.client_token,
      type: 'batch',
      accessor: '',
      policies: ['app', 'default'],
      meta: { who: 'x' },
      ttl: 3_600,
    })
  })

  test.each([
    ['explicit_max_ttl', '1h'],
    ['num_uses', 3],
    ['period', '1h'],
  ])('can not have %s', async (name, value) => {
    expect((await create({ type: 'batch', policies: ['app'], [name]: value })).errors).toEqual([`batch tokens cannot have "${name}" set`])
  })

  test('is never root, makes no children, has no cubbyhole, is neither renewed nor revoked', async () => {
    expect((await create({ type: 'batch' })).errors).toEqual(['batch tokens cannot be root tokens'])
    expect((await create({ type: 'tin' })).errors).toEqual(["invalid 'token_type' value"])
    const token = await batch()
    expect((await create({ policies: ['app'] }, token)).errors).toEqual(['batch tokens cannot create more tokens'])
    expect((await node.write('auth/token/renew-self', {}, token)).body.errors).toEqual(['batch tokens cannot be renewed'])
    expect((await node.write('auth/token/renew', { token })).body.errors).toEqual(['batch tokens cannot be renewed'])
    expect((await node.write('auth/token/revoke-self', {}, token)).body.errors).toEqual(['batch tokens cannot be revoked'])
    expect((await node.write('auth/token/revoke', { token })).body.errors).toEqual(['batch tokens cannot be revoked'])
    for (const answer of [await node.write('cubbyhole/a', { b: 'c' }, token), await node.read('cubbyhole/a', token)]) {
      expect(answer.body.errors).toEqual(['cubbyhole operations are only supported by "service" type tokens'])
    }
  })

  test('ends by its time, to the millisecond', async () => {
    const token = await batch({ ttl: '10s' })
    house.clock.advance(9_999)
    expect(await works(token)).toBe(true)
    house.clock.advance(1)
    expect(await works(token)).toBe(false)
  })

  test('ends with its parent, and with the parent of that; an orphan outlives them', async () => {
    const top = (await create({ policies: ['app'], ttl: '2h' })).auth.client_token as string
    const parent = (await create({ policies: ['app'], ttl: '2h' }, top)).auth.client_token as string
    const child = await batch({}, parent)
    const orphan = await batch({ no_parent: true }, parent)
    expect([await works(child), await works(orphan)]).toEqual([true, true])
    await node.write('auth/token/revoke', { token: top })
    expect([await works(child), await works(orphan)]).toEqual([false, true])
  })

  test('is bound to addresses', async () => {
    await node.write('auth/token/roles/near', { token_bound_cidrs: '10.0.0.0/8', token_type: 'batch', orphan: true, renewable: false })
    const { client_token: token } = (await node.write('auth/token/create/near', { policies: ['app'] })).body.auth
    const from = (clientAddress: string) => node.ask({ path: 'auth/token/lookup-self', token, clientAddress })
    expect([(await from('10.1.2.3')).status, (await from('192.0.2.1')).status]).toEqual([200, 403])
  })

  test('outlives sealing and a rotation of the keyring; not another incarnation', async () => {
    const token = await batch()
    expect((await node.write('sys/rotate')).status).toBeLessThan(300)
    expect(await works(token)).toBe(true)
    house.at(0).seal()
    expect((await node.read('auth/token/lookup-self', token)).status).toBe(503)
    house.at(0).open(testRootKey())
    expect(await works(token)).toBe(true)
    expect(await works(await batch())).toBe(true)
  })

  test('what it is lent belongs to its parent, and ends no later than itself', async () => {
    await node.write('sys/mounts/db', { type: 'lending' })
    const parent = (await create({ policies: ['app'], ttl: '2h' })).auth.client_token as string
    const token = await batch({ ttl: '10m' }, parent)
    const { body } = await node.read('db/counter/x', token, { ttl: '1h' })
    expect(body).toMatchObject({ lease_duration: 600, renewable: false })
    const lookup = () => node.write('sys/leases/lookup', { lease_id: body.lease_id })
    expect((await lookup()).status).toBe(200)
    await node.write('auth/token/revoke', { token: parent })
    expect((await lookup()).status).toBe(400)
    for (let pass = 0; pass < 5; pass += 1) {
      await node.leasing.expirer.pass()
      await node.leasing.expirer.idle()
    }
    expect((await node.list('sys/leases/lookup/db')).status).toBe(404)
  })
})

describe('roles', () => {
  test('give their tokens a path by which they are revoked together', async () => {
    expect((await node.write('auth/token/roles/ci', { path_suffix: 'a/b' })).status).toBe(400)
    await node.write('auth/token/roles/ci', { path_suffix: 'ci-jobs', allowed_policies_glob: 'team-*-read,*x' })
    const { client_token: token } = (await node.write('auth/token/create/ci', { policies: ['team-red-read'], ttl: '1h' })).body.auth
    expect((await node.read('auth/token/lookup-self', token)).body.data.path).toBe('auth/token/create/ci/ci-jobs')
    for (const [policy, status] of [
      ['team-read', 400],
      ['team--read', 200],
      ['team-red-reader', 400],
      ['anything-x', 200],
      ['root', 400],
    ] as const) {
      expect((await node.write('auth/token/create/ci', { policies: [policy], ttl: '1h' })).status, policy).toBe(status)
    }
    expect((await node.write('sys/leases/revoke-prefix/auth/token/create/ci/ci-jobs')).status).toBe(204)
    expect(await works(token)).toBe(false)
  })

  test('of batch tokens can be nothing that such tokens are not', async () => {
    const write = async (body: Record<string, unknown>) =>
      (await node.write('auth/token/roles/r', { token_type: 'batch', ...body })).body?.errors
    expect(await write({})).toEqual(["'token_type' cannot be 'batch' when role is set to generate non-orphan tokens"])
    expect(await write({ orphan: true, token_period: '1h' })).toEqual([
      "'token_type' cannot be 'batch' when role is set to generate periodic tokens",
    ])
    expect(await write({ orphan: true })).toEqual(["'token_type' cannot be 'batch' when role is set to generate renewable tokens"])
    expect(await write({ orphan: true, renewable: false, token_explicit_max_ttl: '1h' })).toEqual([
      "'token_type' cannot be 'batch' when role is set to generate tokens with an explicit max TTL",
    ])
    expect(await write({ orphan: true, renewable: false })).toBeUndefined()
    expect((await node.read('auth/token/roles/r')).body.data.token_type).toBe('batch')
    expect((await node.write('auth/token/create/r', { policies: ['app'], type: 'service' })).body.auth.token_type).toBe('batch')
  })

  test('say what a request leaves out', async () => {
    await node.write('auth/token/roles/d', { token_type: 'default-batch' })
    const type = async (body: object) => (await node.write('auth/token/create/d', { policies: ['app'], ...body })).body.auth.token_type
    expect([await type({}), await type({ type: 'service' })]).toEqual(['batch', 'service'])
    expect((await node.write('auth/token/roles/d', { token_type: 'tin' })).status).toBe(400)
  })
})

describe('logins', () => {
  const password = 'correct horse'
  const login = async (name = 'alice') => (await node.write(`auth/userpass/login/${name}`, { password }, null)).body
  beforeEach(async () => {
    await node.write('sys/auth/userpass', { type: 'userpass' })
    await node.write('auth/userpass/users/alice', { password, token_type: 'batch', token_ttl: '20m' })
    await node.write('auth/userpass/users/bob', { password })
  })

  test('make them where the account says so, and write nothing', async () => {
    // The first one of all makes the entity; from there on there is nothing to write.
    const first = (await login()).auth
    expect(first).toMatchObject({ token_type: 'batch', orphan: true, lease_duration: 1_200, metadata: { username: 'alice' } })
    const before = house.cluster.log.length
    const second = (await login()).auth
    expect(house.cluster.log.length, 'entries of the log').toBe(before)
    expect(second.entity_id).toBe(first.entity_id)
    expect(second.client_token).not.toBe(first.client_token)
    expect([await works(first.client_token), await works(second.client_token)]).toEqual([true, true])
    await login('bob')
    expect(house.cluster.log.length, 'a service token is one entry').toBeGreaterThan(before)
  })

  test('end with their mount', async () => {
    const { client_token: token } = (await login()).auth
    await node.remove('sys/auth/userpass')
    expect(await works(token)).toBe(false)
    // And when all service tokens of the mount were deleted, which is what its mark is there for: nothing else says that a batch token is no longer good.
    node.core.startJobs()
    for (let turn = 0; turn < 60; turn += 1) {
      house.clock.advance(1_000)
      for (let i = 0; i < 10; i += 1) await new Promise((resolve) => setImmediate(resolve))
      if (turn % 10 === 0) expect([turn, await works(token)]).toEqual([turn, false])
    }
    await node.core.stopJobs()
    expect(await works(token)).toBe(false)
  })

  test('are as the mount is tuned where the account leaves it open', async () => {
    const typeOf = async (name: string): Promise<string> => (await login(name)).auth.token_type
    const tune = (token_type: string) => node.write('sys/auth/userpass/tune', { token_type })
    await node.write('auth/userpass/users/carol', { password, token_type: 'service' })
    const seen = []
    for (const type of ['default-service', 'default-batch', 'service', 'batch']) {
      await tune(type)
      seen.push([type, await typeOf('alice'), await typeOf('bob'), await typeOf('carol')])
    }
    expect(seen).toEqual([
      ['default-service', 'batch', 'service', 'service'],
      ['default-batch', 'batch', 'batch', 'service'],
      ['service', 'service', 'service', 'service'],
      ['batch', 'batch', 'batch', 'batch'],
    ])
    expect((await tune('tin')).status).toBe(400)
  })

  test('of accounts with a period or a number of uses are refused when they are written, or at the latest when they log in', async () => {
    const write = async (body: Record<string, unknown>) =>
      (await node.write('auth/userpass/users/dave', { password, token_type: 'batch', ...body })).body.errors
    expect(await write({ token_period: '1h' })).toEqual([
      "'token_type' cannot be 'batch' or 'default_batch' when set to generate periodic tokens",
    ])
    expect(await write({ token_num_uses: 2 })).toEqual([
      "'token_type' cannot be 'batch' or 'default_batch' when set to generate tokens with limited use count",
    ])
    await node.write('auth/userpass/users/dave', { password, token_num_uses: 2 })
    await node.write('sys/auth/userpass/tune', { token_type: 'batch' })
    expect((await login('dave')).errors).toEqual(['batch tokens cannot have "num_uses" set'])
  })
})
