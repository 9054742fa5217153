/** What the clients did and saw: a history for each epoch, each on keys of its own, so that no key's history gets too long to be judged. */
import { HistoryRecorder } from '#test/support/linearizability/history.ts'
import type { RegisterOperation } from './judge/register.ts'

const operationsPerEpochMax = 500_000

export class RegisterRecorder {
  readonly #operations: RegisterOperation[] = []
  readonly #failed = new Set<number>()
  #time = 0

  /** Before the request is sent; a write is of unknown outcome until more is said. */
  call(asked: Pick<RegisterOperation, 'client' | 'key' | 'kind' | 'value'>): number {
    const id = this.#operations.length
    if (id >= operationsPerEpochMax) throw new Error(`expected at most ${operationsPerEpochMax} operations, got one more`)
    this.#operations.push({ ...asked, id, callAt: ++this.#time, returnAt: null })
    return id
  }

  wrote(id: number): void {
    this.#operations[id] = { ...(this.#operations[id] as RegisterOperation), returnAt: ++this.#time }
  }

  read(id: number, value: string | null): void {
    this.#operations[id] = { ...(this.#operations[id] as RegisterOperation), value, returnAt: ++this.#time }
  }

  /** It surely had no effect. */
  failed(id: number): void {
    this.#failed.add(id)
  }

  history(): RegisterOperation[] {
    return this.#operations.filter(({ id, kind, returnAt }) => !this.#failed.has(id) && (kind === 'write' || returnAt !== null))
  }
}

/** An acknowledged write of kv version 2, which must be there as this version for ever. */
export interface Acknowledged {
  readonly key: string
  readonly version: number
  readonly value: string
}

export interface Epoch {
  readonly name: string
  readonly versioned: HistoryRecorder
  readonly plain: RegisterRecorder
  readonly acknowledged: Acknowledged[]
}

export class Histories {
  readonly epochs: Epoch[] = []

  /** Begins the next epoch; operations of the one before may still be under way. */
  begin(): Epoch {
    const epoch = {
      name: `e${this.epochs.length}`,
      versioned: new HistoryRecorder({ operationsMax: operationsPerEpochMax }),
      plain: new RegisterRecorder(),
      acknowledged: [],
    }
    this.epochs.push(epoch)
    return epoch
  }
}
