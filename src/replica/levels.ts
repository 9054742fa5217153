/**
 * When the cluster's format level is raised. Every node tells its leader, several times an election timeout, which levels it understands; a leader that
 * has heard so from every member of late, learners too, raises the level to the highest that all of them understand. It is never lowered.
 *
 * "Of late" because a member that is away may be about to come back as an older release: while one is down or being rolled back, nothing is raised.
 * What is said is kept by the leader only, and not replicated: a new leader hears it all again within an election timeout.
 */
import { rangeFrom, type FormatRange } from '#base/formats.ts'
import type { NodeId } from '#raft/types.ts'

const kind = 'formats'
const peersMax = 1_024

interface Heard {
  readonly formats: FormatRange
  readonly atMs: number
}

/** What a node says of itself. This format never changes: it comes before any agreement on formats. */
export function encodeFormats({ min, max }: FormatRange): unknown {
  return { version: 1, kind, min, max }
}

/** The range in a decoded message; null when it is something else, or malformed. */
export function formatsFrom(value: unknown): FormatRange | null {
  const fields = value as Record<string, unknown> | null
  return typeof fields === 'object' && fields?.['version'] === 1 && fields['kind'] === kind ? rangeFrom(fields) : null
}

export class Levels {
  readonly #own: FormatRange
  readonly #freshMs: number
  readonly #heard = new Map<NodeId, Heard>()

  /** `freshMs`: how long what a member said of itself counts. */
  constructor(own: FormatRange, freshMs: number) {
    this.#own = own
    this.#freshMs = freshMs
  }

  hear(from: NodeId, formats: FormatRange, nowMs: number): void {
    if (this.#heard.size < peersMax || this.#heard.has(from)) this.#heard.set(from, { formats, atMs: nowMs })
  }

  /** A new leadership begins with nothing heard. */
  forget(): void {
    this.#heard.clear()
  }

  /** What `id` last said of itself. */
  of(id: NodeId): FormatRange | null {
    return this.#heard.get(id)?.formats ?? null
  }

  /** The level to raise to from `level`, or null while some of `members` (this node is one of them) stands in the way. */
  next(level: number, self: NodeId, members: readonly NodeId[], nowMs: number): number | null {
    let highest = this.#own.max
    for (const id of members) {
      if (id === self) continue
      const heard = this.#heard.get(id)
      if (heard === undefined || nowMs - heard.atMs > this.#freshMs) return null
      highest = Math.min(highest, heard.formats.max)
    }
    return highest > level ? highest : null
  }
}
