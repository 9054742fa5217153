/** What hangs on tokens goes with them: their cubbyholes, and what they were lent. */
import { isHoldfastError } from '#base/errors.ts'
import type { Transaction } from '#barrier/types.ts'
import { tokenGone } from '#leases/store.ts'
import type { TokenEntry } from '#tokens/types.ts'
import type { MountTable } from './mounts.ts'
import { scheduleSweep } from './sweep.ts'

const keysAtOnceMax = 256

/**
 * Deletes the cubbyholes of revoked tokens and ends their leases, in the transaction that revokes them; large ones are left to the sweeper. `mountsOf` gives the table of a
 * namespace: tokens below a revoked one may be of another.
 */
export async function clearRevoked(
  transaction: Transaction,
  mountsOf: (namespaceId: string) => Promise<MountTable>,
  entries: readonly Pick<TokenEntry, 'idHash' | 'namespaceId'>[],
): Promise<void> {
  for (const { idHash, namespaceId } of entries) {
    await tokenGone(transaction, namespaceId, idHash)
    const cubbyhole = (await mountsOf(namespaceId)).find('secret', 'cubbyhole/')
    if (!cubbyhole) continue
    const section = { namespace: namespaceId, mount: cubbyhole.uuid }
    if (!(await transaction.holds(section, idHash))) continue
    try {
      await transaction.deleteTree(section, idHash, keysAtOnceMax)
    } catch (error) {
      if (!isHoldfastError(error, 'ERR_BUSY')) throw error
      scheduleSweep(transaction, section, idHash)
    }
  }
}
