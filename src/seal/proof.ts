/**
 * Recovery shares decrypt nothing, so nothing but the seal configuration says whose they are, and that lies in the clear. Its proof is a MAC
 * under a key of the barrier: whoever writes shares of his own onto a disk can't make it, and gets no root token by them.
 */
import { createHmac } from 'node:crypto'
import type { BarrierControl } from '#barrier/types.ts'
import { equalSecretStrings } from '#base/secret.ts'
import type { SealConfig, ShareSet } from './types.ts'

/** Hex. @throws ERR_SEALED. */
export function proofOf(barrier: Pick<BarrierControl, 'derivedKey'>, { shares, threshold, salt, hashes }: ShareSet): string {
  using key = barrier.derivedKey('recovery shares')
  return createHmac('sha256', key.reveal())
    .update(JSON.stringify([shares, threshold, salt, hashes]))
    .digest('hex')
}

/** `config` with a proof of its recovery shares; as it is where there are none. @throws ERR_SEALED. */
export function proven(barrier: Pick<BarrierControl, 'derivedKey'>, config: SealConfig): SealConfig {
  if (config.secret !== null || config.recovery === null) return config
  return { ...config, proof: proofOf(barrier, config.recovery) }
}

/** Whether the recovery shares of `config` were made behind this barrier. @throws ERR_SEALED. */
export function isProven(barrier: Pick<BarrierControl, 'derivedKey'>, config: SealConfig): boolean {
  if (config.secret !== null || config.recovery === null || config.proof === undefined) return false
  return equalSecretStrings(config.proof, proofOf(barrier, config.recovery))
}
