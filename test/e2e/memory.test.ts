/**
 * What is left where: marked secrets, tokens, paths and keys are searched for in data folders, snapshots, logs and audit files, and in the memory of
 * processes: open (where they must be found, which proves the search), sealed after serving, and started sealed. The client lives here, in
 * another process than the nodes.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bareNames, readBare } from '#barrier/bare.ts'
import { Keyring } from '#barrier/keyring.ts'
import { Api } from '#cmd/dev/api.ts'
import type { LocalNode } from '#cmd/dev/local-cluster.ts'
import { openRootKey } from '#seal/migration.ts'
import { combineShares } from '#seal/shamir.ts'
import { openStateStore } from '#store/state.ts'
import { freePorts, mountKv, startCluster, type TestCluster } from '#test/support/cluster.ts'
import { recordFigures } from '#test/support/figures.ts'
import { memoryOf } from '#test/support/process-memory.ts'
import { piecesOf, Searcher, textMark, type Mark } from '#test/support/search.ts'
import { found, ServerProcess, until } from '#test/support/server-process.ts'

const secrets = 60
/** A mark of its own for each place, so that a hit says what got there. The word must not occur in the program. */
const stems = {
  path: 'qxpathqx',
  leaf: 'qxleafqx',
  field: 'qxfieldqx',
  value: 'qxvalueqx',
  policy: 'qxpolicyqx',
  owner: 'qxownerqx',
  // Of namespaces, half of them with a seal of their own: their names, and what is written in them.
  space: 'qxspaceqx',
  inner: 'qxinnerqx',
}
/** What audit records and request logs name in the clear, for that is what they are for; the rest stands there as an HMAC, if at all. */
const namedInLogs = new Set(['path', 'leaf', 'policy', 'field', 'owner', 'space'])
const startMs = 120_000

let running: TestCluster
let dir = ''
/** Each stem, and each secret string that the servers made. */
let marks: Mark[] = []
const figures: Record<string, number | string[]> = {}

beforeAll(async () => {
  // Trailing entries so few that a node which was away fetches a snapshot.
  for (const [name, value] of [
    ['HOLDFAST_STORAGE_RAFT_TRAILING_LOGS', '16'],
    ['HOLDFAST_LOG_LEVEL', 'trace'],
  ] as const)
    process.env[name] = value
  dir = mkdtempSync(join(tmpdir(), 'holdfast-memory-'))
  running = await startCluster()
  await mountKv(running.cluster, 'secret')
}, 2 * startMs)
afterAll(async () => {
  await running?.dispose()
  rmSync(dir, { recursive: true, force: true })
  delete process.env['HOLDFAST_STORAGE_RAFT_TRAILING_LOGS']
  delete process.env['HOLDFAST_LOG_LEVEL']
})

const nodeAt = (index: number): LocalNode => running.cluster.nodes[index] as LocalNode

async function call(node: LocalNode, method: string, path: string, body?: unknown, token = running.cluster.rootToken) {
  return running.cluster.api.call(node.apiAddress, method, path, { token, body, timeoutMs: 30_000 })
}

/** A call that is answered 503 (an election) is made again. */
async function done(...[node, method, path, body, token]: Parameters<typeof call>) {
  return until(
    `${method} ${path.replaceAll(/\d+/g, 'N')} on ${node.id}`,
    async () => {
      const answer = await call(node, method, path, body, token)
      if (answer.status === 503) return null
      expect(answer.status).toBeLessThan(300)
      return answer
    },
    startMs,
  )
}

/** Writes, reads, lists, makes policies and tokens and uses them, all of it marked, through the given nodes in turn. Returns the tokens. */
async function useAll(nodes: readonly LocalNode[], from: number, count: number): Promise<string[]> {
  const tokens: string[] = []
  const one = async (n: number): Promise<void> => {
    const node = nodes[n % nodes.length] as LocalNode
    const path = `${stems.path}${n}/${stems.leaf}${n}`
    const policy = `path "secret/data/${stems.path}${n}/*" { capabilities = ["read"] }`
    await done(node, 'POST', `secret/data/${path}`, { data: { [`${stems.field}${n}`]: `${stems.value}${n}` } })
    await done(node, 'PUT', `sys/policies/acl/${stems.policy}${n}`, { policy })
    const meta = { owner: `${stems.owner}${n}` }
    const token = await done(node, 'POST', 'auth/token/create', { policies: [`${stems.policy}${n}`], ttl: '1h', meta })
    const { client_token: id } = (token.body as { auth: { client_token: string } }).auth
    tokens.push(id)
    await done(node, 'GET', `secret/data/${path}`, undefined, id)
    await done(node, 'GET', 'secret/metadata?list=true')
    if (n % 10 === 0) await inNamespace(n, node)
  }
  const inNamespace = async (n: number, node: LocalNode): Promise<void> => {
    const name = `${stems.space}${n}`
    const seal = n % 20 === 0 ? { seal: 'seal "shamir" { shares = 1 threshold = 1 }' } : {}
    await done(node, 'POST', `sys/namespaces/${name}`, seal)
    await done(node, 'POST', `${name}/sys/mounts/kv`, { type: 'kv' })
    await done(node, 'POST', `${name}/kv/a`, { value: `${stems.inner}${n}` })
    await done(node, 'GET', `${name}/kv/a`)
    const token = await done(node, 'POST', `${name}/auth/token/create`, { policies: ['default'], ttl: '1h' })
    tokens.push((token.body as { auth: { client_token: string } }).auth.client_token)
  }
  for (let at = from; at < from + count; at += 10) await Promise.all(Array.from({ length: 10 }, (_, n) => one(at + n)))
  return tokens
}

/** The keys that the cluster's shares open, from a copy of a stopped node's folder. */
async function keysOf(dataDir: string, shares: readonly string[]): Promise<Mark[]> {
  const copy = join(dir, 'copy')
  cpSync(dataDir, copy, { recursive: true })
  const { clusterId } = JSON.parse(readFileSync(join(copy, 'identity', 'identity.json'), 'utf8')) as { clusterId: string }
  const state = await openStateStore({ directory: copy, clusterId, repairable: true })
  const view = state.view()
  try {
    const unsealKey = await combineShares(shares.map((share) => new Uint8Array(Buffer.from(share, 'base64'))))
    const rootKey = openRootKey(unsealKey, readBare(view, bareNames.rootKey) ?? new Uint8Array(0))
    const keyring = Keyring.decode(readBare(view, bareNames.keyring) ?? new Uint8Array(0), rootKey)
    const bytes = { 'unseal key': unsealKey, 'root key': rootKey, 'keyring key': keyring.termKey(keyring.activeTerm) ?? new Uint8Array(0) }
    return Object.entries(bytes).map(([kind, key]) => ({ kind, bytes: Buffer.from(key) }))
  } finally {
    view.release()
    await state.close()
    rmSync(copy, { recursive: true })
  }
}

const starts = (node: LocalNode): number => readFileSync(node.logPath, 'utf8').split('"Holdfast is up"').length - 1

/** Kinds and forms that a process's memory has. */
function inMemory(pid: number, name: string, searchedFor: readonly Mark[] = marks): string[] {
  const searcher = new Searcher(searchedFor)
  // Read first, then searched: the process stands still only for the former.
  const found = [...searcher.findInAll([...memoryOf(pid)]).keys()].toSorted((a, b) => a.localeCompare(b))
  figures[`${name} megabytes`] = Math.round(searcher.searchedBytes / 1e6)
  figures[`${name} found`] = found
  expect(searcher.searchedBytes, 'a search of next to nothing proves nothing').toBeGreaterThan(40_000_000)
  return found
}

// It is the kernel of Linux that shows another process's pages.
describe.runIf(process.platform === 'linux')('memory', () => {
  test('open: the marks are there; sealed after serving, or started sealed: none of them', async () => {
    const { cluster } = running
    const [open, sealed, fresh] = [nodeAt(0), nodeAt(1), nodeAt(2)]
    const tokens = await useAll(cluster.nodes, 0, secrets)
    // A node reads the last record of its audit file when it starts: one that names nothing.
    await done(fresh, 'GET', 'sys/mounts')
    await cluster.stopNode(fresh, 'SIGKILL')
    const keys = await keysOf(fresh.dataDir, cluster.keys.unseal_keys_b64.slice(0, cluster.keys.threshold))
    tokens.push(...(await useAll([open, sealed], secrets, 40)))
    const strings = (kind: string, texts: readonly string[]): Mark[] => texts.map((text) => textMark(kind, text))
    marks = [
      ...Object.entries(stems).map(([kind, stem]) => textMark(kind, stem)),
      ...strings('token', tokens),
      ...strings('root token', [cluster.rootToken]),
      ...cluster.keys.unseal_keys_b64.map((share) => ({ kind: 'share', bytes: Buffer.from(share, 'base64') })),
      ...keys,
    ]

    // The third node comes back while the others serve, takes what it lacks as a snapshot, and is never opened.
    cluster.spawn(fresh)
    await until(
      'the third node to answer',
      async () => ((await call(fresh, 'GET', 'sys/seal-status', undefined, '')).status === 200 ? true : null),
      startMs,
    )

    const before = starts(sealed)
    const pid = sealed.process?.pid
    expect((await call(sealed, 'POST', 'sys/seal')).status).toBe(204)
    await until('the sealed node to come back', async () => (starts(sealed) > before ? true : null), startMs)
    // Both take what the cluster goes on with, by the first node.
    await useAll([open], secrets + 40, 20)
    const applied = async (node: LocalNode): Promise<number> =>
      Number((await call(node, 'GET', 'sys/leader', undefined, '')).body?.['raft_applied_index'])
    const target = await applied(open)
    for (const node of [sealed, fresh])
      await until(`${node.id} to follow`, async () => ((await applied(node)) >= target ? true : null), startMs)
    expect(sealed.process?.pid).toBe(pid)

    const saved = await fetch(`${open.apiAddress}/v1/sys/storage/raft/snapshot`, { headers: { 'X-Vault-Token': cluster.rootToken } })
    expect(saved.status).toBe(200)
    writeFileSync(join(dir, 'snapshot'), Buffer.from(await saved.arrayBuffer()))

    const pidOf = (node: LocalNode): number => node.process?.pid ?? 0
    const kinds = new Set(inMemory(pidOf(open), 'open').map((hit) => hit.split(',')[0]))
    const expected = [...Object.keys(stems), 'keyring key', 'root key', 'root token', 'token']
    expect(expected.filter((kind) => !kinds.has(kind))).toEqual([])
    expect(inMemory(pidOf(sealed), 'sealed after serving')).toEqual([])
    expect(inMemory(pidOf(fresh), 'started sealed')).toEqual([])
    expect(readFileSync(fresh.logPath, 'utf8')).toMatch(/snapshot/)
  })

  test('switched off, what went through the process is still there: it is the replacement that ends it', async () => {
    const server = new ServerProcess(new Api(null), dir, 'kept', await freePorts(2))
    server.configure({ top: 'seal_replaces_process = false' })
    try {
      server.start()
      await server.answering(startMs)
      const { token } = await found(server)
      expect((await server.call('POST', 'sys/mounts/kv', { token, body: { type: 'kv' } })).status).toBe(204)
      expect((await server.call('POST', 'kv/a', { token, body: { value: stems.value } })).status).toBe(204)
      expect((await server.call('POST', 'sys/seal', { token })).status).toBe(204)
      const left = inMemory(server.pid, 'sealed, process kept', [textMark('root token', token), textMark('value', stems.value)])
      expect(left).toEqual(['root token, as it is', 'value, as it is'])
    } finally {
      await server.stop()
    }
  })

  test('data folders, snapshots, logs and audit files: nothing, but for paths in audit records and request logs', async () => {
    const { cluster } = running
    for (const node of cluster.nodes) await cluster.stopNode(node)
    expect(marks, 'what is searched for comes from the test before').not.toEqual([])
    const searcher = new Searcher(marks)
    const found: Record<string, string[]> = { data: [], 'logs and audit': [] }
    for (const node of cluster.nodes) {
      for (const piece of await piecesOf(node.dataDir)) found['data']?.push(...searcher.find(piece.bytes).keys())
      for (const path of [node.logPath, node.auditPath]) found['logs and audit']?.push(...searcher.findInFile(path).keys())
    }
    const snapshot = join(dir, 'snapshot')
    expect([...searcher.findInFile(snapshot).keys()]).toEqual([])
    expect(statSync(snapshot).size).toBeGreaterThan(100_000)
    figures['disk megabytes'] = Math.round(searcher.searchedBytes / 1e6)
    expect(found['data']).toEqual([])
    expect((found['logs and audit'] ?? []).filter((hit) => !namedInLogs.has(hit.split(',')[0] ?? ''))).toEqual([])
    expect(found['logs and audit']).toContain('path, as it is')
    recordFigures('memory-search', 'npm run e2e -- test/e2e/memory.test.ts', {
      searched_for: marks.length,
      needles: searcher.needles,
      ...figures,
    })
  })
})
