/** The only entropy of a run. sfc32: small, fast, and the same on every machine, which Math.random is not. */
export class Prng {
  #a: number
  #b: number
  #c: number
  #d = 1

  constructor(seed: number) {
    this.#a = seed >>> 0
    this.#b = Math.floor(seed / 2 ** 32) >>> 0
    this.#c = 0x9e3779b9
    for (let i = 0; i < 12; i += 1) this.next()
  }

  /** 32 random bits. */
  next(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#d) | 0
    this.#d = (this.#d + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum
    this.#c |= 0
    return sum >>> 0
  }

  /** Uniform in [0, n), for n up to 2^32. */
  below(n: number): number {
    return Math.floor((this.next() / 2 ** 32) * n)
  }

  /** Uniform in [lo, hi]. */
  between(lo: number, hi: number): number {
    return lo + this.below(hi - lo + 1)
  }

  chance(probability: number): boolean {
    return this.next() / 2 ** 32 < probability
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)]
    if (item === undefined) throw new Error('expected something to pick from, got nothing')
    return item
  }

  shuffled<T>(items: readonly T[]): T[] {
    const result = [...items]
    for (let i = result.length - 1; i > 0; i -= 1) {
      const j = this.below(i + 1)
      const [a, b] = [result[i], result[j]]
      if (a !== undefined && b !== undefined) [result[i], result[j]] = [b, a]
    }
    return result
  }

  /** An independent stream, so that one part of the world drawing more does not change what another part draws. */
  fork(): Prng {
    return new Prng(this.next() * 2 ** 20 + (this.next() >>> 12))
  }
}
