/**
 * Runs the schedules: on the leader alone, one at a time, beside its other jobs. A run is claimed in the replicated record before it begins and ended in it
 * afterwards; a leader that stops being one breaks its run off, and its successor finds the slot not done.
 */
import type { Barrier, Transaction } from '#barrier/types.ts'
import type { Clock } from '#base/clock.ts'
import { isHoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import type { Replica, ReplicaStatus } from '#replica/types.ts'
import type { Saving, SnapshotSaver } from './saver.ts'
import {
  dueSlot,
  fileNameOf,
  readRun,
  readSchedule,
  retryDelayMs,
  scheduleNames,
  writeRun,
  type RunRecord,
  type RunSuccess,
  type Schedule,
} from './schedule.ts'
import { targetOf } from './targets.ts'
import type { FolderRules, SnapshotTarget } from './types.ts'

const pollMs = 2_000
/** Of a file, and of removing old ones. A slow upload must end before the cluster has grown old. */
const runDurationMsMax = 3 * 3_600_000
/** Old files removed after one run; the rest waits for the next. */
const removalsMax = 100

export interface SchedulesOptions {
  readonly barrier: Barrier
  readonly replica: Pick<Replica, 'nodeId' | 'status' | 'onStatus'>
  readonly saver: SnapshotSaver
  readonly rules: FolderRules
  readonly clock: Clock
  readonly log: Logger
}

/** A schedule as metrics show it. */
export interface ScheduleStatus {
  readonly schedule: Schedule
  readonly run: RunRecord | null
}

interface Claim {
  readonly schedule: Schedule
  readonly slotMs: number
  readonly startedMs: number
}

const leads = ({ role, ready }: ReplicaStatus): boolean => role === 'leader' && ready

export interface SchedulesSummary {
  /** The oldest among the newest successes: each schedule has kept a snapshot since. Null: one has kept none yet. */
  readonly lastSuccessMs: number | null
  /** Schedules whose last runs have failed. */
  readonly failing: number
}

const summaryKeptMs = 5_000

/** Null for none. */
export function summaryOf(all: readonly ScheduleStatus[]): SchedulesSummary | null {
  if (all.length === 0) return null
  const ends = all.map(({ run }) => run?.lastSuccess?.endedMs ?? null)
  const lastSuccessMs = ends.reduce((oldest, end) => (oldest === null || end === null ? null : Math.min(oldest, end)))
  return { lastSuccessMs, failing: all.filter(({ run }) => (run?.failures ?? 0) > 0).length }
}

export class SnapshotSchedules {
  /** For the leader's jobs: looks whether something is due, and begins it. Does not wait for its end, so that other jobs go on. */
  readonly job: { readonly name: string; readonly everyMs: number; readonly run: () => Promise<void> }
  readonly #options: SchedulesOptions
  readonly #unsubscribe: () => void
  #running: { readonly name: string; readonly abort: AbortController; readonly ended: Promise<void> } | null = null
  #stopped = false
  #summary: { readonly atMs: number; readonly summary: SchedulesSummary | null } | null = null

  constructor(options: SchedulesOptions) {
    this.#options = options
    this.job = { name: 'snapshots', everyMs: pollMs, run: () => this.#poll() }
    this.#unsubscribe = options.replica.onStatus((status) => {
      if (!leads(status)) this.#running?.abort.abort()
    })
  }

  /** The name of the schedule that this node is running; null: none. */
  get running(): string | null {
    return this.#running?.name ?? null
  }

  /** All schedules and the records of their last runs, as this node knows them by now. @throws ERR_SEALED. */
  async status(): Promise<readonly ScheduleStatus[]> {
    return this.#options.barrier.read({ kind: 'stale' }, async (view) => {
      const found: ScheduleStatus[] = []
      for (const name of await scheduleNames(view)) {
        const schedule = await readSchedule(view, name)
        if (schedule !== null) found.push({ schedule, run: await readRun(view, name) })
      }
      return found
    })
  }

  /**
   * What may be told of them to anybody: no name, no place. Null: there are none, or this node can't know. Kept for a few seconds, since whoever can
   * reach the node can ask.
   */
  async summary(): Promise<SchedulesSummary | null> {
    const nowMs = this.#options.clock.nowMs()
    const age = this.#summary === null ? Infinity : nowMs - this.#summary.atMs
    if (this.#summary !== null && age >= 0 && age < summaryKeptMs) return this.#summary.summary
    const summary = await this.status().then(summaryOf, () => null)
    this.#summary = { atMs: nowMs, summary }
    return summary
  }

  /** Breaks off what runs, and resolves when it has ended. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#unsubscribe()
    this.#running?.abort.abort()
    await this.#running?.ended
  }

  async #poll(): Promise<void> {
    if (this.#running !== null || this.#stopped) return
    const { clock } = this.#options
    // What this node has applied is enough to find what may be due: the claim is made on a view that must be the newest.
    const due = (await this.status()).find(({ schedule, run }) => dueSlot(schedule, run, clock.nowMs(), false) !== null)
    if (due === undefined) return
    const claim = await this.#claim(due.schedule.name)
    if (claim !== null && !this.#stopped) this.#begin(claim)
  }

  #claim(name: string): Promise<Claim | null> {
    const { barrier, replica } = this.#options
    return barrier.transact(async (transaction) => {
      const schedule = await readSchedule(transaction, name)
      const run = await readRun(transaction, name)
      const slotMs = schedule === null ? null : dueSlot(schedule, run, transaction.nowMs, false)
      if (schedule === null || slotMs === null) return null
      const claim = { schedule, slotMs, startedMs: transaction.nowMs }
      writeRun(transaction, name, {
        slotMs,
        startedMs: claim.startedMs,
        node: replica.nodeId,
        phase: 'running',
        failures: run?.failures ?? 0,
        retryAtMs: 0,
        lastSuccess: run?.lastSuccess ?? null,
        lastError: run?.lastError ?? null,
      })
      return claim
    })
  }

  #begin(claim: Claim): void {
    const { clock, log } = this.#options
    const abort = new AbortController()
    const timer = clock.setTimer(runDurationMsMax, () => abort.abort())
    const ended = this.#run(claim, abort.signal)
      .catch((error: unknown) => {
        // The record could not be ended, most often since another node leads by now: that one finds the slot not done.
        log.info({ schedule: claim.schedule.name, error: wordsOf(error) }, "a snapshot schedule's run has no end in its record")
      })
      .finally(() => {
        timer.cancel()
        this.#running = null
      })
    this.#running = { name: claim.schedule.name, abort, ended }
  }

  async #run(claim: Claim, signal: AbortSignal): Promise<void> {
    const { log, replica } = this.#options
    const { name } = claim.schedule
    log.info({ schedule: name }, 'a scheduled snapshot begins')
    try {
      const success = await this.#save(claim, signal)
      await this.#end(claim, (run) => ({ ...run, phase: 'done', failures: 0, retryAtMs: 0, lastSuccess: success }))
      log.info({ schedule: name, url: success.url, bytes: success.bytes, index: success.index }, 'a scheduled snapshot is kept')
    } catch (error) {
      // No failure of the schedule: its slot is made by whoever leads next, this node after its restart perhaps.
      if (signal.aborted && (this.#stopped || !leads(replica.status()))) throw error
      const message = wordsOf(error)
      log.warn({ schedule: name, error: message }, 'a scheduled snapshot failed; it is tried again')
      await this.#end(claim, (run, nowMs) => ({
        ...run,
        phase: 'failed',
        failures: run.failures + 1,
        retryAtMs: nowMs + retryDelayMs(run.failures + 1, claim.schedule.intervalMs),
        lastError: { atMs: nowMs, message, node: replica.nodeId },
      }))
    }
  }

  async #save(claim: Claim, signal: AbortSignal): Promise<RunSuccess> {
    const { saver, rules, replica, clock } = this.#options
    const target = await targetOf(claim.schedule, rules)
    try {
      const saving = await saver.save()
      const stored = await storeOnce(target, fileNameOf(claim.schedule, claim.slotMs), saving, signal)
      await this.#retain(target, claim.schedule, signal)
      const { index } = saving.header
      return { slotMs: claim.slotMs, startedMs: claim.startedMs, endedMs: clock.nowMs(), ...stored, index, node: replica.nodeId }
    } finally {
      target.close()
    }
  }

  /** Their names sort as their times do. What can't be removed now is removed after the next run: the snapshot itself is kept. */
  async #retain(target: SnapshotTarget, { name, retain }: Schedule, signal: AbortSignal): Promise<void> {
    try {
      const old = [...(await target.list(signal))].sort().toReversed().slice(retain)
      for (const file of old.toReversed().slice(0, removalsMax)) await target.remove(file, signal)
    } catch (error) {
      this.#options.log.warn({ schedule: name, error: wordsOf(error) }, 'old scheduled snapshots could not be removed')
    }
  }

  async #end(claim: Claim, next: (run: RunRecord, nowMs: number) => RunRecord): Promise<void> {
    const { name } = claim.schedule
    await this.#options.barrier.transact(async (transaction: Transaction) => {
      const run = await readRun(transaction, name)
      // Deleted meanwhile, or claimed by a later leader.
      if (run === null || run.startedMs !== claim.startedMs || (await readSchedule(transaction, name)) === null) return
      writeRun(transaction, name, next(run, transaction.nowMs))
    })
  }
}

/** What was begun is let go, also where the target failed before it had read anything. */
async function storeOnce(
  target: SnapshotTarget,
  name: string,
  saving: Saving,
  signal: AbortSignal,
): Promise<{ url: string; bytes: number }> {
  try {
    return await target.store(name, saving.chunks, signal)
  } finally {
    saving.close()
  }
}

function wordsOf(error: unknown): string {
  if (isHoldfastError(error)) return error.hint === undefined ? error.message : `${error.message} (${error.hint})`
  return error instanceof Error && error.name === 'AbortError'
    ? 'expected to lead to the end, or an end in time, got neither'
    : 'internal error'
}
