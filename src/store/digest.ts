/**
 * A hash of a whole state that follows each change without reading the rest: LtHash (Bellare and Micciancio 1997; Lewi et al. 2019, with these
 * parameters). Every pair is expanded to 1,024 lanes of 16 bits, and the digest is their sum, lane by lane, modulo 2^16. So it depends on the
 * set of pairs alone, not on the order in which they came, and what is replaced is subtracted. To find two sets with one digest is as
 * hard as a short integer solution problem (over 2^200 steps); a mere XOR or sum of 256-bit hashes would fall to linear algebra or a birthday tree.
 *
 * Lanes are added two at a time in 32-bit words, with the carry between them masked away: a third of the time that 16-bit lanes take. SHAKE128's
 * bytes are read in the machine's order; every platform that Node 26 is built for but s390x is little-endian, and the tests' vectors say which it is.
 */
import { hash } from 'node:crypto'
import { assert } from '#base/assert.ts'

export const digestBytes = 2_048
const words = digestBytes / 4
/** Of the two lanes of a word: all bits but the highest. */
const lowBits = 0x7fff7fff
const highBits = 0x80008000
const noBytes = new Uint8Array(0)

/** What one pair adds to the digest. */
export type Element = Uint32Array

/** SHAKE128 over the lengths of key and value (4 bytes each) and both: no two pairs have one input. */
export function expand(key: Uint8Array, value: Uint8Array): Element {
  const input = Buffer.allocUnsafe(8 + key.length + value.length)
  input.writeUInt32BE(key.length, 0)
  input.writeUInt32BE(value.length, 4)
  input.set(key, 8)
  input.set(value, 8 + key.length)
  const out = hash('shake128', input, { outputEncoding: 'buffer', outputLength: digestBytes })
  // A view where the bytes lie well for one; Node's pool may place them anywhere.
  if (out.byteOffset % 4 === 0) return new Uint32Array(out.buffer, out.byteOffset, words)
  return new Uint32Array(Uint8Array.from(out).buffer)
}

/** A digest under way. */
export class StateDigest {
  readonly #lanes = new Uint32Array(words)

  /** Goes on from `bytes`, which `bytes()` gave; empty: nothing yet. @throws AssertionError */
  constructor(bytes: Uint8Array = noBytes) {
    assert(bytes.length === 0 || bytes.length === digestBytes, `state digest expected ${digestBytes} bytes or none, got ${bytes.length}`)
    new Uint8Array(this.#lanes.buffer).set(bytes)
  }

  add(element: Element): void {
    const lanes = this.#lanes
    for (let at = 0; at < words; at += 1) {
      const a = lanes[at] as number
      const b = element[at] as number
      lanes[at] = ((a & lowBits) + (b & lowBits)) ^ ((a ^ b) & highBits)
    }
  }

  subtract(element: Element): void {
    const lanes = this.#lanes
    for (let at = 0; at < words; at += 1) {
      const a = lanes[at] as number
      const b = element[at] as number
      lanes[at] = ((a | highBits) - (b & lowBits)) ^ ((a ^ ~b) & highBits)
    }
  }

  /** What it is beyond the digest `bytes`. */
  minus(bytes: Uint8Array): Element {
    const left = new StateDigest(this.bytes())
    left.subtract(new StateDigest(bytes).#lanes)
    return left.#lanes
  }

  /** Is it the digest `bytes`? Nothing and the sum of nothing are one. */
  equals(bytes: Uint8Array): boolean {
    return Buffer.compare(this.bytes(), new StateDigest(bytes).bytes()) === 0
  }

  /** The digest so far, owned by the caller. */
  bytes(): Uint8Array {
    return new Uint8Array(this.#lanes.slice().buffer)
  }
}

/** What is known of a key's value: its element; null: there is none. */
type Known = Element | null

/**
 * Elements of recently written keys, so that the next write to one of them needs neither to read nor to expand what it replaces. Bounded in keys:
 * each holds 2 KiB.
 */
export class ElementCache {
  readonly #keysMax: number
  readonly #held = new Map<string, Known>()

  constructor(keysMax: number) {
    this.#keysMax = keysMax
  }

  /** Undefined when nothing is known. */
  get(id: string): Known | undefined {
    return this.#held.get(id)
  }

  set(id: string, element: Known): void {
    // Written again: young again.
    this.#held.delete(id)
    this.#held.set(id, element)
    if (this.#held.size <= this.#keysMax) return
    const oldest = this.#held.keys().next().value
    if (oldest !== undefined) this.#held.delete(oldest)
  }

  clear(): void {
    this.#held.clear()
  }
}
