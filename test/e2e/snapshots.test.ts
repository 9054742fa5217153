/** Snapshots on three nodes: saved from leader and follower under writes, looked into, damaged and found out, kept by a schedule over a change of leader. */
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { LocalNode } from '#cmd/dev/local-cluster.ts'
import { mountKv, startCluster, waitForLeader, type TestCluster } from '#test/support/cluster.ts'
import { until } from '#test/support/server-process.ts'
import { snapshotFile, snapshotPairs } from '#test/support/snapshot-file.ts'

const program = fileURLToPath(new URL('../../cmd/holdfast.mjs', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'holdfast-snapshots-'))
const backups = join(folder, 'backups')
let made: TestCluster

interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** The command as operators run it, against `node`. */
function holdfast(node: LocalNode | null, ...args: readonly string[]): Promise<Ran> {
  const env = { ...process.env, HOLDFAST_ADDR: node?.apiAddress ?? 'http://127.0.0.1:1', HOLDFAST_TOKEN: made.cluster.rootToken }
  return new Promise((resolve) => {
    execFile(process.execPath, [program, ...args], { env, maxBuffer: 1 << 28 }, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), out, err })
    })
  })
}

const snapshot = (node: LocalNode | null, ...args: readonly string[]): Promise<Ran> =>
  holdfast(node, 'operator', 'raft', 'snapshot', ...args)

async function json(ran: Promise<Ran>): Promise<Record<string, unknown>> {
  const { code, out, err } = await ran
  expect(code, err).toBe(0)
  return JSON.parse(out) as Record<string, unknown>
}

const call = (node: LocalNode, method: string, path: string, body?: unknown, token = made.cluster.rootToken) =>
  made.cluster.api.call(node.apiAddress, method, path, { token, ...(body === undefined ? {} : { body }), timeoutMs: 15_000 })

async function put(node: LocalNode, key: string, bytes: number): Promise<void> {
  const body = { data: { value: 'x'.repeat(bytes) } }
  // A machine under load may hold an election at any time: what was surely not done is sent again.
  await until(
    `${key} to be written`,
    async () => ((await call(node, 'POST', `secret/data/${key}`, body)).status === 200 ? true : null),
    60_000,
  )
}

const follower = async (): Promise<LocalNode> => {
  const leader = await waitForLeader(made.cluster)
  return made.cluster.nodes.find((node) => node !== leader && node.process !== null) as LocalNode
}

async function metric(node: LocalNode, line: RegExp): Promise<string | null> {
  const answer = await fetch(`${node.apiAddress}/v1/sys/metrics?format=prometheus`, {
    headers: { 'x-vault-token': made.cluster.rootToken },
  })
  return line.exec(await answer.text())?.[1] ?? null
}

beforeAll(async () => {
  mkdirSync(backups, { mode: 0o700 })
  made = await startCluster({ extraConfig: `snapshot_folder = "${backups}"` })
  await mountKv(made.cluster, 'secret')
  const { nodes } = made.cluster
  // Large enough not to fit into the buffers of sockets.
  for (let at = 0; at < 160; at += 8)
    await Promise.all(Array.from({ length: 8 }, (_, next) => put(nodes[next % 3] as LocalNode, `large/${at + next}`, 100_000)))
}, 300_000)
afterAll(async () => {
  await made?.dispose()
  rmSync(folder, { recursive: true, force: true })
})

test('leader and follower save under writes; each file is whole, and the cluster knows it as its own', async () => {
  let stop = false
  let written = 0
  const writers = made.cluster.nodes.map(async (node, at) => {
    for (let turn = 0; !stop; turn += 1) {
      await put(node, `w${at}/${turn % 20}`, 400)
      written += 1
    }
  })
  const leader = await waitForLeader(made.cluster)
  for (const [name, node] of [
    ['leader', leader],
    ['follower', await follower()],
  ] as const) {
    const path = join(folder, `${name}.snap`)
    // What was acknowledged before the save was asked for is in it, whoever saves.
    await put(leader, `marked/${name}`, 400)
    const { body } = await call(leader, 'GET', 'sys/leader')
    const saved = await json(snapshot(node, 'save', '-format=json', path))
    expect(Number(saved['index'])).toBeGreaterThanOrEqual(Number(body?.['raft_applied_index']))
    const inspected = await json(snapshot(null, 'inspect', '-format=json', path))
    expect(inspected).toMatchObject({
      index: saved['index'],
      sha256: saved['sha256'],
      voters: expect.arrayContaining(['node1', 'node2', 'node3']),
    })
    expect(inspected['seal']).toEqual({ type: 'shamir', shares: 5, threshold: 3 })
    expect(Number((inspected['total'] as { pairs: number }).pairs)).toBeGreaterThan(320)
    expect((await snapshot(null, 'verify', path)).code).toBe(0)
    const proven = await json(snapshot(await follower(), 'verify', '-online', '-format=json', path))
    expect(proven).toMatchObject({ verdict: 'proven', proven: true, sha256: saved['sha256'], index: saved['index'], seal_type: 'shamir' })
    expect(readdirSync(folder).filter((file) => file.endsWith('.partial'))).toEqual([])
  }
  stop = true
  await Promise.all(writers)
  expect(written).toBeGreaterThan(10)
}, 120_000)

test('a file is not replaced without -force, nor by a save that failed; "-" goes to a pipe', async () => {
  const [node] = made.cluster.nodes
  const path = join(folder, 'kept.snap')
  writeFileSync(path, 'something else')
  expect(await snapshot(node as LocalNode, 'save', path)).toMatchObject({ code: 1, err: expect.stringMatching(/expected not to exist/) })
  expect((await snapshot(null, 'save', '-force', path)).code).toBe(2)
  expect(readFileSync(path, 'utf8')).toBe('something else')
  expect((await snapshot(node as LocalNode, 'save', '-force', path)).code).toBe(0)
  expect((await snapshot(null, 'verify', path)).code).toBe(0)
  const piped = join(folder, 'piped.snap')
  const shell = await new Promise<number>((resolve) => {
    const line = `"${process.execPath}" "${program}" operator raft snapshot save - > "${piped}"`
    const env = { ...process.env, HOLDFAST_ADDR: node?.apiAddress, HOLDFAST_TOKEN: made.cluster.rootToken }
    execFile('sh', ['-c', line], { env }, (error) => resolve(error === null ? 0 : 1))
  })
  expect(shell).toBe(0)
  expect((await snapshot(null, 'verify', piped)).code).toBe(0)
}, 60_000)

test('flips, cuts and files of others are told apart, with and without a server', async () => {
  const node = await follower()
  const whole = readFileSync(join(folder, 'follower.snap'))
  const path = join(folder, 'broken.snap')
  for (const at of [30, Math.floor(whole.length / 2), whole.length - 40]) {
    const flipped = Buffer.from(whole)
    flipped[at] = (flipped[at] ?? 0) ^ 0x10
    writeFileSync(path, flipped)
    for (const online of [[], ['-online']]) {
      const { code, out } = await snapshot(node, 'verify', ...online, '-format=json', path)
      expect(code).toBe(1)
      const said = JSON.parse(out) as { verdict: string; damaged_from: number; damaged_to: number }
      expect(said.verdict).toBe('damaged')
      expect(said.damaged_from).toBeLessThanOrEqual(at)
      expect(said.damaged_to).toBeGreaterThan(at)
    }
  }
  writeFileSync(path, whole.subarray(0, 100_000))
  expect(await snapshot(node, 'verify', path)).toMatchObject({ code: 1, out: expect.stringMatching(/cut off at byte 100000/) })
  writeFileSync(path, 'no snapshot at all')
  expect((await snapshot(node, 'verify', path)).code).toBe(2)
  expect((await snapshot(node, 'verify', join(folder, 'none'))).code).toBe(2)
  // Whole, by a key that is not this cluster's.
  writeFileSync(path, await snapshotFile(snapshotPairs([new Uint8Array(9)])))
  expect((await snapshot(null, 'verify', path)).code).toBe(0)
  expect(await snapshot(node, 'verify', '-online', path)).toMatchObject({ code: 1, out: expect.stringMatching(/unproven/) })
}, 60_000)

test('a token without the right is refused, before a byte is read; what is done is in the audit', async () => {
  const node = await follower()
  await call(node, 'POST', 'sys/policies/acl/backup', { policy: 'path "sys/storage/raft/snapshot" { capabilities = ["read"] }' })
  const make = async (policies: string[]): Promise<string> => {
    const { body } = await call(node, 'POST', 'auth/token/create', { policies, no_default_policy: true })
    return (body as { auth: { client_token: string } }).auth.client_token
  }
  const [able, unable] = [await make(['backup']), await make(['none'])]
  const get = (token: string) => fetch(`${node.apiAddress}/v1/sys/storage/raft/snapshot`, { headers: { 'x-vault-token': token } })
  expect((await get(unable)).status).toBe(403)
  const answer = await get(able)
  expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'application/gzip'])
  expect(answer.headers.get('content-disposition')).toMatch(/^attachment; filename="holdfast-.*\.snap"$/)
  expect((await answer.arrayBuffer()).byteLength).toBeGreaterThan(16_000_000)
  const upload = await fetch(`${node.apiAddress}/v1/sys/storage/raft/snapshot/verify`, {
    method: 'POST',
    headers: { 'x-vault-token': able },
    body: readFileSync(join(folder, 'follower.snap')),
  }).catch((error: unknown) => error)
  // The server answers while the client still sends; some clients read that, some only see the connection end.
  expect(upload instanceof Response ? upload.status : 403).toBe(403)
  const audit = readFileSync(node.auditPath, 'utf8')
  expect(
    audit.split('\n').filter((line) => line.includes('"path":"sys/storage/raft/snapshot"') && line.includes('"type":"response"')).length,
  ).toBeGreaterThan(1)
}, 60_000)

test('saves are bounded; clients that go away, or stop reading, let the state go', async () => {
  const node = await follower()
  const headers = { 'x-vault-token': made.cluster.rootToken }
  const url = `${node.apiAddress}/v1/sys/storage/raft/snapshot`
  const aborts = [new AbortController(), new AbortController()]
  const held = await Promise.all(aborts.map(({ signal }) => fetch(url, { headers, signal })))
  expect(held.map(({ status }) => status)).toEqual([200, 200])
  expect(await metric(node, /^holdfast_snapshot_saves (\d+)$/m)).toBe('2')
  const third = await fetch(url, { headers })
  expect(third.status).toBe(503)
  expect(await third.json()).toMatchObject({ errors: [expect.stringMatching(/at most 2 saves of a snapshot at a time/)] })
  for (const abort of aborts) abort.abort()
  await until(
    'both views to be let go',
    async () => ((await metric(node, /^holdfast_snapshot_saves (\d+)$/m)) === '0' ? true : null),
    10_000,
  )
  expect((await snapshot(node, 'save', '-force', join(folder, 'again.snap'))).code).toBe(0)
}, 60_000)

test('a schedule keeps as many as it should, and goes on with the next leader without doubling a slot', async () => {
  let leader = await waitForLeader(made.cluster)
  const config = { interval: '10s', retain: 3, path_prefix: 'hourly', storage_type: 'local', file_prefix: 'test' }
  const outside = await call(leader, 'POST', 'sys/storage/raft/snapshot-auto/config/test', { ...config, path_prefix: '../elsewhere' })
  expect(outside.status).toBe(400)
  expect((await call(leader, 'POST', 'sys/storage/raft/snapshot-auto/config/test', config)).status).toBe(204)
  expect((await call(leader, 'GET', 'sys/storage/raft/snapshot-auto/config/test')).body?.['data']).toMatchObject({
    interval: 10,
    retain: 3,
  })
  const files = (): string[] =>
    existsSync(join(backups, 'hourly'))
      ? readdirSync(join(backups, 'hourly'))
          .filter((name) => !name.startsWith('.'))
          .toSorted()
      : []
  const seen = new Set<string>()
  const watch = async (count: number): Promise<void> => {
    await until(`${count} slots`, async () => (files().forEach((name) => seen.add(name)), seen.size >= count ? true : null), 60_000)
  }
  await watch(2)
  // Without a warning, in the middle of things.
  await made.cluster.stopNode(leader, 'SIGKILL')
  leader = await waitForLeader(made.cluster)
  await watch(5)
  await delay(500)
  expect(files()).toEqual([...seen].toSorted().slice(-3))
  const times = [...seen].toSorted().map((name) => name.replace(/^test-(\d{8})T(\d{2})(\d{2})(\d{2})Z\.snap$/, '$1 $2:$3:$4'))
  const seconds = times.map((text) => Date.parse(`${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6, 8)}T${text.slice(9)}Z`) / 1_000)
  expect(seconds.every((second) => second % 10 === 0)).toBe(true)
  const [newest = ''] = files().toReversed()
  expect((await snapshot(null, 'verify', join(backups, 'hourly', newest))).code).toBe(0)
  const status = (await call(leader, 'GET', 'sys/storage/raft/snapshot-auto/status/test')).body?.['data'] as Record<string, unknown>
  expect(status).toMatchObject({
    consecutive_errors: 0,
    last_snapshot_url: expect.stringMatching(/^file:.*\.snap$/),
    last_snapshot_error: '',
  })
  const last = Number(await metric(leader, /^holdfast_snapshot_last_success_seconds\{schedule="test"\} ([\d.]+)$/m))
  expect(Date.now() / 1_000 - last).toBeLessThan(30)
  expect((await call(leader, 'DELETE', 'sys/storage/raft/snapshot-auto/config/test')).status).toBe(204)
  expect((await call(leader, 'GET', 'sys/storage/raft/snapshot-auto/status/test')).status).toBe(404)
}, 180_000)
