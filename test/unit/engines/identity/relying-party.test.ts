/** The OpenID provider against a relying party that knows nothing of it: npm openid-client, over HTTP. */
import * as oidc from 'openid-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openHouse, type Answer, type HouseNode } from '#test/support/core-house.ts'
import { serve, type Served } from '../../http/support.ts'

let node: HouseNode
let served: Served
let origin: string
let caller: string
let entityId: string
/** Of the house's clock to that of this machine, which openid-client goes by. */
let skewSeconds: number

const ok = async (answer: Promise<Answer>): Promise<Answer['body']['data']> => {
  const { status, body, text } = await answer
  expect(status, text).toBeLessThan(300)
  return body?.data
}

const redirectUri = 'https://app.example.com/callback'

beforeAll(async () => {
  const opened = await openHouse()
  node = opened.node
  served = await serve((request) => node.core.handle(request))
  origin = `http://127.0.0.1:${served.port}`
  skewSeconds = Math.round((node.nowMs() - Date.now()) / 1_000)
  await ok(node.write('sys/auth/userpass', { type: 'userpass' }))
  await ok(node.write('auth/userpass/users/ada', { password: 'correct horse' }))
  const login = await node.write('auth/userpass/login/ada', { password: 'correct horse' }, null)
  caller = login.body.auth.client_token
  entityId = login.body.auth.entity_id
  await ok(node.write('identity/entity', { id: entityId, name: 'ada', metadata: { team: 'red' } }))
  await ok(node.write('identity/group', { name: 'devs', member_entity_ids: [entityId] }))
  await ok(
    node.write('identity/oidc/scope/profile', {
      template: '{"name": {{identity.entity.name}}, "team": {{identity.entity.metadata.team}}}',
    }),
  )
  await ok(node.write('identity/oidc/scope/groups', { template: '{"groups": {{identity.entity.groups.names}}}' }))
  await ok(node.write('identity/oidc/provider/default', { issuer: origin, allowed_client_ids: '*', scopes_supported: 'profile,groups' }))
})
afterAll(() => served.listener.close(0))

async function clientOf(name: string, fields: Record<string, unknown> = {}): Promise<{ id: string; secret: string }> {
  await ok(node.write(`identity/oidc/client/${name}`, { redirect_uris: redirectUri, assignments: 'allow_all', ...fields }))
  const read = await ok(node.read(`identity/oidc/client/${name}`))
  return { id: read.client_id, secret: read.client_secret ?? '' }
}

async function discovered(id: string, proof: oidc.ClientAuth, more: Partial<oidc.ClientMetadata> = {}): Promise<oidc.Configuration> {
  const issuer = new URL(`${origin}/v1/identity/oidc/provider/default`)
  return oidc.discovery(issuer, id, { [oidc.clockSkew]: skewSeconds, ...more }, proof, { execute: [oidc.allowInsecureRequests] })
}

/** What the person's own program does: it asks with the person's token, and goes where the client wants the code brought. */
async function browse(url: URL): Promise<URL> {
  const answer = await fetch(url, { headers: { 'x-vault-token': caller } })
  const told = (await answer.json()) as Record<string, string>
  expect(answer.status, JSON.stringify(told)).toBe(200)
  const back = new URL(url.searchParams.get('redirect_uri')!)
  for (const [name, value] of Object.entries(told)) back.searchParams.set(name, value)
  return back
}

async function signIn(configuration: oidc.Configuration, more: Record<string, string> = {}) {
  const pkceCodeVerifier = oidc.randomPKCECodeVerifier()
  const expectedState = oidc.randomState()
  const expectedNonce = oidc.randomNonce()
  const url = oidc.buildAuthorizationUrl(configuration, {
    redirect_uri: redirectUri,
    scope: 'openid profile groups',
    code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
    state: expectedState,
    nonce: expectedNonce,
    max_age: '3600',
    ...more,
  })
  const back = await browse(url)
  const tokens = await oidc.authorizationCodeGrant(configuration, back, {
    pkceCodeVerifier,
    expectedState,
    expectedNonce,
    maxAge: 3_600,
    idTokenExpected: true,
  })
  return { tokens, back, pkceCodeVerifier, expectedState, expectedNonce }
}

describe('openid-client', () => {
  test.each([
    ['by Basic', (secret: string) => oidc.ClientSecretBasic(secret)],
    ['in the form', (secret: string) => oidc.ClientSecretPost(secret)],
  ])('a confidential client that shows its secret %s', async (_, proof) => {
    const { id, secret } = await clientOf('web', { id_token_ttl: '30m', access_token_ttl: '5m' })
    const configuration = await discovered(id, proof(secret))
    expect(configuration.serverMetadata().supportsPKCE()).toBe(true)
    const { tokens } = await signIn(configuration)
    expect(tokens.token_type).toBe('bearer')
    expect(tokens.expires_in).toBe(300)
    const claims = tokens.claims()!
    expect(claims).toMatchObject({ iss: `${origin}/v1/identity/oidc/provider/default`, sub: entityId, aud: id, name: 'ada', team: 'red' })
    expect(claims).toMatchObject({ groups: ['devs'], namespace: 'root', auth_time: expect.any(Number) })
    expect(claims.exp - claims.iat).toBe(1_800)
    const person = await oidc.fetchUserInfo(configuration, tokens.access_token, claims.sub)
    expect(person).toEqual({ sub: entityId, name: 'ada', team: 'red', groups: ['devs'] })
  })

  test.each(['RS256', 'RS512', 'ES256', 'ES384', 'ES512', 'EdDSA'])('a public client, signed for with %s', async (algorithm) => {
    await ok(node.write(`identity/oidc/key/${algorithm}`, { algorithm, allowed_client_ids: '*' }))
    const { id } = await clientOf(`public-${algorithm}`, { key: algorithm, client_type: 'public' })
    const configuration = await discovered(id, oidc.None(), { id_token_signed_response_alg: algorithm })
    const { tokens } = await signIn(configuration)
    expect(tokens.claims()).toMatchObject({ sub: entityId, aud: id })
    expect(await oidc.fetchUserInfo(configuration, tokens.access_token, entityId)).toMatchObject({ name: 'ada' })
  })

  test('learns from the answers what it did wrong', async () => {
    const { id } = await clientOf('web')
    const configuration = await discovered(id, oidc.ClientSecretBasic('hvo_secret_wrong: with % and ü'))
    await expect(signIn(configuration)).rejects.toMatchObject({
      status: 401,
      cause: [{ scheme: 'basic', parameters: { realm: 'identity' } }],
    })
    const { id: other, secret } = await clientOf('second')
    const good = await discovered(other, oidc.ClientSecretBasic(secret))
    const { back, pkceCodeVerifier, expectedState, expectedNonce } = await signIn(good)
    const again = oidc.authorizationCodeGrant(good, back, { pkceCodeVerifier, expectedState, expectedNonce })
    await expect(again).rejects.toMatchObject({ error: 'invalid_grant', status: 400 })
    await expect(oidc.fetchUserInfo(good, 'rubbish', entityId)).rejects.toMatchObject({ status: 401 })
  })
})
