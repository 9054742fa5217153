/**
 * Requests to one peer: POSTs over a pool of kept-alive connections.
 *
 * The question that its callers ask of a failure is "may it have arrived?". undici says when it begins to write a request;
 * what fails before that moment, or was refused at the door, carries `sent: false` and may be sent elsewhere at once.
 */
import { Pool } from 'undici'
import type { Dispatcher } from 'undici'
import type { Clock, Timer } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'
import type { Dialer } from './dialer.ts'
import type { TransportLimits } from './limits.ts'
import { clientOptions, requestHeaders, requestKindPattern, requestPath } from './protocol.ts'
import type { Identity, PeerAddress } from './types.ts'
import { decodeError } from './wire-errors.ts'

export interface RequesterOptions {
  readonly peer: PeerAddress
  readonly identity: Identity
  readonly dialer: Dialer
  readonly clock: Clock
  readonly limits: TransportLimits
  contact(): void
}

export class Requester {
  readonly #options: RequesterOptions
  readonly #pool: Pool
  readonly #pending = new Set<Exchange>()

  constructor(options: RequesterOptions) {
    this.#options = options
    const { dialer, peer, limits } = options
    this.#pool = new Pool('https://peer', {
      ...clientOptions(dialer.connectorFor(peer), limits.keepAliveMs),
      connections: limits.connectionsPerPeerMax,
    })
  }

  get pending(): number {
    return this.#pending.size
  }

  /** As Transport.request. */
  async request(kind: string, body: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    const { limits, peer, clock } = this.#options
    if (!requestKindPattern.test(kind)) throw new HoldfastError('ERR_BAD_REQUEST', `request kind: expected lower-case letters and dashes`)
    if (body.length > limits.requestBodyBytesMax) {
      throw new HoldfastError(
        'ERR_BODY_TOO_LARGE',
        `request body: expected at most ${limits.requestBodyBytesMax} bytes, got ${body.length}`,
      )
    }
    if (this.#pending.size >= limits.outboundRequestsMax) {
      throw new HoldfastError('ERR_BUSY', `node ${peer.id}: expected at most ${limits.outboundRequestsMax} requests under way`, {
        data: { sent: false },
      })
    }
    return await new Promise<Uint8Array>((resolve, reject) => {
      const exchange = new Exchange(peer.id, limits.requestBodyBytesMax, {
        resolve: (answer) => {
          this.#options.contact()
          resolve(answer)
        },
        reject,
        done: () => this.#pending.delete(exchange),
      })
      this.#pending.add(exchange)
      exchange.limit(clock, timeoutMs)
      this.#dispatch(exchange, kind, body)
    })
  }

  async close(error: HoldfastError): Promise<void> {
    for (const exchange of this.#pending) exchange.fail(error)
    // Destroying rejects only if undici itself is broken; every caller has been answered already.
    await this.#pool.destroy(error).catch(() => {})
  }

  #dispatch(exchange: Exchange, kind: string, body: Uint8Array): void {
    const { identity } = this.#options
    try {
      this.#pool.dispatch(
        { method: 'POST', path: requestPath(identity.nodeId, kind), headers: requestHeaders(identity), body },
        exchange.handler(),
      )
    } catch (error) {
      exchange.fail(error as Error)
    }
  }
}

interface Outcome {
  resolve(answer: Uint8Array): void
  reject(error: Error): void
  done(): void
}

/** One request and its answer. Settles once; a timeout may come before undici has found a connection for it. */
class Exchange {
  readonly #peer: string
  readonly #answerBytesMax: number
  readonly #outcome: Outcome
  #timer: Timer | null = null
  #controller: Dispatcher.DispatchController | null = null
  #sent = false
  #settled = false
  #status = 0
  #chunks: Buffer[] = []
  #bytes = 0

  constructor(peer: string, answerBytesMax: number, outcome: Outcome) {
    this.#peer = peer
    this.#answerBytesMax = answerBytesMax
    this.#outcome = outcome
  }

  limit(clock: Clock, timeoutMs: number): void {
    this.#timer = clock.setTimer(timeoutMs, () => {
      this.fail(new HoldfastError('ERR_UPSTREAM', `expected an answer within ${timeoutMs} ms, got none`))
    })
  }

  handler(): Dispatcher.DispatchHandler {
    return {
      onRequestStart: (controller) => {
        // Given up while it waited for a connection: it must not leave now.
        if (this.#settled) controller.abort(new HoldfastError('ERR_UPSTREAM', 'request given up'))
        else {
          this.#controller = controller
          this.#sent = true
        }
      },
      onResponseStart: (_controller, status) => {
        this.#status = status
      },
      onResponseData: (_controller, chunk) => this.#take(chunk),
      onResponseEnd: () => this.#finish(),
      onResponseError: (_controller, error) => this.fail(error),
    }
  }

  /** Rejects with ERR_UPSTREAM and whether it may have arrived; ends the connection that it was on. */
  fail(cause: Error): void {
    if (!this.#settle()) return
    this.#outcome.reject(
      new HoldfastError(
        cause instanceof HoldfastError && cause.code === 'ERR_SHUTTING_DOWN' ? cause.code : 'ERR_UPSTREAM',
        `node ${this.#peer}: ${cause.message}`,
        {
          cause,
          data: { sent: this.#sent },
        },
      ),
    )
    this.#controller?.abort(cause)
  }

  #take(chunk: Buffer): void {
    this.#bytes += chunk.length
    if (this.#bytes > this.#answerBytesMax) {
      this.fail(new HoldfastError('ERR_UPSTREAM', `expected an answer of at most ${this.#answerBytesMax} bytes, got more`))
    } else this.#chunks.push(chunk)
  }

  #finish(): void {
    if (!this.#settle()) return
    const body = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks)
    if (this.#status === 200) {
      this.#outcome.resolve(body)
      return
    }
    const error = decodeError(body)
    // Refused for who we are: no handler saw it.
    if (error.code === 'ERR_PEER_REFUSED')
      this.#outcome.reject(new HoldfastError('ERR_UPSTREAM', error.message, { cause: error, data: { sent: false } }))
    else this.#outcome.reject(error)
  }

  #settle(): boolean {
    if (this.#settled) return false
    this.#settled = true
    this.#timer?.cancel()
    this.#outcome.done()
    return true
  }
}
