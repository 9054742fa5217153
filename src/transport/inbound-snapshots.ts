import type { Timer } from '#base/clock.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import type { NodeId } from '#raft/types.ts'
import { FrameKind, encodeFrame } from './frames.ts'
import type { Exchange, InboundContext } from './inbound-context.ts'
import { transferOf } from './protocol.ts'
import { encodeError } from './wire-errors.ts'

const lengthBytes = 4
/** The sender is told at least this often how far we are. */
const tellEveryBytes = 1024 * 1024

/**
 * Serves a snapshot: its body is 4 bytes of length, the header, and then the snapshot's bytes to the end. The answer begins at once and is made of
 * frames: what has been taken so far while the handler works (so that checking and storing may take as long as they need), then one result.
 *
 * A connection that breaks does not end the transfer: for `snapshotResumeMsMax` the handler waits, and the sender may go on by another one, which names the
 * transfer and sends what was not acknowledged. A new transfer, whoever sends it, takes the place of one that waits.
 * @throws ERR_BUSY; ERR_UPSTREAM when the transfer that is to go on is not known (any more)
 */
export function serveSnapshot(inbound: InboundContext, exchange: Exchange): void {
  const { from, request } = exchange
  const { transfers } = inbound
  const { id, resumes } = transferOf(request.headers)
  const held = transfers.get(from)
  if (resumes) {
    if (held === undefined || held.id !== id)
      throw new HoldfastError('ERR_UPSTREAM', 'snapshot: expected a transfer that is under way here to go on, got another', {
        hint: 'the sender begins again',
      })
    held.attach(exchange)
    return
  }
  const waiting = [...transfers.values()].filter((each) => each.waits)
  if ((held !== undefined && !held.waits) || transfers.size - waiting.length >= inbound.options.limits.inboundSnapshotsMax)
    throw new HoldfastError('ERR_BUSY', `node is busy: it receives ${transfers.size - waiting.length} snapshots already`)
  for (const each of waiting) each.abandon(new HoldfastError('ERR_UPSTREAM', 'snapshot: the sender broke off, and another is sent'))
  const transfer = new Transfer(inbound, from, id)
  transfers.set(from, transfer)
  transfer.attach(exchange)
  // The handler takes one at a time.
  Promise.all(waiting.map((each) => each.ended))
    .then(() => transfer.run())
    .catch((error: unknown) => inbound.options.log.error({ reason: String(error) }, 'a snapshot could not be taken'))
}

export class Transfer {
  readonly id: string
  readonly #inbound: InboundContext
  readonly #from: NodeId
  readonly #ended = Promise.withResolvers<void>()
  /** The connection in use; null: it broke. */
  #exchange: Exchange | null = null
  #source: Source | null = null
  #silence: () => void = () => {}
  /** Bytes of the body that the handler has been given. */
  #taken = 0
  #told = 0
  #attached: PromiseWithResolvers<void> | null = null
  /** Set when nobody need wait for another connection any more. */
  #given: Error | null = null
  #deadline: Timer | null = null
  #outcome: object | null = null

  constructor(inbound: InboundContext, from: NodeId, id: string) {
    this.#inbound = inbound
    this.#from = from
    this.id = id
  }

  /** Resolves when the handler is done with it, and nobody waits for its result. */
  get ended(): Promise<void> {
    return this.#ended.promise
  }

  /** Its connection broke, and no other has come; or it is over, and only the sender may not have heard yet. */
  get waits(): boolean {
    return this.#exchange === null
  }

  /** Goes on by `exchange`; what came by an earlier connection and was not taken comes again. */
  attach(exchange: Exchange): void {
    const before = this.#exchange
    this.#silence()
    this.#deadline?.cancel()
    this.#exchange = exchange
    this.#source = new Source(this.#inbound, exchange)
    // Its sender has given it up, though we have not heard.
    before?.request.destroy()
    exchange.response.writeHead(200, { 'content-type': 'application/octet-stream' })
    exchange.response.flushHeaders()
    exchange.response.once('close', () => this.#lose(exchange, new HoldfastError('ERR_UPSTREAM', 'snapshot: the sender broke off')))
    this.#silence = this.#inbound.onPulse(() => this.#tell())
    this.#tell()
    if (before === null && this.#taken > 0 && this.#outcome === null)
      this.#inbound.options.log.info({ peer: this.#from, bytes: this.#taken }, 'a snapshot goes on where its connection broke')
    if (this.#outcome !== null) this.#answer(exchange, this.#outcome)
    this.#attached?.resolve()
    this.#attached = null
  }

  /** Waits for no other connection. */
  abandon(error: Error): void {
    this.#given ??= error
    this.#deadline?.cancel()
    this.#attached?.reject(this.#given)
    this.#attached = null
    if (this.#outcome !== null) this.#end()
  }

  async run(): Promise<void> {
    const { handlers, limits, log } = this.#inbound.options
    let outcome: object
    try {
      const header = await (this.#source ?? raise(this.#given)).header(limits.snapshotHeaderBytesMax)
      await handlers.snapshot(this.#from, header, this.#body())
      outcome = { ok: true }
    } catch (error) {
      log.warn({ peer: this.#from, reason: error instanceof Error ? error.message : 'unknown' }, 'snapshot from peer failed')
      outcome = { ok: false, error: encodeError(error) }
    }
    this.#outcome = outcome
    if (this.#exchange !== null) this.#answer(this.#exchange, outcome)
    else if (this.#given !== null) this.#end()
  }

  /** The answer may be lost on its way: it is kept as long as the sender may come back for it. */
  #answer(exchange: Exchange, outcome: object): void {
    const { response } = exchange
    if (!response.destroyed) response.end(encodeFrame(FrameKind.result, outcome, this.#inbound.options.limits.frameBytesMax))
    this.#lose(exchange, new HoldfastError('ERR_UPSTREAM', 'snapshot: it is over'))
  }

  #end(): void {
    this.#silence()
    this.#deadline?.cancel()
    if (this.#inbound.transfers.get(this.#from) === this) this.#inbound.transfers.delete(this.#from)
    this.#ended.resolve()
  }

  #tell(): void {
    const { response } = this.#exchange ?? {}
    if (response === undefined || response.writableNeedDrain || response.writableEnded) return
    this.#told = this.#taken
    response.write(encodeFrame(FrameKind.received, this.#taken, this.#inbound.options.limits.frameBytesMax))
  }

  #lose(exchange: Exchange, error: Error): void {
    if (this.#exchange !== exchange) return
    this.#exchange = null
    this.#silence()
    const { clock, limits } = this.#inbound.options
    this.#deadline = clock.setTimer(limits.snapshotResumeMsMax, () => this.abandon(error))
  }

  /** The bytes after the header. Throws if the sender breaks off for good: an end that is no end must never look like one. */
  async *#body(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const chunk = await this.#next()
      if (chunk === null) return
      this.#taken += chunk.length
      if (this.#taken - this.#told >= tellEveryBytes) this.#tell()
      yield chunk
    }
  }

  async #next(): Promise<Buffer | null> {
    for (;;) {
      const [exchange, source] = [this.#exchange, this.#source]
      if (exchange === null || source === null) {
        if (this.#given !== null) throw this.#given
        this.#attached ??= Promise.withResolvers()
        await this.#attached.promise
        continue
      }
      try {
        const chunk = await source.next()
        // Of a connection that another has replaced meanwhile: it comes again.
        if (exchange === this.#exchange) return chunk
      } catch (error) {
        if (isHoldfastError(error, 'ERR_FRAME')) throw error
        exchange.request.destroy()
        this.#lose(exchange, error as Error)
      }
    }
  }
}

function raise(error: Error | null): never {
  throw error ?? new HoldfastError('ERR_UPSTREAM', 'snapshot: the sender broke off')
}

/** Takes the body of one connection apart. Backpressure is the request's own: nothing is read before the handler asks. */
class Source {
  readonly #inbound: InboundContext
  readonly #exchange: Exchange
  readonly #chunks: AsyncIterator<Buffer>
  #rest: Buffer = Buffer.alloc(0)
  #headed = false

  constructor(inbound: InboundContext, exchange: Exchange) {
    this.#inbound = inbound
    this.#exchange = exchange
    this.#chunks = exchange.request[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  }

  /** @throws ERR_FRAME; ERR_UPSTREAM */
  async header(bytesMax: number): Promise<Uint8Array> {
    this.#headed = true
    await this.#fill(lengthBytes)
    const length = this.#rest.readUInt32BE(0)
    if (length > bytesMax) throw new HoldfastError('ERR_FRAME', `snapshot header: expected at most ${bytesMax} bytes, got ${length}`)
    await this.#fill(lengthBytes + length)
    const header = this.#rest.subarray(lengthBytes, lengthBytes + length)
    this.#rest = this.#rest.subarray(lengthBytes + length)
    return header
  }

  /** The next bytes behind the header; null: the end. @throws ERR_FRAME; ERR_UPSTREAM where the sender broke off */
  async next(): Promise<Buffer | null> {
    if (!this.#headed) await this.header(0)
    const rest = this.#rest
    if (rest.length === 0) return await this.#chunk()
    this.#rest = Buffer.alloc(0)
    return rest
  }

  async #fill(bytes: number): Promise<void> {
    while (this.#rest.length < bytes) {
      const chunk = await this.#chunk()
      if (chunk === null) throw new HoldfastError('ERR_FRAME', 'snapshot: expected a header, got the end')
      this.#rest = Buffer.concat([this.#rest, chunk])
    }
  }

  /** Only the wait for the network is watched: a handler that writes to a slow disk may take its time. */
  async #chunk(): Promise<Buffer | null> {
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
