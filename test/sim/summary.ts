/** Sums over many seeds, which shards and resumed runs add up. */
import type { FaultRows, Result } from './result.ts'

export interface Summary {
  seeds: number
  readonly ticks: number
  readonly failed: number[]
  readonly faults: Record<string, number>
  operations: number
  seconds: number
  recoveryTicksMax: number
  /** Of all seeds together, in whatever order they ran. */
  traceHash: string
  /** Where a resumed run goes on. */
  next: number
}

/** From so many seeds on, a kind of fault that never happened fails the run. */
export const seedsForEveryKind = 1_000

export function emptySummary(ticks: number): Summary {
  return { seeds: 0, ticks, failed: [], faults: {}, operations: 0, seconds: 0, recoveryTicksMax: 0, traceHash: '0', next: 0 }
}

export function addResult(sum: Summary, { seed, failure, faults, operations, recoveryTicks, traceHash }: Result): void {
  if (failure !== null) sum.failed.push(seed)
  sum.seeds += 1
  sum.next += 1
  sum.operations += operations
  sum.recoveryTicksMax = Math.max(sum.recoveryTicksMax, recoveryTicks)
  sum.traceHash = mixed(sum.traceHash, traceHash)
  addFaults(sum.faults, faults)
}

/** Adds another shard's sums; both ran at the same time. */
export function addSummary(sum: Summary, other: Summary): void {
  sum.seeds += other.seeds
  sum.failed.push(...other.failed)
  sum.operations += other.operations
  sum.seconds = Math.max(sum.seconds, other.seconds)
  sum.recoveryTicksMax = Math.max(sum.recoveryTicksMax, other.recoveryTicksMax)
  sum.traceHash = mixed(sum.traceHash, other.traceHash)
  addFaults(sum.faults, other.faults)
}

function addFaults(sum: Record<string, number>, faults: Readonly<Record<string, number>>): void {
  for (const [fault, count] of Object.entries(faults)) sum[fault] = (sum[fault] ?? 0) + count
}

function mixed(a: string, b: string): string {
  return (BigInt(`0x${a}`) ^ BigInt(`0x${b}`)).toString(16)
}

/** Counters of `rows` that never moved in a run that was long enough for all of them. */
export function missingKinds({ seeds, faults }: Pick<Summary, 'seeds' | 'faults'>, rows: FaultRows): string[] {
  if (seeds < seedsForEveryKind) return []
  return [...new Set(Object.values(rows).flat())].filter((kind) => (faults[kind] ?? 0) === 0)
}

/** What is written to `--json`: faults and failures in order, so that two reports can be compared line by line. */
export function reportOf(sum: Summary, rows: FaultRows): object {
  const { seeds, ticks, operations, seconds, recoveryTicksMax, traceHash } = sum
  const faults = Object.fromEntries(Object.entries(sum.faults).sort(([a], [b]) => (a < b ? -1 : 1)))
  const failed = sum.failed.toSorted((a, b) => a - b)
  return { seeds, ticks, failed, faults, operations, seconds, missing: missingKinds(sum, rows), recoveryTicksMax, traceHash }
}
