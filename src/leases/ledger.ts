/**
 * What transactions do to leases, told once they are committed: for what is kept in memory (the wheel, the counts), which must not hear of what was
 * evaluated and then thrown away. Whoever registers or ends a lease notes it with the transaction; `watch` is the barrier that reports it.
 */
import { isHoldfastError } from '#base/errors.ts'
import { CommitAndThrow, type Barrier, type Transaction } from '#barrier/types.ts'
import type { Due } from './due.ts'

export interface LeaseChange {
  readonly namespace: string
  readonly leaseId: string
  /** 1: there is one more; -1: one less; 0: another time. */
  readonly count: 1 | 0 | -1
  /** When it falls due now; null: not again. */
  readonly due: Due | null
  /** The uuid of its mount, where the lease itself says it; absent: its path does. */
  readonly mountUuid?: string
  /** 1: it was given up; -1: it is tried again, or gone. */
  readonly irrevocable?: 1 | -1
}

export interface LedgerListener {
  committed(changes: readonly LeaseChange[]): void
  /** Nobody knows what became of a transaction with such changes. */
  lost(): void
}

export class LeaseLedger {
  readonly #notes = new WeakMap<Transaction, LeaseChange[]>()
  readonly #listeners = new Set<LedgerListener>()

  listen(listener: LedgerListener): void {
    this.#listeners.add(listener)
  }

  note(transaction: Transaction, change: LeaseChange): void {
    const notes = this.#notes.get(transaction)
    if (notes) notes.push(change)
    else this.#notes.set(transaction, [change])
  }

  /** `barrier`, but whoever listens learns what is committed through it. */
  watch(barrier: Barrier): Barrier {
    const transact = <T>(work: (transaction: Transaction) => Promise<T>): Promise<T> => this.#transact(barrier, work)
    return {
      get sealed() {
        return barrier.sealed
      },
      status: () => barrier.status(),
      read: (consistency, work) => barrier.read(consistency, work),
      transact,
    }
  }

  async #transact<T>(barrier: Barrier, work: (transaction: Transaction) => Promise<T>): Promise<T> {
    let last: Transaction | null = null
    let thrown: { readonly reason: unknown } | null = null
    try {
      const result = await barrier.transact(async (transaction) => {
        last = transaction
        thrown = null
        try {
          return await work(transaction)
        } catch (error) {
          if (error instanceof CommitAndThrow) thrown = { reason: error.reason }
          throw error
        }
      })
      this.#tell(last)
      return result
    } catch (error) {
      const committed = thrown as { readonly reason: unknown } | null
      if (committed !== null && committed.reason === error) this.#tell(last)
      else if (isHoldfastError(error, 'ERR_OUTCOME_UNKNOWN') && last !== null && this.#notes.has(last)) {
        for (const listener of this.#listeners) listener.lost()
      }
      throw error
    }
  }

  #tell(transaction: Transaction | null): void {
    const notes = transaction === null ? undefined : this.#notes.get(transaction)
    if (notes !== undefined) for (const listener of this.#listeners) listener.committed(notes)
  }
}
