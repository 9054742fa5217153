/**
 * The policies of one token, compiled: which rule decides a path, and what it allows. Pure.
 *
 * Only one rule decides: the exact one, else the best of those with wildcards. The same pattern in several policies is one rule,
 * merged. Exact rules are a map; prefixes are a map asked once for each length that occurs (a trie was no faster at the sizes that
 * policies have, and is more to read); patterns with '+' are a list in order of priority.
 */
import { HoldfastError } from '#base/errors.ts'
import { parametersPass } from './parameters.ts'
import { comparePatterns, matchesSegments, parsePattern } from './pattern.ts'
import type { Pattern } from './pattern.ts'
import type { AccessRequest, Capability, CompiledAcl, Decision, PathRule, Policy } from './types.ts'

export interface CompileOptions {
  /** Rules that have expired by then are left out; `decide` compiles again when another one has. Default 0. */
  readonly nowMs?: number
  /**
   * The value of `identity.entity.id` and its like, null when there is none: then the rule is left out. Default: always null.
   * A value that holds '+', '*' or '/' counts as none, since it would widen the rule (GHSA-59w7-v8rr-pr4p).
   */
  readonly fillTemplate?: (expression: string) => string | null
}

/** One pattern with everything that the policies say about it. */
interface Rule {
  readonly pattern: Pattern
  readonly policies: string[]
  readonly capabilities: Set<Capability>
  allowed: Map<string, readonly unknown[]> | null
  denied: Map<string, readonly unknown[]> | null
  readonly required: Set<string>
  minWrappingTtlSeconds: number
  maxWrappingTtlSeconds: number
  paginationLimit: number
  listFilter: string | null
}

interface Tables {
  readonly exact: ReadonlyMap<string, Rule>
  readonly prefixes: ReadonlyMap<string, Rule>
  /** Lengths of the prefixes that occur, longest first. */
  readonly prefixLengths: readonly number[]
  /** In order of priority. */
  readonly segments: readonly { readonly rule: Rule; readonly head: string }[]
  /** From then on the tables are out of date. */
  readonly validUntilMs: number
}

/**
 * Compiles what a token may do.
 * @throws HoldfastError ERR_PERMISSION_DENIED when `root` stands beside other policies: such a token was made wrongly, and gets nothing.
 */
export function compileAcl(policies: readonly Policy[], options: CompileOptions = {}): CompiledAcl {
  if (policies.some((policy) => policy.name === 'root')) {
    if (policies.length === 1) return rootAcl
    throw new HoldfastError('ERR_PERMISSION_DENIED', 'permission denied', { hint: 'expected the root policy alone, got others beside it' })
  }
  let tables = buildTables(policies, options)
  const at = (nowMs: number): Tables => {
    if (nowMs >= tables.validUntilMs) tables = buildTables(policies, { ...options, nowMs })
    return tables
  }
  return {
    decide: (request) => decide(at(request.nowMs), request),
    capabilities: (path, nowMs) => capabilitiesOf(findRule(at(nowMs), stripSlashes(path), true)),
  }
}

const rootAcl: CompiledAcl = {
  decide: () => ({ allowed: true, root: true, paginationLimit: 0, listFilter: null, rule: { pattern: '*', policies: ['root'] } }),
  capabilities: () => ['root'],
}

function buildTables(policies: readonly Policy[], options: CompileOptions): Tables {
  const nowMs = options.nowMs ?? 0
  const rules = new Map<string, Rule>()
  let validUntilMs = Number.POSITIVE_INFINITY
  for (const policy of policies) {
    for (const written of policy.rules) {
      if (written.expirationMs !== null && written.expirationMs <= nowMs) continue
      if (written.expirationMs !== null) validUntilMs = Math.min(validUntilMs, written.expirationMs)
      const path = fill(written.path, options.fillTemplate)
      if (path === null) continue
      const rule = rules.get(path)
      if (rule) merge(rule, written, policy.name)
      else rules.set(path, newRule(parsePattern(path), written, policy.name))
    }
  }
  return tablesOf([...rules.values()], validUntilMs)
}

function tablesOf(rules: readonly Rule[], validUntilMs: number): Tables {
  const ofKind = (kind: Pattern['kind']): Rule[] => rules.filter((rule) => rule.pattern.kind === kind)
  const prefixes = new Map(ofKind('prefix').map((rule) => [rule.pattern.stem, rule]))
  return {
    exact: new Map(ofKind('exact').map((rule) => [rule.pattern.stem, rule])),
    prefixes,
    prefixLengths: [...new Set([...prefixes.keys()].map((stem) => stem.length))].toSorted((a, b) => b - a),
    segments: ofKind('segments')
      .toSorted((a, b) => comparePatterns(a.pattern, b.pattern))
      .map((rule) => ({ rule, head: rule.pattern.stem.slice(0, rule.pattern.firstWildcard) })),
    validUntilMs,
  }
}

/** The pattern with its `{{...}}` filled; null when one of them has no value that is safe in a pattern. */
function fill(path: string, fillTemplate: CompileOptions['fillTemplate']): string | null {
  if (!path.includes('{{')) return path
  let failed = false
  const filled = path.replaceAll(/\{\{\s*(.*?)\s*\}\}/g, (_, expression: string) => {
    const value = fillTemplate?.(expression) ?? null
    if (value === null || value === '' || /[+*/]/.test(value)) failed = true
    return value ?? ''
  })
  return failed || filled.includes('{{') ? null : filled
}

function newRule(pattern: Pattern, written: PathRule, policy: string): Rule {
  return {
    pattern,
    policies: [policy],
    capabilities: new Set(written.capabilities),
    allowed: mapOf(written.allowedParameters),
    denied: mapOf(written.deniedParameters),
    required: new Set(written.requiredParameters),
    minWrappingTtlSeconds: written.minWrappingTtlSeconds,
    maxWrappingTtlSeconds: written.maxWrappingTtlSeconds,
    paginationLimit: written.paginationLimit,
    listFilter: written.listFilter,
  }
}

/** An empty object says nothing, as if it were absent. */
function mapOf(lists: PathRule['allowedParameters']): Map<string, readonly unknown[]> | null {
  const entries = lists === null ? [] : Object.entries(lists)
  return entries.length === 0 ? null : new Map(entries)
}

function merge(rule: Rule, written: PathRule, policy: string): void {
  if (!rule.policies.includes(policy)) rule.policies.push(policy)
  for (const capability of written.capabilities) rule.capabilities.add(capability)
  rule.allowed = mergeLists(rule.allowed, mapOf(written.allowedParameters))
  rule.denied = mergeLists(rule.denied, mapOf(written.deniedParameters))
  for (const name of written.requiredParameters) rule.required.add(name)
  rule.minWrappingTtlSeconds = lowest(rule.minWrappingTtlSeconds, written.minWrappingTtlSeconds)
  rule.maxWrappingTtlSeconds = lowest(rule.maxWrappingTtlSeconds, written.maxWrappingTtlSeconds)
  rule.paginationLimit = lowest(rule.paginationLimit, written.paginationLimit)
  rule.listFilter ||= written.listFilter
}

/** The lower of two limits, 0 being none. */
const lowest = (a: number, b: number): number => (a > 0 && b > 0 ? Math.min(a, b) : Math.max(a, b))

function mergeLists(
  a: Map<string, readonly unknown[]> | null,
  b: Map<string, readonly unknown[]> | null,
): Map<string, readonly unknown[]> | null {
  if (a === null || b === null) return a ?? b
  for (const [name, values] of b) {
    const present = a.get(name)
    // An empty list means any value, and stays so beside a list of some.
    a.set(name, present && (present.length === 0 || values.length === 0) ? [] : [...(present ?? []), ...values])
  }
  return a
}

const stripSlashes = (path: string): string => (path.startsWith('/') ? path.replace(/^\/+/, '') : path)

/**
 * Exact, exact without the slash; then the better of the wildcards that match with the slash and without it. A list whose folder a more
 * specific rule names must not slip past it: `a/*` matches the list of `a/b/c/` as it stands, the deny of `a/+/c` only without the slash.
 */
function findRule(tables: Tables, path: string, listing: boolean): Rule | null {
  const trimmed = listing && path.endsWith('/') ? path.slice(0, -1) : null
  return (
    tables.exact.get(path) ??
    (trimmed === null ? null : tables.exact.get(trimmed)) ??
    better(findWildcard(tables, path), trimmed === null ? null : findWildcard(tables, trimmed))
  )
}

const better = (a: Rule | null, b: Rule | null): Rule | null =>
  a === null || b === null ? (a ?? b) : comparePatterns(a.pattern, b.pattern) <= 0 ? a : b

function findWildcard(tables: Tables, path: string): Rule | null {
  const prefix = longestPrefix(tables, path)
  for (const { rule, head } of tables.segments) {
    if (prefix && comparePatterns(prefix.pattern, rule.pattern) < 0) return prefix
    if (path.startsWith(head) && matchesSegments(rule.pattern, path)) return rule
  }
  return prefix
}

function longestPrefix(tables: Tables, path: string): Rule | null {
  for (const length of tables.prefixLengths) {
    const rule = length <= path.length ? tables.prefixes.get(path.slice(0, length)) : undefined
    if (rule) return rule
  }
  return null
}

function capabilitiesOf(rule: Rule | null): readonly string[] {
  if (rule === null || rule.capabilities.size === 0 || rule.capabilities.has('deny')) return ['deny']
  return [...rule.capabilities].toSorted()
}

function decide(tables: Tables, request: AccessRequest): Decision {
  const { operation } = request
  const listing = operation === 'list' || operation === 'scan'
  const rule = findRule(tables, stripSlashes(request.path), listing)
  const shown = rule && { pattern: rule.pattern.text, policies: rule.policies }
  const refused: Decision = { allowed: false, root: false, paginationLimit: 0, listFilter: null, rule: shown }
  if (operation === 'help') return { ...refused, allowed: true }
  if (!rule || rule.capabilities.has('deny') || !rule.capabilities.has(operation)) return refused
  if (request.needsSudo && !rule.capabilities.has('sudo')) return refused
  if (!wrappingPasses(rule, request.wrapTtlSeconds)) return refused
  if (listing) {
    const paginationLimit = pageLimit(rule, request)
    return paginationLimit === null ? refused : { ...refused, allowed: true, paginationLimit, listFilter: rule.listFilter }
  }
  if (operation !== 'delete' && !parametersPass(rule, request.body, request.query)) return refused
  return { ...refused, allowed: true }
}

/** With a limit on either side an unwrapped request is refused; limits that contradict each other, after merging, let nothing pass. */
function wrappingPasses({ minWrappingTtlSeconds: min, maxWrappingTtlSeconds: max }: Rule, ttlSeconds: number): boolean {
  if (min === 0 && max === 0) return true
  return ttlSeconds > 0 && ttlSeconds >= min && (max === 0 || ttlSeconds <= max)
}

/** The limit to enforce on a page, 0 for none; null: refused. A client that names none gets the rule's, unless the rule requires one to be named. */
function pageLimit(rule: Rule, { query, body }: AccessRequest): number | null {
  if (rule.paginationLimit === 0) return 0
  const asked = query['limit'] ?? body['limit']
  if (asked === undefined) return rule.required.has('limit') ? null : rule.paginationLimit
  if (asked === 'max') return rule.paginationLimit
  const limit = typeof asked === 'number' ? asked : typeof asked === 'string' && /^\s*[-+]?\d+\s*$/.test(asked) ? Number(asked) : Number.NaN
  if (!Number.isSafeInteger(limit) || limit < 0 || limit > rule.paginationLimit) return null
  return limit === 0 ? rule.paginationLimit : limit
}
