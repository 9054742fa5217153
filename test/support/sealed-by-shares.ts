/** Gives a house of tests a seal of shares, as init would have: rekeys and root tokens ask for it. */
import { sealBox } from '#barrier/aead.ts'
import { bareNames } from '#barrier/bare.ts'
import type { BarrierControl } from '#barrier/types.ts'
import { systemRandom } from '#base/random.ts'
import { encodeSealConfig } from '#seal/config.ts'
import { shareSet, splitKey } from '#seal/shamir.ts'
import { testRootKey } from './open-barrier.ts'

/** Three shares in base64, of which two open it. */
export async function sealByShares(barrier: Pick<BarrierControl, 'writeBare'>): Promise<readonly string[]> {
  const unsealKey = systemRandom.bytes(32)
  const shares = await splitKey(unsealKey, 3, 2)
  await barrier.writeBare({
    [bareNames.rootKey]: sealBox(unsealKey, bareNames.rootKey, testRootKey().reveal(), systemRandom),
    [bareNames.sealConfig]: encodeSealConfig({ type: 'shamir', secret: shareSet(shares, 2, systemRandom) }),
  })
  return shares.map((share) => Buffer.from(share).toString('base64'))
}
