/**
 * What a client or an engine put into a record, as JSON in which every text is its hash. It is written in one walk: the copy that JSON.stringify would
 * need costs more than the text itself.
 */
import { isExactNumber } from '#base/exact-json.ts'
import type { ValueHasher } from './hashing.ts'
import type { QuotedNames } from './quoted.ts'

/** Nesting beyond it is cut: the listener admits less, this is for answers. */
export const depthMax = 96
/** A longer list is recorded as its length: hashing 100,000 names would hold up every other request for a tenth of a second. */
const listHashedMax = 1_000

/** `object`'s entries with `textOf` each value; one whose text is undefined is left out. */
export function objectJson(object: object, names: QuotedNames, textOf: (key: string, value: unknown) => string | undefined): string {
  let text = '{'
  for (const key of Object.keys(object)) {
    const inner = textOf(key, (object as Readonly<Record<string, unknown>>)[key])
    if (inner === undefined) continue
    const field = names.field(key)
    text += (text.length === 1 ? field.first : field.next) + inner
  }
  return text + '}'
}

/**
 * Numbers, bools and nulls in the clear, as the peers have them; whatever else is text, bytes or unknown is hashed. undefined for what is no JSON,
 * as JSON.stringify has it.
 */
export function hashedJson(value: unknown, hasher: ValueHasher, names: QuotedNames, depth = 0): string | undefined {
  switch (typeof value) {
    case 'string':
      return hasher.quoted(value)
    case 'boolean':
      return value ? 'true' : 'false'
    case 'number':
      return Number.isFinite(value) ? String(value) : 'null'
    case 'undefined':
      return undefined
    case 'bigint':
      return `"${value}"`
    case 'object':
      return value === null ? 'null' : hashedObject(value, hasher, names, depth)
    default:
      return 'null'
  }
}

function hashedObject(value: object, hasher: ValueHasher, names: QuotedNames, depth: number): string | undefined {
  if (value instanceof Uint8Array) return hasher.quoted(value)
  if (isExactNumber(value)) return value.rawJSON
  if (depth >= depthMax) return '"(deeper than the record goes)"'
  if (Array.isArray(value)) return hashedList(value, hasher, names, depth)
  if ('toJSON' in value && typeof value.toJSON === 'function')
    return hashedJson((value.toJSON as () => unknown)(), hasher, names, depth + 1)
  return objectJson(value, names, (_key, inner) => hashedJson(inner, hasher, names, depth + 1))
}

function hashedList(list: readonly unknown[], hasher: ValueHasher, names: QuotedNames, depth: number): string {
  if (list.length > listHashedMax) return String(list.length)
  return `[${list.map((entry) => hashedJson(entry, hasher, names, depth + 1) ?? 'null').join(',')}]`
}
