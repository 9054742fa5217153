import { assert } from '#base/assert.ts'
import type { StateView } from '#store/types.ts'
import type { KeyClass } from './bare.ts'
import { byteString, rangeEnd } from './bytes.ts'
import type { ValueCache, ViewPoint } from './cache.ts'
import type { FolderIndex } from './folders.ts'
import { listChildren, window } from './list.ts'
import type { Overlay, Turns } from './list.ts'
import type { SectionNames } from './names.ts'
import type { NamesAnswer, OpenedKeys } from './opened.ts'
import type { Ring } from './ring.ts'
import type { ListOptions, ReadView, Section } from './types.ts'

/** What a view needs beside the state: all of it the barrier's. */
export interface ViewContext {
  readonly keys: OpenedKeys
  readonly cache: ValueCache
  readonly folders: FolderIndex
  readonly classOf: (section: Section) => KeyClass
  readonly turns: Turns
}

/** A StateView, opened: paths for keys, plaintext for records. Ends with the work that it was made for. */
export class OpenedView implements ReadView {
  readonly index: number
  readonly nowMs: number
  readonly state: StateView
  readonly context: ViewContext
  readonly #point: ViewPoint
  #ended = false

  constructor(context: ViewContext, state: StateView, nowMs: number) {
    this.context = context
    this.state = state
    this.nowMs = nowMs
    this.index = state.meta.applied
    this.#point = { index: this.index, epoch: context.cache.epoch }
    context.keys.viewBegan(this.#point)
  }

  /** The work is over: whoever kept the view must not go on with a state that may be closed under it. */
  end(): void {
    this.#ended = true
    this.context.keys.viewEnded(this.#point)
  }

  /** @throws ERR_SEALED when the barrier was sealed meanwhile. */
  check(): void {
    assert(!this.#ended, 'view expected to be used only while its work runs, got a call after it: await what you start')
    this.context.keys.check()
  }

  /** The names of a namespace; null when nothing was ever written to it. @throws ERR_NAMESPACE_SEALED. */
  namespaceNames(namespace: string): NamesAnswer {
    this.check()
    return this.context.keys.names(this.state, this.#point, namespace)
  }

  sectionNames(section: Section): SectionNames | null {
    const { names } = this.namespaceNames(section.namespace)
    return names?.section(section.mount, this.context.classOf(section)) ?? null
  }

  /** The value at physical key `key`, under `ring` (null: the root's keyring); read-only, since it may be shared, null when absent. @throws ERR_DECRYPT, ERR_SEALED, ERR_NAMESPACE_SEALED. */
  value(key: Uint8Array, ring: Ring | null): Uint8Array | null {
    this.check()
    ring?.check()
    const { cache, keys } = this.context
    const known = cache.lookup(this.#point, key)
    if (known !== undefined) return known
    const record = this.state.get(key)
    const value = record === undefined ? null : keys.open(this.state, key, record, ring)
    cache.fill(this.#point, key, value)
    return value
  }

  /** Children of folder `prefix`, sorted; all of them. */
  async children(names: SectionNames, prefix: Uint8Array, overlay?: Overlay): Promise<readonly string[]> {
    const { turns, folders } = this.context
    const check = (): void => {
      this.check()
      names.ring?.check()
    }
    if (overlay?.touches(prefix)) return listChildren(this.state, names, prefix, turns, check, overlay)
    const slowly = (): Promise<string[]> => listChildren(this.state, names, prefix, turns, check)
    return folders.list({ state: this.state, point: this.#point, names, prefix, turns, check, slowly })
  }

  async get(section: Section, path: string): Promise<Uint8Array | null> {
    const names = this.sectionNames(section)
    return names === null ? null : this.value(names.leaf(path), names.ring)
  }

  /** Whether a key lies below `prefix` that `except` does not name. */
  async anyBelow(prefix: Uint8Array, except?: Overlay): Promise<boolean> {
    const { yieldTurn, entriesPerTurn } = this.context.turns
    const cursor = this.state.keyCursor(prefix, rangeEnd(prefix))
    try {
      for (let steps = 1; ; steps++) {
        const key = await cursor.next()
        this.check()
        if (key === undefined) return false
        if (except?.has(byteString(key)) !== true) return true
        if (steps % entriesPerTurn === 0) await yieldTurn()
      }
    } finally {
      await cursor.close()
    }
  }

  async holds(section: Section, prefix: string): Promise<boolean> {
    const names = this.sectionNames(section)
    return names !== null && this.anyBelow(names.folder(prefix))
  }

  async list(section: Section, prefix: string, options?: ListOptions): Promise<string[]> {
    const names = this.sectionNames(section)
    if (names === null) return []
    return window(await this.children(names, names.folder(prefix)), options)
  }
}
