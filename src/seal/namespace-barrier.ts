/** One namespace's keys in the shape in which the seal's manager and the rekey know the cluster's: so that a namespace's shares are taken by the same code. */
import { bareNames } from '#barrier/bare.ts'
import type { Barrier, BarrierControl, NamespaceKeys, NamespaceSealRecord, SealChange, Transaction } from '#barrier/types.ts'
import { HoldfastError } from '#base/errors.ts'
import type { SecretBytes } from '#base/secret.ts'
import type { SealBarrier } from './types.ts'

type KeyedBarrier = Pick<Barrier, 'transact' | 'sealed'> & Pick<BarrierControl, 'namespaces' | 'onSealChange'>

const recordOf: Readonly<Record<string, NamespaceSealRecord>> = {
  [bareNames.sealConfig]: 'sealConfig',
  [bareNames.rootKey]: 'rootKey',
  [bareNames.unsealKeysBackup]: 'backup',
}

const named = <T>(records: Readonly<Record<string, T>>): Partial<Record<NamespaceSealRecord, T>> =>
  Object.fromEntries(Object.entries(records).map(([name, value]) => [recordFor(name), value]))

function recordFor(name: string): NamespaceSealRecord {
  const record = recordOf[name]
  if (record === undefined)
    throw new HoldfastError('ERR_INTERNAL', "a record of a namespace's seal expected, got one that only the root has")
  return record
}

const onlyRoot = (): never => {
  throw new HoldfastError('ERR_INTERNAL', 'a step of a namespace expected, got one that only the root has')
}

/** The namespace is open here, and to be. */
export function namespaceBarrier(barrier: KeyedBarrier, namespace: string): SealBarrier {
  const keys: NamespaceKeys = barrier.namespaces
  const sealed = (): boolean => keys.status(namespace)?.sealed !== false
  const change = ({ records, expected, rootKey }: SealChange): Promise<void> =>
    barrier.transact(async ({ keyrings }: Transaction) =>
      keyrings?.changeSeal(namespace, {
        records: named(records),
        expected: named(expected),
        ...(rootKey === undefined ? {} : { rootKey }),
      }),
    )
  return {
    get sealed() {
      return barrier.sealed || sealed()
    },
    readBare: (name) => {
      if (name === bareNames.keyring) return keys.status(namespace) === null ? null : new Uint8Array(0)
      const record = recordOf[name]
      return record === undefined ? null : keys.read(namespace, record)
    },
    open: (rootKey: SecretBytes) => keys.open(namespace, rootKey),
    isRootKey: (rootKey) => keys.isRootKey(namespace, rootKey),
    derivedKey: (label) => keys.derivedKey(namespace, label),
    changeSeal: change,
    writeBare: (records) => change({ records, expected: {} }),
    initialize: onlyRoot,
    /** What a namespace is sealed by is a record that all nodes apply: nothing is left to do here. */
    seal: () => {},
    onSealChange: (listener) => {
      const ends = [
        barrier.onSealChange((nowSealed) => nowSealed && listener(true)),
        keys.onChange((closed) => closed !== null && (barrier.sealed || sealed()) && listener(true)),
      ]
      return () => {
        for (const end of ends) end()
      }
    },
  }
}
