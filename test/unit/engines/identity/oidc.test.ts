/** Identity's own tokens: signed, published, rotated, and told apart from others. Verified by jose as a relying party would. */
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, generateKeyPair, jwtVerify, SignJWT } from 'jose'
import { beforeEach, describe, expect, test } from 'vitest'
import { openHouse, type Answer, type HouseNode } from '#test/support/core-house.ts'

type House = Awaited<ReturnType<typeof openHouse>>
let opened: House
let node: HouseNode
let caller: string
let entityId: string

const ok = async (answer: Promise<Answer>): Promise<Answer['body']['data']> => {
  const { status, body, text } = await answer
  expect(status, text).toBeLessThan(300)
  return body?.data
}

const errorOf = async (answer: Promise<Answer>): Promise<string> => {
  const { status, body, text } = await answer
  expect(status, text).toBe(400)
  return body.errors[0]
}

/** Somebody with an entity, who may ask for tokens of every role. */
async function login(namespace = ''): Promise<string> {
  const ask = (path: string, body: Record<string, unknown>) => node.ask({ operation: 'update', namespace, path, body })
  await ok(ask('sys/policies/acl/tokens', { policy: 'path "identity/oidc/*" { capabilities = ["create", "read", "update"] }' }))
  await ok(ask('sys/auth/userpass', { type: 'userpass' }))
  await ok(ask('auth/userpass/users/ada', { password: 'correct horse', token_policies: ['tokens'] }))
  const answer = await node.ask({
    operation: 'update',
    namespace,
    path: 'auth/userpass/login/ada',
    body: { password: 'correct horse' },
    token: null,
  })
  return answer.body.auth.client_token
}

beforeEach(async () => {
  opened = await openHouse()
  node = opened.node
  caller = await login()
  entityId = (await ok(node.read('auth/token/lookup-self', caller))).entity_id
  await ok(node.write('identity/entity', { id: entityId, name: 'ada', metadata: { team: 'red', quote: '","sub":"root' } }))
})

const keySet = async (): Promise<{ keys: { kid: string; alg: string }[] }> => (await node.read('identity/oidc/.well-known/keys', null)).body
const kids = async (): Promise<string[]> => (await keySet()).keys.map(({ kid }) => kid)
const tokenOf = async (role: string): Promise<{ token: string; client_id: string; ttl: number }> =>
  ok(node.read(`identity/oidc/token/${role}`, caller))
const introspect = async (token: string, more: Record<string, unknown> = {}): Promise<{ active: boolean; error?: string }> =>
  (await node.write('identity/oidc/introspect', { token, ...more })).body
const verified = async (token: string) => {
  const set = await keySet()
  return jwtVerify(token, createLocalJWKSet(set as Parameters<typeof createLocalJWKSet>[0]), { currentDate: new Date(node.nowMs()) })
}

describe('a token of identity', () => {
  test('says who asked, to whom, from when until when, and is verified by the published keys', async () => {
    await ok(node.write('identity/oidc/role/app', { key: 'default', ttl: '1h' }))
    const { token, client_id, ttl } = await tokenOf('app')
    const { payload, protectedHeader } = await verified(token)
    const seconds = Math.floor(node.nowMs() / 1_000)
    expect(payload).toEqual({
      iss: 'http://127.0.0.1:8200/v1/identity/oidc',
      sub: entityId,
      aud: client_id,
      iat: seconds,
      exp: seconds + 3_600,
      namespace: 'root',
    })
    expect(protectedHeader).toEqual({ alg: 'RS256', kid: expect.any(String) })
    expect([client_id.length, ttl]).toEqual([26, 3_600])
    expect(await introspect(token)).toEqual({ active: true })
    expect(await introspect(token, { client_id })).toEqual({ active: true })
  })

  test.each(['RS256', 'RS512', 'ES256', 'ES384', 'ES512', 'EdDSA'])('is signed with %s', async (algorithm) => {
    await ok(node.write('identity/oidc/key/k', { algorithm, allowed_client_ids: '*' }))
    await ok(node.write('identity/oidc/role/app', { key: 'k' }))
    const { protectedHeader } = await verified((await tokenOf('app')).token)
    expect(protectedHeader.alg).toBe(algorithm)
  })

  test('is for those who have an entity here', async () => {
    await ok(node.write('identity/oidc/role/app', { key: 'default' }))
    expect(await errorOf(node.read('identity/oidc/token/app'))).toBe("no entity associated with the request's token")
    expect(await errorOf(node.read('identity/oidc/token/none', caller))).toBe('role "none" not found')
    expect((await node.read('identity/oidc/token/app', null)).status).toBe(403)
  })

  test('is given where the key names the audience', async () => {
    await ok(node.write('identity/oidc/key/k', { algorithm: 'ES256', allowed_client_ids: ['other'] }))
    await ok(node.write('identity/oidc/role/app', { key: 'k', client_id: 'mine' }))
    expect(await errorOf(node.read('identity/oidc/token/app', caller))).toBe(
      'the key "k" does not list the client ID of the role "app" as an allowed client ID',
    )
    await ok(node.write('identity/oidc/key/k', { allowed_client_ids: ['other', 'mine'] }))
    expect(decodeJwt((await tokenOf('app')).token).aud).toBe('mine')
  })

  test('is told by introspection from one that is old, for another, of a stranger or of nobody', async () => {
    await ok(node.write('identity/oidc/key/k', { algorithm: 'ES256', allowed_client_ids: '*' }))
    await ok(node.write('identity/oidc/role/app', { key: 'k', ttl: '10m' }))
    const { token } = await tokenOf('app')
    expect(await introspect(token, { client_id: 'another' })).toEqual({ active: false, error: 'claim "aud" is missing or another' })
    const { privateKey } = await generateKeyPair('ES256')
    const forged = await new SignJWT(decodeJwt(token)).setProtectedHeader({ alg: 'ES256', kid: (await kids())[0]! }).sign(privateKey)
    expect(await introspect(forged)).toMatchObject({ active: false, error: expect.stringContaining('not signed') })
    const unsigned = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${token.split('.')[1]}.`
    expect((await introspect(unsigned)).active).toBe(false)
    expect((await introspect('rubbish')).active).toBe(false)
    await ok(node.write(`identity/entity/id/${entityId}`, { disabled: true }))
    expect(await introspect(token)).toEqual({ active: false, error: 'entity is disabled' })
    await ok(node.remove(`identity/entity/id/${entityId}`))
    expect(await introspect(token)).toEqual({ active: false, error: 'entity was not found' })
    opened.clock.advance(601_000)
    expect(await introspect(token)).toEqual({ active: false, error: 'token is expired' })
  })

  test('of one namespace is none in another, and an entity of a namespace above is nobody below', async () => {
    await ok(node.write('sys/namespaces/team'))
    await ok(node.ask({ operation: 'update', namespace: 'team', path: 'identity/oidc/role/app', body: { key: 'default' } }))
    await ok(node.write('identity/oidc/role/app', { key: 'default' }))
    const { token } = await tokenOf('app')
    const inTeam = await node.ask({ operation: 'update', namespace: 'team', path: 'identity/oidc/introspect', body: { token } })
    expect(inTeam.body).toMatchObject({ active: false })
    await ok(node.write('sys/policies/acl/below', { policy: 'path "team/identity/oidc/*" { capabilities = ["read"] }' }))
    await ok(node.write(`identity/entity/id/${entityId}`, { policies: ['below'] }))
    expect(await errorOf(node.ask({ namespace: 'team', path: 'identity/oidc/token/app', token: caller }))).toMatch(/no entity/)
    const theirs = await login('team')
    const own = await node.ask({ namespace: 'team', path: 'identity/oidc/token/app', token: theirs })
    expect(decodeJwt(own.body.data.token)).toMatchObject({
      iss: 'http://127.0.0.1:8200/v1/team/identity/oidc',
      namespace: expect.not.stringMatching(/^root$/),
    })
  })
})

describe('a template', () => {
  const claims = async (template: string): Promise<Record<string, unknown>> => {
    await ok(node.write('identity/oidc/role/app', { key: 'default', template }))
    return decodeJwt((await tokenOf('app')).token)
  }

  test('gives claims of the entity, its groups and aliases, and the time', async () => {
    const group = await ok(node.write('identity/group', { name: 'red', member_entity_ids: [entityId] }))
    const accessor = (await ok(node.read('sys/auth')))['userpass/'].accessor
    const said = await claims(`{
      "who": {{identity.entity.name}}, "team": {{ identity.entity.metadata.team }}, "none": {{identity.entity.metadata.none}},
      "all": {{identity.entity.metadata}}, "groups": { "ids": {{identity.entity.groups.ids}}, "names": {{identity.entity.groups.names}} },
      "login": [{{identity.entity.aliases.${accessor}.name}}, {{identity.entity.aliases.${accessor}.metadata}}, {{identity.entity.aliases.nobody.metadata}}],
      "times": [{{time.now}}, {{time.now.plus.1h}}, {{time.now.minus.60}}], "fixed": [1, true, null, "x"]
    }`)
    const seconds = Math.floor(node.nowMs() / 1_000)
    expect(said).toMatchObject({
      who: 'ada',
      team: 'red',
      none: '',
      all: { team: 'red', quote: '","sub":"root' },
      groups: { ids: [group.id], names: ['red'] },
      login: ['ada', expect.any(Object), {}],
      times: [seconds, seconds + 3_600, seconds - 60],
      fixed: [1, true, null, 'x'],
      sub: entityId,
    })
  })

  test('may come as base64, and no value in it ends a string or adds a claim', async () => {
    const said = await claims(Buffer.from('{"quote": {{identity.entity.metadata.quote}}}').toString('base64'))
    expect(said).toMatchObject({ quote: '","sub":"root', sub: entityId })
  })

  test.each([
    ['no JSON', '{"a": }', 'error parsing template JSON'],
    ['a list', '[{{identity.entity.name}}]', 'error parsing template JSON'],
    ['a value within a string', '{"a": "x {{identity.entity.name}}"}', 'error parsing template JSON'],
    ['a map within a string', '{"a": "x{{identity.entity.metadata}}y"}', 'error parsing template JSON'],
    ['a value as a key', '{ {{identity.entity.name}}: 1}', 'as a key'],
    ['an unknown one', '{"a": {{identity.entity.password}}}', 'unknown template "identity.entity.password"'],
    ['one of the prototype', '{"a": {{constructor}}}', 'unknown template'],
    ['no time', '{"a": {{time.now.plus.soon}}}', 'a time of the template expected a duration'],
    ['a claim of the token itself', '{"sub": "root"}', 'top level key "sub" not allowed'],
    ['the same, written otherwise', String.raw`{"\u0069ss": "x"}`, 'top level key "iss" not allowed'],
  ])('with %s is refused', async (_, template, message) => {
    expect(await errorOf(node.write('identity/oidc/role/app', { key: 'default', template }))).toContain(message)
  })

  test('that looks like a place of its own is left as it is', async () => {
    expect(await claims(String.raw`{"a": "place-0-0", "b": "pl\u0061ce-1-9", "c": {{identity.entity.name}}}`)).toMatchObject({
      a: 'place-0-0',
      b: 'place-1-9',
      c: 'ada',
    })
  })

  test('that takes in more than a token should carry gives none', async () => {
    const metadata = Object.fromEntries(Array.from({ length: 64 }, (_, at) => [`key-${at}`, 'x'.repeat(500)]))
    await ok(node.write(`identity/entity/id/${entityId}`, { metadata }))
    await ok(
      node.write('identity/oidc/role/app', {
        key: 'default',
        template: '{"a": {{identity.entity.metadata}}, "b": {{identity.entity.metadata}}}',
      }),
    )
    expect(await errorOf(node.read('identity/oidc/token/app', caller))).toMatch(/at most 65536 bytes/)
  })
})

describe('keys', () => {
  test('take turns by time: the next was published before, and what was signed is verified until its time is over', async () => {
    await ok(
      node.write('identity/oidc/key/k', { algorithm: 'ES256', rotation_period: '1h', verification_ttl: '2h', allowed_client_ids: '*' }),
    )
    await ok(node.write('identity/oidc/role/app', { key: 'k', ttl: '2h' }))
    const [first, second] = await kids()
    const { token } = await tokenOf('app')
    expect(decodeProtectedHeader(token).kid).toBe(first)
    expect((await node.read('identity/oidc/.well-known/keys', null)).headers['cache-control']).toBe('max-age=3600')
    node.core.startJobs()
    await jobsUntil(3_600_000, async () => (await kids()).length === 3)
    const after = await kids()
    expect(after.slice(0, 2)).toEqual([first, second])
    expect(decodeProtectedHeader((await tokenOf('app')).token).kid).toBe(second)
    expect(await introspect(token)).toEqual({ active: true })
    await jobsUntil(3_600_000, async () => (await kids()).length === 4)
    expect(await kids()).toContain(first)
    await jobsUntil(3_600_000, async () => !(await kids()).includes(first!))
    expect(await introspect(token)).toMatchObject({ active: false })
    await node.core.stopJobs()
  })

  test('are rotated by hand, with another time for what was signed', async () => {
    await ok(node.write('identity/oidc/key/k', { algorithm: 'EdDSA', allowed_client_ids: '*' }))
    await ok(node.write('identity/oidc/role/app', { key: 'k' }))
    const { token } = await tokenOf('app')
    const [first, second] = await kids()
    await ok(node.write('identity/oidc/key/k/rotate', { verification_ttl: 0 }))
    expect(await kids()).toEqual([second, expect.any(String)])
    expect(await introspect(token), 'verified no more, at once').toMatchObject({ active: false })
    await ok(node.write('identity/oidc/key/k/rotate'))
    expect(await kids()).toHaveLength(3)
    expect(await kids()).not.toContain(first)
    expect(await errorOf(node.write('identity/oidc/key/k/rotate', { verification_ttl: '11d' }))).toBe(
      'verification_ttl cannot be longer than 10x rotation_period',
    )
    expect(await errorOf(node.write('identity/oidc/key/none/rotate'))).toBe('no named key found at "none"')
  })

  test('rotated without end are refused before what anybody may read grows', async () => {
    await ok(node.write('identity/oidc/key/k', { algorithm: 'EdDSA' }))
    let refused = ''
    for (let count = 0; count < 20 && refused === ''; count += 1) {
      const answer = await node.write('identity/oidc/key/k/rotate')
      if (answer.status === 400) refused = answer.body.errors[0]
    }
    expect(refused).toMatch(/at most 16 keys/)
    expect(await kids()).toHaveLength(16)
    expect(await errorOf(node.write('identity/oidc/key/k', { algorithm: 'ES256' })), 'nor by another algorithm').toMatch(/at most 16 keys/)
  })

  test('of another algorithm begin at once, and what the old ones signed is still verified', async () => {
    await ok(node.write('identity/oidc/key/k', { algorithm: 'ES256', allowed_client_ids: '*' }))
    await ok(node.write('identity/oidc/role/app', { key: 'k' }))
    const { token } = await tokenOf('app')
    await ok(node.write('identity/oidc/key/k', { algorithm: 'EdDSA' }))
    expect((await keySet()).keys.map(({ alg }) => alg)).toEqual(['ES256', 'EdDSA', 'EdDSA'])
    expect(await introspect(token)).toEqual({ active: true })
    expect(decodeProtectedHeader((await tokenOf('app')).token).alg).toBe('EdDSA')
  })

  test('are published without their private halves', async () => {
    await ok(node.write('identity/oidc/key/k', { algorithm: 'ES256' }))
    await ok(node.write('identity/oidc/key/r', { algorithm: 'RS256' }))
    for (const key of (await keySet()).keys) {
      expect(Object.keys(key).toSorted()).toEqual(
        key.alg === 'ES256' ? ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'] : ['alg', 'e', 'kid', 'kty', 'n', 'use'],
      )
    }
    expect(await ok(node.read('identity/oidc/key/k'))).toEqual({
      rotation_period: 86_400,
      verification_ttl: 86_400,
      algorithm: 'ES256',
      allowed_client_ids: [],
    })
  })

  test('that roles need are not deleted, nor shortened below what the roles promise', async () => {
    await ok(node.write('identity/oidc/key/k', { algorithm: 'ES256' }))
    await ok(node.write('identity/oidc/role/app', { key: 'k', ttl: '2h' }))
    expect(await errorOf(node.remove('identity/oidc/key/k'))).toBe(
      'unable to delete key "k" because it is currently referenced by these roles: app',
    )
    expect(await errorOf(node.write('identity/oidc/key/k', { verification_ttl: '1h' }))).toMatch(/a token ttl greater than 3600 seconds/)
    expect(await errorOf(node.write('identity/oidc/role/app', { ttl: '25h' }))).toMatch(/cannot be longer than the verification_ttl/)
    await ok(node.remove('identity/oidc/role/app'))
    await ok(node.remove('identity/oidc/key/k'))
    expect(await kids()).toEqual([])
    expect((await node.read('identity/oidc/key/k')).status).toBe(404)
    expect(await errorOf(node.remove('identity/oidc/key/default'))).toBe('deletion of key "default" not allowed')
  })

  test.each([
    [{ rotation_period: 59 }, 'rotation_period must be at least one minute'],
    [{ verification_ttl: -1 }, 'verification_ttl expected a time, got a negative one'],
    [{ rotation_period: '1h', verification_ttl: '11h' }, 'verification_ttl cannot be longer than 10x rotation_period'],
    [{ algorithm: 'HS256' }, 'algorithm'],
  ])('of rules %o are refused', async (body, message) => {
    expect(await errorOf(node.write('identity/oidc/key/k', body))).toContain(message)
  })
})

describe('names, lists and settings', () => {
  test('are read back', async () => {
    await ok(node.write('identity/oidc/role/app', { key: 'default', client_id: 'mine', template: '{}' }))
    expect(await ok(node.read('identity/oidc/role/app'))).toEqual({ key: 'default', client_id: 'mine', template: '{}', ttl: 86_400 })
    expect((await ok(node.list('identity/oidc/role'))).keys).toEqual(['app'])
    expect((await ok(node.list('identity/oidc/key'))).keys).toEqual(['default'])
    expect(await errorOf(node.write('identity/oidc/role/x', {}))).toBe('the key parameter is required')
    expect(await errorOf(node.write('identity/oidc/role/x', { key: 'none' }))).toBe('cannot find key "none"')
    expect(await errorOf(node.write('identity/oidc/role/-x', { key: 'default' }))).toMatch(/^name expected/)
  })

  test('the issuer is what was set, in the document, in tokens, and in what is taken for good', async () => {
    await ok(node.write('identity/oidc/role/app', { key: 'default' }))
    const { token: before } = await tokenOf('app')
    const set = await node.write('identity/oidc/config', { issuer: 'https://holdfast.example.com:8200/' })
    expect(set.body.warnings).toHaveLength(1)
    expect(await ok(node.read('identity/oidc/config'))).toEqual({ issuer: 'https://holdfast.example.com:8200' })
    const issuer = 'https://holdfast.example.com:8200/v1/identity/oidc'
    expect(decodeJwt((await tokenOf('app')).token).iss).toBe(issuer)
    const document = await node.read('identity/oidc/.well-known/openid-configuration', null)
    expect(document.body).toMatchObject({ issuer, jwks_uri: `${issuer}/.well-known/keys`, response_types_supported: ['id_token'] })
    expect(await introspect(before)).toEqual({ active: false, error: 'claim "iss" is missing or another' })
    for (const wrong of ['https://x/path', 'ftp://x', 'https://u:p@x', 'https://x?y', 'x'])
      expect(await errorOf(node.write('identity/oidc/config', { issuer: wrong }))).toMatch(/^invalid issuer/)
  })
})

/** Time goes by, and the leader's jobs have turns until what they do is seen. */
async function jobsUntil(ms: number, done: () => Promise<boolean>): Promise<void> {
  opened.clock.advance(ms)
  for (let turn = 0; turn < 500 && !(await done()); turn += 1) {
    opened.clock.advance(1_000)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  expect(await done()).toBe(true)
}
