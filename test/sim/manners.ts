/**
 * What a single node must do and leave, whatever the cluster makes of it: rules that cost a cluster its leader, its quiet or its clients' patience
 * when they are broken, and only rarely its data. Each is told here once more, from the messages and ticks alone, so that a bug in the core's own
 * book-keeping does not excuse itself.
 */
import { isJoint, membersOf, MessageType, Role, type Message, type Raft, type RaftStatus } from '#raft/index.ts'
import { must } from './oracle.ts'

interface Rules {
  readonly id: string
  readonly electionTicks: number
  readonly checkQuorum: boolean
  /** Lease reads are on: a promise to a leader is measured by the clock, and may outlast the ticks. */
  readonly promises: boolean
}

/** Ticks by which this account and the core's may differ: the order of a tick and a message within one instant. */
const slackTicks = 3

export class Manners {
  readonly #rules: Rules
  readonly #raft: Raft
  #ticks = 0
  /** The last append or heartbeat. */
  #leader: { readonly from: string; readonly term: number; readonly at: number } | null = null
  /** When anything last came that may have restarted the election timer. */
  #disturbedAt = 0
  readonly #heard = new Map<string, number>()
  /** A leader's last tick with a quorum, or with another membership than now. */
  #quorumAt = 0
  #members = ''
  #ledTerm = 0

  constructor(rules: Rules, raft: Raft) {
    this.#rules = rules
    this.#raft = raft
  }

  /** Hands `message` to the core. */
  step(message: Message): void {
    const { type, from, term } = message
    this.#heard.set(from, this.#ticks)
    const before = needsLook(message) ? this.#raft.status() : null
    this.#raft.step(message)
    if (before !== null) this.#compare(message, before, this.#raft.status())
    if (type === MessageType.append || type === MessageType.heartbeat) this.#leader = { from, term, at: this.#ticks }
    if (type !== MessageType.preVote) this.#disturbedAt = this.#ticks
  }

  /** Whatever else may have restarted the timer. */
  disturbed(): void {
    this.#disturbedAt = this.#ticks
  }

  #compare(message: Message, before: RaftStatus, after: RaftStatus): void {
    const { id } = this.#rules
    const { type, from, term } = message
    const stayed = after.term === before.term && after.role === before.role
    if (type === MessageType.vote) return this.#voteRequest(message, before, after)
    if (type === MessageType.timeoutNow) {
      must(before.leader === from || stayed, 'order to campaign', () => `${id} obeys ${from}, its leader is ${before.leader}`)
      return
    }
    const stranger = before.role === Role.leader && term > before.term && !membersOf(before.membership).includes(from)
    must(
      !stranger || stayed,
      'removed node',
      () => `${id} led term ${before.term} until ${from}, which is no member, spoke of term ${term}`,
    )
  }

  #voteRequest({ from, term, force }: Message, before: RaftStatus, after: RaftStatus): void {
    const { id, electionTicks, checkQuorum, promises } = this.#rules
    if (before.role !== Role.follower || term <= before.term || force === true) return
    const leader = this.#leader
    const heard = leader !== null && leader.term === before.term && leader.from === before.leader && this.#ticks - leader.at < electionTicks
    must(!(checkQuorum && heard) || after.term === before.term, 'lease on votes', () => {
      return `${id} heard ${leader?.from} ${this.#ticks - (leader?.at ?? 0)} ticks ago, and takes term ${term} from ${from}`
    })
    const expired = !promises && this.#ticks - this.#disturbedAt >= electionTicks && membersOf(before.membership).includes(id)
    must(!expired || after.term >= term, 'lease on votes', () => `${id} heard nobody for an election timeout, and ignores ${from}`)
  }

  /** Lets the core's clock tick. */
  tick(): void {
    this.#ticks += 1
    this.#raft.tick()
    if (!this.#rules.checkQuorum) return
    const status = this.#raft.status()
    if (status.role === Role.leader) this.#checkQuorum(status)
  }

  /** A leader that no majority answers must stop leading within an election timeout, or its clients wait for nothing. */
  #checkQuorum({ membership, term }: RaftStatus): void {
    const { id, electionTicks } = this.#rules
    const members = `${term} ${JSON.stringify(membership)}`
    const answers = (peer: string): boolean => peer === id || this.#ticks - (this.#heard.get(peer) ?? -Infinity) < electionTicks
    const halves = isJoint(membership) ? [membership.voters, membership.votersOutgoing] : [membership.voters]
    const quorum = halves.every((half) => half.filter(answers).length * 2 > half.length)
    if (quorum || members !== this.#members) this.#quorumAt = this.#ticks
    this.#members = members
    // A peer that was just added counts for one timeout, too.
    const bound = electionTicks + slackTicks
    must(this.#ticks - this.#quorumAt <= bound, 'check-quorum', () => `${id} leads term ${term} and heard no majority for ${bound} ticks`)
  }

  /** After every input. Returns whether this node leads a term in which it was not seen to lead before. */
  look({ role, leader, term, transferee }: RaftStatus): boolean {
    const { id } = this.#rules
    must(role !== Role.preCandidate || leader === null, 'pre-candidate', () => `${id} campaigns and follows ${leader}`)
    if (role !== Role.leader || this.#ledTerm === term) return false
    this.#ledTerm = term
    must(transferee === null, 'transfer', () => `${id} begins term ${term} with a transfer to ${transferee}`)
    return true
  }
}

/** A status costs too much to take two for every append. */
function needsLook({ type, reject }: Message): boolean {
  return (
    type === MessageType.vote ||
    type === MessageType.timeoutNow ||
    type === MessageType.heartbeatReply ||
    (reject === true && type !== MessageType.append)
  )
}
