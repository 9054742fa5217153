/** Keeps a node's quotas as the cluster has them: looks again whenever the apply feed says that something has changed, a few times a second at most. */
import type { Clock, Timer } from '#base/clock.ts'
import { isHoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import type { Barrier, ReadView } from '#barrier/types.ts'
import type { AppliedChange } from '#replica/types.ts'
import type { QuotaStore } from './store.ts'

/** A look costs a view of the state and one value of the cache: too dear for each of a thousand writes a second. */
const lookEveryMs = 50

export interface QuotaFeedOptions {
  readonly barrier: Pick<Barrier, 'read' | 'sealed'>
  readonly onApplied: (listener: (change: AppliedChange) => void) => () => void
  readonly store: QuotaStore
  /** Reads with each look what else matching needs: these namespaces, and their mount tables. */
  readonly alongside: (view: ReadView, namespaces: readonly string[]) => Promise<void>
  readonly clock: Clock
  readonly log: Logger
}

export class QuotaFeed {
  readonly #options: QuotaFeedOptions
  readonly #unsubscribe: () => void
  #looking: Promise<void> | null = null
  #again = false
  #lastMs = -Infinity
  #timer: Timer | null = null

  constructor(options: QuotaFeedOptions) {
    this.#options = options
    this.#unsubscribe = options.onApplied(() => this.look())
  }

  /** Something may have changed: applied, or the barrier was opened. */
  look(): void {
    if (this.#options.barrier.sealed || this.#timer !== null) return
    if (this.#looking !== null) {
      this.#again = true
      return
    }
    const waitMs = this.#lastMs + lookEveryMs - this.#options.clock.monotonicMs()
    if (waitMs > 0) {
      this.#timer = this.#options.clock.setTimer(waitMs, () => {
        this.#timer = null
        this.look()
      })
      return
    }
    this.#lastMs = this.#options.clock.monotonicMs()
    this.#looking = this.#look().finally(() => {
      this.#looking = null
      if (!this.#again) return
      this.#again = false
      this.look()
    })
  }

  /** Resolves when what was applied until now is taken in, or could not be. */
  async settled(): Promise<void> {
    while (this.#looking !== null) await this.#looking
  }

  stop(): void {
    this.#unsubscribe()
    this.#timer?.cancel()
    this.#timer = null
  }

  /** Never rejects. */
  async #look(): Promise<void> {
    const { barrier, store, alongside, log } = this.#options
    try {
      await barrier.read({ kind: 'stale' }, async (view) => {
        await store.refresh(view)
        await alongside(view, store.current.namespaces)
      })
    } catch (error) {
      if (isHoldfastError(error, 'ERR_SEALED')) return
      // What held before goes on holding, and the next change brings another look.
      log.warn({ error: isHoldfastError(error) ? error.message : 'internal error' }, 'quotas could not be read again')
    }
  }
}
