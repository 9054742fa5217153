import type { BarrierControl } from '#barrier/types.ts'
import { HoldfastError } from '#base/errors.ts'
import { SecretBytes } from '#base/secret.ts'
import { openRootKey } from './migration.ts'
import { isProven } from './proof.ts'
import { combineShares } from './shamir.ts'
import { wrongShare } from './share-check.ts'
import type { SealConfig, SealRecords } from './types.ts'

/**
 * Whether `shares` (as many as the threshold, each known by its hash) speak for the cluster. The hashes lie in the clear, so they alone prove nothing:
 * unseal shares must open the root key that is in use, and recovery shares must have been made behind the barrier.
 * @throws ERR_BAD_SHARE, ERR_STORE_CORRUPT.
 */
export async function authorise(
  barrier: Pick<BarrierControl, 'isRootKey' | 'derivedKey'>,
  config: SealConfig,
  records: SealRecords,
  shares: readonly Uint8Array[],
): Promise<void> {
  if (config.secret === null) {
    if (isProven(barrier, config)) return
    throw new HoldfastError('ERR_STORE_CORRUPT', "the recovery keys' hashes expected a proof of this cluster, got none or another's", {
      hint: 'somebody has written to the seal configuration of this node: restore a snapshot, or ask another node',
    })
  }
  using unsealKey = new SecretBytes(await combineShares(shares))
  using rootKey = new SecretBytes(openRootKey(unsealKey.reveal(), records.rootKey))
  if (!barrier.isRootKey(rootKey.reveal())) throw wrongShare('the shares together open another root key than the one in use')
}
