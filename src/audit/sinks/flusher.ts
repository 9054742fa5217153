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
    if (this.#bytes >= this.#bytesMax && this.#running === null) this.#begin()
  }

  /** For whoever writes. @throws what a flush failed with, once: the kernel says it once too, and forgets; whoever syncs next would hear that all is well. */
  check(): void {
    const failed = this.#failed
    this.#failed = null
    if (failed !== null) throw failed.cause
  }

  /**
   * Flushes now, after one that runs. @throws what this or an earlier flush failed with, and leaves it for `check`: were it told to who only asks how far
   * the disk is, the next record would be taken as if nothing had been lost.
   */
  async now(): Promise<void> {
    await this.idle()
    if (this.#failed === null) {
      this.#begin()
      await this.idle()
    }
    if (this.#failed !== null) throw this.#failed.cause
  }

  /** Waits for a flush that runs, whatever comes of it: only then may the file be closed, moved or synced. */
  async idle(): Promise<void> {
    await this.#running
    this.#bytes = 0
  }

  #begin(): void {
    this.#bytes = 0
    this.#running = this.#flush()
      .catch((cause: unknown) => {
        this.#failed = { cause }
      })
      .finally(() => {
        this.#running = null
      })
  }
}
