import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Clock } from '#base/clock.ts'
import { isHoldfastError } from '#base/errors.ts'
import type { HoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import type { NodeId } from '#raft/types.ts'
import type { Transfer } from './inbound-snapshots.ts'
import type { TransportLimits } from './limits.ts'
import type { Trust } from './trust.ts'
import type { Identity, TransportHandlers } from './types.ts'
import type { StallWatch } from './watch.ts'
import { encodeError } from './wire-errors.ts'

export interface InboundOptions {
  readonly identity: Identity
  readonly listenAddress: string
  readonly handlers: TransportHandlers
  readonly trust: Trust
  readonly clock: Clock
  readonly log: Logger
  readonly limits: TransportLimits
  readonly stalls: StallWatch
  /** `bytes` arrived from the peer, with so many messages in them. */
  readonly contact: (peer: NodeId, bytes: number, messages: number) => void
  warn(peer: NodeId | null, warning: string): void
  connectionRefused(address: string | undefined, error: HoldfastError): void
  frameRefused(peer: NodeId, error: HoldfastError): void
}

/** What the listener shares with its three routes. */
export interface InboundContext {
  readonly options: InboundOptions
  /** What requests under way hold, all peers together. */
  readonly budget: { requests: number; bytes: number }
  /** How to end the stream of each peer; a newer stream replaces it. */
  readonly streams: Map<NodeId, () => void>
  /** The snapshot of each peer that is arriving, or waits for another connection. */
  readonly transfers: Map<NodeId, Transfer>
  /** Calls `tell` at every pulse, until the function that it returns is called. */
  onPulse(tell: () => void): () => void
}

/** What a route needs to serve one exchange. */
export interface Exchange {
  readonly from: NodeId
  readonly request: IncomingMessage
  readonly response: ServerResponse
}

/** Answers with an error; if headers are out already, only cutting the connection is left. */
export function sendError(response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    response.destroy()
    return
  }
  const status = isHoldfastError(error) ? error.status : 500
  const body = encodeError(error)
  // The body of the request may not have been read: nothing else can follow on this connection.
  if (!response.req.complete) response.setHeader('connection', 'close')
  response.writeHead(status, { 'content-length': body.length, 'content-type': 'application/msgpack' })
  response.end(body)
}
