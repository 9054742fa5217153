/**
 * Sorted names of folders that were listed lately: an index, since names are hidden on disk in an order that says nothing, and
 * opening each of 10,000 costs 50 ms.
 *
 * A listing says what a folder held at one index. The apply feed then marks each child that a changed key is or lies below; a later
 * listing looks at the marked ones only. It does not ask the feed what the change was: whether a child is there is the view's word,
 * so that a listing at any view between the index's and the feed's is exact. Nothing is written down; sealing empties it.
 */
import type { AppliedChange } from '#replica/types.ts'
import type { StateView } from '#store/types.ts'
import { byteString, compareUtf8, rangeEnd } from './bytes.ts'
import type { ChangeMemory, ViewPoint } from './cache.ts'
import type { Turns } from './list.ts'
import { BoundedLru } from '#base/lru.ts'
import { childEnds, sectionBytes } from './names.ts'
import type { SectionNames } from './names.ts'

/** Children that may be marked before listing anew is cheaper than looking at each: an eighth of the folder, within these. */
const markedMin = 512
const markedMax = 16_384
/** While a folder is listed nobody knows how large it is. */
const markedWhilePendingMax = 4_096
/** Of the whole index, for one folder: a million names of a dozen letters find room by default. */
const folderShare = 0.9
/** Listings that may be under way and be kept: each is told of every change meanwhile. */
const pendingMax = 64
const entryOverheadBytes = 300
/** A string's header and its place in the array, as V8 has them; a letter takes a byte, or two where one is beyond Latin-1. */
const nameOverheadBytes = 24
const namesPerTurn = 100_000
const beyondLatin1 = /[\u0100-\uffff]/

interface Folder {
  /** Sorted, and never modified: handed out as it is. */
  names: readonly string[]
  /** What `names` weigh. */
  bytes: number
  /** The index at which `names` was the whole truth. */
  asOf: number
  /** Children (their whole key or prefix, as a byte string) that changed after `asOf`, and when last. */
  readonly marked: Map<string, number>
  /** Too much changed: of no use any more. */
  lost: boolean
}

export interface FolderRequest {
  readonly state: StateView
  readonly point: ViewPoint
  readonly names: SectionNames
  readonly prefix: Uint8Array
  readonly turns: Turns
  /** Called after each wait; throws when the listing must end. */
  readonly check: () => void
  /** Lists the folder from the state alone. */
  readonly slowly: () => Promise<string[]>
}

export class FolderIndex {
  readonly #memory: ChangeMemory
  readonly #folders: BoundedLru<string, Folder>
  /** Listings under way, by the folder's prefix; `done` never rejects. */
  readonly #pending = new Map<string, { readonly folder: Folder; readonly done: Promise<void> }>()

  /** @param options.bytesMax 0: no folder is kept. */
  constructor(options: { readonly memory: ChangeMemory; readonly bytesMax: number }) {
    this.#memory = options.memory
    this.#folders = new BoundedLru({ weightMax: options.bytesMax, entryWeightMax: options.bytesMax * folderShare })
  }

  get bytes(): number {
    return this.#folders.weight
  }

  /** Takes in one step of the feed, as the value cache does and right after it. */
  apply(change: AppliedChange): void {
    if (change.keys === 'everything') return this.clear()
    if (this.#folders.size === 0 && this.#pending.size === 0) return
    for (const key of change.keys) this.#mark(key, change.index)
  }

  #mark(key: Uint8Array, index: number): void {
    const id = byteString(key)
    let prefixEnd = sectionBytes
    for (const end of childEnds(key)) {
      const prefix = id.slice(0, prefixEnd)
      const child = id.slice(0, end)
      const kept = this.#folders.peek(prefix)
      if (kept !== undefined) this.#note(prefix, kept, child, index, Math.min(markedMax, Math.max(markedMin, kept.names.length / 8)))
      const under = this.#pending.get(prefix)
      if (under !== undefined) this.#note(prefix, under.folder, child, index, markedWhilePendingMax)
      prefixEnd = end
    }
  }

  #note(prefix: string, folder: Folder, child: string, index: number, max: number): void {
    folder.marked.set(child, index)
    if (folder.marked.size > max) this.#lose(prefix, folder)
  }

  #lose(prefix: string, folder: Folder): void {
    folder.lost = true
    folder.marked.clear()
    if (this.#folders.peek(prefix) === folder) this.#folders.delete(prefix)
    if (this.#pending.get(prefix)?.folder === folder) this.#pending.delete(prefix)
  }

  /** As `clear`, of the folders whose prefix begins with `prefix`. */
  forget(prefix: string): void {
    for (const [id, { folder }] of this.#pending) {
      if (!id.startsWith(prefix)) continue
      folder.lost = true
      this.#pending.delete(id)
    }
    for (const id of this.#folders.keys()) if (id.startsWith(prefix)) this.#folders.delete(id)
  }

  /** Forgets all names; listings that are under way are not kept. */
  clear(): void {
    for (const { folder } of this.#pending.values()) folder.lost = true
    this.#pending.clear()
    this.#folders.clear()
  }

  /** The sorted names of a folder's children at the request's view; not to be modified. */
  async list(request: FolderRequest): Promise<readonly string[]> {
    const id = byteString(request.prefix)
    for (let waited = false; ; waited = true) {
      const folder = this.#folders.get(id)
      if (folder !== undefined && this.#memory.covers(request.point, folder.asOf)) return this.#refresh(id, folder, request)
      // Pages of one folder, asked for by many: one of them lists it, which may take long, and the others look at what changed since.
      const under = this.#pending.get(id)
      if (waited || under === undefined || !this.#memory.covers(request.point, under.folder.asOf)) return this.#build(id, request)
      await under.done
      request.check()
    }
  }

  async #build(id: string, request: FolderRequest): Promise<readonly string[]> {
    // Only from a view that the feed has just reached: between an older one and now, changes went by that nobody marked for us.
    if (!this.#memory.newest(request.point) || this.#pending.has(id) || this.#pending.size >= pendingMax) return request.slowly()
    const folder: Folder = { names: [], bytes: 0, asOf: request.point.index, marked: new Map(), lost: false }
    const { promise: done, resolve: end } = Promise.withResolvers<void>()
    this.#pending.set(id, { folder, done })
    try {
      folder.names = await request.slowly()
      folder.bytes = await weightOf(folder.names, request.turns)
      if (!folder.lost) this.#keep(id, folder)
      return folder.names
    } finally {
      if (this.#pending.get(id)?.folder === folder) this.#pending.delete(id)
      end()
    }
  }

  #keep(id: string, folder: Folder): void {
    this.#folders.set(id, folder, entryOverheadBytes + id.length + folder.bytes)
  }

  /** Brings `folder` up to the request's view, by a look at each marked child. */
  async #refresh(id: string, folder: Folder, request: FolderRequest): Promise<readonly string[]> {
    const { point, names, prefix, turns, check } = request
    const base = folder.names
    const marked = [...folder.marked.keys()]
    if (marked.length === 0) return base
    const present: string[] = []
    const absent = new Set<string>()
    for (const [i, child] of marked.entries()) {
      const key = Buffer.from(child, 'latin1')
      const { name, folder: isFolder } = names.childAt(prefix, key)
      if (await exists(request.state, key, isFolder)) present.push(name)
      else absent.add(name)
      if (i % turns.entriesPerTurn === turns.entriesPerTurn - 1) await turns.yieldTurn()
      check()
    }
    const { names: result, bytes } = merge(base, present, absent)
    // Not if another listing has brought it further, or it was dropped, meanwhile: what we found is true at our view all the same.
    if (this.#folders.peek(id) !== folder || folder.asOf > point.index) return result
    // Nor if another listing, of an older view, was quicker: what the names weigh more would be counted against others than these.
    if (folder.names !== base) return result
    folder.names = result
    folder.bytes += bytes
    folder.asOf = point.index
    for (const [child, index] of folder.marked) if (index <= point.index) folder.marked.delete(child)
    this.#keep(id, folder)
    return result
  }
}

async function exists(state: StateView, key: Uint8Array, isFolder: boolean): Promise<boolean> {
  if (!isFolder) return state.get(key) !== undefined
  const cursor = state.keyCursor(key, rangeEnd(key))
  try {
    return (await cursor.next()) !== undefined
  } finally {
    await cursor.close()
  }
}

const nameBytes = (name: string): number => (beyondLatin1.test(name) ? 2 * name.length : name.length) + nameOverheadBytes

async function weightOf(names: readonly string[], { yieldTurn }: Turns): Promise<number> {
  let bytes = 0
  for (const [at, name] of names.entries()) {
    bytes += nameBytes(name)
    if (at % namesPerTurn === namesPerTurn - 1) await yieldTurn()
  }
  return bytes
}

/**
 * `sorted` with `present` in it and without `absent`, and what it weighs more; `sorted` itself when that changes nothing. What lies between two changes
 * is copied as a whole: a name more in a million must not cost a look at each.
 */
function merge(
  sorted: readonly string[],
  present: readonly string[],
  absent: ReadonlySet<string>,
): { readonly names: readonly string[]; readonly bytes: number } {
  const missing = present
    .filter((name) => sorted[positionOf(sorted, name)] !== name)
    .map((name) => ({ name, at: positionOf(sorted, name), gone: false }))
  const gone = [...absent].map((name) => ({ name, at: positionOf(sorted, name), gone: true })).filter(({ name, at }) => sorted[at] === name)
  const changes = [...missing, ...gone].toSorted((a, b) => compareUtf8(a.name, b.name))
  if (changes.length === 0) return { names: sorted, bytes: 0 }
  const parts: (readonly string[])[] = []
  let [from, bytes] = [0, 0]
  for (const change of changes) {
    parts.push(sorted.slice(from, change.at))
    if (!change.gone) parts.push([change.name])
    from = change.at + (change.gone ? 1 : 0)
    bytes += change.gone ? -nameBytes(change.name) : nameBytes(change.name)
  }
  parts.push(sorted.slice(from))
  return { names: ([] as string[]).concat(...parts), bytes }
}

/** Where `name` is in `sorted`, or would be. */
function positionOf(sorted: readonly string[], name: string): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (compareUtf8(sorted[middle] ?? '', name) < 0) low = middle + 1
    else high = middle
  }
  return low
}
