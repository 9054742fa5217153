/**
 * The listening side: takes connections, asks trust.ts about each, and hands streams, snapshots and requests to their handlers.
 * A connection that is refused never reaches the HTTP parser: strangers get one prepared answer and the door.
 */
import { createServer } from 'node:https'
import type { Server } from 'node:https'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { constants } from 'node:crypto'
import type { X509Certificate } from 'node:crypto'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { formatHostPort, parseHostPort } from '#base/host-port.ts'
import type { NodeId } from '#raft/types.ts'
import { tlsIdentity } from './dialer.ts'
import { sendError } from './inbound-context.ts'
import type { InboundContext, InboundOptions } from './inbound-context.ts'
import { serveRequest } from './inbound-requests.ts'
import { serveSnapshot, type Transfer } from './inbound-snapshots.ts'
import { serveStream } from './inbound-streams.ts'
import { clusterHeader, requestKindPattern, requestRoute, snapshotRoute, streamRoute } from './protocol.ts'
import { refused } from './trust.ts'
import type { Identity } from './types.ts'
import { encodeError } from './wire-errors.ts'

/** An accepted connection. */
export interface Session {
  readonly socket: TLSSocket
  readonly fingerprint: string
  readonly certificate: X509Certificate
  /** Null until the other end of a connection that only the CA vouches for has said who it is. */
  id: NodeId | null
}

export class Inbound implements InboundContext {
  readonly options: InboundOptions
  readonly budget = { requests: 0, bytes: 0 }
  readonly streams = new Map<NodeId, () => void>()
  readonly transfers = new Map<NodeId, Transfer>()
  readonly #server: Server
  readonly #pulses = new Set<() => void>()
  readonly #sessions = new Map<TLSSocket, Session>()
  /** Every TCP connection, those in their handshake included: `close` must not wait for strangers. */
  readonly #sockets = new Set<Socket>()
  #address = ''

  constructor(options: InboundOptions) {
    this.options = options
    this.#server = createTlsServer(options)
    const serveHttp = this.#server.listeners('secureConnection')
    this.#server.removeAllListeners('secureConnection')
    this.#server.on('secureConnection', (socket: TLSSocket) => {
      if (!this.#admit(socket)) return
      for (const listener of serveHttp) listener.call(this.#server, socket)
    })
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
    })
    this.#server.on('request', (request, response) => this.#route(request, response))
    this.#server.on('tlsClientError', (error: Error, socket: TLSSocket) => {
      const reason = refused('a TLS handshake', 'code' in error ? String(error.code) : 'none', 'is it a Holdfast node that connects?')
      options.connectionRefused(socket.remoteAddress, reason)
    })
  }

  get connections(): number {
    return this.#sessions.size
  }

  async listen(): Promise<void> {
    const { host, port } = parseHostPort(this.options.listenAddress, 'cluster address')
    await new Promise<void>((resolve, reject) => {
      const fail = (cause: Error): void => {
        const code = 'code' in cause ? String(cause.code) : cause.message
        reject(
          new HoldfastError('ERR_CONFIG', `cluster address: expected to listen on ${this.options.listenAddress}, got ${code}`, {
            cause,
            hint: 'another process holds the port, or the address is none of this machine',
          }),
        )
      }
      this.#server.once('error', fail)
      this.#server.listen(host === '' ? { port } : { host, port }, () => {
        this.#server.off('error', fail)
        const { address, port: bound } = this.#server.address() as AddressInfo
        this.#address = formatHostPort({ host: address, port: bound })
        this.#server.on('error', (error) => this.options.log.error({ reason: error.message }, 'cluster listener'))
        resolve()
      })
    })
  }

  address(): string {
    return this.#address
  }

  setIdentity(identity: Identity): void {
    this.#server.setSecureContext(serverContext(identity))
  }

  onPulse(tell: () => void): () => void {
    this.#pulses.add(tell)
    return () => this.#pulses.delete(tell)
  }

  pulse(): void {
    for (const tell of this.#pulses) tell()
  }

  /** Ends every connection that trust no longer holds. */
  recheck(): void {
    for (const session of this.#sessions.values()) {
      if (this.options.trust.holds(session.id, session.fingerprint)) continue
      this.options.log.info({ peer: session.id }, 'peer is no longer a member: its connection ends')
      session.socket.destroy()
    }
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const socket of [...this.#sessions.keys(), ...this.#sockets]) socket.destroy()
    for (const transfer of this.transfers.values()) transfer.abandon(new HoldfastError('ERR_SHUTTING_DOWN', 'this node is shutting down'))
    await closed
  }

  #admit(socket: TLSSocket): boolean {
    const { trust, clock, limits } = this.options
    socket.setNoDelay(true)
    socket.setKeepAlive(true, limits.keepAliveMs)
    const certificate = socket.getPeerX509Certificate()
    try {
      const admission = trust.judgeClient(certificate, clock.nowMs())
      if (admission.warning !== null) this.options.warn(admission.id, admission.warning)
      const session: Session = {
        socket,
        fingerprint: admission.fingerprint,
        certificate: certificate as X509Certificate,
        id: admission.id,
      }
      this.#sessions.set(socket, session)
      socket.once('close', () => this.#sessions.delete(socket))
      return true
    } catch (error) {
      this.#refuse(socket, error as HoldfastError)
      return false
    }
  }

  /** The other end learns why, if it speaks HTTP; what it sends is not looked at. */
  #refuse(socket: TLSSocket, error: HoldfastError): void {
    this.options.connectionRefused(socket.remoteAddress, error)
    const body = encodeError(error)
    const timer = this.options.clock.setTimer(1_000, () => socket.destroy())
    socket.once('close', () => timer.cancel())
    socket.on('error', () => {})
    socket.resume()
    socket.end(Buffer.concat([Buffer.from(`HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n`), body]))
  }

  #route(request: IncomingMessage, response: ServerResponse): void {
    // Each route reports errors of its own; these two are the socket's, which its `close` tells too.
    request.on('error', () => {})
    response.on('error', () => {})
    try {
      this.#serve(request, response)
    } catch (error) {
      if (isHoldfastError(error, 'ERR_PEER_REFUSED')) this.options.connectionRefused(request.socket.remoteAddress, error)
      sendError(response, error)
    }
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '/', 'https://peer')
    const exchange = { from: this.#whoAsks(request, url), request, response }
    if (request.method !== 'POST') throw new HoldfastError('ERR_UNSUPPORTED_OPERATION', `expected POST, got ${request.method}`)
    if (url.pathname === streamRoute) serveStream(this, exchange)
    else if (url.pathname === snapshotRoute) serveSnapshot(this, exchange)
    else if (url.pathname.startsWith(requestRoute)) {
      const kind = url.pathname.slice(requestRoute.length)
      if (!requestKindPattern.test(kind)) throw new HoldfastError('ERR_BAD_REQUEST', 'request kind: expected lower-case letters and dashes')
      serveRequest(this, exchange, kind)
    } else throw new HoldfastError('ERR_NO_ROUTE', 'cluster listener: no such route', { hint: 'clients use the API address, not this one' })
  }

  /** The node behind the connection: by its key, and by what it claims; the two must agree. */
  #whoAsks(request: IncomingMessage, url: URL): NodeId {
    const session = this.#sessions.get(request.socket as TLSSocket)
    if (session === undefined) throw refused('an accepted connection', 'another', 'the peer was removed just now')
    const cluster = request.headers[clusterHeader]
    if (cluster !== encodeURIComponent(this.options.identity.clusterId)) {
      throw refused(`cluster ${this.options.identity.clusterId}`, 'another', 'a restored cluster is a new one: its nodes join anew')
    }
    const claimed = url.searchParams.get('from') ?? ''
    if (session.id === null) {
      if (!this.options.trust.nameMatches(session.certificate, claimed)) {
        throw refused('the node that the certificate names', 'another', 'the certificate was issued to another node id')
      }
      session.id = claimed
    }
    if (session.id !== claimed) throw refused(`node ${session.id}`, `node ${claimed}`, 'a node was renamed without joining anew')
    return session.id
  }
}

function serverContext(identity: Identity): { cert: string; key: string; ca: string; minVersion: 'TLSv1.2' } {
  return { ...tlsIdentity(identity), minVersion: 'TLSv1.2' }
}

function createTlsServer(options: InboundOptions): Server {
  const { limits } = options
  const server = createServer({
    ...serverContext(options.identity),
    requestCert: true,
    // trust.ts says why: the key decides, and only there.
    rejectUnauthorized: false,
    // No tickets: a resumed session would show the certificate of an earlier handshake instead of proving the key.
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
    handshakeTimeout: limits.connectMsMax,
    maxHeaderSize: 8 * 1024,
    headersTimeout: 10_000,
    requestTimeout: 0,
    // Longer than the peers' own: the side that sends requests also decides when to hang up, so none is lost in between.
    keepAliveTimeout: 2 * limits.keepAliveMs,
    noDelay: true,
  })
  server.maxConnections = limits.inboundConnectionsMax
  return server
}
