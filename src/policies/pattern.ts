/**
 * Path patterns of policies, and which of several that match decides.
 *
 * Intuition: the priority of two patterns does not depend on the path that they match. So patterns are sorted once, when a token's
 * policies are compiled, and the first one that matches is the answer; nothing is compared per request.
 */

/** A pattern, taken apart once. */
export interface Pattern {
  /** As written, without a leading slash. */
  readonly text: string
  readonly kind: 'exact' | 'prefix' | 'segments'
  /** Ends in '*'. */
  readonly isPrefix: boolean
  /** Without the '*' at the end. */
  readonly stem: string
  /** Position of the first whole-segment '+', or else of the '*'. */
  readonly firstWildcard: number
  /** How many segments are '+'. */
  readonly pluses: number
  /** The stem's segments ('segments' only). */
  readonly segments: readonly string[]
}

/** Takes a pattern apart. '+' is a wildcard only as a whole segment, '*' only as the last character; elsewhere both are themselves. */
export function parsePattern(text: string): Pattern {
  const isPrefix = text.endsWith('*')
  const stem = isPrefix ? text.slice(0, -1) : text
  const segments = stem.split('/')
  const pluses = segments.filter((segment) => segment === '+').length
  const kind = pluses > 0 ? 'segments' : isPrefix ? 'prefix' : 'exact'
  return { text, kind, isPrefix, stem, firstWildcard: firstWildcardOf(segments, stem), pluses, segments: pluses > 0 ? segments : [] }
}

function firstWildcardOf(segments: readonly string[], stem: string): number {
  let at = 0
  for (const segment of segments) {
    if (segment === '+') return at
    at += segment.length + 1
  }
  return stem.length
}

/**
 * Orders patterns that are not exact, the one that decides first: later first wildcard; not ending in '*'; fewer '+'; longer;
 * greater by code units.
 */
export function comparePatterns(a: Pattern, b: Pattern): number {
  if (a.firstWildcard !== b.firstWildcard) return b.firstWildcard - a.firstWildcard
  if (a.isPrefix !== b.isPrefix) return a.isPrefix ? 1 : -1
  if (a.pluses !== b.pluses) return a.pluses - b.pluses
  if (a.stem.length !== b.stem.length) return b.stem.length - a.stem.length
  return a.stem < b.stem ? 1 : a.stem > b.stem ? -1 : 0
}

/** Whether a pattern of kind 'segments' matches. '+' takes one segment, also an empty one: `secret/+` matches a LIST of `secret/`. */
export function matchesSegments(pattern: Pattern, path: string): boolean {
  const { segments, isPrefix } = pattern
  const last = segments.length - 1
  let at = 0
  for (let i = 0; i <= last; i += 1) {
    const segment = segments[i] ?? ''
    const slash = path.indexOf('/', at)
    const end = slash < 0 ? path.length : slash
    if (i === last && isPrefix) return path.startsWith(segment, at)
    if (segment !== '+' && (end - at !== segment.length || !path.startsWith(segment, at))) return false
    if (i === last) return slash < 0
    if (slash < 0) return false
    at = slash + 1
  }
  return false
}

/** Whether a pattern of any kind matches. */
export function matches(pattern: Pattern, path: string): boolean {
  if (pattern.kind === 'segments') return matchesSegments(pattern, path)
  return pattern.kind === 'prefix' ? path.startsWith(pattern.stem) : path === pattern.stem
}

/** Whether `wide` matches every path that `narrow` matches. Neither is exact. */
export function covers(wide: Pattern, narrow: Pattern): boolean {
  const [over, under] = [wide.stem.split('/'), narrow.stem.split('/')]
  // What ends in '*' goes on for any number of segments: only another such pattern can hold it.
  if (wide.isPrefix ? under.length < over.length : narrow.isPrefix || under.length !== over.length) return false
  const whole = wide.isPrefix ? over.slice(0, -1) : over
  if (!whole.every((segment, i) => segment === '+' || segment === under[i])) return false
  const [rest, below] = [over.at(-1) ?? '', under[over.length - 1] ?? '']
  return !wide.isPrefix || (below === '+' ? rest === '' : below.startsWith(rest))
}
