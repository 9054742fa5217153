/** Names of policies as tokens carry them. */
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
