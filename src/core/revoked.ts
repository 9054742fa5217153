/** What hangs on tokens goes with them: their cubbyholes. */
import { isHoldfastError } from '#base/errors.ts'
import type { Transaction } from '#barrier/types.ts'
import type { TokenEntry } from '#tokens/types.ts'
import type { MountTable } from './mounts.ts'
import { scheduleSweep } from './sweep.ts'

const keysAtOnceMax = 256

/** Deletes the cubbyholes of revoked tokens, in the transaction that revokes them; large ones are left to the sweeper. */
export async function clearRevoked(transaction: Transaction, mounts: MountTable, entries: readonly TokenEntry[]): Promise<void> {
  const cubbyhole = mounts.find('secret', 'cubbyhole/')
  if (!cubbyhole) return
  const section = { namespace: cubbyhole.namespaceId, mount: cubbyhole.uuid }
  for (const { idHash } of entries) {
    const [first] = await transaction.list(section, idHash, { limit: 1 })
    if (first === undefined) continue
    try {
      await transaction.deleteTree(section, idHash, keysAtOnceMax)
    } catch (error) {
      if (!isHoldfastError(error, 'ERR_BUSY')) throw error
      scheduleSweep(transaction, section, idHash)
    }
  }
}
