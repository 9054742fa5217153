/** Sends one snapshot on a connection of its own, so that it neither waits for other traffic nor delays it. */
import { Client } from 'undici'
import type { Dispatcher } from 'undici'
import { HoldfastError } from '#base/errors.ts'
import type { Dialer } from './dialer.ts'
import { FrameDecoder, FrameKind } from './frames.ts'
import type { TransportLimits } from './limits.ts'
import { clientOptions, requestHeaders, snapshotPath } from './protocol.ts'
import type { Identity, PeerAddress } from './types.ts'
import type { StallWatch } from './watch.ts'
import { decodeError, errorBytesMax, resultError } from './wire-errors.ts'

export interface SnapshotSenderOptions {
  readonly peer: PeerAddress
  readonly identity: Identity
  readonly dialer: Dialer
  readonly limits: TransportLimits
  readonly stalls: StallWatch
  contact(): void
}

export interface SnapshotSending {
  /** Resolves when the peer has stored it. */
  readonly done: Promise<void>
  abort(error: HoldfastError): void
}

/** As Transport.sendSnapshot. `body` is ended (its `return` called) whatever happens. */
export function sendSnapshot(options: SnapshotSenderOptions, header: Uint8Array, body: AsyncIterable<Uint8Array>): SnapshotSending {
  const { peer, identity, dialer, limits, stalls } = options
  const client = new Client('https://peer', clientOptions(dialer.connectorFor(peer)))
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const finish = (error: Error | null): void => {
    contact.done()
    progress.done()
    if (error === null) resolve()
    else if (error instanceof HoldfastError) reject(error)
    else reject(new HoldfastError('ERR_UPSTREAM', `node ${peer.id}: ${error.message}`, { cause: error }))
    // Destroying rejects only if undici itself is broken, and the outcome is known.
    client.destroy(error).catch(() => {})
  }
  const stalled = (what: string, ms: number) => (): void => {
    finish(new HoldfastError('ERR_UPSTREAM', `node ${peer.id}: snapshot: expected ${what} within ${ms} ms, got none`))
  }
  const contact = stalls.watch(limits.snapshotStallMsMax, stalled('a sign of life', limits.snapshotStallMsMax))
  const progress = stalls.watch(limits.snapshotStoreMsMax, stalled('progress', limits.snapshotStoreMsMax))
  if (header.length > limits.snapshotHeaderBytesMax) {
    finish(new HoldfastError('ERR_FRAME', `snapshot header: expected at most ${limits.snapshotHeaderBytesMax} bytes, got ${header.length}`))
    return { done: promise, abort: finish }
  }
  const heard = (): void => {
    contact.progress()
    options.contact()
  }
  const content = chunks(header, body, () => progress.progress())
  client.dispatch(
    // As for streams: undici takes any async iterable, whatever its typings say.
    { method: 'POST', path: snapshotPath(identity.nodeId), headers: requestHeaders(identity), body: content as never },
    answerHandler(limits.frameBytesMax, heard, finish),
  )
  return { done: promise, abort: finish }
}

async function* chunks(header: Uint8Array, body: AsyncIterable<Uint8Array>, progress: () => void): AsyncGenerator<Uint8Array> {
  const head = Buffer.alloc(4 + header.length)
  head.writeUInt32BE(header.length, 0)
  head.set(header, 4)
  yield head
  for await (const chunk of body) {
    progress()
    yield chunk
  }
}

function answerHandler(frameBytesMax: number, heard: () => void, finish: (error: Error | null) => void): Dispatcher.DispatchHandler {
  const decoder = new FrameDecoder(frameBytesMax)
  const refusal: Buffer[] = []
  let refused = false
  return {
    onRequestStart: () => {},
    onResponseStart: (_controller, status) => {
      refused = status !== 200
    },
    onResponseData: (_controller, chunk) => {
      heard()
      try {
        if (!refused) readFrames(decoder, chunk, finish)
        else if (refusal.push(chunk) * chunk.length > errorBytesMax) finish(cutOff())
      } catch (error) {
        finish(error as Error)
      }
    },
    // After a result these find the outcome settled.
    onResponseEnd: () => finish(refused ? decodeError(Buffer.concat(refusal)) : cutOff()),
    onResponseError: (_controller, error) => finish(error),
  }
}

function readFrames(decoder: FrameDecoder, chunk: Uint8Array, finish: (error: Error | null) => void): void {
  for (const frame of decoder.push(chunk)) {
    if (frame.kind === FrameKind.result) finish(resultError(frame))
  }
}

function cutOff(): HoldfastError {
  return new HoldfastError('ERR_UPSTREAM', 'snapshot: expected a result, got the end')
}
