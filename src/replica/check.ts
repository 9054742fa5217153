/**
 * The replica check: at intervals, and on demand, the leader asks every member for the digests of its recent states. A majority's digest wins. Who differs
 * is told so, and fetches its state again (repair.ts); the leader too, which hands over first. Nobody is told while no majority agrees, or while the majority
 * is one node: then nobody knows who is right, and a cluster that serves is worth more than one that stopped itself.
 *
 * A node whose scrub failed suspects itself: its disk is not what its record says. Its digest counts for nobody, and it too leaves only when it is told,
 * so that two never leave because of each other. With one or two voters no majority is left to tell it: then one healthy member with its
 * digest is enough. A leader whose digest nobody has, for some rounds, takes it from its disk: no snapshot of it would be accepted otherwise, and those who
 * need one to be part of a majority would wait for ever.
 */
import type { Logger } from '#base/logger.ts'
import { Role, type Membership, type NodeId } from '#raft/types.ts'
import { holds, judge, type CheckMessage, type DigestAnswer, type RecentStates, type Summary, type Verdict } from './digests.ts'

/** What the check needs of its node. */
export interface CheckHost {
  readonly nodeId: NodeId
  readonly logger: Logger
  readonly recent: RecentStates
  nowMs(): number
  role(): Role
  term(): number
  leader(): NodeId | null
  /** All members, this node too. */
  members(): readonly NodeId[]
  membership(): Membership
  send(to: NodeId, message: CheckMessage): void
  /** What this node says of itself. */
  answer(): DigestAnswer
  /** This node's state differs from `expected`, which `agreeing` hold at `index`. */
  differs(index: number, expected: Summary, agreeing: readonly NodeId[]): void
  /** The disk does not hold what this node's record says. */
  suspect(): boolean
  /** Nobody has what the record says: what the disk holds is the state from now on. */
  amend(): void
}

/** A node on its own may be the one that is wrong. */
const agreeingMin = 2
/** Comparisons in a row in which nobody else had this leader's digest, before its disk is believed. */
const lonelyRoundsMax = 3

export interface CheckReport {
  readonly verdicts: readonly Verdict[]
  readonly answers: ReadonlyMap<NodeId, DigestAnswer>
}

interface Round {
  readonly number: number
  readonly deadlineMs: number
  readonly asked: readonly NodeId[]
  readonly answers: Map<NodeId, DigestAnswer>
  readonly waiters: ((report: CheckReport) => void)[]
}

export class ReplicaCheck {
  readonly #host: CheckHost
  readonly #intervalMs: number
  readonly #roundMs: number
  #round: Round | null = null
  #rounds = 0
  #nextMs: number
  /** Two nodes that differ and no majority that decides: said once, not at each round. */
  #undecided = false
  #lonely = 0

  constructor(host: CheckHost, intervalMs: number, roundMs: number) {
    this.#host = host
    this.#intervalMs = intervalMs
    this.#roundMs = roundMs
    this.#nextMs = host.nowMs() + intervalMs
  }

  /** Asks everybody now; resolves with who agrees, after a round's time at most. On any node; only a leader acts on what it hears. */
  run(): Promise<CheckReport> {
    return new Promise((resolve) => {
      this.#begin().waiters.push(resolve)
      this.#settle()
    })
  }

  tick(): void {
    const nowMs = this.#host.nowMs()
    if (this.#round !== null && nowMs >= this.#round.deadlineMs) this.#end(this.#round)
    if (nowMs < this.#nextMs) return
    this.#nextMs = nowMs + this.#intervalMs
    if (this.#host.role() !== Role.leader) return
    this.#begin()
    this.#settle()
  }

  /** A peer's message of this check, but for a request for a snapshot. */
  receive(from: NodeId, message: CheckMessage): void {
    const host = this.#host
    if (message.kind === 'digests-asked') host.send(from, { kind: 'digests', round: message.round, answer: host.answer() })
    else if (message.kind === 'digests') this.#hear(from, message.round, message.answer)
    else if (message.kind === 'state-differs') {
      // Only from the leader that this node follows; and only if it is so: a repair may have been faster than the message.
      if (from !== host.leader() || message.term !== host.term()) return
      const own = host.recent.summaries().get(message.index)
      if (own !== undefined && (own !== message.expected || host.suspect())) host.differs(message.index, message.expected, message.agreeing)
    }
  }

  /** Ends what is under way: this node stops. */
  stop(): void {
    if (this.#round !== null) this.#end(this.#round, false)
  }

  #begin(): Round {
    const host = this.#host
    if (this.#round !== null) return this.#round
    this.#rounds += 1
    const round = { number: this.#rounds, deadlineMs: host.nowMs() + this.#roundMs, asked: host.members(), answers: new Map(), waiters: [] }
    this.#round = round
    round.answers.set(host.nodeId, host.answer())
    for (const id of round.asked) if (id !== host.nodeId) host.send(id, { kind: 'digests-asked', round: round.number })
    return round
  }

  #hear(from: NodeId, number: number, answer: DigestAnswer): void {
    const round = this.#round
    if (round?.number !== number || !round.asked.includes(from)) return
    // They have gone on since this node answered itself: its newest states are compared with theirs.
    round.answers.set(from, answer).set(this.#host.nodeId, this.#host.answer())
    this.#settle()
  }

  #settle(): void {
    const round = this.#round
    if (round !== null && round.asked.every((id) => round.answers.has(id))) this.#end(round)
  }

  #end(round: Round, act = true): void {
    this.#round = null
    const verdicts = judge(round.asked, round.answers, this.#host.membership())
    if (act && this.#host.role() === Role.leader) this.#act(verdicts, round.answers)
    for (const resolve of round.waiters) resolve({ verdicts, answers: round.answers })
  }

  #act(verdicts: readonly Verdict[], answers: Round['answers']): void {
    const host = this.#host
    this.#noteUndecided(verdicts, answers)
    for (const verdict of verdicts) {
      const { node, index, digest } = verdict
      const wrong = index === null || digest === null ? null : this.#whatIsWrong(verdict, answers)
      if (wrong === null || index === null) continue
      host.logger.warn({ member: node, index, agreeing: wrong.agreeing.length }, wrong.because)
      if (node === host.nodeId) host.differs(index, wrong.expected, wrong.agreeing)
      else host.send(node, { kind: 'state-differs', term: host.term(), index, expected: wrong.expected, agreeing: wrong.agreeing })
    }
    const own = verdicts.find(({ node }) => node === host.nodeId)
    this.#lonely = host.suspect() && own?.agrees !== false && this.#isAlone(own, answers) ? this.#lonely + 1 : 0
    const everybody = this.#votersFew() && host.members().every((id) => answers.has(id))
    if (this.#lonely < (everybody ? 1 : lonelyRoundsMax)) return
    this.#lonely = 0
    host.amend()
  }

  /** Why the node must fetch its state again, and who has the right one; null while there is no reason, or too few are left. */
  #whatIsWrong(
    { node, index, digest, expected, agrees }: Verdict,
    answers: Round['answers'],
  ): { readonly because: string; readonly expected: Summary; readonly agreeing: readonly NodeId[] } | null {
    if (index === null || digest === null) return null
    const having = (summary: Summary): NodeId[] =>
      [...answers].filter(([id, answer]) => id !== node && holds(answer, index, summary)).map(([id]) => id)
    if (agrees === false && expected !== null) {
      const agreeing = having(expected)
      return agreeing.length < agreeingMin ? null : { because: 'the state of a member differs from that of a majority', expected, agreeing }
    }
    if (answers.get(node)?.suspect !== true) return null
    const agreeing = having(digest)
    const enough = agrees === true || (agreeing.length > 0 && this.#votersFew())
    return enough && agreeing.length > 0
      ? { because: 'the disk of a member does not hold what its digest says', expected: digest, agreeing }
      : null
  }

  #votersFew(): boolean {
    const { voters, votersOutgoing } = this.#host.membership()
    return voters.length <= 2 && votersOutgoing.length <= 2
  }

  /** Nobody who answers has what this node's record says. */
  #isAlone(own: Verdict | undefined, answers: Round['answers']): boolean {
    const { nodeId } = this.#host
    const { index = null, digest = null } = own ?? {}
    return ![...answers].some(([id, answer]) => id !== nodeId && index !== null && digest !== null && holds(answer, index, digest))
  }

  #noteUndecided(verdicts: readonly Verdict[], answers: Round['answers']): void {
    const differing = verdicts.some(({ agrees }) => agrees === null) && differsSomewhere(answers)
    if (differing && !this.#undecided)
      this.#host.logger.warn(
        { hint: 'compare the members (operator raft verify), and restore a snapshot if none of them is right' },
        'the states of some members differ, and no majority has the same: nobody is told to give way',
      )
    this.#undecided = differing
  }
}

function differsSomewhere(answers: ReadonlyMap<NodeId, DigestAnswer>): boolean {
  const seen = new Map<number, Summary>()
  for (const { states } of answers.values()) {
    for (const [index, summary] of states) {
      if ((seen.get(index) ?? summary) !== summary) return true
      seen.set(index, summary)
    }
  }
  return false
}
