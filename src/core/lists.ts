/** What a policy adds to a list: a limit on its page, and a filter of its entries. */
import type { CallerFacts, CompiledAcl } from '#policies/types.ts'
import type { LogicalResponse, Operation, Request } from './types.ts'

const listing: ReadonlySet<Operation> = new Set<Operation>(['list', 'scan'])

/**
 * The request's body and query with `limit` as the policy allows it: absent, `max`, 0 and negative become `paginationLimit`.
 * (A larger one was refused by the policy.) `limit=max` without a policy limit means all.
 */
export function applyListLimits(
  request: Pick<Request, 'body' | 'query'>,
  operation: Operation,
  paginationLimit: number,
): Pick<Request, 'body' | 'query'> {
  if (!listing.has(operation)) return request
  const given = request.query.limit ?? request.body.limit
  // An object has no number, and one of a client's may throw when asked for it.
  const asked = typeof given === 'object' ? 0 : given
  const unlimited = asked === undefined || asked === 'max' || !(Number(asked) > 0)
  if (paginationLimit <= 0) return asked === 'max' ? { body: request.body, query: { ...request.query, limit: '0' } } : request
  return {
    body: request.body,
    query: { ...request.query, limit: String(unlimited ? paginationLimit : Math.min(Number(asked), paginationLimit)) },
  }
}

/**
 * Keeps the keys for which `template` (a path with `{{ .path }}` and `{{ .key }}`) leads to something that the token may read,
 * or list where the key is a folder. A template with anything else in braces keeps nothing: fail closed. So it is with what stands beside the keys: some
 * lists say their names twice, and what is by the name of no key that is kept goes as well.
 */
export function filterList(
  response: LogicalResponse | null,
  template: string,
  listPath: string,
  acl: CompiledAcl,
  caller: CallerFacts,
): LogicalResponse | null {
  const keys = response?.data?.keys
  if (!response || !Array.isArray(keys)) return response
  const isShown = (key: unknown): key is string => {
    if (typeof key !== 'string') return false
    const path = template.replaceAll(/\{\{-?\s*\.path\s*-?\}\}/g, () => listPath).replaceAll(/\{\{-?\s*\.key\s*-?\}\}/g, () => key)
    if (path.includes('{{')) return false
    const operation = key.endsWith('/') ? 'list' : 'read'
    return acl.decide({ path, operation, needsSudo: false, body: {}, query: {}, wrapTtlSeconds: 0, ...caller }).allowed
  }
  const kept = new Set(keys.filter(isShown))
  const data = Object.fromEntries(Object.entries(response.data!).map(([name, value]) => [name, only(kept, value)]))
  return { ...response, data }
}

/** Of a list or a table what is in `kept`; numbers and the like as they are. */
function only(kept: ReadonlySet<unknown>, value: unknown): unknown {
  if (Array.isArray(value)) return value.filter((each) => kept.has(each))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).filter(([key]) => kept.has(key)))
}
