/**
 * Histories of a versioned key-value register, as clients saw it, and their recorder.
 *
 * An operation takes effect at one instant between its call and its return, or, if its outcome is unknown, at any
 * instant after its call, or never. One that failed for sure had no effect at all and is left out: keeping it as
 * unknown would be sound, too, but each unknown operation makes the checker's work harder and its verdict weaker.
 */

interface Common {
  /** Unique in its history. */
  readonly id: number
  readonly client: string
  readonly key: string
  readonly callAt: number
  /** `null`: the outcome is unknown. A precedes B only if A.returnAt < B.callAt: at a tie the two are concurrent. */
  readonly returnAt: number | null
  /** Shown in the picture; the checker does not read it (a node, a tick, a request id). */
  readonly note?: string
}

/** What was asked and what was answered; `output` is `null` if the outcome is unknown, and always for a delete. */
export type Call =
  /** A key that was never written has version 0; value `null` means never written, or deleted at that version. */
  | { readonly kind: 'get'; readonly input: null; readonly output: { readonly version: number; readonly value: string | null } | null }
  | { readonly kind: 'put'; readonly input: { readonly value: string }; readonly output: { readonly version: number } | null }
  /** Writes only at version `expected`. A refusal may tell the version that it met, or not (`null`). */
  | {
      readonly kind: 'cas'
      readonly input: { readonly expected: number; readonly value: string }
      readonly output:
        | { readonly applied: true; readonly version: number }
        | { readonly applied: false; readonly version: number | null }
        | null
    }
  /** Takes the value away and leaves the version, as a soft delete of the newest version does. */
  | { readonly kind: 'delete'; readonly input: null; readonly output: null }

export type Operation = Common & Call
export type Output = Exclude<Call['output'], null>
/** What is known when a client asks. */
export type Asked = { [K in Call['kind']]: { kind: K; input: Extract<Call, { kind: K }>['input'] } }[Call['kind']] & {
  client: string
  key: string
  note?: string
}

/**
 * Throws unless the history can be judged: ids unique, times in order, an output of the right shape exactly where the
 * outcome is known. A recorder's mistake must not pass for a verdict on the store.
 */
export function checkWellFormed(history: readonly Operation[]): void {
  const ids = new Set<number>()
  for (const operation of history) {
    const { id, callAt, returnAt } = operation
    if (ids.has(id)) throw new Error(`expected unique operation ids, got ${id} twice`)
    ids.add(id)
    if (!Number.isFinite(callAt)) throw new Error(`operation ${id}: expected a finite call time, got ${callAt}`)
    if (returnAt !== null && !(returnAt >= callAt))
      throw new Error(`operation ${id}: expected a return at or after ${callAt}, got ${returnAt}`)
    if (!outputFits(operation))
      throw new Error(`operation ${id}: expected the output of a ${operation.kind}, got ${JSON.stringify(operation.output)}`)
  }
}

function outputFits(operation: Operation): boolean {
  if (operation.returnAt === null || operation.kind === 'delete') return operation.output === null
  const { output } = operation
  if (output === null) return false
  if (operation.kind === 'get')
    return isVersion(output.version) && 'value' in output && (output.value === null || typeof output.value === 'string')
  if (operation.kind === 'put') return isVersion(output.version)
  if (!('applied' in output) || typeof output.applied !== 'boolean') return false
  return isVersion(output.version) || (!output.applied && output.version === null)
}

function isVersion(version: number | null): boolean {
  return Number.isSafeInteger(version) && (version as number) >= 0
}

/** Registers are independent, so a history is linearizable exactly if each key's part of it is. In order of first use. */
export function byKey(history: readonly Operation[]): Map<string, Operation[]> {
  return Map.groupBy(history, ({ key }) => key)
}

/**
 * Collects a history. Its times are the order in which it was told of calls and returns: the sharpest order that one
 * process can vouch for, and one without ties, which a clock of ticks or milliseconds would make into concurrency.
 */
export class HistoryRecorder {
  readonly #operations: Operation[] = []
  readonly #open = new Set<number>()
  readonly #failed = new Set<number>()
  readonly #operationsMax: number
  #time = 0

  constructor({ operationsMax = 100_000 }: { operationsMax?: number } = {}) {
    this.#operationsMax = operationsMax
  }

  /** Say it before the request can have any effect. Returns the operation's id. */
  call(asked: Asked): number {
    const id = this.#operations.length
    if (id >= this.#operationsMax) throw new Error(`expected at most ${this.#operationsMax} operations, got one more`)
    this.#operations.push({ ...asked, id, callAt: this.#tick(), returnAt: null, output: null } as Operation)
    this.#open.add(id)
    return id
  }

  /** The answer has come. A delete's output is `null`. */
  returned(id: number, output: Output | null): void {
    this.#close(id)
    const operation = { ...this.#operations[id], returnAt: this.#tick(), output } as Operation
    if (!outputFits(operation))
      throw new Error(`operation ${id}: expected the output of a ${operation.kind}, got ${JSON.stringify(output)}`)
    this.#operations[id] = operation
  }

  /** It had no effect and never will have one. If in doubt, it is `unknown`. */
  failed(id: number): void {
    this.#close(id)
    this.#failed.add(id)
  }

  /** Nobody waits for the answer any more. Operations still open at the end are unknown as well. */
  unknown(id: number): void {
    this.#close(id)
  }

  /** A time of its own, between what was told before and what comes. */
  instant(): number {
    return this.#tick()
  }

  history(): Operation[] {
    return this.#operations.filter(({ id }) => !this.#failed.has(id))
  }

  #tick(): number {
    this.#time += 1
    return this.#time
  }

  #close(id: number): void {
    if (!this.#open.delete(id)) throw new Error(`expected an open operation, got ${id}, which is closed or was never called`)
  }
}
