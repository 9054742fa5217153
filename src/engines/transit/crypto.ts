/** `encrypt`, `decrypt` and `rewrap`, one at a time or as `batch_input`: a bad item of a batch has its own error and spoils no other. */
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import type { HandlerContext, LogicalResponse } from '#core/types.ts'
import { decrypt, encrypt } from './ciphertext.ts'
import { expectKey, keyPath, keyType, loadKey, nameOf, newKey, type TransitKey } from './key.ts'

const batchItemsMax = 1_000

type Item = Readonly<Record<string, unknown>>
type Result = Readonly<Record<string, unknown>>
type Work = (key: TransitKey, item: Item, context: HandlerContext) => Result

const bad = (message: string): HoldfastError => new HoldfastError('ERR_BAD_REQUEST', message)

function base64(item: Item, name: string, missing: string): Uint8Array {
  const text = item[name]
  if (typeof text !== 'string') throw bad(missing)
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text)) throw bad(`failed to base64-decode ${name}`)
  return new Uint8Array(Buffer.from(text, 'base64'))
}

/** What there is none of here, and what would change what comes out. */
function expectSimple(item: Item): void {
  if (typeof item['context'] === 'string' && item['context'] !== '') throw bad('context expected none: keys are not derived, got one')
  if (typeof item['nonce'] === 'string' && item['nonce'] !== '') throw bad('nonce expected none: it is made here, got one')
}

const associatedOf = (item: Item): Uint8Array =>
  item['associated_data'] === undefined ? new Uint8Array(0) : base64(item, 'associated_data', 'associated_data must be text')

function versionOf(item: Item): number {
  const version = item['key_version'] ?? 0
  if (typeof version !== 'number' || !Number.isSafeInteger(version)) throw bad('key_version expected an integer, got something else')
  return version
}

function ciphertextOf(item: Item): string {
  const text = item['ciphertext']
  if (typeof text !== 'string' || text === '') throw bad('missing ciphertext to decrypt')
  return text
}

const encryptItem: Work = (key, item, { random }) => {
  expectSimple(item)
  return { ...encrypt(key, base64(item, 'plaintext', 'missing plaintext to encrypt'), associatedOf(item), versionOf(item), random) }
}

const decryptItem: Work = (key, item) => {
  expectSimple(item)
  const plaintext = decrypt(key, ciphertextOf(item), associatedOf(item))
  const text = Buffer.from(plaintext).toString('base64')
  plaintext.fill(0)
  return { plaintext: text }
}

const rewrapItem: Work = (key, item, { random }) => {
  expectSimple(item)
  const associated = associatedOf(item)
  const plaintext = decrypt(key, ciphertextOf(item), associated)
  const again = encrypt(key, plaintext, associated, versionOf(item), random)
  plaintext.fill(0)
  return { ...again }
}

function answer(key: TransitKey, context: HandlerContext, work: Work): LogicalResponse {
  const batch = context.fields['batch_input']
  if (batch === undefined) return { data: work(key, context.fields, context) }
  if (!Array.isArray(batch) || batch.length === 0) throw bad('missing batch input to process')
  if (batch.length > batchItemsMax) throw bad(`batch_input expected at most ${batchItemsMax} items, got ${batch.length}`)
  const results = batch.map((item) => one(key, item, context, work))
  const good = results.some((result) => result['error'] === undefined)
  return { data: { batch_results: results }, ...(good ? {} : { status: 400 }) }
}

function one(key: TransitKey, item: unknown, context: HandlerContext, work: Work): Result {
  if (typeof item !== 'object' || item === null || Array.isArray(item)) return { error: 'expected an object' }
  const reference = (item as Item)['reference']
  const named = typeof reference === 'string' ? { reference } : {}
  try {
    return { ...work(key, item as Item, context), ...named }
  } catch (error) {
    if (!isHoldfastError(error, 'ERR_BAD_REQUEST')) throw error
    return { error: error.message, ...named }
  }
}

export async function encryptData(context: HandlerContext): Promise<LogicalResponse> {
  return answer(await expectKey(context.storage, nameOf(context)), context, encryptItem)
}

/** Whoever may create here gets the key made, as with the peers; the seal's own policy should not let it. */
export async function createAndEncrypt(context: HandlerContext): Promise<LogicalResponse> {
  const name = nameOf(context)
  const type = context.fields['type'] ?? keyType
  if (type !== keyType) throw bad(`type expected ${keyType}, got another`)
  let key = await loadKey(context.storage, name)
  if (key === null) {
    key = newKey(context.random, context.nowMs)
    context.storage.putJson(keyPath(name), key)
  }
  return answer(key, context, encryptItem)
}

export async function decryptData(context: HandlerContext): Promise<LogicalResponse> {
  return answer(await expectKey(context.storage, nameOf(context)), context, decryptItem)
}

export async function rewrapData(context: HandlerContext): Promise<LogicalResponse> {
  return answer(await expectKey(context.storage, nameOf(context)), context, rewrapItem)
}
