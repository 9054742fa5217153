/**
 * What leaves the cluster in a bundle goes through here. What is asked holds no secret by itself; this is the second lock: names that could hold one keep their name
 * only, and what looks like a token or a key is taken out of every text.
 */
import { isExactNumber } from '#base/exact-json.ts'

const secretName =
  /(^|[_-])(token|secret|password|passwd|pwd|private|credential|credentials|unseal|share|shares|recovery_keys|root_token|authorization|cookie|pin)s?$|_key$/i
/** Not secret, though their names say so. */
const harmlessName =
  /^(token_type|num_tokens|tokens|secret_shares|secret_threshold|token_policies|primary_key_id|tls_disable|service_tokens|shares|share_count)$/i
const secretText = [
  // Tokens of Holdfast, OpenBao and Vault.
  /\b(?:hv[sbr]|[sbr])\.[A-Za-z0-9_-]{20,}/g,
  // Join tokens, API keys, secrets of OpenID clients, and signed tokens (JWT) of whoever issued them.
  /\bhfj\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{20,}/g,
  /\bhfk_[0-9A-Za-z]{12}_[0-9A-Za-z]{20,}/g,
  /\bhvo_secret_[0-9A-Za-z]{20,}/g,
  /\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}/g,
  /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g,
  // What stands as a password in a URL.
  /(?<=:\/\/[^/\s:@]{0,256}:)[^@/\s]{1,256}(?=@)/g,
]
export const redacted = '[redacted]'
const depthMax = 64

export function redactText(text: string): string {
  return secretText.reduce((clean, pattern) => clean.replace(pattern, redacted), text)
}

const isEmpty = (value: unknown): boolean => value === null || value === '' || value === undefined

/** A copy without what could be secret. Numbers and booleans stay whatever their name is. */
export function redact(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return redactText(value)
  if (typeof value !== 'object' || value === null || isExactNumber(value)) return value
  if (depth > depthMax) return redacted
  if (Array.isArray(value)) return value.map((one) => redact(one, depth + 1))
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => {
      const hidden = secretName.test(name) && !harmlessName.test(name) && typeof inner !== 'number' && typeof inner !== 'boolean'
      // A name may be what the caller chose: it goes through the same sieve.
      return [redactText(name), hidden && !isEmpty(inner) ? redacted : redact(inner, depth + 1)]
    }),
  )
}
