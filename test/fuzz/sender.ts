/** Sends cases to a server, with some of what they name replaced by what is there, and puts back what they destroy. */
import { Pool } from 'undici'
import { populateExamples, type Writer } from '#test/support/example-world.ts'

export interface Case {
  readonly method: string
  readonly template: string
  readonly path: Readonly<Record<string, string>>
  readonly query: Readonly<Record<string, string>>
  readonly body: unknown
}

export interface Sent {
  readonly status: number
  readonly text: string
}

interface Parameter {
  readonly name: string
  readonly example?: unknown
}

export interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, unknown>> & { readonly parameters?: readonly Parameter[] }>>
}

/** Small, seeded: the same seed sends the same requests. */
function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** What is secret in this run: none of it may stand in an error. */
export const canary = 'canary-Zb7Qm2'

/** Worth a line: on a quiet machine nothing but a password takes longer. */
const slowMs = 5_000

export interface SenderOptions {
  readonly address: string
  /** PEM of the authority of a server over TLS. */
  readonly ca?: string
  readonly rootToken: string
  readonly seed: number
  readonly lends: boolean
  readonly nowMs: () => number
}

export class Sender implements Writer {
  readonly random: () => number
  /** Whether there is an engine that lends. */
  readonly lends: boolean
  /** The server's time: a code of a second factor is good for half a minute of it. */
  readonly nowMs: () => number
  readonly #pool: Pool
  readonly #rootToken: string
  #limited = ''
  /** Ids and names that are there, by the name of the parameter. */
  readonly known = new Map<string, Set<string>>()

  constructor({ address, ca, rootToken, seed, lends, nowMs }: SenderOptions) {
    this.lends = lends
    this.nowMs = nowMs
    this.#pool = new Pool(address, {
      connections: 8,
      headersTimeout: 30_000,
      bodyTimeout: 30_000,
      ...(ca === undefined ? {} : { connect: { ca } }),
    })
    this.#rootToken = rootToken
    this.random = seeded(seed)
  }

  get secrets(): readonly string[] {
    return [this.#rootToken, this.#limited, canary].filter((secret) => secret !== '')
  }

  tokenOf(who: 'root' | 'limited'): string {
    return who === 'root' ? this.#rootToken : this.#limited
  }

  async request(
    method: string,
    path: string,
    options: { body?: unknown; token?: string | null; headers?: Record<string, string> } = {},
  ): Promise<Sent> {
    const { body, token = this.#rootToken, headers = {} } = options
    const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
    const startedMs = performance.now()
    const answer = await this.#pool.request({
      method: method as 'GET',
      path: `/v1/${path}`,
      headers: {
        ...(token === null ? {} : { 'x-vault-token': token }),
        ...(body === undefined || body === null ? {} : { 'content-type': type }),
        ...headers,
      },
      body: body === undefined || body === null ? null : JSON.stringify(body),
    })
    const text = await answer.body.text()
    const tookMs = performance.now() - startedMs
    if (tookMs > slowMs) console.log(`slow: ${method} ${path.slice(0, 120)} ${answer.statusCode} ${Math.round(tookMs)} ms`)
    return { status: answer.statusCode, text }
  }

  async write(path: string, body: Record<string, unknown> = {}): Promise<Sent> {
    return this.request('POST', path, { body })
  }

  async remove(path: string): Promise<Sent> {
    return this.request('DELETE', path)
  }

  // oxlint-disable-next-line typescript/no-explicit-any -- parsed JSON of any answer
  async read(path: string): Promise<{ readonly body: any }> {
    const { text } = await this.request('GET', path)
    return { body: text.startsWith('{') ? JSON.parse(text) : null }
  }

  async document(): Promise<Document> {
    return (await this.read('sys/internal/specs/openapi')).body as Document
  }

  /** What a case may have taken away: quotas that shut everybody out, a locked API, the limited token, what the examples speak of. */
  async heal(): Promise<void> {
    for (const kind of ['rate-limit', 'lease-count', 'request-limits']) {
      const listed = (await this.read(`sys/quotas/${kind}?list=true`)).body?.data?.keys as string[] | undefined
      for (const name of listed ?? []) await this.remove(`sys/quotas/${kind}/${encodeURIComponent(name)}`)
    }
    await this.write('sys/quotas/config', { rate_limit_exempt_paths: [] })
    await this.remove('sys/loggers')
    await this.remove('sys/config/cors')
    for (const attempt of ['sys/rekey/init', 'sys/rotate/root/init', 'sys/generate-root-token/attempt']) await this.remove(attempt)
    await populateExamples({
      read: (path) => this.read(path),
      remove: (path) => this.remove(path),
      write: (path, body) => this.#ensure(path, body),
    })
    await this.write('secret/data/canary', { data: { value: canary } })
    if (this.#limited === '' || (await this.request('GET', 'auth/token/lookup-self', { token: this.#limited })).status !== 200)
      await this.#newLimited()
    await this.#learn()
  }

  /** A password costs tens of milliseconds: it is written only where its account is gone. */
  async #ensure(path: string, body: Record<string, unknown> = {}): Promise<unknown> {
    if (path.startsWith('auth/people/users/')) {
      return (await this.request('GET', path)).status === 200 ? null : this.write(path, { password: canary })
    }
    return path === 'auth/token/create' && this.#limited !== '' ? null : this.write(path, body)
  }

  async #newLimited(): Promise<void> {
    const policy = 'path "secret/data/team/*" { capabilities = ["read", "create"] }\npath "sys/mounts" { capabilities = ["read"] }'
    await this.write('sys/policies/acl/limited', { policy })
    const { text } = await this.write('auth/token/create', { policies: ['limited'], ttl: '24h', no_parent: true })
    this.#limited = (JSON.parse(text) as { auth: { client_token: string } }).auth.client_token
  }

  async #learn(): Promise<void> {
    const note = (name: string, ...found: readonly (string | undefined)[]): void => {
      const values = this.known.get(name) ?? new Set<string>()
      for (const value of found) if (value !== undefined && value !== '') values.add(value)
      this.known.set(name, values)
    }
    const keys = async (path: string): Promise<string[]> =>
      ((await this.read(`${path}?list=true`)).body?.data?.keys as string[] | undefined) ?? []
    note('id', ...(await keys('identity/entity/id')).slice(0, 3), ...(await keys('identity/group/id')).slice(0, 3))
    note('id', ...(await keys('identity/entity-alias/id')).slice(0, 3), ...(await keys('identity/group-alias/id')).slice(0, 3))
    note('role_name', 'ci', 'web')
    note('username', 'ada')
    note('name', 'ada', 'app', 'seal', 'everybody', 'server')
    note('mount_accessor', (await this.read('sys/auth/people')).body?.data?.accessor as string | undefined)
    note('alias_identifier', 'ada')
    note('url_lease_id', 'auth/token/create/x')
  }

  /** The path of a case: as it was made, or now and then with what is there. */
  pathOf(each: Case, item: Document['paths'][string] | undefined): string {
    const examples = new Map((item?.parameters ?? []).map(({ name, example }) => [name, example]))
    const filled = each.template.slice(1).replaceAll(/\{(\w+)\}/g, (_, name: string) => {
      if (this.random() < 0.6) {
        const example = examples.get(name)
        if (typeof example === 'string' && this.random() < 0.7) return example
        const known = [...(this.known.get(name) ?? [])]
        if (known.length > 0) return encodeURIComponent(known[Math.floor(this.random() * known.length)]!)
      }
      return each.path[name] ?? 'x'
    })
    const query = new URLSearchParams(Object.entries(each.query)).toString()
    return query === '' ? filled : `${filled}?${query}`
  }

  close(): Promise<void> {
    return this.#pool.close()
  }
}
