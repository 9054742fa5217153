/** What of a request's end is laid down beside its writes, so that it can be repeated (once.ts). */
import { assert } from '#base/assert.ts'
import { isHoldfastError } from '#base/errors.ts'
import type { Transaction } from '#barrier/types.ts'
import type { CoreDeps } from './deps.ts'
import { renderResponse } from './envelope.ts'
import { errorText } from './errors.ts'
import type { Evaluated, Trace } from './evaluate.ts'
import { answerOfFailure, Once, onceKeyOf, onceLimits, onceSection, type OnceKey } from './once.ts'
import type { CoreResponse, LogicalResponse, Request } from './types.ts'

/** Not this request's end, but that nobody could see to it now: it may succeed at the next try. */
const passing = (error: unknown): boolean => isHoldfastError(error) && (error.status === 503 || error.status === 429)

/**
 * Whether the end of a request that writes nothing must be laid down, so that an earlier sending of it is not carried out behind it. Not for
 * clients without a token: they could fill log and table with nothing.
 */
const fencesAnswer = ({ onceKey, found, token }: Trace): boolean =>
  onceKey?.repeated === true && found?.kind === 'first' && (token !== null || !onceKey.byClient)

/** The same of a failure. Who has no right to it gets none by waiting, so a refusal of that kind needs no record. */
export const fences = (trace: Trace, error: unknown): boolean =>
  fencesAnswer(trace) && !passing(error) && !(isHoldfastError(error) && error.status === 403)

/** What is laid down lies under the root's keys: of a namespace with a seal of its own that would be what the root's keys must not open. */
const isSealedApart = (transaction: Transaction, { namespace }: Trace): boolean =>
  namespace !== null && transaction.keyrings?.underOwnSeal(namespace.id) === true

export class Keeping {
  readonly once: Once
  readonly #deps: Pick<CoreDeps, 'barrier' | 'replica' | 'tokens' | 'nodeId' | 'log'>

  constructor(deps: Pick<CoreDeps, 'barrier' | 'replica' | 'tokens' | 'nodeId' | 'log'>) {
    this.#deps = deps
    this.once = new Once(onceLimits.idsPerMinuteMax, () => deps.replica.status().incarnation)
  }

  /** null for a request that nobody can repeat. @throws ERR_SEALED. */
  keyOf(request: Request): OnceKey | null {
    if (request.retryId === undefined && request.ticket === undefined) return null
    const hashed = request.retryId === undefined || request.token === null ? null : this.#deps.tokens.hash(request.token)
    return onceKeyOf(request, this.#deps.nodeId, hashed, this.#deps.replica.status().incarnation)
  }

  /**
   * Lays down the answer of what was evaluated. A request that wrote nothing may as well be evaluated again: but not once it was repeated, since an
   * earlier sending that is still on its way would be carried out after its client was told that nothing was done.
   */
  async answered(transaction: Transaction, request: Request, trace: Trace, evaluated: Evaluated): Promise<void> {
    if (trace.onceKey === null || evaluated.kind === 'replayed') return
    // An effect outside of the state is only noted as begun: repeated, nobody could tell whether it was done.
    if (evaluated.kind === 'later' || evaluated.response?.unkept === true || isSealedApart(transaction, trace))
      return this.#put(transaction, request, trace, null)
    if (transaction.writes === 0 && !fencesAnswer(trace)) return
    assert(trace.def !== null, 'an answer expected to be of a path')
    trace.rendered = renderResponse(request.id, trace.operation, trace.def, evaluated.response)
    await this.#put(transaction, request, trace, trace.rendered)
  }

  /** Lays down the failure of a request that writes all the same (a token's use), or was repeated. */
  async failed(transaction: Transaction, request: Request, trace: Trace, error: unknown): Promise<void> {
    if (passing(error) || (transaction.writes === 0 && !fences(trace, error))) return
    await this.#put(transaction, request, trace, isSealedApart(transaction, trace) ? null : answerOfFailure(error))
  }

  /** Runs an effect outside of the state, after the transaction that noted it. What was surely not done may be tried again under its id. */
  async effect(trace: Trace, run: () => Promise<LogicalResponse | null>): Promise<LogicalResponse | null> {
    try {
      return await run()
    } catch (error) {
      const { onceKey } = trace
      if (onceKey !== null && isHoldfastError(error) && (error.status < 500 || error.status === 503)) await this.#forget(onceKey)
      throw error
    }
  }

  /** Where it fails the id stays taken: its repetition is told so. */
  async #forget({ path }: OnceKey): Promise<void> {
    try {
      await this.#deps.barrier.transact(async (transaction) => transaction.delete(onceSection, path))
    } catch (error) {
      this.#deps.log.info({ error: errorText(error) }, "a failed operation's id stays taken")
    }
  }

  async #put(transaction: Transaction, request: Request, trace: Trace, answer: CoreResponse | null): Promise<void> {
    const { onceKey, found, operation, token } = trace
    if (onceKey === null || found?.kind !== 'first') return
    const ended = token !== null && request.token !== null && (await this.#deps.tokens.lookup(transaction, request.token)) === null
    const endedToken = ended && !isSealedApart(transaction, trace) ? token : null
    this.once.put(transaction, onceKey, { requestId: request.id, operation, endedToken, answer })
  }
}
