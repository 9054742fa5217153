/** The token method, always mounted at auth/token/: making, looking up, renewing and revoking tokens. */
import type { EngineDef, PathDef } from '#core/types.ts'
import type { AuthServices } from '../index.ts'
import { createPaths } from './create.ts'
import { lookupPaths } from './lookup.ts'
import { renewPaths } from './renew.ts'
import { revokePaths } from './revoke.ts'
import { rolePaths } from './roles.ts'

export function createTokenAuth(services: AuthServices): EngineDef {
  const paths: readonly PathDef[] = [
    ...createPaths(services),
    ...lookupPaths(services),
    ...renewPaths(services),
    ...revokePaths(services),
    ...rolePaths(),
  ]
  return { type: 'token', kind: 'auth', description: 'token based credentials', paths: () => paths }
}
