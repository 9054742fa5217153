/** For jobs of the leader that look after something in every namespace: the root each time, the others in turn, so many a pass. */
import { isHoldfastError } from '#base/errors.ts'
import type { Barrier, ReadView } from '#barrier/types.ts'
import type { NamespaceStore } from '#namespaces/store.ts'
import { rootNamespace } from '#namespaces/record.ts'

/** Namespaces that one pass looks at besides the root: with as many as there may be, each has its turn every 64th pass. */
const perPassMax = 256

export class NamespaceRounds {
  readonly #barrier: Barrier
  readonly #namespaces: Pick<NamespaceStore, 'ids'>
  /** The last one of the pass before; '' to begin. */
  #after = ''

  constructor(barrier: Barrier, namespaces: Pick<NamespaceStore, 'ids'>) {
    this.#barrier = barrier
    this.#namespaces = namespaces
  }

  /** Runs `work` for each namespace whose turn it is, one after the other. One that is sealed is passed over. */
  async pass(work: (namespaceId: string) => Promise<void>): Promise<void> {
    const ids = await this.#barrier.read({ kind: 'linearizable' }, (view) => this.#next(view))
    for (const id of ids) await unlessSealed(() => work(id))
  }

  /** Reads something of each namespace whose turn it is, in one view. */
  gather<T>(read: (view: ReadView, namespaceId: string) => Promise<readonly T[]>): Promise<T[]> {
    return this.#barrier.read({ kind: 'linearizable' }, async (view) => {
      const found: T[] = []
      for (const id of await this.#next(view)) await unlessSealed(async () => void found.push(...(await read(view, id))))
      return found
    })
  }

  async #next(view: ReadView): Promise<string[]> {
    const window = { limit: perPassMax, ...(this.#after === '' ? {} : { after: this.#after }) }
    const ids = await this.#namespaces.ids(view, window)
    this.#after = ids.length < perPassMax ? '' : ids.at(-1)!
    return [rootNamespace.id, ...ids]
  }
}

async function unlessSealed(work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!isHoldfastError(error, 'ERR_NAMESPACE_SEALED')) throw error
  }
}
