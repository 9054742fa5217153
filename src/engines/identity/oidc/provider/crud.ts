/** What the four kinds of records of the OpenID provider have in common: listing, reading, making within a bound. */
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { answer, path, reads } from '../../../sys/table.ts'
import { bad } from '../../common.ts'
import { pageOf } from '../../../kv/list.ts'
import { nameOf, pageFields } from '../keys.ts'
import type { Shelf } from './records.ts'

/** One and no more: a name that many records hold is told with so many of them. */
const namedMax = 16

export const listed = (names: readonly string[]): string => names.slice(0, namedMax).join(', ')

/** The names of a kind; with `keyInfo` what each of them is, which `wanted` may leave out. */
export function listPath<T extends object>(
  pattern: string,
  synopsis: string,
  kind: Shelf<T>,
  keyInfo: ((record: T) => Readonly<Record<string, unknown>>) | null = null,
  wanted: (context: HandlerContext, record: T) => boolean = () => true,
  fields: PathDef['fields'] = {},
): PathDef {
  const list = async (context: HandlerContext): Promise<LogicalResponse> => {
    const { after, limit } = pageOf(context.fields.after, context.fields.limit)
    const all = await kind.all(context.storage)
    const page = all.filter(([name, record]) => (after === undefined || name > after) && wanted(context, record)).slice(0, limit)
    const keys = page.map(([name]) => name)
    if (keyInfo === null) return answer({ keys })
    return answer({ keys, key_info: Object.fromEntries(page.map(([name, record]) => [name, keyInfo(record)])) })
  }
  return path(pattern, synopsis, { fields: { ...pageFields, ...fields } }, { list: reads('List', list) })
}

/** A handler that shows one. */
export const shown =
  <T extends object>(kind: Shelf<T>, describe: (record: T) => Readonly<Record<string, unknown>>) =>
  async (context: HandlerContext): Promise<LogicalResponse | null> => {
    const found = await kind.read(context.storage, nameOf(context))
    return found && answer(describe(found))
  }

/** @throws ERR_BAD_REQUEST where there are as many of them as there may be, and `name` would be one more. */
export async function checkRoom<T extends object>(
  { storage }: HandlerContext,
  kind: Shelf<T>,
  before: T | null,
  max: number,
  what: string,
): Promise<void> {
  if (before === null && (await storage.list(kind.folder)).length >= max) throw bad(`expected at most ${max} ${what} in a namespace`)
}

/** Of a list field: each once. @throws ERR_BAD_REQUEST for too many of them, or too long ones. */
export function idsIn(what: string, given: readonly string[], max: number): readonly string[] {
  const ids = [...new Set(given)].filter((id) => id !== '')
  if (ids.length <= max && ids.every((id) => id.length <= 256)) return ids
  throw bad(`${what} expected at most ${max} of at most 256 characters`)
}
