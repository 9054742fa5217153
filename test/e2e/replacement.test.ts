/**
 * Sealing replaces the process: the same id, another memory (test/e2e/memory.test.ts searches it), sealed until somebody unseals it, and back at
 * its duties in the cluster within a second or two. Both sides of the switch.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, expect, test } from 'vitest'
import { Api } from '#cmd/dev/api.ts'
import { freePorts, mountKv, startCluster, waitForLeader } from '#test/support/cluster.ts'
import { recordFigures } from '#test/support/figures.ts'
import { found, ServerProcess, serving, unseal, until } from '#test/support/server-process.ts'

let dir = ''
let server: ServerProcess
const api = new Api(null)

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-replacement-'))
  server = new ServerProcess(api, dir, 'n1', await freePorts(2))
})
afterAll(() => api.close())
afterEach(async () => {
  await server.stop()
  rmSync(dir, { recursive: true, force: true })
})

/** How often the process has come up, of all its lives. */
const lives = (): number => server.log().split('"Holdfast is up"').length - 1

/** Waits until the sealed node has come up anew. Resolves with how long that took. */
async function replaced(before: number): Promise<number> {
  const begun = performance.now()
  await until('the process to be replaced', async () => (lives() > before ? true : null), 20_000)
  await server.answering()
  return performance.now() - begun
}

const sealIt = async (token: string): Promise<void> => {
  expect((await server.call('POST', 'sys/seal', { token })).status).toBe(204)
}

/** As monitoring sees it, seconds since 1970. */
async function beganAt(token: string): Promise<number> {
  const answer = await fetch(`${server.apiAddress}/v1/sys/metrics`, { headers: { 'X-Vault-Token': token } })
  return Number(/^process_start_time_seconds (\S+)$/m.exec(await answer.text())?.[1])
}

/** A value of the running process's arguments or environment, as the kernel knows them. */
const ofProcess = (what: 'cmdline' | 'environ'): string[] =>
  readFileSync(`/proc/${server.pid}/${what}`, 'latin1').split('\0').filter(Boolean)

test('sealed by shares: the same process id, no core dumps, no debugger, sealed; opened again, it serves what it had', async () => {
  const pidFile = join(dir, 'pid')
  server.configure({ top: `pid_file = "${pidFile}"` })
  await server.startAndAnswer()
  const { pid } = server
  const founded = await found(server)
  const { token } = founded
  expect((await server.call('POST', 'sys/mounts/kv', { token, body: { type: 'kv' } })).status).toBe(204)
  expect((await server.call('POST', 'kv/a', { token, body: { value: 'kept' } })).status).toBe(204)
  const first = await beganAt(token)
  expect(first).toBeGreaterThan(1_700_000_000)
  // Twice: what the first replacement leaves must be good for the next.
  for (const round of [1, 2]) {
    const before = lives()
    await sealIt(token)
    await replaced(before)
    const health = await server.call('GET', 'sys/health')
    expect([health.status, health.body?.['sealed'], (await server.call('GET', 'kv/a', { token })).status]).toEqual([503, true, 503])
    expect([server.child?.exitCode, server.pid, readFileSync(pidFile, 'utf8').trim()]).toEqual([null, pid, String(pid)])
    const args = ofProcess('cmdline')
    expect(args).toEqual(expect.arrayContaining(['--disable-sigusr1', '--report-exclude-env', '--stay-sealed']))
    expect(args.filter((arg) => arg === '--stay-sealed')).toHaveLength(1)
    expect(readFileSync(`/proc/${pid}/limits`, 'latin1')).toMatch(/^Max core file size +[01] +[01] /m)
    await unseal(server, founded)
    await serving(server)
    expect((await server.call('GET', 'kv/a', { token })).body?.['data'], `round ${round}`).toEqual({ value: 'kept' })
    expect(await beganAt(token)).toBeGreaterThan(first)
  }
  // Signals and the lifeline reach what it has become.
  expect(await server.stop()).toEqual({ code: 0, signal: null })
  expect(() => readFileSync(pidFile)).toThrow(/ENOENT/)
})

test('switched off, the same process goes on, sealed', async () => {
  server.configure({ top: 'seal_replaces_process = false' })
  await server.startAndAnswer()
  const { token, ...founded } = await found(server)
  await sealIt(token)
  expect((await server.call('GET', 'sys/seal-status')).body?.['sealed']).toBe(true)
  await unseal(server, { token, ...founded })
  expect(lives()).toBe(1)
  expect(ofProcess('cmdline')).not.toContain('--stay-sealed')
})

test('an auto seal does not open what an operator has sealed: recovery keys do, and a restart', async () => {
  writeFileSync(join(dir, 'seal.key'), Buffer.alloc(32, 7))
  server.configure({ top: `seal "static" {\n  current_key_id = "a"\n  current_key = "file://${join(dir, 'seal.key')}"\n}` })
  await server.startAndAnswer()
  const { body } = await server.call('POST', 'sys/init', { body: { recovery_shares: 1, recovery_threshold: 1 }, timeoutMs: 30_000 })
  const { recovery_keys_base64: recovery, root_token: token } = body as { recovery_keys_base64: string[]; root_token: string }
  await serving(server)
  const before = lives()
  await sealIt(token)
  await replaced(before)
  // The keeper looks twice a second.
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  const status = (await server.call('GET', 'sys/seal-status')).body
  expect(status).toMatchObject({ type: 'static', sealed: true, warnings: [expect.stringContaining('sealed by an operator')] })
  await unseal(server, { token, keys: recovery, threshold: 1 })
  await serving(server)

  const again = lives()
  await sealIt(token)
  await replaced(again)
  await server.stop()
  await server.startAndAnswer()
  await serving(server)
})

test('a node of three is back, voting and applying, within seconds of being sealed; nothing waits for it', async () => {
  const running = await startCluster()
  try {
    const { cluster } = running
    await mountKv(cluster, 'secret')
    const figures: Record<string, number[]> = { follower: [], leader: [] }
    for (const kind of ['follower', 'leader'] as const) {
      const leader = await waitForLeader(cluster)
      const node = cluster.nodes.find((each) => (each === leader) === (kind === 'leader')) ?? leader
      const other = cluster.nodes.find((each) => each !== node && each !== leader) ?? leader
      const pid = node.process?.pid
      const starts = (): number => readFileSync(node.logPath, 'utf8').split('"Holdfast is up"').length - 1
      const before = starts()
      const call = (method: string, path: string, body?: unknown, at = other) =>
        cluster.api.call(at.apiAddress, method, path, { token: cluster.rootToken, body, timeoutMs: 10_000 })
      expect((await call('POST', 'sys/seal', undefined, node)).status).toBe(204)
      const begun = performance.now()
      // Nothing that is acknowledged waits for it: two of three are there.
      expect((await call('POST', `secret/data/${kind}`, { data: { value: kind } })).status).toBe(200)
      const written = performance.now() - begun
      await until(`${node.id} to come back`, async () => (starts() > before ? true : null), 20_000)
      const target = ((await call('GET', 'sys/leader')).body?.['raft_committed_index'] as number) - 1
      await until(
        `${node.id} to apply what was written meanwhile`,
        async () => {
          const { body } = await call('GET', 'sys/leader', undefined, node)
          return Number(body?.['raft_applied_index']) >= target ? true : null
        },
        20_000,
      )
      figures[kind]?.push(Math.round(performance.now() - begun))
      expect([node.process?.pid, (await call('GET', 'sys/health', undefined, node)).body?.['sealed']]).toEqual([pid, true])
      expect(written).toBeLessThan(10_000)
      // Its vote counts: with the other one gone, it makes the majority.
      const third = cluster.nodes.find((each) => each !== node && each !== other)
      if (third === undefined) throw new Error('expected three nodes')
      await cluster.stopNode(third, 'SIGKILL')
      await until(
        'a write with its vote',
        async () => ((await call('POST', `secret/data/${kind}`, { data: { n: 2 } })).status === 200 ? true : null),
        30_000,
      )
      cluster.spawn(third)
      await cluster.waitForAnswer(third)
      await cluster.unseal(third)
      await cluster.unseal(node)
      await cluster.waitUntilServing()
      expect((await call('GET', `secret/data/${kind}`, undefined, node)).body?.['data']).toMatchObject({ data: { n: 2 } })
    }
    recordFigures('seal-replacement', 'npm run e2e -- test/e2e/replacement.test.ts', { back_after_ms: figures })
  } finally {
    await running.dispose()
  }
})
