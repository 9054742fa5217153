/** The checks of a request's parameters against a rule: required, denied, allowed. Top-level keys only; denied beats allowed. */

import { nearestNumber } from '#base/exact-json.ts'
import type { AccessRequest } from './types.ts'

export type ParameterLists = ReadonlyMap<string, readonly unknown[]>

type ParametersOf = Pick<AccessRequest, 'body' | 'query' | 'operation' | 'inQuery' | 'readAs'>
/** What the handler makes of a value of one parameter; undefined: not known. */
type Read = (value: unknown) => unknown

export interface ParameterRules {
  /** Lower-case names. null: everything is allowed. */
  readonly allowed: ParameterLists | null
  readonly denied: ParameterLists | null
  readonly required: ReadonlySet<string>
}

/** Values that stand for "any": a list without entries. */
const anyValue = (values: readonly unknown[]): boolean => values.length === 0

/** '*' at the start, at the end or at both stands for any text; elsewhere it is itself. */
export function globMatches(glob: string, text: string): boolean {
  if (glob === '*') return true
  const head = glob.startsWith('*')
  const tail = glob.length > 1 && glob.endsWith('*')
  const middle = glob.slice(head ? 1 : 0, tail ? -1 : undefined)
  if (head && tail) return text.includes(middle)
  if (head) return text.endsWith(middle)
  return tail ? text.startsWith(middle) : text === glob
}

/** Equality of two values as parsed from JSON or HCL. */
export function deepEqual(left: unknown, right: unknown): boolean {
  const [a, b] = [nearestNumber(left), nearestNumber(right)]
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (Array.isArray(a) || Array.isArray(b)) {
    return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((value, i) => deepEqual(value, b[i]))
  }
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && deepEqual(at(a, key), at(b, key)))
}

const at = (object: object, key: string): unknown => (object as Readonly<Record<string, unknown>>)[key]

const valueMatches = (rule: unknown, value: unknown): boolean =>
  typeof rule === 'string' && typeof value === 'string' ? globMatches(rule, value) : deepEqual(rule, value)

const textOf = (value: unknown): string | null =>
  typeof value === 'string' ? value : typeof value === 'number' || typeof value === 'boolean' ? String(value) : null

/** As many items as core/fields.ts reads of a list at most: it refuses a longer one. */
const piecesMax = 8_192

/** A text, and its pieces between commas, as engines read them: trimmed, and in lower case. */
function spellingsOf(text: string): readonly string[] {
  const folded = text.toLowerCase()
  const trimmed = folded.trim()
  const pieces = folded.includes(',') ? folded.split(',', piecesMax).map((piece) => piece.trim()) : []
  return [...new Set([folded, trimmed, ...pieces])]
}

const matchesText = (rule: string | null, text: string): boolean => rule !== null && globMatches(rule, text)

/**
 * Of a list each entry must be allowed, also of one that is written as a text: `app-*` would else allow `"app-1,root"`, of which the handler makes two.
 * A text of which it makes none has no entry to ask about, and is asked about itself: it is how a list is emptied.
 */
function isAllowedValue(values: readonly unknown[], value: unknown, read: Read): boolean {
  if (anyValue(values) || values.some((rule) => deepEqual(rule, value))) return true
  const is = Array.isArray(value) ? value : (read(value) ?? value)
  if (Array.isArray(is) && (is.length > 0 || Array.isArray(value)))
    return is.length > 0 && is.every((entry) => values.some((rule) => valueMatches(rule, entry)))
  return values.some((rule) => valueMatches(rule, value))
}

/** Denied as it is written, or as the handler reads it: of a bool `1` and `"t"` are `true`, of a duration `"60m"` is `"1h"`. */
function isDenied(values: readonly unknown[], value: unknown, read: Read): boolean {
  if (isDeniedValue(values, value)) return true
  const is = read(value)
  return is !== undefined && (isDeniedValue(values, is) || values.some((rule) => deepEqual(read(rule), is)))
}

/**
 * A denied value is also found inside a list, as the text of a number or bool, between commas, with space around it and in another letter case:
 * engines take `5` and `"5"`, `["a"]` and `"a"`, `"x, A"` and `["x", "a"]` alike, and a rule that only one spelling trips denies nothing.
 */
function isDeniedValue(values: readonly unknown[], value: unknown): boolean {
  if (anyValue(values) || values.some((rule) => valueMatches(rule, value))) return true
  if (Array.isArray(value)) return value.some((entry) => isDeniedValue(values, entry))
  const text = textOf(nearestNumber(value))
  if (text === null) return false
  const spellings = spellingsOf(text)
  return values.some((rule) => spellings.some((spelling) => matchesText(textOf(rule)?.toLowerCase() ?? null, spelling)))
}

/** Where a handler reads a field: what it is given elsewhere, and a null, is not there for it. */
function isGiven(name: string, { body, query, operation, inQuery }: ParametersOf): boolean {
  if (Object.hasOwn(body, name)) return body[name] !== undefined && body[name] !== null
  const writes = operation === 'create' || operation === 'update' || operation === 'patch'
  return (!writes || inQuery?.(name) === true) && Object.hasOwn(query, name)
}

/** Whether `rules` let a request with these parameters pass. What is required must be where the handler reads it; what is not allowed may be nowhere. */
export function parametersPass(rules: ParameterRules, request: ParametersOf): boolean {
  const { body, query, readAs = () => undefined } = request
  for (const name of rules.required) if (!isGiven(name, request)) return false
  if (rules.allowed === null && rules.denied === null) return true
  return entriesPass(rules, body, readAs) && entriesPass(rules, query, readAs)
}

function entriesPass(
  { allowed, denied }: ParameterRules,
  parameters: Readonly<Record<string, unknown>>,
  readAs: (name: string, value: unknown) => unknown,
): boolean {
  const names = Object.keys(parameters)
  if (names.length === 0) return true
  if (denied?.has('*')) return false
  const othersAllowed = allowed === null || allowed.has('*')
  for (const key of names) {
    const name = key.toLowerCase()
    const value = nearestNumber(parameters[key])
    const deniedValues = denied?.get(name)
    const read: Read = (given) => readAs(name, given)
    if (deniedValues && isDenied(deniedValues, value, read)) return false
    const allowedValues = allowed?.get(name)
    if (allowedValues ? !isAllowedValue(allowedValues, value, read) : !othersAllowed) return false
  }
  return true
}
