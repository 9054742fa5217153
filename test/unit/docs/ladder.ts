/** What Raft must show, rung by rung, and which test shows it: the rows of docs/internals/raft-ladder.md. Paths are below test/. */
import { readFileSync } from 'node:fs'
import type { Shown } from './shown.ts'

export interface Rung {
  readonly number: number
  readonly name: string
  readonly shown: readonly Shown[]
  readonly figure: string
}

const paper = 'unit/raft/paper.test.ts'
const change = 'unit/raft/reconfiguration.test.ts'
const core = 'unit/raft/simulator.test.ts::a few seeds are clean, and do what they are for'
const cluster = 'unit/simulator/cluster.test.ts::a few seeds are clean, and do what they are for'
const seeds = 'unit/simulator/cluster.test.ts::seed $seed is clean: it once found that $found'

interface Simulation {
  readonly figures: { readonly seeds: number; readonly ticks: number; readonly failed: readonly number[] }
}
interface Mutants {
  readonly mutants: number
  readonly killed: number
  readonly killedBySimulator: number
  readonly survivors: readonly string[]
}

function result<T>(name: string): T {
  return JSON.parse(readFileSync(`bench/results/${name}.json`, 'utf8')) as T
}

/** The rungs, with the figures of the committed results. */
export function ladder(): readonly Rung[] {
  const { figures } = result<Simulation>('simulation')
  const { mutants, killed, killedBySimulator } = result<Mutants>('mutants')
  const run = `oracle in both simulators; ${figures.seeds.toLocaleString('en')} seeds of ${figures.ticks.toLocaleString('en')} ticks, ${figures.failed.length} failed`
  const rung = (number: number, name: string, figure: string, ...shown: readonly Shown[]): Rung => ({ number, name, shown, figure })
  return [
    rung(
      1,
      'quorum-algebra',
      'all small cases, and 50,000 random ones of each law',
      'unit/raft/quorum.test.ts::committedIndexOf equals its oracle in every small case',
      'unit/raft/quorum.test.ts::voteResultOf equals its oracle in every small case',
      'unit/raft/membership.test.ts::entering and leaving a joint membership ends where the same steps one by one end',
      'unit/raft/membership.test.ts::each membership shares a voter with the next, in every pair of majorities',
    ),
    rung(2, 'scripted-scenarios', '15 scripts in test/sim/scenarios', 'unit/raft/scenarios.test.ts::there are scenarios'),
    rung(
      3,
      'paper-rules',
      'one test a rule of 5.1 to 5.4',
      paper,
      `${paper}::a request with a stale term is rejected, and its sender told the newer term`,
      `${paper}::5.4.3 leader completeness: who lacks a committed entry cannot win`,
    ),
    rung(4, 'election-safety', run, core, cluster, seeds),
    rung(5, 'log-matching', run, core, cluster),
    rung(6, 'leader-completeness', run, core, cluster, `${paper}::5.4.3 leader completeness: who lacks a committed entry cannot win`),
    rung(7, 'state-machine-safety', run, core, cluster),
    rung(
      8,
      'monotone-durables',
      run,
      cluster,
      `${paper}::each server votes for one candidate a term, first come first served, also across a restart`,
      'unit/store/durability.test.ts::term and vote are durable when they are acknowledged: file and folder',
    ),
    rung(
      9,
      'persist-before-send',
      run,
      core,
      cluster,
      `${paper}::a vote leaves only once it is on disk`,
      `${paper}::an acknowledgement leaves only once the entries are on disk`,
      'unit/replica/replica.test.ts::no vote and no acknowledgement leaves before what it speaks of is on disk',
    ),
    rung(
      10,
      'crash-anywhere',
      'every step of the script, three kinds of crash; and at any step in the simulator (`crash-point`)',
      'unit/store/crash-anywhere.test.ts',
      'unit/store/state.test.ts::a crash before, between and after the steps of an install leaves the old or the new state',
      cluster,
    ),
    rung(
      11,
      'figure-8',
      'the script, and an invariant of every leader',
      `${paper}::5.4.2, figure 8: an entry of an older term is not committed by counting, but by the first of the own term`,
    ),
    rung(12, 'linearizable-kv', `every history judged; ${figures.seeds.toLocaleString('en')} seeds`, cluster, seeds),
    rung(
      13,
      'checker-valid',
      '10,000 small histories as its twin; 2,000 operations of 20 clients within 5,000 steps',
      'unit/linearizability/twin.test.ts::the checker agrees with its exhaustive twin on 10,000 small histories',
      'unit/linearizability/checker.test.ts::2,000 operations of 20 clients on one key, many of unknown outcome, are decided within 5,000 steps',
      'unit/linearizability/checker.test.ts::%s, planted among 300 operations of 20 clients, is found in each of 100 histories',
      'unit/linearizability/checker.test.ts::a spent budget leaves the history undecided, with the order found so far',
    ),
    rung(
      14,
      'readindex-safe',
      'probing reads at any node in every seed',
      'unit/raft/readindex.test.ts::an acknowledgement of an earlier heartbeat does not count, however late it comes',
      'unit/raft/readindex.test.ts::a read repeated with the same context is confirmed by its own round only',
      'unit/replica/reads.test.ts::a confirmed read waits until its index is applied here',
      cluster,
    ),
    rung(
      15,
      'read-new-leader',
      'one and three voters',
      'unit/raft/readindex.test.ts::a new leader answers nothing before a commit in its own term (%i voters)',
      'unit/raft/readindex.test.ts::a sole voter answers at once when it is ready',
    ),
    rung(
      16,
      'lease-honest',
      'drift at the bound: none stale; beyond it: found within a few seeds',
      'unit/raft/lease.test.ts::only where it is asked for',
      'unit/raft/lease.test.ts::so the lease ends when it starts',
      'unit/raft/lease.test.ts::the declared drift shortens it',
      'unit/simulator/lease.test.ts::clocks at the edge of the declared drift: leases serve most reads, and none is stale',
      'unit/simulator/lease.test.ts::clocks beyond it: within a few seeds a stale read is served, and the checker finds it',
    ),
    rung(
      17,
      'prevote-quiet',
      'term and leader unchanged; an oracle on pre-votes in the core’s simulator',
      "unit/raft/prevote.test.ts::an isolated node's term does not grow, and on heal the leader and term stay",
      'unit/raft/prevote.test.ts::a pre-vote changes neither the term nor the vote of anybody',
    ),
    rung(
      18,
      'prevote-live',
      'elects within three election timeouts',
      'unit/raft/prevote.test.ts::a pre-candidate that lags in terms adopts the term of who refuses it',
      'unit/raft/prevote.test.ts::a node stuck at a higher term after a failed campaign comes back',
      'unit/raft/prevote.test.ts::nodes with and without pre-vote elect together',
      'unit/raft/prevote.test.ts::a leader that stepped down can win again',
      'unit/raft/prevote.test.ts::a pre-candidate forgets its leader, so that it can vote for another in the same term',
      'unit/raft/prevote.test.ts::the only node with a long log wins, though another campaigns sooner and in ever newer terms',
    ),
    rung(
      19,
      'checkquorum',
      'one election timeout; a rule of every leader in the core’s simulator',
      'unit/raft/checkquorum.test.ts::a cut-off leader stops leading within one election timeout',
      'unit/raft/checkquorum.test.ts::adding a voter that does not answer yet costs no leadership',
    ),
    rung(
      20,
      'removed-node',
      'removed ids ask again in the simulator, and are refused',
      `${change}::a removed node that never heard of it cannot force an election`,
      `${change}::a removed follower hears of it, keeps quiet, and votes no more`,
      `${change}::a demoted voter stays as a learner and does not campaign`,
      `${change}::a removed leader commits its removal without counting itself, hands over, and steps down`,
      'e2e/joining.test.ts::a node id that another disk has used is refused, as a member and after its removal, with the way out',
    ),
    rung(
      21,
      'conf-safety',
      `${run}; blows at each change of members`,
      core,
      cluster,
      `${change}::a second change waits until the first is committed`,
      `${change}::no change before this term has a commit: the single-server bug of 2015`,
      'unit/raft/membership.test.ts::whatever is asked, the result is a valid membership or a refusal with a reason',
    ),
    rung(
      22,
      'joint-exit',
      'left once; every recovered cluster ends outside',
      `${change}::is left once, by whoever leads`,
      'unit/raft/seeded.test.ts::a joint membership is not left before it is committed',
      'unit/raft/caretaker.test.ts::a caretaker leaves a joint membership to its successor',
      core,
    ),
    rung(
      23,
      'learner',
      'in no majority; votes if asked; campaigns only where nobody else can win',
      `${change}::a learner catches up by snapshot, follows, and counts in no majority`,
      `${change}::a learner votes if a candidate that knows better asks`,
      `${change}::leads until what it holds is committed, and hands over: nobody else could be elected`,
    ),
    rung(
      24,
      'transfer',
      'one election timeout; a leader that hands over to a dying node recovers in every seed',
      'unit/raft/transfer.test.ts::an up-to-date voter takes over within one election timeout, past the lease of the others',
      'unit/raft/transfer.test.ts::proposals are refused meanwhile, and writes resume after an election timeout without a successor',
      'unit/raft/transfer.test.ts::a voter that lags is brought up to date first',
      'unit/raft/transfer.test.ts::no transfer survives a step-down',
    ),
    rung(
      25,
      'snapshot-stream',
      '3 MB in pieces of any size; where its connection broke it goes on by another: four times in 24 MiB; sent twice is what was not acknowledged, 8 MiB at most; given up after 15 s without a byte',
      'unit/transport/resumed-snapshots.test.ts::cut off again and again, it arrives whole and once, and little of it is sent twice',
      'unit/store/state.test.ts::a snapshot of 3 MB arrives whole on another node, in pieces of any size, and is installed while old views stay readable',
      'unit/store/state.test.ts::a crash before, between and after the steps of an install leaves the old or the new state',
      'unit/raft/snapshot.test.ts::an acknowledgement leaves only once the snapshot is installed, and a slow installation asks for no second one',
      'unit/raft/snapshot.test.ts::while a snapshot is under way commits go on, and nothing is sent but heartbeats',
    ),
    rung(
      26,
      'compaction-race',
      'compaction at random in every seed',
      'unit/raft/snapshot.test.ts::a follower whose entries are compacted away is brought back by a snapshot',
      'unit/replica/compactor.test.ts::what the receiver of a snapshot will need next is kept',
      core,
      cluster,
    ),
    rung(
      27,
      'flow-control',
      'a window of messages, a window of bytes and one message more',
      'unit/raft/flow.test.ts::a stuck peer holds at most a window of messages, whatever is proposed',
      'unit/raft/flow.test.ts::a stuck peer holds at most a window of bytes, and one message more',
      'unit/raft/flow.test.ts::throughput recovers after a whole window was lost, without new proposals',
      'unit/transport/broken-streams.test.ts::while a peer is away its queue stays within its bound and keeps the newest',
    ),
    rung(
      28,
      'backpressure',
      'zero at rest, in every seed of the core',
      'unit/raft/flow.test.ts::stop at the cap of uncommitted bytes, and the counter returns to zero',
      core,
    ),
    rung(
      29,
      'apply-exactly-once',
      '16 writers over kills of the leader; clients of the simulator repeat their writes',
      'unit/store/kill.test.ts::kill -9 at any moment loses nothing that was acknowledged, and applies nothing twice',
      'unit/core/once.test.ts::a repetition changes nothing and has the first answer, on every node',
      'unit/core/once.test.ts::without an id, and with another, it is another request',
      'e2e/retries.test.ts::16 writers, each write sent until it is answered: applied once each, over kills of the leader',
      cluster,
    ),
    rung(
      30,
      'proposal-outcome',
      'each attempt of every client, in every seed',
      'unit/replica/replica.test.ts::a leader cut off from its majority: the write in flight ends as unknown or not committed, reads fail, and the healed node agrees',
      'unit/replica/replica.test.ts::a lost leader that hears the next one learns that its write was not committed, and says so',
      cluster,
    ),
    rung(
      31,
      'storage-faults',
      'every flipped bit of a log and a table; nine kinds of rot in the simulator. A whole disk rolled back is not covered (src/store/slots.ts)',
      'unit/store/levelfiles.test.ts::a flipped bit anywhere in the .log of the raft log keeps the node out',
      'unit/store/levelfiles.test.ts::a flipped bit in a table of the state, or a lost one, keeps the node out',
      'unit/store/durability.test.ts::a damaged record with others behind it is refused, also where the acknowledged mark lags behind it',
      'unit/replica/check.test.ts::a follower that differs gives its state up, fetches it again and serves again; its log and its votes stay',
      'unit/replica/check.test.ts::a state that is damaged on the disk is fetched at the next start; meanwhile the node votes',
      'unit/barrier/envelope.test.ts::two values can not be swapped, nor an older one of the same place told from its bytes',
      cluster,
    ),
    rung(
      32,
      'fsync-fail-stop',
      'the first failed write is final',
      'unit/store/log.test.ts::the first failed write is final',
      'unit/replica/replica.test.ts::a failed disk ends a leader: nothing is acknowledged after it, and the others go on',
      cluster,
    ),
    rung(
      33,
      'determinism',
      '70 hashes, on Node 26 here and on Node 24 by `npm run sim:golden -- --node24`',
      'unit/simulator/golden.test.ts::the trace hashes that are kept come out again',
      'unit/raft/simulator.test.ts::the core imports only itself, and reads no clock, timer or random source',
    ),
    rung(
      34,
      'liveness',
      'serves within 40 (core) and 80 (cluster) election timeouts, in every seed',
      core,
      cluster,
      'unit/replica/replica.test.ts::a leader cut off from its majority: the write in flight ends as unknown or not committed, reads fail, and the healed node agrees',
    ),
    rung(
      35,
      'pause-and-burst',
      'stalls of 0.1 to 10 election timeouts by hand, one election at most; 0.1 to 3 among all other faults in both simulators',
      'unit/raft/stalls.test.ts::%s election timeouts of the %s, then a burst, %s first: one election at most, and it goes on',
      core,
      cluster,
      'unit/raft/lease.test.ts::a process that stood still reads its clock again before it answers what came meanwhile',
      'unit/raft/lease.test.ts::a burst of ticks does not end a promise: the clock does',
    ),
    rung(
      36,
      'mutation-proof',
      `${killed} of ${mutants} killed, ${killedBySimulator} by a simulator alone`,
      'unit/house/mutants.test.ts::there are at least 40, each with its own id, and the tests that they name stand in their files',
      'unit/house/mutants.test.ts::each failure of the list has a mutant, or a reason for having none',
    ),
    rung(
      37,
      'observability',
      'a closed set of reasons; match, state and silence of each peer',
      'unit/raft/stalls.test.ts::a leader says of each peer how far it is, how it is sent to, and since when it is silent',
      'unit/raft/flow.test.ts::whatever comes is dropped and counted, or understood; nothing throws, and no committed entry changes',
      'unit/raft/flow.test.ts::are refused by anyone but the ready leader of that very term',
    ),
    rung(
      38,
      'upgrade',
      'in three seeds of ten nodes run the next release and go back',
      'unit/replica/levels.test.ts::a cluster is upgraded node by node and back, and raised when the last one has been',
      'unit/house/formats.test.ts::$name: what this release writes it reads, and another version yields $unknown',
      'e2e/upgrade.test.ts::a cluster is upgraded under writes, node by node and one of them back and forth; the last exchange raises the level',
      'e2e/upgrade.test.ts::from then on an older release is refused: as a member that goes back, and as one that asks to join',
      cluster,
    ),
    rung(
      39,
      'caretaker',
      'an unsealed leader in every recovered seed',
      'unit/raft/caretaker.test.ts::a sealed node campaigns only after every unsealed one had its turn',
      'unit/raft/caretaker.test.ts::a sealed node with the only long log wins, replicates it, and hands over to an unsealed one',
      'unit/raft/caretaker.test.ts::with only sealed nodes one leads, adds nothing but its empty entry, and refuses proposals',
      'e2e/sealed.test.ts::a rolling restart under traffic, each node staying sealed until the next is back, loses no acknowledged write',
      core,
    ),
    rung(
      40,
      'unproven-peer',
      'an impostor in a quarter of the seeds; nothing that it forges is believed',
      'unit/replica/unproven.test.ts::takes no change of the membership that no unsealed leader made, and no update beside the leaving of a joint one',
      "unit/replica/unproven.test.ts::raises its term no faster than elections can, however far a peer's request reaches",
      'unit/replica/unproven.test.ts::believes no read index without its proof, nor one that was made for another question',
      "unit/node/forwarding.test.ts::is believed only from a node that holds the barrier's key, for whom and from whom it was made",
      'unit/transport/trust.test.ts::a peer that is removed is cut off at once, in both directions, and may not come back',
      cluster,
    ),
  ]
}
