/**
 * Who is a peer.
 *
 * TLS proves that the other end holds the private key of the certificate it shows; it does so whether or not the certificate's
 * chain and dates please anybody. So the transport lets TLS accept every certificate (`rejectUnauthorized: false`) and decides here, by key:
 *
 * - Known membership: the key's fingerprint must be in it, and names the node. Nothing else can refuse: a certificate that expired, or that
 *   another authority issued, is a warning, since the key is what the cluster agreed on. A cluster that slept for two years wakes.
 * - Membership not yet known (a node that joins): the cluster's CA must have issued the certificate, to the node id that the other end
 *   claims, and its dates must hold: a CA's word is all there is, and expiry is the only revocation that it has. Whom a recovery has left out
 *   (node/left-out.ts) is refused all the same.
 *
 * Rejected: letting TLS verify the chain first. It turns an expired certificate into a refused handshake that no later check can mend.
 */
import { X509Certificate } from 'node:crypto'
import { HoldfastError } from '#base/errors.ts'
import type { NodeId } from '#raft/types.ts'
import { isIssuedBy, nodeDnsName, spkiFingerprint } from './certificates.ts'
import type { Identity, PeerAddress } from './types.ts'

export interface Admission {
  readonly fingerprint: string
  /** Null when only the CA vouches: the other end then says which node it is, and `nameMatches` checks it. */
  readonly id: NodeId | null
  /** Worth an operator's attention; the connection is good. */
  readonly warning: string | null
}

export class Trust {
  #identity: Identity
  /** The cluster's authority, and while members change over to it the one before. */
  #authorities: readonly X509Certificate[]
  #byFingerprint = new Map<string, PeerAddress>()
  #trustCa: boolean
  readonly #leftOut: ReadonlySet<string>

  constructor(identity: Identity, trustCa: boolean, leftOut: ReadonlySet<string> = new Set()) {
    this.#identity = identity
    this.#authorities = authoritiesOf(identity)
    this.#trustCa = trustCa
    this.#leftOut = leftOut
  }

  setIdentity(identity: Identity): void {
    this.#identity = identity
    this.#authorities = authoritiesOf(identity)
  }

  setPeers(peers: readonly PeerAddress[], trustCa: boolean): void {
    this.#byFingerprint = new Map(peers.map((peer) => [peer.fingerprint, peer]))
    this.#trustCa = trustCa
  }

  /** True while the connection of `fingerprint`, which passed as node `id`, may live on. */
  holds(id: NodeId | null, fingerprint: string): boolean {
    const peer = this.#byFingerprint.get(fingerprint)
    return peer === undefined ? this.#trustCa : id === null || peer.id === id
  }

  /**
   * Judges whoever connected to us.
   * @throws ERR_PEER_REFUSED with the reason.
   */
  judgeClient(certificate: X509Certificate | undefined, nowMs: number): Admission {
    if (certificate === undefined) throw refused('a certificate', 'none', 'only nodes of the cluster talk to the cluster address')
    const fingerprint = spkiFingerprint(certificate.publicKey)
    if (fingerprint === this.#identity.fingerprint) {
      throw refused('another node', 'our own key', 'two processes run with one identity, or a cluster address leads back to its node')
    }
    const peer = this.#byFingerprint.get(fingerprint)
    if (peer !== undefined) return { fingerprint, id: peer.id, warning: this.#warning(certificate, nowMs) }
    if (!this.#trustCa) throw refused('the key of a member', 'an unknown one', 'the node was removed, or never joined this cluster')
    if (this.#leftOut.has(fingerprint))
      throw refused('a node that goes on', 'one that a recovery has left out', 'stop it for good: it is no member any more')
    const flaw = this.#flaw(certificate, nowMs)
    if (flaw !== null)
      throw refused("a valid certificate of this cluster's CA", flaw, 'check that the node joined this cluster, and the clocks')
    return { fingerprint, id: null, warning: null }
  }

  /**
   * Judges whoever answered when we dialled `peer`.
   * @throws ERR_PEER_REFUSED with the reason.
   */
  judgeServer(certificate: X509Certificate | undefined, peer: PeerAddress, nowMs: number): Admission {
    if (certificate === undefined) throw refused(`the certificate of node ${peer.id}`, 'none', 'is the cluster address right?')
    const fingerprint = spkiFingerprint(certificate.publicKey)
    if (fingerprint !== peer.fingerprint) {
      throw refused(`the key of node ${peer.id}`, 'another', `is ${peer.clusterAddress} the cluster address of node ${peer.id}?`)
    }
    return { fingerprint, id: peer.id, warning: this.#warning(certificate, nowMs) }
  }

  /** Did the CA issue this certificate to node `id` of our cluster? */
  nameMatches(certificate: X509Certificate, id: NodeId): boolean {
    return certificate.checkHost(nodeDnsName(this.#identity.clusterId, id), { subject: 'never' }) !== undefined
  }

  #issued(certificate: X509Certificate): boolean {
    return this.#authorities.some((authority) => isIssuedBy(certificate, authority))
  }

  /** Why the CA's word alone does not carry this certificate; null when it does. */
  #flaw(certificate: X509Certificate, nowMs: number): string | null {
    if (certificate.ca || !this.#issued(certificate)) return 'one of another authority'
    return this.#dateFlaw(certificate, nowMs)
  }

  #warning(certificate: X509Certificate, nowMs: number): string | null {
    if (!this.#issued(certificate)) return 'its certificate is of another authority'
    return this.#dateFlaw(certificate, nowMs)
  }

  #dateFlaw(certificate: X509Certificate, nowMs: number): string | null {
    if (certificate.validToDate.getTime() < nowMs) return `one that expired on ${certificate.validToDate.toISOString()}`
    if (certificate.validFromDate.getTime() > nowMs) return `one that is valid from ${certificate.validFromDate.toISOString()}`
    return null
  }
}

function authoritiesOf({ caCertificatePem, previousCaCertificatePem: previous }: Identity): readonly X509Certificate[] {
  return [caCertificatePem, ...(previous === undefined ? [] : [previous])].map((pem) => new X509Certificate(pem))
}

export function refused(expected: string, got: string, hint: string): HoldfastError {
  return new HoldfastError('ERR_PEER_REFUSED', `peer refused: expected ${expected}, got ${got}`, { hint })
}
