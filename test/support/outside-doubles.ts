/** Doubles of what login methods ask outside, for one namespace: its own OpenID provider, API server, directory and authority. What one lets in, another does not. */
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose'
import { LdapDouble } from './ldap-double.ts'
import { OpenSsl, type Made } from './openssl.ts'
import { TokenReviewServer } from './token-review.ts'
import { WebServer, type Asked } from './web-server.ts'

export const oidcClient = 'holdfast'
/** The clock of a test that is not about time stands: what is signed once is good to its end. */
const signedSeconds = 600
const during = { from: '20200101000000Z', to: '20400101000000Z' }

/** An OpenID provider that lets everybody in: a code is the nonce that it is to put into the token. */
class ProviderDouble {
  readonly #web: WebServer
  readonly #key: CryptoKey
  readonly #jwk: JWK
  readonly #nowMs: () => number

  constructor(web: WebServer, key: CryptoKey, jwk: JWK, nowMs: () => number) {
    this.#web = web
    this.#key = key
    this.#jwk = jwk
    this.#nowMs = nowMs
    web.answer = (asked) => this.#answer(asked)
  }

  static async start(nowMs: () => number): Promise<ProviderDouble> {
    const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
    const web = await WebServer.start(() => ({ json: {} }))
    return new ProviderDouble(web, privateKey, { ...(await exportJWK(publicKey)), kid: web.url, alg: 'ES256' }, nowMs)
  }

  get issuer(): string {
    return this.#web.url
  }

  sign(claims: Readonly<Record<string, unknown>> = {}): Promise<string> {
    const now = Math.floor(this.#nowMs() / 1_000)
    return new SignJWT({ iss: this.issuer, aud: oidcClient, sub: 'carol', iat: now, exp: now + signedSeconds, ...claims })
      .setProtectedHeader({ alg: 'ES256', kid: this.issuer })
      .sign(this.#key)
  }

  async #answer({ path, body }: Asked): Promise<{ status?: number; json: unknown }> {
    if (path === '/.well-known/openid-configuration') {
      const at = (name: string): string => `${this.issuer}/${name}`
      return {
        json: {
          issuer: this.issuer,
          jwks_uri: at('jwks'),
          authorization_endpoint: at('authorize'),
          token_endpoint: at('token'),
          device_authorization_endpoint: at('device'),
        },
      }
    }
    if (path === '/jwks') return { json: { keys: [this.#jwk] } }
    if (path === '/device') return { json: { device_code: 'dc', user_code: 'uc', verification_uri: `${this.issuer}/enter`, interval: 1 } }
    if (path !== '/token') return { status: 404, json: {} }
    const nonce = new URLSearchParams(body).get('code')
    return { json: { id_token: await this.sign(nonce === null ? {} : { nonce }) } }
  }

  stop(): Promise<void> {
    return this.#web.stop()
  }
}

export interface OutsideParts {
  readonly provider: ProviderDouble
  readonly kubernetes: TokenReviewServer
  readonly directory: LdapDouble
  readonly authority: Made
  readonly client: Made
  /** Its authority's revocation list, PEM: nothing is revoked. */
  readonly revoked: string
}

export class Outsides {
  readonly #ssl = new OpenSsl()
  readonly #parts = new Map<string, OutsideParts>()
  readonly #nowMs: () => number

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs
  }

  /** Those of `name`: the same each time. `password` is that of uid=bob in its directory. */
  async of(name: string, password: string): Promise<OutsideParts> {
    const known = this.#parts.get(name)
    if (known !== undefined) return known
    const authority = this.#ssl.make(`${name}-ca`, null, { ca: true, ...during })
    const parts: OutsideParts = {
      provider: await ProviderDouble.start(this.#nowMs),
      kubernetes: await TokenReviewServer.start(this.#nowMs),
      directory: await LdapDouble.start(password),
      authority,
      client: this.#ssl.make(`${name}-client`, authority, { ...during, extensions: ['extendedKeyUsage=clientAuth'] }),
      revoked: this.#ssl.crl(authority, [], ['-crl_lastupdate', during.from, '-crl_nextupdate', during.to]),
    }
    this.#parts.set(name, parts)
    return parts
  }

  async dispose(): Promise<void> {
    this.#ssl.dispose()
    for (const { provider, kubernetes, directory } of this.#parts.values())
      await Promise.all([provider.stop(), kubernetes.stop(), directory.stop()])
  }
}
