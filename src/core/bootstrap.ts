/** What a new cluster holds before its first request: the mounts that every client expects, and the root token. */
import { HoldfastError, wellKnown } from '#base/errors.ts'
import type { RandomSource } from '#base/random.ts'
import type { Transaction } from '#barrier/types.ts'
import type { TokenStore } from '#tokens/store.ts'
import { MountReader, newMount, writeMounts } from './mounts.ts'
import type { MountEntry } from './types.ts'

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
  writeMounts(transaction, 'root', standardMounts(random, 'root'))
  const { token } = await tokens.create(transaction, {
    parent: null,
    policies: ['root'],
    path: 'auth/token/root',
    displayName: 'root',
    ttlSeconds: 0,
  })
  return { rootToken: token }
}

/** What is mounted in every namespace from the beginning, and stays. */
export function standardMounts(random: RandomSource, namespaceId: string): MountEntry[] {
  const mount = (wanted: Pick<MountEntry, 'path' | 'table' | 'type'> & Partial<MountEntry>): MountEntry =>
    newMount(random, { ...wanted, namespaceId })
  return [
    mount({
      path: 'sys/',
      table: 'secret',
      type: 'system',
      description: 'system endpoints used for control, policy and debugging',
    }),
    mount({
      path: 'cubbyhole/',
      table: 'secret',
      type: 'cubbyhole',
      description: 'per-token private secret storage',
      local: true,
    }),
    mount({ path: 'identity/', table: 'secret', type: 'identity', description: 'identity store' }),
    mount({ path: 'token/', table: 'auth', type: 'token', description: 'token based credentials' }),
  ]
}
