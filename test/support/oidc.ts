/** A real OpenID provider (npm oidc-provider) on loopback, and a browser that logs in at it. */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose'
import Provider from 'oidc-provider'
import { request, type Dispatcher } from 'undici'

type Handler = ReturnType<Provider['callback']>

export class OidcProvider {
  readonly issuer: string
  readonly port: number
  #server: Server
  #handler: Handler = () => {}
  #key: { kid: string; privateKey: CryptoKey } | null = null
  #generation = 0

  private constructor(server: Server) {
    this.#server = server
    this.port = (server.address() as AddressInfo).port
    this.issuer = `http://127.0.0.1:${this.port}`
  }

  static async start(): Promise<OidcProvider> {
    let own: OidcProvider | null = null
    const server = createServer((incoming, outgoing) => own?.handle(incoming, outgoing))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    own = new OidcProvider(server)
    await own.rotate()
    return own
  }

  handle(...given: Parameters<Handler>): void {
    this.#handler(...given)
  }

  /** Signs with another key from now on, and shows no other. */
  async rotate(): Promise<void> {
    this.#generation += 1
    const { privateKey } = await generateKeyPair('RS256', { extractable: true })
    const kid = `key-${this.#generation}`
    this.#key = { kid, privateKey }
    const jwk: JWK = { ...(await exportJWK(privateKey)), kid, alg: 'RS256', use: 'sig' }
    this.#handler = new Provider(this.issuer, configuration(jwk)).callback()
  }

  /** A token as the provider signs them. */
  sign(claims: Readonly<Record<string, unknown>>, key: CryptoKey | null = null): Promise<string> {
    const now = Math.floor(Date.now() / 1_000)
    const { kid, privateKey } = this.#key!
    return new SignJWT({ iss: this.issuer, aud: 'vault', sub: 'ci', iat: now, exp: now + 300, ...claims })
      .setProtectedHeader({ alg: 'RS256', kid })
      .sign(key ?? privateKey)
  }

  /** Nobody answers any more; `start` again by `back`. */
  async away(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }

  async back(): Promise<void> {
    this.#server = createServer((incoming, outgoing) => this.handle(incoming, outgoing))
    await new Promise<void>((resolve) => this.#server.listen(this.port, '127.0.0.1', resolve))
  }
}

const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code'

const configuration = (jwk: JWK) => ({
  jwks: { keys: [jwk] },
  clients: [
    {
      client_id: 'holdfast',
      client_secret: 'a client secret & more',
      application_type: 'native',
      redirect_uris: ['http://localhost/oidc/callback'],
      grant_types: ['authorization_code', deviceGrant],
      response_types: ['code'],
    },
  ],
  claims: { openid: ['sub'], groups: ['groups'], email: ['email'] },
  cookies: { keys: ['a key of the tests'] },
  features: { devInteractions: { enabled: true }, deviceFlow: { enabled: true } },
  findAccount: (_: unknown, sub: string) => ({
    accountId: sub,
    claims: () => ({ sub, groups: sub === 'alice' ? ['ops', 'eng'] : [], email: `${sub}@example.com` }),
  }),
})

/** A browser without a screen: cookies, redirects, and the forms of the provider. Ends where it is sent away from the provider. */
export async function browse(
  url: string,
  login: string,
  extra: (path: string, page: string) => Record<string, string> | null = () => null,
): Promise<string> {
  const jar = new Map<string, string>()
  const origin = new URL(url).origin
  let at = url
  let form: Record<string, string> | null = null
  for (let step = 0; step < 20; step += 1) {
    const answer: Dispatcher.ResponseData = await request(at, {
      method: form === null ? 'GET' : 'POST',
      headers: {
        cookie: [...jar].map(([name, value]) => `${name}=${value}`).join('; '),
        ...(form === null ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
      },
      ...(form === null ? {} : { body: new URLSearchParams(form).toString() }),
    })
    for (const cookie of [answer.headers['set-cookie'] ?? []].flat()) {
      const [pair = ''] = cookie.split(';')
      jar.set(pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1))
    }
    const page: string = await answer.body.text()
    form = null
    const location = answer.headers['location']
    if (typeof location === 'string') {
      at = new URL(location, at).href
      if (new URL(at).origin !== origin) return at
      continue
    }
    const path = new URL(at).pathname
    const own = extra(path, page)
    const action = /action="([^"]+)"/.exec(page)?.[1]
    const prompt = /name="prompt" value="(\w+)"/.exec(page)?.[1]
    if (own !== null) form = own
    else if (prompt !== undefined) form = prompt === 'login' ? { prompt, login, password: 'any' } : { prompt }
    else return page
    if (action !== undefined) at = new URL(action, at).href
  }
  throw new Error('expected the browser to come to an end, got 20 pages')
}
