/**
 * Renewal of a node's own certificate, by itself. The key stays (the membership knows it by its fingerprint); the leader, behind whose barrier the
 * authority lies, certifies it for another year. A certificate that expired for want of a leader does not disconnect a member: it only warns.
 *
 * Where another cluster's snapshot was restored, the authority is another than the one that this node has kept. The node believes nobody about it, and
 * reads it from behind its own barrier: a sealed node waits with its renewal until it is opened.
 *
 * Rejected: the leader sends the authority's certificate along. Who has stolen a member's identity can come to lead without any key of the barrier, and
 * would have nodes keep an authority of his own: what he certifies they would let in long after his removal, whenever they know no members yet (trust.ts).
 */
import { X509Certificate, createPublicKey } from 'node:crypto'
import type { Clock, Timer } from '#base/clock.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import type { Replica } from '#replica/types.ts'
import { fingerprint, isAuthorityOf, isIssuedBy, needsRenewal } from '#transport/certificates.ts'
import type { Identity, Transport } from '#transport/types.ts'

export const renewKind = 'renew-certificate'
const firstCheckMs = 60_000
/** Renewal begins with a third of the life left, so that an hour is often enough, and a leader that is away no cause for alarm. */
const checkEveryMs = 3_600_000
const requestTimeoutMs = 10_000
const bodyBytesMax = 16 * 1_024

export interface RenewalOptions {
  readonly replica: Pick<Replica, 'nodeId' | 'status'>
  readonly identity: () => Identity | null
  /** Makes the identity this node's, on disk and on its connections. */
  readonly adopt: (identity: Identity) => Promise<void>
  readonly transport: () => Pick<Transport, 'request'> | null
  /** Certifies the key of a member. The leader's: throws ERR_SEALED or ERR_NOT_LEADER elsewhere. */
  readonly certify: (nodeId: string, publicKeyPem: string) => Promise<string>
  /** The authority's certificate as it lies behind this node's own barrier; null: there is none for this cluster. @throws ERR_SEALED, ERR_NO_LEADER */
  readonly authority: () => Promise<string | null>
  readonly clock: Clock
  readonly log: Logger
}

export class Renewal {
  readonly #options: RenewalOptions
  #timer: Timer | null = null
  #stopped = false

  constructor(options: RenewalOptions) {
    this.#options = options
  }

  start(): void {
    this.#arm(firstCheckMs)
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
  }

  /** Renews if it is time. True when there is a new certificate. @throws what stood in the way. */
  async check(): Promise<boolean> {
    const { identity, clock, replica, log } = this.#options
    const own = identity()
    if (own === null || !needsRenewal(own.certificatePem, clock.nowMs())) return false
    const publicKeyPem = createPublicKey(own.privateKeyPem).export({ type: 'spki', format: 'pem' }).toString()
    const { leader, role } = replica.status()
    const issued = role === 'leader' ? await this.#options.certify(own.nodeId, publicKeyPem) : await this.#ask(leader, publicKeyPem)
    const certificate = checkRenewed(issued, own, clock.nowMs())
    const authority = await this.#issuerOf(certificate, own)
    await this.#options.adopt(renewedIdentity(own, certificate, authority))
    log.info({ valid_until: certificate.validTo, new_authority: authority !== own.caCertificatePem }, "renewed this node's certificate")
    return true
  }

  /** The PEM of the authority that issued it. @throws ERR_UPSTREAM when that is not this cluster's; as `authority` */
  async #issuerOf(certificate: X509Certificate, own: Identity): Promise<string> {
    if (isIssuedBy(certificate, new X509Certificate(own.caCertificatePem))) return own.caCertificatePem
    const pem = await this.#options.authority()
    const found = pem === null ? null : new X509Certificate(pem)
    if (found === null || !isAuthorityOf(found, own.clusterId, this.#options.clock.nowMs()) || !isIssuedBy(certificate, found))
      throw refused("one of this cluster's authority")
    return found.toString()
  }

  /** Answers member `from`, whose key the transport has proven. @throws ERR_FRAME, ERR_PEER_REFUSED, ERR_SEALED, ERR_NOT_LEADER */
  async answer(from: string, body: Uint8Array): Promise<Uint8Array> {
    const publicKeyPem = Buffer.from(body.subarray(0, bodyBytesMax)).toString()
    const member = this.#options.replica.status().members.find(({ id }) => id === from)
    if (member === undefined || member.fingerprint !== fingerprintOf(publicKeyPem)) {
      throw new HoldfastError('ERR_PEER_REFUSED', `certificate renewal expected the key that member ${from} is known by, got another`)
    }
    return Buffer.from(await this.#options.certify(from, publicKeyPem))
  }

  async #ask(leader: string | null, publicKeyPem: string): Promise<string> {
    const transport = this.#options.transport()
    if (leader === null || transport === null) throw new HoldfastError('ERR_NO_LEADER', 'nobody leads who could renew the certificate')
    return Buffer.from(await transport.request(leader, renewKind, Buffer.from(publicKeyPem), requestTimeoutMs)).toString()
  }

  #arm(delayMs: number): void {
    if (this.#stopped) return
    this.#timer = this.#options.clock.setTimer(delayMs, () => {
      this.check()
        .catch((error: unknown) => this.#report(error))
        .finally(() => this.#arm(checkEveryMs))
        .catch((error: unknown) => this.#options.log.error({ error: (error as Error).message }, 'the next renewal could not be planned'))
    })
  }

  #report(error: unknown): void {
    const code = isHoldfastError(error) ? error.code : undefined
    this.#options.log.warn({ code, error: (error as Error).message }, "this node's certificate is due for renewal: trying again in an hour")
  }
}

/** '' for what is no key: it is nobody's fingerprint. */
function fingerprintOf(pem: string): string {
  try {
    return fingerprint(pem)
  } catch {
    return ''
  }
}

/** What came back must be for this key, and good for longer: else the old one, which works, stays. @throws ERR_UPSTREAM */
function checkRenewed(certificatePem: string, own: Identity, nowMs: number): X509Certificate {
  if (fingerprintOf(certificatePem) !== own.fingerprint) throw refused("one of this node's key")
  if (needsRenewal(certificatePem, nowMs)) throw refused('one that is good for longer')
  return new X509Certificate(certificatePem)
}

/** With an authority that is new the one before is kept for once: others renew when it is their turn, within the life of one certificate. */
function renewedIdentity(own: Identity, certificate: X509Certificate, caCertificatePem: string): Identity {
  const { previousCaCertificatePem: _, ...rest } = own
  const renewed = { ...rest, certificatePem: certificate.toString(), caCertificatePem }
  return caCertificatePem === own.caCertificatePem ? renewed : { ...renewed, previousCaCertificatePem: own.caCertificatePem }
}

const refused = (what: string): HoldfastError =>
  new HoldfastError('ERR_UPSTREAM', `renewed certificate: expected ${what}, got another`, { hint: 'the one of before works on' })
