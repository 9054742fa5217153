/**
 * Roles and their secret ids in the mount's storage:
 *
 *   salt                      the key of all hashes below; made when the method is mounted
 *   roles/NAME                a role, under its name in lower case
 *   role-ids/HMAC             NAME, by the hash of its role id
 *   secret-ids/UID/HMAC       a secret id of the role with that uid: never the id itself
 *   accessors/UID/ACCESSOR    its HMAC
 *   due/MINUTE/UID.HMAC       by expiry, so that tidying reads what has expired and nothing else
 *
 * A role's uid is new each time a role is made: what was issued for a role of the same name before opens nothing.
 */
import { createHmac } from 'node:crypto'
import { HoldfastError } from '#base/errors.ts'
import { checkVersion } from '#base/formats.ts'
import { randomUuid, type RandomSource } from '#base/random.ts'
import type { TokenParams } from '#core/login-types.ts'
import type { MountStorage } from '#core/types.ts'

const formatVersion = 1
const saltBytes = 32
const minuteMs = 60_000
const secretIdCharsMax = 4_096

export interface Role {
  readonly version: number
  readonly uid: string
  readonly roleId: string
  /** False: whoever knows the role id, and comes from the right address, is let in. */
  readonly bindSecretId: boolean
  readonly secretIdBoundCidrs: readonly string[]
  /** Of its secret ids; 0: without limit. */
  readonly secretIdNumUses: number
  readonly secretIdTtlSeconds: number
  /** Kept and shown: there is one cluster. */
  readonly localSecretIds: boolean
  readonly token: TokenParams
}

export interface SecretId {
  readonly version: number
  readonly accessor: string
  /** Left; 0: without limit. What is used up is deleted. */
  readonly numUses: number
  readonly ttlSeconds: number
  readonly createdMs: number
  readonly updatedMs: number
  /** null: never. */
  readonly expiresMs: number | null
  readonly metadata: Readonly<Record<string, string>>
  readonly cidrs: readonly string[]
  readonly tokenCidrs: readonly string[]
}

/** Runs in the transaction that mounts the method. */
export const makeSalt = (storage: MountStorage, random: RandomSource): void =>
  storage.putJson('salt', { version: formatVersion, key: Buffer.from(random.bytes(saltBytes)).toString('base64') })

type Hash = (kind: 'role id' | 'secret id', value: string) => string

/** What role ids and secret ids are found by. Read once an operation. */
async function hasher(storage: MountStorage): Promise<Hash> {
  const salt = await storage.getJson<{ version: number; key: string }>('salt')
  if (salt === null) throw new HoldfastError('ERR_STORE_CORRUPT', "expected the mount's salt, got none")
  checkVersion("a mount's salt", formatVersion, salt.version)
  const key = Buffer.from(salt.key, 'base64')
  return (kind, value) => createHmac('sha256', key).update(`${kind}\0${value}`).digest('hex')
}

function checked<T extends { readonly version: number }>(what: string, record: T | null): T | null {
  if (record !== null && !checkVersion(what, formatVersion, record.version))
    throw new HoldfastError('ERR_STORE_CORRUPT', `expected ${what} to have a version`)
  return record
}

export const readRole = async (storage: MountStorage, name: string): Promise<Role | null> =>
  checked('a role', await storage.getJson<Role>(`roles/${name}`))

export async function findRole(storage: MountStorage, roleId: string): Promise<{ readonly name: string; readonly role: Role } | null> {
  const hash = await hasher(storage)
  const name = await storage.getJson<string>(`role-ids/${hash('role id', roleId)}`)
  const role = name === null ? null : await readRole(storage, name)
  return name === null || role === null ? null : { name, role }
}

export const newRole = (random: RandomSource, token: TokenParams): Role => ({
  version: formatVersion,
  uid: randomUuid(random),
  roleId: randomUuid(random),
  bindSecretId: true,
  secretIdBoundCidrs: [],
  secretIdNumUses: 0,
  secretIdTtlSeconds: 0,
  localSecretIds: false,
  token,
})

/** Writes `role` over `present`. @throws ERR_BAD_REQUEST: nothing guards it, or its role id is another's. */
export async function writeRole(storage: MountStorage, name: string, role: Role, present: Role | null): Promise<void> {
  if (!role.bindSecretId && role.secretIdBoundCidrs.length === 0 && role.token.boundCidrs.length === 0) {
    throw new HoldfastError('ERR_BAD_REQUEST', 'at least one constraint should be enabled on the role')
  }
  const hash = await hasher(storage)
  const path = `role-ids/${hash('role id', role.roleId)}`
  const holder = await storage.getJson<string>(path)
  if (holder !== null && holder !== name) throw new HoldfastError('ERR_BAD_REQUEST', 'role_id already in use')
  if (present !== null && present.roleId !== role.roleId) storage.delete(`role-ids/${hash('role id', present.roleId)}`)
  if (holder === null) storage.putJson(path, name)
  storage.putJson(`roles/${name}`, role)
}

/** The role and its role id; its secret ids below `orphanedPrefixes` are the caller's to sweep. */
export async function deleteRole(storage: MountStorage, name: string, role: Role): Promise<void> {
  const hash = await hasher(storage)
  storage.delete(`role-ids/${hash('role id', role.roleId)}`)
  storage.delete(`roles/${name}`)
}

export const orphanedPrefixes = ({ uid }: Role): readonly string[] => [`secret-ids/${uid}`, `accessors/${uid}`]

/** A secret id where it lies. */
export interface FoundSecretId {
  readonly hash: string
  readonly record: SecretId
}

const duePath = (uid: string, hash: string, expiresMs: number): string =>
  `due/${String(Math.floor(expiresMs / minuteMs)).padStart(10, '0')}/${uid}.${hash}`

export async function findSecretId(storage: MountStorage, { uid }: Role, secretId: string): Promise<FoundSecretId | null> {
  if (secretId.length > secretIdCharsMax) return null
  return readSecretId(storage, uid, (await hasher(storage))('secret id', secretId))
}

async function readSecretId(storage: MountStorage, uid: string, hash: string): Promise<FoundSecretId | null> {
  const record = checked('a secret id', await storage.getJson<SecretId>(`secret-ids/${uid}/${hash}`))
  return record && { hash, record }
}

export async function findByAccessor(storage: MountStorage, { uid }: Role, accessor: string): Promise<FoundSecretId | null> {
  if (!/^[0-9A-Za-z-]{1,64}$/.test(accessor)) return null
  const hash = await storage.getJson<string>(`accessors/${uid}/${accessor}`)
  return hash === null ? null : readSecretId(storage, uid, hash)
}

/** @throws ERR_BAD_REQUEST when the role has it already, or it is too long. */
export async function addSecretId(
  storage: MountStorage,
  { uid }: Role,
  secretId: string,
  record: Omit<SecretId, 'version'>,
): Promise<void> {
  if (secretId.length > secretIdCharsMax) {
    throw new HoldfastError('ERR_BAD_REQUEST', `secret_id expected at most ${secretIdCharsMax} characters, got ${secretId.length}`)
  }
  const hash = (await hasher(storage))('secret id', secretId)
  if ((await readSecretId(storage, uid, hash)) !== null) throw new HoldfastError('ERR_BAD_REQUEST', 'SecretID is already registered')
  putSecretId(storage, uid, hash, { version: formatVersion, ...record })
  storage.putJson(`accessors/${uid}/${record.accessor}`, hash)
  if (record.expiresMs !== null) storage.put(duePath(uid, hash, record.expiresMs), new Uint8Array(0))
}

function putSecretId(storage: MountStorage, uid: string, hash: string, record: SecretId): void {
  storage.putJson(`secret-ids/${uid}/${hash}`, record)
}

export function removeSecretId(storage: MountStorage, uid: string, { hash, record }: FoundSecretId): void {
  storage.delete(`secret-ids/${uid}/${hash}`)
  storage.delete(`accessors/${uid}/${record.accessor}`)
  if (record.expiresMs !== null) storage.delete(duePath(uid, hash, record.expiresMs))
}

/**
 * Counts one use. Read and written in the login's own transaction: of two logins at once with the last use one meets a conflict, is evaluated
 * again, and finds none left.
 */
export function useSecretId(storage: MountStorage, { uid }: Role, found: FoundSecretId, nowMs: number): void {
  const { hash, record } = found
  if (record.numUses === 0) return
  if (record.numUses === 1) removeSecretId(storage, uid, found)
  else putSecretId(storage, uid, hash, { ...record, numUses: record.numUses - 1, updatedMs: nowMs })
}

export const hasExpired = ({ record }: FoundSecretId, nowMs: number): boolean => record.expiresMs !== null && record.expiresMs <= nowMs

/** Deletes at most `countMax` secret ids that have expired: one bounded step. How many it deleted. */
export async function tidySecretIds(storage: MountStorage, nowMs: number, countMax = 256): Promise<number> {
  let deleted = 0
  for (const folder of await storage.list('due', { limit: 64 })) {
    if (Number(folder.slice(0, -1)) * minuteMs > nowMs) break
    for (const name of await storage.list(`due/${folder.slice(0, -1)}`, { limit: countMax - deleted + 1 })) {
      if (deleted >= countMax) return deleted
      const [uid = '', hash = ''] = name.split('.')
      const found = await readSecretId(storage, uid, hash)
      if (found !== null && !hasExpired(found, nowMs)) continue
      deleted += 1
      if (found === null) storage.delete(`due/${folder}${name}`)
      else removeSecretId(storage, uid, found)
    }
  }
  return deleted
}
