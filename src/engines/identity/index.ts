/**
 * Entities, groups and their aliases, always mounted at identity/, and second factors of logins (identity/mfa/...). What they are and where they lie:
 * the room src/identity. Tokens of identity and an OIDC provider (identity/oidc/...) are not there yet.
 */
import type { EngineDef, PathDef } from '#core/types.ts'
import { entityAliasPaths, groupAliasPaths } from './aliases.ts'
import type { IdentityServices } from './common.ts'
import { entityPaths } from './entities.ts'
import { groupPaths } from './groups.ts'
import { lookupPaths } from './lookup.ts'
import { mfaPaths } from './mfa.ts'

export type { IdentityServices } from './common.ts'

export function createIdentityEngine(services: IdentityServices): EngineDef {
  const paths: readonly PathDef[] = [
    ...entityPaths(services),
    ...entityAliasPaths(services),
    ...groupPaths(services),
    ...groupAliasPaths(services),
    ...lookupPaths(services),
    ...mfaPaths(services),
  ]
  return { type: 'identity', kind: 'secret', description: 'identity store', paths: () => paths }
}
