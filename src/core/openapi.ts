/**
 * The OpenAPI document, from the same tables that route and validate: what it says of a path cannot differ from what the path does.
 *
 * A rest (`:path*`) is one parameter whose value may hold slashes; where it may be empty the document has the path without it too. Listing and scanning
 * are GET on the path with a slash at its end, as the field's own documents have it, so that a path that is read and listed has both.
 */
import { fullPath } from './mounts.ts'
import { apiVersion } from './version.ts'
import type { FieldSchema, FieldType, MountEntry, Operation, OperationDef, PathDef } from './types.ts'

const schemaOf: Readonly<Record<FieldType, object>> = {
  string: { type: 'string' },
  'lower-string': { type: 'string' },
  int: { type: 'integer' },
  bool: { type: 'boolean' },
  duration: { anyOf: [{ type: 'integer' }, { type: 'string', pattern: '^-?([0-9]+(ms|s|m|h|d)?)+$' }] },
  list: { type: 'array', items: { type: 'string' } },
  'string-map': { type: 'object', additionalProperties: { type: 'string' } },
  map: { type: 'object' },
  any: {},
  time: { type: 'string', format: 'date-time' },
}

type Item = Record<string, unknown>

/** One mount, and its engine's table. */
export interface Documented {
  readonly mount: MountEntry
  readonly defs: readonly PathDef[]
}

/** The document for some mounts' tables. Pure. */
export function openApiDocument(mounts: readonly Documented[]): Record<string, unknown> {
  const paths: Record<string, Item> = {}
  for (const { mount, defs } of mounts) {
    for (const def of defs) {
      if (def.unpublished) continue
      for (const template of templatesOf(`/${fullPath(mount)}`, def.pattern)) add(paths, template, def)
    }
  }
  return {
    openapi: '3.0.3',
    info: {
      title: 'Holdfast',
      description: 'HTTP API, compatible with Vault and OpenBao. Made from the tables that route and validate requests.',
      version: apiVersion,
      license: { name: 'Apache-2.0', url: 'https://www.apache.org/licenses/LICENSE-2.0' },
    },
    servers: [{ url: '/v1' }],
    security: [{ token: [] }],
    paths,
    components,
  }
}

const components = {
  securitySchemes: { token: { type: 'apiKey', in: 'header', name: 'X-Vault-Token' } },
  schemas: {
    Answer: {
      type: 'object',
      description: 'The envelope of every answer. Parts that are absent are null, empty, 0 or false, and never left out.',
      required: ['request_id', 'lease_id', 'renewable', 'lease_duration', 'data', 'wrap_info', 'warnings', 'auth'],
      properties: {
        request_id: { type: 'string' },
        lease_id: { type: 'string' },
        renewable: { type: 'boolean' },
        lease_duration: { type: 'integer' },
        data: { type: 'object', nullable: true },
        wrap_info: { type: 'object', nullable: true },
        warnings: { type: 'array', nullable: true, items: { type: 'string' } },
        auth: { type: 'object', nullable: true },
      },
    },
    Refusal: {
      type: 'object',
      description: 'Why not. `code` and `hint` stand there where there is a hint to give.',
      required: ['errors'],
      properties: { errors: { type: 'array', items: { type: 'string' } }, code: { type: 'string' }, hint: { type: 'string' } },
    },
  },
  responses: {
    Refused: { description: 'Refused.', content: { 'application/json': { schema: { $ref: '#/components/schemas/Refusal' } } } },
  },
} as const

interface Template {
  readonly path: string
  readonly names: readonly string[]
  /** The rest is empty: what is at the top can be listed, and nothing lies there itself. */
  readonly top: boolean
}

/** The paths of a pattern, each with the names in it. */
function templatesOf(prefix: string, pattern: string): Template[] {
  const path = `${prefix}${pattern.replaceAll(/:(\w+)\*?\??/g, '{$1}')}`
  const names = [...pattern.matchAll(/:(\w+)/g)].map((match) => match[1]!)
  const whole = { path, names, top: false }
  const optional = /\/?:(\w+)\*\?$/.exec(pattern)
  if (optional === null) return [whole]
  const without = `${prefix}${pattern.slice(0, optional.index)}`.replace(/\/$/, '')
  return [{ path: without, names: names.filter((name) => name !== optional[1]), top: true }, whole]
}

const listing: ReadonlySet<string> = new Set(['list', 'scan'])

function add(paths: Record<string, Item>, { path, names, top }: Template, def: PathDef): void {
  const plain = (Object.keys(def.operations) as Operation[]).filter((name) => !listing.has(name))
  if (plain.length > 0 && !top) merge(paths, path, names, def, plain)
  const lists = (Object.keys(def.operations) as Operation[]).filter((name) => listing.has(name))
  if (lists.length > 0) merge(paths, `${path}/`, names, def, lists)
}

/** Two patterns can lead to one path (a rest that is empty, and a path of its own): what comes first stands. */
function merge(paths: Record<string, Item>, path: string, names: readonly string[], def: PathDef, operations: readonly Operation[]): void {
  const item = (paths[path] ??= headOf(def, names))
  for (const name of operations) {
    const method = methods[name]
    if (item[method] === undefined) item[method] = operationItem(path, def, name, operations)
  }
}

const methods: Readonly<Record<Operation, string>> = {
  create: 'post',
  update: 'post',
  read: 'get',
  patch: 'patch',
  delete: 'delete',
  list: 'get',
  scan: 'get',
  help: 'get',
}

function headOf(def: PathDef, names: readonly string[]): Item {
  const item: Item = { description: def.help.synopsis, 'x-holdfast-pattern': def.pattern }
  if (def.sudo) item['x-vault-sudo'] = true
  if (def.unauthenticated) item['x-vault-unauthenticated'] = true
  // A name in the pattern that no field declares is still part of the path.
  const parameters = names.map((name) => {
    const field = def.fields[name] ?? { type: 'string', in: 'path', description: name }
    return parameter(name, field, 'path', def.pattern.includes(`:${name}*`) ? { 'x-holdfast-rest': true } : {})
  })
  if (parameters.length > 0) item.parameters = parameters
  return item
}

function operationItem(path: string, def: PathDef, name: Operation, together: readonly Operation[]): Item {
  const operation = def.operations[name]!
  const takesBody = name === 'create' || name === 'update' || name === 'patch'
  const query = Object.entries(def.fields).filter(([, field]) => field.in === 'query')
  const parameters = query.map(([field, schema]) => parameter(field, schema, 'query'))
  if (listing.has(name)) parameters.push(...verbsOf(together))
  const body = Object.entries(def.fields).filter(([, field]) => (field.in ?? 'body') === 'body')
  const described = takesBody && (body.length > 0 || def.freeForm === true || def.uploadBytesMax !== undefined)
  return {
    operationId: idOf(methods[name], path),
    summary: operation.summary,
    ...(def.help.description === def.help.synopsis ? {} : { description: def.help.description }),
    tags: [path.split('/')[1]!],
    ...(def.unauthenticated ? { security: [] } : {}),
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(described ? { requestBody: requestBody(name, def, body) } : {}),
    responses: responsesOf(def, name, operation),
  }
}

/** Of a path that is only listed the word is needed; where it can be scanned too, one of both is. */
function verbsOf(together: readonly Operation[]): Item[] {
  const verb = (name: string, description: string, required: boolean): Item => ({
    name,
    in: 'query',
    description,
    required,
    schema: { type: 'string', enum: ['true'] },
    ...(required ? { example: 'true' } : {}),
  })
  if (!together.includes('scan')) return [verb('list', 'That this is a LIST.', true)]
  return [verb('list', 'A LIST: one level.', false), verb('scan', 'A SCAN: all levels. Not together with list.', false)]
}

/** What generators make function names of. */
const idOf = (method: string, path: string): string =>
  `${path.endsWith('/') ? 'list' : method}_${path
    .replace(/^\/|\/$/g, '')
    .replaceAll('/', '_')
    .replaceAll(/[{}]/g, '')}`

function responsesOf(def: PathDef, name: Operation, operation: OperationDef): Item {
  const writes = methods[name] !== 'get'
  const schema = def.bare ? { type: 'object' } : { $ref: '#/components/schemas/Answer' }
  const given = Object.entries(operation.responses ?? {}).map(([status, { description, example }]) => [
    status,
    {
      description,
      ...(status === '204'
        ? {}
        : { content: { 'application/json': { schema, ...(example === undefined ? {} : { 'x-holdfast-data-example': example }) } } }),
    },
  ])
  // A write that answers nothing is 204, and 200 where it has a warning to give: which of them, its handler knows.
  const usual = [
    ['200', { description: 'The answer.', content: { 'application/json': { schema } } }],
    ...(writes ? [['204', { description: 'Done; nothing to say.' }]] : []),
  ]
  return { ...Object.fromEntries(usual), ...Object.fromEntries(given), default: { $ref: '#/components/responses/Refused' } }
}

function requestBody(name: Operation, def: PathDef, fields: readonly (readonly [string, FieldSchema])[]): Item {
  if (def.uploadBytesMax !== undefined) return { content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } } }
  const required = fields.filter(([, field]) => field.required && name !== 'patch').map(([field]) => field)
  const schema = {
    type: 'object',
    properties: Object.fromEntries(fields.map(([field, described]) => [field, property(described)])),
    ...(required.length > 0 ? { required } : {}),
    ...(def.freeForm ? { additionalProperties: true } : {}),
  }
  const example = exampleOf(def, name, fields)
  const content = { schema, ...(example === null ? {} : { example }) }
  return {
    ...(required.length > 0 ? { required: true } : {}),
    content: { [name === 'patch' ? 'application/merge-patch+json' : 'application/json']: content },
  }
}

/** The table's own example; else those of the fields that are needed, where each has one. null: there is none. */
function exampleOf(def: PathDef, name: Operation, fields: readonly (readonly [string, FieldSchema])[]): object | null {
  const own = def.operations[name]?.example
  if (own !== undefined) return own
  const needed = fields.filter(([, field]) => field.required)
  if (needed.length === 0 || needed.some(([, field]) => field.example === undefined)) return null
  return Object.fromEntries(needed.map(([field, { example }]) => [field, example]))
}

const property = (field: FieldSchema): Item => ({
  ...schemaOf[field.type],
  description: field.description,
  ...(field.default === undefined || !fits(field.type, field.default) ? {} : { default: field.default }),
  ...(field.enum ? { enum: field.enum } : {}),
  ...(field.deprecated ? { deprecated: true } : {}),
  ...(field.sensitive ? { 'x-vault-displaySensitive': true } : {}),
  ...(field.example === undefined ? {} : { example: field.example }),
})

/** Some tables say a default in words of their own; in the document it must be of the field's type. */
const fits = (type: FieldType, value: unknown): boolean =>
  type === 'any' ||
  (type === 'string' || type === 'lower-string' || type === 'time'
    ? typeof value === 'string'
    : type === 'int'
      ? typeof value === 'number'
      : type === 'bool'
        ? typeof value === 'boolean'
        : type === 'list'
          ? Array.isArray(value)
          : type === 'duration'
            ? typeof value === 'number' || typeof value === 'string'
            : typeof value === 'object')

const parameter = (name: string, field: FieldSchema, place: 'path' | 'query', extra: Item = {}): Item => ({
  name,
  in: place,
  description: field.description,
  required: place === 'path' || field.required === true,
  ...(field.deprecated ? { deprecated: true } : {}),
  schema: {
    ...schemaOf[field.type],
    ...(place === 'path' ? { minLength: 1 } : {}),
    ...(field.enum ? { enum: field.enum } : {}),
    ...(field.default === undefined || !fits(field.type, field.default) ? {} : { default: field.default }),
  },
  ...(field.example === undefined ? {} : { example: field.example }),
  ...extra,
})
