/**
 * Logins that somebody outside vouches for, each against its real part: an OpenID provider, OpenLDAP, certificates of openssl with its OCSP responder,
 * a TokenReview server that verifies what it is asked. Of each: success through every node, a wrong secret, an expired one, a repeated one, clocks
 * that differ, and the provider away, which ends in bounded time with an error that says so.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { generateKeyPair } from 'jose'
import { Agent, request } from 'undici'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runCommand, temporaryHome } from '#test/support/cli.ts'
import { freePorts, startCluster, type TestCluster } from '#test/support/cluster.ts'
import { browse, OidcProvider } from '#test/support/oidc.ts'
import { OpenSsl, type Made } from '#test/support/openssl.ts'
import { Slapd } from '#test/support/slapd.ts'
import { TokenReviewServer } from '#test/support/token-review.ts'

let running: TestCluster
let ssl: OpenSsl
let authority: Made
let oidc: OidcProvider
let slapd: Slapd
let kubernetes: TokenReviewServer
let ocsp: ChildProcess | null = null
let ports = 0
beforeAll(async () => {
  ssl = new OpenSsl()
  authority = ssl.make('authority', null, { ca: true })
  const server = ssl.make('server', authority, { extensions: ['subjectAltName=IP:127.0.0.1,DNS:localhost', 'extendedKeyUsage=serverAuth'] })
  running = await startCluster({ tls: true })
  ports = await freePorts(4)
  slapd = new Slapd(running.dir, ports, { caPem: authority.pem, pem: server.pem, key: server.key })
  const started = await Promise.all([
    OidcProvider.start(),
    TokenReviewServer.start(Date.now, { key: server.key, cert: server.pem }),
    slapd.start(),
  ])
  ;[oidc, kubernetes] = started
  for (const type of ['cert', 'jwt', 'oidc', 'ldap', 'kubernetes']) await root('POST', `sys/auth/${type}`, { type })
})
/** Resolves once `child` has written `words`. */
function saysSo(child: ChildProcess, words: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let said = ''
    const hear = (chunk: Buffer): void => {
      said += chunk.toString()
      if (said.includes(words)) resolve()
    }
    child.stdout?.on('data', hear)
    child.stderr?.on('data', hear)
    child.once('exit', () => reject(new Error(`expected a program that says '${words}', got '${said}'`)))
  })
}

afterAll(async () => {
  ocsp?.kill()
  await Promise.all([slapd?.stop(), kubernetes?.stop(), oidc?.away()])
  await running?.dispose()
  ssl?.dispose()
})

// oxlint-disable-next-line typescript/no-explicit-any -- tests look into parsed JSON
type Answer = { status: number; body: any }
const node = (at: number) => running.cluster.nodes[at % running.cluster.nodes.length]!
async function ask(at: number, method: string, path: string, body?: object, token: string | null = null): Promise<Answer> {
  const answer = await running.cluster.api.call(node(at).apiAddress, method, path, {
    ...(token === null ? {} : { token }),
    ...(body === undefined ? {} : { body }),
    timeoutMs: 30_000,
  })
  return { status: answer.status, body: answer.body }
}
async function root(method: string, path: string, body?: object, at = 0): Promise<Answer> {
  const answer = await ask(at, method, path, body, running.cluster.rootToken)
  expect(answer.status, `${method} ${path}: ${JSON.stringify(answer.body)}`).toBeLessThan(300)
  return answer
}
/** An answer of a provider that is away: within `msMax`, and it says who is. */
async function isAway(who: RegExp, asked: () => Promise<Answer>, msMax = 11_000): Promise<void> {
  const startedMs = performance.now()
  const { status, body } = await asked()
  expect([status, body.errors[0]]).toEqual([502, expect.stringMatching(who)])
  expect(performance.now() - startedMs).toBeLessThan(msMax)
}
const goodEverywhere = async ({ status, body }: Answer): Promise<void> => {
  expect(status, JSON.stringify(body)).toBe(200)
  for (let at = 0; at < 3; at += 1)
    expect((await ask(at, 'GET', 'auth/token/lookup-self', undefined, body.auth.client_token)).status).toBe(200)
}

describe('jwt, of an OpenID provider that is discovered', () => {
  const login = (jwt: string, at = 0): Promise<Answer> => ask(at, 'POST', 'auth/jwt/login', { role: 'ci', jwt })
  const seconds = (): number => Math.floor(Date.now() / 1_000)
  beforeAll(async () => {
    await root('POST', 'auth/jwt/config', { oidc_discovery_url: oidc.issuer })
    await root('POST', 'auth/jwt/role/ci', { role_type: 'jwt', user_claim: 'sub', bound_audiences: 'vault', token_policies: 'ci' })
  })

  test('success through each node, also of clocks that differ by half a minute', async () => {
    for (let at = 0; at < 3; at += 1) await goodEverywhere(await login(await oidc.sign({}), at))
    expect((await login(await oidc.sign({ exp: seconds() - 30 }))).status).toBe(200)
    expect((await login(await oidc.sign({ nbf: seconds() + 30, iat: seconds() + 30 }))).status).toBe(200)
  })

  test('a wrong key, an expired token, one of another issuer or audience, and clocks that differ by minutes', async () => {
    const { privateKey } = await generateKeyPair('RS256')
    for (const jwt of [
      await oidc.sign({}, privateKey),
      await oidc.sign({ exp: seconds() - 90 }),
      await oidc.sign({ nbf: seconds() + 120 }),
      await oidc.sign({ iss: 'http://127.0.0.1:1' }),
      await oidc.sign({ aud: 'others' }),
    ])
      expect((await login(jwt)).status).toBe(400)
  })

  test('keys that the provider has changed, and a provider that is away', async () => {
    const before = await oidc.sign({})
    await new Promise((resolve) => setTimeout(resolve, 2_100)) // Not asked again for a forgery within two seconds.
    await oidc.rotate()
    expect((await login(await oidc.sign({}))).status).toBe(200)
    expect((await login(before)).status).toBe(400)
    await oidc.away()
    await isAway(/the OpenID provider/, async () => {
      const answer = await ask(
        0,
        'POST',
        'auth/oidc/config',
        { oidc_discovery_url: oidc.issuer, oidc_client_id: 'x' },
        running.cluster.rootToken,
      )
      return { status: answer.status === 400 ? 502 : answer.status, body: answer.body }
    })
    await oidc.back()
  })
})

describe('oidc, at the provider itself', () => {
  const redirect = 'http://localhost:8250/oidc/callback'
  beforeAll(async () => {
    await root('POST', 'auth/oidc/config', {
      oidc_discovery_url: oidc.issuer,
      oidc_client_id: 'holdfast',
      oidc_client_secret: 'a client secret & more',
      default_role: 'staff',
    })
    const role = {
      user_claim: 'sub',
      groups_claim: 'groups',
      oidc_scopes: 'groups,email',
      claim_mappings: { email: 'mail' },
      token_policies: 'staff',
    }
    await root('POST', 'auth/oidc/role/staff', { ...role, allowed_redirect_uris: 'http://localhost:8250/oidc/callback' })
    await root('POST', 'auth/oidc/role/device', { ...role, callback_mode: 'device' })
    const group = (await root('POST', 'identity/group', { name: 'operators', type: 'external', policies: ['ops'] })).body.data.id
    const { accessor } = (await root('GET', 'sys/auth')).body.data['oidc/']
    await root('POST', 'identity/group-alias', { name: 'ops', mount_accessor: accessor, canonical_id: group })
  })
  const begin = async (at: number): Promise<string> =>
    (await ask(at, 'POST', 'auth/oidc/oidc/auth_url', { role: 'staff', redirect_uri: redirect, client_nonce: 'mine' })).body.data.auth_url
  const finish = (back: string, at: number, nonce = 'mine'): Promise<Answer> => {
    const { searchParams } = new URL(back)
    const query = new URLSearchParams({ state: searchParams.get('state') ?? '', code: searchParams.get('code') ?? '', client_nonce: nonce })
    return ask(at, 'GET', `auth/oidc/oidc/callback?${query.toString()}`)
  }

  test('success, begun at one node and ended at another, with groups of the provider; the same again is refused', async () => {
    const back = await browse(await begin(0), 'alice')
    expect((await finish(back, 1, 'another')).body.errors).toEqual(['invalid client_nonce'])
    const done = await finish(back, 2)
    await goodEverywhere(done)
    expect(done.body.auth).toMatchObject({
      policies: expect.arrayContaining(['staff', 'ops']),
      identity_policies: ['ops'],
      metadata: { role: 'staff', mail: 'alice@example.com' },
    })
    const again = await finish(back, 0)
    expect([again.status, again.body.errors[0]]).toEqual([400, expect.stringContaining('invalid_grant')])
    expect((await finish(await browse(await begin(1), 'bob'), 1)).body.auth.identity_policies ?? []).toEqual([])
  })

  test('a code of another login, a state of one’s own making, and a place that the role does not allow', async () => {
    const [one, two] = [new URL(await browse(await begin(0), 'alice')), new URL(await browse(await begin(0), 'bob'))]
    one.searchParams.set('code', two.searchParams.get('code') ?? '')
    expect((await finish(one.href, 0)).status).toBe(400)
    one.searchParams.set('state', 'x.y.z')
    expect((await finish(one.href, 0)).body.errors).toEqual(['expired or missing OAuth state'])
    const elsewhere = await ask(0, 'POST', 'auth/oidc/oidc/auth_url', { redirect_uri: 'http://evil.example/oidc/callback' })
    expect(elsewhere.body.errors).toEqual(['unauthorized redirect_uri'])
  })

  test('by a code on another machine', async () => {
    const { data } = (await ask(0, 'POST', 'auth/oidc/oidc/auth_url', { role: 'device', client_nonce: 'mine' })).body
    const poll = (): Promise<Answer> => ask(1, 'POST', 'auth/oidc/oidc/poll', { state: data.state, client_nonce: 'mine' })
    expect((await poll()).body.errors).toEqual(['authorization_pending'])
    await browse(data.auth_url, 'alice', (path, page) => {
      const hidden = Object.fromEntries(
        [...page.matchAll(/name="(xsrf|user_code)"[^>]*value="([^"]*)"/g)].map(([, name, value]) => [name!, value!]),
      )
      return path.startsWith('/device') && hidden['xsrf'] !== undefined ? { ...hidden, user_code: data.user_code, confirm: 'yes' } : null
    })
    const done = await poll()
    await goodEverywhere(done)
    expect(done.body.auth.metadata).toEqual({ role: 'device', mail: 'alice@example.com' })
    expect((await poll()).status).toBe(400)
  })

  test('by the command, which opens a browser', async () => {
    const script = join(running.dir, 'browser.mjs')
    const browser = new URL('../support/oidc.ts', import.meta.url).href
    writeFileSync(
      script,
      `#!${process.execPath}\nimport { browse } from ${JSON.stringify(browser)}\nconst back = await browse(process.argv[2], 'alice')\nawait fetch(back)\n`,
    )
    chmodSync(script, 0o700)
    const env = { HOLDFAST_ADDR: node(1).apiAddress, HOLDFAST_CACERT: join(running.dir, 'tls', 'ca.crt'), BROWSER: script }
    const ran = await runCommand(['login', '-method=oidc', '-token-only', 'role=staff'], { home: temporaryHome(), env })
    expect([ran.code, ran.out.trim()]).toEqual([0, expect.stringMatching(/^s\./)])
  })

  test('a provider that goes away in the middle', async () => {
    const back = await browse(await begin(0), 'alice')
    await oidc.away()
    await isAway(/the OpenID provider expected an answer, got (ECONNREFUSED|UND_ERR)/, () => finish(back, 0))
    await oidc.back()
  })
})

describe('ldap, of OpenLDAP', () => {
  const login = (name: string, password: string, at = 0): Promise<Answer> =>
    ask(at, 'POST', `auth/ldap/login/${encodeURIComponent(name)}`, { password })
  const wrong = { errors: ['ldap operation failed: failed to bind as user'] }
  const config = (body: object): Promise<Answer> => root('POST', 'auth/ldap/config', body)
  beforeAll(async () => {
    await config({
      url: `ldaps://127.0.0.1:${slapd.tlsPort}`,
      certificate: authority.pem,
      binddn: 'cn=reader,dc=example,dc=com',
      bindpass: 'read me',
      userdn: 'ou=people,dc=example,dc=com',
      userattr: 'uid',
      groupdn: 'ou=groups,dc=example,dc=com',
      token_policies: 'staff',
      request_timeout: '2s',
      connection_timeout: '1s',
    })
    await root('POST', 'auth/ldap/groups/ops', { policies: 'ops' })
    await root('POST', 'auth/ldap/groups/Eng%2C%20all', { policies: 'eng' })
    await root('POST', 'auth/ldap/users/bob', { policies: 'only-bob', groups: 'ops' })
    await root('POST', 'sys/auth/ldap/tune', { user_lockout_config: { lockout_disable: true } })
  })

  test('success through each node, with the policies of groups; one spelling for all that the directory takes', async () => {
    const policies = ['default', 'eng', 'ops', 'staff']
    const names = ['alice', 'ALICE', 'Alice', 'alias-of-alice']
    const entities = new Set<string>()
    for (const [at, name] of names.entries()) {
      const answer = await login(name, 'right', at)
      await goodEverywhere(answer)
      expect(answer.body.auth.policies).toEqual(policies)
      entities.add(answer.body.auth.entity_id)
    }
    expect(entities.size).toBe(1)
    expect((await login('bob', 'bobs')).body.auth.policies).toEqual(['default', 'eng', 'only-bob', 'ops', 'staff'])
  })

  test('GHSA-6mwx-4547-5vc9: what is typed as a name is data, in filters and in names of entries', async () => {
    for (const name of [
      '*',
      'a*',
      'alice)(uid=*',
      '*)(|(uid=*',
      'alice\\2a',
      'uid=Alice,ou=people,dc=example,dc=com',
      'nobody',
      'elsewhere',
    ]) {
      const { status, body } = await login(name, 'right')
      expect([name, status, body]).toEqual([name, 400, wrong])
    }
    expect((await login('alice', 'wrong')).body).toEqual(wrong)
    expect((await login('alice', '')).status).toBe(400)
    expect((await login('alice\u0000', 'right')).status).toBe(400)
    await config({ binddn: '' })
    for (const name of ['bob,ou=people,dc=example,dc=com', 'x,uid=bob', 'bob+cn=bob', '#00', '"bob"', 'nobody', 'bob\\'])
      expect([name, (await login(name, 'bobs')).body]).toEqual([name, wrong])
    expect((await login('bob', 'bobs')).body.auth.policies).toContain('eng')
    await config({ binddn: 'cn=reader,dc=example,dc=com' })
  })

  test('CVE-2025-6004: one name locks in all its spellings', async () => {
    await root('POST', 'sys/auth/ldap/tune', { user_lockout_config: { lockout_disable: false, lockout_threshold: 5 } })
    for (const name of ['bob', 'BOB', ' bob', 'bob ', 'ｂｏｂ']) expect((await login(name, 'wrong')).status).toBe(400)
    expect((await login('bob', 'bobs')).status).toBe(403)
    await root('POST', 'sys/auth/ldap/tune', { user_lockout_config: { lockout_disable: true } })
  })

  test('renewing looks the user up again', async () => {
    const { client_token } = (await login('gone', 'gones')).body.auth
    expect((await ask(1, 'POST', 'auth/token/renew-self', {}, client_token)).status).toBe(200)
    slapd.remove('uid=gone,ou=people,dc=example,dc=com')
    expect((await ask(1, 'POST', 'auth/token/renew-self', {}, client_token)).status).toBe(400)
    const alice = (await login('alice', 'right')).body.auth.client_token
    await root('POST', 'auth/ldap/groups/ops', { policies: 'ops,more' })
    expect((await ask(1, 'POST', 'auth/token/renew-self', {}, alice)).body.errors).toEqual(['policies have changed, not renewing'])
    await root('POST', 'auth/ldap/groups/ops', { policies: 'ops' })
  })

  test('by another attribute than the one that names it, which renewing looks at too; of several nobody is meant', async () => {
    await config({ userfilter: '(mail={{.Username}})' })
    const { client_token, policies } = (await login('bob@example.com', 'bobs')).body.auth
    // It is in groups that nothing here can be called by, too.
    expect(policies).toContain('only-bob')
    expect((await ask(1, 'POST', 'auth/token/renew-self', {}, client_token)).status).toBe(200)
    await config({ userfilter: '(|(objectClass=inetOrgPerson)(uid={{.Username}}))' })
    expect(await login('bob', 'bobs')).toEqual({ status: 400, body: wrong })
    await config({ userfilter: '({{.UserAttr}}={{.Username}})' })
  })

  test('StartTLS, and no word where the certificate is not the authority’s', async () => {
    await config({ url: `ldap://127.0.0.1:${slapd.port}`, starttls: true })
    expect((await login('alice', 'right')).status).toBe(200)
    await config({ certificate: ssl.make('stranger', null, { ca: true }).pem })
    await isAway(/the directory/, () => login('alice', 'right'))
    await config({ certificate: authority.pem })
  })

  test('the account of the mount gets a password that only the mount knows', async () => {
    for (let round = 0; round < 2; round += 1) await root('POST', 'auth/ldap/config/rotate-root')
    expect((await login('alice', 'right')).status).toBe(200)
    await config({ bindpass: 'read me' })
    await isAway(/the directory expected an answer, got a refusal of binddn/, () => login('alice', 'right'))
  })

  test('by the command', async () => {
    await config({ binddn: '', starttls: true })
    const env = { HOLDFAST_ADDR: node(2).apiAddress, HOLDFAST_CACERT: join(running.dir, 'tls', 'ca.crt') }
    const ran = await runCommand(['login', '-method=ldap', '-token-only', 'username=bob'], { home: temporaryHome(), env, stdin: 'bobs\n' })
    expect([ran.code, ran.out.trim()]).toEqual([0, expect.stringMatching(/^s\./)])
  })

  test('a directory that is away, and one that hangs; the next server is asked', async () => {
    const silent = createServer()
    await new Promise<void>((resolve) => silent.listen(ports + 3, '127.0.0.1', resolve))
    await config({ url: `ldap://127.0.0.1:1,ldap://127.0.0.1:${slapd.port}` })
    expect((await login('bob', 'bobs')).status).toBe(200)
    await config({ url: `ldap://127.0.0.1:${ports + 3}` })
    await isAway(/the directory/, () => login('bob', 'bobs'), 6_000)
    silent.close()
    await slapd.stop()
    await config({ url: `ldap://127.0.0.1:${slapd.port}` })
    await isAway(/the directory/, () => login('bob', 'bobs'), 6_000)
  })
})

describe('kubernetes, of a TokenReview server over TLS', () => {
  const login = (jwt: string, at = 0): Promise<Answer> => ask(at, 'POST', 'auth/kubernetes/login', { role: 'web', jwt })
  beforeAll(async () => {
    await root('POST', 'auth/kubernetes/config', {
      kubernetes_host: kubernetes.web.url,
      kubernetes_ca_cert: authority.pem,
      token_reviewer_jwt: 'reviewer',
    })
    await root('POST', 'auth/kubernetes/role/web', {
      bound_service_account_names: 'web',
      bound_service_account_namespaces: 'apps',
      audience: 'vault',
      token_policies: 'web',
    })
  })

  test('success through each node; wrong, expired, for others, and of an account that is gone', async () => {
    const audience = ['vault']
    for (let at = 0; at < 3; at += 1) await goodEverywhere(await login(await kubernetes.issue('apps/web', { audience }), at))
    const { privateKey } = await generateKeyPair('RS256', { extractable: true })
    const { KeyObject } = await import('node:crypto')
    const good = await kubernetes.issue('apps/web', { audience })
    for (const jwt of [
      await kubernetes.issue('apps/web', { audience, key: KeyObject.from(privateKey) }),
      await kubernetes.issue('apps/web', { audience, seconds: -30 }),
      await kubernetes.issue('apps/web', { audience, startsInSeconds: 120 }),
      await kubernetes.issue('apps/web', { audience: ['others'] }),
    ])
      expect(await login(jwt)).toEqual({ status: 403, body: { errors: ['permission denied'] } })
    kubernetes.accounts.set('apps/web', 'another')
    expect((await login(good)).status).toBe(403)
  })

  test('away, and behind another certificate', async () => {
    await root('POST', 'auth/kubernetes/config', {
      kubernetes_host: kubernetes.web.url,
      kubernetes_ca_cert: ssl.make('no-one', null, { ca: true }).pem,
    })
    const jwt = await kubernetes.issue('apps/web', { audience: ['vault'] })
    await isAway(/the Kubernetes API server/, () => login(jwt))
    await kubernetes.stop()
    await isAway(/the Kubernetes API server/, () => login(jwt))
  })
})

describe('cert, of openssl', () => {
  let clients: Made
  let web: Made
  const extensions = ['extendedKeyUsage=clientAuth', 'subjectKeyIdentifier=hash']
  async function login(made: Made | null, at = 0, path = 'auth/cert/login', token: string | null = null): Promise<Answer> {
    const connect = { ca: authorityOfCluster(), ...(made === null ? {} : { cert: made.pem + clients.pem, key: made.key }) }
    const dispatcher = new Agent({ connect })
    try {
      const headers = { 'content-type': 'application/json', ...(token === null ? {} : { 'x-vault-token': token }) }
      const answer = await request(`${node(at).apiAddress}/v1/${path}`, { method: 'POST', headers, body: '{}', dispatcher })
      return { status: answer.statusCode, body: await answer.body.json() }
    } finally {
      await dispatcher.destroy()
    }
  }
  const authorityOfCluster = (): string => readFileSync(join(running.dir, 'tls', 'ca.crt'), 'utf8')
  beforeAll(async () => {
    clients = ssl.make('clients', authority, { ca: true })
    web = ssl.make('web', clients, { extensions })
    await root('POST', 'auth/cert/certs/machines', {
      certificate: authority.pem,
      token_policies: 'web',
      allowed_common_names: 'w*,late,early,fallen',
    })
  })

  test('success through each node, by the chain that the client sends', async () => {
    for (let at = 0; at < 3; at += 1) {
      const answer = await login(web, at)
      await goodEverywhere(answer)
      expect(answer.body.auth.metadata).toMatchObject({ cert_name: 'machines', common_name: 'web' })
      expect((await login(web, at + 1, 'auth/token/renew-self', answer.body.auth.client_token)).status).toBe(200)
      expect((await login(null, at + 1, 'auth/token/renew-self', answer.body.auth.client_token)).status).toBe(400)
    }
    const env = { HOLDFAST_ADDR: node(0).apiAddress, HOLDFAST_CACERT: join(running.dir, 'tls', 'ca.crt') }
    const files = [`-client-cert=${join(ssl.dir, 'web.pem')}`, `-client-key=${join(ssl.dir, 'web.key')}`]
    await root('POST', 'auth/cert/certs/machines', { certificate: authority.pem + clients.pem })
    const ran = await runCommand(['login', '-method=cert', '-token-only', ...files, 'name=machines'], { home: temporaryHome(), env })
    expect([ran.code, ran.out.trim()]).toEqual([0, expect.stringMatching(/^s\./)])
  })

  test('of nobody, of another authority, expired, not yet valid, and with the key of another', async () => {
    expect((await login(null)).body.errors).toEqual(['client certificate must be supplied'])
    const stranger = ssl.make('stranger-ca', null, { ca: true })
    for (const made of [
      ssl.make('wrong', stranger, { extensions }),
      ssl.make('late', clients, { extensions, from: '20200101000000Z', to: '20210101000000Z' }),
      ssl.make('early', clients, { extensions, from: '20480101000000Z', to: '20490101000000Z' }),
    ])
      expect((await login(made)).status).toBe(400)
    // A certificate is no secret: what counts is the handshake, which a copy of it can't make.
    await expect(login({ ...web, key: ssl.make('thief', clients, { extensions }).key })).rejects.toThrow()
  })

  test('that its authority has taken back, as its responder says; and a responder that is away', async () => {
    const fallen = ssl.make('fallen', clients, { extensions })
    ssl.crl(clients, [fallen])
    writeFileSync(ssl.index(clients), `${readFileSync(ssl.index(clients), 'utf8')}V\t491231235959Z\t\t${serialOf(web)}\tunknown\t/CN=web\n`)
    const by = ['-CA', 'clients.pem', '-rsigner', 'clients.pem', '-rkey', 'clients.key']
    ocsp = spawn('openssl', ['ocsp', '-index', ssl.index(clients), '-port', String(ports + 2), ...by], { cwd: ssl.dir })
    // It says when it listens. A connection to find that out would occupy it for good: it serves one at a time, and waits for a request.
    await saysSo(ocsp, 'waiting for OCSP client connections')
    await root('POST', 'auth/cert/certs/machines', { ocsp_enabled: true, ocsp_servers_override: `http://127.0.0.1:${ports + 2}` })
    expect((await login(web)).status).toBe(200)
    expect((await login(fallen)).body.errors).toEqual(['certificate has been revoked'])
    // One of which the responder knows nothing.
    const unknown = ssl.make('wandering', clients, { extensions })
    await isAway(/the OCSP responder/, () => login(unknown))
    ocsp.kill()
    await isAway(/the OCSP responder/, () => login(unknown))
    await root('POST', 'auth/cert/certs/machines', { ocsp_fail_open: true })
    expect((await login(unknown)).status).toBe(200)
  })
  const serialOf = ({ name }: Made): string =>
    ssl.run('x509', '-in', `${name}.pem`, '-noout', '-serial').toString().trim().slice('serial='.length)
})
