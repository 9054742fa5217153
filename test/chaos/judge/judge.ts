/** The verdict: final reads of every key through every node, then linearizability of each key's history, and each acknowledged version in its place. */
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { writeFileSync } from 'node:fs'
import { checkHistory, describeResult } from '#test/support/linearizability/checker.ts'
import type { Operation } from '#test/support/linearizability/history.ts'
import { writeHistoryHtml } from '#test/support/linearizability/picture.ts'
import type { Acknowledged, Epoch } from '../history.ts'
import { KvClient, type Outcome } from '../kv.ts'
import { checkRegister, type RegisterOperation } from './register.ts'

export interface Verdict {
  readonly linearizable: boolean
  readonly violations: readonly string[]
  readonly undecided: number
  readonly lost: readonly string[]
  readonly readBack: number
  readonly operations: number
  readonly overlapping: number
}

const readsAtOnce = 16
const stepsMax = 5_000_000
const keyMsMax = 60_000
const triesMax = 50

/** `folder`: where histories and pictures of what failed are put. The cluster must be calm. */
export async function judge(
  epochs: readonly Epoch[],
  nodes: readonly { id: string; address: string }[],
  token: string,
  folder: string,
): Promise<Verdict> {
  const lost: string[] = []
  let readBack = 0
  for (const { id, address } of nodes) {
    const client = new KvClient(address, token, 10_000)
    for (const epoch of epochs) await finalReads(epoch, client, id)
    readBack += await readAcknowledged(
      epochs.flatMap(({ acknowledged }) => acknowledged),
      client,
      id,
      lost,
    )
    await client.close()
  }
  const violations: string[] = []
  let undecided = 0
  let operations = 0
  let overlapping = 0
  for (const epoch of epochs) {
    const versioned = epoch.versioned.history()
    const plain = epoch.plain.history()
    operations += versioned.length + plain.length
    overlapping += countOverlapping(versioned) + countOverlapping(plain)
    const until = performance.now() + keyMsMax
    const result = checkHistory(versioned, { stepsMax, expired: () => performance.now() > until })
    if (result.outcome === 'undecided') undecided += 1
    if (result.outcome !== 'linearizable') {
      violations.push(`${epoch.name}: ${describeResult(result)}`)
      writeFileSync(join(folder, `${epoch.name}.history.json`), JSON.stringify(versioned))
      writeHistoryHtml(join(folder, `${epoch.name}.html`), versioned, result)
    }
    violations.push(...judgePlain(epoch.name, plain, folder))
  }
  return { linearizable: violations.length === 0, violations, undecided, lost, readBack, operations, overlapping }
}

function judgePlain(name: string, plain: readonly RegisterOperation[], folder: string): string[] {
  const found = [...Map.groupBy(plain, ({ key }) => key)].flatMap(([key, operations]) =>
    checkRegister(operations).map((violation) => `${key} (version 1): ${violation}`),
  )
  if (found.length > 0) writeFileSync(join(folder, `${name}.plain.history.json`), JSON.stringify(plain))
  return found
}

/** As one more client: what a node says at the end belongs to the history like everything before. */
async function finalReads(epoch: Epoch, client: KvClient, node: string): Promise<void> {
  const name = `final@${node}`
  for (const key of new Set(epoch.versioned.history().map((operation) => operation.key))) {
    const id = epoch.versioned.call({ client: name, key, kind: 'get', input: null })
    epoch.versioned.returned(id, await persist(() => client.get(key)))
  }
  for (const key of new Set(epoch.plain.history().map((operation) => operation.key))) {
    const id = epoch.plain.call({ client: name, key, kind: 'read', value: null })
    epoch.plain.read(id, await persist(() => client.getPlain(key)))
  }
}

async function readAcknowledged(acknowledged: readonly Acknowledged[], client: KvClient, node: string, lost: string[]): Promise<number> {
  const rest = acknowledged.values()
  let read = 0
  const reader = async (): Promise<void> => {
    for (const { key, version, value } of rest) {
      const seen = await persist(() => client.get(key, version))
      read += 1
      if (seen.value !== value) lost.push(`${key} version ${version} on ${node}: expected ${value}, got ${seen.value}`)
    }
  }
  await Promise.all(Array.from({ length: readsAtOnce }, reader))
  return read
}

/** Nothing is broken any more: a refusal passes. @throws when it does not. */
async function persist<T>(ask: () => Promise<Outcome<T>>): Promise<T> {
  let last = ''
  for (let tries = 0; tries < triesMax; tries++) {
    const answer = await ask()
    if (answer.outcome === 'done') return answer.value
    last = answer.code
    await delay(200)
  }
  throw new Error(`expected the calm cluster to answer a read, got ${last} ${triesMax} times`)
}

/** Completed operations that some other one on the same key met in time. */
export function countOverlapping(history: readonly Pick<Operation, 'key' | 'callAt' | 'returnAt'>[]): number {
  let count = 0
  for (const operations of Map.groupBy(history, ({ key }) => key).values()) {
    const sorted = operations.filter(({ returnAt }) => returnAt !== null).toSorted((a, b) => a.callAt - b.callAt)
    let latest = -Infinity
    for (const [i, { callAt, returnAt }] of sorted.entries()) {
      const end = returnAt as number
      const next = sorted[i + 1]
      if (latest > callAt || (next !== undefined && next.callAt < end)) count += 1
      latest = Math.max(latest, end)
    }
  }
  return count
}
