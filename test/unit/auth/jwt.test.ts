import { createHmac, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { exportJWK, SignJWT } from 'jose'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openHouse, type HouseNode } from '#test/support/core-house.ts'
import { WebServer } from '#test/support/web-server.ts'

let house: Awaited<ReturnType<typeof openHouse>>
let node: HouseNode
let servers: WebServer[] = []
beforeEach(async () => {
  house = await openHouse()
  node = house.node
  await node.write('sys/auth/jwt', { type: 'jwt' })
})
afterEach(async () => {
  await Promise.all(servers.map((server) => server.stop()))
  servers = []
})

const makeKeys = () => generateKeyPairSync('ec', { namedCurve: 'P-256' })
const keys = makeKeys()
const pem = keys.publicKey.export({ type: 'spki', format: 'pem' }).toString()
const seconds = () => Math.floor(house.clock.nowMs() / 1_000)
const claims = (over: object = {}) => ({ sub: 'user-1', aud: 'vault', iss: 'https://issuer', iat: seconds(), exp: seconds() + 60, ...over })
const sign = (over: object = {}, key: KeyObject = keys.privateKey, header: object = {}) =>
  new SignJWT(claims(over)).setProtectedHeader({ alg: 'ES256', ...header }).sign(key)
const login = (jwt: string, role = 'app', over = {}) =>
  node.ask({ operation: 'update', method: 'POST', path: 'auth/jwt/login', token: null, body: { jwt, ...(role ? { role } : {}) }, ...over })
const role = (name: string, body: object = {}) =>
  node.write(`auth/jwt/role/${name}`, { role_type: 'jwt', user_claim: 'sub', bound_audiences: 'vault', token_policies: 'app', ...body })
const statics = () => node.write('auth/jwt/config', { jwt_validation_pubkeys: pem, bound_issuer: 'https://issuer' })

async function keySetServer(...held: { kid?: string; key: KeyObject }[]): Promise<WebServer> {
  const server = await WebServer.start(() => ({ json: { keys: [] } }))
  servers.push(server)
  await serve(server, ...held)
  return server
}
async function serve(server: WebServer, ...held: { kid?: string; key: KeyObject }[]): Promise<void> {
  const list = await Promise.all(held.map(async ({ kid, key }) => ({ ...(await exportJWK(key)), ...(kid === undefined ? {} : { kid }) })))
  server.answer = () => ({ json: { keys: list } })
}

describe('a login with static keys', () => {
  beforeEach(async () => {
    await statics()
    await role('app')
  })

  test('answers a token with the policies of the role, in one entry of the log', async () => {
    const jwt = await sign()
    const before = house.cluster.node(0).status().applied
    const { status, body } = await login(jwt)
    expect([status, body.auth]).toEqual([200, expect.objectContaining({ policies: ['app', 'default'], metadata: { role: 'app' } })])
    expect(house.cluster.node(0).status().applied - before).toBe(1)
    const { data } = (await node.read('auth/token/lookup-self', body.auth.client_token)).body
    expect(data).toMatchObject({ display_name: 'jwt-user-1', entity_id: body.auth.entity_id })
    expect((await node.read(`identity/entity/id/${body.auth.entity_id}`)).body.data.aliases[0]).toMatchObject({
      name: 'user-1',
      mount_type: 'jwt',
    })
  })

  test.each<[string, () => Promise<string> | string, RegExp]>([
    ['of another key', () => sign({}, makeKeys().privateKey), /signed/],
    ['expired', () => sign({ iat: seconds() - 600, exp: seconds() - 61 }), /expired/],
    ['not yet valid', () => sign({ nbf: seconds() + 62, exp: seconds() + 600 }), /not yet valid/],
    ['issued in the future', () => sign({ nbf: seconds() - 10, iat: seconds() + 62, exp: seconds() + 600 }), /future/],
    ['without any time', () => sign({ iat: undefined, exp: undefined }), /no issued at/],
    ['with a time that is none', () => sign({ nbf: '1' as never }), /number/],
    ['of another issuer', () => sign({ iss: 'https://other' }), /issuer/],
    ['for another audience', () => sign({ aud: ['other'] }), /aud claim/],
    ['for no audience', () => sign({ aud: undefined }), /aud claim/],
    ['of nobody', () => sign({ sub: undefined }), /"sub" not found/],
    ['of a name that is no text', () => sign({ sub: 7 as never }), /converted/],
    ['that is none', () => 'x.y.z', /error validating token/],
    ['of many characters', () => 'x'.repeat(40_000), /characters/],
    ['unsigned', () => `${b64({ alg: 'none' })}.${b64(claims())}.`, /error validating token/],
    // The public key taken for the secret of an HMAC: the oldest trick of all.
    ['signed by the public key', () => hmac({ alg: 'HS256' }), /error validating token/],
    [
      'with a critical header that is unknown',
      () => sign({}, keys.privateKey, { crit: ['x'], x: 1 }).catch(() => 'a.b.c'),
      /error validating/,
    ],
  ])('%s is refused', async (_, made, why) => {
    const { status, body, text } = await login(await made())
    expect(status).toBe(400)
    expect(body.errors[0]).toMatch(why)
    expect(text).not.toMatch(/user-1|ey[A-Z]/)
  })
  const b64 = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const hmac = (header: object): string => {
    const input = `${b64(header)}.${b64(claims())}`
    return `${input}.${createHmac('sha256', pem).update(input).digest('base64url')}`
  }

  test('bears clocks that differ, as far as the role says', async () => {
    for (const over of [{ exp: seconds() - 59 }, { iat: seconds() + 59, exp: seconds() + 600 }, { nbf: seconds() + 59 }])
      expect((await login(await sign(over))).status).toBe(200)
    await role('app', { clock_skew_leeway: -1 })
    for (const over of [{ exp: seconds() - 1 }, { iat: seconds() + 2, exp: seconds() + 600 }, { nbf: seconds() + 2 }])
      expect((await login(await sign(over))).status).toBe(400)
    await role('app', { clock_skew_leeway: '5m', expiration_leeway: 10, not_before_leeway: 10 })
    expect((await login(await sign({ exp: seconds() - 299 }))).status).toBe(200)
  })

  test('a token without an end has one all the same', async () => {
    expect((await login(await sign({ exp: undefined, iat: seconds() - 200 }))).status).toBe(200)
    expect((await login(await sign({ exp: undefined, iat: seconds() - 211 }))).status).toBe(400)
    await role('app', { expiration_leeway: -1 })
    expect((await login(await sign({ exp: undefined, iat: seconds() - 61 }))).status).toBe(400)
  })

  test('a role without audiences takes no token that is for one', async () => {
    await role('any', { bound_audiences: '', bound_subject: 'user-1' })
    expect((await login(await sign(), 'any')).body.errors[0]).toContain('no audiences bound to the role')
    expect((await login(await sign({ aud: undefined }), 'any')).status).toBe(200)
    expect((await login(await sign({ aud: undefined, sub: 'user-2' }), 'any')).body.errors[0]).toContain('sub claim')
  })

  test('bound claims: all of them, each by one of its values, also by pointer and glob', async () => {
    await role('app', { bound_claims: { org: ['a', 'b'], '/deep/level': 3 } })
    const deep = { level: 3 }
    expect((await login(await sign({ org: 'b', deep }))).status).toBe(200)
    expect((await login(await sign({ org: ['x', 'a'], deep }))).status).toBe(200)
    for (const over of [{ org: 'b' }, { deep }, { org: 'c', deep }, { org: 'b', deep: { level: 4 } }, { org: 'a*', deep }])
      expect((await login(await sign(over))).status).toBe(400)
    await role('app', { bound_claims: { org: 'team-*-x' }, bound_claims_type: 'glob' })
    expect((await login(await sign({ org: 'team-1-x' }))).status).toBe(200)
    expect((await login(await sign({ org: 'team-1-y' }))).status).toBe(400)
    expect((await role('app', { bound_claims: { org: [1] }, bound_claims_type: 'glob' })).status).toBe(400)
  })

  test('claims become metadata, groups and the name', async () => {
    await role('app', {
      user_claim: '/who/mail',
      user_claim_json_pointer: true,
      groups_claim: 'groups',
      claim_mappings: { org: 'organisation', gone: 'x' },
    })
    const group = (await node.write('identity/group', { name: 'crew', type: 'external', policies: ['crew-policy'] })).body.data.id
    const { accessor } = (await node.read('sys/auth')).body.data['jwt/']
    await node.write('identity/group-alias', { name: 'g1', mount_accessor: accessor, canonical_id: group })
    const { body } = await login(await sign({ who: { mail: 'a@b.c' }, groups: ['g1', 'g2'], org: 7 }))
    expect(body.auth).toMatchObject({ metadata: { organisation: '7', role: 'app' }, identity_policies: ['crew-policy'] })
    expect((await login(await sign({ who: { mail: 'a@b.c' } }))).body.errors[0]).toContain('"groups" claim not found')
    expect((await login(await sign({ who: { mail: 'a@b.c' }, groups: [1] }))).status).toBe(400)
  })

  test('is refused from elsewhere, for roles that are not there, and for those of the browser', async () => {
    await role('far', { token_bound_cidrs: '10.0.0.0/8' })
    expect((await login(await sign(), 'far')).status).toBe(403)
    expect((await login(await sign(), 'far', { clientAddress: '10.1.1.1' })).status).toBe(200)
    expect((await login(await sign(), 'none')).body.errors).toEqual(['role "none" could not be found'])
    expect((await login(await sign(), '')).body.errors).toEqual(['missing role'])
    await node.write('auth/jwt/role/web', { user_claim: 'sub', allowed_redirect_uris: 'http://localhost:8250/oidc/callback' })
    expect((await login(await sign(), 'web')).body.errors).toEqual(['role with oidc role_type is not allowed'])
    expect((await login('', 'app')).body.errors).toEqual(['missing token'])
  })

  test('renewing asks for the role', async () => {
    const { client_token } = (await login(await sign())).body.auth
    await role('app', { token_ttl: 120 })
    expect((await node.write('auth/token/renew-self', {}, client_token)).body.auth.lease_duration).toBe(120)
    await node.remove('auth/jwt/role/app')
    expect((await node.write('auth/token/renew-self', {}, client_token)).status).toBe(400)
  })
})

describe('a key set', () => {
  test('without names, of which several might fit, are fetched again too when none does', async () => {
    const [before, next] = [makeKeys(), makeKeys()]
    const server = await keySetServer({ key: before.publicKey }, { key: keys.publicKey })
    await node.write('auth/jwt/config', { jwks_url: server.url })
    await role('app')
    expect((await login(await sign())).status).toBe(200)
    await serve(server, { key: keys.publicKey }, { key: next.publicKey })
    house.clock.advance(3_000)
    expect((await login(await sign({}, next.privateKey))).status).toBe(200)
    expect((await login(await sign({}, makeKeys().privateKey))).status).toBe(400)
  })

  test('is asked once, and again when its keys have changed, but not by a flood of forgeries', async () => {
    const server = await keySetServer({ kid: 'one', key: keys.publicKey })
    expect((await node.write('auth/jwt/config', { jwks_url: `${server.url}/keys`, default_role: 'app' })).status).toBe(204)
    await role('app')
    const one = () => sign({}, keys.privateKey, { kid: 'one' })
    for (let round = 0; round < 3; round += 1) expect((await login(await one(), '')).status).toBe(200)
    expect(server.asked.length).toBe(1)
    const next = makeKeys()
    await serve(server, { kid: 'two', key: next.publicKey })
    const two = await sign({}, next.privateKey, { kid: 'two' })
    for (let round = 0; round < 5; round += 1) expect((await login(two)).status).toBe(400)
    expect(server.asked.length).toBe(1)
    house.clock.advance(2_000)
    expect((await login(two)).status).toBe(200)
    expect(server.asked.length).toBe(2)
    // The withdrawn key lets nobody in any more.
    expect((await login(await one())).status).toBe(400)
  })

  test('without key ids is tried key by key', async () => {
    const other = makeKeys()
    const server = await keySetServer({ key: other.publicKey }, { key: keys.publicKey })
    await node.write('auth/jwt/config', { jwks_url: server.url })
    await role('app')
    expect((await login(await sign())).status).toBe(200)
    expect((await login(await sign({}, other.privateKey))).status).toBe(200)
    expect((await login(await sign({}, makeKeys().privateKey))).status).toBe(400)
  })

  test('that is away, hangs or answers rubbish ends the login in bounded time, and says so', async () => {
    const server = await keySetServer({ key: keys.publicKey })
    await node.write('auth/jwt/config', { jwks_url: server.url })
    await role('app')
    house.clock.advance(300_001)
    server.answer = () => null
    const jwt = await sign()
    const hanging = login(jwt)
    while (server.asked.length < 2) await new Promise((resolve) => setTimeout(resolve, 5))
    house.clock.advance(10_000)
    const late = await hanging
    expect([late.status, late.body.errors[0]]).toEqual([502, 'the OpenID provider expected an answer, got no answer within 10000 ms'])
    for (const json of ['<html>', { keys: 1 }, 'x'.repeat(1_100_000)]) {
      server.answer = () => ({ json })
      expect((await login(await sign())).status).toBe(502)
    }
    server.answer = () => ({ status: 500, json: {} })
    expect((await login(await sign())).body.errors[0]).toContain('status 500')
    await server.stop()
    servers = []
    const away = await login(await sign())
    expect([away.status, away.body.errors[0]]).toEqual([502, expect.stringContaining('ECONNREFUSED')])
  })

  test('that another mount looks for where a provider is discovered keeps nobody of that provider out', async () => {
    const server = await keySetServer()
    const { promise: going, resolve: go } = Promise.withResolvers<void>()
    const set = [{ ...(await exportJWK(keys.publicKey)), kid: 'one' }]
    server.answer = async ({ path }) => {
      if (path === '/keys') return { json: { keys: set } }
      await going
      return { json: { issuer: server.url, jwks_uri: `${server.url}/keys` } }
    }
    await node.write('auth/jwt/config', { oidc_discovery_url: server.url, skip_jwks_validation: true })
    await role('app')
    const discovery = `${server.url}/.well-known/openid-configuration`
    await node.write('sys/auth/strange', { type: 'jwt' })
    await node.write('auth/strange/config', { jwks_url: discovery, skip_jwks_validation: true })
    await node.write('auth/strange/role/app', { role_type: 'jwt', user_claim: 'sub', bound_audiences: 'vault' })
    const jwt = await sign({ iss: server.url }, keys.privateKey, { kid: 'one' })
    const strange = login(jwt, 'app', { path: 'auth/strange/login' })
    while (server.asked.length < 1) await new Promise((resolve) => setTimeout(resolve, 5))
    const own = login(jwt)
    for (let turn = 0; turn < 20 && server.asked.length < 2; turn += 1) await new Promise((resolve) => setTimeout(resolve, 5))
    go()
    expect([(await own).status, (await strange).status]).toEqual([200, 502])
  })

  test('never lends a symmetric key', async () => {
    const server = await keySetServer()
    const secret = Buffer.from('a secret of thirty-two bytes, yes')
    server.answer = () => ({ json: { keys: [{ kty: 'oct', k: secret.toString('base64url'), alg: 'HS256' }] } })
    await node.write('auth/jwt/config', { jwks_url: server.url })
    await role('app')
    const jwt = await new SignJWT(claims()).setProtectedHeader({ alg: 'HS256' }).sign(secret)
    expect((await login(jwt)).status).toBe(400)
  })
})

describe('a quota of a role', () => {
  const limit = async (path: string, role: string): Promise<void> => {
    expect((await node.write('sys/quotas/rate-limit/few', { path, role, rate: 1, interval: '1h' })).status).toBe(204)
    const [{ feed }] = house.quotas as [(typeof house.quotas)[number]]
    await feed.settled()
    house.clock.advance(60)
    feed.look()
    await feed.settled()
  }

  test('holds for logins that name no role where it is the default one', async () => {
    await node.write('auth/jwt/config', { jwt_validation_pubkeys: pem, default_role: 'App' })
    await role('app')
    await limit('auth/jwt', 'app')
    const jwt = await sign()
    expect([(await login(jwt, '')).status, (await login(jwt, '')).status, (await login(jwt)).status]).toEqual([200, 429, 429])
  })

  test('holds for the end of a login at the provider', async () => {
    const server = await WebServer.start(({ path }) =>
      path === '/token'
        ? { status: 400, json: { error: 'invalid_grant' } }
        : {
            json: {
              issuer: server.url,
              jwks_uri: `${server.url}/keys`,
              authorization_endpoint: `${server.url}/auth`,
              token_endpoint: `${server.url}/token`,
            },
          },
    )
    servers.push(server)
    await node.write('auth/jwt/config', { oidc_discovery_url: server.url, oidc_client_id: 'us', skip_jwks_validation: true })
    await role('web', { role_type: 'oidc', allowed_redirect_uris: 'http://localhost:1/back' })
    await limit('auth/jwt', 'web')
    const begun = await node.write('auth/jwt/oidc/auth_url', { role: 'web', redirect_uri: 'http://localhost:1/back' }, null)
    const state = new URL(begun.body.data.auth_url).searchParams.get('state') ?? ''
    const finish = async (query: Record<string, string>) => (await node.read('auth/jwt/oidc/callback', null, query)).status
    expect([await finish({ state, code: 'x' }), await finish({ state, code: 'y' })]).toEqual([400, 429])
    expect(await finish({ state: 'none', code: 'z' }), 'a state that is none is of no role').toBe(400)
  })
})

describe('the configuration', () => {
  test.each<[object, RegExp]>([
    [{}, /exactly one/],
    [{ jwks_url: 'http://a/', jwt_validation_pubkeys: pem }, /exactly one/],
    [{ jwks_url: 'file:///etc/passwd' }, /http or https/],
    [{ jwks_url: 'http://user:pass@a/' }, /http or https/],
    [{ jwt_validation_pubkeys: 'nonsense' }, /public keys/],
    [{ jwt_validation_pubkeys: keys.privateKey.export({ type: 'pkcs8', format: 'pem' }) }, /public keys/],
    [{ jwt_validation_pubkeys: pem, jwt_supported_algs: 'HS256' }, /HS256/],
    [{ jwt_validation_pubkeys: pem, oidc_client_id: 'x' }, /oidc_discovery_url/],
    [{ jwks_url: 'http://127.0.0.1:1/' }, /error checking jwks URL/],
    [{ oidc_discovery_url: 'http://127.0.0.1:1/' }, /error checking oidc discovery URL/],
  ])('%o is refused', async (body, why) => {
    const answer = await node.write('auth/jwt/config', body as Record<string, unknown>)
    expect([answer.status, answer.body.errors[0]]).toEqual([400, expect.stringMatching(why)])
    expect((await node.read('auth/jwt/config')).status).toBe(404)
  })

  test('is shown without the secret, and replaced as a whole', async () => {
    await node.write('auth/jwt/config', {
      oidc_discovery_url: 'https://nowhere.invalid',
      oidc_client_id: 'me',
      oidc_client_secret: 'hush',
      skip_jwks_validation: true,
    })
    const { text, body } = await node.read('auth/jwt/config')
    expect(body.data).toMatchObject({ oidc_client_id: 'me', oidc_discovery_url: 'https://nowhere.invalid' })
    expect(text).not.toContain('hush')
    await statics()
    expect((await node.read('auth/jwt/config')).body.data.oidc_client_id).toBe('')
  })

  test('of roles: what guards nothing is refused, the rest is shown, listed and deleted', async () => {
    const bad: [object, RegExp][] = [
      [{ user_claim: '' }, /user claim/],
      [{ bound_audiences: '' }, /bound constraint/],
      [{ role_type: 'oidc' }, /allowed_redirect_uris/],
      [{ claim_mappings: { a: 'role' } }, /reserved/],
      [{ claim_mappings: { a: 'x', b: 'x' } }, /each metadata key once/],
    ]
    for (const [body, why] of bad) expect((await role('x', body)).body.errors[0]).toMatch(why)
    await role('App', { token_ttl: '1m' })
    await node.write('auth/jwt/role/app', { groups_claim: 'groups' })
    expect((await node.read('auth/jwt/role/APP')).body.data).toMatchObject({
      groups_claim: 'groups',
      bound_audiences: ['vault'],
      token_ttl: 60,
    })
    expect((await node.list('auth/jwt/role')).body.data.keys).toEqual(['app'])
    await node.remove('auth/jwt/role/app')
    expect((await node.read('auth/jwt/role/app')).status).toBe(404)
  })
})
