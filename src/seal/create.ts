/** The seal that a configuration names, bare: from its block's texts. */
import type { Clock } from '#base/clock.ts'
import type { Logger } from '#base/logger.ts'
import type { RandomSource } from '#base/random.ts'
import type { SealBlock } from '#config/types.ts'
import { awsKmsSealFrom } from './awskms.ts'
import { guardSeal } from './guard.ts'
import { pkcs11SealFrom } from './pkcs11.ts'
import type { Environment } from './secret-source.ts'
import { staticSealFrom } from './static.ts'
import { transitSealFrom } from './transit.ts'
import type { AutoSeal, SealBackend } from './types.ts'

export interface SealTools {
  readonly clock: Clock
  readonly random: RandomSource
  readonly env: Environment
  readonly log: Logger
}

/** null for shares. Asks nobody yet. @throws ERR_CONFIG. */
export function createAutoSeal(block: SealBlock, tools: SealTools): AutoSeal | null {
  const backend = backendOf(block, tools)
  return backend === null ? null : guardSeal(backend, tools)
}

function backendOf({ kind, options }: SealBlock, tools: SealTools): SealBackend | null {
  switch (kind) {
    case 'shamir':
      return null
    case 'static':
      return staticSealFrom(options, tools)
    case 'awskms':
      return awsKmsSealFrom(options)
    case 'pkcs11':
      return pkcs11SealFrom(options, tools)
    case 'transit':
      return transitSealFrom(options, tools)
  }
}
