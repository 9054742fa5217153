/**
 * A call as version 1 has them on a mount of version 2: what people do who know the one and got the other. They are told which of the two lies here; "no
 * handler for route" says nothing. Clients of the field know it by the beginning of the sentence, and by 404 with a warning in place of an error.
 */
import type { HandlerContext, LogicalResponse, OperationDef, PathDef } from '#core/types.ts'

const subcommands: Readonly<Record<string, string>> = { read: 'get', list: 'list', scan: 'list', delete: 'delete', patch: 'patch' }

async function tellVersion({ operation, mount, path }: HandlerContext): Promise<LogicalResponse> {
  const kept = operation === 'list' || operation === 'scan' ? 'metadata' : 'data'
  const below = path.replace(/^\/+|\/+$/g, '')
  const warning =
    `Invalid path for a versioned K/V secrets engine: in version 2 it is ${mount.path}${kept}/${below}. ` +
    `\`holdfast kv ${subcommands[operation] ?? 'put'} ${mount.path}${below}\` finds that out by itself.`
  return { status: 404, warnings: [warning] }
}

const told: OperationDef = { summary: 'Tells that this is version 2.', writes: false, handler: tellVersion }

export const wrongPath: PathDef = {
  pattern: ':wrong*?',
  unpublished: true,
  fields: { wrong: { type: 'string', in: 'path', description: 'A path as version 1 has it.' } },
  freeForm: true,
  operations: { read: told, update: told, patch: told, delete: told, list: told, scan: told },
  help: {
    synopsis: 'No path of version 2.',
    description: 'This mount keeps versions: secrets are at data/PATH, their settings and lists at metadata/PATH.',
  },
}
