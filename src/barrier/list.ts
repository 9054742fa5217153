import type { StateView } from '#store/types.ts'
import { byteString, rangeEnd, compareUtf8 } from './bytes.ts'
import type { SectionNames } from './names.ts'
import { NameSorter } from './sorter.ts'
import type { ListOptions } from './types.ts'

/** What a transaction has written so far, as a listing sees it. */
export interface Overlay {
  /** Whether the transaction wrote or deleted this key: then the view's word does not count. */
  has(id: string): boolean
  /** Whether it wrote or deleted anything below `prefix`. */
  touches(prefix: Uint8Array): boolean
  /** Keys below `prefix` that the transaction wrote. */
  writtenBelow(prefix: Uint8Array): Iterable<Uint8Array>
}

/** Lets others run. */
export interface Turns {
  readonly yieldTurn: () => Promise<void>
  readonly entriesPerTurn: number
}

/**
 * The names of the children of folder `prefix`, sorted. Hops from child to child: a folder of a million keys costs one step.
 * Long folders give way to others every `turns.entriesPerTurn` children, and while they are sorted. `check` is called after each wait, and may throw.
 */
export async function listChildren(
  view: StateView,
  names: SectionNames,
  prefix: Uint8Array,
  turns: Turns,
  check: () => void,
  overlay?: Overlay,
): Promise<string[]> {
  const sorter = new NameSorter(turns, check)
  const cursor = view.keyCursor(prefix, rangeEnd(prefix))
  try {
    let key = await cursor.next()
    for (let steps = 1; key !== undefined; steps++) {
      check()
      let seek: Uint8Array | undefined
      if (overlay === undefined || !overlay.has(byteString(key))) {
        const child = names.child(prefix, key)
        sorter.add(child.name)
        if (child.folder) seek = rangeEnd(child.key)
      }
      if (steps % turns.entriesPerTurn === 0) {
        sorter.endRun()
        await turns.yieldTurn()
      }
      key = await cursor.next(seek)
    }
  } finally {
    await cursor.close()
  }
  check()
  if (overlay !== undefined) for (const key of overlay.writtenBelow(prefix)) sorter.add(names.child(prefix, key).name)
  return sorter.sorted()
}

/** The part of sorted `names` that was asked for. */
export function window(names: readonly string[], options: ListOptions = {}): string[] {
  const { after, limit } = options
  let from = 0
  if (after !== undefined && after !== '') {
    let high = names.length
    while (from < high) {
      const middle = (from + high) >>> 1
      if (compareUtf8(names[middle] ?? '', after) <= 0) from = middle + 1
      else high = middle
    }
  }
  return names.slice(from, limit !== undefined && limit > 0 ? from + limit : undefined)
}
