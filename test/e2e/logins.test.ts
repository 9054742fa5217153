/**
 * Logins on a real cluster, through every node: what is right gets a token that is good everywhere, what is wrong is refused, also while its leader is
 * lost between the secret id and the login, and a flood of passwords takes neither the leader nor the reads away.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { request } from 'undici'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runCommand, temporaryHome } from '#test/support/cli.ts'
import { mountKv, startCluster, waitForLeader, type TestCluster } from '#test/support/cluster.ts'
import { recordFigures } from '#test/support/figures.ts'

let running: TestCluster
beforeAll(async () => {
  running = await startCluster()
  await mountKv(running.cluster, 'secret')
  for (const type of ['userpass', 'approle']) await root('POST', `sys/auth/${type}`, { type })
  await root('POST', 'sys/policies/acl/app', { policy: 'path "secret/*" { capabilities = ["create", "read", "update"] }' })
  await root('POST', 'auth/userpass/users/alice', { password: 'right', token_policies: 'app' })
  // Of what is wrong on purpose below, five in a row would lock the role: that has tests of its own.
  await root('POST', 'sys/auth/approle/tune', { user_lockout_config: { lockout_disable: true } })
  await root('POST', 'auth/approle/role/app', { token_policies: 'app', token_ttl: '10m' })
})
afterAll(() => running?.dispose())

// oxlint-disable-next-line typescript/no-explicit-any -- tests look into parsed JSON
type Answer = { status: number; body: any }

const node = (at: number) => running.cluster.nodes[at % running.cluster.nodes.length]!
async function ask(at: number, method: string, path: string, body?: object, token: string | null = null): Promise<Answer> {
  const answer = await running.cluster.api.call(node(at).apiAddress, method, path, {
    ...(token === null ? {} : { token }),
    ...(body === undefined ? {} : { body }),
  })
  return { status: answer.status, body: answer.body }
}
async function root(method: string, path: string, body?: object, at = 0): Promise<Answer> {
  const answer = await ask(at, method, path, body, running.cluster.rootToken)
  expect(answer.status, `${method} ${path}: ${JSON.stringify(answer.body)}`).toBeLessThan(300)
  return answer
}
const roleId = async (role = 'app'): Promise<string> => (await root('GET', `auth/approle/role/${role}/role-id`)).body.data.role_id
const secretId = async (body: object = {}, at = 0, role = 'app'): Promise<string> =>
  (await root('POST', `auth/approle/role/${role}/secret-id`, body, at)).body.data.secret_id
const machine = async (secret_id: string, at = 0, role = 'app'): Promise<Answer> =>
  ask(at, 'POST', 'auth/approle/login', { role_id: await roleId(role), secret_id })
const person = (password: string, at = 0, name = 'alice'): Promise<Answer> => ask(at, 'POST', `auth/userpass/login/${name}`, { password })
const wrongId = { errors: ['invalid role or secret ID'] }

describe('userpass', () => {
  test('through any node gives a token that is good on every node', async () => {
    for (let at = 0; at < 3; at += 1) {
      const { status, body } = await person('right', at)
      expect(status).toBe(200)
      for (let other = 0; other < 3; other += 1) {
        expect((await ask(other, 'GET', 'auth/token/lookup-self', undefined, body.auth.client_token)).body.data).toMatchObject({
          display_name: 'userpass-alice',
          policies: ['app', 'default'],
        })
      }
    }
  })

  test('a wrong password is refused on every node, and locks on all of them', async () => {
    await root('POST', 'auth/userpass/users/locky', { password: 'right' })
    for (let n = 0; n < 5; n += 1) expect((await person('wrong', n, 'locky')).body).toEqual({ errors: ['invalid username or password'] })
    for (let at = 0; at < 3; at += 1) expect((await person('right', at, 'locky')).status).toBe(403)
    const { data } = (await root('GET', 'sys/locked-users', undefined, 1)).body
    expect(data.by_namespace[0].mount_accessors[0].alias_identifiers).toContain('locky')
    await root('POST', `sys/locked-users/${data.by_namespace[0].mount_accessors[0].mount_accessor}/unlock/locky`, {}, 2)
    expect((await person('right', 0, 'locky')).status).toBe(200)
  })

  test('by the command, which keeps the token', async () => {
    const home = temporaryHome()
    const address = { HOLDFAST_ADDR: node(1).apiAddress }
    const login = await runCommand(['login', '-method=userpass', 'username=alice'], { home, env: address, stdin: 'right\n' })
    expect([login.code, login.out]).toEqual([0, expect.stringContaining('Success! You are logged in')])
    expect((await runCommand(['token', 'lookup', '-field=display_name'], { home, env: address })).out.trim()).toBe('userpass-alice')
    const byRole = await runCommand(
      ['login', '-method=approle', '-token-only', `role_id=${await roleId()}`, `secret_id=${await secretId()}`],
      { home, env: address },
    )
    expect([byRole.code, byRole.out.trim()]).toEqual([0, expect.stringMatching(/^s\./)])
    const admin = { ...address, HOLDFAST_TOKEN: running.cluster.rootToken }
    const enabled = await runCommand(['auth', 'enable', '-path=people', '-user-lockout-threshold=3', 'userpass'], { home, env: admin })
    expect([enabled.code, enabled.out]).toEqual([0, expect.stringContaining('auth method at: people/')])
    expect((await root('GET', 'sys/auth/people/tune')).body.data.user_lockout_threshold).toBe(3)
    await root('DELETE', 'sys/auth/people')
  })
})

describe('approle', () => {
  test.each([
    ['wrong', async () => machine('00000000-0000-0000-0000-000000000000', 1)],
    [
      'expired',
      async () => {
        const secret = await secretId({ ttl: '1s' })
        await delay(1_100)
        return machine(secret, 2)
      },
    ],
    [
      'replayed after its only use',
      async () => {
        const secret = await secretId({ num_uses: 1 })
        expect((await machine(secret, 1)).status).toBe(200)
        return machine(secret, 2)
      },
    ],
    [
      'exhausted',
      async () => {
        const secret = await secretId({ num_uses: 2 })
        for (let at = 0; at < 2; at += 1) expect((await machine(secret, at)).status).toBe(200)
        return machine(secret, 2)
      },
    ],
    [
      'destroyed',
      async () => {
        const secret_id = await secretId()
        await root('POST', 'auth/approle/role/app/secret-id/destroy', { secret_id }, 1)
        return machine(secret_id, 2)
      },
    ],
  ])('a secret id that is %s opens nothing, and says no more than that', async (_, tried) => {
    const { status, body } = await tried()
    expect([status, body]).toEqual([400, wrongId])
  })

  test('is held to its networks', async () => {
    await root('POST', 'auth/approle/role/far', { secret_id_bound_cidrs: '10.0.0.0/8' })
    const far = await machine(await secretId({}, 0, 'far'), 1, 'far')
    expect([far.status, far.body.errors[0]]).toEqual([400, expect.stringContaining('"127.0.0.1" unauthorized')])
    const { client_token } = (await machine(await secretId({ token_bound_cidrs: '10.1.1.1' }), 1)).body.auth
    expect((await ask(2, 'GET', 'auth/token/lookup-self', undefined, client_token)).status).toBe(403)
  })

  test('of logins at once through all nodes, with one use left, one wins', async () => {
    for (let round = 0; round < 5; round += 1) {
      const secret = await secretId({ num_uses: 1 })
      const answers = await Promise.all(Array.from({ length: 6 }, (_, at) => machine(secret, at)))
      expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 400, 400, 400, 400, 400])
    }
  })

  test('a wrapped secret id opens once', async () => {
    const wrapped = await request(`${node(0).apiAddress}/v1/auth/approle/role/app/secret-id`, {
      method: 'POST',
      headers: { 'x-vault-token': running.cluster.rootToken, 'x-vault-wrap-ttl': '60s' },
    })
    const { token } = ((await wrapped.body.json()) as { wrap_info: { token: string } }).wrap_info
    const opened = await ask(1, 'POST', 'sys/wrapping/unwrap', {}, token)
    expect((await machine(opened.body.data.secret_id, 2)).status).toBe(200)
    expect((await ask(2, 'POST', 'sys/wrapping/unwrap', {}, token)).status).toBe(400)
  })
})

test('a leader lost between the secret id and the login takes neither it nor its count, nor a lock, away', async () => {
  const [once, twice, used] = [await secretId({ num_uses: 1 }), await secretId({ num_uses: 2 }), await secretId({ num_uses: 1 })]
  expect((await machine(twice)).status).toBe(200)
  expect((await machine(used)).status).toBe(200)
  for (let n = 0; n < 5; n += 1) await person('wrong', n, 'nobody-at-all')
  const old = await waitForLeader(running.cluster)
  await running.cluster.stopNode(old, 'SIGKILL')
  const alive = running.cluster.nodes.findIndex((each) => each !== old)
  // Through a node that lives: it waits for the next leader.
  expect((await machineAt(alive, once)).status).toBe(200)
  expect((await machineAt(alive, once)).body).toEqual(wrongId)
  expect((await machineAt(alive, twice)).status).toBe(200)
  expect((await machineAt(alive, twice)).body).toEqual(wrongId)
  expect((await machineAt(alive, used)).body).toEqual(wrongId)
  expect((await person('wrong', alive, 'nobody-at-all')).status).toBe(403)
  running.cluster.spawn(old)
  await running.cluster.waitForAnswer(old)
  await running.cluster.unseal(old)
  await running.cluster.waitUntilServing()

  async function machineAt(at: number, secret_id: string): Promise<Answer> {
    const role = await root('GET', 'auth/approle/role/app/role-id', undefined, at)
    return ask(at, 'POST', 'auth/approle/login', { role_id: role.body.data.role_id, secret_id })
  }
})

test('a flood of passwords: no election, reads and writes go on, who is turned away is told when to come back', async () => {
  await root('POST', 'sys/auth/userpass/tune', { user_lockout_config: { lockout_disable: true } })
  const leader = await waitForLeader(running.cluster)
  const at = running.cluster.nodes.indexOf(leader)
  // Since when it leads: another time would be another election.
  const leadsSince = async (): Promise<unknown> => (await root('GET', 'sys/leader', undefined, at)).body.active_time
  const before = await leadsSince()
  let stopped = false
  const statuses = new Map<number, number>()
  let toldWhen = 0
  const attacker = async (id: number): Promise<void> => {
    for (let n = 0; !stopped; n += 1) {
      const name = id % 2 === 0 ? 'alice' : `nobody${id}`
      const answer = await request(`${node(id).apiAddress}/v1/auth/userpass/login/${name}`, {
        method: 'POST',
        body: JSON.stringify({ password: `wrong-${n}` }),
      })
      await answer.body.dump()
      statuses.set(answer.statusCode, (statuses.get(answer.statusCode) ?? 0) + 1)
      if (answer.headers['retry-after'] !== undefined) toldWhen += 1
    }
  }
  const attackers = Promise.all(Array.from({ length: 120 }, (_, id) => attacker(id)))
  const took: number[] = []
  const until = performance.now() + 8_000
  for (let n = 0; performance.now() < until; n += 1) {
    const started = performance.now()
    await root('POST', `secret/data/during-${n}`, { data: { n } }, n)
    await root('GET', `secret/data/during-${n}`, undefined, n + 1)
    took.push(performance.now() - started)
  }
  const { status } = await person('right', at)
  stopped = true
  await attackers
  expect(await leadsSince()).toBe(before)
  expect(before).toEqual(expect.any(String))
  expect(await waitForLeader(running.cluster)).toBe(leader)
  expect([...statuses.keys()].toSorted((a, b) => a - b)).toEqual([400, 429])
  expect(toldWhen).toBe(statuses.get(429))
  expect([200, 429]).toContain(status)
  const sorted = took.toSorted((a, b) => a - b)
  recordFigures('logins-flood', 'npm run e2e -- test/e2e/logins.test.ts', {
    attackers: 120,
    seconds: 8,
    answers: Object.fromEntries(statuses),
    'write and read, median ms': Math.round(sorted[Math.floor(sorted.length / 2)] ?? 0),
    'write and read, worst ms': Math.round(sorted.at(-1) ?? 0),
  })
  // On a machine that does nothing else it is a fraction of a second; a lost leader would cost seconds, a starved one the whole timeout.
  expect(sorted.at(-1)).toBeLessThan(10_000)
})
