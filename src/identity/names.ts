/** Names and metadata of entities, aliases and groups: how they are checked, and how a name becomes one segment of a path. */
import { HoldfastError } from '#base/errors.ts'
import { limits } from '#base/limits.ts'
import { isAssignablePolicy, sanitizePolicyNames } from '#policies/names.ts'

export const metadataPairsMax = 64
export const metadataKeyBytesMax = 128
export const metadataValueBytesMax = 512
/** As many as a request compiles. */
export const policiesMax = 256

/** Names are unique whatever their letter case: two that look alike must not be two. */
export const foldName = (name: string): string => name.toLowerCase()

/** A name as one segment: '/' in it, and '.' or '..', must not be taken for folders. */
export function nameSegment(name: string): string {
  const encoded = name.replaceAll('%', '%25').replaceAll('/', '%2F')
  return encoded === '.' || encoded === '..' ? encoded.replaceAll('.', '%2E') : encoded
}

export const segmentName = (segment: string): string => segment.replaceAll('%2E', '.').replaceAll('%2F', '/').replaceAll('%25', '%')

/** Whether anything can have this name: what cannot be stored is not there. */
export const isStorableName = (name: string): boolean =>
  name !== '' &&
  name.isWellFormed() &&
  !/\p{Cc}/u.test(name) &&
  Buffer.byteLength(nameSegment(name)) <= limits.pathSegmentBytesMax &&
  Buffer.byteLength(nameSegment(foldName(name))) <= limits.pathSegmentBytesMax

/** @throws ERR_BAD_REQUEST for one that nothing can have. */
export function checkName(what: string, name: string): string {
  if (isStorableName(name)) return name
  throw new HoldfastError(
    'ERR_BAD_REQUEST',
    `${what} expected 1 to ${limits.pathSegmentBytesMax} bytes without control characters, got ${Buffer.byteLength(name)}`,
    { hint: 'each "/" and "%" in it counts for three bytes' },
  )
}

/** @throws ERR_BAD_REQUEST for more than 64 pairs, a key of more than 128 bytes or none, or a value of more than 512. */
export function checkMetadata(what: string, metadata: Readonly<Record<string, string>>): Record<string, string> {
  const refuse = (part: string, max: number, got: number): never => {
    throw new HoldfastError('ERR_BAD_REQUEST', `${what} ${part} expected at most ${max}, got ${got}`)
  }
  const pairs = Object.entries(metadata)
  if (pairs.length > metadataPairsMax) refuse('pairs', metadataPairsMax, pairs.length)
  for (const [key, value] of pairs) {
    if (key === '') throw new HoldfastError('ERR_BAD_REQUEST', `${what} key expected a name, got an empty one`)
    if (Buffer.byteLength(key) > metadataKeyBytesMax) refuse('key bytes', metadataKeyBytesMax, Buffer.byteLength(key))
    if (Buffer.byteLength(value) > metadataValueBytesMax) refuse('value bytes', metadataValueBytesMax, Buffer.byteLength(value))
  }
  return Object.fromEntries(pairs)
}

/**
 * Policies of an entity or group: lower-cased, sorted, each once.
 * @throws ERR_BAD_REQUEST for `root` in any spelling: who may edit entities must not edit one up to root (CVE-2024-9180, CVE-2025-5999).
 */
export function checkPolicies(names: readonly string[]): string[] {
  const clean = sanitizePolicyNames(names, false)
  if (clean.includes('root')) throw new HoldfastError('ERR_BAD_REQUEST', 'policies cannot contain root')
  if (!clean.every(isAssignablePolicy)) throw new HoldfastError('ERR_BAD_REQUEST', 'cannot assign policy "response-wrapping"')
  if (clean.length > policiesMax)
    throw new HoldfastError('ERR_BAD_REQUEST', `policies expected at most ${policiesMax}, got ${clean.length}`)
  const bytes = Math.max(0, ...clean.map((name) => Buffer.byteLength(name)))
  if (bytes > limits.pathSegmentBytesMax) {
    throw new HoldfastError('ERR_BAD_REQUEST', `policy name expected at most ${limits.pathSegmentBytesMax} bytes, got ${bytes}`)
  }
  return clean
}
