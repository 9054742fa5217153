/**
 * A node whose state is damaged comes back by itself: it starts, votes by its log, fetches the state from the others, is unsealed and serves. The
 * comparison of all members says so, by the API and by the CLI.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { LocalNode } from '#cmd/dev/local-cluster.ts'
import { runCommand } from '#test/support/cli.ts'
import { mountKv, startCluster, type TestCluster } from '#test/support/cluster.ts'

let running: TestCluster

beforeAll(async () => {
  running = await startCluster()
  await mountKv(running.cluster, 'secret')
})
afterAll(() => running?.dispose())

const call = (node: LocalNode, method: string, path: string, body?: unknown) =>
  running.cluster.api.call(node.apiAddress, method, path, { token: running.cluster.rootToken, body, timeoutMs: 8_000 })

async function states(node: LocalNode): Promise<string[]> {
  const { body } = await call(node, 'GET', 'sys/storage/raft/verify')
  const data = body?.['data'] as { nodes?: { state: string }[] } | undefined
  return (data?.nodes ?? []).map(({ state }) => state)
}

async function eventuallyAgreed(node: LocalNode): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    if ((await states(node)).join() === 'agrees,agrees,agrees') return
    await delay(100)
  }
  expect(await states(node)).toEqual(['agrees', 'agrees', 'agrees'])
}

function stateFiles(node: LocalNode): string[] {
  const state = readdirSync(node.dataDir, { recursive: true, encoding: 'utf8' }).filter((name) => name.startsWith('state/'))
  return state.map((name) => join(node.dataDir, name))
}

test('a damaged state is fetched again at the next start, and all members agree', async () => {
  const { cluster } = running
  for (let at = 0; at < 50; at++) {
    const leader = (await cluster.leader()) as LocalNode
    expect((await call(leader, 'POST', `secret/data/k${at}`, { data: { value: `v${at}` } })).status).toBe(200)
  }
  const leader = (await cluster.leader()) as LocalNode
  await eventuallyAgreed(leader)
  const victim = cluster.nodes.find((node) => node !== leader) as LocalNode
  await cluster.stopNode(victim, 'SIGKILL')
  const manifest = stateFiles(victim).find((path) => path.includes('MANIFEST-')) ?? ''
  const bytes = readFileSync(manifest)
  bytes[9] = (bytes[9] ?? 0) ^ 4
  writeFileSync(manifest, bytes)
  cluster.spawn(victim)
  await cluster.waitForAnswer(victim)
  await cluster.unseal(victim)
  await cluster.waitUntilServing([victim])
  const read = await call(victim, 'GET', 'secret/data/k49')
  expect((read.body?.['data'] as { data?: unknown })?.data).toEqual({ value: 'v49' })
  await eventuallyAgreed(victim)
  const shown = await runCommand('operator raft verify', {
    address: victim.apiAddress,
    env: { HOLDFAST_TOKEN: cluster.rootToken },
  })
  expect(shown.code).toBe(0)
  expect(shown.out.match(/ agrees /g)).toHaveLength(3)
  expect((await call(victim, 'POST', 'sys/storage/raft/scrub')).status).toBe(204)
  await expect
    .poll(
      async () => {
        const { body } = await call(victim, 'GET', 'sys/storage/raft/verify')
        const data = body?.['data'] as { nodes: { node_id: string; last_scrub: { ok: boolean } | null }[] } | undefined
        return data?.nodes.find(({ node_id }) => node_id === victim.id)?.last_scrub?.ok
      },
      { timeout: 10_000 },
    )
    .toBe(true)
}, 90_000)
