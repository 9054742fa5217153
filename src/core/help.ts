/** Answers to `?help=1`, from the path tables. */
import { openApiDocument } from './openapi.ts'
import type { LogicalResponse, MountEntry, PathDef } from './types.ts'

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
