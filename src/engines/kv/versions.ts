/** `delete/`, `undelete/` and `destroy/<path>` of version 2: several versions at once. */
import { HoldfastError } from '#base/errors.ts'
import type { HandlerContext } from '#core/types.ts'
import { markDeleted, pathOf } from './data.ts'
import { deletionTimeMs, destroyVersion, loadKey, loadSettings, maxVersionsMax, saveKey, versionOf } from './record.ts'
import type { KeyRecord } from './record.ts'

/** @throws ERR_BAD_REQUEST with `whenNone` for an empty list, since the peers word that differently for each route. */
function readVersions(context: HandlerContext, whenNone: string): readonly number[] {
  const listed = (context.fields['versions'] ?? []) as readonly string[]
  if (listed.length === 0) throw new HoldfastError('ERR_BAD_REQUEST', whenNone, { hint: 'send {"versions": [1, 2]}' })
  if (listed.length > maxVersionsMax) throw new HoldfastError('ERR_BAD_REQUEST', `versions expected at most ${maxVersionsMax}, got more`)
  return listed.map((text) => {
    if (/^\+?\d{1,15}$/.test(text)) return Number(text)
    throw new HoldfastError('ERR_BAD_REQUEST', 'error converting input for field "versions": expected a list of integers')
  })
}

/** Runs `change` on an existing key and saves it when that says so; a key that does not exist is left alone. */
async function changeKey(context: HandlerContext, change: (record: KeyRecord, path: string) => boolean): Promise<null> {
  const path = pathOf(context)
  const record = await loadKey(context.storage, path)
  if (record !== null && change(record, path)) saveKey(context.storage, path, record)
  return null
}

export async function deleteVersions(context: HandlerContext): Promise<null> {
  const numbers = readVersions(context, 'No version number provided')
  return await changeKey(context, (record) => numbers.filter((number) => markDeleted(record, number, context.nowMs)).length > 0)
}

export async function undeleteVersions(context: HandlerContext): Promise<null> {
  const numbers = readVersions(context, 'No version number provided')
  const settings = await loadSettings(context.storage)
  return await changeKey(context, (record) => {
    const found = numbers.filter((number) => versionOf(record, number) && !versionOf(record, number)?.destroyed)
    for (const number of found) {
      const createdMs = versionOf(record, number)?.createdMs ?? 0
      record.versions[String(number)] = { createdMs, deletionMs: deletionTimeMs(context.nowMs, settings, record) }
    }
    return found.length > 0
  })
}

export async function destroyVersions(context: HandlerContext): Promise<null> {
  const numbers = readVersions(context, 'no version number provided')
  return await changeKey(context, (record, path) => {
    for (const number of numbers) destroyVersion(context.storage, path, record, number)
    return true
  })
}
