/**
 * A node's transport identity on disk: one file, `<dir>/identity/identity.json`, mode 0600, apart from the store.
 * One file rather than one per PEM: a crash between two renames would leave a key beside another key's certificate.
 */
import { X509Certificate, createPrivateKey, createPublicKey } from 'node:crypto'
import { chmod, mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { checkVersion } from '#base/formats.ts'
import type { RandomSource } from '#base/random.ts'
import { createNodeKey, fingerprint, issueNodeCertificate, spkiFingerprint } from './certificates.ts'
import type { ClusterCa } from './certificates.ts'
import type { Identity } from './types.ts'

const formatVersion = 1
const fields = ['nodeId', 'clusterId', 'caCertificatePem', 'certificatePem', 'privateKeyPem', 'fingerprint'] as const

/** The first node's identity: a fresh key, certified by the authority that it just made. */
export async function createIdentity(
  ca: ClusterCa,
  options: {
    readonly nodeId: string
    readonly clusterId: string
    readonly nowMs: number
    readonly days: number
    readonly random: RandomSource
  },
): Promise<Identity> {
  const key = await createNodeKey()
  const issued = await issueNodeCertificate(ca, key.publicKeyPem, options)
  return {
    nodeId: options.nodeId,
    clusterId: options.clusterId,
    caCertificatePem: ca.certificatePem,
    certificatePem: issued.certificatePem,
    privateKeyPem: key.privateKeyPem,
    fingerprint: key.fingerprint,
  }
}

export function identityPath(dir: string): string {
  return join(dir, 'identity', 'identity.json')
}

/**
 * Writes the identity so that after a crash the old or the new one is there, whole.
 * @throws ERR_STORE_FAILED when it could not be written; the old one is untouched.
 */
export async function saveIdentity(dir: string, identity: Identity): Promise<void> {
  checkIdentity(identity)
  const path = identityPath(dir)
  const folder = join(dir, 'identity')
  const temporary = `${path}.tmp`
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    await chmod(folder, 0o700)
    // Left by a crash, with whatever mode: `open` would keep it.
    await rm(temporary, { force: true })
    await writeSynced(temporary, `${JSON.stringify({ version: formatVersion, ...pick(identity) }, null, 2)}\n`)
    await rename(temporary, path)
    await syncFolder(folder)
    await syncFolder(dir)
  } catch (cause) {
    throw new HoldfastError('ERR_STORE_FAILED', `identity: expected to write ${path}, got ${codeOf(cause)}`, {
      cause,
      hint: 'check that the data folder exists, belongs to this user, and has room',
    })
  }
}

async function writeSynced(path: string, text: string): Promise<void> {
  const file = await open(path, 'wx', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/**
 * The identity that `saveIdentity` wrote; null when there is none (a node that has not joined).
 * @throws ERR_STORE_CORRUPT when it is there but damaged. Never repaired by itself: a new identity would be another node.
 */
export async function loadIdentity(dir: string): Promise<Identity | null> {
  const path = identityPath(dir)
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return null
    throw new HoldfastError('ERR_STORE_FAILED', `identity: expected to read ${path}, got ${codeOf(cause)}`, { cause })
  }
  try {
    return parseIdentity(text)
  } catch (error) {
    if (isHoldfastError(error, 'ERR_UPGRADE_REQUIRED')) throw error
    // Only the message of our own errors: a JSON parser quotes what it read, which is a private key here.
    const detail = error instanceof HoldfastError ? error.message : 'no JSON'
    throw new HoldfastError('ERR_STORE_CORRUPT', `identity: ${path} is damaged: ${detail}`, {
      hint: 'restore the file from a backup of this node, or remove the node from the cluster and let it join again with an empty data folder',
    })
  }
}

function parseIdentity(text: string): Identity {
  const parsed: unknown = JSON.parse(text)
  if (typeof parsed !== 'object' || parsed === null) throw damaged('an object', typeof parsed)
  const record = parsed as Record<string, unknown>
  if (!checkVersion('identity', formatVersion, record['version'])) throw damaged(`version ${formatVersion}`, String(record['version']))
  for (const field of fields) {
    if (typeof record[field] !== 'string' || record[field] === '') throw damaged(`a string as ${field}`, typeof record[field])
  }
  const previous = record['previousCaCertificatePem']
  if (previous !== undefined && typeof previous !== 'string') throw damaged('a string as previousCaCertificatePem', typeof previous)
  const identity = pick(record as unknown as Identity)
  checkIdentity(identity)
  return identity
}

/** @throws ERR_STORE_CORRUPT unless key, certificate and fingerprint belong together. */
function checkIdentity(identity: Identity): void {
  let ofKey = ''
  let ofCertificate = ''
  try {
    createPrivateKey(identity.privateKeyPem)
    ofKey = spkiFingerprint(createPublicKey(identity.privateKeyPem))
    ofCertificate = fingerprint(identity.certificatePem)
    for (const pem of [identity.caCertificatePem, identity.previousCaCertificatePem]) if (pem !== undefined) new X509Certificate(pem)
  } catch {
    throw damaged('a private key and two certificates as PEM', 'something else')
  }
  if (ofKey !== identity.fingerprint) throw damaged('the fingerprint of the private key', 'another')
  if (ofCertificate !== identity.fingerprint) throw damaged('a certificate of the private key', "another key's")
}

function damaged(expected: string, got: string): HoldfastError {
  return new HoldfastError('ERR_STORE_CORRUPT', `expected ${expected}, got ${got}`)
}

function pick(identity: Identity): Identity {
  return {
    nodeId: identity.nodeId,
    clusterId: identity.clusterId,
    caCertificatePem: identity.caCertificatePem,
    // An older release lets it lie.
    ...(identity.previousCaCertificatePem === undefined ? {} : { previousCaCertificatePem: identity.previousCaCertificatePem }),
    certificatePem: identity.certificatePem,
    privateKeyPem: identity.privateKeyPem,
    fingerprint: identity.fingerprint,
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'an unknown error'
}
