/**
 * Shares of a 32-byte key: 33 bytes each, the last one its x coordinate, as the field's tools print them.
 * One share of one is the key itself at x = 1 (a polynomial of degree 0), which libraries refuse to make.
 */
import { createHmac } from 'node:crypto'
import { combine, split } from 'shamir-secret-sharing'
import { assert } from '#base/assert.ts'
import { HoldfastError } from '#base/errors.ts'
import type { RandomSource } from '#base/random.ts'
import { equalSecrets } from '#base/secret.ts'
import type { ShareSet } from './types.ts'

export const unsealKeyBytes = 32
export const shareBytes = unsealKeyBytes + 1

/** @throws ERR_BAD_REQUEST with the peers' texts. */
export function checkShareCounts(shares: number, threshold: number): void {
  const wrong = whatIsWrong(shares, threshold)
  if (wrong !== null)
    throw new HoldfastError('ERR_BAD_REQUEST', `invalid seal configuration: ${wrong}`, {
      hint: 'secret_shares in 1..255 and secret_threshold in 2..secret_shares, or 1 and 1',
    })
}

function whatIsWrong(shares: number, threshold: number): string | null {
  if (!Number.isSafeInteger(shares) || shares < 1) return 'shares must be at least one'
  if (!Number.isSafeInteger(threshold) || threshold < 1) return 'threshold must be at least one'
  if (shares > 255) return 'shares must be less than 256'
  if (threshold > shares) return 'threshold cannot be larger than shares'
  if (shares > 1 && threshold === 1) return 'threshold must be greater than one for multiple shares'
  return null
}

/** Splits `key`, of which any `threshold` shares make it again and fewer say nothing. The caller owns (and wipes) the shares. */
export async function splitKey(key: Uint8Array, shares: number, threshold: number): Promise<Uint8Array[]> {
  assert(key.length === unsealKeyBytes, `key to split expected ${unsealKeyBytes} bytes, got ${key.length}`)
  checkShareCounts(shares, threshold)
  if (shares === 1) return [Uint8Array.from([...key, 1])]
  const copy = Uint8Array.from(key) // The library takes no Buffer.
  try {
    return await split(copy, shares, threshold)
  } finally {
    copy.fill(0)
  }
}

/** The key that `shares` (distinct, as many as the threshold) make; another key altogether if one is wrong. The caller owns it. */
export async function combineShares(shares: readonly Uint8Array[]): Promise<Uint8Array> {
  const [only] = shares
  assert(only !== undefined, 'shares to combine expected at least one')
  if (shares.length === 1) return new Uint8Array(only.subarray(0, unsealKeyBytes))
  const copies = shares.map((share) => Uint8Array.from(share))
  try {
    return await combine(copies)
  } finally {
    for (const copy of copies) copy.fill(0)
  }
}

const hashShare = (salt: string, share: Uint8Array): Buffer => createHmac('sha256', Buffer.from(salt, 'hex')).update(share).digest()

/** What is remembered of `shares`. A share has 256 bits that nobody can guess, so its hash gives nothing away. */
export function shareSet(shares: readonly Uint8Array[], threshold: number, random: RandomSource): ShareSet {
  const salt = Buffer.from(random.bytes(16)).toString('hex')
  return { shares: shares.length, threshold, salt, hashes: shares.map((share) => hashShare(salt, share).toString('hex')) }
}

/** Whether `share` is one of the set. */
export function isShareOf(set: Pick<ShareSet, 'salt' | 'hashes'>, share: Uint8Array): boolean {
  const hash = hashShare(set.salt, share)
  let found = false
  for (const known of set.hashes) found = equalSecrets(Buffer.from(known, 'hex'), hash) || found
  return found
}

const hexShare = /^(?:[0-9a-fA-F]{2})+$/
const base64Share = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/

/**
 * A share as people type it, hex or base64. The caller owns (and wipes) it.
 * @throws ERR_BAD_REQUEST when it is neither; ERR_BAD_SHARE when its length is not a share's.
 */
export function parseShare(text: string): Uint8Array {
  const encoding = hexShare.test(text) ? 'hex' : text !== '' && base64Share.test(text) ? 'base64' : null
  if (encoding === null)
    throw new HoldfastError('ERR_BAD_REQUEST', "'key' must be a valid hex or base64 string", {
      hint: 'paste the share exactly as printed at init',
    })
  const decoded = Buffer.from(text, encoding)
  const share = new Uint8Array(decoded)
  decoded.fill(0) // A part of the pool that all small buffers come from: whoever gets it next would have the share.
  if (share.length === shareBytes) return share
  const wrong = share.length < shareBytes ? `shorter than minimum ${shareBytes}` : `longer than maximum ${shareBytes}`
  share.fill(0)
  throw new HoldfastError('ERR_BAD_SHARE', `invalid key: key is ${wrong} bytes`, { hint: 'paste the share exactly as printed at init' })
}
