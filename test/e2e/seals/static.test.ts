/** The static seal on three nodes: joins by the seal's proof, opens after kill -9, changes its key node by node, refuses another key. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemRandom } from '#base/random.ts'
import { runCommand } from '#test/support/cli.ts'
import { recordFigures } from '#test/support/figures.ts'
import { SealCluster, seconds } from '#test/support/seal-cluster.ts'
import { serving, ServerProcess, until } from '#test/support/server-process.ts'

let cluster: SealCluster
const figures: Record<string, number> = {}
const key = (name: string): string => join(cluster.dir, `${name}.key`)
const stanza = (id: string, previous?: string): string => `seal "static" {
  current_key_id = "${id}"
  current_key    = "file://${key(id)}"
  ${previous === undefined ? '' : `previous_key_id = "${previous}"\n  previous_key = "file://${key(previous)}"`}
}`

beforeAll(async () => {
  cluster = await SealCluster.prepare('static')
  for (const name of ['one', 'two']) writeFileSync(key(name), systemRandom.bytes(32), { mode: 0o600 })
  cluster.configure(stanza('one'))
})
afterAll(async () => {
  recordFigures('seal-static', 'vitest run --config vitest.e2e.config.ts test/e2e/seals/static.test.ts', figures)
  await cluster.dispose()
})

test('init makes recovery keys and no unseal keys; the others join by the seal and open by themselves', async () => {
  await cluster.first.startAndAnswer()
  expect((await cluster.sealStatus(cluster.first)).body).toMatchObject({
    type: 'static',
    initialized: false,
    sealed: true,
    recovery_seal: true,
  })
  const refused = await cluster.first.call('POST', 'sys/init', { body: { secret_shares: 5, secret_threshold: 3 } })
  expect([refused.status, refused.body?.['errors']]).toEqual([
    400,
    ['parameters secret_shares,secret_threshold not applicable to seal type static'],
  ])
  await cluster.first.stop()
  figures['init_to_three_open_seconds'] = await cluster.found()
  expect(cluster.founded.recoveryKeys).toHaveLength(3)
  for (const node of cluster.nodes)
    expect((await cluster.sealStatus(node)).body).toMatchObject({
      type: 'static',
      initialized: true,
      sealed: false,
      recovery_seal: true,
      recovery_seal_type: 'shamir',
      t: 2,
      n: 3,
      migration: false,
      storage_type: 'raft',
    })
  await cluster.mountKv()
  expect(await cluster.put('one')).toBe(200)
})

test('kill -9 of all, restart: open by itself, with the data', async () => {
  await cluster.killAll()
  figures['restart_to_three_open_seconds'] = await cluster.restartAll()
  for (const node of cluster.nodes) expect(await cluster.value(node)).toBe('one')
})

test('sealed through the API a node stays sealed until recovery keys are given, or it restarts', async () => {
  const [first, second] = cluster.nodes as [ServerProcess, ServerProcess, ServerProcess]
  const { token, recoveryKeys } = cluster.founded
  expect((await second.call('POST', 'sys/seal', { token })).status).toBe(204)
  // Its process is replaced, which may take a while; then it must not have opened by itself.
  await new Promise((resolve) => setTimeout(resolve, 2_000))
  await until('the node to answer again', () => cluster.sealStatus(second).catch(() => null), 30_000)
  expect((await cluster.sealStatus(second)).body).toMatchObject({ sealed: true, progress: 0, t: 2 })
  expect((await second.call('POST', 'sys/unseal', { body: { key: recoveryKeys[0] } })).body).toMatchObject({ sealed: true, progress: 1 })
  expect((await second.call('POST', 'sys/unseal', { body: { key: recoveryKeys[2] } })).body).toMatchObject({ sealed: false })
  await serving(second)
  expect((await second.call('POST', 'sys/seal', { token })).status).toBe(204)
  await second.stop()
  await second.startAndAnswer()
  await serving(second)
  expect(await cluster.value(second)).toBe('one')
  expect((await first.call('GET', 'sys/seal-backend-status', { token })).body?.['data']).toMatchObject({
    healthy: true,
    backends: [{ name: 'static', healthy: true, last_failure: null }],
  })
})

test('another key is named as the cause, in status, health and log; the right one opens', async () => {
  const third = cluster.nodes[2] as ServerProcess
  writeFileSync(key('forged'), systemRandom.bytes(32), { mode: 0o600 })
  const forged = stanza('one').replace(key('one'), key('forged'))
  const named = /seal static expected key "one" to open the root key, got another key of that name/
  Object.assign(figures, await cluster.wrongThenRight(third, forged, stanza('one'), named))
  await third.stop()
  cluster.configure(stanza('two'), [third])
  await third.startAndAnswer()
  const why = await cluster.saysWhy(third, /seal static expected the key that wrapped the root key, "one", got only "two"/)
  expect(why).toMatch(/^the seal does not open/)
  expect((await third.call('GET', 'sys/health')).body).toMatchObject({ sealed: true, cause: why })
  await cluster.logs(third, /"fault":"key".*this node stays sealed and tries again/)
  await third.stop()
  const started = performance.now()
  cluster.configure(stanza('two', 'one'), [third])
  await third.startAndAnswer()
  await serving(third)
  figures['one_node_restart_seconds'] = seconds(started)
})

test('the key is changed node by node; the leader wraps the root key anew, and the old one is not needed any more', async () => {
  for (const node of cluster.nodes) {
    await node.stop()
    cluster.configure(stanza('two', 'one'), [node])
    await node.startAndAnswer()
    await serving(node)
  }
  await until(
    'the root key to be wrapped anew',
    async () => (cluster.nodes.some((node) => node.log().includes('the root key is wrapped anew')) ? true : null),
    15_000,
  )
  const { token } = cluster.founded
  expect((await cluster.first.call('POST', 'sys/sealwrap/rewrap', { token })).status).toBe(204)
  await cluster.killAll()
  cluster.configure(stanza('two'))
  await cluster.restartAll()
  for (const node of cluster.nodes) expect(await cluster.value(node)).toBe('one')
})

test('a node joins by a call too, by the seal or by a token, and opens by itself; without the key the call says so', async () => {
  const port = Number(new URL(cluster.first.apiAddress).port) + 12
  const [late, byToken] = ['late', 'by-token'].map((id, at) => new ServerProcess(cluster.api, cluster.dir, id, port + 2 * at)) as [
    ServerProcess,
    ServerProcess,
  ]
  cluster.nodes.push(late, byToken)
  late.configure({ top: stanza('one') })
  byToken.configure({ top: stanza('two') })
  await Promise.all([late.startAndAnswer(), byToken.startAndAnswer()])
  const join = (node: ServerProcess, token?: string) =>
    node.call('POST', 'sys/storage/raft/join', {
      body: { leader_api_addr: cluster.first.apiAddress, ...(token === undefined ? {} : { token }) },
      timeoutMs: 30_000,
    })
  const refused = await join(late)
  expect([refused.status, refused.body?.['errors']]).toEqual([500, [expect.stringMatching(/"two", got only "one"$/)]])
  await late.stop()
  late.configure({ top: stanza('two') })
  await late.startAndAnswer()
  expect((await join(late)).body).toEqual({ joined: true })
  const made = await cluster.first.call('POST', 'sys/storage/raft/join-token', { token: cluster.founded.token, body: { ttl: '5m' } })
  expect((await join(byToken, (made.body?.['data'] as { token?: string } | undefined)?.token)).body).toEqual({ joined: true })
  await cluster.allServe()
  for (const node of [late, byToken]) expect(await cluster.value(node)).toBe('one')
})

test('the CLI asks for recovery keys where the seal is an auto seal', async () => {
  const alone = await SealCluster.prepare('alone', 1)
  try {
    alone.env['MARKED_SEAL_KEY'] = Buffer.from(systemRandom.bytes(32)).toString('hex')
    alone.configure('seal "static" {\n  current_key_id = "k"\n  current_key = "env://MARKED_SEAL_KEY"\n}')
    await alone.first.startAndAnswer(alone.env)
    const refused = await runCommand('operator init -key-shares=3', { address: alone.first.apiAddress })
    expect([refused.code, refused.err]).toEqual([
      2,
      expect.stringMatching(/parameters secret_shares,secret_threshold not applicable to seal type static/),
    ])
    const made = await runCommand('operator init -recovery-shares=1 -recovery-threshold=1', { address: alone.first.apiAddress })
    expect([made.code, made.out]).toEqual([0, expect.stringMatching(/^Recovery Key 1: /)])
    expect(made.out).not.toMatch(/Unseal Key/)
    await serving(alone.first)
  } finally {
    await alone.dispose()
  }
})
