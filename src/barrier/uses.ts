/**
 * How often the key of each keyring term has sealed, over all leaders that there were: what rotation by count goes by, and what `sys/key-status` says.
 *
 * A leader counts in memory, and what it counted would be lost with it. So it notes in the state, ahead of time, up to where it may go on counting: the note
 * is part of the very proposal that needs it, and its successor begins there. What was committed is therefore never counted short, and at most an eighth
 * (a million) too much for each leader that went; what a leader sealed and could not commit is counted only by itself. Two ways were rejected: a count written
 * from time to time forgets most where leaders change most, and one written with each value costs as much as the value.
 *
 * No safety rests on this: nobody ever goes on with a key whose count is lost, since each leader has keys of its own (envelope.ts).
 *
 *   `core/key-uses/TERM`, in an envelope: version 1 | uses u64
 */
import { checkVersion } from '#base/formats.ts'
import { decryptError } from './aead.ts'
import { bareKey } from './bare.ts'

const version = 1
const recordBytes = 1 + 8
const headroomMin = 64
const headroomMax = 2 ** 20
const headroomShare = 8

/** What a leader's own keys are derived from: its counting begins anew with each. */
export interface SealingTerm {
  readonly keyringTerm: number
  readonly incarnation: number
  readonly raftTerm: number
}

/** Where the note of a keyring term lies. */
export function keyUsesKey(keyringTerm: number): Uint8Array {
  return bareKey(`core/key-uses/${keyringTerm}`)
}

export function encodeKeyUses(uses: number): Uint8Array {
  const record = new Uint8Array(recordBytes)
  record[0] = version
  new DataView(record.buffer).setBigUint64(1, BigInt(uses))
  return record
}

/** @throws ERR_UPGRADE_REQUIRED for a version that is not known; ERR_DECRYPT for what is no such record. */
export function decodeKeyUses(record: Uint8Array): number {
  if (!checkVersion('key uses', version, record[0]) || record.length !== recordBytes) throw decryptError('the uses of a key')
  return Number(new DataView(record.buffer, record.byteOffset).getBigUint64(1))
}

const same = (a: SealingTerm | null, b: SealingTerm): boolean =>
  a !== null && a.keyringTerm === b.keyringTerm && a.incarnation === b.incarnation && a.raftTerm === b.raftTerm

/** One process's count of what it seals. */
export class KeyUses {
  #of: SealingTerm | null = null
  /** What had been noted when this leader began. */
  #before = 0
  #own = 0
  /** The highest note that is committed for sure. Invariant at each commit: before + own <= noted. */
  #noted = 0

  /**
   * Counts `seals` more under the keys of `of`. Returns the note that must be committed with what was sealed, or null where none is needed; the sealing
   * of the note itself is counted too.
   * @param stored what the state says of the keyring term; asked when `of` is new.
   */
  count(of: SealingTerm, seals: number, stored: () => number): number | null {
    if (!same(this.#of, of)) {
      this.#before = stored()
      this.#own = 0
      this.#noted = this.#before
      this.#of = of
    }
    this.#own += seals
    if (this.#before + this.#own <= this.#noted) return null
    this.#own += 1
    const total = this.#before + this.#own
    return total + Math.min(headroomMax, Math.max(headroomMin, Math.floor(total / headroomShare)))
  }

  /** The note that `count` gave for `of` is committed. Until then every proposal carries one: any of them may be the one that comes through. */
  committed(of: SealingTerm, note: number): void {
    if (same(this.#of, of)) this.#noted = Math.max(this.#noted, note)
  }

  /** All uses of the keyring term of `of`, if this process is the leader that counts them; null otherwise: then the note is what is known. */
  total(of: SealingTerm): number | null {
    return same(this.#of, of) ? this.#before + this.#own : null
  }
}
