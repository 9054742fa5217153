/** The term of every index of the log, as runs: a log of millions of entries has as many runs as it has terms. */
export class TermRuns {
  #runs: { first: number; term: number }[] = []

  /** Notes the term of the next index. Indexes come in order. */
  push(index: number, term: number): void {
    if (this.#runs.at(-1)?.term !== term) this.#runs.push({ first: index, term })
  }

  /** Forgets indexes from `index` on. */
  truncateFrom(index: number): void {
    while ((this.#runs.at(-1)?.first ?? -1) >= index) this.#runs.pop()
  }

  /** Forgets indexes below `index`. */
  dropBelow(index: number): void {
    const keep = this.#find(index)
    if (keep > 0) this.#runs.splice(0, keep)
  }

  clear(): void {
    this.#runs = []
  }

  /** The term at `index`, which the caller knows to be held; undefined before the first run. */
  at(index: number): number | undefined {
    return this.#runs[this.#find(index)]?.term
  }

  /** Position of the run that holds `index`; -1 before the first. */
  #find(index: number): number {
    let low = 0
    let high = this.#runs.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#runs[middle]?.first ?? Infinity) <= index) low = middle + 1
      else high = middle
    }
    return low - 1
  }
}
