/**
 * Records that must be readable while the barrier is sealed: how it is sealed, the wrapped root key, the keyring's ciphertext,
 * the cluster's CA certificate. They lie under clear names in a key class of their own, replicated like everything else; what
 * is secret in them is ciphertext by itself.
 */
import type { Op, StateView } from '#store/types.ts'
import type { SectionBatch } from '#replica/types.ts'
import { concatBytes } from './bytes.ts'

/** First byte of every physical key: where it may go, so that filters need no knowledge of engines. Below 0x10 is the store's own. */
export const KeyClass = { everywhere: 0x20, thisCluster: 0x30, bare: 0x40 } as const
export type KeyClass = (typeof KeyClass)[keyof typeof KeyClass]

export const bareNames = {
  sealConfig: 'core/seal-config',
  rootKey: 'core/root-key',
  keyring: 'core/keyring',
  clusterCa: 'core/cluster-ca',
  /** The present root key for nodes that were open when it was replaced: in a box under a key of the keyring (opened.ts). */
  rootKeyHandover: 'core/root-key-handover',
  /** PGP-encrypted shares that a rekey was asked to keep, in a box under a key of the keyring. */
  unsealKeysBackup: 'core/unseal-keys-backup',
  recoveryKeysBackup: 'core/recovery-keys-backup',
  /** From which snapshot the state was restored last; in the clear, so that a node that is sealed can say so. */
  restored: 'core/restored',
} as const

const classPrefix = new Uint8Array([KeyClass.bare])

/** The physical key of the bare record `name`. */
export function bareKey(name: string): Uint8Array {
  return concatBytes(classPrefix, Buffer.from(name))
}

/** The bare record `name` in `view`, owned by the caller; undefined when absent. Works on a sealed node. */
export function readBare(view: StateView, name: string): Uint8Array | undefined {
  return view.get(bareKey(name))
}

/** Bare records as one section of a proposal; `null` deletes. */
export function bareBatch(records: Readonly<Record<string, Uint8Array | null>>): SectionBatch {
  const ops: Op[] = Object.entries(records).map(([name, value]) => ({ key: bareKey(name), value }))
  return { section: classPrefix, ops }
}
