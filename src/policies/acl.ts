/** The policies of one token, compiled: which rule decides a path, and what it allows. Pure. */
import { HoldfastError } from '#base/errors.ts'
import { parametersPass } from './parameters.ts'
import { capabilitiesOf, type Merged } from './rules.ts'
import { buildTables, findAll, findRule, type Found, type Tables } from './tables.ts'
import type { AccessRequest, CompiledAcl, Decision, DecisionReason, Policy } from './types.ts'

export interface CompileOptions {
  /** Rules that have expired by then are left out; `decide` compiles again when another one has. Default 0. */
  readonly nowMs?: number
  /** The value of `identity.entity.id` and its like, null when there is none: then the rule is left out. Default: always null. */
  readonly fillTemplate?: (expression: string) => string | null
  /** Before every path: that of the policies' namespace, 'team/'. Default ''. */
  readonly prefix?: string
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
  const build = (nowMs: number): Tables =>
    buildTables(policies, { nowMs, prefix: options.prefix ?? '', fill: options.fillTemplate ?? (() => null) })
  let tables = build(options.nowMs ?? 0)
  const at = (nowMs: number): Tables => {
    if (nowMs >= tables.validUntilMs) tables = build(nowMs)
    return tables
  }
  return {
    decide: (request) => decisionOf(weigh(at(request.nowMs), request)),
    explain(request) {
      const present = at(request.nowMs)
      const weighed = weigh(present, request)
      const rules = findAll(present, stripSlashes(request.path), isListing(request.operation))
      return { ...decisionOf(weighed), reason: weighed.reason, candidates: rules.map((rule) => rule.explain(request)) }
    },
    capabilities: (path, caller) => capabilitiesOf(findRule(at(caller.nowMs), stripSlashes(path), true, caller)?.merged ?? null),
    entries: (caller) =>
      at(caller.nowMs).all.flatMap((rule) => {
        const merged = rule.for(caller)
        if (merged === null) return []
        return [{ pattern: rule.pattern.text, exact: rule.pattern.kind === 'exact', capabilities: capabilitiesOf(merged) }]
      }),
  }
}

const rootDecision: Decision = {
  allowed: true,
  root: true,
  paginationLimit: 0,
  listFilter: null,
  rule: { pattern: '*', policies: ['root'] },
}

const rootAcl: CompiledAcl = {
  decide: () => rootDecision,
  explain: () => ({ ...rootDecision, reason: 'root', candidates: [] }),
  capabilities: () => ['root'],
  entries: () => [],
}

const stripSlashes = (path: string): string => (path.startsWith('/') ? path.replace(/^\/+/, '') : path)
const isListing = (operation: AccessRequest['operation']): boolean => operation === 'list' || operation === 'scan'

interface Weighed {
  readonly reason: DecisionReason
  readonly found: Found | null
  readonly paginationLimit: number
}

function decisionOf({ reason, found, paginationLimit }: Weighed): Decision {
  const allowed = reason === 'allowed' || reason === 'help'
  return {
    allowed,
    root: false,
    paginationLimit,
    listFilter: allowed && reason !== 'help' ? (found?.merged.listFilter ?? null) : null,
    rule: found && { pattern: found.rule.pattern.text, policies: found.merged.policies },
  }
}

function weigh(tables: Tables, request: AccessRequest): Weighed {
  const listing = isListing(request.operation)
  const found = findRule(tables, stripSlashes(request.path), listing, request)
  if (request.operation === 'help') return { reason: 'help', found, paginationLimit: 0 }
  const refusal = found ? refusalOf(found.merged, request, request.operation) : 'no rule'
  if (refusal !== null || found === null) return { reason: refusal ?? 'no rule', found, paginationLimit: 0 }
  const paginationLimit = listing ? pageLimit(found.merged, request) : 0
  return paginationLimit === null
    ? { reason: 'pagination limit', found, paginationLimit: 0 }
    : { reason: 'allowed', found, paginationLimit }
}

function refusalOf(merged: Merged, request: AccessRequest, operation: Exclude<AccessRequest['operation'], 'help'>): DecisionReason | null {
  if (merged.capabilities.has('deny')) return 'deny'
  if (!merged.capabilities.has(operation)) return 'no capability'
  if (request.needsSudo && !merged.capabilities.has('sudo')) return 'no sudo'
  if (!wrappingPasses(merged, request.wrapTtlSeconds)) return 'wrapping ttl'
  if (isListing(operation) || operation === 'delete') return null
  return parametersPass(merged, request) ? null : 'parameters'
}

/** With a limit on either side an unwrapped request is refused; limits that contradict each other, after merging, let nothing pass. */
function wrappingPasses({ minWrappingTtlSeconds: min, maxWrappingTtlSeconds: max }: Merged, ttlSeconds: number): boolean {
  if (min === 0 && max === 0) return true
  return ttlSeconds > 0 && ttlSeconds >= min && (max === 0 || ttlSeconds <= max)
}

/** The limit to enforce on a page, 0 for none; null: refused. A client that names none gets the rule's, unless the rule requires one to be named. */
function pageLimit(merged: Merged, { query, body }: AccessRequest): number | null {
  if (merged.paginationLimit === 0) return 0
  const asked = query['limit'] ?? body['limit']
  if (asked === undefined) return merged.required.has('limit') ? null : merged.paginationLimit
  if (asked === 'max') return merged.paginationLimit
  const limit = typeof asked === 'number' ? asked : typeof asked === 'string' && /^\s*[-+]?\d+\s*$/.test(asked) ? Number(asked) : Number.NaN
  if (!Number.isSafeInteger(limit) || limit < 0 || limit > merged.paginationLimit) return null
  return limit === 0 ? merged.paginationLimit : limit
}
