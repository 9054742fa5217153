import { HoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import { silentLogger } from '#base/logger.ts'
import { openHouse, type HouseNode } from '#test/support/core-house.ts'
import { lendingEngine, type Lending } from '#test/support/lending-engine.ts'
import { beforeEach, describe, expect, test } from 'vitest'

let lending: Lending
let house: Awaited<ReturnType<typeof openHouse>>
let node: HouseNode
const alarms: object[] = []
const log: Logger = { ...silentLogger, error: (fields) => void alarms.push(fields) }

async function open(nodes = 1): Promise<void> {
  alarms.length = 0
  lending = lendingEngine()
  house = await openHouse(nodes, [lending.engine], log)
  node = house.node
  expect((await node.write('sys/mounts/db', { type: 'lending' })).status).toBe(204)
}
beforeEach(() => open())

/** The leader's work, by hand: all that is due is ended. */
async function turn(of: HouseNode = node, passes = 3): Promise<void> {
  for (let pass = 0; pass < passes; pass += 1) {
    await of.leasing.expirer.pass()
    await of.leasing.expirer.idle()
  }
}

const lend = async (query: Record<string, string> = { ttl: '60s' }, token?: string): Promise<{ id: string; user: string }> => {
  const { body, status } = await node.read('db/creds/app', token, query)
  expect(status, JSON.stringify(body)).toBe(200)
  return { id: body.lease_id as string, user: body.data.username as string }
}
const lookup = (id: string, of: HouseNode = node) => of.write('sys/leases/lookup', { lease_id: id })
const tokenOf = async (body: Record<string, unknown> = {}): Promise<{ token: string; accessor: string }> => {
  const { auth } = (await node.write('auth/token/create', { policies: ['root'], ttl: '1h', ...body })).body
  return { token: auth.client_token, accessor: auth.accessor }
}

describe('a lease', () => {
  test('is registered in the one entry that lends, and is answered with the secret', async () => {
    const before = house.cluster.log.length
    const { body } = await node.read('db/counter/app', undefined, { ttl: '2m' })
    expect(house.cluster.log.length).toBe(before + 1)
    expect(body.lease_id).toMatch(/^db\/counter\/app\/[0-9A-Za-z]{24}$/)
    expect(body).toMatchObject({ renewable: false, lease_duration: 120 })
    const found = await lookup(body.lease_id)
    expect(found.body.data).toMatchObject({ id: body.lease_id, ttl: 120, renewable: false, last_renewal: null })
    expect(Object.keys(found.body.data).toSorted()).toEqual(['expire_time', 'id', 'issue_time', 'last_renewal', 'path', 'renewable', 'ttl'])
    expect(found.body.data.path).toBe('db/counter/app')
  })

  test('is good to its last moment, and from there on no more, though nobody has come yet', async () => {
    const { id, user } = await lend({ ttl: '60s' })
    house.clock.advance(59_999)
    expect((await lookup(id)).body.data.ttl).toBe(1)
    house.clock.advance(1)
    expect(await lookup(id)).toMatchObject({ status: 400, body: { errors: ['invalid lease'] } })
    expect((await node.write('sys/leases/renew', { lease_id: id })).body.errors).toEqual(['lease expired'])
    expect(lending.users.has(user)).toBe(true)
    await turn()
    expect([lending.users.has(user), lending.drops.get(user)]).toEqual([false, 1])
    expect((await node.write('sys/leases/renew', { lease_id: id })).body.errors).toEqual(['lease not found'])
  })

  test('is not taken back before its time', async () => {
    const { user } = await lend({ ttl: '60s' })
    house.clock.advance(59_900)
    await turn()
    expect(lending.users.has(user)).toBe(true)
  })

  test('prolonged lives on, up to its maximum, with a warning', async () => {
    const { id, user } = await lend({ ttl: '60s', max_ttl: '100s' })
    house.clock.advance(50_000)
    const renewed = await node.write(`sys/leases/renew/${id}`, { increment: '40s' })
    expect(renewed.body).toMatchObject({ lease_id: id, renewable: true, lease_duration: 40, warnings: null })
    house.clock.advance(39_000)
    await turn()
    expect(lending.users.has(user)).toBe(true)
    const capped = await node.write('sys/renew', { lease_id: id, increment: '1h' })
    expect(capped.body.lease_duration).toBe(11)
    expect(capped.body.warnings[0]).toContain('exceeded the effective max_ttl')
    expect((await lookup(id)).body.data.last_renewal).not.toBeNull()
    house.clock.advance(11_000)
    await turn()
    expect(lending.users.has(user)).toBe(false)
  })

  test('that its engine will not prolong is refused with its reason; one that is not renewable too', async () => {
    const { id, user } = await lend()
    lending.users.delete(user)
    expect((await node.write('sys/leases/renew', { lease_id: id })).body.errors).toEqual(['the user is gone'])
    const { body } = await node.read('db/counter/app')
    expect((await node.write('sys/leases/renew', { lease_id: body.lease_id })).body.errors).toEqual(['lease is not renewable'])
    expect((await node.write('sys/leases/renew', {})).body.errors).toEqual(['lease_id must be specified'])
  })

  test.each(['../x', 'a//b', '', '.', 'db/creds/app/none', `${'x'.repeat(5_000)}/y`])('%j is none', async (id) => {
    const found = await lookup(id)
    expect(found.status).toBe(400)
    expect((await node.write('sys/leases/revoke', { lease_id: id })).status).toBe(id === '' ? 400 : 204)
  })
})

describe('revoking', () => {
  test('one takes it back before the answer; without sync it is no good from the answer on, and taken back after it', async () => {
    const [a, b] = [await lend(), await lend()]
    expect((await node.write('sys/leases/revoke', { lease_id: a.id })).status).toBe(204)
    expect(lending.users.has(a.user)).toBe(false)
    expect((await node.write(`sys/leases/revoke/${b.id}`, { sync: false })).status).toBe(202)
    expect((await lookup(b.id)).status).toBe(400)
    expect(lending.users.has(b.user)).toBe(true)
    await turn()
    expect(lending.users.has(b.user)).toBe(false)
    expect((await node.write('sys/leases/revoke', { lease_id: b.id })).status).toBe(204)
  })

  test('below a prefix takes whole segments', async () => {
    const [a, b] = [await lend(), await lend()]
    const other = (await node.read('db/creds/application', undefined, { ttl: '60s' })).body
    expect((await node.write('sys/leases/revoke-prefix/db/creds/app')).status).toBe(204)
    expect([lending.users.has(a.user), lending.users.has(b.user)]).toEqual([false, false])
    expect((await lookup(other.lease_id)).status).toBe(200)
    expect((await node.list('sys/leases/lookup/db/creds')).body.data.keys).toEqual(['application/'])
  })

  test('below a prefix without sync: none is good from the one entry on, however many there are', async () => {
    const made = []
    for (let i = 0; i < 30; i += 1) made.push(await lend())
    const before = house.cluster.log.length
    expect((await node.write('sys/revoke-prefix/db', { sync: false })).status).toBe(202)
    expect(house.cluster.log.length).toBe(before + 1)
    for (const { id } of made) expect((await lookup(id)).status).toBe(400)
    house.clock.advance(1)
    const after = await lend()
    await turn(node, 5)
    for (const { user } of made) expect(lending.drops.get(user)).toBe(1)
    // What was lent since is none of it.
    expect((await lookup(after.id)).status).toBe(200)
  })

  test('what fails is tried again, later and later, then given up: listed, counted, alarmed, and still no good', async () => {
    const { id, user } = await lend()
    lending.failing = async () => {
      throw new HoldfastError('ERR_UPSTREAM', 'the database is away')
    }
    const refused = await node.write('sys/leases/revoke', { lease_id: id })
    expect(refused).toMatchObject({ status: 502, body: { errors: ['the database is away'] } })
    for (let waitMs = 20_000; alarms.length === 0 && waitMs < 10_000_000; waitMs *= 2) {
      house.clock.advance(waitMs)
      await turn()
      expect((await lookup(id)).body.data?.ttl ?? 0).toBe(0)
    }
    expect(alarms).toEqual([{ lease: id, namespace: 'root', error: 'the database is away' }])
    expect((await lookup(id)).body.data).toMatchObject({ id, ttl: 0, renewable: false, revoke_error: 'the database is away' })
    const listed = (await node.read('sys/leases', undefined, { type: 'irrevocable' })).body.data
    expect(listed).toMatchObject({ lease_count: 1, leases: [{ lease_id: id, error: 'the database is away' }] })
    expect((await node.read('sys/leases/count', undefined, { type: 'irrevocable' })).body.data).toEqual({
      lease_count: 1,
      counts: { [listed.leases[0].mount_id]: 1 },
    })
    expect(node.leasing.status()).toMatchObject({ irrevocable: 1 })
    expect((await node.write('sys/leases/renew', { lease_id: id })).body.errors).toEqual([
      'lease is expired and has failed previous revocation attempts',
    ])
    // Given up is given up: nobody comes by himself.
    house.clock.advance(100_000_000)
    await turn()
    expect(lending.users.has(user)).toBe(true)
    // An operator who revokes it has it tried again.
    lending.failing = null
    expect((await node.write('sys/leases/revoke', { lease_id: id })).status).toBe(204)
    expect(lending.users.has(user)).toBe(false)
    expect((await node.read('sys/leases', undefined, { type: 'irrevocable' })).body.data.lease_count).toBe(0)
  })

  test('a try that failed is made again when its time has come, without reading the index again', async () => {
    const { user } = await lend({ ttl: '5s' })
    lending.failing = async () => {
      throw new HoldfastError('ERR_UPSTREAM', 'the database is away')
    }
    house.clock.advance(5_000)
    await turn()
    expect(node.leasing.status()).toMatchObject({ failures: 1, pending: 1 })
    lending.failing = null
    house.clock.advance(4_900)
    await turn()
    expect(lending.drops.get(user)).toBeUndefined()
    house.clock.advance(10_200)
    await turn()
    expect([lending.drops.get(user), node.leasing.status().pending]).toEqual([1, 0])
  })

  test('by force takes it off the books whatever the engine says', async () => {
    const { id } = await lend()
    lending.failing = async () => {
      throw new Error('a driver that names a password in its error: hunter2')
    }
    const failed = await node.write('sys/leases/revoke-prefix/db')
    expect(failed).toMatchObject({ status: 400, body: { errors: [`failed to revoke "${id}": internal error`] } })
    expect(failed.text).not.toContain('hunter2')
    expect((await node.write('sys/leases/revoke-force/db')).status).toBe(204)
    expect((await node.list('sys/leases/lookup/db')).status).toBe(404)
  })

  test('an engine that hangs holds up its own mount only, and no longer than half a minute', async () => {
    expect((await node.write('sys/mounts/other', { type: 'lending' })).status).toBe(204)
    const stuck = []
    for (let i = 0; i < 12; i += 1) stuck.push(await lend({ ttl: '10s' }))
    const quick = (await node.read('other/counter/x', undefined, { ttl: '10s' })).body.lease_id as string
    lending.failing = () => new Promise(() => {})
    house.clock.advance(10_000)
    await node.leasing.expirer.pass()
    for (let count = 0; count < 200; count += 1) await new Promise((resolve) => setImmediate(resolve))
    expect((await node.list('sys/leases/lookup/other')).status, quick).toBe(404)
    expect((await node.list('sys/leases/lookup/db/creds/app')).body.data.keys).toHaveLength(12)
    lending.failing = null
    for (let count = 0; count < 60; count += 1) {
      house.clock.advance(10_000)
      for (let wait = 0; wait < 20; wait += 1) await new Promise((resolve) => setImmediate(resolve))
      await node.leasing.expirer.pass()
    }
    expect((await node.list('sys/leases/lookup/db/creds')).status).toBe(404)
    for (const { user } of stuck) expect(lending.drops.get(user)).toBe(1)
  })
})

describe('leases belong to tokens', () => {
  test('and end with them, with their parents, and with their time', async () => {
    const parent = await tokenOf()
    const child = (await node.write('auth/token/create', { policies: ['root'], ttl: '1h' }, parent.token)).body.auth.client_token as string
    const expiring = await tokenOf({ ttl: '10s' })
    const own = await lend({ ttl: '10m' })
    const leases = [await lend({ ttl: '10m' }, parent.token), await lend({ ttl: '10m' }, child), await lend({ ttl: '10m' }, expiring.token)]
    expect((await node.write('auth/token/revoke', { token: parent.token })).status).toBe(204)
    house.clock.advance(10_000)
    for (const { id } of leases) expect((await lookup(id)).status, 'at once').toBe(400)
    await turn(node, 5)
    for (const { user } of leases) expect(lending.drops.get(user)).toBe(1)
    expect((await lookup(own.id)).status).toBe(200)
  })

  test('a token with a thousand of them ends in one entry', async () => {
    const { token } = await tokenOf()
    for (let i = 0; i < 300; i += 1) await node.read('db/counter/x', token, { ttl: '1h' })
    const before = house.cluster.log.length
    await node.write('auth/token/revoke-self', {}, token)
    expect(house.cluster.log.length).toBe(before + 1)
    await turn(node, 8)
    expect((await node.list('sys/leases/lookup/db')).status).toBe(404)
  })

  test('of a token that can be used so often end with its last use', async () => {
    const { token } = await tokenOf({ num_uses: 1 })
    const { id, user } = await lend({ ttl: '10m' }, token)
    expect((await lookup(id)).status).toBe(400)
    await turn(node, 5)
    expect(lending.drops.get(user)).toBe(1)
  })
})

describe('tokens stand in the same books', () => {
  test('below the path that made them: listed, looked up, revoked', async () => {
    await node.write('sys/auth/userpass', { type: 'userpass' })
    await node.write('auth/userpass/users/alice', { password: 'correct horse', token_ttl: '10m' })
    const login = (await node.write('auth/userpass/login/alice', { password: 'correct horse' }, null)).body.auth
    expect((await node.list('sys/leases/lookup/auth/userpass/login')).body.data.keys).toEqual(['alice/'])
    const [key] = (await node.list('sys/leases/lookup/auth/userpass/login/alice')).body.data.keys as string[]
    const id = `auth/userpass/login/alice/${key}`
    expect((await lookup(id)).body.data).toMatchObject({ id, ttl: 600, renewable: true })
    expect((await node.write('sys/leases/renew', { lease_id: id })).body.errors).toEqual(['tokens cannot be renewed through this endpoint'])
    expect(key).not.toContain(login.client_token)
    expect((await node.write('sys/leases/revoke', { lease_id: id })).status).toBe(204)
    expect((await node.read('auth/token/lookup-self', login.client_token)).status).toBe(403)
    expect((await node.list('sys/leases/lookup/auth')).status).toBe(404)
  })

  test('a prefix takes tokens and what they were lent', async () => {
    await node.write('sys/auth/userpass', { type: 'userpass' })
    await node.write('sys/policies/acl/db', { policy: 'path "db/*" { capabilities = ["read"] }' })
    await node.write('auth/userpass/users/alice', { password: 'correct horse', token_ttl: '10m', token_policies: 'db' })
    const { client_token: token } = (await node.write('auth/userpass/login/alice', { password: 'correct horse' }, null)).body.auth
    const { id, user } = await lend({ ttl: '10m' }, token)
    expect((await node.write('sys/leases/revoke-prefix/auth/userpass')).status).toBe(204)
    expect((await node.read('auth/token/lookup-self', token)).status).toBe(403)
    expect((await lookup(id)).status).toBe(400)
    await turn(node, 5)
    expect(lending.drops.get(user)).toBe(1)
  })

  test('one that has expired goes by the same wheel, and is refused before that', async () => {
    const { token } = await tokenOf({ ttl: '30s' })
    await turn()
    house.clock.advance(30_000)
    expect((await node.read('auth/token/lookup-self', token)).status).toBe(403)
    expect((await node.list('sys/leases/lookup/auth/token')).body.data.keys).toEqual(['create/'])
    await turn()
    expect((await node.list('sys/leases/lookup/auth/token')).status).toBe(404)
    expect(node.leasing.expirer.status()).toMatchObject({ pending: 0, ended: 1 })
  })
})

describe('what falls due together', () => {
  /** How often each number was taken back, by what is in storage. */
  const ends = async (count: number): Promise<(string | null)[]> => {
    const mount = (await node.read('sys/mounts')).body.data['db/'].uuid as string
    return house.at(0).read({ kind: 'linearizable' }, async (view) => {
      const found = await Promise.all(Array.from({ length: count }, (_, i) => view.get({ namespace: 'root', mount }, `ended/${i + 1}`)))
      return found.map((bytes) => (bytes === null ? null : Buffer.from(bytes).toString()))
    })
  }

  test('is taken back in one entry of the log, with the tokens, where nobody outside is asked', async () => {
    for (let i = 0; i < 30; i += 1) await node.read('db/counter/x', undefined, { ttl: '10s' })
    const { token } = await tokenOf({ ttl: '10s' })
    await turn()
    house.clock.advance(10_000)
    const before = house.cluster.log.length
    await node.leasing.expirer.pass()
    expect(house.cluster.log.length).toBe(before + 1)
    expect(await ends(30)).toEqual(Array.from({ length: 30 }, () => '1'))
    expect((await node.read('auth/token/lookup-self', token)).status).toBe(403)
    expect(node.leasing.status()).toMatchObject({ leases: expect.any(Number), failures: 0 })
  })

  test('with one among it that fails: the others are taken back once, the one is noted, and nothing of its try is left', async () => {
    for (let i = 0; i < 10; i += 1) await node.read('db/counter/x', undefined, { ttl: '10s' })
    await turn()
    house.clock.advance(10_000)
    lending.stuck = 4
    await turn()
    expect(await ends(10)).toEqual(Array.from({ length: 10 }, (_, i) => (i === 3 ? null : '1')))
    expect(node.leasing.status().failures).toBe(1)
    lending.stuck = null
    house.clock.advance(60_000)
    await turn()
    expect((await ends(10))[3]).toBe('1')
  })

  test('with some among it that ask somebody outside: those one by one, each once', async () => {
    const made = []
    for (let i = 0; i < 5; i += 1) {
      made.push((await lend({ ttl: '10s' })).user)
      await node.read('db/counter/x', undefined, { ttl: '10s' })
    }
    await turn()
    house.clock.advance(10_000)
    await turn()
    expect(await ends(5)).toEqual(Array.from({ length: 5 }, () => '1'))
    expect(made.map((user) => lending.drops.get(user))).toEqual([1, 1, 1, 1, 1])
  })
})

describe('leaders come and go', () => {
  test('in the middle of it: none is lost, and none is taken back twice', async () => {
    await open(3)
    const [first, second] = [house.house[0]!, house.house[1]!]
    const made = []
    for (let i = 0; i < 40; i += 1)
      made.push((await node.read('db/counter/x', undefined, { ttl: `${1 + (i % 20)}s` })).body.lease_id as string)
    house.clock.advance(10_000)
    // The first one is stopped with half of it done: its last pass runs into the election.
    const pass = first.leasing.expirer.pass()
    await new Promise((resolve) => setImmediate(resolve))
    house.cluster.elect('node-2')
    await pass
    await first.leasing.expirer.idle()
    // It serves at once, with an empty wheel, and what is due is no good.
    expect(second.leasing.expirer.status()).toMatchObject({ pending: 0, filled: false })
    for (const [i, id] of made.entries()) expect((await lookup(id, second)).status, id).toBe(1 + (i % 20) > 10 ? 200 : 400)
    await turn(second, 6)
    house.clock.advance(20_000)
    await turn(first)
    await turn(second, 6)
    expect((await second.list('sys/leases/lookup/db')).status).toBe(404)
    const entries = (await second.read('sys/mounts')).body.data['db/'].uuid as string
    const counts = await house.at(1).read({ kind: 'linearizable' }, async (view) => {
      const section = { namespace: 'root', mount: entries }
      const names = await view.list(section, 'ended')
      return Promise.all(names.map(async (name) => Buffer.from((await view.get(section, `ended/${name}`))!).toString()))
    })
    expect(counts).toEqual(made.map(() => '1'))
  })

  test('what an election interrupted outside is done again, until it is certain', async () => {
    await open(3)
    const second = house.house[1]!
    const { id, user } = await lend({ ttl: '5s' })
    house.clock.advance(5_000)
    lending.failing = async (name) => {
      lending.failing = null
      lending.drops.set(name, 1)
      lending.users.delete(name)
      house.cluster.elect('node-2')
    }
    await turn()
    expect([lending.drops.get(user), (await second.list('sys/leases/lookup/db')).status]).toEqual([1, 200])
    await turn(second)
    expect([lending.drops.get(user), (await second.list('sys/leases/lookup/db')).status, (await lookup(id, second)).status]).toEqual([
      2, 404, 400,
    ])
  })
})

describe('how many', () => {
  test('is counted once, and kept by what is committed', async () => {
    for (let i = 0; i < 5; i += 1) await lend()
    expect(node.leasing.leaseCount('root', null)).toBeNull()
    await turn(node, 10)
    const mount = (await node.read('sys/mounts')).body.data['db/'].uuid as string
    expect(node.leasing.leaseCount('root', mount)).toBe(5)
    const { id } = await lend()
    await tokenOf()
    expect([node.leasing.leaseCount('root', mount), node.leasing.leaseCount('root', null)]).toEqual([6, 7])
    await node.write('sys/leases/revoke', { lease_id: id })
    // A refused request lends nothing, and counts nothing.
    await node.read('db/creds/app', 'no-token')
    expect([node.leasing.leaseCount('root', mount), node.leasing.status().leases]).toEqual([5, 6])
    house.clock.advance(60_000)
    await turn(node, 5)
    expect(node.leasing.leaseCount('root', mount)).toBe(0)
  })
})

describe('unmounting', () => {
  test('takes back first what was lent; where that fails the mount stays', async () => {
    const { user } = await lend({ ttl: '1h' })
    lending.failing = async () => {
      throw new HoldfastError('ERR_UPSTREAM', 'the database is away')
    }
    const refused = await node.remove('sys/mounts/db')
    expect(refused.status).toBe(400)
    expect(refused.body.errors[0]).toMatch(/^failed to revoke "db\/creds\/app\/\w+": the database is away$/)
    expect((await node.read('sys/mounts')).body.data['db/']).toBeDefined()
    lending.failing = null
    // What failed waits for its next try; whoever unmounts does not.
    expect((await node.remove('sys/mounts/db')).status).toBe(204)
    expect([lending.users.has(user), lending.drops.get(user)]).toEqual([false, 1])
  })
})

describe('advisories of the peers', () => {
  const inTeam = (over: object) => node.ask({ namespace: 'team', ...over })
  beforeEach(async () => {
    expect((await node.write('sys/namespaces/team')).status).toBe(200)
    await inTeam({ operation: 'update', method: 'POST', path: 'sys/mounts/db', body: { type: 'lending' } })
  })
  const lendThere = async () =>
    (await inTeam({ path: 'db/creds/app', query: { ttl: '1h' } })).body as { lease_id: string; data: { username: string } }
  const post = (path: string, body: object, namespace = '') =>
    node.ask({ operation: 'update', method: 'POST', path, body: { ...body }, namespace })

  test('GHSA-c36x-h252-g9x2, CVE-2026-45808: a lease of another namespace is not looked up, prolonged or revoked, by the old routes neither', async () => {
    const { lease_id, data } = await lendThere()
    const own = await lend({ ttl: '1h' })
    expect((await post('sys/leases/lookup', { lease_id }, 'team')).status).toBe(200)
    for (const [id, namespace] of [
      [lease_id, ''],
      [own.id, 'team'],
    ] as const) {
      expect((await post('sys/leases/lookup', { lease_id: id }, namespace)).body.errors).toEqual(['invalid lease'])
      for (const path of ['sys/leases/renew', 'sys/renew', `sys/renew/${id}`]) {
        expect((await post(path, { lease_id: id }, namespace)).body.errors, path).toEqual(['lease not found'])
      }
      for (const path of [
        'sys/leases/revoke',
        'sys/revoke',
        `sys/revoke/${id}`,
        `sys/leases/revoke-prefix/${id}`,
        `sys/revoke-force/${id}`,
      ]) {
        await post(path, { lease_id: id }, namespace)
      }
    }
    expect((await post('sys/leases/lookup', { lease_id }, 'team')).status).toBe(200)
    expect((await lookup(own.id)).status).toBe(200)
    expect([lending.users.has(data.username), lending.users.has(own.user)]).toEqual([true, true])
  })

  test('the same by prefix, and by what is listed', async () => {
    const { lease_id, data } = await lendThere()
    await post('sys/leases/revoke-prefix/db', {})
    await post('sys/leases/revoke-force/team', {})
    await turn(node, 4)
    expect(lending.users.has(data.username)).toBe(true)
    expect((await node.list('sys/leases/lookup/db')).status).toBe(404)
    expect((await inTeam({ operation: 'list', method: 'LIST', path: 'sys/leases/lookup/db/' })).body.data.keys).toEqual(['creds/'])
    expect((await post('sys/leases/revoke-prefix/db', {}, 'team')).status).toBe(204)
    expect([lending.users.has(data.username), (await post('sys/leases/lookup', { lease_id }, 'team')).status]).toEqual([false, 400])
  })

  test('a token of above ends with what it was lent below', async () => {
    const { token } = await tokenOf()
    const { body } = await inTeam({ path: 'db/creds/app', query: { ttl: '1h' }, token })
    expect((await post('sys/leases/lookup', { lease_id: body.lease_id }, 'team')).status).toBe(200)
    await node.write('auth/token/revoke', { token })
    expect((await post('sys/leases/lookup', { lease_id: body.lease_id }, 'team')).status).toBe(400)
    await turn(node, 5)
    expect(lending.drops.get(body.data.username)).toBe(1)
  })

  test('CVE-2026-40264: a token of another namespace is not prolonged or revoked by its lease', async () => {
    const { accessor } = (await post('auth/token/create', { policies: ['x'], ttl: '1h' }, 'team')).body.auth as { accessor: string }
    const [key] = (await inTeam({ operation: 'list', method: 'LIST', path: 'sys/leases/lookup/auth/token/create/' })).body.data
      .keys as string[]
    const id = `auth/token/create/${key}`
    expect((await lookup(id)).status).toBe(400)
    await node.write('sys/leases/revoke', { lease_id: id })
    await node.write('sys/leases/revoke-prefix/auth/token/create')
    expect((await post('auth/token/lookup-accessor', { accessor }, 'team')).status).toBe(200)
    for (const path of ['auth/token/renew-accessor', 'auth/token/revoke-accessor'])
      expect((await post(path, { accessor })).status, path).toBe(403)
    expect((await post('auth/token/lookup-accessor', { accessor }, 'team')).status).toBe(200)
  })
})
