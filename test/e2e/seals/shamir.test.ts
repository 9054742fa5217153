/** Shares on three nodes: founded, killed, opened again; how long each takes, and how soon a wrong share is named. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { recordFigures } from '#test/support/figures.ts'
import { SealCluster, seconds } from '#test/support/seal-cluster.ts'
import { serving, type Founded, type ServerProcess, unseal, until } from '#test/support/server-process.ts'

let cluster: SealCluster
let founded: Founded
const figures: Record<string, number> = {}
const give = (node: ServerProcess, key: string) => node.call('POST', 'sys/unseal', { body: { key } })

beforeAll(async () => {
  cluster = await SealCluster.prepare('shamir')
  cluster.configure('')
})
afterAll(async () => {
  recordFigures('seal-shamir', 'vitest run --config vitest.e2e.config.ts test/e2e/seals/shamir.test.ts', figures)
  await cluster?.dispose()
})

test('init makes five shares, of which any three open each node', async () => {
  const started = performance.now()
  founded = await cluster.foundByShares(5, 3)
  figures['start_init_and_three_open_seconds'] = seconds(started)
  expect(new Set(founded.keys).size).toBe(5)
  await cluster.mountKv()
  expect(await cluster.put('one')).toBe(200)
})

test('kill -9 of all, restart: sealed, and nobody serves; the first that is open serves with two that are not; all open have the data', async () => {
  await cluster.killAll()
  const started = performance.now()
  await Promise.all(cluster.nodes.map((node) => node.startAndAnswer()))
  figures['restart_to_three_answering_sealed_seconds'] = seconds(started)
  for (const node of cluster.nodes) expect((await cluster.sealStatus(node)).body).toMatchObject({ sealed: true, t: 3, n: 5, progress: 0 })
  const given = performance.now()
  await unseal(cluster.first, founded)
  await until('the open node to lead', async () => ((await cluster.value(cluster.first)) === 'one' ? true : null), 30_000)
  figures['first_open_serves_after_seconds'] = seconds(given)
  for (const node of cluster.nodes.slice(1)) await unseal(node, founded)
  await cluster.allServe()
  figures['restart_to_three_open_seconds'] = seconds(started)
  for (const node of cluster.nodes) expect(await cluster.value(node)).toBe('one')
})

test('a wrong share is named at once, whoever gave what before, and costs none of it; the others open', async () => {
  const third = cluster.nodes[2] as ServerProcess
  const alone = await SealCluster.prepare('another', 1)
  let another = ''
  try {
    alone.configure('')
    another = (await alone.foundByShares(5, 3)).keys[0] ?? ''
  } finally {
    await alone.dispose()
  }
  await third.stop('SIGKILL')
  await third.startAndAnswer()
  await give(third, founded.keys[4] ?? '')
  const started = performance.now()
  const refused = await give(third, another)
  figures['wrong_share_named_after_seconds'] = seconds(started)
  expect([refused.status, refused.body?.['errors']]).toEqual([400, [expect.stringMatching(/not one of this cluster's/)]])
  expect(third.log()).not.toContain(another)
  expect((await cluster.sealStatus(third)).body).toMatchObject({ sealed: true, progress: 1 })
  const right = performance.now()
  for (const key of founded.keys.slice(1, 3)) await give(third, key)
  await serving(third)
  figures['right_shares_serve_after_seconds'] = seconds(right)
  expect(await cluster.value(third)).toBe('one')
})
