/** What lives in the leader's memory, and ends with its leadership or when it is sealed. */
import type { BarrierControl } from '#barrier/types.ts'
import { HoldfastError, wellKnown } from '#base/errors.ts'
import type { Replica, ReplicaStatus } from '#replica/types.ts'

/** Steps that may wait for one another: each combines shares at most once. */
const waitingMax = 32

const leads = ({ role, ready }: ReplicaStatus): boolean => role === 'leader' && ready

export interface LedOptions {
  readonly barrier: Pick<BarrierControl, 'sealed' | 'onSealChange'>
  readonly replica: Pick<Replica, 'status' | 'onStatus'>
  /** This node leads no more, or was sealed: wipe what there is. */
  readonly onLost: () => void
}

/** Runs steps one at a time while this node leads; what was begun under one leadership never goes on under another. */
export class Led {
  readonly #options: LedOptions
  readonly #unsubscribe: readonly (() => void)[]
  #term = 0
  /** One more with each loss. */
  #losses = 0
  #queue: Promise<unknown> = Promise.resolve()
  #waiting = 0

  constructor(options: LedOptions) {
    this.#options = options
    const { replica, barrier } = options
    this.#unsubscribe = [
      replica.onStatus((status) => {
        if (!leads(status) || status.term !== this.#term) this.#end()
      }),
      barrier.onSealChange((sealed) => {
        if (sealed) this.#end()
      }),
    ]
  }

  /**
   * `still` throws ERR_NOT_LEADER where leadership was lost since the step began: what waits in a step must ask before it keeps anything.
   * @throws ERR_NOT_LEADER, ERR_SEALED, ERR_BUSY, and what `step` throws.
   */
  async run<T>(step: (still: () => void) => Promise<T> | T): Promise<T> {
    if (this.#waiting >= waitingMax)
      throw new HoldfastError('ERR_BUSY', `expected at most ${waitingMax} steps with shares at once, got more`, {
        hint: 'again in a moment',
      })
    this.#waiting++
    const before = this.#queue
    const turn = (async () => {
      await before
      this.#check()
      const losses = this.#losses
      return step(() => {
        if (this.#losses !== losses) throw notLeader()
      })
    })()
    this.#queue = turn.catch(() => {}) // The caller is told; the next one in line must not be.
    try {
      return await turn
    } finally {
      this.#waiting--
    }
  }

  #check(): void {
    const { barrier, replica } = this.#options
    if (barrier.sealed) throw new HoldfastError('ERR_SEALED', wellKnown.sealed, { hint: 'unseal this node, or ask another one' })
    const status = replica.status()
    if (!leads(status)) throw notLeader()
    if (status.term !== this.#term) this.#end()
    this.#term = status.term
  }

  #end(): void {
    this.#term = 0
    this.#losses++
    this.#options.onLost()
  }

  close(): void {
    for (const unsubscribe of this.#unsubscribe) unsubscribe()
    this.#end()
  }
}

const notLeader = (): HoldfastError =>
  new HoldfastError('ERR_NOT_LEADER', 'this node expected to lead the cluster, got another leader or none', { hint: 'again in a moment' })
