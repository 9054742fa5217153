/** Frames that wait for one peer, bounded in bytes: a peer that is slow or away costs so much memory and no more. */
export class FrameQueue {
  readonly #bytesMax: number
  #frames: Buffer[] = []
  /** Frames before it are taken already; shifting each one out of a long array would be quadratic. */
  #head = 0
  #bytes = 0
  #dropped = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get bytes(): number {
    return this.#bytes
  }

  get dropped(): number {
    return this.#dropped
  }

  /** Takes ownership of `frame`. Drops the oldest until it fits. */
  push(frame: Buffer): void {
    this.#frames.push(frame)
    this.#bytes += frame.length
    while (this.#bytes > this.#bytesMax && this.#head < this.#frames.length - 1) {
      this.#shift()
      this.#dropped++
    }
  }

  /** Whole frames from the front, at least one, more while they stay within `bytesMax`; empty when there are none. */
  take(bytesMax: number): Buffer[] {
    const taken: Buffer[] = []
    let bytes = 0
    for (;;) {
      const next = this.#frames[this.#head]
      if (next === undefined || (taken.length > 0 && bytes + next.length > bytesMax)) return taken
      bytes += next.length
      taken.push(this.#shift())
    }
  }

  /** Drops all. */
  clear(): void {
    this.#dropped += this.#frames.length - this.#head
    this.#frames = []
    this.#head = 0
    this.#bytes = 0
  }

  #shift(): Buffer {
    const frame = this.#frames[this.#head] as Buffer
    this.#head++
    this.#bytes -= frame.length
    if (this.#head === this.#frames.length || this.#head > 1_024) {
      this.#frames = this.#frames.slice(this.#head)
      this.#head = 0
    }
    return frame
  }
}
