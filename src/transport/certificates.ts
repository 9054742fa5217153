/**
 * The cluster's own certificate authority, and what it issues. ECDSA on P-256 throughout: every TLS stack has it, and node:crypto
 * signs with it in tens of microseconds.
 *
 * A certificate here only introduces a key; what decides who is a peer is the key's fingerprint in the replicated membership
 * (trust.ts). So there is no revocation list, and an expired certificate is a warning for a member.
 */
import 'reflect-metadata'
import { X509Certificate, createHash, createPrivateKey, createPublicKey, generateKeyPair, webcrypto } from 'node:crypto'
import { promisify } from 'node:util'
import * as x509 from '@peculiar/x509'
import { HoldfastError } from '#base/errors.ts'
import type { RandomSource } from '#base/random.ts'

x509.cryptoProvider.set(webcrypto as unknown as Crypto)

const dayMs = 86_400_000
/** Clocks of nodes that join differ; a certificate is valid from an hour ago. */
const backdateMs = 3_600_000
const caDays = 3_653
const algorithm = { name: 'ECDSA', namedCurve: 'P-256' } as const
const signing = { name: 'ECDSA', hash: 'SHA-256' } as const
const newKeyPair = promisify(generateKeyPair)

/** A certificate authority: its key signs, so it lies behind the barrier, never on a node's disk. */
export interface ClusterCa {
  readonly certificatePem: string
  readonly privateKeyPem: string
}

export interface NodeKey {
  /** PKCS#8. */
  readonly privateKeyPem: string
  /** SPKI. */
  readonly publicKeyPem: string
  readonly fingerprint: string
}

/** SHA-256 of a public key's SPKI, hex. Takes a PEM of a certificate, a public key or a private key. @throws ERR_BAD_REQUEST */
export function fingerprint(pem: string): string {
  try {
    return spkiFingerprint(pem.includes('BEGIN CERTIFICATE-') ? new X509Certificate(pem).publicKey : createPublicKey(pem))
  } catch (cause) {
    throw new HoldfastError('ERR_BAD_REQUEST', 'fingerprint: expected a certificate or a key as PEM, got something else', { cause })
  }
}

/** The same of a key object. */
export function spkiFingerprint(key: X509Certificate['publicKey']): string {
  return createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('hex')
}

/** The DNS name that stands for a node in its certificate. A digest: node ids may hold what a DNS label may not. */
export function nodeDnsName(clusterId: string, nodeId: string): string {
  const digest = createHash('sha256').update(`${clusterId}\n${nodeId}`).digest('hex')
  return `n-${digest.slice(0, 40)}.node.holdfast.internal`
}

/** A fresh key pair for a node, P-256. */
export async function createNodeKey(): Promise<NodeKey> {
  const { privateKey, publicKey } = await newKeyPair('ec', { namedCurve: 'P-256' })
  return {
    privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    publicKeyPem: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    fingerprint: spkiFingerprint(publicKey),
  }
}

/** The authority of a new cluster, valid for ten years. */
export async function createClusterCa(options: {
  readonly clusterId: string
  readonly nowMs: number
  readonly random: RandomSource
}): Promise<ClusterCa> {
  return createCa([{ CN: ['Holdfast cluster CA'] }, { O: [printable(options.clusterId)] }], caDays, options.nowMs, options.random)
}

async function createCa(name: x509.JsonName, days: number, nowMs: number, random: RandomSource): Promise<ClusterCa> {
  const key = await createNodeKey()
  const keys = await importPair(key.privateKeyPem)
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(random),
    name,
    notBefore: new Date(nowMs - backdateMs),
    notAfter: new Date(nowMs + days * dayMs),
    signingAlgorithm: signing,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return { certificatePem: certificate.toString('pem'), privateKeyPem: key.privateKeyPem }
}

/** A certificate request (PKCS#10), which proves that the joiner holds the key. */
export async function createCsr(options: { readonly nodeId: string; readonly privateKeyPem: string }): Promise<string> {
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: [{ CN: [printable(options.nodeId)] }],
    keys: await importPair(options.privateKeyPem),
    signingAlgorithm: signing,
  })
  return request.toString('pem')
}

/** The public key (SPKI, PEM) that a request asks a certificate for. @throws ERR_BAD_REQUEST unless well signed and ECDSA P-256. */
export async function csrPublicKey(csrPem: string): Promise<string> {
  let genuine = false
  let publicKeyPem = ''
  try {
    const request = new x509.Pkcs10CertificateRequest(csrPem)
    genuine = await request.verify()
    publicKeyPem = request.publicKey.toString('pem')
  } catch (cause) {
    throw new HoldfastError('ERR_BAD_REQUEST', 'certificate request: expected PKCS#10 as PEM, got something else', { cause })
  }
  if (!genuine) throw new HoldfastError('ERR_BAD_REQUEST', 'certificate request: expected a signature by its own key, got another')
  checkP256(publicKeyPem)
  return publicKeyPem
}

function checkP256(publicKeyPem: string): void {
  const key = createPublicKey(publicKeyPem)
  if (key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return
  throw new HoldfastError('ERR_BAD_REQUEST', `node key: expected ECDSA on P-256, got ${key.asymmetricKeyType}`)
}

/**
 * A node's certificate, for both ends of a connection. What the request says of names is ignored: the caller, who checked the join proof,
 * says who it is.
 * @throws ERR_BAD_REQUEST when request or key is not what it should be.
 */
export async function issueNodeCertificate(
  ca: ClusterCa,
  csrOrPublicKeyPem: string,
  options: {
    readonly nodeId: string
    readonly clusterId: string
    readonly nowMs: number
    readonly days: number
    readonly random: RandomSource
  },
): Promise<{ readonly certificatePem: string; readonly fingerprint: string }> {
  const asked = csrOrPublicKeyPem.includes('CERTIFICATE REQUEST') ? await csrPublicKey(csrOrPublicKeyPem) : csrOrPublicKeyPem
  checkP256(asked)
  const certificatePem = await issueLeaf(ca, asked, {
    subject: [{ CN: [printable(options.nodeId)] }, { O: [printable(options.clusterId)] }],
    names: [{ type: 'dns', value: nodeDnsName(options.clusterId, options.nodeId) }],
    usages: [x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth],
    nowMs: options.nowMs,
    days: options.days,
    random: options.random,
  })
  return { certificatePem, fingerprint: fingerprint(asked) }
}

interface Leaf {
  readonly subject: x509.JsonName
  readonly names: x509.JsonGeneralNames
  readonly usages: x509.ExtendedKeyUsage[]
  readonly nowMs: number
  readonly days: number
  readonly random: RandomSource
}

async function issueLeaf(ca: ClusterCa, publicKeyPem: string, leaf: Leaf): Promise<string> {
  const issuer = new x509.X509Certificate(ca.certificatePem)
  const publicKey = await importPublic(publicKeyPem)
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(leaf.random),
    issuer: issuer.subjectName,
    subject: leaf.subject,
    notBefore: new Date(leaf.nowMs - backdateMs),
    notAfter: new Date(leaf.nowMs + leaf.days * dayMs),
    signingAlgorithm: signing,
    publicKey,
    signingKey: (await importPair(ca.privateKeyPem)).privateKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(leaf.usages),
      new x509.SubjectAlternativeNameExtension(leaf.names),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  })
  return certificate.toString('pem')
}

/**
 * What `npm start --tls` serves its API with: an authority of its own, whose key is thrown away, and one certificate for this machine.
 * Not for a cluster that others reach: nothing renews it.
 */
export async function selfSignedApiCertificate(options: {
  readonly nowMs: number
  readonly random: RandomSource
  readonly days?: number
  /** DNS names and IP addresses; localhost, 127.0.0.1 and ::1 unless given. */
  readonly hosts?: readonly string[]
}): Promise<{ readonly caCertificatePem: string; readonly certificatePem: string; readonly privateKeyPem: string }> {
  const days = options.days ?? 365
  const ca = await createCa([{ CN: ['Holdfast development API CA'] }], days, options.nowMs, options.random)
  const key = await createNodeKey()
  const hosts = options.hosts ?? ['localhost', '127.0.0.1', '::1']
  const certificatePem = await issueLeaf(ca, key.publicKeyPem, {
    subject: [{ CN: [printable(hosts[0] ?? 'localhost')] }],
    names: hosts.map((value) => ({ type: /^[\d.]+$|:/.test(value) ? ('ip' as const) : ('dns' as const), value })),
    usages: [x509.ExtendedKeyUsage.serverAuth],
    nowMs: options.nowMs,
    days,
    random: options.random,
  })
  return { caCertificatePem: ca.certificatePem, certificatePem, privateKeyPem: key.privateKeyPem }
}

export function isIssuedBy(certificate: X509Certificate, authority: X509Certificate): boolean {
  return certificate.checkIssued(authority) && certificate.verify(authority.publicKey)
}

/** Whether `authority` is one that `createClusterCa` could have made for `clusterId`, and its time is now. */
export function isAuthorityOf(authority: X509Certificate, clusterId: string, nowMs: number): boolean {
  const { validFromDate, validToDate } = authority
  const current = validFromDate.getTime() <= nowMs && nowMs < validToDate.getTime()
  const named = authority.subject.split('\n').includes(`O=${printable(clusterId)}`)
  return authority.ca && isIssuedBy(authority, authority) && named && current
}

/** True once less than a third of a certificate's life is left (or it has not begun: a clock was wrong). */
export function needsRenewal(certificatePem: string, nowMs: number): boolean {
  const certificate = new X509Certificate(certificatePem)
  const from = certificate.validFromDate.getTime()
  const to = certificate.validToDate.getTime()
  return nowMs < from || to - nowMs < (to - from) / 3
}

/** X.520 bounds a common name to 64 characters, and OpenSSL refuses longer ones. The name is for eyes only. */
function printable(name: string): string {
  return name.length > 0 && name.length <= 64 ? name : createHash('sha256').update(name).digest('hex')
}

/** 127 random bits, positive and without a leading zero byte, hex. */
function serialNumber(random: RandomSource): string {
  const bytes = random.bytes(16)
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40
  return Buffer.from(bytes).toString('hex')
}

async function importPair(privateKeyPem: string): Promise<webcrypto.CryptoKeyPair> {
  const key = createPrivateKey(privateKeyPem)
  const pkcs8 = key.export({ type: 'pkcs8', format: 'der' })
  const privateKey = await webcrypto.subtle.importKey('pkcs8', pkcs8, algorithm, false, ['sign'])
  return {
    privateKey,
    publicKey: await importPublic(createPublicKey(privateKeyPem).export({ type: 'spki', format: 'pem' }).toString()),
  } as webcrypto.CryptoKeyPair
}

async function importPublic(publicKeyPem: string): Promise<CryptoKey> {
  const spki = createPublicKey(publicKeyPem).export({ type: 'spki', format: 'der' })
  return (await webcrypto.subtle.importKey('spki', spki, algorithm, true, ['verify'])) as CryptoKey
}
