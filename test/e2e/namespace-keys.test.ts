/**
 * A namespace with a seal of its own over three nodes: opened on one it is open on all, a node that was killed gets its key from the others, sealed on one it
 * is sealed on all, destroyed it is gone; and its neighbour is served all the while.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import type { Answer } from '#cmd/dev/api.ts'
import type { LocalNode } from '#cmd/dev/local-cluster.ts'
import { startCluster, waitForLeader, type TestCluster } from '#test/support/cluster.ts'

vi.setConfig({ testTimeout: 180_000, hookTimeout: 120_000 })

const waitMsMax = 30_000
let running: TestCluster
let shares: string[] = []

const call = (node: LocalNode, method: string, path: string, body?: unknown, namespace = ''): Promise<Answer> =>
  running.cluster.api.call(node.apiAddress, method, namespace === '' ? path : `${namespace}/${path}`, {
    token: running.cluster.rootToken,
    body,
    timeoutMs: 15_000,
  })

/** On a busy machine there may be no leader for a while: then nothing was done, and it is asked again. */
async function must(node: LocalNode, method: string, path: string, body?: unknown, namespace = ''): Promise<Record<string, unknown>> {
  const deadline = performance.now() + waitMsMax
  for (;;) {
    const { status, body: answer } = await call(node, method, path, body, namespace)
    if (status < 300) return (answer?.['data'] ?? {}) as Record<string, unknown>
    if (answer?.['code'] !== 'ERR_NO_LEADER' || performance.now() > deadline)
      throw new Error(`${method} ${path}: expected success, got ${status}: ${JSON.stringify(answer)}`)
  }
}

/** Shares through one node after the other; begun anew where the leader changed in between. */
async function unsealOwn(): Promise<void> {
  await until('enough shares', async () => {
    for (const [at, key] of shares.entries()) {
      const { sealed } = await must(node(at % 3), 'PUT', 'sys/namespaces/own/unseal', { key })
      if (sealed === false) return true
    }
    return false
  })
}

async function valueIn(node: LocalNode, namespace: string, name = 'a'): Promise<unknown> {
  const { status, body } = await call(node, 'GET', `kv/${name}`, undefined, namespace)
  return status === 200 ? (body?.['data'] as { value?: unknown } | undefined)?.value : `status ${status}`
}

async function until(what: string, holds: () => Promise<boolean>): Promise<number> {
  const begun = performance.now()
  while (performance.now() - begun < waitMsMax) {
    if (await holds().catch(() => false)) return performance.now() - begun
    await delay(50)
  }
  throw new Error(`expected ${what} within ${waitMsMax} ms`)
}

const everywhere = (namespace: string, expected: unknown): Promise<number> =>
  until(`${String(expected)} in ${namespace} on all nodes`, async () => {
    const values = await Promise.all(running.cluster.nodes.map((node) => valueIn(node, namespace)))
    return values.every((value) => value === expected)
  })

const node = (at: number): LocalNode => running.cluster.nodes[at]!

/** How often the neighbour is asked at the least: on a busy machine a whole test may pass within a few requests of one after the other. */
const turnsLeast = 5

/** Reads and writes of the neighbour, one after the other, through the nodes that are up; stops when told, after {@link turnsLeast}. */
function neighbour(): { readonly down: Set<LocalNode>; stop(): Promise<{ done: number; failed: string[] }> } {
  let stopped = false
  const down = new Set<LocalNode>()
  const failed: string[] = []
  let done = 0
  const loop = (async () => {
    for (let turn = 0; !stopped || turn < turnsLeast; turn++) {
      const up = running.cluster.nodes.filter((each) => !down.has(each))
      const at = up[turn % up.length]!
      try {
        if (turn % 5 === 0) await must(at, 'POST', 'kv/n', { value: turn }, 'next')
        else if ((await valueIn(at, 'next')) !== 'next!') failed.push(`read ${turn}`)
        done++
      } catch (error) {
        if (!down.has(at)) failed.push((error as Error).message)
      }
      await delay(20)
    }
  })()
  return {
    down,
    stop: async () => {
      stopped = true
      await loop
      return { done, failed }
    },
  }
}

beforeAll(async () => {
  running = await startCluster()
  await waitForLeader(running.cluster)
  await must(node(1), 'POST', 'sys/namespaces/next')
  const made = await must(node(2), 'POST', 'sys/namespaces/own', { seal: 'seal "shamir" {\n shares = 3\n threshold = 2\n}' })
  shares = made['key_shares'] as string[]
  await must(node(0), 'POST', 'sys/namespaces/child', undefined, 'own')
  for (const namespace of ['next', 'own', 'own/child']) {
    await must(node(0), 'POST', 'sys/mounts/kv', { type: 'kv' }, namespace)
    await must(node(0), 'POST', 'kv/a', { value: `${namespace}!` }, namespace)
  }
})
afterAll(() => running?.dispose())

test('made with a seal it is open on all nodes, and each share is answered once', async () => {
  expect(shares).toHaveLength(3)
  for (const share of shares) expect(share).toMatch(/^[0-9a-f]{66}$/)
  for (const namespace of ['next', 'own', 'own/child']) await everywhere(namespace, `${namespace}!`)
  expect(await must(node(0), 'GET', 'sys/namespaces/own/seal-status')).toMatchObject({
    type: 'shamir',
    sealed: false,
    t: 2,
    n: 3,
    progress: 0,
  })
  expect(await must(node(0), 'GET', 'sys/namespaces/own')).not.toHaveProperty('key_shares')
})

test('sealed on one node it is sealed on all, with what lies in it; unsealed over two nodes it is open on all', async () => {
  const other = neighbour()
  await must(node(0), 'PUT', 'sys/namespaces/own/seal')
  for (const namespace of ['own', 'own/child']) await everywhere(namespace, 'status 503')
  const { body } = await call(node(1), 'GET', 'kv/a', undefined, 'own')
  expect(body?.['errors']).toEqual(['namespace is sealed'])
  expect((await call(node(1), 'POST', 'kv/a', { value: 'x' }, 'own')).status).toBe(503)
  expect(await must(node(2), 'GET', 'sys/namespaces/own/seal-status')).toMatchObject({ sealed: true })
  const wrong = await call(node(1), 'PUT', 'sys/namespaces/own/unseal', { key: 'ab'.repeat(33) })
  expect(wrong.status).toBe(400)
  expect(JSON.stringify(wrong.body)).toContain("not one of this namespace's")
  const first = await must(node(1), 'PUT', 'sys/namespaces/own/unseal', { key: shares[0] })
  expect(first).toMatchObject({ sealed: true, progress: 1 })
  expect(first['nonce']).not.toBe('')
  expect(await must(node(0), 'PUT', 'sys/namespaces/own/unseal', { reset: true })).toMatchObject({ progress: 0, nonce: '' })
  await must(node(2), 'PUT', 'sys/namespaces/own/unseal', { key: shares[0] })
  expect(await must(node(0), 'PUT', 'sys/namespaces/own/unseal', { key: shares[2] })).toMatchObject({ sealed: false, progress: 0 })
  for (const namespace of ['own', 'own/child'])
    console.log(`open on all after ${Math.round(await everywhere(namespace, `${namespace}!`))} ms`)
  const { done, failed } = await other.stop()
  expect(failed).toEqual([])
  expect(done).toBeGreaterThanOrEqual(turnsLeast)
})

test('a node that was killed comes back with it open, by the key of its peers; a rotation and a rekey are followed', async () => {
  const { cluster } = running
  const leader = await waitForLeader(cluster)
  const victim = cluster.nodes.find((each) => each !== leader)!
  const other = neighbour()
  other.down.add(victim)
  await cluster.stopNode(victim, 'SIGKILL')
  await must(leader, 'PUT', 'sys/namespaces/own/rotate')
  await must(leader, 'POST', 'kv/b', { value: 'after' }, 'own')
  cluster.spawn(victim)
  await cluster.waitForAnswer(victim)
  await cluster.unseal(victim)
  const tookMs = await until('the namespace on the node that came back', async () => (await valueIn(victim, 'own', 'b')) === 'after')
  console.log(`open after ${Math.round(tookMs)} ms`)
  other.down.delete(victim)
  // Wrapped, the new shares would lie under the keys around it.
  const wrapped = await fetch(`${leader.apiAddress}/v1/sys/namespaces/own/rekey/init`, {
    method: 'PUT',
    headers: { 'x-vault-token': running.cluster.rootToken, 'x-vault-wrap-ttl': '60' },
    body: JSON.stringify({ secret_shares: 1, secret_threshold: 1 }),
  })
  expect([wrapped.status, await wrapped.text()]).toEqual([400, expect.stringContaining('request to wrap the answer')])
  const begun = await must(victim, 'PUT', 'sys/namespaces/own/rekey/init', { secret_shares: 2, secret_threshold: 2 })
  await must(leader, 'PUT', 'sys/namespaces/own/rekey/update', { nonce: begun['nonce'], key: shares[0] })
  const done = await must(victim, 'PUT', 'sys/namespaces/own/rekey/update', { nonce: begun['nonce'], key: shares[1] })
  const old = shares
  shares = done['keys'] as string[]
  expect(shares).toHaveLength(2)
  await everywhere('own', 'own!')
  expect(await must(leader, 'GET', 'sys/namespaces/own/key-status')).toMatchObject({ term: 2, own_seal: true, sealed: false })
  await must(leader, 'PUT', 'sys/namespaces/own/seal')
  const refused = await call(leader, 'PUT', 'sys/namespaces/own/unseal', { key: old[0] })
  expect(JSON.stringify(refused.body)).toContain('replaced by a rekey')
  await unsealOwn()
  await everywhere('own', 'own!')
  expect((await other.stop()).failed).toEqual([])
})

test('the key that hides its paths is replaced while it is written, over the death of the leader: everything is there under its name', async () => {
  const { cluster } = running
  for (let at = 0; at < 300; at += 20)
    await Promise.all(Array.from({ length: 20 }, (_, n) => must(node(n % 3), 'POST', `kv/many/n${at + n}`, { value: at + n }, 'own')))
  const leader = await waitForLeader(cluster)
  const others = cluster.nodes.filter((each) => each !== leader)
  await must(leader, 'PUT', 'sys/rotate/names', undefined, 'own')
  await must(leader, 'POST', 'kv/many/n7', { value: 'written meanwhile' }, 'own')
  await cluster.stopNode(leader, 'SIGKILL')
  await must(others[0]!, 'POST', 'kv/many/n8', { value: 'by the next leader' }, 'own')
  await until(
    'the replacement to be done',
    async () => (await must(others[1]!, 'GET', 'sys/rotate/names', undefined, 'own'))['in_progress'] === false,
  )
  cluster.spawn(leader)
  await cluster.waitForAnswer(leader)
  await cluster.unseal(leader)
  await everywhere('own', 'own!')
  for (const each of cluster.nodes) {
    const { keys } = await must(each, 'GET', 'kv/many?list=true', undefined, 'own')
    expect((keys as string[]).length).toBe(300)
    expect([await valueIn(each, 'own', 'many/n7'), await valueIn(each, 'own', 'many/n8'), await valueIn(each, 'own', 'many/n299')]).toEqual(
      ['written meanwhile', 'by the next leader', 299],
    )
  }
})

test('all nodes restarted: the root opens, the namespace waits for its shares', async () => {
  const { cluster } = running
  await Promise.all(cluster.nodes.map((each) => cluster.stopNode(each, 'SIGKILL')))
  for (const each of cluster.nodes) cluster.spawn(each)
  await Promise.all(cluster.nodes.map((each) => cluster.waitForAnswer(each)))
  for (const each of cluster.nodes) await cluster.unseal(each)
  await everywhere('next', 'next!')
  await everywhere('own', 'status 503')
  expect(await must(node(0), 'GET', 'sys/namespaces/own/seal-status')).toMatchObject({ sealed: true })
  await unsealOwn()
  await everywhere('own/child', 'own/child!')
})

test('destroyed, it is gone for good; its neighbour is not touched', async () => {
  const other = neighbour()
  const open = await call(node(0), 'DELETE', 'sys/namespaces/own/delete-sealed')
  expect(open.status).toBe(400)
  await must(node(0), 'PUT', 'sys/namespaces/own/seal')
  const inside = await call(node(0), 'DELETE', 'sys/namespaces/own/delete-sealed')
  expect(inside.status).toBe(409)
  expect(await must(node(1), 'DELETE', 'sys/namespaces/own/delete-sealed?force=true')).toEqual({ status: 'destroyed', namespaces: 2 })
  for (const each of running.cluster.nodes)
    await until('no namespace', async () => (await call(each, 'GET', 'sys/namespaces/own')).status === 404)
  const made = await must(node(0), 'POST', 'sys/namespaces/own')
  expect(made).not.toHaveProperty('key_shares')
  expect((await call(node(0), 'GET', 'kv/a', undefined, 'own')).status).toBe(404)
  await everywhere('next', 'next!')
  expect((await other.stop()).failed).toEqual([])
})
