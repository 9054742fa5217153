/** Short words for the tables of this folder. */
import type { FieldSchema, HandlerContext, LogicalResponse, OperationDef, PathDef } from '#core/types.ts'

type Handler = OperationDef['handler']
type Extra = Partial<Omit<FieldSchema, 'type' | 'description'>>

export const field = (type: FieldSchema['type'], description: string, extra: Extra = {}): FieldSchema => ({ type, description, ...extra })
export const inPath = (description: string, example?: string): FieldSchema => ({
  type: 'string',
  in: 'path',
  description,
  ...(example === undefined ? {} : { example }),
})
export const inQuery = (type: FieldSchema['type'], description: string): FieldSchema => ({ type, in: 'query', description })

type Example = Readonly<Record<string, unknown>>
const made = (example: Example | undefined): { readonly example?: Example } => (example === undefined ? {} : { example })

/** `example`: a body that does what `summary` says, shown in the OpenAPI document; a test sends it. */
export const reads = (summary: string, handler: Handler, example?: Example): OperationDef => ({
  summary,
  writes: false,
  handler,
  ...made(example),
})
export const writes = (summary: string, handler: Handler, example?: Example): OperationDef => ({
  summary,
  writes: true,
  handler,
  ...made(example),
})
/** On the leader, once, after the request's transaction. */
export const effects = (summary: string, handler: Handler, example?: Example): OperationDef => ({
  ...writes(summary, handler, example),
  outside: true,
})

type Flags = Partial<Omit<PathDef, 'pattern' | 'operations' | 'help'>>

export const path = (pattern: string, synopsis: string, flags: Flags, operations: PathDef['operations'], description = ''): PathDef => ({
  pattern,
  fields: {},
  ...flags,
  operations,
  help: { synopsis, description: description === '' ? synopsis : description },
})

export const answer = (data: Readonly<Record<string, unknown>>): LogicalResponse => ({ data })

/** A validated string field; '' when absent. */
export const text = (context: HandlerContext, name: string): string => (context.fields[name] as string | undefined) ?? ''
export const optional = <T>(context: HandlerContext, name: string): T | undefined => context.fields[name] as T | undefined
export const flag = (context: HandlerContext, name: string): boolean => context.fields[name] === true

/** Who has a token that may do so cancels whatever is under way; without one the attempt must be named, or any stranger could end it. */
export const nonceFor = (context: HandlerContext): string | null => {
  const nonce = text(context, 'nonce')
  return context.token !== null && nonce === '' ? null : nonce
}

/** An attempt's name is for those who began it, or have a token: by it strangers could end it. */
export const shownNonce = (nonce: string, named: boolean): string => (named ? nonce : '')
