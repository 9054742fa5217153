/** Every secrets engine of this build: adding one is its folder and one line here. The system engine is made by node/, with its services. */
import type { EngineDef } from '#core/types.ts'
import { cubbyholeEngine } from './cubbyhole/index.ts'
import { identityEngine } from './identity/index.ts'
import { kv } from './kv/index.ts'
import { transit } from './transit/index.ts'

export const secretEngines: readonly EngineDef[] = [cubbyholeEngine, identityEngine, kv, transit]
