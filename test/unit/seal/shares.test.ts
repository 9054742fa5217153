/** Shares as an algebra: which subsets open, and that a wrong one is named when it is given. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { systemRandom } from '#base/random.ts'
import { Quorum } from '#seal/quorum.ts'
import { combineShares, parseShare, shareSet, splitKey } from '#seal/shamir.ts'
import type { SealConfig } from '#seal/types.ts'

const schemes = [
  [3, 2],
  [5, 3],
  [9, 5],
] as const
const key = fc.uint8Array({ minLength: 32, maxLength: 32 })

/** Every subset of `items` that has `size` members. */
function subsets<T>(items: readonly T[], size: number): T[][] {
  if (size === 0) return [[]]
  return items.flatMap((item, at) => subsets(items.slice(at + 1), size - 1).map((rest) => [item, ...rest]))
}

const choose = (n: number, k: number): number => (k === 0 ? 1 : (choose(n - 1, k - 1) * n) / k)

test.each(schemes)('of %d shares every %d open, in any order, and one less never do', async (shares, threshold) => {
  await fc.assert(
    fc.asyncProperty(key, fc.boolean(), async (secret, reversed) => {
      const made = await splitKey(secret, shares, threshold)
      const enough = subsets(made, threshold)
      const tooFew = subsets(made, threshold - 1)
      expect([enough.length, tooFew.length]).toEqual([choose(shares, threshold), choose(shares, threshold - 1)])
      for (const subset of enough) expect(await combineShares(reversed ? subset.toReversed() : subset)).toEqual(secret)
      for (const subset of tooFew) expect(await combineShares(subset)).not.toEqual(secret)
    }),
    { numRuns: 20 },
  )
})

test.each(schemes)('of %d shares of which %d open, a wrong one is named at once, and spoils nothing', async (shares, threshold) => {
  await fc.assert(
    fc.asyncProperty(
      key,
      fc.nat({ max: shares - 1 }),
      fc.nat({ max: 32 }),
      fc.integer({ min: 1, max: 255 }),
      fc.constantFrom('hex', 'base64'),
      async (secret, victim, at, flip, encoding) => {
        const made = await splitKey(secret, shares, threshold)
        const set = shareSet(made, threshold, systemRandom)
        const config: SealConfig = { type: 'shamir', secret: set }
        const quorum = new Quorum(config, set, systemRandom)
        const wrong = Buffer.from(made[victim]!)
        wrong[at] = wrong[at]! ^ flip
        for (const [given, share] of made.slice(0, threshold).entries()) {
          expect(() => quorum.give(quorum.nonce, wrong.toString(encoding as 'hex'))).toThrow(
            expect.objectContaining({ code: 'ERR_BAD_SHARE', message: expect.stringContaining("not one of this cluster's") as string }),
          )
          expect(quorum.count).toBe(given)
          expect(quorum.give(quorum.nonce, Buffer.from(share).toString(encoding as 'hex'))).toBe(given + 1 === threshold)
        }
        expect(await combineShares(quorum.shares)).toEqual(secret)
      },
    ),
    { numRuns: 20 },
  )
})

test('a share is read the same from hex in either case and from base64', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 33, maxLength: 33 }), (share) => {
      const hex = Buffer.from(share).toString('hex')
      for (const text of [hex, hex.toUpperCase(), Buffer.from(share).toString('base64')]) expect(parseShare(text)).toEqual(share)
    }),
  )
})

test('shares are taken under the attempt’s nonce only, each once, and wiped at its end', async () => {
  const made = await splitKey(systemRandom.bytes(32), 3, 2)
  const set = shareSet(made, 2, systemRandom)
  const quorum = new Quorum({ type: 'shamir', secret: set }, set, systemRandom)
  const [first = '', second = ''] = made.map((share) => Buffer.from(share).toString('hex'))
  expect(() => quorum.give('', first)).toThrow("'nonce' must be specified in request body as JSON")
  expect(() => quorum.give('another', first)).toThrow(/^incorrect nonce supplied$/)
  expect(() => quorum.give(quorum.nonce, '')).toThrow("'key' must be specified in request body as JSON")
  expect(() => quorum.give(quorum.nonce, 'ab')).toThrow(/shorter than minimum/)
  expect(quorum.give(quorum.nonce, first)).toBe(false)
  expect(() => quorum.give(quorum.nonce, first)).toThrow('given key has already been provided during this operation')
  expect([quorum.count, quorum.give(quorum.nonce, second)]).toEqual([1, true])
  const [held] = quorum.shares
  quorum.wipe()
  expect([quorum.count, held?.every((byte) => byte === 0)]).toEqual([0, true])
})

test('a replaced share is told apart from a stranger’s', async () => {
  const [before, now] = [await splitKey(systemRandom.bytes(32), 3, 2), await splitKey(systemRandom.bytes(32), 3, 2)]
  const { salt, hashes } = shareSet(before, 2, systemRandom)
  const set = shareSet(now, 2, systemRandom)
  const quorum = new Quorum(
    { type: 'shamir', secret: set, retired: [{ salt, hashes, replacedMs: Date.UTC(2026, 10, 22) }] },
    set,
    systemRandom,
  )
  const old = Buffer.from(before[1]!).toString('base64')
  expect(() => quorum.give(quorum.nonce, old)).toThrow(/this share was replaced by a rekey at 2026-11-22T00:00:00/)
})
