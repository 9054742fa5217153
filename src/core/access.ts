/** What a policy is asked about a request. The gate asks by it, and whoever explains what the gate would say: worded twice, the two came to differ. */
import type { AccessRequest, CallerFacts } from '#policies/types.ts'
import { readAs } from './fields.ts'
import type { FieldSchema, PathDef } from './types.ts'

type Asked = Pick<AccessRequest, 'path' | 'operation' | 'body' | 'query' | 'wrapTtlSeconds'>

/** `def`: what the table says of the path; null where nothing is known of it. */
export function accessTo(def: PathDef | null, { path, operation, body, query, wrapTtlSeconds }: Asked, caller: CallerFacts): AccessRequest {
  const fieldOf = (name: string): FieldSchema | undefined =>
    def !== null && Object.hasOwn(def.fields, name) ? def.fields[name] : undefined
  return {
    path,
    operation,
    needsSudo: def?.sudo === true,
    body,
    query,
    inQuery: (name) => fieldOf(name)?.in === 'query',
    readAs(name, value) {
      const schema = fieldOf(name)
      return schema === undefined ? undefined : readAs(schema.type, value)
    },
    wrapTtlSeconds,
    ...caller,
  }
}
