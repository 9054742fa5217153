/**
 * What the API can change of HTTP itself: cross-origin rules. They lie in the replicated state, and every node keeps them in memory as they were last
 * applied, since each request from a browser asks for them.
 */
import { HoldfastError } from '#base/errors.ts'
import { checkVersion } from '#base/formats.ts'
import type { ReadView, Section, Transaction } from '#barrier/types.ts'

const formatVersion = 1
const httpSection: Section = { namespace: 'root', mount: 'sys/http' }
const corsPath = 'cors'

export interface CorsRules {
  /** Exact origins, or '*' alone. */
  readonly origins: readonly string[]
  /** Besides those that every client of the field sends. */
  readonly headers: readonly string[]
}

interface StoredCors extends CorsRules {
  readonly version: number
}

/** What a browser may send without being asked for more, as the field's interfaces do. */
export const corsHeadersAlways: readonly string[] = [
  'Content-Type',
  'X-Requested-With',
  'X-Vault-AWS-IAM-Server-ID',
  'X-Vault-MFA',
  'X-Vault-No-Request-Forwarding',
  'X-Vault-Wrap-Format',
  'X-Vault-Wrap-TTL',
  'X-Vault-Policy-Override',
  'Authorization',
  'X-Vault-Token',
  'X-Vault-Namespace',
  'X-Holdfast-Request-Id',
]

/** null: cross-origin requests get no headers, so that browsers keep their answers from the page. */
export async function readCors(view: ReadView): Promise<CorsRules | null> {
  const stored = await view.get(httpSection, corsPath)
  return stored === null ? null : decodeCors(stored)
}

/** @throws ERR_UPGRADE_REQUIRED for another version. */
export function decodeCors(bytes: Uint8Array): CorsRules {
  const { version, origins, headers } = JSON.parse(Buffer.from(bytes).toString('utf8')) as StoredCors
  if (!checkVersion('the cross-origin rules', formatVersion, version)) {
    throw new HoldfastError('ERR_STORE_CORRUPT', 'expected the cross-origin rules to carry a version, got none')
  }
  return { origins, headers }
}

/** null forgets them. */
export function writeCors(transaction: Transaction, rules: CorsRules | null): void {
  if (rules === null) transaction.delete(httpSection, corsPath)
  else transaction.put(httpSection, corsPath, encodeCors(rules))
}

export const encodeCors = (rules: CorsRules): Uint8Array =>
  Buffer.from(JSON.stringify({ version: formatVersion, ...rules } satisfies StoredCors))

/** As this node last applied them. One a process, shared by its listeners. */
export class HttpSettings {
  #bytes: Uint8Array | null = null
  cors: CorsRules | null = null

  /** Costs one value of the cache where nothing has changed. */
  async refresh(view: ReadView): Promise<void> {
    const bytes = await view.get(httpSection, corsPath)
    if (bytes === this.#bytes || (bytes !== null && this.#bytes !== null && Buffer.compare(bytes, this.#bytes) === 0)) return
    this.#bytes = bytes
    this.cors = bytes === null ? null : decodeCors(bytes)
  }

  /** The barrier sealed: what was opened is forgotten, and no page elsewhere reads what a sealed node says. */
  onSealed(): void {
    this.#bytes = null
    this.cors = null
  }
}

const methods = 'DELETE,GET,HEAD,LIST,OPTIONS,PATCH,POST,PUT,SCAN'
const preflightSeconds = '300'

export interface CorsVerdict {
  readonly headers: Readonly<Record<string, string>>
  /** Answered at once: a browser's question before the request itself. */
  readonly preflight: boolean
}

/**
 * What a request with an `Origin` gets; null: it is treated as any other.
 * @throws ERR_PERMISSION_DENIED for an origin that the rules do not name.
 */
export function corsVerdict(rules: CorsRules, origin: string, method: string, asked: string | undefined): CorsVerdict {
  if (!rules.origins.includes('*') && !rules.origins.includes(origin)) {
    throw new HoldfastError('ERR_PERMISSION_DENIED', 'origin not allowed', { hint: 'sys/config/cors names the origins that are' })
  }
  const headers: Record<string, string> = { 'access-control-allow-origin': rules.origins.includes('*') ? '*' : origin, vary: 'Origin' }
  const preflight = method === 'OPTIONS' && asked !== undefined
  if (preflight) {
    headers['access-control-allow-methods'] = methods
    headers['access-control-allow-headers'] = [...corsHeadersAlways, ...rules.headers].join(',')
    headers['access-control-max-age'] = preflightSeconds
  }
  return { headers, preflight }
}
