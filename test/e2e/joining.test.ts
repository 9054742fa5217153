/**
 * How a node becomes a member: by a one-time token, by the seal's proof, by its configuration; and what is refused on the way: spent,
 * expired and mistyped tokens, other clusters' tokens, whoever sits in the middle, and a node id that another disk has used.
 */
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemRandom } from '#base/random.ts'
import { Api, type Answer } from '#cmd/dev/api.ts'
import { createClusterCa, createCsr, createNodeKey } from '#transport/certificates.ts'
import { runCommand } from '#test/support/cli.ts'
import { freePorts } from '#test/support/cluster.ts'
import { found, serving, ServerProcess, unseal, until, type Founded } from '#test/support/server-process.ts'

const api = new Api(null)
const dir = mkdtempSync(join(tmpdir(), 'holdfast-joining-'))
const servers: ServerProcess[] = []
let port: number
let founder: ServerProcess
let founded: Founded
let proxy: TamperingProxy

beforeAll(async () => {
  port = await freePorts(60)
  founder = make('founder')
  await founder.startAndAnswer()
  founded = await found(founder, 3, 2)
  expect(
    (await founder.call('POST', 'sys/mounts/secret', { token: founded.token, body: { type: 'kv', options: { version: '2' } } })).status,
  ).toBe(204)
  expect((await founder.call('POST', 'secret/data/first', { token: founded.token, body: { data: { value: 'one' } } })).status).toBe(200)
  proxy = await TamperingProxy.start(port++)
})
afterAll(async () => {
  await Promise.all(servers.map((server) => server.stop('SIGKILL')))
  await proxy?.close()
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

const dataOf = <T>(answer: Answer): T => answer.body?.['data'] as T

async function joinToken(options: { ttl?: string; non_voter?: boolean } = {}): Promise<string> {
  const answer = await founder.call('POST', 'sys/storage/raft/join-token', { token: founded.token, body: { ttl: '5m', ...options } })
  expect(answer.status).toBe(200)
  return dataOf<{ token: string }>(answer).token
}

const joinBy = (server: ServerProcess, token: string | null, more: Record<string, unknown> = {}): Promise<Answer> =>
  server.call('POST', 'sys/storage/raft/join', {
    body: { leader_api_addr: founder.apiAddress, ...(token === null ? {} : { token }), ...more },
    timeoutMs: 25_000,
  })

interface Listed {
  readonly node_id: string
  readonly address: string
  readonly leader: boolean
  readonly voter: boolean
}

async function members(): Promise<readonly Listed[]> {
  const answer = await founder.call('GET', 'sys/storage/raft/configuration', { token: founded.token })
  return dataOf<{ config: { servers: Listed[] } }>(answer).config.servers
}

const listed = async (id: string): Promise<Listed | undefined> => (await members()).find(({ node_id }) => node_id === id)

/** The leader counts it: a voter in raft's own configuration, caught up. */
async function promoted(id: string): Promise<void> {
  await until(
    `${id} to be promoted`,
    async () => (founder.log().includes(`"member":"${id}","msg":"learner promoted to voter"`) ? true : null),
    15_000,
  )
}

async function readsFirst(server: ServerProcess): Promise<void> {
  const answer = await until(
    `${server.id} to serve a read`,
    async () => {
      const got = await server.call('GET', 'secret/data/first', { token: founded.token })
      return got.status === 200 ? got : null
    },
    10_000,
  )
  expect(dataOf<{ data: unknown }>(answer).data).toEqual({ value: 'one' })
}

async function removeAndStop(server: ServerProcess): Promise<void> {
  expect(
    (await founder.call('POST', 'sys/storage/raft/remove-peer', { token: founded.token, body: { server_id: server.id } })).status,
  ).toBe(204)
  await server.stop('SIGKILL')
}

const errorsOf = (answer: Answer): string => ((answer.body?.['errors'] ?? []) as string[]).join('; ')

/** Passes requests on to the founder; a test may change what goes either way, or do something before it goes. */
class TamperingProxy {
  readonly #server: Server
  readonly address: string
  onRequest: (path: string, body: Record<string, unknown>) => Record<string, unknown> | Promise<Record<string, unknown>> = (_path, body) =>
    body
  onAnswer: (path: string, body: Record<string, unknown>) => Record<string, unknown> | null | Promise<Record<string, unknown> | null> = (
    _path,
    body,
  ) => body

  private constructor(server: Server, address: string) {
    this.#server = server
    this.address = address
  }

  static async start(at: number): Promise<TamperingProxy> {
    const server = createServer()
    const made = new TamperingProxy(server, `http://127.0.0.1:${at}`)
    server.on('request', (request, response) => {
      const pass = async (): Promise<void> => {
        let text = ''
        for await (const chunk of request) text += String(chunk)
        const path = (request.url ?? '').replace('/v1/', '')
        const body = await made.onRequest(path, JSON.parse(text) as Record<string, unknown>)
        const answer = await founder.call('POST', path, { body, timeoutMs: 20_000 })
        const changed = answer.body === null ? null : await made.onAnswer(path, answer.body)
        if (changed === null) return void response.destroy()
        response.writeHead(answer.status, { 'content-type': 'application/json' })
        response.end(JSON.stringify(changed))
      }
      pass().catch(() => response.destroy())
    })
    await new Promise<void>((resolve) => server.listen(at, '127.0.0.1', resolve))
    return made
  }

  honest(): void {
    this.onRequest = (_path, body) => body
    this.onAnswer = (_path, body) => body
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

test('a one-time token makes one node a member; spent, expired, mistyped and foreign ones are refused and leave nothing behind', async () => {
  const first = make('by-token')
  const second = make('second')
  const stranger = make('stranger')
  await Promise.all([first, second, stranger].map((server) => server.startAndAnswer()))
  const token = await joinToken()

  expect([await joinBy(first, token)].map(({ status, body }) => [status, body])).toEqual([[200, { joined: true }]])
  // Told that it has joined, people unseal it next: it must know the seal by then.
  expect((await first.call('GET', 'sys/seal-status')).body).toMatchObject({ initialized: true, sealed: true })
  // A member that is asked to join has joined already.
  expect((await joinBy(first, token)).body).toEqual({ joined: true })
  expect((await joinBy(first, 'hfj.nonsense')).body).toEqual({ joined: true })
  await promoted('by-token')
  await unseal(first, founded)
  await readsFirst(first)

  const spent = await joinBy(second, token)
  expect([spent.status, errorsOf(spent)]).toEqual([400, expect.stringMatching(/got one that was used/)])
  expect(spent.body?.['hint']).toMatch(/operator raft join-token/)

  const short = await joinToken({ ttl: '1s' })
  await delay(1_100)
  const expired = await joinBy(second, short)
  expect([expired.status, errorsOf(expired)]).toEqual([400, expect.stringMatching(/got one that has expired/)])

  const good = await joinToken()
  const typed = `${good.slice(0, -3)}${good.at(-3) === 'A' ? 'B' : 'A'}${good.slice(-2)}`
  const typo = await joinBy(second, typed)
  expect([typo.status, errorsOf(typo)]).toEqual([400, expect.stringMatching(/a typo/)])
  for (const text of ['hfj.only-two', 's.abcdef', 'x'.repeat(3_000)]) {
    const answer = await joinBy(second, text)
    expect([answer.status, errorsOf(answer)]).toEqual([400, expect.stringMatching(/^join token: expected/)])
    expect(errorsOf(answer)).not.toContain(text)
  }

  const theirs = await found(stranger)
  const foreign = await stranger.call('POST', 'sys/storage/raft/join-token', { token: theirs.token, body: { ttl: '1m' } })
  const wrongCluster = await joinBy(second, dataOf<{ token: string }>(foreign).token)
  expect([wrongCluster.status, errorsOf(wrongCluster)]).toEqual([400, expect.stringMatching(/unknown, used or revoked/)])
  const nobody = await joinBy(second, good, { leader_api_addr: 'http://127.0.0.1:9' })
  expect([nobody.status, errorsOf(nobody)]).toEqual([
    502,
    expect.stringMatching(/expected an answer from http:\/\/127.0.0.1:9, got ECONNREFUSED/),
  ])
  const nowhere = await joinBy(second, good, { leader_api_addr: '' })
  expect([nowhere.status, errorsOf(nowhere)]).toEqual([400, expect.stringMatching(/expected leader_api_addr/)])
  const noUrl = await joinBy(second, good, { leader_api_addr: 'not a url' })
  expect([noUrl.status, errorsOf(noUrl)]).toEqual([400, expect.stringMatching(/leader_api_addr/)])

  // After all of these the node is what it was: no member, not initialised, with a key of its own and nothing else.
  expect(await listed('second')).toBeUndefined()
  expect((await second.call('GET', 'sys/init')).body).toEqual({ initialized: false })
  expect(readdirSync(second.dataDir).toSorted()).toEqual(['boot', 'identity'])
  expect(readdirSync(join(second.dataDir, 'identity'))).toEqual(['joining.json'])
  // No token stands in any log.
  for (const server of [founder, first, second, stranger])
    for (const secret of [token, good, short]) expect(server.log()).not.toContain(secret.slice(20))

  // And the good one is still good, here for a node that shall not vote.
  expect((await joinBy(second, good, { non_voter: true })).body).toEqual({ joined: true })
  await unseal(second, founded)
  await readsFirst(second)
  expect(await listed('second')).toMatchObject({ voter: false })
  expect(founder.log()).not.toContain('"member":"second","msg":"learner promoted to voter"')
  await Promise.all([removeAndStop(first), removeAndStop(second), stranger.stop('SIGKILL')])
})

test('a token for learners makes a learner, whatever the node asks for; the CLI makes tokens, joins, lists and removes', async () => {
  const learner = make('learner')
  await learner.startAndAnswer()
  const env = { HOLDFAST_TOKEN: founded.token }
  const made = await runCommand('operator raft join-token -ttl=2m -non-voter -field=token', { address: founder.apiAddress, env })
  expect([made.code, made.out]).toEqual([0, expect.stringMatching(/^hfj\./)])
  const refused = await runCommand(['operator', 'raft', 'join', '-join-token=hfj.x.y', founder.apiAddress], { address: learner.apiAddress })
  expect([refused.code, refused.err]).toEqual([2, expect.stringMatching(/join token/)])
  const joined = await runCommand(['operator', 'raft', 'join', '-join-token=-', founder.apiAddress], {
    address: learner.apiAddress,
    stdin: made.out,
  })
  expect([joined.code, joined.out, joined.err]).toEqual([0, expect.stringMatching(/Joined\s+true/), ''])
  await unseal(learner, founded)
  await readsFirst(learner)
  const peers = await runCommand('operator raft list-peers', { address: learner.apiAddress, env })
  expect(peers.out).toMatch(/^learner\s+127\.0\.0\.1:\d+\s+follower\s+false$/m)
  expect(peers.out).toMatch(/^founder\s+127\.0\.0\.1:\d+\s+leader\s+true$/m)
  const unknown = await runCommand('operator raft remove-peer nobody', { address: founder.apiAddress, env })
  expect([unknown.code, unknown.err]).toEqual([2, expect.stringMatching(/no member/)])
  const removed = await runCommand('operator raft remove-peer learner', { address: founder.apiAddress, env })
  expect([removed.code, removed.out]).toEqual([0, expect.stringMatching(/Removed node learner/)])
  expect(await listed('learner')).toBeUndefined()
  await learner.stop('SIGKILL')
})

test('open join tokens are listed by id, and a revoked one lets nobody join', async () => {
  const env = { HOLDFAST_TOKEN: founded.token }
  const made = await founder.call('POST', 'sys/storage/raft/join-token', { token: founded.token, body: { ttl: '5m', non_voter: true } })
  const { id, token } = dataOf<{ id: string; token: string }>(made)
  const list = async (): Promise<string> => (await runCommand('operator raft join-tokens', { address: founder.apiAddress, env })).out
  expect(await list()).toMatch(new RegExp(`^${id}\\s+\\S+\\s+true\\s+false$`, 'm'))
  expect(await list()).not.toContain(token)
  const revoked = await runCommand(['operator', 'raft', 'revoke-join-token', id], { address: founder.apiAddress, env })
  expect([revoked.code, revoked.err]).toEqual([0, ''])
  expect(await list()).not.toContain(id)
  const late = make('late')
  await late.startAndAnswer()
  const refused = await joinBy(late, token)
  expect([refused.status, errorsOf(refused)]).toEqual([400, expect.stringMatching(/unknown, used or revoked/)])
  const again = await founder.call('DELETE', `sys/storage/raft/join-token/${id}`, { token: founded.token })
  expect([again.status, errorsOf(again)]).toEqual([404, expect.stringMatching(/open join token/)])
})

test('whoever sits in the middle can change neither request nor answer', async () => {
  const joiner = make('proxied')
  await joiner.startAndAnswer()
  const token = await joinToken()
  const through = { leader_api_addr: proxy.address }
  const thief = await createNodeKey()
  const csr = await createCsr({ nodeId: 'proxied', privateKeyPem: thief.privateKeyPem })
  for (const change of [
    { csr },
    { node_id: 'another' },
    { voter: false },
    { cluster_address: '127.0.0.1:9' },
    { api_address: 'http://evil:1' },
    { mac: '0'.repeat(64) },
  ]) {
    proxy.honest()
    proxy.onRequest = (path, body) => (path.endsWith('bootstrap/answer') ? { ...body, ...change } : body)
    const answer = await joinBy(joiner, token, through)
    expect([Object.keys(change), answer.status, errorsOf(answer)]).toEqual([
      Object.keys(change),
      403,
      expect.stringMatching(/made with this token or seal/),
    ])
  }
  expect((await members()).map(({ node_id }) => node_id)).toEqual(['founder'])

  const data = (body: Record<string, unknown>): Record<string, unknown> => (body['data'] ?? body) as Record<string, unknown>
  const caOfAnother = (await createClusterCa({ clusterId: 'another', nowMs: Date.now(), random: systemRandom })).certificatePem
  for (const change of [
    { ca_certificate: caOfAnother },
    { cluster_id: '00000000-0000-4000-8000-000000000000' },
    { incarnation: 7 },
    { members: [] },
    { mac: '0'.repeat(64) },
  ]) {
    proxy.honest()
    proxy.onAnswer = (_path, body) => ({ ...data(body), ...change })
    const answer = await joinBy(joiner, token, through)
    expect([Object.keys(change), answer.status, errorsOf(answer)]).toEqual([
      Object.keys(change),
      403,
      expect.stringMatching(/answer of a member that knows this token/),
    ])
    expect(existsSync(join(joiner.dataDir, 'identity', 'identity.json'))).toBe(false)
  }
  for (const body of ['no object', 'list', 'empty'] as const) {
    proxy.honest()
    proxy.onAnswer = () => (body === 'empty' ? {} : ({ data: body === 'list' ? [] : 5 } as Record<string, unknown>))
    const answer = await joinBy(joiner, token, through)
    expect(answer.status, body).toBeGreaterThanOrEqual(400)
    expect((await joiner.call('GET', 'sys/init')).body).toEqual({ initialized: false })
  }
  // The leader counts it as a learner since its first honest request: the very same node, with the same token, comes in.
  proxy.honest()
  expect((await joinBy(joiner, token, through)).body).toEqual({ joined: true })
  await unseal(joiner, founded)
  await readsFirst(joiner)
  await removeAndStop(joiner)
})

test("the seal's proof: shares given at the joiner make it a member that opens by itself", async () => {
  const joiner = make('by-seal')
  await joiner.startAndAnswer()
  const asked = await joinBy(joiner, null)
  expect([asked.status, asked.body]).toEqual([200, { joined: true }])
  // Until the shares are there it is no member, and says which seal waits for them.
  expect(await listed('by-seal')).toBeUndefined()
  expect((await joiner.call('GET', 'sys/seal-status')).body).toMatchObject({ sealed: true, t: 2, n: 3, progress: 0, type: 'shamir' })
  const wrong = await joiner.call('POST', 'sys/unseal', { body: { key: Buffer.alloc(33, 7).toString('base64') } })
  expect([wrong.status, errorsOf(wrong)]).toEqual([400, expect.stringMatching(/invalid key/)])
  const one = await joiner.call('POST', 'sys/unseal', { body: { key: founded.keys[2] } })
  expect(one.body).toMatchObject({ sealed: true, progress: 1 })
  await joiner.call('POST', 'sys/unseal', { body: { key: founded.keys[0] } })
  await serving(joiner)
  await promoted('by-seal')
  await readsFirst(joiner)
  expect(await listed('by-seal')).toMatchObject({ voter: true })
  expect((await joiner.call('POST', 'secret/data/from-joiner', { token: founded.token, body: { data: { value: 'x' } } })).status).toBe(200)

  await removeAndStop(joiner)
})

test("the seal's proof survives a broken answer by itself, and a forged one by another try with the same shares", async () => {
  const joiner = make('seal-again')
  await joiner.startAndAnswer()
  const through = { leader_api_addr: proxy.address }
  const giveShares = async (): Promise<void> => {
    for (const key of founded.keys.slice(1)) await joiner.call('POST', 'sys/unseal', { body: { key } })
  }
  proxy.honest()
  proxy.onAnswer = (path, body) => (path.endsWith('answer') ? { ...body, mac: '0'.repeat(64) } : body)
  expect((await joinBy(joiner, null, through)).body).toEqual({ joined: true })
  await giveShares()
  await until('the forged answer to be refused', async () => (joiner.log().includes('joining by the seal failed') ? true : null), 5_000)
  expect((await joiner.call('GET', 'sys/init')).body).toEqual({ initialized: false })

  let broken = 0
  proxy.onAnswer = (path, body) => (path.endsWith('answer') && broken++ === 0 ? null : body)
  expect((await joinBy(joiner, null, through)).body).toEqual({ joined: true })
  await giveShares()
  await readsFirst(joiner)
  expect(broken).toBe(2)
  await promoted('seal-again')
  await removeAndStop(joiner)
})

test('a node id that another disk has used is refused, as a member and after its removal, with the way out', async () => {
  const joiner = make('wiped')
  for (const round of ['joins', 'wiped', 'removed and wiped'] as const) {
    if (round === 'removed and wiped')
      expect(
        (await founder.call('POST', 'sys/storage/raft/remove-peer', { token: founded.token, body: { server_id: 'wiped' } })).status,
      ).toBe(204)
    await joiner.startAndAnswer()
    const answer = await joinBy(joiner, await joinToken({ non_voter: true }))
    if (round === 'joins') expect(answer.body).toEqual({ joined: true })
    else {
      expect([round, answer.status, errorsOf(answer)]).toEqual([round, 400, expect.stringMatching(/got one that another disk has used/)])
      expect(answer.body?.['hint']).toMatch(/under a new node_id/)
    }
    await joiner.stop('SIGKILL')
    rmSync(joiner.dataDir, { recursive: true })
  }
})

test('retry_join joins from the configuration: with a token from a file, or with the seal, past leaders that do not answer', async () => {
  const tokenFile = join(dir, 'join-token')
  writeFileSync(tokenFile, `${await joinToken()}\n`, { mode: 0o600 })
  const dead = 'retry_join { leader_api_addr = "http://127.0.0.1:9" }'
  const byFile = make('by-file')
  byFile.configure({ raft: `${dead}\nretry_join {\n leader_api_addr = "${founder.apiAddress}"\n join_token_file = "${tokenFile}"\n}` })
  const bySeal = make('by-config-seal')
  bySeal.configure({ raft: `retry_join_as_non_voter = true\n${dead}\nretry_join { leader_api_addr = "${founder.apiAddress}" }` })
  // One is there before the leader is: it waits.
  await founder.stop()
  await byFile.startAndAnswer()
  await until('the joiner to say why it waits', async () => (byFile.log().includes('could not join yet') ? true : null), 5_000)
  await founder.startAndAnswer()
  await unseal(founder, founded)
  await serving(founder)
  await bySeal.startAndAnswer()
  await promoted('by-file')
  await unseal(byFile, founded)
  await readsFirst(byFile)
  expect(byFile.log()).not.toContain(founded.token)

  // Shares first wait for the seal that the cluster names; a restart in between begins again.
  await until(
    'the seal to be asked for',
    async () => ((await bySeal.call('GET', 'sys/seal-status')).body?.['t'] === 2 ? true : null),
    10_000,
  )
  await bySeal.call('POST', 'sys/unseal', { body: { key: founded.keys[0] } })
  await bySeal.stop('SIGKILL')
  await bySeal.startAndAnswer()
  await until(
    'the seal to be asked for again',
    async () => ((await bySeal.call('GET', 'sys/seal-status')).body?.['t'] === 2 ? true : null),
    10_000,
  )
  expect((await bySeal.call('GET', 'sys/seal-status')).body).toMatchObject({ progress: 0 })
  await unseal(bySeal, founded)
  await readsFirst(bySeal)
  expect(await listed('by-config-seal')).toMatchObject({ voter: false })

  // Joined is joined: neither token nor leader is looked for again.
  rmSync(tokenFile)
  await bySeal.stop()
  await bySeal.startAndAnswer()
  await unseal(bySeal, founded)
  await readsFirst(bySeal)
  await Promise.all([removeAndStop(bySeal), removeAndStop(byFile)])
})

// Where the joiner is killed: before its request is out; when the leader has made it a member and it does not know yet; and some time after.
test.each(['request on its way', 'answer on its way', 0, 8, 25, 120])(
  'killed with -9 in the middle of joining (%s), it becomes a member after its restart',
  async (when) => {
    const joiner = make(`killed-${String(when).replaceAll(' ', '-')}`)
    const token = await joinToken()
    const retry = `retry_join {\n leader_api_addr = "${proxy.address}"\n join_token = "${token}"\n}`
    joiner.configure({ raft: retry })
    const killed = Promise.withResolvers<void>()
    const kill = async (): Promise<void> => {
      await joiner.stop('SIGKILL')
      killed.resolve()
    }
    proxy.honest()
    if (when === 'request on its way')
      proxy.onRequest = async (_path, body) => {
        await kill()
        return Promise.reject(new Error('its sender is gone')) as never as typeof body
      }
    else
      proxy.onAnswer = async (_path, body) => {
        if (when === 'answer on its way') await kill()
        else setTimeout(() => void kill(), when as number)
        return body
      }
    joiner.start()
    await killed.promise
    proxy.honest()
    await joiner.startAndAnswer()
    await promoted(joiner.id)
    await unseal(joiner, founded)
    await readsFirst(joiner)
    expect(await listed(joiner.id)).toMatchObject({ voter: true, address: joiner.clusterAddress })
    expect(readdirSync(join(joiner.dataDir, 'identity')).toSorted()).toEqual(['identity.json', 'members.json', 'stores-made'])
    await removeAndStop(joiner)
  },
)

test('nothing but store and identity lies in a data folder, and only its owner may look', () => {
  const walk = (path: string): string[] =>
    statSync(path).isDirectory() ? [path, ...readdirSync(path).flatMap((name) => walk(join(path, name)))] : [path]
  const folders = servers.map((server) => server.dataDir).filter((path) => existsSync(path))
  expect(folders.length).toBeGreaterThan(5)
  for (const folder of folders) {
    expect(
      readdirSync(folder).filter((name) => !/^(identity|log|state|(hardstate|members)\.[01](\.tmp)?|acknowledged|boot|lock)$/.test(name)),
    ).toEqual([])
    const open = walk(folder).filter((path) => (statSync(path).mode & 0o077) !== 0)
    expect(open.map((path) => `${path.slice(dir.length)} ${(statSync(path).mode & 0o777).toString(8)}`)).toEqual([])
  }
})
