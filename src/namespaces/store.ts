/**
 * Namespaces in the barrier, in the section {root, 'sys/namespace'}:
 *
 *   child/PARENT/NAME   the namespace; PARENT is the id of the one that it lies in
 *   id/ID               its path
 *   deleting/ID         one that is being deleted
 *   count               how many there are
 *
 * Every request reads the records on its way from its own view, one a level: so it never resolves by an older tree than the data that it sees, and
 * a namespace that goes while a write is evaluated is a conflict. The bytes come from the barrier's memory, which the apply feed keeps; what is parsed
 * from them is kept beside them and compared, which needs no invalidation.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { assert } from '#base/assert.ts'
import { HoldfastError } from '#base/errors.ts'
import { BoundedLru } from '#base/lru.ts'
import { randomBase62, randomUuid, type RandomSource } from '#base/random.ts'
import type { ListOptions, ReadView, Section, Transaction } from '#barrier/types.ts'
import { checkNamespaceMetadata, checkNamespaceName, namespaceLimits, namespaceSegments } from './names.ts'
import { decodeNamespace, encodeNamespace, namespaceName, rootNamespace, type Namespace } from './record.ts'

const section: Section = { namespace: 'root', mount: 'sys/namespace' }
const idChars = 6
const unlockKeyChars = 24
const parsedMax = 16_384

/** How far down a path leads. */
export interface Walk {
  /** From the root down; the last one is the deepest that was found. */
  readonly line: readonly Namespace[]
  /** What of the path is no namespace; '' when all of it is. */
  readonly rest: string
}

export interface NamespaceStore {
  /** The child of that name, in whatever state; null when there is none. One read. */
  child(view: ReadView, parentId: string, name: string): Promise<Namespace | null>
  /** From `line`'s last namespace as far down `path` as there are namespaces that can be used. One read a level. */
  walk(view: ReadView, line: readonly Namespace[], path: string): Promise<Walk>
  /** As `child`, by the last record that was read here: a guess, never for answering. */
  lastSeen(parentId: string, name: string): Namespace | null
  /** The namespace of a full path, in whatever state; the root for ''. */
  byPath(view: ReadView, path: string): Promise<Namespace | null>
  /** null when there is none of that id. */
  byId(view: ReadView, id: string): Promise<Namespace | null>
  /** Names of the children, in order, those that are being deleted too. */
  childNames(view: ReadView, parentId: string, options?: ListOptions): Promise<string[]>
  /** Ids of all but the root, in order. */
  ids(view: ReadView, options?: ListOptions): Promise<string[]>
  /** All but the root. */
  count(view: ReadView): Promise<number>
  /** There must be none of that name. @throws ERR_BAD_REQUEST: a name or metadata that can't be, too deep, too many; ERR_NAMESPACE_DELETING. */
  create(transaction: Transaction, parent: Namespace, name: string, metadata: Readonly<Record<string, unknown>>): Promise<Namespace>
  /** @throws ERR_BAD_REQUEST for metadata that can't be kept. */
  setMetadata(transaction: Transaction, namespace: Namespace, metadata: Readonly<Record<string, unknown>>): Namespace
  /** Its API answers nothing from now on. The key that unlocks it is in this result and nowhere else. @throws ERR_BAD_REQUEST: locked already, or the root. */
  lock(transaction: Transaction, namespace: Namespace): Promise<string>
  /** `key` null: whoever asks may do without. @throws ERR_BAD_REQUEST: it is not locked, or by another key. */
  unlock(transaction: Transaction, namespace: Namespace, key: string | null): void
  /** Nothing reaches it from now on. @throws ERR_NAMESPACE_NOT_EMPTY with children. */
  beginDelete(transaction: Transaction, namespace: Namespace): Promise<Namespace>
  /** Of those that are being deleted, the first behind the id `after`, '' for the first of all; null when there is none. */
  nextDeleting(view: ReadView, after?: string): Promise<Namespace | null>
  /** Takes the record away: the last step of deleting it. */
  remove(transaction: Transaction, namespace: Namespace): Promise<void>
  /** The barrier sealed: nothing opened stays. */
  onSealed(): void
}

const childPath = (parentId: string, name: string): string => `child/${parentId}/${name}`
const textOf = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
const hashOf = (key: string): string => createHash('sha256').update(key).digest('hex')
const bad = (message: string, hint?: string): HoldfastError =>
  new HoldfastError('ERR_BAD_REQUEST', message, hint === undefined ? {} : { hint })

/** What can't be a name is no namespace: it may not even be a segment of a path in storage. */
const couldBeName = (name: string): boolean => name !== '' && name.length <= namespaceLimits.nameBytesMax && name !== '.' && name !== '..'
const isId = (id: string): boolean => /^[0-9A-Za-z]{1,32}$/.test(id)

/** One a process (or thread): it keeps a cache and nothing else. */
export function createNamespaceStore({ random }: { readonly random: RandomSource }): NamespaceStore {
  const parsed = new BoundedLru<string, { readonly bytes: Uint8Array; readonly namespace: Namespace }>({ weightMax: parsedMax })

  async function child(view: ReadView, parentId: string, name: string): Promise<Namespace | null> {
    if (!couldBeName(name)) return null
    const path = childPath(parentId, name)
    const bytes = await view.get(section, path)
    if (bytes === null) return null
    const known = parsed.get(path)
    if (known && (known.bytes === bytes || Buffer.compare(known.bytes, bytes) === 0)) return known.namespace
    const namespace = decodeNamespace(bytes)
    parsed.set(path, { bytes: new Uint8Array(bytes), namespace })
    return namespace
  }

  async function byPath(view: ReadView, path: string): Promise<Namespace | null> {
    let found: Namespace = rootNamespace
    for (const name of namespaceSegments(path)) {
      const next = await child(view, found.id, name)
      if (next === null) return null
      found = next
    }
    return found
  }

  async function byId(view: ReadView, id: string): Promise<Namespace | null> {
    if (id === rootNamespace.id) return rootNamespace
    const path = isId(id) ? await view.get(section, `id/${id}`) : null
    return path === null ? null : byPath(view, textOf(path))
  }

  async function count(view: ReadView): Promise<number> {
    const stored = await view.get(section, 'count')
    return stored === null ? 0 : Number(textOf(stored))
  }

  function put(transaction: Transaction, namespace: Namespace): Namespace {
    transaction.put(section, childPath(namespace.parentId!, namespaceName(namespace)), encodeNamespace(namespace))
    return namespace
  }

  async function newId(transaction: Transaction): Promise<string> {
    for (;;) {
      const id = randomBase62(random, idChars)
      if (id !== rootNamespace.id && (await transaction.get(section, `id/${id}`)) === null) return id
    }
  }

  return {
    child,
    byPath,
    byId,
    count,
    lastSeen: (parentId, name) => parsed.get(childPath(parentId, name))?.namespace ?? null,
    childNames: (view, parentId, options = {}) => view.list(section, `child/${parentId}`, options),
    ids: (view, options = {}) => view.list(section, 'id', options),
    onSealed: () => parsed.clear(),

    async walk(view, from, path) {
      const segments = namespaceSegments(path)
      const line = [...from]
      let at = 0
      for (; at < segments.length; at += 1) {
        const next = await child(view, line.at(-1)!.id, segments[at]!)
        if (next === null || next.state !== 'active') break
        line.push(next)
      }
      return { line, rest: segments.slice(at).join('/') }
    },

    async create(transaction, parent, name, metadata) {
      checkNamespaceName(name)
      const path = `${parent.path}${name}/`
      const { depthMax, pathBytesMax, countMax } = namespaceLimits
      const depth = namespaceSegments(path).length
      if (depth > depthMax) throw bad(`namespaces inside each other expected at most ${depthMax}, got ${depth}`)
      if (Buffer.byteLength(path) > pathBytesMax)
        throw bad(`namespace path expected at most ${pathBytesMax} bytes, got ${Buffer.byteLength(path)}`)
      const present = await child(transaction, parent.id, name)
      if (present?.state === 'deleting') throw beingDeleted(present)
      assert(present === null, 'namespace expected to be new')
      const before = await count(transaction)
      if (before >= countMax) throw bad(`namespaces expected at most ${countMax}, got another`)
      const namespace: Namespace = {
        id: await newId(transaction),
        uuid: randomUuid(random),
        path,
        parentId: parent.id,
        customMetadata: checkNamespaceMetadata(metadata),
        state: 'active',
        lock: null,
        createdMs: transaction.nowMs,
      }
      transaction.put(section, `id/${namespace.id}`, Buffer.from(path))
      transaction.put(section, 'count', Buffer.from(String(before + 1)))
      return put(transaction, namespace)
    },

    setMetadata: (transaction, namespace, metadata) => put(transaction, { ...namespace, customMetadata: checkNamespaceMetadata(metadata) }),

    async lock(transaction, namespace) {
      if (namespace.parentId === null) throw bad('root namespace cannot be locked')
      if (namespace.lock !== null) throw bad(`cannot lock namespace "${namespace.path}": is already locked`)
      const key = randomBase62(random, unlockKeyChars)
      put(transaction, { ...namespace, lock: hashOf(key) })
      return key
    },

    unlock(transaction, namespace, key) {
      if (namespace.parentId === null) throw bad('root namespace cannot be unlocked')
      if (namespace.lock === null) throw bad(`namespace "${namespace.path}" is not locked`)
      if (key !== null && !timingSafeEqual(Buffer.from(hashOf(key)), Buffer.from(namespace.lock))) {
        throw bad('incorrect unlock key', 'the one that the lock answered; with sudo on this path none is needed')
      }
      put(transaction, { ...namespace, lock: null })
    },

    async beginDelete(transaction, namespace) {
      if (namespace.parentId === null) throw bad('root namespace cannot be deleted')
      const [first] = await transaction.list(section, `child/${namespace.id}`, { limit: 1 })
      if (first !== undefined) {
        throw new HoldfastError('ERR_NAMESPACE_NOT_EMPTY', 'unable to delete namespace containing child namespaces', {
          hint: 'delete them first, the innermost before the others',
        })
      }
      transaction.put(section, `deleting/${namespace.id}`, Uint8Array.of(1))
      return put(transaction, { ...namespace, state: 'deleting' })
    },

    async nextDeleting(view, after = '') {
      const [id] = await view.list(section, 'deleting', { limit: 1, ...(after === '' ? {} : { after }) })
      return id === undefined ? null : byId(view, id)
    },

    async remove(transaction, namespace) {
      transaction.delete(section, childPath(namespace.parentId!, namespaceName(namespace)))
      transaction.delete(section, `id/${namespace.id}`)
      transaction.delete(section, `deleting/${namespace.id}`)
      transaction.put(section, 'count', Buffer.from(String(Math.max(0, (await count(transaction)) - 1))))
    },
  }
}

/** It is there, and can't be changed any more. */
export const beingDeleted = ({ path }: Namespace): HoldfastError =>
  new HoldfastError('ERR_NAMESPACE_DELETING', `namespace "${path}" is being deleted`, {
    hint: 'try again when sys/namespaces no longer lists it',
  })
