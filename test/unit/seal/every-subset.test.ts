/** Every subset of shares, through the seal's own manager: what opens the barrier and what does not, and which share was wrong. */
import { afterAll, expect, test } from 'vitest'
import { createBarrier } from '#barrier/barrier.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { createSealManager } from '#seal/manager.ts'
import { combineShares } from '#seal/shamir.ts'
import { recordFigures } from '#test/support/figures.ts'
import { FakeCluster } from '#test/support/fake-replica.ts'
import { standingClock } from '#test/support/open-barrier.ts'

const figures: Record<string, Record<string, number>> = {}
afterAll(() => recordFigures('shamir', 'HOLDFAST_FIGURES=bench/results npx vitest run test/unit/seal/every-subset.test.ts', figures))

/** Every subset of `count` of `items`. */
function* choose<T>(items: readonly T[], count: number): Generator<T[]> {
  if (count === 0) return yield []
  for (const [at, item] of items.entries()) for (const rest of choose(items.slice(at + 1), count - 1)) yield [item, ...rest]
}

const binomial = (n: number, k: number): number => (k === 0 ? 1 : Math.round((binomial(n - 1, k - 1) * n) / k))
const hex = (share: Uint8Array): string => Buffer.from(share).toString('hex')

async function founded(shares: number, threshold: number) {
  const replica = new FakeCluster({ ids: ['node-1'] }).node(0)
  const barrier = createBarrier({ replica, clock: standingClock(), random: systemRandom, log: silentLogger })
  const seal = createSealManager({ barrier, replica, random: systemRandom, log: silentLogger })
  const asked = { recoveryShares: 0, recoveryThreshold: 0, pgpKeys: [], recoveryPgpKeys: [], rootTokenPgpKey: '' }
  const { keys } = await seal.init({ ...asked, secretShares: shares, secretThreshold: threshold }, async () => '')
  seal.seal()
  return { seal, keys: keys.map((key) => Uint8Array.from(key)) }
}

test.each([
  [3, 2],
  [5, 3],
  [9, 5],
])(
  'of %d shares every subset of %d opens, in any order, and none below does; a wrong share is named, wherever it comes',
  async (shares, threshold) => {
    const { seal, keys } = await founded(shares, threshold)
    const other = (await founded(shares, threshold)).keys
    const counts = { opened: 0, 'too few, sealed': 0, 'too few, and combined all the same: another key': 0, 'wrong shares named': 0 }
    const right = await combineShares(keys)
    for (const subset of choose(keys, threshold)) {
      for (const [given, key] of subset.toReversed().entries()) {
        expect(seal.status()).toMatchObject({ sealed: true, progress: given })
        // Another set's share in between is refused by name, and costs none of what was given.
        const [wrong] = choose(other, 1)
        await expect(seal.unseal({ key: hex(wrong![0]!), reset: false })).rejects.toMatchObject({ code: 'ERR_BAD_SHARE' })
        counts['wrong shares named'] += 1
        await seal.unseal({ key: hex(key), reset: false })
      }
      expect(seal.status()).toMatchObject({ sealed: false })
      expect(Buffer.from(await combineShares(subset)).equals(Buffer.from(right))).toBe(true)
      counts.opened += 1
      seal.seal()
    }
    for (let size = 1; size < threshold; size += 1) {
      for (const subset of choose(keys, size)) {
        for (const key of subset) await seal.unseal({ key: hex(key), reset: false })
        // Given twice, it does not count twice.
        await seal.unseal({ key: hex(subset[0]!), reset: false })
        expect(seal.status()).toMatchObject({ sealed: true, progress: size })
        await seal.unseal({ key: null, reset: true })
        counts['too few, sealed'] += 1
        if (size < 2) continue
        expect(Buffer.from(await combineShares(subset)).equals(Buffer.from(right))).toBe(false)
        counts['too few, and combined all the same: another key'] += 1
      }
    }
    figures[`${threshold} of ${shares}`] = counts
    expect(counts.opened).toBe(binomial(shares, threshold))
    expect(counts['too few, sealed']).toBe(
      Array.from({ length: threshold - 1 }, (_, at) => binomial(shares, at + 1)).reduce((sum, count) => sum + count, 0),
    )
  },
)
