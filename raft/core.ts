/** The core as its driver sees it: each method takes one input, lets the parts react, and draws the conclusions. */
import { invariant, isCounter } from './assert.ts'
import { Courier, setSealed } from './effects.ts'
import { campaign } from './election.ts'
import { snapshotReceived } from './follower.ts'
import { MembershipHistory } from './history.ts'
import { propose, proposeMembership, quorumActive, settleLeader } from './leader.ts'
import { Lease } from './lease.ts'
import { Log } from './log.ts'
import { isVoter, membershipProblem } from './membership.ts'
import { hearsLeader, isReady, membership, type Node } from './node.ts'
import { Outbox } from './outbox.ts'
import { readIndex, settleReads } from './readindex.ts'
import { ForwardedReads, ReadQueue } from './reads.ts'
import { snapshotSent, unreachable } from './replication.ts'
import { restartElectionTimer } from './roles.ts'
import { step } from './step.ts'
import { tick } from './tick.ts'
import { settleTransfer, transferLeadership } from './transfer.ts'
import { Role, type InitialState, type LogReader, type PeerStatus, type Raft, type RaftConfig, type RaftStatus } from './types.ts'
import { Uncommitted } from './uncommitted.ts'

/**
 * Makes a replica that starts as a follower where `initial` and `log` left off. The core keeps `log` and reads it at any time.
 * @throws {RaftInvariantError} when the configuration makes no sense, or when the state does not fit the log (a state machine ahead
 *   of its log, a term behind it): the disk has lost something, and the node must not take part.
 */
export function createRaft(config: RaftConfig, initial: InitialState, log: LogReader): Raft {
  checkConfig(config)
  checkInitial(initial, log)
  const node = createNode(config, initial, log)
  const courier = new Courier(node)
  const settled = <T>(result: T): T => {
    settleLeader(node)
    settleTransfer(node)
    settleReads(node)
    return result
  }
  return {
    tick: () => settled(tick(node)),
    step: (message) => settled(step(node, message)),
    propose: (term, data) => settled(propose(node, term, data)),
    proposeMembership: (change) => settled(proposeMembership(node, change)),
    readIndex: (context) => readIndex(node, context),
    transferLeadership: (to) => settled(transferLeadership(node, to)),
    campaign: () => settled(campaign(node)),
    setSealed: (sealed) => settled(setSealed(node, sealed)),
    setVoteless: (voteless) => {
      node.voteless = voteless
    },
    setLeaderTime: (timeMs) => {
      node.leaderTimeMs = timeMs
    },
    setMonotonicTime: (timeMs) => node.lease?.setTime(timeMs),
    doubtLease: () => node.lease?.forget(),
    snapshotReceived: (from, term, meta) => settled(snapshotReceived(node, from, term, meta)),
    snapshotSent: (to, ok) => snapshotSent(node, to, ok),
    unreachable: (peer) => unreachable(node, peer),
    takeEffects: () => courier.take(),
    hasEffects: () => courier.hasEffects(),
    persisted: (persistId) => settled(courier.persisted(persistId)),
    applied: (index) => settled(courier.applied(index)),
    status: () => statusOf(node),
  }
}

function checkConfig(config: RaftConfig): void {
  const { electionTicks, heartbeatTicks, sealedElectionFactor } = config
  invariant(heartbeatTicks >= 1 && electionTicks > heartbeatTicks, 'expected electionTicks > heartbeatTicks >= 1')
  invariant(sealedElectionFactor >= 2, 'expected sealedElectionFactor >= 2: sealed nodes must wait until every unsealed one had its turn')
  invariant(config.inflightMessagesMax >= 1 && config.inflightBytesMax >= 1, 'expected a window of at least one message')
  invariant(config.appendBytesMax >= 1 && config.committedBytesMax >= 1, 'expected positive page sizes')
  invariant(config.lease === undefined || config.checkQuorum, 'expected checkQuorum with a lease: voters must honour it')
  invariant(config.pendingReadsMax >= 1 && config.id !== '', 'expected pendingReadsMax >= 1 and an id')
}

function checkInitial({ hardState, membership: initial, applied }: InitialState, log: LogReader): void {
  const last = log.lastIndex()
  invariant([hardState.term, hardState.commit, applied, last].every(isCounter), 'expected term, commit and indexes to be safe integers')
  invariant(applied <= last, () => `expected the state at or before the log's end ${last}, got applied ${applied}`)
  invariant(applied + 1 >= log.firstIndex(), () => `expected the log to go on after applied ${applied}, got ${log.firstIndex()}`)
  invariant((log.term(last) ?? 0) <= hardState.term, () => `expected a term of at least the log's, got ${hardState.term}`)
  const problem = membershipProblem(initial)
  invariant(problem === null, () => `expected a valid membership, got ${problem}`)
}

function createNode(config: RaftConfig, initial: InitialState, reader: LogReader): Node {
  const { hardState, applied } = initial
  // The commit hint is capped by what the log holds: after a crash it may have been written before the entries that it counts.
  const commit = Math.max(applied, Math.min(hardState.commit, reader.lastIndex()))
  const node: Node = {
    config,
    log: new Log(reader, commit),
    history: loadHistory(initial, reader, config.committedBytesMax),
    outbox: new Outbox(),
    dropped: new Map(),
    term: hardState.term,
    vote: hardState.vote,
    durable: hardState,
    role: Role.follower,
    leader: null,
    sealed: false,
    voteless: false,
    leaderTimeMs: 0,
    lease: config.lease === undefined ? null : new Lease(config.lease),
    handed: applied,
    applied,
    electionElapsed: 0,
    electionTimeout: config.electionTicks,
    votes: new Map(),
    refusedShorter: false,
    vainTimeouts: 0,
    forwarded: new ForwardedReads(config.pendingReadsMax, config.randomBelow(2 ** 30) * 2 ** 22),
    progress: new Map(),
    reads: new ReadQueue(config.pendingReadsMax),
    uncommitted: new Uncommitted(config.uncommittedBytesMax),
    heartbeatElapsed: 0,
    termStart: 0,
    transfer: null,
    failedTransferee: null,
  }
  restartElectionTimer(node)
  return node
}

/** The membership as of `applied`, and every change that stands in the log behind it, committed or not. */
function loadHistory({ applied, membership: initial }: InitialState, log: LogReader, bytesMax: number): MembershipHistory {
  const history = new MembershipHistory(applied, initial)
  for (let index = applied + 1; index <= log.lastIndex();) {
    const entries = log.entries(index, log.lastIndex() + 1, bytesMax)
    invariant(entries !== null && entries.length > 0, () => `expected entry ${index} in the log, got none`)
    history.append(entries)
    index += entries.length
  }
  return history
}

function statusOf(node: Node): RaftStatus {
  const { config, log } = node
  const leads = node.role === Role.leader
  return {
    id: config.id,
    role: node.role,
    term: node.term,
    leader: node.leader,
    commit: log.commit,
    applied: node.applied,
    lastIndex: log.lastIndex(),
    firstIndex: log.firstIndex(),
    membership: membership(node),
    sealed: node.sealed,
    ready: isReady(node),
    transferee: node.transfer?.to ?? null,
    quorumActive: leads ? quorumActive(node) : hearsLeader(node),
    uncommittedBytes: node.uncommitted.bytes,
    readsConfirmed: { ...node.reads.confirmed },
    dropped: Object.fromEntries(node.dropped),
    peers: leads ? peersOf(node) : [],
  }
}

function peersOf(node: Node): PeerStatus[] {
  return [...node.progress.values()]
    .filter((progress) => progress.id !== node.config.id && progress.departedTicks === null)
    .map((progress) => progress.status(isVoter(membership(node), progress.id), node.config.electionTicks))
}
