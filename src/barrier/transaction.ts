import { assert } from '#base/assert.ts'
import { HoldfastError } from '#base/errors.ts'
import { limits } from '#base/limits.ts'
import type { RandomSource } from '#base/random.ts'
import type { Proposal, SectionBatch } from '#replica/types.ts'
import type { Op } from '#store/types.ts'
import { KeyClass } from './bare.ts'
import { byteString, concatBytes, rangeEnd, startsWith } from './bytes.ts'
import { TransactionKeyrings } from './keyring-writes.ts'
import { recordsAbove } from './rings.ts'
import { window } from './list.ts'
import type { Overlay } from './list.ts'
import { childEnds, nameKeyBytes, sectionBytes } from './names.ts'
import type { NamespaceNames, SectionNames } from './names.ts'
import type { NamesAnswer } from './opened.ts'
import type { Ring } from './ring.ts'
import type { ListOptions, Section, Transaction } from './types.ts'
import type { OpenedView } from './view.ts'

interface Write {
  readonly key: Uint8Array
  /** Plaintext; null deletes. */
  readonly value: Uint8Array | null
  /** What it is sealed under; null: the root's keyring. */
  readonly ring: Ring | null
}

/** A bare record: as it is to lie there, or what is sealed into it. */
export interface RecordWrite {
  readonly key: Uint8Array
  /** As it lies there; null deletes. */
  readonly bytes?: Uint8Array | null
  /** Sealed under `ring`, for `place`, behind `head`. Owned by the transaction, and wiped. */
  readonly sealed?: { readonly value: Uint8Array; readonly ring: Ring | null; readonly place: Uint8Array; readonly head: Uint8Array }
}

export type SealValue = (ring: Ring | null, place: Uint8Array, value: Uint8Array) => Uint8Array

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
  /** Folders in which something was written, by their prefixes; to look at each write instead made a transaction's cost the square of its size. */
  readonly #touched = new Set<string>()
  /** Keys written, and not yet noted there. */
  readonly #unnoted: Uint8Array[] = []
  readonly #reads = new Map<string, Uint8Array>()
  readonly #ranges = new Map<string, readonly [Uint8Array, Uint8Array]>()
  /** Namespaces that have their first write here: their name keys are born in the same commit. */
  readonly #born = new Map<string, { readonly names: NamespaceNames; readonly write: Write }>()
  readonly #records = new Map<string, RecordWrite>()
  #keyrings: TransactionKeyrings | null = null
  #bytes = 0

  constructor(view: OpenedView, random: RandomSource) {
    this.#view = view
    this.#random = random
    this.index = view.index
    this.nowMs = view.nowMs
  }

  get keyrings(): TransactionKeyrings {
    return (this.#keyrings ??= new TransactionKeyrings(this, this.#view, this.#random))
  }

  get writes(): number {
    return this.#writes.size + this.#records.size
  }

  /** How many values its proposal will seal, by keyring. */
  seals(): ReadonlyMap<Ring | null, number> {
    const counts = new Map<Ring | null, number>()
    const count = (ring: Ring | null): void => void counts.set(ring, (counts.get(ring) ?? 0) + 1)
    for (const { write } of this.#born.values()) count(write.ring)
    for (const { sealed } of this.#records.values()) if (sealed !== undefined) count(sealed.ring)
    for (const { value, ring } of this.#writes.values()) if (value !== null) count(ring)
    return counts
  }

  /** Reads the barrier's own record at `key` as it was before this transaction, and holds the commit to it. */
  read(key: Uint8Array): Uint8Array | undefined {
    this.#view.check()
    this.#reads.set(byteString(key), key)
    return this.#view.state.get(key)
  }

  /** The barrier's own records whose key begins with `prefix`; each one seen is read. */
  async *idsBelow(prefix: Uint8Array): AsyncGenerator<{ readonly id: string; readonly marker: Uint8Array }> {
    const cursor = this.#view.state.keyCursor(prefix, rangeEnd(prefix))
    try {
      for (let key = await cursor.next(); key !== undefined; key = await cursor.next()) {
        const marker = Uint8Array.from(key)
        this.#reads.set(byteString(marker), marker)
        yield { id: byteString(marker).slice(prefix.length), marker }
      }
    } finally {
      await cursor.close()
    }
  }

  /** At most `keysMax` keys of the store that begin with `prefix`. */
  async keysFrom(prefix: Uint8Array, keysMax: number): Promise<Uint8Array[]> {
    const keys: Uint8Array[] = []
    const cursor = this.#view.state.keyCursor(prefix, rangeEnd(prefix))
    try {
      while (keys.length < keysMax) {
        const key = await cursor.next()
        if (key === undefined) break
        keys.push(Uint8Array.from(key))
      }
    } finally {
      await cursor.close()
    }
    return keys
  }

  /** Writes one of the barrier's own records, in place of what it wrote there before. */
  record(write: RecordWrite): void {
    const id = byteString(write.key)
    this.#records.get(id)?.sealed?.value.fill(0)
    this.#records.set(id, write)
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
    return this.#view.value(key, names.ring)
  }

  async list(section: Section, prefix: string, options?: ListOptions): Promise<string[]> {
    const names = this.#names(section)
    if (names === null) return []
    const folder = names.folder(prefix)
    this.#readRange(folder)
    return window(await this.#view.children(names, folder, this), options)
  }

  async holds(section: Section, prefix: string): Promise<boolean> {
    const names = this.#names(section)
    if (names === null) return false
    const folder = names.folder(prefix)
    this.#readRange(folder)
    if (!this.touches(folder)) return this.#view.anyBelow(folder)
    return !this.writtenBelow(folder).next().done || this.#view.anyBelow(folder, this)
  }

  /** Takes ownership of `value`: it is sealed when the work is done. */
  put(section: Section, path: string, value: Uint8Array): void {
    if (value.length > limits.storageValueBytesMax)
      throw tooLarge('stored value', limits.storageValueBytesMax, value.length, 'split it over several paths')
    const names = this.#names(section) ?? this.#beget(section)
    this.#write(names.leaf(path), value, names.ring)
    if (names.twin !== null) this.#write(names.twin.leaf(path), value, names.ring)
  }

  delete(section: Section, path: string): void {
    const names = this.#names(section)
    if (names === null) return
    this.#write(names.leaf(path), null, names.ring)
    if (names.twin !== null) this.#write(names.twin.leaf(path), null, names.ring)
  }

  async deleteTree(section: Section, prefix: string, keysMax: number): Promise<number> {
    const names = this.#names(section)
    if (names === null) return 0
    const folder = names.folder(prefix)
    this.#readRange(folder)
    const keys = await this.#keysBelow(folder, keysMax)
    const whole = names.twin === null ? null : this.#view.namespaceNames(section.namespace).names
    for (const key of keys) {
      this.#write(key, null, names.ring)
      const moved = whole?.movedToNext(key) ?? null
      if (moved !== null) this.#write(moved, null, names.ring)
    }
    return keys.length
  }

  has(id: string): boolean {
    return this.#writes.has(id)
  }

  touches(prefix: Uint8Array): boolean {
    for (const key of this.#unnoted.splice(0)) {
      const id = byteString(key)
      this.#touched.add(id.slice(0, sectionBytes))
      for (const end of childEnds(key)) this.#touched.add(id.slice(0, end))
    }
    return this.#touched.has(byteString(prefix))
  }

  *writtenBelow(prefix: Uint8Array): Generator<Uint8Array> {
    for (const { key, value } of this.#writes.values()) if (value !== null && startsWith(key, prefix)) yield key
  }

  /** Writes `value`, which stays the caller's, to the stored key `key`. */
  place(key: Uint8Array, value: Uint8Array, ring: Ring | null): void {
    this.#write(key, value, ring)
  }

  /** Deletes the stored key `key`, whatever it is: of what nobody can open any more. */
  erase(key: Uint8Array): void {
    if (key[0] === KeyClass.bare) this.record({ key, bytes: null })
    else this.#write(key, null, null)
  }

  /** Wipes the keys that were made here: after the commit they are read from the state like all others. */
  end(): void {
    for (const { names } of this.#born.values()) names.wipe()
    this.#born.clear()
    for (const { sealed } of this.#records.values()) sealed?.value.fill(0)
    this.#records.clear()
    this.#keyrings?.end()
  }

  /** The proposal of what was written, and of the barrier's own `notes`, each value passed through `seal`. */
  proposal(term: number, seal: SealValue, notes: readonly Write[] = []): Proposal {
    const sections = new Map<string, { section: Uint8Array; ops: Op[] }>()
    const op = (key: Uint8Array, value: Uint8Array | null, prefixBytes: number): void => {
      const prefix = key.subarray(0, prefixBytes)
      const id = byteString(prefix)
      const batch = sections.get(id) ?? { section: new Uint8Array(prefix), ops: [] }
      batch.ops.push({ key, value })
      sections.set(id, batch)
    }
    const add = ({ key, value, ring }: Write, prefixBytes: number): void =>
      op(key, value === null ? null : seal(ring, key, value), prefixBytes)
    for (const note of notes) add(note, 1)
    for (const { write } of this.#born.values()) add(write, 1)
    for (const { key, bytes = null, sealed } of this.#records.values())
      op(key, sealed === undefined ? bytes : concatBytes(sealed.head, seal(sealed.ring, sealed.place, sealed.value)), 1)
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

  get view(): OpenedView {
    return this.#view
  }

  #names(section: Section): SectionNames | null {
    const born = this.#born.get(section.namespace)
    const classOf = this.#view.context.classOf
    if (born !== undefined) return born.names.section(section.mount, classOf(section))
    return this.whole(section.namespace).names?.section(section.mount, classOf(section)) ?? null
  }

  /** All names of `namespace`, and what they hang on, to which the commit is held. @throws ERR_NAMESPACE_SEALED. */
  whole(namespace: string): NamesAnswer & { readonly ring: Ring | null } {
    const { names, recordKeys } = this.#view.namespaceNames(namespace)
    // Where a key lies depends on the name key: a change to that would leave our writes where nobody looks.
    this.#reads.set(byteString(recordKeys.names), recordKeys.names)
    // So would one to which all is being copied, and that we had not heard of.
    this.#reads.set(byteString(recordKeys.next), recordKeys.next)
    // And what it is sealed under must be open until then.
    if (recordKeys.ring !== null) this.#reads.set(byteString(recordKeys.ring), recordKeys.ring)
    if (recordKeys.state !== null) this.#reads.set(byteString(recordKeys.state), recordKeys.state)
    const ring = names?.ring ?? null
    for (const key of recordsAbove(ring)) this.#reads.set(byteString(key), key)
    return { names, recordKeys, ring }
  }

  #beget(section: Section): SectionNames {
    const { namespace } = section
    const { names: known, recordKeys } = this.#view.namespaceNames(namespace)
    assert(known === null, 'namespace expected to have no name key yet')
    this.bear(namespace, recordKeys.id === '' ? null : this.keyrings.ringFor(namespace))
    return this.#born.get(namespace)!.names.section(section.mount, this.#view.context.classOf(section))
  }

  /** Gives `namespace` a name key, under `ring`. */
  bear(namespace: string, ring: Ring | null): void {
    const { keys } = this.#view.context
    const nameKey = Uint8Array.from(this.#random.bytes(nameKeyBytes))
    const names = keys.newNames(namespace, nameKey, ring)
    this.#born.set(namespace, { names, write: { key: keys.recordKeys(namespace).names, value: nameKey, ring } })
  }

  #write(key: Uint8Array, value: Uint8Array | null, ring: Ring | null): void {
    const id = byteString(key)
    const replaced = this.#writes.get(id)
    const bytes = this.#bytes - (replaced?.value?.length ?? 0) + (value?.length ?? 0) + (replaced ? 0 : key.length + writeOverheadBytes)
    if (bytes > limits.transactionBytesMax)
      throw tooLarge('transaction', limits.transactionBytesMax, bytes, 'write less in one request, or in several')
    this.#bytes = bytes
    if (replaced === undefined) this.#unnoted.push(key)
    this.#writes.set(id, { key, value, ring })
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
