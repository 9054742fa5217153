/** Goes through the stages, a few items at a time, and keeps account. What has been copied stays: the next run finds it equal. */
import { ApiError, UnreachableError } from '#client/errors.ts'
import { isHoldfastError } from '#base/errors.ts'
import { RefusedError } from '../../cli/types.ts'
import type { Decision, Item, Kind, Stage } from './types.ts'

export const statuses = ['copied', 'overwritten', 'equal', 'skipped', 'conflict', 'failed'] as const
export type Status = (typeof statuses)[number]

export interface Entry {
  readonly status: Status
  readonly kind: Kind
  readonly path: string
  /** Why, or what came out otherwise than at the source. */
  readonly reason?: string
}

export const runLimits = {
  /** Entries that the report keeps of what was copied, and of all else but what is equal. The others are counted. */
  copiedShownMax: 1_000,
  otherShownMax: 10_000,
  /** Failures without a success between them after which nothing is to be hoped for: a token that has ended. */
  failuresInRowMax: 100,
} as const

export class Account {
  readonly counts: Record<Status, number> = { copied: 0, overwritten: 0, equal: 0, skipped: 0, conflict: 0, failed: 0 }
  readonly entries: Entry[] = []
  leftOff = 0
  #copiedShown = 0
  #failuresInRow = 0

  get looked(): number {
    return Object.values(this.counts).reduce((sum, count) => sum + count, 0)
  }

  /** @throws RefusedError when one failure follows the other. */
  add(entry: Entry): void {
    this.counts[entry.status] += 1
    this.#keep(entry)
    if (entry.status === 'skipped') return
    this.#failuresInRow = entry.status === 'failed' ? this.#failuresInRow + 1 : 0
    if (this.#failuresInRow >= runLimits.failuresInRowMax)
      throw new RefusedError(`stopped after ${this.#failuresInRow} failures in a row, the last of them: ${entry.reason ?? entry.path}`)
  }

  #keep(entry: Entry): void {
    if (entry.status === 'equal') return
    const isCopied = entry.status === 'copied' || entry.status === 'overwritten'
    const [shown, max] = isCopied
      ? [this.#copiedShown, runLimits.copiedShownMax]
      : [this.entries.length - this.#copiedShown, runLimits.otherShownMax]
    if (shown >= max) return void (this.leftOff += 1)
    if (isCopied) this.#copiedShown += 1
    this.entries.push(entry)
  }
}

export interface RunOptions {
  readonly dryRun: boolean
  readonly overwrite: boolean
  readonly atOnce: number
  readonly progress: (stage: string) => void
}

/** @throws UnreachableError, or ApiError 503, when a side is gone; RefusedError after many failures. `account` says what was done until then. */
export async function runStages(stages: readonly Stage[], account: Account, options: RunOptions): Promise<void> {
  for (const stage of stages) await runStage(stage, account, options)
}

async function runStage({ title, items }: Stage, account: Account, options: RunOptions): Promise<void> {
  const running = new Set<Promise<void>>()
  let fatal: { readonly error: unknown } | null = null
  try {
    for await (const item of items()) {
      const done = settle(item, options)
        .then((entry) => account.add(entry))
        .catch((error: unknown) => void (fatal ??= { error }))
        .finally(() => {
          running.delete(done)
          options.progress(title)
        })
      running.add(done)
      if (running.size >= options.atOnce) await Promise.race(running)
      if (fatal !== null) break
    }
  } finally {
    // Nothing is left under way, whatever happened: what was written is accounted for.
    await Promise.all(running)
  }
  if (fatal !== null) throw (fatal as { readonly error: unknown }).error
}

const isGone = (error: unknown): boolean => error instanceof UnreachableError || (error instanceof ApiError && error.status === 503)

async function settle(item: Item, options: RunOptions): Promise<Entry> {
  const { kind, path } = item
  try {
    return { kind, path, ...(await outcome(await item.decide(), options)) }
  } catch (error) {
    if (isGone(error) || !(isHoldfastError(error) || error instanceof RefusedError)) throw error
    return { kind, path, status: 'failed', reason: error.message }
  }
}

async function outcome(decision: Decision, { dryRun, overwrite }: RunOptions): Promise<Pick<Entry, 'status' | 'reason'>> {
  const { status } = decision
  if (status === 'equal') return { status }
  if (status === 'skipped') return { status, reason: decision.reason }
  if (status === 'conflict' && (!overwrite || decision.apply === null)) return { status, reason: decision.reason }
  const done = status === 'copy' ? 'copied' : 'overwritten'
  if (dryRun) return { status: done, ...(status === 'conflict' ? { reason: decision.reason } : {}) }
  const remark = (await decision.apply?.()) ?? null
  return { status: done, ...(remark === null ? {} : { reason: remark }) }
}
