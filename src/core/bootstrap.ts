/** What a new cluster holds before its first request: the mounts that every client expects, and the root token. */
import { HoldfastError, wellKnown } from '#base/errors.ts'
import type { RandomSource } from '#base/random.ts'
import type { Transaction } from '#barrier/types.ts'
import type { TokenStore } from '#tokens/store.ts'
import { MountReader, newMount, writeMounts } from './mounts.ts'

/**
 * Writes the first state, in the transaction that initialises. Returns the root token, which is nowhere else.
 * (The default policy is built in until somebody writes another.)
 * @throws ERR_ALREADY_INITIALIZED when there are mounts.
 */
export async function bootstrapStorage(
  transaction: Transaction,
  deps: { readonly random: RandomSource; readonly tokens: TokenStore },
): Promise<{ readonly rootToken: string }> {
  const { entries } = await new MountReader().read(transaction, 'root')
  if (entries.length > 0) throw new HoldfastError('ERR_ALREADY_INITIALIZED', wellKnown.alreadyInitialized)
  const { random, tokens } = deps
  writeMounts(transaction, 'root', [
    newMount(random, {
      path: 'sys/',
      table: 'secret',
      type: 'system',
      description: 'system endpoints used for control, policy and debugging',
    }),
    newMount(random, {
      path: 'cubbyhole/',
      table: 'secret',
      type: 'cubbyhole',
      description: 'per-token private secret storage',
      local: true,
    }),
    newMount(random, { path: 'identity/', table: 'secret', type: 'identity', description: 'identity store' }),
    newMount(random, { path: 'token/', table: 'auth', type: 'token', description: 'token based credentials' }),
  ])
  const { token } = await tokens.create(transaction, {
    parent: null,
    policies: ['root'],
    path: 'auth/token/root',
    displayName: 'root',
    ttlSeconds: 0,
  })
  return { rootToken: token }
}
