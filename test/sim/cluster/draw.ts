/** What a seed draws before anything happens. Each kind of fault is off in some seeds and frequent in others: one mix for all finds one kind of bug. */
import type { ReplicaSettings } from '#replica/index.ts'
import { Prng } from '../prng.ts'

/** Microseconds of a tick on a node whose clock is right. */
export const tickTime = 10_000

export type Span = readonly [number, number]

/** Probabilities: of messages per message, of chunks per chunk, of everything else per tick of the world. */
export interface Chances {
  readonly loss: number
  readonly duplicate: number
  readonly late: number
  readonly partition: number
  readonly heal: number
  readonly flap: number
  readonly unreachable: number
  readonly kill: number
  readonly power: number
  readonly crashPoint: number
  readonly stop: number
  readonly restart: number
  readonly pause: number
  readonly clockJump: number
  readonly clockRate: number
  readonly slowDisk: number
  readonly syncError: number
  readonly diskFull: number
  readonly readError: number
  readonly wrongValue: number
  readonly seal: number
  readonly unseal: number
  readonly transfer: number
  readonly membership: number
  readonly upgrade: number
  readonly downgrade: number
  readonly chunkBreaks: number
  readonly chunkRots: number
}

export interface Plan {
  readonly voters: number
  /** The cluster is founded by one node, which lets the others join; otherwise all are there from the start. */
  readonly grows: boolean
  readonly settings: Partial<ReplicaSettings> & Pick<ReplicaSettings, 'electionTicks' | 'tickMs'>
  readonly latency: Span
  readonly diskLatency: Span
  /** Of batches without a sync; null: they take no time. A leader then shows its followers' entries before its own state has them. */
  readonly batchLatency: Span | null
  readonly chunkLatency: Span
  readonly thinkTime: Span
  readonly requestMs: number
  /** How fast clocks go when their rate changes, in percent of the right one. */
  readonly clockRates: Span
  /** Nodes are restarted with the next release and back (rolling.ts). */
  readonly rolling: boolean
  /** Each start of a node draws some settings anew. */
  readonly mixedSettings: boolean
  readonly chances: Chances
  /** Ticks at which something on one disk is damaged, or the disk is replaced by an empty one. */
  readonly damage: number
}

/** Lease reads, in some seeds: how far clocks may be off is declared, and the rates stay within. */
interface Leases {
  readonly settings: Pick<ReplicaSettings, 'leaseReads' | 'clockDriftMax'>
  readonly clockRates: Span
}

function drawLeases(random: Prng): Leases {
  const leaseReads = random.chance(0.4)
  const clockDriftMax = leaseReads ? random.pick([0.05, 0.3, 0.3, 1]) : 0
  const widest = Math.sqrt(1 + clockDriftMax) * 100
  return {
    settings: { leaseReads, clockDriftMax },
    clockRates: leaseReads ? [Math.ceil(10_000 / widest), Math.floor(widest)] : [60, 150],
  }
}

interface Rolling {
  readonly rolling: boolean
  readonly mixedSettings: boolean
  readonly chances: Pick<Chances, 'upgrade' | 'downgrade'>
}

function drawRolling(random: Prng): Rolling {
  const rolling = random.chance(0.3)
  const upgrade = rolling ? random.pick([0.004, 0.01, 0.03]) : 0
  const downgrade = rolling ? random.pick([0, 0.002, 0.01]) : 0
  return { rolling, mixedSettings: random.chance(0.25), chances: { upgrade, downgrade } }
}

export function drawPlan(random: Prng, seed: number): Plan {
  // Drawn apart, so that a seed without leases is the run that it was before there were any; those of seeds.json are such.
  const leases = drawLeases(new Prng(seed + 0x1eede))
  const { rolling, mixedSettings, chances } = drawRolling(new Prng(seed + 0x90111))
  // Apart, too: none of the older of seeds.json has it.
  const batchLatency = new Prng(seed + 0xe33c0).pick<Span | null>([null, null, null, [1_000, 200_000]])
  const slow = random.chance(0.15)
  const electionTicks = slow ? 20 : random.pick([6, 10, 10, 16])
  const trailingEntries = random.pick([0, 4, 20, 1_000])
  const voters = random.pick([1, 3, 3, 3, 3, 4, 5, 5])
  return {
    voters,
    grows: random.chance(0.2),
    settings: {
      tickMs: tickTime / 1_000,
      electionTicks,
      heartbeatTicks: random.pick([1, 2, 2]),
      sealedElectionFactor: random.pick([2, 3, 3]),
      ...electionRules(random, leases.settings.leaseReads),
      ...leases.settings,
      appendBytesMax: random.pick([1, 200, 2_000, 100_000]),
      uncommittedBytesMax: random.pick([400, 5_000, 1_000_000]),
      inflightMessagesMax: random.pick([1, 4, 64]),
      inflightBytesMax: random.pick([300, 5_000, 1_000_000]),
      committedBytesMax: random.pick([100, 2_000, 1_000_000]),
      trailingEntries,
      logBytesMax: random.pick([2_000, 10_000, 1_000_000]),
      proposalsMax: random.pick([2, 100]),
      readsMax: random.pick([2, 100]),
      noLeaderElections: random.pick([1, 5]),
      conflictKeysMax: random.pick([1, 5, 1_000]),
      applyEntriesMax: random.pick([1, 3, 100]),
      outcomeWaitMs: random.pick([50, 500, 3_000]),
      promoteLagMax: random.pick([0, 8, 64]),
      checkpointEntries: random.pick([8, 64, 4_096]),
      checkIntervalMs: random.pick([200, 1_000]),
      scrubIntervalMs: random.pick([0, 2_000, 10_000]),
      scrubBytesPerSecondMax: random.pick([2_000, 1_000_000]),
      membershipWaitMs: random.pick([100, 2_000]),
    },
    // An answer must fit well into an election timeout (Raft, 5.6), or no leader stays one, and rightly so.
    latency: slow
      ? [1_000, 25_000]
      : random.pick([
          [50, 2_000],
          [500, 6_000],
          [100, 10_000],
        ]),
    diskLatency: random.pick([
      [10, 500],
      [100, 2_000],
      [1_000, 8_000],
    ]),
    batchLatency,
    chunkLatency: random.pick([
      [100, 1_000],
      [5_000, 40_000],
    ]),
    thinkTime: thinkTimeOf(
      random.pick([
        [20_000, 300_000],
        [100_000, 500_000],
      ]),
      batchLatency,
    ),
    requestMs: random.pick([100, 500, 2_000]),
    clockRates: leases.clockRates,
    rolling,
    mixedSettings,
    chances: { ...drawChances(random), ...chances },
    damage: random.chance(0.9) ? random.between(2, 6) : 0,
  }
}

/** Where a leader's own state comes late, clients must be quick to see it. */
const thinkTimeOf = (drawn: Span, batchLatency: Span | null): Span => (batchLatency === null ? drawn : [500, 20_000])

function drawChances(random: Prng): Omit<Chances, 'upgrade' | 'downgrade'> {
  const some = (...values: readonly number[]): number => (random.chance(0.4) ? 0 : random.pick(values))
  return {
    loss: some(0.01, 0.05, 0.2),
    duplicate: some(0.01, 0.1),
    late: some(0.003, 0.02),
    partition: some(0.003, 0.01, 0.03),
    heal: random.pick([0.01, 0.03, 0.1]),
    flap: some(0.002, 0.01),
    unreachable: some(0.005, 0.03),
    kill: some(0.002, 0.005),
    power: some(0.001, 0.003, 0.008),
    crashPoint: some(0.002, 0.008),
    stop: some(0.001, 0.003),
    restart: random.pick([0.02, 0.1, 0.3]),
    pause: some(0.002, 0.01),
    clockJump: some(0.002, 0.01),
    clockRate: some(0.001, 0.005),
    slowDisk: some(0.002, 0.01),
    syncError: some(0.001, 0.003),
    diskFull: some(0.001, 0.003),
    readError: some(0.001, 0.003),
    wrongValue: some(0.002, 0.006),
    seal: some(0.002, 0.006),
    unseal: random.pick([0.02, 0.1]),
    transfer: some(0.003, 0.01),
    membership: some(0.005, 0.02),
    chunkBreaks: some(0.05, 0.3),
    chunkRots: some(0.05, 0.3),
  }
}

/**
 * Never without both: then whoever was removed and has not heard of it can force elections for ever (raft/README.md), and nobody need come to serve.
 */
function electionRules(random: Prng, leases: boolean): { readonly preVote: boolean; readonly checkQuorum: boolean } {
  const preVote = random.chance(0.9)
  return { preVote, checkQuorum: random.chance(0.9) || leases || !preVote }
}
