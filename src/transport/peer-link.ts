/**
 * This node's stream of raft messages to one peer: a POST whose body never ends, opened again whenever it breaks.
 *
 * The answer's body carries pongs. Without them a peer whose host vanished would go unnoticed for minutes: heartbeats are so small that
 * the kernel takes them all, and a kernel that waits for acknowledgements sends no keepalive probes.
 */
import { Client } from 'undici'
import type { Dispatcher } from 'undici'
import type { Clock, Timer } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import type { RandomSource } from '#base/random.ts'
import type { Dialer } from './dialer.ts'
import { FrameQueue } from './frame-queue.ts'
import { FrameDecoder, FrameKind, emptyFrame } from './frames.ts'
import type { TransportLimits } from './limits.ts'
import { clientOptions, requestHeaders, streamPath } from './protocol.ts'
import type { Identity, PeerAddress } from './types.ts'
import { decodeError, errorBytesMax, resultError } from './wire-errors.ts'

export interface PeerLinkOptions {
  readonly peer: PeerAddress
  readonly identity: Identity
  readonly dialer: Dialer
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Logger
  readonly limits: TransportLimits
  /** Anything arrived from the peer. */
  contact(): void
  /** The stream broke, or could not be opened. Throttled. */
  unreachable(): void
}

/** One try to have a stream; a new object for each, so that a late event of an old one finds that it is no longer meant. */
interface Attempt {
  readonly client: Client
  readonly startedMs: number
  openedMs: number | null
  /** When the oldest ping that has no pong left this process. */
  pingMs: number | null
  pingDue: boolean
  /** When undici last asked for bytes, or nothing was waiting. */
  progressMs: number
  wake: (() => void) | null
}

const stillDownEveryMs = 30_000

export class PeerLink {
  readonly #options: PeerLinkOptions
  readonly #queue: FrameQueue
  #attempt: Attempt | null = null
  #retry: Timer | null = null
  #failures = 0
  #unreachableMs = -Infinity
  #loggedMs = -Infinity
  #loggedReason = ''
  #stopped = false
  #bytesSent = 0
  #messagesSent = 0
  #connects = 0

  constructor(options: PeerLinkOptions) {
    this.#options = options
    this.#queue = new FrameQueue(options.limits.queueBytesMax)
  }

  get connected(): boolean {
    return this.#attempt !== null && this.#attempt.openedMs !== null
  }

  stats(): { messagesSent: number; messagesDropped: number; bytesSent: number; queueBytes: number; connects: number } {
    return {
      messagesSent: this.#messagesSent,
      messagesDropped: this.#queue.dropped,
      bytesSent: this.#bytesSent,
      queueBytes: this.#queue.bytes,
      connects: this.#connects,
    }
  }

  start(): void {
    this.#open()
  }

  /** Queues a frame; it leaves with whatever else is queued in this turn. Takes ownership. */
  send(frame: Buffer): void {
    if (this.#stopped) return
    this.#queue.push(frame)
    this.#wake()
  }

  stop(): Promise<void> {
    this.#stopped = true
    this.#retry?.cancel()
    const attempt = this.#attempt
    this.#attempt = null
    this.#queue.clear()
    if (attempt === null) return Promise.resolve()
    return discard(attempt, new HoldfastError('ERR_SHUTTING_DOWN', 'transport closes'))
  }

  /** Called every `pulseMs`: pings, and resets what stalls. */
  pulse(): void {
    const attempt = this.#attempt
    if (attempt === null) return
    const { clock, limits } = this.#options
    const now = clock.monotonicMs()
    if (attempt.openedMs === null) {
      if (now - attempt.startedMs > limits.connectMsMax + limits.stallMsMax) this.#broke(attempt, stalled('an answer', limits.stallMsMax))
      return
    }
    if (attempt.pingMs !== null && now - attempt.pingMs > limits.stallMsMax) {
      this.#broke(attempt, stalled('a pong', limits.stallMsMax))
    } else if (this.#queue.bytes > 0 && now - attempt.progressMs > limits.stallMsMax) {
      this.#broke(attempt, stalled('room to write', limits.stallMsMax))
    } else if (attempt.pingMs === null) {
      attempt.pingDue = true
      this.#wake()
    }
  }

  #wake(): void {
    const wake = this.#attempt?.wake
    if (wake === null || wake === undefined || this.#attempt === null) return
    this.#attempt.wake = null
    wake()
  }

  #open(): void {
    if (this.#stopped) return
    const { peer, identity, dialer, clock } = this.#options
    const now = clock.monotonicMs()
    const client = new Client('https://peer', clientOptions(dialer.connectorFor(peer)))
    const attempt: Attempt = { client, startedMs: now, openedMs: null, pingMs: null, pingDue: true, progressMs: now, wake: null }
    this.#attempt = attempt
    client.dispatch(
      {
        method: 'POST',
        path: streamPath(identity.nodeId),
        headers: requestHeaders(identity),
        // undici takes any async iterable and waits for the socket to drain between two chunks; its typings don't say so.
        body: this.#chunks(attempt) as never,
      },
      this.#handler(attempt),
    )
  }

  /** What undici writes: a ping at once (so that the request leaves), then what is queued, joined per turn. */
  async *#chunks(attempt: Attempt): AsyncGenerator<Uint8Array> {
    const { clock, limits } = this.#options
    while (this.#attempt === attempt) {
      attempt.progressMs = clock.monotonicMs()
      if (attempt.pingDue) {
        attempt.pingDue = false
        attempt.pingMs = attempt.progressMs
        yield this.#counted(emptyFrame(FrameKind.ping), 0)
      }
      const frames = this.#queue.take(limits.writeBytesMax)
      if (frames.length > 0) yield* this.#slices(frames, attempt)
      // Wakes in a microtask: all that the driver sends in one turn is in the queue by then.
      else if (!attempt.pingDue) await new Promise<void>((resolve) => (attempt.wake = resolve))
    }
  }

  *#slices(frames: Buffer[], attempt: Attempt): Generator<Uint8Array> {
    const { clock, limits } = this.#options
    const bytes = frames.length === 1 ? (frames[0] as Buffer) : Buffer.concat(frames)
    this.#counted(bytes, frames.length)
    // A large frame leaves in pieces, so that progress on a slow network is seen.
    for (let at = 0; at < bytes.length; at += limits.writeBytesMax) {
      attempt.progressMs = clock.monotonicMs()
      yield bytes.subarray(at, at + limits.writeBytesMax)
    }
  }

  #counted(bytes: Buffer, messages: number): Buffer {
    this.#bytesSent += bytes.length
    this.#messagesSent += messages
    return bytes
  }

  #handler(attempt: Attempt): Dispatcher.DispatchHandler {
    const decoder = new FrameDecoder(this.#options.limits.frameBytesMax)
    const refusal: Buffer[] = []
    let refused = false
    return {
      onRequestStart: () => {},
      onResponseStart: (_controller, status) => {
        if (status === 200) this.#opened(attempt)
        else refused = true
      },
      onResponseData: (_controller, chunk) => {
        if (this.#attempt !== attempt) return
        if (!refused) this.#pongs(attempt, decoder, chunk)
        else if (refusal.push(chunk) * chunk.length > errorBytesMax) this.#broke(attempt, ended())
      },
      onResponseEnd: () => this.#broke(attempt, !refused ? ended() : decodeError(Buffer.concat(refusal))),
      onResponseError: (_controller, error) => this.#broke(attempt, error),
    }
  }

  #opened(attempt: Attempt): void {
    if (this.#attempt !== attempt) return
    attempt.openedMs = this.#options.clock.monotonicMs()
    this.#connects++
    this.#loggedReason = ''
    this.#options.contact()
    this.#options.log.info({ peer: this.#options.peer.id, address: this.#options.peer.clusterAddress }, 'stream to peer is open')
  }

  #pongs(attempt: Attempt, decoder: FrameDecoder, chunk: Uint8Array): void {
    this.#options.contact()
    try {
      for (const frame of decoder.push(chunk)) {
        if (frame.kind === FrameKind.pong) attempt.pingMs = null
        else if (frame.kind === FrameKind.result) throw resultError(frame) ?? ended()
      }
    } catch (error) {
      this.#broke(attempt, error as HoldfastError)
    }
  }

  #broke(attempt: Attempt, error: Error): void {
    if (this.#attempt !== attempt) return
    const { clock, limits, log, peer } = this.#options
    const now = clock.monotonicMs()
    this.#attempt = null
    void discard(attempt, error)
    // What waits was meant for a peer that listened; raft sends again what still matters, and newer.
    this.#queue.clear()
    if (error.message !== this.#loggedReason || now - this.#loggedMs > stillDownEveryMs) {
      this.#loggedMs = now
      this.#loggedReason = error.message
      log.warn({ peer: peer.id, address: peer.clusterAddress, code: codeOf(error), reason: error.message }, 'no stream to peer')
    }
    // Only a stream that lived earns an immediate retry: one that is refused each time would otherwise be tried in a hot loop.
    if (attempt.openedMs !== null && now - attempt.openedMs > limits.reconnectMsMax) this.#failures = 0
    this.#retry = clock.setTimer(this.#retryDelayMs(), () => this.#open())
    this.#failures++
    if (now - this.#unreachableMs < limits.unreachableEveryMs) return
    this.#unreachableMs = now
    this.#options.unreachable()
  }

  /** 0, then doubling from `reconnectMsMin` to `reconnectMsMax`, each halved at random: nodes that lost one peer don't return in step. */
  #retryDelayMs(): number {
    const { limits, random } = this.#options
    if (this.#failures === 0) return 0
    const delayMs = Math.min(limits.reconnectMsMin * 2 ** Math.min(this.#failures - 1, 16), limits.reconnectMsMax)
    return delayMs * (0.5 + (random.bytes(1)[0] ?? 0) / 512)
  }
}

function discard(attempt: Attempt, error: Error): Promise<void> {
  attempt.wake?.()
  // Destroying rejects only if undici itself is broken; there is nothing to be done about a connection that is given up.
  return attempt.client.destroy(error).catch(() => {})
}

function ended(): HoldfastError {
  return new HoldfastError('ERR_UPSTREAM', 'stream: expected it to stay open, got its end')
}

function stalled(expected: string, ms: number): HoldfastError {
  return new HoldfastError('ERR_UPSTREAM', `stream: expected ${expected} within ${ms} ms, got none`)
}

function codeOf(error: Error): string | undefined {
  return 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
