/**
 * Random histories for the checker's own tests: linearizable by construction (each operation is applied to a real
 * register at one instant between its call and its return), or with one planted violation.
 */
import type { Call, Operation } from './history.ts'

/** The little that is asked of a seeded source. */
export interface Random {
  below(n: number): number
  chance(probability: number): boolean
}

export const violations = ['stale read', 'lost update', 'double apply', 'reordered ack', 'cas twice'] as const
export type Violation = (typeof violations)[number]

export interface Shape {
  readonly clients: number
  readonly operations: number
  readonly keys: number
  /** Number of values to write; 0: each write has its own. */
  readonly values: number
  /** Probability that a client stops waiting. */
  readonly unknown: number
  /** Probability that the next event happens at the same instant. */
  readonly tie: number
  /** Planted when about half of the operations have been called. Its operations are extra. */
  readonly violation?: Violation
}

interface Running {
  readonly operation: Operation
  /** What it answers, once it has been applied. `undefined` before. */
  answer: Call['output'] | undefined
}

export function generateHistory(random: Random, shape: Shape): Operation[] {
  return new World(random, shape).run()
}

class World {
  readonly #random: Random
  readonly #shape: Shape
  readonly #registers = new Map<string, { version: number; value: string | null }>()
  readonly #history: Operation[] = []
  readonly #running = new Map<string, Running>()
  /** Given up by their clients, not applied yet: they may be, at any time. */
  readonly #adrift: Running[] = []
  #now = 0

  constructor(random: Random, shape: Shape) {
    this.#random = random
    this.#shape = shape
  }

  run(): Operation[] {
    const { clients, operations, violation } = this.#shape
    let called = 0
    let planted = violation === undefined
    while (called < operations || this.#running.size > 0) {
      this.#tick()
      const client = `c${this.#random.below(clients)}`
      const running = this.#running.get(client)
      if (running !== undefined) this.#proceed(client, running)
      else if (called < operations) {
        called += 1
        this.#running.set(client, this.#call(client, `k${this.#random.below(this.#shape.keys)}`, this.#request()))
      }
      if (!planted && called * 2 >= operations) {
        planted = true
        this.#plant(violation as Violation, `k${this.#random.below(this.#shape.keys)}`)
      }
    }
    return this.#history
  }

  #proceed(client: string, running: Running): void {
    const i = this.#random.below(this.#adrift.length + 1)
    const adrift = this.#random.chance(0.3) ? this.#adrift.splice(i, 1)[0] : undefined
    if (adrift !== undefined) this.#apply(adrift)
    else if (this.#random.chance(this.#shape.unknown / 2)) {
      // Half of the chances fall before the instant of effect, half after it: both look the same to the client.
      if (running.answer === undefined) this.#adrift.push(running)
      this.#running.delete(client)
    } else if (running.answer === undefined) this.#apply(running)
    else {
      this.#return(running)
      this.#running.delete(client)
    }
  }

  #call(client: string, key: string, request: Pick<Operation, 'kind' | 'input'>): Running {
    const operation = { id: this.#history.length, client, key, ...request, output: null, callAt: this.#now, returnAt: null } as Operation
    this.#history.push(operation)
    return { operation, answer: undefined }
  }

  #return({ operation, answer }: Running): void {
    this.#history[operation.id] = { ...operation, output: answer, returnAt: this.#now } as Operation
  }

  #request(): Pick<Operation, 'kind' | 'input'> {
    const dice = this.#random.below(10)
    if (dice < 4) return { kind: 'get', input: null }
    if (dice < 7) return { kind: 'put', input: { value: this.#value() } }
    if (dice < 9) return { kind: 'cas', input: { expected: this.#likelyVersion(), value: this.#value() } }
    return { kind: 'delete', input: null }
  }

  #value(): string {
    return this.#shape.values === 0 ? `x${this.#history.length}` : `x${this.#random.below(this.#shape.values)}`
  }

  #likelyVersion(): number {
    const versions = [...this.#registers.values()].map(({ version }) => version)
    return Math.max(0, (versions[this.#random.below(versions.length)] ?? 0) + this.#random.below(3) - 1)
  }

  #register(key: string): { version: number; value: string | null } {
    return this.#registers.get(key) ?? { version: 0, value: null }
  }

  #apply(running: Running): void {
    const { operation } = running
    const { version, value } = this.#register(operation.key)
    const write = (next: string): void => void this.#registers.set(operation.key, { version: version + 1, value: next })
    if (operation.kind === 'get') running.answer = { version, value }
    else if (operation.kind === 'put') {
      write(operation.input.value)
      running.answer = { version: version + 1 }
    } else if (operation.kind === 'delete') {
      this.#registers.set(operation.key, { version, value: null })
      running.answer = null
    } else if (operation.input.expected === version) {
      write(operation.input.value)
      running.answer = { applied: true, version: version + 1 }
    } else running.answer = { applied: false, version: this.#random.chance(0.5) ? version : null }
  }

  #tick(): void {
    if (!this.#random.chance(this.#shape.tie)) this.#now += 1
  }

  /** Calls, applies and returns, with nothing else in between. */
  #whole(client: string, key: string, request: Pick<Operation, 'kind' | 'input'>): void {
    const running = this.#call(client, key, request)
    this.#now += 1
    this.#apply(running)
    this.#return(running)
    this.#now += 1
  }

  /** Each is a violation whatever the operations of unknown outcome did, since nobody else writes the value 'planted'. */
  #plant(violation: Violation, key: string): void {
    this.#now += 1
    const before = this.#register(key)
    const put = { kind: 'put', input: { value: 'planted' } } as const
    const get = { kind: 'get', input: null } as const
    switch (violation) {
      case 'stale read': {
        this.#whole('s1', key, put)
        const after = this.#register(key)
        this.#registers.set(key, before)
        this.#whole('s2', key, get)
        this.#registers.set(key, after)
        return
      }
      case 'lost update':
        this.#whole('s1', key, put)
        this.#registers.set(key, before)
        this.#whole('s2', key, get)
        return
      case 'double apply': {
        const running = this.#call('s1', key, put)
        this.#now += 1
        this.#apply(running)
        const { answer } = running
        this.#apply(running)
        running.answer = answer
        this.#return(running)
        this.#now += 1
        this.#whole('s2', key, get)
        return
      }
      case 'reordered ack': {
        const running = this.#call('s1', key, put)
        running.answer = { version: before.version + 1 }
        this.#now += 1
        this.#return(running)
        this.#now += 1
        this.#whole('s2', key, get)
        this.#apply(running)
        return
      }
      case 'cas twice': {
        const cas = { kind: 'cas', input: { expected: before.version, value: 'planted' } } as const
        const both = [this.#call('s1', key, cas), this.#call('s2', key, cas)]
        this.#now += 1
        for (const running of both) {
          running.answer = { applied: true, version: before.version + 1 }
          this.#return(running)
        }
        this.#registers.set(key, { version: before.version + 1, value: 'planted' })
        this.#now += 1
      }
    }
  }
}

/** A history with one thing changed at random. It may be a violation or not: that is for two checkers to agree on. */
export function mutate(random: Random, history: readonly Operation[]): Operation[] {
  const i = random.below(history.length)
  const operation = history[i]
  if (operation === undefined) return [...history]
  if (random.chance(0.1)) return history.filter((_, j) => j !== i)
  return history.with(i, random.chance(0.3) ? moved(random, operation) : answeredOtherwise(random, operation)) as Operation[]
}

/** Called later, or returned sooner or later: other operations may now have to come before or after it. */
function moved(random: Random, operation: Operation): Operation {
  const { callAt, returnAt } = operation
  if (returnAt === null) return { ...operation, callAt: callAt + random.below(5) }
  if (random.chance(0.5)) return { ...operation, callAt: callAt + random.below(returnAt - callAt + 1) }
  return { ...operation, returnAt: callAt + random.below(2 * (returnAt - callAt) + 1) }
}

function answeredOtherwise(random: Random, operation: Operation): Operation {
  const { kind, callAt } = operation
  const near = (version: number): number => Math.max(0, version + random.below(3) - 1)
  const returnAt = operation.returnAt ?? callAt + random.below(10)
  switch (kind) {
    case 'get': {
      const value = random.chance(0.3) ? null : `x${random.below(3)}`
      const { output } = operation
      return {
        ...operation,
        returnAt,
        output: { version: near(output?.version ?? 1), value: output !== null && random.chance(0.6) ? output.value : value },
      }
    }
    case 'put':
      return { ...operation, returnAt, output: { version: near(operation.output?.version ?? 1) } }
    case 'cas': {
      const applied = random.chance(0.5)
      return { ...operation, returnAt, output: applied ? { applied, version: operation.input.expected + 1 } : { applied, version: null } }
    }
    case 'delete':
      return { ...operation, returnAt }
  }
}
