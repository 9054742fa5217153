/**
 * Nothing on disk is readable: 1,000 marked paths, values, policies, tokens and namespaces (half of these with seals of their own, some of them sealed in the end) are written, then every byte of every data folder is
 * searched for them as UTF-8, hex and base64 (at all three alignments), and every value of every store is read through LevelDB as well,
 * since its blocks may be compressed. The same search must find marks planted on purpose.
 */
import { cpSync, globSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { mountKv, startCluster, type TestCluster } from '#test/support/cluster.ts'
import { recordFigures } from '#test/support/figures.ts'
import { piecesOf, Searcher, textMark } from '#test/support/search.ts'
import { until } from '#test/support/server-process.ts'

const marks = 1_000
/** Of the marks: each has its mounts, its policies and, every second one, its shares. */
const namespaces = 100
let running: TestCluster

beforeAll(async () => {
  running = await startCluster()
  await mountKv(running.cluster, 'secret')
  await mountKv(running.cluster, 'plain', 1)
})
afterAll(() => running?.dispose())

test('1,000 marked paths, values, policies, tokens and namespaces leave no readable trace in any data folder', async () => {
  const { cluster } = running
  const [first] = cluster.nodes
  const address = first?.apiAddress ?? ''
  const call = (method: string, path: string, body?: unknown): Promise<{ status: number; body: Record<string, unknown> | null }> =>
    cluster.api.call(address, method, path, { token: cluster.rootToken, body })
  const tokens: string[] = []
  const work = async (i: number): Promise<void> => {
    const answers = [
      await call('POST', `secret/data/markedpath${i}/markedleaf${i}`, { data: { markedfield: `markedvalue${i}` } }),
      await call('POST', `plain/markedpath${i}`, { [`markedfield${i}`]: `markedvalue${i}` }),
      await call('PUT', `sys/policies/acl/markedpolicy${i}`, { policy: `path "secret/data/markedpath${i}/*" { capabilities = ["read"] }` }),
    ]
    const token = await call('POST', 'auth/token/create', {
      policies: [`markedpolicy${i}`],
      ttl: '1h',
      meta: { owner: `markedowner${i}` },
      display_name: `markedname${i}`,
    })
    expect([...answers, token].map(({ status }) => status).filter((status) => status >= 300)).toEqual([])
    tokens.push((token.body as { auth: { client_token: string } }).auth.client_token)
    if (i % (marks / namespaces) === 0) await inNamespace(i)
  }
  const shares: string[] = []
  /** Again while this node has not been given the namespace's key yet. */
  const soon = (method: string, path: string, body?: unknown) =>
    until(
      `${method} in a namespace`,
      async () => {
        const answer = await call(method, path, body)
        return answer.status === 503 ? null : answer
      },
      15_000,
    )
  const inNamespace = async (i: number): Promise<void> => {
    const name = `markedspace${i}`
    const own = i % (2 * (marks / namespaces)) === 0
    const seal = own ? { seal: 'seal "shamir" { shares = 1 threshold = 1 }' } : {}
    const made = await call('POST', `sys/namespaces/${name}`, { custom_metadata: { team: `markedteam${i}` }, ...seal })
    shares.push(...Object.values(((made.body?.['data'] ?? {}) as { key_shares?: Record<string, string> }).key_shares ?? {}))
    const answers = [
      made,
      await soon('POST', `${name}/sys/mounts/markedmount${i}`, { type: 'kv' }),
      await soon('POST', `${name}/markedmount${i}/markedinner${i}`, { value: `markedinnervalue${i}` }),
      await soon('PUT', `${name}/sys/policies/acl/markedpolicy${i}`, { policy: 'path "*" { capabilities = ["read"] }' }),
    ]
    const token = await soon('POST', `${name}/auth/token/create`, { policies: [`markedpolicy${i}`], ttl: '1h' })
    tokens.push((token.body as { auth: { client_token: string } }).auth.client_token)
    if (own && i % 40 === 0) answers.push(await call('POST', `sys/namespaces/${name}/seal`))
    expect([...answers, token].map(({ status }) => status).filter((status) => status >= 300)).toEqual([])
  }
  for (let i = 0; i < marks; i += 20) await Promise.all(Array.from({ length: 20 }, (_, n) => work(i + n)))
  const dirs = cluster.nodes.map((node) => node.dataDir)
  const keys = [...cluster.keys.unseal_keys_b64, cluster.rootToken]
  for (const node of cluster.nodes) await cluster.stopNode(node)
  expect([tokens.length, shares.length]).toEqual([marks + namespaces, namespaces / 2])

  const stems = ['path', 'leaf', 'field', 'value', 'policy', 'owner', 'name', 'space', 'team', 'mount', 'inner'].map(
    (stem) => `marked${stem}`,
  )
  const marked = [
    ...[...stems, 'capabilities'].map((stem) => textMark(stem, stem)),
    ...[...keys, ...tokens].map((key) => textMark('a key or token', key)),
    ...shares.map((share) => ({ kind: "a namespace's share", bytes: Buffer.from(share, /^[0-9a-f]+$/.test(share) ? 'hex' : 'base64') })),
  ]
  const searcher = new Searcher(marked)
  const hits: string[] = []
  for (const dir of dirs) {
    for (const piece of await piecesOf(dir)) hits.push(...[...searcher.find(piece.bytes).keys()].map((hit) => `${piece.name}: ${hit}`))
  }
  const bytes = searcher.searchedBytes

  // The search must be able to find: a mark planted in a file, and one put into a copy of a store, compressed.
  const planted = mkdtempSync(join(tmpdir(), 'holdfast-planted-'))
  const plantedHits: string[] = []
  try {
    cpSync(dirs[0] as string, planted, { recursive: true })
    writeFileSync(join(planted, 'planted'), Buffer.concat([Buffer.alloc(5), Buffer.from(Buffer.from('xmarkedvalue7').toString('base64'))]))
    const [store] = globSync(`${planted}/**/CURRENT`)
    const db = new ClassicLevel<Buffer, Buffer>(join(store as string, '..'), { keyEncoding: 'buffer', valueEncoding: 'buffer' })
    await db.put(Buffer.from([0xfe]), Buffer.from(`${'a'.repeat(4_000)}markedpolicy1${'a'.repeat(4_000)}`))
    await db.close()
    for (const piece of await piecesOf(planted))
      plantedHits.push(...[...searcher.find(piece.bytes).keys()].map((hit) => `${piece.name.slice(planted.length)}: ${hit}`))
  } finally {
    rmSync(planted, { recursive: true })
  }
  recordFigures('disk-search', 'npm run e2e -- test/e2e/disk.test.ts', {
    marks,
    namespaces,
    with_a_seal_of_their_own: shares.length,
    searched_for: marked.length,
    needles: searcher.needles,
    megabytes: +(bytes / 1e6).toFixed(1),
    hits: hits.length,
    planted_found: plantedHits.length,
  })
  expect(hits).toEqual([])
  expect(plantedHits).toContain('/planted: markedvalue, base64')
  expect(plantedHits.some((hit) => hit.includes('through LevelDB: markedpolicy'))).toBe(true)
  expect(bytes).toBeGreaterThan(1_000_000)
})
