/**
 * A hierarchical timing wheel: schedules, reschedules and cancels in constant time, whatever is pending. Pure: whoever turns it says what time it is.
 *
 * Intuition: a clock's hands. What ends within the next 6 seconds lies in one of 64 slots of a tick each; what ends later lies in a slot of a slower
 * hand, and is laid into the faster ones when that comes round. A heap would do the same with a logarithm at each renewal, and most leases are renewed
 * many times before they end once.
 */
import { assert } from '#base/assert.ts'

const tickMs = 100
const slotsPerLevel = 64
const levelsMax = 4

export interface Scheduled<T> {
  readonly key: string
  readonly dueMs: number
  readonly item: T
}

type Slot<T> = Map<string, Scheduled<T>>

/** Ticks that one slot of a level spans. */
const span = (level: number): number => slotsPerLevel ** level

export class TimingWheel<T> {
  readonly #levels: readonly (readonly Slot<T>[])[]
  readonly #slotOf = new Map<string, Slot<T>>()
  readonly #sizeMax: number
  /** All ticks below are over: what is due in them has been handed out. */
  #tick: number

  constructor({ nowMs, sizeMax }: { readonly nowMs: number; readonly sizeMax: number }) {
    this.#sizeMax = sizeMax
    this.#tick = Math.floor(nowMs / tickMs)
    this.#levels = Array.from({ length: levelsMax }, () => Array.from({ length: slotsPerLevel }, () => new Map()))
  }

  get size(): number {
    return this.#slotOf.size
  }

  get full(): boolean {
    return this.#slotOf.size >= this.#sizeMax
  }

  has(key: string): boolean {
    return this.#slotOf.has(key)
  }

  /** Schedules, or moves, what is called `key`. False when there is no room for one more: nothing is kept then. */
  schedule(key: string, dueMs: number, item: T): boolean {
    const moved = this.cancel(key)
    if (!moved && this.full) return false
    this.#place({ key, dueMs, item })
    return true
  }

  /** Whether there was such a one. */
  cancel(key: string): boolean {
    const slot = this.#slotOf.get(key)
    if (slot === undefined) return false
    slot.delete(key)
    return this.#slotOf.delete(key)
  }

  /** Cancels all that `which` holds for; a look at each. */
  cancelWhere(which: (item: T) => boolean): void {
    for (const [key, slot] of this.#slotOf) {
      const entry = slot.get(key)
      if (entry !== undefined && which(entry.item)) this.cancel(key)
    }
  }

  /**
   * Takes out what is due at `nowMs`, in the order of time (then of names), at most `countMax`: the rest comes with the next call. Never hands out what
   * is due later. A clock that went back hands out nothing new.
   */
  advance(nowMs: number, countMax = Number.MAX_SAFE_INTEGER): Scheduled<T>[] {
    const target = Math.floor(nowMs / tickMs)
    if (target - this.#tick >= slotsPerLevel * span(1)) this.#jump(target)
    else while (this.#tick < target) this.#step()
    const due = [...this.#current().values()].filter((entry) => entry.dueMs <= nowMs)
    due.sort((a, b) => a.dueMs - b.dueMs || (a.key < b.key ? -1 : 1))
    const taken = due.slice(0, countMax)
    for (const { key } of taken) this.cancel(key)
    return taken
  }

  clear(nowMs: number): void {
    for (const level of this.#levels) for (const slot of level) slot.clear()
    this.#slotOf.clear()
    this.#tick = Math.floor(nowMs / tickMs)
  }

  /** What is due in this tick, or was and has not been taken yet. */
  #current(): Slot<T> {
    return this.#slot(0, this.#tick)
  }

  #slot(level: number, tick: number): Slot<T> {
    const slot = this.#levels[level]?.[Math.floor(tick / span(level)) % slotsPerLevel]
    assert(slot !== undefined, 'a wheel expected a slot for each tick')
    return slot
  }

  #place(entry: Scheduled<T>): void {
    // What lies beyond the slowest hand waits in its farthest slot, and is placed again when that comes round.
    const reach = span(levelsMax) - span(levelsMax - 1)
    const tick = Math.min(Math.max(Math.floor(entry.dueMs / tickMs), this.#tick), this.#tick + reach)
    let level = 0
    while (level < levelsMax - 1 && Math.floor(tick / span(level)) - Math.floor(this.#tick / span(level)) >= slotsPerLevel) level += 1
    const slot = this.#slot(level, tick)
    slot.set(entry.key, entry)
    this.#slotOf.set(entry.key, slot)
  }

  /** One tick on. What was not taken of the last one stays due; slots of slower hands that begin here are laid into the faster ones. */
  #step(): void {
    const left = [...this.#current().values()]
    this.#current().clear()
    this.#tick += 1
    for (let level = levelsMax - 1; level > 0; level -= 1) {
      if (this.#tick % span(level) === 0) this.#again(this.#slot(level, this.#tick))
    }
    for (const entry of left) this.#place(entry)
  }

  /** Over a long gap (a suspended machine) every entry is placed anew: as many steps as there are entries, not as there were ticks. */
  #jump(target: number): void {
    const entries = this.#levels.flatMap((level) => level.flatMap((slot) => [...slot.values()]))
    for (const level of this.#levels) for (const slot of level) slot.clear()
    this.#tick = target
    for (const entry of entries) this.#place(entry)
  }

  #again(slot: Slot<T>): void {
    const entries = [...slot.values()]
    slot.clear()
    for (const entry of entries) this.#place(entry)
  }
}
