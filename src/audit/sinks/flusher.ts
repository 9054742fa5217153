/**
 * Has the disk take what was written, a few megabytes at a time and behind the writer's back. Left to itself the kernel gathers lines until somebody
 * syncs (an anchor; on ext4 the flush of any file beside it), and then every write waits until tens of megabytes are on the disk: with them
 * all requests, since each waits for its record.
 */
export class Flusher {
  readonly #bytesMax: number
  readonly #flush: () => Promise<void>
  #bytes = 0
  #running: Promise<void> | null = null
  #failed: { readonly cause: unknown } | null = null

  /** @param bytesMax that are written before `flush` is called; one call of it runs at a time, and what gathers meanwhile is the next one's. */
  constructor(bytesMax: number, flush: () => Promise<void>) {
    this.#bytesMax = bytesMax
    this.#flush = flush
  }

  /** So many bytes more were written. Does not wait. */
  wrote(bytes: number): void {
    this.#bytes += bytes
    if (this.#bytes < this.#bytesMax || this.#running !== null) return
    this.#bytes = 0
    this.#running = this.#flush()
      .catch((cause: unknown) => {
        this.#failed = { cause }
      })
      .finally(() => {
        this.#running = null
      })
  }

  /** @throws what a flush failed with, once: the kernel says it once too, and forgets; whoever syncs next would hear that all is well. */
  check(): void {
    const failed = this.#failed
    this.#failed = null
    if (failed !== null) throw failed.cause
  }

  /** Waits for a flush that runs, whatever comes of it: only then may the file be closed, moved or synced. */
  async idle(): Promise<void> {
    await this.#running
    this.#bytes = 0
  }
}
