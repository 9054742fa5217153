import { HoldfastError } from '#base/errors.ts'
import { FrameDecoder, FrameKind, emptyFrame, encodeFrame, frameValue } from './frames.ts'
import type { Frame } from './frames.ts'
import type { Exchange, InboundContext } from './inbound-context.ts'
import { encodeError } from './wire-errors.ts'

const refusalMs = 500

/**
 * Serves a peer's stream of raft messages: decodes frames as they come and hands them on in order; answers pings.
 * Anything that is no frame of ours ends the stream: after it no boundary can be trusted.
 */
export function serveStream(inbound: InboundContext, exchange: Exchange): void {
  const { from, request, response } = exchange
  const { limits, log, stalls } = inbound.options
  const decoder = new FrameDecoder(limits.frameBytesMax)
  const end = (): void => {
    request.socket.destroy()
  }
  // The peer restarted, or gave the old stream up: two at once could overtake each other.
  inbound.streams.get(from)?.()
  inbound.streams.set(from, end)
  const watched = stalls.watch(limits.stallMsMax, () => {
    log.warn({ peer: from }, `stream: expected a sign of life within ${limits.stallMsMax} ms, got none`)
    end()
  })
  response.writeHead(200, { 'content-type': 'application/octet-stream' })
  response.flushHeaders()
  request.on('data', (chunk: Buffer) => {
    watched.progress()
    try {
      readChunk(inbound, exchange, decoder, chunk)
    } catch (error) {
      inbound.options.frameRefused(from, error as HoldfastError)
      refuse(inbound, exchange, error as HoldfastError)
    }
  })
  request.once('close', () => {
    watched.done()
    if (inbound.streams.get(from) === end) inbound.streams.delete(from)
  })
}

/** Tells the peer why, reads nothing more, and cuts the connection once it may have heard. */
function refuse(inbound: InboundContext, exchange: Exchange, error: HoldfastError): void {
  const { request, response } = exchange
  const { clock, limits } = inbound.options
  request.removeAllListeners('data')
  request.pause()
  response.end(encodeFrame(FrameKind.result, { ok: false, error: encodeError(error) }, limits.frameBytesMax))
  const timer = clock.setTimer(refusalMs, () => request.socket.destroy())
  request.socket.once('close', () => timer.cancel())
}

function readChunk(inbound: InboundContext, exchange: Exchange, decoder: FrameDecoder, chunk: Buffer): void {
  let messages = 0
  for (const frame of decoder.push(chunk)) {
    // Destroyed meanwhile (a handler removed the peer): what is left in the chunk is no longer from a member.
    if (exchange.request.destroyed) return
    if (frame.kind === FrameKind.ping) pong(exchange)
    else if (frame.kind === FrameKind.message) {
      messages++
      deliver(inbound, exchange, frame)
    } else throw new HoldfastError('ERR_FRAME', `stream: expected a message or a ping, got kind ${frame.kind}`)
  }
  inbound.options.contact(exchange.from, chunk.length, messages)
}

/** A peer that does not read its pongs gets no more of them: they must not pile up here. */
function pong(exchange: Exchange): void {
  if (!exchange.response.writableNeedDrain) exchange.response.write(emptyFrame(FrameKind.pong))
}

function deliver(inbound: InboundContext, exchange: Exchange, frame: Frame): void {
  const message = frameValue(frame)
  try {
    inbound.options.handlers.message(exchange.from, message)
  } catch (error) {
    // Ours, not the peer's: the stream goes on, or one bad message would keep two nodes reconnecting for ever.
    inbound.options.log.error({ peer: exchange.from, reason: error instanceof Error ? error.message : 'unknown' }, 'message handler threw')
  }
}
