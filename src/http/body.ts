/** Reads one request's body into memory, bounded in size, in rate and in the sum over all requests. */
import type { IncomingMessage } from 'node:http'
import { HoldfastError } from '#base/errors.ts'
import { oversizeDiscardFactor } from './limits.ts'
import type { HttpLimits } from './limits.ts'

/** Looked at now and then: a body that trickles is dropped. */
export interface Swept {
  sweep(nowMonotonicMs: number): void
}

/** What all bodies of a listener share: their sum, and the readers whose rate is watched. */
export class BodyBudget {
  readonly #bytesMax: number
  #bytes = 0
  readonly readers = new Set<Swept>()

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }
  get bytes(): number {
    return this.#bytes
  }
  take(bytes: number): boolean {
    if (this.#bytes + bytes > this.#bytesMax) return false
    this.#bytes += bytes
    return true
  }
  give(bytes: number): void {
    this.#bytes -= bytes
  }
}

export interface BodyOptions {
  readonly bytesMax: number
  readonly limits: HttpLimits
  readonly budget: BodyBudget
  /** Sees the bytes as they arrive, and may throw. Absent for raw bodies. */
  readonly scanner: { feed(chunk: Buffer): void } | null
}

export type BodyOutcome = { readonly body: Buffer } | { readonly error: unknown; readonly close: boolean }

export const bodyTooLarge = (bytesMax: number): HoldfastError =>
  new HoldfastError('ERR_BODY_TOO_LARGE', 'http: request body too large', {
    hint: `this listener takes bodies of at most ${bytesMax} bytes`,
  })

export class BodyReader implements Swept {
  readonly #request: IncomingMessage
  readonly #options: BodyOptions
  readonly #chunks: Buffer[] = []
  #done: ((outcome: BodyOutcome) => void) | null
  #bytes = 0
  #held = 0
  #windowBytes = 0
  #windowStartMs: number
  #discarding = false

  /** `done` is called exactly once, never from within the constructor. */
  constructor(request: IncomingMessage, options: BodyOptions, nowMonotonicMs: number, done: (outcome: BodyOutcome) => void) {
    this.#request = request
    this.#options = options
    this.#done = done
    this.#windowStartMs = nowMonotonicMs
    options.budget.readers.add(this)
    request.on('data', this.#onData)
    request.on('end', this.#onEnd)
    request.on('close', this.#onClose)
    request.on('error', this.#onClose)
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#bytes += chunk.length
    this.#windowBytes += chunk.length
    if (this.#discarding) {
      if (this.#bytes > this.#options.bytesMax * oversizeDiscardFactor) this.#request.destroy()
      return
    }
    if (this.#bytes > this.#options.bytesMax) return this.#refuse(bodyTooLarge(this.#options.bytesMax))
    if (!this.#options.budget.take(chunk.length)) {
      return this.#refuse(new HoldfastError('ERR_BUSY', 'expected room for the request body, got too many large requests at once'))
    }
    this.#held += chunk.length
    this.#chunks.push(chunk)
    try {
      this.#options.scanner?.feed(chunk)
    } catch (error) {
      this.#refuse(error)
    }
  }

  readonly #onEnd = (): void => {
    this.#leave()
    const [first] = this.#chunks
    this.#finish({ body: this.#chunks.length === 1 && first !== undefined ? first : Buffer.concat(this.#chunks) })
  }

  readonly #onClose = (): void => {
    // Each request closes, most with their body read: an error made for nobody is dear, for its stack.
    if (this.#done === null) return this.#leave()
    this.cancel(new HoldfastError('ERR_BAD_REQUEST', 'error reading data: the connection was closed'))
  }

  /** Ends the wait with `error`: the rest of this body will never come. Does nothing once the body is whole. */
  cancel(error: unknown): void {
    this.#leave()
    this.#finish({ error, close: true })
  }

  /** Answers at once, and throws the rest of the body away, so that the client gets to read the answer. */
  #refuse(error: unknown): void {
    this.#discarding = true
    this.#finish({ error, close: false })
  }

  #finish(outcome: BodyOutcome): void {
    const done = this.#done
    if (done === null) return
    this.#done = null
    this.#chunks.length = 0
    // A body that was read whole stays in memory with its request, which gives it back with `release`.
    if (!('body' in outcome)) this.release()
    done(outcome)
  }

  #leave(): void {
    this.#options.budget.readers.delete(this)
  }

  /** Gives the body's bytes back to the budget. Called once the request is answered; more often does no harm. */
  release(): void {
    this.#options.budget.give(this.#held)
    this.#held = 0
  }

  /** Called by the sweep: drops a body that trickles. */
  sweep(nowMonotonicMs: number): void {
    const { bodyWindowMs, bodyWindowBytesMin } = this.#options.limits
    if (nowMonotonicMs - this.#windowStartMs < bodyWindowMs) return
    const slow = this.#windowBytes < bodyWindowBytesMin
    this.#windowStartMs = nowMonotonicMs
    this.#windowBytes = 0
    if (!slow) return
    if (this.#discarding) {
      this.#request.destroy()
      return
    }
    const message = `request body expected at least ${bodyWindowBytesMin} bytes in ${bodyWindowMs} ms, got fewer`
    this.#discarding = true
    this.cancel(new HoldfastError('ERR_TIMEOUT', message))
  }
}

/** Declared length of a body: null when chunked or absent. */
export function declaredLength(request: IncomingMessage): number | null {
  const text = request.headers['content-length']
  return text === undefined ? null : Number(text)
}
