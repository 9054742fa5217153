/**
 * The writes of unknown outcome of one key, and which of them are worth trying at a point of the search.
 *
 * Intuition: such a write may happen at any time after its call or never, so it never leaves the list of what may come
 * next; a hundred of them tried in every order would end any search. But each version is reached once, and what was
 * seen at each version is known from the whole history. So:
 * - a version that a completed write claims is not for an unknown one;
 * - a version whose value somebody read is only for a write of that value, and such a write is kept for it;
 * - where nobody looked, writes whose values nobody ever saw are interchangeable (they have no deadline either): one
 *   class, taken in order of call; the same holds for writes of one and the same value, and for deletes;
 * - a cas fits at one version only, so where it fits it is used up before a put, which may serve elsewhere;
 * - a delete is tried only when a read that found no value waits for it.
 * Each rule leaves out only what could not be part of, or could be exchanged within, a linearisation of the whole.
 */
import type { Operation } from './history.ts'
import type { State } from './model.ts'

/** Interchangeable operations in order of call, the first `used` of them linearised. */
interface Class {
  readonly operations: Operation[]
  used: number
}

const unseen = Symbol('a value that nobody ever saw')
type Seen = string | typeof unseen

export class UnknownWrites {
  readonly #classes: Class[] = []
  /** The classes of which it matters how many are used. */
  readonly #counted: number[] = []
  readonly #puts = new Map<Seen, number>()
  /** By the version that it expects. */
  readonly #cas = new Map<number, Map<Seen, number>>()
  #deletes: number | undefined
  /** Versions that completed writes claim. */
  readonly #claimed = new Set<number>()
  /** Values read at each version. */
  readonly #values = new Map<number, Set<string>>()
  /** Values of which there are more unknown writes than versions in need of one. */
  readonly #spare: string[] = []

  constructor(unknown: readonly Operation[], completed: readonly Operation[]) {
    for (const operation of completed) this.#observe(operation)
    const read = new Set([...this.#values.values()].flatMap((values) => [...values]))
    const supply = new Map<string, number>()
    for (const operation of unknown.toSorted((a, b) => a.callAt - b.callAt)) {
      // A read without an answer says nothing and does nothing.
      if (operation.kind === 'get') continue
      if (operation.kind !== 'delete') supply.set(operation.input.value, (supply.get(operation.input.value) ?? 0) + 1)
      this.#classify(operation, read)
    }
    const needed = new Map<string, number>()
    for (const [version, values] of this.#values)
      if (!this.#claimed.has(version)) for (const value of values) needed.set(value, (needed.get(value) ?? 0) + 1)
    for (const [value, count] of supply) if (read.has(value) && count > (needed.get(value) ?? 0)) this.#spare.push(value)
  }

  /**
   * Classes worth trying next, at most one operation of each; only those called at or before `horizon` may be next.
   * `missed`: a read of this version that found no value may be next, but for the value, and no completed delete (which
   * has a deadline, and so goes first) can take the value away.
   */
  choices(state: State, horizon: number, missed: boolean): number[] {
    const ready = (index: number | undefined): index is number => index !== undefined && (this.#next(index)?.callAt ?? Infinity) <= horizon
    const deletes = missed && state.value !== null ? [this.#deletes] : []
    return [...this.#writes(state.version, ready), ...deletes].filter(ready)
  }

  take(index: number): Operation {
    const operation = this.#next(index)
    if (operation === undefined) throw new Error(`expected an unused operation in class ${index}, got none`)
    this.#at(index).used += 1
    return operation
  }

  giveBack(index: number): void {
    this.#at(index).used -= 1
  }

  /**
   * How many of each class are used: with the interchange rule, this is the set of those used. Classes of cas are left
   * out: at this version none of theirs is used yet, and those of lower versions no longer matter.
   */
  used(): number[] {
    return this.#counted.map((index) => this.#at(index).used)
  }

  #writes(version: number, ready: (index: number | undefined) => boolean): (number | undefined)[] {
    if (this.#claimed.has(version + 1)) return []
    const values = Array.from<Seen>(this.#values.get(version + 1) ?? [unseen, ...this.#spare])
    const cas = values.map((value) => this.#cas.get(version)?.get(value)).find(ready)
    return cas === undefined ? values.map((value) => this.#puts.get(value)) : [cas]
  }

  #observe(operation: Operation): void {
    if (operation.kind === 'put' && operation.output) this.#claimed.add(operation.output.version)
    if (operation.kind === 'cas' && operation.output?.applied) this.#claimed.add(operation.output.version)
    if (operation.kind !== 'get' || !operation.output || operation.output.value === null) return
    const { version, value } = operation.output
    this.#values.set(version, (this.#values.get(version) ?? new Set()).add(value))
  }

  #classify(operation: Operation & { kind: 'put' | 'cas' | 'delete' }, read: ReadonlySet<string>): void {
    if (operation.kind === 'delete') {
      this.#deletes = this.#join(this.#deletes, operation)
      return
    }
    const value = read.has(operation.input.value) ? operation.input.value : unseen
    if (operation.kind === 'put') {
      this.#puts.set(value, this.#join(this.#puts.get(value), operation))
      return
    }
    const classes = this.#cas.get(operation.input.expected) ?? new Map<Seen, number>()
    this.#cas.set(operation.input.expected, classes.set(value, this.#join(classes.get(value), operation)))
  }

  #join(index: number | undefined, operation: Operation): number {
    if (index === undefined) {
      const added = this.#classes.push({ operations: [operation], used: 0 }) - 1
      if (operation.kind !== 'cas') this.#counted.push(added)
      return added
    }
    this.#at(index).operations.push(operation)
    return index
  }

  #at(index: number): Class {
    return this.#classes[index] as Class
  }

  #next(index: number): Operation | undefined {
    const { operations, used } = this.#at(index)
    return operations[used]
  }
}
