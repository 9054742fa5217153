import type { Driver } from './driver.ts'

/** How often the length of the log is looked at. */
const ticksBetween = 20

/**
 * Keeps the log short: makes the state durable, then forgets what it covers, but for a trail that spares a node which was away briefly a whole
 * snapshot. Runs beside consensus, one at a time.
 */
export class Compactor {
  readonly #driver: Driver
  #ticks = 0
  #running: Promise<void> | null = null

  constructor(driver: Driver) {
    this.#driver = driver
  }

  tick(): void {
    this.#ticks += 1
    if (this.#ticks % ticksBetween !== 0 || this.#running !== null || this.#target() === null) return
    this.#running = this.#compact()
      .catch((error: unknown) => void this.#driver.fail(error))
      .finally(() => (this.#running = null))
  }

  /** Resolves when no compaction is under way. */
  async idle(): Promise<void> {
    await this.#running
  }

  async #compact(): Promise<void> {
    const { log, state } = this.#driver.options
    // As it stands on disk then: a mark that moved on meanwhile may be gone after a crash, and with it the reason to let the log go.
    const { checkedIndex } = this.#driver.chain
    const synced = await state.sync()
    const target = this.#target()
    // Failed or stopped meanwhile: the log stays as it is.
    if (target === null || !this.#driver.running) return
    const index = Math.min(target, synced, checkedIndex)
    if (index >= log.firstIndex()) await log.compact(index)
  }

  /** Up to where the log may be forgotten, or null while that is not worth it. */
  #target(): number | null {
    // A state that is fetched again may be older than this one was: the log bridges the two.
    if (this.#driver.repair.reason !== null) return null
    const { log, state } = this.#driver.options
    const { trailingEntries, logBytesMax } = this.#driver.settings
    const { entries, bytes } = log.stats()
    const first = log.firstIndex()
    let keep = trailingEntries
    // Half of the bound, so that the next entry does not call for the next compaction.
    if (bytes > logBytesMax) keep = Math.min(keep, Math.floor((entries * logBytesMax) / (2 * bytes)))
    if (entries <= keep + Math.max(1, Math.floor(keep / 4))) return null
    // What is not checked yet must be there when this node is opened.
    const { checkedIndex } = this.#driver.chain
    // Nor what the core has still to hand out: a state that was fetched beside it may be ahead of that.
    const needed = Math.min(checkedIndex, this.#driver.handed, this.#driver.outgoing.lowestIndex())
    const target = Math.min(state.meta.applied, needed, log.lastIndex() - keep)
    return target >= first ? target : null
  }
}
