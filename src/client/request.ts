/** From a call to the bytes of one HTTP request; pure, so that the CLI can print it as a curl command instead. */
import { HoldfastError } from '#base/errors.ts'
import type { Call, ClientOptions } from './types.ts'

export interface Prepared {
  readonly method: string
  /** Path and query, beginning with /v1/. */
  readonly target: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | null
  /** As the client's option. */
  readonly exactNumbers?: boolean
}

function encodePath(path: string): string {
  // Only slashes are taken off, never a leading 'v1/': a mount may have that name.
  const segments = path.replace(/^\/+/, '').split('/')
  // URL parsers fold '..' away: the request would go to another path than the one that was asked for.
  if (segments.some((segment) => segment === '.' || segment === '..')) {
    throw new HoldfastError('ERR_RELATIVE_PATH', 'path expected no segment "." or "..", got one', { hint: 'write the path in full' })
  }
  return segments.map(encodeURIComponent).join('/')
}

/** The token of this moment. */
const tokenOf = ({ token }: ClientOptions): string | undefined => (typeof token === 'function' ? token() : token)

/** @throws ERR_RELATIVE_PATH; ERR_BAD_REQUEST for a token or namespace that can't be a header. */
export function prepare(options: ClientOptions, call: Call): Prepared {
  const query = new URLSearchParams(call.query ?? {}).toString()
  const body = call.body === undefined ? null : JSON.stringify(call.body)
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(options.headers ?? {})) headers[headerName(name)] = headerValue(`header ${name}`, value)
  headers['x-vault-request'] = 'true'
  const token = call.token === undefined ? tokenOf(options) : call.token
  const wrapTtl = call.wrapTtl ?? options.wrapTtl
  if (token) headers['x-vault-token'] = headerValue('token', token)
  if (options.namespace) headers['x-vault-namespace'] = headerValue('namespace', options.namespace)
  if (wrapTtl) headers['x-vault-wrap-ttl'] = headerValue('wrap TTL', wrapTtl)
  if (body !== null) headers['content-type'] = call.method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
  return {
    method: call.method,
    target: `/v1/${encodePath(call.path)}${query === '' ? '' : `?${query}`}`,
    headers,
    body,
    ...(options.exactNumbers ? { exactNumbers: true } : {}),
  }
}

function headerName(name: string): string {
  if (/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(name)) return name.toLowerCase()
  throw new HoldfastError('ERR_BAD_REQUEST', 'header expected a name of letters, digits and dashes, got something else')
}

/** @throws ERR_BAD_REQUEST for what can't be a header. */
export function headerValue(what: string, value: string): string {
  if (/^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(value)) return value
  throw new HoldfastError('ERR_BAD_REQUEST', `${what} expected printable ASCII without spaces around it, got something else`, {
    hint: `a trailing newline or a quotation mark may have come with the ${what}`,
  })
}
