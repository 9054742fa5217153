/**
 * A TokenReview server of the tests' own (authentication.k8s.io/v1), over TLS: it issues service accounts' tokens, and vouches for those whose signature,
 * time, audience and account it finds good, as Kubernetes documents it.
 */
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { jwtVerify, SignJWT } from 'jose'
import { WebServer, type Asked } from './web-server.ts'

const serverAudience = 'https://kubernetes.default.svc'
const issuer = 'https://kubernetes.default.svc.cluster.local'

export class TokenReviewServer {
  readonly web: WebServer
  readonly keys: { readonly publicKey: KeyObject; readonly privateKey: KeyObject }
  /** Accounts that exist: 'namespace/name' to uid. */
  readonly accounts = new Map<string, string>([['apps/web', 'uid-web']])
  /** Tokens that may ask for reviews. */
  readonly reviewers = new Set<string>(['reviewer'])
  nowMs: () => number

  private constructor(web: WebServer, nowMs: () => number) {
    this.web = web
    this.nowMs = nowMs
    this.keys = generateKeyPairSync('rsa', { modulusLength: 2_048 })
  }

  static async start(nowMs: () => number, tls: { key: string; cert: string } | null = null): Promise<TokenReviewServer> {
    const web = await WebServer.start(() => ({ json: {} }), tls)
    const server = new TokenReviewServer(web, nowMs)
    web.answer = (asked) => server.#answer(asked)
    return server
  }

  publicKeyPem(): string {
    return this.keys.publicKey.export({ type: 'spki', format: 'pem' }).toString()
  }

  /** A token as a pod gets it. */
  issue(
    account = 'apps/web',
    options: { audience?: string[]; seconds?: number; startsInSeconds?: number; key?: KeyObject } = {},
  ): Promise<string> {
    const [namespace = '', name = ''] = account.split('/')
    const now = Math.floor(this.nowMs() / 1_000)
    const uid = this.accounts.get(account) ?? 'uid-unknown'
    return new SignJWT({ 'kubernetes.io': { namespace, serviceaccount: { name, uid } } })
      .setProtectedHeader({ alg: 'RS256' })
      .setIssuer(issuer)
      .setSubject(`system:serviceaccount:${namespace}:${name}`)
      .setAudience(options.audience ?? [serverAudience])
      .setNotBefore(now + (options.startsInSeconds ?? 0))
      .setExpirationTime(now + (options.seconds ?? 600))
      .sign(options.key ?? this.keys.privateKey)
  }

  #answer({ method, path, headers, body }: Asked): { status?: number; json: unknown } | Promise<{ status?: number; json: unknown }> {
    if (method !== 'POST' || path !== '/apis/authentication.k8s.io/v1/tokenreviews') return { status: 404, json: { kind: 'Status' } }
    const bearer = headers.authorization?.replace(/^Bearer /, '') ?? ''
    return this.#review(bearer, JSON.parse(body) as { spec: { token: string; audiences?: string[] } })
  }

  async #review(bearer: string, { spec }: { spec: { token: string; audiences?: string[] } }): Promise<{ status?: number; json: unknown }> {
    const own = bearer === spec.token
    if (!own && !this.reviewers.has(bearer)) return { status: 401, json: { kind: 'Status', code: 401 } }
    const asked = spec.audiences ?? [serverAudience]
    const envelope = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview' }
    try {
      const { payload } = await jwtVerify(spec.token, this.keys.publicKey, {
        algorithms: ['RS256'],
        issuer,
        currentDate: new Date(this.nowMs()),
        audience: asked,
      })
      const claims = payload['kubernetes.io'] as { namespace: string; serviceaccount: { name: string; uid: string } }
      const account = `${claims.namespace}/${claims.serviceaccount.name}`
      // Deleted, or made again by the same name: the token is of the one before.
      if (this.accounts.get(account) !== claims.serviceaccount.uid) throw new Error('service account is gone')
      const audiences = asked.filter((each) => [payload.aud].flat().includes(each))
      const user = { username: payload.sub, uid: claims.serviceaccount.uid, groups: ['system:serviceaccounts'] }
      return { status: 201, json: { ...envelope, status: { authenticated: true, user, audiences } } }
    } catch {
      return { status: 201, json: { ...envelope, status: { authenticated: false, error: 'invalid bearer token' } } }
    }
  }

  stop(): Promise<void> {
    return this.web.stop()
  }
}
