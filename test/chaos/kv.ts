/** What clients ask of one node, and what the answer says about the outcome: done, surely not done, or unknown. */
import { Pool } from 'undici'

export type Outcome<T> =
  | { readonly outcome: 'done'; readonly value: T }
  /** It had no effect and never will have one. */
  | { readonly outcome: 'refused'; readonly code: string }
  | { readonly outcome: 'unknown'; readonly code: string }

/** These say "nothing was done" in docs/errors.md. If one of them is wrong about it, the history is not linearizable: so they are tested, too. */
const nothingDone = new Set([
  'ERR_SEALED',
  'ERR_NOT_LEADER',
  'ERR_BUSY',
  'ERR_SHUTTING_DOWN',
  'ERR_CONFLICT',
  'ERR_AUDIT',
  'ERR_CAS_MISMATCH',
  'ERR_PERMISSION_DENIED',
  'ERR_NO_ROUTE',
  'ERR_NOT_INITIALIZED',
])
/** No connection, so no request. */
const neverSent = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT', 'EADDRNOTAVAIL'])
const connectionsMax = 32

export interface Seen {
  readonly version: number
  readonly value: string | null
}

export class KvClient {
  readonly #pool: Pool
  readonly #token: string
  readonly #timeoutMs: number

  constructor(address: string, token: string, timeoutMs: number) {
    this.#token = token
    this.#timeoutMs = timeoutMs
    this.#pool = new Pool(address, { connections: connectionsMax, pipelining: 1, connect: { timeout: 2_000 }, keepAliveTimeout: 2_000 })
  }

  async close(): Promise<void> {
    await this.#pool.destroy()
  }

  async put(key: string, value: string): Promise<Outcome<number>> {
    return this.#write(`secret/data/${key}`, { data: { value } })
  }

  /** `value` of the outcome is null when the version did not match. */
  async cas(key: string, value: string, expected: number): Promise<Outcome<number | null>> {
    const outcome = await this.#write(`secret/data/${key}`, { data: { value }, options: { cas: expected } })
    return outcome.outcome === 'refused' && outcome.code === 'ERR_CAS_MISMATCH' ? { outcome: 'done', value: null } : outcome
  }

  async get(key: string, version?: number): Promise<Outcome<Seen>> {
    const path = version === undefined ? `secret/data/${key}` : `secret/data/${key}?version=${version}`
    return this.#read(path, (body) => {
      const data = body?.['data'] as { data: { value: string } | null; metadata: { version: number } } | undefined
      return data === undefined ? { version: 0, value: null } : { version: data.metadata.version, value: data.data?.value ?? null }
    })
  }

  async putPlain(key: string, value: string): Promise<Outcome<number>> {
    return this.#write(`plain/${key}`, { value })
  }

  async getPlain(key: string): Promise<Outcome<string | null>> {
    return this.#read(`plain/${key}`, (body) => (body?.['data'] as { value: string } | undefined)?.value ?? null)
  }

  async #write(path: string, body: unknown): Promise<Outcome<number>> {
    const answer = await this.#ask('POST', path, body)
    if (answer.outcome !== 'done') return answer
    return { outcome: 'done', value: (answer.value?.['data'] as { version?: number } | undefined)?.version ?? 0 }
  }

  async #read<T>(path: string, parse: (body: Record<string, unknown> | null) => T): Promise<Outcome<T>> {
    const answer = await this.#ask('GET', path)
    return answer.outcome === 'done' ? { outcome: 'done', value: parse(answer.value) } : answer
  }

  async #ask(method: 'GET' | 'POST', path: string, body?: unknown): Promise<Outcome<Record<string, unknown> | null>> {
    try {
      const answer = await this.#pool.request({
        method,
        path: `/v1/${path}`,
        headers: { 'x-vault-token': this.#token, 'content-type': 'application/json' },
        body: body === undefined ? null : JSON.stringify(body),
        signal: AbortSignal.timeout(this.#timeoutMs),
      })
      const text = await answer.body.text()
      const parsed = text === '' ? null : (JSON.parse(text) as Record<string, unknown>)
      const errors = (parsed?.['errors'] ?? []) as string[]
      // What was never written is answered with no errors; a path that no engine serves with one.
      const nothingThere = answer.statusCode === 404 && errors.length === 0
      if (answer.statusCode < 300 || nothingThere) return { outcome: 'done', value: nothingThere ? null : parsed }
      const code = (parsed?.['code'] as string | undefined) ?? codeOfText(answer.statusCode, errors[0] ?? '')
      return { outcome: nothingDone.has(code) ? 'refused' : 'unknown', code }
    } catch (error) {
      const code = codeOf(error)
      return { outcome: neverSent.has(code) ? 'refused' : 'unknown', code }
    }
  }
}

/** An answer without a hint carries no code: then its words are the code, without what differs each time. */
function codeOfText(status: number, text: string): string {
  if (text.includes('Vault is sealed')) return 'ERR_SEALED'
  if (text.includes('check-and-set parameter did not match')) return 'ERR_CAS_MISMATCH'
  if (status === 403) return 'ERR_PERMISSION_DENIED'
  if (text.startsWith('no handler for route')) return 'ERR_NO_ROUTE'
  return `${status} ${text.replace(/\d+/g, 'N').slice(0, 80)}`.trim()
}

function codeOf(error: unknown): string {
  const { code, name } = error as NodeJS.ErrnoException
  return typeof code === 'string' ? code : name
}
