/** Where engines and login methods are mounted, and how they are tuned. */
import type { Client } from '#client/client.ts'
import { ApiError } from '#client/errors.ts'
import { isSet } from './compare.ts'
import { dataAt } from './reading.ts'
import { settingItem } from './setting.ts'
import type { Fields, Item, Kind, Sides } from './types.ts'

export interface Mount {
  /** Without a slash at its end. */
  readonly path: string
  readonly type: string
  readonly description: string
  readonly accessor: string
  readonly options: Fields
  readonly config: Fields
  readonly local: boolean
}

export type Table = 'mounts' | 'auth'

const map = (value: unknown): Fields => (typeof value === 'object' && value !== null ? (value as Fields) : {})

function mountOf(path: string, entry: Fields): Mount {
  const { type, description, accessor, options, config, local } = entry
  return {
    path: path.replace(/\/+$/, ''),
    type: String((type ?? '') as string),
    description: String((description ?? '') as string),
    accessor: String((accessor ?? '') as string),
    options: map(options),
    config: map(config),
    local: local === true,
  }
}

/** All that is mounted, by path. Where the token may not see the table itself: what it may use. @throws ApiError. */
export async function mountsOf(client: Client, table: Table): Promise<ReadonlyMap<string, Mount>> {
  const entries = await dataAt(client, `sys/${table}`).catch(async (error: unknown) => {
    if (!(error instanceof ApiError) || error.status !== 403) throw error
    const visible = await dataAt(client, 'sys/internal/ui/mounts')
    return map(visible?.[table === 'auth' ? 'auth' : 'secret'])
  })
  const mounts = Object.entries(entries ?? {})
    .filter(([, entry]) => typeof map(entry)['type'] === 'string')
    .map(([path, entry]) => mountOf(path, map(entry)))
  return new Map(mounts.toSorted((a, b) => (a.path < b.path ? -1 : 1)).map((mount) => [mount.path, mount]))
}

export const isKv = ({ type }: Mount): boolean => type === 'kv' || type === 'generic' || type === 'kv-v2' || type === 'kv-v1'

export const kvVersionOf = ({ type, options }: Mount): 1 | 2 => (type === 'kv-v2' || String(options['version'] as string) === '2' ? 2 : 1)

/** What is tuned, without what has no meaning on another server. */
const tunedNames = [
  'default_lease_ttl',
  'max_lease_ttl',
  'force_no_cache',
  'listing_visibility',
  'token_type',
  'audit_non_hmac_request_keys',
  'audit_non_hmac_response_keys',
  'passthrough_request_headers',
  'allowed_response_headers',
  'user_lockout_config',
] as const

const tuningOf = ({ config }: Mount): Fields =>
  Object.fromEntries(tunedNames.flatMap((name) => (config[name] === undefined || config[name] === null ? [] : [[name, config[name]]])))

/** As one set of settings: what is made by the first write, and what can be tuned later. */
function fieldsOf(mount: Mount): Fields {
  const { type, description, local } = mount
  return isKv(mount)
    ? { ...tuningOf(mount), type: 'kv', version: kvVersionOf(mount), description, local }
    : { ...tuningOf(mount), type, description, local }
}

const madeOnce = ['type', 'version', 'local']

/** One mount. Its type, version and locality can't be changed where it is; an upgrade of kv is a person's decision. */
export function mountItem({ from, to }: Sides, table: Table, kind: Kind, { path }: Mount): Item {
  const shown = table === 'auth' ? `auth/${path}` : path
  const read = async (client: Client): Promise<Fields | null> => {
    const mount = (await mountsOf(client, table)).get(path)
    return mount === undefined ? null : fieldsOf(mount)
  }
  return settingItem({
    kind,
    path: `${shown}/`,
    wanted: () => read(from),
    present: () => read(to),
    notChanged: (wanted, present) => {
      const fixed = madeOnce.filter((name) => String(wanted[name] as string) !== String(present[name] as string))
      return fixed.length === 0 ? null : `its ${fixed.join(', ')} can't be changed where it is`
    },
    write: async ({ type, version, local, ...tuning }, present) => {
      const { description, ...config } = tuning
      if (present !== null) return void (await to.write(`sys/${table}/${path}/tune`, tuning))
      const options = version === undefined ? {} : { options: { version: String(version as number) } }
      await to.write(`sys/${table}/${path}`, { type, description, local, config, ...options })
    },
  })
}

/** Settings of a kv engine of version 2 for all its secrets. */
export const kvConfigItem = ({ from, to }: Sides, { path }: Mount): Item =>
  settingItem({
    kind: 'kv',
    path: `${path}/config`,
    wanted: () => dataAt(from, `${path}/config`),
    present: () => dataAt(to, `${path}/config`),
    isNothing: (wanted) => !isSet(wanted),
    write: async (wanted) => void (await to.write(`${path}/config`, wanted)),
  })
