/** A folder's names, a page at a time: who stops early has not listed a million of them, nor put them all among what its transaction has read. */
import type { ReadView, Section } from './types.ts'

/** In order; what is deleted while it goes on is not looked for again. `pageSize`: 1 or more. */
export async function* inPages(view: ReadView, section: Section, folder: string, pageSize: number): AsyncGenerator<string> {
  for (let after = ''; ;) {
    const names = await view.list(section, folder, { limit: pageSize, ...(after === '' ? {} : { after }) })
    yield* names
    const last = names.at(-1)
    if (last === undefined || names.length < pageSize) return
    after = last
  }
}
