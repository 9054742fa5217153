/** When two sides say the same. Secrets are compared to the letter; settings as what they mean, since servers write them differently. */
import { isExactNumber } from '#base/exact-json.ts'
import { parseDurationMs } from '#base/duration.ts'
import type { Fields } from './types.ts'

/** With the keys of objects in order: JSON has none. */
function ordered(value: unknown): unknown {
  if (isExactNumber(value)) return value
  if (Array.isArray(value)) return value.map(ordered)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, one]) => [key, ordered(one)]),
  )
}

/** To the letter, but for the order of keys. */
export const sameSecret = (a: unknown, b: unknown): boolean => JSON.stringify(ordered(a)) === JSON.stringify(ordered(b))

const durationText = /^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/

function settledText(text: string): unknown {
  if (durationText.test(text)) return settled(parseDurationMs(text, { what: 'a setting' }) / 1_000)
  return text === '0' || text === '' ? null : text
}

/**
 * A setting as what it means: null, '', 0, false and what is empty are "not set"; '1h' is 3600; a list has no order (policies, addresses, names).
 * Only for settings: in a secret each of these is something else.
 */
function settled(value: unknown): unknown {
  if (isExactNumber(value)) return value.rawJSON
  if (typeof value === 'string') return settledText(value.trim())
  if (typeof value === 'number') return value === 0 ? null : String(value)
  if (value === false || value === null || value === undefined) return null
  if (Array.isArray(value)) return value.length === 0 ? null : value.map((one) => JSON.stringify(settled(one))).toSorted()
  if (typeof value !== 'object') return value
  const set = Object.entries(value)
    .map(([key, one]) => [key, settled(one)] as const)
    .filter(([, one]) => one !== null)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
  return set.length === 0 ? null : Object.fromEntries(set)
}

export const sameSetting = (a: unknown, b: unknown): boolean => JSON.stringify(settled(a)) === JSON.stringify(settled(b))

export const isSet = (value: unknown): boolean => settled(value) !== null

/** Names of `wanted` that `present` has otherwise. Those that it does not know at all are left out: another server may not have the field. */
export const differing = (wanted: Fields, present: Fields): readonly string[] =>
  Object.keys(wanted)
    .filter((name) => Object.hasOwn(present, name) && !sameSetting(wanted[name], present[name]))
    .toSorted()

/** Names that are set in `wanted`, and that `present` has otherwise or not at all. */
export const lost = (wanted: Fields, present: Fields): readonly string[] =>
  Object.keys(wanted)
    .filter((name) => !sameSetting(wanted[name], present[name]))
    .toSorted()
