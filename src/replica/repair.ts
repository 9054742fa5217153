/**
 * A node whose state is damaged or differs from the majority's. Its log and its votes are sound, so it goes on voting and acknowledging; but it applies
 * nothing, serves nothing, hands leadership over, and asks for a snapshot until one is installed. What it acknowledged stays in its log: the
 * snapshot replaces the state alone, unless it reaches beyond the log's end.
 */
import { HoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import type { NodeId } from '#raft/types.ts'
import type { CheckMessage } from './digests.ts'

export interface RepairHost {
  readonly nodeId: NodeId
  readonly logger: Logger
  leader(): NodeId | null
  members(): readonly NodeId[]
  /** The state must reach here at least: what is behind it the log has. */
  wantedIndex(): number
  send(to: NodeId, message: CheckMessage): void
  /** The state is not to be used from now on: durably so. */
  condemn(reason: HoldfastError): void
  /** Whether it repairs itself has changed. */
  changed(): void
}

export class StateRepair {
  readonly #host: RepairHost
  /** How often a snapshot is asked for. */
  readonly #askTicks: number
  #reason: HoldfastError | null
  #sources: readonly NodeId[] = []
  #ticks = 0
  #asked = 0
  /** How often this node's state was fetched again since it started. */
  repairs = 0

  constructor(host: RepairHost, askTicks: number, reason: HoldfastError | null) {
    this.#host = host
    this.#askTicks = askTicks
    this.#reason = reason
  }

  /** Why the state is not used; null while it is. */
  get reason(): HoldfastError | null {
    return this.#reason
  }

  /** `sources`: who is known to have the right one; empty when nobody was compared. */
  begin(reason: HoldfastError, sources: readonly NodeId[]): void {
    if (this.#reason !== null) return
    this.#reason = reason
    this.#sources = sources
    this.#asked = 0
    this.#ticks = 0
    this.#host.logger.warn(
      { reason: reason.message, hint: reason.hint },
      'the state of this node is given up: it serves nothing until it has fetched it again',
    )
    this.#host.condemn(reason)
    this.#host.changed()
  }

  /** A snapshot is installed. */
  installed(index: number): void {
    if (this.#reason === null) return
    this.#reason = null
    this.repairs += 1
    this.#host.logger.info({ index, repairs: this.repairs }, 'the state of this node is repaired')
    this.#host.changed()
  }

  tick(): void {
    if (this.#reason === null) return
    this.#ticks += 1
    if (this.#ticks % this.#askTicks !== 0) return
    const to = this.#nextSource()
    if (to !== undefined) this.#host.send(to, { kind: 'state-wanted', index: this.#host.wantedIndex() })
  }

  /** The leader first, which has applied the most; then whoever is known to agree; then anybody. A leader itself asks the others. */
  #nextSource(): NodeId | undefined {
    const { nodeId } = this.#host
    const leader = this.#host.leader()
    const members = this.#host.members()
    const order = [...(leader === null ? [] : [leader]), ...this.#sources, ...members.filter((id) => !this.#sources.includes(id))]
    const candidates = [...new Set(order)].filter((id) => id !== nodeId && (id === leader || members.includes(id)))
    const next = candidates[this.#asked % Math.max(1, candidates.length)]
    this.#asked += 1
    return next
  }
}

/** What readers and status say of a state that is being fetched again. */
export function differingState(index: number): HoldfastError {
  return new HoldfastError('ERR_STORE_CORRUPT', `state: expected the majority's digest at index ${index}, got another`, {
    hint: 'it is fetched again from the other nodes; if it recurs, look into the system log for errors of the disk',
  })
}

export function beingRepaired(reason: HoldfastError): HoldfastError {
  return new HoldfastError('ERR_STATE_REPAIR', 'the state of this node is being fetched again from the other nodes', {
    hint: 'send the request to another node; operator raft verify shows how far it is',
    cause: reason,
  })
}
