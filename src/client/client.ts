/**
 * The typed client of the `/v1` API, for the CLI, other rooms and tests.
 *
 * Several addresses are one cluster: the one that answered last is asked first. What is certain not to have run (never
 * connected; 503: sealed, no leader, busy; 412; 429) is tried at the next address, whatever the method. What was sent and got no
 * answer is repeated, too: writes carry an id, the same each time, under which the cluster applies them once. After a round over all addresses
 * the client waits, a little longer each time. All of it ends with `timeoutMs`.
 */
import { Agent } from 'undici'
import { assert } from '#base/assert.ts'
import type { Clock } from '#base/clock.ts'
import { HoldfastError, wellKnown } from '#base/errors.ts'
import { randomUuid, type RandomSource } from '#base/random.ts'
import { accepted } from './answer.ts'
import { ApiError, UnreachableError, type Failure } from './errors.ts'
import { exchange, ExchangeError } from './exchange.ts'
import { headerValue, prepare, type Prepared } from './request.ts'
import { exchangeForStream, exchangeUpload, QuietWatch, readWatched } from './streams.ts'
import type { Call, ClientOptions, Download, RawAnswer, Secret } from './types.ts'

export const clientDefaults = { timeoutMs: 60_000, retriesMax: 5, backoffMsMin: 100, backoffMsMax: 1_600, connectMsMax: 5_000 } as const

export interface ClientTools {
  readonly clock: Clock
  readonly random: RandomSource
}

/** One call on its way. */
interface Sending {
  readonly call: Call
  readonly prepared: Prepared
  /** Under which the cluster applies a write once; null: it has none, or needs none. */
  readonly requestId: string | null
  /** One attempt at one address. */
  readonly exchange: (address: string, prepared: Prepared, signal: AbortSignal) => Promise<RawAnswer>
  /** The last attempt that may have been carried out, or may be yet. */
  lost: Outcome | null
}

type Outcome = { readonly answer: RawAnswer } | { readonly error: ExchangeError; readonly address: string }

/** `http://host:8200` of what people write: 'host:8200/', 'https://host'. @throws ERR_CONFIG. */
export function normalizeAddress(text: string): string {
  const trimmed = text.trim().replace(/\/+$/, '').replace(/\/v1$/, '')
  const url = URL.parse(/^[a-z]+:\/\//i.test(trimmed) ? trimmed : `http://${trimmed}`)
  if (url !== null && /^https?:$/.test(url.protocol) && url.host !== '' && url.username === '') {
    return `${url.origin}${url.pathname === '/' ? '' : url.pathname}`
  }
  throw new HoldfastError('ERR_CONFIG', `address expected a URL such as https://node1:8200, got ${JSON.stringify(text)}`)
}

function agentOf({ tls }: ClientOptions): Agent {
  const { ca, cert, key, serverName, skipVerify } = tls ?? {}
  return new Agent({
    connect: {
      timeout: clientDefaults.connectMsMax,
      rejectUnauthorized: skipVerify !== true,
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
      ...(serverName === undefined ? {} : { servername: serverName }),
    },
    // The call's own deadline bounds both; undici's would only cut a long one short.
    headersTimeout: 0,
    bodyTimeout: 0,
  })
}

export class Client implements AsyncDisposable {
  readonly options: ClientOptions
  readonly addresses: readonly string[]
  readonly tools: ClientTools
  readonly #agent: Agent
  readonly #ownsAgent: boolean
  /** `index`: of the address that answered last. Shared by all that `with` made. */
  readonly #cursor: { index: number }

  /** `like`: whose connections to use; `with` is the way to it. @throws ERR_CONFIG when an address is none. */
  constructor(options: ClientOptions, tools: ClientTools, like?: Client) {
    assert(options.addresses.length > 0, 'expected at least one address, got none')
    this.options = options
    this.addresses = options.addresses.map(normalizeAddress)
    this.tools = tools
    this.#ownsAgent = like === undefined
    this.#agent = like === undefined ? agentOf(options) : like.#agent
    this.#cursor = like === undefined ? { index: 0 } : like.#cursor
  }

  /** The same cluster over the same connections, asked in another's name. '' takes a setting away. Closing it closes nothing. */
  with(other: Pick<ClientOptions, 'token' | 'namespace' | 'wrapTtl' | 'timeoutMs'>): Client {
    return new Client({ ...this.options, ...other }, this.tools, this)
  }

  /** What would be sent: for those who want to send it themselves. Contains the token. */
  describe(call: Call): Prepared & { readonly url: string } {
    const prepared = prepare(this.options, call)
    return { ...prepared, url: `${this.addresses[this.#cursor.index]}${prepared.target}` }
  }

  /** The secret at `path`; null when there is none. A 404 that carries data (a deleted version) is answered as it came. */
  async read(path: string, query: Readonly<Record<string, string>> = {}, call: Partial<Call> = {}): Promise<Secret | null> {
    return await this.#secret({ ...call, method: 'GET', path, query })
  }

  /** LIST, sent as a GET: no proxy on the way can stumble over the method. null when the folder is empty. */
  async list(path: string, query: Readonly<Record<string, string>> = {}): Promise<Secret | null> {
    return await this.#secret({ method: 'GET', path, query: { ...query, list: 'true' } })
  }

  /** null when the answer has no body. */
  async write(path: string, body: unknown = {}, call: Partial<Call> = {}): Promise<Secret | null> {
    return accepted(await this.raw({ ...call, method: 'POST', path, body }), { method: 'POST', url: path })
  }

  /** JSON merge patch (RFC 7396). */
  async patch(path: string, body: unknown): Promise<Secret | null> {
    return accepted(await this.raw({ method: 'PATCH', path, body }), { method: 'PATCH', url: path })
  }

  async delete(path: string, body?: unknown): Promise<Secret | null> {
    const call: Call = { method: 'DELETE', path, ...(body === undefined ? {} : { body }) }
    return accepted(await this.raw(call), { method: 'DELETE', url: path })
  }

  async #secret(call: Call): Promise<Secret | null> {
    const answer = await this.raw(call)
    if (answer.status === 404 && !answer.json?.['errors'] && answer.json?.data) return answer.json
    if (answer.status === 404 && isEmptyList(answer.json?.['errors'])) return null
    return accepted(answer, { method: call.method, url: call.path })
  }

  /**
   * One call and its answer, whatever its status, after the retries that are safe.
   * @throws UnreachableError when nobody answered; HoldfastError for a call that can't be sent.
   */
  async raw(call: Call): Promise<RawAnswer> {
    const prepared = prepare(this.options, call)
    const deadline = new AbortController()
    const timer = this.tools.clock.setTimer(this.#timeoutMs, () => deadline.abort())
    const signal = call.signal === undefined ? deadline.signal : AbortSignal.any([deadline.signal, call.signal])
    try {
      const exchangeOnce: Sending['exchange'] = (address, one, until) => exchange(this.#agent, address, one, until)
      const sending = { call, prepared, requestId: this.#requestId(call), exchange: exchangeOnce, lost: null }
      return finish(await this.#attempts(sending, signal), prepared)
    } finally {
      timer.cancel()
    }
  }

  /**
   * An answer that is read as it comes, from whichever node answers first. `timeoutMs` bounds the way to its head, and each silence behind that.
   * @throws ApiError for any status but 200; as `raw`.
   */
  async download(call: Call): Promise<Download> {
    const watch = new QuietWatch(this.tools.clock, this.#timeoutMs)
    const signal = call.signal === undefined ? watch.signal : AbortSignal.any([watch.signal, call.signal])
    const prepared = prepare(this.options, call)
    const exchangeOnce: Sending['exchange'] = (address, one, until) => exchangeForStream(this.#agent, address, one, until)
    try {
      const outcome = await this.#attempts({ call, prepared, requestId: null, exchange: exchangeOnce, lost: null }, signal)
      const answer = finish(outcome, prepared)
      const { body, headers, address } = answer
      if (body === undefined) {
        accepted(answer, { method: call.method, url: call.path })
        throw new ApiError(
          { method: call.method, url: `${address}/v1/${call.path}` },
          answer.status,
          ['expected a stream'],
          undefined,
          undefined,
        )
      }
      return { headers, address, body: worded(readWatched(body, watch, signal), address, prepared) }
    } catch (error) {
      watch.end()
      throw error
    }
  }

  /**
   * Sends what `open` gives as the body. Bounded in silence, as `download`. Tried at the next address as `raw` does, with a stream that is opened anew; with
   * `call.retry` false, once. `quietMsMax` instead of `timeoutMs` where the answer may take longer. @throws as `raw`, and what the stream throws.
   */
  async upload(
    { quietMsMax = this.#timeoutMs, ...call }: Omit<Call, 'body'> & { readonly quietMsMax?: number },
    open: () => AsyncIterable<Uint8Array>,
  ): Promise<RawAnswer> {
    const watch = new QuietWatch(this.tools.clock, quietMsMax)
    const signal = call.signal === undefined ? watch.signal : AbortSignal.any([watch.signal, call.signal])
    const prepared = prepare(this.options, call)
    const exchangeOnce: Sending['exchange'] = (address, one, until) => exchangeUpload(this.#agent, address, one, open(), watch, until)
    try {
      return finish(await this.#attempts({ call, prepared, requestId: null, exchange: exchangeOnce, lost: null }, signal), prepared)
    } finally {
      watch.end()
    }
  }

  get #timeoutMs(): number {
    return this.options.timeoutMs ?? clientDefaults.timeoutMs
  }

  #requestId(call: Call): string | null {
    if (isRead(call) || call.retry === false || call.requestId === '') return null
    return call.requestId ?? randomUuid(this.tools.random)
  }

  async #attempts(sending: Sending, signal: AbortSignal): Promise<Outcome> {
    const rounds = sending.call.retry === false ? 0 : (this.options.retriesMax ?? clientDefaults.retriesMax)
    let outcome = await this.#round(sending, signal)
    for (let round = 0; round < rounds && this.#worthWaiting(sending, outcome, signal); round++) {
      await waited(this.tools.clock, this.#backoffMs(round, outcome), signal)
      if (signal.aborted) break
      outcome = await this.#round(sending, signal)
    }
    // A refusal says nothing of an earlier attempt.
    return sending.lost !== null && mayTryElsewhere(sending, outcome) ? sending.lost : outcome
  }

  /** Asks each address once, beginning with the current one, until one answers for good. */
  async #round(sending: Sending, signal: AbortSignal): Promise<Outcome> {
    const { call } = sending
    const count = call.retry === false ? 1 : this.addresses.length
    const first = this.#cursor.index
    let outcome: Outcome | null = null
    for (let step = 0; step < count; step++) {
      const index = (first + step) % this.addresses.length
      const next = await this.#once(this.addresses[index] ?? '', sending, signal)
      if (mayHaveRun(sending, next)) sending.lost = next
      // An answer says more than a silence: a sealed node's 503 is not forgotten for another one's refused connection.
      if (outcome === null || 'answer' in next || !('answer' in outcome)) outcome = next
      if (signal.aborted) return next
      if (!mayTryElsewhere(sending, next)) {
        if ('answer' in next) this.#cursor.index = index
        return next
      }
    }
    assert(outcome !== null, 'a round asks at least one address')
    return outcome
  }

  async #once(address: string, { prepared, requestId, lost, exchange: exchangeOnce }: Sending, signal: AbortSignal): Promise<Outcome> {
    const repeated = lost === null ? {} : { 'x-holdfast-request-repeated': 'true' }
    const id = requestId === null ? {} : { 'x-holdfast-request-id': headerValue('request id', requestId), ...repeated }
    try {
      return { answer: await exchangeOnce(address, { ...prepared, headers: { ...prepared.headers, ...id } }, signal) }
    } catch (error) {
      if (error instanceof ExchangeError) return { error, address }
      throw error
    }
  }

  /** A sealed cluster stays sealed until somebody acts: waiting would only delay the bad news. */
  #worthWaiting(sending: Sending, outcome: Outcome, signal: AbortSignal): boolean {
    if (signal.aborted || !mayTryElsewhere(sending, outcome)) return false
    if (!('answer' in outcome)) return this.addresses.length > 1 || sending.lost !== null
    return !(outcome.answer.status === 503 && isSealed(outcome.answer))
  }

  #backoffMs(round: number, outcome: Outcome): number {
    const asked = 'answer' in outcome ? Number(outcome.answer.headers['retry-after']) * 1_000 : 0
    const backoff = Math.min(clientDefaults.backoffMsMax, clientDefaults.backoffMsMin * 2 ** round)
    // Half of it at random, so that many clients of a cluster that comes back don't return all at once.
    const jitter = ((this.tools.random.bytes(1)[0] ?? 0) / 255) * (backoff / 2)
    return asked > 0 ? asked : backoff / 2 + jitter
  }

  /** Closes the connections that are kept open. Calls under way fail. */
  async close(): Promise<void> {
    if (this.#ownsAgent) await this.#agent.destroy()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

const isEmptyList = (value: unknown): boolean => Array.isArray(value) && value.length === 0

function isSealed(answer: RawAnswer): boolean {
  const errors = answer.json?.['errors']
  return Array.isArray(errors) && errors.some((error) => error === wellKnown.sealed || error === wellKnown.notInitialized)
}

const isRead = ({ method }: Call): boolean => method === 'GET' || method === 'HEAD'

/** True if asking again can't run the request twice, and may do better. */
function mayTryElsewhere(sending: Sending, outcome: Outcome): boolean {
  const { call, requestId } = sending
  const harmless = isRead(call) || call.idempotent === true || requestId !== null
  if ('error' in outcome) return !outcome.error.sent || harmless
  const { status } = outcome.answer
  return status === 412 || status === 429 || status === 503 || (harmless && (status === 502 || mayHaveRun(sending, outcome)))
}

/** A write that was sent, and nobody can say what became of it: no answer, or one that says just that, by the cluster or by a proxy before it. */
function mayHaveRun({ requestId }: Sending, outcome: Outcome): boolean {
  if (requestId === null) return false
  if ('error' in outcome) return outcome.error.sent
  const { status, json } = outcome.answer
  return status === 502 || status === 504 || (status === 500 && json?.['code'] === 'ERR_OUTCOME_UNKNOWN')
}

/** What breaks off a stream, in the client's words. */
async function* worded(
  body: AsyncIterable<Uint8Array>,
  address: string,
  { method, target }: Prepared,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* body
  } catch (error) {
    if (!(error instanceof ExchangeError)) throw error
    const [path = ''] = target.split('?')
    throw new UnreachableError({ method, url: `${address}${path}` }, `the answer broke off: ${error.message}`, false, error.cause)
  }
}

function finish(outcome: Outcome, prepared: Prepared): RawAnswer {
  if ('answer' in outcome) return outcome.answer
  const [path = ''] = prepared.target.split('?')
  const harmless = prepared.method === 'GET' || prepared.method === 'HEAD'
  const failure: Failure = { method: prepared.method, url: `${outcome.address}${path}` }
  throw new UnreachableError(failure, outcome.error.message, outcome.error.sent && !harmless, outcome.error.cause)
}

/** `delayMs`, or until the signal. Leaves nothing behind: a timer of a Retry-After of an hour would hold the process that long. */
function waited(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const end = (): void => {
      timer.cancel()
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = clock.setTimer(delayMs, end)
    signal.addEventListener('abort', end, { once: true })
  })
}
