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

/** Children that may be marked before listing anew is cheaper than looking at each. */
const markedMax = 512
/** Listings that may be under way and be kept: each is told of every change meanwhile. */
const pendingMax = 64
const entryOverheadBytes = 300
const nameOverheadBytes = 40

interface Folder {
  /** Sorted, and never modified: handed out as it is. */
  names: readonly string[]
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
  readonly #pending = new Map<string, Folder>()

  /** @param options.bytesMax 0: no folder is kept. */
  constructor(options: { readonly memory: ChangeMemory; readonly bytesMax: number }) {
    this.#memory = options.memory
    this.#folders = new BoundedLru({ weightMax: options.bytesMax })
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
      for (const folder of [this.#folders.peek(prefix), this.#pending.get(prefix)]) {
        if (folder === undefined) continue
        folder.marked.set(child, index)
        if (folder.marked.size > markedMax) this.#lose(prefix, folder)
      }
      prefixEnd = end
    }
  }

  #lose(prefix: string, folder: Folder): void {
    folder.lost = true
    folder.marked.clear()
    if (this.#folders.peek(prefix) === folder) this.#folders.delete(prefix)
    if (this.#pending.get(prefix) === folder) this.#pending.delete(prefix)
  }

  /** Forgets all names; listings that are under way are not kept. */
  clear(): void {
    for (const folder of this.#pending.values()) folder.lost = true
    this.#pending.clear()
    this.#folders.clear()
  }

  /** The sorted names of a folder's children at the request's view; not to be modified. */
  async list(request: FolderRequest): Promise<readonly string[]> {
    const id = byteString(request.prefix)
    const folder = this.#folders.get(id)
    if (folder !== undefined && this.#memory.covers(request.point, folder.asOf)) return this.#refresh(id, folder, request)
    return this.#build(id, request)
  }

  async #build(id: string, request: FolderRequest): Promise<readonly string[]> {
    // Only from a view that the feed has just reached: between an older one and now, changes went by that nobody marked for us.
    if (!this.#memory.newest(request.point) || this.#pending.has(id) || this.#pending.size >= pendingMax) return request.slowly()
    const folder: Folder = { names: [], asOf: request.point.index, marked: new Map(), lost: false }
    this.#pending.set(id, folder)
    try {
      folder.names = await request.slowly()
      if (!folder.lost) this.#keep(id, folder)
      return folder.names
    } finally {
      if (this.#pending.get(id) === folder) this.#pending.delete(id)
    }
  }

  #keep(id: string, folder: Folder): void {
    let bytes = entryOverheadBytes + id.length
    for (const name of folder.names) bytes += 2 * name.length + nameOverheadBytes
    this.#folders.set(id, folder, bytes)
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
    const result = merge(base, present, absent)
    // Not if another listing has brought it further, or it was dropped, meanwhile: what we found is true at our view all the same.
    if (this.#folders.peek(id) !== folder || folder.asOf > point.index) return result
    folder.names = result
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

/** `sorted` with `present` in it and without `absent`; `sorted` itself when that changes nothing. */
function merge(sorted: readonly string[], present: readonly string[], absent: ReadonlySet<string>): readonly string[] {
  const missing = present.filter((name) => !includes(sorted, name)).toSorted(compareUtf8)
  const gone = [...absent].some((name) => includes(sorted, name))
  if (missing.length === 0 && !gone) return sorted
  const merged: string[] = []
  let next = 0
  for (const name of sorted) {
    if (absent.has(name)) continue
    for (let add = missing[next]; add !== undefined && compareUtf8(add, name) < 0; add = missing[next]) {
      merged.push(add)
      next++
    }
    merged.push(name)
  }
  return merged.concat(missing.slice(next))
}

function includes(sorted: readonly string[], name: string): boolean {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (compareUtf8(sorted[middle] ?? '', name) < 0) low = middle + 1
    else high = middle
  }
  return sorted[low] === name
}
