/** What an operator lays down by name (roles, trusted certificates, directory groups): kept as versioned records, with the routes to list, read, write and delete them. */
import { HoldfastError } from '#base/errors.ts'
import { checkVersion } from '#base/formats.ts'
import type { FieldSchema, HandlerContext, LogicalResponse, MountStorage, PathDef } from '#core/types.ts'
import { inPath, listNames, pageFields, path, reads, text, writes } from './fields.ts'

interface Versioned {
  readonly version: number
}

/** Where one kind of record lies. */
export class Records<T extends Versioned> {
  /** For errors: 'a role'. */
  readonly what: string
  readonly folder: string
  readonly version: number

  constructor(what: string, folder: string, version: number) {
    this.what = what
    this.folder = folder
    this.version = version
  }

  /** null when there is none. @throws ERR_UPGRADE_REQUIRED for a record of another release. */
  async read(storage: MountStorage, name: string): Promise<T | null> {
    return checkedRecord(this.what, this.version, await storage.getJson<T>(`${this.folder}/${name}`))
  }

  write(storage: MountStorage, name: string, record: Omit<T, 'version'>): void {
    storage.putJson(`${this.folder}/${name}`, { ...record, version: this.version })
  }

  delete(storage: MountStorage, name: string): void {
    storage.delete(`${this.folder}/${name}`)
  }

  /** Names, at most `countMax`. */
  list(storage: MountStorage, countMax: number): Promise<string[]> {
    return storage.list(this.folder, { limit: countMax })
  }
}

/** @throws ERR_UPGRADE_REQUIRED for a record of another release. */
export function checkedRecord<T extends Versioned>(what: string, version: number, record: T | null): T | null {
  if (record !== null && !checkVersion(what, version, record.version))
    throw new HoldfastError('ERR_STORE_CORRUPT', `expected ${what} to have a version`)
  return record
}

export interface RecordRoutes<T extends Versioned> {
  readonly records: Records<T>
  /** Below the mount: 'role'. */
  readonly route: string
  readonly parameter: string
  readonly synopsis: string
  readonly fields: Readonly<Record<string, FieldSchema>>
  /** From the request over what is there; null: it is made now. @throws ERR_BAD_REQUEST. */
  readonly change: (context: HandlerContext, present: T | null) => Omit<T, 'version'> | Promise<Omit<T, 'version'>>
  readonly describe: (record: T) => Record<string, unknown>
  readonly warnings?: (record: Omit<T, 'version'>, context: HandlerContext) => readonly string[]
  /** In which spelling a name is kept. Default: lower case. */
  readonly spelling?: (name: string, context: HandlerContext) => string | Promise<string>
  readonly description?: string
}

/** LIST of the names; GET, POST and DELETE of one. */
export function recordPaths<T extends Versioned>(routes: RecordRoutes<T>): PathDef[] {
  const { records, route, parameter, synopsis, fields, change, describe, warnings, spelling = (name) => name.toLowerCase() } = routes
  const nameOf = async (context: HandlerContext): Promise<string> => spelling(text(context, parameter), context)
  const present = async (context: HandlerContext): Promise<T | null> => records.read(context.storage, await nameOf(context))
  const save = async (context: HandlerContext): Promise<LogicalResponse | null> => {
    const record = await change(context, await present(context))
    records.write(context.storage, await nameOf(context), record)
    const said = warnings?.(record, context) ?? []
    return said.length === 0 ? null : { warnings: said }
  }
  const read = async (context: HandlerContext): Promise<LogicalResponse | null> => {
    const record = await present(context)
    return record && { data: describe(record) }
  }
  const remove = async (context: HandlerContext): Promise<null> => {
    records.delete(context.storage, await nameOf(context))
    return null
  }
  return [
    path(
      route,
      `Names: ${synopsis.charAt(0).toLowerCase()}${synopsis.slice(1)}`,
      { fields: pageFields },
      { list: reads('List', (context) => listNames(context, records.folder)) },
    ),
    path(
      `${route}/:${parameter}`,
      synopsis,
      { fields: { ...fields, [parameter]: inPath('Its name.') }, exists: async (context) => (await present(context)) !== null },
      { create: writes('Create', save), update: writes('Change', save), read: reads('Read', read), delete: writes('Delete', remove) },
      routes.description ?? 'Deleting one revokes no token: those that are out can no longer be renewed.',
    ),
  ]
}

/** One record a mount: its configuration. */
export async function readConfig<T extends Versioned>(storage: MountStorage, what: string, version: number): Promise<T | null> {
  return checkedRecord(what, version, await storage.getJson<T>('config'))
}
