/**
 * Bad input, tried against real servers: each gets a 4xx (or 503) that says what is wrong, and the server goes on.
 * `docs/bad-inputs.md` is this table with what came out; the test holds the two together.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { Agent } from 'undici'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { mountKv, startCluster, waitForLeader, type TestCluster } from '#test/support/cluster.ts'

const docsPath = 'docs/bad-inputs.md'
let running: TestCluster
let address: string
const rows: { input: string; status: number; message: string }[] = []
const agent = new Agent({ bodyTimeout: 30_000, headersTimeout: 30_000 })

beforeAll(async () => {
  running = await startCluster()
  await mountKv(running.cluster, 'secret')
  const { api, rootToken, nodes } = running.cluster
  for (const type of ['apikey', 'ldap'])
    await api.call(nodes[0]!.apiAddress, 'POST', `sys/auth/${type}`, { token: rootToken, body: { type } })
  address = (await waitForLeader(running.cluster)).apiAddress
})
afterAll(async () => {
  await agent.destroy()
  await running?.dispose()
})

interface Try {
  readonly input: string
  readonly method?: string
  readonly path: string
  readonly body?: string | Buffer
  readonly headers?: Record<string, string>
  readonly token?: string | null
  readonly expect: number
  readonly says: RegExp
}

/** Sends one and notes it. The path goes out as written: no client normalises it on the way. */
async function attempt(item: Try): Promise<void> {
  const token = item.token === undefined ? running.cluster.rootToken : item.token
  const answer = await agent.request({
    origin: address,
    path: item.path,
    method: (item.method ?? 'GET') as 'GET',
    headers: { ...(token === null ? {} : { 'x-vault-token': token }), ...item.headers },
    body: item.body ?? null,
  })
  const text = await answer.body.text()
  note(item.input, answer.statusCode, text)
  expect
    .soft({ input: item.input, status: answer.statusCode, text })
    .toMatchObject({ status: item.expect, text: expect.stringMatching(item.says) })
}

function note(input: string, status: number, text: string): void {
  let message = text
  try {
    const body = JSON.parse(text) as { errors?: string[]; cause?: string }
    message = body.errors?.join('; ') ?? body.cause ?? ''
    if (body.errors?.length === 0) message = '(`{"errors":[]}`, as the peers answer what is not there)'
  } catch {
    message = text
  }
  rows.push({ input, status, message: message.trim().replace(/\s+/g, ' ') })
}

/** Writes raw bytes to the socket and returns all that comes back until it closes or falls silent. */
function raw(bytes: string, waitMs = 1_000): Promise<string> {
  return new Promise((resolve) => {
    const url = new URL(address)
    const socket = connect(Number(url.port), url.hostname, () => socket.write(bytes))
    let text = ''
    socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
    socket.on('error', () => resolve(text))
    socket.on('close', () => resolve(text))
    setTimeout(() => socket.destroy(), waitMs)
  })
}

const nested = (depth: number): string => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`

const tries: readonly Try[] = [
  { input: 'malformed JSON', method: 'POST', path: '/v1/secret/data/x', body: '{"data": {', expect: 400, says: /JSON/ },
  { input: 'JSON that is not an object', method: 'POST', path: '/v1/secret/data/x', body: '[1,2]', expect: 400, says: /object/ },
  {
    input: 'body of 33 MiB',
    method: 'POST',
    path: '/v1/secret/data/x',
    body: Buffer.alloc(33 * 1024 * 1024, 0x61),
    expect: 413,
    says: /body|large/i,
  },
  {
    input: 'JSON nested 200 deep',
    method: 'POST',
    path: '/v1/secret/data/x',
    body: `{"data":${nested(200)}}`,
    expect: 400,
    says: /levels/,
  },
  {
    input: 'JSON of 100,000 strings',
    method: 'POST',
    path: '/v1/secret/data/x',
    body: `{"data":{"a":[${'"b",'.repeat(100_000)}"c"]}}`,
    expect: 400,
    says: /string/i,
  },
  { input: 'wrong type: data is a string', method: 'POST', path: '/v1/secret/data/x', body: '{"data":"text"}', expect: 400, says: /data/ },
  {
    input: 'wrong type: cas is text',
    method: 'POST',
    path: '/v1/secret/data/x',
    body: '{"options":{"cas":"abc"},"data":{"a":1}}',
    expect: 400,
    says: /cas/,
  },
  { input: 'wrong type: ttl is an object', method: 'POST', path: '/v1/auth/token/create', body: '{"ttl":{}}', expect: 400, says: /ttl/ },
  { input: 'unknown route, root token', path: '/v1/nowhere/at/all', expect: 404, says: /no handler for route \\?"nowhere\/at\/all\\?"/ },
  { input: 'unknown route, no token', path: '/v1/nowhere/at/all', token: null, expect: 403, says: /permission denied/ },
  { input: 'outside /v1', path: '/v2/sys/health', expect: 404, says: /v1|not found/i },
  { input: '`..` in the path', path: '/v1/secret/data/../../sys/mounts', expect: 400, says: /\.\.|relative/ },
  { input: '`..` percent-encoded', path: '/v1/secret/data/%2e%2e/x', expect: 400, says: /\.\.|relative/ },
  { input: 'NUL in the path', path: '/v1/secret/data/a%00b', expect: 400, says: /path|character/i },
  { input: 'bad percent-encoding', path: '/v1/secret/data/a%zz', expect: 400, says: /path|encod/i },
  { input: 'unsupported operation', method: 'DELETE', path: '/v1/sys/seal-status', expect: 405, says: /unsupported operation/ },
  {
    input: 'PATCH without merge-patch',
    method: 'PATCH',
    path: '/v1/secret/data/x',
    body: '{"data":{"a":1}}',
    headers: { 'content-type': 'application/json' },
    expect: 415,
    says: /merge-patch|media/i,
  },
  { input: 'list and scan at once', path: '/v1/secret/metadata/?list=true&scan=true', expect: 400, says: /list|scan/ },
  { input: 'token that never was', path: '/v1/secret/data/x', token: 's.aaaaaaaaaaaaaaaaaaaaaaaa', expect: 403, says: /permission denied/ },
  { input: 'no token', path: '/v1/secret/data/x', token: null, expect: 403, says: /permission denied|missing client token/ },
  { input: 'secret that is not there', path: '/v1/secret/data/nothing', expect: 404, says: /"errors":\[\]/ },
  {
    input: 'check-and-set that does not match',
    method: 'POST',
    path: '/v1/secret/data/x',
    body: '{"options":{"cas":7},"data":{"a":1}}',
    expect: 400,
    says: /check-and-set parameter did not match the current version/,
  },
  {
    input: 'policy that does not parse',
    method: 'PUT',
    path: '/v1/sys/policies/acl/bad',
    body: '{"policy":"path \\"x\\" { capabilities = [\\"fly\\"] }"}',
    expect: 400,
    says: /line 1|fly|capabilit/,
  },
  { input: 'mount of an unknown type', method: 'POST', path: '/v1/sys/mounts/x', body: '{"type":"teapot"}', expect: 400, says: /teapot/ },
  {
    input: 'mount over a mount',
    method: 'POST',
    path: '/v1/sys/mounts/secret',
    body: '{"type":"kv"}',
    expect: 400,
    says: /path is already in use/,
  },
  {
    input: 'init twice',
    method: 'POST',
    path: '/v1/sys/init',
    body: '{"secret_shares":1,"secret_threshold":1}',
    token: null,
    expect: 400,
    says: /already initialized/,
  },
  {
    input: 'unseal key that is not hex or base64',
    method: 'POST',
    path: '/v1/sys/unseal',
    body: '{"key":"!!"}',
    token: null,
    expect: 400,
    says: /hex or base64/,
  },
  {
    input: 'API key that is none',
    method: 'POST',
    path: '/v1/auth/apikey/login',
    body: '{"key":"hfk_x"}',
    token: null,
    expect: 400,
    says: /invalid API key/,
  },
  {
    input: 'API key with metadata that says another id',
    method: 'POST',
    path: '/v1/auth/apikey/key',
    body: '{"metadata":{"key_id":"x"}}',
    expect: 400,
    says: /none of them key_id/,
  },
  {
    input: 'login at a directory that was not configured',
    method: 'POST',
    path: '/v1/auth/ldap/login/bob',
    body: '{"password":"x"}',
    token: null,
    expect: 400,
    says: /ldap backend not configured/,
  },
  {
    input: 'user filter of a directory without the user',
    method: 'POST',
    path: '/v1/auth/ldap/config',
    body: '{"url":"ldap://127.0.0.1","userfilter":"(uid=*)"}',
    expect: 400,
    says: /expected \{\{\.Username\}\} in it/,
  },
  {
    input: 'user of a directory whose policies are no list',
    method: 'POST',
    path: '/v1/auth/ldap/users/bob',
    body: '{"policies":{"a":1}}',
    expect: 400,
    says: /policies/,
  },
  {
    input: 'key of identity tokens that turns each second',
    method: 'POST',
    path: '/v1/identity/oidc/key/fast',
    body: '{"rotation_period":1}',
    expect: 400,
    says: /at least one minute/,
  },
  {
    input: 'template of identity tokens with a value within quotes',
    method: 'POST',
    path: '/v1/identity/oidc/role/app',
    body: '{"key":"default","template":"{\\"a\\": \\"x {{identity.entity.name}}\\"}"}',
    expect: 400,
    says: /outside of quotes/,
  },
]

test('each bad input is refused with its reason', async () => {
  for (const item of tries) await attempt(item)
})

test('malformed HTTP, smuggling and slow headers are refused at the socket', async () => {
  const cases: readonly [string, string, RegExp][] = [
    ['not HTTP at all', 'hello\r\n\r\n', /^HTTP\/1\.1 400/],
    ['a method nobody knows', 'FROB /v1/sys/health HTTP/1.1\r\nHost: x\r\n\r\n', /^HTTP\/1\.1 400/],
    ['the method LINK, which LIST travels as', 'LINK /v1/sys/health HTTP/1.1\r\nHost: x\r\n\r\n', /^HTTP\/1\.1 40[05]/],
    [
      'Content-Length and Transfer-Encoding at once',
      'POST /v1/sys/seal-status HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      /^HTTP\/1\.1 400/,
    ],
    ['headers of 40 KiB', `GET /v1/sys/health HTTP/1.1\r\nHost: x\r\nX-Long: ${'a'.repeat(40_000)}\r\n\r\n`, /^HTTP\/1\.1 431/],
  ]
  for (const [input, bytes, pattern] of cases) {
    const text = await raw(bytes)
    const [head = '', body = ''] = text.split('\r\n\r\n')
    note(input, Number(head.slice(9, 12)), body)
    expect.soft({ input, text }).toMatchObject({ text: expect.stringMatching(pattern) })
  }
})

test('an expired token, a sealed node and a lost majority say so', async () => {
  const { cluster } = running
  const made = await cluster.api.call(address, 'POST', 'auth/token/create', {
    token: cluster.rootToken,
    body: { ttl: '1s', policies: ['default'] },
  })
  const token = (made.body as { auth: { client_token: string } }).auth.client_token
  await delay(1_500)
  await attempt({ input: 'expired token', path: '/v1/auth/token/lookup-self', token, expect: 403, says: /permission denied/ })

  const leader = await waitForLeader(cluster)
  const [follower, other] = cluster.nodes.filter((node) => node !== leader)
  if (follower === undefined || other === undefined) throw new Error('expected two followers')
  address = other.apiAddress
  expect((await cluster.api.call(address, 'PUT', 'sys/seal', { token: cluster.rootToken })).status).toBe(204)
  // Its process is replaced meanwhile, and answers nobody for a moment.
  await delay(1_000)
  await cluster.waitForAnswer(other)
  await attempt({ input: 'sealed node', path: '/v1/secret/data/x', expect: 503, says: /Vault is sealed/ })
  await cluster.stopNode(other, 'SIGKILL')
  await cluster.stopNode(leader, 'SIGKILL')
  address = follower.apiAddress
  await delay(2_500)
  await attempt({ input: 'read without a majority', path: '/v1/secret/data/x', expect: 503, says: /leader|majority|active/ })
  await attempt({
    input: 'write without a majority',
    method: 'POST',
    path: '/v1/secret/data/x',
    body: '{"data":{"a":1}}',
    expect: 503,
    says: /leader|majority|active/,
  })
  await attempt({
    input: 'health without a majority',
    path: '/v1/sys/health?standbyok=true',
    token: null,
    expect: 503,
    says: /majority|leader/,
  })
})

test('docs/bad-inputs.md is this table', () => {
  const table = rows.map(({ input, status, message }) => `| ${input} | ${status} | ${message.replaceAll('|', '\\|') || '(no text)'} |`)
  const text = `# Bad inputs, and what they get\n\nMade by \`npm run e2e -- test/e2e/bad-input.test.ts\` with \`UPDATE_DOCS=1\`; the test fails when an answer is no longer the one below.\n\n| input | status | message |\n| --- | --- | --- |\n${table.join('\n')}\n`
  if (process.env['UPDATE_DOCS'] === '1') writeFileSync(docsPath, text)
  expect(readFileSync(docsPath, 'utf8')).toBe(text)
})
