/** Tokens and their leases on a real cluster: what is due is refused by every node and gone soon after, also when its leader is lost meanwhile. */
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startCluster, waitForLeader, type TestCluster } from '#test/support/cluster.ts'

let running: TestCluster
beforeAll(async () => {
  running = await startCluster()
  await root('POST', 'sys/auth/userpass', { type: 'userpass' })
  await root('POST', 'auth/userpass/users/alice', { password: 'right', token_ttl: '4s' })
  await root('POST', 'auth/userpass/users/bob', { password: 'right', token_type: 'batch', token_ttl: '1h' })
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
const login = async (name: string, at = 0): Promise<string> =>
  (await ask(at, 'POST', `auth/userpass/login/${name}`, { password: 'right' })).body.auth.client_token as string
const works = async (at: number, token: string): Promise<boolean> =>
  (await ask(at, 'GET', 'auth/token/lookup-self', undefined, token)).status === 200
const listed = async (at: number): Promise<number> => {
  const { body } = await ask(at, 'GET', 'sys/leases/lookup/auth/userpass/login/alice?list=true', undefined, running.cluster.rootToken)
  return (body?.data?.keys ?? []).length as number
}

test('a batch token is good on every node', async () => {
  const token = await login('bob', 1)
  expect(token).toMatch(/^b\./)
  for (const at of [0, 1, 2]) expect(await works(at, token)).toBe(true)
})

test('tokens are refused when they are due and gone soon after, over a change of leader too', async () => {
  const tokens = await Promise.all([0, 1, 2, 0, 1, 2].map((at) => login('alice', at)))
  const madeMs = Date.now()
  expect(await listed(1)).toBeGreaterThan(0)
  await ask(0, 'POST', 'sys/step-down', {}, running.cluster.rootToken)
  await waitForLeader(running.cluster)
  await delay(Math.max(0, madeMs + 4_200 - Date.now()))
  for (const [at, token] of tokens.entries()) expect(await works(at, token), `on node ${at % 3}`).toBe(false)
  const until = Date.now() + 60_000
  while ((await listed(0)) > 0 && Date.now() < until) await delay(200)
  expect(await listed(2)).toBe(0)
}, 120_000)
