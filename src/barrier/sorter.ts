/**
 * Sorts names as they come, so that a folder of a million never holds the event loop: one sort of them all takes a second. Each turn's names are a run, sorted by itself;
 * at the end the runs are merged in pairs, with turns for others in between.
 */
import { compareUtf8, sortNames } from './bytes.ts'
import type { Turns } from './list.ts'

/** Names merged for each that may be looked at in a turn: merging one costs that much less than opening it. */
const mergedPerEntry = 16
const surrogate = /[\ud800-\udfff]/

export class NameSorter {
  readonly #turns: Turns
  readonly #check: () => void
  #runs: string[][] = []
  #run: string[] = []
  /** The engine's own order is that of UTF-8 where no name has a surrogate, and several times as fast. */
  #plain = true
  #merged = 0

  /** @param check called after each wait; may throw. */
  constructor(turns: Turns, check: () => void) {
    this.#turns = turns
    this.#check = check
  }

  add(name: string): void {
    this.#run.push(name)
    if (this.#plain && surrogate.test(name)) this.#plain = false
  }

  /** What was added since the last run is sorted: call it once in a turn. */
  endRun(): void {
    if (this.#run.length === 0) return
    this.#runs.push(sortNames(this.#run))
    this.#run = []
  }

  /** All names, each once. */
  async sorted(): Promise<string[]> {
    this.endRun()
    let runs = this.#runs
    // A single run may hold a name twice, too: merging is what drops the second.
    if (runs.length === 1) runs.push([])
    while (runs.length > 1) {
      const next: string[][] = []
      for (let at = 0; at < runs.length; at += 2) {
        const [left = [], right] = [runs[at], runs[at + 1]]
        next.push(right === undefined ? left : await this.#merge(left, right))
      }
      runs = next
    }
    return runs[0] ?? []
  }

  async #merge(left: readonly string[], right: readonly string[]): Promise<string[]> {
    const { entriesPerTurn, yieldTurn } = this.#turns
    const turnNames = entriesPerTurn * mergedPerEntry
    const merged: string[] = []
    let [l, r] = [0, 0]
    let last: string | undefined
    while (l < left.length || r < right.length) {
      const name = this.#takesLeft(left[l], right[r]) ? left[l++] : right[r++]
      if (name !== undefined && name !== last) merged.push(name)
      last = name
      this.#merged += 1
      if (this.#merged < turnNames) continue
      this.#merged = 0
      await yieldTurn()
      this.#check()
    }
    return merged
  }

  #takesLeft(left: string | undefined, right: string | undefined): boolean {
    if (left === undefined) return false
    if (right === undefined) return true
    return this.#plain ? left <= right : compareUtf8(left, right) <= 0
  }
}
