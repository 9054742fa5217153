/**
 * A rolling upgrade with real processes, under writes: node after node becomes the next release, one goes back and forth, nothing that was acknowledged is
 * lost, the format level is raised when the last one has been exchanged, and an older release is refused from then on.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Api } from '#cmd/dev/api.ts'
import { runCommand } from '#test/support/cli.ts'
import { freePorts } from '#test/support/cluster.ts'
import { found, serving, ServerProcess, unseal, until, type Founded } from '#test/support/server-process.ts'

const api = new Api(null)
const dir = mkdtempSync(join(tmpdir(), 'holdfast-upgrade-'))
const writersCount = 4
let port: number
let servers: ServerProcess[]
let founded: Founded

beforeAll(async () => {
  port = await freePorts(12)
  servers = ['n1', 'n2', 'n3'].map((id, at) => new ServerProcess(api, dir, id, port + 2 * at))
  const [first, ...others] = servers as [ServerProcess, ...ServerProcess[]]
  await first.startAndAnswer()
  founded = await found(first)
  const { token } = founded
  expect((await first.call('POST', 'sys/mounts/secret', { token, body: { type: 'kv', options: { version: '2' } } })).status).toBe(204)
  for (const server of others) await joinCluster(server)
})
afterAll(async () => {
  await Promise.all(servers.map((server) => server.stop('SIGKILL')))
  await api.close()
  if (process.env['HOLDFAST_KEEP'] === undefined) rmSync(dir, { recursive: true, force: true })
})

const first = (): ServerProcess => servers[0] as ServerProcess

async function joinCluster(server: ServerProcess): Promise<void> {
  await server.startAndAnswer()
  expect((await askToJoin(server)).status).toBe(200)
  await unseal(server, founded)
  await serving(server)
  await until(
    `${server.id} to vote`,
    async () => ((await members()).find(({ node_id }) => node_id === server.id)?.voter ? true : null),
    20_000,
  )
}

async function askToJoin(server: ServerProcess): ReturnType<ServerProcess['call']> {
  // Whoever led may just have gone.
  const token = await until(
    'a join token',
    async () => {
      const made = await first().call('POST', 'sys/storage/raft/join-token', { token: founded.token, body: { ttl: '5m' } })
      return made.status === 200 ? (made.body as { data: { token: string } }).data.token : null
    },
    20_000,
  )
  return server.call('POST', 'sys/storage/raft/join', { body: { leader_api_addr: first().apiAddress, token }, timeoutMs: 25_000 })
}

interface Listed {
  readonly node_id: string
  readonly voter: boolean
  readonly format_levels: { readonly min: number; readonly max: number } | null
}

/** Of any node that answers: one is being restarted most of the time. */
async function configuration(): Promise<{ format_level: number; servers: Listed[] }> {
  return until(
    'the configuration',
    async () => {
      for (const server of servers) {
        if (server.child === null) continue
        const answer = await server
          .call('GET', 'sys/storage/raft/configuration', { token: founded.token, timeoutMs: 3_000 })
          .catch(() => null)
        if (answer?.status === 200) return (answer.body as { data: { config: { format_level: number; servers: Listed[] } } }).data.config
      }
      return null
    },
    20_000,
  )
}

const members = async (): Promise<readonly Listed[]> => (await configuration()).servers

async function exchange(server: ServerProcess, release: ServerProcess['release']): Promise<void> {
  expect((await server.stop()).code).toBe(0)
  server.release = release
  await server.startAndAnswer()
  await unseal(server, founded)
  await serving(server)
  await delay(500)
}

/** Writes ever new values until it is told to stop; resolves with what was acknowledged. */
async function writer(id: number, stop: AbortSignal): Promise<Map<string, string>> {
  const acknowledged = new Map<string, string>()
  for (let n = 0; !stop.aborted; n += 1) {
    const server = servers[(id + n) % servers.length] as ServerProcess
    const [path, value] = [`secret/data/w${id}-${n % 50}`, `value ${n}`]
    // Unknown until it is acknowledged again: a failed answer may have been carried out.
    acknowledged.delete(path)
    const answer = await server.call('POST', path, { token: founded.token, body: { data: { value } }, timeoutMs: 5_000 }).catch(() => null)
    if (answer?.status === 200) acknowledged.set(path, value)
    else await delay(20)
  }
  return acknowledged
}

test('a cluster is upgraded under writes, node by node and one of them back and forth; the last exchange raises the level', async () => {
  const [a, b, c] = servers as [ServerProcess, ServerProcess, ServerProcess]
  const stop = new AbortController()
  const writers = Array.from({ length: writersCount }, (_, id) => writer(id, stop.signal))
  await delay(500)
  await exchange(c, 'next')
  await exchange(b, 'next')
  await delay(1_500)
  expect((await configuration()).format_level, 'one is old').toBe(1)
  await exchange(b, 'this')
  await exchange(b, 'next')
  expect((await configuration()).format_level, 'one is old').toBe(1)
  await exchange(a, 'next')
  await until('the level to be raised', async () => ((await configuration()).format_level === 2 ? true : null), 20_000)
  const { servers: listed } = await configuration()
  expect(listed.map(({ format_levels }) => format_levels)).toEqual([1, 2, 3].map(() => ({ min: 1, max: 2 })))
  await delay(1_000)
  stop.abort()
  const acknowledged = new Map((await Promise.all(writers)).flatMap((each) => [...each]))
  expect(acknowledged.size).toBeGreaterThan(20)
  for (const [path, value] of acknowledged) {
    const answer = await a.call('GET', path, { token: founded.token })
    expect((answer.body?.['data'] as { data?: { value?: string } } | undefined)?.data?.value, path).toBe(value)
  }
  const shown = await runCommand('operator members', { address: a.apiAddress, env: { HOLDFAST_TOKEN: founded.token } })
  expect(shown.out).toMatch(/Formats/)
  expect(shown.out.match(/1-2/g)).toHaveLength(3)
})

test('from then on an older release is refused: as a member that goes back, and as one that asks to join', async () => {
  const c = servers[2] as ServerProcess
  await c.stop()
  c.release = 'this'
  c.start()
  const ended = await Promise.race([c.ended, delay(20_000, null)])
  expect(ended?.code).toBe(1)
  expect(c.log()).toContain('expected a cluster at format level 1 or below, got one at 2')
  expect(c.log()).toContain('start a release that understands level 2')
  const late = new ServerProcess(api, dir, 'n4', port + 6)
  servers.push(late)
  await late.startAndAnswer()
  const refused = await askToJoin(late)
  expect(refused.status).toBeGreaterThanOrEqual(400)
  expect(JSON.stringify(refused.body?.['errors'])).toContain('got one at 2')
  c.release = 'next'
  await c.startAndAnswer()
  await unseal(c, founded)
  await serving(c)
})
