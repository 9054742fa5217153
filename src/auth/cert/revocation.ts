/** Whether a certificate of a path was revoked: by lists that the mount was given (or their addresses), and by asking its authority (OCSP). */
import { createHash } from 'node:crypto'
import * as pkijs from 'pkijs'
import type { Clock } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'
import { BoundedLru } from '#base/lru.ts'
import { away, type Outside } from '../outside.ts'
import type { Path } from './chain.ts'
import type { Certificate } from './x509.ts'

/** How long a list from an address is believed, whatever it says of its next issue. */
const listKeptMsMax = 3_600_000
const listsKeptMax = 64
/** Answers of responders kept, by certificate. */
const answersKeptMax = 10_000
const answerKeptMsMax = 3_600_000
/** A responder's clock is not ours. */
const skewMs = 300_000
const listProvider = 'the address of a revocation list'
const ocspProvider = 'the OCSP responder'

const revoked = (): HoldfastError => new HoldfastError('ERR_BAD_CREDENTIALS', 'certificate has been revoked')

/** In a buffer of its own: pkijs checks signatures over what it finds at the buffer's begin, which of Node's pooled ones is somebody else's. */
const alone = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => new Uint8Array(bytes)

/** @throws ERR_BAD_REQUEST for what is no list. */
export function parseCrl(bytes: Uint8Array): pkijs.CertificateRevocationList {
  try {
    return pkijs.CertificateRevocationList.fromBER(alone(bytes))
  } catch {
    throw new HoldfastError('ERR_BAD_REQUEST', 'crl expected a certificate revocation list (PEM or DER), got something else')
  }
}

/** PEM or DER; a list that was fetched may be either. */
export function crlBytes(given: Uint8Array): Uint8Array {
  const text = Buffer.from(given).toString('latin1')
  const block = /-----BEGIN X509 CRL-----([\sA-Za-z0-9+/=]+)-----END X509 CRL-----/.exec(text)
  return block === null ? given : Buffer.from(block[1]!.replaceAll(/\s/g, ''), 'base64')
}

export interface StoredCrl {
  readonly version: number
  /** DER, base64; '': it is fetched from `url`. */
  readonly der: string
  readonly url: string
  /** Whose list lies at `url` (`issuerOf`): what is fetched later must be that one's too. '' of one that was laid down. */
  readonly issuer: string
}

/** The name of who issues a list, DER in base64. */
export const issuerOf = (list: pkijs.CertificateRevocationList): string =>
  Buffer.from(list.issuer.toSchema().toBER(false)).toString('base64')

export interface OcspRules {
  readonly servers: readonly string[]
  readonly caPem: string
  readonly extraCas: readonly Certificate[]
  readonly failOpen: boolean
  readonly thisUpdateMaxAgeSeconds: number
}

export class Revocation {
  readonly #outside: Outside
  readonly #clock: Clock
  readonly #lists = new BoundedLru<string, { readonly list: pkijs.CertificateRevocationList; readonly untilMs: number }>({
    weightMax: listsKeptMax,
  })
  readonly #answers = new BoundedLru<string, { readonly good: boolean; readonly untilMs: number }>({ weightMax: answersKeptMax })

  constructor(outside: Outside, clock: Clock) {
    this.#outside = outside
    this.#clock = clock
  }

  /** @throws ERR_BAD_CREDENTIALS for a path with a revoked certificate, or a list that its issuer did not sign; ERR_UPSTREAM. */
  async checkLists({ certificates }: Path, stored: readonly StoredCrl[]): Promise<void> {
    for (const each of stored) {
      const list = await this.#list(each)
      for (const [at, certificate] of certificates.entries()) {
        if (!list.issuer.isEqual(certificate.pki.issuer)) continue
        const named = list.isCertificateRevoked(certificate.pki)
        // What an operator laid down is the operator's word. What came from an address is its issuer's or nobody's: whoever is on the way could send
        // a list without the one that was revoked.
        if (each.url === '' || (await isSignedBy(list, certificates[at + 1] ?? certificate))) {
          if (named) throw revoked()
          // A certificate that is trusted itself comes without its issuer: nobody can say whose list it is.
        } else if (named || at + 1 < certificates.length) {
          throw new HoldfastError('ERR_BAD_CREDENTIALS', 'a revocation list is not signed by the issuer of the certificate')
        }
      }
    }
  }

  /** @throws ERR_UPSTREAM when an address has none. */
  async #list({ der, url, issuer }: StoredCrl): Promise<pkijs.CertificateRevocationList> {
    const key = url === '' ? createHash('sha256').update(der).digest('hex') : url
    const kept = this.#lists.get(key)
    const nowMs = this.#clock.nowMs()
    const list = kept !== undefined && kept.untilMs > nowMs ? kept.list : await this.#fresh(der, url)
    // A list of somebody else says nothing of those that it should be about.
    if (url !== '' && issuerOf(list) !== issuer) throw away(listProvider, 'the list of another issuer')
    if (list === kept?.list) return list
    const untilMs = url === '' ? Infinity : Math.min(list.nextUpdate?.value.getTime() ?? Infinity, nowMs + listKeptMsMax)
    this.#lists.set(key, { list, untilMs })
    return list
  }

  #fresh(der: string, url: string): Promise<pkijs.CertificateRevocationList> {
    return url === '' ? Promise.resolve(parseCrl(Buffer.from(der, 'base64'))) : this.fetchList(url)
  }

  /** @throws ERR_UPSTREAM, also for a list in whose place there should be a newer one: an old list lets in whoever was revoked since. */
  async fetchList(url: string): Promise<pkijs.CertificateRevocationList> {
    const { status, bytes } = await this.#outside.web(listProvider, { url, caPem: '' })
    if (status !== 200) throw away(listProvider, `status ${status}`)
    const list = listOf(bytes)
    const nextMs = list.nextUpdate?.value.getTime() ?? Infinity
    if (nextMs < this.#clock.nowMs() - skewMs) throw away(listProvider, 'a list that is out of date')
    return list
  }

  /** Asks about the client's certificate. @throws ERR_BAD_CREDENTIALS; ERR_UPSTREAM when nobody knows, unless the rules let that pass. */
  async checkOcsp({ certificates }: Path, rules: OcspRules): Promise<void> {
    const [leaf, issuer] = certificates
    // Trusted itself: it has no issuer that could take it back.
    if (leaf === undefined || issuer === undefined) return
    const key = answerKey(certificates, rules)
    const kept = this.#answers.get(key)
    if (kept !== undefined && kept.untilMs > this.#clock.nowMs()) {
      if (!kept.good) throw revoked()
      return
    }
    const servers = rules.servers.length > 0 ? rules.servers : respondersOf(leaf)
    let last: unknown = away(ocspProvider, 'no address of one in certificate or configuration')
    for (const url of servers) {
      try {
        const answer = await this.#ask(url, certificates, leaf, issuer, rules)
        this.#answers.set(key, answer)
        if (answer.good) return
        throw revoked()
      } catch (error) {
        if (error instanceof HoldfastError && error.code === 'ERR_BAD_CREDENTIALS') throw error
        last = error
      }
    }
    if (!rules.failOpen) throw last
  }

  async #ask(
    url: string,
    path: readonly Certificate[],
    leaf: Certificate,
    issuer: Certificate,
    rules: OcspRules,
  ): Promise<{ good: boolean; untilMs: number }> {
    const request = new pkijs.OCSPRequest()
    await request.createForCertificate(leaf.pki, { hashAlgorithm: 'SHA-1', issuerCertificate: issuer.pki })
    const body = Buffer.from(request.toSchema(true).toBER(false))
    const headers = { 'content-type': 'application/ocsp-request', accept: 'application/ocsp-response' }
    const { status, bytes } = await this.#outside.web(ocspProvider, { url, method: 'POST', headers, body, caPem: rules.caPem })
    if (status !== 200) throw away(ocspProvider, `status ${status}`)
    return this.#verdict(basicOf(bytes), path, leaf, issuer, rules)
  }

  async #verdict(
    basic: pkijs.BasicOCSPResponse,
    path: readonly Certificate[],
    leaf: Certificate,
    issuer: Certificate,
    rules: OcspRules,
  ): Promise<{ good: boolean; untilMs: number }> {
    const extra = rules.extraCas.map(({ pki }) => pki)
    const trustedCerts = [...path.slice(1).map(({ pki }) => pki), ...extra]
    // It throws where the signer is not the authority, nor one that this has appointed. The authority itself is named as a responder: pkijs finds no
    // path from an intermediate authority to itself.
    const signed = await basic
      .verify({ trustedCerts, issuerCerts: [issuer.pki], trustedResponders: [issuer.pki, ...extra] })
      .catch(() => false)
    if (!signed) throw away(ocspProvider, 'an answer that its authority did not sign')
    const { isForCertificate, status } = await basic.getCertificateStatus(leaf.pki, issuer.pki)
    const nowMs = this.#clock.nowMs()
    const [single] = basic.tbsResponseData.responses
    if (!isForCertificate || single === undefined || basic.tbsResponseData.responses.length !== 1)
      throw away(ocspProvider, 'an answer about another certificate')
    const thisMs = single.thisUpdate.getTime()
    const nextMs = single.nextUpdate?.getTime() ?? thisMs + answerKeptMsMax
    const maxAgeMs = rules.thisUpdateMaxAgeSeconds * 1_000
    // An old answer says what was so before it was revoked.
    if (thisMs > nowMs + skewMs || nextMs < nowMs - skewMs || (maxAgeMs > 0 && nowMs - thisMs > maxAgeMs + skewMs))
      throw away(ocspProvider, 'an answer of another time')
    if (status === 2) throw away(ocspProvider, 'the answer that it does not know the certificate')
    return { good: status === 0, untilMs: Math.min(nextMs, nowMs + answerKeptMsMax) }
  }
}

const isSignedBy = (list: pkijs.CertificateRevocationList, issuer: Certificate): Promise<boolean> =>
  list.verify({ issuerCertificate: issuer.pki }).catch(() => false)

function listOf(bytes: Uint8Array): pkijs.CertificateRevocationList {
  try {
    return parseCrl(crlBytes(bytes))
  } catch {
    throw away(listProvider, 'something that is no list')
  }
}

/**
 * What an answer is about, and by whose word: an answer is for the mounts that trust the same authorities and ask the same responders. Whoever looks
 * after a mount of another namespace may name a responder of its own, which calls anything good.
 */
function answerKey(path: readonly Certificate[], { servers, caPem, extraCas, thisUpdateMaxAgeSeconds }: OcspRules): string {
  const hash = createHash('sha256').update(JSON.stringify([servers, caPem, thisUpdateMaxAgeSeconds, path.length]))
  for (const { der } of [...path, ...extraCas]) hash.update(createHash('sha256').update(der).digest())
  return hash.digest('base64')
}

function basicOf(bytes: Uint8Array): pkijs.BasicOCSPResponse {
  try {
    const response = pkijs.OCSPResponse.fromBER(alone(bytes))
    if (response.responseStatus.valueBlock.valueDec === 0 && response.responseBytes !== undefined)
      return pkijs.BasicOCSPResponse.fromBER(response.responseBytes.response.valueBlock.valueHexView)
  } catch {
    // As below.
  }
  throw away(ocspProvider, 'something that is no answer')
}

const ocspMethod = '1.3.6.1.5.5.7.48.1'
const serversMax = 4

/** From the certificate's Authority Information Access. */
function respondersOf({ pki }: Certificate): string[] {
  const found = pki.extensions?.find(({ extnID }) => extnID === '1.3.6.1.5.5.7.1.1')?.parsedValue as pkijs.InfoAccess | undefined
  return (found?.accessDescriptions ?? [])
    .filter(({ accessMethod }) => accessMethod === ocspMethod)
    .map(({ accessLocation }) => String(accessLocation.value as unknown))
    .filter((url) => /^https?:\/\//.test(url))
    .slice(0, serversMax)
}
