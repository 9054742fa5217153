/** What a seed draws before anything happens: the cluster, its limits, and how bad the weather is. */
import type { LeaseConfig } from '#raft/index.ts'
import { Prng } from './prng.ts'
import type { FaultRows } from './result.ts'

export interface Options {
  readonly voters: number
  readonly electionTicks: number
  readonly heartbeatTicks: number
  readonly sealedElectionFactor: number
  readonly appendBytesMax: number
  readonly inflightMessagesMax: number
  readonly inflightBytesMax: number
  readonly uncommittedBytesMax: number
  readonly committedBytesMax: number
  readonly pendingReadsMax: number
  readonly preVote: boolean
  readonly checkQuorum: boolean
  /** In time units. A node's clock is off by a factor of 0.85 to 1.15: lease reads must be safe where the bound covers that. */
  readonly lease: LeaseConfig | undefined
  /** How often a driver forgets to hand in the time: that may cost a lease, never a stale read. */
  readonly timeForgotten: number
  /** Time units: one tick is `tickTime` on a node whose clock is right. */
  readonly tickTime: number
  readonly latency: readonly [number, number]
  readonly diskLatency: readonly [number, number]
  readonly applyLatency: readonly [number, number]
  readonly entryBytesMax: number
  readonly chances: Chances
}

/** Probabilities: of messages per message, of everything else per tick of the world. */
export interface Chances {
  readonly drop: number
  readonly duplicate: number
  readonly late: number
  readonly partition: number
  readonly heal: number
  readonly crash: number
  readonly restart: number
  readonly pause: number
  readonly slowDisk: number
  readonly seal: number
  readonly unseal: number
  readonly sealedAtStart: number
  readonly transfer: number
  readonly membership: number
  readonly compact: number
  readonly sync: number
  readonly snapshotFails: number
  readonly unreachable: number
  readonly campaign: number
  readonly write: number
  readonly read: number
}

const tickTime = 100

/** Each kind of fault is off in some seeds and frequent in others: a mix that is always the same finds only one kind of bug. */
export function drawOptions(random: Prng, seed: number): Options {
  // Drawn apart, so that a seed without a lease is the run that it was before there were leases.
  const leases = new Prng(seed + 0x1ea5e)
  const leaseReads = leases.chance(0.4)
  const slow = random.chance(0.2)
  // An answer must fit well into an election timeout (Raft, 5.6), or no leader stays one, and rightly so.
  const electionTicks = slow ? 20 : random.pick([5, 10, 10, 20])
  const heartbeatTicks = random.pick([1, 1, 2])
  const inflightMessagesMax = random.pick([1, 2, 8, 64])
  return {
    voters: random.pick([1, 2, 3, 3, 3, 3, 4, 5, 5]),
    electionTicks,
    heartbeatTicks,
    sealedElectionFactor: random.pick([2, 3, 3, 4]),
    appendBytesMax: random.pick([1, 100, 400, 4000]),
    inflightMessagesMax,
    inflightBytesMax: random.pick([100, 1000, 100_000]),
    // Through a window of one small message a large backlog takes longer than any recovery that could be asked for.
    uncommittedBytesMax: random.pick(inflightMessagesMax > 2 ? [200, 2000, 100_000] : [200, 2000]),
    committedBytesMax: random.pick([1, 200, 10_000]),
    pendingReadsMax: random.pick([1, 4, 100]),
    preVote: random.chance(0.9),
    checkQuorum: random.chance(0.9) || leaseReads,
    lease: leaseReads ? { promiseMs: electionTicks * tickTime, clockDriftMax: leases.pick([0.36, 0.5, 1]) } : undefined,
    timeForgotten: leases.pick([0, 0.2, 0.6]),
    tickTime,
    latency: slow
      ? [20, 250]
      : random.pick([
          [1, 20],
          [5, 60],
          [1, 120],
        ] as const),
    diskLatency: random.pick([
      [1, 10],
      [5, 50],
      [20, 200],
    ] as const),
    applyLatency: random.pick([
      [1, 2],
      [1, 50],
      [50, 300],
    ] as const),
    entryBytesMax: 64,
    chances: drawChances(random),
  }
}

function drawChances(random: Prng): Chances {
  const some = (...values: readonly number[]): number => (random.chance(0.35) ? 0 : random.pick(values))
  return {
    drop: some(0.01, 0.05, 0.2),
    duplicate: some(0.01, 0.1),
    late: some(0.005, 0.03),
    partition: some(0.005, 0.02, 0.05),
    heal: random.pick([0.01, 0.03, 0.1]),
    crash: some(0.002, 0.01, 0.03),
    restart: random.pick([0.02, 0.1, 0.3]),
    pause: some(0.003, 0.02),
    slowDisk: some(0.003, 0.02),
    seal: some(0.002, 0.01),
    unseal: random.pick([0.01, 0.05, 0.2]),
    sealedAtStart: random.pick([0, 0, 0.5, 1]),
    transfer: some(0.003, 0.02),
    membership: some(0.005, 0.02, 0.08),
    compact: some(0.01, 0.1),
    sync: random.pick([0.02, 0.1, 0.5]),
    snapshotFails: random.pick([0, 0.1, 0.5]),
    unreachable: some(0.01, 0.05),
    campaign: some(0.001, 0.005),
    write: random.pick([0.1, 0.5, 1]),
    read: random.pick([0.1, 0.5, 1]),
  }
}

/** The same cluster under a clear sky: for the second phase, in which it must recover. */
export const calm: Chances = {
  drop: 0,
  duplicate: 0,
  late: 0,
  partition: 0,
  heal: 1,
  crash: 0,
  restart: 0,
  pause: 0,
  slowDisk: 0,
  seal: 0,
  unseal: 0,
  sealedAtStart: 0,
  transfer: 0,
  membership: 0,
  compact: 0.02,
  sync: 0.1,
  snapshotFails: 0,
  unreachable: 0,
  campaign: 0,
  write: 0.3,
  read: 0.3,
}

/** What must happen in a long run of the core's simulator. */
export const faultRows: FaultRows = {
  messages: ['drop', 'duplicate', 'late', 'unreachable'],
  partitions: ['partition-halves', 'partition-isolate', 'partition-one-way', 'partition-bridge', 'partition-link', 'partition-leader'],
  crashes: ['crash', 'crash-writing', 'crash-all', 'pause', 'slow-disk'],
  operators: ['membership', 'transfer', 'transfer-to-dying', 'campaign', 'seal', 'unseal'],
  'blows at a change of members': ['crash', 'cut', 'few', 'halves', 'transfer', 'pause', 'restart', 'again'].map(
    (kind) => `change-shock-${kind}`,
  ),
  'blows at a new leader': ['change', 'corner', 'meet', 'cut', 'few', 'unreachable', 'crash'].map((kind) => `election-shock-${kind}`),
  'blows at a transfer': ['restart-heir', 'pause-heir', 'crash'].map((kind) => `transfer-shock-${kind}`),
  'a crash in a write that replaces entries': ['overwrite-shock'],
}
