/**
 * Sends one snapshot on connections of its own, so that it neither waits for other traffic nor delays it. A connection that breaks is no reason to begin
 * again: what the receiver has not acknowledged is kept, and goes on from there on the next one (inbound-snapshots.ts is the other end).
 */
import { Client } from 'undici'
import type { Dispatcher } from 'undici'
import type { Clock, Timer } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'
import type { Dialer } from './dialer.ts'
import { FrameDecoder, FrameKind, frameValue } from './frames.ts'
import type { TransportLimits } from './limits.ts'
import { clientOptions, requestHeaders, snapshotPath, transferHeaders } from './protocol.ts'
import { Replay } from './replay.ts'
import type { Identity, PeerAddress } from './types.ts'
import type { StallWatch, Watched } from './watch.ts'
import { decodeError, errorBytesMax, resultError } from './wire-errors.ts'

export interface SnapshotSenderOptions {
  readonly peer: PeerAddress
  readonly identity: Identity
  readonly dialer: Dialer
  readonly limits: TransportLimits
  readonly stalls: StallWatch
  readonly clock: Clock
  /** Names this transfer among all: 32 hex digits. */
  readonly transfer: string
  contact(): void
  /** A connection broke, and the next one is to go on behind so many bytes. */
  resumed(bytes: number): void
}

export interface SnapshotSending {
  /** Resolves when the peer has stored it. */
  readonly done: Promise<void>
  abort(error: HoldfastError): void
}

/** As Transport.sendSnapshot. `body` is ended (its `return` called) whatever happens; its pieces are kept until the peer has them. */
export function sendSnapshot(options: SnapshotSenderOptions, header: Uint8Array, body: AsyncIterable<Uint8Array>): SnapshotSending {
  const sender = new Sender(options, header, body)
  sender.begin()
  return { done: sender.done, abort: (error) => sender.finish(error) }
}

/** One connection. */
interface Attempt {
  readonly client: Client
  readonly contact: Watched
  /** How many bytes of the body the receiver has; undefined: it will not say any more. */
  readonly from: PromiseWithResolvers<number | undefined>
  over: boolean
}

class Sender {
  readonly #options: SnapshotSenderOptions
  readonly #header: Uint8Array
  readonly #pieces: AsyncIterator<Uint8Array>
  readonly #replay: Replay
  readonly #outcome = Promise.withResolvers<void>()
  readonly #progress: Watched
  #finished = false
  #attempt: Attempt | null = null
  #attempts = 0
  /** The receiver has said what it has: it knows of the transfer, and can go on with it. */
  #known = false
  /** When the connection broke that no byte has got through since; null: none did. */
  #broken: { readonly sinceMs: number; readonly acknowledged: number; pauseMs: number } | null = null
  #timer: Timer | null = null
  #pulling: Promise<void> | null = null

  constructor(options: SnapshotSenderOptions, header: Uint8Array, body: AsyncIterable<Uint8Array>) {
    this.#options = options
    this.#header = header
    this.#pieces = body[Symbol.asyncIterator]()
    this.#replay = new Replay()
    const ms = options.limits.snapshotStoreMsMax
    this.#progress = options.stalls.watch(ms, () => this.finish(this.#stalled('progress', ms)))
  }

  get done(): Promise<void> {
    return this.#outcome.promise
  }

  begin(): void {
    const { peer, identity, dialer, limits, stalls, transfer } = this.#options
    const max = limits.snapshotHeaderBytesMax
    if (this.#header.length > max)
      return this.finish(new HoldfastError('ERR_FRAME', `snapshot header: expected at most ${max} bytes, got ${this.#header.length}`))
    const resumes = this.#attempts > 0
    this.#attempts += 1
    const ms = limits.snapshotStallMsMax
    const attempt: Attempt = {
      client: new Client('https://peer', clientOptions(dialer.connectorFor(peer))),
      contact: stalls.watch(ms, () => this.#break(attempt, this.#stalled('a sign of life', ms))),
      from: Promise.withResolvers(),
      over: false,
    }
    this.#attempt = attempt
    attempt.client.dispatch(
      {
        method: 'POST',
        path: snapshotPath(identity.nodeId),
        headers: { ...requestHeaders(identity), ...transferHeaders(transfer, resumes) },
        // As for streams: undici takes any async iterable, whatever its typings say.
        body: this.#content(attempt, resumes) as never,
      },
      this.#handler(attempt),
    )
  }

  finish(error: Error | null): void {
    if (this.#finished) return
    this.#finished = true
    this.#progress.done()
    this.#timer?.cancel()
    if (error === null) this.#outcome.resolve()
    else if (error instanceof HoldfastError) this.#outcome.reject(error)
    else this.#outcome.reject(new HoldfastError('ERR_UPSTREAM', `node ${this.#options.peer.id}: ${error.message}`, { cause: error }))
    if (this.#attempt !== null) this.#end(this.#attempt, error)
    this.#replay.wake()
    // A source that fails while it is let go was let go.
    this.#pieces.return?.().catch(() => {})
  }

  #end(attempt: Attempt, error: Error | null): void {
    attempt.over = true
    attempt.contact.done()
    attempt.from.resolve(undefined)
    this.#replay.wake()
    // Destroying rejects only if undici itself is broken, and the outcome is known.
    attempt.client.destroy(error).catch(() => {})
  }

  /** The connection is gone. Where the receiver knows of the transfer another one goes on with it, as long as that gets any further. */
  #break(attempt: Attempt, error: Error): void {
    if (attempt.over) return
    this.#end(attempt, error)
    if (this.#finished) return
    const { clock, limits } = this.#options
    const { acknowledged } = this.#replay
    if (this.#broken === null || acknowledged > this.#broken.acknowledged)
      this.#broken = { sinceMs: clock.monotonicMs(), acknowledged, pauseMs: limits.reconnectMsMin }
    if (!this.#known || clock.monotonicMs() - this.#broken.sinceMs >= limits.snapshotResumeMsMax) return this.finish(error)
    this.#options.resumed(acknowledged)
    this.#timer = clock.setTimer(this.#broken.pauseMs, () => this.begin())
    this.#broken.pauseMs = Math.min(this.#broken.pauseMs * 2, limits.reconnectMsMax)
  }

  #stalled(what: string, ms: number): HoldfastError {
    return new HoldfastError('ERR_UPSTREAM', `node ${this.#options.peer.id}: snapshot: expected ${what} within ${ms} ms, got none`)
  }

  /** A head of 4 bytes and the header, which is empty on a connection that goes on; then the body, from where the receiver wants it. */
  async *#content(attempt: Attempt, resumes: boolean): AsyncGenerator<Uint8Array> {
    const header = resumes ? new Uint8Array(0) : this.#header
    const head = Buffer.alloc(4 + header.length)
    head.writeUInt32BE(header.length, 0)
    head.set(header, 4)
    yield head
    let at = resumes ? await attempt.from.promise : 0
    while (at !== undefined && !attempt.over) {
      const piece = this.#replay.from(at)
      if (piece !== null) {
        at += piece.length
        yield piece
      } else if (this.#replay.ended) return
      else if (this.#replay.heldBytes > this.#options.limits.snapshotWindowBytesMax) await this.#replay.changed()
      else await this.#pull()
    }
  }

  /** The next piece of the source, whoever waits for it: one whose connection broke meanwhile must not take it along. */
  #pull(): Promise<void> {
    this.#pulling ??= this.#pieces.next().then(
      ({ done, value }) => {
        this.#pulling = null
        if (done === true) this.#replay.end()
        else this.#replay.push(value)
      },
      (error: unknown) => this.finish(error instanceof Error ? error : new Error('the source failed')),
    )
    return this.#pulling
  }

  #handler(attempt: Attempt): Dispatcher.DispatchHandler {
    const decoder = new FrameDecoder(this.#options.limits.frameBytesMax)
    const refusal: Buffer[] = []
    let refused = false
    return {
      onRequestStart: () => {},
      onResponseStart: (_controller, status) => {
        refused = status !== 200
      },
      onResponseData: (_controller, chunk) => {
        attempt.contact.progress()
        this.#options.contact()
        try {
          if (!refused) this.#read(attempt, decoder, chunk)
          else if (refusal.push(chunk) * chunk.length > errorBytesMax) this.finish(cutOff())
        } catch (error) {
          this.finish(error as Error)
        }
      },
      // After a result these find the outcome settled.
      onResponseEnd: () => (refused ? this.finish(decodeError(Buffer.concat(refusal))) : this.#break(attempt, cutOff())),
      onResponseError: (_controller, error) => this.#break(attempt, error),
    }
  }

  #read(attempt: Attempt, decoder: FrameDecoder, chunk: Uint8Array): void {
    for (const frame of decoder.push(chunk)) {
      if (frame.kind === FrameKind.result) this.finish(resultError(frame))
      else if (frame.kind === FrameKind.received) this.#acknowledged(attempt, frameValue(frame))
    }
  }

  #acknowledged(attempt: Attempt, bytes: unknown): void {
    const before = this.#replay.acknowledged
    this.#replay.acknowledge(bytes)
    if (this.#replay.acknowledged > before) this.#progress.progress()
    this.#known = true
    attempt.from.resolve(this.#replay.acknowledged)
  }
}

function cutOff(): HoldfastError {
  return new HoldfastError('ERR_UPSTREAM', 'snapshot: expected a result, got the end')
}
