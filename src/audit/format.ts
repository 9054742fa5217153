/**
 * Records as text: Vault's names and nesting, so that what parses its log parses ours.
 *
 * Built by hand instead of hashing a copy and calling JSON.stringify on it: a record is written for every request and every answer, and
 * the copy was half of its cost. What is secret is hashed by default, everywhere below `data`, `query` and `headers`; what stays in the
 * clear is named here, field by field.
 */
import type { AuditRecord, AuditRequest, AuditResponse, NonHmacKeys } from './types.ts'
import type { ValueHasher } from './hashing.ts'

/** Nesting beyond it is cut: the listener admits less, this is for answers. */
const depthMax = 96
/** A longer list is recorded as its length: hashing 100,000 names would hold up every other request for a tenth of a second. */
const listHashedMax = 1_000

/** Hashed request data by the object that it came from: the response's record repeats the request, and must not pay for it twice. */
export interface FormatMemo {
  readonly data: WeakMap<object, string>
}

/** The record as a JSON object without its closing brace, so that the chain can be appended. */
export function formatRecord(record: AuditRecord, nonHmac: NonHmacKeys, hasher: ValueHasher, memo: FormatMemo): string {
  let text = `{"time":${JSON.stringify(record.time)},"type":"${record.type}"`
  if (record.auth !== null) text += `,"auth":${authText(record.auth, hasher)}`
  text += `,"request":${requestText(record.request, nonHmac.request, hasher, memo)}`
  if (record.response !== undefined) text += `,"response":${responseText(record.response, nonHmac.response, hasher)}`
  return record.error === undefined ? text : `${text},"error":${JSON.stringify(record.error)}`
}

const authHashed: ReadonlySet<string> = new Set(['client_token', 'accessor'])
const wrapHashed: ReadonlySet<string> = new Set(['token', 'accessor', 'wrapped_accessor'])
const requestHashed: ReadonlySet<string> = new Set(['client_token', 'client_token_accessor'])

const authText = (auth: object, hasher: ValueHasher): string => flatText(auth, authHashed, hasher)

/** An object whose fields are in the clear but for the named ones. */
function flatText(object: object, hashed: ReadonlySet<string>, hasher: ValueHasher): string {
  let text = ''
  for (const [key, value] of Object.entries(object) as [string, unknown][]) {
    if (value === undefined) continue
    const shown = hashed.has(key) ? hashedText(value, hasher) : clearText(value)
    text += `${text === '' ? '' : ','}${JSON.stringify(key)}:${shown}`
  }
  return `{${text}}`
}

const hashedText = (value: unknown, hasher: ValueHasher): string =>
  typeof value === 'string' ? (value === '' ? '""' : `"${hasher.hashOften(value)}"`) : valueText(value, hasher, 0)

const clearText = (value: unknown): string => JSON.stringify(value) ?? 'null'

function requestText(request: AuditRequest, nonHmac: readonly string[], hasher: ValueHasher, memo: FormatMemo): string {
  const { data, query, headers, ...flat } = request
  let text = flatText(flat, requestHashed, hasher).slice(0, -1)
  if (data !== undefined) text += `,"data":${rememberedText(data, nonHmac, hasher, memo)}`
  if (query !== undefined) text += `,"query":${dataText(query, nonHmac, hasher)}`
  if (headers !== undefined) text += `,"headers":${dataText(headers, nonHmac, hasher)}`
  return `${text}}`
}

function responseText(response: AuditResponse, nonHmac: readonly string[], hasher: ValueHasher): string {
  const { auth, data, wrap_info: wrapInfo, ...flat } = response
  let text = flatText(flat, new Set(), hasher).slice(0, -1)
  const add = (key: string, value: string): void => {
    text += `${text === '{' ? '' : ','}"${key}":${value}`
  }
  if (auth !== undefined) add('auth', objectOrValue(auth, authHashed, hasher))
  if (data !== undefined) add('data', dataText(data, nonHmac, hasher))
  if (wrapInfo !== undefined) add('wrap_info', objectOrValue(wrapInfo, wrapHashed, hasher))
  return `${text}}`
}

const objectOrValue = (value: unknown, hashed: ReadonlySet<string>, hasher: ValueHasher): string =>
  typeof value === 'object' && value !== null ? flatText(value, hashed, hasher) : valueText(value, hasher, 0)

function rememberedText(data: unknown, nonHmac: readonly string[], hasher: ValueHasher, memo: FormatMemo): string {
  if (typeof data !== 'object' || data === null || nonHmac.length > 0) return dataText(data, nonHmac, hasher)
  let text = memo.data.get(data)
  if (text === undefined) memo.data.set(data, (text = dataText(data, nonHmac, hasher)))
  return text
}

/** `data`: everything hashed but what stands under one of the keys that the mount lets through. */
function dataText(data: unknown, nonHmac: readonly string[], hasher: ValueHasher): string {
  if (nonHmac.length === 0 || typeof data !== 'object' || data === null || Array.isArray(data)) return valueText(data, hasher, 0)
  return entriesText(data, (key, value) => (nonHmac.includes(key) ? clearText(value) : valueText(value, hasher, 1)))
}

function entriesText(object: object, valueOf: (key: string, value: unknown) => string): string {
  let text = ''
  for (const key of Object.keys(object)) {
    const value = (object as Readonly<Record<string, unknown>>)[key]
    if (value === undefined) continue
    text += `${text === '' ? '' : ','}${JSON.stringify(key)}:${valueOf(key, value)}`
  }
  return `{${text}}`
}

/** Numbers, bools and nulls in the clear, as the peers have them; whatever else is text, bytes or unknown is hashed. */
function valueText(value: unknown, hasher: ValueHasher, depth: number): string {
  switch (typeof value) {
    case 'string':
      return `"${hasher.hash(value)}"`
    case 'boolean':
      return String(value)
    case 'number':
      return Number.isFinite(value) ? String(value) : 'null'
    case 'bigint':
      return String(value)
    case 'object':
      return value === null ? 'null' : objectText(value, hasher, depth)
    default:
      return 'null'
  }
}

function objectText(value: object, hasher: ValueHasher, depth: number): string {
  if (value instanceof Uint8Array) return `"${hasher.hash(value)}"`
  if (depth >= depthMax) return '"(deeper than the record goes)"'
  if (Array.isArray(value)) return listText(value, hasher, depth)
  if ('toJSON' in value && typeof value.toJSON === 'function') return valueText((value.toJSON as () => unknown)(), hasher, depth + 1)
  return entriesText(value, (_key, inner) => valueText(inner, hasher, depth + 1))
}

function listText(list: readonly unknown[], hasher: ValueHasher, depth: number): string {
  if (list.length > listHashedMax) return String(list.length)
  return `[${list.map((entry) => valueText(entry, hasher, depth + 1)).join(',')}]`
}
