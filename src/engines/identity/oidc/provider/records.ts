/**
 * What the OpenID provider is made of, beside the keys and roles of identity tokens (../records.ts):
 *
 *   oidc/assignments/NAME           who may sign in: entities and groups
 *   oidc/scopes/NAME                claims that a client may ask for
 *   oidc/clients/NAME               an application
 *   oidc/client-ids/ID              its name, by the id that it calls itself
 *   oidc/providers/NAME             an issuer: which clients, which scopes
 *   oidc/codes/MINUTE/WHO/HASH      an authorization code, until it is redeemed or its minute is over (codes.ts)
 *
 * `default` (a provider) and `allow_all` (an assignment) are there without a record.
 */
import type { MountStorage } from '#core/types.ts'
import { readRecord, writeRecord } from '../records.ts'

/** Of each kind, in a namespace: a rule that names another kind is checked by reading them. */
export const providerLimits = { assignmentsMax: 1_024, scopesMax: 256, clientsMax: 1_024, providersMax: 64 } as const

export const defaultProvider = 'default'
export const allowAll = 'allow_all'
/** Every request names it; what it says is said always. */
export const openidScope = 'openid'

export interface Assignment {
  /** '*': everybody who has an entity here. */
  readonly entityIds: readonly string[]
  readonly groupIds: readonly string[]
}

export interface Scope {
  /** JSON with templates; '': no claims. */
  readonly template: string
  readonly description: string
}

export const clientTypes = ['confidential', 'public'] as const

export interface Client {
  readonly clientId: string
  /** '' for a public one. */
  readonly secret: string
  readonly type: (typeof clientTypes)[number]
  /** The named key that signs for it. */
  readonly key: string
  readonly redirectUris: readonly string[]
  readonly assignments: readonly string[]
  readonly idTokenSeconds: number
  readonly accessTokenSeconds: number
}

export interface Provider {
  /** '': as identity tokens have it, else the address of the node that answers. */
  readonly issuer: string
  /** '*': all. */
  readonly allowedClientIds: readonly string[]
  readonly scopes: readonly string[]
}

/** Records of one kind, by name. */
export interface Shelf<T extends object> {
  readonly folder: string
  read(storage: MountStorage, name: string): Promise<T | null>
  write(storage: MountStorage, name: string, record: T): void
  delete(storage: MountStorage, name: string): void
  /** Each with its name; as many as its kind may have. */
  all(storage: MountStorage): Promise<readonly (readonly [string, T])[]>
}

function shelf<T extends object>(folder: string, what: string, always: Readonly<Record<string, T>> = {}): Shelf<T> {
  const read = async (storage: MountStorage, name: string): Promise<T | null> =>
    (await readRecord<T>(storage, `${folder}/${name}`, what)) ?? (Object.hasOwn(always, name) ? always[name]! : null)
  return {
    folder,
    read,
    write: (storage, name, record) => writeRecord(storage, `${folder}/${name}`, record),
    delete: (storage, name) => storage.delete(`${folder}/${name}`),
    async all(storage) {
      const found: (readonly [string, T])[] = []
      for (const name of new Set([...Object.keys(always), ...(await storage.list(folder))])) {
        const record = await read(storage, name)
        if (record !== null) found.push([name, record])
      }
      return found.toSorted(([a], [b]) => (a < b ? -1 : 1))
    },
  }
}

export const assignments = shelf<Assignment>('oidc/assignments', 'an assignment of the OpenID provider', {
  [allowAll]: { entityIds: ['*'], groupIds: ['*'] },
})
export const scopes = shelf<Scope>('oidc/scopes', 'a scope of the OpenID provider')
export const clients = shelf<Client>('oidc/clients', 'a client of the OpenID provider')
export const providers = shelf<Provider>('oidc/providers', 'an OpenID provider', {
  [defaultProvider]: { issuer: '', allowedClientIds: ['*'], scopes: [] },
})
const clientNames = shelf<{ readonly name: string }>('oidc/client-ids', 'the id of a client of the OpenID provider')

/** A client and its index, written together. */
export function writeClient(storage: MountStorage, name: string, client: Client): void {
  clients.write(storage, name, client)
  clientNames.write(storage, client.clientId, { name })
}

export function deleteClient(storage: MountStorage, name: string, { clientId }: Client): void {
  clients.delete(storage, name)
  clientNames.delete(storage, clientId)
}

/** By what it calls itself; null for what is no client's id. */
export async function clientById(
  storage: MountStorage,
  clientId: string,
): Promise<{ readonly name: string; readonly client: Client } | null> {
  if (!/^[0-9A-Za-z]{32}$/.test(clientId)) return null
  const found = await clientNames.read(storage, clientId)
  const client = found && (await clients.read(storage, found.name))
  return found && client && client.clientId === clientId ? { name: found.name, client } : null
}
