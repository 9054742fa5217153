/** Every login method of this build: adding one is its folder and one line here. */
import type { Clock } from '#base/clock.ts'
import type { EngineDef } from '#core/types.ts'
import type { IdentityStore } from '#identity/store.ts'
import type { PolicyStore } from '#policies/store.ts'
import type { TokenStore } from '#tokens/store.ts'
import { createApikey } from './apikey/index.ts'
import { createApprole } from './approle/index.ts'
import { createJwt } from './jwt/index.ts'
import { createCert } from './cert/index.ts'
import { createKubernetes } from './kubernetes/index.ts'
import { createLdap } from './ldap/index.ts'
import type { PasswordHasher } from './passwords.ts'
import { createTokenAuth } from './token/index.ts'
import { createUserpass } from './userpass/index.ts'

export interface AuthServices {
  readonly tokens: TokenStore
  readonly policies: PolicyStore
  readonly identity: IdentityStore
  readonly passwords: PasswordHasher
  /** How long providers outside are waited for. */
  readonly clock: Clock
}

export const createAuthMethods = (services: AuthServices): readonly EngineDef[] => [
  createTokenAuth(services),
  createUserpass(services),
  createApprole(),
  createApikey(),
  createJwt(services, 'jwt'),
  createJwt(services, 'oidc'),
  createKubernetes(services),
  createCert(services),
  createLdap(services),
]
