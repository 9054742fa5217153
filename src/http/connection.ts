/** What the listener knows of one connection, beside what Node knows. */
import { X509Certificate } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
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
  /** Lower case; '': proxies tell nothing of certificates. */
  readonly certificateHeader: string
}

export function forwardingRules(proxies: ProxyOptions | undefined, trusted: AddressSet): ForwardingRules {
  return {
    trusted,
    hopSkips: proxies?.forwardedForHopSkips ?? 0,
    rejectAbsent: proxies?.rejectForwardedForAbsent ?? false,
    rejectUnauthorized: proxies?.rejectForwardedForUnauthorized ?? false,
    certificateHeader: (proxies?.clientCertificateHeader ?? '').toLowerCase(),
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
  #certificate: { readonly shown: ShownCertificate | null } | null = null

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

  /**
   * What the client shows of itself by TLS, to us or to a proxy that tells of it by `rules.certificateHeader`: a certificate in PEM, as it is or
   * percent-encoded, or DER in base64. Of such a proxy's own certificate nothing is said: it is not the client's. From anyone whom the rules do not
   * trust the header says nothing: whoever could send it would be whoever it likes. Null without one.
   * @throws ERR_BAD_REQUEST for a header that can't be read.
   */
  certificate(socket: Socket, headers: IncomingHttpHeaders, rules: ForwardingRules): ShownCertificate | null {
    if (this.#trustedProxy && rules.certificateHeader !== '') {
      const header = headers[rules.certificateHeader]
      return typeof header === 'string' && header.trim() !== '' ? readForwarded(header) : null
    }
    // Asked of OpenSSL once for each connection.
    this.#certificate ??= { shown: socket instanceof TLSSocket ? shownBy(socket) : null }
    return this.#certificate.shown
  }
}

/** DER each, nothing of it verified but that the client holds the key of `leaf`. */
export interface ShownCertificate {
  readonly leaf: Uint8Array
  readonly chain: readonly Uint8Array[]
}

const chainMax = 8

function shownBy(socket: TLSSocket): ShownCertificate | null {
  const first = socket.getPeerCertificate(true)
  if (first?.raw === undefined) return null
  const chain: Uint8Array[] = []
  // The last one is its own issuer.
  for (
    let at = first;
    at.issuerCertificate !== undefined && at.issuerCertificate !== at && chain.length < chainMax;
    at = at.issuerCertificate
  ) {
    chain.push(at.issuerCertificate.raw)
  }
  return { leaf: first.raw, chain }
}

function readForwarded(header: string): ShownCertificate {
  try {
    const text = header.includes('%') ? decodeURIComponent(header) : header
    const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [text]
    const [leaf, ...chain] = blocks.slice(0, chainMax + 1).map((block) => {
      const der = Buffer.from(block.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64')
      return new Uint8Array(new X509Certificate(der).raw)
    })
    if (leaf !== undefined) return { leaf, chain }
  } catch {
    // As below.
  }
  throw new HoldfastError(
    'ERR_BAD_REQUEST',
    "the proxy's header of the client's certificate expected PEM or base64 of DER, got something else",
  )
}
