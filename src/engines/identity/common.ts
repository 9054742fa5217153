/** What the files of this folder share. */
import type { Transaction } from '#barrier/types.ts'
import { scopeOf, transactionOf } from '#core/scope.ts'
import type { FieldSchema, HandlerContext, LogicalResponse, MountEntry, PathDef } from '#core/types.ts'
import type { IdentityStore } from '#identity/store.ts'
import { HoldfastError } from '#base/errors.ts'
import { pageOf } from '../kv/list.ts'
import { field, inPath, inQuery, optional, path, reads, text } from '../sys/table.ts'
import type { FindMount } from './shapes.ts'

export interface IdentityServices {
  readonly identity: IdentityStore
  /** This node's own, as its clients reach it: the issuer of identity tokens where none is set. */
  readonly apiAddress: string
}

/** Entries of one list that are described in `key_info`: each costs a read. */
export const describedMax = 1_000

/** Where an entity or group is looked for: the mount's own namespace. */
export const namespaceOf = (context: HandlerContext): string => context.mount.namespaceId

export function mountFinder(context: HandlerContext): FindMount {
  const { mounts } = scopeOf(context)
  return (accessor) => mounts.entries.find((mount) => mount.accessor === accessor) ?? null
}

/** @throws ERR_BAD_REQUEST when no mount has this accessor. */
export function mountOf(context: HandlerContext, accessor: string): MountEntry {
  const mount = mountFinder(context)(accessor)
  if (mount) return mount
  throw new HoldfastError('ERR_BAD_REQUEST', `invalid mount accessor ${JSON.stringify(accessor.slice(0, 128))}`)
}

export const writing = (context: HandlerContext): Transaction => transactionOf(context)

/** A string that was given and is not empty. */
export function given(context: HandlerContext, name: string): string | undefined {
  const value = text(context, name)
  return value === '' ? undefined : value
}

/** `{ [key]: the field's value }` when the request has it: absent fields leave things as they are. */
export function sent<K extends string, T>(context: HandlerContext, key: K, name: string): Partial<Record<K, T>> {
  const value = optional<T>(context, name)
  return value === undefined ? {} : ({ [key]: value } as Partial<Record<K, T>>)
}

export const bad = (message: string): HoldfastError => new HoldfastError('ERR_BAD_REQUEST', message)

export const idField = inPath('Its id.')
export const nameField = inPath('Its name, in any letter case.', 'ada')
const pageFields: Readonly<Record<string, FieldSchema>> = {
  after: inQuery('string', 'Only entries after this one.'),
  limit: inQuery('any', 'At most so many; 0 or "max": all.'),
}

/** A list by ids, names or aliases, with what is known of each. */
export function listPath(
  pattern: string,
  synopsis: string,
  keys: (context: HandlerContext, page: ReturnType<typeof pageOf>) => Promise<string[]>,
  describe: (context: HandlerContext, key: string) => Promise<readonly [string, Record<string, unknown>] | null>,
): PathDef {
  const list = async (context: HandlerContext): Promise<LogicalResponse> => {
    const found = await keys(context, pageOf(context.fields.after, context.fields.limit))
    const info: Record<string, unknown> = {}
    for (const key of found.slice(0, describedMax)) {
      const described = await describe(context, key)
      if (described) info[described[0]] = described[1]
    }
    const data = { keys: found, ...(Object.keys(info).length === 0 ? {} : { key_info: info }) }
    if (found.length <= describedMax) return { data }
    return {
      data,
      warnings: [`key_info describes the first ${describedMax} of ${found.length} entries: ask for fewer with "after" and "limit"`],
    }
  }
  return path(pattern, synopsis, { fields: pageFields }, { list: reads('List', list) })
}

export const metadataField = (of: string): FieldSchema =>
  field('string-map', `What is known of the ${of}: at most 64 pairs, keys of 128 and values of 512 bytes. Replaces what was there.`)
export const policiesField = (of: string): FieldSchema => field('list', `Policies of the ${of}; not root.`)
