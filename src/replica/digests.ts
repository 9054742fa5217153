/**
 * What nodes tell each other of their states' digests, and who is right. Pure.
 *
 * A digest means something only at one index, and nodes apply at their own pace. So each keeps those of its newest applied batches, and of the
 * indexes at which every node ends a batch (multiples of `checkpointEntries`): under load nodes meet at the latter, at rest at the newest.
 */
import { hash } from 'node:crypto'
import type { Membership, NodeId } from '#raft/types.ts'
import type { StateMeta } from '#store/types.ts'

const newestMax = 32
const checkpointsMax = 16
/** What one message may carry. */
const digestsMax = newestMax + checkpointsMax + 1
const hexPattern = /^[0-9a-f]{64}$/
const stagedIdPattern = /^[0-9a-f]{32}$/

/** A state, shortened to what can be compared: hex. */
export type Summary = string

/**
 * Of all that nodes must agree on at an index: the digest of the pairs, who the members are, and the clock that TTLs run on. Not of the chain of
 * commands, which has its own proofs (chain.ts).
 */
export function summaryOf({ applied, appliedTerm, membership, leaderTimeMs, digest }: StateMeta): Summary {
  const { voters, votersOutgoing, learners, learnersNext, autoLeave } = membership
  const rest = JSON.stringify([applied, appliedTerm, [voters, votersOutgoing, learners, learnersNext, autoLeave], leaderTimeMs])
  const length = Buffer.alloc(4)
  length.writeUInt32BE(digest.length, 0)
  return hash('sha256', Buffer.concat([Buffer.from('holdfast state\0'), length, digest, Buffer.from(rest)]), 'hex')
}

/** The states that a node had lately. */
export class RecentStates {
  readonly #checkpointEntries: number
  #newest: StateMeta[] = []
  #checkpoints: StateMeta[] = []

  constructor(checkpointEntries: number) {
    this.#checkpointEntries = checkpointEntries
  }

  /** Notes a state that was just applied. Cheap: nothing is hashed before somebody asks. */
  note(meta: StateMeta): void {
    keep(this.#newest, meta, newestMax)
    if (meta.applied % this.#checkpointEntries === 0) keep(this.#checkpoints, meta, checkpointsMax)
  }

  /** After a snapshot: what was before it is no longer this node's. */
  clear(): void {
    this.#newest = []
    this.#checkpoints = []
  }

  summaries(): Map<number, Summary> {
    return new Map([...this.#checkpoints, ...this.#newest].map((meta) => [meta.applied, summaryOf(meta)]))
  }
}

function keep(held: StateMeta[], meta: StateMeta, max: number): void {
  held.push(meta)
  if (held.length > max) held.shift()
}

/** What a scrub found, as it travels and is shown. */
export interface ScrubReport {
  readonly endedMs: number
  readonly ok: boolean
  /** The index of the state that was read; 0 when it failed before. */
  readonly index: number
  readonly bytes: number
}

/** One node's answer. */
export interface DigestAnswer {
  readonly applied: number
  /** Index -> summary. Empty on a node whose state is being repaired. */
  readonly states: ReadonlyMap<number, Summary>
  readonly damage: string | null
  /** Its disk holds another state than its record says: its digest counts for nobody. */
  readonly suspect: boolean
  readonly repairs: number
  readonly scrub: ScrubReport | null
}

/** What is known of one node after a round. */
export interface Verdict {
  readonly node: NodeId
  /** The index that was compared, the newest that this node and a majority have; null: none. */
  readonly index: number | null
  readonly digest: Summary | null
  /** What a majority of the voters has at that index. */
  readonly expected: Summary | null
  /** Null: not known, since it did not answer, has nothing to compare, or no majority has one digest there. */
  readonly agrees: boolean | null
}

/** For each of `nodes` whether it agrees with a majority of the voters of `membership` (of both halves, in a joint one). */
export function judge(nodes: readonly NodeId[], answers: ReadonlyMap<NodeId, DigestAnswer>, membership: Membership): Verdict[] {
  const agreed = agreedStates(answers, membership)
  return nodes.map((node) => {
    const states = answers.get(node)?.states ?? new Map<number, Summary>()
    const index = Math.max(-1, ...[...states.keys()].filter((each) => agreed.has(each)))
    if (index < 0) {
      // Nothing to be compared with a majority: the newest that others have as well, or the newest of all.
      const shared = [...states.keys()].filter((each) =>
        [...answers].some(([other, { states: theirs }]) => other !== node && theirs.has(each)),
      )
      const own = Math.max(-1, ...(shared.length > 0 ? shared : states.keys()))
      return { node, index: own < 0 ? null : own, digest: states.get(own) ?? null, expected: null, agrees: null }
    }
    const digest = states.get(index) ?? null
    const expected = agreed.get(index) ?? null
    return { node, index, digest, expected, agrees: digest === expected }
  })
}

/** At which indexes a majority has one and the same digest, and which. */
function agreedStates(answers: ReadonlyMap<NodeId, DigestAnswer>, membership: Membership): Map<number, Summary> {
  const agreed = new Map<number, Summary>()
  for (const { states } of answers.values()) {
    for (const [index, summary] of states) {
      if (agreed.has(index)) continue
      const same = (id: NodeId): boolean => holds(answers.get(id), index, summary)
      if (isMajority(membership.voters, same) && (membership.votersOutgoing.length === 0 || isMajority(membership.votersOutgoing, same)))
        agreed.set(index, summary)
    }
  }
  return agreed
}

/** Does a node that does not doubt its own state have `summary` at `index`? */
export function holds(answer: DigestAnswer | undefined, index: number, summary: Summary): boolean {
  return answer !== undefined && !answer.suspect && answer.states.get(index) === summary
}

function isMajority(voters: readonly NodeId[], of: (id: NodeId) => boolean): boolean {
  return voters.filter(of).length * 2 > voters.length
}

/** Messages of this check: beside raft's, and told apart by their kind. Plain data. */
export type CheckMessage =
  | { readonly kind: 'digests-asked'; readonly round: number }
  | { readonly kind: 'digests'; readonly round: number; readonly answer: DigestAnswer }
  /** The leader of `term` says that the receiver's state at `index` is not the majority's; `agreeing` hold the right one. */
  | {
      readonly kind: 'state-differs'
      readonly term: number
      readonly index: number
      readonly expected: Summary
      readonly agreeing: readonly NodeId[]
    }
  /** The sender's state is lost: a snapshot at `index` or later is asked for. */
  | { readonly kind: 'state-wanted'; readonly index: number }
  | StagedMessage

/** Between a member that has staged a state (restore.ts) and its leader: will it be called for? Only a no is answered, and proven. */
export type StagedMessage =
  | { readonly kind: 'staged-asked'; readonly id: string }
  | { readonly kind: 'staged-void'; readonly id: string; readonly proof: Uint8Array }

export function encodeCheck(message: CheckMessage): unknown {
  if (message.kind !== 'digests') return { version: 1, ...message }
  const { states, ...rest } = message.answer
  return { version: 1, kind: message.kind, round: message.round, answer: { ...rest, states: [...states] } }
}

type Fields = Record<string, unknown>

/** The message in `value`; null when it is something else, or malformed. */
export function checkFrom(value: unknown): CheckMessage | null {
  const fields = objectFrom(value)
  if (fields === null || fields['version'] !== 1) return null
  const { kind, round, term, index, expected, agreeing, id, proof } = fields
  if (kind === 'digests-asked') return isCount(round) ? { kind, round } : null
  if (kind === 'state-wanted') return isCount(index) ? { kind, index } : null
  if (kind === 'staged-asked') return isStagedId(id) ? { kind, id } : null
  if (kind === 'staged-void') return isStagedId(id) && proof instanceof Uint8Array ? { kind, id, proof } : null
  if (kind === 'state-differs') {
    if (!isCount(term) || !isCount(index) || !isSummary(expected) || !Array.isArray(agreeing) || agreeing.length > 256) return null
    return { kind, term, index, expected, agreeing: agreeing.filter((id): id is string => typeof id === 'string') }
  }
  if (kind !== 'digests' || !isCount(round)) return null
  const answer = answerFrom(fields['answer'])
  return answer === null ? null : { kind, round, answer }
}

function answerFrom(value: unknown): DigestAnswer | null {
  const fields = objectFrom(value)
  if (fields === null) return null
  const { applied, states, damage, suspect, repairs, scrub } = fields
  if (!isCount(applied) || !isCount(repairs) || !Array.isArray(states) || states.length > digestsMax) return null
  const found = new Map<number, Summary>()
  for (const row of states) {
    const [index, summary] = Array.isArray(row) ? (row as unknown[]) : []
    if (!isCount(index) || !isSummary(summary)) return null
    found.set(index, summary)
  }
  return {
    applied,
    states: found,
    repairs,
    damage: typeof damage === 'string' ? damage.slice(0, 512) : null,
    suspect: suspect === true,
    scrub: scrubFrom(scrub),
  }
}

function scrubFrom(value: unknown): ScrubReport | null {
  const { endedMs, ok, index, bytes } = objectFrom(value) ?? {}
  return typeof endedMs === 'number' && typeof ok === 'boolean' && isCount(index) && isCount(bytes) ? { endedMs, ok, index, bytes } : null
}

function objectFrom(value: unknown): Fields | null {
  return typeof value === 'object' && value !== null ? (value as Fields) : null
}

function isSummary(value: unknown): value is Summary {
  return typeof value === 'string' && hexPattern.test(value)
}

function isStagedId(value: unknown): value is string {
  return typeof value === 'string' && stagedIdPattern.test(value)
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}
