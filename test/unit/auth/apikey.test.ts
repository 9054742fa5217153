import fc from 'fast-check'
import { beforeEach, describe, expect, test } from 'vitest'
import { secretIsGood } from '#auth/apikey/keys.ts'
import { newId, newSecret, parseKey, printKey } from '#auth/apikey/shape.ts'
import { systemRandom } from '#base/random.ts'
import { openHouse, type HouseNode } from '#test/support/core-house.ts'

let house: Awaited<ReturnType<typeof openHouse>>
let node: HouseNode
beforeEach(async () => {
  house = await openHouse()
  node = house.node
  await node.write('sys/auth/apikey', { type: 'apikey' })
})
const make = async (body: object = {}): Promise<{ id: string; key: string }> =>
  (await node.write('auth/apikey/key', { name: 'ci', token_policies: 'app', ...body })).body.data
const login = (key: string, over = {}) =>
  node.ask({ operation: 'update', method: 'POST', path: 'auth/apikey/login', token: null, body: { key }, ...over })
const wrong = { errors: ['invalid API key'] }

describe('the shape', () => {
  test('is read back, and no change of one letter is', () => {
    const parts = { id: newId(systemRandom), secret: newSecret(systemRandom) }
    const text = printKey(parts)
    expect(text).toMatch(/^hfk_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}$/)
    expect(parseKey(text)).toEqual(parts)
    const letter = fc.constantFrom(...'0123456789ABCXYZabcxyz_- '.split(''))
    fc.assert(
      fc.property(fc.nat(text.length - 1), letter, (at, other) => {
        fc.pre(text[at] !== other)
        expect(parseKey(text.slice(0, at) + other + text.slice(at + 1))).toBeNull()
      }),
      { numRuns: 2_000 },
    )
    for (const none of ['', text.slice(0, -1), `${text}0`, ` ${text}`, `${text}\n`]) expect(parseKey(none)).toBeNull()
  })
})

test('a key is told once, and logs in, in one entry of the log', async () => {
  const { id, key } = await make({ metadata: { team: 'core' }, token_ttl: 60 })
  const before = house.cluster.node(0).status().applied
  const { status, body } = await login(key)
  expect([status, body.auth]).toEqual([
    200,
    expect.objectContaining({ policies: ['app', 'default'], metadata: { team: 'core', key_id: id }, lease_duration: 60 }),
  ])
  expect(house.cluster.node(0).status().applied - before).toBe(1)
  const shown = await node.read(`auth/apikey/key/${id}`)
  expect(shown.body.data).toMatchObject({ name: 'ci', metadata: { team: 'core' }, expiration: null, token_policies: ['app'] })
  expect(shown.text).not.toContain(key.slice(17, 40))
  expect((await node.list('auth/apikey/key')).body.data.keys).toEqual([id])
})

test('a key that is unknown, mistyped, revoked or expired is answered alike', async () => {
  const { id, key } = await make({ ttl: '1h' })
  const other = await make()
  await node.remove(`auth/apikey/key/${other.id}`)
  const mixed = printKey({ id, secret: newSecret(systemRandom) })
  for (const none of ['x', `${key}x`, other.key, mixed, printKey({ id: newId(systemRandom), secret: newSecret(systemRandom) })])
    expect((await login(none)).body).toEqual(wrong)
  const { client_token } = (await login(key)).body.auth
  house.clock.advance(3_600_000)
  expect((await login(key)).body).toEqual(wrong)
  expect((await node.write('auth/token/renew-self', {}, client_token)).status).toBe(400)
  await node.write(`auth/apikey/key/${id}`, { ttl: 60 })
  expect((await login(key)).status).toBe(200)
})

test('rotating makes another secret; the one before stays good only as long as was said', async () => {
  const { id, key } = await make()
  const next = (await node.write(`auth/apikey/key/${id}/rotate`)).body.data.key
  expect((await login(key)).body).toEqual(wrong)
  expect((await login(next)).status).toBe(200)
  const third = (await node.write(`auth/apikey/key/${id}/rotate`, { grace: '10m' })).body.data.key
  for (const good of [next, third]) expect((await login(good)).status).toBe(200)
  house.clock.advance(600_000)
  expect((await login(next)).body).toEqual(wrong)
  expect((await login(third)).status).toBe(200)
  expect((await node.write('auth/apikey/key/none/rotate')).status).toBe(404)
  expect((await node.write(`auth/apikey/key/${id}/rotate`, { grace: -1 })).status).toBe(400)
})

describe('a renewal', () => {
  const renew = async (token: string) => (await node.write('auth/token/renew-self', {}, token)).body
  const tokenOf = async (key: string): Promise<string> => (await login(key)).body.auth.client_token
  const rotate = async (id: string, body = {}): Promise<string> => (await node.write(`auth/apikey/key/${id}/rotate`, body)).body.data.key
  const rotated = { errors: ['the API key was rotated, not renewing'] }

  test('is for tokens of a secret that is still good', async () => {
    const { id, key } = await make()
    const first = await tokenOf(key)
    const next = await rotate(id)
    expect(await renew(first)).toEqual(rotated)
    expect((await node.read('auth/token/lookup-self', first)).status).toBe(200)
    const second = await tokenOf(next)
    expect((await renew(second)).auth.lease_duration).toBeGreaterThan(0)
    const third = await tokenOf(await rotate(id, { grace: '10m' }))
    const late = await tokenOf(next)
    house.clock.advance(599_999)
    for (const token of [second, third, late]) expect((await renew(token)).errors).toBeUndefined()
    expect(await renew(first)).toEqual(rotated)
    house.clock.advance(1)
    for (const token of [second, late]) expect(await renew(token)).toEqual(rotated)
    expect((await renew(third)).errors).toBeUndefined()
  })

  test('is refused where the policies have changed', async () => {
    const { id, key } = await make({ token_policies: 'app,more' })
    const token = await tokenOf(key)
    await node.write(`auth/apikey/key/${id}`, { token_policies: 'app' })
    expect(await renew(token)).toEqual({ errors: ['policies have changed, not renewing'] })
    await node.write(`auth/apikey/key/${id}`, { token_policies: 'more,app', token_ttl: 60 })
    expect((await renew(token)).auth.lease_duration).toBe(60)
    await node.write(`auth/apikey/key/${id}`, { token_no_default_policy: true })
    expect((await renew(token)).errors).toEqual(['policies have changed, not renewing'])
  })
})

describe('of the secret that got a token', () => {
  const key = { hash: 'new', previous: { hash: 'old', untilMs: 200 }, rotatedMs: 100 }
  test.each([
    ['new', 0, 150, true],
    ['old', 0, 150, true],
    ['old', 0, 200, false],
    ['older', 150, 150, false],
    // Of before it was laid down: by the time at which they were made.
    [undefined, 100, 300, true],
    [undefined, 99, 300, false],
    [undefined, 99, 150, true],
  ])('%s, made at %i, renewed at %i', (hash, madeMs, nowMs, good) => {
    expect(secretIsGood(key, { hash, madeMs }, nowMs)).toBe(good)
    expect(secretIsGood({ ...key, previous: null }, { hash, madeMs }, nowMs)).toBe(hash === 'new' || (hash === undefined && madeMs >= 100))
  })
})

test('is held to its addresses, gives no root, and takes no metadata that poses', async () => {
  const { key } = await make({ token_bound_cidrs: '10.0.0.0/8' })
  expect((await login(key)).status).toBe(403)
  expect((await login(key, { clientAddress: '10.1.1.1' })).status).toBe(200)
  expect((await login((await make({ token_policies: 'root' })).key)).body.errors).toEqual(['auth methods cannot create root tokens'])
  expect((await node.write('auth/apikey/key', { metadata: { key_id: 'x' } })).status).toBe(400)
})

test('what is kept of a key is what its tokens can have: as much as that logs in, and more is refused when it is written', async () => {
  const pairs = (count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, at) => [`k${at}`.padEnd(128, 'k'), 'v'.repeat(512)]))
  const { key } = await make({ name: 'n'.repeat(256), metadata: pairs(63) })
  expect((await login(key)).status).toBe(200)
  for (const body of [
    { metadata: pairs(64) },
    { metadata: { key_id: 'x' } },
    { metadata: { a: 'v'.repeat(513) } },
    { metadata: { ['k'.repeat(129)]: 'v' } },
    { name: 'n'.repeat(257) },
  ])
    expect((await node.write('auth/apikey/key', body)).status, JSON.stringify(body).slice(0, 40)).toBe(400)
})
