/** The PyPI client `hvac`, unmodified: its flows for identity and the login methods. */
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startCluster, type TestCluster } from '#test/support/cluster.ts'
import { OpenSsl } from '#test/support/openssl.ts'
import { pythonWith } from '#test/support/python.ts'
import { TokenReviewServer } from '#test/support/token-review.ts'

const version = '2.4.0'

let running: TestCluster
let python: string
let kubernetes: TokenReviewServer
const ssl = new OpenSsl()
beforeAll(async () => {
  kubernetes = await TokenReviewServer.start(() => Date.now())
  python = await pythonWith(`hvac-${version}`, [`hvac==${version}`])
  running = await startCluster({ nodes: 1 })
})
afterAll(async () => {
  ssl.dispose()
  await running?.dispose()
  await kubernetes?.stop()
})

/** What the script of the newer methods needs of outside. */
const given = async (): Promise<string> =>
  JSON.stringify({
    kubernetes: kubernetes.web.url,
    jwt: await kubernetes.issue(),
    other: await kubernetes.issue('apps/other'),
    ca: ssl.make('authority', null, { ca: true }).pem,
  })

test.each([
  ['userpass and AppRole', 'hvac-flows.py', 22],
  ['identity', 'hvac-identity.py', 34],
  ['tokens of identity, JWT, Kubernetes, LDAP and certificates', 'hvac-logins.py', 30],
])('%s, as its documentation has them', async (_, file, count) => {
  const script = fileURLToPath(new URL(file, import.meta.url))
  // Of the environment nothing: hvac reads VAULT_ADDR and VAULT_TOKEN. And no compiled steps.py is left in the tree.
  const child = spawn(python, [script, running.cluster.nodes[0]!.apiAddress], { env: { PYTHONDONTWRITEBYTECODE: '1' } })
  child.stdin.end(`${running.cluster.rootToken}\n${await given()}\n`)
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
