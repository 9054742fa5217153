/** Names of policies as tokens carry them, and as they are stored. */
import { limits } from '#base/limits.ts'
import { defaultPolicyName, responseWrappingPolicyName, rootPolicyName } from './builtin.ts'

/**
 * Names trimmed, lower-cased, without repetitions and empty ones, sorted, with `default` added if asked. `root` in any spelling stands alone:
 * letter case must never make a root token that does not look like one (CVE-2025-5999).
 */
export function sanitizePolicyNames(names: readonly string[], addDefault: boolean): string[] {
  const clean = new Set(names.map((name) => name.trim().toLowerCase()).filter((name) => name !== ''))
  if (clean.has(rootPolicyName)) return [rootPolicyName]
  if (addDefault) clean.add(defaultPolicyName)
  return [...clean].toSorted()
}

/** Policies that nobody may put on a token. */
export const isAssignablePolicy = (name: string): boolean => name.trim().toLowerCase() !== responseWrappingPolicyName

/** Whether a lower-case name (of a policy, of a role) can be a key. */
export const storableName = (name: string): boolean =>
  name !== '' && name.isWellFormed() && !/\p{Cc}/u.test(name) && Buffer.byteLength(encodeName(name)) <= limits.pathSegmentBytesMax

/** A name is one segment of a path below: '/' in it, and '.' or '..', must not be taken for folders. */
export function encodeName(name: string): string {
  const encoded = name.replaceAll('%', '%25').replaceAll('/', '%2F')
  return encoded === '.' || encoded === '..' ? encoded.replaceAll('.', '%2E') : encoded
}

export const decodeName = (path: string): string => path.replaceAll('%2E', '.').replaceAll('%2F', '/').replaceAll('%25', '%')
