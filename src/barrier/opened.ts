/** What exists only while the barrier is open: root key, keyring, name keys. Closing wipes all of it. */
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
import { createNameCache, nameKeyBytes, NamespaceNames } from './names.ts'
import type { NameCache } from './names.ts'
import { createHmac } from 'node:crypto'

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

/** How a namespace's names are found: the names themselves (null: nothing was ever written there) and the record that says so. */
export interface NamesAnswer {
  readonly names: NamespaceNames | null
  readonly recordKey: Uint8Array
}

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
  readonly #recordKeys = new Map<string, Uint8Array>()
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

  /** Opens the record that `view` has at `key`. The caller owns the value. @throws ERR_DECRYPT. */
  open(view: StateView, key: Uint8Array, record: Uint8Array): Uint8Array {
    const term = envelopeTerm(record)
    // A view can be ahead of the feed: a value of a term that we have yet to hear of comes with the keyring that has it.
    if (term !== undefined && this.#keyring.termKey(term) === undefined) this.#catchUp(view)
    return this.#envelope.open(this.#keyring, key, record)
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

  /** The names of `namespace` as of `view`. */
  names(view: StateView, point: ViewPoint, namespace: string): NamesAnswer {
    const recordKey = this.#recordKey(namespace)
    const known = this.#namespaces.get(namespace)
    if (known !== undefined && this.#memory.covers(point, known.since)) return { names: known.names, recordKey }
    const record = view.get(recordKey)
    if (record === undefined) return { names: null, recordKey }
    const nameKey = this.open(view, recordKey, record)
    if (nameKey.length !== nameKeyBytes) throw decryptError('a name key')
    const names = this.newNames(namespace, nameKey)
    const id = byteString(recordKey)
    if (this.#memory.current(point, id)) this.#namespaces.set(namespace, { names, since: this.#memory.lastChange(id) })
    return { names, recordKey }
  }

  /** Names under a name key that is not stored yet. Takes ownership of the key. */
  newNames(namespace: string, nameKey: Uint8Array): NamespaceNames {
    return new NamespaceNames(namespace, nameKey, this.#nameCache)
  }

  /** Name keys changed: read them again. Not wiped: transactions in flight may still use them on an older view. */
  forgetNames(): void {
    this.#namespaces.clear()
  }

  #recordKey(namespace: string): Uint8Array {
    const known = this.#recordKeys.get(namespace)
    if (known !== undefined) return known
    const hidden = createHmac('sha256', this.#namespaceIds.reveal()).update(namespace).digest('hex').slice(0, 32)
    const key = bareKey(nameKeyPrefix + hidden)
    this.#recordKeys.set(namespace, key)
    return key
  }

  /** Wipes everything. What still runs gets ERR_SEALED at its next step. */
  close(): void {
    this.#closed = true
    this.#rootKey[Symbol.dispose]()
    this.#keyring.wipe()
    this.#namespaceIds[Symbol.dispose]()
    for (const { names } of this.#namespaces.values()) names.wipe()
    this.#namespaces.clear()
    this.#recordKeys.clear()
    this.#nameCache.clear()
    this.#envelope.forget()
  }
}
