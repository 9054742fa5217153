/**
 * Keeps a token alive for a process that runs for long: renews it when two thirds of its life are over, and logs in anew where it can't be
 * renewed any further. Use `keeper.client`: its calls always carry the token of the moment.
 *
 * Not at the last moment: a renewal that meets a cluster without a leader must have time to be repeated.
 */
import { randomFraction } from '#base/random.ts'
import { accepted } from './answer.ts'
import type { Client } from './client.ts'
import { ApiError } from './errors.ts'
import type { Secret } from './types.ts'

export type KeeperEvent =
  | { readonly kind: 'renewed' | 'login'; readonly ttlSeconds: number }
  /** It goes on trying as long as the token lives. */
  | { readonly kind: 'trouble'; readonly error: unknown }
  /** No token any more, and no way to another: calls will be refused. */
  | { readonly kind: 'ended'; readonly error: unknown }

export interface KeeperOptions {
  /** Logs in, and answers what the login answered. Without it the client's own token is kept for as long as it may live. */
  readonly login?: (client: Client) => Promise<Secret | null>
  /** How long each renewal asks for; the server may allow less. */
  readonly incrementSeconds?: number
  /** Must not throw. */
  readonly onEvent?: (event: KeeperEvent) => void
}

const retryMsMin = 1_000
const retryMsMax = 30_000
/** A timer of the runtime takes no more than 24 days; looking once a day costs nothing. */
const waitMsMax = 86_400_000
/** Of what remains, before it is renewed. Up to a tenth earlier, so that many that began together don't come together. */
const renewAt = 2 / 3
const jitter = 0.1

interface Held {
  readonly token: string
  /** On the client's monotonic clock; Infinity: it does not end. */
  readonly endsMs: number
  readonly ttlMs: number
  readonly renewable: boolean
}

export class TokenKeeper implements Disposable {
  /** Asks with the token of the moment. Closing it closes nothing. */
  readonly client: Client
  readonly #base: Client
  readonly #options: KeeperOptions
  readonly #stopped = new AbortController()
  #held: Held
  /** In a row. */
  #failures = 0

  private constructor(base: Client, options: KeeperOptions, held: Held) {
    this.#base = base
    this.#options = options
    this.#held = held
    this.client = base.with({ token: () => this.#held.token })
  }

  /** Logs in (or looks at the client's own token), then keeps it until disposed. @throws when that fails: there is nothing to keep then. */
  static async start(client: Client, options: KeeperOptions = {}): Promise<TokenKeeper> {
    const held = options.login === undefined ? await lookedUp(client) : await loggedIn(client, options.login)
    const keeper = new TokenKeeper(client, options, held)
    // Detached: `#keep` handles what fails, and ends with `stop`.
    void keeper.#keep()
    return keeper
  }

  /** The token of this moment. */
  get token(): string {
    return this.#held.token
  }

  /** Stops renewing; the token is not revoked. */
  stop(): void {
    this.#stopped.abort()
  }

  [Symbol.dispose](): void {
    this.stop()
  }

  #leftMs(): number {
    return this.#held.endsMs - this.#base.tools.clock.monotonicMs()
  }

  async #wait(delayMs: number): Promise<void> {
    const { signal } = this.#stopped
    if (signal.aborted) return
    await new Promise<void>((resolve) => {
      const timer = this.#base.tools.clock.setTimer(Math.min(waitMsMax, Math.max(0, delayMs)), () => {
        signal.removeEventListener('abort', stop)
        resolve()
      })
      const stop = (): void => {
        timer.cancel()
        resolve()
      }
      signal.addEventListener('abort', stop, { once: true })
    })
  }

  async #keep(): Promise<void> {
    const { signal } = this.#stopped
    let dueMs = this.#dueMs()
    while (!signal.aborted) {
      if (dueMs === Infinity) return
      const nowMs = this.#base.tools.clock.monotonicMs()
      if (nowMs < dueMs) {
        await this.#wait(dueMs - nowMs)
        continue
      }
      const next = await this.#prolong()
      if (next === null) return
      dueMs = next
    }
  }

  /** When to do something about it. */
  #dueMs(): number {
    const { endsMs, ttlMs } = this.#held
    if (endsMs === Infinity) return Infinity
    const early = jitter * randomFraction(this.#base.tools.random)
    return endsMs - ttlMs * (1 - renewAt + early)
  }

  /** @returns when to do so next; null: never. */
  async #prolong(): Promise<number | null> {
    try {
      this.#held = await this.#next()
      this.#failures = 0
      return this.#dueMs()
    } catch (error) {
      if (this.#stopped.signal.aborted) return null
      const refused = error instanceof ApiError && (error.status === 403 || error.status === 400)
      if (this.#options.login === undefined && (refused || this.#leftMs() <= 0)) {
        this.#tell({ kind: 'ended', error })
        return null
      }
      this.#tell({ kind: 'trouble', error })
      // Longer each time: a login whose secret is wrong, tried every second, would lock its name.
      const waitMs = Math.min(retryMsMax, retryMsMin * 2 ** this.#failures++)
      return this.#base.tools.clock.monotonicMs() + waitMs
    }
  }

  async #next(): Promise<Held> {
    const { login } = this.#options
    if (this.#held.renewable && this.#leftMs() > 0) {
      const renewed = await this.#renewed().catch((error: unknown) => {
        if (login === undefined || !(error instanceof ApiError)) throw error
        return null
      })
      // At its maximal life a renewal adds nothing: then only a login does.
      const longer = renewed !== null && renewed.endsMs > this.#held.endsMs + retryMsMin
      if (renewed !== null && (longer || login === undefined)) {
        if (!longer) throw new Error('the token has reached its maximal life')
        this.#tell({ kind: 'renewed', ttlSeconds: renewed.ttlMs / 1_000 })
        return renewed
      }
    }
    if (login === undefined) throw new Error('the token can not be renewed')
    const fresh = await loggedIn(this.#base, login)
    this.#tell({ kind: 'login', ttlSeconds: fresh.ttlMs / 1_000 })
    return fresh
  }

  async #renewed(): Promise<Held> {
    const { incrementSeconds } = this.#options
    const path = 'auth/token/renew-self'
    const body = incrementSeconds === undefined ? {} : { increment: `${incrementSeconds}s` }
    const secret = accepted(await this.client.raw({ method: 'POST', path, body, wrapTtl: '' }), { method: 'POST', url: path })
    return heldOf(this.#base, secret)
  }

  #tell(event: KeeperEvent): void {
    this.#options.onEvent?.(event)
  }
}

function heldOf(client: Client, secret: Secret | null): Held {
  const auth = secret?.auth
  const token = auth?.['client_token']
  if (!auth || typeof token !== 'string' || token === '') throw new Error('expected an answer with a token, got none')
  return held(client, token, Number(auth['lease_duration'] ?? 0), auth['renewable'] === true)
}

function held(client: Client, token: string, ttlSeconds: number, renewable: boolean): Held {
  const ttlMs = ttlSeconds * 1_000
  return { token, ttlMs, renewable, endsMs: ttlMs > 0 ? client.tools.clock.monotonicMs() + ttlMs : Infinity }
}

/** Logging in carries no token of before: it may have ended. */
async function loggedIn(client: Client, login: (client: Client) => Promise<Secret | null>): Promise<Held> {
  return heldOf(client, await login(client.with({ token: '', wrapTtl: '' })))
}

async function lookedUp(client: Client): Promise<Held> {
  const { token } = client.options
  const own = typeof token === 'function' ? token() : token
  if (own === undefined || own === '') throw new Error('expected a client with a token, or a login, got neither')
  const path = 'auth/token/lookup-self'
  const data = accepted(await client.raw({ method: 'GET', path, wrapTtl: '' }), { method: 'GET', url: path })?.data
  return held(client, own, Number(data?.['ttl'] ?? 0), data?.['renewable'] === true)
}
