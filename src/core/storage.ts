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
export const readOnlyStorage = (view: ReadView, section: Section): MountStorage => new ReadOnlyStorage(view, section)

/** Storage of `section` within `transaction`. */
export const transactionStorage = (transaction: Transaction, section: Section): MountStorage => new TransactionStorage(transaction, section)

/** Classes, since each request makes one: seven functions and an object spread were dearer than what they do. */
class ReadOnlyStorage implements MountStorage {
  readonly #view: ReadView
  readonly #section: Section

  constructor(view: ReadView, section: Section) {
    this.#view = view
    this.#section = section
  }

  get(path: string): Promise<Uint8Array | null> {
    return this.#view.get(this.#section, path)
  }

  async getJson<T>(path: string): Promise<T | null> {
    const value = await this.#view.get(this.#section, path)
    return value === null ? null : parseStored<T>(value, 'a stored value')
  }

  list(prefix: string, options?: ListOptions): Promise<string[]> {
    return this.#view.list(this.#section, prefix, options)
  }

  put(_path: string, _value: Uint8Array): void {
    refuseWrite()
  }

  putJson(_path: string, _value: unknown): void {
    refuseWrite()
  }

  delete(_path: string): void {
    refuseWrite()
  }

  async deleteTree(_prefix: string, _keysMax: number): Promise<number> {
    return refuseWrite()
  }
}

class TransactionStorage extends ReadOnlyStorage {
  readonly #transaction: Transaction
  readonly #written: Section

  constructor(transaction: Transaction, section: Section) {
    super(transaction, section)
    this.#transaction = transaction
    this.#written = section
  }

  override put(path: string, value: Uint8Array): void {
    this.#transaction.put(this.#written, path, value)
  }

  override putJson(path: string, value: unknown): void {
    this.#transaction.put(this.#written, path, encodeStored(value))
  }

  override delete(path: string): void {
    this.#transaction.delete(this.#written, path)
  }

  override deleteTree(prefix: string, keysMax: number): Promise<number> {
    return this.#transaction.deleteTree(this.#written, prefix, keysMax)
  }
}

function refuseWrite(): never {
  throw new HoldfastError('ERR_INTERNAL', 'expected a path that says it writes, got a write in a read-only view')
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
