/** How many bytes this leader has proposed and not yet committed: the bound on what a stalled majority can pile up. */
export class Uncommitted {
  readonly #max: number
  #entries: { readonly index: number; readonly bytes: number }[] = []
  /** Everything before this position is committed; cut off now and then, since shifting one by one would be quadratic. */
  #head = 0
  bytes = 0

  constructor(max: number) {
    this.#max = max
  }

  /** May `bytes` more be proposed? When nothing is in flight the answer is yes, or one large batch could never pass. */
  admits(bytes: number): boolean {
    return this.bytes === 0 || this.bytes + bytes <= this.#max
  }

  add(index: number, bytes: number): void {
    this.#entries.push({ index, bytes })
    this.bytes += bytes
  }

  committed(index: number): void {
    for (let entry = this.#entries[this.#head]; entry !== undefined && entry.index <= index; entry = this.#entries[this.#head]) {
      this.bytes -= entry.bytes
      this.#head += 1
    }
    if (this.#head > 1024 && this.#head * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#head)
      this.#head = 0
    }
  }

  clear(): void {
    this.#entries = []
    this.#head = 0
    this.bytes = 0
  }
}
