/** JSON merge patch (RFC 7396): what a PATCH of a secret or of its metadata means. */

import { isExactNumber } from '#base/exact-json.ts'

export const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !isExactNumber(value)

/**
 * `target` with `patch` merged in: null removes, objects merge, anything else replaces. Neither argument is changed.
 * Keys such as `__proto__` are plain keys: the result is built from entries, never by assignment. Depth is that of the
 * request's body, which HTTP bounds.
 */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch
  const merged = new Map(isObject(target) ? Object.entries(target) : [])
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) merged.delete(key)
    else merged.set(key, mergePatch(merged.get(key), value))
  }
  return Object.fromEntries(merged)
}
