/**
 * A namespace's keyring: its own terms and its own derivation key, of which nothing comes from another keyring. So a value, a name or a keyring of one
 * namespace opens under no other's keys, wherever somebody puts it.
 *
 *   `core/namespace-keyring/ID`: format 1 | protection u8 | parent 8 | the keyring (keyring.ts)
 *       under the parent: in an envelope under the parent's keyring, bound to this key and to what stands before it
 *       own seal: in a box under a root key of the namespace's own, which its own shares wrap; the root's keys do not open it
 *   `core/namespace-seal/ID`, in an envelope under the root's keyring, of those with their own seal: version 1 | sealed u8 | generation u32
 *   `core/namespace-destroyed/ID`: the keys are gone; what they sealed is still to be deleted
 *
 * ID is 8 bytes of HMAC-SHA256 of the namespace's id, in hex, under a key derived from the root's keyring: who holds the disk can't tell names.
 */
import { createHmac } from 'node:crypto'
import { assert } from '#base/assert.ts'
import { HoldfastError } from '#base/errors.ts'
import { checkVersion } from '#base/formats.ts'
import { SecretBytes } from '#base/secret.ts'
import { decryptError } from './aead.ts'
import { bareKey } from './bare.ts'
import { concatBytes } from './bytes.ts'
import type { Keyring } from './keyring.ts'

const format = 1
const tagBytes = 8
const headBytes = 1 + 1 + tagBytes
const stateVersion = 1
const stateBytes = 1 + 1 + 4

/** Bare records of a namespace's keys, by what stands before the id. */
export const ringPrefixes = {
  keyring: 'core/namespace-keyring/',
  state: 'core/namespace-seal/',
  destroyed: 'core/namespace-destroyed/',
} as const

/** Names of the bare records of the keyring `id`. */
export const ringNames = {
  keyring: (id: string) => ringPrefixes.keyring + id,
  state: (id: string) => ringPrefixes.state + id,
  destroyed: (id: string) => ringPrefixes.destroyed + id,
  sealConfig: (id: string) => `core/namespace-seal-config/${id}`,
  rootKey: (id: string) => `core/namespace-root-key/${id}`,
  handover: (id: string) => `core/namespace-root-key-handover/${id}`,
  backup: (id: string) => `core/namespace-unseal-keys-backup/${id}`,
} as const

/** Where the note of how often a keyring's term has sealed lies (uses.ts); the root's: `keyUsesKey`. */
export function ringUsesKey(id: string, keyringTerm: number): Uint8Array {
  return bareKey(`core/namespace-key-uses/${id}/${keyringTerm}`)
}

export const Protection = { parent: 1, ownSeal: 2 } as const
export type Protection = (typeof Protection)[keyof typeof Protection]

export interface RingRecord {
  readonly protection: Protection
  /** Id of the keyring that it stands under, '' the root's: where that is closed, this one is too. */
  readonly parent: string
  readonly sealed: Uint8Array
}

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const noParent = '0'.repeat(2 * tagBytes)

/** What stands before the sealed keyring, and is bound into it. */
export function ringHead(protection: Protection, parent: string): Uint8Array {
  return concatBytes(new Uint8Array([format, protection]), Buffer.from(parent === '' ? noParent : parent, 'hex'))
}

/** The place that an own seal's box is bound to. */
export function ringPlace(id: string, parent: string): string {
  return `${ringNames.keyring(id)} in ${parent}`
}

export function decodeRing(record: Uint8Array): RingRecord {
  if (!checkVersion("a namespace's keyring", format, record[0]) || record.length < headBytes) throw decryptError("a namespace's keyring")
  const protection = record[1]
  if (protection !== Protection.parent && protection !== Protection.ownSeal) throw decryptError("a namespace's keyring")
  const parent = hexOf(record.subarray(2, headBytes))
  return { protection, parent: parent === noParent ? '' : parent, sealed: record.subarray(headBytes) }
}

/** Whether a namespace with its own seal is to be open, and the how manieth opening or sealing that was. */
export interface RingState {
  readonly sealed: boolean
  readonly generation: number
}

export function encodeRingState({ sealed, generation }: RingState): Uint8Array {
  const record = new Uint8Array(stateBytes)
  record[0] = stateVersion
  record[1] = sealed ? 1 : 0
  new DataView(record.buffer).setUint32(2, generation)
  return record
}

/** @throws ERR_UPGRADE_REQUIRED for a version that is not known; ERR_DECRYPT for what is no such record. */
export function decodeRingState(record: Uint8Array): RingState {
  if (!checkVersion("a namespace's seal", stateVersion, record[0]) || record.length !== stateBytes) throw decryptError("a namespace's seal")
  return { sealed: record[1] !== 0, generation: new DataView(record.buffer, record.byteOffset).getUint32(2) }
}

/** The id of the keyring of `namespace`; `hidden`: under the key for the ids of namespaces. */
export function ringIdOf(hidden: string): string {
  return hidden.slice(0, 2 * tagBytes)
}

/** What names a namespace on the disk: 32 hex digits. */
export function hiddenNamespace(key: SecretBytes, namespace: string): string {
  return createHmac('sha256', key.reveal()).update(namespace).digest('hex').slice(0, 32)
}

export function namespaceSealed(): HoldfastError {
  return new HoldfastError('ERR_NAMESPACE_SEALED', 'namespace is sealed', {
    hint: 'it has a seal of its own, or lies in one that has: holdfast namespace unseal, with its own shares',
  })
}

/** One namespace's keyring, open on this node. */
export class Ring {
  readonly id: string
  /** What its sections begin with. */
  readonly tag: Uint8Array
  /** null: the root's keyring. */
  readonly parent: Ring | null
  /** null: it stands under its parent's keyring. */
  #rootKey: SecretBytes | null
  #keyring: Keyring
  #closed = false

  /** Takes ownership of `keyring` and `rootKey`. */
  constructor(keyring: Keyring, parent: Ring | null, rootKey: SecretBytes | null) {
    assert(keyring.id.length === 2 * tagBytes, 'the id of a namespace keyring expected 16 digits')
    this.id = keyring.id
    this.tag = new Uint8Array(Buffer.from(keyring.id, 'hex'))
    this.parent = parent
    this.#keyring = keyring
    this.#rootKey = rootKey
  }

  get closed(): boolean {
    return this.#closed
  }

  get ownSeal(): boolean {
    return this.#rootKey !== null
  }

  get keyring(): Keyring {
    return this.#keyring
  }

  /** Still the ring's. */
  get rootKey(): Uint8Array {
    assert(this.#rootKey !== null, 'a root key expected of a namespace with its own seal')
    return this.#rootKey.reveal()
  }

  /** The record's head and its keyring, sealed: by `envelope` under the parent, or by its own root key. */
  get protection(): Protection {
    return this.#rootKey === null ? Protection.parent : Protection.ownSeal
  }

  /** @throws ERR_NAMESPACE_SEALED once closed: wiped keys would seal data that nobody can open. */
  check(): void {
    if (this.#closed) throw namespaceSealed()
  }

  /** Goes on with `keyring`, a later version of its own, which it takes; and with another root key where one is given. */
  replace(keyring: Keyring, rootKey?: SecretBytes): void {
    this.#keyring.wipe()
    this.#keyring = keyring
    if (rootKey === undefined) return
    this.#rootKey?.[Symbol.dispose]()
    this.#rootKey = rootKey
  }

  /** Wipes its keys. What still runs in it gets ERR_NAMESPACE_SEALED at its next step. */
  close(): void {
    this.#closed = true
    this.#keyring.wipe()
    this.#rootKey?.[Symbol.dispose]()
  }
}
