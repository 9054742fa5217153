/**
 * Clients that people have, unmodified, against one node: the Go client of OpenBao, `@litehex/node-vault`, and consul-template.
 * Those with more to show have files of their own.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { Client } from '@litehex/node-vault'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { mountKv, startCluster, type TestCluster } from '#test/support/cluster.ts'
import { goProgram, goTool } from '#test/support/go.ts'

const without = (process.env['HOLDFAST_WITHOUT'] ?? '').split(',')
let running: TestCluster
let address = ''
let token = ''
beforeAll(async () => {
  running = await startCluster({ nodes: 1 })
  address = running.cluster.nodes[0]?.apiAddress ?? ''
  token = running.cluster.rootToken
})
afterAll(() => running?.dispose())

describe.skipIf(without.includes('go'))('github.com/openbao/openbao/api/v2', () => {
  let program = ''
  beforeAll(async () => {
    program = await goProgram('test/e2e/full/openbao-go')
  }, 300_000)

  test('its flows, as its documentation has them', async () => {
    // Of the environment nothing: it reads BAO_ADDR and BAO_TOKEN.
    const child = spawn(program, [address], { env: {} })
    child.stdin.end(`${token}\n`)
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
    expect(steps).toHaveLength(65)
  })
})

describe('@litehex/node-vault', () => {
  type Answer = { readonly data?: unknown; readonly error?: unknown }
  /** What it answered; its refusals are answers as well. */
  const ok = async (name: string, answer: Promise<unknown>): Promise<Record<string, unknown>> => {
    const { data, error } = (await answer) as Answer
    expect(error, name).toBeUndefined()
    return data as Record<string, unknown>
  }
  const at = { mountPath: 'lite', path: 'dir/hello' } as const
  let vault: Client
  beforeAll(() => {
    vault = new Client({ endpoint: address, token })
  })

  // Its schema takes text as values only, and refuses other answers itself.
  test('kv v2: mount, write, read, patch, versions, metadata, list', async () => {
    expect(await ok('mount', vault.mount({ mountPath: 'lite', type: 'kv-v2' }))).toBe(true)
    expect(await ok('info', vault.engineInfo({ mountPath: 'lite' }))).toMatchObject({ data: { type: 'kv', options: { version: '2' } } })
    expect(await ok('write', vault.kv2.write({ ...at, data: { foo: 'bar' } }))).toMatchObject({ data: { version: 1 } })
    expect(await ok('read', vault.kv2.read(at))).toMatchObject({ data: { data: { foo: 'bar' }, metadata: { version: 1 } } })
    await ok('patch', vault.kv2.patch({ ...at, data: { more: 'x' } }))
    expect(await ok('read', vault.kv2.read(at))).toMatchObject({ data: { data: { foo: 'bar', more: 'x' }, metadata: { version: 2 } } })
    expect(await ok('subkeys', vault.kv2.subKeys(at))).toMatchObject({ data: { subkeys: { foo: null, more: null } } })
    await ok('delete latest', vault.kv2.deleteLatest(at))
    await ok('undelete', vault.kv2.undelete({ ...at, versions: [2] }))
    await ok('delete', vault.kv2.delete({ ...at, versions: [1] }))
    await ok('destroy', vault.kv2.destroy({ ...at, versions: [1] }))
    await ok('write metadata', vault.kv2.writeMetadata({ ...at, max_versions: 3, custom_metadata: { owner: 'ann' } }))
    expect(await ok('metadata', vault.kv2.readMetadata(at))).toMatchObject({ data: { current_version: 2, max_versions: 3 } })
    expect(await ok('list', vault.kv2.list({ mountPath: 'lite', path: 'dir' }))).toMatchObject({ data: { keys: ['hello'] } })
    await ok('delete metadata', vault.kv2.deleteMetadata(at))
    expect((await vault.kv2.read(at)) as Answer).toMatchObject({ error: expect.anything() })
  })

  test('system: health, mounts, tuning, capabilities', async () => {
    expect(await ok('host', vault.hostInfo())).toMatchObject({ data: { host: { os: 'linux' } } })
    expect(await ok('health', vault.health())).toMatchObject({ initialized: true, sealed: false })
    expect(await ok('mounts', vault.mounts())).toMatchObject({ data: { 'lite/': { type: 'kv' } } })
    await ok('tune', vault.tuneMount({ mountPath: 'lite', max_lease_ttl: 3_600 }))
    expect(await ok('tuned', vault.tune({ mountPath: 'lite' }))).toMatchObject({ max_lease_ttl: 3_600 })
    await ok('unmount', vault.unmount({ mountPath: 'lite' }))
  })
})

describe.skipIf(without.includes('go'))('consul-template', () => {
  let program = ''
  beforeAll(async () => {
    program = await goTool('github.com/hashicorp/consul-template', 'v0.41.1')
  }, 600_000)

  test('renders a secret, and again when it changes, with a token that it has to keep alive meanwhile', async () => {
    const { api } = running.cluster
    await mountKv(running.cluster, 'templates')
    const rules = { policy: 'path "templates/data/*" { capabilities = ["read"] }' }
    expect((await api.call(address, 'PUT', 'sys/policies/acl/templates', { token, body: rules })).status).toBe(204)
    const periodSeconds = 4
    const asked = { policies: ['templates'], period: `${periodSeconds}s` }
    const made = await api.call(address, 'POST', 'auth/token/create', { token, body: asked })
    const own = (made.body as { auth: { client_token: string } }).auth.client_token
    const dir = mkdtempSync(join(tmpdir(), 'holdfast-template-'))
    const put = async (password: string): Promise<void> => {
      const body = { data: { password } }
      const answer = await api.call(address, 'POST', 'templates/data/app', { token, body })
      expect(answer.status).toBe(200)
    }
    await put('one')
    writeFileSync(join(dir, 'in.ctmpl'), '{{ with secret "templates/data/app" }}password={{ .Data.data.password }}{{ end }}\n')
    const env = { PATH: process.env['PATH'], HOME: dir, VAULT_ADDR: address, VAULT_TOKEN: own }
    const args = ['-vault-default-lease-duration=1s', '-template', `${join(dir, 'in.ctmpl')}:${join(dir, 'out')}`]
    const child = spawn(program, args, { env, stdio: 'ignore' })
    const rendered = (expected: string) =>
      vi.waitFor(() => expect(readFileSync(join(dir, 'out'), 'utf8')).toBe(`password=${expected}\n`), { timeout: 30_000, interval: 200 })
    try {
      await rendered('one')
      // Twice what the token lives unrenewed.
      await delay(2 * periodSeconds * 1_000)
      await put('two')
      await rendered('two')
    } finally {
      child.kill('SIGTERM')
      rmSync(dir, { recursive: true, force: true })
    }
  })
})
