/** `data/<path>` and `subkeys/<path>` of version 2: the secrets themselves. */
import { HoldfastError, wellKnown } from '#base/errors.ts'
import { formatRfc3339 } from '#base/rfc3339.ts'
import type { HandlerContext, LogicalResponse } from '#core/types.ts'
import { isObject, mergePatch } from './merge-patch.ts'
import { addVersion, inlineData, isDeleted, loadData, loadKey, loadSettings, newKey, saveKey, versionOf } from './record.ts'
import type { KeyRecord, MountSettings, SecretData, VersionRecord } from './record.ts'

export const pathOf = (context: HandlerContext): string => (context.fields['path'] as string | undefined) ?? ''

export function requirePath(context: HandlerContext): string {
  const path = pathOf(context)
  if (path === '') throw new HoldfastError('ERR_BAD_REQUEST', 'missing path')
  return path
}

/** A write that finds nothing: 404 with no error text, as a read of nothing. */
export const notFound = (): HoldfastError => new HoldfastError('ERR_NOT_FOUND', 'expected an existing secret, got none', { errors: [] })

const timeText = (timeMs: number): string => (timeMs === 0 ? '' : formatRfc3339(timeMs))

export function versionTimes(version: VersionRecord): Record<string, unknown> {
  return {
    created_time: timeText(version.createdMs),
    deletion_time: timeText(version.deletionMs),
    destroyed: version.destroyed === true,
  }
}

/** The description of one version that reads and writes answer. */
function describe(record: KeyRecord, number: number, version: VersionRecord): Record<string, unknown> {
  const times = versionTimes(version)
  return {
    created_time: times['created_time'],
    custom_metadata: record.customMetadata,
    deletion_time: times['deletion_time'],
    destroyed: times['destroyed'],
    version: number,
  }
}

interface Found {
  readonly path: string
  readonly record: KeyRecord
  readonly number: number
  readonly version: VersionRecord
}

/** The version that a read asks for: `version`, or the current one for 0, none, or a negative number. */
async function find(context: HandlerContext): Promise<Found | null> {
  const path = pathOf(context)
  const record = await loadKey(context.storage, path)
  if (record === null) return null
  const asked = Number(context.fields['version'] ?? 0)
  const number = asked > 0 ? asked : record.currentVersion
  const version = versionOf(record, number)
  return version === null ? null : { path, record, number, version }
}

/** The version's data as `key`, or null with a 404 and its metadata when it is deleted or destroyed. */
async function answer(context: HandlerContext, key: string, shape: (data: SecretData) => unknown): Promise<LogicalResponse | null> {
  const found = await find(context)
  if (found === null) return null
  const metadata = describe(found.record, found.number, found.version)
  if (found.version.destroyed || isDeleted(found.version, context.nowMs)) return { status: 404, data: { [key]: null, metadata } }
  const data = inlineData(found.record, found.number) ?? (await loadData(context.storage, found.path, found.record, found.number))
  return { data: { [key]: shape(data), metadata } }
}

/** Not async, as none on the way of a read that only hands on: each costs a promise and a turn of the queue. */
export function readData(context: HandlerContext): Promise<LogicalResponse | null> {
  return answer(context, 'data', asItIs)
}

const asItIs = (data: SecretData): SecretData => data

export async function readSubkeys(context: HandlerContext): Promise<LogicalResponse | null> {
  const depth = Number(context.fields['depth'] ?? 0)
  return await answer(context, 'subkeys', (data) => withoutValues(data, depth > 0 ? depth : Number.POSITIVE_INFINITY))
}

/** The keys of `data`, nested as they are down to `depth` levels, each leaf null. */
function withoutValues(data: SecretData, depth: number): SecretData {
  const keep = (value: unknown): unknown =>
    depth > 1 && isObject(value) && Object.keys(value).length > 0 ? withoutValues(value, depth - 1) : null
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, keep(value)]))
}

/** As loosely read as the peers do: 3, "3", true, null (0). @throws ERR_BAD_REQUEST. */
function readCas(value: unknown): number {
  // An object has no number (one without a prototype even throws when asked for it).
  const cas =
    (typeof value === 'object' && value !== null) || (typeof value === 'string' && value.trim() === '') ? Number.NaN : Number(value)
  if (Number.isSafeInteger(cas)) return cas
  throw new HoldfastError('ERR_BAD_REQUEST', 'error parsing check-and-set parameter', {
    hint: 'options.cas expects the current version, an integer',
  })
}

function checkCas(context: HandlerContext, settings: MountSettings, record: KeyRecord): void {
  const options = context.fields['options']
  if (isObject(options) && Object.hasOwn(options, 'cas')) {
    if (readCas(options['cas']) === record.currentVersion) return
    throw new HoldfastError('ERR_CAS_MISMATCH', wellKnown.casMismatch, {
      hint: 'somebody wrote in between: read the secret again, and write with its version',
    })
  }
  if (!settings.casRequired && !record.casRequired) return
  throw new HoldfastError('ERR_CAS_REQUIRED', wellKnown.casRequired, {
    hint: 'send options.cas: the present version of the secret, 0 where it has none yet',
  })
}

function requireData(context: HandlerContext): SecretData {
  const data = context.fields['data']
  if (isObject(data)) return data
  throw new HoldfastError('ERR_BAD_REQUEST', 'no data provided', {
    hint: 'version 2 expects the secret under "data": {"data": {"key": "value"}}',
  })
}

export async function writeData(context: HandlerContext): Promise<LogicalResponse> {
  const path = requirePath(context)
  const data = requireData(context)
  const settings = await loadSettings(context.storage)
  const record = (await loadKey(context.storage, path)) ?? newKey(context.nowMs)
  checkCas(context, settings, record)
  const version = addVersion(context.storage, path, record, settings, data, context.nowMs)
  return { data: describe(record, record.currentVersion, version) }
}

export async function patchData(context: HandlerContext): Promise<LogicalResponse> {
  const path = requirePath(context)
  const patch = requireData(context)
  const record = await loadKey(context.storage, path)
  if (record === null) throw notFound()
  const settings = await loadSettings(context.storage)
  checkCas(context, settings, record)
  const current = versionOf(record, record.currentVersion)
  if (current === null) throw notFound()
  if (current.destroyed || isDeleted(current, context.nowMs)) {
    return { status: 404, data: describe(record, record.currentVersion, current) }
  }
  const data = mergePatch(await loadData(context.storage, path, record, record.currentVersion), patch) as SecretData
  const version = addVersion(context.storage, path, record, settings, data, context.nowMs)
  return { data: describe(record, record.currentVersion, version) }
}

/** Marks the newest version as deleted; nothing to do when there is none, or it is gone already. */
export async function deleteData(context: HandlerContext): Promise<null> {
  const path = pathOf(context)
  const record = await loadKey(context.storage, path)
  if (record !== null && markDeleted(record, record.currentVersion, context.nowMs)) saveKey(context.storage, path, record)
  return null
}

/** Marks one version as deleted at `nowMs`; false when it does not exist, or is deleted or destroyed already. */
export function markDeleted(record: KeyRecord, number: number, nowMs: number): boolean {
  const version = versionOf(record, number)
  if (version === null || version.destroyed || isDeleted(version, nowMs)) return false
  record.versions[String(number)] = { ...version, deletionMs: nowMs, deleted: true }
  return true
}
