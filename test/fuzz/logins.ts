/**
 * Login methods that somebody outside vouches for, on a server of their own over TLS: an OpenID provider, a TokenReview server, OpenLDAP, certificates of
 * openssl. They have to be real, and so has the clock: what a case names as a provider is waited for, in bounded time.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Agent, request } from 'undici'
import { freePorts, startCluster, waitForLeader, type TestCluster } from '#test/support/cluster.ts'
import { browse, OidcProvider } from '#test/support/oidc.ts'
import { OpenSsl, type Made } from '#test/support/openssl.ts'
import { Slapd } from '#test/support/slapd.ts'
import { TokenReviewServer } from '#test/support/token-review.ts'
import type { Judge } from './judge.ts'
import { Sender, type Document, type Sent } from './sender.ts'

const mounts = ['apikey', 'jwt', 'oidc', 'kubernetes', 'cert', 'ldap'] as const
const redirect = 'http://localhost:8250/oidc/callback'
const audience = ['vault']

/** The routes of `mounts` alone: the rest of the document has the other server. */
const ofLogins = ({ paths, ...more }: Document): Document => ({
  ...more,
  paths: Object.fromEntries(Object.entries(paths).filter(([path]) => mounts.some((name) => path.startsWith(`/auth/${name}/`)))),
})

export class Logins {
  readonly sender: Sender
  readonly #running: TestCluster
  readonly #ca: string
  readonly #ssl: OpenSsl
  readonly #authority: Made
  readonly #slapd: Slapd
  readonly #oidc: OidcProvider
  readonly #kubernetes: TokenReviewServer

  private constructor(parts: {
    running: TestCluster
    sender: Sender
    ca: string
    ssl: OpenSsl
    authority: Made
    slapd: Slapd
    oidc: OidcProvider
    kubernetes: TokenReviewServer
  }) {
    this.#running = parts.running
    this.sender = parts.sender
    this.#ca = parts.ca
    this.#ssl = parts.ssl
    this.#authority = parts.authority
    this.#slapd = parts.slapd
    this.#oidc = parts.oidc
    this.#kubernetes = parts.kubernetes
  }

  static async start(seed: number): Promise<Logins> {
    const ssl = new OpenSsl()
    const authority = ssl.make('authority', null, { ca: true })
    const server = ssl.make('server', authority, { extensions: ['subjectAltName=IP:127.0.0.1', 'extendedKeyUsage=serverAuth'] })
    const running = await startCluster({ nodes: 1, tls: true })
    const slapd = new Slapd(running.dir, await freePorts(2), { caPem: authority.pem, pem: server.pem, key: server.key })
    await slapd.start()
    const oidc = await OidcProvider.start()
    const kubernetes = await TokenReviewServer.start(Date.now, { key: server.key, cert: server.pem })
    const { apiAddress } = await waitForLeader(running.cluster)
    const ca = readFileSync(join(running.dir, 'tls', 'ca.crt'), 'utf8')
    const sender = new Sender({ address: apiAddress, ca, rootToken: running.cluster.rootToken, seed, lends: false, nowMs: Date.now })
    return new Logins({ running, sender, ca, ssl, authority, slapd, oidc, kubernetes })
  }

  /** Mounts, ground, and each route once with what succeeds there. @returns these routes. */
  async tour(judge: Judge): Promise<Document> {
    for (const type of mounts) await this.sender.write(`sys/auth/${type}`, { type })
    await this.sender.heal()
    const document = ofLogins(await this.sender.document())
    const go = new Tourist(this.sender, judge)
    await this.ground(go)
    await this.#byKey(go)
    for (const mount of ['jwt', 'oidc']) await this.#byProvider(go, mount)
    await this.#byReview(go)
    await this.#byCertificate(go, judge)
    await this.#byDirectory(go)
    await this.ground()
    return document
  }

  /** What a case may have changed: where the providers are, and what the roles ask for. */
  async ground(go: Tourist | null = null): Promise<void> {
    const write = async (template: string, body: object, path = template): Promise<void> => {
      if (go === null) await this.sender.write(path.slice(1), body as Record<string, unknown>)
      else await go.to('POST', template, body, path)
    }
    for (const mount of ['jwt', 'oidc']) {
      const client = { oidc_client_id: 'holdfast', oidc_client_secret: 'a client secret & more', default_role: 'staff' }
      await write(`/auth/${mount}/config`, { oidc_discovery_url: this.#oidc.issuer, ...client })
      const role = `/auth/${mount}/role/{name}`
      await write(role, { role_type: 'jwt', user_claim: 'sub', bound_audiences: 'vault' }, `/auth/${mount}/role/ci`)
      await write(role, { user_claim: 'sub', allowed_redirect_uris: redirect }, `/auth/${mount}/role/staff`)
      await write(role, { user_claim: 'sub', callback_mode: 'device' }, `/auth/${mount}/role/device`)
    }
    await write('/auth/kubernetes/config', {
      kubernetes_host: this.#kubernetes.web.url,
      kubernetes_ca_cert: this.#authority.pem,
      token_reviewer_jwt: 'reviewer',
    })
    const accounts = { bound_service_account_names: 'web', bound_service_account_namespaces: 'apps', audience: 'vault' }
    await write('/auth/kubernetes/role/{name}', accounts, '/auth/kubernetes/role/web')
    await write('/auth/cert/certs/{name}', { certificate: this.#authority.pem }, '/auth/cert/certs/machines')
    await write('/auth/ldap/config', {
      url: `ldap://127.0.0.1:${this.#slapd.port}`,
      // Once rotated, the password of that account is known to nobody after the next case that writes another.
      ...(go === null ? { binddn: '', bindpass: '' } : { binddn: 'uid=bob,ou=people,dc=example,dc=com', bindpass: 'bobs' }),
      userdn: 'ou=people,dc=example,dc=com',
      userattr: 'uid',
      groupdn: 'ou=groups,dc=example,dc=com',
    })
    await this.sender.write('sys/auth/ldap/tune', { user_lockout_config: { lockout_disable: true } })
    const names = { name: ['ci', 'staff', 'device', 'web', 'machines', 'ops'], username: ['alice', 'bob'], id: [] }
    for (const [name, values] of Object.entries(names)) this.sender.known.set(name, new Set(values))
  }

  async #byKey(go: Tourist): Promise<void> {
    const made = await go.to('POST', '/auth/apikey/key', { name: 'ci', token_policies: 'limited' })
    await go.to('GET', '/auth/apikey/key/', undefined, '/auth/apikey/key/?list=true')
    const at = `/auth/apikey/key/${made.data.id}`
    await go.to('GET', '/auth/apikey/key/{id}', undefined, at)
    await go.to('POST', '/auth/apikey/key/{id}', { token_ttl: 60 }, at)
    const next = await go.to('POST', '/auth/apikey/key/{id}/rotate', {}, `${at}/rotate`)
    await go.to('POST', '/auth/apikey/login', { key: next.data.key })
    await go.to('DELETE', '/auth/apikey/key/{id}', undefined, at)
  }

  async #byProvider(go: Tourist, mount: string): Promise<void> {
    const at = `/auth/${mount}`
    await go.to('GET', `${at}/config`)
    await go.names(`${at}/role`, 'spare', { role_type: 'jwt', user_claim: 'sub', bound_audiences: 'vault' })
    await go.to('POST', `${at}/login`, { role: 'ci', jwt: await this.#oidc.sign({}) })
    const begin = async (role: string): Promise<{ auth_url: string; state: string }> =>
      (await go.to('POST', `${at}/oidc/auth_url`, { role, redirect_uri: redirect, client_nonce: 'mine' })).data
    const back = async (): Promise<Record<string, string>> => {
      const { searchParams } = new URL(await browse((await begin('staff')).auth_url, 'alice'))
      return { state: searchParams.get('state')!, code: searchParams.get('code')!, client_nonce: 'mine' }
    }
    const query = new URLSearchParams(await back()).toString()
    await go.to('GET', `${at}/oidc/callback`, undefined, `${at}/oidc/callback?${query}`)
    await go.to('POST', `${at}/oidc/callback`, await back())
    const { auth_url, state } = await begin('device')
    await browse(auth_url, 'alice', (path, page) => {
      const hidden = Object.fromEntries(
        [...page.matchAll(/name="(xsrf|user_code)"[^>]*value="([^"]*)"/g)].map(([, name, value]) => [name!, value!]),
      )
      const code = new URL(auth_url).searchParams.get('user_code')
      return path.startsWith('/device') && hidden['xsrf'] !== undefined ? { ...hidden, user_code: code!, confirm: 'yes' } : null
    })
    await go.to('POST', `${at}/oidc/poll`, { state, client_nonce: 'mine' })
  }

  async #byReview(go: Tourist): Promise<void> {
    const at = '/auth/kubernetes'
    await go.to('GET', `${at}/config`)
    await go.names(`${at}/role`, 'spare', { bound_service_account_names: '*', bound_service_account_namespaces: 'apps' })
    await go.to('POST', `${at}/login`, { role: 'web', jwt: await this.#kubernetes.issue('apps/web', { audience }) })
  }

  async #byCertificate(go: Tourist, judge: Judge): Promise<void> {
    const at = '/auth/cert'
    await go.to('POST', `${at}/config`, { disable_binding: true })
    await go.to('GET', `${at}/config`)
    await go.names(`${at}/certs`, 'spare', { certificate: this.#authority.pem })
    await go.names(`${at}/crls`, 'spare', { crl: this.#ssl.crl(this.#authority, []) })
    const { pem, key } = this.#ssl.make('web', this.#authority, { extensions: ['extendedKeyUsage=clientAuth'] })
    const dispatcher = new Agent({ connect: { ca: this.#ca, cert: pem, key } })
    const url = `${this.#running.cluster.nodes[0]!.apiAddress}/v1${at}/login`
    const answer = await request(url, { method: 'POST', body: '{}', dispatcher })
    judge.note(`POST ${at}/login`, { status: answer.statusCode, text: await answer.body.text() }, { path: `${at}/login` })
    await dispatcher.destroy()
  }

  async #byDirectory(go: Tourist): Promise<void> {
    const at = '/auth/ldap'
    await go.to('GET', `${at}/config`)
    await go.names(`${at}/users`, 'alice', { policies: 'limited' })
    await go.names(`${at}/groups`, 'ops', { policies: 'limited' })
    await go.to('POST', `${at}/login/{username}`, { password: 'right' }, `${at}/login/alice`)
    await go.to('POST', `${at}/config/rotate-root`, {})
  }

  log(): string {
    return this.#running.cluster.nodes.map(({ logPath }) => readFileSync(logPath, 'utf8')).join('')
  }

  async dispose(): Promise<void> {
    await this.sender.close()
    await Promise.all([this.#slapd.stop(), this.#kubernetes.stop(), this.#oidc.away()])
    await this.#running.dispose()
    this.#ssl.dispose()
  }
}

/** Sends what should succeed, and has it counted. */
class Tourist {
  readonly #sender: Sender
  readonly #judge: Judge

  constructor(sender: Sender, judge: Judge) {
    this.#sender = sender
    this.#judge = judge
  }

  // oxlint-disable-next-line typescript/no-explicit-any -- parsed JSON of any answer
  async to(method: string, template: string, body?: object, path = template): Promise<{ readonly data: any }> {
    const sent: Sent = await this.#sender.request(method, path.slice(1), { body })
    this.#judge.note(`${method} ${template}`, sent, { path, body })
    if (sent.status >= 300) console.log(`tour of logins: ${method} ${path.slice(0, 80)}: ${sent.status} ${sent.text.slice(0, 200)}`)
    const parsed = sent.text.startsWith('{') ? JSON.parse(sent.text) : {}
    return { data: parsed.data ?? parsed }
  }

  /** Written, listed, read and deleted, by one name. */
  async names(folder: string, name: string, body: object): Promise<void> {
    const [template, path] = [`${folder}/{name}`, `${folder}/${name}`]
    await this.to('POST', template, body, path)
    await this.to('GET', `${folder}/`, undefined, `${folder}/?list=true`)
    await this.to('GET', template, undefined, path)
    await this.to('DELETE', template, undefined, path)
  }
}
