/** LIST and SCAN below the folder of keys, for both versions of the engine. */
import { HoldfastError } from '#base/errors.ts'
import type { ListOptions } from '#barrier/types.ts'
import type { LogicalResponse, MountStorage } from '#core/types.ts'

/** A scan answers at most so many keys: it holds all of them in memory at once. */
export const scanKeysMax = 100_000

/** `after` and `limit` from a request; `limit` <= 0 or `max` means all. @throws ERR_BAD_REQUEST. */
export function pageOf(after: unknown, limit: unknown): ListOptions {
  const options: { after?: string; limit?: number } = {}
  if (typeof after === 'string' && after !== '') options.after = after
  if (limit === undefined || limit === null || limit === '' || limit === 'max') return options
  const count = typeof limit === 'object' ? Number.NaN : Number(limit)
  if (!Number.isSafeInteger(count)) throw new HoldfastError('ERR_BAD_REQUEST', `limit expected an integer or "max", got a ${typeof limit}`)
  if (count > 0) options.limit = count
  return options
}

/** The folders' names joined by one slash each, none at the ends. */
const folder = (...names: readonly string[]): string =>
  names
    .join('/')
    .split('/')
    .filter((name) => name !== '')
    .join('/')

export async function listKeys(storage: MountStorage, path: string, page: ListOptions): Promise<string[]> {
  return await storage.list(folder('m', path), page)
}

export function keysResponse(keys: readonly string[]): LogicalResponse | null {
  return keys.length === 0 ? null : { data: { keys } }
}

/** All keys below `path`, at any depth, relative to it and sorted. @throws ERR_BAD_REQUEST beyond scanKeysMax. */
export async function scanKeys(storage: MountStorage, path: string, page: ListOptions): Promise<string[]> {
  const keys: string[] = []
  const folders = ['']
  for (let at = folders.pop(); at !== undefined; at = folders.pop()) {
    for (const name of await listKeys(storage, folder(path, at), {})) (name.endsWith('/') ? folders : keys).push(`${at}${name}`)
    if (keys.length + folders.length > scanKeysMax) {
      throw new HoldfastError('ERR_BAD_REQUEST', `scan expected at most ${scanKeysMax} keys, got more`, {
        hint: 'scan a folder further down',
      })
    }
  }
  const after = page.after
  const from = (after === undefined ? keys : keys.filter((key) => key > after)).toSorted()
  return page.limit === undefined ? from : from.slice(0, page.limit)
}
