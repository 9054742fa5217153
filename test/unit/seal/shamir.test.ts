import { expect, test } from 'vitest'
import { systemRandom } from '#base/random.ts'
import { checkShareCounts, combineShares, isShareOf, parseShare, shareBytes, shareSet, splitKey } from '#seal/shamir.ts'

/** Every subset of `items`, the empty one left out. */
function subsets<T>(items: readonly T[]): T[][] {
  return items.reduce<T[][]>((all, item) => [...all, ...all.map((some) => [...some, item])], [[]]).slice(1)
}

test.each([
  [1, 1],
  [2, 2],
  [3, 2],
  [5, 3],
])('of %d shares every %d or more make the key, in any order, and fewer never do', async (shares, threshold) => {
  const key = systemRandom.bytes(32)
  const made = await splitKey(key, shares, threshold)
  expect(made.map(({ length }) => length)).toEqual(Array.from({ length: shares }, () => shareBytes))
  expect(new Set(made.map((share) => share.at(-1))).size).toBe(shares)
  const tried = subsets(made)
  expect(tried).toHaveLength(2 ** shares - 1)
  for (const subset of tried) {
    const same = Buffer.from(await combineShares(subset.toReversed())).equals(Buffer.from(key))
    expect(same).toBe(subset.length >= threshold)
  }
})

test('a byte of a share by a byte of the curve: x is last, and the constant term is the key', async () => {
  const key = systemRandom.bytes(32)
  const [a, b] = await splitKey(key, 2, 2)
  // Lagrange at 0 over GF(256) of AES, written out for two points.
  const multiply = (x: number, y: number): number => {
    let product = 0
    for (let i = 0; i < 8; i++) {
      if (y & (1 << i)) product ^= x << i
    }
    for (let i = 14; i >= 8; i--) if (product & (1 << i)) product ^= 0x11b << (i - 8)
    return product
  }
  const inverse = (x: number): number => Array.from({ length: 256 }, (_, y) => y).find((y) => multiply(x, y) === 1) ?? 0
  const xa = a?.[32] ?? 0
  const xb = b?.[32] ?? 0
  const denominator = inverse(xa ^ xb)
  const byHand = Array.from(
    { length: 32 },
    (_, i) => multiply(a?.[i] ?? 0, multiply(xb, denominator)) ^ multiply(b?.[i] ?? 0, multiply(xa, denominator)),
  )
  expect(byHand).toEqual([...key])
})

test.each([
  [0, 1, 'shares must be at least one'],
  [1, 0, 'threshold must be at least one'],
  [256, 3, 'shares must be less than 256'],
  [3, 4, 'threshold cannot be larger than shares'],
  [3, 1, 'threshold must be greater than one for multiple shares'],
  [1.5, 1, 'shares must be at least one'],
])('%d shares with threshold %d are refused', (shares, threshold, why) => {
  expect(() => checkShareCounts(shares, threshold)).toThrow(`invalid seal configuration: ${why}`)
})

test('a share is known by its salted hash, and no other is', async () => {
  const made = await splitKey(systemRandom.bytes(32), 3, 2)
  const set = shareSet(made, 2, systemRandom)
  for (const share of made) expect(isShareOf(set, share)).toBe(true)
  const [other] = await splitKey(systemRandom.bytes(32), 3, 2)
  expect(isShareOf(set, other ?? new Uint8Array(0))).toBe(false)
  for (const share of made) expect(JSON.stringify(set)).not.toContain(Buffer.from(share).toString('hex'))
})

test('shares are read as hex in both cases and as base64', () => {
  const share = systemRandom.bytes(shareBytes)
  const hex = Buffer.from(share).toString('hex')
  for (const text of [hex, hex.toUpperCase(), Buffer.from(share).toString('base64')])
    expect(Buffer.from(parseShare(text))).toEqual(Buffer.from(share))
})

test.each([
  ['not one!', "'key' must be a valid hex or base64 string", 'ERR_BAD_REQUEST'],
  ['', "'key' must be a valid hex or base64 string", 'ERR_BAD_REQUEST'],
  ['abc', "'key' must be a valid hex or base64 string", 'ERR_BAD_REQUEST'],
  ['abcd', 'invalid key: key is shorter than minimum 33 bytes', 'ERR_BAD_SHARE'],
  ['00'.repeat(34), 'invalid key: key is longer than maximum 33 bytes', 'ERR_BAD_SHARE'],
])('%j is no share', (text, message, code) => {
  expect(() => parseShare(text)).toThrow(expect.objectContaining({ message, code }))
})
