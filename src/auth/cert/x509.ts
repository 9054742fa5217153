/** Certificates as this method needs them: parsed once, named as the peers name them. The formats are @peculiar/x509's and pkijs's. */
import 'reflect-metadata'
import { createHash, webcrypto } from 'node:crypto'
import * as x509 from '@peculiar/x509'
import * as pkijs from 'pkijs'
import { HoldfastError } from '#base/errors.ts'

const engine = new pkijs.CryptoEngine({ name: 'node', crypto: webcrypto as unknown as Crypto })
// Its type asks for what the newest draft of Web Crypto adds, which nothing here uses.
pkijs.setEngine('node', engine as unknown as pkijs.ICryptoEngine)

const clientAuth = '1.3.6.1.5.5.7.3.2'
const anyUsage = '2.5.29.37.0'
/** Signatures that can be forged: MD5 and SHA-1, with RSA, DSA and ECDSA. */
const weakSignatures = new Set(['1.2.840.113549.1.1.4', '1.2.840.113549.1.1.5', '1.2.840.10040.4.3', '1.2.840.10045.4.1'])

/** Critical extensions that are looked at, here or by pkijs: key usages, names, constraints, policies. */
const understood = new Set(['15', '17', '19', '30', '32', '33', '36', '37', '54'].map((last) => `2.5.29.${last}`))

export interface Certificate {
  readonly der: Uint8Array
  readonly pki: pkijs.Certificate
  readonly commonName: string
  readonly organizationalUnits: readonly string[]
  readonly dns: readonly string[]
  readonly emails: readonly string[]
  readonly uris: readonly string[]
  /** Decimal. */
  readonly serial: string
  /** Hex with colons; '' where it has none. */
  readonly subjectKeyId: string
  readonly authorityKeyId: string
  readonly isCa: boolean
  /** How many authorities may stand between it and a client; null: any number. */
  readonly pathLengthMax: number | null
  readonly maySign: boolean
  /** It has a critical extension that nothing here understands. */
  readonly strange: boolean
  readonly mayBeClient: boolean
  readonly weak: boolean
  readonly notBeforeMs: number
  readonly notAfterMs: number
  /** Of its public key, hex: the same when the certificate was renewed for the same key. */
  readonly keyHash: string
  /** By OID, as text where it is one. */
  extension(oid: string): { readonly text: string | null; readonly hex: string } | null
}

const colons = (hex: string): string => hex.match(/../g)?.join(':') ?? ''

/** @throws Error for what is no certificate. */
export function parseCertificate(der: Uint8Array): Certificate {
  const cert = new x509.X509Certificate(der as Uint8Array<ArrayBuffer>)
  const pki = pkijs.Certificate.fromBER(cert.rawData)
  const names = cert.getExtension(x509.SubjectAlternativeNameExtension)?.names.toJSON() ?? []
  const namesOf = (type: string): string[] => names.filter((name) => name.type === type).map(({ value }) => value)
  const usages = cert.getExtension(x509.ExtendedKeyUsageExtension)?.usages.map(String)
  const basics = cert.getExtension(x509.BasicConstraintsExtension)
  const keyUsages = cert.getExtension(x509.KeyUsagesExtension)?.usages
  return {
    der,
    pki,
    commonName: cert.subjectName.getField('CN')[0] ?? '',
    organizationalUnits: cert.subjectName.getField('OU'),
    dns: namesOf('dns'),
    emails: namesOf('email'),
    uris: namesOf('url'),
    serial: BigInt(`0x${cert.serialNumber || '0'}`).toString(),
    subjectKeyId: colons(cert.getExtension(x509.SubjectKeyIdentifierExtension)?.keyId ?? ''),
    authorityKeyId: colons(cert.getExtension(x509.AuthorityKeyIdentifierExtension)?.keyId ?? ''),
    isCa: basics?.ca === true,
    pathLengthMax: basics?.pathLength ?? null,
    maySign: keyUsages === undefined || (keyUsages & x509.KeyUsageFlags.keyCertSign) !== 0,
    strange: cert.extensions.some(({ type, critical }) => critical && !understood.has(type)),
    mayBeClient: usages === undefined || usages.includes(clientAuth) || usages.includes(anyUsage),
    weak: weakSignatures.has(pki.signatureAlgorithm.algorithmId),
    notBeforeMs: cert.notBefore.getTime(),
    notAfterMs: cert.notAfter.getTime(),
    keyHash: createHash('sha256').update(new Uint8Array(cert.publicKey.rawData)).digest('hex'),
    extension(oid) {
      const found = pki.extensions?.find(({ extnID }) => extnID === oid)
      if (found === undefined) return null
      const parsed = found.parsedValue as { valueBlock?: { value?: unknown } } | undefined
      const value = parsed?.valueBlock?.value
      return { text: typeof value === 'string' ? value : null, hex: Buffer.from(found.extnValue.valueBlock.valueHexView).toString('hex') }
    },
  }
}

const pemBlock = /-----BEGIN (?:TRUSTED )?CERTIFICATE-----[\sA-Za-z0-9+/=]+-----END (?:TRUSTED )?CERTIFICATE-----/g
const bundleMax = 32

/** The certificates of a PEM text. @throws ERR_BAD_REQUEST: none, too many, or broken. */
export function parseBundle(field: string, pem: string): Certificate[] {
  const blocks = pem.match(pemBlock) ?? []
  if (blocks.length === 0 || blocks.length > bundleMax) {
    throw new HoldfastError('ERR_BAD_REQUEST', `${field} expected 1 to ${bundleMax} certificates in PEM, got ${blocks.length}`)
  }
  return blocks.map((block, at) => {
    try {
      return parseCertificate(Buffer.from(block.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64'))
    } catch {
      throw new HoldfastError('ERR_BAD_REQUEST', `${field} expected certificates in PEM, got something else at ${at}`)
    }
  })
}
