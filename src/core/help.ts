/** `?help=1` and the OpenAPI document, both from the path tables. */
import { fullPath } from './mounts.ts'
import { apiVersion } from './version.ts'
import type { FieldSchema, FieldType, LogicalResponse, MountEntry, Operation, PathDef } from './types.ts'

const schemaOf: Readonly<Record<FieldType, object>> = {
  string: { type: 'string' },
  'lower-string': { type: 'string', format: 'lowercase' },
  int: { type: 'integer' },
  bool: { type: 'boolean' },
  duration: { type: 'string', format: 'duration' },
  list: { type: 'array', items: { type: 'string' } },
  'string-map': { type: 'object', additionalProperties: { type: 'string' } },
  map: { type: 'object' },
  any: {},
  time: { type: 'string', format: 'date-time' },
}

/** Answer to `?help=1`: text for people, an OpenAPI fragment for tools. */
export function helpResponse(def: PathDef, mount: MountEntry): LogicalResponse {
  return { data: { help: helpText(def), openapi: openApiDocument([{ mount, defs: [def] }]) } }
}

function helpText(def: PathDef): string {
  const lines = [`Request: ${def.pattern}`, '', def.help.synopsis, '', '## OPERATIONS', '']
  for (const [name, operation] of Object.entries(def.operations)) lines.push(`    ${name}: ${operation.summary}`)
  const fields = Object.entries(def.fields)
  if (fields.length > 0) lines.push('', '## PARAMETERS', '')
  for (const [name, field] of fields) {
    const notes = [
      field.type,
      field.required ? 'required' : '',
      field.default === undefined ? '' : `default ${JSON.stringify(field.default)}`,
    ]
    lines.push(`    ${name} (${notes.filter((note) => note !== '').join(', ')})`, `        ${field.description}`)
  }
  return `${[...lines, '', '## DESCRIPTION', '', def.help.description].join('\n')}\n`
}

const methods: Readonly<Record<Operation, string | null>> = {
  create: 'post',
  update: 'post',
  read: 'get',
  patch: 'patch',
  delete: 'delete',
  list: 'get',
  scan: 'get',
  help: null,
}

/** The document for some mounts' tables. Pure. */
export function openApiDocument(
  mounts: readonly { readonly mount: MountEntry; readonly defs: readonly PathDef[] }[],
): Record<string, unknown> {
  const paths: Record<string, unknown> = {}
  for (const { mount, defs } of mounts) {
    for (const def of defs) {
      const path = `/${fullPath(mount)}${def.pattern.replaceAll(/:(\w+)\*?\??/g, '{$1}')}`
      paths[path] = pathItem(def)
    }
  }
  return {
    openapi: '3.0.2',
    info: { title: 'Holdfast', description: 'HTTP API, compatible with Vault and OpenBao. All paths begin with /v1.', version: apiVersion },
    paths,
  }
}

function pathItem(def: PathDef): Record<string, unknown> {
  const item: Record<string, unknown> = { description: def.help.synopsis }
  if (def.sudo) item['x-vault-sudo'] = true
  if (def.unauthenticated) item['x-vault-unauthenticated'] = true
  const inPath = Object.entries(def.fields).filter(([, field]) => field.in === 'path')
  if (inPath.length > 0) item.parameters = inPath.map(([name, field]) => parameter(name, field, 'path'))
  for (const name of Object.keys(def.operations) as Operation[]) {
    const method = methods[name]
    // A path that both reads and lists shares GET: the read is described, and the list by its parameter.
    if (method !== null && !(name === 'list' && item.get)) item[method] = operationItem(def, name)
  }
  return item
}

function operationItem(def: PathDef, name: Operation): Record<string, unknown> {
  const operation = def.operations[name]!
  const described = operation.responses ?? { [name === 'read' || name === 'list' ? 200 : 204]: { description: 'OK' } }
  const responses: Record<string, unknown> = {}
  for (const [status, { description }] of Object.entries(described)) responses[status] = { description }
  const query = Object.entries(def.fields).filter(([, field]) => field.in === 'query')
  const parameters = query.map(([field, schema]) => parameter(field, schema, 'query'))
  if (name === 'list') parameters.push({ name: 'list', in: 'query', required: true, schema: { type: 'string', enum: ['true'] } })
  const body = Object.entries(def.fields).filter(([, field]) => (field.in ?? 'body') === 'body')
  const takesBody = body.length > 0 && (name === 'create' || name === 'update' || name === 'patch')
  return {
    summary: operation.summary,
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(takesBody ? { requestBody: requestBody(name, body) } : {}),
    responses,
  }
}

function requestBody(name: Operation, fields: readonly (readonly [string, FieldSchema])[]): object {
  const required = fields.filter(([, field]) => field.required).map(([field]) => field)
  const schema = {
    type: 'object',
    properties: Object.fromEntries(fields.map(([field, schema]) => [field, property(schema)])),
    ...(required.length > 0 ? { required } : {}),
  }
  return { content: { [name === 'patch' ? 'application/merge-patch+json' : 'application/json']: { schema } } }
}

const property = (field: FieldSchema): object => ({
  ...schemaOf[field.type],
  description: field.description,
  ...(field.default === undefined ? {} : { default: field.default }),
  ...(field.enum ? { enum: field.enum } : {}),
  ...(field.deprecated ? { deprecated: true } : {}),
})

const parameter = (name: string, field: FieldSchema, place: 'path' | 'query'): Record<string, unknown> => ({
  name,
  in: place,
  description: field.description,
  required: place === 'path' || field.required === true,
  schema: schemaOf[field.type],
})
