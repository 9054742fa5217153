import type { IncomingMessage, Server } from 'node:http'
import type { Socket } from 'node:net'
import { MessageFramer } from './framer.ts'

const framers = new WeakMap<Socket, MessageFramer>()

/**
 * Makes `server` understand the method LIST over HTTP/1.1 (see framer.ts for how and why it is safe). Public API only: a `data`
 * listener that stands before the parser's own. Call once, before the server listens; `event` is 'secureConnection' under TLS.
 */
export function acceptListMethod(server: Server, event: 'connection' | 'secureConnection'): void {
  // Added behind Node's own listener, which sets the parser up: prepending a data listener then makes the parser read through events.
  server.on(event, (socket: Socket) => {
    const framer = new MessageFramer()
    framers.set(socket, framer)
    socket.prependListener('data', (chunk: Buffer) => {
      if (!framer.stopped) framer.feed(chunk)
    })
  })
}

/** The method that the client sent; null for a real LINK, which is to be refused. Call exactly once for each request, in order. */
export function methodOf(request: IncomingMessage): string | null {
  const method = request.method ?? ''
  if (method !== 'LINK') return method
  return framers.get(request.socket)?.takeList() === true ? 'LIST' : null
}
