/** From an HTTP request to what the core takes: operation, path, namespace, token, headers. The body is read elsewhere. */
import type { IncomingHttpHeaders } from 'node:http'
import { parseDurationMs } from '#base/duration.ts'
import { HoldfastError } from '#base/errors.ts'
import type { Operation } from '#core/types.ts'
import { bareRecord } from './bare-record.ts'
import { checkPath } from './target.ts'
import type { Target } from './target.ts'
import { parseJsonObject } from './json.ts'

const operations: Readonly<Record<string, Operation>> = {
  GET: 'read',
  HEAD: 'read',
  POST: 'update',
  PUT: 'update',
  PATCH: 'patch',
  DELETE: 'delete',
  LIST: 'list',
}

export interface Routed {
  readonly operation: Operation
  readonly path: string
  readonly query: Readonly<Record<string, string>>
}

/**
 * Operation and path as the core takes them: a trailing slash for list and scan only.
 * @throws HoldfastError ERR_UNSUPPORTED_OPERATION for another method, ERR_BAD_REQUEST for list and scan at once or a write to a folder.
 */
export function route(method: string, target: Target): Routed {
  const operation = operationOf(method, target.query)
  const path = target.path
  const query = withoutVerbs(target.query)
  if (operation === 'list' || operation === 'scan') {
    return { operation, path: path === '' || path.endsWith('/') ? path : `${path}/`, query }
  }
  if (!path.endsWith('/')) return { operation, path, query }
  if (operation === 'update' || operation === 'patch') throw new HoldfastError('ERR_BAD_REQUEST', "cannot write to a path ending in '/'")
  // 'DELETE secret/foo/' means a folder, which nothing can delete: deleting the key 'foo' instead would lose data.
  if (operation === 'delete' && !path.startsWith('sys/')) {
    throw new HoldfastError('ERR_BAD_REQUEST', "cannot delete a path ending in '/'")
  }
  return { operation, path: path.slice(0, -1), query }
}

function operationOf(method: string, query: Readonly<Record<string, string>>): Operation {
  const operation = operations[method]
  if (operation === undefined) throw new HoldfastError('ERR_UNSUPPORTED_OPERATION', 'unsupported operation')
  if (method !== 'GET') return operation
  if (query.help !== undefined && query.help !== '') return 'help'
  const list = flag(query, 'list')
  const scan = flag(query, 'scan')
  if (list && scan) throw new HoldfastError('ERR_BAD_REQUEST', 'query expected list or scan, got both')
  return list ? 'list' : scan ? 'scan' : 'read'
}

const yes = new Set(['1', 't', 'T', 'TRUE', 'true', 'True'])
const no = new Set(['0', 'f', 'F', 'FALSE', 'false', 'False', ''])

function flag(query: Readonly<Record<string, string>>, name: string): boolean {
  const text = query[name]
  if (text === undefined || no.has(text)) return false
  if (yes.has(text)) return true
  throw new HoldfastError('ERR_BAD_REQUEST', `query parameter ${name} expected true or false, got something else`)
}

function withoutVerbs(query: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  if (query.list === undefined && query.scan === undefined && query.help === undefined) return query
  const rest = Object.assign(bareRecord(), query)
  delete rest.list
  delete rest.scan
  delete rest.help
  return rest
}

/** X-Vault-Token wins over Authorization: Bearer. null when there is neither. */
export function tokenOf(headers: IncomingHttpHeaders): string | null {
  const direct = headers['x-vault-token']
  if (typeof direct === 'string' && direct !== '') return direct
  const bearer = headers.authorization
  if (bearer === undefined || !/^bearer /i.test(bearer)) return null
  return bearer.slice(7).trim() || null
}

/** X-Vault-Namespace without slashes at its ends; '' (and 'root') is the root. @throws as checkPath. */
export function namespaceOf(headers: IncomingHttpHeaders): string {
  const header = headers['x-vault-namespace']
  if (header === undefined) return ''
  // Once more behind the decoding: `team%2F` is `team`, and whoever splits it otherwise than another would look in another place.
  const path = checkPath(String(header).replace(/^\/+|\/+$/g, '')).replace(/\/+$/, '')
  return path === 'root' ? '' : path
}

/** X-Vault-Wrap-TTL in seconds, 0 when absent; a part of a second is one: cut to 0 it would send in the clear what was to be wrapped. @throws HoldfastError ERR_BAD_REQUEST. */
export function wrapTtlOf(headers: IncomingHttpHeaders): number {
  const header = headers['x-vault-wrap-ttl']
  if (header === undefined || header === '') return 0
  return Math.ceil(parseDurationMs(String(header), { what: 'error parsing X-Vault-Wrap-TTL header: it' }) / 1_000)
}

/**
 * X-Holdfast-Request-Id: the client's own name for one write, the same in each repetition. undefined when absent.
 * @throws HoldfastError ERR_BAD_REQUEST.
 */
export function retryIdOf(headers: IncomingHttpHeaders): string | undefined {
  const header = headers['x-holdfast-request-id']
  if (header === undefined) return undefined
  if (typeof header === 'string' && /^[\x21-\x7e]{1,128}$/.test(header)) return header
  throw new HoldfastError('ERR_BAD_REQUEST', `X-Holdfast-Request-Id expected once, 1 to 128 visible ASCII characters, got something else`, {
    hint: 'a random UUID for each new write, the same one when it is repeated',
  })
}

/** X-Holdfast-Request-Repeated: the client has sent this before, and does not know what became of it. @throws HoldfastError ERR_BAD_REQUEST. */
export function repeatedOf(headers: IncomingHttpHeaders): boolean {
  const header = headers['x-holdfast-request-repeated']
  if (header === undefined) return false
  if (header === 'true' && headers['x-holdfast-request-id'] !== undefined) return true
  throw new HoldfastError('ERR_BAD_REQUEST', 'X-Holdfast-Request-Repeated expected "true" beside X-Holdfast-Request-Id, got something else')
}

/** Credentials, and what belongs to this hop of the connection alone. */
const hiddenHeaders: ReadonlySet<string> = new Set([
  'x-vault-token',
  'x-holdfast-request-id',
  'x-holdfast-request-repeated',
  'connection',
  'keep-alive',
  'proxy-authorization',
  'proxy-connection',
  'transfer-encoding',
  'te',
  'trailer',
  'upgrade',
  'expect',
  'content-length',
])

/** Headers for the core: null prototype, lower-case names. Authorization goes along only where it is not our own token. */
export function visibleHeaders(headers: IncomingHttpHeaders): Readonly<Record<string, string>> {
  const visible = bareRecord()
  for (const name in headers) {
    if (hiddenHeaders.has(name)) continue
    const value = headers[name]
    if (value === undefined || (name === 'authorization' && /^bearer /i.test(value as string))) continue
    visible[name] = typeof value === 'string' ? value : value.join(', ')
  }
  return visible
}

const mergePatch = 'application/merge-patch+json'

/** @throws HoldfastError ERR_UNSUPPORTED_MEDIA_TYPE for a PATCH of anything but a merge patch. */
export function checkPatchType(contentType: string): void {
  if (mediaType(contentType) === mergePatch) return
  throw new HoldfastError(
    'ERR_UNSUPPORTED_MEDIA_TYPE',
    `PATCH requires Content-Type of ${mergePatch}, provided ${mediaType(contentType)}`,
    {
      hint: `send the header Content-Type: ${mergePatch}`,
    },
  )
}

function mediaType(contentType: string): string {
  const end = contentType.indexOf(';')
  return (end < 0 ? contentType : contentType.slice(0, end)).trim().toLowerCase()
}

/**
 * A form only by its type, and only if the body does not look like JSON: people send JSON with curl's default type.
 * null: `body` is the start of one that has been white space so far, and the next bytes decide.
 */
export function isForm(contentType: string, body: Uint8Array): boolean | null {
  if (mediaType(contentType) !== 'application/x-www-form-urlencoded') return false
  for (const byte of body) {
    if (byte === 0x20 || byte === 0x09 || byte === 0x0d || byte === 0x0a) continue
    return byte !== 0x7b && byte !== 0x5b
  }
  return null
}

/** The object of a body: JSON, or a form whose repeated names become lists. @throws HoldfastError ERR_BAD_REQUEST. */
export function parseBody(body: Buffer, contentType: string, longNumbers: boolean, stringsMax: number): Record<string, unknown> {
  if (body.length === 0) return {}
  return isForm(contentType, body) === true ? parseForm(body, stringsMax) : parseJsonObject(body, longNumbers)
}

/** Names and values of a form that hasn't been parsed: counted in the bytes, since URLSearchParams takes minutes for a million pairs. */
function checkFormStrings(body: Buffer, stringsMax: number): void {
  let strings = 2
  for (let at = body.indexOf(0x26); at >= 0; at = body.indexOf(0x26, at + 1)) {
    strings += 2
    if (strings > stringsMax) {
      throw new HoldfastError('ERR_BAD_REQUEST', `error parsing form data: expected at most ${stringsMax} strings, got more`)
    }
  }
}

function parseForm(body: Buffer, stringsMax: number): Record<string, unknown> {
  checkFormStrings(body, stringsMax)
  const form = Object.create(null) as Record<string, unknown>
  for (const [name, value] of new URLSearchParams(body.toString('utf8'))) {
    const before = form[name]
    if (before === undefined) form[name] = value
    else if (Array.isArray(before)) before.push(value)
    else form[name] = [before, value]
  }
  return form
}
