/**
 * Entities, groups and their aliases, always mounted at identity/, and second factors of logins (identity/mfa/...). What they are and where they lie:
 * the room src/identity. Tokens of identity (identity/oidc/...) for services that ask nothing here.
 */
import type { EngineDef, PathDef } from '#core/types.ts'
import { entityAliasPaths, groupAliasPaths } from './aliases.ts'
import type { IdentityServices } from './common.ts'
import { entityPaths } from './entities.ts'
import { groupPaths } from './groups.ts'
import { lookupPaths } from './lookup.ts'
import { mfaPaths } from './mfa.ts'
import { oidcJobs, oidcPaths } from './oidc/index.ts'

export type { IdentityServices } from './common.ts'

export function createIdentityEngine(services: IdentityServices): EngineDef {
  const paths: readonly PathDef[] = [
    ...entityPaths(services),
    ...entityAliasPaths(services),
    ...groupPaths(services),
    ...groupAliasPaths(services),
    ...lookupPaths(services),
    ...mfaPaths(services),
    ...oidcPaths(services),
  ]
  return { type: 'identity', kind: 'secret', description: 'identity store', paths: () => paths, jobs: oidcJobs }
}
