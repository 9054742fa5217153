/** `holdfast server` as whoever runs it meets it: what it refuses to start with, its signals, its TLS, its proxies, and its end. */
import { spawn } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { connect as connectTcp, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Api } from '#cmd/dev/api.ts'
import { writeApiCertificates } from '#cmd/dev/certificates.ts'
import { freePorts, mountKv, startCluster, waitForLeader } from '#test/support/cluster.ts'
import { found, ServerProcess, unseal, until, type Ended, type ExtraConfig, type Founded } from '#test/support/server-process.ts'

const dir = mkdtempSync(join(tmpdir(), 'holdfast-server-'))
const tlsDir = join(dir, 'tls')
const launcher = fileURLToPath(new URL('../../cmd/holdfast.mjs', import.meta.url))
const servers: ServerProcess[] = []
let api: Api
let port: number
/** TLS, initialised, unsealed: what several tests look at. */
let main: ServerProcess
let founded: Founded

const tlsKeys = `tls_cert_file = "${join(tlsDir, 'server.crt')}"\n  tls_key_file = "${join(tlsDir, 'server.key')}"`
const trustedProxy = '127.0.0.2'

beforeAll(async () => {
  port = await freePorts(60)
  api = new Api(await writeApiCertificates(tlsDir))
  main = make('main', {
    top: `pid_file = "${join(dir, 'main.pid')}"\nlog_level = "info"`,
    tls: tlsKeys,
    listener: 'http_read_header_timeout = "1s"\n  http_read_timeout = "2s"',
  })
  // As an operator may have made it.
  mkdirSync(main.dataDir, { mode: 0o755 })
  chmodSync(main.dataDir, 0o755)
  await main.startAndAnswer()
  founded = await found(main)
  await expectStatus(main, 'POST', 'sys/mounts/secret', { type: 'kv', options: { version: '2' } }, 204)
  for (const name of ['a', 'b', 'c']) await expectStatus(main, 'POST', `secret/data/${name}`, { data: { name } }, 200)
})
afterAll(async () => {
  await Promise.all(servers.map((server) => server.stop('SIGKILL')))
  await api?.close()
  if (process.env['HOLDFAST_KEEP'] === undefined) rmSync(dir, { recursive: true, force: true })
  else console.log(`kept ${dir}`)
})

function make(id: string, config: ExtraConfig = {}): ServerProcess {
  const server = new ServerProcess(api, dir, id, port)
  port += 2
  server.configure(config)
  servers.push(server)
  return server
}

async function expectStatus(server: ServerProcess, method: string, path: string, body: unknown, status: number): Promise<void> {
  const answer = await server.call(method, path, { token: founded.token, body })
  expect([path, answer.status, answer.body?.['errors']]).toEqual([path, status, undefined])
}

const alive = (pid: number): boolean => existsSync(`/proc/${pid}`)

/** The end of a server that must refuse to start: soon, with an error in words, and with nothing left behind. */
async function refusal(server: ServerProcess, env: Record<string, string> = {}): Promise<string> {
  server.start(env)
  const { pid } = server
  const late = Symbol('late')
  const ended = await Promise.race([server.ended, delay(10_000, late)])
  if (ended === late) throw new Error(`expected ${server.id} to refuse, got a server that runs: ${server.log()}`)
  const { code, signal } = ended as Ended
  expect([server.id, signal, typeof code === 'number' && code > 0]).toEqual([server.id, null, true])
  expect(alive(pid)).toBe(false)
  const log = server.log()
  expect(log).toMatch(/^error: /m)
  // Words for an operator, not a stack for a programmer.
  expect(log).not.toMatch(/^\s+at .*:\d+:\d+/m)
  return log
}

async function occupy(at: number): Promise<() => Promise<void>> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(at, '127.0.0.1', resolve))
  return () => new Promise((resolve) => server.close(() => resolve()))
}

test('what it can not run with is named, the exit code is not 0, and nothing is left running', async () => {
  const unknownKey = make('unknown-key', { top: 'api_adr = "http://127.0.0.1:1"' })
  const log = await refusal(unknownKey)
  expect(log).toMatch(/unknown-key\.hcl:3: api_adr/)
  expect(log).toMatch(/did you mean.*api_addr/)
  const wrongValue = make('wrong-value', { raft: 'trailing_logs = "many"' })
  expect(await refusal(wrongValue)).toMatch(/wrong-value\.hcl:\d+: storage\.raft\.trailing_logs.*expected/)
  const wrongVariable = make('wrong-variable')
  expect(await refusal(wrongVariable, { HOLDFAST_LISTENER_TCP_ADRESS: 'x' })).toMatch(/HOLDFAST_LISTENER_TCP_ADRESS/)

  const takenPort = make('taken-port')
  const release = await occupy(takenPort.apiPort)
  const taken = await refusal(takenPort)
  expect(taken).toMatch(/expected to bind 127\.0\.0\.1:\d+, got EADDRINUSE/)
  expect(taken).toMatch(/^hint: another process listens there/m)
  await release()

  writeFileSync(join(dir, 'a-file'), '')
  for (const [id, path] of [
    ['folder-below-a-file', join(dir, 'a-file', 'data')],
    ['folder-in-proc', '/proc/holdfast'],
  ] as const) {
    expect(await refusal(make(id), { HOLDFAST_STORAGE_RAFT_PATH: path })).toMatch(
      /storage\.raft\.path expected a folder that can be written, got E[A-Z]+/,
    )
  }
  const missing = make('missing-certificate', { tls: `tls_cert_file = "${dir}/none.crt"\n  tls_key_file = "${dir}/none.key"` })
  expect(await refusal(missing)).toMatch(/tls_cert_file expected a readable file, got ENOENT for .*none\.crt/)
  const mismatch = make('key-of-another', { tls: `tls_cert_file = "${tlsDir}/server.crt"\n  tls_key_file = "${tlsDir}/ca.crt"` })
  expect(await refusal(mismatch)).toMatch(/tls_cert_file and tls_key_file expected a PEM certificate and its key/)
  const pidFile = make('pid-file', { top: `pid_file = "${dir}/a-file/pid"` })
  expect(await refusal(pidFile)).toMatch(/pid_file expected a file that can be written, got ENOTDIR/)
  const auditFile = make('audit-file', { top: `audit "file" "second" {\n options { file_path = "${dir}/a-file/audit" }\n}` })
  expect(await refusal(auditFile)).toMatch(/audit\.second expected a file that can be written, got ENOTDIR/)
  const tokenFile = make('token-file', {
    raft: `retry_join {\n leader_api_addr = "http://127.0.0.1:9"\n join_token_file = "${dir}/none"\n}`,
  })
  expect(await refusal(tokenFile)).toMatch(/join_token_file expected a readable file, got ENOENT/)
  expect(await refusal(make('inspect'), { NODE_OPTIONS: '--inspect=127.0.0.1:0' })).toMatch(/expected no --inspect, got one/)
}, 60_000)

/** Runs the launcher to its end; for command lines that ServerProcess does not make. */
async function run(nodeArgs: readonly string[], args: readonly string[]): Promise<{ code: number | null; text: string }> {
  const child = spawn(process.execPath, [...nodeArgs, launcher, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  let text = ''
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()))
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code, text }
}

test('a debugger on the command line, no configuration, and one that is not there are refused', async () => {
  const inspected = await run(['--inspect=127.0.0.1:0'], ['server', '--config', main.configPath])
  expect([inspected.code, inspected.text]).toEqual([1, expect.stringMatching(/expected no --inspect, got one/)])
  const none = await run([], ['server'])
  expect([none.code, none.text]).toEqual([1, expect.stringMatching(/expected -config=FILE/)])
  const missing = await run([], ['server', '--config', join(dir, 'none.hcl')])
  expect([missing.code === 0, missing.text]).toEqual([false, expect.stringMatching(/none\.hcl.*expected a readable file, got ENOENT/)])
})

test('a data folder serves one server, one node id and one cluster port at a time', async () => {
  const second = make('second')
  const used = await refusal(second, { HOLDFAST_STORAGE_RAFT_PATH: main.dataDir, HOLDFAST_STORAGE_RAFT_NODE_ID: 'main' })
  expect(used).toMatch(/another process|lock/i)
  const renamed = await refusal(make('renamed'), { HOLDFAST_STORAGE_RAFT_PATH: main.dataDir })
  expect(renamed).toMatch(/storage\.raft\.node_id expected main, as the identity in .* says, got renamed/)
  await expectStatus(main, 'GET', 'secret/data/a', undefined, 200)

  // A node that belongs to nothing yet opens its cluster port when it does: refused then, and possible as soon as the port is free.
  const founder = make('port-taken')
  const release = await occupy(founder.clusterPort)
  await founder.startAndAnswer()
  const init = { body: { secret_shares: 1, secret_threshold: 1 } }
  const refused = await founder.call('POST', 'sys/init', init)
  expect([refused.status, refused.body?.['errors']]).toEqual([
    400,
    [expect.stringMatching(/cluster address: expected to listen on .*EADDRINUSE/)],
  ])
  await release()
  const keys = await found(founder)
  await founder.stop()
  const again = await occupy(founder.clusterPort)
  expect(await refusal(founder)).toMatch(/cluster address: expected to listen on .*EADDRINUSE/)
  await again()
  await founder.startAndAnswer()
  await unseal(founder, keys)
  await founder.stop()
})

test('HOLDFAST_ variables win over the file', async () => {
  const server = make('variables', { top: 'log_level = "error"' })
  const elsewhere = new ServerProcess(api, dir, 'elsewhere', port)
  port += 2
  server.start({
    HOLDFAST_LISTENER_TCP_ADDRESS: `127.0.0.1:${elsewhere.apiPort}`,
    HOLDFAST_API_ADDR: elsewhere.apiAddress,
    HOLDFAST_CLUSTER_ADDR: `https://${elsewhere.clusterAddress}`,
    HOLDFAST_LISTENER_TCP_CLUSTER_ADDRESS: elsewhere.clusterAddress,
    HOLDFAST_STORAGE_RAFT_PATH: elsewhere.dataDir,
    HOLDFAST_STORAGE_RAFT_NODE_ID: 'from-variable',
    HOLDFAST_LOG_LEVEL: 'info',
  })
  await until(
    'the server at its other address',
    async () => ((await elsewhere.call('GET', 'sys/seal-status')).status === 200 ? true : null),
    10_000,
  )
  expect(server.log()).toContain('"node":"from-variable"')
  const { token } = await found(elsewhere)
  const config = (await elsewhere.call('GET', 'sys/config/state/sanitized', { token })).body?.['data'] as Record<string, unknown>
  expect(config).toMatchObject({
    api_addr: elsewhere.apiAddress,
    log_level: 'info',
    storage: { raft: { node_id: 'from-variable', path: elsewhere.dataDir } },
  })
  expect(readdirSync(elsewhere.dataDir)).toContain('state')
  expect(existsSync(server.dataDir)).toBe(false)
  await server.stop()
})

function tlsSocket(
  options: { minVersion?: 'TLSv1' | 'TLSv1.2' | 'TLSv1.3'; maxVersion?: 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3'; ciphers?: string } = {},
): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ host: '127.0.0.1', port: main.apiPort, rejectUnauthorized: false, ...options }, () => resolve(socket))
    socket.once('error', reject)
  })
}

async function fingerprint(): Promise<string> {
  const socket = await tlsSocket()
  const { fingerprint256 } = socket.getPeerCertificate()
  socket.destroy()
  return fingerprint256
}

/** Everything that comes over the socket until `enough` says so, or its end. */
function collect(
  socket: Socket,
  enough: (text: string) => boolean,
  timeoutMs = 8_000,
): Promise<{ text: string; ended: boolean; tookMs: number }> {
  const begun = performance.now()
  let text = ''
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`expected an answer or the end within ${timeoutMs} ms, got ${JSON.stringify(text)}`)),
      timeoutMs,
    )
    const done = (ended: boolean): void => {
      clearTimeout(timer)
      resolve({ text, ended, tookMs: performance.now() - begun })
    }
    socket.on('error', () => {}) // A reset is an end too: `close` follows.
    socket.on('close', () => done(true))
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString()
      if (enough(text)) done(false)
    })
  })
}

test('TLS 1.2 and 1.3 are spoken, 1.1 is not', async () => {
  const old = await tlsSocket({ minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }).catch(
    (error: NodeJS.ErrnoException) => error,
  )
  expect(old).toMatchObject({ code: 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION' })
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const socket = await tlsSocket({ minVersion: version, maxVersion: version })
    expect(socket.getProtocol()).toBe(version)
    socket.destroy()
  }
  const preferred = await tlsSocket()
  expect(preferred.getProtocol()).toBe('TLSv1.3')
  preferred.destroy()
})

test('LIST works over TLS keep-alive, pipelined between other requests, each answered in its turn', async () => {
  const socket = await tlsSocket()
  const line = (method: string, path: string): string =>
    `${method} /v1/${path} HTTP/1.1\r\nhost: h\r\nx-vault-token: ${founded.token}\r\n\r\n`
  const asked = [
    'LIST secret/metadata',
    'GET secret/data/a',
    'LIST secret/metadata/',
    'GET secret/metadata?list=true',
    'LIST secret/metadata/none',
    'GET sys/seal-status',
  ]
  const collected = collect(socket, (text) => text.split('HTTP/1.1 ').length > asked.length && text.trimEnd().endsWith('}'))
  socket.write(asked.map((each) => line(...(each.split(' ') as [string, string]))).join(''))
  const { text } = await collected
  const answers = text.split('HTTP/1.1 ').slice(1)
  expect(answers.map((answer) => answer.slice(0, 3))).toEqual(['200', '200', '200', '200', '404', '200'])
  for (const at of [0, 2, 3]) expect(answers[at]).toContain('"keys":["a","b","c"]')
  expect(answers[1]).toContain('"name":"a"')
  // Again, one at a time, on the same connection.
  for (let n = 0; n < 3; n++) {
    const next = collect(socket, (got) => got.includes('"keys"'))
    socket.write(line('LIST', 'secret/metadata'))
    expect((await next).text).toMatch(/^HTTP\/1\.1 200 /)
  }
  socket.destroy()
})

test('a client that sends too slowly is dropped in time, and the others do not notice', async () => {
  const headers = await tlsSocket()
  const silent = await tlsSocket()
  const body = await tlsSocket()
  const ends = [collect(headers, () => false), collect(silent, () => false), collect(body, () => false)]
  headers.write('GET /v1/sys/heal')
  body.write(`POST /v1/secret/data/slow HTTP/1.1\r\nhost: h\r\nx-vault-token: ${founded.token}\r\ncontent-length: 1000\r\n\r\n{`)
  const drip = setInterval(() => body.write(' '), 100)
  const quick = (async () => {
    for (let n = 0; n < 20; n++) {
      const begun = performance.now()
      await expectStatus(main, 'GET', 'secret/data/a', undefined, 200)
      expect(performance.now() - begun).toBeLessThan(1_000)
      await delay(50)
    }
  })()
  const [first, second, third] = await Promise.all(ends)
  clearInterval(drip)
  await quick
  // Each limit is looked at once a second.
  expect([first?.ended, second?.ended, third?.ended]).toEqual([true, true, true])
  expect(first?.text).toMatch(/^HTTP\/1\.1 408 /)
  expect(third?.text).toMatch(/^HTTP\/1\.1 408 /)
  expect(first?.tookMs).toBeLessThan(3_500)
  expect(third?.tookMs).toBeLessThan(5_000)
  await expectStatus(main, 'GET', 'secret/data/a', undefined, 200)
  expect((await main.call('GET', 'secret/data/slow', { token: founded.token })).status).toBe(404)
})

test('SIGHUP reads certificates and log level again and opens the audit file anew; what is broken leaves the old in use', async () => {
  const before = await fingerprint()
  const kept = await tlsSocket()
  const request = `GET /v1/sys/seal-status HTTP/1.1\r\nhost: h\r\n\r\n`
  const made = join(dir, 'renewed')
  await writeApiCertificates(made)
  const hangup = async (expected: string): Promise<void> => {
    const lines = main.log().split(expected).length
    process.kill(main.pid, 'SIGHUP')
    await until(expected, async () => (main.log().split(expected).length > lines ? true : null), 5_000)
  }

  // A key that does not fit: the old pair stays, and the audit file, which has moved, is opened anew all the same.
  const oldKey = readFileSync(join(tlsDir, 'server.key'))
  writeFileSync(join(tlsDir, 'server.key'), readFileSync(join(made, 'server.key')))
  renameSync(main.auditPath, `${main.auditPath}.1`)
  await hangup('"certificates","error":')
  expect(await fingerprint()).toBe(before)
  await expectStatus(main, 'GET', 'secret/data/a', undefined, 200)
  await until(
    'the new audit file',
    async () => (existsSync(main.auditPath) && readFileSync(main.auditPath, 'utf8').includes('secret/data/a') ? true : null),
    3_000,
  )
  expect(statSync(main.auditPath).mode & 0o777).toBe(0o600)

  writeFileSync(join(tlsDir, 'server.crt'), readFileSync(join(made, 'server.crt')))
  main.configure({ top: 'log_level = "debug"', tls: tlsKeys })
  await hangup('"what":"log level","msg":"read again on SIGHUP"')
  const after = await fingerprint()
  expect(after).not.toBe(before)
  const answer = collect(kept, (text) => text.includes('"sealed"'))
  kept.write(request)
  expect((await answer).text).toMatch(/^HTTP\/1\.1 200 /) // What was open goes on under the old one.
  kept.destroy()

  // A configuration that has become nonsense changes nothing.
  const config = readFileSync(main.configPath)
  writeFileSync(main.configPath, 'log_level = "loud"\n')
  await hangup('"log level","error":')
  expect(await fingerprint()).toBe(after)
  writeFileSync(main.configPath, config)
  writeFileSync(join(tlsDir, 'server.key'), oldKey)
})

interface AuditLine {
  readonly request?: { readonly path?: string; readonly remote_address?: string }
}

/** The client addresses that the audit names for requests at `path`. */
function addressesOf(server: ServerProcess, path: string): string[] {
  const lines = readFileSync(server.auditPath, 'utf8').trim().split('\n')
  const records = lines.map((line) => JSON.parse(line) as AuditLine)
  return [...new Set(records.filter(({ request }) => request?.path === path).map(({ request }) => request?.remote_address ?? 'none'))]
}

test('who the client is, the audit takes from trusted proxies and from nobody else', async () => {
  const top = `trusted_proxies = ["${trustedProxy}/32"]`
  const server = make('proxied', { top, listener: 'proxy_protocol_behavior = "allow_authorized"' })
  await server.startAndAnswer()
  const { token } = await found(server)
  const v2 = Buffer.concat([
    Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1'),
    Buffer.from([0x21, 0x11, 0, 12, 198, 51, 100, 8, 10, 0, 0, 1, 0x11, 0x5c, 0x20, 0x08]),
  ])
  const tries = [
    { name: 'v1', from: trustedProxy, head: 'PROXY TCP4 198.51.100.7 10.0.0.1 4444 8200\r\n', forwarded: null, seen: '198.51.100.7' },
    { name: 'v2', from: trustedProxy, head: v2, forwarded: null, seen: '198.51.100.8' },
    { name: 'v1-six', from: trustedProxy, head: 'PROXY TCP6 2001:db8::7 2001:db8::1 4444 8200\r\n', forwarded: null, seen: '2001:db8::7' },
    { name: 'header', from: trustedProxy, head: '', forwarded: '203.0.113.1, 198.51.100.9', seen: '198.51.100.9' },
    { name: 'header-trusted-hop', from: trustedProxy, head: '', forwarded: `198.51.100.10, ${trustedProxy}`, seen: '198.51.100.10' },
    { name: 'plain', from: trustedProxy, head: '', forwarded: null, seen: trustedProxy },
    { name: 'v1-stranger', from: '127.0.0.3', head: 'PROXY TCP4 198.51.100.11 10.0.0.1 4444 8200\r\n', forwarded: null, seen: '127.0.0.3' },
    { name: 'header-stranger', from: '127.0.0.3', head: '', forwarded: '198.51.100.12', seen: '127.0.0.3' },
    // What the header names is the client; it is no proxy, so what it says of others counts for nothing.
    {
      name: 'v1-then-header',
      from: trustedProxy,
      head: 'PROXY TCP4 198.51.100.13 10.0.0.1 4444 8200\r\n',
      forwarded: '203.0.113.9',
      seen: '198.51.100.13',
    },
  ]
  for (const { name, from, head, forwarded } of tries) {
    const socket = connectTcp({ host: '127.0.0.1', port: server.apiPort, localAddress: from })
    const answer = collect(socket, (text) => text.includes('\r\n\r\n'))
    const extra = forwarded === null ? '' : `x-forwarded-for: ${forwarded}\r\n`
    socket.write(
      Buffer.concat([
        Buffer.from(head),
        Buffer.from(`GET /v1/sys/policies/acl/${name} HTTP/1.1\r\nhost: h\r\nx-vault-token: ${token}\r\n${extra}\r\n`),
      ]),
    )
    expect([name, (await answer).text.slice(0, 12)]).toEqual([name, 'HTTP/1.1 404'])
    socket.destroy()
  }
  expect(tries.map(({ name }) => [name, addressesOf(server, `sys/policies/acl/${name}`)])).toEqual(
    tries.map(({ name, seen }) => [name, [seen]]),
  )
  // A header that is none, or never ends, costs its sender the connection and nobody else anything.
  for (const bad of ['PROXY TCP4 nonsense\r\n', 'PROXY TCP4 999.1.1.1 10.0.0.1 1 2\r\n', `PROXY ${'x'.repeat(300)}`]) {
    const socket = connectTcp({ host: '127.0.0.1', port: server.apiPort, localAddress: trustedProxy })
    const end = collect(socket, () => false)
    socket.write(bad)
    expect(await end).toMatchObject({ text: '', ended: true })
  }
  expect((await server.call('GET', 'sys/seal-status')).status).toBe(200)
  await server.stop()
})

test('SIGTERM to the leader under load: 503 "draining" first, then the end with 0 within 8 s, no acknowledged write lost', async () => {
  const running = await startCluster()
  const { cluster } = running
  try {
    await mountKv(cluster, 'secret')
    const leader = await waitForLeader(cluster)
    const others = cluster.nodes.filter((node) => node !== leader)
    const acknowledged: string[] = []
    let stopped = false
    const write = async (id: number): Promise<void> => {
      for (let n = 0; !stopped; n++) {
        const name = `w${id}-${n}`
        const node = n % 3 === 0 ? others[id % 2] : leader
        try {
          const answer = await cluster.api.call(node?.apiAddress ?? '', 'POST', `secret/data/${name}`, {
            token: cluster.rootToken,
            body: { data: { name } },
          })
          if (answer.status === 200) acknowledged.push(name)
          else await delay(10)
        } catch {
          await delay(10) // Refused or cut off: not acknowledged.
        }
      }
    }
    const writing = Promise.all(Array.from({ length: 12 }, (_, id) => write(id)))
    await delay(1_000)
    const child = leader.process
    if (child?.pid === undefined) throw new Error('expected a leader that runs')
    const { pid } = child
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
    expect(children).toBe('')
    const seen: string[] = []
    const watching = (async () => {
      for (;;) {
        const health = await cluster.api.call(leader.apiAddress, 'GET', 'sys/health?standbyok=true', { timeoutMs: 2_000 }).catch(() => null)
        const cause = health?.body?.['cause'] as string | undefined
        seen.push(health === null ? 'gone' : `${health.status} ${cause ?? ''}`.trim())
        if (health === null) return
        await delay(10)
      }
    })()
    await delay(100)
    const told = performance.now()
    const exit = new Promise<Ended>((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })))
    child.kill('SIGTERM')
    expect(await exit).toEqual({ code: 0, signal: null })
    expect(performance.now() - told).toBeLessThan(8_000)
    await watching
    expect(alive(pid)).toBe(false)
    expect(seen.filter((each, at) => each !== seen[at - 1])).toEqual(['200', '503 this node is draining', 'gone'])
    // Time for whoever asks: a balancer that looks twice a second has heard it before the door closed.
    expect(seen.filter((each) => each.startsWith('503')).length).toBeGreaterThan(10)
    await delay(1_000)
    stopped = true
    await writing
    const next = await waitForLeader(cluster)
    expect(acknowledged.length).toBeGreaterThan(300)
    const lost: string[] = []
    for (const name of acknowledged) {
      const answer = await cluster.api.call(next.apiAddress, 'GET', `secret/data/${name}`, { token: cluster.rootToken })
      if (answer.status !== 200) lost.push(`${name}: ${answer.status}`)
    }
    expect(lost).toEqual([])
  } finally {
    await running.dispose()
  }
}, 60_000)

test('pid file, data folder and process: there while it runs, as they should be, and gone or closed after', async () => {
  const pidFile = join(dir, 'main.pid')
  expect(readFileSync(pidFile, 'utf8')).toBe(`${main.pid}\n`)
  expect(statSync(pidFile).mode & 0o777).toBe(0o644)
  const { pid } = main
  expect(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()).toBe('')
  expect(await main.stop()).toEqual({ code: 0, signal: null })
  expect(alive(pid)).toBe(false)
  expect(existsSync(pidFile)).toBe(false)
  const open: string[] = []
  const walk = (path: string): void => {
    const { mode } = statSync(path)
    if ((mode & 0o077) !== 0) open.push(`${path.slice(dir.length)} ${(mode & 0o777).toString(8)}`)
    if (statSync(path).isDirectory()) for (const name of readdirSync(path)) walk(join(path, name))
  }
  walk(main.dataDir)
  expect(open).toEqual([])
  const files = ['acknowledged', 'boot', 'hardstate.0', 'hardstate.1', 'identity', 'log', 'members.0', 'members.1', 'state']
  expect(readdirSync(main.dataDir).toSorted()).toEqual(files)
  // Nor does the log hold a secret.
  for (const secret of [founded.token, ...founded.keys]) expect(main.log()).not.toContain(secret)
})
