/** `metadata/<path>`, `detailed-metadata/<path>` and `config` of version 2: the settings of keys and of the mount. */
import { formatDuration } from '#base/duration.ts'
import { HoldfastError } from '#base/errors.ts'
import { formatRfc3339 } from '#base/rfc3339.ts'
import type { HandlerContext, LogicalResponse } from '#core/types.ts'
import { mergedCustomMetadata, readCustomMetadata } from './custom-metadata.ts'
import { notFound, pathOf, requirePath, versionTimes } from './data.ts'
import { keysResponse, listKeys, pageOf, scanKeys } from './list.ts'
import { deleteKey, loadKey, loadSettings, maxVersionsMax, newKey, saveKey, saveSettings } from './record.ts'
import type { KeyRecord, MountSettings } from './record.ts'

function metadataData(record: KeyRecord): Record<string, unknown> {
  return {
    cas_required: record.casRequired,
    created_time: formatRfc3339(record.createdMs),
    current_metadata_version: record.metadataVersion,
    current_version: record.currentVersion,
    custom_metadata: record.customMetadata,
    delete_version_after: formatDuration(record.deleteVersionAfterSeconds),
    max_versions: record.maxVersions,
    metadata_cas_required: record.metadataCasRequired,
    oldest_version: record.oldestVersion,
    updated_time: formatRfc3339(record.updatedMs),
    versions: Object.fromEntries(Object.entries(record.versions).map(([number, version]) => [number, versionTimes(version)])),
  }
}

export async function readMetadata(context: HandlerContext): Promise<LogicalResponse | null> {
  const record = await loadKey(context.storage, pathOf(context))
  return record === null ? null : { data: metadataData(record) }
}

const settingNames = ['max_versions', 'cas_required', 'metadata_cas_required', 'delete_version_after', 'custom_metadata'] as const

function readMaxVersions(value: unknown): number {
  const count = Number(value)
  if (count >= 0 && count <= maxVersionsMax) return count
  throw new HoldfastError('ERR_BAD_REQUEST', `max_versions expected 0 to ${maxVersionsMax}, got ${count}`)
}

function readKeyDuration(value: unknown): number {
  if (Number(value) >= 0) return Number(value)
  throw new HoldfastError('ERR_BAD_REQUEST', 'delete_version_after expected zero or more, got a negative duration', {
    hint: 'a negative duration, which switches this off for all keys, can be set on the mount only',
  })
}

/** Checks `metadata_cas` against the record (null: about to be created). */
function checkMetadataCas(context: HandlerContext, settings: MountSettings, record: KeyRecord | null): void {
  const cas = context.fields['metadata_cas']
  if (cas === undefined) {
    if (!settings.metadataCasRequired && !record?.metadataCasRequired) return
    throw new HoldfastError('ERR_CAS_REQUIRED', 'metadata check-and-set parameter required for this call')
  }
  if (record === null && cas !== 0) throw new HoldfastError('ERR_CAS_MISMATCH', 'metadata_cas must be 0 when creating new metadata')
  if (record !== null && cas !== record.metadataVersion) {
    throw new HoldfastError('ERR_CAS_MISMATCH', 'metadata check-and-set parameter does not match the current version')
  }
}

function warningsOf(context: HandlerContext, settings: MountSettings): LogicalResponse | null {
  const ignored = (name: string): string => `"${name}" set to false, but is mandated by backend config. This value will be ignored.`
  const warnings: string[] = []
  if (settings.casRequired && context.fields['cas_required'] === false) warnings.push(ignored('cas_required'))
  if (settings.metadataCasRequired && context.fields['metadata_cas_required'] === false) warnings.push(ignored('metadata_cas_required'))
  return warnings.length === 0 ? null : { warnings }
}

/** Takes over the settings that the request names; a null in a PATCH resets one. custom_metadata is the caller's. */
function applySettings(context: HandlerContext, record: KeyRecord, nullResets: boolean): void {
  const asked = (name: string, reset: unknown): unknown =>
    nullResets && context.request.body[name] === null ? reset : context.fields[name]
  const maxVersions = asked('max_versions', 0)
  const casRequired = asked('cas_required', false)
  const metadataCasRequired = asked('metadata_cas_required', false)
  const deleteAfter = asked('delete_version_after', 0)
  if (maxVersions !== undefined) record.maxVersions = readMaxVersions(maxVersions)
  if (casRequired !== undefined) record.casRequired = casRequired === true
  if (metadataCasRequired !== undefined) record.metadataCasRequired = metadataCasRequired === true
  if (deleteAfter !== undefined) record.deleteVersionAfterSeconds = readKeyDuration(deleteAfter)
}

const orNull = (map: Readonly<Record<string, string>>): KeyRecord['customMetadata'] => (Object.keys(map).length === 0 ? null : map)

export async function writeMetadata(context: HandlerContext): Promise<LogicalResponse | null> {
  const path = requirePath(context)
  if (settingNames.every((name) => context.fields[name] === undefined)) return null
  const custom = context.fields['custom_metadata']
  const customMetadata = custom === undefined ? null : readCustomMetadata(custom)
  const settings = await loadSettings(context.storage)
  const existing = await loadKey(context.storage, path)
  checkMetadataCas(context, settings, existing)
  const record = existing ?? newKey(context.nowMs)
  applySettings(context, record, false)
  if (customMetadata !== null) record.customMetadata = orNull(customMetadata)
  record.metadataVersion += 1
  record.updatedMs = context.nowMs
  saveKey(context.storage, path, record)
  return warningsOf(context, settings)
}

export async function patchMetadata(context: HandlerContext): Promise<LogicalResponse | null> {
  const path = requirePath(context)
  const body = context.request.body
  if (settingNames.every((name) => !Object.hasOwn(body, name))) return null
  const record = await loadKey(context.storage, path)
  if (record === null) throw notFound()
  const settings = await loadSettings(context.storage)
  checkMetadataCas(context, settings, record)
  applySettings(context, record, true)
  // Read from the body, not from the checked fields: a null inside means that the key goes.
  if (Object.hasOwn(body, 'custom_metadata')) {
    record.customMetadata = orNull(mergedCustomMetadata(record.customMetadata, body['custom_metadata']))
  }
  record.metadataVersion += 1
  record.updatedMs = context.nowMs
  saveKey(context.storage, path, record)
  return warningsOf(context, settings)
}

export async function deleteMetadata(context: HandlerContext): Promise<null> {
  const path = pathOf(context)
  const record = await loadKey(context.storage, path)
  if (record !== null) deleteKey(context.storage, path, record)
  return null
}

const page = (context: HandlerContext) => pageOf(context.fields['after'], context.fields['limit'])

export async function listMetadata(context: HandlerContext): Promise<LogicalResponse | null> {
  return keysResponse(await listKeys(context.storage, pathOf(context), page(context)))
}

export async function scanMetadata(context: HandlerContext): Promise<LogicalResponse> {
  return { data: { keys: await scanKeys(context.storage, pathOf(context), page(context)) } }
}

async function withKeyInfo(context: HandlerContext, keys: readonly string[]): Promise<LogicalResponse> {
  const info: [string, unknown][] = []
  const prefix = pathOf(context).replace(/\/+$/, '')
  for (const key of keys) {
    const record = key.endsWith('/') ? null : await loadKey(context.storage, prefix === '' ? key : `${prefix}/${key}`)
    info.push([key, record === null ? {} : metadataData(record)])
  }
  return { data: { key_info: Object.fromEntries(info), keys } }
}

export async function listDetailed(context: HandlerContext): Promise<LogicalResponse | null> {
  const keys = await listKeys(context.storage, pathOf(context), page(context))
  return keys.length === 0 ? null : await withKeyInfo(context, keys)
}

export async function scanDetailed(context: HandlerContext): Promise<LogicalResponse> {
  return await withKeyInfo(context, await scanKeys(context.storage, pathOf(context), page(context)))
}

export async function readConfig(context: HandlerContext): Promise<LogicalResponse> {
  const settings = await loadSettings(context.storage)
  return {
    data: {
      cas_required: settings.casRequired,
      delete_version_after: formatDuration(settings.deleteVersionAfterSeconds),
      max_versions: settings.maxVersions,
      metadata_cas_required: settings.metadataCasRequired,
    },
  }
}

export async function writeConfig(context: HandlerContext): Promise<null> {
  const { fields } = context
  const before = await loadSettings(context.storage)
  const after = fields['delete_version_after']
  saveSettings(context.storage, {
    maxVersions: fields['max_versions'] === undefined ? before.maxVersions : readMaxVersions(fields['max_versions']),
    casRequired: (fields['cas_required'] as boolean | undefined) ?? before.casRequired,
    metadataCasRequired: (fields['metadata_cas_required'] as boolean | undefined) ?? before.metadataCasRequired,
    // Any negative duration means the same, and is answered as -1s.
    deleteVersionAfterSeconds: after === undefined ? before.deleteVersionAfterSeconds : Math.max(-1, Number(after)),
  })
  return null
}
