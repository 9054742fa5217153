/**
 * Values by group and key, bounded as a whole: where there is no room the oldest value of the group that has most makes it.
 *
 * Were the oldest of all forgotten, a group in which a try costs nothing (role ids that nobody has) would be a way to have forgotten what was counted in
 * another, where each costs a hash of a password. A bound for each group would be none: there may be as many groups as there are mounts.
 */
interface Group<V> {
  readonly name: string
  /** Oldest first. */
  readonly values: Map<string, V>
  /**
   * Only while room is being made again and again: before it nothing is left, and begun anew each time it would walk over all that was deleted there. One
   * that stands still keeps every table alive that the map has outgrown since.
   */
  hand: MapIterator<string> | null
  /** Changes of `values` since the hand moved. */
  still: number
}

export class FairCounts<V> {
  readonly #sizeMax: number
  readonly #groups = new Map<string, Group<V>>()
  #size = 0
  /** Has at least as many as an average group. */
  #largest: Group<V> | null = null

  constructor(sizeMax: number) {
    this.#sizeMax = sizeMax
  }

  get size(): number {
    return this.#size
  }

  get(group: string, key: string): V | undefined {
    return this.#groups.get(group)?.values.get(key)
  }

  /** The newest of its group from here on. */
  set(name: string, key: string, value: V): void {
    this.delete(name, key)
    const group = this.#groups.get(name) ?? this.#found(name)
    group.values.set(key, value)
    letGoOfHand(group)
    this.#size += 1
    if (this.#largest === null || group.values.size > this.#largest.values.size) this.#largest = group
    if (this.#size > this.#sizeMax) this.#makeRoom()
  }

  delete(name: string, key: string): void {
    const group = this.#groups.get(name)
    if (group === undefined || !group.values.delete(key)) return
    letGoOfHand(group)
    this.#size -= 1
    if (group.values.size > 0) return
    this.#groups.delete(name)
    if (this.#largest === group) this.#largest = null
  }

  deleteWhere(which: (value: V) => boolean): void {
    for (const [name, { values }] of this.#groups) for (const [key, value] of values) if (which(value)) this.delete(name, key)
  }

  clear(): void {
    this.#groups.clear()
    this.#size = 0
    this.#largest = null
  }

  #found(name: string): Group<V> {
    const values = new Map<string, V>()
    const group: Group<V> = { name, values, hand: null, still: 0 }
    this.#groups.set(name, group)
    return group
  }

  #makeRoom(): void {
    const group = this.#most()
    group.still = 0
    let oldest = (group.hand ??= group.values.keys()).next()
    // It was at the end of what there was then.
    if (oldest.done === true) oldest = (group.hand = group.values.keys()).next()
    if (oldest.done !== true) this.delete(group.name, oldest.value)
  }

  /** Looked for only when the last one is below the average: others may have grown beyond it while it shrank. */
  #most(): Group<V> {
    let most = this.#largest
    if (most === null || most.values.size * this.#groups.size < this.#size)
      for (const group of this.#groups.values()) if (most === null || group.values.size > most.values.size) most = group
    this.#largest = most
    return most!
  }
}

/** After as many changes as there are values, the walk of a new one is paid for. */
function letGoOfHand(group: Group<unknown>): void {
  if (group.hand === null) return
  group.still += 1
  if (group.still > group.values.size) group.hand = null
}
