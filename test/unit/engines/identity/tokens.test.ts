import { beforeEach, describe, expect, test } from 'vitest'
import { openHouse, type Answer, type HouseNode } from '#test/support/core-house.ts'

let house: readonly HouseNode[]
let node: HouseNode
let applied: () => number

beforeEach(async () => {
  const opened = await openHouse(3)
  house = opened.house
  node = opened.node
  applied = () => opened.cluster.node(0).status().applied
  for (const path of ['userpass', 'staff']) await ok(node.write(`sys/auth/${path}`, { type: 'userpass' }))
  for (const name of ['alice', 'bob']) await ok(node.write(`auth/userpass/users/${name}`, { password: 'right' }))
  await ok(node.write('auth/staff/users/al', { password: 'right' }))
  await ok(node.write('sys/mounts/secret', { type: 'kv' }))
  await ok(node.write('secret/app', { a: '1' }))
  await ok(node.write('sys/policies/acl/app', { policy: 'path "secret/app" { capabilities = ["read"] }' }))
})

async function ok(answer: Promise<Answer>): Promise<Answer['body']> {
  const { status, body, text } = await answer
  expect(status, text).toBeLessThan(300)
  return body?.data
}

interface Auth {
  readonly client_token: string
  readonly entity_id: string
  readonly policies: readonly string[]
  readonly token_policies: readonly string[]
  readonly identity_policies?: readonly string[]
}

const tryLogin = (name: string, mount = 'userpass', token: string | null = null): Promise<Answer> =>
  node.ask({ operation: 'update', method: 'POST', path: `auth/${mount}/login/${name}`, token, body: { password: 'right' } })

async function login(name: string, mount = 'userpass'): Promise<Auth> {
  const { status, body, text } = await tryLogin(name, mount)
  expect(status, text).toBe(200)
  return body.auth
}

/** What each node answers to a read of the secret. */
const readable = async (token: string): Promise<number[]> =>
  Promise.all(house.map(async (one) => (await one.read('secret/app', token)).status))
const everywhere = [200, 200, 200]
const nowhere = [403, 403, 403]

describe('a login', () => {
  test('is one entry of the log, with the entity that it makes', async () => {
    const before = applied()
    const { entity_id: id } = await login('alice')
    expect(applied() - before).toBe(1)
    expect(id).toMatch(/^[0-9a-f-]{36}$/)
    const entity = await ok(node.read(`identity/entity/id/${id}`))
    expect(entity.aliases).toMatchObject([{ name: 'alice', mount_path: 'auth/userpass/', metadata: null }])
    expect((await login('alice')).entity_id).toBe(id)
    expect((await login('bob')).entity_id).not.toBe(id)
  })

  test('answers what the token has by itself and what by identity', async () => {
    const { entity_id: id } = await login('alice')
    await ok(node.write(`identity/entity/id/${id}`, { policies: ['app'] }))
    const auth = await login('alice')
    expect(auth).toMatchObject({ policies: ['app', 'default'], token_policies: ['default'], identity_policies: ['app'] })
    const looked = await ok(node.read('auth/token/lookup-self', auth.client_token))
    expect(looked).toMatchObject({ entity_id: id, policies: ['default'], identity_policies: ['app'] })
    const renewed = await node.write('auth/token/renew-self', {}, auth.client_token)
    expect(renewed.body.auth).toMatchObject({ policies: ['app', 'default'], identity_policies: ['app'], entity_id: id })
    // A token without an entity has none.
    expect(await ok(node.read('auth/token/lookup-self'))).not.toHaveProperty('identity_policies')
  })
})

describe('policies of an entity and its groups', () => {
  test('hold on every node from the next request on, and end so', async () => {
    const { client_token: token, entity_id: id } = await login('alice')
    expect(await readable(token)).toEqual(nowhere)
    await ok(node.write(`identity/entity/id/${id}`, { policies: ['app'] }))
    expect(await readable(token)).toEqual(everywhere)
    await ok(node.write(`identity/entity/id/${id}`, { policies: [] }))
    expect(await readable(token)).toEqual(nowhere)
    await ok(node.write('identity/group', { name: 'low', member_entity_ids: [id] }))
    const { id: low } = await ok(node.read('identity/group/name/low'))
    await ok(node.write('identity/group', { name: 'top', policies: ['app'], member_group_ids: [low] }))
    expect(await readable(token)).toEqual(everywhere)
    await ok(node.write('identity/group', { name: 'low', member_entity_ids: [] }))
    expect(await readable(token)).toEqual(nowhere)
    await ok(node.write('identity/group', { name: 'low', member_entity_ids: [id] }))
    expect(await readable(token)).toEqual(everywhere)
    await ok(node.remove('identity/group/name/top'))
    expect(await readable(token)).toEqual(nowhere)
  })

  test('reach child tokens, and the answers of capabilities', async () => {
    const { client_token: token, entity_id: id } = await login('alice')
    await ok(node.write('sys/policies/acl/child', { policy: 'path "auth/token/create" { capabilities = ["update"] }' }))
    await ok(node.write(`identity/entity/id/${id}`, { policies: ['app', 'child'] }))
    const { body } = await node.write('auth/token/create', {}, token)
    expect(body.auth).toMatchObject({ entity_id: id, token_policies: ['default'], identity_policies: ['app', 'child'] })
    expect(await readable(body.auth.client_token)).toEqual(everywhere)
    const self = await ok(node.write('sys/capabilities-self', { paths: ['secret/app'] }, token))
    expect(self['secret/app']).toEqual(['read'])
    expect((await ok(node.write('sys/capabilities', { paths: ['secret/app'], token })))['secret/app']).toEqual(['read'])
    await ok(node.write(`identity/entity/id/${id}`, { policies: [] }))
    expect(await readable(body.auth.client_token)).toEqual(nowhere)
  })

  test('templates are filled from them: everybody may read their own entity, and what is named after them', async () => {
    const { client_token: token, entity_id: id } = await login('alice')
    const { client_token: other } = await login('bob')
    expect((await node.read(`identity/entity/id/${id}`, token)).status).toBe(200)
    expect((await node.read(`identity/entity/id/${id}`, other)).status).toBe(403)
    await ok(
      node.write('sys/policies/acl/team', {
        policy: 'path "secret/{{identity.groups.names.devs.metadata.dir}}/*" { capabilities = ["read"] }',
      }),
    )
    await ok(node.write('secret/red/x', { a: '1' }))
    await ok(node.write('identity/group', { name: 'devs', policies: ['team'], metadata: { dir: 'red' }, member_entity_ids: [id] }))
    expect((await node.read('secret/red/x', token)).status).toBe(200)
    await ok(node.write('identity/group', { name: 'devs', metadata: { dir: 'blue' } }))
    expect((await node.read('secret/red/x', token)).status).toBe(403)
    await ok(node.write('identity/group', { name: 'devs', metadata: { dir: '*' } }))
    expect((await node.read('secret/red/x', token)).status).toBe(403)
  })
})

describe('an entity that is disabled', () => {
  test('is refused on every node at once, with all its tokens; enabled again, they are good again', async () => {
    const { client_token: token, entity_id: id } = await login('alice')
    await ok(node.write(`identity/entity/id/${id}`, { policies: ['app'], disabled: true }))
    expect(await readable(token)).toEqual(nowhere)
    const refused = await node.read('secret/app', token)
    expect(refused.body).toEqual({ errors: ['permission denied'] })
    for (const path of ['auth/token/lookup-self', 'sys/internal/ui/resultant-acl']) expect((await node.read(path, token)).status).toBe(403)
    expect((await node.write('auth/token/renew-self', {}, token)).status).toBe(403)
    expect((await tryLogin('alice')).status).toBe(403)
    // Who looks it up from outside still sees it.
    expect((await node.write('auth/token/lookup', { token })).status).toBe(200)
    await ok(node.write(`identity/entity/id/${id}`, { disabled: false }))
    expect(await readable(token)).toEqual(everywhere)
  })

  test('may still be told what needs no token, and log in as somebody else with its token in the way', async () => {
    const { client_token: token, entity_id: id } = await login('alice')
    await ok(node.write(`identity/entity/id/${id}`, { disabled: true }))
    expect((await node.read('sys/health', token)).status).toBe(200)
    expect((await tryLogin('bob', 'userpass', token)).status).toBe(200)
  })
})

describe('an entity that is deleted', () => {
  test('takes the good of its tokens with it; a new login makes a new one', async () => {
    const { client_token: token, entity_id: id } = await login('alice')
    await ok(node.write(`identity/entity/id/${id}`, { policies: ['app'] }))
    expect(await readable(token)).toEqual(everywhere)
    await ok(node.remove(`identity/entity/id/${id}`))
    expect(await readable(token)).toEqual(nowhere)
    expect((await node.read('auth/token/lookup-self', token)).status).toBe(403)
    const again = await login('alice')
    expect(again.entity_id).not.toBe(id)
    expect(await readable(again.client_token)).toEqual(nowhere)
  })
})

describe('entities that are merged', () => {
  test('are one: the tokens of both have the policies of the one that stays', async () => {
    const [alice, al] = [await login('alice'), await login('al', 'staff')]
    await ok(node.write(`identity/entity/id/${alice.entity_id}`, { policies: ['app'] }))
    await ok(node.write('identity/entity/merge', { to_entity_id: alice.entity_id, from_entity_ids: [al.entity_id] }))
    for (const { client_token: token } of [alice, al]) expect(await readable(token)).toEqual(everywhere)
    expect((await login('al', 'staff')).entity_id).toBe(alice.entity_id)
    await ok(node.write(`identity/entity/id/${alice.entity_id}`, { disabled: true }))
    for (const { client_token: token } of [alice, al]) expect(await readable(token)).toEqual(nowhere)
  })

  test('have the roles that the one that stays has', async () => {
    const [alice, al] = [await login('alice'), await login('al', 'staff')]
    await ok(node.write('identity/entity/merge', { to_entity_id: alice.entity_id, from_entity_ids: [al.entity_id] }))
    await ok(node.write('sys/roles/readers', { policies: ['app'], entity_ids: [alice.entity_id] }))
    for (const { client_token: token } of [alice, al]) expect(await readable(token)).toEqual(everywhere)
  })
})

test('a login method that is disabled takes its aliases with it', async () => {
  const { entity_id: id } = await login('al', 'staff')
  await ok(node.write('identity/group-alias', { name: 'x', mount_accessor: (await ok(node.read('sys/auth')))['staff/'].accessor }))
  await ok(node.remove('sys/auth/staff'))
  expect((await ok(node.read(`identity/entity/id/${id}`))).aliases).toEqual([])
  expect((await node.list('identity/entity-alias/id')).status).toBe(404)
  expect((await node.list('identity/group-alias/id')).status).toBe(404)
})

describe('a token role', () => {
  const create = (body: object, role = 'app') => node.write(`auth/token/create/${role}`, { ...body })
  test('makes tokens for the entity of an alias that it allows', async () => {
    await ok(node.write('auth/token/roles/app', { allowed_policies: ['default'], allowed_entity_aliases: ['CI', 'bot-*'], orphan: true }))
    expect(await ok(node.read('auth/token/roles/app'))).toMatchObject({ allowed_entity_aliases: ['ci', 'bot-*'] })
    const first = (await create({ entity_alias: 'Bot-7' })).body.auth
    const entity = await ok(node.read(`identity/entity/id/${first.entity_id}`))
    expect(entity.aliases).toMatchObject([{ name: 'bot-7', mount_path: 'auth/token/', mount_type: 'token' }])
    expect((await create({ entity_alias: 'bot-7' })).body.auth.entity_id).toBe(first.entity_id)
    await ok(node.write(`identity/entity/id/${first.entity_id}`, { policies: ['app'] }))
    expect(await readable(first.client_token)).toEqual(everywhere)
    expect((await create({ entity_alias: 'other' })).body.errors).toEqual(["invalid 'entity_alias' value"])
    expect((await create({})).body.auth.entity_id).toBe('')
    await ok(node.write(`identity/entity/id/${first.entity_id}`, { disabled: true }))
    expect((await create({ entity_alias: 'bot-7' })).status).toBe(403)
    await ok(node.write('auth/token/roles/none', { allowed_policies: ['default'] }))
    expect((await create({ entity_alias: 'ci' }, 'none')).body.errors).toEqual(["invalid 'entity_alias' value"])
    const alone = await node.write('auth/token/create', { entity_alias: 'ci' })
    expect(alone.body.errors).toEqual(["'entity_alias' is only allowed in combination with token role"])
  })
})

test('a role forgets an entity or group that is deleted', async () => {
  const { entity_id: id } = await login('alice')
  const { id: group } = await ok(node.write('identity/group', { name: 'g' }))
  await ok(node.write('sys/roles/readers', { policies: ['app'], entity_ids: [id], group_ids: [group] }))
  await ok(node.remove(`identity/entity/id/${id}`))
  await ok(node.remove('identity/group/name/g'))
  expect(await ok(node.read('sys/roles/readers'))).toMatchObject({ entity_ids: [], group_ids: [] })
})
