/** `npm start` as a newcomer meets it: its cluster file, its second start, its end, and its refusals. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Api } from '#cmd/dev/api.ts'
import { freePorts } from '#test/support/cluster.ts'
import { isRunning } from '#test/support/processes.ts'

interface ClusterFile {
  nodes: {
    node_id: string
    api_address: string
    cluster_address: string
    data_dir: string
    log_file: string
    audit_file: string
    pid: number
  }[]
  ca_cert_path: string | null
  root_token: string
  unseal_keys_b64: string[]
}

let dir: string
let port: number
let launched: ChildProcess[] = []

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-dev-'))
  port = await freePorts(30)
  launched = []
})
afterEach(async () => {
  for (const child of launched) {
    if (child.exitCode !== null || child.signalCode !== null) continue
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }
  rmSync(dir, { recursive: true, force: true })
})

const json = (): string => join(dir, 'cluster.json')

/** Starts it as npm would, without a terminal; its output is collected. */
function launch(...args: string[]): { child: ChildProcess; output: () => string } {
  const child = spawn(
    process.execPath,
    ['cmd/dev.ts', '--api-port', String(port), '--data', join(dir, 'data'), '--cluster-json', json(), ...args],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  launched.push(child)
  let text = ''
  child.stdout?.on('data', (chunk: Buffer) => (text += chunk.toString()))
  child.stderr?.on('data', (chunk: Buffer) => (text += chunk.toString()))
  return { child, output: () => text }
}

async function clusterFile(running: { child: ChildProcess; output: () => string }): Promise<ClusterFile> {
  const deadline = performance.now() + 40_000
  while (!existsSync(json())) {
    if (running.child.exitCode !== null || performance.now() > deadline)
      throw new Error(`expected the cluster file, got: ${running.output()}`)
    await delay(50)
  }
  return JSON.parse(readFileSync(json(), 'utf8')) as ClusterFile
}

async function ended(child: ChildProcess, withinMs: number): Promise<number | null> {
  const started = performance.now()
  if (child.exitCode === null) await Promise.race([once(child, 'exit'), delay(withinMs)])
  expect(performance.now() - started).toBeLessThan(withinMs)
  return child.exitCode
}

test('serves, writes the cluster file, survives a dead node, stops on SIGTERM within 8 s, and finds its data again', async () => {
  const first = launch()
  const file = await clusterFile(first)
  expect(file.nodes.map(({ node_id, api_address }) => [node_id, api_address])).toEqual(
    [0, 1, 2].map((i) => [`node${i + 1}`, `http://127.0.0.1:${port + 10 * i}`]),
  )
  expect(file.unseal_keys_b64).toHaveLength(5)
  expect(file.ca_cert_path).toBeNull()
  for (const node of file.nodes) {
    expect(isRunning(node.pid)).toBe(true)
    expect(existsSync(node.log_file) && existsSync(node.audit_file)).toBe(true)
    expect(readdirSync(node.data_dir).filter((name) => /log$|audit|key/.test(name) && name !== 'log')).toEqual([])
  }
  const api = new Api(null)
  const [a, b, c] = file.nodes
  if (a === undefined || b === undefined || c === undefined) throw new Error('expected three nodes')
  const token = file.root_token
  expect(
    (await api.call(a.api_address, 'POST', 'sys/mounts/secret', { token, body: { type: 'kv', options: { version: '2' } } })).status,
  ).toBe(204)
  expect((await api.call(a.api_address, 'POST', 'secret/data/kept', { token, body: { data: { answer: 42 } } })).status).toBe(200)

  process.kill(b.pid, 'SIGKILL')
  await expect.poll(() => first.output()).toMatch(/node2 ended \(SIGKILL\); the others go on/)
  const stillThere = async (address: string): Promise<unknown> => {
    const answer = await api.call(address, 'GET', 'secret/data/kept', { token })
    return (answer.body?.['data'] as { data?: object } | undefined)?.data
  }
  await expect.poll(() => stillThere(c.api_address), { timeout: 10_000 }).toEqual({ answer: 42 })

  first.child.kill('SIGTERM')
  // Less than the 7 s after which the launcher kills: the nodes must end by themselves.
  expect(await ended(first.child, 6_500)).toBe(0)
  expect(file.nodes.filter(({ pid }) => isRunning(pid))).toEqual([])

  const second = launch()
  const again = await clusterFile(second)
  expect(again.root_token).toBe(token)
  expect(second.output()).toMatch(/for development only/i)
  for (const node of again.nodes) await expect.poll(() => stillThere(node.api_address), { timeout: 10_000 }).toEqual({ answer: 42 })

  const moved = launch('--nodes', '1')
  expect(await ended(moved.child, 10_000)).toBe(1)
  expect(moved.output()).toMatch(/error: expected the nodes that .* was made with .*\nhint: give the same --nodes/)

  // Killed without warning, it takes its nodes with it.
  second.child.kill('SIGKILL')
  await expect.poll(() => again.nodes.filter(({ pid }) => isRunning(pid)).length, { timeout: 8_000 }).toBe(0)
  await api.close()
})

test.each(['SIGTERM', 'SIGKILL'] as const)('%s to npm itself stops launcher and nodes', async (signal) => {
  const args = ['start', '--', '--nodes', '1', '--api-port', String(port), '--data', join(dir, 'data'), '--cluster-json', json()]
  const npm = spawn('npm', args, { stdio: ['ignore', 'pipe', 'pipe'] })
  launched.push(npm)
  let text = ''
  npm.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()))
  npm.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()))
  const file = await clusterFile({ child: npm, output: () => text })
  npm.kill(signal)
  await expect.poll(() => file.nodes.filter(({ pid }) => isRunning(pid)).length, { timeout: 8_000 }).toBe(0)
})

test('one node with TLS: the certificate authority that it names is the one that signs', async () => {
  const running = launch('--nodes', '1', '--tls')
  const file = await clusterFile(running)
  expect(file.nodes[0]?.api_address).toBe(`https://127.0.0.1:${port}`)
  const api = new Api(file.ca_cert_path)
  const answer = await api.call(file.nodes[0]?.api_address ?? '', 'LIST', 'auth/token/accessors', { token: file.root_token })
  expect(answer.status).toBe(200)
  await api.close()
  running.child.kill('SIGINT')
  expect(await ended(running.child, 8_000)).toBe(0)
})

test('a taken port and an unwritable folder: a clear error, an exit code, nothing left running', async () => {
  const server = createServer()
  server.listen(port + 10, '127.0.0.1')
  await once(server, 'listening')
  const taken = launch()
  expect(await ended(taken.child, 10_000)).toBe(1)
  expect(taken.output()).toMatch(new RegExp(`error: expected port ${port + 10} on 127.0.0.1 to be free`))
  server.close()
  // A path below a file can't be a folder, not even for root.
  const child = spawn(process.execPath, ['cmd/dev.ts', '--api-port', String(port), '--data', '/etc/hostname/data'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let text = ''
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()))
  expect(await ended(child, 10_000)).toBe(1)
  expect(text).toMatch(/error: expected a writable folder, got \/etc\/hostname\/data/)
  const usage = launch('--nodes', '4')
  expect(await ended(usage.child, 10_000)).toBe(1)
  expect(usage.output()).toMatch(/--nodes expected 1, 3 or 5, got 4/)
})
