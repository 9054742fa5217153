/** The namespaces' keyrings that are open on this node, and how one is found in a view. */
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { SecretBytes } from '#base/secret.ts'
import type { RandomSource } from '#base/random.ts'
import type { StateView } from '#store/types.ts'
import { decryptError, openBox, sealBox } from './aead.ts'
import { bareKey, readBare } from './bare.ts'
import { concatBytes } from './bytes.ts'
import type { Envelope } from './envelope.ts'
import { Keyring } from './keyring.ts'
import { decodeRing, decodeRingState, namespaceSealed, Protection, Ring, ringHead, ringNames, ringPlace } from './ring.ts'
import type { RingRecord, RingState } from './ring.ts'

/** Keyrings that stand under one another: more than namespaces may be nested. */
const depthMax = 64
const handoverLabel = 'root key handover'

export interface RingsOptions {
  readonly envelope: Envelope
  /** As OpenedKeys.open. */
  readonly open: (view: StateView, key: Uint8Array, record: Uint8Array, ring: Ring | null, place?: Uint8Array) => Uint8Array
}

/** A namespace's next root key for nodes that have it open: in a box under a key of its keyring (as the root's, opened.ts). */
export function sealRingHandover(keyring: Keyring, rootKey: Uint8Array, random: RandomSource): Uint8Array {
  using key = keyring.derived(handoverLabel)
  return sealBox(key.reveal(), ringNames.handover(keyring.id), rootKey, random)
}

/**
 * The records of the keyrings that `ring` stands under, and of whether they are open: who writes under it has read them, or what was sealed before an outer namespace was
 * could be committed after it.
 */
export function* recordsAbove(ring: Ring | null): Generator<Uint8Array> {
  for (let above = ring?.parent ?? null; above !== null; above = above.parent) {
    yield bareKey(ringNames.keyring(above.id))
    yield bareKey(ringNames.state(above.id))
  }
}

export class Rings {
  readonly #options: RingsOptions
  readonly #open = new Map<string, Ring>()

  constructor(options: RingsOptions) {
    this.#options = options
  }

  /** The keyring `id` if it is open here. */
  known(id: string): Ring | undefined {
    return this.#open.get(id)
  }

  ids(): readonly string[] {
    return [...this.#open.keys()]
  }

  record(view: StateView, id: string): RingRecord | null {
    const record = readBare(view, ringNames.keyring(id))
    return record === undefined ? null : decodeRing(record)
  }

  /** How its own seal is to stand; null for what has none. @throws ERR_DECRYPT. */
  state(view: StateView, id: string): RingState | null {
    const record = readBare(view, ringNames.state(id))
    return record === undefined ? null : decodeRingState(this.#options.open(view, bareKey(ringNames.state(id)), record, null))
  }

  /**
   * The keyring `id` as of `view`, opened where it stands under one that is open; null when there is none.
   * @throws ERR_NAMESPACE_SEALED when it, or what it stands under, is sealed or not open here; ERR_NAMESPACE_DESTROYED; ERR_DECRYPT.
   */
  resolve(view: StateView, id: string, depth = 0): Ring | null {
    if (depth > depthMax) throw decryptError("a namespace's keyring")
    const record = this.record(view, id)
    if (record === null) {
      if (readBare(view, ringNames.destroyed(id)) !== undefined) throw destroyed()
      return null
    }
    const parent = record.parent === '' ? null : this.resolve(view, record.parent, depth + 1)
    if (parent === null && record.parent !== '') throw namespaceSealed() // Destroyed with what it stood under.
    if (record.protection === Protection.ownSeal && this.state(view, id)?.sealed !== false) throw namespaceSealed()
    const known = this.#open.get(id)
    if (known !== undefined) return known
    if (record.protection === Protection.ownSeal) throw namespaceSealed()
    const ring = new Ring(this.#under(view, id, record, parent), parent, null)
    this.#open.set(id, ring)
    return ring
  }

  /** Opens a namespace's own seal, here alone: `rootKey`, which is taken, and wiped where it does not open. @throws ERR_DECRYPT, ERR_NAMESPACE_SEALED. */
  open(view: StateView, id: string, rootKey: SecretBytes): Ring {
    try {
      const record = this.record(view, id)
      if (record === null || record.protection !== Protection.ownSeal) throw decryptError("a namespace's keyring")
      const parent = record.parent === '' ? null : this.resolve(view, record.parent, 1)
      const keyring = Keyring.decode(record.sealed, rootKey.reveal(), ringPlace(id, record.parent), id)
      const known = this.#open.get(id)
      if (known !== undefined) {
        keyring.wipe()
        rootKey[Symbol.dispose]()
        return known
      }
      const ring = new Ring(keyring, parent, rootKey)
      this.#open.set(id, ring)
      return ring
    } catch (error) {
      rootKey[Symbol.dispose]()
      throw error
    }
  }

  /** Takes what a transaction of this node has just committed. */
  adopt(ring: Ring): void {
    if (this.#open.has(ring.id)) return ring.close()
    this.#open.set(ring.id, ring)
  }

  /** The keyring that `view` has, for a ring that is open; the caller wipes it. @throws ERR_DECRYPT. */
  keyringOf(view: StateView, ring: Ring): { readonly keyring: Keyring; readonly rootKey?: SecretBytes } {
    const record = this.record(view, ring.id)
    if (record === null || record.protection !== ring.protection || record.parent !== (ring.parent?.id ?? ''))
      throw decryptError("a namespace's keyring")
    if (record.protection === Protection.parent) return { keyring: this.#under(view, ring.id, record, ring.parent) }
    const place = ringPlace(ring.id, record.parent)
    try {
      return { keyring: Keyring.decode(record.sealed, ring.rootKey, place, ring.id) }
    } catch (error) {
      const box = readBare(view, ringNames.handover(ring.id))
      if (!isHoldfastError(error, 'ERR_DECRYPT') || box === undefined) throw error
      using key = ring.keyring.derived(handoverLabel)
      const rootKey = new SecretBytes(openBox(key.reveal(), ringNames.handover(ring.id), box))
      try {
        return { keyring: Keyring.decode(record.sealed, rootKey.reveal(), place, ring.id), rootKey }
      } catch (mismatch) {
        rootKey[Symbol.dispose]()
        throw mismatch
      }
    }
  }

  /** Takes over the keyring that `view` has. `replaced`: the whole state was, so that a lower version is no rollback. @throws ERR_DECRYPT. */
  reload(view: StateView, ring: Ring, replaced: boolean): void {
    const { keyring, rootKey } = this.keyringOf(view, ring)
    if (!replaced && keyring.version < ring.keyring.version) {
      keyring.wipe()
      rootKey?.[Symbol.dispose]()
      throw decryptError("a namespace's keyring")
    }
    ring.replace(keyring, rootKey)
  }

  /** Closes `id` and all that stand under it; the ids of those that were open. */
  close(id: string): readonly string[] {
    const closed: string[] = []
    for (const ring of this.#open.values()) {
      for (let at: Ring | null = ring; at !== null; at = at.parent)
        if (at.id === id) {
          closed.push(ring.id)
          break
        }
    }
    for (const each of closed) {
      this.#open.get(each)?.close()
      this.#open.delete(each)
    }
    return closed
  }

  closeAll(): void {
    for (const ring of this.#open.values()) ring.close()
    this.#open.clear()
  }

  #under(view: StateView, id: string, { parent: parentId, sealed }: RingRecord, parent: Ring | null): Keyring {
    const key = bareKey(ringNames.keyring(id))
    const place = concatBytes(key, ringHead(Protection.parent, parentId))
    return Keyring.parse(this.#options.open(view, key, sealed, parent, place), id)
  }
}

function destroyed(): HoldfastError {
  return new HoldfastError('ERR_NAMESPACE_SEALED', 'namespace is destroyed: its keys are gone', {
    hint: 'nothing opens it any more; what it held is being deleted',
  })
}
