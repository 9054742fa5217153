/** What the listener knows of one connection, beside what Node knows. */
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { HoldfastError } from '#base/errors.ts'
import { forwardedFor, normalizeAddress } from './client-address.ts'
import type { AddressSet } from './client-address.ts'
import type { ProxyOptions } from './types.ts'

export interface PeerAddress {
  readonly address: string
  readonly port: number
}

export interface ForwardingRules {
  readonly trusted: AddressSet
  readonly hopSkips: number
  readonly rejectAbsent: boolean
  readonly rejectUnauthorized: boolean
}

export function forwardingRules(proxies: ProxyOptions | undefined, trusted: AddressSet): ForwardingRules {
  return {
    trusted,
    hopSkips: proxies?.forwardedForHopSkips ?? 0,
    rejectAbsent: proxies?.rejectForwardedForAbsent ?? false,
    rejectUnauthorized: proxies?.rejectForwardedForUnauthorized ?? false,
  }
}

export class Connection {
  readonly peer: PeerAddress
  /** Requests of this connection that have no answer yet; more than one when the client pipelines. */
  inFlight = 0
  /** Set when the parser gave up: written behind the last answer, then the connection is cut. */
  farewell: Buffer | null = null
  /** Ends the wait for the body that is being read, if one is: at most one, since bodies come one behind the other. */
  cancelBody: ((error: unknown) => void) | null = null
  /** A body of any length is on its way, under a rate of its own: Node's limit on the time of a whole request is not for it. */
  uploading = false
  readonly #trustedProxy: boolean
  #certificate: Uint8Array | null | undefined

  /** `peer` is what a PROXY header said, else null. */
  constructor(socket: Socket, peer: PeerAddress | null, rules: ForwardingRules) {
    this.peer = peer ?? { address: normalizeAddress(socket.remoteAddress ?? '') ?? '', port: socket.remotePort ?? 0 }
    this.#trustedProxy = rules.trusted.has(this.peer.address)
  }

  /**
   * The client's address for a request with this X-Forwarded-For.
   * @throws HoldfastError ERR_BAD_REQUEST where the rules reject it, or a trusted proxy sends what is no address.
   */
  clientAddress(header: string | undefined, rules: ForwardingRules): string {
    const present = header !== undefined && header.trim() !== ''
    if (!this.#trustedProxy) {
      if (present && rules.rejectUnauthorized) {
        throw new HoldfastError('ERR_BAD_REQUEST', 'client address not authorized for x-forwarded-for and configured to reject connection')
      }
      return this.peer.address
    }
    if (!present) {
      if (rules.rejectAbsent)
        throw new HoldfastError('ERR_BAD_REQUEST', 'missing x-forwarded-for header and configured to reject when not present')
      return this.peer.address
    }
    const address = forwardedFor(header, rules.trusted, rules.hopSkips)
    if (address === null) throw new HoldfastError('ERR_BAD_REQUEST', 'malformed x-forwarded-for header')
    return address
  }

  /** The client's TLS certificate (DER); null without one. Asked of OpenSSL once for each connection. */
  certificate(socket: Socket): Uint8Array | null {
    if (this.#certificate === undefined) {
      const raw = socket instanceof TLSSocket ? socket.getPeerCertificate()?.raw : undefined
      this.#certificate = raw ?? null
    }
    return this.#certificate
  }
}
