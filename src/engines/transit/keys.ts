/** `keys`, `keys/:name`, its configuration and rotation. */
import { HoldfastError } from '#base/errors.ts'
import type { HandlerContext, LogicalResponse } from '#core/types.ts'
import { addVersion, describeKey, expectKey, keyPath, keyType, loadKey, nameOf, newKey, type TransitKey } from './key.ts'

const bad = (message: string, hint?: string): HoldfastError =>
  new HoldfastError('ERR_BAD_REQUEST', message, hint === undefined ? {} : { hint })
const flag = (context: HandlerContext, name: string): boolean => context.fields[name] === true

export async function listKeys(context: HandlerContext): Promise<LogicalResponse> {
  return { data: { keys: await context.storage.list('key') } }
}

export async function readKey(context: HandlerContext): Promise<LogicalResponse | null> {
  const key = await loadKey(context.storage, nameOf(context))
  return key === null ? null : { data: describeKey(nameOf(context), key) }
}

/** Only what this engine keeps: a client that asked for more would believe to have it. */
function expectPlain(context: HandlerContext): void {
  const type = (context.fields['type'] as string | undefined) ?? keyType
  if (type !== keyType) throw bad(`type expected ${keyType}, got ${JSON.stringify(type.slice(0, 40))}`, 'other types are not there yet')
  for (const name of ['derived', 'convergent_encryption', 'exportable', 'allow_plaintext_backup'])
    if (flag(context, name)) throw bad(`${name} expected false, got true`, 'it is not there yet')
}

export async function createKey(context: HandlerContext): Promise<LogicalResponse> {
  const name = nameOf(context)
  expectPlain(context)
  const there = await loadKey(context.storage, name)
  if (there !== null) return { data: describeKey(name, there), warnings: [`key ${name} already existed`] }
  const key = newKey(context.random, context.nowMs)
  context.storage.putJson(keyPath(name), key)
  return { data: describeKey(name, key) }
}

export async function deleteKey(context: HandlerContext): Promise<null> {
  const name = nameOf(context)
  const key = await loadKey(context.storage, name)
  if (key === null) throw bad(`error deleting policy ${name}: could not delete key; not found`)
  if (!key.deletionAllowed)
    throw bad(`error deleting policy ${name}: deletion is not allowed for this key`, 'set deletion_allowed in its config')
  context.storage.delete(keyPath(name))
  return null
}

export async function rotateKey(context: HandlerContext): Promise<LogicalResponse> {
  const key = await expectKey(context.storage, nameOf(context))
  addVersion(key, context.random, context.nowMs)
  context.storage.putJson(keyPath(nameOf(context)), key)
  return { data: describeKey(nameOf(context), key) }
}

export async function configureKey(context: HandlerContext): Promise<LogicalResponse> {
  const name = nameOf(context)
  const key = await loadKey(context.storage, name)
  if (key === null) throw bad(`no existing key named ${name} could be found`)
  const { min_decryption_version: decryption, min_encryption_version: encryption, deletion_allowed: deletion } = context.fields
  if (decryption !== undefined) key.minDecryption = Math.max(1, expectVersion(key, 'decryption', decryption as number))
  if (encryption !== undefined) key.minEncryption = expectVersion(key, 'encryption', encryption as number)
  if (key.minEncryption !== 0 && key.minEncryption < key.minDecryption)
    throw bad(`cannot set min encryption version of ${key.minEncryption}, less than the min decryption version of ${key.minDecryption}`)
  if (deletion !== undefined) key.deletionAllowed = deletion === true
  context.storage.putJson(keyPath(name), key)
  return { data: describeKey(name, key) }
}

function expectVersion(key: TransitKey, what: 'encryption' | 'decryption', version: number): number {
  if (version < 0) throw bad(`min ${what} version cannot be negative`)
  if (version > key.latest) throw bad(`cannot set min ${what} version of ${version}, latest key version is ${key.latest}`)
  return version
}
