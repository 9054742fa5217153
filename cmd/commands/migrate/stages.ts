/** All there is to move, in the order in which one needs the other. */
import { authStages } from './auth.ts'
import { identityStages } from './identity.ts'
import { kvItems } from './kv.ts'
import { isKv, kvConfigItem, kvVersionOf, mountItem, mountsOf, type Mount } from './mounts.ts'
import { policyItems } from './policies.ts'
import { dataAt, namesAt } from './reading.ts'
import { told, type Fields, type Item, type Kind, type Sides, type Stage } from './types.ts'
import { ApiError } from '#client/errors.ts'

export interface Wanted {
  readonly kinds: ReadonlySet<Kind>
  /** Only these mounts, without slashes at their ends, login methods as 'auth/PATH'; null: all. */
  readonly mounts: ReadonlySet<string> | null
}

/** Reads the source's tables of mounts. @throws ApiError. */
export async function stagesOf(sides: Sides, { kinds, mounts }: Wanted): Promise<readonly Stage[]> {
  const chosen = (path: string): boolean => mounts === null || mounts.has(path)
  const secrets = [...(await mountsOf(sides.from, 'mounts')).values()].filter(({ path }) => chosen(path))
  const methods = kinds.has('auth') ? [...(await mountsOf(sides.from, 'auth')).values()].filter(({ path }) => chosen(`auth/${path}`)) : []
  const engines = secrets.filter(isKv)
  return [
    ...(kinds.has('policies') ? [{ title: 'policies', items: () => policyItems(sides) }] : []),
    ...(kinds.has('auth') ? authStages(sides, methods) : []),
    ...(kinds.has('identity') ? identityStages(sides) : []),
    ...(kinds.has('kv') ? kvStages(sides, engines) : []),
    {
      title: 'what stays',
      items: () =>
        stayingItems(
          sides,
          kinds,
          secrets.filter((mount) => !isKv(mount)),
        ),
    },
  ]
}

const kvStages = (sides: Sides, engines: readonly Mount[]): readonly Stage[] => [
  { title: 'kv engines', items: () => engineItems(sides, engines) },
  { title: 'settings of kv engines', items: () => engineConfigs(sides, engines) },
  ...engines.map((mount) => ({ title: mount.path, items: () => secretItems(sides, mount) })),
]

async function* engineItems(sides: Sides, engines: readonly Mount[]): AsyncGenerator<Item, void, undefined> {
  for (const mount of engines) yield mountItem(sides, 'mounts', 'kv', mount)
}

async function* engineConfigs(sides: Sides, engines: readonly Mount[]): AsyncGenerator<Item, void, undefined> {
  const present = await mountsOf(sides.to, 'mounts')
  for (const mount of engines) {
    const there = present.get(mount.path)
    if (kvVersionOf(mount) === 2 && (there === undefined || (isKv(there) && kvVersionOf(there) === 2))) yield kvConfigItem(sides, mount)
  }
}

async function* secretItems(sides: Sides, mount: Mount): AsyncGenerator<Item, void, undefined> {
  const there = (await mountsOf(sides.to, 'mounts')).get(mount.path)
  const version = kvVersionOf(mount)
  const targetVersion = there === undefined ? 0 : kvVersionOf(there)
  // Told as a conflict of the mount; and versions can't go into an engine that keeps none.
  const fits = there === undefined || (isKv(there) && (version === 1 || targetVersion === 2))
  if (fits) yield* kvItems(sides, { path: mount.path, version, targetVersion })
  else yield told('kv', `${mount.path}/`, 'none of its secrets is copied: the target has another engine there')
}

const everywhere = new Set(['cubbyhole', 'identity', 'system', 'ns_system', 'ns_cubbyhole', 'ns_identity', 'ns_token'])

/** What no tool can take along, each with what to do instead. */
async function* stayingItems(sides: Sides, kinds: ReadonlySet<Kind>, others: readonly Mount[]): AsyncGenerator<Item, void, undefined> {
  if (kinds.has('other')) {
    for (const { path, type } of others.filter(({ type }) => !everywhere.has(type)))
      yield told('other', `${path}/`, `an engine of type ${type} holds keys or accounts that the API does not show: set it up anew`)
    for (const name of await namesMaybe(sides, 'sys/namespaces')) {
      const child = name.replace(/\/+$/, '')
      yield told('other', `namespace ${child}`, `make it, then: holdfast migrate -from-namespace=${child} -namespace=${child}`)
    }
    yield told('other', 'tokens and leases', 'they stay with the server that gave them: everybody logs in anew')
  }
  if (kinds.has('audit')) yield* auditItems(sides)
}

async function* auditItems({ from }: Sides): AsyncGenerator<Item, void, undefined> {
  const devices = await maybe(() => dataAt(from, 'sys/audit'))
  for (const [path, device] of Object.entries(devices ?? {})) {
    const type = (device as Fields | null)?.['type']
    if (typeof type === 'string')
      yield told('audit', `audit/${path}`, `a device of type ${type} is of the machine: holdfast audit enable -help`)
  }
}

async function namesMaybe({ from }: Sides, path: string): Promise<readonly string[]> {
  const names: string[] = []
  await maybe(async () => {
    for await (const name of namesAt(from, path)) names.push(name)
    return null
  })
  return names
}

/** For hints only: null where the server has no such thing, or does not tell. */
async function maybe<T>(read: () => Promise<T | null>): Promise<T | null> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof ApiError) return null
    throw error
  }
}
