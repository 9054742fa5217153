/**
 * The text of an error as a record holds it. Errors quote what they refuse, and what somebody put into the wrong field may be a secret: every value of the
 * request that the text quotes, or that is long enough not to be an ordinary word, stands there as its hash.
 */
import type { ValueHasher } from './hashing.ts'
import type { AuditRequest } from './types.ts'

const depthMax = 16
const valuesMax = 1_000
/** Shorter ones may be part of the sentence. */
const bareCharsMin = 8

/** `shown`: keys of `data` that the mount lets through. */
export function errorWithout(error: string, { data, query }: AuditRequest, shown: readonly string[], hasher: ValueHasher): string {
  const values = new Set<string>()
  collect(data, values, 0, shown)
  collect(query, values, 0, [])
  let text = error
  // Longest first: one value may be part of another.
  for (const value of [...values].sort((a, b) => b.length - a.length)) {
    // A field may have been read in lower case.
    for (const form of new Set([value, value.toLowerCase()])) {
      // Seldom true, and a hash costs more.
      if (!text.includes(form) && !text.includes(JSON.stringify(form))) continue
      const hashed = hasher.hash(form)
      text = text.replaceAll(JSON.stringify(form), `"${hashed}"`).replaceAll(`'${form}'`, `'${hashed}'`)
      if (form.length >= bareCharsMin) text = text.replaceAll(form, hashed)
    }
  }
  return text
}

function collect(value: unknown, into: Set<string>, depth: number, shown: readonly string[]): void {
  if (into.size >= valuesMax || depth > depthMax) return
  if (typeof value === 'string') {
    if (value !== '') into.add(value)
  } else if (Array.isArray(value)) for (const entry of value) collect(entry, into, depth + 1, [])
  else if (typeof value === 'object' && value !== null && !(value instanceof Uint8Array)) {
    for (const [key, inner] of Object.entries(value)) if (!shown.includes(key)) collect(inner, into, depth + 1, [])
  }
}
