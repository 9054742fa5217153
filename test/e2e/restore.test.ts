/** Restoring snapshots on three nodes: into the cluster that saved them, into another one with and without -force, and what is refused. */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { LocalCluster, LocalNode } from '#cmd/dev/local-cluster.ts'
import { runCommand } from '#test/support/cli.ts'
import { mountKv, startCluster, waitForLeader, type TestCluster } from '#test/support/cluster.ts'
import { until } from '#test/support/server-process.ts'

const program = fileURLToPath(new URL('../../cmd/holdfast.mjs', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'holdfast-restoring-'))
const file = join(folder, 'backup.snap')
let made: TestCluster

interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

function snapshot(cluster: LocalCluster, node: LocalNode, ...args: readonly string[]): Promise<Ran> {
  const env = { ...process.env, HOLDFAST_ADDR: node.apiAddress, HOLDFAST_TOKEN: cluster.rootToken }
  return new Promise((resolve) => {
    execFile(process.execPath, [program, 'operator', 'raft', 'snapshot', ...args], { env }, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), out, err })
    })
  })
}

const call = (cluster: LocalCluster, node: LocalNode, method: string, path: string, body?: unknown, token = cluster.rootToken) =>
  cluster.api.call(node.apiAddress, method, path, { token, ...(body === undefined ? {} : { body }), timeoutMs: 15_000 })

const put = (cluster: LocalCluster, node: LocalNode, key: string, value: string): Promise<unknown> =>
  until(
    `${key} to be written`,
    async () => ((await call(cluster, node, 'POST', `secret/data/${key}`, { data: { value } })).status === 200 ? true : null),
    60_000,
  )

/** What `node` answers for `key`: its value, or the status. */
async function value(cluster: LocalCluster, node: LocalNode, key: string, token = cluster.rootToken): Promise<unknown> {
  const { status, body } = await call(cluster, node, 'GET', `secret/data/${key}`, undefined, token)
  if (status !== 200) return status
  const data = body?.['data'] as { readonly data: Readonly<Record<string, unknown>> } | undefined
  return data?.data['value']
}

const settles = (what: string, cluster: LocalCluster, node: LocalNode, key: string, wanted: unknown, token = cluster.rootToken) =>
  until(`${node.id} ${what}`, async () => ((await value(cluster, node, key, token)) === wanted ? true : null), 60_000)

beforeAll(async () => {
  made = await startCluster()
  await mountKv(made.cluster, 'secret')
}, 300_000)
afterAll(async () => {
  await made?.dispose()
  rmSync(folder, { recursive: true, force: true })
})

test('into the same cluster: old values are back, later ones gone, on every node, one killed meanwhile among them', async () => {
  const { cluster } = made
  const leader = await waitForLeader(cluster)
  const followers = cluster.nodes.filter((node) => node !== leader)
  const [asked, killed] = followers as [LocalNode, LocalNode]
  await put(cluster, leader, 'kept', 'of then')
  await put(cluster, leader, 'changed', 'of then')
  const saved = await snapshot(cluster, asked, 'save', file)
  expect(saved.code, saved.err).toBe(0)
  await put(cluster, leader, 'changed', 'of later')
  await put(cluster, leader, 'later', 'gone soon')
  await cluster.stopNode(killed, 'SIGKILL')
  // Writers go on meanwhile, and are answered truthfully: 200, or an error.
  let stop = false
  const answers: number[] = []
  const writer = (async () => {
    for (let turn = 0; !stop; turn += 1)
      answers.push((await call(cluster, asked, 'POST', `secret/data/w${turn % 5}`, { data: { value: 'w' } })).status)
  })()
  // A follower is asked: the command finds the leader.
  const restored = await snapshot(cluster, asked, 'restore', '-format=json', file)
  stop = true
  await writer
  expect(restored.code, restored.err).toBe(0)
  expect(restored.err).toContain('the leader is asked')
  expect(JSON.parse(restored.out)).toMatchObject({ incarnation: 2, sealed: false, stored: expect.arrayContaining([leader.id, asked.id]) })
  expect(answers.filter((status) => ![200, 400, 404, 429, 500, 503].includes(status))).toEqual([])
  cluster.spawn(killed)
  await cluster.waitForAnswer(killed)
  await cluster.unseal(killed)
  for (const node of cluster.nodes) {
    await settles('to have what was restored', cluster, node, 'changed', 'of then')
    expect(await value(cluster, node, 'kept')).toBe('of then')
    expect(await value(cluster, node, 'later')).toBe(404)
  }
  await put(cluster, asked, 'after', 'goes on')
  for (const node of cluster.nodes) await settles('to go on', cluster, node, 'after', 'goes on')
  expect(readFileSync(leader.logPath, 'utf8')).toContain('a snapshot was restored')
  // What was restored may be so elsewhere too: from here on this cluster seals under a key that no other has.
  const term = async (): Promise<unknown> =>
    ((await call(cluster, leader, 'GET', 'sys/key-status')).body?.['data'] as { term: number } | undefined)?.term
  expect(await term()).toBe(2)
  expect(readFileSync(leader.auditPath, 'utf8')).toContain('sys/storage/raft/snapshot')
}, 300_000)

test('a file that is damaged or cut off changes nothing, by the command or without it', async () => {
  const { cluster } = made
  const leader = await waitForLeader(cluster)
  await put(cluster, leader, 'changed', 'of today')
  const bytes = readFileSync(file)
  const flipped = Buffer.from(bytes)
  flipped[Math.floor(bytes.length * 0.7)]! ^= 4
  for (const [name, broken] of [
    ['flipped', flipped],
    ['short', bytes.subarray(0, bytes.length - 100)],
  ] as const) {
    const path = join(folder, `${name}.snap`)
    writeFileSync(path, broken)
    const { code, err } = await snapshot(cluster, leader, 'restore', path)
    expect([code, err]).toEqual([2, expect.stringMatching(/nothing was sent: snapshot file (damaged|cut off) at byte/)])
    for (const route of ['snapshot', 'snapshot-force']) {
      const answer = await fetch(`${leader.apiAddress}/v1/sys/storage/raft/${route}`, {
        method: 'POST',
        headers: { 'x-vault-token': cluster.rootToken },
        body: broken,
      })
      expect([answer.status, await answer.text()]).toEqual([400, expect.stringMatching(/damaged|cut off/)])
    }
  }
  expect(await value(cluster, leader, 'changed')).toBe('of today')
}, 120_000)

test('into another cluster: refused in words; with -force it is sealed, and opened by the shares and the root token of then', async () => {
  const fresh = await startCluster()
  const { cluster } = fresh
  try {
    const leader = await waitForLeader(cluster)
    await mountKv(cluster, 'mine')
    const refused = await snapshot(cluster, leader, 'restore', file)
    expect(refused.code).toBe(2)
    expect(refused.err).toMatch(/do not open it/)
    expect(refused.err).toMatch(/-force.*unseal shares as they were on/)
    expect((await call(cluster, leader, 'GET', 'mine/config')).status).toBe(200)
    const forced = await snapshot(cluster, leader, 'restore', '-force', file)
    expect(forced.code, forced.err).toBe(0)
    expect(forced.out + forced.err).toMatch(/sealed +true/)
    const sealed = async (node: LocalNode): Promise<boolean> =>
      (await cluster.api.call(node.apiAddress, 'GET', 'sys/seal-status', {})).body?.['sealed'] === true
    for (const node of cluster.nodes) await until(`${node.id} to be sealed`, async () => ((await sealed(node)) ? true : null), 30_000)
    const { unseal_keys_hex: shares, threshold } = JSON.parse(readFileSync(made.cluster.keysPath, 'utf8')) as {
      unseal_keys_hex: string[]
      threshold: number
    }
    for (const node of cluster.nodes)
      await until(
        `${node.id} to open by the shares of then`,
        async () => {
          for (const key of shares.slice(0, threshold))
            await cluster.api.call(node.apiAddress, 'POST', 'sys/unseal', { body: { key }, timeoutMs: 10_000 })
          return (await sealed(node)) ? null : true
        },
        60_000,
      )
    const { rootToken } = made.cluster
    for (const node of cluster.nodes) {
      await settles('to serve what was restored', cluster, node, 'kept', 'of then', rootToken)
      expect((await call(cluster, node, 'GET', 'mine/config', undefined, rootToken)).status).toBe(404)
    }
    expect((await call(cluster, leader, 'GET', 'auth/token/lookup-self')).status).toBe(403)
    // What falls due waits until somebody says that the other cluster is gone.
    const origin = async (): Promise<unknown> =>
      (await call(cluster, leader, 'GET', 'sys/storage/raft/snapshot/restored', undefined, rootToken)).body?.['data']
    expect(await origin()).toMatchObject({ waits: true, restored: { confirmed: null } })
    // Saving and restoring one's own state says nothing of the other cluster.
    const [again, env] = [join(folder, 'again.snap'), { HOLDFAST_TOKEN: rootToken }]
    for (const args of [
      ['save', again],
      ['restore', again],
    ]) {
      // Nodes that were just opened may still choose who leads: then it is refused, and nothing is replaced.
      const command = ['operator', 'raft', 'snapshot', ...args, ...(args[0] === 'save' ? ['-force'] : [])]
      await until(
        `snapshot ${args[0]} to succeed`,
        async () => ((await runCommand(command, { address: leader.apiAddress, env })).code === 0 ? true : null),
        60_000,
      )
    }
    await settles('to serve its own snapshot', cluster, leader, 'kept', 'of then', rootToken)
    expect(await origin()).toMatchObject({ waits: true, restored: { confirmed: null, incarnation: 1 } })
    const short = await call(cluster, leader, 'POST', 'auth/token/create', { ttl: '1s', no_parent: true, policies: ['default'] }, rootToken)
    expect(short.status).toBe(200)
    const metric = async (name: string): Promise<number> => {
      const texts = await Promise.all(
        cluster.nodes.map(async ({ apiAddress }) => {
          const answer = await fetch(`${apiAddress}/v1/sys/metrics?format=prometheus`, { headers: { 'x-vault-token': rootToken } })
          return await answer.text()
        }),
      )
      return texts.reduce((sum, text) => sum + Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1]), 0)
    }
    await new Promise((resolve) => setTimeout(resolve, 2_500))
    expect([await metric('holdfast_lease_expiries'), await metric('holdfast_restored_waits')]).toEqual([0, 3])
    const confirm = ['operator', 'raft', 'snapshot', 'confirm']
    const confirmed = await runCommand(confirm, { address: leader.apiAddress, env: { HOLDFAST_TOKEN: rootToken } })
    expect(confirmed.code, confirmed.err).toBe(0)
    expect(await origin()).toMatchObject({ waits: false, restored: { confirmed: expect.any(String) } })
    await until('the token that fell due to be ended', async () => ((await metric('holdfast_lease_expiries')) > 0 ? true : null), 30_000)
    expect(await metric('holdfast_restored_waits')).toBe(0)
    // Its members are its own, and it takes new ones.
    const peers = (await call(cluster, leader, 'GET', 'sys/storage/raft/configuration', undefined, rootToken)).body?.['data']
    expect(JSON.stringify(peers)).toContain(cluster.nodes[2]!.id)
  } finally {
    await fresh.dispose()
  }
}, 300_000)
