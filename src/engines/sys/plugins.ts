/** The catalog of what can be mounted: only what this build has. Tools list it, and nothing can be added to it. */
import type { EngineDef, PathDef } from '#core/types.ts'
import { answer, inPath, path, reads, text } from './table.ts'
import type { SystemServices } from './types.ts'

const kinds = { auth: 'auth', secret: 'secret' } as const

export function pluginPaths({ engines }: SystemServices): PathDef[] {
  const named = (kind: string): string[] => {
    const wanted = Object.hasOwn(kinds, kind) ? kinds[kind as keyof typeof kinds] : null
    return engines
      .filter((engine) => engine.kind === wanted)
      .map(({ type }) => type)
      .toSorted()
  }
  const describe = ({ type, kind }: EngineDef): Record<string, unknown> => ({
    name: type,
    type: kind,
    builtin: true,
    version: '',
    deprecation_status: 'supported',
  })
  return [
    path(
      'plugins/catalog',
      'What can be mounted.',
      {},
      {
        read: reads('List', async () =>
          answer({ auth: named('auth'), database: [], secret: named('secret'), detailed: engines.map(describe) }),
        ),
      },
    ),
    path(
      'plugins/catalog/:type',
      'What can be mounted, of one kind.',
      { fields: { type: inPath("'auth', 'secret' or 'database'.", 'secret') } },
      { list: reads('List', async (context) => answer({ keys: named(text(context, 'type')) })) },
    ),
    path(
      'plugins/catalog/:type/:name',
      'One of what can be mounted.',
      { fields: { type: inPath("'auth', 'secret' or 'database'.", 'secret'), name: inPath('Its type.', 'kv') } },
      {
        read: reads('Read', async (context) => {
          const found = engines.find(({ kind, type }) => kind === text(context, 'type') && type === text(context, 'name'))
          if (found === undefined) return null
          const { name, builtin, version, deprecation_status } = describe(found)
          return answer({ name, builtin, version, deprecation_status, args: [], command: '', sha256: '' })
        }),
      },
    ),
  ]
}
