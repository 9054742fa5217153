/** Bodies of any length: an answer that is read as it comes, a request that is sent as it is made. Neither is bound in its whole time, both in silence. */
import { Readable } from 'node:stream'
import { request as send, type Dispatcher } from 'undici'
import type { Clock, Timer } from '#base/clock.ts'
import { exchange, ExchangeError, flatten, failureOf, readAnswer } from './exchange.ts'
import type { Prepared } from './request.ts'
import type { RawAnswer } from './types.ts'

/** Aborts once nothing has moved for `quietMsMax`. */
export class QuietWatch {
  readonly #clock: Clock
  readonly #quietMsMax: number
  readonly #abort = new AbortController()
  #timer: Timer | null = null

  constructor(clock: Clock, quietMsMax: number) {
    this.#clock = clock
    this.#quietMsMax = quietMsMax
    this.touch()
  }

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  touch(): void {
    this.#timer?.cancel()
    this.#timer = this.#clock.setTimer(this.#quietMsMax, () => this.#abort.abort())
  }

  end(): void {
    this.#timer?.cancel()
  }
}

/** As `exchange`; the body of an answer of status 200 is not read: it comes as `body`. @throws ExchangeError */
export async function exchangeForStream(
  dispatcher: Dispatcher,
  address: string,
  prepared: Prepared,
  signal: AbortSignal,
): Promise<RawAnswer> {
  try {
    const {
      statusCode: status,
      headers,
      body,
    } = await send(`${address}${prepared.target}`, {
      method: prepared.method as Dispatcher.HttpMethod,
      headers: { ...prepared.headers },
      body: prepared.body,
      dispatcher,
      signal,
    })
    if (status !== 200) return await readAnswer({ status, headers, body, address })
    // Until its reader listens: an abort that comes before must not end the process.
    body.on('error', () => {})
    return { status, headers: flatten(headers), text: '', json: null, address, body }
  } catch (error) {
    throw failureOf(error, signal)
  }
}

/** Sends `upload` as the body. What it throws is thrown as it is. @throws ExchangeError */
export async function exchangeUpload(
  dispatcher: Dispatcher,
  address: string,
  prepared: Prepared,
  upload: AsyncIterable<Uint8Array>,
  watch: QuietWatch,
  signal: AbortSignal,
): Promise<RawAnswer> {
  let failure: unknown = null
  const watched = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for await (const piece of upload) {
        watch.touch()
        yield piece
      }
    } catch (error) {
      failure = error
      throw error
    }
  }
  const body = Readable.from(watched(), { objectMode: false })
  const headers = { ...prepared.headers, 'content-type': 'application/octet-stream' }
  try {
    return await exchange(dispatcher, address, { ...prepared, headers, body }, signal)
  } catch (error) {
    if (failure !== null && error instanceof ExchangeError) throw failure
    throw error
  } finally {
    body.destroy()
  }
}

/** `body` as it comes, watched: its reader may take as long as it likes, the sender may not. @throws ExchangeError when it ends before its time */
export async function* readWatched(
  body: AsyncIterable<Uint8Array>,
  watch: QuietWatch,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const source = body[Symbol.asyncIterator]()
  try {
    for (;;) {
      watch.touch()
      const next = await source.next()
      watch.end()
      if (next.done === true) return
      yield next.value
    }
  } catch (error) {
    throw failureOf(error, signal)
  } finally {
    watch.end()
    await source.return?.()
  }
}
