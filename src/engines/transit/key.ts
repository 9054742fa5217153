/**
 * A named key: all its versions in one record, the newest one encrypts. So far what the transit seal of another cluster needs: AES-256-GCM.
 * The record lies at `key/<name>`, behind the barrier like everything else.
 */
import { HoldfastError } from '#base/errors.ts'
import type { RandomSource } from '#base/random.ts'
import type { HandlerContext, MountStorage } from '#core/types.ts'

export const keyType = 'aes256-gcm96'
const keyBytes = 32
/** A record must stay well below the storage's 1 MiB. */
const versionsMax = 5_000

export interface KeyVersion {
  /** Base64. */
  readonly key: string
  readonly createdMs: number
}

export interface TransitKey {
  readonly format: 1
  readonly type: typeof keyType
  latest: number
  minDecryption: number
  /** 0: the latest. */
  minEncryption: number
  deletionAllowed: boolean
  versions: Record<string, KeyVersion>
}

/** Names are one segment; the table's pattern sees to it. */
export const keyPath = (name: string): string => `key/${name}`

export const nameOf = (context: HandlerContext): string => (context.fields['name'] as string | undefined) ?? ''

export const loadKey = (storage: MountStorage, name: string): Promise<TransitKey | null> => storage.getJson<TransitKey>(keyPath(name))

/** @throws ERR_BAD_REQUEST when there is none, as the peers answer it. */
export async function expectKey(storage: MountStorage, name: string): Promise<TransitKey> {
  const key = await loadKey(storage, name)
  if (key === null) throw new HoldfastError('ERR_BAD_REQUEST', 'encryption key not found', { hint: `create it: write keys/${name}` })
  return key
}

export function newKey(random: RandomSource, nowMs: number): TransitKey {
  const key: TransitKey = { format: 1, type: keyType, latest: 0, minDecryption: 1, minEncryption: 0, deletionAllowed: false, versions: {} }
  addVersion(key, random, nowMs)
  return key
}

/** A new version, which encrypts from now on. @throws ERR_BAD_REQUEST when there are too many. */
export function addVersion(key: TransitKey, random: RandomSource, nowMs: number): void {
  if (key.latest >= versionsMax)
    throw new HoldfastError('ERR_BAD_REQUEST', `a key expected at most ${versionsMax} versions, got more`, { hint: 'begin a new key' })
  key.latest++
  const bytes = random.bytes(keyBytes)
  key.versions[String(key.latest)] = { key: Buffer.from(bytes).toString('base64'), createdMs: nowMs }
  bytes.fill(0)
}

/** As `keys/:name` answers it. */
export function describeKey(name: string, key: TransitKey): Record<string, unknown> {
  const created = Object.entries(key.versions)
    .filter(([version]) => Number(version) >= key.minDecryption)
    .map(([version, { createdMs }]) => [version, Math.floor(createdMs / 1_000)] as const)
  return {
    name,
    type: key.type,
    deletion_allowed: key.deletionAllowed,
    derived: false,
    exportable: false,
    allow_plaintext_backup: false,
    imported_key: false,
    auto_rotate_period: 0,
    keys: Object.fromEntries(created),
    min_available_version: 0,
    min_decryption_version: key.minDecryption,
    min_encryption_version: key.minEncryption,
    latest_version: key.latest,
    supports_encryption: true,
    supports_decryption: true,
    supports_derivation: true,
    supports_signing: false,
  }
}
