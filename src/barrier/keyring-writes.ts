/** What a transaction does to namespaces' keys. All of it is bare records, in the transaction's own commit. */
import { HoldfastError } from '#base/errors.ts'
import type { RandomSource } from '#base/random.ts'
import { equalSecrets, SecretBytes } from '#base/secret.ts'
import { bareKey } from './bare.ts'
import { concatBytes } from './bytes.ts'
import { Keyring } from './keyring.ts'
import { nameKeyBytes, nextNamesRecord } from './names.ts'
import { encodeJob, encodeRenaming } from './renaming-record.ts'
import { renamingUnderWay } from './renaming.ts'
import { encodeRingState, Protection, Ring, ringHead, ringNames, ringPlace, type RingState } from './ring.ts'
import { recordsAbove, sealRingHandover } from './rings.ts'
import type { CollectingTransaction } from './transaction.ts'
import type { KeyringWrites, NamespaceSealChange, NamespaceSealRecord, OwnSeal } from './types.ts'
import type { OpenedView } from './view.ts'

const none = new Uint8Array(0)

const sealRecords = (id: string): Record<NamespaceSealRecord, string> => ({
  sealConfig: ringNames.sealConfig(id),
  rootKey: ringNames.rootKey(id),
  backup: ringNames.backup(id),
})

/** Where the record `name` of the seal of the keyring `id` lies. */
export const sealRecordName = (id: string, name: NamespaceSealRecord): string => sealRecords(id)[name]

export class TransactionKeyrings implements KeyringWrites {
  readonly #transaction: CollectingTransaction
  readonly #view: OpenedView
  readonly #random: RandomSource
  /** Made here: open for this transaction's own writes. */
  readonly #born = new Map<string, Ring>()

  constructor(transaction: CollectingTransaction, view: OpenedView, random: RandomSource) {
    this.#transaction = transaction
    this.#view = view
    this.#random = random
  }

  create(namespace: string, parent: string, seal?: OwnSeal): void {
    const id = this.#id(namespace)
    const standing = this.#transaction.read(bareKey(ringNames.keyring(id))) ?? this.#transaction.read(bareKey(ringNames.destroyed(id)))
    if (standing !== undefined || this.#born.has(id))
      throw new HoldfastError('ERR_CONFLICT', 'a namespace expected to have no keys yet, got one that has', {
        hint: 'ids of namespaces are given once: try again',
      })
    const parentRing = this.#idOf(parent) === '' ? null : this.#open(parent)
    const keyring = Keyring.create(this.#random, this.#transaction.nowMs, id)
    const ring = new Ring(keyring, parentRing, seal === undefined ? null : new SecretBytes(Uint8Array.from(seal.rootKey.reveal())))
    this.#born.set(id, ring)
    this.#put(ring)
    if (seal !== undefined) {
      this.#record(ringNames.sealConfig(id), seal.sealConfig)
      this.#record(ringNames.rootKey(id), seal.wrappedRootKey)
      this.#state(id, { sealed: false, generation: 1 })
    }
    this.#transaction.bear(namespace, ring)
  }

  /** For a namespace that is written to without having been created: under the root's keyring. */
  ringFor(namespace: string): Ring {
    const id = this.#id(namespace)
    const born = this.#born.get(id)
    if (born !== undefined) return born
    const known = this.#resolve(namespace)
    if (known !== null) return known
    const ring = new Ring(Keyring.create(this.#random, this.#transaction.nowMs, id), null, null)
    this.#born.set(id, ring)
    this.#put(ring)
    return ring
  }

  rotate(namespace: string): number {
    const ring = this.#open(namespace)
    const { keyring } = this.#view.context.keys.rings.keyringOf(this.#view.state, ring)
    const next = keyring.rotated(this.#random, this.#transaction.nowMs)
    keyring.wipe()
    try {
      this.#put(ring, next)
      return next.activeTerm
    } finally {
      next.wipe()
    }
  }

  setSealed(namespace: string, sealed: boolean): void {
    const id = this.#id(namespace)
    const before = this.#transaction.read(bareKey(ringNames.state(id)))
    const state = before === undefined ? null : this.#view.context.keys.rings.state(this.#view.state, id)
    if (state === null) throw noOwnSeal()
    // Said again although it is sealed already: a leader that took the shares and could not commit that may have its key open until it hears of this.
    this.#state(id, { sealed, generation: state.generation + 1 })
  }

  changeSeal(namespace: string, { records, expected, rootKey }: NamespaceSealChange): void {
    const id = this.#id(namespace)
    for (const [name, value] of Object.entries(expected)) {
      const found = this.#transaction.read(bareKey(sealRecordName(id, name as NamespaceSealRecord)))
      if (value === null ? found !== undefined : found === undefined || !equalSecrets(found, value)) throw sealMoved()
    }
    for (const [name, value] of Object.entries(records)) this.#record(sealRecordName(id, name as NamespaceSealRecord), value)
    if (rootKey === undefined) return
    const ring = this.#open(namespace)
    if (!ring.ownSeal) throw noOwnSeal()
    const { keyring: current } = this.#view.context.keys.rings.keyringOf(this.#view.state, ring)
    const next = current.reissued()
    try {
      this.#record(ringNames.handover(id), sealRingHandover(current, rootKey.reveal(), this.#random))
      const parent = ring.parent?.id ?? ''
      const sealed = next.encode(rootKey.reveal(), this.#random, ringPlace(id, parent))
      this.#record(ringNames.keyring(id), concatBytes(ringHead(Protection.ownSeal, parent), sealed))
    } finally {
      current.wipe()
      next.wipe()
    }
  }

  destroy(namespace: string): boolean {
    const id = this.#id(namespace)
    if (this.#transaction.read(bareKey(ringNames.keyring(id))) === undefined) return false
    const { names, next, job } = this.#view.context.keys.recordKeys(namespace)
    for (const key of [names, next, job]) this.#transaction.record({ key, bytes: null })
    for (const name of [
      ringNames.keyring(id),
      ringNames.state(id),
      ringNames.sealConfig(id),
      ringNames.rootKey(id),
      ringNames.handover(id),
      ringNames.backup(id),
    ])
      this.#record(name, null)
    this.#record(ringNames.destroyed(id), new Uint8Array([1]))
    return true
  }

  renewNames(namespace: string): void {
    const { state, context } = this.#view
    const { recordKeys, ring } = this.#transaction.whole(namespace)
    const sealed = this.#transaction.read(recordKeys.names)
    if (sealed === undefined) throw noKeys()
    if (this.#transaction.read(recordKeys.next) !== undefined) throw renamingUnderWay()
    const before = context.keys.open(state, recordKeys.names, sealed, ring)
    const nameKey = this.#random.bytes(nameKeyBytes)
    const next = nextNamesRecord(before, nameKey)
    for (const spent of [before, nameKey]) spent.fill(0)
    if (next === null)
      throw new HoldfastError('ERR_BAD_REQUEST', 'a namespace expected to have had fewer than 256 name keys before another, got as many', {
        hint: 'each leaves 32 bytes behind: change it less often',
      })
    const value = encodeRenaming('copying', next)
    next.fill(0)
    this.#transaction.record({ key: recordKeys.next, sealed: { value, ring, place: recordKeys.next, head: none } })
    const job = encodeJob({ namespace, keys: 0, from: none })
    this.#transaction.record({ key: recordKeys.job, sealed: { value: job, ring: null, place: recordKeys.job, head: none } })
  }

  underOwnSeal(namespace: string): boolean {
    if (this.#idOf(namespace) === '') return false
    try {
      let ring = this.#born.get(this.#idOf(namespace)) ?? this.#resolve(namespace)
      while (ring !== null && !ring.ownSeal) ring = ring.parent
      return ring !== null
    } catch {
      // Sealed, or destroyed, since the request was let in.
      return true
    }
  }

  /** Keyrings with their own seal that were made here: who committed them keeps them open. The others are wiped. */
  takeOwnSealed(): readonly Ring[] {
    const taken = [...this.#born.values()].filter((ring) => ring.ownSeal)
    for (const ring of taken) this.#born.delete(ring.id)
    return taken
  }

  end(): void {
    for (const ring of this.#born.values()) ring.close()
    this.#born.clear()
  }

  #idOf(namespace: string): string {
    return this.#view.context.keys.recordKeys(namespace).id
  }

  /** @throws ERR_BAD_REQUEST for the root, whose keys are the cluster's. */
  #id(namespace: string): string {
    const id = this.#idOf(namespace)
    if (id !== '') return id
    throw new HoldfastError('ERR_BAD_REQUEST', "a namespace other than the root expected: the root's keys are the cluster's", {
      hint: 'operator seal, unseal and rotate are for the root',
    })
  }

  #resolve(namespace: string): Ring | null {
    this.#view.check()
    const { ring, state } = this.#view.context.keys.recordKeys(namespace)
    if (ring !== null) this.#transaction.read(ring)
    if (state !== null) this.#transaction.read(state)
    const found = this.#view.context.keys.ring(this.#view.state, namespace)
    for (const key of recordsAbove(found)) this.#transaction.read(key)
    return found
  }

  #open(namespace: string): Ring {
    const born = this.#born.get(this.#id(namespace))
    if (born !== undefined) return born
    const ring = this.#resolve(namespace)
    if (ring !== null) return ring
    throw noKeys()
  }

  /** The record of `ring`, with `keyring` in place of its own. */
  #put(ring: Ring, keyring = ring.keyring): void {
    const key = bareKey(ringNames.keyring(ring.id))
    const parent = ring.parent?.id ?? ''
    const head = ringHead(ring.protection, parent)
    if (ring.ownSeal) {
      const sealed = keyring.encode(ring.rootKey, this.#random, ringPlace(ring.id, parent))
      return this.#transaction.record({ key, bytes: concatBytes(head, sealed) })
    }
    this.#transaction.record({ key, sealed: { value: keyring.plain(), ring: ring.parent, place: concatBytes(key, head), head } })
  }

  #state(id: string, state: RingState): void {
    const key = bareKey(ringNames.state(id))
    this.#transaction.record({ key, sealed: { value: encodeRingState(state), ring: null, place: key, head: none } })
  }

  #record(name: string, bytes: Uint8Array | null): void {
    this.#transaction.record({ key: bareKey(name), bytes })
  }
}

function noKeys(): HoldfastError {
  return new HoldfastError('ERR_NOT_FOUND', 'a namespace with keys expected, got one that has none yet', {
    hint: 'write something into it',
  })
}

function noOwnSeal(): HoldfastError {
  return new HoldfastError('ERR_BAD_REQUEST', 'namespace expected to have a seal of its own, got one that has none', {
    hint: 'a namespace is given its seal when it is created; the namespaces in it are sealed with it',
  })
}

function sealMoved(): HoldfastError {
  return new HoldfastError('ERR_CONFLICT', "the namespace's seal expected to stand still, got another change of it", {
    hint: 'a rekey came in between: nothing was changed by this one, begin it again',
  })
}
