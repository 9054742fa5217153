/** The transit seal on two nodes, by a second Holdfast over TLS: away, sealed, refusing; tokens from a file, renewed; keys rotated. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Api } from '#cmd/dev/api.ts'
import { writeApiCertificates } from '#cmd/dev/certificates.ts'
import { runCommand } from '#test/support/cli.ts'
import { freePorts } from '#test/support/cluster.ts'
import { recordFigures } from '#test/support/figures.ts'
import { SealCluster, seconds } from '#test/support/seal-cluster.ts'
import { found, serving, ServerProcess, unseal, until, type Founded } from '#test/support/server-process.ts'

const dir = mkdtempSync(join(tmpdir(), 'holdfast-keeper-'))
const figures: Record<string, number> = {}
let cluster: SealCluster
let keeperApi: Api
/** The other cluster, whose transit engine wraps. */
let keeper: ServerProcess
let founded: Founded
let ca: string

const tokenFile = join(dir, 'token')
const stanza = (more = ''): string => `seal "transit" {
  address     = "${keeper.apiAddress}"
  token       = "file://${tokenFile}"
  mount_path  = "transit/"
  key_name    = "seal"
  tls_ca_cert = "${ca}"
  ${more}
}`
const ask = (method: string, path: string, body?: unknown) =>
  keeper.call(method, path, { token: founded.token, ...(body === undefined ? {} : { body }) })
const policy = `path "transit/encrypt/seal" { capabilities = ["update"] }
path "transit/decrypt/seal" { capabilities = ["update"] }`

async function newToken(period: string): Promise<string> {
  const answer = await ask('POST', 'auth/token/create', { policies: ['seal'], period, no_parent: true })
  return (answer.body as { auth: { client_token: string } }).auth.client_token
}

const second = (): ServerProcess => cluster.nodes[1] as ServerProcess

beforeAll(async () => {
  ca = await writeApiCertificates(join(dir, 'tls'))
  keeperApi = new Api(ca)
  cluster = await SealCluster.prepare('transit', 2)
  keeper = new ServerProcess(keeperApi, dir, 'keeper', (await freePorts(60)) + 40)
  const tls = `tls_cert_file = "${join(dir, 'tls', 'server.crt')}"\n  tls_key_file = "${join(dir, 'tls', 'server.key')}"`
  keeper.configure({ tls })
  await keeper.startAndAnswer()
  founded = await found(keeper)
  // As docs/seals.md has it.
  const env = { HOLDFAST_TOKEN: founded.token, HOLDFAST_CACERT: ca }
  const say = (line: string, stdin = '') => runCommand(line, { address: keeper.apiAddress, env, stdin })
  expect(await say('secrets enable transit')).toMatchObject({ code: 0, err: '' })
  expect(await say('write -f transit/keys/seal')).toMatchObject({ code: 0 })
  expect(await say('policy write seal -', policy)).toMatchObject({ code: 0, err: '' })
  const made = await say('token create -policy=seal -period=24h -orphan -field=token')
  expect(made.code).toBe(0)
  writeFileSync(tokenFile, made.out, { mode: 0o600 })
  cluster.configure(stanza())
})
afterAll(async () => {
  recordFigures('seal-transit', 'vitest run --config vitest.e2e.config.ts test/e2e/seals/transit.test.ts', figures)
  await cluster?.dispose()
  await keeper?.stop('SIGKILL')
  await keeperApi?.close()
  rmSync(dir, { recursive: true, force: true })
})

test('init, join and restart after kill -9: open by themselves', async () => {
  figures['init_to_two_open_seconds'] = await cluster.found()
  expect((await cluster.sealStatus(second())).body).toMatchObject({ type: 'transit', sealed: false, recovery_seal: true })
  await cluster.mountKv()
  expect(await cluster.put('one')).toBe(200)
  await cluster.killAll()
  figures['restart_to_two_open_seconds'] = await cluster.restartAll()
  for (const node of cluster.nodes) expect(await cluster.value(node)).toBe('one')
})

test('the other cluster away, then sealed, at start: said as such; open once it is open', async () => {
  await cluster.killAll()
  await keeper.stop('SIGKILL')
  await Promise.all(cluster.nodes.map((node) => node.startAndAnswer()))
  for (const node of cluster.nodes)
    await cluster.saysWhy(node, /seal transit expected an answer from https:\/\/127.0.0.1:\d+, got: connection refused/)
  await keeper.startAndAnswer()
  for (const node of cluster.nodes) await cluster.saysWhy(node, /seal transit expected service of https:.* for key seal, got status 503/)
  const started = performance.now()
  await unseal(keeper, founded)
  await cluster.allServe()
  figures['back_to_two_open_seconds'] = seconds(started)
  expect(await cluster.value(second())).toBe('one')
})

test('a token that ended is named, and a new one in its file is taken without a restart; the token is shown nowhere', async () => {
  // Made good, then ended: what an operator does by mistake.
  const old = await newToken('1h')
  await second().stop()
  writeFileSync(tokenFile, old)
  expect((await ask('POST', 'auth/token/revoke', { token: old })).status).toBe(204)
  await second().startAndAnswer()
  await cluster.saysWhy(second(), /seal transit expected a token that may encrypt and decrypt of .* got status 403/)
  await cluster.logs(second(), /"fault":"credentials"/)
  const fresh = await newToken('1h')
  writeFileSync(tokenFile, fresh)
  await serving(second(), 30_000)
  for (const token of [old, fresh]) expect(second().log()).not.toContain(token)
})

test('a token with a short life is renewed while the node runs', async () => {
  const token = await newToken('40s')
  writeFileSync(tokenFile, token)
  await second().stop()
  await second().startAndAnswer()
  await serving(second())
  const issued = (await ask('POST', 'auth/token/lookup', { token })).body?.['data'] as { expire_time: string }
  await until(
    'the token to be renewed',
    async () => {
      const now = (await ask('POST', 'auth/token/lookup', { token })).body?.['data'] as { expire_time: string }
      return now.expire_time > issued.expire_time ? true : null
    },
    20_000,
  )
})

test('another key is named; so is a certificate of another authority', async () => {
  const decryptFrom = async (version: number): Promise<void> => {
    expect((await ask('POST', 'transit/keys/seal/config', { min_decryption_version: version })).status).toBe(200)
  }
  expect((await ask('POST', 'transit/keys/seal/rotate')).status).toBe(200)
  await decryptFrom(2)
  const named = /seal transit expected the key that wrapped it of .* for key seal, got status 400/
  Object.assign(figures, await cluster.wrongThenRight(second(), stanza(), stanza(), named, () => decryptFrom(1)))
  await cluster.logs(second(), /"fault":"key"/)
  await second().stop()
  const another = await writeApiCertificates(join(dir, 'another'))
  cluster.configure(stanza().replace(ca, another), [second()])
  await second().startAndAnswer()
  await cluster.saysWhy(second(), /seal transit expected an answer from .*, got: .*(?:certificate|issuer|signature)/i)
})

test('after the rotation of the transit key a rewrap lets the old version go', async () => {
  expect((await ask('POST', 'transit/keys/seal/config', { min_decryption_version: 1 })).status).toBe(200)
  await second().stop()
  cluster.configure(stanza(), [second()])
  await second().startAndAnswer()
  await serving(second(), 30_000)
  expect((await cluster.first.call('POST', 'sys/sealwrap/rewrap', { token: cluster.founded.token, timeoutMs: 30_000 })).status).toBe(204)
  expect((await ask('POST', 'transit/keys/seal/config', { min_decryption_version: 2 })).status).toBe(200)
  await cluster.killAll()
  await cluster.restartAll()
  expect(await cluster.value(second())).toBe('one')
})
