/**
 * Where a path lies: physical keys that say nothing of names, in an order that still lets a folder be listed.
 *
 *   class 1 | section 16 | element*      element = kind 1 | length u16 | AES-SIV(segment)
 *
 * A section is one mount of one namespace: 16 bytes of HMAC-SHA256; outside the root the first 8 of them are the namespace's own (the id of its keyring,
 * ring.ts), so that what a destroyed namespace left can be deleted although nobody can tell its mounts any more. A segment is hidden by AES-SIV (RFC 5297; deterministic, so
 * that a path can be looked up; authenticated, so that a renamed key is noticed), with its parent's whole physical prefix and its
 * kind as associated data: equal names in different folders look unrelated. Each element says its length, so no folder's prefix
 * is a prefix of another's, a folder's children form one contiguous range, and leaf 'a' and folder 'a/' are different keys.
 * What remains visible to who holds the disk: how many keys and folders there are, which of them are of one namespace, how long names and values are, and what is
 * written when.
 *
 * The name key of a namespace stands outside the keyring's terms: rotation must not move a key.
 */
import { createHmac } from 'node:crypto'
import { SecretBytes } from '#base/secret.ts'
import { decryptError, deriveKey } from './aead.ts'
import { KeyClass } from './bare.ts'
import { byteString, concatBytes } from './bytes.ts'
import { BoundedLru } from '#base/lru.ts'
import { leafSegments, pathSegments } from './paths.ts'
import type { Ring } from './ring.ts'
import { sivOpen, sivSeal } from './siv.ts'

export const nameKeyBytes = 64
/** Length of a section's prefix: class and section id. */
export const sectionBytes = 17
const elementHeadBytes = 3
const Kind = { leaf: 0x01, folder: 0x02 } as const
type Kind = (typeof Kind)[keyof typeof Kind]

function associated(prefix: Uint8Array, kind: Kind): Uint8Array {
  const aad = new Uint8Array(prefix.length + 1)
  aad.set(prefix)
  aad[prefix.length] = kind
  return aad
}

/** Where the element that begins at `start` ends. */
function elementEnd(key: Uint8Array, start: number): number {
  return start + elementHeadBytes + (((key[start + 1] ?? 0) << 8) | (key[start + 2] ?? 0))
}

/** Where each element of `key` ends: needs no name key, so a feed can say which folders a key lies in. */
export function* childEnds(key: Uint8Array): Generator<number> {
  if (key[0] === KeyClass.bare) return
  for (let end = sectionBytes; end < key.length;) {
    end = elementEnd(key, end)
    if (end <= key.length) yield end
  }
}

/** One child of a folder, as read from the key of anything at or below it. */
export interface Child {
  /** Plaintext, with a trailing '/' if it is a folder. */
  readonly name: string
  readonly folder: boolean
  /** The child's own physical key, or its prefix if it is a folder. */
  readonly key: Uint8Array
}

/** Hidden prefixes and keys by plaintext path, for all namespaces of one barrier: AES-SIV costs 5 us a segment. */
export type NameCache = BoundedLru<string, Uint8Array>

/** @param bytesMax 0: none is kept. */
export function createNameCache(bytesMax: number): NameCache {
  return new BoundedLru({ weightMax: bytesMax })
}

/** The paths of one mount in one namespace. */
export class SectionNames {
  /** Class and section id: what all keys of this section begin with. */
  readonly root: Uint8Array
  /** What its values are sealed under; null: the root's keyring. */
  readonly ring: Ring | null
  readonly #key: SecretBytes
  readonly #cache: NameCache
  readonly #cachePrefix: string

  constructor(root: Uint8Array, key: SecretBytes, cache: NameCache, cachePrefix: string, ring: Ring | null = null) {
    this.root = root
    this.ring = ring
    this.#key = key
    this.#cache = cache
    this.#cachePrefix = cachePrefix
  }

  /** Physical key of the value at `path`; shared, not to be modified. @throws as pathSegments. */
  leaf(path: string): Uint8Array {
    const known = this.#cache.get(this.#cachePrefix + path)
    if (known !== undefined) return known
    const segments = leafSegments(path)
    const parent = this.#prefix(segments, segments.length - 1)
    return this.#element(parent, Kind.leaf, segments.at(-1) ?? '', path)
  }

  /** What the keys of everything below folder `path` begin with ('' is the section's root); shared, not to be modified. */
  folder(path: string): Uint8Array {
    if (path === '') return this.root
    const known = this.#cache.get(`${this.#cachePrefix}${path}/`)
    if (known !== undefined) return known
    const segments = pathSegments(path)
    return this.#prefix(segments, segments.length)
  }

  /**
   * The child of folder `prefix` that `key`, a key of the store below `prefix`, is or lies below.
   * @throws ERR_DECRYPT when the key was not made for this place.
   */
  child(prefix: Uint8Array, key: Uint8Array): Child {
    const end = elementEnd(key, prefix.length)
    const complete = key[prefix.length] === Kind.leaf ? key.length === end : key.length > end
    if (!complete) throw decryptError('a stored name')
    return this.childAt(prefix, key.subarray(0, end))
  }

  /** The child of folder `prefix` whose own key (a leaf's) or prefix (a folder's) is `key`. @throws ERR_DECRYPT. */
  childAt(prefix: Uint8Array, key: Uint8Array): Child {
    const kind = key[prefix.length]
    if (kind !== Kind.leaf && kind !== Kind.folder) throw decryptError('a stored name')
    if (key.length !== elementEnd(key, prefix.length)) throw decryptError('a stored name')
    const opened = sivOpen(this.#key.reveal(), associated(prefix, kind), key.subarray(prefix.length + elementHeadBytes))
    if (opened === null) throw decryptError('a stored name')
    const name = opened.toString('utf8')
    return kind === Kind.folder ? { name: `${name}/`, folder: true, key } : { name, folder: false, key }
  }

  /** The prefix of the folder that the first `count` segments name. */
  #prefix(segments: readonly string[], count: number): Uint8Array {
    if (count === 0) return this.root
    const path = `${segments.slice(0, count).join('/')}/`
    const known = this.#cache.get(this.#cachePrefix + path)
    if (known !== undefined) return known
    return this.#element(this.#prefix(segments, count - 1), Kind.folder, segments[count - 1] ?? '', path)
  }

  #element(parent: Uint8Array, kind: Kind, segment: string, path: string): Uint8Array {
    const hidden = sivSeal(this.#key.reveal(), associated(parent, kind), Buffer.from(segment))
    const head = new Uint8Array([kind, hidden.length >> 8, hidden.length & 0xff])
    const key = concatBytes(parent, head, hidden)
    const cacheKey = this.#cachePrefix + path
    this.#cache.set(cacheKey, key, 2 * cacheKey.length + key.length + 200)
    return key
  }
}

const sectionNamesMax = 4_096

/** The names of one namespace, under its name key. Takes ownership of the key. */
export class NamespaceNames {
  readonly #key: SecretBytes
  readonly #sectionKey: SecretBytes
  readonly #cache: NameCache
  readonly #sections = new BoundedLru<string, SectionNames>({ weightMax: sectionNamesMax })
  readonly #generation: string
  readonly #namespace: string
  /** null: the root's. */
  readonly ring: Ring | null

  constructor(namespace: string, key: Uint8Array, cache: NameCache, ring: Ring | null = null) {
    this.#namespace = namespace
    this.ring = ring
    // Two name keys of one namespace (before and after a restore) must not meet in the cache: their entries begin with this.
    this.#generation = byteString(deriveKey(key, 'holdfast name cache v1', 16))
    this.#key = new SecretBytes(key)
    this.#sectionKey = new SecretBytes(deriveKey(key, 'holdfast section v1'))
    this.#cache = cache
  }

  section(mount: string, keyClass: KeyClass): SectionNames {
    const known = this.#sections.get(`${keyClass}/${mount}`)
    if (known !== undefined) return known
    const id = createHmac('sha256', this.#sectionKey.reveal())
      .update(JSON.stringify(['section', this.#namespace, mount]))
      .digest()
    const own = this.ring?.tag ?? new Uint8Array(0)
    const root = concatBytes(new Uint8Array([keyClass]), own, id.subarray(0, sectionBytes - 1 - own.length))
    const names = new SectionNames(root, this.#key, this.#cache, `${this.#generation}\0${keyClass}\0${mount}\0`, this.ring)
    this.#sections.set(`${keyClass}/${mount}`, names)
    return names
  }

  wipe(): void {
    this.#key[Symbol.dispose]()
    this.#sectionKey[Symbol.dispose]()
    this.#sections.clear()
  }
}
