/**
 * Nothing on disk is readable: 1,000 marked paths, values, policies and tokens are written, then every byte of every data folder is
 * searched for them as UTF-8, hex and base64 (at all three alignments), and every value of every store is read through LevelDB as well,
 * since its blocks may be compressed. The same search must find marks planted on purpose.
 */
import { cpSync, globSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { mountKv, startCluster, type TestCluster } from '#test/support/cluster.ts'
import { recordFigures } from '#test/support/figures.ts'

const marks = 1_000
let running: TestCluster

beforeAll(async () => {
  running = await startCluster()
  await mountKv(running.cluster, 'secret')
  await mountKv(running.cluster, 'plain', 1)
})
afterAll(() => running?.dispose())

/** How a mark could lie on a disk: as it is, as hex in both cases, and as base64 at each of the three alignments. */
function forms(mark: string): string[] {
  const bytes = Buffer.from(mark)
  const aligned = [0, 1, 2].map((shift) => {
    const text = Buffer.concat([Buffer.alloc(shift), bytes])
      .toString('base64')
      .replace(/=+$/, '')
    // The first and last characters mix with the neighbours' bits: leave out those that do.
    return text.slice(Math.ceil((shift * 8) / 6), -1)
  })
  return [mark, bytes.toString('hex'), bytes.toString('hex').toUpperCase(), ...aligned]
}

/** Thousands of needles in one pass: a table of first byte pairs rules out almost every offset, a map of the first eight bytes the rest. */
class Searcher {
  readonly #pairs = new Uint8Array(65_536)
  readonly #byStart = new Map<string, Buffer[]>()

  constructor(marks: readonly string[]) {
    for (const form of new Set(marks.flatMap(forms))) {
      const bytes = Buffer.from(form)
      this.#pairs[bytes.readUInt16LE(0)] = 1
      const start = bytes.toString('latin1', 0, 8)
      this.#byStart.set(start, [...(this.#byStart.get(start) ?? []), bytes])
    }
  }

  /** The distinct forms that stand somewhere in `haystack`. */
  find(haystack: Buffer): string[] {
    const found = new Set<string>()
    for (let at = 0; at + 8 <= haystack.length; at++) {
      if (this.#pairs[(haystack[at] as number) | ((haystack[at + 1] as number) << 8)] === 0) continue
      for (const form of this.#byStart.get(haystack.toString('latin1', at, at + 8)) ?? []) {
        if (haystack.subarray(at, at + form.length).equals(form)) found.add(form.toString())
      }
    }
    return [...found]
  }
}

/** All files below `dir`, and every key and value of each LevelDB in it, as one searchable buffer a piece. */
async function pieces(dir: string): Promise<{ name: string; bytes: Buffer }[]> {
  const files = globSync(`${dir}/**/*`).filter((path) => statSync(path).isFile())
  const found = files.map((name) => ({ name, bytes: readFileSync(name) }))
  for (const current of files.filter((path) => path.endsWith('/CURRENT'))) {
    const db = new ClassicLevel<Buffer, Buffer>(join(current, '..'), {
      keyEncoding: 'buffer',
      valueEncoding: 'buffer',
      createIfMissing: false,
    })
    await db.open()
    const parts: Buffer[] = []
    for await (const [key, value] of db.iterator()) parts.push(key, Buffer.from('\n'), value, Buffer.from('\n'))
    await db.close()
    found.push({ name: `${join(current, '..')} through LevelDB`, bytes: Buffer.concat(parts) })
  }
  return found
}

test('1,000 marked paths, values, policies and tokens leave no readable trace in any data folder', async () => {
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
  }
  for (let i = 0; i < marks; i += 20) await Promise.all(Array.from({ length: 20 }, (_, n) => work(i + n)))
  const dirs = cluster.nodes.map((node) => node.dataDir)
  const keys = [...cluster.keys.unseal_keys_b64, cluster.rootToken]
  for (const node of cluster.nodes) await cluster.stopNode(node)

  const stems = ['markedpath', 'markedleaf', 'markedfield', 'markedvalue', 'markedpolicy', 'markedowner', 'markedname', 'capabilities']
  const searcher = new Searcher([...stems, ...keys, ...tokens])
  let bytes = 0
  const hits: string[] = []
  for (const dir of dirs) {
    for (const piece of await pieces(dir)) {
      bytes += piece.bytes.length
      hits.push(...searcher.find(piece.bytes).map((form) => `${piece.name}: a form of ${form.length} characters`))
    }
  }

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
    for (const piece of await pieces(planted))
      plantedHits.push(...searcher.find(piece.bytes).map((form) => `${piece.name.slice(planted.length)}: ${form}`))
  } finally {
    rmSync(planted, { recursive: true })
  }
  recordFigures('disk-search', 'npm run e2e -- test/e2e/disk.test.ts', {
    marks,
    searched_for: stems.length + keys.length + tokens.length,
    forms_each: 6,
    megabytes: +(bytes / 1e6).toFixed(1),
    hits: hits.length,
    planted_found: plantedHits.length,
  })
  expect(hits).toEqual([])
  expect(plantedHits.some((hit) => hit.startsWith('/planted'))).toBe(true)
  expect(plantedHits.some((hit) => hit.includes('through LevelDB: markedpolicy'))).toBe(true)
  expect(bytes).toBeGreaterThan(1_000_000)
})
