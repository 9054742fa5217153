/** A barrier over a plain map: for tests of the rooms above it that need no consensus. Views are copies; transactions run one at a time. */
import {
  CommitAndThrow,
  type Barrier,
  type ListOptions,
  type ReadPoint,
  type ReadView,
  type Section,
  type Transaction,
} from '#barrier/types.ts'

const separator = '\u0000'
const keyOf = (section: Section, path: string): string => `${section.namespace}${separator}${section.mount}${separator}${path}`

export class MemoryBarrier implements Barrier {
  sealed = false
  nowMs = 1_700_000_000_000
  index = 1
  state = new Map<string, Uint8Array>()
  /** Makes the next transaction run twice, as after a conflict. */
  conflictNext = false

  status(): ReturnType<Barrier['status']> {
    return { sealed: this.sealed, keyringTerm: this.sealed ? null : 1, encryptions: 0 }
  }

  async read<T>(_consistency: unknown, work: (view: ReadView, at: ReadPoint) => Promise<T>): Promise<T> {
    return work(this.#transaction(new Map(this.state)), { index: this.index, ageMs: 0 })
  }

  async transact<T>(work: (transaction: Transaction) => Promise<T>): Promise<T> {
    if (this.conflictNext) {
      this.conflictNext = false
      await work(this.#transaction(new Map(this.state)))
    }
    const draft = new Map(this.state)
    try {
      const result = await work(this.#transaction(draft))
      this.#commit(draft)
      return result
    } catch (error) {
      if (!(error instanceof CommitAndThrow)) throw error
      this.#commit(draft)
      throw error.reason
    }
  }

  #commit(draft: Map<string, Uint8Array>): void {
    this.state = draft
    this.index += 1
  }

  #transaction(draft: Map<string, Uint8Array>): Transaction {
    let writes = 0
    return {
      index: this.index,
      nowMs: this.nowMs,
      get writes() {
        return writes
      },
      get: async (section, path) => draft.get(keyOf(section, path)) ?? null,
      list: async (section, prefix, options) => children(draft, section, prefix, options),
      holds: async (section, prefix) => children(draft, section, prefix).length > 0,
      put(section, path, value) {
        writes += 1
        draft.set(keyOf(section, path), value)
      },
      delete(section, path) {
        writes += 1
        draft.delete(keyOf(section, path))
      },
      async deleteTree(section, prefix, keysMax) {
        const start = keyOf(section, prefix === '' ? '' : `${prefix}/`)
        const doomed = [...draft.keys()].filter((key) => key.startsWith(start)).slice(0, keysMax)
        for (const key of doomed) draft.delete(key)
        writes += doomed.length
        return doomed.length
      },
    }
  }
}

function children(draft: Map<string, Uint8Array>, section: Section, prefix: string, options: ListOptions = {}): string[] {
  const start = keyOf(section, prefix === '' ? '' : `${prefix}/`)
  const names = new Set<string>()
  for (const key of draft.keys()) {
    if (!key.startsWith(start)) continue
    const rest = key.slice(start.length)
    names.add(rest.includes('/') ? rest.slice(0, rest.indexOf('/') + 1) : rest)
  }
  const sorted = [...names].toSorted().filter((name) => options.after === undefined || name > options.after)
  return options.limit !== undefined && options.limit > 0 ? sorted.slice(0, options.limit) : sorted
}
