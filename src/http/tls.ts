import { readFileSync } from 'node:fs'
import type { SecureContextOptions, TlsOptions as NodeTlsOptions } from 'node:tls'
import { createSecureContext } from 'node:tls'
import { HoldfastError } from '#base/errors.ts'
import type { TlsOptions } from './types.ts'

function read(file: string, what: string): Buffer {
  try {
    return readFileSync(file)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'an error'
    throw new HoldfastError('ERR_CONFIG', `${what} expected a readable file, got ${code} for ${file}`)
  }
}

/**
 * Reads the PEM files and checks that they make a working context, so that a bad reload leaves the old one in use.
 * @throws HoldfastError ERR_CONFIG: unreadable, not PEM, or a key that does not fit its certificate.
 */
export function readTlsContext(options: TlsOptions): SecureContextOptions {
  const context: SecureContextOptions = {
    cert: read(options.certFile, 'tls_cert_file'),
    key: read(options.keyFile, 'tls_key_file'),
    minVersion: options.minVersion ?? 'TLSv1.2',
    maxVersion: options.maxVersion ?? 'TLSv1.3',
    honorCipherOrder: true,
  }
  if (options.clientCaFile !== undefined) context.ca = read(options.clientCaFile, 'tls_client_ca_file')
  if (options.cipherSuites !== undefined && options.cipherSuites.length > 0) context.ciphers = options.cipherSuites.join(':')
  try {
    createSecureContext(context)
  } catch (error) {
    const reason = (error as { reason?: string }).reason ?? (error as NodeJS.ErrnoException).code ?? 'an unusable pair'
    throw new HoldfastError('ERR_CONFIG', `tls_cert_file and tls_key_file expected a PEM certificate and its key, got ${reason}`, {
      hint: `look at ${options.certFile} and ${options.keyFile}`,
    })
  }
  return context
}

/** How the listener treats client certificates: asked for unless switched off, and only verified where they are required. */
export function clientCertOptions(options: TlsOptions): NodeTlsOptions {
  const required = options.requireClientCert === true
  return { requestCert: required || options.requestClientCert !== false, rejectUnauthorized: required }
}
