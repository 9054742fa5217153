/** The stores as the driver sees them, with the oracles looking over its shoulder. */
import type { FormatRange } from '#base/formats.ts'
import type { Entry, HardState, SnapshotMeta } from '#raft/types.ts'
import type { HoldfastError } from '#base/errors.ts'
import type { LogStore, Op, ScrubResult, StateMeta, StateStore, StateView } from '#store/types.ts'
import { must } from '../oracle.ts'
import type { ClusterOracle, Promised } from './oracle.ts'

/** Oracles throw where the driver would catch it and call it a failed disk: `guard` tells the world first. */
export interface Watcher {
  readonly id: string
  readonly oracle: ClusterOracle
  /** What the release understands that runs. */
  readonly formats: FormatRange
  readonly promised: Promised
  readonly alive: () => boolean
  /** The node's term now. */
  readonly term: () => number
  readonly guard: <T>(check: () => T) => T
  readonly count: (event: string) => void
  readonly trace: (kind: string, term: number, index: number) => void
  /** Runs `look` while the disk tells no lies: what the oracles see must be what is there. */
  readonly honestly: <T>(look: () => T) => T
  /** Entries are about to be stored, or a snapshot to be installed. */
  readonly appends: (entries: readonly Entry[]) => void
  readonly installs: () => void
  /** A staged state is about to take the place of the present one. */
  readonly restores: () => void
}

export class WatchedLog implements LogStore {
  readonly #inner: LogStore
  readonly #watcher: Watcher

  constructor(inner: LogStore, watcher: Watcher) {
    this.#inner = inner
    this.#watcher = watcher
  }

  get hardState(): HardState {
    return this.#inner.hardState
  }
  get fence(): LogStore['fence'] {
    return this.#inner.fence
  }
  firstIndex(): number {
    return this.#inner.firstIndex()
  }
  lastIndex(): number {
    return this.#inner.lastIndex()
  }
  term(index: number): number | null {
    return this.#inner.term(index)
  }
  entries(lo: number, hi: number, bytesMax: number): readonly Entry[] | null {
    return this.#inner.entries(lo, hi, bytesMax)
  }
  snapshot(): SnapshotMeta {
    return this.#inner.snapshot()
  }
  stats(): { entries: number; bytes: number } {
    return this.#inner.stats()
  }

  async append(hardState: HardState | null, entries: readonly Entry[]): Promise<void> {
    const { id, oracle, promised, guard, alive, trace } = this.#watcher
    const inner = this.#inner
    const first = entries[0]
    guard(() => oracle.mayHold(id, this.#watcher.formats, entries))
    this.#watcher.appends(entries)
    guard(() => oracle.appending(id, Math.max(promised.hardState.term, hardState?.term ?? 0), entries, inner))
    if (first !== undefined && first.index <= inner.lastIndex()) {
      const index = first.index - 1
      promised.end = { index, term: inner.term(index) ?? 0 }
    }
    const fenced = inner.fence !== null
    await inner.append(hardState, entries)
    if (!alive()) return
    if (fenced && inner.fence === null) this.#watcher.count('log-repaired')
    if (hardState !== null) {
      guard(() => oracle.core.persisted(id, hardState))
      promised.hardState = hardState
      trace(`hard ${hardState.vote ?? ''}`, hardState.term, hardState.commit)
    }
    if (first === undefined) return
    promised.end = { index: inner.lastIndex(), term: inner.term(inner.lastIndex()) ?? 0 }
    trace('append', promised.end.term, promised.end.index)
  }

  async compact(index: number): Promise<void> {
    await this.#inner.compact(index)
    this.#watcher.count('compaction')
    this.#watcher.trace('compact', 0, index)
  }

  async reset(meta: SnapshotMeta): Promise<void> {
    this.#watcher.promised.end = null
    const fenced = this.#inner.fence !== null
    await this.#inner.reset(meta)
    if (fenced && this.#inner.fence === null) this.#watcher.count('log-repaired')
    this.#watcher.trace('reset', meta.term, meta.index)
  }

  forgive(): Promise<void> {
    return this.#inner.forgive()
  }

  close(): Promise<void> {
    return this.#inner.close()
  }
}

export class WatchedState implements StateStore {
  readonly #inner: StateStore
  readonly #log: LogStore
  readonly #watcher: Watcher

  constructor(inner: StateStore, log: LogStore, watcher: Watcher) {
    this.#inner = inner
    this.#log = log
    this.#watcher = watcher
  }

  get meta(): StateMeta {
    return this.#inner.meta
  }

  get damage(): HoldfastError | null {
    return this.#inner.damage
  }

  async condemn(reason: HoldfastError): Promise<void> {
    await this.#inner.condemn(reason)
    this.#watcher.count('condemned')
    this.#watcher.trace('condemned', 0, this.#inner.meta.applied)
  }

  async amend(): Promise<boolean> {
    const amended = await this.#inner.amend()
    if (amended) this.#watcher.count('digest-amended')
    return amended
  }

  onUnreadable(tell: (reason: HoldfastError) => void): void {
    this.#inner.onUnreadable((reason) => {
      this.#watcher.count('value-unreadable')
      tell(reason)
    })
  }

  scrub(pace: (bytes: number) => Promise<void>): Promise<ScrubResult> {
    return this.#inner.scrub(pace)
  }

  apply(ops: readonly Op[], meta: StateMeta, onVisible?: () => void): Promise<void> {
    const { id, oracle, guard, honestly, term, formats } = this.#watcher
    guard(() => oracle.mayApply(id, formats, meta.applied))
    const { applied, leaderTimeMs } = this.#inner.meta
    guard(() => {
      must(
        meta.leaderTimeMs >= leaderTimeMs,
        'time never goes back',
        () => `${id} goes from ${leaderTimeMs} to ${meta.leaderTimeMs} at ${meta.applied}`,
      )
    })
    // The founding state is no entry's.
    if (meta.applied <= this.#log.lastIndex()) {
      const entries = honestly(() => this.#log.entries(applied + 1, meta.applied + 1, Infinity)) ?? []
      guard(() => oracle.applying(id, term(), applied, meta.applied, entries, ops))
    }
    return this.#inner.apply(ops, meta, () => {
      this.#look('apply')
      onVisible?.()
    })
  }

  sync(): Promise<number> {
    return this.#inner.sync()
  }
  view(): StateView {
    return this.#inner.view()
  }
  snapshot(level?: number): ReturnType<StateStore['snapshot']> {
    return this.#inner.snapshot(level)
  }
  receive(stream: AsyncIterable<Uint8Array>, formats?: FormatRange, adopt?: (meta: StateMeta) => StateMeta): Promise<SnapshotMeta> {
    return this.#inner.receive(stream, formats, adopt)
  }

  install(meta: SnapshotMeta, onVisible?: () => void): Promise<void> {
    const { id, oracle, guard, formats } = this.#watcher
    guard(() => oracle.mayApply(id, formats, meta.index))
    this.#watcher.installs()
    const { damage } = this.#inner
    return this.#inner.install(meta, () => {
      this.#watcher.count('snapshot-installed')
      if (damage !== null) this.#watcher.count('state-repaired')
      this.#look('install')
      onVisible?.()
    })
  }

  // Restoring (docs/internals/snapshot-restore.md).
  get staged(): StateStore['staged'] {
    return this.#inner.staged
  }
  stage(...args: Parameters<StateStore['stage']>): ReturnType<StateStore['stage']> {
    return this.#inner.stage(...args)
  }
  stagedStream(level?: number): ReturnType<StateStore['stagedStream']> {
    return this.#inner.stagedStream(level)
  }
  restore(ops: readonly Op[], meta: StateMeta, onVisible?: () => void): Promise<void> {
    const { id, oracle, guard, honestly, term, formats } = this.#watcher
    guard(() => oracle.mayApply(id, formats, meta.applied))
    const { applied, leaderTimeMs } = this.#inner.meta
    guard(() => must(meta.leaderTimeMs >= leaderTimeMs, 'time never goes back', () => `${id} restores a state of ${meta.leaderTimeMs}`))
    const entries = honestly(() => this.#log.entries(applied + 1, meta.applied + 1, Infinity)) ?? []
    guard(() => oracle.restoring(id, term(), applied, meta.applied, entries))
    this.#watcher.restores()
    return this.#inner.restore(ops, meta, () => {
      this.#watcher.count('restored')
      this.#look('restore')
      onVisible?.()
    })
  }
  discardStaged(): Promise<void> {
    return this.#inner.discardStaged()
  }

  close(): Promise<void> {
    return this.#inner.close()
  }

  #look(kind: string): void {
    const { id, oracle, guard, honestly, trace } = this.#watcher
    guard(() => honestly(() => oracle.state(id, this.#inner)))
    trace(kind, this.#inner.meta.appliedTerm, this.#inner.meta.applied)
  }
}
