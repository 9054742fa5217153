import { X509Certificate } from 'node:crypto'
import { mkdtemp, readFile, readdir, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, createServer } from 'node:tls'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { systemRandom } from '#base/random.ts'
import {
  createCsr,
  createNodeKey,
  fingerprint,
  issueNodeCertificate,
  needsRenewal,
  nodeDnsName,
  selfSignedApiCertificate,
} from '#transport/certificates.ts'
import { identityPath, loadIdentity, saveIdentity } from '#transport/identity.ts'
import { dayMs, newCa, newIdentity } from './harness.ts'

const nowMs = Date.UTC(2026, 5, 1)

test('a node certificate carries its name, both usages, and its key; the CA lives ten years', async () => {
  const ca = await newCa()
  const authority = new X509Certificate(ca.certificatePem)
  const identity = await newIdentity(ca, 'node one, of=many', { nowMs, days: 30 })
  const certificate = new X509Certificate(identity.certificatePem)
  expect(certificate.checkIssued(authority) && certificate.verify(authority.publicKey)).toBe(true)
  expect(certificate.ca).toBe(false)
  expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'])
  expect(certificate.checkHost(nodeDnsName('cluster', 'node one, of=many'))).toBeDefined()
  expect(certificate.checkHost(nodeDnsName('other', 'node one, of=many'))).toBeUndefined()
  expect(certificate.validToDate.getTime()).toBe(nowMs + 30 * dayMs)
  expect(fingerprint(identity.certificatePem)).toBe(identity.fingerprint)
  expect(fingerprint(identity.privateKeyPem)).toBe(identity.fingerprint)
  expect(authority.validToDate.getTime() - Date.now()).toBeGreaterThan(3_650 * dayMs)
})

test('a certificate request is certified under the name that the issuer gives, if its signature holds', async () => {
  const ca = await newCa()
  const key = await createNodeKey()
  const csr = await createCsr({ nodeId: 'liar', privateKeyPem: key.privateKeyPem })
  const options = { nodeId: 'b', clusterId: 'cluster', nowMs, days: 30, random: systemRandom }
  const issued = await issueNodeCertificate(ca, csr, options)
  expect(issued.fingerprint).toBe(key.fingerprint)
  expect(new X509Certificate(issued.certificatePem).subject).toContain('CN=b')
  // The last characters of the base64 are the signature's.
  const lines = csr.trim().split('\n')
  const last = lines.length - 2
  lines[last] = `${lines[last]?.slice(0, -8)}${lines[last]?.at(-8) === 'A' ? 'B' : 'A'}${lines[last]?.slice(-7)}`
  await expect(issueNodeCertificate(ca, lines.join('\n'), options)).rejects.toMatchObject({ code: 'ERR_BAD_REQUEST' })
  await expect(issueNodeCertificate(ca, 'CERTIFICATE REQUEST nonsense', options)).rejects.toMatchObject({ code: 'ERR_BAD_REQUEST' })
})

test('renewal is due in the last third of a life, and before its beginning', async () => {
  const identity = await newIdentity(await newCa(), 'a', { nowMs, days: 90 })
  expect(needsRenewal(identity.certificatePem, nowMs)).toBe(false)
  expect(needsRenewal(identity.certificatePem, nowMs + 59 * dayMs)).toBe(false)
  expect(needsRenewal(identity.certificatePem, nowMs + 61 * dayMs)).toBe(true)
  expect(needsRenewal(identity.certificatePem, nowMs + 91 * dayMs)).toBe(true)
  expect(needsRenewal(identity.certificatePem, nowMs - dayMs)).toBe(true)
})

test('an identity survives its way to the disk, readable by its owner only', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'identity-'))
  expect(await loadIdentity(dir)).toBeNull()
  const ca = await newCa()
  const identity = await newIdentity(ca, 'a')
  await saveIdentity(dir, identity)
  expect(await loadIdentity(dir)).toEqual(identity)
  expect((await stat(identityPath(dir))).mode & 0o777).toBe(0o600)
  expect((await stat(join(dir, 'identity'))).mode & 0o777).toBe(0o700)
  const renewed = {
    ...identity,
    certificatePem: (
      await issueNodeCertificate(ca, await createCsrOf(identity.privateKeyPem), {
        nodeId: 'a',
        clusterId: 'cluster',
        nowMs,
        days: 9,
        random: systemRandom,
      })
    ).certificatePem,
  }
  await saveIdentity(dir, renewed)
  expect(await loadIdentity(dir)).toEqual(renewed)
  // In the midst of a change of authorities.
  const changed = { ...renewed, previousCaCertificatePem: (await newCa()).certificatePem }
  await saveIdentity(dir, changed)
  expect(await loadIdentity(dir)).toEqual(changed)
  expect(await readdir(join(dir, 'identity'))).toEqual(['identity.json'])
})

const createCsrOf = (privateKeyPem: string): Promise<string> => createCsr({ nodeId: 'a', privateKeyPem })

test('a damaged identity is said to be damaged, without a word of the key', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'identity-'))
  const ca = await newCa()
  const identity = await newIdentity(ca, 'a')
  const other = await newIdentity(ca, 'b')
  await saveIdentity(dir, identity)
  const whole = await readFile(identityPath(dir), 'utf8')
  const bad = [
    '',
    whole.slice(0, 400),
    JSON.stringify({ ...JSON.parse(whole), privateKeyPem: other.privateKeyPem }),
    JSON.stringify({ ...JSON.parse(whole), certificatePem: other.certificatePem }),
    JSON.stringify({ ...JSON.parse(whole), nodeId: 7 }),
    JSON.stringify({ ...JSON.parse(whole), previousCaCertificatePem: 7 }),
    JSON.stringify({ ...JSON.parse(whole), previousCaCertificatePem: 'none' }),
  ]
  await writeFile(identityPath(dir), whole.replace('"version": 1', '"version": 2'))
  await expect(loadIdentity(dir)).rejects.toMatchObject({ code: 'ERR_UPGRADE_REQUIRED', message: expect.stringContaining('got 2') })
  for (const text of bad) {
    await writeFile(identityPath(dir), text)
    const error: unknown = await loadIdentity(dir).then(
      () => null,
      (thrown: unknown) => thrown,
    )
    expect(error).toMatchObject({ code: 'ERR_STORE_CORRUPT', message: expect.stringContaining('is damaged') })
    expect((error as Error).message).not.toContain('BEGIN')
    expect((error as Error).cause).toBeUndefined()
  }
  await expect(saveIdentity(dir, { ...identity, fingerprint: 'ab' })).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
  await expect(saveIdentity(identityPath(dir), identity)).rejects.toMatchObject({ code: 'ERR_STORE_FAILED' })
})

test('the API certificate for this machine satisfies a client that has its CA', async () => {
  const api = await selfSignedApiCertificate({ nowMs: Date.now(), random: systemRandom })
  const server = createServer({ cert: api.certificatePem, key: api.privateKeyPem }, (socket) => socket.end('hello'))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  for (const servername of ['localhost', '']) {
    const authorized = await new Promise<boolean>((resolve, reject) => {
      const socket = connect({ host: '127.0.0.1', port, ca: api.caCertificatePem, ...(servername ? { servername } : {}) }, () => {
        resolve(socket.authorized)
        socket.destroy()
      })
      socket.on('error', reject)
    })
    expect(authorized).toBe(true)
  }
  await new Promise((resolve) => server.close(resolve))
})
