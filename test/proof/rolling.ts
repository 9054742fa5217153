/** A rolling restart of a Shamir-sealed cluster behind the load balancer of deploy/, as its clients see it. */
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Pool } from 'undici'
import type { LocalCluster, LocalNode } from '#cmd/dev/local-cluster.ts'
import { freePorts } from '#test/support/cluster.ts'
import { haproxyInstalled, startHaproxy } from '#test/support/haproxy.ts'
import { mountKv, waitForLeader } from './writers.ts'
import type { Proof } from './types.ts'

interface Failure {
  readonly atMs: number
  readonly kind: 'read' | 'write'
  /** Of a connection; or what was answered, of which any but 200 is a failure here. */
  readonly what: string
}

interface Round {
  /** Which node restarted first and stayed sealed: the leader or a follower. */
  readonly first: 'leader' | 'follower'
  readonly requests: number
  readonly writes: number
  readonly failures: readonly Failure[]
  readonly slowestMs: number
  readonly seconds: number
}

const connections = 64
const sealedForMs = 60_000
const settleMs = 3_000
const answerMsMax = 15_000
const shownMax = 200

/** Keeps the balancer's clients busy; every failure is kept, nothing is tried again. */
class Clients {
  readonly failures: Failure[] = []
  requests = 0
  writes = 0
  slowestMs = 0
  readonly #pool: Pool
  readonly #token: string
  readonly #startedMs = performance.now()
  #stopped = false
  #running: Promise<unknown> = Promise.resolve()

  constructor(address: string, token: string) {
    this.#pool = new Pool(address, { connections })
    this.#token = token
  }

  start(): void {
    this.#running = Promise.all(Array.from({ length: connections }, (_, id) => this.#client(id)))
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#running
    await this.#pool.close()
  }

  async #client(id: number): Promise<void> {
    for (let n = 0; !this.#stopped; n++) {
      const kind = n % 10 === 0 ? 'write' : 'read'
      const sentMs = performance.now()
      const what = await this.#ask(kind, id, n)
      this.slowestMs = Math.max(this.slowestMs, performance.now() - sentMs)
      this.requests += 1
      if (kind === 'write') this.writes += 1
      if (what !== null) this.failures.push({ atMs: Math.round(sentMs - this.#startedMs), kind, what })
    }
  }

  async #ask(kind: 'read' | 'write', id: number, n: number): Promise<string | null> {
    const path = `/v1/secret/data/r${id}`
    const headers = { 'x-vault-token': this.#token }
    const times = { headersTimeout: answerMsMax, bodyTimeout: answerMsMax }
    try {
      const answer = await this.#pool.request(
        kind === 'write'
          ? { method: 'POST', path, headers, body: JSON.stringify({ data: { n } }), ...times }
          : { method: 'GET', path, headers, ...times },
      )
      const body = await answer.body.text()
      return answer.statusCode === 200 ? null : `${answer.statusCode} ${body.slice(0, shownMax)}`
    } catch (error) {
      return (error as NodeJS.ErrnoException).code ?? 'error'
    }
  }
}

async function restart(cluster: LocalCluster, node: LocalNode, unseal: boolean): Promise<void> {
  await cluster.stopNode(node, 'SIGTERM')
  cluster.spawn(node)
  await cluster.waitForAnswer(node)
  if (unseal) await cluster.unseal(node)
  await delay(settleMs)
}

/** Node A restarts and stays sealed; a minute later B, then C restart and are unsealed. */
export const rolling: Proof<Round> = {
  name: 'rolling',
  claim: `A rolling restart behind the load balancer, the first node sealed from then on: ${connections} connections, nine reads to a write, no failed request.`,
  rounds: 2,
  async prepare({ subject, dir, say }) {
    if (!haproxyInstalled()) throw new Error('expected haproxy on this machine, got none: apt-get install haproxy')
    const cluster = await subject.cluster(join(dir, 'cluster'), { nodes: 3 })
    await cluster.start()
    await mountKv(cluster, 2)
    const proxy = await startHaproxy(cluster, await freePorts(1))
    return {
      async round(number) {
        const startedMs = performance.now()
        const leader = await waitForLeader(cluster)
        const first = number % 2 === 0 ? 'follower' : 'leader'
        const a = first === 'leader' ? leader : (cluster.nodes.find((node) => node !== leader) as LocalNode)
        const clients = new Clients(proxy.address, cluster.rootToken)
        // Every key is there before anybody reads it.
        await fill(proxy.address, cluster.rootToken)
        clients.start()
        await delay(settleMs)
        await restart(cluster, a, false)
        say(`${first} restarted and sealed; ${clients.failures.length} failed of ${clients.requests}`)
        await delay(sealedForMs)
        for (const node of cluster.nodes.filter((each) => each !== a)) {
          await restart(cluster, node, true)
          say(`${node.id} restarted and unsealed; ${clients.failures.length} failed of ${clients.requests}`)
        }
        await clients.stop()
        await cluster.unseal(a)
        await cluster.waitUntilServing()
        const { failures, requests, writes, slowestMs } = clients
        const seconds = Math.round((performance.now() - startedMs) / 1_000)
        return { first, requests, writes, failures: failures.slice(0, 100), slowestMs: Math.round(slowestMs), seconds }
      },
      async stop() {
        await proxy.stop()
        await cluster.stop()
      },
    }
  },
  conclude(rounds) {
    const failed = rounds.reduce((sum, { failures }) => sum + failures.length, 0)
    return { figures: { nodes: 3, connections, sealed_for_seconds: sealedForMs / 1_000, failed, rounds }, clean: failed === 0 }
  },
}

async function fill(address: string, token: string): Promise<void> {
  const pool = new Pool(address, { connections: 8 })
  try {
    const headers = { 'x-vault-token': token }
    await Promise.all(
      Array.from({ length: connections }, async (_, id) => {
        const answer = await pool.request({
          method: 'POST',
          path: `/v1/secret/data/r${id}`,
          headers,
          body: JSON.stringify({ data: { n: -1 } }),
        })
        await answer.body.dump()
        if (answer.statusCode !== 200) throw new Error(`expected the first write to be taken, got ${answer.statusCode}`)
      }),
    )
  } finally {
    await pool.close()
  }
}
