/**
 * What nodes live through that lost something, on real processes: a log with a hole, which the others fill again; a majority that is gone for good,
 * after which the rest goes on by an operator's word.
 */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { afterEach, expect, test } from 'vitest'
import { runCommand, type Ran } from '#test/support/cli.ts'
import { House } from '#test/support/house.ts'
import { serving, unseal, until, type ServerProcess } from '#test/support/server-process.ts'

let house: House | null = null

async function raise(...ids: string[]): Promise<House> {
  house = new House()
  return house.raise(ids)
}

afterEach(async () => {
  await house?.end()
  house = null
})

const recover = (server: ServerProcess, ...more: string[]): Promise<Ran> =>
  runCommand(['operator', 'raft', 'recover', `-data=${server.dataDir}`, ...more])

/** Takes an entry out of the middle of a stopped node's log, as a bad block would. */
async function holeIn(server: ServerProcess): Promise<void> {
  const level = new ClassicLevel<Uint8Array, Uint8Array>(join(server.dataDir, 'log'), { keyEncoding: 'view', valueEncoding: 'view' })
  await level.open()
  const keys = (await level.keys().all()).filter((key) => key.length === 8)
  await level.del(keys[Math.floor(keys.length / 2)] as Uint8Array)
  await level.close()
}

test('a hole in the log of one node is filled by the others: it comes back by itself, and counts again', async () => {
  const made = await raise('a', 'b', 'c')
  const [a, b, c] = ['a', 'b', 'c'].map((id) => made.at(id)) as [ServerProcess, ServerProcess, ServerProcess]
  for (let at = 0; at < 20; at += 1) expect(await made.put(a, `k${at}`, `before-${at}`)).toBe(200)
  await b.stop('SIGKILL')
  await holeIn(b)
  expect(await made.put(a, 'away', 'while-it-was-away')).toBe(200)
  await made.restart('b')
  await until('its log to be whole', async () => (b.log().includes('the log of this node is repaired') ? true : null), 20_000)
  expect(b.log()).toContain('what proves itself was kept')
  expect(existsSync(join(b.dataDir, 'log.damaged'))).toBe(true)
  for (let at = 0; at < 20; at += 1) expect(await made.get(b, `k${at}`)).toBe(`before-${at}`)
  expect(await made.get(b, 'away')).toBe('while-it-was-away')
  // It votes again: with another away, it makes the majority.
  await c.stop('SIGKILL')
  await until('writes with it and one other', async () => ((await made.put(a, 'again', 'yes')) === 200 ? true : null), 15_000)
  expect(await made.get(b, 'again')).toBe('yes')
})

test('a node of which only the identity is left stays out, and says that it must come as a new one', async () => {
  const made = await raise('a', 'b', 'c')
  const [a, c] = [made.at('a'), made.at('c')]
  expect(await made.put(a, 'k', 'acknowledged')).toBe(200)
  await c.stop('SIGKILL')
  for (const name of readdirSync(c.dataDir)) if (name !== 'identity') rmSync(join(c.dataDir, name), { recursive: true })
  for (let times = 0; times < 2; times += 1) {
    c.start()
    expect((await c.ended).code).not.toBe(0)
  }
  expect(c.log()).toContain('its data is gone')
  expect(c.log()).toContain('join with a new node_id')
  expect((await recover(c)).err).toContain('its data is gone')

  expect((await made.call(a, 'POST', 'sys/storage/raft/remove-peer', { server_id: 'c' })).status).toBe(204)
  const fresh = made.make('d')
  await fresh.startAndAnswer()
  await made.join(a, fresh)
  await made.voter(a, 'd')
  expect(await made.get(fresh, 'k')).toBe('acknowledged')
})

test('where nobody else has what the log lost, the node stays out and says what to do; an operator may go on without it', async () => {
  const made = await raise('a')
  const a = made.at('a')
  for (let at = 0; at < 10; at += 1) expect(await made.put(a, `k${at}`, `value-${at}`)).toBe(200)
  // In good order: the state is on the disk, and what the log loses is in it.
  await a.stop()
  const before = readdirSync(a.dataDir).sort()
  await holeIn(a)
  a.start()
  expect((await a.ended).code).not.toBe(0)
  expect(a.log()).toMatch(/got a hole/)
  expect(a.log()).toContain('operator raft recover')
  expect(readdirSync(a.dataDir).sort()).toEqual(before)

  const file = join(made.dir, 'peers.json')
  writeFileSync(file, JSON.stringify([{ id: 'a' }]))
  const ran = await recover(a, '-accept-loss', file)
  expect([ran.code, ran.err]).toEqual([0, expect.stringContaining('This can lose writes that were acknowledged')])
  await made.restart('a')
  for (let at = 0; at < 10; at += 1) expect(await made.get(a, `k${at}`)).toBe(`value-${at}`)
  expect(await made.put(a, 'after', 'all')).toBe(200)
})

test('two of three are gone for good: the third goes on by the list of members, and two new ones join', async () => {
  const made = await raise('a', 'b', 'c')
  const c = made.at('c')
  for (let at = 0; at < 20; at += 1) expect(await made.put(made.at('a'), `k${at}`, `value-${at}`)).toBe(200)
  expect(await made.get(c, 'k19')).toBe('value-19')
  await made.lose('a')
  await made.lose('b')
  expect(await made.put(c, 'without', 'majority').catch(() => 0)).not.toBe(200)

  const file = join(made.dir, 'peers.json')
  writeFileSync(file, JSON.stringify([{ id: 'c', address: c.clusterAddress }]))
  const held = await recover(c, '-accept-loss', file)
  expect([held.code, held.err]).toEqual([2, expect.stringContaining('another process has this data folder open')])
  await c.stop('SIGKILL')
  const shown = await recover(c)
  expect([shown.code, shown.out]).toEqual([0, expect.stringMatching(/Newest entry +index \d+ of term \d+/)])
  expect((await recover(c, file)).err).toContain('-accept-loss')
  for (const [rows, why] of [
    ['nonsense', 'expected JSON'],
    [[{ id: 'c', non_voter: true }], 'at least one voter'],
    [[{ id: 'c' }, { id: 'c' }], 'each member once'],
    [[{ id: 'c' }, { id: 'stranger' }], "got 'stranger'"],
    [[{ id: 'a' }], "expected this node, 'c'"],
  ] as const) {
    writeFileSync(file, typeof rows === 'string' ? rows : JSON.stringify(rows))
    const refused = await recover(c, '-accept-loss', file)
    expect([refused.code, refused.err]).toEqual([2, expect.stringContaining(why)])
  }

  // As the peers do it: the file in the folder, taken at the start, once.
  writeFileSync(join(c.dataDir, 'peers.json'), JSON.stringify([{ id: 'c', address: c.clusterAddress, non_voter: false }]))
  await made.restart('c')
  expect(existsSync(join(c.dataDir, 'peers.json'))).toBe(false)
  for (let at = 0; at < 20; at += 1) expect(await made.get(c, `k${at}`)).toBe(`value-${at}`)
  expect(await made.put(c, 'after', 'recovered by hand')).toBe(200)
  expect(c.log()).toContain('recovered without a majority')
  expect(await made.configuration(c)).toMatchObject({ recovery: { role: 'leads', removed: ['a', 'b'], audited: true } })
  expect(readFileSync(c.auditPath, 'utf8')).toContain('sys/storage/raft/recover')

  for (const id of ['d', 'e']) {
    const server = made.make(id)
    await server.startAndAnswer()
    await made.join(c, server)
    await made.voter(c, id)
  }
  for (const id of ['d', 'e']) for (let at = 0; at < 20; at += 1) expect(await made.get(made.at(id), `k${at}`)).toBe(`value-${at}`)
  // The next start is one like any other, and the cluster stands without the node that was recovered.
  await c.stop('SIGKILL')
  await until(
    'a write by the new ones',
    async () => ((await made.put(made.at('d'), 'new', 'two').catch(() => 0)) === 200 ? true : null),
    20_000,
  )
  await made.restart('c')
  expect(await made.get(c, 'new')).toBe('two')
  expect((await runCommand('operator raft verify', { address: c.apiAddress, env: { HOLDFAST_TOKEN: made.founded.token } })).code).toBe(0)
})

test('two of five survive, and go on by the same list: one with its log, the other filled from it', async () => {
  const made = await raise('a', 'b', 'c', 'd', 'e')
  const [d, e] = [made.at('d'), made.at('e')]
  for (let at = 0; at < 10; at += 1) expect(await made.put(made.at('a'), `k${at}`, `value-${at}`)).toBe(200)
  // One of the two lags: the other's log must be the one that counts.
  await e.stop('SIGKILL')
  expect(await made.put(made.at('a'), 'late', 'only-d-has-it')).toBe(200)
  expect(await made.get(d, 'late')).toBe('only-d-has-it')
  for (const id of ['a', 'b', 'c']) await made.lose(id)
  await d.stop('SIGKILL')
  const newest = async (server: ServerProcess): Promise<number> => {
    const { out } = await recover(server, '-format=json')
    return (JSON.parse(out) as { index: number }).index
  }
  expect(await newest(d)).toBeGreaterThan(await newest(e))
  const list = JSON.stringify([
    { id: 'd', address: d.clusterAddress },
    { id: 'e', address: e.clusterAddress },
  ])
  for (const server of [d, e]) writeFileSync(join(server.dataDir, 'peers.json'), list)
  await made.restart('d')
  await e.startAndAnswer()
  await made.voter(d, 'e')
  await unseal(e, made.founded)
  await serving(e)
  for (const server of [d, e]) {
    for (let at = 0; at < 10; at += 1) expect(await made.get(server, `k${at}`)).toBe(`value-${at}`)
    expect(await made.get(server, 'late')).toBe('only-d-has-it')
    expect(existsSync(join(server.dataDir, 'peers.json'))).toBe(false)
  }
  expect(existsSync(join(e.dataDir, 'before-recovery', 'log'))).toBe(true)
  expect(await made.put(e, 'after', 'all')).toBe(200)
  expect(await made.get(d, 'after')).toBe('all')
})
