/** custom_metadata of a key: a small map of printable strings, within the bounds that the field's clients know. */
import { HoldfastError } from '#base/errors.ts'
import { isExactNumber } from '#base/exact-json.ts'
import { isObject, mergePatch } from './merge-patch.ts'

export const customKeysMax = 64
export const customKeyBytesMax = 128
export const customValueBytesMax = 512

const prefix = 'custom_metadata validation failed'

/** Several failures in one text, as the peers' clients expect it. */
function refuse(problems: readonly string[]): never {
  const count = problems.length === 1 ? '1 error occurred:' : `${problems.length} errors occurred:`
  throw new HoldfastError('ERR_BAD_REQUEST', `${count}\n${problems.map((problem) => `\t* ${prefix}: ${problem}\n`).join('')}\n`)
}

function asText(key: string, value: unknown): string {
  if (value === null) return ''
  if (typeof value === 'boolean') return value ? '1' : '0'
  if (typeof value === 'string' || typeof value === 'number') return String(value)
  if (isExactNumber(value)) return value.rawJSON
  throw new HoldfastError(
    'ERR_BAD_REQUEST',
    `${prefix}: expected a string for key ${JSON.stringify(key)}, got ${Array.isArray(value) ? 'a list' : 'an object'}`,
  )
}

/** No control, format, surrogate, private or unassigned character, and no space but the plain one. */
const isPrintable = (text: string): boolean => !/[\p{C}\p{Zl}\p{Zp}]|[^\P{Zs} ]/u.test(text)

function problemsOf(key: string, value: string): string[] {
  const name = JSON.stringify(key)
  const keyBytes = Buffer.byteLength(key)
  const valueBytes = Buffer.byteLength(value)
  const problems: string[] = []
  if (keyBytes === 0 || keyBytes > customKeyBytesMax) {
    problems.push(`length of key ${name} is ${keyBytes} but must be 0 < len(key) <= ${customKeyBytesMax}`)
  }
  if (valueBytes === 0 || valueBytes > customValueBytesMax) {
    problems.push(`length of value for key ${name} is ${valueBytes} but must be 0 < len(value) <= ${customValueBytesMax}`)
  }
  if (!isPrintable(key)) problems.push(`key ${name} (${key}) contains unprintable characters`)
  if (!isPrintable(value)) problems.push(`value for key ${name} contains unprintable characters`)
  return problems
}

/** @throws ERR_BAD_REQUEST that names every key at fault. */
export function readCustomMetadata(value: unknown): Readonly<Record<string, string>> {
  if (!isObject(value)) throw new HoldfastError('ERR_BAD_REQUEST', `${prefix}: expected an object of strings, got ${typeof value}`)
  const keys = Object.keys(value)
  if (keys.length > customKeysMax) refuse([`payload must contain at most ${customKeysMax} keys, provided ${keys.length}`])
  const entries = keys.map((key) => [key, asText(key, value[key])] as const)
  const problems = entries.flatMap(([key, text]) => problemsOf(key, text))
  if (problems.length > 0) refuse(problems)
  return Object.fromEntries(entries)
}

/** Merges a PATCH: null removes a key, or, as the whole value, all of them. The result is checked as a whole. */
export function mergedCustomMetadata(current: Readonly<Record<string, string>> | null, patch: unknown): Readonly<Record<string, string>> {
  return patch === null ? {} : readCustomMetadata(mergePatch(current ?? {}, patch))
}
