/** Leases and tokens that are marked as ended: good no more from that transaction on, whatever becomes of what was lent. */
import type { Barrier, ReadView, Transaction } from '#barrier/types.ts'
import { leaseKey, type SecretLease } from '#leases/records.ts'
import type { LeaseStore } from '#leases/store.ts'
import type { TokenStore } from '#tokens/store.ts'
import type { TokenEntry } from '#tokens/types.ts'
import type { MountReader } from './mounts.ts'
import { clearRevoked } from './revoked.ts'

/** What one transaction marks. */
export const marksPerTransaction = 128

export interface LeaseMarksOptions {
  /** That of `store.ledger.watch`. */
  readonly barrier: Barrier
  readonly store: LeaseStore
  readonly tokens: TokenStore
  readonly mounts: () => MountReader
}

export class LeaseMarks {
  readonly #options: LeaseMarksOptions

  constructor(options: LeaseMarksOptions) {
    this.#options = options
  }

  /** Marks `id` as ended; a token is revoked with all below it. The lease that is to be taken back; null: nothing is. */
  async mark(transaction: Transaction, namespaceId: string, id: string, force: boolean): Promise<SecretLease | null> {
    const lease = await this.#options.store.load(transaction, namespaceId, id)
    if (lease === null) return null
    if (lease.kind === 'secret') return lease.ending === undefined || force ? this.#options.store.end(transaction, lease, force) : lease
    const { entries } = await this.#options.tokens.revokeTree(transaction, { namespaceId, idHash: leaseKey(lease.id) })
    await this.clear(transaction, entries)
    return null
  }

  /** Marks up to `max` leases below `prefix` that were issued up to `atMs`, behind `after`. */
  async markBelow(namespaceId: string, prefix: string, atMs: number, force: boolean, after: string, max: number) {
    const ids = await this.#options.barrier.read({ kind: 'linearizable' }, (view) =>
      this.#options.store.idsBelow(view, namespaceId, prefix, max, after),
    )
    const marked: SecretLease[] = []
    for (let at = 0; at < ids.length; at += marksPerTransaction) {
      const part = ids.slice(at, at + marksPerTransaction)
      marked.push(
        ...(await this.#options.barrier.transact(async (transaction) => {
          const leases: SecretLease[] = []
          for (const id of part) {
            if (!(await this.#issuedBy(transaction, namespaceId, id, atMs))) continue
            const lease = await this.mark(transaction, namespaceId, id, force)
            if (lease !== null) leases.push(lease)
          }
          return leases
        })),
      )
    }
    return { ids, marked }
  }

  async #issuedBy(view: ReadView, namespaceId: string, id: string, atMs: number): Promise<boolean> {
    const lease = await this.#options.store.load(view, namespaceId, id)
    if (lease === null) return false
    if (lease.kind === 'secret') return lease.issueTimeMs <= atMs
    const token = await this.#options.tokens.stored(view, leaseKey(id), namespaceId)
    return token !== null && token.creationTimeMs <= atMs
  }

  /** What hangs on tokens that are gone goes with them. */
  async clear(transaction: Transaction, entries: readonly TokenEntry[]): Promise<void> {
    await clearRevoked(transaction, (namespace) => this.#options.mounts().read(transaction, namespace), entries)
  }
}
