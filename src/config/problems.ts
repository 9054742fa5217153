import { HoldfastError } from '#base/errors.ts'
import type { Origin } from './types.ts'

/** Collects every mistake, so that an operator mends them in one go and not one a restart. */
export class Problems {
  readonly #texts: string[] = []
  readonly warnings: string[] = []

  get count(): number {
    return this.#texts.length
  }

  /** `key` is the dotted path; '' where the mistake is not about one key. */
  add(origin: Origin, key: string, expected: string, got: string, hint?: string): void {
    const place = [origin, key].filter((part) => part !== '').join(': ')
    this.#texts.push(`${place}: expected ${expected}, got ${got}${hint === undefined ? '' : ` (${hint})`}`)
  }

  addText(text: string): void {
    this.#texts.push(text)
  }

  warn(origin: Origin, key: string, text: string): void {
    this.warnings.push(`${origin}: ${key}: ${text}`)
  }

  /** @throws HoldfastError ERR_CONFIG with all of them, one a line, unless there are none. */
  throwIfAny(): void {
    if (this.#texts.length === 0) return
    const message =
      this.#texts.length === 1 ? this.#texts[0] : `${this.#texts.length} mistakes in the configuration:\n${this.#texts.join('\n')}`
    throw new HoldfastError('ERR_CONFIG', message ?? '', { errors: this.#texts, hint: 'docs/configuration.md lists every key' })
  }
}

/** The candidate that `word` was probably meant to be; null when none is near. */
export function nearest(word: string, candidates: Iterable<string>): string | null {
  let best: string | null = null
  let bestDistance = Math.min(3, Math.floor(word.length / 3)) + 1
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase(), bestDistance)
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance]
  }
  return best
}

/** Insertions, deletions, replacements and swaps of neighbours; gives up at `limit`. */
function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit
  let before: number[] = []
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i]
    for (let j = 1; j <= b.length; j += 1) {
      const same = a[i - 1] === b[j - 1]
      let cost = Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) cost = Math.min(cost, (before[j - 2] ?? 0) + 1)
      next.push(cost)
    }
    before = row
    row = next
  }
  return row[b.length] ?? limit
}
