/**
 * Proposals in flight, and their three outcomes. Committed: an entry of the same term was applied at the index. Not committed: one of another
 * term was. Unknown: leadership was lost (or the node stops) and nobody has decided yet. That the entry was cut from *this* log decides
 * nothing: another node may still hold it and bring it back as a later leader.
 */
import { HoldfastError } from '#base/errors.ts'

interface Pending {
  readonly term: number
  readonly resolve: (outcome: { readonly index: number }) => void
  readonly reject: (error: HoldfastError) => void
  /** When leadership of its term ended, monotonic; null while this node leads. */
  lostAtMs: number | null
}

export class Proposals {
  readonly #pending = new Map<number, Pending[]>()
  #count = 0

  get count(): number {
    return this.#count
  }

  add(index: number, term: number): Promise<{ readonly index: number }> {
    return new Promise((resolve, reject) => {
      const pending = { term, resolve, reject, lostAtMs: null }
      // After a lost leadership two proposals of different terms may wait for one index.
      const held = this.#pending.get(index)
      if (held === undefined) this.#pending.set(index, [pending])
      else held.push(pending)
      this.#count += 1
    })
  }

  /** The entry at `index`, of `term`, was applied: the fate of everything proposed there is known. */
  applied(index: number, term: number): void {
    const held = this.#pending.get(index)
    if (held === undefined) return
    this.#forget(index, held)
    for (const pending of held) {
      if (pending.term === term) pending.resolve({ index })
      else pending.reject(notCommitted())
    }
  }

  /** Leadership ended: the next leader will usually decide within an election timeout. */
  leadershipLost(nowMs: number): void {
    for (const held of this.#pending.values()) for (const pending of held) pending.lostAtMs ??= nowMs
  }

  /** Gives up on those whose leadership was lost before `beforeMs`. */
  expire(beforeMs: number): void {
    if (this.#count === 0) return
    this.#rejectWhere((pending) => pending.lostAtMs !== null && pending.lostAtMs <= beforeMs)
  }

  /** A snapshot replaced everything up to `index`: which entries stood there is not known here any more. */
  overtaken(index: number): void {
    this.#rejectWhere((_, at) => at <= index)
  }

  rejectAll(): void {
    this.#rejectWhere(() => true)
  }

  #rejectWhere(matches: (pending: Pending, index: number) => boolean): void {
    for (const [index, held] of this.#pending) {
      const gone = held.filter((pending) => matches(pending, index))
      if (gone.length === 0) continue
      this.#forget(index, held)
      const kept = held.filter((pending) => !gone.includes(pending))
      if (kept.length > 0) {
        this.#pending.set(index, kept)
        this.#count += kept.length
      }
      for (const pending of gone) pending.reject(outcomeUnknown())
    }
  }

  #forget(index: number, held: readonly Pending[]): void {
    this.#pending.delete(index)
    this.#count -= held.length
  }
}

function notCommitted(): HoldfastError {
  return new HoldfastError('ERR_NOT_LEADER', 'leadership was lost before this write was committed: it was not and will not be', {
    hint: 'send it again; the new leader will take it',
  })
}

function outcomeUnknown(): HoldfastError {
  return new HoldfastError('ERR_OUTCOME_UNKNOWN', 'leadership was lost while this write was in flight: it may or may not be committed', {
    hint: 'read what it would have changed before sending it again',
  })
}
