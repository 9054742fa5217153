/** API keys as they are kept: `keys/ID`, the secrets as hashes (they are random, so one round is enough). */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { TokenParams } from '#core/login-types.ts'
import { Records } from '../accounts.ts'

export interface ApiKey {
  readonly version: number
  readonly name: string
  readonly metadata: Readonly<Record<string, string>>
  /** SHA-256, base64. */
  readonly hash: string
  /** The secret before the last rotation, while it is still good. */
  readonly previous: { readonly hash: string; readonly untilMs: number } | null
  readonly createdMs: number
  readonly rotatedMs: number
  /** null: never. */
  readonly expiresMs: number | null
  readonly token: TokenParams
}

export const keyTable = new Records<ApiKey>('an API key', 'keys', 1)

export const hashOf = (secret: string): string => createHash('sha256').update(secret).digest('base64')

/** Whether `secret` is the key's now. Takes the same time whatever is wrong, also for a key that is not there. */
export function fits(key: ApiKey | null, secret: string, nowMs: number): key is ApiKey {
  const given = Buffer.from(hashOf(secret), 'base64')
  const same = (hash: string | undefined): boolean =>
    timingSafeEqual(given, hash === undefined ? Buffer.alloc(32) : Buffer.from(hash, 'base64'))
  const now = same(key?.hash)
  const before = same(key?.previous?.hash) && (key?.previous?.untilMs ?? 0) > nowMs
  return key !== null && (now || before) && (key.expiresMs === null || key.expiresMs > nowMs)
}

/** Whether the secret that a token was got by is good by now. Of a token of before its hash was laid down only its time is known. */
export function secretIsGood(
  key: Pick<ApiKey, 'hash' | 'previous' | 'rotatedMs'>,
  { hash, madeMs }: { readonly hash: string | undefined; readonly madeMs: number },
  nowMs: number,
): boolean {
  const before = key.previous !== null && key.previous.untilMs > nowMs ? key.previous.hash : null
  return hash === undefined ? madeMs >= key.rotatedMs || before !== null : hash === key.hash || hash === before
}
