import { assert } from '#base/assert.ts'
import { HoldfastError } from '#base/errors.ts'
import { limits } from '#base/limits.ts'
import type { RandomSource } from '#base/random.ts'
import type { Proposal, SectionBatch } from '#replica/types.ts'
import type { Op } from '#store/types.ts'
import { byteString, rangeEnd, startsWith } from './bytes.ts'
import { window } from './list.ts'
import type { Overlay } from './list.ts'
import { nameKeyBytes, sectionBytes } from './names.ts'
import type { NamespaceNames, SectionNames } from './names.ts'
import type { ListOptions, Section, Transaction } from './types.ts'
import type { OpenedView } from './view.ts'

interface Write {
  readonly key: Uint8Array
  /** Plaintext; null deletes. */
  readonly value: Uint8Array | null
}

/** What one write adds to a proposal beside its key and value. */
const writeOverheadBytes = 80

function tooLarge(what: string, max: number, got: number, hint: string): HoldfastError {
  return new HoldfastError('ERR_BODY_TOO_LARGE', `${what} expected at most ${max} bytes, got ${got}`, { hint })
}

/** Reads at one view, over its own writes; remembers what it read, so that the commit can tell whether it still holds. */
export class CollectingTransaction implements Transaction, Overlay {
  readonly index: number
  readonly nowMs: number
  readonly #view: OpenedView
  readonly #random: RandomSource
  readonly #writes = new Map<string, Write>()
  readonly #reads = new Map<string, Uint8Array>()
  readonly #ranges = new Map<string, readonly [Uint8Array, Uint8Array]>()
  /** Namespaces that have their first write here: their name keys are born in the same commit. */
  readonly #born = new Map<string, { readonly names: NamespaceNames; readonly write: Write }>()
  #bytes = 0

  constructor(view: OpenedView, random: RandomSource) {
    this.#view = view
    this.#random = random
    this.index = view.index
    this.nowMs = view.nowMs
  }

  get writes(): number {
    return this.#writes.size
  }

  /** Values that its proposal will seal. */
  get seals(): number {
    let count = this.#born.size
    for (const { value } of this.#writes.values()) if (value !== null) count += 1
    return count
  }

  async get(section: Section, path: string): Promise<Uint8Array | null> {
    const names = this.#names(section)
    if (names === null) return null
    const key = names.leaf(path)
    const id = byteString(key)
    const own = this.#writes.get(id)
    if (own !== undefined) {
      this.#view.check()
      return own.value
    }
    this.#reads.set(id, key)
    return this.#view.value(key)
  }

  async list(section: Section, prefix: string, options?: ListOptions): Promise<string[]> {
    const names = this.#names(section)
    if (names === null) return []
    const folder = names.folder(prefix)
    this.#readRange(folder)
    return window(await this.#view.children(names, folder, this), options)
  }

  /** Takes ownership of `value`: it is sealed when the work is done. */
  put(section: Section, path: string, value: Uint8Array): void {
    if (value.length > limits.storageValueBytesMax)
      throw tooLarge('stored value', limits.storageValueBytesMax, value.length, 'split it over several paths')
    const names = this.#names(section) ?? this.#beget(section)
    this.#write(names.leaf(path), value)
  }

  delete(section: Section, path: string): void {
    const names = this.#names(section)
    if (names !== null) this.#write(names.leaf(path), null)
  }

  async deleteTree(section: Section, prefix: string, keysMax: number): Promise<number> {
    const names = this.#names(section)
    if (names === null) return 0
    const folder = names.folder(prefix)
    this.#readRange(folder)
    const keys = await this.#keysBelow(folder, keysMax)
    for (const key of keys) this.#write(key, null)
    return keys.length
  }

  has(id: string): boolean {
    return this.#writes.has(id)
  }

  touches(prefix: Uint8Array): boolean {
    for (const { key } of this.#writes.values()) if (startsWith(key, prefix)) return true
    return false
  }

  *writtenBelow(prefix: Uint8Array): Generator<Uint8Array> {
    for (const { key, value } of this.#writes.values()) if (value !== null && startsWith(key, prefix)) yield key
  }

  /** Wipes the keys that were made here: after the commit they are read from the state like all others. */
  end(): void {
    for (const { names } of this.#born.values()) names.wipe()
    this.#born.clear()
  }

  /** The proposal of what was written, and of the barrier's own `note` where there is one, each value passed through `seal`. */
  proposal(term: number, seal: (key: Uint8Array, value: Uint8Array) => Uint8Array, note: Write | null = null): Proposal {
    const sections = new Map<string, { section: Uint8Array; ops: Op[] }>()
    const add = ({ key, value }: Write, prefixBytes: number): void => {
      const prefix = key.subarray(0, prefixBytes)
      const id = byteString(prefix)
      const batch = sections.get(id) ?? { section: new Uint8Array(prefix), ops: [] }
      batch.ops.push({ key, value: value === null ? null : seal(key, value) })
      sections.set(id, batch)
    }
    if (note !== null) add(note, 1)
    for (const { write } of this.#born.values()) add(write, 1)
    for (const write of this.#writes.values()) add(write, sectionBytes)
    return {
      term,
      viewIndex: this.index,
      reads: [...this.#reads.values()],
      ranges: [...this.#ranges.values()],
      sections: [...sections.values()] satisfies SectionBatch[],
      timeMs: this.nowMs,
    }
  }

  #names(section: Section): SectionNames | null {
    const born = this.#born.get(section.namespace)
    const classOf = this.#view.context.classOf
    if (born !== undefined) return born.names.section(section.mount, classOf(section))
    const { names, recordKey } = this.#view.namespaceNames(section.namespace)
    // Where a key lies depends on the name key: a change to that would leave our writes where nobody looks.
    this.#reads.set(byteString(recordKey), recordKey)
    return names?.section(section.mount, classOf(section)) ?? null
  }

  #beget(section: Section): SectionNames {
    const { names: known, recordKey } = this.#view.namespaceNames(section.namespace)
    assert(known === null, 'namespace expected to have no name key yet')
    const nameKey = Uint8Array.from(this.#random.bytes(nameKeyBytes))
    const names = this.#view.context.keys.newNames(section.namespace, nameKey)
    this.#born.set(section.namespace, { names, write: { key: recordKey, value: nameKey } })
    return names.section(section.mount, this.#view.context.classOf(section))
  }

  #write(key: Uint8Array, value: Uint8Array | null): void {
    const id = byteString(key)
    const replaced = this.#writes.get(id)
    const bytes = this.#bytes - (replaced?.value?.length ?? 0) + (value?.length ?? 0) + (replaced ? 0 : key.length + writeOverheadBytes)
    if (bytes > limits.transactionBytesMax)
      throw tooLarge('transaction', limits.transactionBytesMax, bytes, 'write less in one request, or in several')
    this.#bytes = bytes
    this.#writes.set(id, { key, value })
  }

  #readRange(prefix: Uint8Array): void {
    this.#ranges.set(byteString(prefix), [prefix, rangeEnd(prefix)])
  }

  /** Every key below `prefix`, in the view or written here; at most `keysMax`. @throws ERR_BUSY beyond. */
  async #keysBelow(prefix: Uint8Array, keysMax: number): Promise<Uint8Array[]> {
    const { yieldTurn, entriesPerTurn } = this.#view.context.turns
    const keys = [...this.writtenBelow(prefix)]
    const cursor = this.#view.state.keyCursor(prefix, rangeEnd(prefix))
    try {
      for (let key = await cursor.next(); key !== undefined; key = await cursor.next()) {
        this.#view.check()
        if (!this.has(byteString(key))) keys.push(key)
        if (keys.length > keysMax) break
        if (keys.length % entriesPerTurn === 0) await yieldTurn()
      }
    } finally {
      await cursor.close()
    }
    if (keys.length > keysMax)
      throw new HoldfastError('ERR_BUSY', `tree to delete expected at most ${keysMax} keys, got more`, { hint: 'delete it in parts' })
    return keys
  }
}
