/**
 * Opens TLS connections to peers for undici, and lets none through whose key is not that of the peer dialled.
 * Sessions are never resumed: each connection proves the key afresh.
 */
import dns from 'node:dns'
import type { LookupFunction } from 'node:net'
import tls from 'node:tls'
import type { buildConnector } from 'undici'
import type { Clock } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'
import type { HostPort } from '#base/host-port.ts'
import { parsePeerAddress } from './address.ts'
import type { TransportLimits } from './limits.ts'
import type { Trust } from './trust.ts'
import type { Identity, PeerAddress } from './types.ts'

export interface DialerOptions {
  readonly identity: Identity
  readonly trust: Trust
  readonly clock: Clock
  readonly limits: TransportLimits
  /** The connection is good, but its certificate is worth a look. */
  warn(peer: PeerAddress, warning: string): void
}

export class Dialer {
  readonly #options: DialerOptions
  readonly #lookup: LookupFunction
  readonly #connecting = new Set<tls.TLSSocket>()
  #context: tls.SecureContext

  constructor(options: DialerOptions) {
    this.#options = options
    this.#context = clientContext(options.identity)
    this.#lookup = boundedLookup(options.limits.lookupsMax)
  }

  setIdentity(identity: Identity): void {
    this.#context = clientContext(identity)
  }

  /** undici's `connect` for this peer. */
  connectorFor(peer: PeerAddress): buildConnector.connector {
    return (_options, done) => this.#connect(peer, done)
  }

  /** Ends connections that are still being made; those that undici has are its own. */
  close(): void {
    for (const socket of this.#connecting) socket.destroy(new HoldfastError('ERR_SHUTTING_DOWN', 'transport closes'))
  }

  #connect(peer: PeerAddress, done: buildConnector.Callback): void {
    const { clock, limits } = this.#options
    let address: HostPort
    try {
      address = parsePeerAddress(peer.clusterAddress)
    } catch (error) {
      // Not thrown: a member with a bad address must not stop whoever applies the membership.
      done(error as Error, null)
      return
    }
    const socket = tls.connect({
      ...address,
      secureContext: this.#context,
      // trust.ts says why: the key decides, and only there.
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
      ALPNProtocols: ['http/1.1'],
      lookup: this.#lookup,
    })
    socket.setNoDelay(true)
    socket.setKeepAlive(true, limits.keepAliveMs)
    this.#connecting.add(socket)
    const timer = clock.setTimer(limits.connectMsMax, () => {
      socket.destroy(new HoldfastError('ERR_UPSTREAM', `node ${peer.id}: expected a connection within ${limits.connectMsMax} ms, got none`))
    })
    // One way out, taken once: undici may be called back a single time only.
    const settle = (error: Error | null): void => {
      timer.cancel()
      if (!this.#connecting.delete(socket)) return
      if (error === null) done(null, socket)
      else done(error, null)
    }
    socket.on('error', (error) => settle(error))
    socket.once('close', () => settle(new HoldfastError('ERR_UPSTREAM', `node ${peer.id}: the connection closed while it was made`)))
    socket.once('secureConnect', () => {
      try {
        this.#admit(socket, peer)
        settle(null)
      } catch (error) {
        socket.destroy()
        settle(error as Error)
      }
    })
  }

  #admit(socket: tls.TLSSocket, peer: PeerAddress): void {
    const admission = this.#options.trust.judgeServer(socket.getPeerX509Certificate(), peer, this.#options.clock.nowMs())
    if (admission.warning !== null) this.#options.warn(peer, admission.warning)
  }
}

function clientContext(identity: Identity): tls.SecureContext {
  return tls.createSecureContext({ ...tlsIdentity(identity), minVersion: 'TLSv1.2' })
}

/** The part of TLS options that both ends share. */
export function tlsIdentity(identity: Identity): { cert: string; key: string; ca: string } {
  return { cert: identity.certificatePem, key: identity.privateKeyPem, ca: identity.caCertificatePem }
}

/** dns.lookup, at most `lookupsMax` at once (addresses never come here): it holds a thread of libuv's pool for seconds when the resolver is gone. */
function boundedLookup(lookupsMax: number): LookupFunction {
  const waiting: (() => void)[] = []
  let active = 0
  const next = (): void => {
    while (active < lookupsMax && waiting.length > 0) {
      active++
      waiting.shift()?.()
    }
  }
  return (hostname, options, callback) => {
    const run = (): void => {
      dns.lookup(hostname, options, (error, address, family) => {
        active--
        next()
        callback(error, address as string, family)
      })
    }
    waiting.push(run)
    next()
  }
}
