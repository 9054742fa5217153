/**
 * Which membership is in force. A change counts from the moment that it stands in the log (Raft, section 6), committed or not:
 * so the newest one in the log decides, and truncating the log brings back the one before.
 *
 * Rejected: activating changes when they are applied, as etcd does. A node that holds a committed "leave joint" entry but has not
 * heard that it is committed would still ask the old half for votes, whose nodes the operator may have switched off already; and a
 * node must then refuse to campaign while committed changes wait to be applied.
 */
import { invariant } from './assert.ts'
import { applyMembershipEntry } from './codec.ts'
import { EntryType, type Entry, type Membership } from './types.ts'

export interface Configured {
  /** Index of the entry that made it; for the first one, any index at or below which it held. */
  readonly index: number
  readonly membership: Membership
}

export class MembershipHistory {
  /** Oldest first, never empty; the first is at or below the commit index, so it can never be truncated. */
  #configured: [Configured, ...Configured[]]

  constructor(index: number, membership: Membership) {
    this.#configured = [{ index, membership }]
  }

  /** The one in force. */
  get active(): Membership {
    return this.newest.membership
  }

  get newest(): Configured {
    return this.#configured.at(-1) ?? this.#configured[0]
  }

  /** The newest that is known to be committed. */
  committedAt(commit: number): Membership {
    const found = this.#configured.findLast((configured) => configured.index <= commit)
    return (found ?? this.#configured[0]).membership
  }

  /** Is a change in the log that is not committed yet? */
  pendingAt(commit: number): boolean {
    return this.newest.index > commit
  }

  /** Starts over from a snapshot. */
  reset(index: number, membership: Membership): void {
    this.#configured = [{ index, membership }]
  }

  /** Takes note of appended entries. Returns whether the membership in force changed. */
  append(entries: readonly Entry[]): boolean {
    let changed = false
    for (const entry of entries) {
      if (entry.type !== EntryType.membership) continue
      invariant(entry.index > this.newest.index, 'membership entries must be noted in order')
      this.#configured.push({ index: entry.index, membership: applyMembershipEntry(this.active, entry.data) })
      changed = true
    }
    return changed
  }

  /** Forgets changes at or after `index`, which the log has dropped. */
  truncateFrom(index: number): void {
    const [first, ...rest] = this.#configured
    this.#configured = [first, ...rest.filter((configured) => configured.index < index)]
  }

  /** Forgets what committed changes have replaced: only the newest committed one can still come back into force. */
  prune(commit: number): void {
    const [first, ...rest] = this.#configured.filter(
      (configured, i, all) => configured.index > commit || (all[i + 1]?.index ?? Infinity) > commit,
    )
    invariant(first !== undefined, 'a membership history is never empty')
    this.#configured = [first, ...rest]
  }
}
