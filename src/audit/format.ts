/**
 * Records as text: Vault's names and nesting, so that what parses its log parses ours.
 *
 * Everything below `data`, `query` and `headers` is hashed unless the mount lets a key through; elsewhere what is secret is named here,
 * field by field. What comes again (a token's facts, a mount's, names of fields) is kept as text: a line is mostly put together from such pieces.
 */
import { isExactNumber } from '#base/exact-json.ts'
import { errorWithout } from './error-text.ts'
import { depthMax, hashedJson, objectJson } from './hashed-json.ts'
import type { ValueHasher } from './hashing.ts'
import { inOnePiece, QuotedNames } from './quoted.ts'
import type { AuditRecord, AuditRequest, AuditResponse, DeviceFormat, HeaderRules, NonHmacKeys } from './types.ts'

const typeTexts: Readonly<Record<AuditRecord['type'], string>> = {
  request: '","type":"request"',
  response: '","type":"response"',
  forward: '","type":"forward"',
  disabled: '","type":"disabled"',
}

/** What was written before, of one hasher, format and set of header rules. Holds names, and hashes of tokens; never a value. */
export class FormatMemo {
  readonly names = new QuotedNames()
  /** By the object: what is said of a token comes with each of its requests. */
  readonly objects = new WeakMap<object, string>()
}

/** One device's way of writing. */
interface Pen {
  readonly hasher: ValueHasher
  readonly memo: FormatMemo
  readonly format: DeviceFormat
  readonly rules: HeaderRules
}

/** The record as a JSON object without its closing brace, so that the chain can be appended. */
export function formatRecord(
  record: AuditRecord,
  nonHmac: NonHmacKeys,
  hasher: ValueHasher,
  memo: FormatMemo,
  format: DeviceFormat = plainFormat,
  rules: HeaderRules = noHeaders,
): string {
  if (format.logRaw) return rawRecord(record, rules)
  const pen: Pen = { hasher, memo, format, rules }
  const { time, type, auth, request, response, error } = record
  let text = '{"time":"' + time + typeTexts[type]
  if (auth !== null) text += remembered(memo, auth, () => `,"auth":${withHashed(auth, authSecrets, pen)}`)
  text += ',"request":' + requestText(request, nonHmac.request, pen)
  if (response !== undefined) text += ',"response":' + responseText(response, nonHmac.response, pen)
  if (error !== undefined) text += ',"error":' + JSON.stringify(errorWithout(error, request, nonHmac.request, hasher))
  return text
}

function remembered({ objects }: FormatMemo, object: object, make: () => string): string {
  let text = objects.get(object)
  if (text === undefined) objects.set(object, (text = inOnePiece(make())))
  return text
}

const noHeaders: HeaderRules = new Map()
export const plainFormat: DeviceFormat = { logRaw: false, hmacAccessor: true, elideLists: false, prefix: '' }

interface Secrets {
  readonly tokens: readonly string[]
  readonly all: readonly string[]
}

const authSecrets: Secrets = { tokens: ['client_token'], all: ['client_token', 'accessor'] }
const wrapSecrets: Secrets = { tokens: ['token'], all: ['token', 'accessor', 'wrapped_accessor'] }

/** An object whose named fields are hashed; everything else in it is in the clear. */
function withHashed(object: object, secrets: Secrets, { hasher, format, memo: { names } }: Pen): string {
  const hidden = format.hmacAccessor ? secrets.all : secrets.tokens
  return objectJson(object, names, (key, value) => {
    if (!hidden.includes(key)) return JSON.stringify(value) as string | undefined
    return typeof value === 'string' ? secretText(value, hasher) : hashedJson(value, hasher, names)
  })
}

/** A token or an accessor. */
const secretText = (value: string, hasher: ValueHasher): string => (value === '' ? '""' : hasher.quotedOften(value))

/** As the record before wrote it, if that was of this request: it must not be paid for twice. */
function requestText(request: AuditRequest, nonHmac: readonly string[], pen: Pen): string {
  const { written } = request
  // Which fields are let through may change between two records of a request.
  if (written === undefined || nonHmac.length > 0) return newRequestText(request, nonHmac, pen)
  let text = written.get(pen.memo)
  if (text === undefined) written.set(pen.memo, (text = newRequestText(request, nonHmac, pen)))
  return text
}

function newRequestText(request: AuditRequest, nonHmac: readonly string[], pen: Pen): string {
  const { hasher, memo, format } = pen
  const { names } = memo
  const { client_token: token, client_token_accessor: accessor, data, query } = request
  let text = '{"id":' + JSON.stringify(request.id) + ',"operation":' + names.of(request.operation) + names.mount(request)
  if (token !== undefined) text += ',"client_token":' + secretText(token, hasher)
  if (accessor !== undefined)
    text += ',"client_token_accessor":' + (format.hmacAccessor ? secretText(accessor, hasher) : names.of(accessor))
  text += remembered(memo, request.namespace, () => `,"namespace":${JSON.stringify(request.namespace)},"path":`)
  text += JSON.stringify(request.path)
  if (data !== undefined) text += field('data', hashedData(data, nonHmac, pen))
  if (query !== undefined) text += field('query', hashedData(query, nonHmac, pen))
  if (request.headers !== undefined && pen.rules.size > 0) text += field('headers', headersText(request, pen))
  text += ',"remote_address":' + names.of(request.remote_address)
  if (request.remote_port !== undefined) text += ',"remote_port":' + request.remote_port
  if (request.wrap_ttl !== undefined) text += ',"wrap_ttl":' + request.wrap_ttl
  if (request.forwarded_from !== undefined) text += ',"forwarded_from":' + names.of(request.forwarded_from)
  if (request.retry_id !== undefined) text += ',"retry_id":' + JSON.stringify(request.retry_id)
  if (request.forwarded_to !== undefined) text += ',"forwarded_to":' + names.of(request.forwarded_to)
  return text + '}'
}

const field = (name: string, text: string | undefined): string => (text === undefined ? '' : `,"${name}":${text}`)

const headersText = (request: AuditRequest, { rules, hasher }: Pen): string | undefined =>
  JSON.stringify(headersOf(request, rules, hasher)) as string | undefined

/** Those that the rules name, each as a list, as the field's tools know it; undefined when there are none. `hasher` null: in the clear. */
function headersOf({ headers }: AuditRequest, rules: HeaderRules, hasher: ValueHasher | null): Record<string, unknown> | undefined {
  if (headers === undefined || rules.size === 0) return undefined
  let found: Record<string, unknown> | undefined
  for (const [name, hmac] of rules) {
    if (!Object.hasOwn(headers, name)) continue
    const values = [headers[name]!].flat()
    found ??= {}
    found[name] = hmac && hasher !== null ? values.map((value) => hasher.hash(value)) : values
  }
  return found
}

function responseText(response: AuditResponse, nonHmac: readonly string[], pen: Pen): string {
  const { status, auth, data, warnings, wrap_info: wrapInfo, replay_of: replayOf } = response
  let text = ''
  if (status !== undefined) text += ',"status":' + status
  text += pen.memo.names.mount(response)
  if (auth !== undefined) text += field('auth', objectOrValue(auth, authSecrets, pen))
  if (data !== undefined) text += field('data', hashedData(pen.format.elideLists ? elided(data) : data, nonHmac, pen))
  if (warnings !== undefined) text += field('warnings', JSON.stringify(warnings))
  if (wrapInfo !== undefined) text += field('wrap_info', objectOrValue(wrapInfo, wrapSecrets, pen))
  if (replayOf !== undefined) text += field('replay_of', JSON.stringify(replayOf))
  return `{${text.slice(1)}}`
}

/** A list's answer by how many names it had: `keys` and `key_info` as numbers, as the field's tools know it. */
function elided(data: unknown): unknown {
  if (typeof data !== 'object' || data === null || !('keys' in data) || !Array.isArray(data.keys)) return data
  const copy: Record<string, unknown> = { ...data, keys: data.keys.length }
  const info = copy.key_info
  if (typeof info === 'object' && info !== null) copy.key_info = Object.keys(info).length
  return copy
}

/** The whole record in the clear. */
function rawRecord({ time, type, auth, request, response, error }: AuditRecord, rules: HeaderRules): string {
  const raw = { ...request, headers: headersOf(request, rules, null), written: undefined }
  return JSON.stringify(rawCopy({ time, type, auth: auth ?? undefined, request: raw, response, error })).slice(0, -1)
}

/** In the clear, but for what is no JSON. */
function rawCopy(value: unknown, depth = 0): unknown {
  if (typeof value === 'bigint') return String(value)
  if (typeof value !== 'object' || value === null || isExactNumber(value)) return value
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64')
  if (depth >= depthMax) return '(deeper than the record goes)'
  if (Array.isArray(value)) return value.map((entry) => rawCopy(entry, depth + 1))
  if ('toJSON' in value && typeof value.toJSON === 'function') return rawCopy((value.toJSON as () => unknown)(), depth + 1)
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, rawCopy(inner, depth + 1)]))
}

const objectOrValue = (value: unknown, secrets: Secrets, pen: Pen): string | undefined =>
  typeof value === 'object' && value !== null ? withHashed(value, secrets, pen) : hashedJson(value, pen.hasher, pen.memo.names)

/** `data`: everything hashed but what stands under one of the keys that the mount lets through. */
function hashedData(data: unknown, nonHmac: readonly string[], { hasher, memo: { names } }: Pen): string | undefined {
  if (nonHmac.length === 0 || typeof data !== 'object' || data === null || Array.isArray(data)) return hashedJson(data, hasher, names)
  return objectJson(data, names, (key, value) =>
    nonHmac.includes(key) ? (JSON.stringify(value) as string | undefined) : hashedJson(value, hasher, names, 1),
  )
}
