/** The OpenID provider: its records, and each thing that it refuses. A whole sign-in by a real relying party: relying-party.test.ts. */
import { createHash } from 'node:crypto'
import { decodeJwt, decodeProtectedHeader } from 'jose'
import { beforeEach, describe, expect, test } from 'vitest'
import { openHouse, type Answer, type HouseNode } from '#test/support/core-house.ts'

type House = Awaited<ReturnType<typeof openHouse>>
let opened: House
let node: HouseNode
let caller: string
let entityId: string

const redirectUri = 'https://app.example.com/callback'
const verifier = 'a-verifier-of-forty-three-characters-or-more-0123'
const challenge = createHash('sha256').update(verifier).digest('base64url')

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

async function login(name: string): Promise<{ client_token: string; entity_id: string }> {
  await ok(node.write(`auth/userpass/users/${name}`, { password: 'correct horse' }))
  return (await node.write(`auth/userpass/login/${name}`, { password: 'correct horse' }, null)).body.auth
}

const write = (path: string, body: Record<string, unknown> = {}): Promise<Answer['body']['data']> =>
  ok(node.write(`identity/oidc/${path}`, body))
const refused = (path: string, body: Record<string, unknown> = {}): Promise<string> => errorOf(node.write(`identity/oidc/${path}`, body))

interface Client {
  readonly client_id: string
  readonly client_secret?: string
}

async function clientOf(name = 'web', fields: Record<string, unknown> = {}): Promise<Client> {
  await write(`client/${name}`, { key: 'fast', redirect_uris: redirectUri, assignments: 'allow_all', ...fields })
  return ok(node.read(`identity/oidc/client/${name}`))
}

beforeEach(async () => {
  opened = await openHouse()
  node = opened.node
  await ok(node.write('sys/auth/userpass', { type: 'userpass' }))
  const auth = await login('ada')
  caller = auth.client_token
  entityId = auth.entity_id
  await write('key/fast', { algorithm: 'EdDSA', allowed_client_ids: '*' })
})

type Fields = Readonly<Record<string, unknown>>
const authorize = (client: Client, more: Fields = {}, token: string | null = caller, provider = 'default'): Promise<Answer> =>
  node.write(
    `identity/oidc/provider/${provider}/authorize`,
    { client_id: client.client_id, redirect_uri: redirectUri, response_type: 'code', scope: 'openid', state: 'st', ...more },
    token,
  )
async function codeOf(client: Client, more: Fields = {}): Promise<string> {
  const { status, body, text } = await authorize(client, more)
  expect(status, text).toBe(200)
  return body.code
}
const redeem = (client: Client, code: string, more: Fields = {}, provider = 'default'): Promise<Answer> =>
  node.write(
    `identity/oidc/provider/${provider}/token`,
    {
      grant_type: 'authorization_code',
      code,
      redirect_uri: redirectUri,
      client_id: client.client_id,
      ...(client.client_secret === undefined ? {} : { client_secret: client.client_secret }),
      ...more,
    },
    null,
  )
interface Tokens {
  readonly id_token: string
  readonly access_token: string
  readonly expires_in: number
}
async function tokensOf(client: Client, more: Fields = {}): Promise<Tokens> {
  const { status, body, text } = await redeem(client, await codeOf(client, more))
  expect(status, text).toBe(200)
  return body
}
const userInfo = (token: string | null, provider = 'default'): Promise<Answer> =>
  node.read(`identity/oidc/provider/${provider}/userinfo`, token)
const fault = ({ status, body }: Answer): readonly [number, string] => [status, body.error]

describe('records', () => {
  test('assignments: made, read, changed, listed, deleted; allow_all stays as it is', async () => {
    await write('assignment/team', { entity_ids: [entityId, entityId] })
    await write('assignment/team', { group_ids: 'g-1' })
    expect(await ok(node.read('identity/oidc/assignment/team'))).toEqual({ entity_ids: [entityId], group_ids: ['g-1'] })
    expect(await ok(node.read('identity/oidc/assignment/allow_all'))).toEqual({ entity_ids: ['*'], group_ids: ['*'] })
    expect((await ok(node.list('identity/oidc/assignment'))).keys).toEqual(['allow_all', 'team'])
    expect(await refused('assignment/allow_all', { entity_ids: '' })).toBe('modification of assignment "allow_all" not allowed')
    expect(await errorOf(node.remove('identity/oidc/assignment/allow_all'))).toBe('deletion of assignment "allow_all" not allowed')
    await clientOf('web', { assignments: 'team' })
    expect(await errorOf(node.remove('identity/oidc/assignment/team'))).toMatch(/referenced by these clients: web/)
    await ok(node.remove('identity/oidc/client/web'))
    await ok(node.remove('identity/oidc/assignment/team'))
    expect((await node.read('identity/oidc/assignment/team')).status).toBe(404)
  })

  test('scopes: templates are checked, openid is reserved, what a provider offers stays', async () => {
    const template = '{"name": {{identity.entity.name}}}'
    await write('scope/profile', { template: Buffer.from(template).toString('base64'), description: 'who' })
    expect(await ok(node.read('identity/oidc/scope/profile'))).toEqual({ template, description: 'who' })
    expect(await refused('scope/openid')).toBe('the "openid" scope name is reserved')
    for (const bad of [
      '{"sub": "root"}',
      '{"nonce": "x"}',
      '{"auth_time": 1}',
      '{"at_hash": "x"}',
      '[]',
      '{"a": {{identity.unknown}}}',
      '{',
    ])
      expect(await refused('scope/bad', { template: bad }), bad).toMatch(/not allowed|template/)
    await write('provider/shop', { scopes_supported: 'profile' })
    expect(await errorOf(node.remove('identity/oidc/scope/profile'))).toMatch(/referenced by these providers: shop/)
    await ok(node.remove('identity/oidc/provider/shop'))
    await ok(node.remove('identity/oidc/scope/profile'))
  })

  test('clients: id and secret are made once and stay; a list shows no secret', async () => {
    const made = await clientOf()
    expect(made).toEqual({
      client_id: expect.stringMatching(/^[0-9A-Za-z]{32}$/),
      client_secret: expect.stringMatching(/^hvo_secret_[0-9A-Za-z]{64}$/),
      client_type: 'confidential',
      key: 'fast',
      redirect_uris: [redirectUri],
      assignments: ['allow_all'],
      id_token_ttl: 86_400,
      access_token_ttl: 86_400,
    })
    expect(await clientOf('web', { id_token_ttl: '1h' })).toEqual({ ...made, id_token_ttl: 3_600 })
    const listed = await ok(node.list('identity/oidc/client'))
    expect(listed.keys).toEqual(['web'])
    expect(listed.key_info.web.client_id).toBe(made.client_id)
    expect(JSON.stringify(listed)).not.toContain('secret')
    expect(await clientOf('spa', { client_type: 'public' })).not.toHaveProperty('client_secret')
  })

  test('clients: what names nothing, or changes what stays, is refused', async () => {
    await clientOf()
    const cases: readonly (readonly [Fields, RegExp])[] = [
      [{ key: 'none' }, /key modification is not allowed/],
      [{ client_type: 'public' }, /client_type modification is not allowed/],
      [{ assignments: 'none' }, /assignment "none" does not exist/],
      [{ id_token_ttl: '25h' }, /cannot be greater than the verification_ttl/],
      [{ id_token_ttl: 0 }, /id_token_ttl expected 1 to/],
      [{ access_token_ttl: -1 }, /access_token_ttl expected 1 to/],
      [{ redirect_uris: 'callback' }, /absolute addresses/],
      [{ redirect_uris: 'javascript:alert(1)' }, /absolute addresses/],
      [{ redirect_uris: 'https://a.example.com/#x' }, /without a fragment/],
    ]
    for (const [fields, expected] of cases) expect(await refused('client/web', fields)).toMatch(expected)
    expect(await refused('client/new', { key: 'none' })).toBe('key "none" does not exist')
  })

  test('a key that a client names stays, and keeps what it signs for as long as that is good', async () => {
    await clientOf('web', { id_token_ttl: '2h' })
    expect(await errorOf(node.remove('identity/oidc/key/fast'))).toMatch(/referenced by these clients: web/)
    expect(await refused('key/fast', { verification_ttl: '1h' })).toMatch(/clients with an id_token_ttl greater than 3600/)
    await write('key/fast', { verification_ttl: '2h' })
  })

  test('providers: default is always there; scopes must be; two that say the same are warned of', async () => {
    expect(await ok(node.read('identity/oidc/provider/default'))).toEqual({ issuer: '', allowed_client_ids: ['*'], scopes_supported: [] })
    expect(await errorOf(node.remove('identity/oidc/provider/default'))).toBe('deletion of OIDC provider "default" not allowed')
    expect(await refused('provider/shop', { scopes_supported: 'none' })).toBe('scope "none" does not exist')
    expect(await refused('provider/shop', { scopes_supported: 'openid' })).toMatch(/always there/)
    expect(await refused('provider/shop', { issuer: 'https://a.example.com/path' })).toMatch(/^invalid issuer/)
    for (const name of ['one', 'two']) await write(`scope/${name}`, { template: '{"same": {{identity.entity.name}}}' })
    const answer = await node.write('identity/oidc/provider/shop', { scopes_supported: 'one,two', allowed_client_ids: 'x' })
    expect(answer.body.warnings[0]).toMatch(/conflicting top-level keys.*"same".*"one", "two"/)
    const { keys, key_info } = await ok(node.list('identity/oidc/provider'))
    expect(keys).toEqual(['default', 'shop'])
    expect(key_info.shop).toEqual({ issuer: '', allowed_client_ids: ['x'], scopes_supported: ['one', 'two'] })
    const only = await node.ask({ operation: 'list', method: 'LIST', path: 'identity/oidc/provider/', query: { allowed_client_id: 'y' } })
    expect(only.body.data.keys).toEqual(['default'])
  })

  test('a list is read by pages', async () => {
    for (const name of ['b', 'a', 'c']) await write(`assignment/${name}`)
    const page = (query: Record<string, string>) =>
      node.ask({ operation: 'list', method: 'LIST', path: 'identity/oidc/assignment/', query })
    expect((await page({ limit: '2' })).body.data.keys).toEqual(['a', 'allow_all'])
    expect((await page({ after: 'allow_all' })).body.data.keys).toEqual(['b', 'c'])
  })
})

describe('a code', () => {
  test('is answered with the state, to a GET and a POST, and by each node', async () => {
    const client = await clientOf()
    const query = { client_id: client.client_id, redirect_uri: redirectUri, response_type: 'code', scope: 'openid', state: 's&t' }
    const read = await node.read('identity/oidc/provider/default/authorize', caller, query)
    expect([read.status, read.body.state, read.headers['cache-control']]).toEqual([200, 's&t', 'no-store'])
    expect((await redeem(client, read.body.code)).status).toBe(200)
    expect((await authorize(client, { state: undefined })).body).toEqual({ code: expect.any(String) })
  })

  test('is refused for each thing that is not as it must be', async () => {
    const client = await clientOf()
    const spa = await clientOf('spa', { client_type: 'public' })
    await write('assignment/nobody')
    const closed = await clientOf('closed', { assignments: 'nobody' })
    await write('key/other', { algorithm: 'EdDSA' })
    const keyless = await clientOf('keyless', { key: 'other' })
    await write('provider/shop', { allowed_client_ids: 'x' })
    const tried: readonly (readonly [string, Client, Fields, (string | null)?, string?])[] = [
      ['invalid_client_id', { client_id: 'a'.repeat(32) }, {}],
      ['invalid_client_id', { client_id: '' }, {}],
      ['invalid_client_id', { client_id: '../clients/web' }, {}],
      ['invalid_request', client, { redirect_uri: '' }],
      ['invalid_redirect_uri', client, { redirect_uri: `${redirectUri}/more` }],
      ['invalid_redirect_uri', client, { redirect_uri: 'https://APP.example.com/callback' }],
      ['unauthorized_client', client, {}, caller, 'shop'],
      ['invalid_request', client, {}, caller, 'none'],
      ['invalid_request', client, { response_type: '' }],
      ['unsupported_response_type', client, { response_type: 'token' }],
      ['request_not_supported', client, { request: 'x' }],
      ['request_uri_not_supported', client, { request_uri: 'https://x' }],
      ['invalid_scope', client, { scope: 'profile' }],
      ['invalid_request', client, { nonce: 'n'.repeat(3_000) }],
      ['invalid_request', spa, {}],
      ['invalid_request', client, { code_challenge: 'short' }],
      ['invalid_request', client, { code_challenge: challenge, code_challenge_method: 'none' }],
      ['invalid_request', client, { code_challenge_method: 'S256' }],
      ['unauthorized_client', keyless, {}],
      ['access_denied', closed, {}],
      ['access_denied', client, {}],
      ['invalid_request', client, { max_age: -1 }],
    ]
    for (const [expected, asking, fields, token = caller, provider] of tried) {
      const by = expected === 'access_denied' && asking === client ? opened.rootToken : token
      const { status, body, text } = await authorize(asking, fields, by, provider)
      expect([status, body.error], text).toEqual([400, expected])
      expect(body).toEqual({ error: expected, error_description: expect.any(String) })
    }
    expect((await authorize(client, {}, null)).status).toBe(403)
  })

  test('is for those whom an assignment names: by entity, by group, by a group above it', async () => {
    await ok(node.write('identity/group', { name: 'low', member_entity_ids: [entityId] }))
    const { id: low } = await ok(node.read('identity/group/name/low'))
    await ok(node.write('identity/group', { name: 'top', member_group_ids: [low] }))
    const { id: top } = await ok(node.read('identity/group/name/top'))
    const client = await clientOf()
    for (const fields of [{ entity_ids: entityId }, { entity_ids: '', group_ids: low }, { group_ids: top }]) {
      await write('assignment/some', fields)
      await write('client/web', { assignments: 'some' })
      expect((await authorize(client)).status, JSON.stringify(fields)).toBe(200)
      expect(fault(await authorize(client, {}, (await login('eve')).client_token))).toEqual([400, 'access_denied'])
    }
  })

  test('is refused to a token that is older than max_age', async () => {
    const client = await clientOf()
    opened.clock.advance(100_000)
    expect(fault(await authorize(client, { max_age: 99 }))).toEqual([400, 'max_age_violation'])
    expect((await authorize(client, { max_age: 100 })).status).toBe(200)
  })

  test('goes to any port of loopback, and to no other host or path of it', async () => {
    const client = await clientOf('cli', { redirect_uris: 'http://127.0.0.1/callback,http://[::1]:1/callback' })
    for (const good of ['http://127.0.0.1/callback', 'http://127.0.0.1:49152/callback', 'http://[::1]:49152/callback'])
      expect((await authorize(client, { redirect_uri: good })).status, good).toBe(200)
    for (const bad of [
      'http://127.0.0.1:49152/other',
      'http://127.0.0.1:49152/callback#x',
      'http://127.0.0.1:49152/callback?x=1',
      'http://user@127.0.0.1:49152/callback',
      'https://127.0.0.1:49152/callback',
      'http://127.0.0.2:49152/callback',
      'http://127.0.0.1.example.com/callback',
    ])
      expect(fault(await authorize(client, { redirect_uri: bad })), bad).toEqual([400, 'invalid_redirect_uri'])
  })

  test('of one person are so many at once; when their minute is over they are swept', async () => {
    const client = await clientOf()
    for (let count = 0; count < 32; count += 1) await codeOf(client)
    expect(fault(await authorize(client))).toEqual([400, 'temporarily_unavailable'])
    const other = (await login('eve')).client_token
    expect((await authorize(client, {}, other)).status).toBe(200)
    const { uuid } = (await ok(node.read('sys/mounts')))['identity/']
    const names = (): Promise<string[]> =>
      opened.at(0).read({ kind: 'linearizable' }, (view) => view.list({ namespace: 'root', mount: uuid }, 'oidc/codes'))
    expect(await names()).toHaveLength(1)
    node.core.startJobs()
    for (let step = 0; step < 500 && (await names()).length > 0; step += 1) {
      opened.clock.advance(1_000)
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    expect(await names()).toEqual([])
    await node.core.stopJobs()
    expect((await authorize(client)).status).toBe(200)
  })
})

describe('redeeming', () => {
  test('gives a token that says what was asked for, with the provider as its issuer', async () => {
    const client = await clientOf('web', { id_token_ttl: '10m', access_token_ttl: '48h' })
    const { id_token, access_token, expires_in } = await tokensOf(client, { nonce: 'n-0' })
    const seconds = Math.floor(node.nowMs() / 1_000)
    const issuer = 'http://127.0.0.1:8200/v1/identity/oidc/provider/default'
    expect(decodeJwt(id_token)).toEqual({
      iss: issuer,
      sub: entityId,
      aud: client.client_id,
      iat: seconds,
      exp: seconds + 600,
      auth_time: seconds,
      nonce: 'n-0',
      namespace: 'root',
      at_hash: createHash('sha512').update(access_token).digest().subarray(0, 32).toString('base64url'),
      c_hash: expect.any(String),
    })
    // No longer than its key is published.
    expect(expires_in).toBe(86_400)
    expect(decodeProtectedHeader(id_token)).toEqual({ alg: 'EdDSA', kid: expect.any(String) })
    expect(decodeProtectedHeader(access_token)).toMatchObject({ typ: 'at+jwt' })
    expect(decodeJwt(access_token)).toMatchObject({ aud: `${issuer}/userinfo`, client_id: client.client_id, scope: 'openid' })
  })

  test('is done once, soon, by the client that asked, at the provider that was asked, for the same address', async () => {
    const client = await clientOf()
    const other = await clientOf('other')
    await write('provider/shop', { allowed_client_ids: '*' })
    const wrong: readonly (readonly [string, (code: string) => Promise<Answer>])[] = [
      ['another client', (code) => redeem(other, code)],
      ['another provider', (code) => redeem(client, code, {}, 'shop')],
      ['another address', (code) => redeem(client, code, { redirect_uri: `${redirectUri}?` })],
      ['a verifier that nobody expects', (code) => redeem(client, code, { code_verifier: verifier })],
      ['the right way', (code) => redeem(client, code)],
    ]
    for (const [what, attempt] of wrong) {
      const code = await codeOf(client)
      const first = await attempt(code)
      expect(first.status, what).toBe(what === 'the right way' ? 200 : 400)
      // Shown is spent, whatever was wrong.
      expect(fault(await redeem(client, code)), what).toEqual([400, 'invalid_grant'])
    }
    const late = await codeOf(client)
    opened.clock.advance(60_000)
    expect(fault(await redeem(client, late))).toEqual([400, 'invalid_grant'])
    for (const rubbish of ['x', '../../keys/fast', `${late}x`, late.replace(/-.*-/, '-0000000000000000-')])
      expect(fault(await redeem(client, rubbish)), rubbish).toEqual([400, 'invalid_grant'])
    expect(fault(await redeem(client, ''))).toEqual([400, 'invalid_request'])
  })

  test('of two at the same time one gets tokens', async () => {
    const client = await clientOf()
    const code = await codeOf(client)
    const answers = await Promise.all(Array.from({ length: 8 }, () => redeem(client, code)))
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, ...Array.from({ length: 7 }, () => 400)])
  })

  test.each(['S256', 'plain'])('needs the verifier of a challenge by %s', async (method) => {
    const client = await clientOf('spa', { client_type: 'public' })
    const more = { code_challenge: method === 'plain' ? verifier : challenge, code_challenge_method: method }
    for (const code_verifier of [undefined, '', `${verifier}x`, 'short', challenge])
      expect((await redeem(client, await codeOf(client, more), { code_verifier })).status, code_verifier).toBe(400)
    expect((await redeem(client, await codeOf(client, more), { code_verifier: verifier })).status).toBe(200)
    const { code_challenge_method, ...unsaid } = more
    if (method === 'plain')
      expect((await redeem(client, await codeOf(client, unsaid), { code_verifier: verifier })).status, code_challenge_method).toBe(200)
  })

  test('needs the proof of a confidential client', async () => {
    const client = await clientOf()
    const code = await codeOf(client)
    const basic = (id: string, secret: string, body: Fields = {}): Promise<Answer> =>
      node.ask({
        operation: 'update',
        method: 'POST',
        path: 'identity/oidc/provider/default/token',
        token: null,
        headers: { authorization: `Basic ${Buffer.from(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`).toString('base64')}` },
        body: { grant_type: 'authorization_code', code, redirect_uri: redirectUri, ...body },
      })
    const secret = client.client_secret!
    const tries: readonly (readonly [string, () => Promise<Answer>])[] = [
      ['none', () => redeem({ client_id: client.client_id }, code)],
      ['wrong', () => redeem({ ...client, client_secret: `${secret.slice(0, -1)}_` }, code)],
      ['unknown client', () => redeem({ client_id: 'a'.repeat(32), client_secret: secret }, code)],
      ['wrong, by Basic', () => basic(client.client_id, 'x')],
    ]
    for (const [what, attempt] of tries) {
      const answer = await attempt()
      expect([answer.status, answer.body.error, answer.headers['www-authenticate']], what).toEqual([
        401,
        'invalid_client',
        'Basic realm="identity"',
      ])
    }
    expect(fault(await basic(client.client_id, secret, { client_secret: secret }))).toEqual([400, 'invalid_request'])
    expect(fault(await redeem(client, code, { grant_type: 'password' }))).toEqual([400, 'unsupported_grant_type'])
    // Who does not prove who it is spends nobody's code.
    expect((await basic(client.client_id, secret)).status).toBe(200)
  })

  test('is refused to who is disabled, gone, or not assigned any more', async () => {
    await write('assignment/team', { entity_ids: entityId })
    const client = await clientOf('web', { assignments: 'team' })
    const codes = [await codeOf(client), await codeOf(client), await codeOf(client)]
    await write('assignment/team', { entity_ids: '' })
    expect(fault(await redeem(client, codes[0]!))).toEqual([400, 'invalid_grant'])
    await write('assignment/team', { entity_ids: entityId })
    await ok(node.write(`identity/entity/id/${entityId}`, { disabled: true }))
    expect(fault(await redeem(client, codes[1]!))).toEqual([400, 'invalid_grant'])
    await ok(node.remove(`identity/entity/id/${entityId}`))
    expect(fault(await redeem(client, codes[2]!))).toEqual([400, 'invalid_grant'])
  })

  test('two scopes that say the same claim are not asked for together', async () => {
    for (const name of ['one', 'two']) await write(`scope/${name}`, { template: '{"same": {{identity.entity.name}}}' })
    await write('provider/default', { scopes_supported: 'one,two' })
    const client = await clientOf()
    expect(fault(await authorize(client, { scope: 'openid one two' }))).toEqual([400, 'invalid_scope'])
    expect(decodeJwt((await tokensOf(client, { scope: 'openid two unknown' })).id_token)).toHaveProperty('same')
    // Since the code was asked for the provider offers less.
    const code = await codeOf(client, { scope: 'openid one' })
    await write('provider/default', { scopes_supported: 'two' })
    expect(decodeJwt((await redeem(client, code)).body.id_token)).not.toHaveProperty('same')
  })
})

describe('an access token', () => {
  test('opens the user info, and nothing else', async () => {
    await write('scope/profile', { template: '{"name": {{identity.entity.name}}}' })
    await write('provider/default', { scopes_supported: 'profile' })
    await ok(node.write(`identity/entity/id/${entityId}`, { name: 'ada' }))
    const client = await clientOf()
    const { access_token, id_token } = await tokensOf(client, { scope: 'openid profile' })
    expect((await userInfo(access_token)).body).toEqual({ sub: entityId, name: 'ada' })
    for (const path of ['auth/token/lookup-self', `identity/entity/id/${entityId}`, 'sys/mounts'])
      expect((await node.read(path, access_token)).status, path).toBe(403)
    expect((await node.write('identity/oidc/introspect', { token: access_token })).body.active).toBe(false)
    expect((await node.write('identity/oidc/introspect', { token: id_token })).body.active).toBe(false)
    for (const wrong of [null, 'x', id_token, caller, opened.rootToken, `${access_token.slice(0, -4)}AAAA`]) {
      const answer = await userInfo(wrong)
      expect([answer.status, answer.body.error]).toEqual([401, 'invalid_token'])
      expect(answer.headers['www-authenticate']).toMatch(/^Bearer/)
    }
  })

  test('is good for its provider, client and person, as long as they are there', async () => {
    await write('assignment/team', { entity_ids: entityId })
    const client = await clientOf('web', { assignments: 'team', access_token_ttl: '10m' })
    await write('provider/shop', { allowed_client_ids: client.client_id })
    const { access_token } = await tokensOf(client)
    const good = async (): Promise<number> => (await userInfo(access_token)).status
    expect(await good()).toBe(200)
    expect((await userInfo(access_token, 'shop')).status).toBe(401)
    await write('provider/default', { allowed_client_ids: 'x' })
    expect(await good()).toBe(401)
    await write('provider/default', { allowed_client_ids: '*' })
    await write('assignment/team', { entity_ids: '' })
    expect(await good()).toBe(401)
    await write('assignment/team', { entity_ids: entityId })
    await ok(node.write(`identity/entity/id/${entityId}`, { disabled: true }))
    expect(await good()).toBe(401)
    await ok(node.write(`identity/entity/id/${entityId}`, { disabled: false }))
    expect(await good()).toBe(200)
    opened.clock.advance(600_000)
    expect(await good()).toBe(401)
  })

  test('ends with its client and with its key', async () => {
    const client = await clientOf()
    const first = (await tokensOf(client)).access_token
    await write('key/fast/rotate')
    expect((await userInfo(first)).status).toBe(200)
    await write('key/fast/rotate', { verification_ttl: 0 })
    const second = (await tokensOf(client)).access_token
    await write('key/fast/rotate', { verification_ttl: 0 })
    expect((await userInfo(second)).status).toBe(401)
    const third = (await tokensOf(client)).access_token
    await ok(node.remove('identity/oidc/client/web'))
    expect((await userInfo(third)).status).toBe(401)
  })
})

describe('what relying parties read', () => {
  test('names the endpoints by the issuer: its own, that of identity tokens, or the address of the node', async () => {
    const read = async (name = 'default'): Promise<Answer['body']> =>
      (await node.read(`identity/oidc/provider/${name}/.well-known/openid-configuration`, null)).body
    expect((await read()).issuer).toBe('http://127.0.0.1:8200/v1/identity/oidc/provider/default')
    await write('config', { issuer: 'https://all.example.com' })
    expect((await read()).token_endpoint).toBe('https://all.example.com/v1/identity/oidc/provider/default/token')
    await write('provider/shop', { issuer: 'https://shop.example.com:8200/' })
    expect(await read('shop')).toMatchObject({
      issuer: 'https://shop.example.com:8200/v1/identity/oidc/provider/shop',
      jwks_uri: 'https://shop.example.com:8200/v1/identity/oidc/provider/shop/.well-known/keys',
      userinfo_endpoint: 'https://shop.example.com:8200/v1/identity/oidc/provider/shop/userinfo',
      scopes_supported: ['openid'],
      code_challenge_methods_supported: ['plain', 'S256'],
    })
    for (const path of ['openid-configuration', 'keys'])
      expect((await node.read(`identity/oidc/provider/none/.well-known/${path}`, null)).status).toBe(404)
  })

  test('shows the keys of its clients', async () => {
    await write('key/other', { algorithm: 'ES256', allowed_client_ids: '*' })
    const client = await clientOf('web', { key: 'other' })
    await write('provider/shop', { allowed_client_ids: client.client_id })
    const algorithms = async (name: string): Promise<readonly string[]> => {
      const { keys } = (await node.read(`identity/oidc/provider/${name}/.well-known/keys`, null)).body as {
        keys: { alg: string; d?: string }[]
      }
      expect(keys.filter(({ d }) => d !== undefined)).toEqual([])
      return [...new Set(keys.map(({ alg }) => alg))].toSorted()
    }
    expect(await algorithms('shop')).toEqual(['ES256'])
    expect(await algorithms('default')).toEqual(['ES256', 'EdDSA'])
  })
})
