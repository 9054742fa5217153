/**
 * The rules of one token by kind of pattern, and which of them decides a path. Only one does: the exact one, else the best of those with
 * wildcards; a rule that is not there for the caller (its conditions fail) is passed over.
 *
 * Exact rules are a map; prefixes are a map asked once for each length that occurs (a trie was no faster at the sizes that policies have,
 * and is more to read); patterns with '+' are a list in order of priority.
 */
import { comparePatterns, matches, matchesSegments, parsePattern, type Pattern } from './pattern.ts'
import { Rule, type Merged } from './rules.ts'
import { fillTemplates } from './templates.ts'
import type { CallerFacts, Policy } from './types.ts'

export interface Tables {
  readonly all: readonly Rule[]
  readonly exact: ReadonlyMap<string, Rule>
  readonly prefixes: ReadonlyMap<string, Rule>
  /** Lengths of the prefixes that occur, longest first. */
  readonly prefixLengths: readonly number[]
  /** In order of priority. */
  readonly segments: readonly { readonly rule: Rule; readonly head: string }[]
  /** From then on the tables are out of date: a rule has expired. */
  readonly validUntilMs: number
}

export interface TableOptions {
  readonly nowMs: number
  readonly prefix: string
  readonly fill: (expression: string) => string | null
}

export function buildTables(policies: readonly Policy[], { nowMs, prefix, fill }: TableOptions): Tables {
  const rules = new Map<string, Rule>()
  let validUntilMs = Number.POSITIVE_INFINITY
  for (const policy of policies) {
    for (const written of policy.rules) {
      if (written.expirationMs !== null && written.expirationMs <= nowMs) continue
      if (written.expirationMs !== null) validUntilMs = Math.min(validUntilMs, written.expirationMs)
      const filled = fillTemplates(written.path, fill)
      if (filled === null) continue
      const path = prefix + filled
      let rule = rules.get(path)
      if (!rule) rules.set(path, (rule = new Rule(parsePattern(path))))
      rule.add(policy.name, written)
    }
  }
  return tablesOf([...rules.values()], validUntilMs)
}

function tablesOf(all: readonly Rule[], validUntilMs: number): Tables {
  const ofKind = (kind: Pattern['kind']): Rule[] => all.filter((rule) => rule.pattern.kind === kind)
  const prefixes = new Map(ofKind('prefix').map((rule) => [rule.pattern.stem, rule]))
  return {
    all,
    exact: new Map(ofKind('exact').map((rule) => [rule.pattern.stem, rule])),
    prefixes,
    prefixLengths: [...new Set([...prefixes.keys()].map((stem) => stem.length))].toSorted((a, b) => b - a),
    segments: ofKind('segments')
      .toSorted((a, b) => comparePatterns(a.pattern, b.pattern))
      .map((rule) => ({ rule, head: rule.pattern.stem.slice(0, rule.pattern.firstWildcard) })),
    validUntilMs,
  }
}

/** A rule that decides, and what it says to the caller. */
export interface Found {
  readonly rule: Rule
  readonly merged: Merged
}

/**
 * Exact, exact without the slash; then the better of the wildcards that match with the slash and without it. A list whose folder a more
 * specific rule names must not slip past it: `a/*` matches the list of `a/b/c/` as it stands, the deny of `a/+/c` only without the slash.
 */
export function findRule(tables: Tables, path: string, listing: boolean, caller: CallerFacts): Found | null {
  const trimmed = listing ? withoutSlash(path) : null
  const exact = there(tables.exact.get(path), caller) ?? (trimmed === null ? null : there(tables.exact.get(trimmed), caller))
  if (exact) return exact
  return better(findWildcard(tables, path, caller), trimmed === null ? null : findWildcard(tables, trimmed, caller))
}

const withoutSlash = (path: string): string | null => (path.endsWith('/') ? path.slice(0, -1) : null)

function there(rule: Rule | undefined, caller: CallerFacts): Found | null {
  const merged = rule?.for(caller)
  return rule && merged ? { rule, merged } : null
}

const better = (a: Found | null, b: Found | null): Found | null =>
  a === null || b === null ? (a ?? b) : comparePatterns(a.rule.pattern, b.rule.pattern) <= 0 ? a : b

function findWildcard(tables: Tables, path: string, caller: CallerFacts): Found | null {
  const prefix = longestPrefix(tables, path, caller)
  for (const { rule, head } of tables.segments) {
    if (prefix && comparePatterns(prefix.rule.pattern, rule.pattern) < 0) return prefix
    if (!path.startsWith(head) || !matchesSegments(rule.pattern, path)) continue
    const found = there(rule, caller)
    if (found) return found
  }
  return prefix
}

function longestPrefix(tables: Tables, path: string, caller: CallerFacts): Found | null {
  for (const length of tables.prefixLengths) {
    const found = length <= path.length ? there(tables.prefixes.get(path.slice(0, length)), caller) : null
    if (found) return found
  }
  return null
}

/** Every rule that matches, there or not, in the order in which they are asked. Slow: for `explain`. */
export function findAll(tables: Tables, path: string, listing: boolean): Rule[] {
  const trimmed = listing ? withoutSlash(path) : null
  const rank = ({ pattern }: Rule): number => (pattern.kind !== 'exact' ? 2 : pattern.stem === path ? 0 : 1)
  return tables.all
    .filter(({ pattern }) => matches(pattern, path) || (trimmed !== null && matches(pattern, trimmed)))
    .toSorted((a, b) => rank(a) - rank(b) || comparePatterns(a.pattern, b.pattern))
}
