/**
 * Optimistic concurrency at the leader: has anything that a proposal read changed since its view?
 *
 * The leader remembers the keys of recent entries, those in flight included: an entry that is proposed but not applied is not in any view yet,
 * and would be overwritten unseen. What is older than the memory counts as changed: the request is evaluated once more, which is cheap and always
 * right. Only the leader remembers; a new one begins at the index at which it took over (`reset`).
 */
export class ConflictWindow {
  readonly #keysMax: number
  /** Key (as latin1 text: one character a byte, so that text order is byte order) -> newest index that changes it. */
  readonly #newest = new Map<string, number>()
  /** In index order; the part before #head was forgotten. */
  #changes: { readonly index: number; readonly keys: readonly string[] }[] = []
  #head = 0
  #keys = 0
  /** Everything up to here may have changed and is not remembered. */
  #floor: number

  constructor(keysMax: number, floor: number) {
    this.#keysMax = keysMax
    this.#floor = floor
  }

  /** Forgets everything: views before `floor` conflict with whatever they have read. */
  reset(floor: number): void {
    this.#newest.clear()
    this.#changes = []
    this.#head = 0
    this.#keys = 0
    this.#floor = floor
  }

  /** Notes that the entry at `index`, higher than any noted before, changes `keys`. */
  note(index: number, keys: Iterable<Uint8Array>): void {
    const names = Array.from(keys, keyName)
    this.#changes.push({ index, keys: names })
    this.#keys += names.length
    for (const name of names) this.#newest.set(name, index)
  }

  /** Forgets the oldest changes beyond the bound, but none above `applied`: those are in flight. */
  trim(applied: number): void {
    while (this.#keys > this.#keysMax) {
      const oldest = this.#changes[this.#head]
      if (oldest === undefined || oldest.index > applied) break
      for (const name of oldest.keys) if (this.#newest.get(name) === oldest.index) this.#newest.delete(name)
      this.#keys -= oldest.keys.length
      this.#floor = oldest.index
      this.#head += 1
    }
    if (this.#head > 1_024 && this.#head * 2 > this.#changes.length) {
      this.#changes = this.#changes.slice(this.#head)
      this.#head = 0
    }
  }

  /**
   * The highest index above `viewIndex` that changes one of `reads` or a key in one of `ranges` ([start, end)); null when there is none.
   * Where the memory does not reach back to the view, it is at least the end of what was forgotten.
   */
  check(viewIndex: number, reads: readonly Uint8Array[], ranges: readonly (readonly [Uint8Array, Uint8Array])[]): number | null {
    if (reads.length === 0 && ranges.length === 0) return null
    let found = viewIndex < this.#floor ? this.#floor : 0
    for (const key of reads) found = Math.max(found, this.#newest.get(keyName(key)) ?? 0)
    if (ranges.length > 0) found = Math.max(found, this.#newestIn(ranges, Math.max(viewIndex, found)))
    return found > viewIndex ? found : null
  }

  /** Scans backwards: few entries are newer than a view, and the newest hit is the one that counts. */
  #newestIn(ranges: readonly (readonly [Uint8Array, Uint8Array])[], above: number): number {
    let covered: Covered | null = null
    for (let at = this.#changes.length - 1; at >= this.#head; at -= 1) {
      const change = this.#changes[at]
      if (change === undefined || change.index <= above) break
      covered ??= coveredBy(ranges)
      for (const key of change.keys) if (covers(covered, key)) return change.index
    }
    return 0
  }
}

/** Ranges as few as may be, in order, none touching another. */
interface Covered {
  readonly starts: readonly string[]
  readonly ends: readonly string[]
}

/** One who ends thousands of tokens reads three ranges of each: to hold each of them against each changed key would stop the leader for seconds. */
function coveredBy(ranges: readonly (readonly [Uint8Array, Uint8Array])[]): Covered {
  const named = ranges.map(([start, end]) => ({ start: keyName(start), end: keyName(end) }))
  named.sort((a, b) => (a.start < b.start ? -1 : Number(a.start > b.start)))
  const starts: string[] = []
  const ends: string[] = []
  for (const { start, end } of named) {
    const last = ends.length - 1
    if (last < 0 || start > ends[last]!) {
      starts.push(start)
      ends.push(end)
    } else if (end > ends[last]!) ends[last] = end
  }
  return { starts, ends }
}

function covers({ starts, ends }: Covered, key: string): boolean {
  let [low, high] = [0, starts.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if (starts[middle]! <= key) low = middle + 1
    else high = middle
  }
  return low > 0 && key < ends[low - 1]!
}

function keyName(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1')
}
