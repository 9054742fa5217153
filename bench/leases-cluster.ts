/**
 * The same question as of a new leader in one process (leases.ts), of a cluster of server processes: tokens are made through the API, the leader is killed,
 * and a client that knows all the others waits for who leads next. What is lent for a time is tokens alone: no engine of the house lends anything else.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { Pool } from 'undici'
import type { LocalNode } from '#cmd/dev/local-cluster.ts'
import { startCluster, waitForLeader, type TestCluster } from '#test/support/cluster.ts'

export interface ClusterQuestion {
  readonly nodes: number
  /** Tokens that stand there, and are not due for hours. */
  readonly standing: number
  readonly say: (name: string, value: number) => void
}

/** Tokens that fall due while there is no leader, or right after. */
const dueCount = 1_000
const dueSeconds = 15
/** So long before the first of them does the leader go. */
const killLeadMs = 500
const atOnce = 32
const waitMsMax = 120_000
const sampleMax = 50

type Answer = { readonly status: number; readonly text: string }

/** One node, as a client sees it: what does not come within a second, or not at all, is asked again. */
class Client {
  readonly #pool: Pool

  constructor({ apiAddress }: LocalNode) {
    this.#pool = new Pool(apiAddress, { connections: atOnce, headersTimeout: 10_000 })
  }

  async ask(method: 'GET' | 'POST', path: string, token: string, body?: object): Promise<Answer> {
    const sent = {
      method,
      path: `/v1/${path}`,
      headers: { 'x-vault-token': token },
      body: body === undefined ? null : JSON.stringify(body),
    }
    const answer = await this.#pool.request(sent)
    return { status: answer.statusCode, text: await answer.body.text() }
  }

  async close(): Promise<void> {
    await this.#pool.destroy()
  }
}

export async function overNodes(question: ClusterQuestion): Promise<void> {
  const running = await startCluster({ nodes: question.nodes })
  const clients: Client[] = []
  try {
    await measure(question, running, (node) => {
      const client = new Client(node)
      clients.push(client)
      return client
    })
  } finally {
    await Promise.all(clients.map((client) => client.close()))
    await running.dispose()
  }
}

async function measure({ standing, say }: ClusterQuestion, { cluster }: TestCluster, clientOf: (node: LocalNode) => Client): Promise<void> {
  const root = cluster.rootToken
  const leader = await waitForLeader(cluster)
  const first = clientOf(leader)
  await expectDone(first.ask('POST', 'auth/token/roles/due', root, { orphan: true }))

  let startedMs = performance.now()
  const tokens = await makeTokens(first, root, standing, 'auth/token/create', (at) => 3_600 + ((at * 7_919) % 80_000))
  say('standing', tokens.length)
  say('registered per second', standing / ((performance.now() - startedMs) / 1_000))
  const due = await makeTokens(first, root, dueCount, 'auth/token/create/due', () => dueSeconds)
  const firstDueMs = Math.min(...due.map(({ dueMs }) => dueMs))
  const lastDueMs = Math.max(...due.map(({ dueMs }) => dueMs))
  await delay(Math.max(0, firstDueMs - killLeadMs - Date.now()))

  const others = cluster.nodes.filter((node) => node !== leader).map(clientOf)
  startedMs = performance.now()
  await cluster.stopNode(leader, 'SIGKILL')
  const since = async (asked: Promise<unknown>): Promise<number> => {
    await asked
    return performance.now() - startedMs
  }
  const [reads, writes] = await Promise.all([
    since(untilDone(others, (client) => client.ask('GET', 'auth/token/lookup-self', tokens[0]!.token))),
    since(untilDone(others, (client) => client.ask('POST', 'auth/token/create', root, { ttl: '1h', policies: ['default'] }))),
  ])
  say('next leader answers a read after ms', reads)
  say('next leader answers a write after ms', writes)

  await delay(Math.max(0, lastDueMs - Date.now()))
  say('expired ones that were answered', await stillGood(others, due))
  await until(async () => (await others[0]!.ask('GET', 'sys/leases/lookup/auth/token/create/due?list=true', root)).status === 404)
  say('last one gone late by ms', Date.now() - lastDueMs)
  const next = clientOf(await waitForLeader(cluster))
  await until(async () => (await leasesAt(next, root)) >= standing)
  say('next leader has counted them after ms', performance.now() - startedMs)
}

interface Made {
  readonly token: string
  /** At the latest. */
  readonly dueMs: number
}

async function makeTokens(client: Client, root: string, count: number, path: string, ttlOf: (at: number) => number): Promise<Made[]> {
  const made: Made[] = []
  let next = 0
  const maker = async (): Promise<void> => {
    for (let at = next++; at < count; at = next++) {
      const ttl = ttlOf(at)
      const { text } = await expectDone(client.ask('POST', path, root, { ttl: `${ttl}s`, policies: ['default'] }))
      const { auth } = JSON.parse(text) as { readonly auth: { readonly client_token: string } }
      made.push({ token: auth.client_token, dueMs: Date.now() + ttl * 1_000 })
    }
  }
  await Promise.all(Array.from({ length: atOnce }, maker))
  return made
}

/** How many of some of them any node still takes. */
async function stillGood(clients: readonly Client[], due: readonly Made[]): Promise<number> {
  let good = 0
  for (const { token } of due.slice(0, sampleMax))
    for (const client of clients) if ((await client.ask('GET', 'auth/token/lookup-self', token)).status === 200) good += 1
  return good
}

async function leasesAt(client: Client, root: string): Promise<number> {
  const { text } = await client.ask('GET', 'sys/metrics?format=prometheus', root)
  return Number(/^holdfast_leases ([\d.e+]+)$/m.exec(text)?.[1] ?? 0)
}

async function expectDone(asked: Promise<Answer>): Promise<Answer> {
  const answer = await asked
  if (answer.status >= 300) throw new Error(`expected the request to be carried out, got ${answer.status}`)
  return answer
}

/** Asks one node after the other until one carries it out. */
async function untilDone(clients: readonly Client[], ask: (client: Client) => Promise<Answer>): Promise<void> {
  let turn = 0
  await until(async () => {
    const answer = await ask(clients[turn++ % clients.length]!).catch(() => null)
    return answer !== null && answer.status < 300
  })
}

async function until(reached: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + waitMsMax
  while (!(await reached())) {
    if (performance.now() > endMs) throw new Error(`expected it within ${waitMsMax} ms`)
    await delay(10)
  }
}
