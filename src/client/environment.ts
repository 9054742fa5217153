/** What the environment says of where the cluster is and who asks: HOLDFAST_ADDR and its kind, with the peers' names of the same. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseDurationMs } from '#base/duration.ts'
import type { ClientOptions, TlsOptions } from './types.ts'

type Environment = Readonly<Record<string, string | undefined>>

/** Plain HTTP on loopback: what `npm start` serves. (The peers' clients assume https there.) */
export const defaultAddress = 'http://127.0.0.1:8200'

const prefixes = ['HOLDFAST', 'VAULT', 'BAO'] as const

/** HOLDFAST_<name>, else the peers' variable of that name. Empty counts as unset. */
export function environmentValue(env: Environment, name: string): string | undefined {
  for (const prefix of prefixes) {
    const value = env[`${prefix}_${name}`]
    if (value !== undefined && value !== '') return value
  }
  return undefined
}

/** Addresses of a list with commas; blanks and empty ones are dropped. */
export const addressList = (text: string): readonly string[] => text.split(',').flatMap((one) => (one.trim() === '' ? [] : [one.trim()]))

/** PEM of CACERT_BYTES, of the file CACERT, or of all files of the folder CAPATH; undefined: the system's authorities. */
export function environmentAuthorities(env: Environment, read: (path: string) => string): string | undefined {
  const bytes = environmentValue(env, 'CACERT_BYTES')
  const file = environmentValue(env, 'CACERT')
  const folder = environmentValue(env, 'CAPATH')
  if (bytes !== undefined) return bytes
  if (file !== undefined) return read(file)
  return folder === undefined
    ? undefined
    : readdirSync(folder)
        .toSorted()
        .map((name) => read(join(folder, name)))
        .join('\n')
}

function environmentTls(env: Environment): TlsOptions {
  const read = (path: string): string => readFileSync(path, 'utf8')
  const file = (name: string): string | undefined => {
    const path = environmentValue(env, name)
    return path === undefined ? undefined : read(path)
  }
  const [ca, cert, key] = [environmentAuthorities(env, read), file('CLIENT_CERT'), file('CLIENT_KEY')]
  const serverName = environmentValue(env, 'TLS_SERVER_NAME')
  return {
    skipVerify: isTrue(environmentValue(env, 'SKIP_VERIFY')),
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(serverName === undefined ? {} : { serverName }),
  }
}

export const isTrue = (text: string | undefined): boolean => /^(1|t|true)$/i.test(text ?? '')

/** A namespace as the header takes it: without slashes at its ends; undefined for the root. */
export function namespaceOf(text: string | undefined): string | undefined {
  const name = text?.replace(/^\/+|\/+$/g, '')
  return name === '' || name === 'root' ? undefined : name
}

/** @throws what reading a named file throws; ERR_BAD_REQUEST for a timeout that is none. */
export function optionsFromEnvironment(env: Environment): ClientOptions {
  const token = environmentValue(env, 'TOKEN')
  const namespace = namespaceOf(environmentValue(env, 'NAMESPACE'))
  const timeout = environmentValue(env, 'CLIENT_TIMEOUT')
  const retries = environmentValue(env, 'MAX_RETRIES')
  return {
    addresses: addressList(environmentValue(env, 'ADDR') ?? defaultAddress),
    tls: environmentTls(env),
    ...(token === undefined ? {} : { token }),
    ...(namespace === undefined ? {} : { namespace }),
    ...(timeout === undefined ? {} : { timeoutMs: parseDurationMs(timeout, { what: 'timeout' }) }),
    ...(retries === undefined || !/^\d{1,2}$/.test(retries) ? {} : { retriesMax: Number(retries) }),
  }
}
