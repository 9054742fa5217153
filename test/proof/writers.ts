/** Writers of new keys through every node, each key written once: what became of each write, as its client knows. */
import type { LocalCluster, LocalNode } from '#cmd/dev/local-cluster.ts'
import { until } from '#test/support/server-process.ts'
import { KvClient } from '../chaos/kv.ts'

export interface Written {
  readonly key: string
  readonly value: string
  /** When it was sent, and when its acknowledgement came; null: the outcome is unknown. */
  readonly sentAtMs: number
  readonly ackedAtMs: number | null
}

const writeMsMax = 5_000
const readersPerNode = 16
const triesMax = 100

export class Writers {
  readonly written: Written[] = []
  readonly #clients: readonly KvClient[]
  readonly #prefix: string
  #stopped = false
  #running: Promise<unknown> = Promise.resolve()

  constructor(cluster: LocalCluster, prefix: string) {
    this.#prefix = prefix
    this.#clients = cluster.nodes.map((node) => new KvClient(node.apiAddress, cluster.rootToken, writeMsMax))
  }

  start(count: number): void {
    this.#running = Promise.all(Array.from({ length: count }, (_, id) => this.#write(id)))
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#running
    await Promise.all(this.#clients.map((client) => client.close()))
  }

  async #write(id: number): Promise<void> {
    for (let n = 0; !this.#stopped; n++) {
      const client = this.#clients[(id + n) % this.#clients.length] as KvClient
      const key = `${this.#prefix}/w${id}-${n}`
      const value = `value-${id}-${n}`
      const sentAtMs = performance.now()
      const answer = await client.put(key, value)
      // Refused for sure or not: a write that is there although it was refused would be told by nobody, and is counted as unknown.
      this.written.push({ key, value, sentAtMs, ackedAtMs: answer.outcome === 'done' ? performance.now() : null })
      if (answer.outcome !== 'done') await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }
}

export interface Found {
  readonly lost: string[]
  /** Written once, there twice. */
  readonly doubled: string[]
}

/** Reads every key through every node. */
export async function lookFor(cluster: LocalCluster, written: readonly Written[]): Promise<Found> {
  const found: Found = { lost: [], doubled: [] }
  for (const node of cluster.nodes) {
    const client = new KvClient(node.apiAddress, cluster.rootToken, writeMsMax)
    const rest = written.values()
    const reader = async (): Promise<void> => {
      for (const { key, value, ackedAtMs } of rest) {
        const { version, value: seen } = await readPatiently(client, key)
        const isThere = version > 0 && seen === value
        if (ackedAtMs !== null && !isThere) found.lost.push(`${key} on ${node.id}: expected ${value}, got ${seen}`)
        if (version > 1) found.doubled.push(`${key} on ${node.id}: expected version 1, got ${version}`)
      }
    }
    await Promise.all(Array.from({ length: readersPerNode }, reader))
    await client.close()
  }
  return found
}

async function readPatiently(client: KvClient, key: string): Promise<{ version: number; value: string | null }> {
  let last = ''
  for (let tries = 0; tries < triesMax; tries++) {
    const answer = await client.get(key)
    if (answer.outcome === 'done') return answer.value
    last = answer.code
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`expected a calm cluster to answer a read, got ${last}`)
}

/** Whom one of them names as its leader. */
export function waitForLeader(cluster: LocalCluster): Promise<LocalNode> {
  return until('a leader', () => cluster.leader(), 15_000)
}

export async function restart(cluster: LocalCluster, nodes: readonly LocalNode[]): Promise<void> {
  for (const node of nodes) if (node.process === null) cluster.spawn(node)
  await Promise.all(nodes.map((node) => cluster.waitForAnswer(node)))
  await Promise.all(nodes.map((node) => cluster.unseal(node)))
  await cluster.waitUntilServing()
}

export async function mountKv(cluster: LocalCluster, version: 1 | 2): Promise<void> {
  const address = cluster.nodes[0]?.apiAddress ?? ''
  const path = version === 2 ? 'sys/mounts/secret' : 'sys/mounts/plain'
  const answer = await cluster.api.call(address, 'POST', path, {
    token: cluster.rootToken,
    body: { type: 'kv', options: { version: String(version) } },
  })
  if (answer.status >= 300) throw new Error(`${path}: expected 204, got ${answer.status}`)
}

export function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0)
}
