/** One address on which the API is served: node:http or node:https, with our limits, our LIST, our errors, and an orderly end. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { createServer as createHttpServer } from 'node:http'
import type { IncomingMessage, Server, ServerOptions, ServerResponse } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Server as TlsServer } from 'node:tls'
import type { Timer } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'
import { formatHostPort } from '#base/host-port.ts'
import type { RandomSource } from '#base/random.ts'
import { BodyBudget } from './body.ts'
import { AddressSet } from './client-address.ts'
import { Connection, forwardingRules } from './connection.ts'
import type { PeerAddress } from './connection.ts'
import { Exchange } from './exchange.ts'
import type { ExchangeHost } from './exchange.ts'
import { InFlightRegistry } from './in-flight.ts'
import { defaultHttpLimits, lingerMs, sweepMs } from './limits.ts'
import type { HttpLimits } from './limits.ts'
import { acceptListMethod, methodOf } from './list-method.ts'
import { acceptProxyProtocol } from './proxy-accept.ts'
import { clientError, rawAnswer, standingHeaders } from './respond.ts'
import { clientCertOptions, readTlsContext } from './tls.ts'
import type { HttpListener, HttpListenerOptions } from './types.ts'

/**
 * A listener that hands every request to `options.core.handle`. Nothing is opened or read before `listen`.
 * @throws HoldfastError ERR_CONFIG for addresses that are none.
 */
export function createHttpListener(options: HttpListenerOptions): HttpListener {
  return new Listener(options)
}

class Listener implements HttpListener {
  readonly inFlight: InFlightRegistry
  readonly #options: HttpListenerOptions
  readonly #limits: HttpLimits
  readonly #budget: BodyBudget
  readonly #sockets = new Set<Socket>()
  readonly #connections = new WeakMap<Socket, Connection>()
  readonly #host: ExchangeHost
  readonly #proxyAuthorized: AddressSet
  #proxied: (socket: Socket) => PeerAddress | null = () => null
  #server: Server | null = null
  #sweep: Timer | null = null
  #draining = false

  constructor(options: HttpListenerOptions) {
    this.#options = options
    this.#limits = { ...defaultHttpLimits, ...options.limits }
    this.inFlight = options.inFlight ?? new InFlightRegistry(this.#limits.requestsInFlightMax)
    this.#budget = new BodyBudget(this.#limits.bufferedBodyBytesMax)
    this.#proxyAuthorized = new AddressSet(options.proxies?.proxyProtocolFrom ?? [], 'proxy_protocol_authorized_addrs')
    const trusted = new AddressSet(options.proxies?.forwardedForFrom ?? [], 'trusted_proxies')
    this.#host = {
      core: options.core,
      limits: this.#limits,
      clock: options.clock,
      log: options.log,
      inFlight: this.inFlight,
      budget: this.#budget,
      rules: forwardingRules(options.proxies, trusted),
      standing: standingHeaders(options.tls !== undefined, options.responseHeaders),
      clientCertificates:
        (options.tls !== undefined && options.tls.requestClientCert !== false) || (options.proxies?.clientCertificateHeader ?? '') !== '',
      settings: options.settings ?? { cors: null },
      metrics: options.metrics ?? null,
      tracer: options.tracer ?? null,
      openRoutes: options.openRoutes ?? [],
      nextId: uuidSource(options.random),
      draining: () => this.#draining,
    }
  }

  get address(): { host: string; port: number } | null {
    const bound = this.#server?.address()
    return bound !== null && typeof bound === 'object' ? { host: bound.address, port: bound.port } : null
  }

  get connections(): number {
    return this.#sockets.size
  }

  async listen(): Promise<void> {
    const { tls, proxies } = this.#options
    const server = tls
      ? createHttpsServer({
          ...this.#serverOptions(),
          ...readTlsContext(tls),
          ...clientCertOptions(tls),
          handshakeTimeout: this.#limits.handshakeMsMax,
        })
      : createHttpServer(this.#serverOptions())
    server.maxConnections = this.#limits.connectionsMax
    // Node drops headers beyond this count in silence; the bytes of all are bounded already.
    server.maxHeadersCount = 0
    server.timeout = this.#limits.stallMsMax
    const secure = tls ? 'secureConnection' : 'connection'
    server.on(secure, (socket: Socket) => this.#accept(socket))
    acceptListMethod(server, secure)
    const behavior = proxies?.proxyProtocol ?? 'off'
    if (behavior !== 'off') {
      const { clock, log } = this.#options
      this.#proxied = acceptProxyProtocol(server, {
        behavior,
        authorized: this.#proxyAuthorized,
        clock,
        log,
        headerReadMsMax: this.#limits.headerReadMsMax,
      })
    }
    // Every socket, before its handshake or PROXY header too, so that `close` leaves none behind.
    server.prependListener('connection', (socket: Socket) => this.#track(socket))
    this.#handleRequests(server)
    await this.#bind(server)
    this.#server = server
    this.#scheduleSweep()
  }

  #serverOptions(): ServerOptions {
    const limits = this.#limits
    return {
      maxHeaderSize: limits.headerBytesMax,
      headersTimeout: limits.headerReadMsMax,
      requestTimeout: limits.requestReadMsMax,
      keepAliveTimeout: limits.idleMsMax,
      connectionsCheckingInterval: sweepMs,
      // Ours says so in JSON.
      requireHostHeader: false,
      noDelay: true,
      // A GET has no stream to run to its end.
      optimizeEmptyRequests: true,
      // Whatever NODE_OPTIONS say: the framer follows the strict parser.
      insecureHTTPParser: false,
      shouldUpgradeCallback: () => false,
    }
  }

  #handleRequests(server: Server): void {
    const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
      const connection = this.#connections.get(request.socket) ?? this.#accept(request.socket)
      new Exchange(this.#host, connection, request, response).run(methodOf(request))
    }
    server.on('request', onRequest)
    server.on('checkExpectation', onRequest)
    server.on('clientError', (error: Error, socket: Duplex) => this.#onClientError(error, socket as Socket))
    server.on('connect', (_request: IncomingMessage, socket: Duplex) => void socket.destroy())
    server.on('drop', () => this.#options.log.warn({ connections_max: this.#limits.connectionsMax }, 'connection refused: too many'))
    server.on('error', (error: NodeJS.ErrnoException) => this.#options.log.error({ code: error.code }, 'listener failed'))
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
    // The http layer adds its own; until then a reset must not end the process.
    socket.on('error', () => {})
  }

  #accept(socket: Socket): Connection {
    const connection = new Connection(socket, this.#proxied(socket), this.#host.rules)
    this.#connections.set(socket, connection)
    return connection
  }

  /** The parser or one of Node's timers gave up on a connection. Answers still to come go out first: this one stands behind them. */
  #onClientError(error: Error, socket: Socket): void {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ECONNRESET' || !socket.writable) return void socket.destroy()
    const connection = this.#connections.get(socket)
    if (connection === undefined) return void socket.destroy() // A failed handshake.
    if (connection.farewell !== null || (connection.uploading && code === 'ERR_HTTP_REQUEST_TIMEOUT')) return
    const refusal = clientError(code)
    connection.farewell = rawAnswer(refusal)
    socket.removeAllListeners('data')
    // A request whose body broke off is answered in its turn, and that answer closes the connection: nothing need stand behind it.
    if (connection.cancelBody !== null) {
      connection.farewell = Buffer.alloc(0)
      connection.cancelBody(refusal)
    }
    this.#farewell(socket, connection)
  }

  #farewell(socket: Socket, connection: Connection): void {
    if (connection.inFlight > 0 && !socket.destroyed) {
      this.#options.clock.setTimer(lingerMs / 10, () => this.#farewell(socket, connection))
      return
    }
    if (socket.writable) socket.end(connection.farewell ?? '')
    // What the client still sends is thrown away for a moment: a reset at once could take the answer from its hands.
    socket.resume()
    this.#options.clock.setTimer(lingerMs, () => socket.destroy())
  }

  #bind(server: Server): Promise<void> {
    const { host = '', port, reusePort = false } = this.#options
    return new Promise((resolve, reject) => {
      const onError = (error: NodeJS.ErrnoException): void => {
        reject(
          new HoldfastError('ERR_CONFIG', `listener expected to bind ${formatHostPort({ host, port })}, got ${error.code ?? 'an error'}`, {
            hint:
              error.code === 'EADDRINUSE'
                ? 'another process listens there; choose another port or stop it'
                : 'look at the address and port',
          }),
        )
      }
      server.once('error', onError)
      server.listen({ port, reusePort, backlog: 1_024, ...(host === '' ? {} : { host }) }, () => {
        server.off('error', onError)
        resolve()
      })
    })
  }

  #scheduleSweep(): void {
    this.#sweep = this.#options.clock.setTimer(sweepMs, () => {
      const now = this.#options.clock.monotonicMs()
      for (const reader of this.#budget.readers) reader.sweep(now)
      this.inFlight.sweep(now)
      this.#scheduleSweep()
    })
  }

  reloadTls(): void {
    const { tls } = this.#options
    if (tls === undefined || this.#server === null) return
    ;(this.#server as unknown as TlsServer).setSecureContext(readTlsContext(tls))
  }

  drain(): void {
    this.#draining = true
  }

  async close(graceMs: number): Promise<void> {
    const server = this.#server
    if (server === null) return
    this.#draining = true
    await this.#afterAccepting()
    const closed = new Promise<void>((resolve) => {
      server.close(() => resolve())
    })
    server.closeIdleConnections()
    const { clock } = this.#options
    const timers = [clock.setTimer(graceMs, () => this.#cut())]
    // When nothing is in flight, what is still open is a client that keeps its connection and need not be waited for.
    void this.inFlight.idle().then(() => timers.push(clock.setTimer(lingerMs, () => this.#cut())))
    await closed
    for (const timer of timers) timer.cancel()
    this.#sweep?.cancel()
    this.#server = null
  }

  /**
   * Waits for a turn of the event loop that has taken every connection that waited, and was short. What the kernel has accepted and nobody has taken is
   * reset when the socket closes: a balancer that has just sent a write there may not send it again, and its client sees an error.
   */
  async #afterAccepting(): Promise<void> {
    const { clock } = this.#options
    for (let turn = 0; turn < quietTurnsMax; turn += 1) {
      const begun = clock.monotonicMs()
      await nextTurn()
      if (turn > 0 && clock.monotonicMs() - begun < quietTurnMs) return
    }
  }

  #cut(): void {
    this.#server?.closeAllConnections()
    for (const socket of this.#sockets) socket.destroy()
  }
}

/** A turn of the event loop so short that hardly a connection can have come in it. */
const quietTurnMs = 0.3
const quietTurnsMax = 200
const uuidsPerDraw = 256

/** Random UUIDs (version 4), their bytes drawn many at a time: one draw for each request costs a system call's worth. */
function uuidSource(random: RandomSource): () => string {
  let pool = Buffer.alloc(0)
  let at = 0
  return () => {
    if (at >= pool.length) {
      pool = Buffer.from(random.bytes(16 * uuidsPerDraw))
      at = 0
    }
    const bytes = pool.subarray(at, at + 16)
    at += 16
    bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40
    bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
    const hex = bytes.toString('hex')
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
  }
}
