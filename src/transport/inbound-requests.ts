import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { sendError } from './inbound-context.ts'
import type { Exchange, InboundContext } from './inbound-context.ts'

/** Serves one request of a peer: reads its body within bounds, lets the handler answer, answers with its result or its error. */
export function serveRequest(inbound: InboundContext, exchange: Exchange, kind: string): void {
  const { budget } = inbound
  const bytes = declaredBytes(inbound, exchange)
  budget.requests++
  budget.bytes += bytes
  answer(inbound, exchange, kind, bytes)
    .catch((error: unknown) => sendError(exchange.response, error))
    .finally(() => {
      budget.requests--
      budget.bytes -= bytes
    })
}

/** @throws before anything is read, so that what does not fit costs nothing. */
function declaredBytes(inbound: InboundContext, exchange: Exchange): number {
  const { limits } = inbound.options
  const bytes = Number(exchange.request.headers['content-length'] ?? NaN)
  if (!Number.isSafeInteger(bytes)) throw new HoldfastError('ERR_BAD_REQUEST', 'request: expected a content-length, got none')
  if (bytes > limits.requestBodyBytesMax) {
    throw new HoldfastError('ERR_BODY_TOO_LARGE', `request body: expected at most ${limits.requestBodyBytesMax} bytes, got ${bytes}`)
  }
  if (inbound.budget.requests >= limits.inboundRequestsMax) throw busy(`${limits.inboundRequestsMax} requests`)
  if (inbound.budget.bytes + bytes > limits.inboundRequestBytesMax) throw busy(`${limits.inboundRequestBytesMax} bytes of requests`)
  return bytes
}

function busy(bound: string): HoldfastError {
  return new HoldfastError('ERR_BUSY', `node is busy: expected at most ${bound} of its peers at once`, { data: { sent: false } })
}

async function answer(inbound: InboundContext, exchange: Exchange, kind: string, bytes: number): Promise<void> {
  const { response, from } = exchange
  const body = await readBody(inbound, exchange, bytes)
  inbound.options.contact(from, body.length, 0)
  const abort = new AbortController()
  response.once('close', () => {
    if (!response.writableFinished) abort.abort(new HoldfastError('ERR_UPSTREAM', `node ${from} gave up its request`))
  })
  try {
    const result = await inbound.options.handlers.request(from, kind, body, abort.signal)
    if (response.destroyed) return
    response.writeHead(200, { 'content-length': result.length, 'content-type': 'application/octet-stream' })
    response.end(result)
  } catch (error) {
    if (!isHoldfastError(error)) {
      const reason = error instanceof Error ? error.message : 'unknown'
      inbound.options.log.error({ peer: from, kind, reason }, 'request handler threw')
    }
    if (!response.destroyed) sendError(response, error)
  }
}

async function readBody(inbound: InboundContext, exchange: Exchange, bytes: number): Promise<Buffer> {
  const { limits, stalls } = inbound.options
  const watched = stalls.watch(limits.stallMsMax, () => exchange.request.destroy())
  const chunks: Buffer[] = []
  try {
    for await (const chunk of exchange.request as AsyncIterable<Buffer>) {
      watched.progress()
      chunks.push(chunk)
    }
  } catch (cause) {
    throw new HoldfastError('ERR_UPSTREAM', `node ${exchange.from} broke off its request`, { cause })
  } finally {
    watched.done()
  }
  return Buffer.concat(chunks, bytes)
}
