/** The audit of a real cluster: what each node records of a forwarded request, verify, report, devices of the API, and a node that is killed. */
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runCommand, type Ran } from '#test/support/cli.ts'
import { mountKv, startCluster, waitForLeader, type TestCluster } from '#test/support/cluster.ts'

const home = mkdtempSync(join(tmpdir(), 'holdfast-audit-e2e-'))
const folder = join(home, 'api')
mkdirSync(folder)
let running: TestCluster
let collector: Server
const posted: string[] = []

beforeAll(async () => {
  collector = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      posted.push(`${request.headers.authorization} ${body}`)
      response.end('{"text":"Success","code":0}')
    })
  })
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve))
  const extraConfig = `audit_anchor_interval = "1s"\nunsafe_allow_api_audit_creation = true\naudit_api_folder = "${folder}"`
  running = await startCluster({ extraConfig })
  await mountKv(running.cluster, 'secret')
}, 60_000)
afterAll(async () => {
  await running?.dispose()
  collector.close()
  rmSync(home, { recursive: true, force: true })
})

const patience = Number(process.env['HOLDFAST_PATIENCE'] ?? 1)
async function until(isTrue: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const endMs = performance.now() + 10_000 * patience
  while (!(await isTrue())) {
    if (performance.now() > endMs) throw new Error(`expected ${what}, waited in vain`)
    await delay(100)
  }
}

const nodes = () => running.cluster.nodes
const root = () => running.cluster.rootToken
const ask = (at: number, method: string, path: string, body?: object) =>
  running.cluster.api.call(nodes()[at]!.apiAddress, method, path, { token: root(), ...(body === undefined ? {} : { body }) })
const run = (line: string, at = 0): Promise<Ran> => runCommand(line, { address: nodes()[at]!.apiAddress, env: { HOLDFAST_TOKEN: root() } })

interface Line {
  type: string
  auth?: { display_name?: string }
  request: { id: string; path: string; operation: string; data?: unknown; forwarded_from?: string; forwarded_to?: string }
  response?: { status: number }
}
const recordsOf = (path: string): Line[] =>
  readFileSync(path, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line)

test('a forwarded request: the leader has all of it, the follower that it forwarded it and what came back, under one id', async () => {
  const leader = await waitForLeader(running.cluster)
  const follower = nodes().findIndex((node) => node !== leader)
  expect((await ask(follower, 'POST', 'secret/data/forwarded', { data: { a: 'planted-mark' } })).status).toBe(200)
  const there = recordsOf(leader.auditPath).filter(({ request }) => request.path === 'secret/data/forwarded')
  const here = recordsOf(nodes()[follower]!.auditPath).filter(({ request }) => request.path === 'secret/data/forwarded')
  expect(there.map(({ type }) => type)).toEqual(['request', 'response'])
  expect(here.map(({ type }) => type)).toEqual(['forward'])
  expect(new Set([...there, ...here].map(({ request }) => request.id)).size).toBe(1)
  expect(there[0]!.request).toMatchObject({
    forwarded_from: nodes()[follower]!.id,
    data: { data: { a: expect.stringMatching(/^hmac-sha256:/) } },
  })
  expect(here[0]!.request).toMatchObject({ forwarded_to: leader.id })
  expect(here[0]!.request.data).toBeUndefined()
  expect(here[0]!.response).toEqual({ status: 200 })
  for (const node of nodes()) expect(readFileSync(node.auditPath, 'utf8')).not.toContain('planted-mark')
})

test('verify: whole by the cluster and by a saved proof; an altered copy is found; hash, report and tail find what was done', async () => {
  const file = nodes()[0]!.auditPath
  const proof = join(home, 'proof.json')
  await until(async () => (await run(`audit verify ${file}`)).code === 0, 'the files to be anchored')
  await until(async () => (await run(`audit proof ${proof}`)).code === 0, 'a proof')
  const copy = join(home, 'copy.log')
  copyFileSync(file, copy)
  const whole = await runCommand(`audit verify -proof=${proof} ${copy}`)
  expect([whole.code, whole.out]).toEqual([0, expect.stringContaining('whole: ')])
  writeFileSync(copy, readFileSync(copy, 'utf8').replace('secret/data/forwarded', 'secret/data/forwarder'))
  const found = await runCommand(`audit verify -proof=${proof} ${copy}`)
  expect([found.code, found.out]).toEqual([1, expect.stringContaining('altered at line ')])
  expect((await runCommand(`audit verify ${copy}`, { address: 'http://127.0.0.1:1' })).code).toBe(1)
  const untouched = await runCommand(`audit verify ${file}`, { address: 'http://127.0.0.1:1' })
  expect([untouched.code, untouched.out]).toEqual([2, expect.stringContaining('could not tell')])
  const leader = await waitForLeader(running.cluster)
  const report = await run(`audit report -csv -path=secret/data/* ${leader.auditPath}`)
  expect(report.out.split('\r\n')[1]).toMatch(/,(update|create),.*secret\/data\/forwarded,root/)
  expect((await run(`audit tail -lines=3 ${file}`)).out.split('\n')).toHaveLength(4)
  const hash = (await run('audit hash -field=hash file planted-mark')).out
  expect(readFileSync(leader.auditPath, 'utf8')).toContain(hash)
})

test('devices of the API: on every node, below the folder only; the last record says who disabled it', async () => {
  const outside = await ask(1, 'POST', 'sys/audit/evil', { type: 'file', options: { file_path: join(home, 'evil.log') } })
  expect([outside.status, JSON.stringify(outside.body)]).toEqual([400, expect.stringContaining('below audit_api_folder')])
  expect(existsSync(join(home, 'evil.log'))).toBe(false)
  const raw = await ask(1, 'POST', 'sys/audit/raw', { type: 'file', options: { file_path: join(folder, 'raw.log'), log_raw: 'true' } })
  expect(raw.status).toBe(400)
  const file = join(folder, 'second.log')
  expect((await ask(1, 'POST', 'sys/audit/second', { type: 'file', options: { file_path: file } })).status).toBe(204)
  const uri = `http://127.0.0.1:${(collector.address() as AddressInfo).port}/services/collector`
  const options = { uri, format: 'splunk_hec', token: 'hec-token' }
  expect((await ask(2, 'POST', 'sys/audit/splunk', { type: 'http', options })).status).toBe(204)
  expect((await ask(2, 'POST', 'sys/audit/splunk', { type: 'http', options })).status).toBe(400)
  const listed = await ask(0, 'GET', 'sys/audit')
  expect(listed.body).toMatchObject({
    data: { 'second/': { type: 'file' }, 'splunk/': { type: 'http', options: { uri, format: 'splunk_hec' } } },
  })
  expect(JSON.stringify(listed.body)).not.toContain('hec-token')
  // Every node's own records go there: all three write to the one file in this test, a batch a write.
  for (const at of [0, 1, 2])
    await until(async () => {
      await ask(at, 'GET', `secret/data/seen-by-${at}`)
      return (
        posted.some((body) => body.startsWith('Splunk hec-token ') && body.includes(`seen-by-${at}`)) &&
        readFileSync(file, 'utf8').includes(`seen-by-${at}`)
      )
    }, `node ${at} to have the devices`)
  expect((await ask(1, 'DELETE', 'sys/audit/second')).status).toBe(204)
  expect((await ask(1, 'DELETE', 'sys/audit/splunk')).status).toBe(204)
  expect((await ask(1, 'DELETE', 'sys/audit/never')).status).toBe(204)
  expect((await ask(1, 'DELETE', 'sys/audit/file')).status).toBe(400)
  const ends = (): Line[] => recordsOf(file).filter(({ type }) => type === 'disabled')
  await until(() => ends().length === 3, 'the last record of each node')
  for (const end of ends())
    expect(end).toMatchObject({ auth: { display_name: 'root' }, request: { path: 'sys/audit/second', operation: 'delete' } })
  expect((await ask(0, 'GET', 'sys/audit')).body).not.toHaveProperty('data.second/')
})

test('a node that is killed goes on with its chain', async () => {
  const node = nodes()[2]!
  const writing = Array.from({ length: 50 }, (_, i) => ask(2, 'POST', `secret/data/w${i}`, { data: { i } }).catch(() => null))
  await running.cluster.stopNode(node, 'SIGKILL')
  await Promise.all(writing)
  running.cluster.spawn(node)
  await running.cluster.waitForAnswer(node)
  await running.cluster.unseal(node)
  await running.cluster.waitUntilServing()
  await ask(2, 'GET', 'secret/data/after')
  // Anchored in its new life: only then are the keys of the one before told, and its MACs looked at.
  const verdict = async () => JSON.parse((await run(`audit verify -format=json ${node.auditPath}`)).out) as { tailLines: number }
  await until(async () => (await verdict()).tailLines === 0, 'the file to be anchored again')
  expect(await verdict()).toMatchObject({ verdict: 'whole', findings: [] })
})
