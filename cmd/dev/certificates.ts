import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '#base/clock.ts'
import { systemRandom } from '#base/random.ts'
import { selfSignedApiCertificate } from '#transport/certificates.ts'

/**
 * Makes a certificate for the API on loopback, once a folder: `ca.crt`, `server.crt`, `server.key` below `dir`.
 * Returns the path of the authority's certificate, which clients are to trust.
 */
export async function writeApiCertificates(dir: string): Promise<string> {
  const caPath = join(dir, 'ca.crt')
  if (existsSync(caPath)) return caPath
  const made = await selfSignedApiCertificate({ nowMs: systemClock.nowMs(), random: systemRandom })
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  writeFileSync(join(dir, 'server.key'), made.privateKeyPem, { mode: 0o600 })
  writeFileSync(join(dir, 'server.crt'), made.certificatePem)
  // Last: its presence says that the other two are there.
  writeFileSync(caPath, made.caCertificatePem)
  return caPath
}
