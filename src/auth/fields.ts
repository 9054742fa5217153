/** Short words for the tables of login methods. */
import type { FieldSchema, HandlerContext, LogicalResponse, MountEntry, OperationDef, PathDef } from '#core/types.ts'
import { lifetimes } from '#base/lifetimes.ts'

type Handler = OperationDef['handler']

export const field = (type: FieldSchema['type'], description: string, extra: Partial<FieldSchema> = {}): FieldSchema => ({
  type,
  description,
  ...extra,
})
export const inPath = (description: string): FieldSchema => ({ type: 'string', in: 'path', description })

export const reads = (summary: string, handler: Handler): OperationDef => ({ summary, writes: false, handler })
export const writes = (summary: string, handler: Handler): OperationDef => ({ summary, writes: true, handler })

export const path = (
  pattern: string,
  synopsis: string,
  flags: Partial<Omit<PathDef, 'pattern' | 'operations' | 'help'>>,
  operations: PathDef['operations'],
  description = synopsis,
): PathDef => ({ pattern, fields: {}, ...flags, operations, help: { synopsis, description } })

export const optional = <T>(context: HandlerContext, name: string): T | undefined => context.fields[name] as T | undefined
/** A validated string; '' when absent. */
export const text = (context: HandlerContext, name: string): string => optional<string>(context, name) ?? ''

export const pageFields = {
  after: field('string', 'Names after this one.', { in: 'query' }),
  limit: field('int', 'At most so many.', { in: 'query' }),
}

export const page = (context: HandlerContext): { after?: string; limit?: number } => {
  const after = optional<string>(context, 'after')
  const limit = optional<number>(context, 'limit')
  return { ...(after === undefined ? {} : { after }), ...(limit === undefined ? {} : { limit }) }
}

/** A page of the names below `prefix` of the mount's storage. */
export const listNames = async (context: HandlerContext, prefix: string): Promise<LogicalResponse> => ({
  data: { keys: await context.storage.list(prefix, page(context)) },
})

/** Longest TTL that the mount grants, seconds. */
export const maxTtlSeconds = (mount: MountEntry): number => mount.config.max_lease_ttl || lifetimes.maxSeconds
