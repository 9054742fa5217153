/**
 * Is a history linearizable? Wing and Gong's search with Lowe's memory: key by key, take any operation that may come
 * next and whose answer fits the register, go on; where nothing fits, take back; never search twice from the same set
 * of linearised operations and the same state.
 *
 * Two exchanges keep the search narrow. A read (or a refused cas) that may come next and fits is taken at once: it
 * changes nothing, so in any linearisation of the rest it can be moved to the front. Of deletes that may come next only
 * the one that must return first is tried: they do the same, so any two can be exchanged. unknown-writes.ts has the rules for
 * unknown outcomes. The verdict is exact; only a spent budget leaves it open, and an open verdict is no pass.
 */
import { EventList } from './event-list.ts'
import { byKey, checkWellFormed } from './history.ts'
import type { Operation } from './history.ts'
import { apply, empty, whyNot } from './model.ts'
import type { State } from './model.ts'
import { UnknownWrites } from './unknown-writes.ts'

/** More on one key would not fit the words in which the search remembers where it was. */
export const operationsPerKeyMax = 30_000
/** Steps between two looks at the caller's clock. */
const stepsBetweenLooks = 1024

export interface Budget {
  /** Operations tried, over all keys. Also bounds the memory: one remembered place per step, some hundred bytes each. */
  readonly stepsMax: number
  /** How a register is before the first operation; absent: never written. */
  readonly initial?: (key: string) => State
  /** The caller's clock, if time is bounded as well. A simulator gives none: its verdicts must not depend on the machine. */
  readonly expired?: () => boolean
}

export type Outcome = 'linearizable' | 'violation' | 'undecided'

export interface KeyResult {
  readonly key: string
  readonly outcome: Outcome
  /** The linearisation; if there is none, or none was found, the one with the most completed operations that was. */
  readonly order: readonly Operation[]
  /** The register after `order`. */
  readonly state: State
  /** What had to come next and could not: of the completed operations outside `order`, the first to return. */
  readonly blocked: Operation | null
  /** Why `blocked` could not come next; empty if nothing is blocked. */
  readonly why: string
}

export interface HistoryResult {
  readonly outcome: Outcome
  readonly steps: number
  readonly keys: readonly KeyResult[]
}

/**
 * Judges a whole history. Whoever calls counts everything but 'linearizable' as failed. A violation on one key is
 * reported even if others stay undecided.
 * @throws if the history is not well-formed, or has more than `operationsPerKeyMax` operations on one key.
 */
export function checkHistory(history: readonly Operation[], budget: Budget): HistoryResult {
  checkWellFormed(history)
  const meter = new Meter(budget)
  const keys = [...byKey(history)].map(([key, operations]) => new Search(key, operations, meter, budget.initial?.(key) ?? empty).run())
  const outcome = (['violation', 'undecided'] as const).find((bad) => keys.some((result) => result.outcome === bad)) ?? 'linearizable'
  return { outcome, steps: meter.steps, keys }
}

/** One line for a log or an assertion: the verdict, and for each failing key what could not be placed and why. */
export function describeResult({ outcome, steps, keys }: HistoryResult): string {
  const failing = keys.filter((result) => result.outcome !== 'linearizable')
  const lines = failing.map(
    ({ key, outcome: verdict, order, blocked, why }) =>
      `key ${JSON.stringify(key)} ${verdict} after ${order.length} operations${blocked ? `: operation ${blocked.id} of ${blocked.client}: ${why}` : ''}`,
  )
  return [`${outcome} after ${steps} steps`, ...lines].join('; ')
}

class Meter {
  steps = 0
  readonly #budget: Budget
  #spent = false

  constructor(budget: Budget) {
    this.#budget = budget
  }

  /** Counts a step; false once the budget is spent. */
  step(): boolean {
    this.steps += 1
    if (this.steps > this.#budget.stepsMax) this.#spent = true
    // The first step looks, too: a history of many small keys must not slip by the clock.
    else if (this.steps % stepsBetweenLooks === 1 && this.#budget.expired?.()) this.#spent = true
    return !this.#spent
  }
}

/** Positions of completed operations are >= 0; a class of unknown writes with index i is ~i. */
type Choice = number

interface Frame {
  /** The state, and the length of the order, to return to before each choice. */
  readonly state: State
  readonly length: number
  /** Position of the operation whose return lets nothing called later come next. */
  readonly blocker: number
  readonly choices: readonly Choice[]
  tried: number
}

class Search {
  readonly #key: string
  /** By call, so that a position is an order of calls. */
  readonly #completed: readonly Operation[]
  readonly #unknown: UnknownWrites
  readonly #list: EventList
  readonly #meter: Meter
  readonly #seen = new Set<string>()
  readonly #taken: Choice[] = []
  readonly #order: Operation[] = []
  #state: State
  #completedTaken = 0
  #best: { order: readonly Operation[]; state: State; completed: number; blocked: Operation | null }

  constructor(key: string, operations: readonly Operation[], meter: Meter, initial: State) {
    if (operations.length > operationsPerKeyMax)
      throw new Error(`key ${JSON.stringify(key)}: expected at most ${operationsPerKeyMax} operations, got ${operations.length}`)
    this.#key = key
    this.#state = initial
    this.#best = { order: [], state: initial, completed: -1, blocked: null }
    this.#completed = operations.filter(({ returnAt }) => returnAt !== null).toSorted((a, b) => a.callAt - b.callAt)
    this.#unknown = new UnknownWrites(
      operations.filter(({ returnAt }) => returnAt === null),
      this.#completed,
    )
    this.#list = new EventList(this.#completed)
    this.#meter = meter
  }

  run(): KeyResult {
    const frames: Frame[] = []
    for (;;) {
      const frame = this.#arrive()
      if (frame === undefined) return this.#result('linearizable', this.#order, this.#state, null)
      const spent = !this.#meter.step()
      if (spent || frame.choices.length === 0) this.#keepBest(frame.blocker)
      if (spent) return this.#result('undecided', this.#best.order, this.#best.state, this.#best.blocked)
      frames.push(frame)
      while (!this.#advance(frames.at(-1) as Frame)) {
        frames.pop()
        if (frames.length === 0) return this.#result('violation', this.#best.order, this.#best.state, this.#best.blocked)
      }
    }
  }

  /**
   * Takes whatever may be taken at once, then says what there is to choose from: nothing, if the search was here
   * before. `undefined` if every completed operation is linearised.
   */
  #arrive(): Frame | undefined {
    const open: number[] = []
    const blocker = this.#list.walk((position) => {
      if (!this.#fitsUnchanged(this.#completed[position] as Operation)) {
        open.push(position)
        return false
      }
      this.#record(position)
      return true
    })
    if (blocker === -1) return undefined
    const place = this.#place(open)
    const choices = this.#seen.has(place) ? [] : this.#choices(blocker, open)
    this.#seen.add(place)
    return { state: this.#state, length: this.#taken.length, blocker, choices, tried: 0 }
  }

  /** A read, or a refused cas, whose answer is that of the present state. Not a delete: kept for later it may do something. */
  #fitsUnchanged(operation: Operation): boolean {
    return operation.kind !== 'delete' && apply(this.#state, operation) === this.#state
  }

  /** By time of return: the operation that holds up all others comes first. */
  #choices(blocker: number, open: readonly number[]): Choice[] {
    const returnAt = (position: number): number => (this.#completed[position] as Operation).returnAt as number
    const byReturn = open.toSorted((a, b) => returnAt(a) - returnAt(b))
    const firstDelete = byReturn.find((position) => this.#completed[position]?.kind === 'delete')
    const fitting = byReturn.filter((position) => {
      const operation = this.#completed[position] as Operation
      return operation.kind === 'delete' ? position === firstDelete : apply(this.#state, operation) !== undefined
    })
    const missed = firstDelete === undefined && open.some((position) => this.#misses(this.#completed[position] as Operation))
    const unknown = this.#unknown.choices(this.#state, returnAt(blocker), missed)
    return [...fitting, ...unknown.map((index) => ~index)]
  }

  /** A read that would fit if the value were deleted. */
  #misses({ kind, output }: Operation): boolean {
    return kind === 'get' && output !== null && output.value === null && output.version === this.#state.version
  }

  /** Goes back to the frame and takes its next choice; false if it has none left. */
  #advance(frame: Frame): boolean {
    const choice = frame.choices[frame.tried]
    while (this.#taken.length > frame.length) this.#takeBack()
    this.#state = frame.state
    if (choice === undefined) return false
    frame.tried += 1
    if (choice >= 0) this.#list.lift(choice)
    const operation = this.#record(choice)
    this.#state = apply(this.#state, operation) as State
    return true
  }

  #record(choice: Choice): Operation {
    const operation = choice >= 0 ? (this.#completed[choice] as Operation) : this.#unknown.take(~choice)
    if (choice >= 0) this.#completedTaken += 1
    this.#taken.push(choice)
    this.#order.push(operation)
    return operation
  }

  #takeBack(): void {
    const choice = this.#taken.pop() as Choice
    this.#order.pop()
    if (choice >= 0) {
      this.#list.putBack(choice)
      this.#completedTaken -= 1
    } else this.#unknown.giveBack(~choice)
  }

  /**
   * The set of linearised operations and the state, in words. The set is told by what is missing from it: everything
   * called before the first return among the open ones is in it, but for these themselves, and nothing else can be.
   */
  #place(open: readonly number[]): string {
    const used = this.#unknown.used()
    return (
      String.fromCharCode(this.#state.version, open.length, ...open, ...used) +
      (this.#state.value ?? '') +
      (this.#state.value === null ? '-' : '+')
    )
  }

  #keepBest(blocker: number): void {
    if (this.#completedTaken <= this.#best.completed) return
    this.#best = {
      order: [...this.#order],
      state: this.#state,
      completed: this.#completedTaken,
      blocked: this.#completed[blocker] as Operation,
    }
  }

  #result(outcome: Outcome, order: readonly Operation[], state: State, blocked: Operation | null): KeyResult {
    return { key: this.#key, outcome, order, state, blocked, why: blocked === null ? '' : whyNot(state, blocked) }
  }
}
