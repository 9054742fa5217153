/** Login methods: their configuration, roles, users and groups. What the API never shows is named, to be set again. */
import type { Client } from '#client/client.ts'
import { isSet } from './compare.ts'
import { mountItem, mountsOf, type Mount } from './mounts.ts'
import { dataAt, namesAt } from './reading.ts'
import { settingItem } from './setting.ts'
import { told, type Fields, type Item, type Sides, type Stage } from './types.ts'

interface SecretField {
  readonly name: string
  /** Whether the source has one, as far as what it shows tells. */
  readonly isUsed: (shown: Fields) => boolean
  /** The server takes nothing of this without it. */
  readonly required: boolean
}

interface Family {
  /** Below the mount. */
  readonly folder: string
  readonly secret?: SecretField
  /** A field that has a route of its own below each. */
  readonly own?: { readonly route: string; readonly name: string }
  /** Said once for the folder when there is anything in it. */
  readonly hint?: string
}

interface Method {
  readonly config?: { readonly secrets: readonly SecretField[] }
  readonly families: readonly Family[]
}

const always = (): boolean => true
const given = (name: string) => (shown: Fields) => isSet(shown[name])
const jwt: Method = {
  config: { secrets: [{ name: 'oidc_client_secret', isUsed: given('oidc_client_id'), required: false }] },
  families: [{ folder: 'role' }],
}

/** What is known of each type. */
export const methods: Readonly<Record<string, Method>> = {
  token: { families: [{ folder: 'roles' }] },
  userpass: { families: [{ folder: 'users', secret: { name: 'password', isUsed: always, required: true } }] },
  approle: {
    families: [
      {
        folder: 'role',
        own: { route: 'role-id', name: 'role_id' },
        hint: 'secret ids are never shown: make new ones: holdfast write -force auth/MOUNT/role/NAME/secret-id',
      },
    ],
  },
  jwt,
  oidc: jwt,
  kubernetes: {
    config: { secrets: [{ name: 'token_reviewer_jwt', isUsed: given('token_reviewer_jwt_set'), required: false }] },
    families: [{ folder: 'role' }],
  },
  ldap: {
    config: {
      secrets: [
        { name: 'bindpass', isUsed: given('binddn'), required: false },
        { name: 'client_tls_key', isUsed: given('client_tls_cert'), required: false },
      ],
    },
    families: [{ folder: 'groups' }, { folder: 'users' }],
  },
  cert: { config: { secrets: [] }, families: [{ folder: 'certs' }] },
}

/** Lists of which only names can be told. */
const untold: Readonly<Record<string, readonly (readonly [folder: string, reason: string])[]>> = {
  cert: [['crls', 'a revocation list is never shown: load it again: holdfast write auth/MOUNT/crls/NAME crl=@FILE']],
  apikey: [['key', 'an API key is never shown: make another: holdfast write auth/MOUNT/key name=NAME']],
}

/** Shown beside the field that replaced them, and what only the source can know. */
const oldNames = ['policies', 'ttl', 'max_ttl', 'period', 'num_uses', 'bound_cidrs']
const shownOnly = new Set(['token_reviewer_jwt_set', 'status', 'name', 'local_secret_ids'])

function writable(shown: Fields): Fields {
  const isOld = (name: string): boolean =>
    (oldNames.includes(name) && Object.hasOwn(shown, `token_${name}`)) ||
    (name === 'bound_cidr_list' && Object.hasOwn(shown, 'secret_id_bound_cidrs'))
  return Object.fromEntries(Object.entries(shown).filter(([name, value]) => value !== null && !shownOnly.has(name) && !isOld(name)))
}

/** Mounts first: what lies below needs them. */
export const authStages = (sides: Sides, mounts: readonly Mount[]): readonly Stage[] => [
  { title: 'login methods', items: () => methodItems(sides, mounts) },
  { title: 'roles and users', items: () => innerItems(sides, mounts) },
]

const isBuiltIn = ({ path, type }: Mount): boolean => type === 'token' && path === 'token'

async function* methodItems(sides: Sides, mounts: readonly Mount[]): AsyncGenerator<Item, void, undefined> {
  for (const mount of mounts) {
    if (isBuiltIn(mount)) continue
    if (Object.hasOwn(methods, mount.type) || Object.hasOwn(untold, mount.type)) yield mountItem(sides, 'auth', 'auth', mount)
    else yield told('auth', `auth/${mount.path}/`, `Holdfast has no login method of type ${mount.type}`)
  }
}

async function* innerItems(sides: Sides, mounts: readonly Mount[]): AsyncGenerator<Item, void, undefined> {
  const present = await mountsOf(sides.to, 'auth')
  for (const mount of mounts) {
    const there = present.get(mount.path)
    // Another method of that path was told above.
    if (there !== undefined && there.type !== mount.type) continue
    const of = new MethodItems(sides, mount, there !== undefined)
    const { config, families } = methods[mount.type] ?? { families: [] }
    if (config) yield* of.config(config.secrets)
    for (const family of families) yield* of.family(family)
    for (const [folder, reason] of untold[mount.type] ?? [])
      for await (const name of namesAt(sides.from, `auth/${mount.path}/${folder}`))
        yield told('auth', `auth/${mount.path}/${folder}/${name}`, of.worded(reason))
  }
}

class MethodItems {
  readonly #sides: Sides
  readonly #base: string
  readonly #mounted: boolean
  /** `mounted`: the target has it by now (in a dry run it may not). */
  constructor(sides: Sides, mount: Mount, mounted: boolean) {
    this.#sides = sides
    this.#base = `auth/${mount.path}`
    this.#mounted = mounted
  }

  worded(reason: string): string {
    return reason.replaceAll('auth/MOUNT', this.#base)
  }

  async #present(read: (client: Client) => Promise<Fields | null>): Promise<Fields | null> {
    return this.#mounted ? await read(this.#sides.to) : null
  }

  async *config(secrets: readonly SecretField[]): AsyncGenerator<Item, void, undefined> {
    const path = `${this.#base}/config`
    const { from, to } = this.#sides
    const shown = await dataAt(from, path)
    if (shown === null) return
    yield settingItem({
      kind: 'auth',
      path,
      wanted: () => Promise.resolve(writable(shown)),
      present: () => this.#present((client) => dataAt(client, path)),
      write: async (wanted) => void (await to.write(path, wanted)),
    })
    for (const { name, isUsed } of secrets)
      if (isUsed(shown)) yield told('auth', path, `${name} is never shown: set it again, with the rest, at ${path}`)
  }

  async *family({ folder, secret, own, hint }: Family): AsyncGenerator<Item, void, undefined> {
    const at = `${this.#base}/${folder}`
    const { from, to } = this.#sides
    let count = 0
    for await (const name of namesAt(from, at)) {
      count += 1
      const path = `${at}/${name}`
      const read = async (client: Client): Promise<Fields | null> => {
        const data = await dataAt(client, path)
        if (data === null || own === undefined) return data && writable(data)
        return { ...writable(data), ...(await dataAt(client, `${path}/${own.route}`)) }
      }
      yield settingItem({
        kind: 'auth',
        path,
        wanted: () => read(from),
        present: () => this.#present(read),
        write: async (wanted) => {
          const { [own?.name ?? '']: ownValue, ...rest } = wanted
          await to.write(path, rest)
          if (own !== undefined && ownValue !== undefined) await to.write(`${path}/${own.route}`, { [own.name]: ownValue })
        },
        ...(secret?.required ? { notMade: (wanted) => remade(path, secret.name, wanted) } : {}),
      })
    }
    if (hint !== undefined && count > 0) yield told('auth', at, this.worded(hint))
  }
}

/** What a person has to do, as a command that makes it as it is at the source. Settings only, which the API shows to whoever may read them. */
function remade(path: string, secret: string, wanted: Fields): string {
  const words = Object.entries(wanted).flatMap(([name, value]) => {
    const text = Array.isArray(value) ? value.join(',') : String(value as string)
    return isSet(value) && text !== 'default' && plainWord.test(text) ? [`${name}=${text}`] : []
  })
  return `its ${secret} is never shown: holdfast write ${[path, `${secret}=-`, ...words].join(' ')}`
}

/** What a shell takes as it stands. */
const plainWord = /^[\w.,:/@+-]+$/
