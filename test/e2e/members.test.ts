/**
 * Changes of the membership, on real processes: leadership handed over, voters made learners and back, nodes that moved to other addresses,
 * and nodes that were removed, which from that moment neither vote nor read.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Api, type Answer } from '#cmd/dev/api.ts'
import { runCommand } from '#test/support/cli.ts'
import { freePorts } from '#test/support/cluster.ts'
import { found, serving, ServerProcess, unseal, until, type Founded } from '#test/support/server-process.ts'

const api = new Api(null)
const dir = mkdtempSync(join(tmpdir(), 'holdfast-members-'))
const servers: ServerProcess[] = []
let port: number
let founded: Founded

beforeAll(async () => {
  port = await freePorts(60)
  const [first, ...others] = ['one', 'two', 'three'].map(make) as [ServerProcess, ...ServerProcess[]]
  await Promise.all(servers.map((server) => server.startAndAnswer()))
  founded = await found(first)
  for (const server of others) await joinTo(first, server)
  await Promise.all(servers.map((server) => votes(server)))
  expect((await call(first, 'POST', 'sys/mounts/secret', { type: 'kv', options: { version: '2' } })).status).toBe(204)
})
afterAll(async () => {
  await Promise.all(servers.map((server) => server.stop('SIGKILL')))
  await api.close()
  if (process.env['HOLDFAST_KEEP'] === undefined) rmSync(dir, { recursive: true, force: true })
  else console.log(`kept ${dir}`)
})

function make(id: string): ServerProcess {
  const server = new ServerProcess(api, dir, id, port)
  port += 2
  servers.push(server)
  return server
}

const call = (server: ServerProcess, method: string, path: string, body?: unknown, timeoutMs = 10_000): Promise<Answer> =>
  server.call(method, path, { token: founded.token, body, timeoutMs })

const dataOf = <T>(answer: Answer): T => answer.body?.['data'] as T
const errorsOf = (answer: Answer): string => ((answer.body?.['errors'] ?? []) as string[]).join('; ')

async function joinTo(member: ServerProcess, server: ServerProcess): Promise<void> {
  const { token } = dataOf<{ token: string }>(await call(member, 'POST', 'sys/storage/raft/join-token', { ttl: '5m' }))
  expect(
    (await server.call('POST', 'sys/storage/raft/join', { body: { leader_api_addr: member.apiAddress, token }, timeoutMs: 25_000 })).body,
  ).toEqual({
    joined: true,
  })
  await unseal(server, founded)
  await serving(server)
}

const running = (): ServerProcess[] => servers.filter((server) => server.child !== null)

/** The leader, as it says itself. */
async function leader(among: readonly ServerProcess[] = running()): Promise<ServerProcess> {
  return until(
    'a leader',
    async () => {
      for (const server of among) {
        const answer = await call(server, 'GET', 'sys/leader', undefined, 1_000).catch(() => null)
        if (answer?.body?.['is_self'] === true) return server
      }
      return null
    },
    10_000,
  )
}

const put = async (server: ServerProcess, value: string): Promise<number> =>
  (await call(server, 'POST', 'secret/data/now', { data: { value } })).status

async function get(server: ServerProcess): Promise<unknown> {
  const answer = await call(server, 'GET', 'secret/data/now')
  return answer.status === 200 ? dataOf<{ data: { value: string } }>(answer).data.value : answer.status
}

interface Listed {
  readonly node_id: string
  readonly address: string
  readonly voter: boolean
}

async function listed(id: string, by: ServerProcess): Promise<Listed | undefined> {
  return dataOf<{ config: { servers: Listed[] } }>(await call(by, 'GET', 'sys/storage/raft/configuration')).config.servers.find(
    ({ node_id }) => node_id === id,
  )
}

/** Each promotion is in the log of whoever led then; how often tells a second one from the first. */
const promotions = (id: string): number =>
  servers.reduce((sum, server) => sum + server.log().split(`"member":"${id}","msg":"learner promoted`).length - 1, 0)

async function votes(server: ServerProcess, times = 1): Promise<void> {
  if (server.id !== 'one') await until(`${server.id} to be promoted`, async () => (promotions(server.id) >= times ? true : null), 10_000)
}

test('step-down hands leadership over, by API from any node and by the CLI, and writes go on', async () => {
  for (const how of ['api', 'cli'] as const) {
    const before = await leader()
    const follower = servers.find((server) => server !== before) as ServerProcess
    if (how === 'api') expect((await call(follower, 'PUT', 'sys/step-down')).status).toBe(204)
    else {
      const ran = await runCommand('operator step-down', { address: before.apiAddress, env: { HOLDFAST_TOKEN: founded.token } })
      expect([ran.code, ran.err]).toEqual([0, ''])
    }
    expect(await put(before, how)).toBe(200)
    expect((await leader()).id).not.toBe(before.id)
    for (const server of servers) expect(await get(server)).toBe(how)
  }
})

test('a demoted voter reads and follows but is not needed; promoted, it is needed and counts again', async () => {
  const led = await leader()
  const [demoted, other] = servers.filter((server) => server !== led) as [ServerProcess, ServerProcess]
  const promotedBefore = promotions(demoted.id)
  expect((await call(other, 'POST', 'sys/storage/raft/demote', { server_id: demoted.id })).status).toBe(204)
  expect(await listed(demoted.id, demoted)).toMatchObject({ voter: false })
  expect(await put(demoted, 'by-learner')).toBe(200)
  expect(await get(demoted)).toBe('by-learner')
  // Two voters are left: with one of them away the learner does not make a majority.
  await other.stop('SIGKILL')
  const lost = await call(led, 'POST', 'secret/data/now', { data: { value: 'without-majority' } }, 3_000).catch(() => null)
  expect(lost === null || lost.status >= 500).toBe(true)
  await other.startAndAnswer()
  await unseal(other, founded)
  await serving(other)
  await until('writes to go on', async () => ((await put(other, 'again')) === 200 ? true : null), 10_000)

  expect((await call(other, 'POST', 'sys/storage/raft/promote', { server_id: demoted.id })).status).toBe(204)
  await until('its promotion', async () => (promotions(demoted.id) > promotedBefore ? true : null), 10_000)
  await other.stop('SIGKILL')
  await until('a majority of leader and promoted', async () => ((await put(demoted, 'counts')) === 200 ? true : null), 10_000)
  expect(await get(demoted)).toBe('counts')
  await other.startAndAnswer()
  await unseal(other, founded)
  await serving(other)
  for (const path of ['promote', 'demote', 'remove-peer']) {
    const unknown = await call(led, 'POST', `sys/storage/raft/${path}`, { server_id: 'nobody' })
    expect([path, unknown.status, errorsOf(unknown)]).toEqual([path, 400, expect.stringMatching(/no member/)])
  }
})

/** Gives the server other ports, as a changed configuration would. */
async function move(server: ServerProcess): Promise<void> {
  await server.stop()
  server.apiPort = port++
  server.clusterPort = port++
  server.configure()
}

async function membershipShows(server: ServerProcess, on: readonly ServerProcess[]): Promise<void> {
  for (const by of on)
    await until(
      `${by.id} to show ${server.id} at ${server.clusterAddress}`,
      async () => ((await listed(server.id, by))?.address === server.clusterAddress ? true : null),
      10_000,
    )
  const nodes = (await call(on[0] as ServerProcess, 'GET', 'sys/ha-status')).body as { nodes: { hostname: string; api_address: string }[] }
  expect(nodes.nodes.find(({ hostname }) => hostname === server.id)?.api_address).toBe(server.apiAddress)
}

test('a node that comes back at other addresses finds its way, leader or follower, and the membership shows where it is', async () => {
  for (const which of ['follower', 'leader'] as const) {
    const led = await leader()
    const moved = which === 'leader' ? led : (servers.find((server) => server !== led) as ServerProcess)
    await move(moved)
    await leader()
    await moved.startAndAnswer()
    await unseal(moved, founded)
    await membershipShows(moved, servers)
    expect(await put(moved, `moved-${which}`)).toBe(200)
    for (const server of servers) expect(await get(server)).toBe(`moved-${which}`)
  }
  // It can lead from there: the others reach it, and clients are told its new address.
  const moved = servers[0] as ServerProcess
  for (let turn = 0; turn < 10 && (await leader()) !== moved; turn++) await call(moved, 'POST', 'sys/step-down')
  expect((await leader()).id).toBe(moved.id)
  expect((await call(servers[1] as ServerProcess, 'GET', 'sys/leader')).body).toMatchObject({
    leader_address: moved.apiAddress,
    leader_cluster_address: `https://${moved.clusterAddress}`,
  })
})

test('two of three moved while all were down, the third away at first: they still find each other', async () => {
  const [first, second, third] = servers as [ServerProcess, ServerProcess, ServerProcess]
  await Promise.all([move(first), move(second), third.stop()])
  await Promise.all([first.startAndAnswer(), second.startAndAnswer()])
  await delay(1_500)
  // Sealed nodes carry it: nobody may have to be unsealed for a majority to form.
  await third.startAndAnswer()
  await until(
    'a leader to be heard of by all',
    async () => {
      const heard = await Promise.all(servers.map(async (server) => (await server.call('GET', 'sys/leader')).body?.['leader_address']))
      return heard.every((address) => address !== '') ? true : null
    },
    15_000,
  )
  await unseal(second, founded)
  await serving(second)
  await membershipShows(first, [second])
  await membershipShows(second, [second])
  await Promise.all([unseal(first, founded), unseal(third, founded)])
  expect(await put(first, 'together')).toBe(200)
  for (const server of servers) expect(await get(server)).toBe('together')
})

test('a removed follower is cut off at once: it reads nothing, writes nothing, votes for nobody, and says so', async () => {
  const led = await leader()
  const [gone, other] = servers.filter((server) => server !== led) as [ServerProcess, ServerProcess]
  expect(await put(led, 'before')).toBe(200)
  expect((await call(other, 'POST', 'sys/storage/raft/remove-peer', { server_id: gone.id })).status).toBe(204)
  const read = get(gone)
  const write = call(gone, 'POST', 'secret/data/now', { data: { value: 'from-removed' } })
  expect(await put(other, 'after')).toBe(200)
  expect(await listed(gone.id, led)).toBeUndefined()
  expect(await read).toBe(503)
  const refused = await write
  expect([refused.status, errorsOf(refused)]).toEqual([503, expect.stringMatching(/active cluster node not found/)])
  const health = await until(
    'its health to say so',
    async () => {
      const answer = await gone.call('GET', 'sys/health?standbyok=true')
      return answer.status === 503 ? answer : null
    },
    8_000,
  )
  expect(health.body?.['cause']).toMatch(/removed|no majority/)
  expect((await gone.call('GET', 'sys/leader')).body).toMatchObject({ is_self: false, leader_address: '' })
  expect(await get(gone)).toBe(503)

  // It counts for nothing: with the other follower away there is no majority, whatever it would answer; nor does it disturb the rest.
  const { term } = await termOf(led)
  await other.stop('SIGKILL')
  const lost = await call(led, 'POST', 'secret/data/now', { data: { value: 'lost' } }, 3_000).catch(() => null)
  expect(lost === null || lost.status >= 500).toBe(true)
  await other.startAndAnswer()
  await unseal(other, founded)
  await until('writes to go on', async () => ((await put(other, 'goes-on')) === 200 ? true : null), 10_000)
  expect((await termOf(led)).term).toBeLessThan(term + 4)

  // Nor after its restart; only as a new node, on an empty disk, it comes back.
  await gone.stop('SIGKILL')
  await gone.startAndAnswer()
  await unseal(gone, founded)
  await delay(1_500)
  expect(await get(gone)).toBe(503)
  expect(await get(led)).toBe('goes-on')
  expect(gone.log()).toMatch(/expected the key of a member, got an unknown one/)
  await gone.stop('SIGKILL')
  servers.splice(servers.indexOf(gone), 1)
  const fresh = make('four')
  await fresh.startAndAnswer()
  await joinTo(led, fresh)
  await votes(fresh)
  expect(await get(fresh)).toBe('goes-on')
})

async function termOf(server: ServerProcess): Promise<{ term: number }> {
  const answer = await fetch(`${server.apiAddress}/v1/sys/metrics`, { headers: { 'x-vault-token': founded.token } })
  return { term: Number(/^holdfast_raft_term (\d+)$/m.exec(await answer.text())?.[1]) }
}

test('a leader that is removed hands over, down to a cluster of one', async () => {
  while (servers.length > 1) {
    const led = await leader()
    const others = servers.filter((server) => server !== led)
    expect(await put(led, `of-${servers.length}`)).toBe(200)
    const begun = performance.now()
    const answer = await call(others[0] as ServerProcess, 'POST', 'sys/storage/raft/remove-peer', { server_id: led.id })
    expect([answer.status, errorsOf(answer)]).toEqual([204, ''])
    const next = await leader(others)
    expect(performance.now() - begun).toBeLessThan(4_000)
    expect(await listed(led.id, next)).toBeUndefined()
    expect(await put(next, `after-${servers.length}`)).toBe(200)
    for (const server of others) expect(await get(server)).toBe(`after-${servers.length}`)
    expect(await get(led)).toBe(503)
    expect((await led.call('GET', 'sys/leader')).body).toMatchObject({ is_self: false })
    await led.stop('SIGKILL')
    servers.splice(servers.indexOf(led), 1)
  }
  const [last] = servers as [ServerProcess]
  expect(readFileSync(last.auditPath, 'utf8')).toContain('sys/storage/raft/remove-peer')
  await last.stop('SIGKILL')
  await last.startAndAnswer()
  await unseal(last, founded)
  await serving(last)
  expect(await get(last)).toBe('after-2')
})
