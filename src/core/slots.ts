/**
 * The algebra of applying a request once although it may be sent several times: pure, so that the simulator's clients use it too.
 *
 * Who sends (a node, for the requests that it forwards) numbers its requests and lends each a slot until it is done. What a request did
 * is written into its slot in the same commit. So whoever evaluates it later knows by one record whether it was carried out: and nothing has
 * to be swept, since the slot's next request overwrites it.
 */
import { assert } from '#base/assert.ts'

/** One request of one run (`boot`) of a sender. `serial` never comes again in a boot, and grows. */
export interface Ticket {
  readonly boot: string
  readonly slot: number
  readonly serial: number
}

/** Who was carried out last in a slot. */
export interface SlotMark {
  readonly boot: string
  readonly serial: number
  /** Boots that used the slot before this one, newest first: what of them is still on its way must not be carried out any more. */
  readonly before: readonly string[]
}

/** Boots remembered: a straggler of an older one would have to outlive so many restarts of its sender. */
const bootsBeforeMax = 8

/**
 * 'first': not carried out yet; 'again': it was, and the slot holds what it did; 'superseded': its sender has given it up, since a
 * later request or boot has used the slot: whether it was carried out is not known any more, and it must not be now.
 */
export type Verdict = 'first' | 'again' | 'superseded'

export function judge(mark: SlotMark | null, { boot, serial }: Pick<Ticket, 'boot' | 'serial'>): Verdict {
  if (mark === null) return 'first'
  if (mark.boot !== boot) return mark.before.includes(boot) ? 'superseded' : 'first'
  if (mark.serial === serial) return 'again'
  return serial > mark.serial ? 'first' : 'superseded'
}

/** The slot's mark once `ticket` is carried out in it. Only where it was judged 'first'. */
export function marked(mark: SlotMark | null, { boot, serial }: Pick<Ticket, 'boot' | 'serial'>): SlotMark {
  assert(judge(mark, { boot, serial }) === 'first', 'a request expected to be carried out once')
  if (mark === null) return { boot, serial, before: [] }
  if (mark.boot === boot) return { boot, serial, before: mark.before }
  return { boot, serial, before: [mark.boot, ...mark.before].slice(0, bootsBeforeMax) }
}

/**
 * A sender's slots. The one that was given back last is lent first, so that a sender uses no more of them than it ever had requests
 * under way, and a slot is not overwritten while its request may still be repeated.
 */
export class SlotPool {
  readonly #boot: string
  readonly #slotsMax: number
  readonly #free: number[] = []
  readonly #lent = new Set<number>()
  #used = 0
  #serial = 0

  constructor(boot: string, slotsMax: number) {
    this.#boot = boot
    this.#slotsMax = slotsMax
  }

  /** null when all are lent. */
  take(): Ticket | null {
    const slot = this.#free.pop() ?? (this.#used < this.#slotsMax ? this.#used++ : null)
    if (slot === null) return null
    this.#lent.add(slot)
    this.#serial += 1
    return { boot: this.#boot, slot, serial: this.#serial }
  }

  /** The request has its answer, or was given up: it will not be sent again. */
  give({ slot }: Ticket): void {
    assert(this.#lent.delete(slot), 'a slot expected to be given back once')
    this.#free.push(slot)
  }
}
