import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { KubernetesConfig } from '#auth/kubernetes/config.ts'
import { podIdentity } from '#auth/kubernetes/review.ts'
import { openHouse, type HouseNode } from '#test/support/core-house.ts'
import { TokenReviewServer } from '#test/support/token-review.ts'

let house: Awaited<ReturnType<typeof openHouse>>
let node: HouseNode
let server: TokenReviewServer
beforeEach(async () => {
  house = await openHouse()
  node = house.node
  server = await TokenReviewServer.start(() => house.clock.nowMs())
  await node.write('sys/auth/kubernetes', { type: 'kubernetes' })
  await configure()
  await role('web')
})
afterEach(() => server.stop())

const configure = (body: object = {}) =>
  node.write('auth/kubernetes/config', { kubernetes_host: `${server.web.url}/`, token_reviewer_jwt: 'reviewer', ...body })
const role = (name: string, body: object = {}) =>
  node.write(`auth/kubernetes/role/${name}`, {
    bound_service_account_names: 'web',
    bound_service_account_namespaces: 'apps',
    token_policies: 'app',
    ...body,
  })
const login = (jwt: string, name = 'web', over = {}) =>
  node.ask({ operation: 'update', method: 'POST', path: 'auth/kubernetes/login', token: null, body: { jwt, role: name }, ...over })
const denied = { errors: ['permission denied'] }

test('a login answers a token, in one entry of the log, for the account of the review', async () => {
  const jwt = await server.issue()
  const before = house.cluster.node(0).status().applied
  const { status, body } = await login(jwt)
  expect(status).toBe(200)
  expect(body.auth).toMatchObject({
    policies: ['app', 'default'],
    metadata: { role: 'web', service_account_name: 'web', service_account_namespace: 'apps', service_account_uid: 'uid-web' },
  })
  expect(house.cluster.node(0).status().applied - before).toBe(1)
  expect(server.web.asked.length).toBe(1)
  const { data } = (await node.read(`identity/entity/id/${body.auth.entity_id}`)).body
  expect(data.aliases[0].name).toBe('uid-web')
  await role('web', { alias_name_source: 'serviceaccount_name' })
  const named = (await login(jwt)).body.auth.entity_id
  expect((await node.read(`identity/entity/id/${named}`)).body.data.aliases[0].name).toBe('apps/web')
})

test.each<[string, () => Promise<string>, number]>([
  ['signed by another key', () => server.issue('apps/web', { key: generateKeyPairSync('rsa', { modulusLength: 2_048 }).privateKey }), 403],
  ['that has expired', () => server.issue('apps/web', { seconds: -61 }), 403],
  ['that the server holds for expired, whose clock it is', () => server.issue('apps/web', { seconds: -30 }), 403],
  ['not yet valid', () => server.issue('apps/web', { startsInSeconds: 61 }), 403],
  ['for another audience', () => server.issue('apps/web', { audience: ['other'] }), 403],
  ['of another account', async () => (server.accounts.set('apps/other', 'uid-2'), server.issue('apps/other')), 403],
  ['of another namespace', async () => (server.accounts.set('more/web', 'uid-2'), server.issue('more/web')), 403],
  ['of an account that is gone', async () => deleted(await server.issue()), 403],
  ['that is none', async () => 'nonsense', 400],
  ['of many characters', async () => 'x'.repeat(40_000), 400],
])('a token %s is refused', async (_, made, status) => {
  const answer = await login(await made())
  expect(answer.status).toBe(status)
  if (status === 403) expect(answer.body).toEqual(denied)
})
const deleted = (jwt: string): string => {
  server.accounts.delete('apps/web')
  return jwt
}

test('an account that was made again by the same name is another', async () => {
  const jwt = await server.issue()
  expect((await login(jwt)).status).toBe(200)
  server.accounts.set('apps/web', 'uid-new')
  expect((await login(jwt)).status).toBe(403)
  expect((await login(await server.issue())).status).toBe(200)
})

test('the audience of the role is asked for, and must be confirmed', async () => {
  const { body } = await role('web', { audience: 'vault' })
  expect(body).toBeNull()
  expect((await role('open')).body.warnings[0]).toContain('audience')
  expect((await login(await server.issue())).status).toBe(403)
  const jwt = await server.issue('apps/web', { audience: ['vault'] })
  expect((await login(jwt)).status).toBe(200)
  // A server that does not know of audiences would vouch for any.
  const answer = server.web.answer
  server.web.answer = async (asked) => {
    const { json } = (await answer(asked))!
    return { status: 201, json: { ...(json as object), status: { ...(json as { status: object }).status, audiences: undefined } } }
  }
  expect((await login(jwt)).status).toBe(403)
})

test('names and namespaces by glob, and from where', async () => {
  await role('web', { bound_service_account_names: '*', bound_service_account_namespaces: 'ap*,x' })
  server.accounts.set('apps/any', 'uid-3')
  expect((await login(await server.issue('apps/any'))).status).toBe(200)
  await role('web', { token_bound_cidrs: '10.0.0.0/8' })
  expect((await login(await server.issue())).status).toBe(403)
  expect((await login(await server.issue(), 'web', { clientAddress: '10.0.0.1' })).status).toBe(200)
  expect((await role('web', { bound_service_account_names: '*,web' })).body.errors).toEqual(['can not mix "*" with values'])
  for (const name of ['bound_service_account_names', 'bound_service_account_namespaces'])
    expect((await role('new', { [name]: '' })).body.errors).toEqual([`"${name}" can not be empty`])
})

test('own keys are asked before the server, and the issuer where it is to be checked', async () => {
  await configure({ pem_keys: generateKeyPairSync('rsa', { modulusLength: 2_048 }).publicKey.export({ type: 'spki', format: 'pem' }) })
  expect((await login(await server.issue())).status).toBe(403)
  expect(server.web.asked.length).toBe(0)
  await configure({ pem_keys: server.publicKeyPem(), disable_iss_validation: false })
  expect((await login(await server.issue())).status).toBe(403)
  await configure({
    pem_keys: server.publicKeyPem(),
    disable_iss_validation: false,
    issuer: 'https://kubernetes.default.svc.cluster.local',
  })
  expect((await login(await server.issue())).status).toBe(200)
})

describe('the server', () => {
  test('that refuses the reviewer is no reason to let anyone in', async () => {
    await configure({ token_reviewer_jwt: 'nobody' })
    expect((await login(await server.issue())).body).toEqual(denied)
  })

  test('is asked with the token of the login where there is no other', async () => {
    await configure({ token_reviewer_jwt: '', disable_local_ca_jwt: true })
    expect((await login(await server.issue())).status).toBe(200)
  })

  test('that is away, hangs or answers rubbish ends the login in bounded time, and says so', async () => {
    const jwt = await server.issue()
    server.web.answer = () => null
    const hanging = login(jwt)
    while (server.web.asked.length < 1) await new Promise((resolve) => setTimeout(resolve, 5))
    house.clock.advance(10_000)
    const late = await hanging
    expect([late.status, late.body.errors[0]]).toEqual([502, expect.stringContaining('no answer within 10000 ms')])
    for (const json of ['<html>', {}, { status: 7 }]) {
      server.web.answer = () => ({ json })
      expect((await login(jwt)).status).toBe(502)
    }
    server.web.answer = () => ({ status: 307, json: {}, headers: { location: 'http://169.254.169.254/' } })
    expect((await login(jwt)).body.errors[0]).toContain('status 307')
    server.web.answer = () => ({ status: 201, json: { status: { authenticated: true, user: { username: 'system:admin', uid: 'u' } } } })
    expect((await login(jwt)).status).toBe(403)
    await server.stop()
    const away = await login(jwt)
    expect([away.status, away.body.errors[0]]).toEqual([502, expect.stringContaining('ECONNREFUSED')])
    expect(away.text).not.toContain(jwt)
    server = await TokenReviewServer.start(() => house.clock.nowMs())
  })
})

test('configuration and roles are shown, without the reviewer token', async () => {
  const { text, body } = await node.read('auth/kubernetes/config')
  expect(text).not.toContain('reviewer"')
  expect(body.data).toMatchObject({ kubernetes_host: server.web.url, token_reviewer_jwt_set: true, disable_iss_validation: true })
  for (const bad of [{ kubernetes_host: '' }, { kubernetes_host: 'ldap://x' }, { pem_keys: 'x' }, { kubernetes_ca_cert: 'x' }])
    expect((await configure(bad)).status).toBe(400)
  expect((await node.read('auth/kubernetes/role/web')).body.data).toMatchObject({
    bound_service_account_names: ['web'],
    bound_service_account_namespaces: ['apps'],
    alias_name_source: 'serviceaccount_uid',
  })
  expect((await node.list('auth/kubernetes/role')).body.data.keys).toEqual(['web'])
  expect((await login('x', 'none')).body.errors).toEqual(['invalid role name "none"'])
  const { client_token } = (await login(await server.issue())).body.auth
  expect((await node.write('auth/token/renew-self', {}, client_token)).status).toBe(200)
  await node.remove('auth/kubernetes/role/web')
  expect((await node.write('auth/token/renew-self', {}, client_token)).status).toBe(400)
})

test('the token of the node\u2019s own pod is for mounts of the root namespace: another may name a server that collects them', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-pod-'))
  writeFileSync(join(folder, 'token'), 'of-the-pod\n')
  writeFileSync(join(folder, 'ca.crt'), 'pem')
  const config = { disableLocalCaJwt: false } as KubernetesConfig
  expect(await podIdentity(config, 'root', folder)).toEqual({ token: 'of-the-pod', ca: 'pem' })
  expect(await podIdentity(config, 'abc12', folder)).toEqual({ token: '', ca: '' })
  expect(await podIdentity({ ...config, disableLocalCaJwt: true }, 'root', folder)).toEqual({ token: '', ca: '' })
  expect(await podIdentity(config, 'root', join(folder, 'none'))).toEqual({ token: '', ca: '' })
  rmSync(folder, { recursive: true })
})
