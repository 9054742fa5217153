/** What exists only while the barrier is open: root key, keyrings, name keys. Closing wipes all of it. */
import { HoldfastError, isHoldfastError, wellKnown } from '#base/errors.ts'
import type { RandomSource } from '#base/random.ts'
import { SecretBytes } from '#base/secret.ts'
import type { StateView } from '#store/types.ts'
import { decryptError, openBox, sealBox } from './aead.ts'
import { bareKey, bareNames, readBare } from './bare.ts'
import { byteString } from './bytes.ts'
import type { ChangeMemory, ViewPoint } from './cache.ts'
import { envelopeTerm } from './envelope.ts'
import type { Envelope } from './envelope.ts'
import { Keyring } from './keyring.ts'
import { LentNames } from './lent-names.ts'
import { createNameCache, isNamesRecord, NamespaceNames } from './names.ts'
import type { NameCache } from './names.ts'
import { decodeRenaming, renamingPrefix } from './renaming-record.ts'
import { hiddenNamespace, ringIdOf, ringNames } from './ring.ts'
import type { Ring } from './ring.ts'
import { Rings } from './rings.ts'

/** First part of the bare records that hold the name keys of namespaces. */
export const nameKeyPrefix = 'core/name-key/'

export function sealedError(): HoldfastError {
  return new HoldfastError('ERR_SEALED', wellKnown.sealed, { hint: 'unseal this node, or ask another one' })
}

interface KnownNames {
  readonly names: NamespaceNames
  /** As a cache entry's: views before it must not use these names. */
  readonly since: number
}

/** How a namespace's names are found: the names themselves (null: nothing was ever written there) and the records that say so. */
export interface NamesAnswer {
  readonly names: NamespaceNames | null
  readonly recordKeys: RecordKeys
}

/** Where what a namespace is opened by lies; `ring` and `state` are null for the root. */
export interface RecordKeys {
  readonly names: Uint8Array
  /** What is made of the names to come (renaming.ts), and how far that is. */
  readonly next: Uint8Array
  readonly job: Uint8Array
  readonly ring: Uint8Array | null
  readonly state: Uint8Array | null
  /** Id of its keyring, '' for the root's. */
  readonly id: string
}

const rootNamespace = 'root'

/**
 * The root key for nodes that are open while it is replaced: in a box under a key of the keyring, which only they have. A node that is sealed needs
 * none of it, since it opens the new one by the seal.
 */
export function sealHandover(keyring: Keyring, rootKey: Uint8Array, random: RandomSource): Uint8Array {
  using key = keyring.derived(handoverLabel)
  return sealBox(key.reveal(), bareNames.rootKeyHandover, rootKey, random)
}

const handoverLabel = 'root key handover'

export class OpenedKeys {
  #rootKey: SecretBytes
  readonly #envelope: Envelope
  readonly #memory: ChangeMemory
  readonly #nameCache: NameCache
  readonly #namespaces = new Map<string, KnownNames>()
  readonly #recordKeys = new Map<string, RecordKeys>()
  /** Namespaces by where their name key lies: which one the feed speaks of. */
  readonly #namespaceAt = new Map<string, string>()
  readonly #lent = new LentNames()
  /** Keyrings of namespaces that are open here. One a namespace that was used; how many there may be is their store's limit. */
  readonly rings: Rings
  readonly #namespaceIds: SecretBytes
  #keyring: Keyring
  #closed = false
  /** Views before this index are of a state that a restore or a snapshot has replaced. */
  #replacedAt = 0

  /** Takes ownership of `rootKey` and `keyring`. */
  constructor(options: {
    readonly rootKey: SecretBytes
    readonly keyring: Keyring
    readonly envelope: Envelope
    readonly memory: ChangeMemory
    readonly nameCacheBytesMax: number
  }) {
    this.#rootKey = options.rootKey
    this.#keyring = options.keyring
    this.#envelope = options.envelope
    this.#memory = options.memory
    this.#nameCache = createNameCache(options.nameCacheBytesMax)
    this.#namespaceIds = options.keyring.derived('namespace ids')
    this.rings = new Rings({
      envelope: this.#envelope,
      open: (view, key, record, ring, place) => this.open(view, key, record, ring, place),
    })
  }

  get closed(): boolean {
    return this.#closed
  }

  get keyring(): Keyring {
    return this.#keyring
  }

  get rootKey(): Uint8Array {
    return this.#rootKey.reveal()
  }

  /** @throws ERR_SEALED once closed: wiped keys would seal data that nobody can open. */
  check(): void {
    if (this.#closed) throw sealedError()
  }

  /** The keyring that `view` has; the caller wipes it. @throws ERR_DECRYPT when it is gone or does not open under our root key. */
  keyringOf(view: StateView): Keyring {
    const record = readBare(view, bareNames.keyring)
    if (record === undefined) throw decryptError(bareNames.keyring)
    try {
      return Keyring.decode(record, this.rootKey)
    } catch (error) {
      if (!isHoldfastError(error, 'ERR_DECRYPT')) throw error
      return this.#afterReplacement(view, record, error)
    }
  }

  /** The keyring under a root key that has replaced ours, which is handed over beside it. @throws `refusal` when there is none, or it is another's. */
  #afterReplacement(view: StateView, record: Uint8Array, refusal: HoldfastError): Keyring {
    const box = readBare(view, bareNames.rootKeyHandover)
    if (box === undefined) throw refusal
    using key = this.#keyring.derived(handoverLabel)
    const next = new SecretBytes(openBox(key.reveal(), bareNames.rootKeyHandover, box))
    try {
      const keyring = Keyring.decode(record, next.reveal())
      this.#rootKey[Symbol.dispose]()
      this.#rootKey = next
      return keyring
    } catch (error) {
      next[Symbol.dispose]()
      throw error
    }
  }

  /**
   * Takes over the keyring that `view` has. `replaced`: the whole state was, so that a lower version is no rollback.
   * @throws ERR_DECRYPT, also when it is older than what we hold.
   */
  reload(view: StateView, replaced: boolean): void {
    const keyring = this.keyringOf(view)
    if (!replaced && keyring.version < this.#keyring.version) {
      keyring.wipe()
      throw decryptError(bareNames.keyring)
    }
    this.#keyring.wipe()
    this.#keyring = keyring
    if (!replaced) return
    this.#replacedAt = view.meta.applied
    this.#envelope.forget()
  }

  /** Opens the record that `view` has at `key`, under `ring` (null: the root's keyring). The caller owns the value. @throws ERR_DECRYPT, ERR_NAMESPACE_SEALED. */
  open(view: StateView, key: Uint8Array, record: Uint8Array, ring: Ring | null = null, place = key): Uint8Array {
    const term = envelopeTerm(record)
    // A view can be ahead of the feed: a value of a term that we have yet to hear of comes with the keyring that has it.
    if (term !== undefined && (ring ?? this).keyring.termKey(term) === undefined) {
      if (ring === null) this.#catchUp(view)
      else this.rings.reload(view, ring, false)
    }
    return this.#envelope.open((ring ?? this).keyring, place, record)
  }

  /**
   * A view of before a restore may have terms that were added since the snapshot was saved. Taken over, they would seal what nobody could open: the restored state
   * does not have them.
   */
  #catchUp(view: StateView): void {
    if (view.meta.applied < this.#replacedAt)
      throw new HoldfastError('ERR_CONFLICT', 'the state was replaced by a restored snapshot while it was read', {
        hint: 'send the request again',
      })
    this.reload(view, false)
  }

  /** The keyring of `namespace` in `view`; null for the root's, and where it has none yet. @throws ERR_NAMESPACE_SEALED. */
  ring(view: StateView, namespace: string): Ring | null {
    const { id } = this.recordKeys(namespace)
    return id === '' ? null : this.rings.resolve(view, id)
  }

  /** The names of `namespace` as of `view`. @throws ERR_NAMESPACE_SEALED. */
  names(view: StateView, point: ViewPoint, namespace: string): NamesAnswer {
    const recordKeys = this.recordKeys(namespace)
    const known = this.#namespaces.get(namespace)
    if (known !== undefined && this.#memory.covers(point, known.since)) return { names: known.names, recordKeys }
    const ring = recordKeys.id === '' ? null : this.rings.resolve(view, recordKeys.id)
    const lent = this.#lent.lentTo(point, namespace)
    if (lent !== undefined) return { names: lent, recordKeys }
    const record = ring === null && recordKeys.id !== '' ? undefined : view.get(recordKeys.names)
    if (record === undefined) return { names: null, recordKeys }
    const made = this.open(view, recordKeys.names, record, ring)
    if (!isNamesRecord(made)) throw decryptError('a name key')
    const names = this.newNames(namespace, made, ring, this.#namesToCome(view, namespace, recordKeys, ring))
    if (!this.#keep(namespace, names, point, recordKeys)) this.#lent.lend(point, namespace, names)
    return { names, recordKeys }
  }

  /** Those that keys are being copied to; null where none are. */
  #namesToCome(view: StateView, namespace: string, { next }: RecordKeys, ring: Ring | null): NamespaceNames | null {
    const record = view.get(next)
    if (record === undefined) return null
    const { phase, names } = decodeRenaming(this.open(view, next, record, ring))
    if (phase === 'copying') return this.newNames(namespace, names, ring)
    names.fill(0)
    return null
  }

  /** Not before the feed has heard of all that the names hang on: an earlier view must not use them, nor may a change go by unheard. False then. */
  #keep(namespace: string, names: NamespaceNames, point: ViewPoint, { names: key, next, ring, state }: RecordKeys): boolean {
    const ids = [key, next, ring, state].flatMap((each) => (each === null ? [] : [byteString(each)]))
    if (!ids.every((id) => this.#memory.current(point, id))) return false
    const before = this.#namespaces.get(namespace)
    this.#namespaces.set(namespace, { names, since: Math.max(...ids.map((id) => this.#memory.lastChange(id))) })
    if (before !== undefined) this.#lent.retire(before.names)
    return true
  }

  /** Told by each view, so that what it alone uses is wiped when it ends. */
  viewBegan(point: ViewPoint): void {
    this.#lent.begin(point)
  }

  viewEnded(point: ViewPoint): void {
    this.#lent.end(point)
  }

  /** Names that are made from `record`. Takes ownership of it, and of `next`. */
  newNames(namespace: string, record: Uint8Array, ring: Ring | null, next: NamespaceNames | null = null): NamespaceNames {
    return new NamespaceNames(namespace, record, this.#nameCache, ring, next)
  }

  /** Wipes the keyring `id` and what stands under it, with their names. The ids of those that were open. */
  closeRing(id: string): readonly string[] {
    const closed = this.rings.close(id)
    if (closed.length === 0) return closed
    for (const [namespace, { names }] of this.#namespaces) {
      if (names.ring?.closed !== true) continue
      names.wipe()
      this.#namespaces.delete(namespace)
    }
    this.#lent.wipe(({ ring }) => ring?.closed === true)
    this.#nameCache.clear()
    for (const each of closed) this.#envelope.forget(each)
    return closed
  }

  /** The name key at `key` changed, or is to, or all of them: read again. Wiped once what is in flight on an older view has ended. */
  forgetNames(key?: Uint8Array): void {
    const changed = key === undefined ? [...this.#namespaces.keys()] : [this.#namespaceAt.get(byteString(key)) ?? '']
    for (const namespace of changed) {
      const known = this.#namespaces.get(namespace)
      this.#namespaces.delete(namespace)
      if (known !== undefined) this.#lent.retire(known.names)
    }
  }

  recordKeys(namespace: string): RecordKeys {
    const known = this.#recordKeys.get(namespace)
    if (known !== undefined) return known
    const hidden = hiddenNamespace(this.#namespaceIds, namespace)
    const names = bareKey(nameKeyPrefix + hidden)
    const at = { names, next: bareKey(`${nameKeyPrefix}${hidden}/next`), job: bareKey(renamingPrefix + hidden) }
    const id = namespace === rootNamespace ? '' : ringIdOf(hidden)
    const keys: RecordKeys =
      id === ''
        ? { ...at, ring: null, state: null, id }
        : { ...at, ring: bareKey(ringNames.keyring(id)), state: bareKey(ringNames.state(id)), id }
    this.#recordKeys.set(namespace, keys)
    for (const key of [keys.names, keys.next]) this.#namespaceAt.set(byteString(key), namespace)
    return keys
  }

  /** Wipes everything. What still runs gets ERR_SEALED at its next step. */
  close(): void {
    this.#closed = true
    this.#rootKey[Symbol.dispose]()
    this.#keyring.wipe()
    this.rings.closeAll()
    this.#namespaceIds[Symbol.dispose]()
    for (const { names } of this.#namespaces.values()) names.wipe()
    this.#namespaces.clear()
    this.#lent.wipe(() => true)
    this.#recordKeys.clear()
    this.#namespaceAt.clear()
    this.#nameCache.clear()
    this.#envelope.forget()
  }
}
