import { createHmac } from 'node:crypto'
import { HoldfastError, wellKnown } from '#base/errors.ts'
import { BoundedLru } from '#base/lru.ts'
import { looksLikeBatch } from './batch.ts'

const memoMax = 16_384
/** No other token is longer than this: a longer text is none, and is not hashed. */
const tokenCharsMax = 256

const hmac = (key: Uint8Array, token: string): string => createHmac('sha256', key).update(token).digest('hex')

/** The storage names of tokens: HMAC-SHA-256 under a key that lies behind the barrier, so that names on disk or in a log open nothing. */
export interface TokenHasher {
  /** A key of 32 bytes when the barrier opens (copied), null when it seals. */
  setKey(key: Uint8Array | null): void
  /** Drops the tokens that are remembered. */
  forget(): void
  /** Hex; null for what can't be a token. @throws ERR_SEALED without a key. */
  hash(token: string): string | null
}

/** The hash of a token costs 4 us and is needed for each request: the last ones are remembered. */
export function createTokenHasher(): TokenHasher {
  const memo = new BoundedLru<string, string>({ weightMax: memoMax })
  let key: Uint8Array | null = null
  return {
    setKey(next) {
      memo.clear()
      key?.fill(0)
      key = next === null ? null : Uint8Array.from(next)
    },
    forget: () => memo.clear(),
    hash(token) {
      if (key === null) throw new HoldfastError('ERR_SEALED', wellKnown.sealed)
      // Too long to be remembered by the thousand.
      if (token.length > tokenCharsMax && looksLikeBatch(token)) return hmac(key, token)
      if (token === '' || token.length > tokenCharsMax) return null
      const known = memo.get(token)
      if (known !== undefined) return known
      const hash = hmac(key, token)
      memo.set(token, hash)
      return hash
    },
  }
}
