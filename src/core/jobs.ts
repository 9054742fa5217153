/**
 * Jobs that only the ready leader runs: engines' own (each mount with its storage) and the house's (tidying tokens).
 * Clock-driven, one at a time, each pass bounded by its own transactions; an error is logged and the next pass comes all the same.
 */
import { isHoldfastError } from '#base/errors.ts'
import type { Timer } from '#base/clock.ts'
import type { CoreDeps } from './deps.ts'
import { errorText } from './errors.ts'
import { rootNamespace } from '#namespaces/record.ts'
import type { NamespaceStore } from '#namespaces/store.ts'
import { fullPath, type MountReader } from './mounts.ts'
import { NamespaceRounds } from './namespace-rounds.ts'
import type { EngineRegistry } from './router.ts'
import { transactionStorage } from './storage.ts'
import type { MountEntry } from './types.ts'

/** A job of the house. `run` opens its own transactions. */
export interface LeaderJob {
  readonly name: string
  readonly everyMs: number
  /** It changes nothing outside and ends nothing that was given out: it also runs where the state of another cluster waits. */
  readonly inside?: true
  readonly run: (nowMs: number) => Promise<void>
}

const pollMs = 1_000

export class LeaderJobs {
  readonly #deps: CoreDeps
  readonly #registry: EngineRegistry
  readonly #mounts: MountReader
  readonly #rounds: NamespaceRounds
  /** When each job last began, by name (and mount), on the monotonic clock. Bounded by mounts x jobs; cleared when leadership goes. */
  readonly #lastRunMs = new Map<string, number>()
  #timer: Timer | null = null
  #pass: Promise<void> = Promise.resolve()
  #stopped = true

  constructor(deps: CoreDeps, registry: EngineRegistry, mounts: MountReader, namespaces: NamespaceStore) {
    this.#rounds = new NamespaceRounds(deps.barrier, namespaces)
    this.#deps = deps
    this.#registry = registry
    this.#mounts = mounts
  }

  start(): void {
    if (!this.#stopped) return
    this.#stopped = false
    this.#arm()
  }

  /** Resolves when the pass under way has ended. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    await this.#pass
  }

  #arm(): void {
    this.#timer = this.#deps.clock.setTimer(pollMs, () => {
      this.#pass = this.#poll().then(() => {
        if (!this.#stopped) this.#arm()
      })
    })
  }

  /** Never rejects. */
  async #poll(): Promise<void> {
    const { role, ready } = this.#deps.replica.status()
    if (role !== 'leader' || !ready || this.#deps.barrier.sealed) {
      this.#lastRunMs.clear()
      return
    }
    const waits = this.#deps.waits?.() ?? false
    for (const job of this.#deps.jobs)
      if (!waits || job.inside) await this.#runDue(job.name, job.everyMs, () => job.run(this.#deps.clock.nowMs()))
    await this.#guarded('mounts', () => this.#runEngines(waits))
  }

  /** `waits`: only the system engine's, which look after this cluster. */
  async #runEngines(waits: boolean): Promise<void> {
    const mounts = await this.#rounds.gather(async (view, id) =>
      (await this.#mounts.read(view, id)).entries.filter((mount) => this.#hasJobs(mount) && (!waits || mount.type === 'system')),
    )
    for (const mount of mounts) {
      const engine = this.#registry.get(mount.table, mount.type)
      for (const job of engine?.jobs ?? []) {
        const section = { namespace: mount.namespaceId, mount: mount.uuid }
        await this.#runDue(`${mount.uuid} ${fullPath(mount)}${job.name}`, job.everyMs, () =>
          this.#deps.barrier.transact((transaction) => job.run(transactionStorage(transaction, section), transaction.nowMs)),
        )
      }
    }
  }

  /** The system engine's are the cluster's: once, not for each namespace that has a sys/. */
  #hasJobs({ type, table, namespaceId }: MountEntry): boolean {
    if (type === 'system' && namespaceId !== rootNamespace.id) return false
    return (this.#registry.get(table, type)?.jobs?.length ?? 0) > 0
  }

  /** A job first runs one interval after this node began to lead, so that a flapping leadership does not repeat heavy work. */
  async #runDue(name: string, everyMs: number, run: () => Promise<void>): Promise<void> {
    const nowMs = this.#deps.clock.monotonicMs()
    const last = this.#lastRunMs.get(name)
    if (last === undefined) this.#lastRunMs.set(name, nowMs)
    if (last === undefined || nowMs - last < everyMs || this.#stopped) return
    this.#lastRunMs.set(name, nowMs)
    await this.#guarded(name, run)
  }

  async #guarded(name: string, run: () => Promise<void>): Promise<void> {
    try {
      await run()
    } catch (error) {
      if (isHoldfastError(error, 'ERR_NOT_LEADER') || isHoldfastError(error, 'ERR_SEALED')) return
      this.#deps.log.warn({ job: name, error: errorText(error) }, 'a job of the leader failed; it is tried again at its next turn')
    }
  }
}
