import { readFileSync } from 'node:fs'
import { Agent, request } from 'undici'

/** An answer of the `/v1` API: its status and its parsed body (null when empty). */
export interface Answer {
  readonly status: number
  readonly body: Record<string, unknown> | null
}

/** The least that speaks `/v1`: for starting a cluster, before there is anybody to be logged in as. */
export class Api {
  readonly #agent: Agent

  /** `caPath`: a PEM file to trust besides the system's; null for plain HTTP. */
  constructor(caPath: string | null) {
    this.#agent = new Agent({ keepAliveTimeout: 1_000, connect: caPath === null ? {} : { ca: readFileSync(caPath) } })
  }

  /**
   * One call, bounded by `timeoutMs`.
   * @throws when nothing answers: an answer of any status is returned.
   */
  async call(
    address: string,
    method: string,
    path: string,
    options: { token?: string; body?: unknown; timeoutMs?: number } = {},
  ): Promise<Answer> {
    const answer = await request(`${address}/v1/${path}`, {
      method: method as 'GET',
      dispatcher: this.#agent,
      headers: { ...(options.token === undefined ? {} : { 'x-vault-token': options.token }), 'content-type': 'application/json' },
      body: options.body === undefined ? null : JSON.stringify(options.body),
      signal: AbortSignal.timeout(options.timeoutMs ?? 10_000),
    })
    const text = await answer.body.text()
    return { status: answer.statusCode, body: text === '' ? null : (JSON.parse(text) as Record<string, unknown>) }
  }

  async close(): Promise<void> {
    await this.#agent.destroy()
  }
}
