/**
 * What identity's own tokens are made of, in the storage of the mount `identity/` of each namespace:
 *
 *   oidc/config               the issuer
 *   oidc/keys/NAME            a named key: its rules, and the public halves of what it has signed with, signs with, and will sign with next
 *   oidc/secrets/NAME/KID     a private half; there are two of each named key: today's and the next
 *   oidc/roles/NAME           a role: which key, which audience, which claims
 *   oidc/{assignments,scopes,clients,providers,codes ...}   of the OpenID provider: provider/records.ts
 *
 * The private halves lie by themselves: what anybody may ask for (the key set) never opens one.
 */
import type { JWK } from 'jose'
import { HoldfastError } from '#base/errors.ts'
import { checkVersion } from '#base/formats.ts'
import type { MountStorage } from '#core/types.ts'

const formatVersion = 1

export const signatureAlgorithms = ['RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'ES512', 'EdDSA'] as const
export type SignatureAlgorithm = (typeof signatureAlgorithms)[number]

/** Named keys of a namespace: whoever asks for the key set, and anybody may, reads so many records. */
export const keysMax = 64
export const rolesMax = 1_024
/** Public halves of one named key that are published at once: by time there are 12 at most, and the key set of a namespace stays one that anybody may ask for. */
export const publishedMax = 16

export interface PublishedKey {
  readonly kid: string
  readonly jwk: JWK
  /** Until when what it has signed can be verified; null: it signs, or will. */
  readonly untilMs: number | null
}

export interface NamedKey {
  readonly algorithm: SignatureAlgorithm
  readonly rotationSeconds: number
  readonly verificationSeconds: number
  /** '*': all. */
  readonly allowedClientIds: readonly string[]
  readonly nextRotationMs: number
  /** Signs. */
  readonly signingKid: string
  /** Signs after the next rotation: published before, so that who keeps the key set has it by then. */
  readonly nextKid: string
  readonly published: readonly PublishedKey[]
}

export interface OidcRole {
  readonly key: string
  /** JSON with templates; '': no claims of its own. */
  readonly template: string
  readonly clientId: string
  readonly ttlSeconds: number
}

export interface OidcConfig {
  /** '': the address of the node that answers. */
  readonly issuer: string
}

/** A record of this folder. null: there is none. @throws ERR_UPGRADE_REQUIRED for one of another release. */
export async function readRecord<T extends object>(storage: MountStorage, path: string, what: string): Promise<T | null> {
  const record = await storage.getJson<T & { readonly version: number }>(path)
  if (record === null) return null
  if (!checkVersion(what, formatVersion, record.version)) throw new HoldfastError('ERR_STORE_CORRUPT', `expected ${what} to have a version`)
  return record
}

export const writeRecord = (storage: MountStorage, path: string, record: object): void =>
  storage.putJson(path, { ...record, version: formatVersion })

export const keyFolder = 'oidc/keys'
export const roleFolder = 'oidc/roles'

export const readConfig = async (storage: MountStorage): Promise<OidcConfig> =>
  (await readRecord<OidcConfig>(storage, 'oidc/config', 'the settings of identity tokens')) ?? { issuer: '' }
export const writeConfig = (storage: MountStorage, config: OidcConfig): void => writeRecord(storage, 'oidc/config', config)

export const readKey = (storage: MountStorage, name: string): Promise<NamedKey | null> =>
  readRecord<NamedKey>(storage, `${keyFolder}/${name}`, 'a key of identity tokens')
export const writeKey = (storage: MountStorage, name: string, key: NamedKey): void => writeRecord(storage, `${keyFolder}/${name}`, key)

export const readRole = (storage: MountStorage, name: string): Promise<OidcRole | null> =>
  readRecord<OidcRole>(storage, `${roleFolder}/${name}`, 'a role of identity tokens')
export const writeRole = (storage: MountStorage, name: string, role: OidcRole): void => writeRecord(storage, `${roleFolder}/${name}`, role)

const secretPath = (name: string, kid: string): string => `oidc/secrets/${name}/${kid}`

/** @throws ERR_STORE_CORRUPT: a named key always has the private halves of today's and of the next. */
export async function readSecret(storage: MountStorage, name: string, kid: string): Promise<JWK> {
  const found = await readRecord<{ readonly jwk: JWK }>(storage, secretPath(name, kid), 'a private key of identity tokens')
  if (found === null) throw new HoldfastError('ERR_STORE_CORRUPT', 'expected a private key of identity tokens, got none')
  return found.jwk
}
export const writeSecret = (storage: MountStorage, name: string, kid: string, jwk: JWK): void =>
  writeRecord(storage, secretPath(name, kid), { jwk })
export const deleteSecret = (storage: MountStorage, name: string, kid: string): void => storage.delete(secretPath(name, kid))

/** Of every role, with its name: at most `rolesMax`. */
export async function allRoles(storage: MountStorage): Promise<(OidcRole & { readonly name: string })[]> {
  const found: (OidcRole & { readonly name: string })[] = []
  for (const name of await storage.list(roleFolder)) {
    const role = await readRole(storage, name)
    if (role !== null) found.push({ ...role, name })
  }
  return found
}

/** What can be verified with at `nowMs`, of all named keys. */
export async function publishedKeys(storage: MountStorage, nowMs: number): Promise<PublishedKey[]> {
  const found: PublishedKey[] = []
  for (const name of await storage.list(keyFolder)) {
    const key = await readKey(storage, name)
    found.push(...(key?.published ?? []).filter(({ untilMs }) => untilMs === null || untilMs > nowMs))
  }
  return found
}
