/**
 * Records as text: Vault's names and nesting, so that what parses its log parses ours.
 *
 * Everything below `data`, `query` and `headers` is hashed unless the mount lets a key through; elsewhere what is secret is named here,
 * field by field. A hashed copy of each part goes to JSON.stringify: putting all of the text together by hand cost four times as much.
 */
import { isExactNumber } from '#base/exact-json.ts'
import { errorWithout } from './error-text.ts'
import type { AuditRecord, AuditRequest, AuditResponse, DeviceFormat, HeaderRules, NonHmacKeys } from './types.ts'
import type { ValueHasher } from './hashing.ts'

/** Nesting beyond it is cut: the listener admits less, this is for answers. */
const depthMax = 96
/** A longer list is recorded as its length: hashing 100,000 names would hold up every other request for a tenth of a second. */
const listHashedMax = 1_000

/**
 * What was written for an object: the response's record repeats the request, and must not pay for it twice; what is said of a token comes with each of its
 * requests. Of one hasher, format and set of header rules.
 */
export type FormatMemo = WeakMap<object, string>

/** The record as a JSON object without its closing brace, so that the chain can be appended. */
export function formatRecord(
  record: AuditRecord,
  nonHmac: NonHmacKeys,
  hasher: ValueHasher,
  memo: FormatMemo,
  format: DeviceFormat = plainFormat,
  rules: HeaderRules = noHeaders,
): string {
  const { time, type, auth, request, response, error } = record
  if (format.logRaw) {
    const raw = { ...request, headers: headersOf(request, rules, null) }
    return JSON.stringify(rawCopy({ time, type, auth: auth ?? undefined, request: raw, response, error })).slice(0, -1)
  }
  const secretsOf = (names: Secrets): readonly string[] => (format.hmacAccessor ? names.all : names.tokens)
  const requestText = (): string => JSON.stringify(hashedRequest(request, nonHmac.request, hasher, secretsOf(requestSecrets), rules))
  let text = `{"time":"${time}","type":"${type}"`
  if (auth !== null) text += `,"auth":${remembered(memo, auth, () => JSON.stringify(withHashed(auth, secretsOf(authSecrets), hasher)))}`
  // Which fields are let through may change between two records of a request.
  text += `,"request":${nonHmac.request.length > 0 ? requestText() : remembered(memo, request, requestText)}`
  if (response !== undefined) text += `,"response":${JSON.stringify(hashedResponse(response, nonHmac.response, hasher, format, secretsOf))}`
  if (error !== undefined) text += `,"error":${JSON.stringify(errorWithout(error, request, nonHmac.request, hasher))}`
  return text
}

function remembered(memo: FormatMemo, object: object, make: () => string): string {
  let text = memo.get(object)
  if (text === undefined) memo.set(object, (text = make()))
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
const requestSecrets: Secrets = { tokens: ['client_token'], all: ['client_token', 'client_token_accessor'] }

type Copy = Record<string, unknown>

/** A copy whose named fields are hashed; everything else in it is in the clear. */
function withHashed(object: object, secrets: readonly string[], hasher: ValueHasher): Copy {
  const copy: Copy = { ...object }
  for (const key of secrets) {
    const value = copy[key]
    if (typeof value === 'string') copy[key] = value === '' ? '' : hasher.hashOften(value)
    else if (value !== undefined) copy[key] = hashed(value, hasher, 0)
  }
  return copy
}

function hashedRequest(
  request: AuditRequest,
  nonHmac: readonly string[],
  hasher: ValueHasher,
  secrets: readonly string[],
  rules: HeaderRules,
): Copy {
  const copy = withHashed(request, secrets, hasher)
  if (request.data !== undefined) copy.data = hashedData(request.data, nonHmac, hasher)
  if (request.query !== undefined) copy.query = hashedData(request.query, nonHmac, hasher)
  if (request.headers !== undefined) copy.headers = headersOf(request, rules, hasher)
  return copy
}

/** Those that the rules name, each as a list, as the field's tools know it; undefined when there are none. `hasher` null: in the clear. */
function headersOf({ headers }: AuditRequest, rules: HeaderRules, hasher: ValueHasher | null): Copy | undefined {
  if (headers === undefined || rules.size === 0) return undefined
  let found: Copy | undefined
  for (const [name, hmac] of rules) {
    if (!Object.hasOwn(headers, name)) continue
    const values = [headers[name]!].flat()
    found ??= {}
    found[name] = hmac && hasher !== null ? values.map((value) => hasher.hash(value)) : values
  }
  return found
}

function hashedResponse(
  response: AuditResponse,
  nonHmac: readonly string[],
  hasher: ValueHasher,
  format: DeviceFormat,
  secretsOf: (names: Secrets) => readonly string[],
): Copy {
  const copy: Copy = { ...response }
  if (response.auth !== undefined) copy.auth = objectOrValue(response.auth, secretsOf(authSecrets), hasher)
  if (response.data !== undefined) copy.data = hashedData(format.elideLists ? elided(response.data) : response.data, nonHmac, hasher)
  if (response.wrap_info !== undefined) copy.wrap_info = objectOrValue(response.wrap_info, secretsOf(wrapSecrets), hasher)
  return copy
}

/** A list's answer by how many names it had: `keys` and `key_info` as numbers, as the field's tools know it. */
function elided(data: unknown): unknown {
  if (typeof data !== 'object' || data === null || !('keys' in data) || !Array.isArray(data.keys)) return data
  const copy: Copy = { ...data, keys: data.keys.length }
  const info = copy.key_info
  if (typeof info === 'object' && info !== null) copy.key_info = Object.keys(info).length
  return copy
}

/** In the clear, but for what is no JSON. */
function rawCopy(value: unknown, depth = 0): unknown {
  if (typeof value === 'bigint') return String(value)
  if (typeof value !== 'object' || value === null || isExactNumber(value)) return value
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64')
  if (depth >= depthMax) return '(deeper than the record goes)'
  if (Array.isArray(value)) return value.map((entry) => rawCopy(entry, depth + 1))
  if ('toJSON' in value && typeof value.toJSON === 'function') return rawCopy((value.toJSON as () => unknown)(), depth + 1)
  return mapEntries(value, (_key, inner) => rawCopy(inner, depth + 1))
}

const objectOrValue = (value: unknown, secrets: readonly string[], hasher: ValueHasher): unknown =>
  typeof value === 'object' && value !== null ? withHashed(value, secrets, hasher) : hashed(value, hasher, 0)

/** `data`: everything hashed but what stands under one of the keys that the mount lets through. */
function hashedData(data: unknown, nonHmac: readonly string[], hasher: ValueHasher): unknown {
  if (nonHmac.length === 0 || typeof data !== 'object' || data === null || Array.isArray(data)) return hashed(data, hasher, 0)
  return mapEntries(data, (key, value) => (nonHmac.includes(key) ? value : hashed(value, hasher, 1)))
}

function mapEntries(object: object, valueOf: (key: string, value: unknown) => unknown): Copy {
  const copy: Copy = {}
  for (const key of Object.keys(object)) {
    const value = valueOf(key, (object as Readonly<Record<string, unknown>>)[key])
    // An assignment would set the copy's prototype, and the field would be missing from the record.
    if (key === '__proto__') Object.defineProperty(copy, key, { value, enumerable: true })
    else copy[key] = value
  }
  return copy
}

/** Numbers, bools and nulls in the clear, as the peers have them; whatever else is text, bytes or unknown is hashed. */
function hashed(value: unknown, hasher: ValueHasher, depth: number): unknown {
  switch (typeof value) {
    case 'string':
      return hasher.hash(value)
    case 'boolean':
    case 'number':
    case 'undefined':
      return value
    case 'bigint':
      return String(value)
    case 'object':
      return value === null ? null : hashedObject(value, hasher, depth)
    default:
      return null
  }
}

function hashedObject(value: object, hasher: ValueHasher, depth: number): unknown {
  if (value instanceof Uint8Array) return hasher.hash(value)
  if (isExactNumber(value)) return value
  if (depth >= depthMax) return '(deeper than the record goes)'
  if (Array.isArray(value)) return value.length > listHashedMax ? value.length : value.map((entry) => hashed(entry, hasher, depth + 1))
  if ('toJSON' in value && typeof value.toJSON === 'function') return hashed((value.toJSON as () => unknown)(), hasher, depth + 1)
  return mapEntries(value, (_key, inner) => hashed(inner, hasher, depth + 1))
}
