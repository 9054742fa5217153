/** Looking an entity or a group up by any of its names. */
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import type { Wanted } from '#identity/store.ts'
import { field, optional, path, reads } from '../sys/table.ts'
import { bad, type IdentityServices } from './common.ts'
import { readEntity } from './entities.ts'
import { readGroup } from './groups.ts'

const fields = {
  id: field('string', 'By its id.'),
  name: field('string', 'By its name.'),
  alias_id: field('string', 'By the id of an alias of it.'),
  alias_name: field('string', 'By the name of an alias of it, with alias_mount_accessor.'),
  alias_mount_accessor: field('string', 'Accessor of the mount of the alias, with alias_name.'),
}

export function lookupPaths(services: IdentityServices): PathDef[] {
  const lookup = (what: string, read: (context: HandlerContext, wanted: Wanted) => Promise<LogicalResponse | null>): PathDef =>
    path(
      `lookup/${what}`,
      `Look a${what === 'entity' ? 'n' : ''} ${what} up by its id, its name, or an alias.`,
      { fields },
      {
        // Reads, by the verb that carries a body.
        update: reads(
          'Look up',
          async (context) => {
            const wanted = wantedOf(context)
            return wanted && read(context, wanted)
          },
          { name: 'ada' },
        ),
      },
      'Exactly one of the ways is to be given; an alias by its id, or by its name and mount accessor. 204 when there is none.',
    )
  return [
    lookup('entity', (context, wanted) => readEntity(services, context, wanted)),
    lookup('group', (context, wanted) => readGroup(services, context, wanted)),
  ]
}

/** null: an empty string was asked for, which nothing is called. */
function wantedOf(context: HandlerContext): Wanted | null {
  const asked = (name: keyof typeof fields): string | undefined => optional<string>(context, name)
  const [id, name, aliasId] = [asked('id'), asked('name'), asked('alias_id')]
  const [aliasName, mountAccessor] = [asked('alias_name'), asked('alias_mount_accessor')]
  const count = [id, name, aliasId, aliasName, mountAccessor].filter((value) => value !== undefined).length
  if (count === 0) throw bad('query parameter not supplied')
  if (count === 1 && (aliasName !== undefined || mountAccessor !== undefined)) {
    throw bad("both 'alias_name' and 'alias_mount_accessor' needs to be set")
  }
  const byFactors = aliasName !== undefined && mountAccessor !== undefined
  if (count > 1 && !(count === 2 && byFactors)) {
    throw bad('query parameter conflict; please supply distinct set of query parameters')
  }
  if (id) return { id }
  if (name) return { name }
  if (aliasId) return { aliasId }
  return aliasName && mountAccessor ? { aliasName, mountAccessor } : null
}
