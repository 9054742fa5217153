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
 * The name key of a namespace stands outside the keyring's terms: rotation must not move a key. Another one moves all of them, in steps (renaming.ts). A section's id
 * is then made from what it was before, so that whoever moves them need not know the mounts.
 */
import { createHmac } from 'node:crypto'
import { SecretBytes } from '#base/secret.ts'
import { decryptError, deriveKey, keyBytes } from './aead.ts'
import { KeyClass } from './bare.ts'
import { concatBytes } from './bytes.ts'
import { BoundedLru } from '#base/lru.ts'
import { PackedCache } from './packed.ts'
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

/** The key of `segment` below `parent`. */
function element(key: SecretBytes, parent: Uint8Array, kind: Kind, segment: Uint8Array): Uint8Array {
  const hidden = sivSeal(key.reveal(), associated(parent, kind), segment)
  return concatBytes(parent, new Uint8Array([kind, hidden.length >> 8, hidden.length & 0xff]), hidden)
}

/** A section's id from its name, or from its id under the name key before; `own`: what stands before it. */
function sectionId(key: SecretBytes, of: Uint8Array, own: Uint8Array): Uint8Array {
  return createHmac('sha256', key.reveal())
    .update(of)
    .digest()
    .subarray(0, sectionBytes - 1 - own.length)
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
export type NameCache = PackedCache

/** @param bytesMax 0: none is kept. */
export function createNameCache(bytesMax: number): NameCache {
  return new PackedCache(bytesMax)
}

/** Longer paths are hidden anew each time. */
const cachedPathCharsMax = 1_024
/** The key of one look-up: what stands before a section's paths, then the path. UTF-8 takes three bytes a character at most. */
const scratch = Buffer.alloc(64 + 3 * cachedPathCharsMax)

/** The paths of one mount in one namespace. */
export class SectionNames {
  /** Class and section id: what all keys of this section begin with. */
  readonly root: Uint8Array
  /** What its values are sealed under; null: the root's keyring. */
  readonly ring: Ring | null
  readonly #key: SecretBytes
  readonly #cache: NameCache
  readonly #cachePrefix: Uint8Array
  /** The same section under the name key to come: while keys are copied there, whatever is written here is written there too. */
  readonly twin: SectionNames | null

  constructor(
    root: Uint8Array,
    key: SecretBytes,
    cache: NameCache,
    cachePrefix: Uint8Array,
    ring: Ring | null = null,
    twin: SectionNames | null = null,
  ) {
    this.root = root
    this.ring = ring
    this.twin = twin
    this.#key = key
    this.#cache = cache
    this.#cachePrefix = cachePrefix
  }

  /** Physical key of the value at `path`; shared, not to be modified. @throws as pathSegments. */
  leaf(path: string): Uint8Array {
    const known = this.#known(path)
    if (known !== null) return known
    const segments = leafSegments(path)
    const parent = this.#prefix(segments, segments.length - 1)
    return this.#element(parent, Kind.leaf, segments.at(-1) ?? '', path)
  }

  /** What the keys of everything below folder `path` begin with ('' is the section's root); shared, not to be modified. */
  folder(path: string): Uint8Array {
    if (path === '') return this.root
    const known = this.#known(`${path}/`)
    if (known !== null) return known
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
    const known = this.#known(path)
    if (known !== null) return known
    return this.#element(this.#prefix(segments, count - 1), Kind.folder, segments[count - 1] ?? '', path)
  }

  #element(parent: Uint8Array, kind: Kind, segment: string, path: string): Uint8Array {
    const key = element(this.#key, parent, kind, Buffer.from(segment))
    if (path.length <= cachedPathCharsMax) this.#cache.set(this.#cacheKey(path), key)
    return key
  }

  /** Not of a path that has no UTF-8: it would be taken for another one. */
  #known(path: string): Uint8Array | null {
    const possible = path.length <= cachedPathCharsMax && path.isWellFormed()
    return possible && this.#cache.find(this.#cacheKey(path)) ? this.#cache.value() : null
  }

  /** Good until the next call, in whatever section. */
  #cacheKey(path: string): Uint8Array {
    const prefix = this.#cachePrefix
    scratch.set(prefix)
    return scratch.subarray(0, prefix.length + scratch.write(path, prefix.length))
  }
}

const sectionNamesMax = 4_096
/** Each name key after the first leaves the section key of the one before. A change a year for longer than anybody runs this. */
const namesBeforeMax = 255

const sectionKeyOf = (nameKey: Uint8Array): Uint8Array => deriveKey(nameKey.subarray(0, nameKeyBytes), 'holdfast section v1')

/** Whether `record` is what a namespace's names are made from: its name key, then the section keys of those before it, the oldest first. */
export function isNamesRecord(record: Uint8Array): boolean {
  const before = (record.length - nameKeyBytes) / keyBytes
  return Number.isInteger(before) && before >= 0 && before <= namesBeforeMax
}

/** What names under `nameKey` are made from, after those of `record`; null when there were too many. The caller owns it. */
export function nextNamesRecord(record: Uint8Array, nameKey: Uint8Array): Uint8Array | null {
  const next = concatBytes(nameKey, record.subarray(nameKeyBytes), sectionKeyOf(record))
  return isNamesRecord(next) ? next : null
}

/** The names of one namespace, under its name key. Takes ownership of the record. */
export class NamespaceNames {
  readonly #record: SecretBytes
  readonly #key: SecretBytes
  /** Of all name keys that there were, the oldest first. */
  readonly #sectionKeys: readonly SecretBytes[]
  readonly #cache: NameCache
  /** By class, then mount: a text of both for each look-up would have to be made and hashed. Classes are a handful. */
  readonly #sections = new Map<KeyClass, BoundedLru<string, SectionNames>>()
  readonly #generation: Uint8Array
  readonly #namespace: string
  /** null: the root's. */
  readonly ring: Ring | null
  /** Those to come, while what lies under these is copied there; wiped with these. */
  readonly next: NamespaceNames | null

  /** @param record as `isNamesRecord` says. */
  constructor(namespace: string, record: Uint8Array, cache: NameCache, ring: Ring | null = null, next: NamespaceNames | null = null) {
    this.#namespace = namespace
    this.ring = ring
    this.next = next
    this.#record = new SecretBytes(record)
    const key = record.subarray(0, nameKeyBytes)
    // Two name keys of one namespace (before and after a restore) must not meet in the cache: their entries begin with this.
    this.#generation = deriveKey(key, 'holdfast name cache v1', 16)
    this.#key = new SecretBytes(key)
    const before = Array.from({ length: (record.length - nameKeyBytes) / keyBytes }, (_, at) => nameKeyBytes + at * keyBytes)
    this.#sectionKeys = [...before.map((at) => new SecretBytes(record.subarray(at, at + keyBytes))), new SecretBytes(sectionKeyOf(record))]
    this.#cache = cache
  }

  section(mount: string, keyClass: KeyClass): SectionNames {
    let sections = this.#sections.get(keyClass)
    if (sections === undefined) this.#sections.set(keyClass, (sections = new BoundedLru({ weightMax: sectionNamesMax })))
    const known = sections.get(mount)
    if (known !== undefined) return known
    const own = this.ring?.tag ?? new Uint8Array(0)
    let id: Uint8Array = Buffer.from(JSON.stringify(['section', this.#namespace, mount]))
    for (const key of this.#sectionKeys) id = sectionId(key, id, own)
    const root = concatBytes(new Uint8Array([keyClass]), own, id)
    const twin = this.next?.section(mount, keyClass) ?? null
    const names = new SectionNames(root, this.#key, this.#cache, concatBytes(this.#generation, root), this.ring, twin)
    sections.set(mount, names)
    return names
  }

  /**
   * Where what lies at the stored key `key` lies under `next`, the names right after these; null when its section is not of these names.
   * @throws ERR_DECRYPT when the key was altered.
   */
  moved(key: Uint8Array, next: NamespaceNames): Uint8Array | null {
    const own = this.ring?.tag ?? new Uint8Array(0)
    const newest = next.#sectionKeys.at(-1)
    if (newest === undefined || key.length <= sectionBytes) return null
    let to = concatBytes(key.subarray(0, 1 + own.length), sectionId(newest, key.subarray(1 + own.length, sectionBytes), own))
    for (let at = sectionBytes; at < key.length;) {
      const end = elementEnd(key, at)
      const kind = key[at] as Kind
      const segment =
        end > key.length
          ? null
          : sivOpen(this.#key.reveal(), associated(key.subarray(0, at), kind), key.subarray(at + elementHeadBytes, end))
      if (segment === null && at === sectionBytes) return null
      if (segment === null) throw decryptError('a stored name')
      to = element(next.#key, to, kind, segment)
      at = end
    }
    return to
  }

  /** As `moved`, to the names to come; null where there are none. */
  movedToNext(key: Uint8Array): Uint8Array | null {
    return this.next === null ? null : this.moved(key, this.next)
  }

  /** Whether the section of the stored key `key` is of these names. */
  owns(key: Uint8Array): boolean {
    const end = elementEnd(key, sectionBytes)
    if (key.length <= sectionBytes || end > key.length) return false
    const aad = associated(key.subarray(0, sectionBytes), key[sectionBytes] as Kind)
    return sivOpen(this.#key.reveal(), aad, key.subarray(sectionBytes + elementHeadBytes, end)) !== null
  }

  wipe(): void {
    this.#record[Symbol.dispose]()
    for (const key of this.#sectionKeys) key[Symbol.dispose]()
    this.#sections.clear()
    this.next?.wipe()
  }
}
