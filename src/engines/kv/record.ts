/**
 * One record a key: `m/<path>` holds the key's settings, its bounded map of versions, and the newest version's data when that is
 * small. Older and large versions lie at `v/<path>/<number>`.
 *
 * So a read of the newest version of an ordinary secret is one get (a large or old one: two), LIST is one folder's listing,
 * and a first write is one put. The price: a change of settings rewrites the small data with it, at most `inlineBytesMax`.
 * Rejected: data always apart (two gets and two puts for every request), and all versions in one record (each write would
 * rewrite ten secrets, and one large version would push the record past the storage's limit).
 *
 * Version 1 of the engine keeps its secrets under the same `m/<path>`, so that a mount tuned from version 1 to 2 needs no
 * conversion: such a record reads as a key with one version.
 */
import { HoldfastError } from '#base/errors.ts'
import type { MountStorage } from '#core/types.ts'

export type SecretData = Readonly<Record<string, unknown>>

/** Data up to so many bytes of JSON stays in the key's record. */
export const inlineBytesMax = 4_096
/** A record must stay below the storage's 1 MiB however many versions it counts (each at most about 70 bytes). */
export const maxVersionsMax = 8_192
export const maxVersionsDefault = 10

export interface VersionRecord {
  readonly createdMs: number
  /** When it was or will be deleted; 0: never. */
  readonly deletionMs: number
  /** Deleted by request: holds whatever the clock says, since a reader's view may stand at the very same millisecond. */
  readonly deleted?: true
  /** Its data is gone for good. */
  readonly destroyed?: true
}

export interface KeyRecord {
  readonly format: 2
  /** 0 while only settings have been written. */
  currentVersion: number
  /** 0 until the first version is dropped, as the peers answer it. Versions in [max(1, oldest), current] are in `versions`. */
  oldestVersion: number
  createdMs: number
  updatedMs: number
  maxVersions: number
  casRequired: boolean
  metadataCasRequired: boolean
  metadataVersion: number
  deleteVersionAfterSeconds: number
  customMetadata: Readonly<Record<string, string>> | null
  versions: Record<string, VersionRecord>
  /** The current version's data, when it is small and not destroyed. */
  inline?: SecretData
}

/** What version 1 of the engine stores. */
export interface PlainRecord {
  readonly format: 1
  readonly createdMs: number
  readonly data: SecretData
}

export interface MountSettings {
  readonly maxVersions: number
  readonly casRequired: boolean
  readonly metadataCasRequired: boolean
  /** Negative: switched off for every key; 0: not set. */
  readonly deleteVersionAfterSeconds: number
}

const settingsDefault: MountSettings = { maxVersions: 0, casRequired: false, metadataCasRequired: false, deleteVersionAfterSeconds: 0 }

export const keyPath = (path: string): string => `m/${path}`
export const versionPath = (path: string, version: number): string => `v/${path}/${version}`

export async function loadSettings(storage: MountStorage): Promise<MountSettings> {
  return (await storage.getJson<MountSettings>('config')) ?? settingsDefault
}

export function saveSettings(storage: MountStorage, settings: MountSettings): void {
  storage.putJson('config', settings)
}

/** The key's record, parsed for this caller and its to change; null when there is none. */
export async function loadKey(storage: MountStorage, path: string): Promise<KeyRecord | null> {
  if (path === '') return null
  const stored = await storage.getJson<KeyRecord | PlainRecord>(keyPath(path))
  return stored?.format === 1 ? fromPlain(stored) : stored
}

function fromPlain(plain: PlainRecord): KeyRecord {
  const record = newKey(plain.createdMs)
  record.currentVersion = 1
  record.versions['1'] = { createdMs: plain.createdMs, deletionMs: 0 }
  record.inline = plain.data
  return record
}

export function newKey(nowMs: number): KeyRecord {
  return {
    format: 2,
    currentVersion: 0,
    oldestVersion: 0,
    createdMs: nowMs,
    updatedMs: nowMs,
    maxVersions: 0,
    casRequired: false,
    metadataCasRequired: false,
    metadataVersion: 0,
    deleteVersionAfterSeconds: 0,
    customMetadata: null,
    versions: {},
  }
}

export function saveKey(storage: MountStorage, path: string, record: KeyRecord): void {
  storage.putJson(keyPath(path), record)
}

export function versionOf(record: KeyRecord, version: number): VersionRecord | null {
  return Object.hasOwn(record.versions, String(version)) ? (record.versions[String(version)] ?? null) : null
}

export function isDeleted(version: VersionRecord, nowMs: number): boolean {
  return version.deleted === true || (version.deletionMs !== 0 && version.deletionMs <= nowMs)
}

/** The data of `version` where it is kept in the record itself; undefined: ask `loadData`. */
export const inlineData = (record: KeyRecord, version: number): SecretData | undefined =>
  version === record.currentVersion ? record.inline : undefined

/** Data of a version that is neither deleted nor destroyed. @throws ERR_STORE_CORRUPT when the store has lost it. */
export async function loadData(storage: MountStorage, path: string, record: KeyRecord, version: number): Promise<SecretData> {
  const inline = inlineData(record, version)
  if (inline !== undefined) return inline
  const data = await storage.getJson<SecretData>(versionPath(path, version))
  if (data === null) throw new HoldfastError('ERR_STORE_CORRUPT', 'could not find version data')
  return data
}

/** When a version made or restored at `nowMs` is to be deleted; 0: never. The smaller of what key and mount ask for. */
export function deletionTimeMs(nowMs: number, settings: MountSettings, record: KeyRecord): number {
  if (settings.deleteVersionAfterSeconds < 0) return 0
  const asked = [settings.deleteVersionAfterSeconds, record.deleteVersionAfterSeconds].filter((seconds) => seconds > 0)
  return asked.length === 0 ? 0 : nowMs + Math.min(...asked) * 1_000
}

/**
 * Adds `data` as the next version, drops what exceeds the larger of key's and mount's max_versions, and saves the key.
 * Changes `record`; returns the new version's record.
 */
export function addVersion(
  storage: MountStorage,
  path: string,
  record: KeyRecord,
  settings: MountSettings,
  data: SecretData,
  nowMs: number,
): VersionRecord {
  const previous = record.currentVersion
  const previousInline = record.inline
  const version: VersionRecord = { createdMs: nowMs, deletionMs: deletionTimeMs(nowMs, settings, record) }
  record.currentVersion = previous + 1
  record.versions[String(record.currentVersion)] = version
  record.updatedMs = nowMs
  delete record.inline
  dropOldVersions(storage, path, record, settings)
  // The previous version leaves the record for a place of its own, unless it has just been dropped.
  if (previousInline !== undefined && versionOf(record, previous) !== null) {
    storage.putJson(versionPath(path, previous), previousInline)
  }
  placeData(storage, path, record, data)
  saveKey(storage, path, record)
  return version
}

function placeData(storage: MountStorage, path: string, record: KeyRecord, data: SecretData): void {
  const text = JSON.stringify(data)
  if (Buffer.byteLength(text) <= inlineBytesMax) record.inline = data
  else storage.put(versionPath(path, record.currentVersion), Buffer.from(text))
}

function dropOldVersions(storage: MountStorage, path: string, record: KeyRecord, settings: MountSettings): void {
  const kept = Math.max(record.maxVersions, settings.maxVersions) || maxVersionsDefault
  if (record.currentVersion - record.oldestVersion < kept) return
  const newest = record.currentVersion - kept
  for (let version = Math.max(1, record.oldestVersion); version <= newest; version++) {
    delete record.versions[String(version)]
    storage.delete(versionPath(path, version))
  }
  record.oldestVersion = newest + 1
}

/** Removes the data of `version` for good; its entry stays and says so. Changes `record`, does not save it. */
export function destroyVersion(storage: MountStorage, path: string, record: KeyRecord, version: number): void {
  const found = versionOf(record, version)
  if (found === null || found.destroyed) return
  record.versions[String(version)] = { ...found, destroyed: true }
  if (version === record.currentVersion) delete record.inline
  storage.delete(versionPath(path, version))
}

/** Removes the key with all its versions. */
export function deleteKey(storage: MountStorage, path: string, record: KeyRecord): void {
  for (const [version, { destroyed }] of Object.entries(record.versions)) {
    const elsewhere = Number(version) !== record.currentVersion || record.inline === undefined
    if (elsewhere && !destroyed) storage.delete(versionPath(path, Number(version)))
  }
  storage.delete(keyPath(path))
}
