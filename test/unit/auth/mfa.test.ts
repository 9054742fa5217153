import { TOTP, URI } from 'otpauth'
import { beforeEach, describe, expect, test } from 'vitest'
import { sweepStep } from '#core/sweep.ts'
import { openHouse, type Answer, type HouseNode } from '#test/support/core-house.ts'

let house: Awaited<ReturnType<typeof openHouse>>
let node: HouseNode
let method: string
let accessor: string
let entity: string
let totp: TOTP

beforeEach(async () => {
  house = await openHouse()
  node = house.node
  await node.write('sys/auth/userpass', { type: 'userpass' })
  accessor = (await node.read('sys/auth')).body.data['userpass/'].accessor
  await node.write('auth/userpass/users/alice', { password: 'right', token_policies: ['app'], token_ttl: '1h' })
  entity = (await login()).body.auth.entity_id
  method = (await node.write('identity/mfa/method/totp', { issuer: 'Holdfast', method_name: 'App' })).body.data.method_id
  totp = await enrol()
})

const login = (over: object = {}, password = 'right') =>
  node.ask({ operation: 'update', method: 'POST', path: 'auth/userpass/login/alice', token: null, body: { password }, ...over })
const enforce = (name: string, body: object) => node.write(`identity/mfa/login-enforcement/${name}`, { mfa_method_ids: [method], ...body })
async function enrol(): Promise<TOTP> {
  const { url } = (await node.write('identity/mfa/method/totp/admin-generate', { method_id: method, entity_id: entity, force: true })).body
    .data
  return URI.parse(url) as TOTP
}
const code = (): string => totp.generate({ timestamp: house.clock.nowMs() })
const validate = (id: string, given: unknown, over: object = {}) =>
  node.ask({
    operation: 'update',
    method: 'POST',
    path: 'sys/mfa/validate',
    token: null,
    body: { mfa_request_id: id, mfa_payload: given },
    ...over,
  })
const begin = async (): Promise<string> => (await login()).body.auth.mfa_requirement.mfa_request_id
const nextStep = (): void => house.clock.advance(30_000)
const wrongCode = (): string => String((Number(code()) + 1) % 1_000_000).padStart(6, '0')

describe('a login that needs a second factor', () => {
  beforeEach(() => enforce('staff', { auth_method_accessors: [accessor] }))

  test('answers what it needs and no token, and ends with a code', async () => {
    const { status, body } = await login()
    expect(status).toBe(200)
    expect(body.auth).toMatchObject({ client_token: '', accessor: '', policies: [], entity_id: entity })
    const { mfa_request_id: id, mfa_constraints: constraints } = body.auth.mfa_requirement
    expect(constraints).toEqual({ staff: { any: [{ type: 'totp', id: method, uses_passcode: true, name: 'app' }] } })
    const done = await validate(id, { [method]: [code()] })
    expect([done.status, done.body.auth]).toEqual([
      200,
      expect.objectContaining({ policies: ['app', 'default'], lease_duration: 3_600, mfa_requirement: null }),
    ])
    const { data } = (await node.read('auth/token/lookup-self', done.body.auth.client_token)).body
    expect(data).toMatchObject({ display_name: 'userpass-alice', path: 'auth/userpass/login/alice', entity_id: entity })
    // Once.
    nextStep()
    expect((await validate(id, { [method]: [code()] })).body.errors).toEqual(['invalid request ID'])
  })

  test('is counted by a quota of leases where it ends, not only where it began; refused, it can be ended later', async () => {
    const { clock, quotas, rootToken } = house
    node.core.startJobs()
    for (let turn = 0; turn < 40 && node.leasing.leaseCount('root', null) === null; turn += 1) {
      clock.advance(1_000)
      await new Promise((resolve) => setImmediate(resolve))
    }
    await node.core.stopJobs()
    // One is alice's, of the time before a second factor was asked for.
    await node.write('sys/quotas/lease-count/few', { path: 'auth/userpass', max_leases: 2 }, rootToken)
    clock.advance(60)
    for (const { feed } of quotas) {
      feed.look()
      await feed.settled()
    }
    const [first, second] = [await begin(), await begin()]
    nextStep()
    const { status, body } = await validate(first, { [method]: [code()] })
    expect(status).toBe(200)
    nextStep()
    const given = code()
    expect((await validate(second, { [method]: [given] })).body.errors[0]).toContain('lease count quota exceeded')
    await node.write('auth/token/revoke', { token: body.auth.client_token })
    expect((await validate(second, { [method]: [given] })).status).toBe(200)
  })

  test('or with a code in its header, by id or by name', async () => {
    for (const name of [method, 'app']) {
      nextStep()
      const { body } = await login({ headers: { 'x-vault-mfa': `${name}:${code()}` } })
      expect(body.auth.client_token).toMatch(/^s\./)
    }
    nextStep()
    expect((await login({ headers: { 'x-vault-mfa': `${method}:${wrongCode()}` } })).body).toEqual({ errors: ['permission denied'] })
    expect((await login({ headers: { 'x-vault-mfa': '' } })).status).toBe(403)
  })

  test('CVE-2025-6014, CVE-2025-6015: a code is taken once, and in one spelling', async () => {
    const given = code()
    for (const odd of [
      ` ${given}`,
      `${given} `,
      `${given}\n`,
      `\u00a0${given}`,
      given.replace(/./, (digit) => String.fromCharCode(0xff10 + Number(digit))),
      `0${given}`,
    ])
      expect((await validate(await begin(), { [method]: [odd] })).status).toBe(403)
    await node.write(`identity/mfa/method/totp/${method}`, { max_validation_attempts: 100 })
    expect((await validate(await begin(), { [method]: [given] })).status).toBe(200)
    for (const again of [given, ` ${given}`]) expect((await validate(await begin(), { [method]: [again] })).status).toBe(403)
    expect((await login({ headers: { 'x-vault-mfa': `${method}:${given}` } })).status).toBe(403)
    nextStep()
    const later = code()
    expect((await validate(await begin(), { [method]: later })).status).toBe(200)
    // Nor one from before it, though the clock may differ by a step.
    expect((await validate(await begin(), { [method]: [given] })).status).toBe(403)
  })

  test('of two at once with one code, one is let in', async () => {
    const ids = [await begin(), await begin()]
    const given = code()
    const answers = await Promise.all(ids.map((id) => validate(id, { [method]: [given] })))
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 403])
  })

  test('wrong codes count, and after five of them none is taken for a while', async () => {
    const id = await begin()
    for (let round = 0; round < 5; round += 1) expect((await validate(id, { [method]: [wrongCode()] })).body.errors[0]).toContain(method)
    expect((await validate(id, { [method]: [code()] })).body.errors[0]).toContain('maximum TOTP validation attempts 5')
    expect((await login({ headers: { 'x-vault-mfa': `${method}:${code()}` } })).status).toBe(403)
    house.clock.advance(300_000)
    expect((await validate(await begin(), { [method]: [code()] })).status).toBe(200)
  })

  test('clocks may differ by one step, not by two', async () => {
    const ahead = totp.generate({ timestamp: house.clock.nowMs() + 30_000 })
    const far = totp.generate({ timestamp: house.clock.nowMs() + 60_000 })
    expect((await validate(await begin(), { [method]: [far] })).status).toBe(403)
    expect((await validate(await begin(), { [method]: [ahead] })).status).toBe(200)
  })

  test('waits five minutes, for the same address, and not for a method that was unmounted', async () => {
    const late = await begin()
    expect((await validate(late, { [method]: [code()] }, { clientAddress: '10.0.0.1' })).status).toBe(403)
    house.clock.advance(300_001)
    expect((await validate(late, { [method]: [code()] })).body.errors).toEqual(['invalid request ID'])
    const gone = await begin()
    await node.remove('sys/auth/userpass')
    expect((await validate(gone, { [method]: [code()] })).status).toBe(400)
    for (const none of ['', 'x', '../secret', `1-${'a'.repeat(36)}`]) expect((await validate(none, {})).status).toBe(400)
  })

  test('a wrong password is told before anything of it, and nobody without a secret gets in', async () => {
    expect((await login({}, 'wrong')).body).toEqual({ errors: ['invalid username or password'] })
    await node.write('identity/mfa/method/totp/admin-destroy', { method_id: method, entity_id: entity })
    expect((await validate(await begin(), { [method]: [code()] })).status).toBe(403)
  })

  test('several enforcements must all be met', async () => {
    const other = (await node.write('identity/mfa/method/totp', { issuer: 'Other', digits: 8, algorithm: 'SHA256' })).body.data.method_id
    await node.write('identity/mfa/login-enforcement/more', { mfa_method_ids: [other], identity_entity_ids: [entity] })
    const { url } = (await node.write('identity/mfa/method/totp/admin-generate', { method_id: other, entity_id: entity })).body.data
    const second = (URI.parse(url) as TOTP).generate({ timestamp: house.clock.nowMs() })
    expect(second).toHaveLength(8)
    const id = await begin()
    expect((await validate(id, { [other]: [second] })).status).toBe(403)
    nextStep()
    expect(
      (await validate(id, { [method]: [code()], [other]: [(URI.parse(url) as TOTP).generate({ timestamp: house.clock.nowMs() })] })).status,
    ).toBe(200)
  })
})

test('an enforcement is about mounts, types, groups and entities', async () => {
  const needs = async (): Promise<boolean> => (await login()).body.auth.mfa_requirement !== null
  expect(await needs()).toBe(false)
  const group = (await node.write('identity/group', { name: 'staff', member_entity_ids: [entity] })).body.data.id
  const above = (await node.write('identity/group', { name: 'all', member_group_ids: [group] })).body.data.id
  for (const [about, fits] of [
    [{ auth_method_accessors: [accessor] }, true],
    [{ auth_method_accessors: ['auth_other'] }, false],
    [{ auth_method_types: ['userpass'] }, true],
    [{ auth_method_types: ['approle'] }, false],
    [{ identity_group_ids: [group] }, true],
    [{ identity_group_ids: [above] }, true],
    [{ identity_entity_ids: [entity] }, true],
    [{ identity_entity_ids: ['other'] }, false],
  ] as const) {
    expect((await enforce('one', about)).status).toBe(204)
    expect([about, await needs()]).toEqual([about, fits])
    await node.remove('identity/mfa/login-enforcement/one')
  }
})

test('methods and enforcements are checked, shown, listed; a method in use stays', async () => {
  const bad: object[] = [
    { issuer: '' },
    { digits: 7 },
    { skew: 2 },
    { period: 1 },
    { key_size: 4 },
    { method_name: 'a b' },
    { algorithm: 'MD5' },
    { method_name: 'app' },
  ]
  for (const body of bad)
    expect([body, (await node.write('identity/mfa/method/totp', { issuer: 'X', ...body })).status]).toEqual([body, 400])
  expect((await enforce('x', {})).status).toBe(400)
  expect((await node.write('identity/mfa/login-enforcement/x', { mfa_method_ids: ['none'], auth_method_types: 'userpass' })).status).toBe(
    400,
  )
  await enforce('Staff', { auth_method_types: ['approle'] })
  expect((await node.read('identity/mfa/login-enforcement/staff')).body.data).toMatchObject({
    mfa_method_ids: [method],
    auth_method_types: ['approle'],
  })
  expect((await node.list('identity/mfa/login-enforcement')).body.data.keys).toEqual(['staff'])
  expect((await node.list('identity/mfa/method')).body.data.keys).toEqual([method])
  expect((await node.read(`identity/mfa/method/totp/${method}`)).body.data).toMatchObject({
    type: 'totp',
    issuer: 'Holdfast',
    digits: 6,
    period: 30,
  })
  expect((await node.read(`identity/mfa/method/${method}`)).body.data.name).toBe('app')
  expect((await node.remove(`identity/mfa/method/totp/${method}`)).status).toBe(400)
  await node.remove('identity/mfa/login-enforcement/staff')
  expect((await node.remove(`identity/mfa/method/totp/${method}`)).status).toBe(204)
  expect((await node.list('identity/mfa/method')).status).toBe(404)
})

test('who has a token can get a secret for itself, once', async () => {
  await node.write('sys/policies/acl/app', { policy: 'path "identity/mfa/method/totp/generate" { capabilities = ["update"] }' })
  const { client_token } = (await login()).body.auth
  const generate = () => node.write('identity/mfa/method/totp/generate', { method_id: method }, client_token)
  expect((await generate()).body.warnings).toEqual(['Entity already has a secret for MFA method'])
  await node.write('identity/mfa/method/totp/admin-destroy', { method_id: method, entity_id: entity })
  const { url } = (await generate()).body.data
  expect(url).toMatch(/^otpauth:\/\/totp\/Holdfast:/)
  expect((await node.write('identity/mfa/method/totp/generate', { method_id: method })).status).toBe(400)
})

test('what the apps of a method were given goes with it', async () => {
  const secrets = () =>
    house.at(0).read({ kind: 'linearizable' }, (view) => view.list({ namespace: 'root', mount: 'sys/mfa' }, `secret/${method}`))
  expect(await secrets()).toEqual([entity])
  expect((await node.remove(`identity/mfa/method/totp/${method}`)).status).toBe(204)
  while (await house.at(0).transact((transaction) => sweepStep(transaction)));
  expect(await secrets()).toEqual([])
  expect((await node.remove(`identity/mfa/method/totp/${method}`)).status, 'nothing is there').toBe(204)
})

describe('what the apps of an entity were given', () => {
  const secretsOf = (methodId: string) =>
    house.at(0).read({ kind: 'linearizable' }, (view) => view.list({ namespace: 'root', mount: 'sys/mfa' }, `secret/${methodId}`))
  const enrolWith = (methodId: string, entityId: string) =>
    node.write('identity/mfa/method/totp/admin-generate', { method_id: methodId, entity_id: entityId })

  test.each([
    ['by its id', () => node.remove(`identity/entity/id/${entity}`)],
    ['by its name', async () => node.remove(`identity/entity/name/${(await node.read(`identity/entity/id/${entity}`)).body.data.name}`)],
    ['with others', () => node.write('identity/entity/batch-delete', { entity_ids: [entity, 'none'] })],
  ])('goes with it, and nobody else has it then: deleted %s', async (_, remove) => {
    const second = (await node.write('identity/mfa/method/totp', { issuer: 'Other' })).body.data.method_id
    const other = (await node.write('identity/entity', { name: 'bob' })).body.data.id
    for (const [methodId, entityId] of [
      [second, entity],
      [second, other],
    ] as const)
      await enrolWith(methodId, entityId)
    expect((await remove()).status).toBe(204)
    expect([await secretsOf(method), await secretsOf(second)]).toEqual([[], [other]])
  })

  test('goes with it from a method of a namespace above, too', async () => {
    const inTeam = (operation: 'update' | 'delete', path: string, body: Record<string, unknown> = {}) =>
      node.ask({ operation, method: operation === 'update' ? 'POST' : 'DELETE', namespace: 'team', path, body })
    await node.write('sys/namespaces/team')
    const bob = (await inTeam('update', 'identity/entity', { name: 'bob' })).body.data.id
    await inTeam('update', 'identity/mfa/method/totp/admin-generate', { method_id: method, entity_id: bob })
    expect(new Set(await secretsOf(method))).toEqual(new Set([bob, entity]))
    expect((await inTeam('delete', `identity/entity/id/${bob}`)).status).toBe(204)
    expect(await secretsOf(method)).toEqual([entity])
  })

  test('goes with its namespace from a method above that', async () => {
    const inTeam = (path: string, body: Record<string, unknown> = {}) =>
      node.ask({ operation: 'update', method: 'POST', namespace: 'team/app', path, body })
    await node.write('sys/namespaces/team')
    await node.write('team/sys/namespaces/app')
    for (let count = 0; count < 70; count += 1) {
      const { id } = (await inTeam('identity/entity', { name: `bob-${count}` })).body.data
      await inTeam('identity/mfa/method/totp/admin-generate', { method_id: method, entity_id: id })
    }
    expect(await secretsOf(method)).toHaveLength(71)
    expect((await node.remove('team/sys/namespaces/app')).status).toBeLessThan(300)
    node.core.startJobs()
    for (let turn = 0; turn < 60 && (await node.read('team/sys/namespaces/app')).status !== 404; turn += 1) {
      house.clock.advance(2_000)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    await node.core.stopJobs()
    expect((await node.read('team/sys/namespaces/app')).status).toBe(404)
    expect(await secretsOf(method)).toEqual([entity])
  })

  test.each([[{}], [{ force: true }]])('is left under no id that was merged, whichever secret stays (%j)', async (more) => {
    const into = (await node.write('identity/entity', { name: 'alice-of-old' })).body.data.id
    if ('force' in more) await enrolWith(method, into)
    expect((await node.write('identity/entity/merge', { from_entity_ids: [entity], to_entity_id: into, ...more })).status).toBe(204)
    expect(await secretsOf(method)).toEqual([into])
    await node.remove(`identity/entity/id/${into}`)
    expect(await secretsOf(method)).toEqual([])
  })
})

describe('an enforcement of a namespace above', () => {
  const inTeam = (path: string, body: Record<string, unknown>, over: object = {}) =>
    node.ask({ operation: 'update', method: 'POST', namespace: 'team', path, body, ...over })
  const teamLogin = (over: object = {}) => inTeam('auth/userpass/login/bob', { password: 'right' }, { token: null, ...over })
  let bob: string
  let given: TOTP

  beforeEach(async () => {
    await node.write('sys/namespaces/team')
    await inTeam('sys/auth/userpass', { type: 'userpass' })
    await inTeam('auth/userpass/users/bob', { password: 'right', token_ttl: '1h' })
    bob = (await teamLogin()).body.auth.entity_id
    await enforce('staff', { auth_method_types: ['userpass'] })
    const { url } = (await inTeam('identity/mfa/method/totp/admin-generate', { method_id: method, entity_id: bob })).body.data
    given = URI.parse(url) as TOTP
  })

  const bobsCode = (): string => given.generate({ timestamp: house.clock.nowMs() })

  test('holds for logins below it, which end there', async () => {
    const { body } = await teamLogin()
    expect(body.auth).toMatchObject({ client_token: '', entity_id: bob })
    const { mfa_request_id: id, mfa_constraints: constraints } = body.auth.mfa_requirement
    expect(constraints).toEqual({ staff: { any: [{ type: 'totp', id: method, uses_passcode: true, name: 'app' }] } })
    expect((await inTeam('sys/mfa/validate', { mfa_request_id: id, mfa_payload: { [method]: ['000000'] } }, { token: null })).status).toBe(
      403,
    )
    const done = await inTeam('sys/mfa/validate', { mfa_request_id: id, mfa_payload: { [method]: [bobsCode()] } }, { token: null })
    expect(done.body.auth.client_token).toMatch(/^s\./)
    nextStep()
    expect((await teamLogin({ headers: { 'x-vault-mfa': `app:${bobsCode()}` } })).body.auth.client_token).toMatch(/^s\./)
  })

  test('beside one of the same name in the namespace: both must be met', async () => {
    const own = (await inTeam('identity/mfa/method/totp', { issuer: 'Team' })).body.data.method_id
    await inTeam('identity/mfa/login-enforcement/staff', { mfa_method_ids: [own], auth_method_types: ['userpass'] })
    const { url } = (await inTeam('identity/mfa/method/totp/admin-generate', { method_id: own, entity_id: bob })).body.data
    const { mfa_request_id: id, mfa_constraints: constraints } = (await teamLogin()).body.auth.mfa_requirement
    expect(Object.keys(constraints)).toEqual(['staff', 'team/staff'])
    const codes = { [method]: [bobsCode()], [own]: [(URI.parse(url) as TOTP).generate({ timestamp: house.clock.nowMs() })] }
    expect((await inTeam('sys/mfa/validate', { mfa_request_id: id, mfa_payload: codes }, { token: null })).status).toBe(200)
    // The namespace's own is none of the root's.
    expect(Object.keys((await login()).body.auth.mfa_requirement.mfa_constraints)).toEqual(['staff'])
  })

  test('gives a namespace below no hold on the secrets of others', async () => {
    for (const path of ['admin-generate', 'admin-destroy'])
      expect((await inTeam(`identity/mfa/method/totp/${path}`, { method_id: method, entity_id: entity, force: true })).status).toBe(400)
    expect((await inTeam(`identity/mfa/method/totp/${method}`, { max_validation_attempts: 100 })).status).toBe(400)
    expect((await inTeam('identity/mfa/method/totp/admin-destroy', { method_id: method, entity_id: bob })).status).toBe(204)
    expect((await teamLogin({ headers: { 'x-vault-mfa': `app:${bobsCode()}` } })).status).toBe(403)
  })
})

describe('merging entities', () => {
  let into: string
  const merge = (more: object = {}) => node.write('identity/entity/merge', { from_entity_ids: [entity], to_entity_id: into, ...more })
  const needed = async (): Promise<Answer> => login({ headers: { 'x-vault-mfa': `app:${code()}` } })

  beforeEach(async () => {
    into = (await node.write('identity/entity', { name: 'alice-of-old' })).body.data.id
  })

  test('leaves the second factor required of who was named, and good', async () => {
    await enforce('one', { identity_entity_ids: [entity, into, 'other'] })
    expect((await merge()).status).toBe(204)
    expect((await node.read('identity/mfa/login-enforcement/one')).body.data.identity_entity_ids).toEqual([into, 'other'])
    const { auth } = (await login()).body
    expect([auth.entity_id, auth.client_token]).toEqual([into, ''])
    expect((await needed()).body.auth.client_token).toMatch(/^s\./)
    // A code is good once, whosever it was.
    expect((await needed()).status).toBe(403)
  })

  test('is refused where both have a secret of the method; with force the one that stays keeps its own', async () => {
    await enforce('one', { auth_method_accessors: [accessor] })
    const { url } = (await node.write('identity/mfa/method/totp/admin-generate', { method_id: method, entity_id: into })).body.data
    expect((await merge()).body.errors).toEqual([`conflicting MFA config ID "${method}" in entity ID "${entity}"`])
    expect((await node.read(`identity/entity/id/${entity}`)).body.data.id, 'nothing was done').toBe(entity)
    expect((await merge({ force: true })).status).toBe(204)
    expect((await needed()).status, 'the one that was merged').toBe(403)
    totp = URI.parse(url) as TOTP
    expect((await needed()).body.auth).toMatchObject({ entity_id: into, client_token: expect.stringMatching(/^s\./) })
  })

  test('in a namespace takes along what the methods and enforcements above it hold', async () => {
    const inTeam = (path: string, body: Record<string, unknown>, over: object = {}) =>
      node.ask({ operation: 'update', method: 'POST', namespace: 'team', path, body, ...over })
    await node.write('sys/namespaces/team')
    await inTeam('sys/auth/userpass', { type: 'userpass' })
    await inTeam('auth/userpass/users/bob', { password: 'right' })
    const enter = (over: object = {}) => inTeam('auth/userpass/login/bob', { password: 'right' }, { token: null, ...over })
    const bob = (await enter()).body.auth.entity_id
    const other = (await inTeam('identity/entity', { name: 'bob-of-old' })).body.data.id
    await enforce('one', { identity_entity_ids: [bob] })
    const { url } = (await inTeam('identity/mfa/method/totp/admin-generate', { method_id: method, entity_id: bob })).body.data
    expect((await inTeam('identity/entity/merge', { from_entity_ids: [bob], to_entity_id: other })).status).toBe(204)
    expect((await enter()).body.auth).toMatchObject({ client_token: '', entity_id: other })
    const given = (URI.parse(url) as TOTP).generate({ timestamp: house.clock.nowMs() })
    expect((await enter({ headers: { 'x-vault-mfa': `app:${given}` } })).body.auth.client_token).toMatch(/^s\./)
  })
})
