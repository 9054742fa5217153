/**
 * Asking providers outside (key sets, token reviews, directories), bounded every way: so many questions at once, so many waiting, so long, so many bytes.
 *
 * Intuition: a login is anyone's to ask for, and each costs a question to somebody else's server. A provider that hangs holds up its own logins for
 * `answerMsMax` and no others; a flood of logins becomes a bounded stream of questions to the provider, and the rest is answered 429.
 * What a provider answers never stands in an error of ours: it may repeat the credential that it was shown.
 */
import { Agent, request, type Dispatcher } from 'undici'
import type { Clock } from '#base/clock.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { BoundedLru } from '#base/lru.ts'
import { WorkQueue } from '#base/work-queue.ts'

/** Names of the bounds; `OutsideOptions` may tighten them for a test. */
const defaults = { atOnceMax: 16, waitingMax: 128, waitMsMax: 5_000, answerMsMax: 10_000 } as const
/** A key set of a large provider has some tens of KiB. */
const answerBytesMax = 1_048_576
/** Connections are kept by what they trust: one agent for each authority that some mount names. */
const agentsMax = 32

export interface OutsideOptions extends Partial<Record<keyof typeof defaults, number>> {
  readonly clock: Clock
  /** For refusals: 'logins by LDAP'. */
  readonly what: string
}

export interface WebQuestion {
  readonly url: string
  readonly method?: 'GET' | 'POST'
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
  /** PEM; '': the machine's own authorities. */
  readonly caPem: string
}

export interface WebAnswer {
  readonly status: number
  /** Parsed JSON; null where it is none. */
  readonly json: unknown
  readonly bytes: Uint8Array
}

/** One a login method and process. */
export class Outside {
  readonly #options: OutsideOptions & Record<keyof typeof defaults, number>
  readonly #queue: WorkQueue
  readonly #agents = new BoundedLru<string, Agent>({
    weightMax: agentsMax,
    // Lets go when its last question is answered; it rejects only if it was closed before.
    dropped: (agent) => void agent.close().catch(() => {}),
  })

  constructor(options: OutsideOptions) {
    this.#options = { ...defaults, ...options }
    this.#queue = new WorkQueue(this.#options)
  }

  get answerMsMax(): number {
    return this.#options.answerMsMax
  }

  /**
   * Runs `work` in its turn. It must heed `signal`, and is not waited for beyond it.
   * @throws ERR_RATE_LIMITED when too many wait; ERR_UPSTREAM, naming `provider`, when it fails otherwise than by a HoldfastError or takes too long.
   */
  ask<T>(provider: string, work: (signal: AbortSignal) => Promise<T>, answerMsMax = this.#options.answerMsMax): Promise<T> {
    return this.#queue.run(async () => {
      const controller = new AbortController()
      const late = Promise.withResolvers<never>()
      const timer = this.#options.clock.setTimer(answerMsMax, () => {
        controller.abort()
        late.reject(away(provider, `no answer within ${answerMsMax} ms`))
      })
      try {
        const asked = work(controller.signal)
        // Abandoned when it is late: what becomes of it then is nobody's.
        asked.catch(() => {})
        return await Promise.race([asked, late.promise])
      } catch (error) {
        throw isHoldfastError(error) ? error : away(provider, reasonOf(error), error)
      } finally {
        timer.cancel()
      }
    })
  }

  /** Runs work of our own that anyone may ask for in its turn among the questions. @throws ERR_RATE_LIMITED when too many wait. */
  turn<T>(work: () => Promise<T>): Promise<T> {
    return this.#queue.run(work)
  }

  /** Asks a web server once; follows no redirect: where it leads was said by no operator. @throws as `ask`. */
  web(provider: string, question: WebQuestion): Promise<WebAnswer> {
    return this.ask(provider, async (signal) => {
      const { url, method = 'GET', headers = {}, body } = question
      const answer = await request(url, {
        method,
        headers: { accept: 'application/json', ...headers },
        ...(body === undefined ? {} : { body }),
        dispatcher: this.#agentFor(question.caPem),
        signal,
      })
      const bytes = await readAll(provider, answer.body)
      return { status: answer.statusCode, json: jsonOf(bytes), bytes }
    })
  }

  #agentFor(caPem: string): Dispatcher {
    const known = this.#agents.get(caPem)
    if (known !== undefined) return known
    const connect = { timeout: this.#options.answerMsMax, ...(caPem === '' ? {} : { ca: caPem }) }
    const agent = new Agent({ connect, connections: this.#options.atOnceMax })
    this.#agents.set(caPem, agent)
    return agent
  }
}

/** A provider that is away, hangs, or answers what it should not. */
export const away = (provider: string, why: string, cause?: unknown): HoldfastError =>
  new HoldfastError('ERR_UPSTREAM', `${provider} expected an answer, got ${why}`, {
    ...(cause === undefined ? {} : { cause }),
    hint: `nothing was done: is ${provider} up, and reached from every node? Its address and authority stand in the configuration of the login method`,
  })

/** A code (ECONNREFUSED) where there is one: messages may quote what was sent. */
function reasonOf(error: unknown): string {
  const { code, name } = error as { code?: unknown; name?: unknown }
  if (typeof code === 'string') return code
  return typeof name === 'string' && name !== 'Error' ? name : 'a failure'
}

async function readAll(provider: string, body: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of body) {
    bytes += part.length
    if (bytes > answerBytesMax) throw away(provider, `more than ${answerBytesMax} bytes`)
    parts.push(part)
  }
  return Buffer.concat(parts)
}

function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString())
  } catch {
    return null
  }
}

/** @throws ERR_BAD_REQUEST for what is no http(s) URL, or carries a password. */
export function checkWebUrl(name: string, value: string): void {
  const url = URL.canParse(value) ? new URL(value) : null
  if (url !== null && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '' && url.hash === '') return
  throw new HoldfastError('ERR_BAD_REQUEST', `${name} expected an http or https URL, got something else`)
}
