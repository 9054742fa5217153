import { bareNames } from '#barrier/bare.ts'
import type { BarrierControl } from '#barrier/types.ts'
import { HoldfastError, wellKnown } from '#base/errors.ts'
import { parseSealConfig } from './config.ts'
import type { SealConfig, SealRecords } from './types.ts'

/** How the cluster is sealed now. @throws ERR_NOT_INITIALIZED. */
export function standing(barrier: Pick<BarrierControl, 'readBare'>): { readonly records: SealRecords; readonly config: SealConfig } {
  const sealConfig = barrier.readBare(bareNames.sealConfig)
  const rootKey = barrier.readBare(bareNames.rootKey)
  if (sealConfig === null || rootKey === null)
    throw new HoldfastError('ERR_NOT_INITIALIZED', wellKnown.notInitialized, { hint: 'initialise the cluster, or join one' })
  return { records: { sealConfig, rootKey }, config: parseSealConfig(sealConfig) }
}
