/**
 * Members that the log names and the state does not yet. A membership is in force from the moment that it stands in the log, so a vote of a node whose
 * entry is not applied here may be needed before that entry can be: whoever is elected needs it, and it must be reachable and heard. It was
 * let in by a leader; what the state says of members still comes with the apply loop alone.
 */
import { releasedFormats, type FormatRange } from '#base/formats.ts'
import { EntryType, type Entry } from '#raft/types.ts'
import type { LogStore } from '#store/types.ts'
import { decodeUpdate } from './directory.ts'
import { membershipChangeIn } from './entries.ts'
import type { Member } from './types.ts'

const pageBytes = 1024 * 1024

export class Announced {
  readonly #members = new Map<string, { readonly index: number; readonly member: Member }>()
  readonly #formats: FormatRange

  constructor(formats: FormatRange = releasedFormats) {
    this.#formats = formats
  }

  /** Reads the log behind `applied`, as a node does that starts. @throws ERR_UPGRADE_REQUIRED for a membership of a version that it does not know */
  scan(log: LogStore, applied: number): void {
    const end = log.lastIndex() + 1
    for (let index = applied + 1; index < end;) {
      const entries = log.entries(index, end, pageBytes) ?? []
      if (entries.length === 0) return
      this.note(entries)
      index += entries.length
    }
  }

  /** Takes note of entries that are about to be stored. Returns whether they name anybody. @throws ERR_UPGRADE_REQUIRED */
  note(entries: readonly Entry[]): boolean {
    let named = false
    for (const { index, type, data } of entries) {
      if (type !== EntryType.membership) continue
      const change = membershipChangeIn(data)
      const update = change === null ? null : decodeUpdate(change.context, this.#formats)
      if (update === null || !('put' in update)) continue
      this.#members.set(update.put.id, { index, member: update.put })
      named = true
    }
    return named
  }

  /** Up to here the state speaks for itself. */
  forget(applied: number): void {
    for (const [id, { index }] of this.#members) if (index <= applied) this.#members.delete(id)
  }

  /** `members`, and behind them those whom only the log names. */
  with(members: readonly Member[]): readonly Member[] {
    if (this.#members.size === 0) return members
    const unknown = Array.from(this.#members.values(), ({ member }) => member).filter(({ id }) => !members.some((known) => known.id === id))
    return [...members, ...unknown]
  }
}
