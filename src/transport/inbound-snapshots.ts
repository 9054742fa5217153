import { HoldfastError } from '#base/errors.ts'
import { FrameKind, emptyFrame, encodeFrame } from './frames.ts'
import type { Exchange, InboundContext } from './inbound-context.ts'
import { encodeError } from './wire-errors.ts'

const lengthBytes = 4

/**
 * Serves a snapshot: its body is 4 bytes of length, the header, and then the snapshot's bytes to the end.
 * The answer begins at once and is made of frames: pongs while the handler works (so that checking and storing may take as long as they need),
 * then one result.
 */
export function serveSnapshot(inbound: InboundContext, exchange: Exchange): void {
  const { from, response } = exchange
  const { snapshots } = inbound
  if (snapshots.has(from) || snapshots.size >= inbound.options.limits.inboundSnapshotsMax) {
    throw new HoldfastError('ERR_BUSY', `node is busy: it receives ${snapshots.size} snapshots already`)
  }
  snapshots.add(from)
  response.writeHead(200, { 'content-type': 'application/octet-stream' })
  response.flushHeaders()
  const silence = inbound.onPulse(() => {
    if (!response.writableNeedDrain) response.write(emptyFrame(FrameKind.pong))
  })
  receive(inbound, exchange)
    .then(
      () => ({ ok: true }),
      (error: unknown) => {
        const reason = error instanceof Error ? error.message : 'unknown'
        inbound.options.log.warn({ peer: from, reason }, 'snapshot from peer failed')
        return { ok: false, error: encodeError(error) }
      },
    )
    .then((result) => {
      if (!response.destroyed) response.end(encodeFrame(FrameKind.result, result, inbound.options.limits.frameBytesMax))
    })
    .catch(() => response.destroy())
    .finally(() => {
      silence()
      snapshots.delete(from)
    })
}

async function receive(inbound: InboundContext, exchange: Exchange): Promise<void> {
  const { limits, handlers } = inbound.options
  const source = new SnapshotSource(inbound, exchange)
  const header = await source.header(limits.snapshotHeaderBytesMax)
  await handlers.snapshot(exchange.from, header, source.body())
}

/** Takes the body apart. Backpressure is the request's own: nothing is read before the handler asks. */
class SnapshotSource {
  readonly #inbound: InboundContext
  readonly #exchange: Exchange
  readonly #chunks: AsyncIterator<Buffer>
  #rest: Buffer = Buffer.alloc(0)

  constructor(inbound: InboundContext, exchange: Exchange) {
    this.#inbound = inbound
    this.#exchange = exchange
    this.#chunks = exchange.request[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  }

  /** @throws ERR_FRAME */
  async header(bytesMax: number): Promise<Uint8Array> {
    await this.#fill(lengthBytes)
    const length = this.#rest.readUInt32BE(0)
    if (length > bytesMax) throw new HoldfastError('ERR_FRAME', `snapshot header: expected at most ${bytesMax} bytes, got ${length}`)
    await this.#fill(lengthBytes + length)
    const header = this.#rest.subarray(lengthBytes, lengthBytes + length)
    this.#rest = this.#rest.subarray(lengthBytes + length)
    return header
  }

  /** The bytes after the header. Throws if the sender breaks off: an end that is no end must never look like one. */
  async *body(): AsyncGenerator<Uint8Array> {
    if (this.#rest.length > 0) yield this.#rest
    for (;;) {
      const chunk = await this.#next()
      if (chunk === null) return
      yield chunk
    }
  }

  async #fill(bytes: number): Promise<void> {
    while (this.#rest.length < bytes) {
      const chunk = await this.#next()
      if (chunk === null) throw new HoldfastError('ERR_FRAME', 'snapshot: expected a header, got the end')
      this.#rest = Buffer.concat([this.#rest, chunk])
    }
  }

  /** Only the wait for the network is watched: a handler that writes to a slow disk may take its time. */
  async #next(): Promise<Buffer | null> {
    const { limits, stalls, contact } = this.#inbound.options
    const ms = limits.snapshotStallMsMax
    const watched = stalls.watch(ms, () =>
      this.#exchange.request.destroy(new HoldfastError('ERR_UPSTREAM', `snapshot: expected bytes within ${ms} ms, got none`)),
    )
    try {
      const { done, value } = await this.#chunks.next()
      if (done === true) return null
      contact(this.#exchange.from, value.length, 0)
      return value
    } catch (cause) {
      throw cause instanceof HoldfastError ? cause : new HoldfastError('ERR_UPSTREAM', 'snapshot: the sender broke off', { cause })
    } finally {
      watched.done()
    }
  }
}
