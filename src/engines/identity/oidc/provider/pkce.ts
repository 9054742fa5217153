/** PKCE (RFC 7636): who redeems a code must be who asked for it. */
import { createHash } from 'node:crypto'
import { equalSecretStrings } from '#base/secret.ts'
import { Fault } from './faults.ts'

export const challengeMethods = ['plain', 'S256'] as const

export interface Challenge {
  readonly method: (typeof challengeMethods)[number]
  readonly value: string
}

/** What the specification lets a verifier be; a challenge by `plain` is one. */
const isVerifier = (text: string): boolean => /^[A-Za-z0-9._~-]{43,128}$/.test(text)
const isDigest = (text: string): boolean => /^[A-Za-z0-9_-]{43}$/.test(text)

/** null: none was sent. @throws Fault for what can be the challenge of no verifier. */
export function readChallenge(value: string, method: string): Challenge | null {
  if (value === '' && method === '') return null
  if (value === '') throw new Fault('invalid_request', 'code_challenge expected with code_challenge_method')
  if (method !== '' && method !== 'plain' && method !== 'S256') throw new Fault('invalid_request', 'invalid code_challenge_method')
  const challenge: Challenge = { method: method === 'S256' ? 'S256' : 'plain', value }
  if (challenge.method === 'S256' ? isDigest(value) : isVerifier(value)) return challenge
  throw new Fault('invalid_request', 'invalid code_challenge')
}

/** @throws Fault where `verifier` does not fit what the code was asked for with. */
export function checkVerifier(challenge: Challenge | null, verifier: string): void {
  // A code that was asked for without, redeemed with one: somebody has taken the challenge out on the way (RFC 9700, 2.1.1).
  if (challenge === null && verifier !== '') throw new Fault('invalid_request', 'unexpected code_verifier for token exchange')
  if (challenge === null) return
  if (verifier === '') throw new Fault('invalid_request', 'expected code_verifier for token exchange')
  if (!isVerifier(verifier)) throw new Fault('invalid_grant', 'invalid code_verifier')
  const shown = challenge.method === 'S256' ? createHash('sha256').update(verifier).digest('base64url') : verifier
  if (!equalSecretStrings(shown, challenge.value)) throw new Fault('invalid_grant', 'invalid code_verifier')
}
