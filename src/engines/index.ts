/** Every secrets engine of this build: adding one is its folder and one line here. The system engine is made by node/, with its services. */
import type { EngineDef } from '#core/types.ts'
import { cubbyholeEngine } from './cubbyhole/index.ts'
import { createIdentityEngine, type IdentityServices } from './identity/index.ts'
import { kv } from './kv/index.ts'
import { transit } from './transit/index.ts'

export const createSecretEngines = (services: IdentityServices): readonly EngineDef[] => [
  cubbyholeEngine,
  createIdentityEngine(services),
  kv,
  transit,
]
