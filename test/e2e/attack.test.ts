/** What an attacker, and a client in a hurry, try against three real servers: each through another node than the one before. */
import { readFileSync } from 'node:fs'
import { Agent, request as send } from 'undici'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startCluster, waitForLeader, type TestCluster } from '#test/support/cluster.ts'

// oxlint-disable-next-line typescript/no-explicit-any -- tests look into parsed JSON
type Answer = { status: number; body: any; text: string }
interface Options {
  readonly method?: string
  readonly body?: unknown
  readonly token?: string | null
  readonly headers?: Record<string, string>
}

let running: TestCluster
let leader = 0
let followers: number[] = []
const agent = new Agent({ headersTimeout: 30_000 })

beforeAll(async () => {
  running = await startCluster()
  const found = await waitForLeader(running.cluster)
  leader = running.cluster.nodes.findIndex(({ id }) => id === found.id)
  followers = [0, 1, 2].filter((at) => at !== leader)
  await via(0, 'sys/mounts/kv', { body: { type: 'kv-v2' } })
})
afterAll(async () => {
  await agent.destroy()
  await running?.dispose()
})

/** One request through node `at`; a body makes it a POST. */
async function via(at: number, path: string, options: Options = {}): Promise<Answer> {
  const token = options.token === undefined ? running.cluster.rootToken : options.token
  const { statusCode, body } = await send(`${running.cluster.nodes[at]!.apiAddress}/v1/${path}`, {
    dispatcher: agent,
    method: (options.method ?? (options.body === undefined ? 'GET' : 'POST')) as 'GET',
    headers: { ...(token === null ? {} : { 'x-vault-token': token }), ...options.headers },
    body: options.body === undefined ? null : typeof options.body === 'string' ? options.body : JSON.stringify(options.body),
  })
  const text = await body.text()
  return { status: statusCode, text, body: text.startsWith('{') ? JSON.parse(text) : null }
}

const tokenWith = async (at: number, body: Record<string, unknown>): Promise<string> =>
  (await via(at, 'auth/token/create', { body })).body.auth.client_token as string

/** Each pair of different nodes: what one was told, the other must know at once. */
const pairs = (): [number, number][] => [0, 1, 2].flatMap((a) => [0, 1, 2].filter((b) => b !== a).map((b): [number, number] => [a, b]))

describe('what one node was told holds at once on every other', () => {
  test('a value, a policy, a revocation, a mount that is gone', async () => {
    for (const [round, [a, b]] of [...pairs(), ...pairs()].entries()) {
      const policy = (what: string) => ({ body: { policy: `path "kv/data/*" { capabilities = ["${what}"] }` } })
      await via(a, 'kv/data/x', { body: { data: { round } } })
      expect((await via(b, 'kv/data/x')).body.data.data.round).toBe(round)
      await via(a, 'sys/policies/acl/p', policy('read'))
      const token = await tokenWith(a, { policies: ['p'] })
      expect((await via(b, 'kv/data/x', { token })).status).toBe(200)
      await via(a, 'sys/policies/acl/p', policy('deny'))
      expect((await via(b, 'kv/data/x', { token })).status).toBe(403)
      await via(a, 'sys/policies/acl/p', policy('read'))
      await via(a, 'auth/token/revoke', { body: { token } })
      expect((await via(b, 'kv/data/x', { token })).status).toBe(403)
      await via(a, 'sys/mounts/gone', { body: { type: 'kv' } })
      await via(b, 'gone/x', { body: { secret: 'of-before' } })
      expect((await via(b, 'gone/x')).status).toBe(200)
      await via(a, 'sys/mounts/gone', { method: 'DELETE' })
      expect((await via(b, 'gone/x')).status).toBe(404)
      await via(a, 'sys/mounts/gone', { body: { type: 'kv' } })
      expect((await via(b, 'gone/x')).text).not.toContain('of-before')
      await via(b, 'sys/mounts/gone', { method: 'DELETE' })
    }
  }, 60_000)

  test('a failed check-and-set was right: the version that it met is there', async () => {
    const writers = Array.from(
      { length: 60 },
      async (_, i) => (await via(i % 3, 'kv/data/cas', { body: { options: { cas: 0 }, data: { i } } })).status,
    )
    const statuses = await Promise.all(writers)
    expect(statuses.filter((status) => status === 200)).toHaveLength(1)
    expect(statuses.filter((status) => status === 400)).toHaveLength(59)
    expect((await via(followers[0]!, 'kv/data/cas')).body.data.data.i).toBe(statuses.indexOf(200))
  })
})

describe('what works once works once, through whichever nodes', () => {
  test('a token of five uses among forty requests', async () => {
    for (const path of ['auth/token/lookup-self', 'nowhere/at/all', 'cubbyhole/x']) {
      const token = await tokenWith(1, { policies: ['default'], num_uses: 5 })
      const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => via(i % 3, path, { token })))
      // Spent, it is no token: 'permission denied' without the policy's wording.
      const spent = answers.filter(({ body }) => body.errors?.[0] === 'permission denied')
      expect(spent).toHaveLength(35)
      expect((await via(0, 'auth/token/lookup', { body: { token } })).status).toBe(403)
    }
  })

  test('unwrapping', async () => {
    const secret = 'wrapped-once-only'
    await via(0, 'kv/data/w', { body: { data: { secret } } })
    const wrapped = await via(followers[1]!, 'kv/data/w', { headers: { 'x-vault-wrap-ttl': '500ms' } })
    expect(wrapped.text).not.toContain(secret)
    const again = await via(followers[0]!, 'kv/data/w', { headers: { 'x-vault-wrap-ttl': '60s' } })
    const token = again.body.wrap_info.token as string
    const answers = await Promise.all(Array.from({ length: 12 }, (_, i) => via(i % 3, 'sys/wrapping/unwrap', { body: {}, token })))
    expect(answers.filter(({ text }) => text.includes(secret))).toHaveLength(1)
    expect(answers.filter(({ status }) => status === 400)).toHaveLength(11)
  })
})

describe('what a token without rights tries', () => {
  test("paths of sudo, others' cubbyholes, roots in disguise", async () => {
    await via(0, 'sys/policies/acl/broad', {
      body: { policy: 'path "*" { capabilities = ["create","read","update","patch","delete","list","scan"] }' },
    })
    const token = await tokenWith(0, { policies: ['broad'] })
    const sudo: [string, string][] = [
      ['LIST', 'auth/token/accessors'],
      ['GET', 'sys/audit'],
      ['POST', 'sys/audit/x'],
      ['DELETE', 'sys/audit/x'],
      ['POST', 'sys/auth/x'],
      ['DELETE', 'sys/auth/x'],
      ['POST', 'sys/auth/token/tune'],
      ['POST', 'sys/remount'],
      ['POST', 'sys/rotate'],
      ['POST', 'sys/rotate/keyring'],
      ['POST', 'sys/seal'],
      ['PUT', 'sys/step-down'],
      ['POST', 'sys/storage/raft/join-token'],
      ['POST', 'auth/token/revoke-orphan'],
    ]
    for (const at of [leader, followers[0]!])
      for (const [method, path] of sudo)
        expect((await via(at, path, { method, token, ...(method === 'POST' ? { body: {} } : {}) })).status, path).toBe(403)
    for (const body of [
      { policies: ['root'] },
      { policies: ['ROOT '] },
      { policies: 'default, Root' },
      { period: '1h' },
      { no_parent: true },
      { id: 'x' },
      { policies: ['Response-Wrapping'] },
      { policies: ['other'] },
    ])
      expect((await via(followers[0]!, 'auth/token/create', { token, body })).status, JSON.stringify(body)).toBe(400)
    expect((await via(0, 'sys/policies/acl/ROOT', { token, body: { policy: 'path "x" { capabilities = ["read"] }' } })).status).toBe(400)
    await via(0, 'cubbyhole/mine', { body: { a: 'of-root-alone' } })
    for (const path of ['cubbyhole/mine', 'cubbyhole?list=true', 'cubbyhole/%2e%2e/mine', 'cubbyhole//mine'])
      expect((await via(followers[0]!, path, { token })).text).not.toContain('mine"')
  })

  test('a header of the house does not make a forwarded request of one', async () => {
    for (const headers of [
      { 'x-vault-forwarded-from': 'node-1' },
      { 'x-forwarded-for': '10.0.0.1' },
      { 'x-vault-namespace': '../root' },
    ] as Record<string, string>[])
      expect((await via(followers[0]!, 'kv/data/x', { token: 's.nothing', headers, body: { data: {} } })).status).toBeGreaterThanOrEqual(
        400,
      )
  })

  test('bombs: each is refused, and the cluster goes on without an election', async () => {
    const term = async () => (await via(leader, 'sys/leader', { token: null })).body
    const before = await term()
    const form = { 'content-type': 'application/x-www-form-urlencoded' }
    const bodies: [string, Record<string, string>][] = [
      ['ab&'.repeat(2_000_000), form],
      ['['.repeat(8_000_000), {}],
      [` ${'['.repeat(8_000_000)}`, form],
      [`{"paths":"${'a,'.repeat(4_000_000)}"}`, {}],
      [`{"paths":[${'1,'.repeat(200_000)}1]}`, {}],
      [`{"__proto__":{"policies":["root"]},"constructor":{"prototype":{"token":1}},"paths":["x"]}`, {}],
    ]
    const token = await tokenWith(0, { policies: ['default'] })
    for (const [body, headers] of bodies) {
      for (const at of [leader, followers[0]!]) {
        const began = performance.now()
        const { status } = await via(at, 'sys/capabilities-self', { body, headers, token })
        expect([200, 400]).toContain(status)
        expect(performance.now() - began).toBeLessThan(3_000)
      }
    }
    expect(await term()).toMatchObject({ leader_address: before.leader_address, active_time: before.active_time })
  }, 60_000)
})

test('nothing was done that no node recorded, and no record, log or error shows a secret', async () => {
  const marks = Array.from({ length: 10 }, (_, i) => `mark-${i}-of-a-secret`)
  const ids: string[] = []
  for (const [i, mark] of marks.entries()) {
    const answer = await via(i % 3, `kv/data/marked-${i}`, { body: { data: { [mark]: mark } } })
    ids.push(answer.body.request_id as string)
    await via(i % 3, 'kv/data/x', { token: `s.${mark}` })
    await via(i % 3, 'auth/token/create', { body: { id: mark, policies: { [mark]: mark } } })
    await via(i % 3, 'kv/data/x', { body: `{"data":{"a":"${mark}"` })
    await via(i % 3, 'sys/unseal', { body: { key: mark }, token: null })
  }
  const audits = running.cluster.nodes.map(({ auditPath }) => readFileSync(auditPath, 'utf8'))
  for (const id of ids) {
    const lines = audits.flatMap((text) => text.split('\n').filter((line) => line.includes(id)))
    expect(lines.filter((line) => line.includes('"type":"request"'))).toHaveLength(1)
    expect(lines.filter((line) => line.includes('"type":"response"'))).toHaveLength(1)
  }
  const logs = running.cluster.nodes.map(({ logPath }) => readFileSync(logPath, 'utf8'))
  // The name of a field is no secret of the audit's (as with the peers); values, tokens and keys are.
  for (const text of [...logs, ...audits.map((audit) => audit.replaceAll(/"mark-\d-of-a-secret":/g, '"name":'))])
    for (const mark of [...marks, running.cluster.rootToken]) expect(text.includes(mark), `${mark.slice(0, 6)} in the clear`).toBe(false)
})
