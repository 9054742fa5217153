/**
 * Namespaces' keys on one node: which are open, which are to be and are not, and what the feed says of them. Sealing a namespace is a record that all nodes
 * apply; opening it is one too, after which each node that has the root open asks another for the key (node/namespace-keys.ts): in the log there is none.
 */
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import { equalSecrets, SecretBytes } from '#base/secret.ts'
import type { StateView } from '#store/types.ts'
import { bareKey, KeyClass, readBare } from './bare.ts'
import { byteString, rangeEnd } from './bytes.ts'
import { sealRecordName } from './keyring-writes.ts'
import type { OpenedKeys } from './opened.ts'
import { Protection, ringPrefixes, ringUsesKey, type Ring, type RingState } from './ring.ts'
import { CollectingTransaction } from './transaction.ts'
import { anyRenaming, renamingStatus, renamingStep } from './renaming.ts'
import type { NamespaceKeys, NamespaceKeyStatus, NamespaceSealRecord, NamesRenewal, Transaction } from './types.ts'

export interface BarrierNamespacesOptions {
  /** @throws ERR_SEALED. */
  readonly keys: () => OpenedKeys
  readonly view: () => StateView
  readonly transact: <T>(work: (transaction: Transaction) => Promise<T>) => Promise<T>
  readonly encryptions: (keys: OpenedKeys, view: StateView, ring: Ring) => number
  /** Opened values and names of whatever lies below the key `prefix`. */
  readonly forget: (prefix: string) => void
  readonly log: Logger
}

const idBytes = 8
/** What a mention of a keyring in a bare record's name begins with. */
const prefixes = [ringPrefixes.keyring, ringPrefixes.state].map((prefix) => ({ prefix, start: byteString(bareKey(prefix)) }))
const statesFrom = bareKey(ringPrefixes.state)
const destroyedFrom = bareKey(ringPrefixes.destroyed)
const classes = [KeyClass.everywhere, KeyClass.thisCluster]

export class BarrierNamespaces implements NamespaceKeys {
  readonly #options: BarrierNamespacesOptions
  readonly #listeners = new Set<(closed: readonly string[] | null) => void>()
  /** Own seals, as the feed says that they are to be. Read anew whenever the barrier is opened or the whole state was replaced. */
  readonly #states = new Map<string, RingState>()
  /** Of which the feed has spoken since the last scan began: what that one finds in its older view says nothing of them. */
  readonly #heard = new Set<string>()
  /** One more with each opening, sealing and replacement: a scan of before says nothing of now. */
  #life = 0
  /** The life that `#states` is whole for. */
  #scanned = 0

  constructor(options: BarrierNamespacesOptions) {
    this.#options = options
  }

  /** The barrier was opened. */
  begin(): void {
    this.#life++
  }

  /** The barrier was sealed: all keys are wiped already. */
  end(): void {
    this.#life++
    this.#states.clear()
  }

  /** A namespace's own seal was opened, or is to be. */
  opened(): void {
    this.#tell(null)
  }

  /** The feed: `key`, a bare one, has changed. */
  applied(keys: OpenedKeys, key: Uint8Array): void {
    const name = byteString(key)
    for (const { start, prefix } of prefixes) {
      if (!name.startsWith(start)) continue
      const view = this.#options.view()
      try {
        this.#changed(keys, view, name.slice(start.length), prefix === ringPrefixes.state)
      } finally {
        view.release()
      }
    }
  }

  /** The whole state is another. */
  replaced(keys: OpenedKeys, view: StateView): void {
    for (const id of keys.rings.ids()) this.#changed(keys, view, id, false, true)
    this.#states.clear()
    this.begin()
  }

  #changed(keys: OpenedKeys, view: StateView, id: string, stateChanged: boolean, replaced = false): void {
    try {
      if (stateChanged || replaced) {
        this.#heard.add(id)
        const state = keys.rings.state(view, id)
        if (state === null) this.#states.delete(id)
        else this.#states.set(id, state)
        if (state?.sealed === true) return this.#close(keys, id, 'sealed')
        if (state !== null) this.#tell(null)
      }
      const ring = keys.rings.known(id)
      if (ring === undefined) return
      if (keys.rings.record(view, id) === null) return this.#close(keys, id, 'destroyed')
      keys.rings.reload(view, ring, replaced)
    } catch (error) {
      this.#options.log.warn(
        { keyring: id, error: isHoldfastError(error) ? error.code : 'unknown' },
        "a namespace's keyring does not open any more: closing it here",
      )
      this.#close(keys, id, 'closed')
    }
  }

  #close(keys: OpenedKeys, id: string, how: string): void {
    const closed = keys.closeRing(id)
    if (closed.length === 0) return
    for (const each of closed)
      for (const keyClass of classes) this.#options.forget(byteString(new Uint8Array([keyClass, ...Buffer.from(each, 'hex')])))
    this.#options.log.info({ keyring: id, keyrings: closed.length }, `a namespace is ${how}`)
    this.#tell(closed)
  }

  async refresh(): Promise<void> {
    const life = this.#life
    if (this.#scanned === life) return
    const keys = this.#options.keys()
    this.#heard.clear()
    const view = this.#options.view()
    const cursor = view.keyCursor(statesFrom, rangeEnd(statesFrom))
    try {
      for (let key = await cursor.next(); key !== undefined && this.#life === life; key = await cursor.next()) {
        const id = byteString(key).slice(statesFrom.length)
        // What the feed has said meanwhile is newer.
        const state = this.#states.has(id) || this.#heard.has(id) ? null : this.#stateOrNull(keys, view, id)
        if (state !== null) this.#states.set(id, state)
      }
      if (this.#life === life) this.#scanned = life
    } finally {
      await cursor.close()
      view.release()
    }
  }

  /** One that can't be read keeps the keys of the others from nobody. */
  #stateOrNull(keys: OpenedKeys, view: StateView, id: string): ReturnType<OpenedKeys['rings']['state']> {
    try {
      return keys.rings.state(view, id)
    } catch (error) {
      if (!isHoldfastError(error, 'ERR_DECRYPT')) throw error
      this.#options.log.warn({ keyring: id, error: error.code }, "whether a namespace is to be open can't be read: it stays closed here")
      return null
    }
  }

  status(namespace: string): NamespaceKeyStatus | null {
    return this.#look((keys, view) => {
      const { id } = keys.recordKeys(namespace)
      const record = id === '' ? null : keys.rings.record(view, id)
      if (record === null) return null
      const state = keys.rings.state(view, id)
      const ring = openOrNull(() => keys.rings.resolve(view, id))
      return {
        sealed: ring === null,
        ownSeal: record.protection === Protection.ownSeal,
        wanted: state?.sealed !== true,
        generation: state?.generation ?? 0,
        keyringTerm: ring?.keyring.activeTerm ?? null,
        keyringTermCreatedMs: ring?.keyring.activeSinceMs ?? null,
        encryptions: ring === null ? 0 : this.#options.encryptions(keys, view, ring),
      }
    })
  }

  keyringId(namespace: string): string {
    return this.#options.keys().recordKeys(namespace).id
  }

  read(namespace: string, record: NamespaceSealRecord): Uint8Array | null {
    return this.#look((keys, view) => readBare(view, sealRecordName(keys.recordKeys(namespace).id, record)) ?? null)
  }

  open(namespace: string, rootKey: SecretBytes): void {
    this.#look((keys, view) => keys.rings.open(view, keys.recordKeys(namespace).id, rootKey))
    this.#tell(null)
  }

  closeUnsaid(namespace: string): void {
    this.#look((keys, view) => {
      const { id } = keys.recordKeys(namespace)
      if (id !== '' && keys.rings.state(view, id)?.sealed === true)
        this.#close(keys, id, 'closed again: that it was opened was never committed')
    })
  }

  isRootKey(namespace: string, rootKey: Uint8Array): boolean {
    return this.#look((keys, view) => {
      const ring = keys.ring(view, namespace)
      return ring !== null && ring.ownSeal && equalSecrets(ring.rootKey, rootKey)
    })
  }

  derivedKey(namespace: string, label: string): SecretBytes {
    return this.#look((keys, view) => {
      const ring = keys.ring(view, namespace)
      if (ring === null) throw new HoldfastError('ERR_NOT_FOUND', 'a namespace with keys expected, got one that has none yet')
      return ring.keyring.derived(label)
    })
  }

  wanted(): readonly string[] {
    if (this.#states.size === 0) return []
    const keys = this.#options.keys()
    return [...this.#states].filter(([id, { sealed }]) => !sealed && keys.rings.known(id) === undefined).map(([id]) => id)
  }

  generationOf(id: string): number | null {
    const state = this.#states.get(id)
    return state === undefined || state.sealed ? null : state.generation
  }

  rootKeyFor(id: string, generation: number): SecretBytes | null {
    return this.#look((keys, view) => {
      const ring = keys.rings.known(id)
      const state = keys.rings.state(view, id)
      if (ring === undefined || ring.closed || !ring.ownSeal || state === null) return null
      return state.sealed || state.generation !== generation ? null : new SecretBytes(Uint8Array.from(ring.rootKey))
    })
  }

  openById(id: string, rootKey: SecretBytes): boolean {
    const opened = this.#look((keys, view) => {
      if (keys.rings.state(view, id)?.sealed !== false) {
        rootKey[Symbol.dispose]()
        return false
      }
      return openOrNull(() => keys.rings.open(view, id, rootKey)) !== null
    })
    if (opened) this.#tell(null)
    return opened
  }

  sweepDestroyed(keysMax: number): Promise<number> {
    return this.#options.transact(async (transaction) => {
      const collecting = transaction as CollectingTransaction
      for await (const { id, marker } of collecting.idsBelow(destroyedFrom)) {
        const left = await this.#leftOf(collecting, id, keysMax)
        for (const key of left) collecting.erase(key)
        if (left.length < keysMax) collecting.record({ key: marker, bytes: null })
        return Math.max(1, left.length)
      }
      return 0
    })
  }

  namesRenewal(namespace: string): NamesRenewal | null {
    return this.#look((keys, view) => renamingStatus(keys, view, namespace))
  }

  async renewNamesStep(keysMax: number): Promise<NamesRenewal | null> {
    const view = this.#options.view()
    try {
      // Asked every second: where there is nothing to do it costs no read index.
      if (!(await anyRenaming(view))) return null
    } finally {
      view.release()
    }
    let left = 2 * keysMax
    const step = await this.#options.transact((transaction) => {
      // Half as many with each conflict: keys that are written all the time would let no large step come through.
      left = Math.max(1, left >> 1)
      return renamingStep(transaction as CollectingTransaction, left)
    })
    if (step?.done)
      this.#options.log.info(
        { namespace: step.namespace, keys: step.keys },
        'a namespace has another name key, and nothing left under the one before',
      )
    return step
  }

  async #leftOf(transaction: CollectingTransaction, id: string, keysMax: number): Promise<Uint8Array[]> {
    const tag = Buffer.from(id, 'hex')
    const places = classes.map((keyClass) => new Uint8Array([keyClass, ...tag.subarray(0, idBytes)]))
    const uses = ringUsesKey(id, 0).subarray(0, -1)
    const left: Uint8Array[] = []
    for (const place of [...places, uses]) left.push(...(await transaction.keysFrom(place, keysMax - left.length)))
    return left
  }

  counts(): { readonly open: number; readonly sealed: number } {
    let open = 0
    try {
      const { rings } = this.#options.keys()
      for (const [id, { sealed }] of this.#states) if (!sealed && rings.known(id) !== undefined) open++
    } catch (error) {
      if (!isHoldfastError(error, 'ERR_SEALED')) throw error
    }
    return { open, sealed: this.#states.size - open }
  }

  onChange(listener: (closed: readonly string[] | null) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #tell(closed: readonly string[] | null): void {
    for (const listener of this.#listeners) {
      try {
        listener(closed)
      } catch (error) {
        this.#options.log.error(
          { error: error instanceof Error ? error.message : 'unknown' },
          'a listener to the sealing of namespaces failed',
        )
      }
    }
  }

  #look<T>(work: (keys: OpenedKeys, view: StateView) => T): T {
    const keys = this.#options.keys()
    const view = this.#options.view()
    try {
      return work(keys, view)
    } finally {
      view.release()
    }
  }
}

/** null where it is sealed, or does not open. */
function openOrNull(open: () => Ring | null): Ring | null {
  try {
    return open()
  } catch (error) {
    if (isHoldfastError(error, 'ERR_NAMESPACE_SEALED') || isHoldfastError(error, 'ERR_DECRYPT')) return null
    throw error
  }
}
