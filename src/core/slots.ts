/**
 * The algebra of applying a request once although it may be sent several times: pure, so that the simulator's clients use it too.
 *
 * Who sends (a node, for the requests that it forwards) numbers its requests and lends each a slot until it is done. What a request did
 * is written into its slot in the same commit. So whoever evaluates it later knows by one record whether it was carried out: and nothing has
 * to be swept, since the slot's next request overwrites it.
 */
import { assert } from '#base/assert.ts'

/** One request of one run of a sender. Runs (`boot`) and the serials in each of them grow, and never come again. */
export interface Ticket {
  readonly boot: number
  readonly slot: number
  readonly serial: number
  /** The life of the cluster that it was given out in; absent: the first. Where a restore began another, nothing tells any more whether it was done. */
  readonly incarnation?: number
}

/** What was carried out last in a slot. */
export type SlotMark = Pick<Ticket, 'boot' | 'serial'>

/**
 * 'first': not carried out yet; 'again': it was, and the slot holds what it did; 'superseded': its sender has given it up, since a
 * later request or run has used the slot: whether it was carried out is not known any more, and it must not be now.
 */
export type Verdict = 'first' | 'again' | 'superseded'

export function judge(mark: SlotMark | null, { boot, serial }: SlotMark): Verdict {
  if (mark === null || boot > mark.boot) return 'first'
  if (boot < mark.boot || serial < mark.serial) return 'superseded'
  return serial === mark.serial ? 'again' : 'first'
}

/**
 * A sender's slots. The one that was given back last is lent first, so that a sender uses no more of them than it ever had requests
 * under way, and a slot is not overwritten while its request may still be repeated.
 */
export class SlotPool {
  readonly #boot: number
  readonly #slotsMax: number
  readonly #free: number[] = []
  readonly #lent = new Set<number>()
  #used = 0
  #serial = 0

  constructor(boot: number, slotsMax: number) {
    this.#boot = boot
    this.#slotsMax = slotsMax
  }

  /** Of this `incarnation`; null when all are lent. */
  take(incarnation?: number): Ticket | null {
    const slot = this.#free.pop() ?? (this.#used < this.#slotsMax ? this.#used++ : null)
    if (slot === null) return null
    this.#lent.add(slot)
    this.#serial += 1
    return { boot: this.#boot, slot, serial: this.#serial, ...(incarnation === undefined ? {} : { incarnation }) }
  }

  /** The request has its answer, or was given up: it will not be sent again. */
  give({ slot }: Ticket): void {
    assert(this.#lent.delete(slot), 'a slot expected to be given back once')
    this.#free.push(slot)
  }
}
