import { expect, test } from 'vitest'
import { inPages } from '#barrier/pages.ts'
import type { ListOptions, ReadView } from '#barrier/types.ts'

const section = { namespace: 'root', mount: 'm' }

/** A folder of so many names, and what was asked of it. */
function folderOf(count: number): { readonly view: ReadView; readonly asked: ListOptions[] } {
  const names = Array.from({ length: count }, (_, at) => String(at).padStart(4, '0'))
  const asked: ListOptions[] = []
  const list = async (_section: unknown, _folder: string, options: ListOptions = {}): Promise<string[]> => {
    asked.push(options)
    return names.filter((name) => name > (options.after ?? '')).slice(0, options.limit)
  }
  return { view: { list } as unknown as ReadView, asked }
}

test.each([0, 1, 3, 4, 5, 8, 9])('all of %i names come once, in order, four at a time', async (count) => {
  const { view, asked } = folderOf(count)
  expect(await Array.fromAsync(inPages(view, section, 'f', 4))).toEqual(
    Array.from({ length: count }, (_, at) => String(at).padStart(4, '0')),
  )
  expect(asked.every(({ limit }) => limit === 4)).toBe(true)
})

test('who stops early has one page listed', async () => {
  const { view, asked } = folderOf(1_000)
  for await (const name of inPages(view, section, 'f', 4)) if (name === '0003') break
  expect(asked).toEqual([{ limit: 4 }])
})
