/** Takes the PROXY header off new connections, before TLS and HTTP see them. */
import type { Server, Socket } from 'node:net'
import type { Clock } from '#base/clock.ts'
import type { Logger } from '#base/logger.ts'
import type { AddressSet } from './client-address.ts'
import { normalizeAddress } from './client-address.ts'
import type { PeerAddress } from './connection.ts'
import { parseProxyHeader, proxyHeaderBytesMax } from './proxy-protocol.ts'
import type { ProxyProtocolBehavior } from './types.ts'

export interface ProxyAcceptOptions {
  readonly behavior: Exclude<ProxyProtocolBehavior, 'off'>
  readonly authorized: AddressSet
  readonly clock: Clock
  readonly log: Logger
  readonly headerReadMsMax: number
}

/** A connection by its own two ends: a TLS socket tells the same ones as the plain socket below it. */
function keyOf(socket: Socket): string {
  return `${socket.remoteAddress}|${socket.remotePort}|${socket.localPort}`
}

/**
 * Puts itself before `server`'s own connection listener. Call before the server listens.
 * Returns a look-up of what the header said of a connection (plain or TLS); null where it said nothing that counts.
 */
export function acceptProxyProtocol(server: Server, options: ProxyAcceptOptions): (socket: Socket) => PeerAddress | null {
  const clients = new Map<string, PeerAddress>()
  const inner = server.listeners('connection') as ((socket: Socket) => void)[]
  server.removeAllListeners('connection')
  server.on('connection', (socket: Socket) => {
    const from = normalizeAddress(socket.remoteAddress ?? '') ?? ''
    const believed = options.behavior === 'use_always' || options.authorized.has(from)
    if (!believed && options.behavior === 'deny_unauthorized') return void socket.destroy()
    readHeader(socket, options, (client) => {
      if (client !== null && believed) {
        const key = keyOf(socket)
        clients.set(key, client)
        socket.once('close', () => clients.delete(key))
      }
      for (const listener of inner) listener.call(server, socket)
    })
  })
  return (socket) => (clients.size === 0 ? null : (clients.get(keyOf(socket)) ?? null))
}

/** Calls `then` with the header's client once the header is read and everything behind it is back in the socket; else destroys it. */
function readHeader(socket: Socket, options: ProxyAcceptOptions, then: (client: PeerAddress | null) => void): void {
  let seen: Buffer = Buffer.alloc(0)
  const timer = options.clock.setTimer(options.headerReadMsMax, () => socket.destroy())
  const onEnd = (): void => {
    leave()
    socket.destroy()
  }
  const onError = (): void => leave()
  function leave(): void {
    timer.cancel()
    socket.off('readable', onReadable)
    socket.off('end', onEnd)
    socket.off('error', onError)
    socket.off('close', onError)
  }
  function onReadable(): void {
    const chunk = socket.read() as Buffer | null
    if (chunk === null) return
    seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk])
    const header = parseProxyHeader(seen)
    if (header.kind === 'more' && seen.length <= proxyHeaderBytesMax) return
    leave()
    if (header.kind === 'more' || header.kind === 'bad') {
      options.log.warn({ from: socket.remoteAddress, reason: header.kind === 'bad' ? header.reason : 'no end' }, 'bad PROXY header')
      socket.destroy()
      return
    }
    const rest = header.kind === 'header' ? seen.subarray(header.length) : seen
    if (rest.length > 0) socket.unshift(rest)
    then(header.kind === 'header' ? header.client : null)
  }
  socket.on('readable', onReadable)
  socket.on('end', onEnd)
  socket.on('error', onError)
  socket.on('close', onError)
}
