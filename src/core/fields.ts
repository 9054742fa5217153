/**
 * From a request's path, query and body to a handler's fields, by the schema of the path's table. As lenient as the peers
 * (numbers as strings, comma lists, durations such as 1h30m), since their clients rely on it; but what can't be read is
 * refused with the field's name and what was expected, never with the value, which may be the secret.
 */
import { parseDurationSeconds } from '#base/duration.ts'
import { HoldfastError } from '#base/errors.ts'
import { isExactNumber } from '#base/exact-json.ts'
import type { Fields, FieldSchema, FieldType, Operation, PathDef, Request } from './types.ts'

const nothing: Readonly<Record<string, unknown>> = Object.freeze(Object.create(null))

/** A reason why a value is not of its type, worded to follow "expected". */
class Unreadable extends Error {}

function readString(value: unknown): string {
  if (typeof value === 'string') return value
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (isExactNumber(value)) return value.rawJSON
  throw new Unreadable('a string')
}

function readInteger(value: unknown): number {
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value
  if (typeof value === 'string' && /^[+-]?\d{1,15}$/.test(value.trim())) return Number(value)
  if (typeof value === 'boolean') return value ? 1 : 0
  throw new Unreadable('an integer')
}

const trueTexts = new Set(['1', 't', 'true'])
const falseTexts = new Set(['0', 'f', 'false', ''])

function readBoolean(value: unknown): boolean {
  if (typeof value === 'boolean') return value
  if (typeof value === 'number') return value !== 0
  if (typeof value === 'string') {
    const text = value.trim().toLowerCase()
    if (trueTexts.has(text)) return true
    if (falseTexts.has(text)) return false
  }
  throw new Unreadable('true or false')
}

function readDuration(value: unknown): number {
  try {
    return parseDurationSeconds(value, { allowNegative: true })
  } catch {
    // The parser's own error quotes the text.
    throw new Unreadable('a duration such as 90, "90s", "1h30m" or "7d"')
  }
}

/** One string of commas counts as one string against the listener's bound: without this, 32 MiB of them would be a list of 33 million. */
const listItemsMax = 8_192

function readList(value: unknown): string[] {
  if (typeof value === 'string') return value.trim() === '' ? [] : readList(value.split(',', listItemsMax + 1))
  if (Array.isArray(value)) {
    if (value.length > listItemsMax) throw new Unreadable(`at most ${listItemsMax} items`)
    return value.map((item) => readString(item).trim())
  }
  if (typeof value === 'number' || typeof value === 'boolean') return [String(value)]
  throw new Unreadable('a list of strings, or one string with commas')
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !isExactNumber(value)

function readStringMap(value: unknown): Record<string, string> {
  const map: Record<string, string> = Object.create(null)
  if (isObject(value)) {
    for (const [key, item] of Object.entries(value)) map[key] = item === null ? '' : readString(item)
    return map
  }
  const pairs = typeof value === 'string' ? [value] : value
  if (!Array.isArray(pairs)) throw new Unreadable('an object of strings, or a list of key=value')
  for (const pair of pairs) {
    if (pair === '') continue
    if (typeof pair !== 'string' || !pair.includes('=')) throw new Unreadable('an object of strings, or a list of key=value')
    map[pair.slice(0, pair.indexOf('=')).trim()] = pair.slice(pair.indexOf('=') + 1).trim()
  }
  return map
}

function readMap(value: unknown): Record<string, unknown> {
  if (isObject(value)) return value
  throw new Unreadable('an object')
}

/** The last second of the year 9999: a later one has no RFC 3339 text, and could never be shown again. */
const unixSecondsMax = 253_402_300_799

/** Milliseconds since the epoch, from RFC 3339 or Unix seconds. */
function readTime(value: unknown): number {
  if (typeof value === 'number' && value >= 0 && value <= unixSecondsMax) return Math.trunc(value * 1_000)
  if (typeof value === 'string') {
    if (/^\d{1,12}$/.test(value)) return readTime(Number(value))
    const parsed = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:\d{2})$/i.test(value) ? Date.parse(value) : Number.NaN
    if (Number.isFinite(parsed)) return parsed
  }
  throw new Unreadable('a time such as 2030-01-02T15:04:05Z, or Unix seconds')
}

const readers: Readonly<Record<FieldType, (value: unknown) => unknown>> = {
  string: readString,
  'lower-string': (value) => readString(value).trim().toLowerCase(),
  int: readInteger,
  bool: readBoolean,
  duration: readDuration,
  list: readList,
  'string-map': readStringMap,
  map: readMap,
  any: (value) => value,
  time: readTime,
}

/** What a field of this type takes `value` for; undefined for what it can't read. */
export function readAs(type: FieldType, value: unknown): unknown {
  try {
    return readers[type](value)
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error
    return undefined
  }
}

export interface ReadFieldsResult {
  readonly fields: Fields
  readonly data: Readonly<Record<string, unknown>>
  /** What of a write's body will have no effect, for the answer. */
  readonly warnings: readonly string[]
}

const noWarnings: readonly string[] = Object.freeze([])

/** Where GET-like requests carry fields in the query string whatever the schema says, as the peers' do. */
const queryOperations: ReadonlySet<Operation> = new Set<Operation>(['read', 'list', 'scan', 'delete', 'help'])

/**
 * Validates and coerces. `null` in a body counts as absent (but with PATCH it stays, where the field's type is 'any' or 'map':
 * there it means "remove" inside the value only).
 * @throws ERR_BAD_REQUEST with one error string per wrong field.
 */
export function readFields(
  def: PathDef,
  params: Readonly<Record<string, string>>,
  request: Pick<Request, 'body' | 'query'>,
  operation: Operation,
): ReadFieldsResult {
  const fields: Record<string, unknown> = Object.create(null)
  const errors: string[] = []
  for (const name in def.fields) {
    const schema = def.fields[name]!
    const value = rawValue(name, schema, params, request, operation)
    if (value === undefined || value === null) {
      if (schema.default !== undefined) fields[name] = schema.default
      else if (schema.required && writesFields(operation, schema)) errors.push(`missing required field "${name}"`)
      continue
    }
    const problem = readInto(fields, name, schema, value)
    if (problem !== null) errors.push(problem)
  }
  if (errors.length > 0) {
    throw new HoldfastError('ERR_BAD_REQUEST', errors[0]!, {
      errors,
      hint: 'add ?help=1 to the path to see each field and its type',
    })
  }
  if (def.freeForm) return { fields, data: undeclared(def, request.body), warnings: noWarnings }
  return { fields, data: nothing, warnings: writing.has(operation) ? withoutEffect(def, request.body) : noWarnings }
}

const writing: ReadonlySet<Operation> = new Set<Operation>(['create', 'update', 'patch'])
/** The names come from the client: an answer does not grow with them, nor does the audit's record of it. */
const namesMax = 16
const nameCharsMax = 64

/**
 * A body's keys that no field declares, and those that the path has another value for, each as a warning in the peers' words: a name that was misspelt
 * would pass for set. Nothing is made where there are none, since every write comes by here.
 */
function withoutEffect(def: PathDef, body: Readonly<Record<string, unknown>>): readonly string[] {
  let ignored: string[] | null = null
  let replaced: string[] | null = null
  for (const key in body) {
    if (!Object.hasOwn(body, key)) continue
    if (!Object.hasOwn(def.fields, key)) (ignored ??= []).push(key)
    else if (def.fields[key]!.in === 'path') (replaced ??= []).push(key)
  }
  if (ignored === null && replaced === null) return noWarnings
  const warnings: string[] = []
  if (ignored !== null) warnings.push(`Endpoint ignored these unrecognized parameters: [${namesOf(ignored)}]`)
  if (replaced !== null)
    warnings.push(
      `Endpoint replaced the value of these parameters with the values captured from the endpoint's path: [${namesOf(replaced)}]`,
    )
  return warnings
}

function namesOf(names: string[]): string {
  const shown = names.toSorted().slice(0, namesMax)
  const texts = shown.map((name) => (name.length > nameCharsMax ? `${name.slice(0, nameCharsMax)}...` : name))
  return [...texts, ...(names.length > namesMax ? [`and ${names.length - namesMax} more`] : [])].join(' ')
}

const writesFields = (operation: Operation, schema: FieldSchema): boolean =>
  schema.in === 'query' || operation === 'create' || operation === 'update' || operation === 'patch'

function rawValue(
  name: string,
  schema: FieldSchema,
  params: Readonly<Record<string, string>>,
  request: Pick<Request, 'body' | 'query'>,
  operation: Operation,
): unknown {
  if (schema.in === 'path') return params[name]
  if (Object.hasOwn(request.body, name)) return request.body[name]
  if (schema.in === 'query' || queryOperations.has(operation)) {
    return Object.hasOwn(request.query, name) ? request.query[name] : undefined
  }
  return undefined
}

function readInto(fields: Record<string, unknown>, name: string, schema: FieldSchema, value: unknown): string | null {
  try {
    const read = readers[schema.type](value)
    if (schema.enum && !schema.enum.includes(read as string)) {
      return `error converting input for field "${name}": expected one of ${schema.enum.join(', ')}`
    }
    fields[name] = read
    return null
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error
    return `error converting input for field "${name}": expected ${error.message}, got ${kindOf(value)}`
  }
}

function kindOf(value: unknown): string {
  if (Array.isArray(value)) return 'a list'
  if (isExactNumber(value)) return 'a number of many digits'
  if (typeof value === 'object') return 'an object'
  if (typeof value === 'string') return `a string of ${value.length} characters`
  return `a ${typeof value}`
}

/** Body keys that no body field declares; a key that has a path field's name is still data. Own `__proto__` keys stay data too. */
function undeclared(def: PathDef, body: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const data: Record<string, unknown> = Object.create(null)
  for (const key of Object.keys(body)) {
    const schema = Object.hasOwn(def.fields, key) ? def.fields[key] : undefined
    if (schema === undefined || schema.in === 'path') data[key] = body[key]
  }
  return data
}
