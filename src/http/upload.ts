/**
 * A body that the core reads as it arrives: nothing of it is kept here beyond Node's own buffer, and the client sends no faster than it is read. Bounded in
 * bytes and in how slowly they may come; a reader that is slow itself costs the client nothing.
 */
import type { IncomingMessage } from 'node:http'
import { HoldfastError } from '#base/errors.ts'
import { bodyTooLarge, type BodyBudget, type Swept } from './body.ts'
import type { HttpLimits } from './limits.ts'

export interface UploadOptions {
  readonly bytesMax: number
  readonly limits: HttpLimits
  readonly budget: BodyBudget
  readonly nowMonotonicMs: number
  /** The core begins to read. */
  readonly onBegin: () => void
  /** The last byte was read, or none comes any more. */
  readonly onEnd: () => void
}

export class Upload implements AsyncIterable<Uint8Array>, Swept {
  readonly #request: IncomingMessage
  readonly #options: UploadOptions
  #windowStartMs: number
  #windowBytes = 0
  #bytes = 0
  /** The reader waits for the client, not the client for the reader. */
  #waiting = false
  #failure: unknown = null
  #ended = false

  constructor(request: IncomingMessage, options: UploadOptions) {
    this.#request = request
    this.#options = options
    this.#windowStartMs = options.nowMonotonicMs
    options.budget.readers.add(this)
    // Without a listener an aborted upload that nobody reads would end the process.
    request.on('error', () => {})
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    this.#options.onBegin()
    // Breaking off must not cut the connection: the answer is still to be sent on it.
    const source = this.#request.iterator({ destroyOnReturn: false })
    try {
      for (;;) {
        const next = await this.#next(source)
        if (next === null) return
        this.#bytes += next.length
        this.#windowBytes += next.length
        if (this.#bytes > this.#options.bytesMax) throw bodyTooLarge(this.#options.bytesMax)
        yield next
      }
    } finally {
      await source.return?.()
      this.leave()
    }
  }

  async #next(source: AsyncIterator<Buffer>): Promise<Buffer | null> {
    this.#waiting = true
    try {
      const next = await source.next()
      if (next.done !== true) return next.value
    } catch (error) {
      throw this.#failure ?? new HoldfastError('ERR_BAD_REQUEST', 'error reading data: the connection was closed', { cause: error })
    } finally {
      this.#waiting = false
    }
    // A body that broke off looks like one that ended.
    if (this.#failure !== null || !this.#request.complete)
      throw this.#failure ?? new HoldfastError('ERR_BAD_REQUEST', 'error reading data: the connection was closed')
    return null
  }

  /** Ends it with `error`: the rest will never come. */
  cancel(error: unknown): void {
    this.#failure ??= error
    this.#request.destroy()
    this.leave()
  }

  sweep(nowMonotonicMs: number): void {
    const { bodyWindowMs, bodyWindowBytesMin } = this.#options.limits
    if (nowMonotonicMs - this.#windowStartMs < bodyWindowMs) return
    const slow = this.#waiting && this.#windowBytes < bodyWindowBytesMin
    this.#windowStartMs = nowMonotonicMs
    this.#windowBytes = 0
    if (slow)
      this.cancel(
        new HoldfastError('ERR_TIMEOUT', `request body expected at least ${bodyWindowBytesMin} bytes in ${bodyWindowMs} ms, got fewer`),
      )
  }

  /** Nobody reads on. Called again, does nothing. */
  leave(): void {
    if (this.#ended) return
    this.#ended = true
    this.#options.budget.readers.delete(this)
    this.#options.onEnd()
  }
}
