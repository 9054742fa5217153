/** A mount's own corner of a view or a transaction. */
import { HoldfastError } from '#base/errors.ts'
import { parseOwnJson } from '#base/exact-json.ts'
import type { ListOptions, ReadView, Section, Transaction } from '#barrier/types.ts'
import type { MountStorage } from './types.ts'

const decoder = new TextDecoder('utf-8', { fatal: true })

/** What `encodeStored` made, each number as the client sent it. @throws ERR_STORE_CORRUPT when it is none: the value opened, so that is our bug, not an attack. */
export function parseStored<T>(value: Uint8Array, what: string): T {
  try {
    return parseOwnJson(decoder.decode(value)) as T
  } catch {
    throw new HoldfastError('ERR_STORE_CORRUPT', `expected ${what} to be JSON`)
  }
}

export const encodeStored = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value))

/** Storage of `section` that can be read only: the path's table said that it does not write. */
export function readOnlyStorage(view: ReadView, section: Section): MountStorage {
  const refuse = (): never => {
    throw new HoldfastError('ERR_INTERNAL', 'expected a path that says it writes, got a write in a read-only view')
  }
  return {
    ...readerOf(view, section),
    put: refuse,
    putJson: refuse,
    delete: refuse,
    deleteTree: async () => refuse(),
  }
}

/** Storage of `section` within `transaction`. */
export function transactionStorage(transaction: Transaction, section: Section): MountStorage {
  return {
    ...readerOf(transaction, section),
    put: (path, value) => transaction.put(section, path, value),
    putJson: (path, value) => transaction.put(section, path, encodeStored(value)),
    delete: (path) => transaction.delete(section, path),
    deleteTree: (prefix, keysMax) => transaction.deleteTree(section, prefix, keysMax),
  }
}

function readerOf(view: ReadView, section: Section): Pick<MountStorage, 'get' | 'getJson' | 'list'> {
  return {
    get: (path) => view.get(section, path),
    async getJson<T>(path: string): Promise<T | null> {
      const value = await view.get(section, path)
      return value === null ? null : parseStored<T>(value, 'a stored value')
    },
    list: (prefix: string, options?: ListOptions) => view.list(section, prefix, options),
  }
}

/** For local and outside handlers, which have no view: every use is an error. */
export function noStorage(code: 'ERR_SEALED' | 'ERR_INTERNAL'): MountStorage {
  const refuse = (): never => {
    throw new HoldfastError(code, code === 'ERR_SEALED' ? 'Vault is sealed' : 'expected no storage on this path')
  }
  return {
    get: async () => refuse(),
    getJson: async () => refuse(),
    list: async () => refuse(),
    put: refuse,
    putJson: refuse,
    delete: refuse,
    deleteTree: async () => refuse(),
  }
}
