/** The PyPI client `hvac`, unmodified: its flows for userpass, AppRole and identity. */
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startCluster, type TestCluster } from '#test/support/cluster.ts'
import { pythonWith } from '#test/support/python.ts'

const version = '2.4.0'

let running: TestCluster
let python: string
beforeAll(async () => {
  python = await pythonWith(`hvac-${version}`, [`hvac==${version}`])
  running = await startCluster({ nodes: 1 })
})
afterAll(() => running?.dispose())

test.each([
  ['userpass and AppRole', 'hvac-flows.py', 22],
  ['identity', 'hvac-identity.py', 34],
])('%s, as its documentation has them', async (_, file, count) => {
  const script = fileURLToPath(new URL(file, import.meta.url))
  // Of the environment nothing: hvac reads VAULT_ADDR and VAULT_TOKEN.
  const child = spawn(python, [script, running.cluster.nodes[0]!.apiAddress], { env: {} })
  child.stdin.end(`${running.cluster.rootToken}\n`)
  const [out, err, code] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    new Promise((resolve) => child.once('close', resolve)),
  ])
  const steps = out
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as { step: string; ok: boolean })
  expect([code, steps.filter(({ ok }) => !ok), err]).toEqual([0, [], ''])
  expect(steps).toHaveLength(count)
})
