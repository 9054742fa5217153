/** Every login method of this build: adding one is its folder and one line here. */
import type { EngineDef } from '#core/types.ts'
import type { PolicyStore } from '#policies/store.ts'
import type { TokenStore } from '#tokens/store.ts'
import { createTokenAuth } from './token/index.ts'

export interface AuthServices {
  readonly tokens: TokenStore
  readonly policies: PolicyStore
}

export const createAuthMethods = (services: AuthServices): readonly EngineDef[] => [createTokenAuth(services)]
