/** What a policy is asked about a request. The gate asks by it, and whoever explains what the gate would say: worded twice, the two came to differ. */
import type { AccessRequest, CallerFacts } from '#policies/types.ts'
import type { PathDef } from './types.ts'

type Asked = Pick<AccessRequest, 'path' | 'operation' | 'body' | 'query' | 'wrapTtlSeconds'>

/** `def`: what the table says of the path; null where nothing is known of it. */
export function accessTo(def: PathDef | null, { path, operation, body, query, wrapTtlSeconds }: Asked, caller: CallerFacts): AccessRequest {
  return {
    path,
    operation,
    needsSudo: def?.sudo === true,
    body,
    query,
    inQuery: (name) => def !== null && Object.hasOwn(def.fields, name) && def.fields[name]!.in === 'query',
    wrapTtlSeconds,
    ...caller,
  }
}
