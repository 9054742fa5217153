/**
 * Identity on a real cluster: what an operator changes about entities and groups counts on every node from the moment that it was acknowledged, in both
 * directions, and a leader that is lost takes none of it away.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runCommand, temporaryHome } from '#test/support/cli.ts'
import { mountKv, startCluster, waitForLeader, type TestCluster } from '#test/support/cluster.ts'

const rounds = 25

let running: TestCluster
beforeAll(async () => {
  running = await startCluster()
  await mountKv(running.cluster, 'secret', 1)
  await root('POST', 'secret/app', { answer: '42' })
  for (const path of ['userpass', 'staff']) await root('POST', `sys/auth/${path}`, { type: 'userpass' })
  await root('POST', 'sys/policies/acl/app', { policy: 'path "secret/app" { capabilities = ["read"] }' })
  for (const name of ['alice', 'bob', 'carol']) await root('POST', `auth/userpass/users/${name}`, { password: 'right' })
  await root('POST', 'auth/staff/users/al', { password: 'right' })
})
afterAll(() => running?.dispose())

// oxlint-disable-next-line typescript/no-explicit-any -- tests look into parsed JSON
type Answer = { status: number; body: any }

const nodeAt = (at: number) => running.cluster.nodes[at % running.cluster.nodes.length]!

async function ask(at: number, method: string, path: string, body?: object, token: string | null = null): Promise<Answer> {
  const answer = await running.cluster.api.call(nodeAt(at).apiAddress, method, path, {
    ...(token === null ? {} : { token }),
    ...(body === undefined ? {} : { body }),
  })
  return { status: answer.status, body: answer.body }
}

async function root(method: string, path: string, body?: object, at = 0): Promise<Answer['body']> {
  const answer = await ask(at, method, path, body, running.cluster.rootToken)
  expect(answer.status, `${method} ${path}: ${JSON.stringify(answer.body)}`).toBeLessThan(300)
  return answer.body?.data
}

interface Auth {
  readonly client_token: string
  readonly entity_id: string
}

async function login(name: string, at = 0, mount = 'userpass'): Promise<Auth> {
  const { status, body } = await ask(at, 'POST', `auth/${mount}/login/${name}`, { password: 'right' })
  expect(status, JSON.stringify(body)).toBe(200)
  return body.auth
}

/** What every node answers, asked at once. */
const everyNode = (token: string): Promise<number[]> =>
  Promise.all(running.cluster.nodes.map(async (_, at) => (await ask(at, 'GET', 'secret/app', undefined, token)).status))

describe('on every node at once', () => {
  test('a group gives and takes access, written through any node', async () => {
    const { client_token: token, entity_id: id } = await login('alice')
    await root('POST', 'identity/group', { name: 'inner' })
    const { id: inner } = await root('GET', 'identity/group/name/inner')
    await root('POST', 'identity/group', { name: 'outer', policies: ['app'], member_group_ids: [inner] })
    for (let round = 0; round < rounds; round += 1) {
      await root('POST', 'identity/group', { name: 'inner', member_entity_ids: [id] }, round)
      expect(await everyNode(token), `round ${round}, given`).toEqual([200, 200, 200])
      await root('POST', 'identity/group', { name: 'inner', member_entity_ids: [] }, round + 1)
      expect(await everyNode(token), `round ${round}, taken`).toEqual([403, 403, 403])
    }
    await root('POST', 'identity/group', { name: 'inner', member_entity_ids: [id] })
    await root('POST', 'identity/group', { name: 'outer', policies: [] }, 1)
    expect(await everyNode(token)).toEqual([403, 403, 403])
  })

  test('an entity that is disabled is refused, with every token that it has, and cannot log in', async () => {
    const [first, second] = [await login('bob', 1), await login('bob', 2)]
    expect(second.entity_id).toBe(first.entity_id)
    await root('POST', `identity/entity/id/${first.entity_id}`, { policies: ['app'] })
    for (let round = 0; round < rounds; round += 1) {
      await root('POST', `identity/entity/id/${first.entity_id}`, { disabled: true }, round)
      for (const { client_token: token } of [first, second]) expect(await everyNode(token), `round ${round}`).toEqual([403, 403, 403])
      if (round === 0)
        for (let at = 0; at < 3; at += 1)
          expect((await ask(at, 'POST', 'auth/userpass/login/bob', { password: 'right' })).status, `login at ${at}`).toBe(403)
      await root('POST', `identity/entity/id/${first.entity_id}`, { disabled: false }, round + 1)
      expect(await everyNode(first.client_token), `round ${round}`).toEqual([200, 200, 200])
    }
    await root('DELETE', `identity/entity/id/${first.entity_id}`, undefined, 2)
    for (const { client_token: token } of [first, second]) expect(await everyNode(token)).toEqual([403, 403, 403])
  })

  test('entities that are merged are one', async () => {
    const [alice, al] = [await login('alice'), await login('al', 1, 'staff')]
    await root('POST', `identity/entity/id/${alice.entity_id}`, { policies: ['app'] })
    expect(await everyNode(al.client_token)).toEqual([403, 403, 403])
    await root('POST', 'identity/entity/merge', { to_entity_id: alice.entity_id, from_entity_ids: [al.entity_id] }, 2)
    expect(await everyNode(al.client_token)).toEqual([200, 200, 200])
    for (let at = 0; at < 3; at += 1) expect((await login('al', at, 'staff')).entity_id).toBe(alice.entity_id)
  })

  test('the first logins of somebody, through all nodes at once, make one entity', async () => {
    const logins = await Promise.all(Array.from({ length: 9 }, (_, at) => login('carol', at)))
    expect(new Set(logins.map(({ entity_id: id }) => id)).size).toBe(1)
    const { keys, key_info: info } = await root('GET', 'identity/entity-alias/id?list=true', undefined, 1)
    expect(keys.filter((id: string) => info[id].name === 'carol')).toHaveLength(1)
  })
})

test('a leader that is lost takes no acknowledged change away', async () => {
  const { client_token: token, entity_id: id } = await login('alice')
  const old = await waitForLeader(running.cluster)
  const others = running.cluster.nodes.flatMap((node, at) => (node === old ? [] : [at]))
  const told = { policies: 0, members: false }
  let stopped = false
  const writing = (async (): Promise<void> => {
    for (let n = 1; !stopped; n += 1) {
      const [one, other] = others as [number, number]
      const set = await ask(one, 'POST', `identity/entity/id/${id}`, { policies: [`p${n}`, 'app'] }, running.cluster.rootToken)
      if (set.status === 204) told.policies = n
      const member = n % 2 === 0
      const put = await ask(
        other,
        'POST',
        'identity/group',
        { name: 'lasting', member_entity_ids: member ? [id] : [] },
        running.cluster.rootToken,
      )
      if (put.status < 300) told.members = member
    }
  })()
  const before = (): boolean => told.policies > 5
  while (!before()) await new Promise((resolve) => setTimeout(resolve, 20))
  await running.cluster.stopNode(old, 'SIGKILL')
  const atKill = told.policies
  while (told.policies < atKill + 10) await new Promise((resolve) => setTimeout(resolve, 20))
  stopped = true
  await writing
  for (const at of others) {
    expect((await root('GET', `identity/entity/id/${id}`, undefined, at)).policies).toEqual(['app', `p${told.policies}`].toSorted())
    expect((await root('GET', 'identity/group/name/lasting', undefined, at)).member_entity_ids).toEqual(told.members ? [id] : [])
    expect((await ask(at, 'GET', 'secret/app', undefined, token)).status).toBe(200)
  }
  running.cluster.spawn(old)
  await running.cluster.waitForAnswer(old)
  await running.cluster.unseal(old)
  await running.cluster.waitUntilServing()
  expect(await everyNode(token)).toEqual([200, 200, 200])
  await root('POST', `identity/entity/id/${id}`, { disabled: true }, others[0])
  expect(await everyNode(token)).toEqual([403, 403, 403])
})

test('by the command', async () => {
  const home = temporaryHome()
  const env = { HOLDFAST_ADDR: nodeAt(1).apiAddress, HOLDFAST_TOKEN: running.cluster.rootToken }
  const run = async (...args: string[]): Promise<string> => {
    const { code, out, err } = await runCommand(args, { home, env })
    expect([code, err], args.join(' ')).toEqual([0, expect.any(String)])
    return out
  }
  const id = (
    await run('write', '-field=id', 'identity/entity', 'name=dora', 'metadata=team=red', 'metadata=floor=2', 'policies=app,b')
  ).trim()
  expect(JSON.parse(await run('read', '-format=json', 'identity/entity/name/dora')).data).toMatchObject({
    id,
    metadata: { team: 'red', floor: '2' },
    policies: ['app', 'b'],
  })
  expect(await run('write', 'identity/group', 'name=commanded', `member_entity_ids=${id}`)).toContain('commanded')
  expect(await run('list', 'identity/group/name')).toMatch(/^commanded$/m)
  expect(await run('read', '-field=member_entity_ids', 'identity/group/name/commanded')).toContain(id)
  expect(await run('delete', 'identity/entity/name/dora')).toContain('Success')
})
